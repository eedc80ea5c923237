//! Templates: Jinja with strict undefined, compiled once, rendered against names that are looked up on demand.
//!
//! A string that is exactly one `{{ expression }}` (spaces around it do not count) keeps the JSON type of its value;
//! any other string with `{{ … }}`, `{% … %}` or `{# … #}` renders to a string. `{{ recent.items }}` is the field
//! `items`, never a method. Rendering reads nothing but the names a template mentions, and is bounded in steps and
//! in bytes. Which names a node may see is not decided here: [`Template::references`] lists what a template asks for.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use minijinja::{Environment, Expression, UndefinedBehavior};
use serde_json::Value;

mod datum;
mod scan;

pub use datum::{Datum, datum, json};

/// Steps of one rendering. A blueprint may come from anybody: a template must end.
const FUEL: u64 = 1_000_000;

/// Bytes one template may render to, the same as the bound on a document.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// Levels of arrays and objects that [`Template::compile`] follows.
const DEPTH_MAX: usize = 64;

/// Why a template does not compile or render.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// One sentence, lower case.
    pub message: String,
    /// Where in the compiled value, as a JSON pointer; empty for the value itself.
    pub pointer: String,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), pointer: String::new() }
    }

    fn under(mut self, segment: &str) -> Self {
        self.pointer = format!("/{}{}", segment.replace('~', "~0").replace('/', "~1"), self.pointer);
        self
    }
}

/// Where a template finds the values of its names.
pub trait Lookup {
    /// Returns the value of a root name, or `None` when there is none: then the template fails, unless it asks
    /// `is defined` or gives a `default`.
    fn get(&self, name: &str) -> Option<Datum>;
}

impl<F: Fn(&str) -> Option<Datum>> Lookup for F {
    fn get(&self, name: &str) -> Option<Datum> {
        self(name)
    }
}

/// A compiled JSON value whose strings may be templates. Cheap to clone.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    /// As written.
    source: Value,
    part: Part,
    /// Root names the templates mention, sorted, without those the template language defines itself.
    roots: Vec<String>,
}

enum Part {
    /// Nothing to render.
    Literal(Value),
    /// One expression; keeps the type of its value.
    Expression(Box<Expression<'static, 'static>>),
    /// Text with expressions or statements in it.
    Text(Box<Environment<'static>>),
    Array(Vec<Part>),
    Object(Vec<(String, Part)>),
}

/// One thing a template reads: a root name and the attributes that follow it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reference {
    /// The root name.
    pub root: String,
    /// Attributes known without rendering, outermost first; empty for the whole value.
    pub path: Vec<String>,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    // `pprint` and `format` pad to any width they are told; `debug` shows the whole context.
    environment.remove_filter("pprint");
    environment.remove_filter("format");
    environment.remove_global("debug");
    environment
});

/// The name under which a text lives in its own environment.
const TEXT: &str = "template";

impl Template {
    /// Compiles a JSON value: strings are templates, arrays and objects are searched for more of them.
    pub fn compile(value: &Value) -> Result<Self, TemplateError> {
        let mut names = BTreeSet::new();
        let part = compile(value, &mut names, DEPTH_MAX)?;
        Ok(Self::of(value.clone(), part, names))
    }

    /// Compiles a bare expression such as `a.score > 3 and "x" in inputs.tags`; one `{{ … }}` around it is accepted.
    pub fn compile_expression(text: &str) -> Result<Self, TemplateError> {
        let inner = scan::single_expression(text).unwrap_or(text);
        let mut names = BTreeSet::new();
        let part = expression(inner, &mut names)?;
        Ok(Self::of(Value::String(text.to_owned()), part, names))
    }

    fn of(source: Value, part: Part, names: BTreeSet<String>) -> Self {
        Self(Arc::new(Compiled { source, part, roots: names.into_iter().collect() }))
    }

    /// The value as it was written.
    pub fn source(&self) -> &Value {
        &self.0.source
    }

    /// Whether it renders to itself.
    pub fn is_literal(&self) -> bool {
        matches!(self.0.part, Part::Literal(_))
    }

    /// Whether it always renders to a string.
    pub fn is_text(&self) -> bool {
        matches!(self.0.part, Part::Text(_))
    }

    /// The root names it reads, sorted.
    pub fn roots(&self) -> &[String] {
        &self.0.roots
    }

