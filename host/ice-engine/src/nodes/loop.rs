//! `loop`: a graph for every item of a list.
//!
//! Output: `{results, errors}`. `results` holds, in the order of the items, the output of the body's last node (in the
//! order of the document); a failed item has no place in it. `errors` holds `{index, item, problem: {code, message}}`
//! for each failed item under `on_item_error: collect`.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ice_core::blueprint::NodeDoc;
use ice_core::catalog::Effects;
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};
use ice_core::template::Template;
use serde_json::{Value, json};

use super::{Done, Node, NodeKind};
use crate::context::NodeRun;
use crate::estimate::{Asking, ITEMS_HIGH, ITEMS_LIKELY, Known, Times};
use crate::plan::{Graph, PlanContext};
use crate::stop::Token;

/// Items that run at once with `parallel: true` and no `max_concurrency`.
const CONCURRENCY_DEFAULT: usize = 16;

/// Bound on `max_concurrency`, and on the branches of `parallel`: each running item holds its outputs.
pub(super) const CONCURRENCY_MAX: u64 = 10_000;

/// Items of one loop: their results are held together, and become one output.
const ITEMS_MAX: usize = 1_000_000;

/// `type: loop`.
#[derive(Debug)]
pub struct LoopKind;

/// A body that runs once for each item.
#[derive(Debug)]
pub struct Loop {
    /// Renders to the list of items.
    pub items: Template,
    /// The name of the item in the body's templates.
    pub item_var: String,
    /// Runs for each item; its last node's output is the item's result.
    pub body: Graph,
    /// Items that run at once; 1 is one after the other.
    pub concurrency: usize,
    /// Most items that run; those after it are left out.
    pub max_iterations: Option<u64>,
    /// What a failed item means.
    pub on_item_error: OnItemError,
}

/// What a failed item means for the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnItemError {
    /// The loop fails.
    #[default]
    Fail,
    /// The loop goes on and lists the failure under `errors`.
    Collect,
    /// The loop goes on.
    Skip,
}

impl NodeKind for LoopKind {
    fn name(&self) -> &'static str {
        "loop"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["items_source", "item_var", "body", "parallel", "max_concurrency", "max_iterations", "on_item_error"]
    }

    fn plan(&self, doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Box<dyn Node>> {
        const CHOICES: &[(&str, OnItemError)] =
            &[("fail", OnItemError::Fail), ("collect", OnItemError::Collect), ("skip", OnItemError::Skip)];
        let items = items(doc, cx);
        let item_var = item_var(doc, cx);
        let mut fields = cx.fields(doc);
        let max_concurrency = fields.whole("max_concurrency", 1, CONCURRENCY_MAX);
        let parallel = fields.flag("parallel", max_concurrency.is_some());
        let max_iterations = fields.whole("max_iterations", 1, u64::MAX);
        let on_item_error = fields.choice("on_item_error", CHOICES).unwrap_or_default();
        let at_once = max_concurrency.and_then(|count| count.try_into().ok()).unwrap_or(CONCURRENCY_DEFAULT);
        let body = body(doc, &item_var, cx);
        Some(Box::new(Loop {
            items: items?,
            body: body?,
            item_var,
            concurrency: if parallel { at_once } else { 1 },
            max_iterations,
            on_item_error,
        }))
    }
}

/// `items_source` is a dot path, an expression, a template, or a list.
fn items(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> Option<Template> {
    let pointer = format!("{}/items_source", doc.pointer);
    if let Some(list @ Value::Array(_)) = doc.config.get("items_source") {
        return cx.template(list, &pointer, None);
    }
    let text = cx.fields(doc).required_text("items_source")?;
    if text.contains("{%") { cx.template(&text.into(), &pointer, None) } else { cx.expression(text, &pointer) }
}

/// Whether templates can see a value under this name.
pub(super) fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let good = starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    good && !matches!(name, "inputs" | "loop" | "loop_index" | "self")
}

fn item_var(doc: &NodeDoc, cx: &mut PlanContext<'_>) -> String {
    const DEFAULT: &str = "item";
    let mut fields = cx.fields(doc);
    let name = fields.text("item_var").unwrap_or(DEFAULT);
    if !is_name(name) {
        let help = "use letters, digits and `_`, for example `item`";
        fields.problem(Code::B005, "item_var", format!("`{name}` cannot be the name of an item"), help);
        return DEFAULT.to_owned();
    }
    name.to_owned()
}

fn body(doc: &NodeDoc, item_var: &str, cx: &mut PlanContext<'_>) -> Option<Graph> {
    let mut fields = cx.fields(doc);
    if fields.get("body").is_none() {
        fields.missing("body");
        return None;
    }
    if fields.list("body")?.is_empty() {
        fields.problem(Code::B006, "body", "the loop's `body` has no nodes", "add at least one node");
        return None;
    }
    cx.nested(doc, "body", Some(item_var))
}

