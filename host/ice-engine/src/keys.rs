//! Names that are computed: digests of values, ids of executions, idempotency keys.
//!
//! All but [`execution_id`] are functions of their arguments, so that a process that takes an execution up again
//! finds what another one left.

use ice_core::id::{Digest, ExecutionId, Identity, NodePath, UnixMs};
use ice_core::manifest::canonical;
use serde::Serialize;
use serde_json::Value;

/// Digest of the canonical form of a value.
pub(crate) fn digest_of(value: &Value) -> Digest {
    Digest::of(&canonical(value))
}

/// Digest of anything that is written as JSON.
pub(crate) fn digest_of_json<T: Serialize>(value: &T) -> Digest {
    digest_of(&serde_json::to_value(value).expect("plain data is JSON"))
}

/// A new id: UUIDv7 of the time and 128 random bits, of which 74 are used.
pub(crate) fn execution_id(now: UnixMs, random: [u64; 2]) -> ExecutionId {
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&random[0].to_le_bytes());
    bits[8..].copy_from_slice(&random[1].to_le_bytes()[..2]);
    ExecutionId(uuid::Builder::from_unix_timestamp_millis(now, &bits).into_uuid().to_string())
}

/// The id of the child execution that a node attempt starts: always the same one. Carries its parent's time.
pub(crate) fn child_execution_id(parent: &ExecutionId, path: &NodePath, attempt: u32) -> ExecutionId {
    let hash = Digest::of(format!("{parent}\n{path}\n{attempt}\nchild").as_bytes());
    let mut bits = [0; 10];
    bits.copy_from_slice(&hash.as_bytes()[..10]);
    let parent_time = uuid::Uuid::parse_str(&parent.0).map(|id| u64::try_from(id.as_u128() >> 80).unwrap_or(0));
    let time = parent_time.unwrap_or(0);
    ExecutionId(uuid::Builder::from_unix_timestamp_millis(time, &bits).into_uuid().to_string())
}

/// The id of the run of a schedule that was planned for `planned`: always the same one, so that two processes cannot both
/// start it. Carries the planned time.
pub(crate) fn scheduled_execution_id(who: &Identity, name: &str, planned: UnixMs) -> ExecutionId {
    let key = serde_json::json!([who.org, who.user, name, planned, "schedule"]);
    let mut bits = [0; 10];
    bits.copy_from_slice(&digest_of(&key).as_bytes()[..10]);
    ExecutionId(uuid::Builder::from_unix_timestamp_millis(planned, &bits).into_uuid().to_string())
}

/// What an effect's receiver can tell a repeated attempt by: the same for the same execution, node, attempt and input.
pub(crate) fn idempotency_key(id: &ExecutionId, path: &NodePath, attempt: u32, input: Option<&Digest>) -> String {
    let input = input.map(ToString::to_string).unwrap_or_default();
    Digest::of(format!("{id}\n{path}\n{attempt}\n{input}").as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_version_seven() {
        let early = execution_id(1_000, [1, 2]);
        let late = execution_id(2_000, [0, 0]);
        assert!(early < late);
        assert_eq!(uuid::Uuid::parse_str(&late.0).expect("a UUID").get_version_num(), 7);
    }

    #[test]
    fn a_child_is_found_again_and_has_its_own_id() {
        let parent = execution_id(1_000, [1, 2]);
        let path = NodePath("a".into());
        let child = child_execution_id(&parent, &path, 1);
        assert_eq!(child, child_execution_id(&parent, &path, 1));
        assert_ne!(child, child_execution_id(&parent, &path, 2));
        assert_eq!(child.0[..13], parent.0[..13], "the parent's time");
        assert_eq!(uuid::Uuid::parse_str(&child.0).expect("a UUID").get_version_num(), 7);
    }
}
