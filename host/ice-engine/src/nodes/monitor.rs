//! `monitor`: looks at cost, tokens, time and outputs while other nodes run, and tells, pauses or ends the execution when
//! its expression holds.
//!
//! Alerts are HTTP posts through the one way out: to `alert_targets` of the node, or to the gateway the operator named
//! for the channel ([`EngineOptions::alert_gateways`](crate::EngineOptions)). Email and text messages always go through
//! such a gateway: this host speaks neither. A monitor is done when it triggered, or when what it watches is done.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::event::{CapabilityUse, Fact};
use ice_core::grant::Capability;
use ice_core::ports::{Failure, HttpRequest};
use ice_core::problem::{Code, Problem};
use ice_core::template::{Template, datum};
use ice_core::wait::{Question, WaitId};
use serde_json::{Value, json};

use super::{Done, Node, NodeKind, ask, webhook};
use crate::asking;
use crate::context::NodeRun;
use crate::keys;
use crate::plan::{PlanContext, Stand};

/// `type: monitor`.
#[derive(Debug)]
pub struct MonitorKind;

/// Something that is looked at again and again.
#[derive(Debug)]
pub struct Monitor {
    /// Over `cost` in dollars, `tokens`, `seconds`, and the outputs of the nodes beside it.
    pub metric: Template,
    /// What happens when it holds.
    pub action: Action,
    /// Who is told.
    pub channels: Vec<Alert>,
    /// Between two looks, in milliseconds.
    pub interval_ms: u64,
    /// Positions of the nodes that are watched; all that run beside it without.
    pub watch: Option<Vec<usize>>,
}

/// What happens when a monitor triggers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Action {
    /// Somebody is told.
    #[default]
    AlertOnly,
    /// No node begins until a person agrees; a no ends the execution.
    Pause,
    /// The execution ends as failed.
    Abort,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AlertOnly => "alert_only",
            Self::Pause => "pause",
            Self::Abort => "abort",
        }
    }
}

/// One way to tell.
#[derive(Debug)]
pub struct Alert {
    /// `webhook`, `slack`, `email`, `sms` or `dashboard`.
    pub channel: &'static str,
    /// A URL for `webhook` and `slack`, an address for `email` and `sms`.
    pub target: Option<Template>,
}

const ACTIONS: &[(&str, Action)] =
    &[("alert_only", Action::AlertOnly), ("pause", Action::Pause), ("abort", Action::Abort)];

const CHANNELS: &[&str] = &["webhook", "slack", "email", "sms", "dashboard"];

/// Channels whose target is the URL itself.
const DIRECT: &[&str] = &["webhook", "slack"];

const INTERVAL_MS: u64 = 5_000;

/// Looking costs little, and not nothing.
const INTERVAL_MS_MIN: u64 = 1_000;

const ALERT_TIMEOUT_MS: u64 = 10_000;

/// What the expression sees besides outputs.
const LIVE: &[&str] = &["cost", "tokens", "seconds"];

impl NodeKind for MonitorKind {
    fn name(&self) -> &'static str {
        "monitor"
    }

    fn keys(&self) -> &'static [&'static str] {
        &[
            "metric_expression",
            "action_on_trigger",
            "alert_channels",
            "alert_targets",
            "check_interval_seconds",
            "watch",
        ]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        let before = cx.problem_count();
        let action = cx.fields(doc).choice("action_on_trigger", ACTIONS).unwrap_or_default();
        let interval_ms = cx.fields(doc).seconds("check_interval_seconds");
        if interval_ms.is_some_and(|ms| ms < INTERVAL_MS_MIN) {
            let pointer = format!("{}/check_interval_seconds", doc.pointer);
            cx.problem(Code::B005, &pointer, "`check_interval_seconds` must be at least 1", "write 1 or more");
        }
        if doc.finally {
            let message = "a monitor watches what runs, and nothing runs any more when `finally` nodes do";
            cx.problem(Code::B005, &format!("{}/finally", doc.pointer), message, "remove `finally`");
        }
        let channels = channels(doc, cx);
        let watch = watch(doc, cx);
        let metric = metric(doc, cx)?;
        let interval_ms = interval_ms.unwrap_or(INTERVAL_MS);
        (cx.problem_count() == before).then(|| Box::new(Monitor { metric, action, channels, interval_ms, watch }) as _)
    }
}

