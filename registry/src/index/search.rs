//! Search without a network: words (BM25 over weighted fields) and likeness (hashed n-grams), put together by rank.
//!
//! Filters come before ranking, an exact name before everything, and equal scores stand in the order of names: the same
//! index and question give the same answer. Downloads and stars play no part. What a publisher wrote is returned
//! escaped; it is data, and never part of an instruction.

mod cursor;
mod keyword;
mod vector;

use std::collections::BTreeSet;

use ice_core::grant::Capability;
use ice_core::manifest::{Deprecation, Kind, printable, short};
use ice_core::problem::{Code, Problem};
use semver::Version;

pub use cursor::CursorKey;
pub use vector::{DIMS, MODEL};

use super::Index;
use super::row::{Row, VersionRow};
use cursor::Mark;
use keyword::Postings;
use vector::Vectors;

/// Most hits of a page.
pub const LIMIT_MAX: usize = 100;
/// A question, not a document.
const TEXT_CHARS_MAX: usize = 400;
/// Reciprocal rank fusion, as published: a rank's share is 1 / (60 + rank).
const FUSION_K: f64 = 60.0;
/// Above every sum of ranks, so a squatter cannot outrank a name by its text.
const EXACT_NAME: f64 = 3.0;
/// Without a scope several plugins can have the name: the one that the index saw first has the most of it.
const EXACT_SHORT_NAME: f64 = 1.0;

/// What is asked. Empty text lists everything that passes the filters, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Words, or a name.
    pub text: String,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only plugins that ask for this.
    pub capability: Option<Capability>,
    /// Only names of this publisher: `acme`.
    pub scope: Option<String>,
    /// Only plugins under exactly this SPDX expression.
    pub licence: Option<String>,
    /// Only plugins that this host version can run.
    pub host: Option<Version>,
    /// Hits of a page, 1 to 100.
    pub limit: usize,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Why something was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Why {
    /// The text is its name.
    pub exact: bool,
    /// Its rank by words, from 1.
    pub keyword: Option<usize>,
    /// Its rank by likeness, from 1.
    pub vector: Option<usize>,
    /// The words of the question it has, sorted.
    pub words: Vec<String>,
}

/// Something that was found. Texts are escaped.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// `scope/name`.
    pub name: String,
    /// The highest that is not yanked.
    pub version: Version,
    /// Orders hits of one page of one index; says nothing else.
    pub score: f64,
    /// What it was found by.
    pub why: Why,
    /// What is installed.
    pub kind: Kind,
    /// The beginning of what it says of itself.
    pub description: String,
    /// Free words.
    pub tags: Vec<String>,
    /// SPDX expression.
    pub licence: Option<String>,
    /// What it asks for.
    pub capabilities: BTreeSet<Capability>,
    /// When it went out of use.
    pub deprecated: Option<Deprecation>,
}

/// Some hits, best first.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// At most `limit`.
    pub hits: Vec<Hit>,
    /// Asks for the next page; `None` on the last.
    pub next: Option<String>,
    /// Of the index that answered.
    pub index_version: u64,
    /// Seconds since that was issued.
    pub age: u64,
    /// T020 when the index has expired: what is found may be outdated and cannot be installed from it.
    pub warning: Option<Problem>,
    /// Who made the vectors.
    pub model: &'static str,
}

/// The rows of an index, ready to be searched.
#[derive(Debug)]
pub(crate) struct Words {
    names: Vec<String>,
    postings: Postings,
    vectors: Vectors,
}

impl Words {
    /// Rows in the order of their names.
    pub(crate) fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let (mut names, mut postings, mut vectors) = (Vec::new(), Postings::default(), Vectors::default());
        for row in rows {
            names.push(row.name.clone());
            postings.add(row);
            vectors.add(row);
        }
        Self { names, postings, vectors }
    }
}

struct Candidate<'a> {
    row: &'a Row,
    version: &'a VersionRow,
    score: f64,
    why: Why,
}

/// Answers a question from the index. C001 for a question over its limits or a cursor that is not from here, R012 for a
/// cursor of another version of the index: ask again from the first page.
pub fn search(index: &Index, query: &Query, key: &CursorKey) -> Result<Page, Problem> {
    check(query)?;
    let version = index.header().version;
    let after = query.cursor.as_deref().map(|cursor| Mark::read(cursor, key, version, query)).transpose()?;
    let mut found = rank(index, query);
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.row.name.cmp(&b.row.name)));
    let start = after.map_or(0, |mark| found.partition_point(|found| !mark.is_before(found.score, &found.row.name)));
    let more = found.len().saturating_sub(start) > query.limit;
    let hits: Vec<Hit> = found.into_iter().skip(start).take(query.limit).map(hit).collect();
    let last = hits.last().filter(|_| more);
    let next = last.map(|hit| Mark { score: hit.score, name: hit.name.clone() }.write(key, version, query));
    Ok(Page { hits, next, index_version: version, age: index.age(), warning: index.stale(), model: MODEL })
}

