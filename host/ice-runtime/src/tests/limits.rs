//! Guests that do not stop, grow or flood: each ends with its own code, and the host goes on.

use std::sync::Arc;
use std::time::Duration;

use ice_core::catalog::CallKind;
use ice_core::grant::LimitSettings;
use ice_core::ports::Retry;
use ice_core::problem::Code;
use serde_json::json;

use super::fakes::FakeScope;
use super::{Bench, guests};
use crate::{HostLimits, Limits, RuntimeOptions};

fn within(component: &[u8], tool: Limits) -> Bench {
    let limits = HostLimits { tool, ..HostLimits::default() };
    Bench::new(component, CallKind::Tool, &[], RuntimeOptions { limits, ..RuntimeOptions::default() })
}

async fn code(bench: &Bench) -> Code {
    bench.ask(json!("x")).await.result.unwrap_err().problem.code
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_at_its_time_limit_and_gives_way_to_others() {
    let bench = within(&guests::spin(), Limits { wall: Duration::from_millis(60), ..Limits::TOOL });
    // On this one thread, the other task only runs if the guest gives way.
    let (scope, other) = (Arc::new(FakeScope::default()), Arc::new(FakeScope::default()));
    let seen = Arc::clone(&scope);
    let neighbour = tokio::spawn(async move {
        seen.logged.notified().await;
        other.cancel();
    });
    let outcome = bench.call(json!("started"), &scope).await;
    let failure = outcome.result.unwrap_err();
    assert_eq!((failure.problem.code, failure.retry), (Code::G010, Retry::Maybe));
    assert!(outcome.receipt.wall_us >= 60_000);
    assert!(outcome.receipt.cpu_us > 0);
    assert!(neighbour.is_finished());
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_at_its_limit_of_processor_time() {
    let bench = within(&guests::spin(), Limits { cpu: Duration::from_millis(30), ..Limits::TOOL });
    let outcome = bench.ask(json!("x")).await;
    assert_eq!(outcome.result.unwrap_err().problem.code, Code::G011);
    assert!(outcome.receipt.cpu_us >= 30_000);
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_when_it_is_cancelled() {
    let bench = Bench::kit(&guests::spin());
    let scope = Arc::new(FakeScope::default());
    let seen = Arc::clone(&scope);
    let canceller = tokio::spawn(async move {
        seen.logged.notified().await;
        seen.cancel();
    });
    let failure = bench.call(json!("started"), &scope).await.result.unwrap_err();
    assert_eq!((failure.problem.code, failure.retry), (Code::X002, Retry::Never));
    canceller.await.unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_ends() {
    let bench = Bench::kit(&guests::spin());
    let scope = Arc::new(FakeScope::default());
    tokio::select! {
        _ = bench.call(json!("started"), &scope) => panic!("a spinning guest answered"),
        () = scope.logged.notified() => {}
    }
    // The guest holds the scope as long as it lives.
    while Arc::strong_count(&scope) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_node_can_tighten_a_limit_but_not_widen_it() {
    let bench = within(&guests::spin(), Limits { cpu: Duration::from_millis(30), ..Limits::TOOL });
    let wide = LimitSettings { cpu_seconds: Some(3_600), ..LimitSettings::default() };
    let outcome = bench.call_within(json!("x"), &Arc::default(), wide).await;
    assert_eq!(outcome.result.unwrap_err().problem.code, Code::G011);

    let bench = Bench::kit(&guests::bomb());
    let tight = LimitSettings { memory_mb: Some(8), ..LimitSettings::default() };
    let outcome = bench.call_within(json!("x"), &Arc::default(), tight).await;
    let problem = outcome.result.unwrap_err().problem;
    assert_eq!(problem.code, Code::G012);
    assert!(problem.help.unwrap().contains("of the node"));
    assert!(outcome.receipt.peak_memory <= 8 << 20);
}

#[tokio::test]
async fn memory_and_tables_are_bounded_together() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::TOOL };
    assert_eq!(code(&within(&guests::bomb(), limits)).await, Code::G012);
    let limits = Limits { memory_bytes: 256 << 10, ..Limits::TOOL };
    assert_eq!(code(&within(&guests::table_bomb(), limits)).await, Code::G012);
    let limits = Limits { memory_bytes: 64 << 10, ..Limits::TOOL };
    assert_eq!(code(&within(&guests::echo(), limits)).await, Code::G012, "it starts with two pages");
}

#[tokio::test]
async fn endless_recursion_meets_the_end_of_the_stack() {
    assert_eq!(code(&Bench::kit(&guests::recurse())).await, Code::G013);
}

#[tokio::test]
async fn a_huge_answer_is_refused_before_it_is_copied() {
    assert_eq!(code(&Bench::kit(&guests::huge())).await, Code::G016);
}

#[tokio::test]
async fn host_calls_are_counted_also_those_that_cannot_fail() {
    let limits = Limits { host_calls: 100, ..Limits::TOOL };
    let bench = within(&guests::log_flood(), limits);
    let outcome = bench.ask(json!("x")).await;
    assert_eq!(outcome.result.unwrap_err().problem.code, Code::G014);
    assert_eq!(outcome.receipt.host_calls, 101);
    assert_eq!(code(&within(&guests::wasi_flood(), limits)).await, Code::G014);
}

#[tokio::test]
async fn log_lines_over_the_limit_are_dropped_and_counted() {
    let bench = within(&guests::log_100(), Limits { log_bytes: 30, ..Limits::TOOL });
    let scope = Arc::new(FakeScope::default());
    let outcome = bench.call(json!("x"), &scope).await;
    assert_eq!(outcome.result.unwrap(), json!("x"));
    assert_eq!((scope.lines().len(), outcome.receipt.log_lines_dropped), (10, 90));
}

#[tokio::test]
async fn killed_guests_leave_their_place_in_the_pool() {
    let bench = within(&guests::spin(), Limits { cpu: Duration::from_millis(1), ..Limits::TOOL });
    let bomb = within(&guests::trap(), Limits::TOOL);
    for _ in 0..800 {
        assert_eq!(code(&bomb).await, Code::X032);
    }
    for _ in 0..20 {
        assert_eq!(code(&bench).await, Code::G011);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_places_wait_instead_of_failing() {
    let bench = Arc::new(Bench::kit(&guests::log_100()));
    let calls: Vec<_> = (0..1_000)
        .map(|n| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.ask(json!(n)).await.result.unwrap() == json!(n) })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
}
