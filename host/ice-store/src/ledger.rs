//! What both backends know of the ledger of orgs. Pure; the SQL is the backends'.

use ice_core::budget::MicroUsd;
use ice_core::id::{ExecutionId, UnixMs};
use ice_core::ports::{DaySpent, Standing};

use crate::fault::natural;
use crate::list::holds;

/// Whether `more` fits beside what is spent and set aside.
pub(crate) fn fits(standing: &Standing, more: MicroUsd, limit: MicroUsd) -> bool {
    standing.spent.saturating_add(standing.reserved).saturating_add(more) <= limit
}

/// Events, fence, holder and end of the lease of an execution.
pub(crate) type Head = (i64, i64, Option<String>, i64);

/// Whether sums made of so many events may be put in the place of others: by the holder of `fence`, or by anybody when
/// no process holds the execution.
pub(crate) fn may_restate(head: &Head, fence: Option<i64>, events: i64, now: UnixMs) -> bool {
    let (found, newest, holder, until) = head;
    let allowed = match fence {
        Some(fence) => fence == *newest && holder.is_some(),
        None => !is_held(holder.as_ref(), *until, now),
    };
    allowed && *found == events
}

/// Whether a living process holds the lease.
pub(crate) fn is_held(holder: Option<&String>, until: i64, now: UnixMs) -> bool {
    holder.is_some_and(|holder| holds(holder, natural(until), now))
}

pub(crate) fn named<A, B>((id, _, _): (String, A, B)) -> ExecutionId {
    ExecutionId(id)
}

pub(crate) fn standing((org, spent, reserved): (String, i64, i64)) -> Standing {
    Standing { org, spent: natural(spent), reserved: natural(reserved) }
}

pub(crate) fn by_day((day, micro_usd): (i64, i64)) -> DaySpent {
    DaySpent { day: natural(day), micro_usd: natural(micro_usd) }
}
