//! Reading manifests and blobs: limits before bytes, resume where the server can, and the whole hashed at the end.

use ice_core::id::Digest;
use ice_core::manifest::{ARTIFACT_BYTES_MAX, printable};
use ice_core::problem::{Code, Problem};
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::retry::Attempts;
use super::transport::{Call, trouble};
use super::trouble::{Trouble, passing, place, protocol, too_large, unanswered};
use super::{Client, Got, MANIFEST_MEDIA_TYPE, Pulled, Reference, Repository, Scopes};
use crate::oci::MANIFEST_BYTES_MAX;
use crate::source::Progress;

impl Client {
    /// The image manifest behind a tag or digest, `None` when the registry has none. At most 4 MiB (T029); an index,
    /// and layers that lie elsewhere, are refused (R006); named by digest it has that digest (T001).
    pub async fn manifest(&self, repository: &Repository, reference: &str) -> Result<Option<Pulled>, Problem> {
        let wanted = Reference::parse(reference)?;
        let mut first = None;
        for place in self.places(repository)? {
            match (self.manifest_at(&place, reference, wanted).await, wanted) {
                (Ok(None), Reference::Digest(_)) => {}
                (Err(problem), _) if self.is_silent(&place, &problem) => drop(first.get_or_insert(problem)),
                (answer, _) => return answer,
            }
        }
        first.map_or(Ok(None), Err)
    }

    async fn manifest_at(
        &self,
        repository: &Repository,
        reference: &str,
        wanted: Reference<'_>,
    ) -> Result<Option<Pulled>, Problem> {
        let url = self.url(repository, &format!("manifests/{reference}"))?;
        let call = Call::new(Method::GET, url).header(ACCEPT, HeaderValue::from_static(MANIFEST_MEDIA_TYPE));
        let Some(got) = self.get(repository, &call, "the manifest", MANIFEST_BYTES_MAX).await? else {
            return Ok(None);
        };
        check_form(&got)?;
        let digest = Digest::of(&got.bytes);
        match wanted {
            Reference::Digest(wanted) if wanted != digest => Err(mismatch(&got.url, &wanted, &digest)),
            _ => Ok(Some(Pulled { bytes: got.bytes, digest })),
        }
    }

    /// A blob of exactly `size` bytes with this digest. T001 for other bytes, at once and for good; T029 for one byte
    /// more, or a size above what an artifact may have; R001 when nobody has it.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, Problem> {
        if size > ARTIFACT_BYTES_MAX {
            let message = format!("blob {} of `{repository}` has {size} bytes", digest.short());
            return Err(Problem::new(Code::T029, message).help(format!("an artifact has {ARTIFACT_BYTES_MAX} at most")));
        }
        let mut first = None;
        for place in self.places(repository)? {
            match self.blob_at(&place, digest, size, progress).await {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {}
                Err(problem) if self.is_silent(&place, &problem) => drop(first.get_or_insert(problem)),
                Err(problem) => return Err(problem),
            }
        }
        Err(first.unwrap_or_else(|| {
            Problem::new(Code::R001, format!("`{repository}` has no blob {}", digest.short()))
                .help("ask its publisher to publish it again")
        }))
    }

    async fn blob_at(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let what = format!("{} {}", repository.path, digest.short());
        let mut partial = Partial { bytes: Vec::new(), size, what: &what, progress };
        let mut attempts = Attempts::new(&self.options);
        loop {
            match self.in_time(&url, self.fill(repository, &url, &mut partial)).await {
                Ok(false) => return Ok(None),
                Ok(true) => break,
                Err(trouble) => attempts.after(trouble).await?,
            }
        }
        let got = Digest::of(&partial.bytes);
        if got != *digest {
            return Err(mismatch(&url, digest, &got));
        }
        Ok(Some(partial.bytes))
    }

    /// Goes on with a blob until it is whole. `Ok(false)` when the registry has none.
    async fn fill(&self, repository: &Repository, url: &Url, partial: &mut Partial<'_>) -> Result<bool, Trouble> {
        let mut call = Call::new(Method::GET, url.clone());
        let start = partial.bytes.len();
        if start as u64 == partial.size && start > 0 {
            return Ok(true);
        }
        if start > 0 {
            let range = HeaderValue::from_str(&format!("bytes={start}-"));
            call = call.header(RANGE, range.expect("a number is a header"));
        }
        let response = self.call(repository, &Scopes::pull(&repository.path), &call).await?;
        match response.status() {
            // Also the answer of a server that knows no ranges: it begins again.
            StatusCode::OK => partial.bytes.clear(),
            StatusCode::PARTIAL_CONTENT if start > 0 && continues(&response, start) => {}
            StatusCode::NOT_FOUND => return Ok(false),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.bytes.clear();
                return Err(passing(url, "it answers with another range than asked for"));
            }
            _ => return Err(trouble(response).await),
        }
        partial.read(response).await.map(|()| true)
    }
}

