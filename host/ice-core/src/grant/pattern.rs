//! Names and prefixes: `kb`, `chat:*`, `gpt-4o*`, `openai/*`. The only wildcard is one `*` at the end.
//!
//! Two patterns are nested or disjoint, so "covers" and "what both allow" are exact. Hosts and paths are in `http`.

use crate::problem::{Code, Problem};

/// Bound on the length of a pattern: longer than any name it could be compared with.
const BYTES_MAX: usize = 512;

/// Whether `text` is the pattern, or begins with what stands before its final `*`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => pattern == text,
    }
}

/// Whether `wide` matches everything that `narrow` matches.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.strip_suffix('*'), narrow.strip_suffix('*')) {
        (Some(wide), Some(narrow)) => narrow.starts_with(wide),
        (Some(wide), None) => narrow.starts_with(wide),
        (None, Some(_)) => false,
        (None, None) => wide == narrow,
    }
}

/// The pattern of what both match.
pub(super) fn meet(a: &str, b: &str) -> Option<String> {
    if covers(a, b) {
        return Some(b.to_owned());
    }
    covers(b, a).then(|| a.to_owned())
}

/// [`matches`] for models: a pattern with a `/` says the provider too.
pub(super) fn model_matches(pattern: &str, provider: &str, model: &str) -> bool {
    if pattern.contains('/') { matches(pattern, &format!("{provider}/{model}")) } else { matches(pattern, model) }
}

/// [`covers`] for models. A pattern without a provider holds for every provider, so it covers one with a provider,
/// never the other way round.
pub(super) fn model_covers(wide: &str, narrow: &str) -> bool {
    match (wide.contains('/'), narrow.split_once('/')) {
        (false, Some((_, model))) => covers(wide, model),
        (true, None) => false,
        (false, None) | (true, Some(_)) => covers(wide, narrow),
    }
}

/// [`meet`] for models.
pub(super) fn model_meet(a: &str, b: &str) -> Option<String> {
    match (a.split_once('/'), b.split_once('/')) {
        (None, Some((provider, model))) => meet(a, model).map(|model| format!("{provider}/{model}")),
        (Some((provider, model)), None) => meet(model, b).map(|model| format!("{provider}/{model}")),
        (Some(_), Some(_)) | (None, None) => meet(a, b),
    }
}

/// Whether `name` can be written in `{{secret:NAME}}`.
pub(super) fn is_secret_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.len() <= 128 && name.chars().all(good)
}

/// Refuses what could be meant as a pattern but is not one.
pub(super) fn check(pattern: &str) -> Result<(), Problem> {
    let stars = pattern.matches('*').count();
    let fault = if pattern.is_empty() {
        "is empty"
    } else if pattern.len() > BYTES_MAX {
        "is longer than 512 bytes"
    } else if stars > 1 || (stars == 1 && !pattern.ends_with('*')) {
        "has a `*` before its end"
    } else if pattern.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "holds a space or a control character"
    } else {
        return Ok(());
    };
    let shown: String = pattern.chars().filter(|c| !c.is_control()).take(80).collect();
    Err(Problem::new(Code::G002, format!("pattern `{shown}` {fault}")).help("write a name, or a prefix and one `*`"))
}
