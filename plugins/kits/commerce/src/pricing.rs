//! `pricing_strategy`: a price by margin, condition and age.
//!
//! ```text
//! base  = cost × (1 + margin)                 when the cost is known
//!         original_price × resale_share       otherwise
//! price = base × (1 − condition discount) × (1 − age discount)
//!         but not below the cost, nor below min_price, and rounded
//! ```
//! Condition is measured against `good`, the usual state of a used thing. Age costs nothing for the first
//! `age_free_months`, then `age_percent_per_year` for every further year, at most `age_percent_max`.
//! The defaults are round numbers to begin with, not market data: `rules` replaces each of them.

use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::listing::{Condition, Listing, at_least_zero};

/// Profit on top of the cost, when nobody says another.
const MARGIN: f64 = 0.25;
const MARGIN_MAX: f64 = 10.0;

/// What to price, and how.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pricing {
    /// The thing to sell.
    listing: Listing,
    /// Profit on top of the cost, as a fraction: 0.25 is 25 %. 0 to 10.
    #[serde(default = "margin")]
    #[schemars(range(min = 0.0, max = 10.0))]
    margin: f64,
    /// Replaces single rules.
    #[serde(default)]
    rules: Rules,
    /// Currency of all amounts; passed on, never converted.
    #[serde(default = "currency")]
    currency: String,
}

fn margin() -> f64 {
    MARGIN
}

fn currency() -> String {
    "USD".to_owned()
}

/// The rules. Percentages are of the price before the rule; a negative discount is a surcharge.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rules {
    /// Share of the original price that a used thing in good condition fetches, where the cost is unknown.
    resale_share: f64,
    /// Discount in percent when it is new.
    new_percent: f64,
    /// Discount in percent when it is like new.
    like_new_percent: f64,
    /// Discount in percent when it is good.
    good_percent: f64,
    /// Discount in percent when it is fair.
    fair_percent: f64,
    /// Discount in percent when it is poor.
    poor_percent: f64,
    /// Months of age that cost nothing.
    age_free_months: f64,
    /// Discount in percent for every year of age after that.
    age_percent_per_year: f64,
    /// Most discount in percent for age.
    age_percent_max: f64,
    /// Lowest price.
    min_price: f64,
    /// Whether the price may be below the cost.
    below_cost: bool,
    /// What the price is rounded to.
    rounding: Rounding,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            resale_share: 0.6,
            new_percent: -15.0,
            like_new_percent: -8.0,
            good_percent: 0.0,
            fair_percent: 15.0,
            poor_percent: 35.0,
            age_free_months: 24.0,
            age_percent_per_year: 4.0,
            age_percent_max: 30.0,
            min_price: 1.0,
            below_cost: false,
            rounding: Rounding::Cents,
        }
    }
}

/// What a price is rounded to; halves go up.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rounding {
    /// Two digits behind the point.
    Cents,
    /// Whole units of the currency.
    Whole,
}

/// The price, and how it came about.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Priced {
    /// The price.
    price: f64,
    /// Currency of the price.
    currency: String,
    /// Profit on top of the cost that the price really holds, as a fraction; null when the cost is unknown.
    margin: Option<f64>,
    /// What was taken off, rule by rule, in order.
    discounts: Vec<Discount>,
    /// The calculation in one sentence.
    explanation: String,
}

/// One rule at work.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Discount {
    /// `condition` or `age`.
    rule: String,
    /// What the rule takes off, in percent; negative for a surcharge.
    percent: f64,
    /// The same as an amount.
    amount: f64,
}