fn metric(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Template> {
    let text = cx.fields(doc).required_text("metric_expression")?;
    let beside = cx.neighbours();
    let own: Vec<&str> =
        LIVE.iter().copied().chain(beside.iter().map(String::as_str).filter(|id| *id != doc.id)).collect();
    cx.expression_over(text, &format!("{}/metric_expression", doc.pointer), &own)
}

fn channels(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Vec<Alert> {
    let names = cx.fields(doc).texts("alert_channels");
    let targets = cx.fields(doc).mapping("alert_targets").cloned().unwrap_or_default();
    let pointer = format!("{}/alert_targets", doc.pointer);
    cx.fields_at(&targets, &pointer).refuse_unknown(&[CHANNELS], "`alert_targets`");
    let mut alerts = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let Some(channel) = CHANNELS.iter().find(|channel| *channel == name) else {
            let pointer = format!("{}/alert_channels/{index}", doc.pointer);
            let message = format!("there is no alert channel `{name}`");
            cx.unknown(Code::B005, &pointer, message, name, CHANNELS.iter().copied());
            continue;
        };
        let target = cx.fields_at(&targets, &pointer).text(channel).map(str::to_owned);
        let target = target.and_then(|target| cx.template(&target.into(), &format!("{pointer}/{channel}"), None));
        alerts.push(Alert { channel, target });
    }
    for unused in targets.keys().filter(|key| !names.contains(key) && CHANNELS.contains(&key.as_str())) {
        let message = format!("`{unused}` is not among the `alert_channels`");
        cx.problem(Code::B005, &format!("{pointer}/{unused}"), message, format!("add `{unused}` to `alert_channels`"));
    }
    alerts
}

fn watch(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Vec<usize>> {
    cx.fields(doc).get("watch")?;
    let mut watched = Vec::new();
    for (index, id) in cx.fields(doc).texts("watch").iter().enumerate() {
        let pointer = format!("{}/watch/{index}", doc.pointer);
        match cx.stand_of(id) {
            Stand::Beside(index) if *id != doc.id => watched.push(index),
            Stand::Before(_) => {
                let message = format!("`{id}` is done before `{}` begins", doc.id);
                cx.problem(Code::B005, &pointer, message, format!("remove `{id}` from `dependencies`"));
            }
            Stand::Behind | Stand::Beside(_) => {
                let message = format!("`{}` cannot watch `{id}`, which waits for it", doc.id);
                cx.problem(Code::B013, &pointer, message, "watch nodes that run beside it");
            }
            Stand::Unknown => {
                let known = cx.neighbours();
                let message = format!("`{}` watches `{id}`, which does not exist", doc.id);
                cx.unknown(Code::B012, &pointer, message, id, known.iter().map(String::as_str));
            }
        }
    }
    Some(watched)
}

impl Monitor {
    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let run = cx.run();
        let watched = self.watch.clone().unwrap_or_else(|| beside(cx));
        let mut checks = 0;
        // It had triggered before a crash, and asked.
        let mut triggered = run.history.asked(&WaitId::new(&run.id, &cx.path, cx.attempt)).is_some();
        while !triggered {
            // Listens before it looks: what is settled in between rings the bell.
            let settled = cx.frame.settled.listen();
            let last = watched.iter().all(|node| cx.frame.settled.is(*node));
            checks += 1;
            triggered = self.holds(cx)?;
            if last || triggered {
                break;
            }
            let _watching = cx.watch();
            tokio::select! {
                biased;
                why = cx.stop.tripped() => return Err(Failure::never(why.clone())),
                () = settled => {}
                () = run.clock().sleep(self.interval_ms) => {}
            }
        }
        let mut sent = Vec::new();
        let mut action = "none";
        if triggered {
            action = self.action.as_str();
            sent = self.tell(cx).await?;
            self.act(cx).await?;
        }
        Ok(Done::new(json!({
            "triggered": triggered, "checks_performed": checks, "action_taken": action, "alerts_sent": sent,
        })))
    }

    /// Whether the expression holds. As long as a node it names has no output it does not.
    fn holds(&self, cx: &NodeRun<'_>) -> Result<bool, Failure> {
        let run = cx.run();
        let ids = cx.frame.graph.nodes.iter().map(|node| node.id.as_str());
        let roots = self.metric.roots();
        for (index, id) in ids.enumerate() {
            let named = roots.iter().any(|root| root == id) && !LIVE.contains(&id);
            if named && index != cx.index && cx.frame.output(index).is_none() {
                return Ok(false);
            }
        }
        let spent = run.meter.spent();
        let own = |name: &str| match name {
            "cost" => Some(datum(&ask::dollars(&spent))),
            "tokens" => Some(datum(&spent.total_tokens().into())),
            "seconds" => Some(datum(&(run.active_ms() / 1_000).into())),
            _ => {
                let index = cx.frame.graph.nodes.iter().position(|node| node.id.as_str() == name)?;
                cx.frame.output(index).map(|output| datum(output))
            }
        };
        cx.truth_over(&self.metric, "metric_expression", &own)
    }

    fn words(&self, cx: &NodeRun<'_>) -> String {
        let metric = self.metric.source().as_str().unwrap_or_default();
        format!("monitor `{}` of `{}` (execution {}): {metric}", cx.path, cx.run().name, cx.run().id)
    }

    /// Tells everybody. Who cannot be told is listed, and changes nothing for the others.
    async fn tell(&self, cx: &NodeRun<'_>) -> Result<Vec<Value>, Failure> {
        let mut sent = Vec::with_capacity(self.channels.len());
        for (ordinal, alert) in (0..).zip(&self.channels) {
            let told = self.alert(cx, alert, ordinal).await?;
            sent.push(match told {
                Ok(status) => json!({ "channel": alert.channel, "sent": true, "status": status }),
                Err(problem) => {
                    let message = format!("nobody was told by {}: {}", alert.channel, problem.message);
                    cx.run().push(&cx.path, cx.attempt, Fact::Logged { level: "warn".into(), message });
                    let problem = json!({ "code": problem.code, "message": problem.message });
                    json!({ "channel": alert.channel, "sent": false, "problem": problem })
                }
            });
        }
        Ok(sent)
    }

    /// Sends one alert, unless it was sent before a crash. Fails only when the execution must stop.
    async fn alert(&self, cx: &NodeRun<'_>, alert: &Alert, ordinal: u32) -> Result<Result<u64, Problem>, Failure> {
        let run = cx.run();
        let text = self.words(cx);
        if alert.channel == "dashboard" {
            // Whoever follows the execution sees its log.
            run.push(&cx.path, cx.attempt, Fact::Logged { level: "warn".into(), message: text });
            return Ok(Ok(200));
        }
        let target = alert.target.as_ref().map(|target| cx.render(target, "alert_targets")).transpose()?;
        let target = target.map(ask::words);
        let gateway = run.shared.options.alert_gateways.get(alert.channel).cloned();
        let direct = DIRECT.contains(&alert.channel);
        let Some(url) = target.clone().filter(|_| direct).or(gateway) else {
            let message = format!("this host has no gateway for {}", alert.channel);
            return Ok(Err(Problem::new(Code::X068, message)));
        };
        let body = match alert.channel {
            "slack" => json!({ "text": text }),
            "webhook" => json!({
                "execution": run.id, "blueprint": run.name, "node": cx.path, "metric": self.metric.source(),
                "action": self.action.as_str(), "text": text,
            }),
            _ => json!({ "to": target, "subject": format!("{} needs attention", run.name), "text": text }),
        };
        let request = keys::digest_of(&json!([url, body]));
        let before = run.history.uses(&cx.path, cx.attempt).iter().find(|used| used.ordinal == ordinal);
        if let Some(status) = before.and_then(|used| used.reply.as_ref()?.as_u64()) {
            return Ok(Ok(status));
        }
        let began = run.now();
        let operation = format!("POST {}", url.split(['?', '#']).next().unwrap_or_default());
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("idempotency-key".to_owned(), keys::idempotency_key(&run.id, &cx.path, ordinal, Some(&request))),
        ];
        let body = body.to_string().into_bytes();
        let post = HttpRequest { method: "POST".into(), url, headers, body, timeout_ms: ALERT_TIMEOUT_MS };
        let status = match webhook::send(cx, post).await {
            Ok(answer) if answer.status < 400 => u64::from(answer.status),
            Ok(answer) => {
                let message = format!("the other side answered with status {}", answer.status);
                return Ok(Err(Problem::new(Code::X022, message)));
            }
            Err(failure) if cx.stop.why().is_some() => return Err(failure),
            Err(failure) => return Ok(Err(failure.problem)),
        };
        let used = CapabilityUse {
            capability: Capability::Http,
            operation,
            ordinal,
            request,
            reply: Some(status.into()),
            usage: ice_core::budget::Usage::default(),
            ms: run.now().saturating_sub(began),
        };
        run.commit(&cx.path, cx.attempt, Fact::CapabilityUsed(used)).await?;
        Ok(Ok(status))
    }

    async fn act(&self, cx: &NodeRun<'_>) -> Result<(), Failure> {
        let goes_on = match self.action {
            Action::AlertOnly => true,
            Action::Abort => false,
            Action::Pause => {
                let _closed = cx.run().gate.close();
                let message = format!("The execution is paused by {}. Shall it go on?", self.words(cx));
                let question = || Ok(Question { message, ..Question::default() });
                asking::ask(cx, &cx.site(), question).await?.approved
            }
        };
        if !goes_on {
            let problem = Problem::new(Code::X023, format!("stopped by {}", self.words(cx)));
            cx.run().control.soft.trip(problem.subject(format!("node `{}`", cx.path)));
        }
        Ok(())
    }
}

