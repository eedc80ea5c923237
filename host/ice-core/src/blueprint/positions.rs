//! Where every value of a document is in its text.

use serde_json::Value;

use crate::problem::{Code, Problem};

/// Line and column, counted from 1.
pub(super) type Position = (u32, u32);

/// Positions of a document's values and keys. Empty for a document that did not come from text.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    pub(super) file: Option<String>,
    pub(super) root: Option<Spot>,
}

/// One value. Its children are in the order of the document, as those of the value are.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) at: Position,
    pub(super) children: Children,
}

#[derive(Clone, Debug)]
pub(super) enum Children {
    None,
    Items(Vec<Spot>),
    Fields(Vec<(Position, Spot)>),
}

/// Problems with these codes are about a key, not about the value behind it.
const ABOUT_KEYS: &[Code] = &[Code::B002, Code::B008, Code::B023];

impl Positions {
    /// Adds file, line and column to a problem that has a pointer. A pointer that leads past the document gets the
    /// position of the last value on its way.
    pub fn locate(&self, document: &Value, mut problem: Problem) -> Problem {
        let at = problem.at.get_or_insert_default();
        if at.file.is_none() {
            at.file.clone_from(&self.file);
        }
        if let (Some(root), Some(pointer)) = (&self.root, &at.pointer)
            && at.line.is_none()
        {
            let (line, column) = find(root, document, pointer, ABOUT_KEYS.contains(&problem.code));
            at.line = Some(line);
            at.column = Some(column);
        }
        problem
    }

    /// Line and column of the value at a JSON pointer.
    pub fn of(&self, document: &Value, pointer: &str) -> Option<(u32, u32)> {
        Some(find(self.root.as_ref()?, document, pointer, false))
    }
}

fn find(root: &Spot, document: &Value, pointer: &str, about_key: bool) -> Position {
    let (mut spot, mut value, mut at) = (root, document, root.at);
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let (next, inner, position) = match (&spot.children, value) {
            (Children::Items(spots), Value::Array(items)) => {
                let Some(index) = segment.parse::<usize>().ok().filter(|index| *index < spots.len()) else { break };
                (&spots[index], &items[index], spots[index].at)
            }
            (Children::Fields(spots), Value::Object(fields)) => {
                let found = fields.iter().zip(spots).find(|((key, _), _)| **key == segment);
                let Some(((_, inner), (key_at, next))) = found else { break };
                (next, inner, if about_key { *key_at } else { next.at })
            }
            _ => break,
        };
        (spot, value, at) = (next, inner, position);
    }
    at
}
