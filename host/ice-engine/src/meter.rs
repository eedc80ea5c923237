//! The budget ledger of one execution: what was spent, what is set aside, whether the next call still fits.
//!
//! Reserve before a priced call, settle after it. The ledger of a child execution hangs under its parent's, so no
//! nesting spends past a limit above it. Appending the facts belongs to the journal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ice_core::budget::{Budget, Usage, dollars};
use ice_core::ports::Failure;
use ice_core::problem::{Code, Problem};

#[derive(Default)]
struct Ledger {
    spent: Usage,
    reserved: HashMap<Box<str>, Usage>,
    /// The sum over `reserved`.
    aside: Usage,
    /// What executions inside this one spent, as far as it is part of `spent`.
    inside: HashMap<Box<str>, Usage>,
}

/// One execution's money and tokens.
pub(crate) struct Meter {
    budget: Budget,
    ledger: Mutex<Ledger>,
    /// The parent execution's meter, and a prefix that keeps this one's reservations apart there.
    parent: Option<(Arc<Meter>, String)>,
}

impl Meter {
    /// A ledger that begins with what earlier processes spent on this execution.
    pub(crate) fn new(budget: Budget, spent: Usage, parent: Option<(Arc<Meter>, String)>) -> Arc<Self> {
        if let Some((parent, name)) = &parent {
            parent.attach(name, &spent);
        }
        Arc::new(Self { budget, ledger: Mutex::new(Ledger { spent, ..Ledger::default() }), parent })
    }

    /// What this execution and its children spent.
    pub(crate) fn spent(&self) -> Usage {
        self.ledger.lock().expect("no panic while adding").spent
    }

    /// Adds what was spent without a reservation.
    pub(crate) fn add(&self, used: &Usage) {
        self.ledger.lock().expect("no panic while adding").spent.add(used);
        if let Some((parent, name)) = &self.parent {
            parent.add_inside(name, used);
        }
    }

    fn add_inside(&self, name: &str, used: &Usage) {
        self.note_inside(name, used);
        self.add(used);
    }

    fn note_inside(&self, name: &str, used: &Usage) {
        self.ledger.lock().expect("no panic while adding").inside.entry(name.into()).or_default().add(used);
    }

    /// Takes in that the execution `name` inside this one has spent this much by now. What is known of it already is
    /// not counted again.
    pub(crate) fn attach(&self, name: &str, spent: &Usage) {
        let known = self.ledger.lock().expect("no panic while adding").inside.get(name).copied().unwrap_or_default();
        self.add_inside(name, &beyond(spent, &known));
    }

    /// Sets `estimate` aside under `key`; X005 when a budget of this execution or one above it would be exceeded.
    pub(crate) fn reserve(&self, key: &str, estimate: Usage) -> Result<(), Failure> {
        {
            let mut ledger = self.ledger.lock().expect("no panic while adding");
            release(&mut ledger, key);
            let mut total = ledger.spent;
            total.add(&ledger.aside);
            total.add(&estimate);
            if let Some(problem) = exceeded(&self.budget, &total) {
                return Err(Failure::never(problem));
            }
            ledger.aside.add(&estimate);
            ledger.reserved.insert(key.into(), estimate);
        }
        let Some((parent, prefix)) = &self.parent else { return Ok(()) };
        parent.reserve(&format!("{prefix}/{key}"), estimate).inspect_err(|_| {
            release(&mut self.ledger.lock().expect("no panic while adding"), key);
        })
    }

    /// Replaces the reservation under `key`, if there is one, by what was really used.
    pub(crate) fn settle(&self, key: &str, used: &Usage) {
        {
            let mut ledger = self.ledger.lock().expect("no panic while adding");
            release(&mut ledger, key);
            ledger.spent.add(used);
        }
        if let Some((parent, prefix)) = &self.parent {
            parent.note_inside(prefix, used);
            parent.settle(&format!("{prefix}/{key}"), used);
        }
    }

    /// Whether something is set aside under `key`.
    pub(crate) fn holds(&self, key: &str) -> bool {
        self.ledger.lock().expect("no panic while adding").reserved.contains_key(key)
    }
}

