//! A test for each guest under `plugins/hostile`: the host stops it with the right code, says which limit it was, and
//! its neighbours never notice.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod host;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::atomic::Ordering;

use ice_core::grant::{Grant, LimitSettings};
use ice_core::problem::Code;
use serde_json::{Value, json};

use host::{Attack, BOUND_HOST, Execution, HOST, SECRET, Seen, component, sources};

macro_rules! tested {
    ($($guest:ident)*) => {
        /// Every guest with its test.
        const TESTED: &[(&str, fn())] = &[$((stringify!($guest), $guest as fn())),*];
    };
}

tested! {
    ask_ungranted bad_answer exit forge_handle host_call_flood huge_return log_flood memory_bomb open_socket read_env
    read_file read_other resource_bomb secret_exfil sleep_poll spin spin_in_describe spin_in_post_return
    spin_in_realloc stack_overflow stdout_flood table_bomb trap wild_return
}

#[test]
fn every_guest_has_a_test() {
    let folders: BTreeSet<String> = std::fs::read_dir(sources())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let tested: BTreeSet<String> = TESTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, tested);
}

/// Calls a guest without grant and expects this end of it.
fn ends_with(guest: &str, input: Value, code: Code, words: &str) -> Seen {
    let seen = HOST.attack(guest, Attack { input, ..Attack::default() });
    let problem = seen.problem();
    assert_eq!(problem.code, code, "{problem}");
    assert!(problem.message.contains(words), "{problem}");
    let subject = problem.at.as_ref().and_then(|at| at.subject.as_deref()).unwrap_or_default();
    assert!(subject.contains(&format!("`hostile/{guest}`")), "{problem}");
    assert!(problem.to_string().len() < 16 << 10, "a guest decides how long its problem is");
    seen
}

#[test]
fn spin() {
    let seen = ends_with("spin", json!({}), Code::G011, "200ms of processor time");
    assert!(seen.problem().help.as_deref().unwrap().contains("ICE_SANDBOX_TOOL_CPU_SECONDS"));
    assert!(seen.outcome.receipt.cpu_us >= 200_000, "{:?}", seen.outcome.receipt);
}

#[test]
fn spin_in_describe() {
    let failure = HOST.describe("spin_in_describe");
    assert_eq!(failure.problem.code, Code::G011, "{failure}");
    assert!(failure.problem.message.contains("200ms of processor time"), "{failure}");
}

#[test]
fn spin_in_realloc() {
    ends_with("spin_in_realloc", json!({}), Code::G011, "200ms of processor time");
}

#[test]
fn spin_in_post_return() {
    ends_with("spin_in_post_return", json!({}), Code::G011, "200ms of processor time");
}

#[test]
fn memory_bomb() {
    let seen = ends_with("memory_bomb", json!({}), Code::G012, "32 MiB of memory");
    assert!(seen.outcome.receipt.peak_memory <= 32 << 20, "{:?}", seen.outcome.receipt);
}

#[test]
fn table_bomb() {
    let limits = LimitSettings { memory_mb: Some(1), ..LimitSettings::default() };
    let seen = HOST.attack("table_bomb", Attack { limits, ..Attack::default() });
    assert_eq!(seen.problem().code, Code::G012, "{}", seen.problem());
    assert!(seen.problem().message.contains("1 MiB of memory"), "{}", seen.problem());
    assert!(seen.outcome.receipt.peak_memory <= 1 << 20, "{:?}", seen.outcome.receipt);
}

#[test]
fn resource_bomb() {
    ends_with("resource_bomb", json!({}), Code::G014, "2000 times");
}

#[test]
fn stack_overflow() {
    ends_with("stack_overflow", json!({}), Code::G013, "512 KiB");
}

#[test]
fn huge_return() {
    ends_with("huge_return", json!({"bytes": 17 << 20}), Code::G016, "16 MiB");
    // Just under the limit is an answer like any other.
    let seen = HOST.attack("huge_return", Attack { input: json!({"bytes": 8 << 20}), ..Attack::default() });
    assert_eq!(seen.answer().as_str().map(str::len), Some(8 << 20));
}

