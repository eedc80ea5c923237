//! Pieces of a document under keys that stay the same: `doc:<name>:<number>`.
//!
//! Piece 0 is written last and carries a digest of the whole document. So a document whose piece 0 has that digest is
//! complete, and one that was interrupted is read again; pieces of an older, longer version are removed before.

use ice_sdk::ToolError;
use ice_sdk::memory::{self, Item};
use serde_json::{Map, Value};

use super::Piece;
use super::chunk;
use crate::digest;

/// Each piece takes up to two host calls, of which a call has 10,000.
const PIECES_MAX: usize = 4_000;
/// A key has at most 256 bytes: this leaves room for `doc:`, the number, and a mark that tells cut names apart.
const NAME_BYTES_MAX: usize = 200;

/// A document ready to be kept.
pub(super) struct Document<'a> {
    pub(super) scope: &'a str,
    pub(super) name: &'a str,
    pub(super) media_type: &'a str,
    pub(super) text: &'a str,
    pub(super) pieces: &'a [chunk::Piece],
    pub(super) metadata: &'a Map<String, Value>,
}

/// What changed in memory.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) written: Vec<Piece>,
    pub(super) forgotten: usize,
}

/// Writes what is new or changed, removes what is left over. Fails as the memory fails.
pub(super) fn keep(document: &Document<'_>) -> Result<Kept, ToolError> {
    let count = document.pieces.len();
    if count > PIECES_MAX {
        let message = format!("makes {count} pieces, at most {PIECES_MAX} are kept; raise `chunk_size` or split it");
        return Err(ToolError::invalid("source", message));
    }
    let items = document.items();
    let first = memory::read(document.scope, &items[0].key)?;
    if first.as_ref() == Some(&items[0]) {
        return Ok(Kept::default());
    }
    let before = first.as_ref().and_then(|item| item.metadata.get("chunks")?.as_u64()).unwrap_or(0);
    let mut kept = Kept::default();
    for (number, item) in items.iter().enumerate().skip(1) {
        if memory::read(document.scope, &item.key)?.as_ref() != Some(item) {
            write(document, item)?;
            kept.written.push(document.piece(number, item));
        }
    }
    kept.forgotten = forget(document, usize::try_from(before).unwrap_or(usize::MAX))?;
    write(document, &items[0])?;
    kept.written.insert(0, document.piece(0, &items[0]));
    Ok(kept)
}

fn write(document: &Document<'_>, item: &Item) -> Result<(), ToolError> {
    memory::write(document.scope, item).map_err(|error| match error {
        memory::Error::TooLarge(text) => ToolError::invalid("metadata", text),
        memory::Error::Invalid(text) => ToolError::invalid("scope", text),
        other => other.into(),
    })
}

/// Removes the pieces behind the last one: as many as piece 0 of the old version tells of, and further ones that an
/// interrupted call may have left, which stand without a gap because pieces are written in order.
fn forget(document: &Document<'_>, before: usize) -> Result<usize, ToolError> {
    let mut number = document.pieces.len();
    let mut forgotten = 0;
    loop {
        let key = document.key(number);
        let there = memory::read(document.scope, &key)?.is_some();
        if there {
            memory::forget(document.scope, &key)?;
            forgotten += 1;
        } else if number >= before {
            return Ok(forgotten);
        }
        number += 1;
    }
}

impl Document<'_> {
    /// The items of all pieces; the same document makes the same items.
    fn items(&self) -> Vec<Item> {
        let metadata = Value::Object(self.metadata.clone()).to_string();
        let whole = digest::of(&[self.text, self.media_type, &metadata, &format!("{:?}", self.pieces)]);
        let item = |(number, piece): (usize, &chunk::Piece)| {
            let text = &self.text[piece.start..piece.end];
            let mut metadata = self.metadata.clone();
            let own: [(&str, Value); 7] = [
                ("file", self.name.into()),
                ("media_type", self.media_type.into()),
                ("chunk", number.into()),
                ("start", piece.start.into()),
                ("end", piece.end.into()),
                ("line", piece.line.into()),
                ("content_hash", digest::of(&[text]).into()),
            ];
            metadata.extend(own.map(|(name, value)| (name.to_owned(), value)));
            if number == 0 {
                metadata.insert("chunks".to_owned(), self.pieces.len().into());
                metadata.insert("document_hash".to_owned(), whole.clone().into());
            }
            Item { key: self.key(number), text: text.to_owned(), metadata }
        };
        self.pieces.iter().enumerate().map(item).collect()
    }

    fn piece(&self, number: usize, item: &Item) -> Piece {
        let chunk::Piece { start, end, .. } = self.pieces[number];
        Piece { key: item.key.clone(), chunk: number, start, end }
    }

    /// A colon in a name would let `a:0` stand among the pieces of `a`, so it is written as `%3A`.
    fn key(&self, number: usize) -> String {
        let name = self.name.replace('%', "%25").replace(':', "%3A");
        if name.len() <= NAME_BYTES_MAX {
            return format!("doc:{name}:{number}");
        }
        let cut = (0..=NAME_BYTES_MAX).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        format!("doc:{}~{}:{number}", &name[..cut], digest::short(&[&name]))
    }
}
