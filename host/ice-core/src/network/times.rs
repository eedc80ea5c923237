//! The schedules of a network: `schedule:` of a member, and `schedules:` of the whole.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Member, Planned};
use crate::blueprint::{Fields, did_you_mean};
use crate::problem::{Code, Problem};
use crate::schedule::{CATCH_UP_DEFAULT, CATCH_UP_MAX, MISFIRES, OVERLAPS, Timing, When, moment};

/// Keys of every schedule.
pub const WHEN_KEYS: &[&str] = &[
    "cron",
    "tz",
    "timezone",
    "misfire",
    "max_catch_up",
    "overlap",
    "jitter_seconds",
    "start",
    "end",
    "enabled",
    "inputs",
];

/// Keys of a schedule under `schedules:`, besides [`WHEN_KEYS`].
pub const PLANNED_KEYS: &[&str] = &["name", "members"];

/// `schedule:` of a member: a cron expression, or a mapping.
pub(super) fn of_member(network: &str, member: &Member, item: &Value, problems: &mut Vec<Problem>) -> Option<Planned> {
    let name = format!("{network}.{}", member.id);
    let pointer = format!("{}/schedule", member.pointer);
    let written = item.get("schedule").filter(|value| !value.is_null())?;
    let planned = match written {
        Value::String(cron) => Some((When::new(cron), Map::new(), true)),
        Value::Object(map) => {
            let mut fields = Fields::new(map, pointer.clone(), problems);
            fields.refuse_unknown(&[WHEN_KEYS], "a schedule");
            read(&mut fields)
        }
        _ => {
            let problem = Problem::new(Code::B004, "a schedule is a cron expression or a mapping").pointer(&pointer);
            problems.push(problem.help("write `schedule: \"0 7 * * 1-5\"`"));
            None
        }
    };
    let (when, inputs, enabled) = planned?;
    check(&name, &when, (&pointer, written), problems);
    Some(Planned { name, members: vec![member.id.clone()], when, inputs, enabled })
}

/// One of `schedules:`.
pub(super) fn of_network(
    network: &str,
    ids: &[&str],
    item: &Value,
    pointer: &str,
    problems: &mut Vec<Problem>,
) -> Option<Planned> {
    let Some(map) = item.as_object() else {
        let problem = Problem::new(Code::B004, "a schedule is a mapping").pointer(pointer);
        problems.push(problem.help("write `- cron: \"0 7 * * 1-5\"`"));
        return None;
    };
    let mut fields = Fields::new(map, pointer, problems);
    fields.refuse_unknown(&[WHEN_KEYS, PLANNED_KEYS], "a schedule");
    let name = fields.text("name").map_or_else(|| network.to_owned(), |name| format!("{network}.{name}"));
    let members = fields.texts("members");
    for (index, id) in members.iter().enumerate() {
        if !ids.contains(&id.as_str()) {
            let help = did_you_mean(id, ids.iter().copied()).unwrap_or_default();
            let message = format!("the network has no member `{id}`");
            fields.problem(Code::B012, &format!("members/{index}"), message, help);
        }
    }
    let (when, inputs, enabled) = read(&mut fields)?;
    check(&name, &when, (pointer, item), problems);
    Some(Planned { name, members, when, inputs, enabled })
}

fn read(fields: &mut Fields<'_, '_>) -> Option<(When, Map<String, Value>, bool)> {
    let cron = fields.required_text("cron").map(str::to_owned);
    let tz = fields.text("tz").or_else(|| fields.text("timezone")).unwrap_or("UTC").to_owned();
    let misfire = fields.choice("misfire", MISFIRES).unwrap_or_default();
    let overlap = fields.choice("overlap", OVERLAPS).unwrap_or_default();
    let most = fields.whole("max_catch_up", 1, CATCH_UP_MAX.into()).and_then(|most| u32::try_from(most).ok());
    let jitter_ms = fields.pause("jitter_seconds").unwrap_or(0);
    let (start, end) = (at(fields, "start", &tz), at(fields, "end", &tz));
    let enabled = fields.flag("enabled", true);
    let inputs = fields.mapping("inputs").cloned().unwrap_or_default();
    let max_catch_up = most.unwrap_or(CATCH_UP_DEFAULT);
    Some((When { cron: cron?, tz, misfire, max_catch_up, overlap, jitter_ms, start, end }, inputs, enabled))
}

fn at(fields: &mut Fields<'_, '_>, key: &str, tz: &str) -> Option<u64> {
    let text = fields.text(key)?;
    match moment(text, tz) {
        Ok(at) => Some(at),
        Err(problem) => {
            fields.problem(problem.code, key, problem.message, problem.help.unwrap_or_default());
            None
        }
    }
}

/// Reports what is wrong with the times, each at the key that says it where there is one.
fn check(name: &str, when: &When, (pointer, written): (&str, &Value), problems: &mut Vec<Problem>) {
    const KEYS: &[(Code, &str)] =
        &[(Code::B028, "cron"), (Code::B029, "tz"), (Code::B029, "timezone"), (Code::B005, "jitter_seconds")];
    let place = |problem: Problem| {
        let says = |(code, key): &&(Code, &str)| *code == problem.code && written.get(key).is_some();
        match KEYS.iter().find(says) {
            Some((_, key)) => problem.pointer(format!("{pointer}/{key}")),
            None => problem.pointer(pointer),
        }
    };
    if let Err(found) = Timing::of(name, when) {
        problems.extend(found.into_iter().map(place));
    }
}

/// Rows are found by their names.
pub(super) fn refuse_twins(schedules: &[Planned], problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for planned in schedules {
        if !seen.insert(planned.name.as_str()) {
            let problem = Problem::new(Code::B007, format!("two schedules have the name `{}`", planned.name));
            problems.push(problem.pointer("/schedules").help("give each its own `name:`"));
        }
    }
}
