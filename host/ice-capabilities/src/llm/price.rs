//! What tokens cost, and how many a question may have before it is asked. Pure. Budgets are the engine's.

use std::collections::BTreeMap;

use ice_core::budget::Usage;
use ice_core::ports::LlmRequest;
use ice_core::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

/// The prices that come with this program.
const BUILT_IN: &str = include_str!("prices.toml");

/// No provider asks for more per million tokens; a higher number is a slip of the decimal point.
const USD_MAX: f64 = 100_000.0;

/// Price of one model, in US dollars per 1,000,000 tokens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// `provider/model`; also stands for dated snapshots of that model.
    pub model: String,
    /// Tokens sent.
    pub input: f64,
    /// Tokens sent that the provider had in its cache; the price of `input` when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Tokens written.
    pub output: f64,
    /// The day on which the price was read, `YYYY-MM-DD`.
    pub as_of: String,
    /// Where it was read.
    pub source: String,
}

/// A price, and whose it is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PriceRow {
    /// The price.
    #[serde(flatten)]
    pub price: Price,
    /// Whether it comes with this program; else from the operator's table.
    pub built_in: bool,
}

/// All prices: the built-in ones and those of `operator`, TOML with `[[price]]` tables, by name. C022 when that cannot
/// be read.
pub fn price_table(operator: Option<&str>) -> Result<Vec<PriceRow>, Problem> {
    Ok(Prices::new(operator)?.rows())
}

/// Tokens of one answer, as counted by the provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tokens {
    /// All tokens sent, those from the cache among them.
    pub(crate) input: u64,
    pub(crate) cached_input: u64,
    pub(crate) output: u64,
}

