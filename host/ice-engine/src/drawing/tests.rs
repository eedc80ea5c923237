//! Pictures of one blueprint that holds most of what can be drawn, in every format, and properties of all the others.
//! `UPDATE_EXPECT=1` writes what comes out.

use std::fmt::Write as _;
use std::path::Path;

use ice_core::blueprint::parse;

use super::{Drawing, NODES_MAX, place};
use crate::plan::{plan, tests as planned};

fn drawing(text: &str) -> Drawing {
    let parsed = parse(text, "test").expect("a document");
    Drawing::of(&plan(&parsed, &planned::stock::catalog(), &planned::stock::library()).expect("a plan")).expect("small")
}

fn tests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/blueprints")
}

#[test]
fn every_format_is_as_written() {
    let text = std::fs::read_to_string(tests().join("drawn/tour.yaml")).expect("readable");
    let drawing = drawing(&text);
    for (ending, found) in [("mmd", drawing.mermaid()), ("dot", drawing.dot()), ("svg", drawing.svg())] {
        let path = tests().join(format!("drawn/tour.{ending}"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &found).expect("writable");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == found, "{}: run again with UPDATE_EXPECT=1 and look at it\n{found}", path.display());
    }
}

#[test]
fn every_good_blueprint_is_drawn_without_cells_on_each_other() {
    for entry in std::fs::read_dir(tests().join("ok")).expect("the folder is there") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|ending| ending == "plan") {
            continue;
        }
        let drawing = drawing(&std::fs::read_to_string(&path).expect("readable"));
        apart(&place::place(&drawing.top), &path.display().to_string());
        let svg = drawing.svg();
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        assert_eq!(drawing.svg(), svg);
    }
}

/// Cells of a level do not overlap, and lie inside it.
fn apart(placed: &place::Placed, whose: &str) {
    for (index, a) in placed.cells.iter().enumerate() {
        let inside = a.x >= -0.01 && a.x + a.width <= placed.width + 0.01 && a.y + a.height <= placed.height + 0.01;
        assert!(inside, "{whose}: {a:?}");
        for b in &placed.cells[..index] {
            let beside = a.x + a.width <= b.x || b.x + b.width <= a.x;
            assert!(beside || a.y + a.height <= b.y || b.y + b.height <= a.y, "{whose}: {a:?} {b:?}");
        }
    }
    placed.inside.iter().flatten().for_each(|(_, _, inner)| apart(inner, whose));
}

#[test]
fn text_from_the_document_cannot_become_markup() {
    let text = "schema_version: '1.2.0'\nmetadata: { name: \"</title><script>x\\\"]%%{\" }\nnodes:\n  - { id: a, type: llm, llm_config: { model: '<b>&\"m' }, prompt: x }\n";
    let drawing = drawing(text);
    let svg = drawing.svg();
    assert!(!svg.contains("<script") && !svg.contains("<b>") && svg.contains("&lt;b&gt;&amp;&quot;m"), "{svg}");
    assert!(drawing.dot().contains("<b>&\\\"m"), "{}", drawing.dot());
    assert!(drawing.mermaid().contains("#60;b#62;#38;#34;m"), "{}", drawing.mermaid());
}

fn wide(nodes: usize) -> String {
    let mut text = String::from("schema_version: '1.2.0'\nnodes:\n");
    for index in 0..nodes {
        let after: Vec<String> =
            [index * 7 / 11, index * 5 / 8].iter().filter(|&&d| d < index).map(|d| format!("n{d}")).collect();
        writeln!(
            text,
            "  - {{ id: n{index}, type: tool, tool_name: writer_tool, tool_args: {{ notes: x }}, dependencies: [{}] }}",
            after.join(", ")
        )
        .expect("a string takes everything");
    }
    text
}

#[test]
fn large_blueprints_are_drawn_and_too_large_ones_are_refused() {
    let drawing = drawing(&wide(200));
    apart(&place::place(&drawing.top), "200 nodes");
    assert_eq!(drawing.kinds()["tool"], 200);
    let parsed = parse(&wide(NODES_MAX + 1), "test").expect("a document");
    let plan = plan(&parsed, &planned::stock::catalog(), &planned::stock::library()).expect("a plan");
    assert!(Drawing::of(&plan).unwrap_err().message.contains("cannot be read"));
}
