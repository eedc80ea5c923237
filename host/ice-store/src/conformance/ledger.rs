//! The ledger of orgs: nobody spends the same money twice, and what is restated is what the events say.

use std::sync::Arc;

use ice_core::ports::{DaySpent, Hold, Ledger, Restating, Settled, Standing};

use super::{Backend, ManualClock, anna, id, lines};

const DAY: u64 = 20_000;

fn hold(execution: &str, key: &str, micro_usd: u64) -> Hold {
    Hold { execution: id(execution), key: key.into(), org: "acme".into(), micro_usd }
}

/// Event `seq` says that a call cost so much.
fn settled(seq: u64, day: u64, micro_usd: u64) -> Settled {
    Settled { seq, day, micro_usd }
}

fn ledger<S: Backend>(store: &S) -> &dyn Ledger {
    store.ledger().expect("every backend keeps a ledger")
}

fn standing(spent: u64, reserved: u64) -> Standing {
    Standing { org: "acme".into(), spent, reserved }
}

/// Spent and set aside count together; what was refused leaves nothing; a second hold of a key replaces the first.
pub async fn what_does_not_fit_is_not_held<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.create(&id("x"), "x", &anna(), &lines(1, 1), 1_000).await.expect("create");
    let ledger = ledger(&store);
    let held = ledger.hold(&hold("x", "a", 60), Some(100), DAY).await.expect("asked");
    assert_eq!(held, None);
    let refused = ledger.hold(&hold("x", "b", 41), Some(100), DAY).await.expect("asked");
    assert_eq!(refused, Some(standing(0, 60)));
    assert_eq!(ledger.hold(&hold("x", "a", 100), Some(100), DAY).await.expect("asked"), None);
    ledger.settle(&hold("x", "a", 0), settled(2, DAY, 30)).await.expect("settled");
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(30, 0)]);
    assert_eq!(ledger.hold(&hold("x", "b", 71), Some(100), DAY).await.expect("asked"), Some(standing(30, 0)));
    assert_eq!(ledger.hold(&hold("x", "b", 71), None, DAY).await.expect("asked"), None, "no limit");
}

/// A window begins with a day: what was spent before it does not count.
pub async fn a_window_forgets_what_was_before<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.create(&id("x"), "x", &anna(), &lines(1, 1), 1_000).await.expect("create");
    let ledger = ledger(&store);
    ledger.settle(&hold("x", "a", 0), settled(2, DAY, 90)).await.expect("settled");
    ledger.settle(&hold("x", "a", 0), settled(3, DAY + 1, 7)).await.expect("settled");
    assert_eq!(ledger.hold(&hold("x", "b", 50), Some(100), DAY).await.expect("asked"), Some(standing(97, 0)));
    assert_eq!(ledger.hold(&hold("x", "b", 50), Some(100), DAY + 1).await.expect("asked"), None);
    assert_eq!(ledger.standings(DAY + 1).await.expect("standings"), [standing(7, 50)]);
    assert_eq!(ledger.dearest("acme", DAY, 5).await.expect("dearest"), [(id("x"), 97)]);
    assert!(ledger.dearest("other", DAY, 5).await.expect("dearest").is_empty());
}

/// Of two executions of an org that ask at once, where there is money for one, one gets it; the other is told why.
pub async fn of_two_that_ask_at_once_one_gets_it<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    let executions = ["x", "y"];
    for name in executions {
        store.create(&id(name), name, &anna(), &lines(1, 1), 1_000).await.expect("create");
    }
    for round in 0..20 {
        let asks = executions.map(|name| {
            let (store, hold) = (store.clone(), hold(name, &round.to_string(), 60));
            tokio::spawn(async move { ledger(&store).hold(&hold, Some(100), DAY).await.expect("asked") })
        });
        let mut refused = Vec::new();
        for ask in asks {
            refused.extend(ask.await.expect("no panic"));
        }
        assert_eq!(refused, [standing(0, 60)], "round {round}");
        for name in executions {
            ledger(&store).settle(&hold(name, &round.to_string(), 0), settled(2, DAY, 0)).await.expect("freed");
        }
    }
}

/// Of many that ask at once exactly those are let through for whom there is money.
pub async fn many_at_once_do_not_overspend<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.create(&id("x"), "x", &anna(), &lines(1, 1), 1_000).await.expect("create");
    let asks = (0..12).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let hold = hold("x", &format!("call {number}"), 30);
            ledger(&store).hold(&hold, Some(100), DAY).await.expect("asked").is_none()
        })
    });
    let mut through = 0;
    for ask in asks.collect::<Vec<_>>() {
        through += u32::from(ask.await.expect("no panic"));
    }
    assert_eq!(through, 3);
    assert_eq!(ledger(&store).standings(DAY).await.expect("standings"), [standing(0, 90)]);
}

