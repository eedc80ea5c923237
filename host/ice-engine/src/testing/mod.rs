//! The outside world in a test: a clock that jumps, a store in memory that can be cut off at any event, components
//! and models that do what the test says.

mod check;
mod clock;
mod ports;
mod store;

pub use check::check_events;
pub use clock::SimClock;
pub use ports::{Answers, Fakes, Noop, Posts, Refusing};
pub use store::{Cut, MemoryStore};
