//! What is looked at before a release enters an index: a table of rules over a verified manifest.
//!
//! Rules find what a rule can find. A release that passes is not thereby good: it gets no rights from being listed.
//! Phrases aimed at a model are in [`phrases`].

pub mod phrases;

use std::collections::{BTreeMap, BTreeSet};

use ice_core::grant::Capability;
use ice_core::manifest::{CostEstimate, Manifest, check_name, check_texts, near_names, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ledger::Ledger;
use super::row::Row;
use crate::verify::Verified;

/// A person reads them, and they are kept with the submission.
const FINDINGS_MAX: usize = 100;
/// A reason is read by a person.
const MESSAGE_CHARS_MAX: usize = 400;

/// What a finding means for the release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Whoever accepts it should look.
    Warn,
    /// It cannot be accepted.
    Reject,
}

impl Severity {
    /// For a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }
}

/// One thing that a rule found. The publisher reads it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Finding {
    /// Which rule.
    pub rule: String,
    /// What it means.
    pub severity: Severity,
    /// The code of the problem, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// One sentence.
    pub message: String,
}

/// Everything that was found, in the order of the rules.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Findings that make the release impossible to accept.
    pub fn rejections(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.severity == Severity::Reject)
    }

    /// R011 with every reason, when there is one to reject.
    pub fn check(&self, what: &str) -> Result<(), Problem> {
        let reasons: Vec<String> =
            self.rejections().map(|finding| format!("{}: {}", finding.rule, finding.message)).collect();
        if reasons.is_empty() {
            return Ok(());
        }
        let message = format!("{what} is not accepted into the index: {}", reasons.join("; "));
        Err(Problem::new(Code::R011, message).help("mend what is named and submit a new version"))
    }

    pub(super) fn of(rule: &str, severity: Severity, problem: &Problem) -> Self {
        Self(vec![finding(rule, severity, Some(problem.code), &problem.message)])
    }
}

/// What an index takes. Deny by default: a licence or capability that is not named is not taken.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ScanPolicy {
    /// Most bytes of all artifacts and files of a release.
    pub bytes_max: u64,
    /// SPDX names.
    pub licences: BTreeSet<String>,
    /// Capabilities that a plugin may ask for, and those that somebody has to look at first.
    pub capabilities: BTreeMap<Capability, Import>,
    /// The most that a call may be said to cost, in US dollars.
    pub cost_max: CostEstimate,
}

/// Whether a capability may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Import {
    /// By everybody.
    Allow,
    /// By what somebody looked at.
    Review,
}

impl Default for ScanPolicy {
    fn default() -> Self {
        let licences = ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "0BSD", "Zlib"];
        let capability = |capability| match capability {
            Capability::Log | Capability::Llm | Capability::Memory => (capability, Import::Allow),
            _ => (capability, Import::Review),
        };
        Self {
            bytes_max: 64 << 20,
            licences: licences.map(str::to_owned).into(),
            capabilities: Capability::ALL.map(capability).into(),
            cost_max: CostEstimate { base: 10.0, per_token: 0.01 },
        }
    }
}

/// What a rule sees.
struct Release<'a> {
    verified: &'a Verified<Manifest>,
    manifest: &'a Manifest,
    document: Value,
    policy: &'a ScanPolicy,
    ledger: &'a Ledger,
    row: Option<&'a Row>,
}

type Rule = fn(&Release<'_>, &mut Report);

/// Name and rule. Publishers read the names.
const RULES: &[(&str, Rule)] = &[
    ("release", release),
    ("name", name),
    ("signer", signer),
    ("hidden-text", hidden_text),
    ("model-text", model_text),
    ("capabilities", capabilities),
    ("size", size),
    ("licence", licence),
    ("cost", cost),
    ("deprecation", deprecation),
];

struct Report {
    rule: &'static str,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, severity: Severity, code: Option<Code>, message: &str) {
        self.findings.push(finding(self.rule, severity, code, message));
    }

    fn reject(&mut self, message: &str) {
        self.add(Severity::Reject, None, message);
    }

    fn warn(&mut self, message: &str) {
        self.add(Severity::Warn, None, message);
    }
}

fn finding(rule: &str, severity: Severity, code: Option<Code>, message: &str) -> Finding {
    let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
    Finding { rule: rule.to_owned(), severity, code, message }
}

/// Applies every rule to a release that would enter `ledger`.
pub fn scan(verified: &Verified<Manifest>, policy: &ScanPolicy, ledger: &Ledger) -> Findings {
    let manifest = verified.value();
    let document = parse_strict(verified.bytes()).expect("a verified manifest is canonical JSON");
    let row = ledger.row(&manifest.name);
    let release = Release { verified, manifest, document, policy, ledger, row };
    let mut report = Report { rule: "", findings: Vec::new() };
    for (name, rule) in RULES {
        report.rule = name;
        rule(&release, &mut report);
    }
    let mut findings = report.findings;
    if findings.len() > FINDINGS_MAX {
        // What rejects is never lost; the sort keeps the order of the rules.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.truncate(FINDINGS_MAX);
    }
    Findings(findings)
}

/// A version never changes, and sequences grow.
fn release(release: &Release<'_>, report: &mut Report) {
    if let Some(Err(problem)) = release.row.map(|row| row.may_add(release.verified)) {
        report.add(Severity::Reject, Some(problem.code), &problem.message);
    }
}

