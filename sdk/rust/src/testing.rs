//! A scripted host for native tests: the same tool and agent code, no wasm, no network, no clock.
//!
//! ```
//! use ice_sdk::{memory, testing::Host};
//!
//! let host = Host::install();
//! memory::write("kb", &memory::Item { key: "a".into(), text: "granite tower".into(), ..Default::default() })?;
//! let hits = memory::search("kb", "the tower", &memory::Filter::default(), 5)?;
//! assert_eq!(hits[0].item.key, "a");
//! assert_eq!(host.keys("kb"), ["a"]);
//! # Ok::<(), memory::Error>(())
//! ```
//!
//! One host per test thread, gone when dropped. What was not scripted fails as a host without that grant does.
//! Not here: limits, grants and metering, which are the real host's and tested there.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::error::ToolError;
use crate::schema::Description;
use crate::tool::Kit;

pub(crate) mod http;
pub(crate) mod llm;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod orchestrator;
pub(crate) mod secrets;

type Llm = Box<dyn FnMut(&crate::llm::Request) -> Result<crate::llm::Reply, crate::llm::Error>>;
type Tools = Box<dyn FnMut(&str, &Value) -> Result<Value, crate::orchestrator::ToolCallError>>;

/// What the scripted host holds and what it has seen.
#[derive(Default)]
struct State {
    log: Vec<(crate::log::Level, String)>,
    rows: Vec<memory::Row>,
    memory_calls: usize,
    llm: Option<Llm>,
    llm_requests: Vec<crate::llm::Request>,
    http: VecDeque<Result<crate::http::Response, crate::http::Error>>,
    http_requests: Vec<crate::http::Request>,
    secrets: BTreeSet<String>,
    tools: Option<Tools>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// Runs `f` on the host of this thread.
fn with<T>(f: impl FnOnce(&mut State) -> T) -> T {
    let state = CURRENT.with(|current| current.borrow().clone());
    let state = state.expect("a capability was used in a test without `let host = ice_sdk::testing::Host::install();`");
    f(&mut state.borrow_mut())
}

/// The scripted host of this thread.
pub struct Host {
    state: Rc<RefCell<State>>,
}

impl Host {
    /// Puts an empty host in place for this thread until it is dropped.
    #[must_use = "the host is gone when this value is dropped"]
    pub fn install() -> Self {
        let state = Rc::new(RefCell::new(State::default()));
        CURRENT.with(|current| *current.borrow_mut() = Some(state.clone()));
        Self { state }
    }

    /// Answers every model call from now on with `f`.
    pub fn on_llm(
        &self,
        f: impl FnMut(&crate::llm::Request) -> Result<crate::llm::Reply, crate::llm::Error> + 'static,
    ) {
        self.state.borrow_mut().llm = Some(Box::new(f));
    }

    /// Answers every model call from now on with this text, as model `test/model`.
    pub fn answer_llm(&self, content: impl Into<String>) {
        let content = content.into();
        self.on_llm(move |_| Ok(llm::reply(&content, false)));
    }

    /// The same, as the host's offline provider answers.
    pub fn answer_llm_offline(&self, content: impl Into<String>) {
        let content = content.into();
        self.on_llm(move |_| Ok(llm::reply(&content, true)));
    }

    /// Answers the next HTTP request that has no answer yet. Without one left, a request is denied.
    pub fn answer_http(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) {
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        self.state.borrow_mut().http.push_back(Ok(crate::http::Response { status, headers, body: body.into() }));
    }

    /// Fails the next HTTP request that has no answer yet.
    pub fn fail_http(&self, error: crate::http::Error) {
        self.state.borrow_mut().http.push_back(Err(error));
    }

    /// Grants and sets a secret.
    pub fn set_secret(&self, name: &str) {
        self.state.borrow_mut().secrets.insert(name.to_owned());
    }

    /// Answers every tool call from now on with `f`.
    pub fn on_tool(&self, f: impl FnMut(&str, &Value) -> Result<Value, crate::orchestrator::ToolCallError> + 'static) {
        self.state.borrow_mut().tools = Some(Box::new(f));
    }

    /// The log so far.
    pub fn log(&self) -> Vec<(crate::log::Level, String)> {
        self.state.borrow().log.clone()
    }

    /// The model requests so far.
    pub fn llm_requests(&self) -> Vec<crate::llm::Request> {
        self.state.borrow().llm_requests.clone()
    }

    /// The HTTP requests so far.
    pub fn http_requests(&self) -> Vec<crate::http::Request> {
        self.state.borrow().http_requests.clone()
    }

    /// The keys of a scope, sorted.
    pub fn keys(&self, scope: &str) -> Vec<String> {
        let state = self.state.borrow();
        let mut keys: Vec<String> =
            state.rows.iter().filter(|row| row.scope == scope).map(|row| row.item.key.clone()).collect();
        keys.sort();
        keys
    }

    /// How many memory calls wrote or forgot something so far.
    pub fn memory_writes(&self) -> usize {
        self.state.borrow().memory_calls
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            if current.as_ref().is_some_and(|state| Rc::ptr_eq(state, &self.state)) {
                *current = None;
            }
        });
    }
}

/// Calls a tool as the host does, through JSON text, and returns its output. Fails as [`Kit::call`] does.
pub fn call(kit: &Kit, name: &str, input: &Value) -> Result<Value, ToolError> {
    call_as(kit, name, input)
}

/// The same, with the output read as a `T`. Fails as [`Kit::call`] does.
pub fn call_as<T: DeserializeOwned>(kit: &Kit, name: &str, input: &impl Serialize) -> Result<T, ToolError> {
    let input = serde_json::to_string(input).map_err(|error| ToolError::failed(error.to_string()))?;
    let output = kit.call(name, &input, &Context::default())?;
    serde_json::from_str(&output).map_err(|error| ToolError::failed(format!("the output has another shape: {error}")))
}

/// Returns what a reader would miss in these descriptions: an empty text, an input that is no object, a field of the
/// input without a description. Empty when all is well.
pub fn undocumented(descriptions: &[Description]) -> Vec<String> {
    let mut missing = Vec::new();
    for tool in descriptions {
        if tool.description.is_empty() {
            missing.push(format!("`{}` has no description", tool.name));
        }
        if tool.input_schema["type"] != "object" {
            missing.push(format!("the input of `{}` is not an object", tool.name));
        }
        for (part, schema) in [("input", &tool.input_schema), ("output", &tool.output_schema)] {
            undocumented_fields(&format!("{}.{part}", tool.name), schema, &mut missing);
        }
    }
    missing
}

fn undocumented_fields(path: &str, schema: &Value, missing: &mut Vec<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("`{path}` has no description"));
            }
            undocumented_fields(&path, field, missing);
        }
    }
    undocumented_items(path, &schema["items"], missing);
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        undocumented_fields(path, choice, missing);
    }
}

fn undocumented_items(path: &str, items: &Value, missing: &mut Vec<String>) {
    if items.is_object() {
        undocumented_fields(&format!("{path}[]"), items, missing);
    }
}
