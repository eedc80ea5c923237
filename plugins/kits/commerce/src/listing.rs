//! A thing to sell, as a row of a table or a form describes it.

use ice_sdk::ToolError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The thing to sell. Other fields are ignored, so a row of any table fits.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Debug, Default)]
pub(crate) struct Listing {
    /// What it is, for example `Road bike`. One of `name` and `title` is needed.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The same as `name`.
    #[serde(default)]
    pub(crate) title: Option<String>,
    /// What the seller paid for it, as it is now. One of `cost` and `original_price` is needed to price it.
    #[serde(default)]
    pub(crate) cost: Option<f64>,
    /// What it cost when it was new.
    #[serde(default)]
    pub(crate) original_price: Option<f64>,
    /// `new`, `like_new`, `good`, `fair` or `poor`, in any spelling of space and case. `good` when absent.
    #[serde(default)]
    pub(crate) condition: Option<String>,
    /// Its age in months.
    #[serde(default)]
    pub(crate) age_months: Option<f64>,
    /// Its age in years, where there is no `age_months`.
    #[serde(default)]
    pub(crate) age_years: Option<f64>,
    /// What kind of thing it is, for example `furniture`.
    #[serde(default)]
    pub(crate) category: Option<String>,
}

/// How a thing looks and works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Condition {
    New,
    LikeNew,
    Good,
    Fair,
    Poor,
}

/// One row per condition: the word, and what a buyer reads.
const CONDITIONS: &[(Condition, &str, &str)] = &[
    (Condition::New, "new", "new and unused"),
    (Condition::LikeNew, "like_new", "like new, with hardly a trace of use"),
    (Condition::Good, "good", "in good condition, with normal signs of use"),
    (Condition::Fair, "fair", "in fair condition, with visible wear"),
    (Condition::Poor, "poor", "worn, and priced for it"),
];

impl Condition {
    pub(crate) fn word(self) -> &'static str {
        CONDITIONS.iter().find(|row| row.0 == self).map_or("good", |row| row.1)
    }

    pub(crate) fn phrase(self) -> &'static str {
        CONDITIONS.iter().find(|row| row.0 == self).map_or("used", |row| row.2)
    }
}

impl Listing {
    /// What it is. Fails when neither `name` nor `title` says so.
    pub(crate) fn called(&self) -> Result<&str, ToolError> {
        let names = [&self.name, &self.title];
        let name = names.into_iter().flatten().map(|name| name.trim()).find(|name| !name.is_empty());
        name.ok_or_else(|| ToolError::invalid("listing.name", "is missing: say what it is"))
    }

    /// Fails when the word is none of the known ones.
    pub(crate) fn condition(&self) -> Result<Condition, ToolError> {
        let Some(written) = self.condition.as_deref().map(str::trim).filter(|word| !word.is_empty()) else {
            return Ok(Condition::Good);
        };
        let word = written.to_lowercase().replace([' ', '-'], "_");
        let known = CONDITIONS.iter().find(|row| row.1 == word);
        known.map(|row| row.0).ok_or_else(|| {
            let words: Vec<&str> = CONDITIONS.iter().map(|row| row.1).collect();
            ToolError::invalid("listing.condition", format!("`{written}` is none of {}", words.join(", ")))
        })
    }

    /// Its age in months; 0 when nothing is said. Fails when it is negative.
    pub(crate) fn months(&self) -> Result<f64, ToolError> {
        match (self.age_months, self.age_years) {
            (Some(months), _) => at_least_zero("listing.age_months", months),
            (None, Some(years)) => Ok(at_least_zero("listing.age_years", years)? * 12.0),
            (None, None) => Ok(0.0),
        }
    }
}

/// Returns the number itself. Fails when it is negative or no number.
pub(crate) fn at_least_zero(path: &str, number: f64) -> Result<f64, ToolError> {
    if number.is_finite() && number >= 0.0 { Ok(number) } else { Err(ToolError::invalid(path, "must not be negative")) }
}
