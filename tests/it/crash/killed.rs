//! `kill -9` at exact events, and two that want to go on at once.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ice_capabilities::SystemClock;
use ice_core::event::Fact;
use ice_core::ports::Events;
use ice_core::problem::Code;
use ice_engine::testing::Tally;
use ice_engine::testing::everything::{Family, Over};

use super::child::{Deed, Orders, Report, hear, says};
use super::{Place, calm, open, outcome, process, who};

/// Points in time at which a process is killed.
const POINTS: usize = 44;

/// Processes at once.
const THREADS: usize = 3;

/// Races for one execution each.
const RACES: usize = 4;

impl Place {
    fn orders(&self, case: &str, deed: Deed) -> Orders {
        let report = self.folder.path().join(format!("{case}.{deed:?}"));
        Orders { url: self.url.clone(), case: case.into(), tally: self.tally(case), report, deed }
    }

    /// Kills a process and says what was over by then.
    fn kill(&self, case: &str, deed: Deed) -> Over {
        let status = self.orders(case, deed).spawn().wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{deed:?}: {status}");
        process(async {
            let store = open(&self.url, Arc::new(SystemClock)).await;
            Over::now(&*store, &who(case), &Tally::at(&self.tally(case)).unwrap()).await
        })
    }
}

fn at_a_sample_of_events(place: &Place) {
    let (calm, events) = process(calm(&place.url, Arc::new(SystemClock)));
    // The last few events come in one group; what is killed after them has ended.
    let point = |number: usize| number * (events - 5) / POINTS;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= POINTS {
                        return;
                    }
                    let at = point(number);
                    let deed = if number.is_multiple_of(2) { Deed::DieBefore(at) } else { Deed::DieAfter(at) };
                    let case = number.to_string();
                    let over = place.kill(&case, deed);
                    let orders = place.orders(&case, Deed::Live);
                    let report = orders.reported(orders.spawn());
                    over.assert_untouched(&Tally::at(&orders.tally).unwrap());
                    let ending = report.ended.unwrap();
                    let found = process(outcome(&place.url, &case, ending, &orders.tally));
                    assert_eq!(found, calm, "{deed:?}");
                }
            });
        }
    });
}

#[test]
fn killed_at_a_sample_of_events_it_ends_the_same_on_sqlite() {
    at_a_sample_of_events(&Place::sqlite());
}

#[test]
fn killed_at_a_sample_of_events_it_ends_the_same_on_postgres() {
    at_a_sample_of_events(&Place::postgres());
}

fn one_of_two_goes_on(place: &Place) {
    let (calm, events) = process(calm(&place.url, Arc::new(SystemClock)));
    for race in 0..RACES {
        let case = format!("race{race}");
        let over = place.kill(&case, Deed::DieAfter(1 + race * events / (RACES + 1)));
        let orders = [0, 1].map(|number| {
            let mut orders = place.orders(&case, Deed::Race);
            orders.report.set_extension(number.to_string());
            orders
        });
        let mut racers = [0, 1].map(|number: usize| orders[number].spawn());
        racers.iter_mut().for_each(|racer| hear(racer, "ready"));
        racers.iter_mut().for_each(|racer| writeln!(racer.stdin.as_mut().unwrap(), "go").unwrap());
        // Whoever was first waits here: when it is given back, because it waits, anybody may take it up.
        let held = racers.each_mut().map(|racer| says(racer, "holds"));
        assert_ne!(held[0], held[1], "exactly one takes it up");
        let winner = usize::from(held[1]);
        writeln!(racers[winner].stdin.as_mut().unwrap(), "go").unwrap();
        let mut reports: Vec<Report> =
            orders.iter().zip(racers).map(|(orders, racer)| orders.reported(racer)).collect();
        let (won, lost) = (reports.remove(winner), reports.remove(0));
        assert!(won.stored > 0 && lost.stored == 0, "exactly one writes: {won:?} {lost:?}");
        let problem = lost.ended.unwrap_err();
        assert!([Code::X008, Code::X042].contains(&problem.code), "{problem}");
        over.assert_untouched(&Tally::at(&place.tally(&case)).unwrap());
        let found = process(outcome(&place.url, &case, won.ended.unwrap(), &place.tally(&case)));
        assert_eq!(found, calm);
        process(async {
            let store = open(&place.url, Arc::new(SystemClock)).await;
            let root = Family::read(&*store, &who(&case)).await.root.unwrap();
            let list = Events::read(&*store, &root, 0, u32::MAX).await.unwrap();
            let parked = |fact: &Fact| matches!(fact, Fact::ExecutionParked { .. });
            let taken_up = list.windows(2).filter(|two| two[1].fact == Fact::ExecutionResumed && !parked(&two[0].fact));
            assert_eq!(taken_up.count(), 1, "once after the kill, else only after it had waited");
        });
    }
}

#[test]
fn of_two_processes_that_race_for_an_execution_one_writes_on_sqlite() {
    one_of_two_goes_on(&Place::sqlite());
}

#[test]
fn of_two_processes_that_race_for_an_execution_one_writes_on_postgres() {
    one_of_two_goes_on(&Place::postgres());
}
