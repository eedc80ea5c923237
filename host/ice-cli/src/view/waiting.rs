//! Open waits, for a reader: what is asked, until when, and the command that answers.

use ice_core::id::UnixMs;
use ice_core::manifest::print_date;
use ice_core::wait::{Approval, OnTimeout, OpenWait, WaitId};
use serde_json::Value;

/// One field of a form.
pub(crate) struct Field<'a> {
    pub(crate) name: &'a str,
    /// In words: `text`, `integer`, `one of red, blue`.
    pub(crate) kind: String,
    /// Whether any text is a value of it.
    pub(crate) is_text: bool,
    pub(crate) required: bool,
    pub(crate) default: Option<&'a Value>,
}

/// The fields of a form, in its order; none when it is not an object with named fields.
pub(crate) fn fields(form: &Value) -> Vec<Field<'_>> {
    let required = |name: &str| {
        let names = form["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).any(|required| required == name)
    };
    let properties = form["properties"].as_object().into_iter().flatten();
    properties.map(|(name, schema)| read(name, schema, required(name))).collect()
}

fn read<'a>(name: &'a str, schema: &'a Value, required: bool) -> Field<'a> {
    // `T or null` is how an optional field is written.
    let not_null = |schema: &&Value| schema["type"] != "null";
    let meant = schema["anyOf"].as_array().and_then(|any| any.iter().find(not_null)).unwrap_or(schema);
    let choices = meant["enum"].as_array();
    let is_text = meant["type"] == "string" || choices.is_some_and(|choices| choices.iter().all(Value::is_string));
    let kind = match (choices, meant["type"].as_str()) {
        (Some(choices), _) => {
            let words = choices.iter().map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned));
            format!("one of {}", words.collect::<Vec<_>>().join(", "))
        }
        (None, Some("string")) => "text".to_owned(),
        (None, Some(kind)) => kind.to_owned(),
        (None, None) => "JSON".to_owned(),
    };
    Field { name, kind: printable(&kind), is_text, required, default: schema.get("default") }
}

/// A wait in a few lines; the last one answers it.
pub(crate) fn lines(wait: &WaitId, open: &OpenWait, execution: &str) -> Vec<String> {
    let question = &open.question;
    let mut lines = vec![format!("{wait}  {} of {}", open.path, printable(execution))];
    lines.extend(question.message.lines().map(|line| format!("    {}", printable(line))));
    let example = match question.approval {
        Approval::ApproveReject => {
            lines.push("    yes or no".into());
            "--approve".to_owned()
        }
        Approval::Choice => {
            lines.push(format!("    one of: {}", printable(&question.choices.join(", "))));
            format!("--choice {}", quoted(question.choices.first().map_or("", String::as_str)))
        }
        Approval::InputRequired => {
            let fields = question.form.as_ref().map(fields).unwrap_or_default();
            for field in &fields {
                let optional = if field.required { "" } else { ", may be left out" };
                lines.push(format!("    {}: {}{optional}", printable(field.name), field.kind));
            }
            let needed = fields.iter().filter(|field| field.required).chain(&fields).next();
            format!("--response {}", quoted(&needed.map_or("…".to_owned(), |field| format!("{}=…", field.name))))
        }
    };
    lines.extend(until(open).map(|until| format!("    {until}")));
    lines.push(format!("    ice waits answer {wait} {example}"));
    lines
}

/// Until when, and what comes then; `None` without a timer.
fn until(open: &OpenWait) -> Option<String> {
    let due = open.due?;
    let question = &open.question;
    let then = match question.on_timeout {
        OnTimeout::Approve => "it counts as a yes".to_owned(),
        OnTimeout::Reject => "it counts as a no".to_owned(),
        OnTimeout::Fail => "the node fails".to_owned(),
        OnTimeout::Escalate => match question.escalation.get(open.level) {
            Some(next) => format!("{} is asked", printable(next)),
            None => "the node fails".to_owned(),
        },
    };
    let asked = open.escalated_to.as_ref().map_or_else(String::new, |who| format!("{} is asked; ", printable(who)));
    Some(format!("{asked}until {}, then {then}", moment(due)))
}

/// A moment in UTC, to the second.
pub(crate) fn moment(ms: UnixMs) -> String {
    print_date(ms / 1_000)
}

/// Text of a blueprint or a person, without what could move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:…".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", printable(text).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use ice_core::id::NodePath;
    use ice_core::wait::Question;
    use serde_json::json;

    use super::*;

    fn open(question: Question) -> OpenWait {
        let path = NodePath("ask".into());
        OpenWait { path, attempt: 1, question, opened: 0, due: None, escalated_to: None, level: 0 }
    }

    fn shown(open: &OpenWait) -> String {
        lines(&WaitId("e.0123456789abcdef".into()), open, "release").join("\n")
    }

    #[test]
    fn a_wait_says_what_is_asked_and_how_to_answer() {
        let text = shown(&open(Question { message: "Ship\u{1b}[2J it?\nReally?".into(), ..Question::default() }));
        assert!(text.starts_with("e.0123456789abcdef  ask of release\n    Ship[2J it?\n    Really?\n"), "{text}");
        assert!(text.ends_with("ice waits answer e.0123456789abcdef --approve"), "{text}");
        let choices = vec!["dark red".to_owned(), "blue".to_owned()];
        let text = shown(&open(Question { approval: Approval::Choice, choices, ..Question::default() }));
        assert!(text.contains("one of: dark red, blue") && text.ends_with("--choice 'dark red'"), "{text}");
    }

    #[test]
    fn a_form_is_shown_field_by_field() {
        let form = json!({"type": "object", "required": ["title"], "properties": {
            "hot": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "title": {"type": "string"}, "size": {"enum": ["s", "m"]}, "any": {},
        }});
        let read: Vec<_> = fields(&form).iter().map(|f| (f.name, f.kind.clone(), f.is_text, f.required)).collect();
        let expected = [
            ("hot", "boolean".to_owned(), false, false),
            ("title", "text".into(), true, true),
            ("size", "one of s, m".into(), true, false),
            ("any", "JSON".into(), false, false),
        ];
        assert_eq!(read, expected);
        let question = Question { approval: Approval::InputRequired, form: Some(form), ..Question::default() };
        let text = shown(&open(question));
        assert!(text.contains("    hot: boolean, may be left out\n    title: text\n"), "{text}");
        assert!(text.ends_with("--response title=…"), "{text}");
    }

    #[test]
    fn silence_is_explained() {
        let question =
            Question { on_timeout: OnTimeout::Escalate, escalation: vec!["lead".into()], ..Question::default() };
        let mut wait = OpenWait { due: Some(86_400_000), ..open(question) };
        assert!(shown(&wait).contains("until 1970-01-02T00:00:00Z, then lead is asked"), "{}", shown(&wait));
        (wait.level, wait.escalated_to) = (1, Some("lead".into()));
        assert!(shown(&wait).contains("lead is asked; until"), "{}", shown(&wait));
        assert!(shown(&wait).contains("then the node fails"), "{}", shown(&wait));
    }
}
