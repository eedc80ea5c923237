use super::*;
use serde_json::json as j;

fn lookup(context: Value) -> impl Lookup {
    move |name: &str| context.get(name).map(datum)
}

fn rendered(template: Value, context: Value) -> Result<Value, String> {
    let template = Template::compile(&template).map_err(|error| format!("compile: {error}"))?;
    template.render(&lookup(context)).map_err(|error| error.to_string())
}

#[test]
fn one_expression_keeps_the_type_of_its_value() {
    for value in [j!(3), j!(-1), j!(2.5), j!(u64::MAX), j!(true), j!(null), j!([1, "a"]), j!({"b": 1, "a": [2]})] {
        assert_eq!(rendered(j!("{{ x }}"), j!({"x": value})), Ok(value.clone()));
        assert_eq!(rendered(j!(" {{- x -}}\n"), j!({"x": value})), Ok(value));
    }
    assert_eq!(rendered(j!("{{ 7 // 2 }}"), j!({})), Ok(j!(3)));
    assert_eq!(rendered(j!("{{ {'a': {'b': x}} }}"), j!({"x": 1})), Ok(j!({"a": {"b": 1}})));
}

#[test]
fn text_around_an_expression_makes_a_string() {
    assert_eq!(rendered(j!("n={{ x }}"), j!({"x": 3})), Ok(j!("n=3")));
    assert_eq!(rendered(j!("{{ x }}{{ y }}"), j!({"x": 3, "y": 4})), Ok(j!("34")));
    assert_eq!(rendered(j!("{{ x }} and {{ y }}"), j!({"x": 3, "y": 4})), Ok(j!("3 and 4")));
    assert_eq!(rendered(j!("{% for x in xs %}{{ x }};{% endfor %}"), j!({"xs": [1, 2]})), Ok(j!("1;2;")));
    assert_eq!(rendered(j!("<b>{{ x }}</b>"), j!({"x": "<&>"})), Ok(j!("<b><&></b>")));
}

#[test]
fn a_field_named_like_a_method_is_the_field() {
    let context = j!({"recent": {"items": ["a"], "keys": 1, "values": 2, "get": 3}});
    assert_eq!(rendered(j!("{{ recent.items }}"), context.clone()), Ok(j!(["a"])));
    assert_eq!(rendered(j!("{{ recent.items | length }}"), context.clone()), Ok(j!(1)));
    assert_eq!(rendered(j!("{{ recent.keys }}{{ recent.values }}{{ recent.get }}"), context.clone()), Ok(j!("123")));
    assert_eq!(rendered(j!("{% for i in recent.items %}{{ i }}{% endfor %}"), context), Ok(j!("a")));
}

#[test]
fn undefined_is_an_error_wherever_it_appears() {
    for template in ["{{ x }}", "{{ a.x }}", "a{{ x }}", "{{ a.x.y }}", "{{ [a.x] }}", "{{ x + 1 }}", "{{ {'k': x} }}"]
    {
        let failed = rendered(j!(template), j!({"a": {}})).expect_err(template);
        assert!(failed.contains("undefined"), "{template}: {failed}");
    }
    assert_eq!(rendered(j!("{{ x | default('d') }}"), j!({})), Ok(j!("d")));
    assert_eq!(rendered(j!("{{ x is defined }}"), j!({})), Ok(j!(false)));
}

#[test]
fn nested_values_render_and_errors_say_where() {
    let template = j!({"a": ["{{ x }}", {"b/c": "{{ y }}"}], "n": 1});
    assert_eq!(rendered(template.clone(), j!({"x": 1, "y": 2})), Ok(j!({"a": [1, {"b/c": 2}], "n": 1})));
    let template = Template::compile(&template).unwrap();
    assert_eq!(template.render(&lookup(j!({"x": 1}))).unwrap_err().pointer, "/a/1/b~1c");
    assert_eq!(Template::compile(&j!(["{{ x", 1])).unwrap_err().pointer, "/0");
    assert!(Template::compile(&j!({"a": [1, "x", null]})).unwrap().is_literal());
}

