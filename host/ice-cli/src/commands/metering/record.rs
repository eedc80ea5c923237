//! Events of an execution → records for a bill. Pure, and one event at a time: a long execution is never in memory whole.
//!
//! Processor time, memory and requests stand on the record of the component's call; tokens and money on the record of
//! the model's call, with the component that asked. A sum over any set of records therefore counts nothing twice.

use std::collections::HashMap;

use ice_core::budget::{MicroUsd, Receipt, Usage};
use ice_core::event::{CalledComponent, CapabilityUse, Event, Fact, Origin};
use ice_core::grant::Capability;
use ice_core::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use ice_core::manifest::print_date;
use ice_core::problem::{Code, Problem};
use serde::Serialize;
use serde_json::Value;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A call of a tool or an agent.
    Component,
    /// A call of a model, an embedding among them.
    Model,
}

/// How what a record is about ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It gave an answer.
    Finished,
    /// It failed.
    Failed,
    /// It failed, and the node was tried again.
    Retried,
    /// It was broken off half way: what it cost is not known.
    CutOff,
}

/// One record. Members are never left out; what is not known is null.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub(super) struct Record {
    /// The same in every export, and of no other record: execution, node, attempt and number of the event.
    pub(super) record: String,
    pub(super) kind: Kind,
    /// RFC 3339, with milliseconds: when it ended.
    pub(super) at: String,
    pub(super) org: String,
    pub(super) user: String,
    pub(super) execution: ExecutionId,
    pub(super) node: NodePath,
    pub(super) plugin: Option<String>,
    pub(super) version: Option<String>,
    /// The tool or agent.
    pub(super) component: Option<String>,
    pub(super) artifact: Option<Digest>,
    pub(super) statement: Option<Digest>,
    pub(super) calls: u32,
    pub(super) wall_ms: f64,
    pub(super) cpu_ms: f64,
    /// Largest sum of the guest's memories and tables.
    pub(super) memory_bytes: u64,
    /// `provider/model` that answered.
    pub(super) model: Option<String>,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) micro_usd: MicroUsd,
    /// Calls whose price is not known; when not 0, `micro_usd` is a lower bound.
    pub(super) unpriced_calls: u32,
    pub(super) http_requests: u32,
    pub(super) egress_bytes: u64,
    pub(super) status: Status,
    /// When it ended, for filters.
    #[serde(skip)]
    pub(super) ended: UnixMs,
    /// Exact, for sums.
    #[serde(skip)]
    pub(super) cpu_us: u64,
}

/// A node that has begun and not ended.
struct Begun {
    kind: String,
    at: UnixMs,
    component: Option<Box<CalledComponent>>,
}

/// Reads the events of one execution, in their order and from the first.
pub(super) struct Reader {
    execution: ExecutionId,
    identity: Identity,
    begun: HashMap<NodePath, Begun>,
    /// The event that settles the use before it, which has a record already: number, path and amount.
    due: Option<(u64, NodePath, Usage)>,
    /// Whether models and HTTP were answered from a cassette.
    replayed: bool,
}

impl Reader {
    pub(super) fn new(execution: ExecutionId) -> Self {
        let identity = Identity { org: String::new(), user: String::new(), session: None };
        Self { execution, identity, begun: HashMap::new(), due: None, replayed: false }
    }

