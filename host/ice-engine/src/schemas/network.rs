//! The schema of `network.v1`. Its keys are those of the tables in [`ice_core::network`] that refuse all others.

use ice_core::blueprint::COMMON_KEYS;
use ice_core::network::{
    MEMBER_KEYS, MEMBERS_MAX, NOT_A_MEMBERS, PLANNED_KEYS, SHARED_KEYS, TOP_KEYS, VERSIONS, WHEN_KEYS,
};
use ice_core::schedule::{CATCH_UP_MAX, MISFIRES, OVERLAPS};
use serde_json::{Map, Value, json};

use super::keys::{self, is, said};

/// JSON Schema of a network: a system of blueprints in one document.
pub fn network() -> Value {
    let mut definitions = keys::definitions();
    if let Value::Object(definitions) = &mut definitions {
        // A network has no nodes of its own.
        definitions.remove("inner_nodes");
    }
    definitions["member"] = member();
    definitions["when"] = when(&[]);
    let blueprint = super::top();
    let mut properties: Map<String, Value> = TOP_KEYS.iter().map(|key| ((*key).to_owned(), top(key))).collect();
    properties.extend(SHARED_KEYS.iter().map(|key| ((*key).to_owned(), blueprint[*key].clone())));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:iceos:network.v1",
        "title": "network.v1",
        "description": "Blueprints that belong together, and when they run. `ice run-network --check` knows more.",
        "type": "object",
        "anyOf": [{ "required": ["members"] }, { "required": ["workflows"] }],
        "additionalProperties": false,
        "properties": properties,
        "$defs": definitions,
    })
}

fn top(key: &str) -> Value {
    let members = || json!({ "type": "array", "minItems": 1, "maxItems": MEMBERS_MAX, "items": is("member") });
    match key {
        "api_version" => json!({ "enum": nullable(VERSIONS), "description": "`network.v1`." }),
        "schema_version" => json!({ "enum": nullable(VERSIONS), "description": "Another word for `api_version`." }),
        "name" => said("text", "For people, and the beginning of its schedules' names."),
        "id" => said("text", "Another word for `name`."),
        "description" => said("text", "What it is for."),
        "metadata" => said("map", "For people."),
        "global" => {
            said("map", "An older place for the keys that a blueprint has too; anything else there is metadata.")
        }
        "members" => members(),
        "workflows" => described(members(), "Another word for `members`."),
        "schedules" => json!({ "type": ["array", "null"], "items": when(PLANNED_KEYS) }),
        _ => json!({}),
    }
}

fn member() -> Value {
    let common = COMMON_KEYS.iter().filter(|key| !NOT_A_MEMBERS.contains(key));
    let mut properties: Map<String, Value> = common.map(|key| ((*key).to_owned(), keys::common(key))).collect();
    properties.extend(MEMBER_KEYS.iter().map(|key| ((*key).to_owned(), member_key(key))));
    let named = ["blueprint", "ref", "workflow_ref"].map(|key| json!({ "required": [key] }));
    json!({
        "type": "object",
        "required": ["id"],
        "anyOf": named,
        "additionalProperties": false,
        "properties": properties,
    })
}

fn member_key(key: &str) -> Value {
    match key {
        "blueprint" => said("text", "A file beside this one, a bundle entry, or a stored blueprint `name@range`."),
        "ref" | "workflow_ref" => said("text", "Another word for `blueprint`."),
        "after" => json!({
            "type": ["string", "array", "null"],
            "items": { "type": "string" },
            "description": "Members that are done before.",
        }),
        "schedule" => json!({
            "description": "When it runs by itself: a cron expression, or a mapping.",
            "anyOf": [{ "type": ["string", "null"] }, is("when")],
        }),
        "inputs" => said("map", "Inputs of the blueprint; templates inside."),
        "exposed_outputs" => said("map", "`{name: node.path}` of the blueprint."),
        "config_overrides" => said("map", "`{node: {field: value}}` changes nodes of the blueprint."),
        _ => json!({}),
    }
}

/// When something runs, as a mapping; with keys beside those of every schedule.
fn when(more: &[&str]) -> Value {
    let keys = WHEN_KEYS.iter().chain(more);
    let properties: Map<String, Value> = keys.map(|key| ((*key).to_owned(), when_key(key))).collect();
    json!({ "type": "object", "required": ["cron"], "additionalProperties": false, "properties": properties })
}

fn when_key(key: &str) -> Value {
    let words = |text: &str| json!({ "type": ["string", "null"], "description": text });
    match key {
        "cron" => json!({ "type": "string", "minLength": 1, "description": "Five fields, or `@daily` and the like." }),
        "tz" => words("A name of the IANA database; `UTC` without."),
        "timezone" => words("Another word for `tz`."),
        "misfire" => choice(MISFIRES.iter().map(|(word, _)| *word), "What becomes of times nobody was there for."),
        "overlap" => choice(OVERLAPS.iter().map(|(word, _)| *word), "What happens when the last one still runs."),
        "max_catch_up" => json!({ "type": ["integer", "null"], "minimum": 1, "maximum": CATCH_UP_MAX }),
        "jitter_seconds" => is("pause"),
        "start" | "end" => words("A date, or a date and a time."),
        "enabled" => is("flag"),
        "inputs" => is("map"),
        "name" => words("The end of the row's name."),
        "members" => said("texts", "What runs, with everything it comes after; all without."),
        _ => json!({}),
    }
}

