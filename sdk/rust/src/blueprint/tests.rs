//! What the builder builds is what a person would write, and what a host takes: `tests/blueprints/ok/built_by_code.json` is
//! planned by the tests of the host, and is exactly what is built here. `UPDATE_EXPECT=1` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// Every kind a host knows.
const KINDS: [&str; 13] = [
    "tool",
    "llm",
    "agent",
    "condition",
    "loop",
    "parallel",
    "workflow",
    "human",
    "webhook",
    "recursive",
    "code",
    "monitor",
    "swarm",
];

/// The names that the host plans its examples with.
fn stock() -> Catalog {
    Catalog::new()
        .tools(["writer_tool", "lookup_tool", "http_post", "python_run"])
        .agents(["chat_agent"])
        .blueprints(["summarize", "news"])
}

fn writer(id: &str, notes: &str) -> NodeBuilder {
    NodeBuilder::tool(id, "writer_tool").arg("notes", notes)
}

/// Nodes that work, and decide what runs.
fn work(blueprint: BlueprintBuilder) -> BlueprintBuilder {
    blueprint
        .node(NodeBuilder::tool("look", "lookup_tool").arg("query", "{{ inputs.topic }}").retries(2).fallback("spare"))
        .node(NodeBuilder::tool("spare", "lookup_tool").arg("query", "anything").timeout_seconds(30))
        .node(
            NodeBuilder::llm("draft", "openai/gpt-4o", "Write about {{ look.notes }}")
                .after("look")
                .temperature(0.0)
                .max_tokens(300)
                .answer(json!({ "title": "str" })),
        )
        .node(NodeBuilder::agent("chat", "chat_agent").arg("query", "{{ inputs.topic }}"))
        .node(
            NodeBuilder::instructed("send", "openai/gpt-4o", "You send things.")
                .after("draft")
                .task("send {{ draft.title }}")
                .tools(["http_post"]),
        )
        .node(
            NodeBuilder::condition("long", "draft.text | length > 200", [writer("shorten", "{{ draft.text }}")], [])
                .after("draft"),
        )
        .node(
            NodeBuilder::repeat("each", "inputs.names", "name", [writer("one", "{{ name }}")])
                .parallel(4)
                .on_item_error(OnItemError::Collect),
        )
        .node(
            NodeBuilder::branches("race", [vec![writer("left", "a")], vec![writer("right", "b")]])
                .wait(Wait::AtLeast(1)),
        )
        .node(
            NodeBuilder::workflow("sub", "summarize")
                .after("draft")
                .arg("notes", "{{ draft.text }}")
                .expose("s", "summary"),
        )
        .node(
            NodeBuilder::code("count", Language::Python, "result = {\"sum\": len(inputs[\"names\"])}")
                .arg("names", "{{ inputs.names }}")
                .output_schema(json!({ "sum": "int" })),
        )
}

/// Nodes that repeat, ask, watch, decide together and tell.
fn people(blueprint: BlueprintBuilder) -> BlueprintBuilder {
    let rewrite = Round::Instructed { model: "openai/gpt-4o".into(), system_prompt: "Improve the text.".into() };
    let roles = [
        Member::component("writer", "chat_agent").arg("query", "{{ turn.prompt }}"),
        Member::instructed("critic", "You find faults.").tools(["writer_tool"]),
        Member::instructed("judge", "You are fair.").model("openai/gpt-4.1"),
    ];
    blueprint
        .node(
            NodeBuilder::recursive("polish", Round::Agent("chat_agent".into()))
                .after("look")
                .after("review")
                .begin_with(["look", "review"])
                .arg("query", "improve {{ recursive_context.message | default('') }}")
                .until("\"done\" in output.message")
                .max_rounds(3),
        )
        .node(writer("review", "{{ polish.final_context.message }}").after("polish"))
        .node(NodeBuilder::recursive("again", Round::Blueprint("summarize".into())).arg("notes", "x").max_rounds(2))
        .node(NodeBuilder::recursive("rewrite", rewrite).task("{{ inputs.topic }}").max_rounds(2))
        .node(
            NodeBuilder::human("ship", "Ship {{ draft.title }}?", Ask::Approval)
                .after("draft")
                .silence(86_400, Silence::Escalate(vec!["lead@example.com".into()])),
        )
        .node(
            NodeBuilder::human("words", "Which words?", Ask::Input(json!({ "words": "str" })))
                .silence(60, Silence::Fail),
        )
        .node(NodeBuilder::human("color", "Which color?", Ask::Choice(vec!["red".into(), "blue".into()])))
        .node(
            NodeBuilder::monitor("guard", "cost > 1 or seconds > 600", OnTrigger::Abort)
                .watch(["draft", "polish"])
                .check_every_seconds(2)
                .alert(Channel::Webhook, "https://hooks.example.com/alert")
                .alert(Channel::Email, "lead@example.com"),
        )
        .node(
            NodeBuilder::swarm(
                "name",
                "find a name for {{ inputs.topic }}",
                Strategy::Consensus { threshold: 0.6 },
                roles,
            )
            .model("openai/gpt-4o")
            .max_rounds(4),
        )
        .node(NodeBuilder::swarm(
            "plan",
            "{{ inputs.topic }}",
            Strategy::Hierarchical { lead: "boss".into() },
            [Member::component("boss", "chat_agent"), Member::component("hand", "chat_agent")],
        ))
        .node(NodeBuilder::swarm(
            "market",
            "{{ inputs.topic }}",
            Strategy::Marketplace,
            [Member::component("a", "chat_agent"), Member::component("b", "chat_agent")],
        ))
        .node(
            NodeBuilder::webhook("tell", Method::Post, "https://hooks.example.com/{{ inputs.topic }}")
                .after("name")
                .header("authorization", "Bearer {{secret:HOOK}}")
                .body(json!({ "name": "{{ name.decision }}" }))
                .signed_with("HOOK_KEY")
                .accept_status([404, 409]),
        )
        .node(writer("tidy", "end").finally())
}