    /// Takes in the next event; returns the record it makes, if it makes one.
    pub(super) fn take(&mut self, event: &Event) -> Option<Record> {
        let record = match &event.fact {
            Fact::ExecutionStarted { identity, origin, .. } => {
                self.identity = identity.clone();
                self.replayed = matches!(origin.as_deref(), Some(Origin::Replay { .. }));
                None
            }
            Fact::NodeStarted { kind, component, .. } => {
                let begun = Begun { kind: kind.clone(), at: event.at, component: component.clone() };
                self.begun.insert(event.path.clone(), begun);
                None
            }
            Fact::NodeFinished { receipt, .. } => self.called(event, receipt.as_deref(), Status::Finished),
            Fact::NodeRetried { problem, receipt, .. } => {
                self.called(event, receipt.as_deref(), Status::Retried).or_else(|| self.dropped(event, problem))
            }
            Fact::NodeFailed { problem, receipt } => {
                self.called(event, receipt.as_deref(), Status::Failed).or_else(|| self.dropped(event, problem))
            }
            // Paid when the cassette was recorded.
            Fact::CapabilityUsed(_) | Fact::BudgetSettled { .. } if self.replayed => None,
            Fact::CapabilityUsed(used) => self.used(event, used),
            Fact::BudgetSettled { used } => self.settled(event, used),
            _ => None,
        };
        if matches!(event.fact, Fact::NodeFinished { .. } | Fact::NodeFailed { .. } | Fact::NodeSkipped { .. }) {
            self.begun.remove(&event.path);
        }
        record
    }

    /// A call of a component. An answer from the cache has no receipt.
    fn called(&self, event: &Event, receipt: Option<&Receipt>, status: Status) -> Option<Record> {
        let receipt = receipt?;
        Some(Record {
            wall_ms: milliseconds(receipt.wall_us),
            cpu_ms: milliseconds(receipt.cpu_us),
            cpu_us: receipt.cpu_us,
            memory_bytes: receipt.peak_memory,
            http_requests: receipt.http_requests,
            egress_bytes: receipt.egress_bytes,
            ..self.record(event, Kind::Component, status)
        })
    }

    /// A call of a component that did not stop when it was told to, and was dropped: all that is known is how long it took.
    /// Every other failure without a receipt was one before anything ran.
    fn dropped(&self, event: &Event, problem: &Problem) -> Option<Record> {
        let begun = self.begun.get(&event.path).filter(|begun| begun.component.is_some())?;
        let stopped = matches!(problem.code, Code::X002 | Code::X003);
        stopped.then(|| Record {
            wall_ms: milliseconds(event.at.saturating_sub(begun.at).saturating_mul(1_000)),
            ..self.record(event, Kind::Component, Status::CutOff)
        })
    }

    /// A call of a model, or of something else that has a price.
    fn used(&mut self, event: &Event, used: &CapabilityUse) -> Option<Record> {
        // The settlement is appended with the use: they are neighbours.
        self.due = Some((event.seq + 1, event.path.clone(), used.usage));
        if used.capability != Capability::Llm && used.usage == Usage::default() {
            return None;
        }
        let status = if used.reply.is_some() { Status::Finished } else { Status::Failed };
        let model = used.reply.as_ref().and_then(|reply| reply.get("model")).and_then(Value::as_str);
        Some(Record {
            #[expect(clippy::cast_precision_loss, reason = "no call takes 2^53 ms")]
            wall_ms: used.ms as f64,
            model: model.map(str::to_owned),
            ..priced(self.record(event, Kind::Model, status), &used.usage)
        })
    }

    /// Money and tokens that no use tells of: a call that was broken off, or an embedding the engine asked for. What a
    /// `workflow` node settles is the sum of its child execution, whose own events tell it in full.
    fn settled(&self, event: &Event, used: &Usage) -> Option<Record> {
        let of_child = self.begun.get(&event.path).is_some_and(|begun| begun.kind == "workflow");
        let told = self.due.as_ref().is_some_and(|due| *due == (event.seq, event.path.clone(), *used));
        if told || of_child || *used == Usage::default() {
            return None;
        }
        let paid = used.total_tokens() > 0 || used.cost_micro_usd > 0;
        let status = if paid { Status::Finished } else { Status::CutOff };
        Some(priced(self.record(event, Kind::Model, status), used))
    }

