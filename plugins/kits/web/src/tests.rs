//! The tools as the host calls them, on a scripted outside.

use std::time::Duration;

use ice_sdk::testing::{self, Host};
use ice_sdk::{ToolError, http};
use serde_json::{Value, json};

use crate::KIT;

fn get(input: Value) -> Result<Value, ToolError> {
    testing::call(&KIT, "http_get", &input)
}

fn post(input: Value) -> Result<Value, ToolError> {
    testing::call(&KIT, "http_post", &input)
}

#[test]
fn an_answer_has_status_headers_body_and_json() {
    let host = Host::install();
    host.answer_http(200, &[("Content-Type", "application/json"), ("X-A", "1"), ("x-a", "2")], r#"{"n":1}"#);
    let answer =
        get(json!({ "url": "https://example.com/x", "headers": { "Authorization": "Bearer {{secret:TOKEN}}" } }));
    assert_eq!(
        answer.unwrap(),
        json!({
            "status": 200, "headers": { "content-type": "application/json", "x-a": "1, 2" },
            "body": "{\"n\":1}", "encoding": "text", "json": { "n": 1 },
        })
    );
    let request = &host.http_requests()[0];
    assert_eq!((request.method.as_str(), request.timeout), ("GET", Duration::from_secs(30)));
    assert_eq!(request.headers, [("authorization".to_owned(), "Bearer {{secret:TOKEN}}".to_owned())]);
}

#[test]
fn a_body_that_is_not_text_comes_as_base64_and_broken_json_as_text() {
    let host = Host::install();
    host.answer_http(200, &[], [0xff, 0x00]);
    host.answer_http(200, &[("content-type", "application/problem+json")], "{");
    let bytes = get(json!({ "url": "https://example.com" })).unwrap();
    assert_eq!((&bytes["body"], &bytes["encoding"]), (&json!("/wA="), &json!("base64")));
    let broken = get(json!({ "url": "https://example.com" })).unwrap();
    assert_eq!(broken["body"], "{");
    assert!(broken.get("json").is_none());
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_fails() {
    let host = Host::install();
    host.answer_http(429, &[("retry-after", "3")], "");
    host.answer_http(502, &[("retry-after", "Fri, 20 Nov 2026 00:00:00 GMT")], "");
    host.answer_http(404, &[], "no <b>such</b>\n thing");
    host.fail_http(http::Error::Timeout);
    host.fail_http(http::Error::Denied("add `GET https://example.com`".into()));
    let ask = || get(json!({ "url": "https://example.com" }));
    assert_eq!(ask(), Err(ToolError::Retry(Duration::from_secs(3))));
    assert_eq!(ask(), Err(ToolError::Retry(Duration::from_secs(1))));
    assert_eq!(ask(), Err(ToolError::failed("status 404: no <b>such</b> thing")));
    assert_eq!(ask(), Err(ToolError::Retry(Duration::from_secs(1))));
    assert_eq!(ask(), Err(ToolError::failed("the request was denied: add `GET https://example.com`")));
    assert!(host.log().iter().any(|(_, line)| line == "no answer came in time"));
}

#[test]
fn an_expected_status_is_an_answer() {
    let host = Host::install();
    for status in [404, 503, 200] {
        host.answer_http(status, &[], "");
    }
    let ask = || get(json!({ "url": "https://example.com", "expected_status": [404, 503] }));
    assert_eq!(ask().unwrap()["status"], 404);
    assert_eq!(ask().unwrap()["status"], 503);
    assert_eq!(ask(), Err(ToolError::failed("status 200 is not one of the expected [404, 503]")));
}

#[test]
fn a_post_sends_json_or_text_and_says_who_asks() {
    let host = Host::install();
    for _ in 0..3 {
        host.answer_http(201, &[], "");
    }
    post(json!({ "url": "http://127.0.0.1:9/bin", "json": { "a": [1] } })).unwrap();
    post(
        json!({ "url": "http://127.0.0.1:9/bin", "body": "a=1", "content_type": "application/x-www-form-urlencoded" }),
    )
    .unwrap();
    post(json!({ "url": "http://127.0.0.1:9/bin", "json": null, "headers": { "Idempotency-Key": "mine", "Content-Type": "x/y" } })).unwrap();
    let sent = host.http_requests();
    assert_eq!(sent[0].body, br#"{"a":[1]}"#);
    assert_eq!(
        sent[0].headers,
        [("content-type".into(), "application/json".into()), ("idempotency-key".into(), "test:test".to_owned())]
    );
    assert_eq!((&sent[1].body[..], sent[1].headers[0].1.as_str()), (&b"a=1"[..], "application/x-www-form-urlencoded"));
    assert_eq!(sent[2].headers.len(), 2);
    let both = post(json!({ "url": "http://a", "json": 1, "body": "x" })).unwrap_err();
    assert_eq!(both.to_string(), "body: there is a `json` too; give one of them");
}

#[test]
fn limits_are_checked_and_kept() {
    let host = Host::install();
    host.answer_http(200, &[], "12345");
    let error = get(json!({ "url": "https://example.com", "max_body_bytes": 4 })).unwrap_err();
    assert_eq!(error.to_string(), "the answer is larger than 4 bytes");
    for (input, start) in [
        (json!({ "url": "https://example.com", "timeout_seconds": 0 }), "timeout_seconds: "),
        (json!({ "url": "https://example.com", "max_body_bytes": 99_999_999 }), "max_body_bytes: "),
        (json!({ "url": "example.com" }), "url: "),
        (json!({ "url": "https://example.com", "header": {} }), "header: unknown field"),
        (json!({}), "input: missing field `url`"),
    ] {
        let error = get(input).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn every_tool_is_documented() {
    assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
}
