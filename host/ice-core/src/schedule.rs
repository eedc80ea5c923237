//! Schedules: when a stored blueprint is to run. Pure: `now` is an argument, and [`Timing::due`] says what to start.
//!
//! Times are local to a time zone of the IANA database, which is compiled in. A local time that a change of the clock
//! skips runs once, at the moment the clock jumped; one that comes twice runs once, the first time.
//!
//! Not here: who claims a run (the store) and who starts it (the engine).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::budget::Budget;
use crate::id::{Digest, Identity, UnixMs};
use crate::ports::ScheduleRow;
use crate::problem::{Code, Problem};

mod cron;

pub use cron::Cron;

/// Runs a schedule may catch up with at once, unless it says otherwise.
pub const CATCH_UP_DEFAULT: u32 = 10;
/// What a schedule may ask for as `max_catch_up`.
pub const CATCH_UP_MAX: u32 = 1_000;
/// A run that starts later than this has missed its time.
pub const LATE_MS: u64 = 60_000;
/// The longest jitter: a day.
pub const JITTER_MS_MAX: u64 = 86_400_000;

/// What happens to runs whose time passed while nobody was there to start them.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They are left out.
    Skip,
    /// The newest of them runs, late.
    #[default]
    RunOnce,
    /// The newest `max_catch_up` of them run.
    RunAll,
}

/// What happens when a run is due while the one before still runs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It starts when the one before has ended.
    Queue,
    /// It starts beside it.
    Allow,
}

/// The words of [`Misfire`].
pub const MISFIRES: &[(&str, Misfire)] =
    &[("skip", Misfire::Skip), ("run_once", Misfire::RunOnce), ("run_all", Misfire::RunAll)];
/// The words of [`Overlap`].
pub const OVERLAPS: &[(&str, Overlap)] =
    &[("skip", Overlap::Skip), ("queue", Overlap::Queue), ("allow", Overlap::Allow)];

/// When something runs, as it is stored. [`Timing::of`] checks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct When {
    /// The cron expression.
    pub cron: String,
    /// A name of the IANA database.
    pub tz: String,
    /// Missed runs.
    #[serde(default)]
    pub misfire: Misfire,
    /// Most missed runs that are caught up with at once.
    pub max_catch_up: u32,
    /// Runs that would be beside each other.
    #[serde(default)]
    pub overlap: Overlap,
    /// Every run starts up to so much later; how much follows from the name and the planned time.
    #[serde(default)]
    pub jitter_ms: u64,
    /// No run before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<UnixMs>,
    /// No run from this moment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<UnixMs>,
}

impl When {
    /// A schedule in UTC with every default.
    pub fn new(cron: impl Into<String>) -> Self {
        Self {
            cron: cron.into(),
            tz: "UTC".into(),
            misfire: Misfire::default(),
            max_catch_up: CATCH_UP_DEFAULT,
            overlap: Overlap::default(),
            jitter_ms: 0,
            start: None,
            end: None,
        }
    }
}

/// What a schedule runs. Stored as one text: `sha256:…`, or the name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Target {
    /// This very document: what was added is what runs.
    Document(Digest),
    /// What `name` or `name@range` finds among the stored blueprints when a run begins.
    Named(String),
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        Digest::parse(&text).map_or(Self::Named(text), Self::Document)
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(digest) => digest.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// One schedule as it is stored: what runs, when, with what.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique for its owner.
    pub name: String,
    /// The network it came from, when one brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Where the blueprint came from, for people.
    pub source: String,
    /// What runs.
    pub blueprint: Target,
    /// Whether its author wants it to run at all. A person's pause is in the row.
    #[serde(default = "enabled", skip_serializing_if = "Clone::clone")]
    pub enabled: bool,
    /// When.
    pub when: When,
    /// With what.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// Tightens the blueprint's budget, for each run.
    #[serde(default)]
    pub budget: Budget,
}

fn enabled() -> bool {
    true
}

impl ScheduleRow {
    /// A schedule that begins at `now`: nothing planned before is run. Fails as [`Timing::of`] does.
    pub fn begin(who: Identity, schedule: Schedule, now: UnixMs) -> Result<Self, Vec<Problem>> {
        let timing = Timing::of(&schedule.name, &schedule.when)?;
        let next = timing.after(now).map(|planned| timing.starts(planned));
        let paused = !schedule.enabled;
        Ok(Self { who, schedule, paused, last: now, next, execution: None, planned: None })
    }

    /// This schedule in the place of the one that had its name: the history stays with the name, a person's pause
    /// stays, and one with the same times goes on where the other stood, so that a run that is just due is not lost.
    #[must_use]
    pub fn in_place_of(mut self, old: &Self) -> Self {
        (self.execution, self.planned) = (old.execution.clone(), old.planned);
        // When its author had it off, the pause was nobody's.
        self.paused = !self.schedule.enabled || (old.paused && old.schedule.enabled);
        if self.schedule.when == old.schedule.when && !old.paused {
            (self.last, self.next) = (old.last, old.next);
        }
        self
    }
}

/// A checked [`When`].
#[derive(Clone, Debug)]
pub struct Timing {
    name: String,
    when: When,
    cron: Cron,
    zone: TimeZone,
}

/// What is to be done at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// Planned times of the runs to start, earliest first.
    pub runs: Vec<UnixMs>,
    /// Everything planned up to here is dealt with.
    pub through: UnixMs,
    /// When something is due again.
    pub next: Option<UnixMs>,
}