    /// Everything it reads, with the attribute paths that are known without rendering. Computed on each call.
    pub fn references(&self) -> Vec<Reference> {
        let mut dotted = BTreeSet::new();
        collect(&self.0.part, true, &mut dotted);
        let reference = |text: &String| {
            let mut parts = text.split('.').map(str::to_owned);
            Reference { root: parts.next().unwrap_or_default(), path: parts.collect() }
        };
        dotted.iter().map(reference).filter(|found| self.0.roots.binary_search(&found.root).is_ok()).collect()
    }

    /// When it is exactly one reference, as `{{ lookup.notes }}`, that reference.
    pub fn path(&self) -> Option<Reference> {
        let Value::String(text) = &self.0.source else { return None };
        let Part::Expression(_) = &self.0.part else { return None };
        scan::path(scan::single_expression(text).unwrap_or(text))
    }

    /// Renders. Fails on an undefined name, a wrong operation, or when a bound is reached.
    pub fn render(&self, lookup: &dyn Lookup) -> Result<Value, TemplateError> {
        if let Part::Literal(value) = &self.0.part {
            return Ok(value.clone());
        }
        render(&self.0.part, &self.frame(lookup))
    }

    /// Renders to yes or no. An expression follows Jinja (empty, zero, none and false are no); a text is yes when it
    /// reads `true`, whatever its case.
    pub fn truth(&self, lookup: &dyn Lookup) -> Result<bool, TemplateError> {
        match &self.0.part {
            Part::Expression(expression) => Ok(evaluate(expression, &self.frame(lookup))?.is_true()),
            Part::Literal(Value::Bool(yes)) => Ok(*yes),
            _ => Ok(self.render(lookup)?.as_str().is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))),
        }
    }

    /// Only what is mentioned is looked up, so the size of the context does not matter.
    fn frame(&self, lookup: &dyn Lookup) -> Datum {
        let values = self.0.roots.iter().filter_map(|name| Some((name.clone(), lookup.get(name)?)));
        Datum::from_object(datum::Frame(values.collect()))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({})", self.0.source)
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

fn compile(value: &Value, names: &mut BTreeSet<String>, depth: usize) -> Result<Part, TemplateError> {
    if depth == 0 {
        return Err(TemplateError::new(format!("values are nested deeper than {DEPTH_MAX} levels")));
    }
    match value {
        Value::String(text) => string(text, names),
        Value::Array(items) => {
            let part = |(index, item): (usize, &Value)| {
                compile(item, names, depth - 1).map_err(|error| error.under(&index.to_string()))
            };
            let parts = items.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
            let literal = parts.iter().all(|part| matches!(part, Part::Literal(_)));
            Ok(if literal { Part::Literal(value.clone()) } else { Part::Array(parts) })
        }
        Value::Object(fields) => {
            let part = |(key, item): (&String, &Value)| {
                let part = compile(item, names, depth - 1).map_err(|error| error.under(key))?;
                Ok((key.clone(), part))
            };
            let parts = fields.iter().map(part).collect::<Result<Vec<_>, TemplateError>>()?;
            let literal = parts.iter().all(|(_, part)| matches!(part, Part::Literal(_)));
            Ok(if literal { Part::Literal(value.clone()) } else { Part::Object(parts) })
        }
        _ => Ok(Part::Literal(value.clone())),
    }
}

fn string(text: &str, names: &mut BTreeSet<String>) -> Result<Part, TemplateError> {
    if !scan::is_template(text) {
        return Ok(Part::Literal(Value::String(text.to_owned())));
    }
    if let Some(inner) = scan::single_expression(text)
        && let Ok(part) = expression(inner, names)
    {
        return Ok(part);
    }
    let mut environment = ENVIRONMENT.clone();
    environment.add_template_owned(TEXT, text.to_owned()).map_err(|error| syntax(&error))?;
    check_filters(text)?;
    let template = environment.get_template(TEXT).map_err(|error| syntax(&error))?;
    names.extend(template.undeclared_variables(false).into_iter().filter(|name| !is_global(name)));
    drop(template);
    Ok(Part::Text(Box::new(environment)))
}

fn expression(text: &str, names: &mut BTreeSet<String>) -> Result<Part, TemplateError> {
    let environment: &'static Environment<'static> = &ENVIRONMENT;
    let compiled = environment.compile_expression_owned(text.to_owned()).map_err(|error| syntax(&error))?;
    check_filters(&format!("{{{{ {text} }}}}"))?;
    names.extend(compiled.undeclared_variables(false).into_iter().filter(|name| !is_global(name)));
    Ok(Part::Expression(Box::new(compiled)))
}

/// The template language looks filters and tests up while it renders; a misspelt one is known before.
fn check_filters(text: &str) -> Result<(), TemplateError> {
    for (kind, name) in scan::filters_and_tests(text) {
        let (probe, word) = match kind {
            scan::Named::Filter => (format!("none|{name}"), "filter"),
            scan::Named::Test => (format!("none is {name}"), "test"),
        };
        let unknown = ENVIRONMENT.compile_expression_owned(probe).is_ok_and(|compiled| {
            compiled.eval(()).is_err_and(|error| {
                matches!(error.kind(), minijinja::ErrorKind::UnknownFilter | minijinja::ErrorKind::UnknownTest)
            })
        });
        if unknown {
            return Err(TemplateError::new(format!("there is no {word} `{name}`")));
        }
    }
    Ok(())
}

fn is_global(name: &str) -> bool {
    ENVIRONMENT.globals().any(|(global, _)| global == name)
}

fn collect(part: &Part, nested: bool, names: &mut BTreeSet<String>) {
    match part {
        Part::Literal(_) => {}
        Part::Expression(expression) => names.extend(expression.undeclared_variables(nested)),
        Part::Text(environment) => {
            let template = environment.get_template(TEXT).expect("added when it was compiled");
            names.extend(template.undeclared_variables(nested));
        }
        Part::Array(parts) => parts.iter().for_each(|part| collect(part, nested, names)),
        Part::Object(parts) => parts.iter().for_each(|(_, part)| collect(part, nested, names)),
    }
}

fn render(part: &Part, frame: &Datum) -> Result<Value, TemplateError> {
    match part {
        Part::Literal(value) => Ok(value.clone()),
        Part::Expression(expression) => json(&evaluate(expression, frame)?).map_err(TemplateError::new),
        Part::Text(environment) => text(environment, frame).map(Value::String),
        Part::Array(parts) => {
            let item =
                |(index, part)| render(part, frame).map_err(|error: TemplateError| error.under(&index_name(index)));
            parts.iter().enumerate().map(item).collect()
        }
        Part::Object(parts) => {
            let field = |(key, part): &(String, Part)| {
                Ok((key.clone(), render(part, frame).map_err(|error: TemplateError| error.under(key))?))
            };
            parts.iter().map(field).collect::<Result<serde_json::Map<_, _>, _>>().map(Value::Object)
        }
    }
}

fn index_name(index: usize) -> String {
    index.to_string()
}

fn evaluate(expression: &Expression<'static, 'static>, frame: &Datum) -> Result<Datum, TemplateError> {
    expression.eval(frame.clone()).map_err(|error| failed(&error))
}

fn text(environment: &Environment<'static>, frame: &Datum) -> Result<String, TemplateError> {
    let template = environment.get_template(TEXT).expect("added when it was compiled");
    let mut written = Bounded(Vec::new());
    match template.render_captured_to(frame.clone(), &mut written) {
        Ok(_) => String::from_utf8(written.0).map_err(|_| TemplateError::new("the text is not UTF-8")),
        Err(_) if written.0.len() >= OUTPUT_BYTES_MAX => {
            Err(TemplateError::new(format!("it renders to more than {OUTPUT_BYTES_MAX} bytes")))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// Takes at most [`OUTPUT_BYTES_MAX`]; what comes after is an error and stops the rendering.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let free = OUTPUT_BYTES_MAX.saturating_sub(self.0.len());
        if free == 0 && !bytes.is_empty() {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let taken = bytes.len().min(free);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn syntax(error: &minijinja::Error) -> TemplateError {
    TemplateError::new(detail(error))
}

fn failed(error: &minijinja::Error) -> TemplateError {
    match error.kind() {
        minijinja::ErrorKind::OutOfFuel => TemplateError::new(format!("it takes more than {FUEL} steps")),
        _ => TemplateError::new(detail(error)),
    }
}

/// What went wrong, in the words of the template language, without its file names.
fn detail(error: &minijinja::Error) -> String {
    let kind = error.kind().to_string();
    match error.detail() {
        Some(detail) if error.kind() == minijinja::ErrorKind::SyntaxError => detail.to_owned(),
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    }
}

#[cfg(test)]
mod tests;
