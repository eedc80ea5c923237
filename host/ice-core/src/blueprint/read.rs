//! Text → value with positions: YAML 1.2 core schema, and JSON.
//!
//! What JSON cannot say is a problem: other tags, `.nan`, keys that are not scalars, more than one document.
//! Aliases are expanded, up to a bound: nine lines of anchors can otherwise stand for a billion values.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

use super::DOCUMENT_BYTES_MAX;
use super::positions::{Children, Position, Positions, Spot};
use crate::problem::{Code, Problem};

/// Levels of mappings and lists. Deeper documents overflow readers that recurse.
const DEPTH_MAX: usize = 100;

/// What all aliases of a document may expand to, counted as bytes of text plus [`VALUE_BYTES`] a value.
const ALIAS_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;

/// What one value weighs besides its text.
const VALUE_BYTES: usize = 32;

/// Problems after which reading stops.
const PROBLEMS_MAX: usize = 100;

/// Returns the value, its positions, and problems that left a value to look into.
pub(super) fn read(text: &str, file: &str) -> Result<(Value, Positions, Vec<Problem>), Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document has {} bytes, more than {DOCUMENT_BYTES_MAX}", text.len());
        return Err(vec![Problem::new(Code::B027, message).file(file).help("split it with `workflow` nodes")]);
    }
    match super::json::read(text) {
        Some((value, spot, duplicates)) => {
            if depth(&value) > DEPTH_MAX {
                let problem = Problem::new(Code::B026, too_deep()).help("flatten the document");
                return Err(vec![place(problem, file, spot.at)]);
            }
            let problems = duplicates.into_iter().map(|(key, at)| place(duplicate_key(&key), file, at)).collect();
            Ok((value, Positions { file: Some(file.to_owned()), root: Some(spot) }, problems))
        }
        None => events(text, file),
    }
}

fn duplicate_key(key: &str) -> Problem {
    Problem::new(Code::B008, format!("the key `{key}` is already there")).help("keep one of them")
}

fn too_deep() -> String {
    format!("values are nested deeper than {DEPTH_MAX} levels")
}

fn events(text: &str, file: &str) -> Result<(Value, Positions, Vec<Problem>), Vec<Problem>> {
    let mut builder = Builder::new(file);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                builder.problems.push(syntax(&error, file));
                builder.stopped = true;
            }
        }
        if builder.stopped || builder.problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    builder.finish()
}

fn syntax(error: &ScanError, file: &str) -> Problem {
    let marker = error.marker();
    let problem = Problem::new(Code::B001, error.info().to_owned());
    let problem = if error.info().contains("tab") {
        problem.help("indent with spaces")
    } else {
        problem.help("check indentation, colons, quotes and brackets here and on the line before")
    };
    place(problem, file, (number(marker.line()), number(marker.col() + 1)))
}

fn place(problem: Problem, file: &str, (line, column): Position) -> Problem {
    let mut problem = problem.file(file);
    let at = problem.at.get_or_insert_default();
    at.line = Some(line);
    at.column = Some(column);
    problem
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A mapping or list that is not closed yet.
enum Open {
    List { items: Vec<Value>, spots: Vec<Spot>, frame: Frame },
    Mapping { fields: Map<String, Value>, spots: Vec<(Position, Spot)>, key: Option<Key>, frame: Frame },
}

struct Frame {
    at: Position,
    anchor: usize,
    weight: usize,
}

/// A key that waits for its value.
struct Key {
    name: String,
    at: Position,
    /// The second of two equal keys: its value is dropped.
    duplicate: bool,
}

/// A finished value.
#[derive(Clone)]
struct Done {
    value: Value,
    spot: Spot,
    weight: usize,
}

struct Builder<'a> {
    file: &'a str,
    open: Vec<Open>,
    root: Option<Done>,
    documents: usize,
    anchors: HashMap<usize, Done>,
    expanded: usize,
    problems: Vec<Problem>,
    stopped: bool,
}

impl<'a> Builder<'a> {
    fn new(file: &'a str) -> Self {
        Self {
            file,
            open: Vec::new(),
            root: None,
            documents: 0,
            anchors: HashMap::new(),
            expanded: 0,
            problems: Vec::new(),
            stopped: false,
        }
    }

    fn problem(&mut self, code: Code, at: Position, message: impl Into<String>, help: &str) {
        let problem = Problem::new(code, message).help(help);
        self.problems.push(place(problem, self.file, at));
    }

