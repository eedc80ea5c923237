//! How running things learn that they must stop: a token per attempt, graph and execution, each under its parent.
//!
//! Says why, once; does not decide.

use std::sync::{Arc, OnceLock};

use futures_util::future::select_all;
use ice_core::problem::Problem;
use tokio::sync::Notify;

/// Tripped once, stays tripped. A token whose parent is tripped is tripped.
pub(crate) struct Token {
    why: OnceLock<Box<Problem>>,
    bell: Notify,
    parent: Option<Arc<Token>>,
}

impl Token {
    pub(crate) fn root() -> Arc<Self> {
        Arc::new(Self { why: OnceLock::new(), bell: Notify::new(), parent: None })
    }

    pub(crate) fn child(parent: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { why: OnceLock::new(), bell: Notify::new(), parent: Some(Arc::clone(parent)) })
    }

    /// Whether there is no token above it.
    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Trips the token; the first reason stays.
    pub(crate) fn trip(&self, why: Problem) {
        if self.why.set(Box::new(why)).is_ok() {
            self.bell.notify_waiters();
        }
    }

    /// Why this token or one above it was tripped.
    pub(crate) fn why(&self) -> Option<&Problem> {
        self.line().find_map(|token| token.why.get()).map(|why| &**why)
    }

    fn line(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |token| token.parent.as_deref())
    }

    /// Returns when this token or one above it is tripped.
    pub(crate) async fn tripped(&self) -> &Problem {
        loop {
            let mut bells: Vec<_> = self.line().map(|token| Box::pin(token.bell.notified())).collect();
            // Listen first, look second: a token tripped in between rings a bell that is listened to.
            for bell in &mut bells {
                bell.as_mut().enable();
            }
            if let Some(why) = self.why() {
                return why;
            }
            select_all(bells).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use ice_core::problem::Code;

    use super::*;

    #[tokio::test]
    async fn a_token_hears_its_ancestors_and_not_its_children() {
        let root = Token::root();
        let middle = Token::child(&root);
        let leaf = Token::child(&middle);
        leaf.trip(Problem::new(Code::X003, "late"));
        assert!(middle.why().is_none());
        let sibling = Token::child(&middle);
        let (why, ()) = tokio::join!(sibling.tripped(), async {
            tokio::task::yield_now().await;
            root.trip(Problem::new(Code::X002, "enough"));
        });
        assert_eq!(why.code, Code::X002);
        assert_eq!(leaf.why().expect("tripped").code, Code::X003);
    }
}
