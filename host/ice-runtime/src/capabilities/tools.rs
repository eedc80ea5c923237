//! `ice:orchestrator/tools`: an agent's tools. A call is a child node, with its own events.

use ice_core::problem::Code;

use super::{json, words};
use crate::bindings::imports::ice::orchestrator::tools;
use crate::call::Guest;
use crate::gate::{Need, Refusal};

impl tools::Host for Guest {
    async fn granted(&mut self) -> wasmtime::Result<Vec<tools::Tool>> {
        self.gate.enter()?;
        let grant = &self.gate.caller.grant;
        let granted = self.gate.catalog.tools.values().filter(|tool| grant.allows_tool(&tool.name));
        Ok(granted
            .map(|tool| tools::Tool {
                name: tool.name.clone(),
                description: tool.description.clone(),
                input_schema: tool.input_schema.to_string(),
            })
            .collect())
    }

    async fn call(&mut self, name: String, input: String) -> wasmtime::Result<Result<String, tools::Error>> {
        self.gate.enter()?;
        match self.gate.check(&Need::Tool { name: &name }) {
            Ok(()) => {}
            Err(Refusal::Denied(text)) => return Ok(Err(tools::Error::Denied(text))),
            Err(Refusal::Failed(failure)) => return Ok(Err(tools::Error::Failed(words(&failure.problem)))),
        }
        if !self.gate.catalog.tools.contains_key(&name) {
            return Ok(Err(tools::Error::UnknownTool(format!("no tool `{name}` is installed"))));
        }
        let input = match json(&input, "the input") {
            Ok(input) => input,
            Err(text) => return Ok(Err(tools::Error::InvalidInput(text))),
        };
        let answer = self.gate.scope.call_tool(&name, input).await;
        Ok(answer.map(|output| output.to_string()).map_err(|failure| {
            let problem = &failure.problem;
            match problem.code {
                Code::X034 => tools::Error::UnknownTool(words(problem)),
                Code::G001 | Code::G003 => tools::Error::Denied(words(problem)),
                code if code.http() == 422 => tools::Error::InvalidInput(words(problem)),
                _ => tools::Error::Failed(words(problem)),
            }
        }))
    }
}
