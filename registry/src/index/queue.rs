//! Submissions to an index: `submitted → scanned → accepted | rejected`, each step a line that people can read.
//!
//! `<folder>/<S>/envelope.json` is what was sent, `history.jsonl` what became of it and why. Nothing is taken out: a
//! publisher can always read the reasons. Signatures decide through [`verify`], rules through [`scan`].

use std::fs;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::{Manifest, UnixSeconds, printable};
use ice_core::problem::{Code, Problem};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use super::row::Row;
use super::scan::{Finding, Findings, ScanPolicy, Severity, scan};
use super::{moment, read_bounded};
use crate::envelope::Envelope;
use crate::files;
use crate::trust::Trust;
use crate::verify::{Purpose, Verified, VerifyOptions, verify};

/// Nobody reads more at once; a flood stops here.
const SUBMISSIONS_MAX: usize = 50_000;
/// As the reader of envelopes has it, with some room.
const ENVELOPE_BYTES_MAX: u64 = 3 << 20;
/// Four steps with their reasons.
const HISTORY_BYTES_MAX: u64 = 1 << 20;

/// Where a submission stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionState {
    /// It came in.
    Submitted,
    /// Rules were applied.
    Scanned,
    /// It is in the ledger.
    Accepted,
    /// It will not be.
    Rejected,
}

impl SubmissionState {
    /// Whether something is still to be decided.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Scanned)
    }

    /// For a person.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Scanned => "scanned",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// From where to where. Whatever is not here does not happen.
const STEPS: &[(SubmissionState, SubmissionState)] = &[
    (SubmissionState::Submitted, SubmissionState::Scanned),
    // The index, the policy or the keys may have changed since.
    (SubmissionState::Scanned, SubmissionState::Scanned),
    (SubmissionState::Scanned, SubmissionState::Accepted),
    (SubmissionState::Scanned, SubmissionState::Rejected),
];

/// One line of the history.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Step {
    /// Where the submission stands since then.
    pub state: SubmissionState,
    /// When.
    #[serde(with = "moment")]
    pub at: UnixSeconds,
    /// Why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Finding>,
}

/// A submission with everything that happened to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Submission {
    /// S. Names the submission.
    pub statement: Digest,
    /// What it says it is; believed only after the scan.
    pub name: String,
    /// Its version, likewise.
    pub version: Version,
    /// Of the OCI manifest it was pushed as.
    pub oci_digest: Digest,
    /// Oldest first, at least one.
    #[serde(skip)]
    pub history: Vec<Step>,
}

impl Submission {
    /// Where it stands.
    pub fn state(&self) -> SubmissionState {
        self.history.last().map_or(SubmissionState::Submitted, |step| step.state)
    }

    /// The reasons of the last step.
    pub fn reasons(&self) -> Findings {
        Findings(self.history.last().map(|step| step.reasons.clone()).unwrap_or_default())
    }

    fn label(&self) -> String {
        format!("`{}` {}", self.name, self.version)
    }
}

/// The folder of submissions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    folder: PathBuf,
}

impl Queue {
    /// A queue in this folder. Nothing is made until something is written.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Takes a release in; the same S again is the same submission, whatever became of it. Problems of the manifest's
    /// form; R005 when the queue is full. Signatures are checked by the scan.
    pub fn submit(&self, envelope: &Envelope, oci_digest: Digest, now: UnixSeconds) -> Result<Submission, Problem> {
        let first = |mut problems: Vec<Problem>| problems.swap_remove(0);
        let manifest = Manifest::parse(&envelope.manifest_bytes()?).map_err(first)?;
        let statement = envelope.statement()?;
        let _lock = self.lock()?;
        if let Some(there) = self.read(&statement)? {
            return Ok(there);
        }
        if self.statements()?.len() >= SUBMISSIONS_MAX {
            return Err(Problem::new(Code::R005, "the queue of submissions is full").help("submit it again later"));
        }
        let folder = self.path(&statement);
        files::make_folder(&folder)?;
        files::replace(&folder.join("envelope.json"), &envelope.to_bytes())?;
        let step = Step { state: SubmissionState::Submitted, at: now, reasons: Vec::new() };
        let submission =
            Submission { statement, name: manifest.name, version: manifest.version, oci_digest, history: vec![step] };
        self.write(&submission)?;
        Ok(submission)
    }

    /// Verifies a submission under the keys of its own name and applies the rules. What is found stays with it. R001
    /// for no such submission, R011 when it is accepted or rejected already.
    pub fn scan(
        &self,
        statement: &Digest,
        trust: &Trust,
        policy: &ScanPolicy,
        ledger: &Ledger,
        now: UnixSeconds,
    ) -> Result<Findings, Problem> {
        let _lock = self.lock()?;
        let mut submission = self.get(statement)?;
        let findings = match self.verified(&submission, trust, now) {
            Ok(verified) => scan(&verified, policy, ledger),
            Err(problem) => Findings::of("verify", Severity::Reject, &problem),
        };
        self.step(&mut submission, SubmissionState::Scanned, now, findings.0.clone())?;
        Ok(findings)
    }

