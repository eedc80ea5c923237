//! Plans blueprints and runs them.
//!
//! Reading order: [`plan`] makes a checked graph of a blueprint; [`scheduler`] alone decides order, retry, skip and
//! cancel, without I/O; `driver` does what it says, one task per execution; `attempt` is one try of one node; `nodes`
//! holds the kinds; `asking` asks people, `waits` takes their answers; `activity` knows when nothing but answers is
//! missing; `journal` is the growing list of events; `present` is what this process runs now; [`Engine`] starts, resumes
//! and cancels; `fork` begins inside another execution, `transfer` writes executions to files and reads them back.
//!
//! Knows the outside only through `ice_core::ports`: no HTTP, no SQL, no wasm, no provider here.
#![warn(missing_docs)]

pub mod drawing;
pub mod nodes;
pub mod plan;
pub mod scheduler;
pub mod schemas;

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
mod estimate;
mod fork;
mod gate;
mod history;
mod inputs;
mod journal;
mod keys;
mod lease;
mod live;
mod meter;
mod preflight;
mod present;
mod purse;
mod reservation;
mod resting;
mod retry;
mod run;
mod scope;
mod settled;
mod stop;
mod stored;
mod timetable;
mod transfer;
mod waits;

pub use context::NodeRun;
pub use engine::{Engine, StartExecution, Stopping, checked_inputs, tighter};
pub use estimate::{Asking, Estimate, Known, NodeEstimate, Range, Runs, Times};
pub use fork::{Fork, ForkExecution, ForkPreview, ForkRun, Why as ForkWhy};
pub use journal::Grouping;
pub use live::{EventStream, Handle, Live, Rest};
pub use purse::{OrgStanding, restate};
pub use run::{EngineOptions, Ports};
pub use stored::{VERSIONS_MAX, newest, stored};
pub use timetable::{LOOK_MS, Started, Timetable};
pub use transfer::{EXPORT_BYTES_MAX, Import, export};
pub use waits::{Wait, WaitFilter};

#[cfg(test)]
mod tests;
