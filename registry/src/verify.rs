//! The verdict about an envelope, and the only way to a [`Verified`] manifest.
//!
//! Order: payload type, canonical manifest, its digest and those of its artifacts against the payload, keys that the
//! policy names for the requested name, strict signatures of enough distinct keys, kind, name and version, revocation,
//! expiry, sequence and cooldown. Blobs follow, one by one, with [`Verified::check_blob`]. Nothing is parsed again
//! afterwards. What was seen before and what time it is are the caller's to know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::manifest::{Kind, Manifest, UnixSeconds, parse_date, print_date, printable};
use ice_core::problem::{Code, Problem};
use semver::Version;

use crate::envelope::{ALGORITHM, DIGESTS_PAYLOAD_TYPE, Envelope, decode, pae, payload};
use crate::keys::PublicKey;
use crate::trust::{Scope, Trust};

/// What was asked for. Another signed thing is not an answer, however well it is signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// `scope/name`.
    pub name: String,
    /// Exactly this version, where one was named.
    pub version: Option<Version>,
    /// This kind, where one was named.
    pub kind: Option<Kind>,
}

impl Wanted {
    /// This version of this name, of whatever kind.
    pub fn exactly(name: &str, version: &Version) -> Self {
        Self { name: name.to_owned(), version: Some(version.clone()), kind: None }
    }
}

/// What the verdict is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To bring it in: `expires` counts, against this moment.
    Install {
        /// Seconds since 1970.
        now: UnixSeconds,
    },
    /// To run what is already in the store: what was good when it was installed stays good, unless it was taken back,
    /// or has expired where the policy says `expiry = "run"` (see [`Trust::at`]).
    Run,
}

/// What is known about a version from outside its envelope, because a source gave it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Release {
    /// When the signed index saw it first.
    pub first_seen: Option<UnixSeconds>,
    /// Whether the signed index lists it as a security release, which need not wait.
    pub security: bool,
}

/// Hours between a release and its installation where the scope names none, so that others may look at it first.
pub const COOLDOWN_HOURS_DEFAULT: u32 = 72;

/// What the verdict depends on besides envelope and trust.
#[derive(Clone, Copy)]
pub struct VerifyOptions<'a> {
    /// What was asked for; `None` takes the name the manifest gives itself, under that name's policy.
    pub wanted: Option<&'a Wanted>,
    /// What the verdict is for.
    pub purpose: Purpose,
    /// The highest sequence seen for this name; a lower one is a rollback.
    pub sequence_seen: Option<u64>,
    /// What the source says about a version that is newly installed from it. `None` for what was signed on this
    /// machine or is pinned by the lock: nothing waits then.
    pub release: Option<Release>,
    /// This host's version, against `iceos_min`.
    pub host: Option<&'a Version>,
}

impl VerifyOptions<'_> {
    /// Nothing asked for by name; to run.
    pub const RUN: Self = Self { wanted: None, purpose: Purpose::Run, sequence_seen: None, release: None, host: None };
}

/// Something whose signatures were checked. Only [`verify`] makes one.
#[derive(Clone, PartialEq, Debug)]
pub struct Verified<T> {
    value: T,
    bytes: Vec<u8>,
    digest: Digest,
    statement: Digest,
    signers: Vec<Digest>,
}

impl<T> Verified<T> {
    /// The believed value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The canonical bytes that were signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// M: SHA-256 of [`Verified::bytes`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// S: the name of exactly this plugin, unchanged by signing again.
    pub fn statement(&self) -> Digest {
        self.statement
    }

    /// Ids of the trusted keys whose signatures were checked and count, sorted.
    pub fn signers(&self) -> &[Digest] {
        &self.signers
    }
}

impl Verified<Manifest> {
    /// When it expired, if it has: to say so where what is installed runs on. Seconds since 1970.
    pub fn expired_at(&self, now: UnixSeconds) -> Option<UnixSeconds> {
        expiry(&self.value).filter(|expires| now >= *expires)
    }

    /// Size of the artifact or file of this digest, when the manifest names it.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let files = self.value.files.iter().map(|file| (file.artifact, file.size));
        self.value.artifacts().into_iter().chain(files).find(|(named, _)| named == digest).map(|(_, size)| size)
    }

    /// Every blob the manifest names, with its size: components in payload order, then files; each once.
    pub fn blobs(&self) -> Vec<(Digest, u64)> {
        let mut blobs = self.value.artifacts();
        for file in &self.value.files {
            if !blobs.iter().any(|(digest, _)| *digest == file.artifact) {
                blobs.push((file.artifact, file.size));
            }
        }
        blobs
    }

    /// Whether `bytes` are the blob `digest` that the manifest names: size and SHA-256 of this very buffer (T001).
    pub fn check_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Problem> {
        let name = &self.value.name;
        let Some(size) = self.blob_size(digest) else {
            let message = format!("`{name}` has no artifact {}", digest.short());
            return Err(Problem::new(Code::T001, message));
        };
        let got = Digest::of(bytes);
        if got == *digest && bytes.len() as u64 == size {
            return Ok(());
        }
        let message = format!(
            "an artifact of `{name}` is not what was signed: expected {} ({size} bytes), got {} ({} bytes)",
            digest.short(),
            got.short(),
            bytes.len()
        );
        Err(Problem::new(Code::T001, message).help("get it again from its publisher; build it again if it is yours"))
    }
}

