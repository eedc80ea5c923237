//! "Did you mean": the known name a misspelt one was probably meant to be.

/// Names longer than this are not compared: the cost is the product of the lengths.
const CHARS_MAX: usize = 64;

/// Returns the known name nearest to `written`, when it is near: at most a third of the letters differ, and not all.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.to_lowercase().chars().collect();
    if written.is_empty() || written.len() > CHARS_MAX {
        return None;
    }
    let near = (written.len() / 3).max(1);
    let scored = known.into_iter().filter_map(|name| {
        let letters: Vec<char> = name.to_lowercase().chars().take(CHARS_MAX + 1).collect();
        let score = if contains(&letters, &written) { 1 } else { distance(&written, &letters) };
        (score <= near && score < written.len() && letters.len() <= CHARS_MAX).then_some((score, name))
    });
    scored.min().map(|(_, name)| name)
}

/// A help line: the nearest name, else the whole list when it is short.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(name) = nearest(written, known.iter().copied()) {
        return Some(format!("did you mean `{name}`?"));
    }
    match known.len() {
        0 => None,
        1..=12 => Some(format!("known: {}", known.join(", "))),
        more => Some(format!("known: {} and {} more", known[..12].join(", "), more - 12)),
    }
}

/// Half a word of at least four letters says enough: `memory_write` for `memory_write_tool`.
fn contains(name: &[char], written: &[char]) -> bool {
    written.len() >= 4 && 2 * written.len() >= name.len() && name.windows(written.len()).any(|part| part == written)
}

/// Damerau-Levenshtein distance (optimal string alignment): insert, delete, replace, or swap two neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..width {
            rows[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replaced.min(rows[(i - 1) * width + j] + 1).min(rows[i * width + j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { best.min(rows[(i - 2) * width + j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins_and_a_far_one_is_not_offered() {
        let known = ["tool", "llm", "loop", "agent", "condition", "parallel", "workflow"];
        for (written, expected) in [
            ("tol", Some("tool")),
            ("lmm", Some("llm")),
            ("lopo", Some("loop")),
            ("Agent", Some("agent")),
            ("conditon", Some("condition")),
            ("paralel", Some("parallel")),
            ("banana", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
        assert_eq!(nearest("memory_write", ["memory_write_tool", "csv_loader"]), Some("memory_write_tool"));
    }

    #[test]
    fn a_short_list_is_printed_and_a_long_one_is_cut() {
        assert_eq!(did_you_mean("zzz", ["abcd", "efgh"]).unwrap(), "known: abcd, efgh");
        let names: Vec<String> = (0..30).map(|i| format!("name{i:02}")).collect();
        assert!(did_you_mean("zzz", names.iter().map(String::as_str)).unwrap().ends_with("and 18 more"));
        assert_eq!(did_you_mean("zzz", []), None);
    }
}
