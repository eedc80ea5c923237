use super::*;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest, strategy::Just};

fn at(text: &str) -> UnixMs {
    moment(text, "UTC").unwrap()
}

fn timing(cron: &str, tz: &str) -> Timing {
    Timing::of("t", &When { tz: tz.into(), ..When::new(cron) }).unwrap()
}

fn next(cron: &str, tz: &str, from: &str, count: usize) -> Vec<String> {
    let timing = timing(cron, tz);
    let first = timing.after(at(from));
    std::iter::successors(first, |planned| timing.after(*planned)).take(count).map(|at| local(at, tz)).collect()
}

#[test]
fn expressions_mean_what_crontab_says() {
    // The 1st of January 2026 is a Thursday.
    for (cron, expected) in [
        ("0 7 * * 1-5", ["2026-01-01 07:00 +00:00", "2026-01-02 07:00 +00:00", "2026-01-05 07:00 +00:00"]),
        ("*/20 0 * * *", ["2026-01-01 00:20 +00:00", "2026-01-01 00:40 +00:00", "2026-01-02 00:00 +00:00"]),
        ("5/25 3 * * *", ["2026-01-01 03:05 +00:00", "2026-01-01 03:30 +00:00", "2026-01-01 03:55 +00:00"]),
        ("0 0 13 * FRI", ["2026-01-02 00:00 +00:00", "2026-01-09 00:00 +00:00", "2026-01-13 00:00 +00:00"]),
        ("0 12 * jan,mar sun", ["2026-01-04 12:00 +00:00", "2026-01-11 12:00 +00:00", "2026-01-18 12:00 +00:00"]),
        ("0 0 * * 7", ["2026-01-04 00:00 +00:00", "2026-01-11 00:00 +00:00", "2026-01-18 00:00 +00:00"]),
        ("@monthly", ["2026-02-01 00:00 +00:00", "2026-03-01 00:00 +00:00", "2026-04-01 00:00 +00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00 +00:00", "2032-02-29 00:00 +00:00", "2036-02-29 00:00 +00:00"]),
    ] {
        assert_eq!(next(cron, "UTC", "2026-01-01T00:00:00Z", 3), expected, "{cron}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_its_field() {
    for (cron, message) in [
        ("60 * * * *", "`60` is no minute"),
        ("* 24 * * *", "`24` is no hour"),
        ("* * 0 * *", "`0` is no day of the month"),
        ("* * * foo *", "`foo` is no month"),
        ("* * * * 8", "`8` is no day of the week"),
        ("5-1 * * * *", "`5-1` is no minute"),
        ("*/0 * * * *", "`*/0` is no minute"),
        (", * * * *", "`` is no minute"),
        ("* * * *", "`* * * *` has 4 fields, not 5"),
        ("0 0 30 2 *", "`0 0 30 2 *` never comes"),
        ("@dayly", "`@dayly` is no name of a schedule"),
    ] {
        let problem = Cron::parse(cron).unwrap_err();
        assert_eq!((problem.code, problem.message.as_str()), (Code::B028, message));
        assert!(problem.help.is_some(), "{cron}");
    }
    let problem = Timing::of("t", &When { tz: "Europe/Osslo".into(), ..When::new("* * * * *") }).unwrap_err();
    assert_eq!(problem[0].help.as_deref(), Some("did you mean `Europe/Oslo`?"));
}

#[test]
fn a_skipped_local_time_runs_once_when_the_clock_jumps() {
    // Oslo, 29 March 2026: 02:00 becomes 03:00.
    let from = "2026-03-28T12:00:00Z";
    let found = next("30 2 * * *", "Europe/Oslo", from, 2);
    assert_eq!(found, ["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]);
    let found = next("0,15,30,45 2,3 * * *", "Europe/Oslo", from, 3);
    assert_eq!(found, ["2026-03-29 03:00 +02:00", "2026-03-29 03:15 +02:00", "2026-03-29 03:30 +02:00"]);
}

#[test]
fn a_repeated_local_time_runs_once_the_first_time() {
    // Oslo, 25 October 2026: 03:00 becomes 02:00.
    let found = next("30 2 * * *", "Europe/Oslo", "2026-10-24T12:00:00Z", 2);
    assert_eq!(found, ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]);
    // From inside the repeated hour it is not found again.
    assert_eq!(next("30 2 * * *", "Europe/Oslo", "2026-10-25T01:10:00Z", 1), ["2026-10-26 02:30 +01:00"]);
}

#[test]
fn misfire_says_what_happens_to_missed_runs() {
    let (last, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-04T12:00:00Z"));
    let due = |misfire, max_catch_up| {
        let when = When { misfire, max_catch_up, ..When::new("0 0 * * *") };
        Timing::of("t", &when).unwrap().due(last, now)
    };
    let days: Vec<u64> = (2..=4).map(|day| at(&format!("2026-01-0{day}T00:00:00Z"))).collect();
    assert!(due(Misfire::Skip, 10).runs.is_empty());
    assert_eq!(due(Misfire::RunOnce, 10).runs, days[2..]);
    assert_eq!(due(Misfire::RunAll, 10).runs, days);
    assert_eq!(due(Misfire::RunAll, 2).runs, days[1..]);
    assert!([Misfire::Skip, Misfire::RunOnce, Misfire::RunAll].iter().all(|m| due(*m, 10).through == days[2]));
    assert_eq!(due(Misfire::Skip, 10).next, Some(at("2026-01-05T00:00:00Z")));
}

#[test]
fn start_and_end_bound_the_runs() {
    let when = When {
        start: Some(at("2026-01-02T00:00:00Z")),
        end: Some(at("2026-01-04T00:00:00Z")),
        ..When::new("0 0 * * *")
    };
    let timing = Timing::of("t", &when).unwrap();
    let found: Vec<_> = std::iter::successors(timing.after(0), |planned| timing.after(*planned)).collect();
    assert_eq!(found, [at("2026-01-02T00:00:00Z"), at("2026-01-03T00:00:00Z")]);
}

#[test]
fn ten_missed_years_of_minutes_are_found_at_once() {
    let when = When { misfire: Misfire::RunAll, max_catch_up: 3, ..When::new("* * * * *") };
    let (last, now) = (at("2016-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
    let due = Timing::of("t", &when).unwrap().due(last, now);
    let minute = |back: u64| now - 30_000 - back * 60_000;
    assert_eq!(due.runs, [minute(2), minute(1), minute(0)]);
}

proptest! {
    #[test]
    fn looking_often_or_seldom_starts_the_same_runs(
        cron in prop_oneof![Just("*/7 * * * *"), Just("30 2 * * *"), Just("0 */5 * * sun"), Just("15 1-3 * * *")],
        tz in prop_oneof![Just("UTC"), Just("Europe/Oslo"), Just("America/New_York"), Just("Australia/Lord_Howe")],
        first in 1_742_000_000_000_u64..1_775_000_000_000,
        steps in proptest::collection::vec(1_u64..7_200_000, 1..20),
        jitter_ms in prop_oneof![Just(0_u64), Just(90_000)],
    ) {
        let when = When { tz: tz.into(), misfire: Misfire::RunAll, max_catch_up: CATCH_UP_MAX, jitter_ms, ..When::new(cron) };
        let timing = Timing::of("t", &when).unwrap();
        let (mut last, mut now, mut often) = (first, first, Vec::new());
        for step in steps {
            now += step;
            let due = timing.due(last, now);
            prop_assert!(due.through >= last);
            prop_assert!(due.next.is_none_or(|next| next > now));
            prop_assert!(due.runs.iter().all(|planned| *planned > last && timing.starts(*planned) <= now));
            prop_assert!(due.runs.windows(2).all(|pair| pair[0] < pair[1]));
            often.extend(due.runs);
            last = due.through;
        }
        prop_assert_eq!(often, timing.due(first, now).runs);
    }
}
