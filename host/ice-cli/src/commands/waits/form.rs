//! Asking at the terminal what a wait asks. Nothing is checked here: that is [`Question::resolve`]'s.

use std::io;

use ice_core::wait::{Answer, Approval, Question};
use serde_json::{Map, Value};

use crate::view::waiting::{Field, fields, printable};

/// A person at a terminal.
pub(super) trait Person {
    /// Shows a line.
    fn tell(&mut self, text: &str);
    /// Asks for a line; `None` when there will be no more.
    fn ask(&mut self, prompt: &str) -> io::Result<Option<String>>;
}

/// Asks for an answer until there is one that fits, at most this often.
const TRIES: usize = 5;

/// Asks until the answer fits. `None` when the person leaves, or never gets it right.
pub(super) fn fill(question: &Question, responder: &str, person: &mut dyn Person) -> io::Result<Option<Answer>> {
    question.message.lines().for_each(|line| person.tell(&printable(line)));
    for _ in 0..TRIES {
        let asked = match question.approval {
            Approval::ApproveReject => approve(question, person)?,
            Approval::Choice => choose(question, person)?,
            Approval::InputRequired => input(question, person)?,
        };
        let Some(said) = asked else { return Ok(None) };
        let Some(comment) = person.ask("comment (may be empty)")? else { return Ok(None) };
        let comment = Some(comment).filter(|comment| !comment.trim().is_empty());
        let answer = Answer { responder: responder.to_owned(), comment, ..said };
        match question.resolve(answer.clone()) {
            Ok(_) => return Ok(Some(answer)),
            Err(problem) => person.tell(&problem.to_string()),
        }
    }
    Ok(None)
}

fn approve(question: &Question, person: &mut dyn Person) -> io::Result<Option<Answer>> {
    loop {
        let Some(line) = person.ask("approve? (yes/no)")? else { return Ok(None) };
        let approved = match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => true,
            "n" | "no" => false,
            _ => continue,
        };
        let response = match (&question.form, approved) {
            (Some(form), true) => match response(Some(form), person)? {
                Some(response) => Some(response),
                None => return Ok(None),
            },
            _ => None,
        };
        return Ok(Some(Answer { approved: Some(approved), response, ..Answer::default() }));
    }
}

fn choose(question: &Question, person: &mut dyn Person) -> io::Result<Option<Answer>> {
    for (number, choice) in (1..).zip(&question.choices) {
        person.tell(&format!("  {number}. {}", printable(choice)));
    }
    let Some(line) = person.ask("which one? (its number or its words)")? else { return Ok(None) };
    let line = line.trim();
    let numbered = line.parse::<usize>().ok().and_then(|number| question.choices.get(number.checked_sub(1)?));
    // Words win: a choice may itself be a number.
    let choice = question.choices.iter().find(|choice| *choice == line).or(numbered);
    let choice = Some(choice.map_or_else(|| line.to_owned(), String::clone));
    Ok(Some(Answer { choice, ..Answer::default() }))
}

fn input(question: &Question, person: &mut dyn Person) -> io::Result<Option<Answer>> {
    let response = response(question.form.as_ref(), person)?;
    Ok(response.map(|response| Answer { response: Some(response), ..Answer::default() }))
}

/// Field by field where the form has fields, else as one value.
fn response(form: Option<&Value>, person: &mut dyn Person) -> io::Result<Option<Value>> {
    let fields = form.map(fields).unwrap_or_default();
    if fields.is_empty() {
        let is_text = form.is_none_or(|form| form["type"] == "string");
        let prompt = if is_text { "answer" } else { "answer (JSON)" };
        return Ok(person.ask(prompt)?.map(|line| value(&line, is_text)));
    }
    let mut object = Map::new();
    for field in &fields {
        match ask_field(field, person)? {
            Said::Value(value) => drop(object.insert(field.name.to_owned(), value)),
            Said::Nothing => {}
            Said::NoMore => return Ok(None),
        }
    }
    Ok(Some(Value::Object(object)))
}

