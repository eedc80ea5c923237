//! Keeps the lease of an execution while this process runs it, and looks for requests to cancel from other processes.

use ice_core::ports::{Failure, Retry};

use crate::run::Run;

/// Renews until the lease is lost; then nothing more is appended and everything that runs is stopped. Never returns
/// otherwise.
pub(crate) async fn keep(run: &Run) {
    let events = &run.shared.ports.events;
    let lease_ms = run.shared.options.lease_ms;
    loop {
        run.clock().sleep((lease_ms / 3).max(1)).await;
        let lease = run.journal.lease();
        match events.renew(&lease, lease_ms).await {
            Ok(renewed) => run.journal.set_lease(renewed),
            // A store that hiccups is asked again, as long as the lease cannot have gone to somebody else.
            Err(failure) if failure.retry != Retry::Never && run.now() < lease.until => {}
            Err(failure) => {
                lose(run, failure);
                return;
            }
        }
        if let Ok(Some(reason)) = events.cancel_requested(&run.id).await {
            run.control.cancel(&reason);
        }
    }
}

/// This process may not go on with the execution.
pub(crate) fn lose(run: &Run, failure: Failure) {
    run.control.hard.trip(failure.problem.clone());
    run.journal.break_off(failure);
}
