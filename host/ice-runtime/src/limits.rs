//! What one call may use: defaults, the tighter of node, grant and host, and the meter of its memory.
//!
//! Not here: counting host calls and bytes (`gate.rs`), processor time (`cpu.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use ice_core::grant::LimitSettings;
use ice_core::id::ExecutionId;
use ice_core::problem::{Code, Problem};

/// Largest JSON that crosses from a guest to the host in one call: outputs, prompts, tool inputs.
pub const TRANSFER_BYTES_MAX: usize = 16 << 20;

/// Limits of one call on this host. Ordinary values; nothing here reads the environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// All memories and tables of the call together, in bytes.
    pub memory_bytes: u64,
    /// From the start of the guest to its end.
    pub wall: Duration,
    /// Processor time inside the guest.
    pub cpu: Duration,
    /// Text of log lines; what is over is dropped and counted.
    pub log_bytes: u64,
    /// Calls from the guest into the host, WASI included.
    pub host_calls: u32,
    /// Bytes sent out through http.
    pub egress_bytes: u64,
}

impl Limits {
    /// For tools.
    pub const TOOL: Self = Self {
        memory_bytes: 512 << 20,
        wall: Duration::from_secs(30),
        cpu: Duration::from_secs(10),
        log_bytes: 256 << 10,
        host_calls: 10_000,
        egress_bytes: 64 << 20,
    };
    /// For agents: the same, but they spend their life waiting for models and tools.
    pub const AGENT: Self = Self { wall: Duration::from_secs(600), cpu: Duration::from_secs(30), ..Self::TOOL };
    /// For `describe` of a component nobody trusts yet.
    pub const DESCRIBE: Self = Self {
        memory_bytes: 64 << 20,
        wall: Duration::from_secs(5),
        cpu: Duration::from_secs(5),
        log_bytes: 16 << 10,
        host_calls: 1_000,
        egress_bytes: 0,
    };
}

/// The host's limits by kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostLimits {
    /// For tools, and for blueprints that a bundle makes by code.
    pub tool: Limits,
    /// For agents.
    pub agent: Limits,
    /// For `describe`, before anybody trusts the component.
    pub describe: Limits,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self { tool: Limits::TOOL, agent: Limits::AGENT, describe: Limits::DESCRIBE }
    }
}

/// Who set a limit, and so who can raise it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SetBy {
    Node,
    Grant,
    Host,
}

/// A limit and where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bound<T> {
    pub(crate) value: T,
    pub(crate) set_by: SetBy,
}

/// Every limit of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: Bound<u64>,
    pub(crate) wall: Bound<Duration>,
    pub(crate) cpu: Bound<Duration>,
    pub(crate) log_bytes: Bound<u64>,
    pub(crate) host_calls: Bound<u32>,
    pub(crate) egress_bytes: Bound<u64>,
}

impl Bounds {
    /// The tighter of the three, limit by limit.
    pub(crate) fn tighten(host: &Limits, grant: &LimitSettings, node: &LimitSettings) -> Self {
        fn least<T: Ord + Copy>(host: T, grant: Option<T>, node: Option<T>) -> Bound<T> {
            let mut bound = Bound { value: host, set_by: SetBy::Host };
            for (value, set_by) in [(grant, SetBy::Grant), (node, SetBy::Node)] {
                if let Some(value) = value.filter(|value| *value < bound.value) {
                    bound = Bound { value, set_by };
                }
            }
            bound
        }
        let mebibytes = |n: Option<u32>| n.map(|n| u64::from(n) << 20);
        let kibibytes = |n: Option<u32>| n.map(|n| u64::from(n) << 10);
        let seconds = |n: Option<u32>| n.map(|n| Duration::from_secs(n.into()));
        Self {
            memory_bytes: least(host.memory_bytes, mebibytes(grant.memory_mb), mebibytes(node.memory_mb)),
            wall: least(host.wall, seconds(grant.timeout_seconds), seconds(node.timeout_seconds)),
            cpu: least(host.cpu, seconds(grant.cpu_seconds), seconds(node.cpu_seconds)),
            log_bytes: least(host.log_bytes, kibibytes(grant.log_kb), kibibytes(node.log_kb)),
            host_calls: least(host.host_calls, grant.host_calls, node.host_calls),
            egress_bytes: least(host.egress_bytes, grant.egress_bytes, node.egress_bytes),
        }
    }
}

