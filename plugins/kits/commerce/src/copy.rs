//! `listing_writer`: the words of a listing, from its fields or by a model.

use ice_sdk::llm::{self, Request};
use ice_sdk::{ToolError, tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::listing::{Listing, at_least_zero};

/// Marketplaces cut longer titles.
const TITLE_CHARS_MAX: usize = 80;

/// What to write about.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writing {
    /// The thing to sell.
    listing: Listing,
    /// What it costs the buyer.
    price: f64,
    /// Currency of the price.
    #[serde(default = "currency")]
    currency: String,
    /// Model that writes the copy; `default` is the host's. Without one, the copy is made from the fields.
    #[serde(default)]
    model: Option<String>,
}

fn currency() -> String {
    "USD".to_owned()
}

/// A listing, ready to be posted.
#[derive(Serialize, JsonSchema, Debug)]
pub(crate) struct Written {
    /// `LOC-<name>-<digest of the listing>`: the same listing has the same id.
    listing_id: String,
    /// One line, at most 80 characters.
    title: String,
    /// A few sentences.
    description: String,
    /// What a buyer looks for first.
    bullet_points: Vec<String>,
    /// What it costs the buyer.
    price: f64,
    /// Currency of the price.
    currency: String,
    /// Whether the copy was made from the fields, without a model.
    offline: bool,
    /// The model that wrote the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

/// What a model is asked for, and what the fields give without one.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
struct Copy {
    /// One line, at most 80 characters, that says what it is.
    title: String,
    /// Two to four honest sentences for a buyer.
    description: String,
    /// Three to five facts a buyer looks for first.
    bullet_points: Vec<String>,
}

/// Writes title, description and bullet points of a listing: from its fields, or by a model when one is named.
#[tool(tags("commerce", "listing"))]
pub(crate) fn listing_writer(input: Writing) -> Result<Written, ToolError> {
    let Writing { listing, price, currency, model } = input;
    let price = at_least_zero("price", price)?;
    let mut copy = from_fields(&listing, price, &currency)?;
    let mut written_by = None;
    if let Some(model) = model.filter(|model| !model.is_empty()) {
        let reply = llm::complete(&request(&model, &listing, price, &currency))?;
        // The offline provider cannot write: the copy made from the fields is the better one.
        if !reply.offline {
            copy = reply.parse()?;
            written_by = Some(reply.model);
        }
    }
    Ok(Written {
        listing_id: listing_id(&listing)?,
        title: copy.title.chars().take(TITLE_CHARS_MAX).collect(),
        description: copy.description,
        bullet_points: copy.bullet_points,
        price,
        currency,
        offline: written_by.is_none(),
        model: written_by,
    })
}

fn request(model: &str, listing: &Listing, price: f64, currency: &str) -> Request {
    let model = if model == "default" { "" } else { model };
    let facts = json!({ "listing": listing, "price": price, "currency": currency });
    let mut request = Request::new(model)
        .system("You write listings for things to sell. Use only the facts you are given, invent nothing, be brief.")
        .user(facts.to_string())
        .output::<Copy>();
    request.temperature = Some(0.4);
    request
}

fn from_fields(listing: &Listing, price: f64, currency: &str) -> Result<Copy, ToolError> {
    let name = listing.called()?;
    let condition = listing.condition()?;
    let age = age(listing.months()?);
    let category = listing.category.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let title = format!("{name} – {}", condition.word().replace('_', " "));
    let mut description = format!("{name}, {}.", condition.phrase());
    if let Some(age) = &age {
        description.push_str(&format!(" It is {age} old."));
    }
    description.push_str(&format!(" Yours for {price:.2} {currency}."));
    let mut bullet_points = vec![format!("Condition: {}", condition.word().replace('_', " "))];
    bullet_points.extend(age.map(|age| format!("Age: {age}")));
    bullet_points.extend(category.map(|category| format!("Category: {category}")));
    bullet_points.push(format!("Price: {price:.2} {currency}"));
    Ok(Copy { title, description, bullet_points })
}

/// `3 years`, `1 year 6 months`, `8 months`; nothing when it is not known or new.
fn age(months: f64) -> Option<String> {
    let months = months.round() as u64;
    let count = |number: u64, word: &str| match number {
        0 => None,
        1 => Some(format!("1 {word}")),
        number => Some(format!("{number} {word}s")),
    };
    let parts: Vec<String> = [count(months / 12, "year"), count(months % 12, "month")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The price is left out of the digest: the same thing at another price is the same listing.
fn listing_id(listing: &Listing) -> Result<String, ToolError> {
    let facts = serde_json::to_string(listing).map_err(|error| ToolError::failed(error.to_string()))?;
    let digest: String = Sha256::digest(facts.as_bytes())[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("LOC-{}-{digest}", slug(listing.called()?)))
}

/// `Lamp, brass` as `lamp-brass`.
fn slug(name: &str) -> String {
    let words = name.to_lowercase();
    let words = words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}
