//! Cron expressions: five fields, as in `crontab(5)`, and names such as `@daily`. Which local times match; what those
//! mean in a time zone is next door.

use jiff::civil::{Date, DateTime};

use crate::problem::{Code, Problem};

/// Days searched for a match: a 29th of February can be eight years away (1896, 1904; 2096, 2104).
const DAYS_MAX: u32 = 9 * 366;

/// A read expression: one bit a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days of the month and of the week are restricted: then either is enough.
    either_day: bool,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of the week", min: 0, max: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const SHORT: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Reads an expression; B028 says which field is wrong.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let long = match text.strip_prefix('@') {
            None => text,
            Some(_) => {
                SHORT.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, long)| *long).ok_or_else(
                    || {
                        let help = crate::blueprint::did_you_mean(text, SHORT.iter().map(|(name, _)| *name));
                        refuse(format!("`{text}` is no name of a schedule"), help.unwrap_or_default())
                    },
                )?
            }
        };
        let parts: Vec<&str> = long.split_ascii_whitespace().collect();
        if parts.len() != FIELDS.len() {
            let message = format!("`{text}` has {} fields, not 5", parts.len());
            return Err(refuse(message, "write minute, hour, day, month and weekday: `0 7 * * 1-5`"));
        }
        let mut bits = [0_u64; 5];
        for ((bits, field), part) in bits.iter_mut().zip(&FIELDS).zip(&parts) {
            *bits = read(field, part)?;
        }
        let [minutes, hours, days, months, weekdays] = bits;
        let any = |part: &str| part.starts_with(['*', '?']);
        let cron = Self {
            text: text.to_owned(),
            minutes,
            hours,
            days,
            months,
            // 7 is Sunday, too.
            weekdays: weekdays & 0x7f | weekdays >> 7,
            either_day: !any(parts[2]) && !any(parts[4]),
        };
        match cron.next(DateTime::constant(2096, 3, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(refuse(format!("`{text}` never comes"), "no month that is named has such a day")),
        }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first local time that matches and is not before `from`.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        // Matches are whole minutes: the minute `from` is inside of has begun.
        let mut from = match (from.second(), from.subsec_nanosecond()) {
            (0, 0) => from,
            _ => from
                .with()
                .second(0)
                .subsec_nanosecond(0)
                .build()
                .ok()?
                .checked_add(jiff::Span::new().minutes(1))
                .ok()?,
        };
        for _ in 0..DAYS_MAX {
            if self.is_day(from.date())
                && let Some((hour, minute)) = self.time(bit(from.hour()), bit(from.minute()))
            {
                return from.date().at(hour, minute, 0, 0).into();
            }
            from = from.date().tomorrow().ok()?.at(0, 0, 0, 0);
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let weekday = self.weekdays >> bit(date.weekday().to_sunday_zero_offset()) & 1 == 1;
        let day = self.days >> bit(date.day()) & 1 == 1;
        let right = if self.either_day { weekday || day } else { weekday && day };
        right && self.months >> bit(date.month()) & 1 == 1
    }

    /// The first time of a day that is not before `hour` and `minute`.
    fn time(&self, hour: u32, minute: u32) -> Option<(i8, i8)> {
        let small = |value: u32| i8::try_from(value).expect("an hour or a minute");
        for candidate in hour..24 {
            if self.hours >> candidate & 1 == 0 {
                continue;
            }
            let from = if candidate == hour { minute } else { 0 };
            let left = self.minutes >> from << from;
            if left != 0 {
                return Some((small(candidate), small(left.trailing_zeros())));
            }
        }
        None
    }
}

fn bit(value: i8) -> u32 {
    u32::try_from(value).expect("parts of a date are not negative")
}

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::new(Code::B028, message).help(help)
}

fn read(field: &Field, text: &str) -> Result<u64, Problem> {
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let every = step.map(|step| number(field, step).filter(|step| *step > 0).ok_or_else(|| wrong(field, item)));
        let every = every.transpose()?;
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (field.min, field.max),
            Some((first, last)) => (value(field, first, item)?, value(field, last, item)?),
            None => {
                let first = value(field, range, item)?;
                (first, if every.is_some() { field.max } else { first })
            }
        };
        if first > last {
            return Err(wrong(field, item));
        }
        let step = usize::try_from(every.unwrap_or(1)).unwrap_or(usize::MAX);
        (first..=last).step_by(step).for_each(|value| bits |= 1_u64 << value);
    }
    Ok(bits)
}

fn number(field: &Field, text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|n| *n <= field.max)
}

fn value(field: &Field, text: &str, item: &str) -> Result<u32, Problem> {
    let named = || field.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let named = || named().and_then(|index| u32::try_from(index).ok()).map(|index| index + field.min);
    number(field, text).filter(|number| *number >= field.min).or_else(named).ok_or_else(|| wrong(field, item))
}

fn wrong(field: &Field, item: &str) -> Problem {
    let names = match (field.names.first(), field.names.last()) {
        (Some(first), Some(last)) => format!(", or `{first}` to `{last}`"),
        _ => String::new(),
    };
    let help =
        format!("write numbers from {} to {}{names}; ranges `a-b`, lists `a,b` and steps `*/n`", field.min, field.max);
    refuse(format!("`{item}` is no {}", field.name), help)
}
