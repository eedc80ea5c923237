//! Personal data and keys in texts: finding them, masking them, refusing them. Pure.
//!
//! Patterns find shapes, not meaning: they lower the risk, they do not remove it. Names and addresses have no shape.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use ice_core::problem::{Code, Problem};
use regex::Regex;
use serde::{Deserialize, Serialize};

/// What to do with personal data.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Redaction {
    /// Nothing.
    #[default]
    Off,
    /// Put `[email]`, `[phone]`, `[card]` or `[key]` in its place.
    Mask,
    /// Do not take the text.
    Refuse,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Finding {
    /// An e-mail address.
    Email,
    /// A telephone number: international, or written in groups.
    Phone,
    /// A payment card number: 13 to 19 digits with the right check digit (Luhn, ISO/IEC 7812-1).
    Card,
    /// A key, token or password of a service, by its prefix or its header.
    Key,
}

impl Finding {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Key => "key",
        }
    }
}

/// The order is the order of trust: where two patterns meet, the earlier one names the place.
const PATTERNS: &[(Finding, &str)] = &[
    (Finding::Key, r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)"),
    // JSON Web Tokens, then the prefixes that services document for their keys.
    (Finding::Key, r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    (Finding::Key, r"\b(?:sk|pk|rk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}"),
    (Finding::Key, r"\b(?:ghp|gho|ghu|ghs|ghr|glpat|npm|hf|dop_v1|shpat|xox[abeprs])[-_][A-Za-z0-9_-]{16,}"),
    (Finding::Key, r"\bgithub_pat_[A-Za-z0-9_]{20,}"),
    (Finding::Key, r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    (Finding::Key, r"\bAIza[A-Za-z0-9_-]{35}"),
    (Finding::Key, r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*"),
    (
        Finding::Email,
        r"(?i)[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}\b",
    ),
    (Finding::Card, r"\b\d(?:[ -]?\d){12,18}\b"),
    (Finding::Phone, r"\+\d{1,3}(?:[ .()/-]{0,2}\d){6,13}\b"),
    (Finding::Phone, r"\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b"),
    (Finding::Phone, r"\b0\d{1,4}[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3}\b"),
];

static COMPILED: LazyLock<Vec<(Finding, Regex)>> = LazyLock::new(|| {
    let compile = |(finding, pattern): &(Finding, &str)| {
        // ASCII digits and borders: those of Unicode make automata many times the size, and find nothing more.
        let pattern = pattern.replace(r"\b", r"(?-u:\b)").replace(r"\d", "[0-9]");
        (*finding, Regex::new(&pattern).expect("a test compiles the table"))
    };
    PATTERNS.iter().map(compile).collect()
});

/// Finds personal data, in the order of the text, without overlaps.
pub fn find(text: &str) -> Vec<(Finding, Range<usize>)> {
    // By start. Places never overlap, so the last one that starts before an end is the only one to compare with.
    let mut found: BTreeMap<usize, (usize, Finding)> = BTreeMap::new();
    for (finding, pattern) in COMPILED.iter() {
        for place in pattern.find_iter(text).map(|place| place.range()) {
            let before = found.range(..place.end).next_back();
            let taken = before.is_some_and(|(_, (end, _))| place.start < *end);
            if !taken && is_real(*finding, text, &place) {
                found.insert(place.start, (place.end, *finding));
            }
        }
    }
    found.into_iter().map(|(start, (end, finding))| (finding, start..end)).collect()
}

fn is_real(finding: Finding, text: &str, place: &Range<usize>) -> bool {
    let digits: Vec<u8> = text[place.clone()].bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    // Digits inside a longer word, number or path are part of an identifier.
    let joined = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '.';
    let before = text[..place.start].chars().next_back();
    let after = text[place.end..].chars().next().filter(|c| *c != '.' && *c != '-');
    let alone = !before.is_some_and(joined) && !after.is_some_and(joined);
    match finding {
        Finding::Card => alone && luhn(&digits) && digits.iter().any(|digit| *digit != digits[0]),
        Finding::Phone => alone && (7..=15).contains(&digits.len()),
        Finding::Email | Finding::Key => true,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u8| if digit < 5 { digit * 2 } else { digit * 2 - 9 };
    let parts = digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 1 { double(*digit) } else { *digit });
    parts.map(u32::from).sum::<u32>() % 10 == 0
}

/// Puts `[email]` and its like in the place of everything found.
pub fn mask(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for (finding, place) in found {
        masked.push_str(&text[end..place.start]);
        masked.push('[');
        masked.push_str(finding.as_str());
        masked.push(']');
        end = place.end;
    }
    masked.push_str(&text[end..]);
    Cow::Owned(masked)
}

impl Redaction {
    /// Applies the policy to a text that will be kept. G022 when it must not be.
    pub fn apply<'a>(self, text: &'a str) -> Result<Cow<'a, str>, Problem> {
        match self {
            Self::Off => Ok(Cow::Borrowed(text)),
            Self::Mask => Ok(mask(text)),
            Self::Refuse => {
                let mut kinds: Vec<_> = find(text).into_iter().map(|(finding, _)| finding).collect();
                kinds.sort_unstable();
                kinds.dedup();
                if kinds.is_empty() {
                    return Ok(Cow::Borrowed(text));
                }
                let kinds: Vec<_> = kinds.into_iter().map(|kind| format!("`{}`", kind.as_str())).collect();
                Err(Problem::new(Code::G022, format!("the text holds personal data or keys: {}", kinds.join(", ")))
                    .help("leave it out, or let the operator set the redaction policy to `mask`"))
            }
        }
    }

    /// Applies the policy to a line of a log. A line is never lost: where writes are refused, it is masked.
    pub fn log_line(self, line: &str) -> Cow<'_, str> {
        match self {
            Self::Off => Cow::Borrowed(line),
            Self::Mask | Self::Refuse => mask(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_has_a_shape() {
        let table = [
            ("write to ann.lee+x@mail.example.co.uk.", "write to [email]."),
            ("<a@b.io>, c@d.dev", "<[email]>, [email]"),
            ("card 4111 1111 1111 1111 ok", "card [card] ok"),
            ("4111-1111-1111-1111", "[card]"),
            ("378282246310005", "[card]"),
            ("call +49 (0)30 901820 now", "call [phone] now"),
            ("+14155552671", "[phone]"),
            ("(415) 555-2671 or 415-555-2671", "[phone] or [phone]"),
            ("Tel. 030 901 820", "Tel. [phone]"),
            ("key sk-proj-abcdefghijklmnopqrst", "key [key]"),
            ("sk_live_abcdefghijklmnop1234", "[key]"),
            ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
            ("AKIAIOSFODNN7EXAMPLE", "[key]"),
            ("AIzaSyA-abcdefghijklmnopqrstuvwxyz01234", "[key]"),
            ("authorization: Bearer abcdefghijklmnop.qrst==", "authorization: [key]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "[key]"),
            ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\nend", "[key]\nend"),
        ];
        for (text, expected) in table {
            assert_eq!(mask(text), expected, "{text}");
        }
    }

    #[test]
    fn leaves_other_numbers_and_words() {
        let table = [
            "at 2024-01-02T10:11:12.123Z",
            "version 1.2.3 on 192.168.100.200",
            "4111 1111 1111 1112",
            "id 550e8400-e29b-41d4-a716-446655440000",
            "$1,234,567.89",
            "0000 0000 0000 0000",
            "ISBN 978-3-16-148410-0",
            "task-force, risk-averse-decisions",
            "@mention and user@host",
            "sha256:0123456789012345678901234567890123",
            "order 20240102-1234567",
            "lines 100-200 300",
        ];
        for text in table {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn refuses_by_kind_and_never_quotes() {
        let problem = Redaction::Refuse.apply("a@b.io and 4111111111111111").unwrap_err();
        assert_eq!(problem.code, Code::G022);
        assert!(problem.message.contains("`email`, `card`"));
        assert!(!problem.to_string().contains("4111") && !problem.to_string().contains("a@b"));
        assert_eq!(Redaction::Refuse.apply("plain").unwrap(), "plain");
        assert_eq!(Redaction::Off.apply("a@b.io").unwrap(), "a@b.io");
        assert_eq!(Redaction::Refuse.log_line("a@b.io"), "[email]");
    }

    #[test]
    fn stays_fast_on_hostile_text() {
        // Finishes at once or not at all: the patterns run in linear time.
        for text in ["a@".repeat(40_000), "0 ".repeat(40_000), "sk-a-".repeat(20_000), "-".repeat(80_000)] {
            let _ = find(&text);
        }
    }
}
