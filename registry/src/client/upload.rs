//! Giving blobs and manifests to a registry. Blobs go first, in parts where they are large, and only where they are
//! missing; the manifest that names them is the caller's last step.

use bytes::Bytes;
use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::retry::Attempts;
use super::transport::{Call, next, trouble};
use super::trouble::{Trouble, protocol};
use super::{Client, Reference, Repository, Scopes};
use crate::oci::MANIFEST_BYTES_MAX;
use crate::source::Progress;

/// Of one request; larger ones are refused by some registries.
const PART_BYTES: usize = 4 << 20;
/// What a registry may ask for as the least of a part.
const PART_BYTES_MAX: usize = 64 << 20;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const MIN_PART: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// Gives a blob to the registry, unless it says it has it. R006 when it takes other bytes for it.
    pub async fn put_blob(
        &self,
        repository: &Repository,
        bytes: Bytes,
        progress: &dyn Progress,
    ) -> Result<Digest, Problem> {
        let digest = Digest::of(&bytes);
        let what = format!("{} {}", repository.path, digest.short());
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        if self.exists(repository, Call::new(Method::HEAD, url)).await? {
            progress.bytes(&what, bytes.len() as u64, bytes.len() as u64);
            return Ok(digest);
        }
        let mut attempts = Attempts::new(&self.options);
        loop {
            match self
                .upload(repository, &digest, &bytes, &|done| progress.bytes(&what, done, bytes.len() as u64))
                .await
            {
                Ok(()) => return Ok(digest),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// One session, from its beginning: a session that broke off is left to the registry.
    async fn upload(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes: &Bytes,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Trouble> {
        let start = Call::new(Method::POST, self.url(repository, "blobs/uploads/")?).body(Bytes::new());
        let opened = self.give(repository, &start, StatusCode::ACCEPTED).await?;
        let mut session = next(&opened.url, &opened.headers)?;
        let least = opened.headers.get(MIN_PART).and_then(|value| value.to_str().ok()?.parse().ok());
        let part = least.unwrap_or(PART_BYTES).clamp(PART_BYTES, PART_BYTES_MAX);
        let mut rest = bytes.clone();
        if bytes.len() > part {
            let mut sent = 0;
            while !rest.is_empty() {
                let bytes = rest.split_to(part.min(rest.len()));
                let range = format!("{sent}-{}", sent + bytes.len() - 1);
                sent += bytes.len();
                let call = Call::new(Method::PATCH, session)
                    .header(CONTENT_TYPE, OCTETS)
                    .header(CONTENT_RANGE, HeaderValue::from_str(&range).expect("numbers are a header"))
                    .body(bytes);
                let taken = self.give(repository, &call, StatusCode::ACCEPTED).await?;
                session = next(&taken.url, &taken.headers)?;
                progress(sent as u64);
            }
        }
        session.query_pairs_mut().append_pair("digest", &digest.to_string());
        let last = Call::new(Method::PUT, session).header(CONTENT_TYPE, OCTETS).body(rest);
        let taken = self.give(repository, &last, StatusCode::CREATED).await?;
        check_digest(&taken, digest)?;
        progress(bytes.len() as u64);
        Ok(())
    }

    /// Lets the registry take a blob from another of its repositories. `Ok(false)` when it does not, or the two are not
    /// on one registry: upload it then.
    pub async fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool, Problem> {
        if from.registry != to.registry {
            return Ok(false);
        }
        let mut url = self.url(to, "blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", &from.path);
        let call = Call::new(Method::POST, url).body(Bytes::new());
        let scopes = Scopes::push(&to.path).and_pull(&from.path);
        let mut attempts = Attempts::new(&self.options);
        loop {
            let answer = self.in_time(&call.url, async {
                let response = self.call(to, &scopes, &call).await?;
                match response.status() {
                    StatusCode::CREATED => check_digest(&Taken::of(&response), digest).map(|()| true),
                    StatusCode::ACCEPTED => Ok(false),
                    _ => Err(trouble(response).await),
                }
            });
            match answer.await {
                Ok(mounted) => return Ok(mounted),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// Gives a manifest to the registry under a tag or its digest. A tag that is there is overwritten, by every registry:
    /// ask [`head`](Self::head) first. R014 when the digest is another one, T029 above 4 MiB, R006 when the registry
    /// says it got something else.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Problem> {
        let digest = Digest::of(bytes);
        if let Reference::Digest(named) = Reference::parse(reference)?
            && named != digest
        {
            let message = format!("a manifest of digest {} cannot be put at {}", digest.short(), named.short());
            return Err(Problem::new(Code::R014, message).help("name it by its own digest, or by a tag"));
        }
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            let message = format!("a manifest for `{repository}` has {} bytes", bytes.len());
            return Err(Problem::new(Code::T029, message).help(format!("{MANIFEST_BYTES_MAX} are the most")));
        }
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| Problem::new(Code::R014, "a media type has characters that no header takes"))?;
        let call = Call::new(Method::PUT, self.url(repository, &format!("manifests/{reference}"))?)
            .header(CONTENT_TYPE, media_type)
            .body(Bytes::copy_from_slice(bytes));
        let mut attempts = Attempts::new(&self.options);
        loop {
            match self.give(repository, &call, StatusCode::CREATED).await {
                Ok(taken) => return check_digest(&taken, &digest).map(|()| digest).map_err(Into::into),
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
    }

    /// One request of an upload, which must be answered with this status.
    async fn give(&self, repository: &Repository, call: &Call, expected: StatusCode) -> Result<Taken, Trouble> {
        self.in_time(&call.url, async {
            let response = self.call(repository, &Scopes::push(&repository.path), call).await?;
            if response.status() == expected {
                return Ok(Taken::of(&response));
            }
            if response.status().is_success() {
                let why = format!("answers {} where {} is expected", response.status().as_u16(), expected.as_u16());
                return Err(protocol(response.url(), &why).into());
            }
            Err(trouble(response).await)
        })
        .await
    }
}

/// What a registry says about what it took.
struct Taken {
    url: Url,
    headers: HeaderMap,
}

impl Taken {
    fn of(response: &Response) -> Self {
        Self { url: response.url().clone(), headers: response.headers().clone() }
    }
}

/// A registry that names a digest must name this one.
fn check_digest(taken: &Taken, digest: &Digest) -> Result<(), Trouble> {
    match taken.headers.get(CONTENT_DIGEST) {
        Some(said) if said.as_bytes() != digest.to_string().as_bytes() => {
            Err(protocol(&taken.url, "says that it took something else").into())
        }
        _ => Ok(()),
    }
}