/// Checks an envelope against the trust store. Fails with T-codes, at the first check that fails.
pub fn verify(envelope: &Envelope, trust: &Trust, options: &VerifyOptions<'_>) -> Result<Verified<Manifest>, Problem> {
    let bytes = envelope.manifest_bytes()?;
    let manifest = Manifest::parse(&bytes).map_err(first)?;
    let requested = options.wanted.map_or(manifest.name.as_str(), |wanted| wanted.name.as_str());
    let about = |problem: Problem| problem.subject(format!("plugin `{requested}`"));
    let digest = Digest::of(&bytes);
    let signed = check_payload(envelope, &manifest, &digest).map_err(about)?;
    let statement = Digest::of(&signed);
    let scope = trust.scope_for(requested).map_err(about)?;
    let signers = check_signatures(envelope, &signed, scope, trust).map_err(about)?;
    check_request(&manifest, options).map_err(about)?;
    let signers = check_revoked(&manifest, &statement, signers, scope, trust).map_err(about)?;
    let signers = check_dates(&manifest, signers, scope, trust, options.purpose).map_err(about)?;
    check_sequence(&manifest, options).map_err(about)?;
    check_cooldown(&manifest, scope, options).map_err(about)?;
    Ok(Verified { value: manifest, bytes, digest, statement, signers })
}

fn first(mut problems: Vec<Problem>) -> Problem {
    let more = problems.len().saturating_sub(1);
    let mut problem = problems.swap_remove(0);
    if more > 0 {
        let also = format!("{more} more problems: `ice plugins lint` lists them");
        problem.help = Some(problem.help.map_or(also.clone(), |help| format!("{help}; {also}")));
    }
    problem
}

/// What to do about bytes that somebody changed on their way.
const AGAIN: &str = "get it again from its publisher; sign it again if it is yours";

/// P must be exactly the digests this manifest stands for. Returns P.
fn check_payload(envelope: &Envelope, manifest: &Manifest, digest: &Digest) -> Result<Vec<u8>, Problem> {
    let claimed = decode("payload", &envelope.payload)?;
    let tail = claimed.len().checked_sub(32).and_then(|start| claimed.get(start..));
    if tail != Some(digest.as_bytes().as_slice()) {
        let signed: String = tail.unwrap_or_default().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let message = format!("the manifest is not the signed one: expected {signed}, got {}", digest.short());
        return Err(Problem::new(Code::T002, message).help(AGAIN));
    }
    let expected = payload(manifest.artifacts().into_iter().map(|(artifact, _)| artifact), digest);
    if claimed != expected {
        let message = format!(
            "the signed list of artifacts ({}) is not the manifest's ({})",
            (claimed.len() / 32).saturating_sub(1),
            expected.len() / 32 - 1
        );
        return Err(Problem::new(Code::T002, message).help(AGAIN));
    }
    Ok(claimed)
}