fn release(ledger: &mut Ledger, key: &str) {
    let Some(estimate) = ledger.reserved.remove(key) else { return };
    ledger.aside = beyond(&ledger.aside, &estimate);
}

/// `a - b`, nothing below zero.
fn beyond(a: &Usage, b: &Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.saturating_sub(b.input_tokens),
        output_tokens: a.output_tokens.saturating_sub(b.output_tokens),
        cost_micro_usd: a.cost_micro_usd.saturating_sub(b.cost_micro_usd),
        unpriced_calls: a.unpriced_calls.saturating_sub(b.unpriced_calls),
    }
}

/// Says which limit `total` breaks. An unknown price breaks every limit on money: nobody could keep it.
pub(crate) fn exceeded(budget: &Budget, total: &Usage) -> Option<Problem> {
    if let Some(limit) = budget.micro_usd {
        if total.cost_micro_usd > limit {
            let message = format!(
                "the next call could bring the cost to ${}, over the budget of ${}",
                dollars(total.cost_micro_usd),
                dollars(limit)
            );
            return Some(Problem::new(Code::X005, message).help("raise `budget.usd`, or lower `max_tokens`"));
        }
        if total.unpriced_calls > 0 {
            let message = "the price of the next call is not known, so `budget.usd` could not be kept";
            let help = "use a model with a price, set its price, or limit `budget.tokens` instead";
            return Some(Problem::new(Code::X005, message).help(help));
        }
    }
    let limit = budget.tokens.filter(|limit| total.total_tokens() > *limit)?;
    let message =
        format!("the next call could bring the tokens to {}, over the budget of {limit}", total.total_tokens());
    Some(Problem::new(Code::X005, message).help("raise `budget.tokens`, or lower `max_tokens`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u64) -> Usage {
        Usage { input_tokens: count, ..Usage::default() }
    }

    fn limited(count: u64, parent: Option<(Arc<Meter>, String)>) -> Arc<Meter> {
        Meter::new(Budget { tokens: Some(count), ..Budget::default() }, Usage::default(), parent)
    }

    #[test]
    fn refuses_the_call_that_could_break_the_limit() {
        let meter = limited(100, None);
        meter.reserve("a", tokens(60)).expect("fits");
        assert_eq!(meter.reserve("b", tokens(60)).expect_err("too much").problem.code, Code::X005);
        meter.settle("a", &tokens(10));
        meter.reserve("b", tokens(60)).expect("fits now");
        assert_eq!(meter.spent(), tokens(10));
    }

    #[test]
    fn reserving_again_under_a_key_replaces_the_old_reservation() {
        let meter = limited(100, None);
        meter.reserve("a", tokens(90)).expect("fits");
        meter.reserve("a", tokens(90)).expect("fits in the place of the first");
    }

    #[test]
    fn a_child_cannot_spend_what_its_parent_has_not_left() {
        let parent = limited(100, None);
        let child = limited(1_000, Some((Arc::clone(&parent), "c".into())));
        child.reserve("a", tokens(80)).expect("fits both");
        assert!(parent.reserve("b", tokens(30)).is_err());
        child.settle("a", &tokens(50));
        assert_eq!(parent.spent(), tokens(50));
        assert!(child.reserve("b", tokens(60)).is_err());
        assert!(!child.holds("b"), "a reservation refused above is not kept below");
    }

    #[test]
    fn a_child_that_is_taken_up_again_is_not_counted_twice() {
        let parent = limited(1_000, None);
        let under = || Some((Arc::clone(&parent), "c".to_owned()));
        let child = limited(1_000, under());
        child.settle("a", &tokens(50));
        child.add(&tokens(5));
        let again = Meter::new(Budget::default(), child.spent(), under());
        assert_eq!(parent.spent(), tokens(55));
        again.settle("b", &tokens(1));
        parent.attach("c", &again.spent());
        assert_eq!(parent.spent(), tokens(56));
    }

    #[test]
    fn an_unknown_price_does_not_fit_a_limit_on_money() {
        let budget = Budget { micro_usd: Some(1_000_000), ..Budget::default() };
        let meter = Meter::new(budget, Usage::default(), None);
        assert!(meter.reserve("a", Usage { unpriced_calls: 1, ..Usage::default() }).is_err());
    }
}
