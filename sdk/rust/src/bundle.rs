//! What a bundle written in code exports: blueprints, built by a [`BlueprintBuilder`].
//!
//! A bundle of YAML files needs no code at all: `ice bundle build` makes the component.
//!
//! ```
//! use ice_sdk::blueprint::{Ask, BlueprintBuilder, Catalog, NodeBuilder, Silence};
//! use serde_json::json;
//!
//! ice_sdk::bundle!(publish, describe);
//!
//! /// What a host with this bundle has: `dependencies` of `bundle.yaml` bring it.
//! fn known() -> Catalog {
//!     Catalog::new().tools(["writer_tool"]).agents(["chat_agent"])
//! }
//!
//! fn describe() -> BlueprintBuilder {
//!     BlueprintBuilder::new("shop.describe")
//!         .description("Describes an item in a sentence.")
//!         .input("item", json!({ "type": "string" }), None)
//!         .catalog(known())
//!         .node(NodeBuilder::llm("say", "openai/gpt-4o", "Describe {{ inputs.item }} in a sentence."))
//!         .output("text", "{{ say.text }}")
//! }
//!
//! fn publish() -> BlueprintBuilder {
//!     BlueprintBuilder::new("shop.publish")
//!         .description("Describes items and asks somebody whether they go out.")
//!         .input("items", json!({ "type": "array", "items": { "type": "string" } }), None)
//!         .catalog(known())
//!         .node(
//!             NodeBuilder::repeat("each", "inputs.items", "item", [
//!                 NodeBuilder::workflow("one", "shop.describe").arg("item", "{{ item }}"),
//!             ])
//!             .parallel(4),
//!         )
//!         .node(
//!             NodeBuilder::human("ask", "Publish {{ each.results | length }} items?", Ask::Approval)
//!                 .after("each")
//!                 .silence(86_400, Silence::Reject),
//!         )
//!         .output("published", "{{ ask.approved }}")
//! }
//!
//! # fn main() {
//! assert_eq!(publish().validate_resolvable(), Vec::<String>::new());
//! let document = BUNDLE.get("publish").unwrap().unwrap();
//! assert!(document.contains("shop.describe"));
//! # }
//! ```

use crate::blueprint::BlueprintBuilder;

/// A row of a bundle's table: a blueprint's name and the function that builds it.
pub struct BundleEntry {
    /// `[a-z][a-z0-9_]*`, unique within the bundle.
    pub name: &'static str,
    /// Builds it, the same each time.
    pub build: fn() -> BlueprintBuilder,
}

/// The blueprints of one component. The first entry is the entrypoint.
pub struct Bundle {
    entries: &'static [BundleEntry],
}

impl Bundle {
    /// A bundle of these blueprints.
    pub const fn new(entries: &'static [BundleEntry]) -> Self {
        Self { entries }
    }

    /// Name, description and whether it is the entrypoint, of each blueprint in order.
    pub fn list(&self) -> Vec<(String, String, bool)> {
        let describe = |(index, entry): (usize, &BundleEntry)| {
            (entry.name.to_owned(), (entry.build)().describes().to_owned(), index == 0)
        };
        self.entries.iter().enumerate().map(describe).collect()
    }

    /// `bundle.blueprint` of each, as nodes refer to them. The bundle's name is that in the id of the entrypoint; where
    /// that has none, nothing is known.
    pub(crate) fn references(&self) -> Vec<String> {
        let Some(first) = self.entries.first().map(|entry| (entry.build)()) else { return Vec::new() };
        let Some((bundle, _)) = first.id().split_once('.') else { return Vec::new() };
        self.entries.iter().map(|entry| format!("{bundle}.{}", entry.name)).collect()
    }

    /// Returns the document of blueprint `name` as JSON text. `Ok(None)` when there is no such blueprint.
    /// Fails with every problem of [`BlueprintBuilder::validate_resolvable`], one a line; references to other blueprints
    /// of this bundle are checked, too.
    pub fn get(&self, name: &str) -> Result<Option<String>, String> {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        let blueprint = (entry.build)();
        let problems = blueprint.problems_within(self);
        if problems.is_empty() { Ok(Some(blueprint.build().to_string())) } else { Err(problems.join("\n")) }
    }
}

/// Exports a component of world `bundle`, and names it [`static BUNDLE`](Bundle) for native tests.
///
/// Once per crate, at its root: `ice_sdk::bundle!(tour, other);` where each is a
/// `fn() -> BlueprintBuilder`, named as the blueprint. The first is the entrypoint.
#[macro_export]
macro_rules! bundle {
    ($($build:ident),+ $(,)?) => {
        /// The blueprints of this bundle, as the host sees them.
        pub static BUNDLE: $crate::Bundle = $crate::Bundle::new(&[
            $($crate::BundleEntry { name: stringify!($build), build: $build }),+
        ]);

        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod __ice_component {
            pub struct Component;

            impl $crate::bindings::bundle::exports::ice::plugin::blueprints::Guest for Component {
                fn list() -> ::std::vec::Vec<
                    $crate::bindings::bundle::exports::ice::plugin::blueprints::BlueprintEntry,
                > {
                    $crate::export::list_blueprints(&super::BUNDLE)
                }

                fn get(
                    name: ::std::string::String,
                ) -> ::std::result::Result<
                    ::std::string::String,
                    $crate::bindings::bundle::exports::ice::plugin::blueprints::Error,
                > {
                    $crate::export::get_blueprint(&super::BUNDLE, &name)
                }
            }

            $crate::bindings::bundle::export_bundle!(Component with_types_in $crate::bindings::bundle);
        }
    };
}
