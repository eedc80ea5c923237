//! How what a component may import is linked, by the kind of component. What is not linked cannot be instantiated.
//!
//! What a component asks for is read in `inspect.rs`, before it is compiled.
//!
//! A capability that was not granted links too, so that a guest gets the `denied` case of its WIT as a value it can
//! handle; the gate says no at every call.

use ice_core::grant::Capability;
use ice_core::problem::{Code, Problem};
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

use crate::bindings::imports::ice;
use crate::call::Guest;
use crate::inspect::World;
use crate::wasi;

type Link = fn(&mut Linker<Guest>) -> wasmtime::Result<()>;

/// One capability: who may import it, and how it is linked. Its interfaces are listed in `inspect.rs`.
struct Row {
    capability: Capability,
    worlds: &'static [World],
    link: Link,
}

const CAPABILITIES: &[Row] = &[
    Row {
        capability: Capability::Log,
        worlds: &[World::Kit, World::Agent],
        link: |linker| ice::log::log::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    },
    Row {
        capability: Capability::Llm,
        worlds: &[World::Kit, World::Agent],
        link: |linker| {
            ice::llm::types::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
            ice::llm::chat::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
            ice::llm::embeddings::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
        },
    },
    Row {
        capability: Capability::Memory,
        worlds: &[World::Kit, World::Agent],
        link: |linker| ice::memory::memory::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    },
    Row {
        capability: Capability::Http,
        worlds: &[World::Kit, World::Agent],
        link: |linker| {
            use wasmtime_wasi_http::p2::bindings::http;
            let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
            http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, Guest::http)?;
            http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), Guest::http)
        },
    },
    Row {
        capability: Capability::Secrets,
        worlds: &[World::Kit, World::Agent],
        link: |linker| ice::secrets::secrets::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    },
    Row {
        capability: Capability::Tools,
        worlds: &[World::Agent],
        link: |linker| ice::orchestrator::tools::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    },
    Row {
        capability: Capability::Executions,
        worlds: &[World::Agent],
        link: |linker| ice::orchestrator::executions::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    },
];

/// One linker a world, built once.
pub(crate) struct Linkers {
    kit: Linker<Guest>,
    agent: Linker<Guest>,
    bundle: Linker<Guest>,
}

impl Linkers {
    /// Links everything in the table. Fails only when the table contradicts itself.
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let linker = |world: World| {
            let mut linker = Linker::new(engine);
            wasi::add_to_linker(&mut linker)?;
            for row in CAPABILITIES.iter().filter(|row| row.worlds.contains(&world)) {
                (row.link)(&mut linker).map_err(|error| error.context(format!("capability {:?}", row.capability)))?;
            }
            Ok::<_, wasmtime::Error>(linker)
        };
        Ok(Self { kit: linker(World::Kit)?, agent: linker(World::Agent)?, bundle: linker(World::Bundle)? })
    }

    /// Finds the world of `component` and resolves its imports. Fails with T036 when it exports none of the worlds'
    /// interfaces, with T035 when it imports what its world is not offered.
    pub(crate) fn resolve(
        &self,
        engine: &Engine,
        component: &Component,
    ) -> Result<(World, InstancePre<Guest>), Problem> {
        let world = world_of(engine, component)?;
        let linker = match world {
            World::Kit => &self.kit,
            World::Agent => &self.agent,
            World::Bundle => &self.bundle,
        };
        let pre = linker.instantiate_pre(component).map_err(|error| {
            let message = format!("the component imports what a {} is not offered: {error:#}", world.name());
            Problem::new(Code::T035, message).help("build it against the `wit/` of this version")
        })?;
        Ok((world, pre))
    }
}

fn world_of(engine: &Engine, component: &Component) -> Result<World, Problem> {
    const WORLDS: [(World, &str); 3] = [
        (World::Kit, "ice:plugin/tools@"),
        (World::Agent, "ice:plugin/tasks@"),
        (World::Bundle, "ice:plugin/blueprints@"),
    ];
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let mut worlds = WORLDS.iter().filter(|(_, interface)| exports.iter().any(|export| export.starts_with(interface)));
    match (worlds.next(), worlds.next()) {
        (Some((world, _)), None) => Ok(*world),
        _ => Err(Problem::new(Code::T036, "the component is not one of a kit, an agent and a bundle")
            .help("build it for the world `kit`, `agent` or `bundle` of `wit/plugin.wit`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_row() {
        for capability in Capability::ALL {
            assert!(CAPABILITIES.iter().any(|row| row.capability == capability), "{capability:?}");
        }
    }
}