    /// A record with nothing used.
    fn record(&self, event: &Event, kind: Kind, status: Status) -> Record {
        let component = self.begun.get(&event.path).and_then(|begun| begun.component.as_deref());
        Record {
            record: format!("{}/{}/{}/{}", self.execution, event.path, event.attempt, event.seq),
            kind,
            at: print_moment(event.at),
            org: self.identity.org.clone(),
            user: self.identity.user.clone(),
            execution: self.execution.clone(),
            node: event.path.clone(),
            plugin: component.map(|component| component.plugin.clone()),
            version: component.and_then(|component| component.version.clone()),
            component: component.map(|component| component.name.clone()),
            artifact: component.map(|component| component.artifact),
            statement: component.and_then(|component| component.statement),
            calls: 1,
            wall_ms: 0.0,
            cpu_ms: 0.0,
            memory_bytes: 0,
            model: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            micro_usd: 0,
            unpriced_calls: 0,
            http_requests: 0,
            egress_bytes: 0,
            status,
            ended: event.at,
            cpu_us: 0,
        }
    }
}

fn priced(record: Record, usage: &Usage) -> Record {
    Record {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        micro_usd: usage.cost_micro_usd,
        unpriced_calls: usage.unpriced_calls,
        ..record
    }
}

#[expect(clippy::cast_precision_loss, reason = "no call takes 2^53 µs, which are 285 years")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// RFC 3339 in UTC with milliseconds: `2026-11-20T00:00:00.250Z`.
pub(super) fn print_moment(at: UnixMs) -> String {
    let seconds = print_date(at / 1_000);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), at % 1_000)
}

#[cfg(test)]
mod tests {
    use ice_core::catalog::CallKind;
    use serde_json::json;

    use super::*;

    fn event(seq: u64, path: &str, fact: Fact) -> Event {
        Event { seq, at: 1_790_000_000_000 + seq, path: NodePath(path.into()), attempt: 1, fact }
    }

    fn started(seq: u64, path: &str, kind: &str) -> Event {
        let component = CalledComponent {
            kind: CallKind::Tool,
            name: "quote".into(),
            plugin: "acme/shop".into(),
            version: Some("1.2.3".into()),
            artifact: Digest::of(b"component"),
            statement: None,
        };
        let component = (kind == "tool").then(|| Box::new(component));
        event(seq, path, Fact::NodeStarted { kind: kind.into(), idempotency_key: String::new(), component })
    }

    fn usage(tokens: u64) -> Usage {
        Usage { input_tokens: tokens, output_tokens: 1, cost_micro_usd: tokens * 2, unpriced_calls: 0 }
    }

    fn asked(seq: u64, path: &str, reply: Option<Value>, usage: Usage) -> Event {
        let used = CapabilityUse {
            capability: Capability::Llm,
            operation: "complete".into(),
            ordinal: 0,
            request: Digest::of(b"request"),
            reply,
            usage,
            ms: 30,
        };
        event(seq, path, Fact::CapabilityUsed(used))
    }

    fn receipt() -> Option<Box<Receipt>> {
        // The guest's own sum of what models cost stands on their records.
        let receipt =
            Receipt { cpu_us: 1_500, wall_us: 2_250, peak_memory: 65_536, usage: usage(4), ..Receipt::default() };
        Some(Box::new(Receipt { http_requests: 2, egress_bytes: 99, ..receipt }))
    }

    fn finished(seq: u64, path: &str) -> Event {
        let fact = Fact::NodeFinished { output: json!(1), cached: false, receipt: receipt(), usage: usage(4) };
        event(seq, path, fact)
    }

    fn settled(seq: u64, path: &str, used: Usage) -> Event {
        event(seq, path, Fact::BudgetSettled { used })
    }

    fn read(events: &[Event]) -> Vec<Record> {
        let mut reader = Reader::new(ExecutionId("e".into()));
        events.iter().filter_map(|event| reader.take(event)).collect()
    }

