//! The order of grants, by properties: it is an order, and it says the truth about every single use.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn pattern() -> impl Strategy<Value = String> {
    select(vec!["*", "a*", "a", "ab", "ab*", "b", "p/a", "p/*", "p/ab*", "q/a"]).prop_map(str::to_owned)
}

fn rule() -> impl Strategy<Value = String> {
    let methods = select(vec!["*", "GET", "POST", "GET,POST"]);
    let scheme = select(vec!["http", "https"]);
    let host = select(vec!["*", "*.b.c", "a.b.c", "*.a.b.c", "127.0.0.1", "b.c"]);
    let port = select(vec!["", ":*", ":8080"]);
    let path = select(vec!["", "/*", "/v*", "/v1/*", "/v1/x", "/"]);
    (methods, scheme, host, port, path).prop_map(|(m, s, h, p, path)| format!("{m} {s}://{h}{p}{path}"))
}

fn llm() -> impl Strategy<Value = LlmGrant> {
    (vec(pattern(), 0..3), option::of(0_u32..3), option::of(0_u8..3)).prop_map(|(models, max_tokens_per_call, usd)| {
        LlmGrant { models, max_tokens_per_call, usd_per_execution: usd.map(f64::from) }
    })
}

fn memory() -> impl Strategy<Value = MemoryGrant> {
    (vec(pattern(), 0..3), vec(pattern(), 0..3)).prop_map(|(read, write)| MemoryGrant { read, write })
}

fn grant() -> impl Strategy<Value = Grant> {
    let hosts = vec(select(vec!["*", "*.b.c", "a.b.c", "b.c"]).prop_map(str::to_owned), 0..3);
    let secrets = proptest::collection::btree_map(select(vec!["K", "L"]).prop_map(str::to_owned), hosts, 0..3);
    let limits = (option::of(0_u32..3), option::of(0_u64..3));
    (option::of(llm()), vec(rule(), 0..3), option::of(memory()), secrets, vec(pattern(), 0..3), any::<bool>(), limits)
        .prop_map(|(llm, http, memory, secrets, tools, executions, (memory_mb, egress_bytes))| Grant {
            llm,
            http,
            memory,
            secrets,
            tools,
            executions,
            limits: LimitSettings { memory_mb, egress_bytes, ..LimitSettings::default() },
        })
}

fn url() -> impl Strategy<Value = String> {
    let host = select(vec!["a.b.c", "x.a.b.c", "b.c", "127.0.0.1", "d"]);
    let path = select(vec!["", "/", "/v1/x", "/v1/y?q", "/v2", "/v1/%2e%2e/z"]);
    (select(vec!["http", "https"]), host, select(vec!["", ":8080", ":9"]), path)
        .prop_map(|(scheme, host, port, path)| format!("{scheme}://{host}{port}{path}"))
}

/// Everything that can be asked of a grant about one set of uses, as one list of answers.
fn answers(grant: &Grant, text: &str, method: &str, url: &str) -> Vec<bool> {
    vec![
        grant.allows_model("p", text),
        grant.allows_model("q", text),
        grant.allows_http(method, url),
        grant.allows_memory(text, false),
        grant.allows_memory(text, true),
        grant.allows_tool(text),
        grant.allows_secret("K", "a.b.c"),
        grant.allows_secret("K", "x.b.c"),
        grant.allows_secret("L", "b.c"),
        grant.knows_secret("K"),
        grant.executions,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn covering_is_reflexive_and_transitive(a in grant(), b in grant(), c in grant()) {
        prop_assert!(a.covers(&a));
        let nothing = Grant { limits: a.limits, ..Grant::default() };
        prop_assert!(a.covers(&nothing));
        if a.covers(&b) && b.covers(&c) {
            prop_assert!(a.covers(&c));
        }
    }

    #[test]
    fn what_is_covered_allows_no_more(a in grant(), b in grant(), text in select(vec!["a", "ab", "abc", "b"]), method in select(vec!["GET", "POST", "PUT"]), url in url()) {
        if a.covers(&b) {
            for (wide, narrow) in answers(&a, text, method, &url).into_iter().zip(answers(&b, text, method, &url)) {
                prop_assert!(wide || !narrow);
            }
        }
    }

    #[test]
    fn nothing_widens_exactly_when_covered(old in grant(), new in grant()) {
        prop_assert_eq!(widens(&old, &new).is_empty(), old.covers(&new));
    }

    #[test]
    fn the_intersection_is_what_both_allow(a in grant(), b in grant(), text in select(vec!["a", "ab", "abc", "b"]), method in select(vec!["GET", "POST", "PUT"]), url in url()) {
        let both = a.intersect(&b);
        prop_assert!(a.covers(&both));
        prop_assert!(b.covers(&both));
        let expected: Vec<bool> = answers(&a, text, method, &url).into_iter().zip(answers(&b, text, method, &url)).map(|(a, b)| a && b).collect();
        prop_assert_eq!(answers(&both, text, method, &url), expected);
        prop_assert_eq!(both.intersect(&b), both.clone());
    }

    #[test]
    fn a_grant_survives_json(grant in grant()) {
        let text = serde_json::to_string(&grant).unwrap();
        prop_assert_eq!(serde_json::from_str::<Grant>(&text).unwrap(), grant);
    }

    #[test]
    fn no_rule_and_no_url_panics(rule in ".*", url in ".*") {
        let grant = Grant { http: Vec::from([rule]), ..Grant::default() };
        let _ = (grant.allows_http("GET", &url), grant.check(), grant.intersect(&grant));
    }
}