/// Enough distinct keys of `scope` must have signed. Returns their ids.
fn check_signatures(envelope: &Envelope, signed: &[u8], scope: &Scope, trust: &Trust) -> Result<Vec<Digest>, Problem> {
    let unsigned = envelope.signatures.iter().all(|signature| signature.sig.is_empty());
    if unsigned {
        return Err(Problem::new(Code::T003, "there is no signature")
            .help("`ice plugins sign` signs your own plugin; ask the publisher of another one for a signed release"));
    }
    if envelope.payload_type != DIGESTS_PAYLOAD_TYPE {
        let message = format!("the signature is about `{}`, not about a plugin", printable(&envelope.payload_type));
        return Err(Problem::new(Code::T006, message).help(AGAIN));
    }
    let message = pae(&envelope.payload_type, signed);
    let mut signers: Vec<&PublicKey> = Vec::new();
    let mut broken: Option<(&PublicKey, [u8; 64])> = None;
    for entry in &envelope.signatures {
        if entry.algo != ALGORITHM {
            let message = format!("`{}` is not a signature algorithm of this host", printable(&entry.algo));
            return Err(Problem::new(Code::T009, message).help(format!("sign with `{ALGORITHM}`")));
        }
        let Ok(keyid) = Digest::parse(&entry.keyid) else {
            let message = format!("`{}` is not a key id", printable(&entry.keyid));
            return Err(Problem::new(Code::T012, message).help("it is `sha256:` and 64 lower-case hex digits"));
        };
        let Some(key) = scope.keys.contains(&keyid).then(|| trust.key(&keyid)).flatten() else {
            continue;
        };
        let signature = read_signature(&entry.sig)?;
        if !key.verifies(&message, &signature) {
            broken.get_or_insert((key, signature));
        } else if !signers.iter().any(|signer| signer.as_bytes() == key.as_bytes()) {
            signers.push(key);
        }
    }
    if signers.is_empty() {
        return Err(match broken {
            Some((key, signature)) => explain_broken(key, &message, &signature, scope, trust),
            None => untrusted(envelope, scope),
        });
    }
    if signers.len() < scope.threshold {
        let message =
            format!("{} of {} needed keys signed, as `{}` asks for", signers.len(), scope.threshold, scope.name);
        return Err(Problem::new(Code::T017, message).help("ask the other key holders of this scope to sign it too"));
    }
    let mut signers: Vec<Digest> = signers.into_iter().map(PublicKey::id).collect();
    signers.sort_unstable();
    Ok(signers)
}

pub(crate) fn read_signature(text: &str) -> Result<[u8; 64], Problem> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Problem::new(Code::T006, "the signature is not 64 bytes in base64").help(AGAIN))
}

/// A signature under a trusted id that does not verify was made by another key, or over other bytes. When the other
/// key is one we know, it is somebody wearing a foreign name; else it cannot be told from a damaged one.
fn explain_broken(key: &PublicKey, message: &[u8], signature: &[u8; 64], scope: &Scope, trust: &Trust) -> Problem {
    // Each costs a check of a signature, and a root may name thousands. The operator's come first.
    const KEYS_TRIED_MAX: usize = 256;
    if let Some(other) = trust.keys().take(KEYS_TRIED_MAX).find(|other| other.verifies(message, signature)) {
        let text = format!(
            "signed by key {}, which is not trusted for `{}`, under the id of {}",
            other.id().short(),
            scope.name,
            key.id().short()
        );
        return Problem::new(Code::T004, text).help("do not use it: somebody gave out another's key as theirs");
    }
    let text =
        format!("the signature under key {} does not verify: the file or the signature was changed", key.id().short());
    Problem::new(Code::T006, text).help(AGAIN)
}

fn untrusted(envelope: &Envelope, scope: &Scope) -> Problem {
    let keyids = envelope.signatures.iter().filter_map(|entry| Digest::parse(&entry.keyid).ok());
    let signed: Vec<String> = keyids.map(|keyid| keyid.short()).collect();
    let trusted: Vec<String> = scope.keys.iter().map(Digest::short).collect();
    let message = format!("signed by {}, trusted for `{}`: {}", signed.join(", "), scope.name, trusted.join(", "));
    Problem::new(Code::T004, message)
        .help(format!("if you know this publisher: `ice trust add KEY.pem --scope '{}'`", scope.name))
}

fn check_request(manifest: &Manifest, options: &VerifyOptions<'_>) -> Result<(), Problem> {
    if let Some(wanted) = options.wanted {
        let mismatch = |what: &str, wanted: &str, got: &str| {
            Problem::new(Code::T008, format!("asked for {what} `{wanted}`, the signed manifest is of `{got}`"))
                .help("something else came under this name: do not use it, tell its publisher")
        };
        if let Some(kind) = wanted.kind.filter(|kind| *kind != manifest.kind) {
            return Err(mismatch("kind", kind.as_str(), manifest.kind.as_str()));
        }
        if wanted.name != manifest.name {
            return Err(mismatch("name", &wanted.name, &manifest.name));
        }
        if let Some(version) = wanted.version.as_ref().filter(|version| **version != manifest.version) {
            return Err(mismatch("version", &version.to_string(), &manifest.version.to_string()));
        }
    }
    let least = manifest.components.iter().filter_map(|component| component.iceos_min.as_ref());
    let least = least.chain(manifest.iceos_min.as_ref()).max();
    if let (Some(host), Some(least)) = (options.host, least)
        && host < least
    {
        let message = format!("`{}` needs ice {least}, this is {host}", manifest.name);
        return Err(Problem::new(Code::T008, message).help("update ice, or choose an older version of the plugin"));
    }
    Ok(())
}