fn check(query: &Query) -> Result<(), Problem> {
    if !(1..=LIMIT_MAX).contains(&query.limit) {
        let message = format!("a page has 1 to {LIMIT_MAX} hits, not {}", query.limit);
        return Err(Problem::new(Code::C001, message).help("ask for the next page with `next`"));
    }
    if query.text.chars().count() > TEXT_CHARS_MAX {
        let message = format!("the search text has more than {TEXT_CHARS_MAX} characters");
        return Err(Problem::new(Code::C001, message).help("use the words that matter"));
    }
    Ok(())
}

fn passes(row: &Row, query: &Query) -> bool {
    let fits = |wanted: Option<bool>| wanted.unwrap_or(true);
    fits(query.kind.map(|kind| row.kind == kind))
        && fits(query.capability.map(|capability| row.capabilities.contains(&capability)))
        && fits(query.scope.as_ref().map(|scope| row.name.split('/').next() == Some(scope)))
        && fits(query.licence.as_ref().map(|licence| row.licence.as_ref() == Some(licence)))
        && fits(query.host.as_ref().map(|host| row.iceos_min.as_ref().is_none_or(|least| least <= host)))
}

fn rank<'a>(index: &'a Index, query: &Query) -> Vec<Candidate<'a>> {
    let words = index.words();
    let text = query.text.trim();
    let mut candidates: Vec<Option<Candidate<'a>>> = Vec::new();
    for name in &words.names {
        let row = index.row(name).filter(|row| passes(row, query));
        let usable = row.and_then(|row| row.newest().map(|version| (row, version)));
        candidates.push(usable.map(|(row, version)| Candidate { row, version, score: 0.0, why: Why::default() }));
    }
    if text.is_empty() {
        return candidates.into_iter().flatten().collect();
    }
    let allowed = |document: usize| candidates[document].is_some();
    let asked = keyword::tokens(text);
    let by_words = ordered(words.postings.score(&asked), allowed);
    let by_likeness = ordered(words.vectors.like(text), allowed);
    for (ranks, note) in [(&by_words, note_keyword as fn(&mut Why, usize)), (&by_likeness, note_vector)] {
        for (rank, document) in ranks.iter().enumerate() {
            if let Some(candidate) = &mut candidates[*document] {
                #[expect(clippy::cast_precision_loss, reason = "a rank is far below 2^52")]
                let share = 1.0 / (FUSION_K + rank as f64 + 1.0);
                candidate.score += share;
                note(&mut candidate.why, rank + 1);
            }
        }
    }
    for (document, candidate) in candidates.iter_mut().enumerate() {
        if let Some(candidate) = candidate {
            candidate.why.words = words.postings.shared(&asked, document);
        }
    }
    let mut found: Vec<Candidate<'a>> = candidates.into_iter().flatten().collect();
    lift_exact(text, &mut found);
    found.retain(|candidate| candidate.score > 0.0);
    found
}

/// Gives names that are the text a score of their own, in which nothing of what publishers write has a part.
fn lift_exact(text: &str, found: &mut [Candidate<'_>]) {
    let text = text.to_lowercase();
    let mut named: Vec<&mut Candidate<'_>> =
        found.iter_mut().filter(|found| text == found.row.name || text == short(&found.row.name)).collect();
    named.sort_by_key(|found| (found.row.versions.first().map(|version| version.first_seen), &found.row.name));
    for (place, candidate) in named.into_iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a place is far below 2^52")]
        let share = EXACT_SHORT_NAME + 1.0 / (place as f64 + 1.0);
        candidate.score = if text == candidate.row.name { EXACT_NAME } else { share };
        candidate.why.exact = true;
    }
}

fn note_keyword(why: &mut Why, rank: usize) {
    why.keyword = Some(rank);
}

fn note_vector(why: &mut Why, rank: usize) {
    why.vector = Some(rank);
}

/// Documents that pass the filters, best first; equal ones by name, which is the order of documents.
fn ordered(scores: Vec<(usize, f64)>, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut scores: Vec<(usize, f64)> = scores.into_iter().filter(|(document, _)| allowed(*document)).collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores.into_iter().map(|(document, _)| document).collect()
}

fn hit(found: Candidate<'_>) -> Hit {
    let Candidate { row, version, score, why } = found;
    Hit {
        name: row.name.clone(),
        version: version.version.clone(),
        score,
        why,
        kind: row.kind,
        description: printable(&row.description),
        tags: row.tags.iter().map(|tag| printable(tag)).collect(),
        licence: row.licence.as_deref().map(printable),
        capabilities: row.capabilities.clone(),
        deprecated: row.deprecated.as_ref().map(|deprecated| Deprecation {
            since: printable(&deprecated.since),
            replacement: deprecated.replacement.as_deref().map(printable),
        }),
    }
}