/// Words are read without regard to case; the schema proposes them as they are printed.
fn choice<'a>(words: impl Iterator<Item = &'a str>, description: &str) -> Value {
    let words = words.collect::<Vec<_>>().join(", ");
    json!({ "type": ["string", "null"], "description": format!("{description} {words}.") })
}

fn nullable(words: &[&str]) -> Value {
    words.iter().map(|word| Value::from(*word)).chain([Value::Null]).collect()
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ice_core::blueprint::read_document;
    use ice_core::problem::Code;
    use ice_core::schema::{Direction, Schema};

    use super::*;

    fn schema() -> Schema {
        Schema::compile(&network(), Direction::Input).expect("compiles")
    }

    fn read(document: &Value) -> Vec<Code> {
        let read = ice_core::network::parse(&document.to_string(), "x");
        read.err().into_iter().flatten().map(|problem| problem.code).collect()
    }

    /// A document with `key` set to `value`, at the top, of a member, of a schedule.
    fn with(place: &str, key: &str, value: &Value) -> Value {
        let mut document = json!({
            "api_version": "network.v1",
            "members": [{ "id": "a", "blueprint": "a.yaml", "schedule": { "cron": "@daily" } }],
            "schedules": [{ "cron": "@daily", "name": "n" }],
        });
        document.pointer_mut(place).expect("the place is there")[key] = value.clone();
        document
    }

    #[test]
    fn every_key_of_the_parser_has_a_schema_and_every_other_is_refused_by_both() {
        let schema = schema();
        let places = [("", &[TOP_KEYS, SHARED_KEYS].concat()), ("/members/0", &[MEMBER_KEYS, COMMON_KEYS].concat())];
        let schedules =
            [("/members/0/schedule", &WHEN_KEYS.to_vec()), ("/schedules/0", &[WHEN_KEYS, PLANNED_KEYS].concat())];
        for (place, keys) in places.into_iter().chain(schedules) {
            for key in keys.iter().filter(|key| place != "/members/0" || !NOT_A_MEMBERS.contains(key)) {
                // Nothing is null but what is missing, so a key that is known says nothing against it.
                let document = with(place, key, &Value::Null);
                assert!(!read(&document).contains(&Code::B002), "{place} {key}");
                let unknown =
                    schema.check(&document).into_iter().find(|problem| problem.message.contains("Additional"));
                assert_eq!(unknown, None, "{place} {key}");
                // A list of lists of lists fits nowhere: no key is let through unseen, but what every node may have and
                // nothing reads.
                let unread = COMMON_KEYS.contains(key) && keys::common(key) == json!({});
                let nonsense = with(place, key, &json!([[[1]]]));
                assert!(unread || !schema.is_valid(&nonsense), "{place} {key} has no schema");
            }
            for key in ["typ", "wat", "x"] {
                let document = with(place, key, &json!(1));
                assert!(!read(&document).is_empty() && !schema.is_valid(&document), "{place} {key}");
            }
        }
    }

    #[test]
    fn networks_of_the_repository_fit() {
        let schema = schema();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let template = std::fs::read_to_string(root.join("sdk/templates/network/network.yaml")).expect("the template");
        let nodes = r#"
            api_version: network.v1
            name: news
            inputs: {required: [city]}
            members:
              - {id: fetch, blueprint: fetch.yaml, inputs: {city: '{{ city }}'}, schedule: "0 6 * * *"}
              - {id: report, ref: tools.report, after: fetch, retries: 2, run_if: always}
            schedules:
              - {cron: '0 7 * * 1-5', tz: Europe/Oslo, misfire: run_all, max_catch_up: 3, inputs: {city: Oslo}}
              - {name: part, cron: '@daily', members: [report], overlap: queue, enabled: false}
            outputs: {report: '{{ report.out }}'}
            budget: {usd: 1.5}
        "#;
        for text in [template.as_str(), nodes] {
            let (document, _) = read_document(text, "x").expect("readable");
            assert_eq!(schema.check(&document), [], "{text}");
            assert!(ice_core::network::parse(text, "x").is_ok());
        }
        for bad in [
            json!({}),
            json!({ "members": [] }),
            json!({ "members": [{ "id": "a" }] }),
            json!({ "members": [{ "blueprint": "a.yaml" }] }),
            json!({ "api_version": "network.v9", "members": [{ "id": "a", "blueprint": "a.yaml" }] }),
            json!({ "members": [{ "id": "a", "blueprint": "a.yaml", "schedule": { "tz": "UTC" } }] }),
        ] {
            assert!(!schema.is_valid(&bad) && !read(&bad).is_empty(), "{bad}");
        }
    }
}
