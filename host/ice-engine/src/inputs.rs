//! The input of a node attempt: arguments as they were written, mapped and bound, checked before anything runs.

use std::sync::Arc;

use ice_core::catalog::Callable;
use ice_core::grant::LimitSettings;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use serde_json::{Map, Value};

use crate::calls::{checked, fits};
use crate::context::NodeRun;
use crate::nodes::Done;
use crate::plan::{Arguments, Binding};

impl NodeRun<'_> {
    /// Makes the arguments of a call and checks them against the node's `input_schema`. What is written wins over
    /// what is mapped, and that over what is bound.
    pub(crate) fn arguments(&self, arguments: &Arguments) -> Result<Value, Failure> {
        let mut input = Map::new();
        for (name, template) in &arguments.given {
            input.insert(name.clone(), self.render(template, name)?);
        }
        self.add_mapped(&mut input)?;
        self.bind(&arguments.bindings, &mut input);
        let input = Value::Object(input);
        self.check_input(&input)?;
        Ok(input)
    }

    /// For kinds without arguments: the part of the context that `input_schema` names must fit it.
    pub(crate) fn check_context(&self) -> Result<(), Failure> {
        if self.node.input_schema.is_none() {
            return Ok(());
        }
        let mut input = Map::new();
        self.add_mapped(&mut input)?;
        self.bind(&self.node.input_bindings, &mut input);
        self.check_input(&Value::Object(input))
    }

    /// Calls a component as this node: the node's time limit is also the call's, the receipt becomes part of the event.
    pub(crate) async fn call(
        &self,
        callable: Option<&Arc<Callable>>,
        name: &str,
        input: Value,
        cache: Option<Option<u64>>,
    ) -> Result<Done, Failure> {
        let Some(callable) = callable else {
            let problem = Problem::new(Code::X034, format!("`{name}` is no longer installed"))
                .help("list what is installed with `ice list`");
            return Err(Failure::never(problem));
        };
        let seconds = self.node.timeout_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX));
        let limits = LimitSettings { timeout_seconds: seconds, ..LimitSettings::default() };
        let called = checked(self.run(), callable, input, &self.site(), limits, cache).await;
        self.spend(&called.usage);
        match called.result {
            Ok(output) => Ok(Done { output, receipt: called.receipt, cached: called.cached }),
            Err(failure) => {
                self.keep_receipt(called.receipt);
                Err(failure)
            }
        }
    }

    fn add_mapped(&self, input: &mut Map<String, Value>) -> Result<(), Failure> {
        for (position, mapping) in self.node.input_mappings.iter().enumerate() {
            if !input.contains_key(&mapping.param) {
                input.insert(mapping.param.clone(), self.mapped(position)?);
            }
        }
        Ok(())
    }

    fn bind(&self, bindings: &[Binding], input: &mut Map<String, Value>) {
        for binding in bindings {
            if input.contains_key(&binding.param) {
                continue;
            }
            if let Some(value) = binding.origins.iter().find_map(|origin| self.fetch(origin)) {
                input.insert(binding.param.clone(), value);
            }
        }
    }

    fn check_input(&self, input: &Value) -> Result<(), Failure> {
        let Some(schema) = &self.node.input_schema else { return Ok(()) };
        fits(schema, input, Code::X006, "the input").map_err(Failure::never)
    }
}
