//! What a call does when nothing stops it: answers, errors as values, capabilities, isolation, crash and resume.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ice_core::catalog::{BundleEntry, CallKind, Catalog};
use ice_core::grant::LimitSettings;
use ice_core::id::Digest;
use ice_core::ports::{Components as _, Retry};
use ice_core::problem::Code;
use serde_json::json;

use super::fakes::FakeScope;
use super::{Bench, call, guests};
use crate::bundle::{BlueprintSource, BundleSource};
use crate::{Description, RuntimeOptions};

#[tokio::test]
async fn a_call_answers_with_the_guests_json_and_a_receipt() {
    let bench = Bench::kit(&guests::echo());
    let outcome = bench.ask(json!({ "n": [1, 2.5, "drei"] })).await;
    assert_eq!(outcome.result.unwrap(), json!({ "n": [1, 2.5, "drei"] }));
    assert_eq!(outcome.receipt.peak_memory, 2 << 16);
    assert_eq!(outcome.receipt.host_calls, 0);
    assert!(outcome.receipt.wall_us > 0);
}

#[tokio::test]
async fn errors_that_a_guest_returns_keep_their_meaning() {
    let of = async |case| Bench::kit(&guests::failing(case)).ask(json!("why")).await.result.unwrap_err();
    let unknown = of(0).await;
    assert_eq!((unknown.problem.code, unknown.retry), (Code::X034, Retry::Never));
    let input = of(1).await;
    assert_eq!((input.problem.code, input.retry), (Code::X030, Retry::Never));
    assert_eq!(input.problem.message, "tool `probe` refuses its input: \"why\"");
    let failed = of(2).await;
    assert_eq!((failed.problem.code, failed.retry), (Code::X031, Retry::Never));
    assert_eq!(failed.problem.at.unwrap().subject.unwrap(), "node `step`, tool `probe` of `test/prober`");
    assert_eq!(of(3).await.retry, Retry::AfterMs(250));
}

