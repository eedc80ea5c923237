use super::*;
use serde_json::json;

fn input(source: Value) -> Schema {
    Schema::compile(&source, Direction::Input).expect("compiles")
}

#[test]
fn type_literals_check_like_the_schema_they_stand_for() {
    let schema = input(json!({"x": "int", "y": "list[str]?", "z": "dict[str, list[float]]"}));
    assert_eq!(schema.check(&json!({"x": 1, "z": {}})), []);
    assert_eq!(schema.check(&json!({"x": 1, "y": null, "z": {"a": [1.5, 2]}})), []);
    assert_eq!(schema.check(&json!({"x": 1, "y": ["a"], "z": {}})), []);
    for bad in [
        json!({"z": {}}),
        json!({"x": 1.5, "z": {}}),
        json!({"x": 1, "y": [1], "z": {}}),
        json!({"x": 1, "z": {"a": ["b"]}}),
        json!({"x": 1, "z": {}, "extra": 1}),
        json!([]),
    ] {
        assert_ne!(schema.check(&bad), [], "{bad}");
    }
}

#[test]
fn an_output_made_of_literals_may_have_more_fields() {
    let schema = Schema::compile(&json!({"x": "int"}), Direction::Output).unwrap();
    assert_eq!(schema.check(&json!({"x": 1, "more": 2})), []);
    assert_ne!(schema.check(&json!({"more": 2})), []);
}

#[test]
fn a_mapping_is_read_as_what_it_is() {
    let is_literal = |value: Value| literal::is_literal(value.as_object().unwrap());
    for value in [
        json!({"text": "string"}),
        json!({"title": "str", "description": "str"}),
        json!({"type": "str"}),
        json!({"type": "object", "name": "str"}),
        json!({"a": "nonsense"}),
        json!({"a": {"b": "int"}}),
    ] {
        assert!(is_literal(value.clone()), "{value}");
    }
    for value in [
        json!({}),
        json!({"type": "object"}),
        json!({"type": "string", "title": "str"}),
        json!({"title": "My schema"}),
        json!({"type": "object", "properties": {}}),
        json!({"$ref": "#/x"}),
        json!({"x": 1}),
        json!({"anyOf": []}),
    ] {
        assert!(!is_literal(value.clone()), "{value}");
    }
}

#[test]
fn a_misspelt_type_names_the_nearest() {
    let error = |source: Value| Schema::compile(&source, Direction::Input).unwrap_err();
    assert_eq!(error(json!({"x": "lst[str]"})).message, "`lst[str]` is not a type; did you mean `list`?");
    assert_eq!(error(json!({"a/b": "list[str"})).pointer, "/a~1b");
    assert!(error(json!({"x": "list[str"})).message.contains("no `]`"));
    assert!(error(json!("str")).message.contains("mapping"));
}

#[test]
fn nothing_is_fetched() {
    for reference in ["https://example.com/x.json", "file:///etc/passwd", "other.json"] {
        let refused = Schema::compile(&json!({"$ref": reference}), Direction::Input);
        assert!(refused.is_err(), "{reference}");
    }
    let local = input(json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}));
    assert!(local.is_valid(&json!(1)) && !local.is_valid(&json!("a")));
}

#[test]
fn problems_say_where_and_stay_short() {
    let schema = input(json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}));
    let problems = schema.check(&json!({"a": [1, "x".repeat(100_000)]}));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].pointer, "/a/1");
    assert!(problems[0].message.len() < 1000, "{}", problems[0].message);
    let many = schema.check(&json!({"a": vec!["x"; 1000]}));
    assert_eq!(many.len(), PROBLEMS_MAX);
}

#[test]
fn a_schema_that_is_not_one_is_refused() {
    for bad in [json!({"type": "strin"}), json!({"required": "a"}), json!({"pattern": "("}), json!([1]), json!(null)] {
        assert!(Schema::compile(&bad, Direction::Input).is_err(), "{bad}");
    }
}

#[test]
fn compatible_speaks_only_when_nothing_could_fit() {
    let object = |properties: Value, required: Value, open: bool| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open});
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let mismatch = |a: &Value, b: &Value| compatible(a, b).map(|found| format!("{} {}", found.pointer, found.message));
    assert_eq!(mismatch(&text, &number).unwrap(), " gives string, but integer is asked for");
    assert_eq!(mismatch(&json!({"type": "number"}), &number), None);
    assert_eq!(mismatch(&json!({}), &number), None);
    assert_eq!(mismatch(&json!({"type": ["string", "integer"]}), &number), None);
    assert_eq!(mismatch(&json!({"anyOf": [text]}), &number), None);

    let asks = object(json!({"a": number}), json!(["a"]), true);
    let gives = |schema: Value, open| object(json!({"a": schema, "b": {}}), json!([]), open);
    assert_eq!(mismatch(&gives(text.clone(), true), &asks).unwrap(), "/a gives string, but integer is asked for");
    assert_eq!(mismatch(&gives(number.clone(), false), &asks), None);
    assert_eq!(mismatch(&object(json!({"b": {}}), json!([]), true), &asks), None);
    let closed = object(json!({"b": {}}), json!([]), false);
    assert_eq!(mismatch(&closed, &asks).unwrap(), " has no `a`, which is asked for");

    let list = |items: &Value| json!({"type": "array", "items": items});
    assert_eq!(mismatch(&list(&text), &list(&number)).unwrap(), "/* gives string, but integer is asked for");
    let recursive = json!({"$ref": "#/$defs/t", "$defs": {"t": list(&json!({"$ref": "#/$defs/t"}))}});
    assert_eq!(compatible(&recursive, &recursive), None);
    assert!(compatible(&recursive, &text).is_some());
}

#[test]
fn a_property_is_known_unknown_or_absent() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}
    });
    let Property::Known(found) = property(&schema, "a") else { panic!("known") };
    assert!(compatible(&found, &json!({"type": "string"})).is_some());
    assert_eq!(property(&schema, "b"), Property::Absent(vec!["a".into()]));
    assert_eq!(property(&json!({"type": "object"}), "b"), Property::Unknown);
}

proptest::proptest! {
    #[test]
    fn type_literals_never_panic_and_compile_when_they_parse(text in "(list|dict|str|int|any|x|\\[|\\]|\\?|,| ){0,12}") {
        let source = json!({"f": text});
        if let Ok(schema) = Schema::compile(&source, Direction::Input) {
            proptest::prop_assert!(compatible(schema.document(), schema.document()).is_none());
            proptest::prop_assert!(!schema.is_valid(&json!(1)));
        }
    }
}
