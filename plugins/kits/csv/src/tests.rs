//! The tool as the host calls it.

use ice_sdk::{ToolError, testing};
use serde_json::{Value, json};

use crate::KIT;

fn load(text: &str) -> Value {
    testing::call(&KIT, "csv_loader", &json!({ "text": text })).unwrap()
}

fn refused(input: Value) -> String {
    testing::call(&KIT, "csv_loader", &input).map_err(|error: ToolError| error.to_string()).unwrap_err()
}

#[test]
fn columns_get_the_narrowest_type_all_their_cells_have() {
    let table = load(
        "id,price,ok,day,zip,mixed,none\n1,2.50,true,2026-01-31,01234,1,\n-2,3,FALSE,2026-02-28T10:00:00Z,99999,x,\n",
    );
    let kinds: Vec<&str> = table["columns"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["integer", "number", "boolean", "date", "string", "string", "string"]);
    assert_eq!(
        table["rows"][0],
        json!({ "id": 1, "price": 2.5, "ok": true, "day": "2026-01-31", "zip": "01234", "mixed": "1", "none": null })
    );
    assert_eq!(table["rows"][1]["price"], json!(3.0));
    assert_eq!(table["rows"][1]["ok"], json!(false));
    assert_eq!((&table["total"], &table["truncated"]), (&json!(2), &json!(false)));
}

#[test]
fn a_row_of_another_width_is_one_error_and_the_others_are_read() {
    let table = load("a,b\n1,2\n3\n4,5\n6,7,8\n\n9,10\n");
    assert_eq!(table["rows"], json!([{ "a": 1, "b": 2 }, { "a": 4, "b": 5 }, { "a": 9, "b": 10 }]));
    assert_eq!(
        table["errors"],
        json!([
            { "line": 3, "message": "has 1 cells, the columns are 2", "raw": "3" },
            { "line": 5, "message": "has 3 cells, the columns are 2", "raw": "6,7,8" },
        ])
    );
    assert_eq!(table["total"], 5);
}

#[test]
fn a_quote_that_is_never_closed_costs_one_row() {
    let table = load("name,cost\nLamp,1\n\"Chair,2\nTable,3\nBed,4");
    assert_eq!(table["rows"].as_array().unwrap().len(), 3);
    assert_eq!(table["errors"][0]["line"], 3);
    assert_eq!(table["errors"][0]["message"], "has a quote that is never closed");
    assert_eq!(table["errors"][0]["raw"], "\"Chair,2");
}

#[test]
fn a_quote_closed_by_a_later_row_costs_one_row_too() {
    let table = load("name,cost\n\"Chair,2\n\"Lamp, brass\",3\nBed,4\n");
    assert_eq!(table["rows"], json!([{ "name": "Lamp, brass", "cost": 3 }, { "name": "Bed", "cost": 4 }]));
    assert_eq!(table["errors"][0]["line"], 2);
    assert!(table["errors"][0]["message"].as_str().unwrap().contains("behind a closing quote"));
}

#[test]
fn quoted_cells_hold_delimiters_quotes_and_lines_and_lines_still_count() {
    let table = load("a,b\r\n\"x, \"\"y\"\"\r\nz\",1\r\n5\" pipe,2\r\nonly\r\n");
    assert_eq!(table["rows"], json!([{ "a": "x, \"y\"\r\nz", "b": 1 }, { "a": "5\" pipe", "b": 2 }]));
    assert_eq!(table["errors"][0]["line"], 5);
}

#[test]
fn the_delimiter_is_found_or_given() {
    for text in ["a;b\n1,5;2\n3,5;4\n", "a\tb\n1,5\t2\n", "a|b\n\"x|y\"|2\n"] {
        assert_eq!(load(text)["columns"].as_array().unwrap().len(), 2, "{text}");
    }
    let given = testing::call(&KIT, "csv_loader", &json!({ "text": "a:b\n1:2", "delimiter": ":" })).unwrap();
    assert_eq!(given["rows"], json!([{ "a": 1, "b": 2 }]));
    assert!(refused(json!({ "text": "a", "delimiter": "ab" })).starts_with("delimiter: "));
}

#[test]
fn a_header_is_found_or_given_and_names_are_unique() {
    assert_eq!(load("1,2\n3,4\n")["columns"][0]["name"], "column_1");
    assert_eq!(load("1,2\n3,4\n")["total"], 2);
    let input = json!({ "text": "x,y\nz,w\n", "has_header": false });
    assert_eq!(
        testing::call(&KIT, "csv_loader", &input).unwrap()["rows"][0],
        json!({ "column_1": "x", "column_2": "y" })
    );
    let input = json!({ "text": "x,,x\n1,2,3\n", "has_header": true });
    assert_eq!(
        testing::call(&KIT, "csv_loader", &input).unwrap()["rows"][0],
        json!({ "x": 1, "column_2": 2, "x_2": 3 })
    );
}

#[test]
fn reading_stops_at_max_rows() {
    let table = testing::call(&KIT, "csv_loader", &json!({ "text": "a\n1\n2\n3\n", "max_rows": 2 })).unwrap();
    assert_eq!((&table["total"], &table["truncated"]), (&json!(2), &json!(true)));
    assert!(refused(json!({ "text": "a", "max_rows": 0 })).starts_with("max_rows: "));
}

#[test]
fn a_text_without_columns_is_refused() {
    assert_eq!(refused(json!({ "text": " \n" })), "text: holds no row");
    assert!(refused(json!({ "text": "\"a,b\n1,2\n" })).starts_with("text: line 1: has a quote that is never closed"));
    assert_eq!(load("\u{feff}name,cost\n")["total"], 0);
}

#[test]
fn no_input_makes_it_panic() {
    for text in ["\"", "\"\"", ",", "a\r", "\r\r\n\"", "é;\"ü\n;", "a,b\n\"\"\"", "🙂", "a\n\u{0}\n"] {
        let _ = testing::call(&KIT, "csv_loader", &json!({ "text": text }));
    }
}

#[test]
fn the_tool_is_documented() {
    assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
}