impl Loop {
    /// Renders the items; X014 when they are not a list, or too many.
    fn rendered(&self, cx: &NodeRun<'_>) -> Result<Vec<Value>, Failure> {
        let refuse = |message: String| {
            let problem = Problem::new(Code::X014, message).pointer(format!("{}/items_source", cx.node.pointer));
            Failure::never(problem)
        };
        let Value::Array(mut items) = cx.render(&self.items, "items_source")? else {
            return Err(refuse("`items_source` is not a list".into()));
        };
        if let Some(most) = self.max_iterations {
            items.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        if items.len() > ITEMS_MAX {
            return Err(refuse(format!("`items_source` has {} items, more than {ITEMS_MAX}", items.len())));
        }
        Ok(items)
    }

    async fn run(&self, cx: &NodeRun<'_>) -> Result<Done, Failure> {
        cx.check_context()?;
        let items = self.rendered(cx)?;
        let stop = Token::child(cx.stop);
        let mut running = FuturesUnordered::new();
        let mut results: Vec<Option<Value>> = vec![None; items.len()];
        let mut errors: Vec<(usize, Problem)> = Vec::new();
        let mut next = 0;
        loop {
            while running.len() < self.concurrency && next < items.len() && stop.why().is_none() {
                let (index, item, stop) = (next, items[next].clone(), &stop);
                running.push(async move {
                    let inner = cx.graph_until(&self.body, &format!("[{index}]"), Some((item, index)), stop).await;
                    (index, inner)
                });
                next += 1;
            }
            let Some((index, inner)) = running.next().await else { break };
            match inner.failure {
                None => results[index] = Some(inner.last),
                Some(failure) if self.on_item_error == OnItemError::Fail => {
                    errors.push((index, failure.problem));
                    stop.trip(Problem::new(Code::X002, "stopped because another item failed"));
                }
                Some(failure) => errors.push((index, failure.problem)),
            }
        }
        if let Some(why) = cx.stop.why() {
            return Err(Failure::never(why.clone()));
        }
        if self.on_item_error == OnItemError::Fail && !errors.is_empty() {
            let (index, mut problem) = errors.swap_remove(0);
            problem.message = format!("item {index}: {}", problem.message);
            return Err(Failure::maybe(problem));
        }
        errors.sort_by_key(|(index, _)| *index);
        let listed = if self.on_item_error == OnItemError::Collect { errors } else { Vec::new() };
        let listed: Vec<Value> = (listed.into_iter())
            .map(|(index, problem)| {
                let problem = json!({ "code": problem.code, "message": problem.message });
                json!({ "index": index, "item": items[index], "problem": problem })
            })
            .collect();
        let results: Vec<Value> = results.into_iter().flatten().collect();
        Ok(Done::new(json!({ "results": results, "errors": listed })))
    }
}

impl Node for Loop {
    /// The items are known when they are written down or come from the inputs.
    fn asking(&self, known: &Known<'_>) -> Asking<'_> {
        let most = self.max_iterations.unwrap_or(u64::MAX);
        let items = known.render(&self.items).and_then(|items| Some(items.as_array()?.len() as u64));
        let (times, assumed) = match items.map(|count| count.min(most)) {
            Some(count) => (Times { low: count, likely: count, high: count }, None),
            None => {
                let high = self.max_iterations.unwrap_or(ITEMS_HIGH);
                let times = Times { low: 0, likely: high.min(ITEMS_LIKELY), high };
                let words = format!("items not known yet: {} likely, {high} at most", times.likely);
                (times, Some(words))
            }
        };
        Asking { graphs: vec![(&self.body, times)], assumed, ..Asking::default() }
    }

    fn execute<'a>(&'a self, cx: &'a NodeRun<'a>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(self.run(cx))
    }

    fn graphs(&self) -> Vec<&Graph> {
        vec![&self.body]
    }

    fn effects(&self) -> Effects {
        self.body.effects()
    }

    fn output_schema(&self) -> Option<Value> {
        let list = json!({"type": "array"});
        Some(json!({
            "type": "object", "properties": {"results": list, "errors": list}, "additionalProperties": false,
        }))
    }

    fn summary(&self) -> String {
        let items = self.items.source();
        let items = items.as_str().map_or_else(|| items.to_string(), str::to_owned);
        format!("for {} in {items}, {} at once, on error {:?}", self.item_var, self.concurrency, self.on_item_error)
            .replace(", 1 at once", "")
    }
}
