//! The scope of calls that belong to no execution: describing a component, reading a blueprint. It has nothing.

use async_trait::async_trait;
use ice_core::budget::Usage;
use ice_core::event::CapabilityUse;
use ice_core::execution::Ending;
use ice_core::id::{Digest, ExecutionId, Identity};
use ice_core::ports::{Failure, Scope};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

/// Grants are empty where this is used, so only a mistake of the host gets past the gate to here.
pub(crate) struct Nobody(Identity);

impl Nobody {
    pub(crate) fn new() -> Self {
        Self(Identity { org: "none".into(), user: "none".into(), session: None })
    }
}

fn no<T>() -> Result<T, Failure> {
    Err(Failure::never(Problem::new(Code::G001, "nothing is granted to a call outside of an execution")))
}

#[async_trait]
impl Scope for Nobody {
    fn identity(&self) -> &Identity {
        &self.0
    }

    async fn cancelled(&self) {
        std::future::pending().await
    }

    fn recall(&self, _: u32, _: &Digest) -> Option<Value> {
        None
    }

    async fn reserve(&self, _: Usage) -> Result<(), Failure> {
        no()
    }

    async fn record(&self, _: CapabilityUse) -> Result<(), Failure> {
        no()
    }

    fn log(&self, _: &str, _: String) {}

    fn delta(&self, _: &str) {}

    async fn call_tool(&self, _: &str, _: Value) -> Result<Value, Failure> {
        no()
    }

    async fn start_execution(&self, _: &str, _: Value) -> Result<ExecutionId, Failure> {
        no()
    }

    async fn poll_execution(&self, _: &ExecutionId) -> Result<Option<Ending>, Failure> {
        no()
    }

    async fn cancel_execution(&self, _: &ExecutionId) -> Result<(), Failure> {
        no()
    }
}
