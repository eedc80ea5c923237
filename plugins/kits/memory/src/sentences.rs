//! Where sentences end: after `.`, `!` or `?` with white space behind it, after their full-width forms, and at the
//! end of a line. Abbreviations end sentences too; for cutting texts into readable pieces that is good enough.

/// Whether a sentence ends between `before` and `after`.
pub(crate) fn ends_between(before: char, after: char) -> bool {
    match before {
        '\n' | '。' | '！' | '？' => true,
        '.' | '!' | '?' => after.is_whitespace(),
        _ => false,
    }
}

/// Returns the sentences of a text, without white space around them. What has no letter and no digit is none.
pub(crate) fn of(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let ends = letters.peek().is_none_or(|(_, next)| ends_between(letter, *next));
        if ends {
            let end = at + letter.len_utf8();
            let sentence = text[start..end].trim();
            if sentence.chars().any(char::is_alphanumeric) {
                found.push(sentence);
            }
            start = end;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn sentences_end_at_marks_and_lines_but_not_inside_numbers() {
        assert_eq!(
            super::of("It costs 12.50 euros. Really?\n# Title\n---\n東京。大阪"),
            ["It costs 12.50 euros.", "Really?", "# Title", "東京。", "大阪"]
        );
    }
}
