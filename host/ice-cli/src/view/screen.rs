//! Draws lines over the lines drawn before, on the terminal of standard error.
//!
//! Nothing of the terminal is changed that would have to be restored: no raw mode, no other screen, no hidden cursor.
//! However the process ends, the last frame stays and the prompt comes below it.

use std::io::Write as _;

use super::tree::Line;

/// Begins and ends an update that a terminal shows at once, where it knows how; others ignore both.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// Used when the terminal does not say how large it is.
const USUAL: (usize, usize) = (80, 24);

#[derive(Default)]
pub(super) struct Screen {
    /// Columns of every line on the terminal.
    drawn: Vec<usize>,
}

impl Screen {
    /// Columns and rows of the terminal now.
    pub(super) fn size() -> (usize, usize) {
        match rustix::termios::tcgetwinsize(std::io::stderr()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => USUAL,
        }
    }

    /// Replaces what was drawn before. `above` is printed first and stays.
    pub(super) fn draw(&mut self, above: &[String], lines: &[Line]) {
        let mut frame = format!("{BEGIN}{}", self.erase(Self::size().0));
        for text in above.iter().map(String::as_str).chain(lines.iter().map(|line| line.text.as_str())) {
            frame.push_str(text);
            // Also from where a key that was echoed moved the cursor.
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str(END);
        self.drawn = lines.iter().map(|line| line.columns).collect();
        let mut stderr = std::io::stderr().lock();
        // A terminal that is gone shows nothing any more.
        let _gone = stderr.write_all(frame.as_bytes()).and_then(|()| stderr.flush());
    }

    /// Back to the first line drawn, and everything below it away. A terminal that became narrower has wrapped lines.
    fn erase(&self, width: usize) -> String {
        let rows: usize = self.drawn.iter().map(|columns| columns.div_ceil(width).max(1)).sum();
        if rows == 0 { "\r".into() } else { format!("\r\x1b[{rows}A\x1b[J") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_terminal_has_more_rows_to_erase() {
        let screen = Screen { drawn: vec![0, 40, 70] };
        assert_eq!(screen.erase(80), "\r\x1b[3A\x1b[J");
        assert_eq!(screen.erase(30), "\r\x1b[6A\x1b[J");
        assert_eq!(Screen::default().erase(80), "\r");
    }
}
