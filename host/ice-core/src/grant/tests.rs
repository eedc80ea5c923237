//! Single uses and settings, by tables. The order of grants is in `properties`.

use super::*;

fn http(rules: &[&str]) -> Grant {
    Grant { http: rules.iter().map(|rule| (*rule).to_owned()).collect(), ..Grant::default() }
}

#[test]
fn http_rules_allow_what_they_spell_and_nothing_else() {
    let cases: &[(&str, &str, &str, bool)] = &[
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/items?q=1", true),
        ("GET https://api.example.com/v1/*", "GET", "https://API.example.com:443/v1/", true),
        ("GET https://api.example.com/v1/*", "POST", "https://api.example.com/v1/items", false),
        ("GET https://api.example.com/v1/*", "GET", "http://api.example.com/v1/items", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com:8443/v1/items", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/../admin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%2e%2e/admin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/..%2fadmin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%252e%252e/admin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/..;/admin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/..\\admin", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com@evil.example/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "https://evil.example/https://api.example.com/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "https://evil.example\\@api.example.com/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "https://evil.example#@api.example.com/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com.evil.example/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "//api.example.com/v1/x", false),
        ("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/a b", false),
        ("https://api.example.com", "DELETE", "https://api.example.com/any%2fthing", true),
        ("api.example.com", "GET", "https://api.example.com/", true),
        ("api.example.com", "GET", "http://api.example.com/", false),
        ("GET,POST https://a.example/x", "POST", "https://a.example/x?y", true),
        ("GET,POST https://a.example/x", "PUT", "https://a.example/x", false),
        ("* https://*.example.com/*", "GET", "https://a.b.example.com/", true),
        ("* https://*.example.com/*", "GET", "https://example.com/", false),
        ("* https://*.example.com/*", "GET", "https://badexample.com/", false),
        ("* http://127.0.0.1:*/*", "POST", "http://127.0.0.1:40123/bin", true),
        ("* http://127.0.0.1:*/*", "POST", "http://127.0.0.2:40123/bin", false),
        ("* http://127.0.0.1/*", "GET", "http://0127.0.0.1/", false),
        ("* http://[::1]:80/*", "GET", "http://[0:0:0:0:0:0:0:1]/x", true),
        ("* https://*/*", "GET", "https://anything.example/x", true),
        ("* https://*/*", "GET", "https:///x", false),
        ("* https://*/*", "GET", "ftp://anything.example/x", false),
        ("not a rule at all", "GET", "https://a.example/", false),
    ];
    for (rule, method, url, expected) in cases {
        assert_eq!(http(&[rule]).allows_http(method, url), *expected, "{rule} | {method} {url}");
    }
}

#[test]
fn http_rules_print_in_their_normal_form() {
    for (text, normal) in [
        ("api.example.com", "* https://api.example.com/*"),
        ("post,get https://A.example:443/x", "GET,POST https://a.example/x"),
        ("* http://[0:0::1]:8080", "* http://[::1]:8080/*"),
        ("GET https://*.a.example:*/v1*", "GET https://*.a.example:*/v1*"),
    ] {
        let rule = HttpRule::parse(text).unwrap();
        assert_eq!(rule.to_string(), normal);
        assert_eq!(HttpRule::parse(normal).unwrap(), rule);
    }
    for bad in [
        "",
        "GET",
        "GET ftp://a/",
        "https://a/../b",
        "https://a/%2e",
        "https://a/*x",
        "https://a:0/",
        "https://a:99999/",
        "https://*.1/",
        "https://ü.example/",
        "https://a?b",
        "G=T https://a/",
        "https://u@a/",
        "https://-../",
    ] {
        // `GET` alone reads as a host, as `localhost` would.
        assert!(bad == "GET" || HttpRule::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn models_scopes_tools_and_secrets() {
    let mut grant = Grant::default();
    for setting in [
        "llm=gpt-4o*,anthropic/*,default",
        "memory.read=*",
        "memory.write=kb,chat:*",
        "tools=memory_*",
        "secrets.TOKEN=*.acme.example",
    ] {
        grant.set(setting).unwrap();
    }
    for (provider, model, expected) in [
        ("openai", "gpt-4o-mini", true),
        ("openai", "gpt-5", false),
        ("anthropic", "claude", true),
        ("other", "claude", false),
        ("", "default", true),
        ("openrouter", "anthropic/claude", false),
    ] {
        assert_eq!(grant.allows_model(provider, model), expected, "{provider}/{model}");
    }
    assert!(
        grant.allows_memory("anything", false)
            && grant.allows_memory("chat:1", true)
            && !grant.allows_memory("kb2", true)
    );
    assert!(grant.allows_tool("memory_write_tool") && !grant.allows_tool("http_get"));
    assert!(grant.allows_secret("TOKEN", "api.acme.example") && !grant.allows_secret("TOKEN", "acme.example"));
    assert!(!grant.allows_secret("OTHER", "api.acme.example") && grant.knows_secret("TOKEN"));
    assert!(grant.has(Capability::Llm) && !grant.has(Capability::Http) && Grant::default().has(Capability::Log));
    assert_eq!(grant.check(), []);
}

#[test]
fn a_bad_setting_changes_nothing_and_says_what_to_write() {
    let mut grant = Grant::default();
    for setting in [
        "http",
        "htp=https://a.example",
        "http=ftp://a/",
        "limits.memory_mb=lots",
        "limits.x=1",
        "executions=yes",
        "secrets.A-B=x.example",
        "secrets.A=https://x",
        "llm.usd_per_execution=-1",
        "llm.usd_per_execution=NaN",
        "tools=a*b",
    ] {
        let problem = grant.set(setting).unwrap_err();
        assert_eq!((problem.code, problem.help.is_some()), (Code::G002, true), "{setting}");
        assert_eq!(grant, Grant::default(), "{setting}");
    }
    for setting in [
        "http=GET https://a.example/*",
        "limits.memory_mb=64",
        "executions=true",
        "llm.usd_per_execution=0.5",
        "memory=kb",
    ] {
        grant.set(setting).unwrap();
    }
    grant.set("limits.memory_mb=none").unwrap();
    grant.set("http=").unwrap();
    assert_eq!((grant.limits.memory_mb, grant.http.len(), grant.executions), (None, 0, true));
}

#[test]
fn what_widens_reads_like_the_settings_that_allow_it() {
    let mut old = Grant::default();
    let mut new = Grant::default();
    old.set("http=GET https://a.example/*").unwrap();
    old.set("limits.memory_mb=64").unwrap();
    for setting in [
        "http=GET,POST https://a.example/v1/*",
        "llm=gpt-4o",
        "limits.memory_mb=128",
        "executions=true",
        "secrets.KEY=a.example",
    ] {
        new.set(setting).unwrap();
    }
    let lines = widens(&old, &new);
    assert_eq!(
        lines,
        [
            "llm=gpt-4o",
            "http=GET,POST https://a.example/v1/*",
            "secrets.KEY=a.example",
            "executions=true",
            "limits.memory_mb=128"
        ]
    );
    for line in lines {
        old.set(&line).unwrap();
    }
    assert!(old.covers(&new));
}

#[test]
fn a_rule_of_two_methods_is_covered_by_two_rules() {
    assert!(http(&["GET https://a/*", "POST https://a/*"]).covers(&http(&["GET,POST https://a/x"])));
    assert!(!http(&["GET https://a/*"]).covers(&http(&["* https://a/x"])));
}
