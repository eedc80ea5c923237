//! Takes the operator's secrets out of what comes back, in the forms in which a server may echo them. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ice_core::problem::{Code, Problem};
use regex::bytes::{NoExpand, Regex, RegexBuilder};

use crate::secrets::Secrets;

/// What stands where a secret stood.
pub(crate) const MARK: &str = "[secret]";

/// All forms of all secrets as one automaton: one pass over a body, however many secrets there are.
const AUTOMATON_BYTES_MAX: usize = 256 << 20;

/// Finds every known secret, plain or encoded.
#[derive(Debug)]
pub(crate) struct Scrubber {
    forms: Option<Regex>,
}

impl Scrubber {
    /// Prepares for these secrets. C020 when there are too many of them.
    pub(crate) fn new(secrets: &Secrets) -> Result<Self, Problem> {
        let mut forms: Vec<String> = secrets.values().flat_map(|secret| forms_of(secret.expose())).collect();
        // The longest form first: it is the one to replace where several begin at the same place.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        if forms.is_empty() {
            return Ok(Self { forms: None });
        }
        let pattern = forms.iter().map(|form| regex::escape(form)).collect::<Vec<_>>().join("|");
        let forms = RegexBuilder::new(&pattern).size_limit(AUTOMATON_BYTES_MAX).unicode(false).build();
        let forms =
            forms.map_err(|_| Problem::new(Code::C020, "the secrets together are too long").help("set fewer"))?;
        Ok(Self { forms: Some(forms) })
    }

    /// Returns `bytes` with `[secret]` in the place of every secret.
    pub(crate) fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match &self.forms {
            Some(forms) if forms.is_match(&bytes) => forms.replace_all(&bytes, NoExpand(MARK.as_bytes())).into_owned(),
            _ => bytes,
        }
    }

    /// The same for text.
    pub(crate) fn text(&self, text: String) -> String {
        let bytes = self.bytes(text.into_bytes());
        // Secrets are ASCII, so cutting one out leaves the rest valid UTF-8.
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

fn forms_of(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), json(value), json(value).replace('/', "\\/"), html(value)];
    for escape in [is_not_unreserved as fn(u8) -> bool, is_not_component, |_| true] {
        let percent = percent(value, escape);
        forms.push(percent.replace("%20", "+"));
        forms.push(lower_escapes(&percent));
        forms.push(percent);
    }
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.to_ascii_uppercase());
    forms.push(hex);
    forms.extend(base64_forms(value));
    forms
}

fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn html(value: &str) -> String {
    let text = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn is_not_unreserved(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// What JavaScript's `encodeURIComponent` escapes.
fn is_not_component(byte: u8) -> bool {
    is_not_unreserved(byte) && !b"!*'()".contains(&byte)
}

fn percent(value: &str, escape: fn(u8) -> bool) -> String {
    let one = |byte: u8| {
        if escape(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() }
    };
    value.bytes().map(one).collect()
}

fn lower_escapes(text: &str) -> String {
    let mut lower = String::with_capacity(text.len());
    let mut left = 0;
    for c in text.chars() {
        left = if c == '%' { 2 } else { left };
        let in_escape = c != '%' && left > 0;
        lower.push(if in_escape { c.to_ascii_lowercase() } else { c });
        left -= u8::from(in_escape);
    }
    lower
}

/// Base64 of a longer text that holds the value at any of the three alignments, without the digits at both ends that
/// also depend on the neighbours.
fn base64_forms(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value.as_bytes());
        let skipped = (before * 8).div_ceil(6);
        let whole = bytes.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.push(text[skipped..whole].to_owned());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    const VALUE: &str = "s3cr3t/\"+&<key>";

    fn scrubber() -> Scrubber {
        Scrubber::new(&Secrets::from_values([("KEY".into(), VALUE.into())]).unwrap()).unwrap()
    }

    #[test]
    fn finds_every_form() {
        let texts = [
            format!("key={VALUE};"),
            serde_json::json!({ "echo": VALUE }).to_string(),
            format!("<b>{}</b>", html(VALUE)),
            format!("?k={}&x", percent(VALUE, is_not_unreserved)),
            format!("?k={}&x", lower_escapes(&percent(VALUE, is_not_unreserved))),
            percent(VALUE, |_| true),
            STANDARD.encode(VALUE),
            STANDARD.encode(format!("u:{VALUE}")),
            STANDARD.encode(format!("us:{VALUE}:more")),
            URL_SAFE_NO_PAD.encode(format!("use:{VALUE}")),
            VALUE.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ];
        for text in texts {
            let clean = scrubber().text(text.clone());
            assert!(clean.contains(MARK), "{text} → {clean}");
            assert!(!clean.contains(VALUE) && !clean.contains("s3cr3t"), "{text} → {clean}");
        }
    }

    #[test]
    fn leaves_other_bytes_alone() {
        let bytes = vec![0, 255, 128, b's', b'3'];
        assert_eq!(scrubber().bytes(bytes.clone()), bytes);
        assert_eq!(Scrubber::new(&Secrets::default()).unwrap().text("$1 text".into()), "$1 text");
    }

    #[test]
    fn carries_many_long_secrets() {
        let values = (0..20).map(|n| (format!("K{n}"), format!("{n:04}").repeat(100)));
        let scrubber = Scrubber::new(&Secrets::from_values(values).unwrap()).unwrap();
        assert_eq!(scrubber.text("0007".repeat(100)), MARK);
    }
}
