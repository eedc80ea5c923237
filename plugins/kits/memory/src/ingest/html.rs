//! The readable text of an HTML page, without a parser for every detail of the standard: what is not shown
//! (`script`, `style`, `nav`, …) goes, blocks become lines, headings and paragraphs stand apart.

/// Elements whose content no reader sees as text of the page.
const HIDDEN: &[&str] = &["script", "style", "template", "noscript", "svg", "head", "nav", "iframe", "object"];
/// Elements that stand apart from what is around them.
const PARAGRAPHS: &[&str] = &[
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "table",
    "ul",
    "ol",
    "dl",
    "blockquote",
    "pre",
    "article",
    "section",
    "header",
    "footer",
    "main",
    "aside",
    "figure",
    "form",
    "hr",
];
/// Elements that begin a line.
const LINES: &[&str] = &["br", "div", "li", "tr", "dt", "dd", "figcaption", "caption", "option", "address", "title"];
/// Elements whose content stands beside its neighbour's.
const CELLS: &[&str] = &["td", "th"];

/// Named character references worth knowing; others stay as they are written.
const ENTITIES: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("lsquo", "‘"),
    ("rsquo", "’"),
    ("ldquo", "“"),
    ("rdquo", "”"),
    ("laquo", "«"),
    ("raquo", "»"),
    ("bull", "•"),
    ("middot", "·"),
    ("copy", "©"),
    ("reg", "®"),
    ("trade", "™"),
    ("deg", "°"),
    ("euro", "€"),
    ("pound", "£"),
    ("sect", "§"),
    ("times", "×"),
    ("frac12", "½"),
    ("auml", "ä"),
    ("ouml", "ö"),
    ("uuml", "ü"),
    ("Auml", "Ä"),
    ("Ouml", "Ö"),
    ("Uuml", "Ü"),
    ("szlig", "ß"),
    ("agrave", "à"),
    ("aacute", "á"),
    ("acirc", "â"),
    ("aring", "å"),
    ("aelig", "æ"),
    ("ccedil", "ç"),
    ("egrave", "è"),
    ("eacute", "é"),
    ("ecirc", "ê"),
    ("euml", "ë"),
    ("iacute", "í"),
    ("ntilde", "ñ"),
    ("oacute", "ó"),
    ("ocirc", "ô"),
    ("oslash", "ø"),
    ("uacute", "ú"),
    ("shy", ""),
];
/// The longest reference in the table, and `#x10FFFF`.
const ENTITY_BYTES_MAX: usize = 10;

/// Returns the text of a page.
pub(super) fn text(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        page.words(&rest[..open]);
        rest = &rest[open..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = after(comment, "-->");
        } else if rest.starts_with("<!") || rest.starts_with("<?") {
            rest = after(rest, ">");
        } else if let Some((tag, behind)) = tag(rest) {
            rest = if !tag.closes && HIDDEN.contains(&tag.name.as_str()) { skip(behind, &tag.name) } else { behind };
            page.tag(&tag);
        } else {
            page.words("<");
            rest = &rest[1..];
        }
    }
    page.words(rest);
    page.text
}

struct Tag {
    name: String,
    closes: bool,
}

/// Reads a tag at the start of `text`, and returns it with what comes behind. `None` when `<` is only a character.
fn tag(text: &str) -> Option<(Tag, &str)> {
    let inner = text.strip_prefix('<')?;
    let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let name = inner[..end].to_ascii_lowercase();
    let mut quote = None;
    for (at, byte) in inner.bytes().enumerate().skip(end) {
        match (quote, byte) {
            (None, b'>') => return Some((Tag { name, closes }, &inner[at + 1..])),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    // A tag that never ends swallows the rest, as it does in a browser.
    Some((Tag { name, closes }, ""))
}

/// Returns what comes behind the end tag of `name`.
fn skip<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(open) = rest.find("</") {
        rest = &rest[open..];
        let named = rest.get(2..2 + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if named {
            return after(rest, ">");
        }
        rest = &rest[2..];
    }
    ""
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.find(mark).map_or("", |at| &text[at + mark.len()..])
}

#[derive(Default)]
struct Page {
    text: String,
    /// Whether the words to come are written as they are, spaces and all.
    preformatted: bool,
}

impl Page {
    fn tag(&mut self, tag: &Tag) {
        let name = tag.name.as_str();
        if name == "pre" {
            self.preformatted = !tag.closes;
        }
        if PARAGRAPHS.contains(&name) {
            self.breaks(2);
        } else if LINES.contains(&name) {
            self.breaks(1);
        } else if CELLS.contains(&name) && !tag.closes && !self.text.ends_with(['\n', ' ']) && !self.text.is_empty() {
            self.text.push_str(" | ");
        }
        if name == "li" && !tag.closes {
            self.text.push_str("- ");
        }
    }

    fn breaks(&mut self, wanted: usize) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        if self.text.is_empty() {
            return;
        }
        let there = self.text.bytes().rev().take_while(|&byte| byte == b'\n').count();
        for _ in there..wanted {
            self.text.push('\n');
        }
    }

    fn words(&mut self, raw: &str) {
        let text = decode(raw);
        if self.preformatted {
            self.text.push_str(&text);
            return;
        }
        for letter in text.chars() {
            if !letter.is_whitespace() {
                self.text.push(letter);
            } else if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                self.text.push(' ');
            }
        }
    }
}

/// Returns text with its character references replaced.
fn decode(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(ENTITY_BYTES_MAX + 2).position(|byte| byte == b';');
        match end.and_then(|end| Some((character(&rest[1..end])?, end))) {
            Some((decoded, end)) => {
                text.push_str(&decoded);
                rest = &rest[end + 1..];
            }
            None => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

fn character(reference: &str) -> Option<String> {
    if let Some(number) = reference.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|&c| c != '\0').map(String::from);
    }
    ENTITIES.iter().find(|(name, _)| *name == reference).map(|(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_page_becomes_its_readable_text() {
        let page = "<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><nav>Menu</nav>\
            <h1>The  lamp</h1>\n<p>It burned\n  <b>paraffin</b> &amp; oil&nbsp;&#8212; for &euro;12.</p>\
            <script>if (a < b) { x(\"</p>\") }</script><ul><li>One</li><li>Two</li></ul><!-- no -->\
            <table><tr><td>a</td><td>b</td></tr></table></body></html>";
        assert_eq!(text(page).trim(), "The lamp\n\nIt burned paraffin & oil — for €12.\n\n- One\n- Two\n\na | b");
    }

    #[test]
    fn broken_markup_is_text_and_never_a_panic() {
        assert_eq!(text("a < b && c > d"), "a < b && c > d");
        assert_eq!(text("x<p title='>'>y"), "x\n\ny");
        assert_eq!(text("x<script>never closed"), "x");
        assert_eq!(text("<é>&#xD800;&#0;&bogus;&;&"), "<é>&#xD800;&#0;&bogus;&;&");
        assert_eq!(text("x<p unclosed \""), "x\n\n");
    }

    #[test]
    fn preformatted_text_keeps_its_lines() {
        assert_eq!(text("<pre>a\n  b</pre>c"), "a\n  b\n\nc");
    }
}
