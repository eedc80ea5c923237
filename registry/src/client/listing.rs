//! Lists of a registry: tags and referrers, page by page. Hints, all of them: an absent entry proves nothing.

use std::collections::BTreeMap;

use ice_core::id::Digest;
use ice_core::problem::{Code, Problem};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LINK};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::repository::is_tag;
use super::transport::Call;
use super::trouble::{protocol, too_large};
use super::{Client, Got, Reference, Repository};
use crate::oci::{Descriptor, INDEX_MEDIA_TYPE};

/// Of one page, as a manifest.
const PAGE_BYTES_MAX: u64 = 4 << 20;
/// A registry decides how many entries a page has; this ends a circle of links.
const PAGES_MAX: usize = 200;
/// More versions of one plugin than anybody publishes.
const TAGS_MAX: usize = 20_000;
/// More attestations of one version than anybody reads.
const REFERRERS_MAX: usize = 2_000;

impl Client {
    /// Every tag, in the order of the registry; none when there is no such repository. At most 20 000 (T029).
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Problem> {
        let mut first = None;
        for place in self.places(repository)? {
            match self.tags_at(&place).await {
                Err(problem) if self.is_silent(&place, &problem) => drop(first.get_or_insert(problem)),
                answer => return answer,
            }
        }
        first.map_or_else(|| Ok(Vec::new()), Err)
    }

    async fn tags_at(&self, repository: &Repository) -> Result<Vec<String>, Problem> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let start = self.url(repository, "tags/list?n=100")?;
        let mut tags: Vec<String> = Vec::new();
        let mut pages = Pages::new(start);
        while let Some(call) = pages.call()? {
            let Some(got) = self.get(repository, &call, "the list of tags", PAGE_BYTES_MAX).await? else {
                break;
            };
            let page: Page = pages.turn(&got)?;
            // What cannot be asked for is no tag.
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
            if tags.len() > TAGS_MAX {
                let message = format!("`{repository}` has more than {TAGS_MAX} tags");
                return Err(Problem::new(Code::T029, message).help("name the exact version instead of a range"));
            }
        }
        Ok(tags)
    }

    /// What refers to a manifest, of one artifact type where one is given; filtered here, whatever the registry does.
    /// A registry without that list is asked for the tag that stands in for it. R005 when nobody can know, so an empty
    /// answer means that the registry says «none», which is a hint.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Problem> {
        let mut first = None;
        for place in self.places(repository)? {
            match self.referrers_at(&place, digest).await {
                Ok(mut found) => {
                    let wanted = |entry: &Descriptor| entry.artifact_type.as_deref() == artifact_type;
                    found.retain(|entry| artifact_type.is_none() || wanted(entry));
                    return Ok(found);
                }
                Err(problem) if self.is_silent(&place, &problem) => drop(first.get_or_insert(problem)),
                Err(problem) => return Err(problem),
            }
        }
        first.map_or_else(|| Ok(Vec::new()), Err)
    }

    async fn referrers_at(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        let mut found = Vec::new();
        let mut pages = Pages::new(self.url(repository, &format!("referrers/{digest}"))?);
        let mut turned = 0;
        while let Some(call) = pages.call()? {
            let Some(got) = self.get(repository, &call, "the list of referrers", PAGE_BYTES_MAX).await? else {
                // Without the list there is the tag; a page that is missing later is no answer.
                return if turned == 0 { self.fallback(repository, digest).await } else { Err(gone(&call.url)) };
            };
            check_index(&got)?;
            turned += 1;
            let page: Referrers = pages.turn(&got)?;
            add(page, &got.url, &mut found)?;
        }
        Ok(found)
    }

    /// The index under the tag `sha256-<hex>`.
    async fn fallback(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Descriptor>, Problem> {
        let mut found = Vec::new();
        if let Some(got) = self.index_at(repository, &format!("sha256-{}", digest.hex())).await? {
            add(read(&got)?, &got.url, &mut found)?;
        }
        Ok(found)
    }

    /// The bytes of the index behind a tag or digest, such as a list of referrers; `None` when there is none. At most
    /// 4 MiB (T029); R006 for anything but an index. Mirrors are not asked: whoever changes a list needs the newest.
    pub async fn index(&self, repository: &Repository, reference: &str) -> Result<Option<Vec<u8>>, Problem> {
        Reference::parse(reference)?;
        Ok(self.index_at(repository, reference).await?.map(|got| got.bytes))
    }

    async fn index_at(&self, repository: &Repository, reference: &str) -> Result<Option<Got>, Problem> {
        let url = self.url(repository, &format!("manifests/{reference}"))?;
        let call = Call::new(Method::GET, url).header(ACCEPT, HeaderValue::from_static(INDEX_MEDIA_TYPE));
        let got = self.get(repository, &call, "the list of referrers", PAGE_BYTES_MAX).await?;
        got.map(|got| check_index(&got).map(|()| got)).transpose()
    }
}