/// A statement that was taken back never passes. A key that was counts only for statements that its revocation names;
/// others may still be enough without it. Returns the ids of keys that count.
fn check_revoked(
    manifest: &Manifest,
    statement: &Digest,
    signers: Vec<Digest>,
    scope: &Scope,
    trust: &Trust,
) -> Result<Vec<Digest>, Problem> {
    let Some(revoked) = trust.revoked() else { return Ok(signers) };
    let subject = format!("`{}` {}", manifest.name, manifest.version);
    if let Some(entry) = revoked.statements().get(statement) {
        let message = format!("{subject} was revoked: {}", printable(&entry.reason));
        let more = entry.advisory.as_deref().map(|at| format!("; see {}", printable(at))).unwrap_or_default();
        return Err(Problem::new(Code::T022, message).help(format!("{}{more}", way_out(manifest))));
    }
    let (gone, good): (Vec<Digest>, Vec<Digest>) =
        signers.into_iter().partition(|keyid| revoked.key_reason(keyid, statement).is_some());
    let Some(keyid) = gone.first().filter(|_| good.len() < scope.threshold) else { return Ok(good) };
    let reason = printable(revoked.key_reason(keyid, statement).unwrap_or_default());
    let message = format!("key {} that signed {subject} was revoked: {reason}", keyid.short());
    Err(Problem::new(Code::T022, message).help(way_out(manifest)))
}

fn way_out(manifest: &Manifest) -> String {
    format!("`ice update {0}` takes a newer version, `ice remove {0}` takes it away", manifest.name)
}

fn expiry(manifest: &Manifest) -> Option<UnixSeconds> {
    manifest.expires.as_deref().and_then(parse_date)
}

/// The dates of the root (T043), of the keys and of the manifest (T023). To run, only those of the manifest may count.
/// Returns the ids of keys that count.
fn check_dates(
    manifest: &Manifest,
    mut signers: Vec<Digest>,
    scope: &Scope,
    trust: &Trust,
    purpose: Purpose,
) -> Result<Vec<Digest>, Problem> {
    let Manifest { name, version, .. } = manifest;
    if let Purpose::Install { now } = purpose {
        trust.check_scope_fresh(scope, now)?;
        let outside = signers.iter().find(|keyid| !trust.is_valid(keyid, now)).copied();
        signers.retain(|keyid| trust.is_valid(keyid, now));
        if let Some(keyid) = outside.filter(|_| signers.len() < scope.threshold) {
            let message = format!("key {} that signed `{name}` {version} is not within its dates", keyid.short());
            return Err(Problem::new(Code::T023, message)
                .help(format!("`ice trust show {}` shows them; install what a newer key signed", keyid.short())));
        }
    }
    let Some(expires) = expiry(manifest) else { return Ok(signers) };
    if let Some(now) = trust.expiry_moment(purpose)?
        && now >= expires
    {
        let doing = if purpose == Purpose::Run { "run" } else { "be installed" };
        let message = format!("`{name}` {version} may not {doing} since {}", print_date(expires));
        return Err(Problem::new(Code::T023, message).help("install a newer version"));
    }
    Ok(signers)
}

fn check_sequence(manifest: &Manifest, options: &VerifyOptions<'_>) -> Result<(), Problem> {
    if let Some(seen) = options.sequence_seen.filter(|seen| manifest.sequence < *seen) {
        let message = format!("`{}` has sequence {}, {seen} was seen before", manifest.name, manifest.sequence);
        return Err(Problem::new(Code::T021, message).help(
            "somebody put an older release in the place of a newer one: ask its publisher before you install it",
        ));
    }
    Ok(())
}

/// A release waits before it is installed, so that others find out first what is in it (T041).
fn check_cooldown(manifest: &Manifest, scope: &Scope, options: &VerifyOptions<'_>) -> Result<(), Problem> {
    let (Purpose::Install { now }, Some(release)) = (options.purpose, options.release) else { return Ok(()) };
    let hours = scope.cooldown_hours.unwrap_or(COOLDOWN_HOURS_DEFAULT);
    if release.security || hours == 0 {
        return Ok(());
    }
    let Manifest { name, version, .. } = manifest;
    let Some(first_seen) = release.first_seen else {
        if scope.cooldown_hours.is_none() {
            return Ok(());
        }
        let message = format!("`{name}` {version} must wait {hours} hours, and nobody knows since when it is out");
        return Err(Problem::new(Code::T041, message)
            .help("`ice index refresh` fetches the index, which says when it was first seen"));
    };
    let until = first_seen.saturating_add(UnixSeconds::from(hours) * 60 * 60);
    if now >= until {
        return Ok(());
    }
    let message = format!(
        "`{name}` {version} is out since {}; `{}` lets it in from {} on",
        print_date(first_seen),
        scope.name,
        print_date(until)
    );
    Err(Problem::new(Code::T041, message)
        .help("take an older version until then; listed security releases need not wait"))
}
