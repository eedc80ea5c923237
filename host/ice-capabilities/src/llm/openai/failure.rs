//! What a provider's refusals mean: which code, whether to try again, and what the operator can do. Pure.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use ice_core::ports::{Failure, Retry};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

use super::OpenAi;

/// A provider that asks for a longer pause is as good as down.
const PAUSE_MS_MAX: u64 = 60 * 60 * 1000;

/// An identifier from outside, made safe to print. Whole sentences never pass: they may quote the question or the key.
pub(super) fn word(text: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || "_-./".contains(*c);
    if text.len() <= 64 && text.chars().all(|c| good(&c)) { text.to_owned() } else { "unknown".to_owned() }
}

/// The provider's own short words for an error.
fn reason(error: &Value) -> Option<String> {
    let texts = [&error["code"], &error["type"], &error["status"]];
    let words = texts.iter().filter_map(|value| value.as_str()).map(word);
    words.into_iter().find(|word| !word.is_empty() && word != "unknown")
}

/// An answer whose status is no success.
pub(super) fn refused(provider: &OpenAi, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = match &body {
        // Some gateways wrap the object in a list.
        Value::Array(items) => items.first().map_or(&Value::Null, |item| &item["error"]),
        body => &body["error"],
    };
    let reason = reason(error);
    let said = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    let name = &provider.name;
    let problem =
        |code, what: &str| Problem::new(code, format!("the provider `{name}` {what}: {}{said}", status.as_u16()));
    let is = |words: &[&str]| reason.as_deref().is_some_and(|reason| words.contains(&reason));
    match status.as_u16() {
        401 | 403 => Failure::never(problem(Code::X072, "does not accept the key").help(key_help(provider))),
        402 => {
            Failure::never(problem(Code::X072, "has no credit left for this key").help("check the account's billing"))
        }
        429 if is(&["insufficient_quota", "billing_hard_limit_reached"]) => {
            Failure::never(problem(Code::X072, "has no credit left for this key").help("check the account's billing"))
        }
        404 => Failure::never(
            problem(Code::X070, "does not serve this model or has no such address").help(address_help(provider)),
        ),
        300..=399 => Failure::never(problem(Code::X074, "redirects elsewhere").help(address_help(provider))),
        408 | 409 | 425 | 429 | 500..=599 => {
            let retry = pause_ms(headers, SystemTime::now()).map_or(Retry::Maybe, Retry::AfterMs);
            Failure { problem: problem(Code::X073, "is busy or failed"), retry }
        }
        _ if is(&["content_filter", "content_policy_violation"]) => filtered(provider),
        _ if is(&["context_length_exceeded"]) => Failure::never(
            problem(Code::X074, "refused the request")
                .help("shorten the messages, or name a model with a larger context"),
        ),
        _ => Failure::never(problem(Code::X074, "refused the request")),
    }
}

/// An error inside an answer that began well.
pub(super) fn in_answer(provider: &OpenAi, error: &Value) -> Failure {
    let said = reason(error).map_or(String::new(), |reason| format!(" ({reason})"));
    Failure::maybe(Problem::new(Code::X073, format!("the provider `{}` failed while answering{said}", provider.name)))
}

/// Something that is not in the format.
pub(super) fn no_answer(provider: &OpenAi, why: &str) -> Failure {
    let message = format!("the provider `{}` gave no answer in the chat-completions format: {why}", provider.name);
    Failure::maybe(Problem::new(Code::X075, message).help(address_help(provider)))
}

/// The answer is only a part.
pub(super) fn cut(provider: &OpenAi, place: &str, code: Code) -> Failure {
    let problem = Problem::new(code, format!("the answer of the provider `{}` was cut off {place}", provider.name));
    if place == "inside a tool call" {
        // The same question would be cut at the same place.
        return Failure::never(problem.help("allow more output tokens: raise `max_tokens`"));
    }
    Failure::maybe(problem)
}

/// The provider or the model does not want to answer.
pub(super) fn filtered(provider: &OpenAi) -> Failure {
    let message = format!("the provider `{}` or its model refused to answer this question", provider.name);
    Failure::never(Problem::new(Code::X077, message).help("change the question, or name another model"))
}

fn key_help(provider: &OpenAi) -> String {
    match (provider.key_variable, &provider.key) {
        ("", _) => format!("check the key of the provider `{}`", provider.name),
        (variable, None) => format!("set `{variable}`"),
        (variable, Some(_)) => {
            format!("check the key in `{variable}`, and that it may use this model")
        }
    }
}

fn address_help(provider: &OpenAi) -> String {
    let own = if provider.own_server { " and the base URL (it ends before `/chat/completions`)" } else { "" };
    format!("check the model's name{own}")
}

/// Milliseconds of `retry-after-ms`, or of `retry-after` as seconds or as a date (RFC 9110 §10.2.3).
fn pause_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, capped below")]
    let whole = |ms: f64| ms.ceil() as u64;
    let ms = match text("retry-after-ms").and_then(number) {
        Some(ms) => whole(ms),
        None => {
            let value = text("retry-after")?;
            match number(value) {
                Some(seconds) => whole(seconds * 1000.0),
                None => {
                    let wait = httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default();
                    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
                }
            }
        }
    };
    Some(ms.min(PAUSE_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reads_pauses_in_all_three_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let date = httpdate::fmt_http_date(now + Duration::from_secs(90));
        let past = httpdate::fmt_http_date(now - Duration::from_secs(90));
        let table = [
            ("retry-after", "3", Some(3_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after-ms", "20", Some(20)),
            ("retry-after", date.as_str(), Some(90_000)),
            ("retry-after", past.as_str(), Some(0)),
            ("retry-after", "99999999999", Some(PAUSE_MS_MAX)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("x", "1", None),
        ];
        for (name, value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(pause_ms(&headers, now), expected, "{name}: {value}");
        }
    }

    #[test]
    fn lets_identifiers_through_and_no_sentences() {
        assert_eq!(word("context_length_exceeded"), "context_length_exceeded");
        for text in ["Incorrect API key provided: sk-1", "a b", "ü", &"x".repeat(65), "<html>"] {
            assert_eq!(word(text), "unknown");
        }
    }
}
