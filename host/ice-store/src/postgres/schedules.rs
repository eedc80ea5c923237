//! The schedules. A row that another process is just claiming is passed over, not waited for.

use super::Store;
use crate::schedules::keeps_schedules;

keeps_schedules!(" for update skip locked");
