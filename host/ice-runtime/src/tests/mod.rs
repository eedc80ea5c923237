//! The runtime on real wasmtime, with guests written in WAT and everything outside scripted.

mod calls;
mod code;
mod fakes;
mod guests;
mod http;
mod limits;

use std::sync::Arc;

use fakes::{FakeScope, World};
use ice_core::catalog::{CallKind, Callable, Catalog, Effects};
use ice_core::grant::{Grant, LimitSettings};
use ice_core::id::{Digest, ExecutionId, NodePath};
use ice_core::ports::{Call, Components as _, Outcome};
use serde_json::{Value, json};

use crate::{Runtime, RuntimeOptions};

/// A runtime with one installed tool, `probe`, or one agent of that name.
struct Bench {
    runtime: Runtime,
    world: Arc<World>,
    kind: CallKind,
}

impl Bench {
    /// Installs a kit with nothing granted.
    fn kit(component: &[u8]) -> Self {
        Self::new(component, CallKind::Tool, &[], RuntimeOptions::default())
    }

    /// Installs a kit with these settings granted.
    fn granted(component: &[u8], settings: &[&str]) -> Self {
        Self::new(component, CallKind::Tool, settings, RuntimeOptions::default())
    }

    fn new(component: &[u8], kind: CallKind, settings: &[&str], options: RuntimeOptions) -> Self {
        let world = Arc::new(World::default());
        let artifact = world.publish(component);
        let runtime = Runtime::new(options, World::ports(&world)).unwrap();
        let mut grant = Grant::default();
        for setting in settings {
            grant.set(setting).unwrap();
        }
        let callable = Arc::new(callable(kind, "probe", artifact, grant));
        let mut catalog = Catalog::default();
        let names = if kind == CallKind::Tool { &mut catalog.tools } else { &mut catalog.agents };
        names.insert("probe".into(), callable);
        catalog.tools.insert("other_tool".into(), Arc::new(callable_tool("other_tool", artifact)));
        runtime.set_catalog(Arc::new(catalog));
        Self { runtime, world, kind }
    }

    async fn call(&self, input: Value, scope: &Arc<FakeScope>) -> Outcome {
        self.call_within(input, scope, LimitSettings::default()).await
    }

    async fn call_within(&self, input: Value, scope: &Arc<FakeScope>, limits: LimitSettings) -> Outcome {
        let scope: Arc<FakeScope> = Arc::clone(scope);
        self.runtime.call(call(self.kind, input, limits), scope).await
    }

    /// Calls in a scope of its own.
    async fn ask(&self, input: Value) -> Outcome {
        self.call(input, &Arc::default()).await
    }
}

fn call(kind: CallKind, input: Value, limits: LimitSettings) -> Call {
    Call {
        kind,
        name: "probe".into(),
        artifact: None,
        input,
        execution: ExecutionId("e1".into()),
        path: NodePath::root().join("step"),
        attempt: 1,
        limits,
    }
}

fn callable_tool(name: &str, artifact: Digest) -> Callable {
    callable(CallKind::Tool, name, artifact, Grant::default())
}

fn callable(kind: CallKind, name: &str, artifact: Digest, grant: Grant) -> Callable {
    Callable {
        kind,
        name: name.into(),
        description: format!("describes {name}"),
        input_schema: json!({ "type": "object" }),
        output_schema: json!({}),
        tags: vec![],
        plugin: "test/prober".into(),
        version: "1.0.0".into(),
        artifact,
        statement: None,
        deprecated: None,
        effects: Effects::External,
        granted: Arc::new(grant),
    }
}