#[tokio::test]
async fn a_crash_is_an_error_and_the_next_call_works() {
    let bench = Bench::kit(&guests::trap());
    for _ in 0..3 {
        let failure = bench.ask(json!({})).await.result.unwrap_err();
        assert_eq!((failure.problem.code, failure.retry), (Code::X032, Retry::Never));
        assert!(failure.problem.message.contains("unreachable"), "{}", failure.problem);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_an_error() {
    let failure = Bench::kit(&guests::not_json()).ask(json!({})).await.result.unwrap_err();
    assert_eq!(failure.problem.code, Code::X033);
}

#[tokio::test]
async fn a_tool_that_is_not_installed_is_named() {
    let bench = Bench::kit(&guests::echo());
    let mut missing = call(CallKind::Tool, json!({}), LimitSettings::default());
    missing.name = "nothing".into();
    let outcome = bench.runtime.call(missing, Arc::new(FakeScope::default())).await;
    assert_eq!(outcome.result.unwrap_err().problem.code, Code::X034);
}

#[tokio::test]
async fn no_state_survives_a_call() {
    let bench = Bench::kit(&guests::counter());
    for _ in 0..5 {
        assert_eq!(bench.ask(json!({})).await.result.unwrap(), json!(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_side_by_side_never_see_each_other() {
    let bench = Arc::new(Bench::kit(&guests::echo()));
    let calls = (0..100).map(|n| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { (n, bench.ask(json!({ "n": n, "pad": "x".repeat(n) })).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (n, outcome) = call.await.unwrap();
        assert_eq!(outcome.result.unwrap(), json!({ "n": n, "pad": "x".repeat(n) }));
    }
    assert_eq!(bench.runtime.cache_counts().compiled, 1, "however many ask at once");
    assert_eq!(bench.world.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_denied_capability_is_a_value_for_the_guest_and_a_problem_for_the_operator() {
    let bench = Bench::kit(&guests::remember());
    let outcome = bench.ask(json!("a note")).await;
    let problem = outcome.result.unwrap_err().problem;
    assert_eq!(problem.code, Code::G001);
    let what = "plugin `test/prober` may not use `memory`: writing scope `notes`";
    assert!(problem.message.starts_with(what), "{problem}");
    assert_eq!(problem.help.unwrap(), "allow it with `ice plugins grant prober 'memory.write=notes'`");
    assert_eq!(outcome.receipt.denied.len(), 1);
    assert!(outcome.receipt.denied[0].starts_with(what));
    assert!(bench.world.written.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_guest_that_goes_on_without_what_it_was_denied_succeeds() {
    let outcome = Bench::kit(&guests::remember_if_possible()).ask(json!("a note")).await;
    assert_eq!(outcome.result.unwrap(), json!("a note"));
    assert_eq!(outcome.receipt.denied.len(), 1);
}

#[tokio::test]
async fn a_granted_write_happens_once_even_if_the_attempt_is_repeated_after_a_crash() {
    let bench = Bench::granted(&guests::remember(), &["memory.write=notes"]);
    let scope = Arc::new(FakeScope::default());
    bench.call(json!("a note"), &scope).await.result.unwrap();
    let resumed = Arc::new(scope.resumed());
    bench.call(json!("a note"), &resumed).await.result.unwrap();
    assert_eq!(bench.world.written.lock().unwrap().len(), 1);
    assert!(resumed.uses.lock().unwrap().is_empty(), "nothing new happened");

    bench.call(json!("another note"), &Arc::new(scope.resumed())).await.result.unwrap();
    assert_eq!(bench.world.written.lock().unwrap().len(), 2, "another request is another request");
}

#[tokio::test]
async fn a_model_is_asked_within_the_grant_and_its_cost_is_recorded() {
    let bench = Bench::granted(&guests::ask_model(), &["llm=default", "llm.max_tokens_per_call=100"]);
    let scope = Arc::new(FakeScope::default());
    let outcome = bench.call(json!("hi"), &scope).await;
    assert_eq!(outcome.result.unwrap(), json!(true));
    assert_eq!(bench.world.asked.lock().unwrap()[0].max_tokens, Some(100), "the guest asked for 9000");
    assert_eq!(outcome.receipt.usage.cost_micro_usd, 400);
    assert_eq!(scope.reserved.lock().unwrap()[0].cost_micro_usd, 500);
    assert_eq!(*scope.deltas.lock().unwrap(), "hello");
    {
        let uses = scope.uses.lock().unwrap();
        assert_eq!((uses.len(), uses[0].operation.as_str()), (1, "complete echo/echo-1"));
        assert_eq!(uses[0].usage.output_tokens, 2);
    }
    let again = bench.call(json!("hi"), &Arc::new(scope.resumed())).await;
    assert_eq!(again.receipt.usage.cost_micro_usd, 400, "what the attempt cost in all");
    assert_eq!(bench.world.asked.lock().unwrap().len(), 1, "paid work is not paid twice");
}

#[tokio::test]
async fn without_a_grant_or_without_money_no_model_is_asked() {
    let bench = Bench::kit(&guests::ask_model());
    let problem = bench.ask(json!("hi")).await.result.unwrap_err().problem;
    assert_eq!(problem.code, Code::G001);
    assert!(problem.help.unwrap().contains("'llm=default'"));

    let bench = Bench::granted(&guests::ask_model(), &["llm=*", "llm.usd_per_execution=0.0007"]);
    bench.ask(json!("hi")).await.result.unwrap();
    let problem = bench.ask(json!("hi")).await.result.unwrap_err().problem;
    assert!(problem.help.unwrap().contains("llm.usd_per_execution"), "400 + 500 is more than 700");

    let broke = Arc::new(FakeScope { budget_is_spent: true, ..FakeScope::default() });
    let bench_rich = Bench::granted(&guests::ask_model(), &["llm=*"]);
    let problem = bench_rich.call(json!("hi"), &broke).await.result.unwrap_err().problem;
    assert!(problem.message.contains("the budget is spent"), "{problem}");
    assert_eq!(bench.world.asked.lock().unwrap().len(), 1);
    assert!(bench_rich.world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_agent_calls_granted_tools_as_child_nodes() {
    let options = RuntimeOptions::default;
    let bench = Bench::new(&guests::delegate(), CallKind::Agent, &["tools=other_*"], options());
    let scope = Arc::new(FakeScope::default());
    assert_eq!(bench.call(json!({ "x": 1 }), &scope).await.result.unwrap(), json!("from the tool"));
    assert_eq!(*scope.tools_called.lock().unwrap(), [("other_tool".to_owned(), json!({ "x": 1 }))]);

    let bench = Bench::new(&guests::delegate(), CallKind::Agent, &[], options());
    let problem = bench.ask(json!({})).await.result.unwrap_err().problem;
    assert_eq!(problem.code, Code::G001);
    assert!(problem.help.unwrap().contains("'tools=other_tool'"));
}

#[tokio::test]
async fn standard_output_becomes_log_lines_and_an_exit_an_error_with_the_last_words() {
    let bench = Bench::kit(&guests::print_and_exit());
    let scope = Arc::new(FakeScope::default());
    let outcome = bench.call(json!({}), &scope).await;
    assert_eq!(scope.lines(), ["info: one", "info: two\u{fffd}", "warn: broken"]);
    let problem = outcome.result.unwrap_err().problem;
    assert_eq!(problem.code, Code::X032);
    assert!(problem.message.ends_with("ended itself with exit code 1; its last words: broken"), "{problem}");
    assert!(outcome.receipt.host_calls >= 5);
}

#[tokio::test]
async fn the_pinned_component_is_used_instead_of_the_catalogs() {
    let bench = Bench::kit(&guests::echo());
    let mut pinned = call(CallKind::Tool, json!("x"), LimitSettings::default());
    pinned.artifact = Some(bench.world.publish(&guests::counter()));
    let outcome = bench.runtime.call(pinned, Arc::new(FakeScope::default())).await;
    assert_eq!(outcome.result.unwrap(), json!(1));
}

#[tokio::test]
async fn bytes_that_the_store_does_not_vouch_for_never_run() {
    let echo = guests::echo();
    let bench = Bench::kit(&echo);
    bench.world.tamper(&Digest::of(&echo));
    let failure = bench.ask(json!({})).await.result.unwrap_err();
    assert_eq!(failure.problem.message, "the stored bytes are not those of the digest");
    assert_eq!(bench.runtime.cache_counts().compiled, 0);
}

#[tokio::test]
async fn a_blueprint_of_an_installed_bundle_is_read_from_its_component() {
    let document = json!({ "nodes": [{ "id": "a", "type": "tool" }] });
    let source = BlueprintSource {
        name: "rag_chat".into(),
        description: "answers".into(),
        entrypoint: true,
        document: document.clone(),
    };
    let bundle = crate::bundle::encode(&BundleSource { entries: vec![source] }).unwrap();
    let bench = Bench::kit(&guests::echo());
    let artifact = bench.world.publish(&bundle);
    let entry = |name: &str| BundleEntry {
        name: name.into(),
        description: String::new(),
        plugin: "test/chatkit".into(),
        artifact,
        entrypoint: true,
        deprecated: None,
    };
    let names = ["chatkit.rag_chat", "chatkit.gone"];
    let blueprints = names.map(|name| (name.to_owned(), Arc::new(entry(name)))).into();
    bench.runtime.set_catalog(Arc::new(Catalog { blueprints, ..Catalog::default() }));

    assert_eq!(bench.runtime.blueprint("chatkit.rag_chat").await.unwrap(), document);
    for missing in ["chatkit.gone", "chatkit.never"] {
        assert_eq!(bench.runtime.blueprint(missing).await.unwrap_err().problem.code, Code::X034, "{missing}");
    }
    let description = bench.runtime.describe(&bundle).await.unwrap();
    assert!(matches!(description, Description::Bundle(entries) if entries[0].name == "rag_chat"));
}
