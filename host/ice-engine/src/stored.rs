//! What a reference to a stored blueprint finds: an id, a name, or `name@range`.

use ice_core::id::Digest;
use ice_core::ports::{Documents, Failure, NamedDocument};
use semver::VersionReq;

/// Versions of one name that are looked through.
pub const VERSIONS_MAX: u32 = 10_000;

/// Finds the document that `reference` means now: `sha256:…` itself when it is stored, for `name@range` the newest
/// version in the semver range, for `name` the newest release or, without one, the newest version. `1.2` as a range
/// means `^1.2`. `None` when there is none. Bundle entries are not looked for.
pub async fn stored(documents: &dyn Documents, reference: &str) -> Result<Option<Digest>, Failure> {
    if reference.starts_with("sha256:") {
        let Ok(digest) = Digest::parse(reference) else { return Ok(None) };
        return Ok(documents.get(&digest).await?.map(|_| digest));
    }
    let (name, range) = match reference.split_once('@') {
        Some((name, range)) => match VersionReq::parse(range) {
            Ok(range) => (name, Some(range)),
            Err(_) => return Ok(None),
        },
        None => (reference, None),
    };
    let versions = documents.versions(Some(name), VERSIONS_MAX).await?;
    Ok(newest(&versions, range.as_ref()).map(|found| found.digest))
}

/// The newest of `versions`, which are in order, that `range` allows.
pub fn newest<'a>(versions: &'a [NamedDocument], range: Option<&VersionReq>) -> Option<&'a NamedDocument> {
    match range {
        Some(range) => versions.iter().find(|found| range.matches(&found.version)),
        None => versions.iter().find(|found| found.version.pre.is_empty()).or(versions.first()),
    }
}