/// The sums of an execution are replaced whole, by its holder or while nobody holds it, and only from a whole list.
pub async fn a_restatement_is_made_of_the_whole_list<S: Backend>(store: S, clock: Arc<ManualClock>) {
    let lease = store.create(&id("x"), "x", &anna(), &lines(1, 3), 1_000).await.expect("create");
    let ledger = ledger(&store);
    ledger.settle(&hold("x", "a", 0), settled(3, DAY, 5)).await.expect("settled");
    ledger.hold(&hold("x", "b", 40), None, DAY).await.expect("held");
    let spent = [DaySpent { day: DAY, micro_usd: 20 }, DaySpent { day: DAY + 1, micro_usd: 1 }];
    let restate = |events, who| ledger.restate(&lease.execution, "acme", events, &spent, who);
    assert!(!restate(2, Restating::Holder(&lease)).await.expect("asked"), "the list is longer");
    assert!(!restate(3, Restating::Anybody).await.expect("asked"), "it is held");
    assert!(ledger.stale("acme", 10).await.expect("asked").is_empty());
    clock.advance(1_001);
    assert_eq!(ledger.stale("acme", 10).await.expect("asked"), [id("x")]);
    let newer = store.claim(&id("x"), 1_000).await.expect("claimed");
    assert!(!restate(3, Restating::Holder(&lease)).await.expect("asked"), "the lease was lost");
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(5, 40)]);
    assert!(restate(3, Restating::Holder(&newer)).await.expect("asked"));
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(21, 0)]);
    assert_eq!(ledger.spent(&id("x")).await.expect("spent"), spent);
    store.release(&newer).await.expect("released");
    assert!(ledger.restate(&id("x"), "acme", 3, &[], Restating::Anybody).await.expect("asked"));
    assert!(ledger.standings(DAY).await.expect("standings").is_empty());
}

/// A settlement that the restated list holds already adds nothing, one after it does; freeing a hold works all the same.
pub async fn a_call_is_counted_once<S: Backend>(store: S, clock: Arc<ManualClock>) {
    let lease = store.create(&id("x"), "x", &anna(), &lines(1, 3), 1_000).await.expect("create");
    let ledger = ledger(&store);
    ledger.hold(&hold("x", "1:a", 40), None, DAY).await.expect("held");
    clock.advance(1_001);
    let spent = [DaySpent { day: DAY, micro_usd: 30 }];
    assert!(ledger.restate(&lease.execution, "acme", 3, &spent, Restating::Anybody).await.expect("asked"));
    // The process was only slow: what it says now of event 3 is counted, what it says of event 4 is not.
    ledger.settle(&hold("x", "1:a", 0), settled(3, DAY, 30)).await.expect("settled");
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(30, 0)]);
    ledger.hold(&hold("x", "2:a", 40), None, DAY).await.expect("held");
    ledger.settle(&hold("x", "1:a", 0), settled(2, DAY, 30)).await.expect("settled");
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(30, 40)], "another's hold stays");
    ledger.settle(&hold("x", "2:a", 0), settled(4, DAY, 7)).await.expect("settled");
    assert_eq!(ledger.standings(DAY).await.expect("standings"), [standing(37, 0)]);
    assert_eq!(ledger.spent(&id("x")).await.expect("spent"), [DaySpent { day: DAY, micro_usd: 37 }]);
}

/// An amount beyond all money is kept as a large one, and sums of such amounts are still sums.
pub async fn absurd_amounts_do_not_break_it<S: Backend>(store: S, _clock: Arc<ManualClock>) {
    store.create(&id("x"), "x", &anna(), &lines(1, 1), 1_000).await.expect("create");
    let ledger = ledger(&store);
    for seq in 2..10 {
        ledger.settle(&hold("x", "a", 0), settled(seq, DAY, u64::MAX)).await.expect("settled");
    }
    ledger.hold(&hold("x", "b", u64::MAX), None, DAY).await.expect("held");
    let refused = ledger.hold(&hold("x", "c", 1), Some(1_000_000), DAY).await.expect("asked").expect("no room");
    assert!(refused.spent >= 1_000_000_000_000_000 && refused.reserved > 1_000_000);
    let unknown = ledger.settle(&hold("nobody", "a", 0), settled(2, DAY, 1)).await;
    assert!(unknown.is_err(), "there is no such execution");
}