/// Why the host stopped a guest. Travels through wasmtime as the error of the interrupted call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the time limit")]
    Wall,
    #[error("the limit of processor time")]
    Cpu,
    #[error("the limit of memory")]
    Memory,
    #[error("the limit of the stack")]
    Stack,
    #[error("the limit of host calls")]
    HostCalls,
    #[error("the limit of data passed to the host")]
    Transfer,
    #[error("a request to stop")]
    Cancelled,
}

impl Stop {
    /// Says in words what `who` (for example ``tool `quote` ``) did and how to let it do more.
    /// `plugin` is the name to grant to; `kind` is `TOOL` or `AGENT`, as the host's settings spell it, or `None` when
    /// the limit is fixed.
    pub(crate) fn problem(self, bounds: &Bounds, who: &str, plugin: &str, kind: Option<&str>) -> Problem {
        let (wall, cpu) = (bounds.wall.value, bounds.cpu.value);
        let memory = bounds.memory_bytes.value >> 20;
        let raise = |set_by: SetBy, limit: &str, next: u64| match (set_by, kind) {
            (SetBy::Node, _) => format!("raise the limit `{limit}` of the node, for example to {next}"),
            (SetBy::Grant, _) => format!("raise it with `ice plugins grant {plugin} limits.{limit}={next}`"),
            (SetBy::Host, Some(kind)) => format!(
                "raise it for every {} with `ICE_SANDBOX_{kind}_{}={next}`",
                kind.to_ascii_lowercase(),
                limit.to_ascii_uppercase()
            ),
            (SetBy::Host, None) => "this limit is fixed: return constants and compute nothing here".to_owned(),
        };
        let doubled = |limit: Duration| (limit.as_secs() * 2).max(1);
        let (code, message, help) = match self {
            Self::Wall => (
                Code::G010,
                format!("{who} ran longer than {wall:?} and was stopped"),
                raise(bounds.wall.set_by, "timeout_seconds", doubled(wall)),
            ),
            Self::Cpu => (
                Code::G011,
                format!("{who} used more than {cpu:?} of processor time and was stopped"),
                raise(bounds.cpu.set_by, "cpu_seconds", doubled(cpu)),
            ),
            Self::Memory => (
                Code::G012,
                format!("{who} asked for more than {memory} MiB of memory"),
                raise(bounds.memory_bytes.set_by, "memory_mb", memory.max(1) * 2),
            ),
            Self::Stack => (
                Code::G013,
                format!("{who} recursed deeper than its stack of {} KiB", crate::engine::WASM_STACK_BYTES >> 10),
                "the stack is the same for every component: loop instead of recursing, or bound the depth of the input"
                    .to_owned(),
            ),
            Self::HostCalls => (
                Code::G014,
                format!("{who} called the host more than {} times and was stopped", bounds.host_calls.value),
                raise(bounds.host_calls.set_by, "host_calls", u64::from(bounds.host_calls.value).max(1) * 2),
            ),
            Self::Transfer => (
                Code::G016,
                format!("{who} passed more than {} MiB to the host in one call", TRANSFER_BYTES_MAX >> 20),
                "the limit is the same for every component: answer in parts, or with a reference".to_owned(),
            ),
            Self::Cancelled => (Code::X002, format!("{who} was cancelled"), String::new()),
        };
        let problem = Problem::new(code, message);
        if help.is_empty() { problem } else { problem.help(help) }
    }
}

/// Adds up the memories and tables of one store, and refuses growth over the limit.
/// The guest sees a refusal as a failed `memory.grow`; most languages then give up, which is reported as the limit.
/// Nothing is ever given back: wasm memory does not shrink.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: u64,
    used: u64,
    /// Whether growth was refused.
    pub(crate) refused: bool,
}

/// Wasmtime keeps one pointer for each element of a table.
const TABLE_ELEMENT_BYTES: u64 = 8;

impl MemoryMeter {
    /// Allows `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: 0, refused: false }
    }

    /// The sum of all memories and tables. They never shrink, so this is also the peak.
    pub(crate) fn peak(&self) -> u64 {
        self.used
    }

    fn grow(&mut self, bytes: u64) -> bool {
        let next = self.used.saturating_add(bytes);
        if next > self.limit {
            self.refused = true;
            return false;
        }
        self.used = next;
        true
    }
}