    #[test]
    fn a_component_that_asks_a_model_makes_two_records_and_no_amount_twice() {
        let reply = Some(json!({ "model": "acme/large" }));
        let records = read(&[
            started(2, "a", "tool"),
            event(3, "a", Fact::BudgetReserved { estimate: usage(9) }),
            asked(4, "a", reply, usage(4)),
            settled(5, "a", usage(4)),
            finished(6, "a"),
        ]);
        let [model, call] = &records[..] else { panic!("{records:?}") };
        assert_eq!((model.kind, model.model.as_deref(), model.micro_usd), (Kind::Model, Some("acme/large"), 8));
        assert_eq!((model.prompt_tokens, model.completion_tokens, model.wall_ms), (4, 1, 30.0));
        assert_eq!((call.kind, call.micro_usd, call.prompt_tokens), (Kind::Component, 0, 0));
        assert_eq!((call.cpu_ms, call.wall_ms, call.memory_bytes), (1.5, 2.25, 65_536));
        assert_eq!((call.http_requests, call.egress_bytes, call.status), (2, 99, Status::Finished));
        for record in &records {
            assert_eq!((record.plugin.as_deref(), record.component.as_deref()), (Some("acme/shop"), Some("quote")));
            assert_eq!((record.version.as_deref(), record.calls), (Some("1.2.3"), 1));
        }
        assert_eq!((model.record.as_str(), call.record.as_str()), ("e/a/1/4", "e/a/1/6"));
        assert_eq!(call.at, "2026-09-21T14:13:20.006Z");
    }

    #[test]
    fn failed_and_repeated_calls_are_records_too() {
        let problem = Problem::new(Code::X031, "no");
        let retried = Fact::NodeRetried { problem: problem.clone(), delay_ms: 5, receipt: receipt() };
        let failed = Fact::NodeFailed { problem: problem.clone(), receipt: receipt() };
        let refused = Fact::NodeFailed { problem, receipt: None };
        let late = Fact::NodeFailed { problem: Problem::new(Code::X003, "too long"), receipt: None };
        let records = read(&[
            started(2, "a", "tool"),
            event(3, "a", retried),
            started(4, "a", "tool"),
            asked(5, "a", None, Usage::default()),
            event(6, "a", failed),
            started(7, "b", "tool"),
            event(8, "b", refused),
            started(9, "c", "tool"),
            event(12, "c", late),
        ]);
        let statuses: Vec<(Kind, Status)> = records.iter().map(|record| (record.kind, record.status)).collect();
        let expected = [
            (Kind::Component, Status::Retried),
            (Kind::Model, Status::Failed),
            (Kind::Component, Status::Failed),
            (Kind::Component, Status::CutOff),
        ];
        assert_eq!(statuses, expected, "what never ran is no record");
        assert_eq!(records[3].wall_ms, 3.0, "from the first event of the node to its last");
    }

    #[test]
    fn a_settlement_behind_the_use_of_another_node_has_its_own_record() {
        let free = asked(3, "a", Some(json!({ "model": "acme/free" })), Usage::default());
        let records = read(&[started(2, "a", "tool"), free, settled(4, "b", usage(5))]);
        let rows: Vec<(&str, u64)> = records.iter().map(|record| (record.node.as_str(), record.micro_usd)).collect();
        assert_eq!(rows, [("a", 0), ("b", 10)]);
    }

    #[test]
    fn the_sum_of_a_child_execution_is_left_to_its_own_events() {
        let broken_off = Usage { unpriced_calls: 1, ..Usage::default() };
        let records = read(&[
            started(2, "w", "workflow"),
            settled(3, "w", usage(50)),
            started(4, "l", "llm"),
            settled(5, "l", broken_off),
            started(6, "agent", "agent"),
            settled(7, "agent", usage(3)),
            settled(8, "agent", Usage::default()),
        ]);
        let rows: Vec<(&str, Status, u64)> =
            records.iter().map(|record| (record.node.as_str(), record.status, record.micro_usd)).collect();
        assert_eq!(rows, [("l", Status::CutOff, 0), ("agent", Status::Finished, 6)]);
    }
}
