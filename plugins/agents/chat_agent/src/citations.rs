//! Citations that hold: the quote stands in the passage it names.

use ice_sdk::prompt;

use crate::task::{Citation, DraftCitation, Passage};

/// Returns the citations whose quote stands in their passage, in order, each place once.
pub(crate) fn check(drafts: &[DraftCitation], passages: &[&Passage]) -> Vec<Citation> {
    let mut citations = Vec::new();
    for draft in drafts {
        if let Some(citation) = locate(draft, passages)
            && !citations.contains(&citation)
        {
            citations.push(citation);
        }
    }
    citations
}

fn locate(draft: &DraftCitation, passages: &[&Passage]) -> Option<Citation> {
    let passage = passages.get(draft.id.checked_sub(1)?)?;
    let range = prompt::locate(&passage.text, &draft.quote)?;
    let origin = passage.number("start", passage.start).unwrap_or(0);
    let lines_before = passage.text[..range.start].matches('\n').count() as u64;
    Some(Citation {
        file: passage.file(),
        chunk: passage.number("chunk", passage.chunk).unwrap_or(0),
        start: origin + range.start as u64,
        end: origin + range.end as u64,
        line: passage.number("line", passage.line).map(|line| line + lines_before),
        quote: passage.text[range].to_owned(),
    })
}