/// The pages of one list: the same path of the same registry, and not for ever.
struct Pages {
    start: Url,
    next: Option<Url>,
    asked: usize,
}

impl Pages {
    fn new(start: Url) -> Self {
        Self { next: Some(start.clone()), start, asked: 0 }
    }

    /// The request for the next page, `None` after the last.
    fn call(&mut self) -> Result<Option<Call>, Problem> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        if self.asked == PAGES_MAX {
            return Err(too_large(&url, "the list with its pages", PAGES_MAX as u64 * PAGE_BYTES_MAX));
        }
        self.asked += 1;
        Ok(Some(Call::new(Method::GET, url)))
    }

    /// Reads a page and where the next one is. R006 when that is another place.
    fn turn<T: DeserializeOwned>(&mut self, got: &Got) -> Result<T, Problem> {
        let page = read(got)?;
        let links = got.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        if let Some(target) = links.flat_map(|link| link.split(',')).find_map(next_target) {
            let next = self.start.join(target).ok();
            let here = |url: &Url| url.origin() == self.start.origin() && url.path() == self.start.path();
            let bare = |url: &Url| url.username().is_empty() && url.password().is_none();
            let next = next.filter(|url| here(url) && bare(url));
            self.next = Some(next.ok_or_else(|| protocol(&got.url, "continues its list in another place"))?);
        }
        Ok(page)
    }
}

/// The target of `<…>; rel="next"`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = |parameter: &str| {
        parameter.trim().strip_prefix("rel=").is_some_and(|rel| rel.trim_matches('"').eq_ignore_ascii_case("next"))
    };
    parameters.split(';').any(next).then_some(target)
}

/// Descriptors as other programs write them; what is not used here is not read.
#[derive(Deserialize)]
struct Referrers {
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    media_type: String,
    artifact_type: Option<String>,
    digest: String,
    size: u64,
    annotations: Option<BTreeMap<String, String>>,
}

fn add(page: Referrers, url: &Url, found: &mut Vec<Descriptor>) -> Result<(), Problem> {
    for entry in page.manifests {
        // Another algorithm is not used here, so nothing of ours is named by it.
        let Ok(digest) = Digest::parse(&entry.digest) else {
            continue;
        };
        found.push(Descriptor {
            media_type: entry.media_type,
            artifact_type: entry.artifact_type,
            digest,
            size: entry.size,
            annotations: entry.annotations.unwrap_or_default(),
        });
    }
    if found.len() > REFERRERS_MAX {
        let message = format!("more than {REFERRERS_MAX} manifests refer to one of `{}`", super::trouble::place(url));
        return Err(Problem::new(Code::T029, message).help("ask the operator of the registry"));
    }
    Ok(())
}

fn check_index(got: &Got) -> Result<(), Problem> {
    let said = got.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match said.split(';').next().unwrap_or_default().trim() {
        INDEX_MEDIA_TYPE => Ok(()),
        _ => Err(protocol(&got.url, "answers with something that is no list of referrers")),
    }
}

fn read<T: DeserializeOwned>(got: &Got) -> Result<T, Problem> {
    serde_json::from_slice(&got.bytes).map_err(|_| protocol(&got.url, "answers with something that is no list"))
}

fn gone(url: &Url) -> Problem {
    Problem::new(Code::R005, format!("a page of the list of `{}` is missing", super::trouble::place(url)))
        .help("try again in a moment")
}

#[cfg(test)]
mod tests {
    use super::next_target;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_target("</v2/a/tags/list?n=1&last=x>; rel=\"next\""), Some("/v2/a/tags/list?n=1&last=x"));
        assert_eq!(next_target(" <x>; title=\"y\"; rel=next"), Some("x"));
        for none in ["", "<x>", "<x>; rel=prev", "x; rel=next", "<x; rel=next"] {
            assert_eq!(next_target(none), None, "{none}");
        }
    }
}
