//! Dates of signed documents: `2026-11-20T00:00:00Z`, RFC 3339 in UTC with whole seconds, one spelling a moment.
//!
//! Reads and prints; what time it is now is the caller's to know.

/// Seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = u64;

/// Returns the moment; `None` for every other form, for dates that do not exist, and before 1970.
pub fn parse_date(text: &str) -> Option<UnixSeconds> {
    let bytes = text.as_bytes();
    let frame = |index: usize, expected: u8| bytes.get(index) == Some(&expected);
    let framed = bytes.len() == 20
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')]
            .iter()
            .all(|(index, expected)| frame(*index, *expected));
    if !framed {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let exists = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let days: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<u64>()
        + (1..month).map(|month| days_in(year, month)).sum::<u64>()
        + day.saturating_sub(1);
    exists.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Prints a moment in the form [`parse_date`] reads.
pub fn print_date(moment: UnixSeconds) -> String {
    let (mut days, seconds) = (moment / 86_400, moment % 86_400);
    let mut year = 1970;
    while days >= if is_leap(year) { 366 } else { 365 } {
        days -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