/// A new name must not be mistaken for one that is there.
fn name(release: &Release<'_>, report: &mut Report) {
    if release.row.is_some() {
        return;
    }
    for problem in near_names(&release.manifest.name, release.ledger.names()) {
        let severity = if problem.code == Code::T027 { Severity::Reject } else { Severity::Warn };
        report.add(severity, Some(problem.code), &problem.message);
    }
}

/// Keys change, and that is how a stolen name looks too.
fn signer(release: &Release<'_>, report: &mut Report) {
    let known = |row: &Row| release.verified.signers().iter().any(|signer| row.keyids.contains(signer));
    if release.row.is_some_and(|row| !known(row)) {
        report.warn("no key that signed the last release signed this one");
    }
}

fn hidden_text(release: &Release<'_>, report: &mut Report) {
    for problem in check_texts(&release.document) {
        let place = problem.at.and_then(|at| at.pointer).unwrap_or_default();
        report.add(Severity::Reject, Some(problem.code), &format!("{} at `{place}`", problem.message));
    }
}

fn model_text(release: &Release<'_>, report: &mut Report) {
    for found in phrases::find(&release.document) {
        let message = format!("the text at `{}` speaks to a model, as in `{}`", found.pointer, found.phrase);
        report.add(found.severity, None, &message);
    }
}

fn capabilities(release: &Release<'_>, report: &mut Report) {
    let asked: BTreeSet<Capability> =
        release.manifest.requested().into_iter().flat_map(|(_, grant)| grant.capabilities()).collect();
    for capability in asked {
        match release.policy.capabilities.get(&capability) {
            Some(Import::Allow) => {}
            Some(Import::Review) => report.add(Severity::Warn, None, &format!("it asks for `{capability}`")),
            None if capability == Capability::Log => {}
            None => {
                let message = format!("it asks for `{capability}`, which this index does not take");
                report.add(Severity::Reject, Some(Code::G003), &message);
            }
        }
    }
    let everywhere = |rule: &&String| rule.contains("://*/") || rule.ends_with("://*");
    let rules = release.manifest.requested().into_iter().flat_map(|(_, grant)| &grant.http);
    for rule in rules.filter(everywhere) {
        report.warn(&format!("it asks for every host: `{}`", printable(rule)));
    }
}

fn size(release: &Release<'_>, report: &mut Report) {
    let bytes: u64 = release.verified.blobs().iter().map(|(_, size)| size).sum();
    let limit = release.policy.bytes_max;
    if bytes > limit {
        report.add(Severity::Reject, Some(Code::T029), &format!("it has {bytes} bytes, the limit is {limit}"));
    }
}

/// `A OR B`, `A AND B`, and both without brackets.
fn licence(release: &Release<'_>, report: &mut Report) {
    let Some(text) = release.manifest.license.as_deref().filter(|text| !text.trim().is_empty()) else {
        return report.add(Severity::Reject, Some(Code::M006), "there is no licence");
    };
    if text.contains(['(', ')']) {
        return report.reject("its licence has brackets: write it as `A AND B OR C`");
    }
    let known = |name: &str| release.policy.licences.contains(name.trim());
    if !text.split(" OR ").any(|all| all.split(" AND ").all(known)) {
        let taken: Vec<&str> = release.policy.licences.iter().map(String::as_str).collect();
        report.reject(&format!("the licence `{}` is not one of {}", printable(text), taken.join(", ")));
    }
}

fn cost(release: &Release<'_>, report: &mut Report) {
    let most = release.policy.cost_max;
    for component in &release.manifest.components {
        let Some(cost) = component.cost_estimate else { continue };
        for (what, said, most) in [("call", cost.base, most.base), ("token", cost.per_token, most.per_token)] {
            // Also refuses what is no number.
            if !(0.0..=most).contains(&said) {
                let name = printable(&component.name);
                report.reject(&format!("`{name}` is said to cost {said} a {what}; 0 to {most} is taken"));
            }
        }
    }
}

fn deprecation(release: &Release<'_>, report: &mut Report) {
    for component in &release.manifest.components {
        let Some(deprecated) = &component.deprecated else { continue };
        let name = printable(&component.name);
        match Version::parse(&deprecated.since) {
            Ok(since) if since <= release.manifest.version => {}
            Ok(since) => report.reject(&format!("`{name}` is deprecated since {since}, a later version than this")),
            Err(_) => {
                report.reject(&format!("`{name}` is deprecated since `{}`, no version", printable(&deprecated.since)))
            }
        }
        let Some(replacement) = &deprecated.replacement else { continue };
        // Another tool of the same plugin replaces it as well as another plugin.
        let inside = release
            .manifest
            .components
            .iter()
            .any(|other| other.name == *replacement && other.name != component.name && other.deprecated.is_none());
        if inside {
            continue;
        }
        if check_name(replacement).is_err() || *replacement == release.manifest.name {
            report.reject(&format!("what replaces `{name}` is not another plugin: `{}`", printable(replacement)));
        } else if release.ledger.row(replacement).is_none() {
            report.warn(&format!("what replaces `{name}` is not in this index: `{replacement}`"));
        }
    }
}
