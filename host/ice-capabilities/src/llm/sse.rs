//! Server-sent events: bytes in, the `data` of each event out. Pure; what the data means is the provider's format.

use std::collections::VecDeque;

/// One event carries one piece of an answer; a longer line is no event stream.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Takes bytes as they come, cut anywhere, and gives whole events.
#[derive(Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Option<String>,
    ready: VecDeque<String>,
    // A `\n` after a `\r` that ended a line belongs to it, even when it comes with the next bytes.
    after_return: bool,
}

/// The stream is not one of events: a line has no end, or is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotEvents;

impl Events {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), NotEvents> {
        for &byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => self.end_of_line()?,
                _ if LINE_BYTES_MAX <= self.line.len() => return Err(NotEvents),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    /// The end of the bytes: an event without empty line after it counts, as servers forget it.
    pub(crate) fn finish(&mut self) -> Result<(), NotEvents> {
        if !self.line.is_empty() {
            self.end_of_line()?;
        }
        self.ready.extend(self.data.take());
        Ok(())
    }

    /// The data of the next whole event.
    pub(crate) fn pop(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    fn end_of_line(&mut self) -> Result<(), NotEvents> {
        let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| NotEvents)?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            self.ready.extend(self.data.take());
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) if LINE_BYTES_MAX < data.len() + value.len() => return Err(NotEvents),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        for piece in pieces {
            events.push(piece).unwrap();
        }
        events.finish().unwrap();
        std::iter::from_fn(|| events.pop()).collect()
    }

    const STREAM: &str =
        ": comment\n\ndata: one\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\nid: 3\rdata: drei ü\r\rdata: last";

    #[test]
    fn reads_all_line_ends_comments_and_many_lines() {
        assert_eq!(all(&[STREAM.as_bytes()]), ["one", "two\nlines", "drei ü", "last"]);
    }

    #[test]
    fn does_not_mind_where_the_bytes_are_cut() {
        let bytes = STREAM.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), ["one", "two\nlines", "drei ü", "last"], "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&single).len(), 4);
    }

    #[test]
    fn refuses_endless_lines_and_other_encodings() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'a'; LINE_BYTES_MAX + 1]), Err(NotEvents));
        assert_eq!(Events::default().push(b"data: \xff\n"), Err(NotEvents));
    }
}
