//! What a kit exports: tools, described from their Rust types and called with JSON.
//!
//! [`kit!`](macro@crate::kit) makes the component; `#[tool]` makes the [`Tool`] of a function.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::ToolError;
use crate::json;
use crate::schema::{self, Description};

/// One tool. Usually written by `#[tool]`.
pub trait Tool {
    /// `[a-z][a-z0-9_]*`, unique within the host.
    const NAME: &'static str;
    /// What it does and when to use it.
    const DESCRIPTION: &'static str;
    /// Free words to find it by.
    const TAGS: &'static [&'static str];
    /// Deserialises from a JSON object.
    type Input: DeserializeOwned + JsonSchema;
    /// Serialises to JSON.
    type Output: Serialize + JsonSchema;

    /// Does the work. Fails with [`ToolError`].
    fn call(input: Self::Input, context: &Context) -> Result<Self::Output, ToolError>;
}

/// A row of a kit's table of tools.
pub struct ToolEntry {
    name: &'static str,
    describe: fn() -> Description,
    call: fn(&str, &Context) -> Result<String, ToolError>,
}

impl ToolEntry {
    /// The row of `T`.
    pub const fn of<T: Tool>() -> Self {
        Self { name: T::NAME, describe: Typed::<T>::describe, call: Typed::<T>::call }
    }
}

struct Typed<T>(PhantomData<T>);

impl<T: Tool> Typed<T> {
    fn describe() -> Description {
        Description {
            name: T::NAME.to_owned(),
            description: schema::paragraphs(T::DESCRIPTION),
            input_schema: schema::of_input::<T::Input>(),
            output_schema: schema::of_output::<T::Output>(),
            tags: T::TAGS.iter().map(|&tag| tag.to_owned()).collect(),
        }
    }

    fn call(input: &str, context: &Context) -> Result<String, ToolError> {
        let output = T::call(json::read(input)?, context)?;
        json::write(&output).map_err(ToolError::Failed)
    }
}

/// The tools of one component.
pub struct Kit {
    tools: &'static [ToolEntry],
}

impl Kit {
    /// A kit of these tools.
    pub const fn new(tools: &'static [ToolEntry]) -> Self {
        Self { tools }
    }

    /// Describes every tool, in the order of the kit.
    pub fn describe(&self) -> Vec<Description> {
        self.tools.iter().map(|tool| (tool.describe)()).collect()
    }

    /// Calls the tool `name` with JSON text and returns JSON text. Fails with [`ToolError::UnknownTool`],
    /// with [`ToolError::InvalidInput`] when `input` does not fit, or as the tool fails.
    pub fn call(&self, name: &str, input: &str, context: &Context) -> Result<String, ToolError> {
        match self.tools.iter().find(|tool| tool.name == name) {
            Some(tool) => (tool.call)(input, context),
            None => Err(ToolError::UnknownTool),
        }
    }
}

/// Exports a component of world `kit` with these tools, and names them [`static KIT`](Kit) for native tests.
///
/// Once per crate, at its root: `ice_sdk::kit!(write::memory_write_tool, search::memory_search_tool);`
#[macro_export]
macro_rules! kit {
    ($($tool:ty),+ $(,)?) => {
        /// The tools of this kit, as the host sees them.
        pub static KIT: $crate::Kit = $crate::Kit::new(&[$($crate::ToolEntry::of::<$tool>()),+]);

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod __ice_component {
            pub struct Component;

            impl $crate::bindings::kit::exports::ice::plugin::tools::Guest for Component {
                fn describe() -> ::std::vec::Vec<$crate::bindings::kit::exports::ice::plugin::tools::Tool> {
                    $crate::export::describe_tools(&super::KIT)
                }

                fn call(
                    name: ::std::string::String,
                    input: ::std::string::String,
                    context: $crate::export::CallContext,
                ) -> ::std::result::Result<
                    ::std::string::String,
                    $crate::bindings::kit::exports::ice::plugin::tools::Error,
                > {
                    $crate::export::call_tool(&super::KIT, &name, &input, context)
                }
            }

            $crate::bindings::kit::export_kit!(Component with_types_in $crate::bindings::kit);
        }
    };
}