#[test]
fn filters_that_promise_something_are_there() {
    let context = j!({"xs": [{"n": 1, "ok": true}, {"n": 2, "ok": false}], "t": " a b "});
    for (template, expected) in [
        ("{{ xs | map(attribute='n') | list }}", j!([1, 2])),
        ("{{ xs | selectattr('ok') | map(attribute='n') }}", j!([1])),
        ("{{ xs | map(attribute='n') | join(',') }}", j!("1,2")),
        ("{{ xs | map(attribute='n') | sum }}", j!(3)),
        ("{{ (10 / 3) | round(2) }}", j!(3.33)),
        ("{{ t | trim | upper }}", j!("A B")),
        ("{{ xs[0] | tojson }}", j!(r#"{"n": 1, "ok": true}"#)),
        ("{{ 'ok' in xs[0] and not False and None == none }}", j!(true)),
    ] {
        assert_eq!(rendered(j!(template), context.clone()), Ok(expected), "{template}");
    }
}

#[test]
fn syntax_errors_and_unknown_filters_are_found_when_compiling() {
    for (template, needle) in [
        ("{{ x | nope }}", "no filter `nope`"),
        ("a {{ x | upper | nope(1) }}", "no filter `nope`"),
        ("{% if x is not weird %}{% endif %}", "no test `weird`"),
        ("{{ x", "end of"),
        ("{% for %}", "unexpected"),
        ("{{ 1 + }}", "unexpected"),
    ] {
        let failed = Template::compile(&j!(template)).expect_err(template);
        assert!(failed.message.contains(needle), "{template}: {failed}");
    }
    for good in ["{{ '| nope' }}", "{{ x.is }}", "| nope {{ x }}", "{{ x is divisibleby(2) }}", "{{ x is not none }}"] {
        Template::compile(&j!(good)).expect(good);
    }
}

#[test]
fn roots_and_references_leave_out_what_the_template_defines_itself() {
    let template = Template::compile(&j!({
        "a": "{{ first.x.y }} {{ first.z }} {% for i in second %}{{ i.q }}{{ loop.index }}{% endfor %}",
        "b": "{{ range(3) | list + third['k'] }}"
    }))
    .unwrap();
    assert_eq!(template.roots(), ["first", "second", "third"]);
    let found: Vec<String> =
        template.references().iter().map(|found| format!("{}:{}", found.root, found.path.join("."))).collect();
    assert_eq!(found, ["first:x.y", "first:z", "second:", "third:"]);
}

#[test]
fn only_a_plain_path_is_a_path() {
    let path = |text: &str| Template::compile(&j!(text)).unwrap().path();
    assert_eq!(path("{{ a.b.c }}").unwrap(), Reference { root: "a".into(), path: vec!["b".into(), "c".into()] });
    for text in ["{{ a | upper }}", "{{ a[0] }}", "x{{ a }}", "{{ 1 }}", "a.b"] {
        assert_eq!(path(text), None, "{text}");
    }
}

#[test]
fn truth_of_expressions_and_of_text() {
    let truth = |text: &str| Template::compile(&j!(text)).unwrap().truth(&lookup(j!({"n": 0, "s": "x", "b": true})));
    for (text, expected) in [
        ("{{ b }}", true),
        ("{{ n }}", false),
        ("{{ s }}", true),
        ("{{ n > 1 or s == 'x' }}", true),
        ("true", true),
        ("no", false),
        ("{% if b %}True{% endif %}", true),
        ("{% if n %}true{% endif %}", false),
    ] {
        assert_eq!(truth(text), Ok(expected), "{text}");
    }
}

#[test]
fn bare_expressions_compile_with_and_without_braces() {
    for text in ["a.n >= 3 and ok == True", "{{ a.n >= 3 and ok == True }}"] {
        let template = Template::compile_expression(text).unwrap();
        assert_eq!(template.render(&lookup(j!({"a": {"n": 3}, "ok": true}))), Ok(j!(true)));
    }
    assert!(Template::compile_expression("a >").is_err());
}

#[test]
fn endless_and_huge_templates_stop() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = 1 %}{% endfor %}{% endfor %}";
    assert!(rendered(j!(endless), j!({})).unwrap_err().contains("steps"));
    let huge = "{% for a in range(9999) %}{{ 'x' * 10000 }}{% endfor %}";
    assert!(rendered(j!(huge), j!({})).unwrap_err().contains("bytes"));
    assert!(rendered(j!("{{ 1e308 * 10 }}"), j!({})).unwrap_err().contains("not JSON"));
}

proptest::proptest! {
    #[test]
    fn compiling_never_panics(text in "[{}%#|'\"a-c .()\\[\\]=+*é-]{0,40}") {
        let _ = Template::compile(&Value::String(text));
    }

    #[test]
    fn a_literal_without_braces_renders_to_itself(text in "[^{]{0,40}") {
        let template = Template::compile(&Value::String(text.clone())).unwrap();
        proptest::prop_assert_eq!(template.render(&lookup(j!({}))).unwrap(), Value::String(text));
    }

    #[test]
    fn integers_come_back_as_they_went_in(number: i64) {
        proptest::prop_assert_eq!(rendered(j!("{{ x.y }}"), j!({"x": {"y": number}})), Ok(j!(number)));
    }
}