impl Timing {
    /// Checks expression and zone; every problem at once. `name` spreads the jitter.
    pub fn of(name: &str, when: &When) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let cron = Cron::parse(&when.cron).map_err(|problem| problems.push(problem)).ok();
        let zone = zone(&when.tz).map_err(|problem| problems.push(problem)).ok();
        if when.max_catch_up == 0 || when.max_catch_up > CATCH_UP_MAX {
            let message = format!("`max_catch_up` is {}, but must be from 1 to {CATCH_UP_MAX}", when.max_catch_up);
            problems.push(Problem::new(Code::B005, message).help("use `misfire: skip` to catch up with nothing"));
        }
        if when.jitter_ms > JITTER_MS_MAX {
            problems.push(Problem::new(Code::B005, "the jitter is more than a day").help("write less"));
        }
        match (cron, zone) {
            (Some(cron), Some(zone)) if problems.is_empty() => {
                Ok(Self { name: name.to_owned(), when: when.clone(), cron, zone })
            }
            _ => Err(problems),
        }
    }

    /// The first planned time after `after`.
    pub fn after(&self, after: UnixMs) -> Option<UnixMs> {
        let after = self.when.start.map_or(after, |start| after.max(start.saturating_sub(1)));
        let from = Timestamp::from_millisecond(i64::try_from(after).ok()?).ok()?;
        let mut local = self.zone.to_datetime(from);
        loop {
            let candidate = self.cron.next(local)?;
            let moment = self.moment(candidate)?;
            if moment > after {
                return self.when.end.is_none_or(|end| moment < end).then_some(moment);
            }
            local = candidate.checked_add(jiff::Span::new().minutes(1)).ok()?;
        }
    }

    /// When a local time is.
    fn moment(&self, local: DateTime) -> Option<UnixMs> {
        let timestamp = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
            // Under the later offset it is shortly before the clock jumps.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(local).ok()?;
                self.zone.following(before).next()?.timestamp()
            }
        };
        u64::try_from(timestamp.as_millisecond()).ok()
    }

    /// When a planned run starts: its time and its jitter.
    pub fn starts(&self, planned: UnixMs) -> UnixMs {
        if self.when.jitter_ms == 0 {
            return planned;
        }
        let hash = Digest::of(format!("{}\n{planned}\njitter", self.name).as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        planned + u64::from_le_bytes(bytes) % (self.when.jitter_ms + 1)
    }

    /// What to start at `now` when everything up to `last` is dealt with. Bounded: at most `max_catch_up` runs, found
    /// without walking through the years that were missed.
    pub fn due(&self, last: UnixMs, now: UnixMs) -> Due {
        let most = if self.when.misfire == Misfire::RunAll { self.when.max_catch_up } else { 1 };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut runs = self.newest(last, now, most);
        if self.when.misfire == Misfire::Skip {
            runs.retain(|planned| now - self.starts(*planned) <= LATE_MS);
        }
        // Nothing planned up to the newest started run may come up again, whatever was left out before it.
        let through = self.newest(last, now, 1).last().copied().unwrap_or(last);
        let next = self.after(through).map(|planned| self.starts(planned));
        Due { runs, through, next }
    }

    /// The newest `count` planned times after `last` that should have started by `now`, earliest first.
    fn newest(&self, last: UnixMs, now: UnixMs, count: usize) -> Vec<UnixMs> {
        const HOUR_MS: u64 = 3_600_000;
        let mut window = HOUR_MS + self.when.jitter_ms;
        let end = self.when.end.map_or(now, |end| now.min(end));
        loop {
            let from = last.max(end.saturating_sub(window));
            let mut found: Vec<UnixMs> = std::iter::successors(self.after(from), |planned| self.after(*planned))
                .take_while(|planned| self.starts(*planned) <= now)
                .collect();
            if found.len() >= count || from <= last {
                found.drain(..found.len().saturating_sub(count));
                return found;
            }
            window = window.saturating_mul(2);
        }
    }
}

/// Finds a time zone; B029 with the nearest name.
fn zone(name: &str) -> Result<TimeZone, Problem> {
    let database = jiff::tz::TimeZoneDatabase::bundled();
    database.get(name).map_err(|_| {
        let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let near = crate::blueprint::nearest(name, names.iter().map(String::as_str));
        let help = near.map_or_else(
            || "write a name of the IANA database, such as `Europe/Oslo` or `UTC`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Problem::new(Code::B029, format!("there is no time zone `{name}`")).help(help)
    })
}

/// A moment in the words of a zone: `2026-03-29 03:00 +02:00`.
pub fn local(moment: UnixMs, tz: &str) -> String {
    let timestamp = i64::try_from(moment).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(timestamp) = timestamp else { return moment.to_string() };
    let offset = zone(tz).unwrap_or(TimeZone::UTC).to_offset(timestamp);
    let at = offset.to_datetime(timestamp);
    let (sign, minutes) = (if offset.seconds() < 0 { '-' } else { '+' }, offset.seconds().abs() / 60);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} {sign}{:02}:{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        minutes / 60,
        minutes % 60
    )
}

/// Reads `2026-03-29T07:00:00Z` (RFC 3339), or a local date or time of `tz`: `2026-03-29`, `2026-03-29T07:00`.
pub fn moment(text: &str, tz: &str) -> Result<UnixMs, Problem> {
    let refuse = || {
        Problem::new(Code::B029, format!("`{text}` is no moment"))
            .help("write `2026-03-29T07:00:00Z`, or a local time: `2026-03-29T07:00`")
    };
    let zone = zone(tz)?;
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let local: DateTime = text.parse().map_err(|_| refuse())?;
            zone.to_timestamp(local).map_err(|_| refuse())?
        }
    };
    u64::try_from(timestamp.as_millisecond()).map_err(|_| refuse())
}

#[cfg(test)]
mod tests;
