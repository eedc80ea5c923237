//! The tools as the host calls them.

use ice_sdk::testing::{self, Host};
use serde_json::{Value, json};

use crate::KIT;

fn price(listing: Value) -> Value {
    testing::call(&KIT, "pricing_strategy", &json!({ "listing": listing })).unwrap()
}

fn refused(tool: &str, input: Value) -> String {
    testing::call(&KIT, tool, &input).unwrap_err().to_string()
}

#[test]
fn a_thing_in_good_condition_costs_its_cost_plus_the_margin() {
    let priced = price(
        json!({ "name": "Refrigerator", "category": "appliances", "condition": "good", "cost": 600.0, "age_months": 24 }),
    );
    assert_eq!(
        priced,
        json!({
            "price": 750.0, "currency": "USD", "margin": 0.25, "discounts": [],
            "explanation": "cost 600.00 plus 25 % margin = 750.00 USD",
        })
    );
}

#[test]
fn condition_and_age_change_the_price_in_turn() {
    let priced = price(json!({ "title": "Chair", "condition": "Fair", "cost": 100, "age_years": 4 }));
    // 100 × 1.25 × 0.85 × 0.92 = 97.75, and the cost is 100.
    assert_eq!(priced["price"], 100.0);
    assert_eq!(
        priced["discounts"],
        json!([
            { "rule": "condition", "percent": 15.0, "amount": 18.75 },
            { "rule": "age", "percent": 8.0, "amount": 8.5 },
        ])
    );
    assert_eq!(
        priced["explanation"],
        "cost 100.00 plus 25 % margin, less 15 % (fair), less 8 % (48 months old), raised to the cost = 100.00 USD"
    );
    let input = json!({ "listing": { "name": "Chair", "condition": "fair", "cost": 100, "age_months": 48 }, "rules": { "below_cost": true } });
    let below = testing::call(&KIT, "pricing_strategy", &input).unwrap();
    assert_eq!((&below["price"], &below["margin"]), (&json!(97.75), &json!(-0.0225)));
}

#[test]
fn without_a_cost_the_original_price_counts() {
    let priced = price(json!({ "name": "Phone", "original_price": 500, "condition": "like new" }));
    assert_eq!((&priced["price"], &priced["margin"]), (&json!(324.0), &Value::Null));
    let old = price(json!({ "name": "Vase", "original_price": 100, "age_years": 90 }));
    assert_eq!(old["price"], 42.0, "age takes at most 30 %");
}

#[test]
fn prices_are_rounded_and_never_below_the_lowest() {
    let input = json!({ "listing": { "name": "x", "cost": 95.5 }, "margin": 0.333, "rules": { "rounding": "whole" } });
    assert_eq!(testing::call(&KIT, "pricing_strategy", &input).unwrap()["price"], 127.0);
    assert_eq!(price(json!({ "name": "x", "cost": 0.1 }))["price"], 1.0);
    let input = json!({ "listing": { "name": "x", "cost": 1.01 }, "margin": 0.005 });
    assert_eq!(testing::call(&KIT, "pricing_strategy", &input).unwrap()["price"], 1.02);
}

#[test]
fn a_field_that_cannot_be_priced_is_named() {
    let ask = |listing: Value| refused("pricing_strategy", json!({ "listing": listing }));
    assert_eq!(ask(json!({ "cost": 1 })), "listing.name: is missing: say what it is");
    assert_eq!(ask(json!({ "name": "x" })), "listing.cost: is missing, and so is `original_price`: one is needed");
    assert_eq!(ask(json!({ "name": "x", "cost": -1 })), "listing.cost: must not be negative");
    assert_eq!(
        ask(json!({ "name": "x", "cost": "12 euros" })),
        "listing.cost: invalid type: string \"12 euros\", expected f64"
    );
    assert_eq!(
        ask(json!({ "name": "x", "cost": 1, "condition": "broken" })),
        "listing.condition: `broken` is none of new, like_new, good, fair, poor"
    );
    assert_eq!(
        refused("pricing_strategy", json!({ "listing": { "name": "x", "cost": 1 }, "margin": 11 })),
        "margin: must be 0 to 10"
    );
    assert_eq!(
        refused("pricing_strategy", json!({ "listing": { "name": "x", "cost": 1 }, "rules": { "fair_percent": 300 } })),
        "rules.fair_percent: must be -100 to 100"
    );
}

#[test]
fn copy_is_made_from_the_fields_without_a_model() {
    let _host = Host::install();
    let listing = json!({ "name": "Lamp, brass", "category": "furniture", "condition": "fair", "cost": 40, "age_months": 120, "row": 8 });
    let input = json!({ "listing": listing, "price": 50, "model": "" });
    let written = testing::call(&KIT, "listing_writer", &input).unwrap();
    assert_eq!(written["title"], "Lamp, brass – fair");
    assert_eq!(
        written["description"],
        "Lamp, brass, in fair condition, with visible wear. It is 10 years old. Yours for 50.00 USD."
    );
    assert_eq!(
        written["bullet_points"],
        json!(["Condition: fair", "Age: 10 years", "Category: furniture", "Price: 50.00 USD"])
    );
    assert_eq!((&written["price"], &written["offline"]), (&json!(50.0), &json!(true)));
    let id = written["listing_id"].as_str().unwrap();
    assert!(id.starts_with("LOC-lamp-brass-") && id.len() == "LOC-lamp-brass-".len() + 8, "{id}");
    let dearer = testing::call(&KIT, "listing_writer", &json!({ "listing": listing, "price": 60 })).unwrap();
    assert_eq!(dearer["listing_id"], written["listing_id"]);
}

#[test]
fn a_model_writes_the_copy_when_one_is_named() {
    let host = Host::install();
    host.answer_llm(r#"{"title":"Fine lamp","description":"It shines.","bullet_points":["Brass"]}"#);
    let input = json!({ "listing": { "name": "Lamp" }, "price": 5, "model": "default" });
    let written = testing::call(&KIT, "listing_writer", &input).unwrap();
    assert_eq!(
        (&written["title"], &written["model"], &written["offline"]),
        (&json!("Fine lamp"), &json!("test/model"), &json!(false))
    );
    let request = &host.llm_requests()[0];
    assert_eq!(request.model, "");
    assert_eq!(request.output_schema.as_ref().unwrap()["required"], json!(["title", "description", "bullet_points"]));

    host.answer_llm_offline("whatever");
    let offline = testing::call(&KIT, "listing_writer", &input).unwrap();
    assert_eq!((&offline["title"], &offline["offline"]), (&json!("Lamp – good"), &json!(true)));

    host.answer_llm(r#"{"title":1}"#);
    assert!(refused("listing_writer", input).contains("answered with another shape: title: invalid type"));
}

#[test]
fn every_tool_is_documented() {
    assert_eq!(testing::undocumented(&KIT.describe()), Vec::<String>::new());
}