#[test]
fn log_flood() {
    let seen = ends_with("log_flood", json!({}), Code::G014, "2000 times");
    let logged: usize = seen.scope.lines.lock().unwrap().iter().map(String::len).sum();
    // The limit counts the text; each line also has its level.
    assert!(logged < 17 << 10, "{logged} bytes were logged");
    assert!(seen.outcome.receipt.log_lines_dropped > 1_000, "{:?}", seen.outcome.receipt);
}

#[test]
fn stdout_flood() {
    let seen = ends_with("stdout_flood", json!({}), Code::G014, "2000 times");
    let logged: usize = seen.scope.lines.lock().unwrap().iter().map(String::len).sum();
    assert!((1..17 << 10).contains(&logged), "{logged} bytes were logged");
    assert!(seen.outcome.receipt.log_lines_dropped > 0, "{:?}", seen.outcome.receipt);
}

#[test]
fn host_call_flood() {
    let seen = ends_with("host_call_flood", json!({}), Code::G014, "2000 times");
    assert!(seen.outcome.receipt.host_calls >= 2_000, "{:?}", seen.outcome.receipt);
}

#[test]
fn trap() {
    ends_with("trap", json!({}), Code::X032, "on purpose");
}

#[test]
fn exit() {
    ends_with("exit", json!({}), Code::X032, "exit code 0");
}

#[test]
fn sleep_poll() {
    let limits = LimitSettings { timeout_seconds: Some(1), ..LimitSettings::default() };
    let seen = HOST.attack("sleep_poll", Attack { limits, ..Attack::default() });
    assert_eq!(seen.problem().code, Code::G010, "{}", seen.problem());
    assert!(seen.problem().message.contains("longer than 1s"), "{}", seen.problem());
    assert!(seen.outcome.receipt.cpu_us < 200_000, "sleeping is no work: {:?}", seen.outcome.receipt);

    let cancelled = HOST.attack_in("sleep_poll", Attack::default(), Execution::cancelled());
    assert_eq!(cancelled.problem().code, Code::X002, "{}", cancelled.problem());
}

#[test]
fn forge_handle() {
    ends_with("forge_handle", json!({}), Code::X032, "handle");
}

#[test]
fn wild_return() {
    ends_with("wild_return", json!({}), Code::X032, "out of bounds");
}

#[test]
fn bad_answer() {
    ends_with("bad_answer", json!({"kind": "text"}), Code::X033, "not JSON");
    ends_with("bad_answer", json!({"kind": "deep"}), Code::X033, "not JSON");
    ends_with("bad_answer", json!({"kind": "error"}), Code::X031, "eeee");
}

#[test]
fn read_other() {
    let call = |input: Value| HOST.attack("read_other", Attack { input, ..Attack::default() }).answer().clone();
    let nothing = json!({"static": "", "dirty_bytes": 0});
    // Often enough that the second call gets the memory of the first.
    for round in 0..8 {
        assert_eq!(call(json!({"leave": format!("MARKER {round}")})), nothing);
        assert_eq!(call(json!({"find": true})), nothing);
    }
}

#[test]
fn read_env() {
    let seen = HOST.attack("read_env", Attack::default());
    assert_eq!(*seen.answer(), json!({"variables": 0, "arguments": 0, "named": 0}));
}

#[test]
fn read_file() {
    let seen = HOST.attack("read_file", Attack::default());
    assert_eq!(*seen.answer(), json!({"worked": []}));
    assert!(!std::path::Path::new("/tmp/ice_hostile_guest").exists());
    assert!(!std::path::Path::new("ice_hostile_guest").exists());
}

#[test]
fn open_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = HOST.attack("open_socket", Attack { input: json!({"port": port}), ..Attack::default() });
    assert_eq!(*seen.answer(), json!({"worked": []}));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected");
}