impl wasmtime::ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        // Growth over the memory's own maximum fails right after this and must not be added.
        let fails = max.is_some_and(|max| desired > max);
        Ok(fails || self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> wasmtime::Result<bool> {
        let fails = desired > max.unwrap_or(usize::MAX).min(crate::engine::TABLE_ELEMENTS);
        Ok(fails || self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES)))
    }
}

/// What each plugin spent in each recent execution, for `llm.usd_per_execution` of a grant.
/// A view for refusing early: the engine's budget is the truth about money.
#[derive(Default)]
pub(crate) struct Spending {
    spent: Mutex<(HashMap<SpendingKey, u64>, VecDeque<SpendingKey>)>,
}

type SpendingKey = (ExecutionId, String);

/// Executions with their plugins that are remembered; the oldest is forgotten first.
const SPENDING_ROWS_MAX: usize = 10_000;

impl Spending {
    /// What `plugin` spent in `execution`, in micro-USD.
    pub(crate) fn spent(&self, execution: &ExecutionId, plugin: &str) -> u64 {
        let spent = self.spent.lock().expect("no panic while locked");
        spent.0.get(&(execution.clone(), plugin.to_owned())).copied().unwrap_or(0)
    }

    /// Adds what a call cost.
    pub(crate) fn add(&self, execution: &ExecutionId, plugin: &str, micro_usd: u64) {
        if micro_usd == 0 {
            return;
        }
        let mut spent = self.spent.lock().expect("no panic while locked");
        let (rows, order) = &mut *spent;
        let key = (execution.clone(), plugin.to_owned());
        if !rows.contains_key(&key) {
            order.push_back(key.clone());
            if order.len() > SPENDING_ROWS_MAX {
                let oldest = order.pop_front();
                oldest.map(|oldest| rows.remove(&oldest));
            }
        }
        let row = rows.entry(key).or_default();
        *row = row.saturating_add(micro_usd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_of_node_grant_and_host_wins() {
        let grant = LimitSettings { memory_mb: Some(64), timeout_seconds: Some(120), ..LimitSettings::default() };
        let node = LimitSettings { memory_mb: Some(128), cpu_seconds: Some(1), ..LimitSettings::default() };
        let bounds = Bounds::tighten(&Limits::TOOL, &grant, &node);
        assert_eq!(bounds.memory_bytes, Bound { value: 64 << 20, set_by: SetBy::Grant });
        assert_eq!(bounds.wall, Bound { value: Duration::from_secs(30), set_by: SetBy::Host });
        assert_eq!(bounds.cpu, Bound { value: Duration::from_secs(1), set_by: SetBy::Node });
    }

    #[test]
    fn memory_and_tables_add_up_and_growth_that_fails_anyway_does_not() {
        use wasmtime::ResourceLimiter as _;
        let mut meter = MemoryMeter::new(1_000);
        assert!(meter.memory_growing(0, 600, None).unwrap());
        assert!(meter.memory_growing(600, 900, Some(700)).unwrap());
        assert!(meter.table_growing(0, 50, None).unwrap());
        assert_eq!((meter.peak(), meter.refused), (1_000, false));
        assert!(!meter.memory_growing(600, 601, None).unwrap(), "600 + 50 × 8 is the limit");
        assert!(meter.refused);
    }

    #[test]
    fn a_stop_names_who_can_raise_the_limit() {
        let node = LimitSettings { timeout_seconds: Some(2), ..LimitSettings::default() };
        let bounds = Bounds::tighten(&Limits::TOOL, &LimitSettings::default(), &node);
        let problem = Stop::Wall.problem(&bounds, "tool `quote`", "commerce", Some("TOOL"));
        assert_eq!(problem.code, Code::G010);
        assert_eq!(problem.message, "tool `quote` ran longer than 2s and was stopped");
        assert!(problem.help.unwrap().contains("`timeout_seconds` of the node"));
        let problem = Stop::Cpu.problem(&bounds, "tool `quote`", "commerce", Some("TOOL"));
        assert!(problem.help.unwrap().contains("ICE_SANDBOX_TOOL_CPU_SECONDS=20"));
    }

    #[test]
    fn spending_is_kept_by_execution_and_plugin() {
        let spending = Spending::default();
        let (one, two) = (ExecutionId("1".into()), ExecutionId("2".into()));
        spending.add(&one, "a", 5);
        spending.add(&one, "a", 6);
        spending.add(&two, "a", 1);
        assert_eq!((spending.spent(&one, "a"), spending.spent(&two, "a"), spending.spent(&one, "b")), (11, 1, 0));
    }
}
