//! The outside world in a test: a clock that jumps, a store in memory that can be cut off at any event, components
//! and models that do what the test says; and one blueprint with every kind of node, whose processes can be killed.

pub mod everything;

mod check;
mod clock;
mod cord;
mod ports;
mod schedules;
mod store;
mod tally;

pub use check::check_events;
pub use clock::SimClock;
pub use cord::{Cord, Pull};
pub use ports::{Answers, Fakes, Noop, Posts, Refusing};
pub use store::{Cut, MemoryStore};
pub use tally::{Effect, Tally};
