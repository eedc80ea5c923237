//! The schedules. SQLite has one writer at a time, so a claim is one statement.

use super::Store;
use crate::schedules::keeps_schedules;

keeps_schedules!("");
