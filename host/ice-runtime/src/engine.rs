//! The one wasmtime configuration: what code may be compiled, where instances live, how a guest is interrupted.
//!
//! Not here: limits of one call (`limits.rs`), what is linked (`linker.rs`).

use std::sync::Arc;

use ice_core::problem::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, WasmBacktraceDetails};

/// Depth of recursion inside a guest, in bytes of stack.
pub const WASM_STACK_BYTES: usize = 512 << 10;

/// A fiber holds the guest's stack and, above it, the frames of the host call it waits in: futures of TLS and
/// databases are polled there. Address space only; pages are touched when used.
const FIBER_STACK_BYTES: usize = WASM_STACK_BYTES + (1536 << 10);

/// Linear memories that can live at once. Each reserves 4 GiB of the 128 TiB of address space, so that wasm code
/// needs no bounds check.
const MEMORIES: u32 = 768;

/// Memories kept for agents: an agent waits for its tools, so tools must never wait for agents.
const MEMORIES_FOR_AGENTS: u32 = 256;

/// Tables that can live at once, per memory. A Rust component has one memory and two or three tables.
const TABLES_PER_MEMORY: u32 = 4;

/// Largest table: what a 12 MB JavaScript engine needs, with room. Eight bytes an element, reserved.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;

/// Core instances of one component; a Python component has about forty.
const CORE_INSTANCES_PER_COMPONENT: u32 = 128;

/// Memories of one component.
const MEMORIES_PER_COMPONENT: u32 = 16;

/// Dirty bytes of a freed memory that are reset in place instead of being given back to the kernel. A call of a Rust
/// component dirties about 40 KiB; more than this is given back, so that the pool's idle size stays small.
const KEEP_RESIDENT_BYTES: usize = 512 << 10;

/// Freed memories of other components that keep their pages for the next call.
const WARM_SLOTS: u32 = 64;

/// The engine, and how many instances it has room for.
pub(crate) struct Sandbox {
    /// Compiles and runs.
    pub(crate) engine: Engine,
    /// How instances are allocated, for people: `pooling + pagemap scan`, `pooling` or `on demand`.
    pub(crate) allocation: &'static str,
    tools: Arc<Semaphore>,
    agents: Arc<Semaphore>,
}

/// Room in the pool, given back when dropped. Must outlive the store.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Sandbox {
    /// Builds the engine: with the pool if the machine lets us reserve its address space, else with a smaller pool,
    /// else without. Fails (C003) when the processor or the system cannot run wasmtime at all.
    pub(crate) fn new() -> Result<Self, Problem> {
        let pagemap = PoolingAllocationConfig::is_pagemap_scan_available();
        for memories in [MEMORIES, MEMORIES / 8] {
            let mut config = config();
            config.allocation_strategy(pool(memories, pagemap));
            if let Ok(engine) = Engine::new(&config) {
                let allocation = if pagemap { "pooling + pagemap scan" } else { "pooling" };
                return Ok(Self::with(engine, memories, allocation));
            }
        }
        let engine = Engine::new(&config()).map_err(|error| {
            Problem::new(Code::C003, format!("the wasm engine cannot start: {error:#}"))
                .help("run on 64-bit Linux or macOS, and let the process map memory (`ulimit -v unlimited`)")
        })?;
        Ok(Self::with(engine, MEMORIES, "on demand"))
    }

    fn with(engine: Engine, memories: u32, allocation: &'static str) -> Self {
        let agents = memories * MEMORIES_FOR_AGENTS / MEMORIES;
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        Self { engine, allocation, tools: semaphore(memories - agents), agents: semaphore(agents) }
    }

    /// Waits until `weight` memories (see [`weight`]) are free, so that a full pool delays a call instead of failing it.
    pub(crate) async fn slot(&self, weight: u32, agent: bool) -> Slot {
        let room = if agent { &self.agents } else { &self.tools };
        let permit = Arc::clone(room).acquire_many_owned(weight).await;
        Slot { _permit: permit.expect("the semaphore is never closed") }
    }
}

/// How much of the pool one instance of `component` takes, in memories; `None` when it is more than one may have.
pub(crate) fn weight(component: &wasmtime::component::Component) -> Option<u32> {
    let needs = component.resources_required()?;
    let weight = needs.num_memories.max(needs.num_tables.div_ceil(TABLES_PER_MEMORY)).max(1);
    (weight <= MEMORIES_PER_COMPONENT).then_some(weight)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // Concurrent tasks inside one instance cost 12 µs a call and no world of `wit/` uses them.
        .concurrency_support(false)
        // Collecting frames when a guest is killed takes seven times as long as killing it.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .wasm_memory64(false)
        // The same call gives the same answer on every processor.
        .relaxed_simd_deterministic(true);
    config
}

fn pool(memories: u32, pagemap: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(memories)
        .total_core_instances(memories * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(memories)
        .total_tables(memories * TABLES_PER_MEMORY)
        .total_stacks(memories)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(MEMORIES_PER_COMPONENT * TABLES_PER_MEMORY)
        .max_component_instance_size(16 << 20)
        .max_tables_per_module(16)
        .max_memories_per_module(4)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS);
    // Without the scan, keeping pages means copying all of them at every reset: slower than giving them back.
    if pagemap {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(KEEP_RESIDENT_BYTES).table_keep_resident(64 << 10);
    }
    pool
}
