//! Which executions to walk over, whoever they belong to. How is each backend's.

use ice_core::id::UnixMs;

/// Which executions to walk over; the default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Every {
    /// Those that had an event at this moment or later.
    pub updated_since: Option<UnixMs>,
    /// Those that started before this moment.
    pub started_before: Option<UnixMs>,
    /// Those of this org.
    pub org: Option<String>,
    /// Those whose id begins with this.
    pub prefix: Option<String>,
}