#[test]
fn ask_ungranted() {
    let seen = HOST.attack("ask_ungranted", Attack::default());
    let answer = seen.answer();
    for (asked, setting) in [
        ("llm", "'llm=default'"),
        ("embeddings", "'llm=default'"),
        ("memory_read", "'memory.read=notes'"),
        ("memory_write", "'memory.write=notes'"),
    ] {
        let said = answer[asked].as_str().unwrap();
        assert!(said.contains(&format!("ice plugins grant ask_ungranted {setting}")), "{asked}: {said}");
    }
    assert_eq!(answer["secrets"], "exists: false", "which secrets there are is not told either");
    assert!(!answer["http"].as_str().unwrap().contains("status"), "{answer}");
    let denied = seen.outcome.receipt.denied.join("\n");
    for word in ["llm", "memory", "http"] {
        assert!(denied.contains(&format!("`{word}`")), "{denied}");
    }
    assert_eq!(HOST.outside.asked.load(Ordering::Relaxed), 0, "a port was asked");
    assert!(!reached("ungranted.example"));
}

fn reached(host: &str) -> bool {
    HOST.outside.requests.lock().unwrap().iter().any(|request| request.url.contains(host))
}

/// Sends the placeholder of `API_KEY` to `host` with this grant; everything that the guest and the log got to see.
fn exfiltrate(host: &str, http: &[&str]) -> (Seen, String) {
    let grant = Grant {
        http: http.iter().map(|rule| (*rule).to_owned()).collect(),
        secrets: [("API_KEY".to_owned(), vec![BOUND_HOST.to_owned()])].into(),
        ..Grant::default()
    };
    let input = json!({"host": host, "secret": "API_KEY"});
    let seen = HOST.attack("secret_exfil", Attack { input, grant, ..Attack::default() });
    let all = format!("{:?} {}", seen.outcome, seen.scope.left_behind());
    assert!(!all.contains(SECRET), "the secret got out: {all}");
    (seen, all)
}

#[test]
fn secret_exfil() {
    let everywhere = ["GET https://*.example"];
    // A host that the grant does not name: nothing leaves.
    let (seen, _) = exfiltrate("unnamed.example", &["GET https://good.example"]);
    assert!(seen.outcome.receipt.denied.join(" ").contains("unnamed.example"), "{:?}", seen.outcome.receipt);
    assert!(!reached("unnamed.example"));
    // A host that the grant names and the secret is not bound to: the port refuses to fill it in.
    let (seen, all) = exfiltrate("evil.example", &everywhere);
    assert!(!all.contains("status 200"), "{all}");
    assert!(seen.outcome.receipt.egress_bytes > 0);
    // The host it is bound to echoes what it got: the value is scrubbed before the guest sees it.
    let (_, all) = exfiltrate(BOUND_HOST, &everywhere);
    assert!(all.contains("you sent Bearer ***"), "{all}");
    // The runtime itself never knew the value: it passed the placeholder on as it was.
    for request in HOST.outside.requests.lock().unwrap().iter() {
        let authorization = request.headers.iter().find(|(name, _)| name == "authorization");
        assert_eq!(authorization.map(|(_, value)| value.as_str()), Some("Bearer {{secret:API_KEY}}"));
    }
}

#[test]
fn what_hostile_guests_ask_for_is_seen_before_they_run() {
    let sockets = ice_runtime::inspect::inspect(&component("open_socket")).unwrap();
    assert!(sockets.imports.iter().any(|import| import.starts_with("wasi:sockets/")), "{:?}", sockets.imports);
    let asking = ice_runtime::inspect::inspect(&component("ask_ungranted")).unwrap();
    let names: Vec<String> = asking.capabilities.iter().map(|capability| format!("{capability:?}")).collect();
    assert_eq!(names, ["Llm", "Memory", "Http", "Secrets"]);
    let spinning = ice_runtime::inspect::inspect(&component("spin")).unwrap();
    assert!(spinning.capabilities.is_empty());
}