    /// Puts a scanned submission into the ledger, verified once more. R011 with the reasons when a rule rejects it or
    /// it was rejected; what [`Ledger::add`] fails with. Done again after a crash it does what is left.
    pub fn accept<'a>(
        &self,
        statement: &Digest,
        trust: &Trust,
        ledger: &'a mut Ledger,
        now: UnixSeconds,
    ) -> Result<&'a Row, Problem> {
        let _lock = self.lock()?;
        let mut submission = self.get(statement)?;
        submission.reasons().check(&submission.label())?;
        allow(&submission, SubmissionState::Accepted)?;
        let verified = self.verified(&submission, trust, now)?;
        let row = ledger.add(&verified, submission.oci_digest, now)?;
        self.step(&mut submission, SubmissionState::Accepted, now, Vec::new())?;
        Ok(row)
    }

    /// Turns a scanned submission down. Without a reason of its own the findings of the scan are the reasons; one of
    /// both must be there (C001).
    pub fn reject(&self, statement: &Digest, reason: Option<&str>, now: UnixSeconds) -> Result<Submission, Problem> {
        let _lock = self.lock()?;
        let mut submission = self.get(statement)?;
        allow(&submission, SubmissionState::Rejected)?;
        let mut reasons: Vec<Finding> = submission.reasons().rejections().cloned().collect();
        reasons.extend(reason.map(|reason| Finding {
            rule: "owner".to_owned(),
            severity: Severity::Reject,
            code: None,
            message: printable(reason),
        }));
        if reasons.iter().all(|reason| reason.message.trim().is_empty()) {
            return Err(Problem::new(Code::C001, format!("there is no reason to reject {}", submission.label()))
                .help("say why: the publisher reads it"));
        }
        self.step(&mut submission, SubmissionState::Rejected, now, reasons)?;
        Ok(submission)
    }

    /// A submission with its history (R001).
    pub fn get(&self, statement: &Digest) -> Result<Submission, Problem> {
        self.read(statement)?.ok_or_else(|| {
            Problem::new(Code::R001, format!("there is no submission {}", statement.short()))
                .help("hand it in: `ice index submit NAME@VERSION`")
        })
    }

    /// Every submission, by S.
    pub fn list(&self) -> Result<Vec<Submission>, Problem> {
        let found: Result<Vec<Option<Submission>>, Problem> =
            self.statements()?.iter().map(|statement| self.read(statement)).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    fn verified(
        &self,
        submission: &Submission,
        trust: &Trust,
        now: UnixSeconds,
    ) -> Result<Verified<Manifest>, Problem> {
        let path = self.path(&submission.statement).join("envelope.json");
        let bytes = read_bounded(&path, ENVELOPE_BYTES_MAX)?.unwrap_or_default();
        let envelope = Envelope::parse(&bytes)?;
        let verified =
            verify(&envelope, trust, &VerifyOptions { purpose: Purpose::Install { now }, ..VerifyOptions::RUN })?;
        if verified.statement() != submission.statement {
            let message = format!("the envelope of submission {} is another one", submission.statement.short());
            return Err(Problem::new(Code::T002, message).file(path.display().to_string()));
        }
        Ok(verified)
    }

    fn step(
        &self,
        submission: &mut Submission,
        state: SubmissionState,
        at: UnixSeconds,
        reasons: Vec<Finding>,
    ) -> Result<(), Problem> {
        allow(submission, state)?;
        if submission.state() == state {
            // A scan done again replaces the one before: what counts is what is found now, and a history stays short.
            submission.history.pop();
        }
        submission.history.push(Step { state, at, reasons });
        self.write(submission)
    }

    fn write(&self, submission: &Submission) -> Result<(), Problem> {
        let line = |value: serde_json::Result<String>| value.expect("steps have only string keys") + "\n";
        let mut text = line(serde_json::to_string(submission));
        for step in &submission.history {
            text.push_str(&line(serde_json::to_string(step)));
        }
        files::replace(&self.path(&submission.statement).join("history.jsonl"), text.as_bytes())
    }

    /// `None` also for one whose first line was never written: it is submitted again.
    fn read(&self, statement: &Digest) -> Result<Option<Submission>, Problem> {
        let path = self.path(statement).join("history.jsonl");
        let Some(bytes) = read_bounded(&path, HISTORY_BYTES_MAX)? else {
            return Ok(None);
        };
        let refuse = |error: serde_json::Error| {
            Problem::new(
                Code::R002,
                format!("a history of the queue cannot be read: {}", printable(&error.to_string())),
            )
            .file(path.display().to_string())
            .help("restore the file")
        };
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut submission: Submission = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(refuse)?;
        for line in lines {
            submission.history.push(serde_json::from_slice(line).map_err(refuse)?);
        }
        Ok(Some(submission))
    }

    fn statements(&self) -> Result<Vec<Digest>, Problem> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::io_problem(Code::C002, "read", &self.folder, &error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<Digest> = names.filter_map(|name| Digest::parse(&format!("sha256:{name}")).ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn path(&self, statement: &Digest) -> PathBuf {
        self.folder.join(statement.hex())
    }

    fn lock(&self) -> Result<fs::File, Problem> {
        files::make_folder(&self.folder)?;
        let path = self.folder.join(".lock");
        let file = files::lock_file(&path)?;
        file.lock().map_err(|error| files::io_problem(Code::R004, "lock", &path, &error))?;
        Ok(file)
    }
}

/// R011 for a step that is not in the table.
fn allow(submission: &Submission, next: SubmissionState) -> Result<(), Problem> {
    let state = submission.state();
    if STEPS.contains(&(state, next)) {
        return Ok(());
    }
    let message = format!("{} is {} and cannot become {}", submission.label(), state.as_str(), next.as_str());
    Err(Problem::new(Code::R011, message).help(match state {
        SubmissionState::Submitted => "scan it first",
        _ => "submit a new version",
    }))
}
