//! Types of columns. A column has the narrowest type that every one of its cells has.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// The type of a column.
#[derive(Serialize, JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A whole number of at most 64 bits, without leading zeros: `007` is a name, not a number.
    Integer,
    /// A number with a decimal point.
    Number,
    /// `true` or `false`, in any case of letters.
    Boolean,
    /// `2026-01-31`, with or without a time behind `T` or a space; kept as text.
    Date,
    /// Anything else.
    String,
}

/// Returns the type that holds both what `kind` holds and `cell`. An empty cell fits every type; `None` is no type yet.
pub(crate) fn widen(kind: Option<Kind>, cell: &str) -> Option<Kind> {
    if cell.is_empty() {
        return kind;
    }
    let found = of(cell);
    Some(match (kind, found) {
        (None, found) => found,
        (Some(kind), found) if kind == found => kind,
        (Some(Kind::Integer | Kind::Number), Kind::Integer | Kind::Number) => Kind::Number,
        _ => Kind::String,
    })
}

fn of(cell: &str) -> Kind {
    if is_integer(cell) {
        Kind::Integer
    } else if is_number(cell) {
        Kind::Number
    } else if cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false") {
        Kind::Boolean
    } else if is_date(cell) {
        Kind::Date
    } else {
        Kind::String
    }
}

impl Kind {
    /// Returns the value of a cell of a column of this type.
    pub(crate) fn value(self, cell: String) -> Value {
        if cell.is_empty() {
            return Value::Null;
        }
        let value = match self {
            Self::Integer => cell.parse::<i64>().ok().map(Value::from),
            Self::Number => cell.parse::<f64>().ok().map(Value::from),
            Self::Boolean => Some(Value::from(cell.eq_ignore_ascii_case("true"))),
            Self::Date | Self::String => None,
        };
        value.unwrap_or(Value::String(cell))
    }
}

fn is_integer(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let plain = digits == "0" || !digits.starts_with('0');
    plain && digits.bytes().all(|byte| byte.is_ascii_digit()) && cell.parse::<i64>().is_ok()
}

/// Digits with a point between them, and perhaps an exponent; `inf` and `nan` are words.
fn is_number(cell: &str) -> bool {
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    let leading_zero = unsigned.len() > 1 && unsigned.starts_with('0') && !unsigned.starts_with("0.");
    let marks = unsigned.contains(['.', 'e', 'E']);
    let written = unsigned.starts_with(|c: char| c.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    marks && written && !leading_zero && cell.parse::<f64>().is_ok_and(f64::is_finite)
}

fn is_date(cell: &str) -> bool {
    let (date, time) = match cell.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (cell, None),
    };
    is_day(date) && time.is_none_or(is_time)
}

fn is_day(date: &str) -> bool {
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |text: &str, digits: usize| match text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u32>().ok(),
        false => None,
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// `10:00`, `10:00:59`, fractions and an offset behind them.
fn is_time(time: &str) -> bool {
    let part = |range: std::ops::Range<usize>, limit: u32| {
        time.get(range).is_some_and(|text| text.parse::<u32>().is_ok_and(|number| number < limit))
    };
    let rest = time.get(5..).unwrap_or_default();
    part(0..2, 24)
        && time.as_bytes().get(2) == Some(&b':')
        && part(3..5, 60)
        && rest.bytes().all(|byte| byte.is_ascii_digit() || b":.+-Z".contains(&byte))
}