/// Prices a thing to sell: its cost plus a margin (or a share of its original price), less discounts for condition and
/// age, never below its cost or a lowest price.
#[tool(tags("commerce", "pricing"))]
pub(crate) fn pricing_strategy(input: Pricing) -> Result<Priced, ToolError> {
    let Pricing { listing, margin, rules, currency } = input;
    listing.called()?;
    if !(0.0..=MARGIN_MAX).contains(&margin) {
        return Err(ToolError::invalid("margin", format!("must be 0 to {MARGIN_MAX}")));
    }
    rules.check()?;
    let (mut price, mut steps) = base(&listing, margin, &rules)?;
    let condition = listing.condition()?;
    let mut discounts = Vec::new();
    let wanted = [
        ("condition", rules.condition_percent(condition), condition.word().replace('_', " ")),
        ("age", rules.age_percent(listing.months()?), format!("{} months old", listing.months()?)),
    ];
    for (rule, percent, why) in wanted {
        if percent == 0.0 {
            continue;
        }
        let amount = cents(price * percent / 100.0);
        price -= price * percent / 100.0;
        let direction = if percent > 0.0 { "less" } else { "plus" };
        steps.push(format!("{direction} {} % ({why})", percent.abs()));
        discounts.push(Discount { rule: rule.to_owned(), percent, amount });
    }
    let mut price = rules.round(price);
    let cost = listing.cost.filter(|_| !rules.below_cost).unwrap_or(0.0);
    for (floor, why) in [(cost, "the cost"), (rules.min_price, "the lowest price")] {
        if price < floor {
            price = rules.round_up(floor);
            steps.push(format!("raised to {why}"));
        }
    }
    let margin =
        listing.cost.filter(|&cost| cost > 0.0).map(|cost| ((price / cost - 1.0) * 10_000.0).round() / 10_000.0);
    let explanation = format!("{} = {price:.2} {currency}", steps.join(", "));
    Ok(Priced { price, currency, margin, discounts, explanation })
}

fn base(listing: &Listing, margin: f64, rules: &Rules) -> Result<(f64, Vec<String>), ToolError> {
    match (listing.cost, listing.original_price) {
        (Some(cost), _) => {
            let cost = at_least_zero("listing.cost", cost)?;
            Ok((cost * (1.0 + margin), vec![format!("cost {cost:.2} plus {} % margin", percent(margin))]))
        }
        (None, Some(original)) => {
            let original = at_least_zero("listing.original_price", original)?;
            let step = format!("{} % of the original price {original:.2}", percent(rules.resale_share));
            Ok((original * rules.resale_share, vec![step]))
        }
        (None, None) => {
            Err(ToolError::invalid("listing.cost", "is missing, and so is `original_price`: one is needed"))
        }
    }
}

/// 0.25 as 25, without the digits that binary fractions leave behind.
fn percent(fraction: f64) -> f64 {
    (fraction * 10_000.0).round() / 100.0
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

impl Rules {
    fn check(&self) -> Result<(), ToolError> {
        for (name, number) in [
            ("resale_share", self.resale_share),
            ("age_free_months", self.age_free_months),
            ("age_percent_per_year", self.age_percent_per_year),
            ("age_percent_max", self.age_percent_max),
            ("min_price", self.min_price),
        ] {
            at_least_zero(&format!("rules.{name}"), number)?;
        }
        for (name, percent) in [
            ("new_percent", self.new_percent),
            ("like_new_percent", self.like_new_percent),
            ("good_percent", self.good_percent),
            ("fair_percent", self.fair_percent),
            ("poor_percent", self.poor_percent),
            ("age_percent_max", self.age_percent_max),
        ] {
            if !(-100.0..=100.0).contains(&percent) {
                return Err(ToolError::invalid(format!("rules.{name}"), "must be -100 to 100"));
            }
        }
        Ok(())
    }

    fn condition_percent(&self, condition: Condition) -> f64 {
        match condition {
            Condition::New => self.new_percent,
            Condition::LikeNew => self.like_new_percent,
            Condition::Good => self.good_percent,
            Condition::Fair => self.fair_percent,
            Condition::Poor => self.poor_percent,
        }
    }

    fn age_percent(&self, months: f64) -> f64 {
        let years = (months - self.age_free_months).max(0.0) / 12.0;
        cents((years * self.age_percent_per_year).min(self.age_percent_max))
    }

    fn round(&self, price: f64) -> f64 {
        match self.rounding {
            Rounding::Cents => cents(price),
            Rounding::Whole => price.round(),
        }
    }

    /// A floor that is rounded down would not be one.
    fn round_up(&self, price: f64) -> f64 {
        match self.rounding {
            Rounding::Cents => cents(price),
            Rounding::Whole => price.ceil(),
        }
    }
}
