//! Ctrl-C: the first one asks the execution to stop and leaves it resumable, the second one leaves at once.

use ice_core::problem::Exit;

/// Returns when the user presses Ctrl-C or the process is asked to terminate.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler the signal ends the process by itself; there is nothing to wait for.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Leaves at once when the user presses Ctrl-C again.
#[expect(clippy::exit, reason = "the user asked twice")]
pub(crate) fn leave_on_second() {
    tokio::spawn(async {
        interrupted().await;
        std::process::exit(Exit::Interrupted as i32);
    });
}
