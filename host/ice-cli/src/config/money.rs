//! Amounts of money in settings and flags: decimal digits, never a binary fraction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use ice_core::budget::{MicroUsd, OrgBudgets, Window, parse_dollars};
use ice_core::problem::{Code, Problem};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::variable;

/// US dollars: `"0.50"`, or a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Amount(pub(crate) MicroUsd);

/// Reads an amount on the command line.
pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    parse_dollars(text).map(Amount).ok_or_else(|| EXPECTED.to_owned())
}

const EXPECTED: &str = "write US dollars like 0.50, with six decimals at most";

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("US dollars like \"0.50\", with six decimals at most")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                amount(text).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
                amount(&number.to_string()).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }

            /// The shortest digits that mean this number are those that were written.
            fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
                amount(&number.to_string()).map_err(|_| E::invalid_value(serde::de::Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "US dollars, with six decimals at most: text, or a number",
            "anyOf": [
                { "type": "string", "pattern": "^([0-9]+\\.?[0-9]*|\\.[0-9]+)$" },
                { "type": "number", "minimum": 0 },
            ],
        })
    }
}

/// How [`Window`] is written, for the schema.
struct WindowWord;

impl JsonSchema for WindowWord {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": Window::ALL.map(Window::as_str) })
    }
}

/// What executions and orgs may spend.
#[derive(serde::Deserialize, JsonSchema, Debug, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BudgetSection {
    /// The most one execution may cost, in US dollars.
    pub(super) usd: Option<Amount>,
    /// The most tokens one execution may use.
    pub(super) tokens: Option<u64>,
    /// The most each org may spend in a window, over all its executions.
    org_usd: Option<Amount>,
    /// `day`, `month` (default) or `total`; in UTC.
    #[schemars(with = "WindowWord")]
    window: Window,
    /// Org → the most it may spend, instead of `org_usd`.
    orgs: BTreeMap<String, Amount>,
}

impl BudgetSection {
    /// What the environment says wins: `ICE_BUDGET_USD`, `ICE_BUDGET_ORG_USD` or `ORG_BUDGET_USD`, `ICE_BUDGET_WINDOW`.
    pub(super) fn with_environment(mut self, problems: &mut Vec<Problem>) -> Self {
        self.usd = money("ICE_BUDGET_USD", problems).or(self.usd);
        let older = money("ORG_BUDGET_USD", problems);
        self.org_usd = money("ICE_BUDGET_ORG_USD", problems).or(older).or(self.org_usd);
        if let Some(word) = variable("ICE_BUDGET_WINDOW", problems) {
            match Window::parse(&word) {
                Some(window) => self.window = window,
                None => problems.push(
                    Problem::new(Code::C004, format!("`ICE_BUDGET_WINDOW={word}` is not a window"))
                        .help("write `day`, `month` or `total`"),
                ),
            }
        }
        self
    }

    /// What orgs may spend.
    pub(super) fn orgs(&self) -> OrgBudgets {
        let by_org = self.orgs.iter().map(|(org, amount)| (org.clone(), amount.0)).collect();
        OrgBudgets { each: self.org_usd.map(|amount| amount.0), by_org, window: self.window }
    }
}

fn money(name: &str, problems: &mut Vec<Problem>) -> Option<Amount> {
    let text = variable(name, problems)?;
    match amount(&text) {
        Ok(amount) => Some(amount),
        Err(help) => {
            problems.push(Problem::new(Code::C004, format!("`{name}={text}` is not an amount")).help(help));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_what_was_written() {
        let text =
            "usd = 0.1\norg_usd = \"4503599627.370497\"\nwindow = \"day\"\norgs = {acme = 3, other = \"0.000001\"}\n";
        let section: BudgetSection = toml::from_str(text).unwrap();
        assert_eq!(section.usd, Some(Amount(100_000)));
        let orgs = section.orgs();
        assert_eq!((orgs.window, orgs.each), (Window::Day, Some(4_503_599_627_370_497)));
        assert_eq!((orgs.of("acme"), orgs.of("other")), (Some(3_000_000), Some(1)));
        for wrong in
            ["usd = -1", "usd = nan", "usd = 1e-9", "org_usd = \"1,5\"", "window = \"week\"", "orgs = {a = true}"]
        {
            assert!(toml::from_str::<BudgetSection>(wrong).is_err(), "{wrong}");
        }
    }
}