impl Price {
    /// Micro-USD for `tokens`, rounded up. US dollars per million tokens are micro-USD per token.
    pub(crate) fn of(&self, tokens: Tokens) -> u64 {
        let cached = tokens.cached_input.min(tokens.input);
        let fresh = tokens.input - cached;
        let parts =
            [(fresh, self.input), (cached, self.cached_input.unwrap_or(self.input)), (tokens.output, self.output)];
        // Integers from here on, in millionths of a micro-USD: sums stay exact whatever their order.
        let picos = parts.into_iter().map(|(count, usd)| u128::from(count) * u128::from(millionths(usd)));
        u64::try_from(picos.sum::<u128>().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    fn check(&self) -> Result<(), Problem> {
        let shown = self.model.escape_debug();
        let numbers = [self.input, self.output, self.cached_input.unwrap_or_default()];
        if !self.model.contains('/') || !numbers.iter().all(|usd| (0.0..=USD_MAX).contains(usd)) {
            return Err(Problem::new(Code::C022, format!("the price of `{shown}` is not one"))
                .help("write `model = \"provider/model\"` and dollars per 1,000,000 tokens, 0 or more"));
        }
        if self.cached_input.is_some_and(|cached| cached > self.input) {
            return Err(Problem::new(Code::C022, format!("cached input of `{shown}` is dearer than other input"))
                .help(
                    "`cached_input` is the price of input that the provider had already, `input` that of all other",
                ));
        }
        if !dated(&format!("-{}", self.as_of)) || self.source.trim().is_empty() {
            return Err(Problem::new(
                Code::C022,
                format!("the price of `{shown}` does not say since when, or by whom"),
            )
            .help("write `as_of = \"YYYY-MM-DD\"` and `source`, a URL or the name of a contract"));
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie between 0 and USD_MAX")]
fn millionths(usd: f64) -> u64 {
    (usd * 1e6).round() as u64
}

/// Prices by `provider/model`.
#[derive(Clone, Debug)]
pub(crate) struct Prices {
    built_in: BTreeMap<String, Price>,
    operator: BTreeMap<String, Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    price: Vec<Price>,
}

impl Prices {
    /// The built-in prices and the operator's, which win. `operator` is TOML of the form of `prices.toml`.
    pub(crate) fn new(operator: Option<&str>) -> Result<Self, Problem> {
        let built_in = read(BUILT_IN).expect("a test reads the built-in prices");
        Ok(Self { built_in, operator: operator.map_or(Ok(BTreeMap::new()), read)? })
    }

    /// Every price, by name; those of the operator in the place of built-in ones.
    pub(crate) fn rows(&self) -> Vec<PriceRow> {
        let built_in = self.built_in.values().map(|price| PriceRow { price: price.clone(), built_in: true });
        let operator = self.operator.values().map(|price| PriceRow { price: price.clone(), built_in: false });
        let rows: BTreeMap<String, PriceRow> =
            built_in.chain(operator).map(|row| (row.price.model.clone(), row)).collect();
        rows.into_values().collect()
    }

    /// The price of a model. The built-in one holds at the provider's own address only: behind another one may
    /// stand anything, so there only the operator knows.
    pub(crate) fn find(&self, provider: &str, model: &str, own_address: bool) -> Option<&Price> {
        let name = format!("{provider}/{model}");
        let base = without_date(&name);
        let built_in = own_address.then_some(&self.built_in);
        let mut tables = std::iter::once(&self.operator).chain(built_in);
        tables.find_map(|table| table.get(&name).or_else(|| table.get(base)))
    }
}

fn read(text: &str) -> Result<BTreeMap<String, Price>, Problem> {
    let file: PriceFile = toml::from_str(text).map_err(|error| {
        Problem::new(
            Code::C022,
            format!("the prices cannot be read: {}", error.message().lines().next().unwrap_or_default()),
        )
        .help("write `[[price]]` tables with `model`, `input`, `output`, `as_of` and `source`")
    })?;
    let mut prices = BTreeMap::new();
    for price in file.price {
        price.check()?;
        let name = price.model.clone();
        if prices.insert(name.clone(), price).is_some() {
            return Err(Problem::new(Code::C022, format!("`{}` has two prices", name.escape_debug()))
                .help("leave the one that holds; older prices stay in the events that were paid with them"));
        }
    }
    Ok(prices)
}

/// Whether a text is `-YYYY-MM-DD` or `-YYYYMMDD`.
fn dated(text: &str) -> bool {
    !text.is_empty() && without_date(text).is_empty()
}

/// Cuts `-YYYY-MM-DD` or `-YYYYMMDD` off.
fn without_date(name: &str) -> &str {
    let is_date = |text: &str, dashes: &[usize]| {
        let shape = |(at, byte): (usize, u8)| {
            if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_digit() }
        };
        text.bytes().enumerate().all(shape)
    };
    for (length, dashes) in [(11, &[0, 5, 8][..]), (9, &[0][..])] {
        if let Some(at) = name.len().checked_sub(length).filter(|at| name.is_char_boundary(*at))
            && is_date(&name[at..], dashes)
        {
            return &name[..at];
        }
    }
    name
}

/// Tokens and money of an answer. `tokens` is what the provider counted.
pub(crate) fn usage(price: Option<&Price>, tokens: Tokens) -> Usage {
    Usage {
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        cost_micro_usd: price.map_or(0, |price| price.of(tokens)),
        unpriced_calls: u32::from(price.is_none()),
    }
}

/// Most tokens that `bytes` of text have: one for every three bytes, rounded up. English has about one for four;
/// Chinese, Japanese and Korean take three bytes a character and about one token. A text of rare symbols can exceed it.
pub(crate) fn tokens_of_bytes(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(3)).unwrap_or(u64::MAX)
}

/// Most input tokens of a question: `tokens_of_bytes` of everything it holds, 8 for the frame of each message and tool,
/// and 16 for the request.
pub(crate) fn input_estimate(request: &LlmRequest) -> u64 {
    let json = |value: &serde_json::Value| value.to_string().len();
    let message_bytes = request.messages.iter().map(|message| {
        let calls = message.tool_calls.iter().map(|call| call.id.len() + call.name.len() + json(&call.arguments));
        message.content.len() + calls.sum::<usize>()
    });
    let tool_bytes =
        (request.tools.iter()).map(|tool| tool.name.len() + tool.description.len() + json(&tool.input_schema));
    let schema_bytes = request.output_schema.as_ref().map_or(0, json);
    let frames = 8 * (request.messages.len() + request.tools.len()) as u64 + 16;
    tokens_of_bytes(message_bytes.sum::<usize>() + tool_bytes.sum::<usize>() + schema_bytes).saturating_add(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prices_are_whole() {
        let prices = Prices::new(None).unwrap();
        assert!(prices.built_in.len() > 10);
        for price in prices.built_in.values() {
            assert!(price.source.starts_with("https://"), "{price:?}");
            assert!(price.as_of.len() == 10 && dated(&format!("-{}", price.as_of)), "{price:?}");
            assert!(price.cached_input.is_none_or(|cached| 0.0 < cached && cached <= price.input), "{price:?}");
            // An embedder writes no tokens.
            let writes = !price.model.contains("embedding");
            assert!(price.input > 0.0 && (price.output > 0.0) == writes, "{price:?}");
            let (provider, model) = price.model.split_once('/').unwrap();
            let row = super::super::PROVIDERS.iter().find(|row| row.name == provider).expect("a provider of the table");
            assert!(row.prefixes.iter().any(|prefix| model.starts_with(prefix)), "{price:?}");
        }
    }

    #[test]
    fn the_table_shows_whose_each_price_is() {
        let own = "[[price]]\nmodel='openai/gpt-4o'\ninput=1\noutput=2\nas_of='2025-01-01'\nsource='contract'";
        let rows = price_table(Some(own)).unwrap();
        let of = |model: &str| rows.iter().find(|row| row.price.model == model).unwrap();
        assert!(!of("openai/gpt-4o").built_in && of("openai/gpt-4o-mini").built_in);
        assert_eq!(rows.len(), Prices::new(None).unwrap().built_in.len());
    }

    #[test]
    fn prices_tokens_exactly_and_rounds_up() {
        let prices = Prices::new(None).unwrap();
        let price = prices.find("openai", "gpt-4o-mini-2024-07-18", true).unwrap();
        assert_eq!(price.of(Tokens { input: 1_000_000, cached_input: 0, output: 1_000_000 }), 750_000);
        assert_eq!(price.of(Tokens { input: 1_000_000, cached_input: 1_000_000, output: 0 }), 75_000);
        assert_eq!(price.of(Tokens { input: 1, cached_input: 0, output: 0 }), 1);
        assert_eq!(price.of(Tokens::default()), 0);
        assert_eq!(price.of(Tokens { input: 5, cached_input: u64::MAX, output: 0 }), 1);
    }

    #[test]
    fn an_unknown_price_is_counted_and_not_free() {
        let prices = Prices::new(None).unwrap();
        assert!(prices.find("openai", "gpt-9", true).is_none());
        assert!(prices.find("openai", "gpt-4o-minister", true).is_none());
        assert_eq!(usage(None, Tokens { input: 3, cached_input: 0, output: 4 }).unpriced_calls, 1);
    }

    #[test]
    fn built_in_prices_hold_at_the_providers_own_address_only() {
        let own = "[[price]]\nmodel='openai/gpt-4o'\ninput=1\noutput=2\nas_of='2025-01-01'\nsource='contract'";
        let prices = Prices::new(Some(own)).unwrap();
        assert!((prices.find("openai", "gpt-4o", false).unwrap().input - 1.0).abs() < 1e-9);
        assert!((prices.find("openai", "gpt-4o", true).unwrap().input - 1.0).abs() < 1e-9);
        assert!(prices.find("openai", "gpt-4.1", false).is_none());
    }

    #[test]
    fn refuses_prices_that_are_none() {
        for text in
            ["price = 1", "[[price]]\nmodel='x/y'\ninput=-1\noutput=1\nas_of=''\nsource=''", "[[price]]\nmodel='x'"]
        {
            assert_eq!(Prices::new(Some(text)).unwrap_err().code, Code::C022, "{text}");
        }
        let row = |more: &str| format!("[[price]]\nmodel='x/y'\ninput=1\noutput=1\n{more}\n");
        let good = row("as_of='2026-01-31'\nsource='contract'");
        assert!(Prices::new(Some(&good)).is_ok());
        for text in [
            good.clone() + &good,
            row("as_of='2026-01'\nsource='contract'"),
            row("as_of='2026-01-31'\nsource=' '"),
            row("cached_input=1.5\nas_of='2026-01-31'\nsource='contract'"),
        ] {
            assert_eq!(Prices::new(Some(&text)).unwrap_err().code, Code::C022, "{text}");
        }
    }

    #[test]
    fn cuts_dates_only() {
        for (name, expected) in [
            ("openai/gpt-4o-2024-08-06", "openai/gpt-4o"),
            ("anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4"),
            ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
            ("2024-08-06", "2024-08-06"),
            ("é-20240806", "é"),
        ] {
            assert_eq!(without_date(name), expected);
        }
    }

    #[test]
    fn the_estimate_grows_with_everything_in_the_question() {
        let mut request = LlmRequest::default();
        let mut before = input_estimate(&request);
        request.output_schema = Some(serde_json::json!({"type": "object"}));
        for _ in 0..2 {
            let now = input_estimate(&request);
            assert!(before < now);
            before = now;
            request.tools.push(ice_core::ports::ToolSpec {
                name: "t".into(),
                description: "d".into(),
                input_schema: serde_json::json!({}),
            });
        }
    }
}
