//! Plans blueprints and runs them.
//!
//! Reading order: [`plan`] makes a checked graph of a blueprint; [`scheduler`] alone decides order, retry, skip and
//! cancel, without I/O; `driver` does what it says, one task per execution; `attempt` is one try of one node; `nodes`
//! holds the kinds; `asking` asks people, `waits` takes their answers; `activity` knows when nothing but answers is
//! missing; `journal` is the growing list of events; [`Engine`] starts, resumes and cancels.
//!
//! Knows the outside only through `ice_core::ports`: no HTTP, no SQL, no wasm, no provider here.
#![warn(missing_docs)]

pub mod nodes;
pub mod plan;
pub mod scheduler;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod activity;
mod asking;
mod attempt;
mod breaker;
mod cache;
mod calls;
mod children;
mod context;
mod desk;
mod driver;
mod ending;
mod engine;
mod gate;
mod history;
mod inputs;
mod journal;
mod keys;
mod lease;
mod live;
mod meter;
mod preflight;
mod reservation;
mod resting;
mod retry;
mod run;
mod scope;
mod settled;
mod stop;
mod timetable;
mod waits;

pub use context::NodeRun;
pub use engine::{Engine, StartExecution, Stopping};
pub use journal::Grouping;
pub use live::{EventStream, Handle, Live, Rest};
pub use run::{EngineOptions, Ports};
pub use timetable::{Started, Timetable};
pub use waits::{Wait, WaitFilter};

#[cfg(test)]
mod tests;