    fn take(&mut self, event: Event<'_>, span: &Span) {
        let at = (number(span.start.line()), number(span.start.col() + 1));
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents == 2 {
                    self.problem(
                        Code::B001,
                        at,
                        "a second document begins",
                        "write one blueprint a file, without `---`",
                    );
                    self.stopped = true;
                }
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), at),
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", at);
                let frame = Frame { at, anchor, weight: VALUE_BYTES };
                self.enter(Open::List { items: Vec::new(), spots: Vec::new(), frame }, at);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", at);
                let frame = Frame { at, anchor, weight: VALUE_BYTES };
                self.enter(Open::Mapping { fields: Map::new(), spots: Vec::new(), key: None, frame }, at);
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => {}
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Mapping { key: None, .. }))
    }

    fn enter(&mut self, open: Open, at: Position) {
        if self.expects_key() {
            self.problem(Code::B001, at, "a key must be text", "quote the key, or indent the value under it");
            self.stopped = true;
        } else if self.open.len() >= DEPTH_MAX {
            self.problem(Code::B026, at, too_deep(), "flatten the document");
            self.stopped = true;
        }
        self.open.push(open);
    }

    fn leave(&mut self) {
        let (value, children, frame) = match self.open.pop() {
            Some(Open::List { items, spots, frame }) => (Value::Array(items), Children::Items(spots), frame),
            Some(Open::Mapping { fields, spots, frame, .. }) => (Value::Object(fields), Children::Fields(spots), frame),
            None => return,
        };
        let done = Done { value, spot: Spot { at: frame.at, children }, weight: frame.weight };
        self.done(done, frame.anchor);
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, at: Position) {
        if self.expects_key() {
            return self.key(text, at);
        }
        let value = match resolve(text, style, tag) {
            Ok(value) => value,
            Err(message) => {
                self.problem(Code::B001, at, message, "quote it if it is text");
                Value::Null
            }
        };
        let spot = Spot { at, children: Children::None };
        self.done(Done { value, spot, weight: VALUE_BYTES + text.len() }, anchor);
    }

    fn key(&mut self, name: &str, at: Position) {
        let Some(Open::Mapping { fields, key, .. }) = self.open.last_mut() else { return };
        let duplicate = fields.contains_key(name);
        *key = Some(Key { name: name.to_owned(), at, duplicate });
        if duplicate {
            self.problems.push(place(duplicate_key(name), self.file, at));
        }
    }

    fn alias(&mut self, anchor: usize, at: Position) {
        if self.expects_key() {
            self.problem(Code::B001, at, "a key must be text", "write the key out instead of an alias");
            self.stopped = true;
            return;
        }
        let Some(weight) = self.anchors.get(&anchor).map(|done| done.weight) else {
            self.problem(Code::B001, at, "an alias to a value that contains it", "write the value out");
            self.stopped = true;
            return;
        };
        if !self.expand(weight, at) {
            return;
        }
        let mut done = self.anchors[&anchor].clone();
        if depth(&done.value) + self.open.len() > DEPTH_MAX {
            self.problem(Code::B026, at, too_deep(), "flatten the document");
            self.stopped = true;
            return;
        }
        done.spot.at = at;
        self.done(done, 0);
    }

    /// Counts what is copied because of an anchor or an alias.
    fn expand(&mut self, weight: usize, at: Position) -> bool {
        self.expanded = self.expanded.saturating_add(weight);
        if self.expanded > ALIAS_BYTES_MAX {
            let message = format!("anchors and aliases expand to more than {ALIAS_BYTES_MAX} bytes");
            self.problem(Code::B027, at, message, "write the values out, or use fewer aliases of aliases");
            self.stopped = true;
        }
        !self.stopped
    }

    fn done(&mut self, done: Done, anchor: usize) {
        if anchor != 0 && self.expand(done.weight, done.spot.at) {
            self.anchors.insert(anchor, done.clone());
        }
        match self.open.last_mut() {
            Some(Open::List { items, spots, frame }) => {
                frame.weight += done.weight;
                items.push(done.value);
                spots.push(done.spot);
            }
            Some(Open::Mapping { fields, spots, key, frame }) => {
                let Some(key) = key.take() else { return };
                frame.weight += done.weight + key.name.len();
                if !key.duplicate {
                    fields.insert(key.name, done.value);
                    spots.push((key.at, done.spot));
                }
            }
            None => self.root = Some(done),
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, core: &str, at: Position) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == core)
        {
            self.problem(Code::B001, at, format!("the tag `{tag}` is not known"), "remove the tag");
        }
    }

    fn finish(self) -> Result<(Value, Positions, Vec<Problem>), Vec<Problem>> {
        if self.stopped || self.problems.len() >= PROBLEMS_MAX {
            return Err(self.problems);
        }
        let Some(root) = self.root else {
            let problem = Problem::new(Code::B001, "the document is empty");
            let help = "start with `schema_version: \"1.2.0\"` and `nodes:`";
            return Err(vec![place(problem.help(help), self.file, (1, 1))]);
        };
        let positions = Positions { file: Some(self.file.to_owned()), root: Some(root.spot) };
        Ok((root.value, positions, self.problems))
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// YAML 1.2.2 §10.3.2, the core schema. Quoted and block scalars are text.
fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    if let Some(tag) = tag {
        let plain = || resolve(text, ScalarStyle::Plain, None);
        let wanted: fn(&Value) -> bool = match tag.suffix.as_str() {
            _ if !tag.is_yaml_core_schema() => return Err(format!("the tag `{tag}` is not known")),
            "str" => return Ok(Value::String(text.to_owned())),
            "int" => Value::is_i64,
            "float" => Value::is_number,
            "bool" => Value::is_boolean,
            "null" => Value::is_null,
            _ => return Err(format!("the tag `{tag}` is not known")),
        };
        return plain().ok().filter(wanted).ok_or_else(|| format!("`{text}` is not a `{tag}`"));
    }
    if style != ScalarStyle::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Value::Null),
        "true" | "True" | "TRUE" => Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | "-.Inf" | "-.INF" => {
            Err(format!("`{text}` is not a number that JSON has"))
        }
        _ => Ok(numeric(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)),
    }
}

fn numeric(text: &str) -> Option<Number> {
    let based = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let signed = text.parse::<i64>().map(Number::from);
        if let Ok(number) = signed.or_else(|_| text.parse::<u64>().map(Number::from)) {
            return Some(number);
        }
    }
    let is_float = unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && unsigned.bytes().any(|byte| byte.is_ascii_digit());
    text.parse::<f64>().ok().filter(|_| is_float).and_then(Number::from_f64)
}
