//! Schedules in simulated time: what is due, missed, beside each other, and left by processes that die.

use std::sync::Mutex;
use std::time::Duration;

use ice_core::catalog::Effects;
use ice_core::id::{Identity, UnixMs};
use ice_core::ports::{Documents, NamedDocument, ScheduleRow, Schedules};
use ice_core::schedule::{Misfire, Overlap, Schedule, Target, When, moment};
use serde_json::Map;

use super::*;
use crate::{LOOK_MS, Started, Timetable, keys};

const MINUTE: u64 = 60_000;

/// A whole minute near [`NOW`].
const TOP: UnixMs = NOW - NOW % MINUTE;

/// What came of a run: schedule, planned time, the execution or why there is none.
type Told = (String, UnixMs, Result<ExecutionId, Code>);

/// One process that looks at the table, with what it told.
struct Looking {
    timetable: Arc<Timetable>,
    told: Arc<Mutex<Vec<Told>>>,
    refused: Arc<Mutex<usize>>,
}

impl Looking {
    fn new(outside: &Outside, now: UnixMs) -> Self {
        let engine = outside.engine(now, 64);
        let timetable = Arc::new(Timetable::new(engine, Arc::clone(&outside.store) as _));
        Self { timetable, told: Arc::default(), refused: Arc::default() }
    }

    /// Serves until the task is aborted.
    fn serve(&self) -> tokio::task::JoinHandle<()> {
        let (timetable, told, refused) =
            (Arc::clone(&self.timetable), Arc::clone(&self.told), Arc::clone(&self.refused));
        tokio::spawn(async move {
            let each = |heard: Result<Started, Problem>| match heard {
                Ok(Started { name, planned, run, again: None }) => {
                    let run = run.map(|handle| handle.id).map_err(|problems| problems[0].code);
                    told.lock().unwrap().push((name, planned, run));
                }
                Ok(_) | Err(_) => *refused.lock().unwrap() += 1,
            };
            match timetable.serve(each).await {}
        })
    }

    /// Planned times of what was started, in minutes after [`TOP`].
    fn minutes(&self) -> Vec<u64> {
        self.told.lock().unwrap().iter().map(|(_, planned, _)| (planned - TOP) / MINUTE).collect()
    }

    async fn due(&self) -> Vec<u64> {
        let started = self.timetable.start_due().await.unwrap();
        started.iter().filter(|one| one.run.is_ok()).map(|one| (one.planned - TOP) / MINUTE).collect()
    }
}

fn fakes() -> Fakes {
    Fakes::new().tool("say", Effects::None, Ok).slow_tool("slow", Effects::External, |_, _| async {
        tokio::time::sleep(Duration::from_millis(90_000)).await;
        Ok(json!({}))
    })
}

fn outside() -> Outside {
    Outside::new(fakes(), Answers::echo())
}

/// A blueprint of one tool.
fn one(tool: &str) -> Value {
    json!({ "nodes": [tool_fields("only", tool, &[])] })
}

async fn row(outside: &Outside, document: &Value, when: When, last: UnixMs) -> ScheduleRow {
    let blueprint = Target::Document(outside.store.put("blueprint", document).await.unwrap());
    let schedule = Schedule {
        name: "tick".into(),
        network: None,
        source: "tick.yaml".into(),
        blueprint,
        enabled: true,
        when,
        inputs: Map::new(),
        budget: Default::default(),
    };
    let row = ScheduleRow::begin(Identity::local(), schedule, last).unwrap();
    outside.store.put_schedule(&row).await.unwrap();
    row
}

async fn stored(outside: &Outside) -> ScheduleRow {
    outside.store.schedule(&Identity::local(), "tick").await.unwrap().unwrap()
}