/// What came so far.
struct Partial<'a> {
    bytes: Vec<u8>,
    size: u64,
    what: &'a str,
    progress: &'a dyn Progress,
}

impl Partial<'_> {
    /// Reads to the end; the connection is closed with the first byte too many.
    async fn read(&mut self, mut response: Response) -> Result<(), Trouble> {
        let url = response.url().clone();
        let announced = response.content_length();
        let too_many = |more: u64, have: usize| have as u64 + more > self.size;
        if announced.is_some_and(|announced| too_many(announced, self.bytes.len())) {
            return Err(too_large(&url, "the blob", self.size).into());
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&url, &error))? {
            if (self.bytes.len() + chunk.len()) as u64 > self.size {
                return Err(too_large(&url, "the blob", self.size).into());
            }
            self.bytes.extend_from_slice(&chunk);
            self.progress.bytes(self.what, self.bytes.len() as u64, self.size);
        }
        if self.bytes.len() as u64 == self.size {
            return Ok(());
        }
        let why = format!("it broke off after {} of {} bytes", self.bytes.len(), self.size);
        // An answer that is as long as it said it would be did not break off: this is another blob.
        match announced {
            Some(_) => Err(short_blob(&url, self.bytes.len(), self.size).into()),
            None => Err(passing(&url, &why)),
        }
    }
}

/// Whether a 206 begins where the last attempt stopped.
fn continues(response: &Response, start: usize) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

fn mismatch(url: &Url, expected: &Digest, got: &Digest) -> Problem {
    let message =
        format!("`{}` is not what it is named: expected {}, got {}", place(url), expected.short(), got.short());
    Problem::new(Code::T001, message).help("ask the operator of the registry or mirror; nothing of it was kept")
}

fn short_blob(url: &Url, got: usize, expected: u64) -> Problem {
    let message = format!("`{}` is not what it is named: expected {expected} bytes, got {got}", place(url));
    Problem::new(Code::T001, message).help("ask the operator of the registry or mirror; nothing of it was kept")
}

/// What no manifest of ours has: an index in its place, layers that are fetched from elsewhere.
fn check_form(got: &Got) -> Result<(), Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        media_type: Option<String>,
        #[serde(default)]
        config: Option<Blob>,
        #[serde(default)]
        layers: Vec<Blob>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Blob {
        media_type: String,
        urls: Option<serde_json::Value>,
    }
    let refuse = |why: &str| Err(protocol(&got.url, why));
    let Ok(form) = serde_json::from_slice::<Form>(&got.bytes) else {
        return refuse("answers with something that is no manifest");
    };
    let header = got.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let header = header.map(|header| header.split(';').next().unwrap_or_default().trim());
    for said in [header, form.media_type.as_deref()].into_iter().flatten() {
        if said != MANIFEST_MEDIA_TYPE {
            return refuse(&format!("answers with `{}` where an image manifest is expected", printable(said)));
        }
    }
    if header.is_none() && form.media_type.is_none() {
        return refuse("answers with a manifest of no media type");
    }
    for blob in form.config.iter().chain(&form.layers) {
        let elsewhere = blob.media_type.contains("nondistributable") || blob.media_type.contains("foreign");
        if elsewhere || blob.urls.is_some() {
            return refuse("has a manifest whose blobs lie elsewhere");
        }
    }
    Ok(())
}
