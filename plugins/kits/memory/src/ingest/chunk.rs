//! Cuts a text into overlapping pieces that end where a reader would pause.

use crate::sentences;

/// How large pieces are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Most characters of a piece.
    pub(super) size: usize,
    /// Characters a piece may repeat of the one before; less than half of `size`.
    pub(super) overlap: usize,
}

/// A piece of the text. Ranges are in bytes, on borders of characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The line it begins on, from 1.
    pub(super) line: usize,
}

/// How good a place is to end a piece at, best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Border {
    Character,
    Word,
    Line,
    Sentence,
    Paragraph,
}

/// Returns the pieces, in order. Together they hold every character that is not white space.
pub(super) fn cut(text: &str, cut: Cut) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = skip_space(text, 0);
    let mut counted = 0;
    let mut line = 1;
    while start < text.len() {
        let end = end_of_piece(text, start, cut.size);
        let shown = start + text[start..end].trim_end().len();
        line += text[counted..start].matches('\n').count();
        counted = start;
        pieces.push(Piece { start, end: shown, line });
        if skip_space(text, end) >= text.len() {
            break;
        }
        start = next_start(text, start, end, cut.overlap);
    }
    pieces
}

/// Takes as much as fits, then steps back to the best border in the second half.
fn end_of_piece(text: &str, start: usize, size: usize) -> usize {
    let Some((limit, _)) = text[start..].char_indices().nth(size) else {
        return text.len();
    };
    let limit = start + limit;
    let middle = text[start..].char_indices().nth(size / 2).map_or(start, |(at, _)| start + at);
    let mut best = (Border::Character, limit);
    for (at, _) in text[middle..limit].char_indices().skip(1).map(|(at, c)| (middle + at, c)).chain([(limit, ' ')]) {
        let border = border(text, at);
        if border >= best.0 && border != Border::Character {
            best = (border, at);
        }
    }
    best.1
}

/// What a reader sees between the characters before and after byte `at`.
fn border(text: &str, at: usize) -> Border {
    let Some(before) = text[..at].chars().next_back() else {
        return Border::Character;
    };
    let Some(after) = text[at..].chars().next() else {
        return Border::Paragraph;
    };
    if text[..at].ends_with("\n\n") && after != '\n' {
        Border::Paragraph
    } else if before != '\n' && sentences::ends_between(before, after) {
        Border::Sentence
    } else if before == '\n' {
        Border::Line
    } else if before.is_whitespace() && !after.is_whitespace() {
        Border::Word
    } else {
        Border::Character
    }
}

/// Goes back by the overlap, then forward to where a sentence begins, or at least a word.
fn next_start(text: &str, start: usize, end: usize, overlap: usize) -> usize {
    let after = skip_space(text, end);
    if overlap == 0 {
        return after;
    }
    let earliest = text[..end].char_indices().rev().nth(overlap - 1).map_or(0, |(at, _)| at).max(start + 1);
    let earliest = (earliest..=end).find(|&at| text.is_char_boundary(at)).unwrap_or(end);
    let places = || text[earliest..end].char_indices().map(|(at, _)| earliest + at);
    let begins = |at: usize, least: Border| border(text, at) >= least;
    let sentence = places().map(|at| skip_space(text, at)).find(|&at| at < end && begins_sentence(text, at));
    let word = places().find(|&at| begins(at, Border::Word) && !text[at..].starts_with(char::is_whitespace));
    sentence.or(word).filter(|&at| at > start).unwrap_or(after)
}

fn begins_sentence(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let trimmed = before.trim_end();
    if trimmed.len() == before.len() {
        return trimmed.ends_with(['。', '！', '？']);
    }
    before[trimmed.len()..].contains('\n') || trimmed.ends_with(['.', '!', '?', '。', '！', '？'])
}

fn skip_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, size: usize, overlap: usize) -> Vec<&str> {
        cut(text, Cut { size, overlap }).into_iter().map(|piece| &text[piece.start..piece.end]).collect()
    }

    #[test]
    fn a_short_text_is_one_piece() {
        assert_eq!(cut("  Hi.\n", Cut { size: 50, overlap: 10 }), [Piece { start: 2, end: 5, line: 1 }]);
        assert_eq!(cut(" \n ", Cut { size: 50, overlap: 10 }), []);
    }

    #[test]
    fn pieces_end_at_paragraphs_before_sentences_before_words() {
        assert_eq!(
            shown("One two three.\n\nFour five. Six seven eight.", 30, 0),
            ["One two three.", "Four five. Six seven eight."]
        );
        assert_eq!(shown("One two three. Four five six seven", 20, 0), ["One two three.", "Four five six seven"]);
        assert_eq!(shown("onetwothree fourfivesix seven", 20, 0), ["onetwothree", "fourfivesix seven"]);
        assert_eq!(shown("abcdefghij", 4, 0), ["abcd", "efgh", "ij"]);
    }

    #[test]
    fn pieces_overlap_by_whole_sentences() {
        let text = "First one here. Second one. Third one is longer. Fourth.";
        // The second piece has no sentence border in its second half, so it ends at a word.
        assert_eq!(
            shown(text, 30, 14),
            ["First one here. Second one.", "Second one. Third one is", "Third one is longer. Fourth."]
        );
    }

    #[test]
    fn no_piece_is_larger_than_asked_and_nothing_is_lost() {
        let text = "Ärger über Öl. 東京は日本の首都です。大阪は違う。\n\nzażółć gęślą jaźń 🙂🙂🙂 ".repeat(40);
        for (size, overlap) in [(50, 0), (50, 24), (97, 13), (1000, 200)] {
            let pieces = cut(&text, Cut { size, overlap });
            let mut covered = 0;
            for piece in &pieces {
                assert!(text[piece.start..piece.end].chars().count() <= size);
                assert!(piece.start <= covered || text[covered..piece.start].trim().is_empty());
                assert!(piece.end > covered, "each piece adds something");
                covered = piece.end;
            }
            assert!(text[covered..].trim().is_empty());
            assert!(pieces.windows(2).all(|pair| pair[0].start < pair[1].start));
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        let text = "a\nb\n\nsecond paragraph is here";
        let pieces = cut(text, Cut { size: 26, overlap: 0 });
        assert_eq!(pieces.iter().map(|piece| piece.line).collect::<Vec<_>>(), [1, 4]);
    }
}