fn every_minute() -> When {
    When::new("* * * * *")
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn every_tick_starts_one_run_at_its_time() {
    let outside = outside();
    row(&outside, &one("say"), every_minute(), TOP).await;
    let looking = Looking::new(&outside, TOP);
    let serving = looking.serve();
    pass(MINUTE - 1).await;
    assert_eq!(looking.minutes(), [0; 0]);
    pass(2).await;
    assert_eq!(looking.minutes(), [1]);
    pass(3 * MINUTE).await;
    assert_eq!(looking.minutes(), [1, 2, 3, 4]);
    serving.abort();
    let row = stored(&outside).await;
    assert_eq!((row.last, row.planned, row.next), (TOP + 4 * MINUTE, Some(row.last), Some(TOP + 5 * MINUTE)));
    let started = outside.store.events_of(row.execution.as_ref().unwrap());
    assert!(started[0].at - (TOP + 4 * MINUTE) <= 1, "it sleeps until the time, and no longer");
    assert!(matches!(&started[0].fact, Fact::ExecutionStarted { name, .. } if name == "tick"));
}

#[tokio::test(start_paused = true)]
async fn two_processes_start_each_tick_once() {
    let outside = outside();
    row(&outside, &one("say"), every_minute(), TOP).await;
    let both = [Looking::new(&outside, TOP), Looking::new(&outside, TOP)];
    let serving: Vec<_> = both.iter().map(Looking::serve).collect();
    pass(10 * MINUTE + 1).await;
    let mut minutes = [both[0].minutes(), both[1].minutes()].concat();
    minutes.sort_unstable();
    assert_eq!(minutes, (1..=10).collect::<Vec<u64>>());
    assert_eq!(outside.store.ids().len(), 10);
    assert!(both.iter().all(|looking| *looking.refused.lock().unwrap() == 0));
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_follows_the_misfire_policy() {
    for (misfire, max_catch_up, expected) in [
        (Misfire::Skip, 10, vec![]),
        (Misfire::RunOnce, 10, vec![5]),
        (Misfire::RunAll, 10, vec![1, 2, 3, 4, 5]),
        (Misfire::RunAll, 2, vec![4, 5]),
    ] {
        let outside = outside();
        // The minute after the missed ones is not near.
        let when = When { misfire, max_catch_up, overlap: Overlap::Allow, ..When::new("1-5 * * * *") };
        let top = moment("2026-09-21T10:00:00Z", "UTC").unwrap();
        row(&outside, &one("say"), when, top).await;
        let looking = Looking::new(&outside, top + 30 * MINUTE);
        let started = looking.timetable.start_due().await.unwrap();
        let minutes: Vec<u64> = started.iter().map(|one| (one.planned - top) / MINUTE).collect();
        assert_eq!(minutes, expected, "{misfire:?} {max_catch_up}");
        let row = stored(&outside).await;
        assert_eq!((row.last, row.next), (top + 5 * MINUTE, Some(top + 61 * MINUTE)));
        assert_eq!(looking.timetable.start_due().await.unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_schedule_rests_and_a_change_in_this_process_is_seen_at_once() {
    let outside = outside();
    let running = row(&outside, &one("say"), every_minute(), TOP).await;
    outside.store.put_schedule(&ScheduleRow { paused: true, ..running.clone() }).await.unwrap();
    let looking = Looking::new(&outside, TOP);
    let serving = looking.serve();
    pass(3 * MINUTE + 500).await;
    assert_eq!(looking.minutes(), [0; 0]);
    // Somebody else resumes it: seen at the next look.
    let now = TOP + 3 * MINUTE + 500;
    let next = Some(TOP + 4 * MINUTE);
    outside.store.put_schedule(&ScheduleRow { last: now, next, ..running.clone() }).await.unwrap();
    pass(MINUTE - 500 + LOOK_MS).await;
    assert_eq!(looking.minutes(), [4]);
    // Here it is seen at once, although the next look is seconds away.
    let mut other = running.clone();
    other.schedule.name = "other".into();
    other.next = Some(TOP);
    looking.timetable.apply(&Identity::local(), None, &[other]).await.unwrap();
    pass(1).await;
    assert!(looking.told.lock().unwrap().iter().any(|(name, ..)| name == "other"));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn runs_overlap_as_the_schedule_says() {
    // Each takes a minute and a half, and is due every minute.
    for (overlap, at) in [
        (Overlap::Skip, vec![1, 3, 5]),
        (Overlap::Allow, vec![1, 2, 3, 4, 5]),
        // The second waits for the end of the first; the third gives way to the fourth, which waits for the second.
        (Overlap::Queue, vec![1, 2, 4, 5]),
    ] {
        let outside = outside();
        row(&outside, &one("slow"), When { overlap, ..every_minute() }, TOP).await;
        let looking = Looking::new(&outside, TOP);
        let serving = looking.serve();
        pass(5 * MINUTE + MINUTE / 2 + 100).await;
        assert_eq!(looking.minutes(), at, "{overlap:?}");
        serving.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_starts_when_the_one_before_it_ends_without_looking_for_it() {
    let outside = outside();
    row(&outside, &one("slow"), When { overlap: Overlap::Queue, ..every_minute() }, TOP).await;
    let both = [Looking::new(&outside, TOP), Looking::new(&outside, TOP)];
    let serving: Vec<_> = both.iter().map(Looking::serve).collect();
    pass(2 * MINUTE + MINUTE / 2 + 50).await;
    let times: Vec<u64> = outside.store.ids().iter().map(|id| outside.store.events_of(id)[0].at - TOP).collect();
    assert_eq!(times.len(), 2);
    let late = times[1] - (times[0] + 90_000);
    assert!(late < 50, "{late} ms after the end, whichever process ran it");
    serving.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_clock_neither_doubles_nor_drops_a_run() {
    // Oslo, 2026: at 02:00 on 29 March it becomes 03:00, at 03:00 on 25 October 02:00.
    for (day, expected) in
        [("2026-03-28", ["28 02:30", "29 03:00", "30 02:30"]), ("2026-10-24", ["24 02:30", "25 02:30", "26 02:30"])]
    {
        let outside = outside();
        let top = moment(day, "Europe/Oslo").unwrap();
        let when = When { tz: "Europe/Oslo".into(), ..When::new("30 2 * * *") };
        row(&outside, &one("say"), when, top).await;
        let looking = Looking::new(&outside, top);
        let serving = looking.serve();
        pass(72 * 60 * MINUTE).await;
        let local = |planned: &UnixMs| ice_core::schedule::local(*planned, "Europe/Oslo")[8..16].to_owned();
        let runs: Vec<String> = looking.told.lock().unwrap().iter().map(|(_, planned, _)| local(planned)).collect();
        assert_eq!(runs, expected);
        serving.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_does_not_count_as_done() {
    for code in [Code::X046, Code::X042, Code::X073, Code::X035] {
        let outside = outside();
        row(&outside, &one("say"), When { misfire: Misfire::RunAll, ..every_minute() }, TOP).await;
        let looking = Looking::new(&outside, TOP);
        outside.store.refuse(Some(Failure::maybe(Problem::new(code, "not now"))));
        let serving = looking.serve();
        pass(MINUTE + 20_000).await;
        let row = stored(&outside).await;
        assert_eq!((row.last, row.execution), (TOP, None), "{code}: nothing was started, so nothing is done");
        let tried = *looking.refused.lock().unwrap();
        assert!((3..8).contains(&tried), "{code}: {tried} times, less and less often");
        outside.store.refuse(None);
        pass(MINUTE).await;
        assert_eq!(looking.minutes(), [1, 2], "{code}");
        serving.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_run_that_is_not_to_be_caught_up_with_is_given_up() {
    let outside = outside();
    row(&outside, &one("say"), When { misfire: Misfire::Skip, ..When::new("0 * * * *") }, TOP).await;
    let first = stored(&outside).await.next.unwrap();
    let looking = Looking::new(&outside, first);
    outside.store.refuse(Some(Failure::maybe(Problem::new(Code::X046, "busy"))));
    let serving = looking.serve();
    pass(5 * MINUTE).await;
    outside.store.refuse(None);
    pass(5 * MINUTE).await;
    assert_eq!(looking.minutes(), [0; 0]);
    let row = stored(&outside).await;
    assert_eq!((row.last, row.next), (first, Some(first + 60 * MINUTE)));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_told_once_a_tick() {
    let outside = outside();
    row(&outside, &one("gone"), every_minute(), TOP).await;
    let looking = Looking::new(&outside, TOP);
    let serving = looking.serve();
    pass(2 * MINUTE + 1).await;
    let told = looking.told.lock().unwrap().clone();
    assert_eq!(told.iter().map(|(.., run)| run.clone().unwrap_err()).collect::<Vec<_>>(), [Code::B014, Code::B014]);
    assert_eq!((stored(&outside).await.last, outside.store.ids().len()), (TOP + 2 * MINUTE, 0));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_before_the_start_leaves_the_run_to_the_next() {
    let outside = outside();
    row(&outside, &one("say"), every_minute(), TOP).await;
    let first = Looking::new(&outside, TOP + MINUTE);
    outside.store.cut(crate::testing::Cut::After(0));
    let dies = first.serve();
    outside.store.went_dark().await;
    dies.abort();
    outside.store.cut(crate::testing::Cut::Never);
    let second = Looking::new(&outside, TOP + MINUTE + 10);
    assert_eq!(second.due().await, [0; 0], "the claim of the dead one still holds");
    let serving = second.serve();
    pass(30_000).await;
    assert_eq!(second.minutes(), [1]);
    assert_eq!(outside.store.ids().len(), 1);
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_after_the_start_has_it_found_and_not_repeated() {
    let outside = outside();
    row(&outside, &one("slow"), every_minute(), TOP).await;
    let first = Looking::new(&outside, TOP + MINUTE);
    // It claims, starts, and dies before it says so.
    let claim = outside.store.claim_schedule(TOP + MINUTE, 30_000).await.unwrap().unwrap();
    let id = keys::scheduled_execution_id(&claim.row.who, "tick", TOP + MINUTE);
    let handle = first.timetable.start(&claim.row, id.clone()).await.unwrap();
    let second = Looking::new(&outside, TOP + MINUTE);
    let serving = second.serve();
    pass(45_000).await;
    assert_eq!(second.minutes(), [0; 0]);
    let row = stored(&outside).await;
    assert_eq!((row.execution, row.planned, row.last), (Some(id), Some(TOP + MINUTE), TOP + MINUTE));
    pass(15_100).await;
    assert_eq!(second.minutes(), [0; 0], "what the dead one started still runs, so the second minute is left out");
    handle.finish().await;
    pass(MINUTE).await;
    assert_eq!(second.minutes(), [3]);
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_name_means_what_it_finds_when_the_run_begins() {
    let outside = outside();
    let publish = async |version: &str, tool: &str| {
        let digest = outside.store.put("blueprint", &one(tool)).await.unwrap();
        let version = semver::Version::parse(version).unwrap();
        outside.store.publish(&NamedDocument { name: "news".into(), version, digest, stored: TOP }).await.unwrap();
        digest
    };
    let old = publish("1.0.0", "say").await;
    let mut named = row(&outside, &one("say"), every_minute(), TOP).await;
    named.schedule.blueprint = Target::from("news@^1".to_owned());
    outside.store.put_schedule(&named).await.unwrap();
    let looking = Looking::new(&outside, TOP);
    let serving = looking.serve();
    pass(MINUTE + 1).await;
    let new = publish("1.1.0", "slow").await;
    publish("2.0.0", "gone").await;
    pass(MINUTE).await;
    let ran = |id: &ExecutionId| match &outside.store.events_of(id)[0].fact {
        Fact::ExecutionStarted { blueprint, .. } => *blueprint,
        other => panic!("{other:?}"),
    };
    assert_eq!(outside.store.ids().iter().map(ran).collect::<Vec<_>>(), [old, new]);
    serving.abort();
}
