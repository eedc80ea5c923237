//! `ice:orchestrator/executions`: child executions of an agent.

use ice_core::budget::Usage;
use ice_core::event::FinalStatus;
use ice_core::execution::Ending;
use ice_core::id::ExecutionId;

use super::{json, words};
use crate::bindings::imports::ice::orchestrator::executions;
use crate::call::Guest;
use crate::gate::{Need, Pass, Refusal, digest};

type Answer<T> = wasmtime::Result<Result<T, executions::Error>>;

impl executions::Host for Guest {
    async fn start(&mut self, blueprint: String, inputs: String) -> Answer<String> {
        self.gate.enter()?;
        let gate = &self.gate;
        let inputs = match json(&inputs, "the inputs") {
            Ok(inputs) => inputs,
            Err(text) => return Ok(Err(executions::Error::Rejected(text))),
        };
        let pass = Pass {
            need: Need::Executions,
            operation: format!("start {blueprint}"),
            turn: gate.turn(),
            request: digest(&("start", &blueprint, &inputs)),
            estimate: None,
        };
        let answer = gate.pass(pass, async {
            let id = gate.scope.start_execution(&blueprint, inputs).await?;
            Ok((id, Usage::default()))
        });
        Ok(answer.await.map(|id| id.0).map_err(error_into))
    }

    async fn poll(&mut self, execution_id: String) -> Answer<executions::Status> {
        self.gate.enter()?;
        if let Err(refusal) = self.gate.check(&Need::Executions) {
            return Ok(Err(error_into(refusal)));
        }
        let ending = self.gate.scope.poll_execution(&ExecutionId(execution_id)).await;
        Ok(ending.map(status_into).map_err(|failure| error_into(Refusal::Failed(failure))))
    }

    async fn cancel(&mut self, execution_id: String) -> Answer<()> {
        self.gate.enter()?;
        if let Err(refusal) = self.gate.check(&Need::Executions) {
            return Ok(Err(error_into(refusal)));
        }
        let answer = self.gate.scope.cancel_execution(&ExecutionId(execution_id)).await;
        Ok(answer.map_err(|failure| error_into(Refusal::Failed(failure))))
    }
}

fn status_into(ending: Option<Ending>) -> executions::Status {
    let Some(ending) = ending else {
        return executions::Status::Running;
    };
    match ending.status {
        FinalStatus::Completed | FinalStatus::CompletedWithErrors => {
            executions::Status::Succeeded(ending.outputs.to_string())
        }
        FinalStatus::Cancelled => executions::Status::Cancelled,
        FinalStatus::Failed => {
            let text = ending.problem.as_ref().map_or_else(|| "the execution failed".to_owned(), words);
            executions::Status::Failed(text)
        }
    }
}

fn error_into(refusal: Refusal) -> executions::Error {
    match refusal {
        Refusal::Denied(text) => executions::Error::Denied(text),
        Refusal::Failed(failure) if failure.problem.code.http() == 404 => {
            executions::Error::NotFound(words(&failure.problem))
        }
        Refusal::Failed(failure) => executions::Error::Rejected(words(&failure.problem)),
    }
}
