//! What every backend must do, as checks that any backend can run: feature `testing`.
//!
//! [`conformance!`](crate::conformance) turns the checks into tests of one backend, one test a check. What only one
//! backend can be asked, such as a damaged file, is tested beside that backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ice_core::event::{Event, Fact, FinalStatus};
use ice_core::id::{ExecutionId, Identity, NodePath, UnixMs};
use ice_core::ports::{Clock, Documents, Events, MemoryRows, Schedules};
use ice_core::problem::{Code, Problem};
use serde_json::Value;

pub mod documents;
pub mod events;
pub mod every;
pub mod following;
pub mod leases;
pub mod ledger;
pub mod memory;
pub mod schedules;
pub mod search;
pub mod waits;

/// A whole backend.
pub trait Backend: Events + Documents + MemoryRows + Schedules + Clone + 'static {}
impl<T: Events + Documents + MemoryRows + Schedules + Clone + 'static> Backend for T {}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: UnixMs) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_ms(&self) -> UnixMs {
        self.0.load(Ordering::SeqCst)
    }

    async fn sleep(&self, ms: u64) {
        self.advance(ms);
    }

    fn random(&self) -> u64 {
        self.0.load(Ordering::SeqCst).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Makes a test module of the name `$backend` with one test for every check. `$make` is an async function from
/// `Arc<dyn Clock>` to a fresh empty store and whatever must outlive it.
#[macro_export]
macro_rules! conformance {
    ($backend:ident, $make:path) => {
        $crate::conformance! { @checks $backend, $make,
            events: lists_are_read_in_order_and_in_pages, facts_come_back_as_they_were,
                a_list_has_no_holes, an_append_is_all_or_nothing, an_id_exists_once, an_unknown_id_is_named,
                concurrent_appends_keep_every_list_in_order, concurrent_creates_of_one_id_let_one_win,
                whole_lives_at_once_stay_apart, big_events_fit, the_status_follows_the_last_fact, listings_show_the_newest_of_their_owner,
                listings_go_on_where_a_page_ended, some_stand_without_the_others, what_was_left_is_found, many_short_lives_at_once;
            following: what_is_there_is_not_waited_for, an_append_wakes_those_who_follow,
                followers_miss_nothing_while_a_list_grows, one_who_leaves_can_come_back;
            waits: a_parked_execution_waits_until_anything_happens, open_waits_are_counted_as_they_come_and_go,
                those_who_wait_are_listed_for_their_owner, what_is_due_comes_longest_overdue_first,
                one_that_waits_can_be_asked_to_stop, many_appends_at_once_count_every_wait;
            every: pages_follow_each_other, only_what_is_asked_for_is_walked_over;
            leases: an_old_fence_writes_nothing, a_fenced_append_fails_alone, a_held_execution_cannot_be_claimed,
                an_expired_lease_can_be_claimed, a_late_append_of_the_newest_holder_counts,
                renewing_keeps_others_out, a_released_lease_is_free_and_writes_no_more,
                concurrent_claims_let_one_win, cancel_requests_reach_the_holder;
            schedules: a_schedule_comes_back_as_it_was_put, schedules_stay_with_their_owner, only_what_is_due_is_claimed,
                concurrent_claims_of_one_tick_let_one_win, a_lost_claim_settles_nothing, a_paused_schedule_rests,
                applying_replaces_what_a_network_had, applying_takes_claims_away, a_resting_schedule_is_woken;
            ledger: what_does_not_fit_is_not_held, a_window_forgets_what_was_before, many_at_once_do_not_overspend,
                of_two_that_ask_at_once_one_gets_it, a_restatement_is_made_of_the_whole_list, a_call_is_counted_once,
                absurd_amounts_do_not_break_it;
            documents: one_document_has_one_digest, a_document_comes_back_as_it_was_written,
                an_unknown_digest_is_none, inexact_numbers_are_refused,
                a_version_never_changes, versions_are_listed_newest_first, one_of_two_contents_becomes_the_version;
            memory: a_row_comes_back_as_it_was_put, a_put_replaces_text_words_and_vector, tenants_never_meet, forgetting_stays_with_its_tenant,
                recent_is_newest_first_then_last_written, forgetting_is_complete,
                vectors_of_another_dimension_are_refused, a_refused_put_keeps_the_old_row;
            search: words_rank_by_relevance, a_query_is_data, an_empty_query_finds_nothing,
                unicode_is_folded, filters_narrow_every_search, keys_are_filtered_byte_by_byte,
                nearest_ranks_by_cosine, embedders_never_mix, limits_are_kept;
        }
    };
    (@checks $backend:ident, $make:path, $($area:ident: $($check:ident),+;)+) => {
        mod $backend {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let clock = $crate::conformance::ManualClock::at(1_000_000);
                    let (store, _keep) = $make(clock.clone()).await;
                    $crate::conformance::$area::$check(store, clock).await;
                }
            )+)+
        }
    };
}

/// Org and user of most checks.
pub fn anna() -> Identity {
    Identity { org: "acme".into(), user: "anna".into(), session: None }
}

pub(crate) fn id(name: &str) -> ExecutionId {
    ExecutionId(name.into())
}

/// Event number `seq`, a log line.
pub fn line(seq: u64, message: &str) -> Event {
    Event {
        seq,
        at: 1_000_000 + seq,
        path: NodePath("greet/step[1]".into()),
        attempt: 1,
        fact: Fact::Logged { level: "info".into(), message: message.into() },
    }
}

/// Events `first` to `last`.
pub fn lines(first: u64, last: u64) -> Vec<Event> {
    (first..=last).map(|seq| line(seq, &format!("line {seq}"))).collect()
}

/// The last event, with number `seq`.
pub fn finished(seq: u64, status: FinalStatus) -> Event {
    let problem = (status == FinalStatus::Failed).then(|| Problem::new(Code::X001, "it failed"));
    Event {
        seq,
        at: 1_000_000 + seq,
        path: NodePath::root(),
        attempt: 0,
        fact: Fact::ExecutionFinished { status, outputs: Value::Null, problem, usage: Default::default() },
    }
}