fn everything() -> BlueprintBuilder {
    let blueprint = BlueprintBuilder::new("built_by_code")
        .description("Every kind of node, built in Rust.")
        .input("topic", json!({ "type": "string" }), None)
        .input("names", json!({ "type": "array", "items": { "type": "string" } }), Some(json!(["Ida", "Ole"])))
        .failure_policy(FailurePolicy::ContinuePossible)
        .budget_usd(2.5)
        .max_parallel(8)
        .catalog(stock());
    people(work(blueprint)).output("title", "{{ draft.title }}").output("name", "{{ name.decision }}")
}

fn kinds(node: &Value, found: &mut BTreeSet<String>) {
    match node {
        Value::Object(fields) => {
            if let (Some(Value::String(kind)), true) = (fields.get("type"), fields.contains_key("id")) {
                found.insert(kind.clone());
            }
            fields.values().for_each(|value| kinds(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| kinds(item, found)),
        _ => {}
    }
}

#[test]
fn every_kind_is_built_as_the_host_takes_it() {
    let blueprint = everything();
    assert_eq!(blueprint.validate_resolvable(), Vec::<String>::new());
    let built = blueprint.build();
    let mut found = BTreeSet::new();
    kinds(&built["nodes"], &mut found);
    assert_eq!(found, KINDS.iter().map(|kind| (*kind).to_owned()).collect());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/blueprints/ok/built_by_code.json");
    let text = serde_json::to_string_pretty(&built).expect("JSON prints") + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("writable");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "run again with UPDATE_EXPECT=1 and read the difference in {}", path.display());
}

#[test]
fn what_is_not_in_the_catalog_is_named_with_what_is_nearest() {
    let blueprint = BlueprintBuilder::new("b")
        .catalog(stock())
        .node(NodeBuilder::tool("t", "writer_tol"))
        .node(NodeBuilder::agent("a", "chat-agent"))
        .node(NodeBuilder::instructed("i", "openai/gpt-4o", "x").tools(["lokup_tool", "http_post"]))
        .node(NodeBuilder::workflow("w", "sumarize@^1"))
        .node(NodeBuilder::workflow("n", "news@^1"))
        .node(NodeBuilder::recursive("r", Round::Agent("nobody".into())))
        .node(NodeBuilder::repeat(
            "l",
            "inputs.x",
            "x",
            [NodeBuilder::swarm(
                "s",
                "t",
                Strategy::Marketplace,
                [Member::component("one", "chat_agnt"), Member::component("two", "chat_agent")],
            )],
        ));
    assert_eq!(
        blueprint.validate_resolvable(),
        [
            "node `t` calls the tool `writer_tol`, which is not in the catalog; did you mean `writer_tool`?",
            "node `a` asks the agent `chat-agent`, which is not in the catalog; did you mean `chat_agent`?",
            "node `i` calls the tool `lokup_tool`, which is not in the catalog; did you mean `lookup_tool`?",
            "node `w` runs the blueprint `sumarize@^1`, which is not in the catalog; did you mean `summarize`?",
            "node `r` asks the agent `nobody`, which is not in the catalog",
            "node `s` asks the agent `chat_agnt`, which is not in the catalog; did you mean `chat_agent`?",
        ]
    );
    // Without a catalog nothing is said about names.
    assert_eq!(blueprint.catalog(Catalog::new()).validate_resolvable(), Vec::<String>::new());
}

#[test]
fn a_person_is_no_tool_and_an_argument_no_reference() {
    let tools = json!(["writer_tool", { "name": "http_post", "approval": {} }, { "name": "boss", "type": "human" }]);
    let blueprint = BlueprintBuilder::new("b")
        .catalog(stock())
        .node(NodeBuilder::instructed("i", "openai/gpt-4o", "x").field("tools", tools))
        .node(NodeBuilder::tool("t", "writer_tool").arg("package", "nobody").arg("tool_name", "none"));
    assert_eq!(blueprint.validate_resolvable(), Vec::<String>::new());
}

#[test]
fn a_model_that_nobody_names_is_missing() {
    let member = || [Member::instructed("a", "x"), Member::instructed("b", "y").model("m")];
    let swarm = |id: &str| NodeBuilder::swarm(id, "t", Strategy::Marketplace, member());
    let blueprint = BlueprintBuilder::new("b")
        .node(NodeBuilder::llm("l", " ", "Hi"))
        .node(NodeBuilder::instructed("i", "", "x"))
        .node(swarm("s"))
        .node(swarm("good").model("m"))
        .node(NodeBuilder::llm("older", "", "Hi").field("llm_config", json!({})).field("model", "m"));
    let missing = |id: &str| format!("node `{id}` does not say which model it asks");
    assert_eq!(blueprint.validate_resolvable(), ["l", "i", "s"].map(missing));
}

#[test]
fn nodes_are_named_by_what_watches_them_and_falls_back_to_them() {
    let blueprint = BlueprintBuilder::new("b")
        .node(NodeBuilder::tool("t", "t").fallback("ghost"))
        .node(NodeBuilder::monitor("m", "cost > 1", OnTrigger::Alert).watch(["t", "spirit"]))
        .node(NodeBuilder::recursive("r", Round::Agent("a".into())).begin_with(["late", "gone"]).after("late"))
        .node(NodeBuilder::tool("late", "t").after("r"));
    assert_eq!(
        blueprint.validate_resolvable(),
        [
            "node `t` falls back to `ghost`, which does not exist here",
            "node `m` watches `spirit`, which does not exist here",
            "node `r` begins with the output of `gone`, which does not exist here",
        ]
    );
}

#[test]
fn blueprints_of_a_bundle_know_each_other() {
    fn main() -> BlueprintBuilder {
        BlueprintBuilder::new("shop.main").node(NodeBuilder::workflow("w", "shop.list_item"))
    }
    fn list_items() -> BlueprintBuilder {
        BlueprintBuilder::new("shop.list_items").node(NodeBuilder::workflow("w", "other.thing"))
    }
    static SHOP: crate::Bundle = crate::Bundle::new(&[
        crate::BundleEntry { name: "main", build: main },
        crate::BundleEntry { name: "list_items", build: list_items },
    ]);
    let wrong =
        "node `w` runs the blueprint `shop.list_item`, which is not in the bundle; did you mean `shop.list_items`?";
    assert_eq!(SHOP.get("main"), Err(wrong.to_owned()));
    assert!(SHOP.get("list_items").is_ok_and(|found| found.is_some()), "another bundle is the host's business");
    let both = list_items().catalog(Catalog::new().bundle(&SHOP).blueprints(["other.thong"]));
    assert_eq!(
        both.validate_resolvable(),
        ["node `w` runs the blueprint `other.thing`, which is not in the catalog; did you mean `other.thong`?"]
    );
}

#[test]
fn the_tools_of_a_kit_are_known_by_its_own_table() {
    struct Greet;
    impl crate::Tool for Greet {
        const NAME: &'static str = "greet_tool";
        const DESCRIPTION: &'static str = "Greets.";
        const TAGS: &'static [&'static str] = &[];
        type Input = BTreeMap<String, String>;
        type Output = String;

        fn call(_: Self::Input, _: &crate::Context) -> Result<String, crate::ToolError> {
            Ok("Hello".to_owned())
        }
    }
    static KIT: crate::Kit = crate::Kit::new(&[crate::ToolEntry::of::<Greet>()]);
    let blueprint = BlueprintBuilder::new("b")
        .catalog(Catalog::new().kit(&KIT))
        .node(NodeBuilder::tool("good", "greet_tool"))
        .node(NodeBuilder::tool("bad", "greet"));
    assert_eq!(
        blueprint.validate_resolvable(),
        ["node `bad` calls the tool `greet`, which is not in the catalog; did you mean `greet_tool`?"]
    );
}
