//! What bare wasmtime takes for a call of a kit's tool in a fresh instance, without verification, gate, limits and
//! events: `cargo run --release -p ice-runtime --example floor -- plugins/target/components/kits/aggregator.wasm`.
//!
//! Prints one line a figure for the tables of `tests/bench`: table, row, column and value with tabs between them.
//! The floor under [`ice_runtime::Runtime`], not a part of it: nothing here is used by the host.

use std::io::Write;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::exports::ice::plugin::tools::CallContext;

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package ice:floor;
        world kit { export ice:plugin/tools@0.1.0; }
    ",
    world: "ice:floor/kit",
});

/// Calls that count, and calls before them.
const CALLS: usize = 3_000;
const WARM_UP: usize = 300;

/// The same input and tool as in `tests/bench/calls.rs`.
const TOOL: &str = "aggregator_concat";
const INPUT: &str = r#"{"inputs":["first text","second text","third text","fourth text","fifth text"],"sep":", "}"#;

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn pooled() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(64).total_component_instances(64).total_stacks(64);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(512 << 10).table_keep_resident(64 << 10);
    }
    pool
}

fn measure(row: &str, config: &Config, bytes: &[u8]) -> wasmtime::Result<()> {
    let engine = Engine::new(config)?;
    let component = Component::new(&engine, bytes)?;
    let mut linker = Linker::<Guest>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    let pre = KitPre::new(linker.instantiate_pre(&component)?)?;
    let context = CallContext {
        execution_id: "bench".into(),
        node_id: "node".into(),
        attempt: 1,
        session_id: None,
        deadline_ms: 60_000,
    };
    let call = || -> wasmtime::Result<Duration> {
        let began = Instant::now();
        let guest = Guest { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&engine, guest);
        let kit = pre.instantiate(&mut store)?;
        let answer = kit.ice_plugin_tools().call_call(&mut store, TOOL, &INPUT.to_owned(), &context)?;
        drop(store);
        let took = began.elapsed();
        answer.map_err(|error| wasmtime::Error::msg(format!("the tool refused: {error:?}")))?;
        Ok(took)
    };
    for _ in 0..WARM_UP {
        call()?;
    }
    let mut took = (0..CALLS).map(|_| call()).collect::<wasmtime::Result<Vec<Duration>>>()?;
    took.sort();
    let at = |percent: usize| took[(CALLS - 1) * percent / 100].as_secs_f64() * 1e6;
    let total: Duration = took.iter().sum();
    let rate = f64::from(u32::try_from(CALLS)?) / total.as_secs_f64();
    let mut out = std::io::stdout().lock();
    for (column, value) in [("p50 µs", at(50)), ("p99 µs", at(99)), ("calls/s", rate)] {
        writeln!(out, "call\t{row}\t{column}\t{value:.2}")?;
    }
    Ok(())
}

fn main() -> wasmtime::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err(wasmtime::Error::msg("name the component of the kit `aggregator`"));
    };
    let bytes = std::fs::read(path)?;
    measure("floor: bare wasmtime, fresh instance, on demand", &Config::new(), &bytes)?;
    let mut config = Config::new();
    config.allocation_strategy(pooled());
    measure("floor: bare wasmtime, fresh instance, pooled like ice", &config, &bytes)
}
