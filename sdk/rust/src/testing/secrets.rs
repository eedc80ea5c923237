//! The scripted secrets: the names a test set.

pub(crate) fn exists(name: &str) -> bool {
    super::with(|state| state.secrets.contains(name))
}
