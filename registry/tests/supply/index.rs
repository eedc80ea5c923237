//! The marketplace index: attacks with their codes, refreshing, searching, the queue before it, publish tokens.

mod attacks;
mod ledger;
mod market;
mod queue;
mod refresh;
mod search;
mod tokens;

pub(crate) use attacks::rows;