enum Said {
    Value(Value),
    Nothing,
    NoMore,
}

fn ask_field(field: &Field<'_>, person: &mut dyn Person) -> io::Result<Said> {
    let empty = match (field.default, field.required) {
        (Some(default), _) => format!(", else {default}"),
        (None, true) => String::new(),
        (None, false) => ", may be empty".to_owned(),
    };
    let prompt = printable(&format!("{} ({}{empty})", field.name, field.kind));
    loop {
        let Some(line) = person.ask(&prompt)? else { return Ok(Said::NoMore) };
        match (line.trim().is_empty(), field.default, field.required) {
            (false, ..) => return Ok(Said::Value(value(&line, field.is_text))),
            (true, Some(default), _) => return Ok(Said::Value(default.clone())),
            (true, None, false) => return Ok(Said::Nothing),
            (true, None, true) => {}
        }
    }
}

/// A typed line as a value: JSON where it parses, unless text is wanted.
pub(super) fn value(text: &str, is_text: bool) -> Value {
    let read = if is_text { None } else { serde_json::from_str(text.trim()).ok() };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Script<'a> {
        lines: std::slice::Iter<'a, &'static str>,
        told: Vec<String>,
    }

    impl Person for Script<'_> {
        fn tell(&mut self, text: &str) {
            self.told.push(text.to_owned());
        }
        fn ask(&mut self, prompt: &str) -> io::Result<Option<String>> {
            self.told.push(prompt.to_owned());
            Ok(self.lines.next().map(|line| (*line).to_owned()))
        }
    }

    fn filled(question: &Question, lines: &[&'static str]) -> (Option<Answer>, String) {
        let mut script = Script { lines: lines.iter(), told: Vec::new() };
        let answer = fill(question, "ann", &mut script).unwrap();
        (answer, script.told.join("\n"))
    }

    #[test]
    fn yes_and_no_are_understood_and_nothing_else() {
        let question = Question { message: "Ship it?".into(), ..Question::default() };
        let (answer, told) = filled(&question, &["perhaps", "yes", "go"]);
        let answer = answer.unwrap();
        assert_eq!((answer.approved, answer.comment.as_deref()), (Some(true), Some("go")));
        assert_eq!((answer.responder.as_str(), told.matches("approve?").count()), ("ann", 2));
        assert!(told.starts_with("Ship it?\n"));
        assert_eq!(filled(&question, &["n", ""]).0.unwrap().approved, Some(false));
        assert_eq!(filled(&question, &[]).0, None, "whoever leaves answers nothing");
    }

    #[test]
    fn a_form_is_asked_field_by_field_until_it_fits() {
        let form = json!({"type": "object", "required": ["title", "n"], "properties": {
            "title": {"type": "string"}, "n": {"type": "integer"}, "hot": {"type": "boolean", "default": true},
            "note": {"type": "string"},
        }});
        let question = Question { approval: Approval::InputRequired, form: Some(form), ..Question::default() };
        let lines = ["42", "x", "", "", "", "", "42", "3", "", "", ""];
        let (answer, told) = filled(&question, &lines);
        assert_eq!(answer.unwrap().response, Some(json!({"title": "42", "n": 3, "hot": true})), "{told}");
        assert!(told.contains("ICE-X020") && told.contains("hot (boolean, else true)"), "{told}");
    }

    #[test]
    fn a_choice_is_made_by_number_or_by_words() {
        let choices = vec!["red".to_owned(), "2".to_owned(), "blue".to_owned()];
        let question = Question { approval: Approval::Choice, choices, ..Question::default() };
        for (line, chosen) in [("1", "red"), ("2", "2"), ("3", "blue"), ("blue", "blue")] {
            assert_eq!(filled(&question, &[line, ""]).0.unwrap().choice.as_deref(), Some(chosen), "{line}");
        }
        let wrong = ["green", "", "0", "", "4", "", "", "", "x", ""];
        assert_eq!(filled(&question, &wrong).0, None, "nobody is asked for ever");
    }
}