/// Every node of the graph that can run beside the monitor: not another monitor, not what waits for this one.
fn beside(cx: &NodeRun<'_>) -> Vec<usize> {
    let nodes = &cx.frame.graph.nodes;
    let mut behind = BTreeSet::from([cx.index]);
    let mut walk = vec![cx.index];
    while let Some(at) = walk.pop() {
        walk.extend(nodes[at].dependents.iter().copied().filter(|dependent| behind.insert(*dependent)));
    }
    let runs = |node: &usize| {
        let other = &nodes[*node];
        !behind.contains(node) && other.kind != "monitor" && !other.finally && !other.standby
    };
    (0..nodes.len()).filter(runs).collect()
}

impl Node for Monitor {
    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn effects(&self) -> Effects {
        Effects::External
    }

    fn output_schema(&self) -> Option<Value> {
        Some(json!({
            "type": "object",
            "properties": {
                "triggered": {"type": "boolean"}, "checks_performed": {"type": "integer"},
                "action_taken": {"type": "string"}, "alerts_sent": {"type": "array"},
            },
            "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let metric = self.metric.source().as_str().unwrap_or_default();
        let mut text = format!("when {metric} then {}, every {} ms", self.action.as_str(), self.interval_ms);
        let channels: Vec<&str> = self.channels.iter().map(|alert| alert.channel).collect();
        if !channels.is_empty() {
            text.push_str(&format!(", tells {}", channels.join(", ")));
        }
        if let Some(watch) = &self.watch {
            text.push_str(&format!(", watches {} nodes", watch.len()).replace("watches 1 nodes", "watches 1 node"));
        }
        text
    }
}
