//! Whether anything of an execution goes on by itself, or everything that remains waits for an answer.
//!
//! Counts what is busy: every attempt and every pause, less those that rest. A node around a graph is not busy itself
//! while the graph runs. The count is only looked at when nobody has asked to be polled again ([`until_quiet`]): then
//! everything stands where it waits for something, and what it waits for is counted.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// One execution's count.
#[derive(Default)]
pub(crate) struct Activity {
    busy: AtomicIsize,
    resting: AtomicUsize,
}

impl Activity {
    /// Something is busy until the guard is dropped.
    pub(crate) fn enter(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Something that is busy rests until the guard is dropped: only somebody outside can make it go on.
    pub(crate) fn rest(&self) -> Resting<'_> {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        self.resting.fetch_add(1, Ordering::Relaxed);
        Resting(self)
    }

    /// Something that is busy only looks on until the guard is dropped: nobody is waited for.
    pub(crate) fn look_on(&self) -> LooksOn<'_> {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        LooksOn(self)
    }

    /// Whether something rests and nothing is busy.
    fn only_rests(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0 && self.resting.load(Ordering::Relaxed) > 0
    }
}

/// Something is busy.
pub(crate) struct Busy<'a>(&'a Activity);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something rests.
pub(crate) struct Resting<'a>(&'a Activity);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        self.0.resting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something looks on.
pub(crate) struct LooksOn<'a>(&'a Activity);

impl Drop for LooksOn<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one node has inside it that is counted on its own: while there is any, the node is not busy itself.
#[derive(Default)]
pub(crate) struct Inside(AtomicUsize);

impl Inside {
    /// One more until the guard is dropped.
    pub(crate) fn enter<'a>(&'a self, activity: &'a Activity) -> Entered<'a> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            activity.busy.fetch_sub(1, Ordering::Relaxed);
        }
        Entered { inside: self, activity }
    }
}

/// Something inside a node is counted on its own.
pub(crate) struct Entered<'a> {
    inside: &'a Inside,
    activity: &'a Activity,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.inside.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.activity.busy.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Remembers that somebody asked to be polled again.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// Runs the future to its end, or returns `None` once everything in it rests and `leave` agrees; then it is dropped.
/// `leave` is given a question to ask once nobody can make anything go on any more: whether somebody just did.
pub(crate) async fn until_quiet<F: Future>(
    activity: &Activity,
    leave: impl Fn(&dyn Fn() -> bool) -> bool,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    // tokio puts some wake-ups off until the task has returned. One that is asked for after those comes after them: only
    // what is quiet then is quiet.
    let mut later = None;
    poll_fn(|cx| {
        let is_later = later.as_mut().is_some_and(|later: &mut Later| later.as_mut().poll(cx).is_ready());
        bell.outer.register(cx.waker());
        bell.rung.store(false, Ordering::Release);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Poll::Ready(Some(output));
        }
        let quiet = activity.only_rests() && !bell.rung.load(Ordering::Acquire);
        if quiet && is_later {
            if leave(&|| bell.rung.load(Ordering::Acquire)) {
                return Poll::Ready(None);
            }
            // Asked again after the next wake-up: whatever keeps it here will come with one.
            later = None;
        } else if !quiet {
            later = None;
        } else if later.is_none() {
            let mut next: Later = Box::pin(tokio::task::yield_now());
            let _ = next.as_mut().poll(cx);
            later = Some(next);
        }
        Poll::Pending
    })
    .await
}

type Later = Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_busy_keeps_what_rests_alive() {
        let activity = Activity::default();
        let busy = async {
            let _busy = activity.enter();
            sleep(Duration::from_secs(5)).await;
        };
        let rests = async {
            let _busy = activity.enter();
            let _resting = activity.rest();
            std::future::pending::<()>().await;
        };
        let began = tokio::time::Instant::now();
        assert_eq!(until_quiet(&activity, |_| true, join(busy, rests)).await, None);
        assert_eq!(began.elapsed().as_secs(), 5);
        assert!(!activity.only_rests(), "guards are gone with the future");
    }

    #[tokio::test(start_paused = true)]
    async fn a_graph_is_counted_instead_of_the_node_around_it() {
        let activity = Activity::default();
        let inside = Inside::default();
        let node = async {
            let _busy = activity.enter();
            let graph = || async {
                let _entered = inside.enter(&activity);
                let _busy = activity.enter();
                let _resting = activity.rest();
                std::future::pending::<()>().await;
            };
            join(graph(), graph()).await;
        };
        assert!(until_quiet(&activity, |_| true, node).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_leave_is_asked_again_only_after_a_wake_up() {
        let activity = Activity::default();
        let rests = async {
            let _busy = activity.enter();
            let _resting = activity.rest();
            sleep(Duration::from_secs(3)).await;
            sleep(Duration::from_secs(3)).await;
        };
        let asked = AtomicUsize::new(0);
        let leave = |_: &dyn Fn() -> bool| {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        };
        assert_eq!(until_quiet(&activity, leave, rests).await, Some(()));
        assert!((1..=4).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_to_be_polled_again_is_not_quiet() {
        let activity = Activity::default();
        let ends = async {
            let _busy = activity.enter();
            let _resting = activity.rest();
            tokio::task::yield_now().await;
        };
        assert_eq!(until_quiet(&activity, |_| true, ends).await, Some(()));
    }
}
