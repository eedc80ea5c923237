//! What a person reads when something is wrong: code, message, place, way out.
//!
//! [`Code`] is one table: letter and number, name, HTTP status, exit code. Letters: B blueprint, M manifest,
//! G grant, T trust, R registry, X execution, A api, C config. Every code has a section in `docs/errors.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the process says to the shell that started it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// An execution ran and failed.
    Failed = 1,
    /// Wrong usage: an argument, a file, a setting.
    Usage = 2,
    /// Refused by trust or grant.
    Refused = 3,
    /// Interrupted by the user (128 + SIGINT).
    Interrupted = 130,
}

macro_rules! codes {
    ($($code:ident $name:ident $http:literal $exit:ident $meaning:literal;)*) => {
        /// Every code a [`Problem`] can carry.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $(#[doc = $meaning] $code,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$code,)*];

            /// Letter and number, as in `ICE-B001` without the prefix.
            pub const fn letters(self) -> &'static str {
                match self { $(Code::$code => stringify!($code),)* }
            }
            /// The symbolic name, for example `E_DIGEST`.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$code => stringify!($name),)* }
            }
            /// The HTTP status an API answers with.
            pub const fn http(self) -> u16 {
                match self { $(Code::$code => $http,)* }
            }
            /// The exit code of a command that ends with this problem.
            pub const fn exit(self) -> Exit {
                match self { $(Code::$code => Exit::$exit,)* }
            }
            /// One sentence saying when it happens.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$code => $meaning,)* }
            }
        }
    };
}

// One row a code: number, name, HTTP status, exit, when it happens.
codes! {
    // B: the blueprint.
    B001 E_SYNTAX 422 Usage "The document is not YAML or JSON, or not in the form of a blueprint.";
    B002 E_UNKNOWN_KEY 422 Usage "A key that no blueprint or node of this kind has.";
    B003 E_NODE_ID 422 Usage "A node id that is empty, too long or has other characters than letters, digits, `_`, `-`.";
    B004 E_TYPE 422 Usage "A field has a value of another type than it takes.";
    B005 E_VALUE 422 Usage "A field has a value that is out of range or not one of its choices.";
    B006 E_MISSING 422 Usage "A field that must be there is missing or empty.";
    B007 E_DUPLICATE_ID 422 Usage "Two nodes of a blueprint have the same id where both can be seen.";
    B008 E_DUPLICATE_KEY 422 Usage "A mapping has the same key twice.";
    B009 E_SCHEMA_VERSION 422 Usage "The `schema_version` is not one this version reads.";
    B010 E_KIND 422 Usage "A node type that does not exist.";
    B012 E_UNKNOWN_NODE 422 Usage "A dependency, fallback, mapping or output names a node that does not exist.";
    B013 E_CYCLE 422 Usage "Nodes depend on each other in a circle.";
    B014 E_UNKNOWN_TOOL 422 Usage "No installed kit has a tool of this name.";
    B015 E_UNKNOWN_AGENT 422 Usage "No installed plugin is an agent of this name.";
    B016 E_UNKNOWN_BLUEPRINT 422 Usage "No stored blueprint or bundle entry has this name and version.";
    B017 E_LLM_CONFIG 422 Usage "A node that asks a model does not say which one in its own `llm_config`.";
    B018 E_TEMPLATE 422 Usage "A template or expression is not in the template language.";
    B019 E_NOT_AN_ANCESTOR 422 Usage "A template or mapping names a node whose output the node cannot see.";
    B020 E_UNKNOWN_NAME 422 Usage "A template names something that is neither an input nor a node nor a loop variable.";
    B021 E_SCHEMA 422 Usage "A schema is neither JSON Schema nor made of type literals.";
    B022 E_SCHEMA_MISMATCH 422 Usage "What a node gives does not fit what the node that takes it asks for.";
    B023 E_UNKNOWN_ARGUMENT 422 Usage "An argument that the tool, agent or blueprint does not take.";
    B024 E_MISSING_ARGUMENT 422 Usage "An argument that the tool, agent or blueprint needs is not given and nothing can fill it in.";
    B025 E_MODEL_BANNED 422 Usage "A model that this project does not use.";
    B026 E_TOO_DEEP 422 Usage "Values or nodes are nested deeper than the limit.";
    B027 E_TOO_LARGE 422 Usage "The document, or what its aliases expand to, is over the limit.";
    B028 E_CRON 422 Usage "A cron expression that is not in its grammar, or that never comes.";
    B029 E_ZONE 422 Usage "A time zone or a moment that does not exist.";

    // M: the manifest.
    M001 E_MANIFEST 422 Usage "The manifest is not in the form of plugins.v0.";
    M002 E_BUNDLE 422 Usage "A bundle.yaml or plugin.toml is not in its form.";
    M003 E_BUNDLE_KEY 422 Usage "A key that no bundle.yaml or plugin.toml has.";
    M004 E_SCHEMA 422 Usage "A schema in a manifest is not a usable JSON Schema.";
    M005 E_CLASH 422 Usage "Two installed plugins offer a tool, agent or blueprint of the same name.";
    M006 E_LINT 422 Usage "A manifest is valid and would still disappoint: no licence, no description, a needless number.";
    M007 E_LOCK_FORM 422 Usage "An ice.lock is not in the form of version 1.";
    M030 E_BUNDLE_ENTRY 422 Usage "The blueprints of a bundle cannot be made into a component: two of one name, or too large together.";

    // G: grants and limits.
    G001 E_DENIED 403 Refused "A component used a capability that its grant does not cover.";
    G002 E_GRANT_RULE 422 Usage "A rule, bound or setting of a grant is not in the grammar of grants.";
    G003 E_CAPABILITY 403 Refused "A plugin asks for more than was granted, or an upgrade widens what it asks for.";
    G010 E_LIMIT_TIME 504 Failed "A component ran longer than its time limit.";
    G011 E_LIMIT_CPU 504 Failed "A component used more processor time than its limit.";
    G012 E_LIMIT_MEMORY 500 Failed "A component asked for more memory than its limit.";
    G013 E_LIMIT_STACK 500 Failed "A component recursed deeper than its stack.";
    G014 E_LIMIT_HOST_CALLS 500 Failed "A component called the host more often than its limit.";
    G015 E_LIMIT_EGRESS 500 Failed "A component sent more bytes through http than its limit.";
    G016 E_LIMIT_TRANSFER 500 Failed "A component passed more data to the host in one call than its limit.";
    G020 E_PRIVATE_ADDRESS 403 Refused "An outgoing request would reach a private, local or metadata address that the operator did not allow.";
    G021 E_SECRET_DENIED 403 Refused "A secret would be sent to a host that the grant does not bind it to, or without TLS.";
    G022 E_PERSONAL_DATA 422 Refused "A text holds personal data or a key, and the redaction policy refuses to store it.";

    // T: trust. The names are those of the error column of the threat model's table.
    T001 E_DIGEST 403 Refused "Bytes do not have the digest a signed manifest gives for them.";
    T002 E_PAYLOAD 403 Refused "The signed payload is not made of this manifest and its artifacts.";
    T003 E_UNSIGNED 403 Refused "There is no signature.";
    T004 E_UNTRUSTED 403 Refused "No signature was made by a key that is trusted for this name.";
    T005 E_WEAK_KEY 403 Refused "A public key of small order or in a second spelling: anybody could sign for it.";
    T006 E_SIG 403 Refused "A signature under a trusted key's id does not verify.";
    T007 E_NONCANONICAL 422 Refused "Signed JSON that is not in its one canonical spelling (RFC 8785).";
    T008 E_NAME 403 Refused "The signed kind, name or version is not the one that was asked for.";
    T009 E_ALGO 422 Refused "A signature of another algorithm than ed25519.";
    T010 E_TRUST_PERM 403 Refused "Somebody else could change or read a key or trust file: owner, mode or a symbolic link.";
    T011 E_STORE 403 Refused "A file of the local store is not what was put there.";
    T012 E_DIGEST_FORM 422 Refused "A digest that is not `sha256:` and 64 lower-case hex digits.";
    T013 E_NATIVE 403 Refused "An artifact holds native code instead of a WebAssembly component.";
    T014 E_NOT_BINARY 403 Refused "An artifact is not a binary WebAssembly component.";
    T015 E_IMPORT 422 Refused "The capabilities a manifest declares are not those its component imports.";
    T016 E_TEXT 422 Refused "A text that a person or a model reads holds characters that cannot be seen.";
    T017 E_THRESHOLD 403 Refused "Fewer distinct trusted keys signed than the policy asks for.";
    T018 E_NAME_FORM 422 Refused "A plugin name or version that is not in the grammar of names.";
    T019 E_NO_SCOPE 403 Refused "The trust policy says nothing about this name, so nobody may sign for it.";
    T020 E_STALE 403 Refused "Signed data is older than its own expiry allows.";
    T021 E_ROLLBACK 403 Refused "A signed sequence number is lower than one seen before.";
    T022 E_REVOKED 403 Refused "The key or the statement was revoked.";
    T023 E_EXPIRED 403 Refused "A plugin may not be newly installed after the date in its manifest.";
    T024 E_POLICY 422 Refused "The trust policy or a trusted key's file is not in its form.";
    T025 E_KEY 422 Refused "A key file is not an ed25519 key in PEM form.";
    T026 E_ENVELOPE 422 Refused "An envelope is not in its form.";
    T027 E_NAME_TAKEN 422 Refused "A name reads the same as one that exists: `-`, `_` and nothing are equal.";
    T028 W_NEAR 422 Refused "A name is one letter away from one that exists.";
    T029 E_TOO_LARGE 422 Refused "Signed data or an artifact is larger than its limit.";
    T035 E_IMPORT 422 Refused "A component imports something that this host does not offer to its kind.";
    T036 E_COMPONENT 422 Refused "The bytes are not a component of a kind that this host runs, or cannot be compiled.";
    T037 E_CODE_RECORD 403 Refused "Compiled code on disk is not as this host wrote it; it is thrown away and made again.";
    T038 E_CLOCK 403 Refused "The clock stands well before a moment that this machine has already seen.";
    T039 E_LOCK 403 Refused "What was found is not what the lock pins.";
    T040 E_LOCK_STALE 409 Refused "The lock would have to change, and `--locked` or `--frozen` does not allow it.";
    T041 E_COOLDOWN 403 Refused "A release is younger than the pause that the policy asks for.";
    T042 E_ROOT 403 Refused "A root is not the next one, or not signed by the old and the new keys.";
    T043 E_ROOT_EXPIRED 403 Refused "The newest known root has expired.";
    T044 E_NO_DYNAMIC 403 Refused "Nothing may be installed or changed while the host runs with `--no-dynamic`.";
    T045 E_UNLISTED 403 Refused "A component is not covered by the lock.";
    T046 E_ARCHIVE 422 Refused "An archive is not in the closed form of `.ice.tgz`.";
    T047 E_CHANGED 403 Refused "An update has another signer or tells the model something else, and nobody accepted that.";
    T048 E_YANKED 403 Refused "A version was yanked: it is not newly installed; where it is locked it still runs.";
    T049 E_SIGNED_FORM 422 Refused "A signed document (index, revocations, root) is not in its form.";

    // R: the local store and registries.
    R001 E_NOT_FOUND 404 Usage "The store has no plugin, version or artifact of this name.";
    R002 E_LAYOUT 500 Refused "The store is not an OCI image layout, or its index cannot be read.";
    R003 E_EXISTS 409 Usage "This name and version exist already with other content.";
    R004 E_DISK 500 Failed "The store could not be written: disk full, not writable, or it disappeared.";
    R005 E_UNAVAILABLE 503 Failed "A registry cannot be reached, is overloaded, or broke off; what it has is not known.";
    R006 E_REGISTRY 502 Refused "A registry answered with something that its protocol or this host does not allow.";
    R007 E_LOGIN 401 Refused "A registry wants other credentials than those at hand, or refuses the ones it got.";
    R008 E_REALM 403 Refused "A registry names a place for its credentials that is neither its own host nor listed for it.";
    R009 E_REDIRECT 502 Refused "A registry redirects too often, or from https to http.";
    R010 E_RESOLVE 409 Refused "No set of versions satisfies every requirement.";
    R011 E_REJECTED 422 Refused "A submission to an index was rejected by its rules or its owner.";
    R012 E_INDEX_CHANGED 409 Failed "A page was asked for with the mark of another version of the index.";
    R013 E_TOKEN 403 Refused "A token is not valid, has run out, or is not for this name or use.";
    R014 E_REFERENCE 422 Usage "A registry, repository or tag is not in its grammar.";

    // X: execution.
    X001 E_NODE_FAILED 500 Failed "A node failed.";
    X002 E_CANCELLED 409 Failed "The execution was cancelled.";
    X003 E_NODE_TIMEOUT 504 Failed "A node or an execution ran longer than its time limit.";
    X004 E_BREAKER_OPEN 503 Failed "A tool or provider failed so often that it is left alone for a while.";
    X005 E_BUDGET 402 Failed "The next step could cost more than the budget leaves.";
    X006 E_INPUT 422 Failed "An input does not fit the schema of the blueprint or node it is for.";
    X007 E_OUTPUT 502 Failed "A node's output does not fit its output schema.";
    X008 E_LEASE_LOST 409 Failed "Another process holds the execution; this one may not go on with it.";
    X009 E_RESUME 409 Failed "The execution cannot be taken up again with what is installed and stored on this host.";
    X010 E_DIVERGED 500 Failed "A component that was started again asked for something else than the first time.";
    X011 E_TEMPLATE 422 Failed "A template or expression could not be rendered while the execution ran.";
    X012 E_DEPTH 422 Failed "Executions or tool calls are nested too deeply.";
    X013 E_EXECUTION_UNKNOWN 404 Failed "There is no such execution, or it belongs to somebody else.";
    X014 E_LOOP_ITEMS 422 Failed "The items of a loop are not a list, or are more than its limit.";
    X015 E_TOOL_NOT_ALLOWED 403 Failed "An agent asked for a tool that is not on its list.";
    X016 E_ITERATIONS 500 Failed "An agent did not come to an end within its iterations.";
    X017 E_HISTORY 500 Failed "The stored events of an execution do not make sense.";
    X018 E_WAITING 409 Failed "The execution waits for an answer, and goes on when one is given.";
    X019 E_WAIT_UNKNOWN 404 Failed "There is no such wait, or it is over.";
    X020 E_ANSWER 422 Failed "An answer is not one to what the wait asks.";
    X021 E_WAIT_TIMEOUT 504 Failed "Nobody answered a wait in time.";
    X022 E_WEBHOOK_STATUS 502 Failed "A webhook was answered with a status that means failure.";
    X023 E_MONITOR 409 Failed "A monitor stopped the execution.";
    X024 E_UNDECIDED 500 Failed "A swarm has too few agents left to decide.";
    X025 E_SCHEDULE_UNKNOWN 404 Failed "There is no such schedule, or it belongs to somebody else.";
    X026 E_SCHEDULE_FENCED 409 Failed "The claim on a schedule was lost to another process or to a change; nothing was written.";
    X027 E_LEDGER 409 Failed "The ledger of an org does not say what the events say.";
    X030 E_TOOL_INPUT 422 Failed "A component says that its input is not what it asks for.";
    X031 E_TOOL_FAILED 500 Failed "A component ran and reported a failure.";
    X032 E_TRAP 500 Failed "A component crashed or ended itself.";
    X033 E_OUTPUT_FORM 502 Failed "A component answered something that is not JSON or not what its interface says.";
    X034 E_NOT_INSTALLED 404 Failed "No tool, agent or blueprint of this name is installed.";
    X035 E_HOST 503 Failed "The host could not start a component.";
    X040 E_FENCED 409 Failed "The lease of an execution was lost to another holder or given back; nothing was appended.";
    X041 E_NO_EXECUTION 404 Failed "There is no execution with that id.";
    X042 E_HELD 409 Failed "Another live process holds the execution.";
    X043 E_EVENT_GAP 500 Failed "Events were to be appended that do not continue the list without a gap.";
    X044 E_EXECUTION_EXISTS 409 Failed "An execution with that id exists already.";
    X045 E_EMBEDDING 422 Failed "An embedding is empty, not finite, or of another dimension than its embedder's others.";
    X046 E_STORE_BUSY 503 Failed "Another process kept the database locked for too long.";
    X047 E_STORE 500 Failed "The database failed in a way that has no code of its own.";
    X048 E_STORE_VALUE 422 Failed "A value cannot be kept in the database: it is too large, or its numbers are not exact.";
    X050 E_FORK 422 Usage "An execution cannot be forked like this.";
    X051 E_EXPORT 422 Usage "A file of exported executions is damaged, too large, or of another version.";
    X052 E_NOT_ON_CASSETTE 409 Failed "A replay came to a request that its cassette does not answer.";
    X053 E_CASSETTE 422 Usage "A cassette is damaged, too large, or of another version.";
    X060 E_URL 422 Failed "An outgoing request has a URL that is not an absolute http or https URL without user name and password.";
    X061 E_DNS 502 Failed "The name of the host could not be resolved.";
    X062 E_CONNECT 502 Failed "No connection to the host could be made.";
    X063 E_TLS 502 Failed "The host's certificate is not valid for its name, or it speaks no TLS.";
    X064 E_TIMEOUT 504 Failed "The other side did not answer in time.";
    X065 E_TOO_LARGE 502 Failed "A request or an answer is larger than the host's limit.";
    X066 E_REDIRECT 502 Failed "A redirect goes too far, from https to http, or to no valid URL.";
    X067 E_SECRET_MISSING 422 Failed "A secret that a request names is not set on this host.";
    X068 E_HTTP_REQUEST 422 Failed "A request has a method or a header that may not be sent.";
    X069 E_HTTP_ANSWER 502 Failed "The other side broke the connection off or did not speak HTTP.";
    X070 E_MODEL_UNKNOWN 422 Failed "No provider on this host serves the model.";
    X071 E_MODEL_REFUSED 422 Failed "The model is one that this host does not use.";
    X072 E_PROVIDER_KEY 502 Failed "The provider does not accept the key, or the key may not use the model.";
    X073 E_PROVIDER_BUSY 503 Failed "The provider is overloaded, limits the rate or failed on its side.";
    X074 E_PROVIDER_REFUSED 502 Failed "The provider refused the request as it is.";
    X075 E_PROVIDER_ANSWER 502 Failed "The provider answered with something that is no answer.";
    X076 E_MODEL_CUT 502 Failed "The model's answer was cut off before it was complete.";
    X077 E_CONTENT_FILTER 422 Failed "The provider's content filter or the model refused to answer.";
    X078 E_LLM_REQUEST 422 Failed "A question to a model cannot be sent as it is.";
    X079 E_NO_EMBEDDER 422 Failed "No embedder is configured on this host.";
    X080 E_MEMORY_TOO_LARGE 413 Failed "A key, text or metadata is over the limit of the memory.";
    X081 E_MEMORY_INVALID 422 Failed "A memory call without identity, scope, key or query, or with metadata that is no object.";

    // A: the HTTP API.
    A001 E_NO_TOKEN 401 Refused "A request carries no bearer token.";
    A002 E_WRONG_TOKEN 403 Refused "The bearer token of a request is not the one of this host.";
    A003 E_REQUEST 422 Usage "The body, query or a header of a request is not in its form.";
    A004 E_BODY_TOO_LARGE 413 Usage "The body of a request is over the limit.";
    A005 E_NO_ROUTE 404 Usage "The API has nothing under this path.";
    A006 E_METHOD 405 Usage "What is under this path does not take this method.";
    A007 E_MEDIA_TYPE 415 Usage "The body of a request is not declared as JSON.";
    A008 E_RATE 429 Refused "More requests came for one route than the operator allows in a while.";
    A009 E_LOCK_MISSING 428 Usage "A request that changes something does not say in `X-Version-Lock` which version it knows.";
    A010 E_LOCK_OTHER 409 Usage "The version that `X-Version-Lock` names is not the one there is.";
    A011 E_HOST_NAME 403 Refused "A request came under a host name that this server does not go by.";
    A012 E_INTERNAL 500 Failed "The host made a mistake; what it was is in its log.";
    A013 E_OPEN_SERVER 400 Usage "A server would listen without a token, or with one that is too weak.";
    A014 E_BUSY 503 Failed "The server runs as many executions as it may, or is about to stop.";
    A015 E_SLOW_BODY 408 Failed "The body of a request did not arrive in time.";
    A016 E_BLUEPRINT_GONE 404 Failed "No blueprint is stored or installed under this id.";
    A017 E_ANSWER 502 Failed "A server answered with something that is not in the form of this API.";

    // C: configuration, command line, files of the user.
    C001 E_USAGE 400 Usage "A command was given arguments that do not go together.";
    C002 E_FILE 400 Usage "A file could not be read or written.";
    C003 E_ENVIRONMENT 500 Usage "The machine does not offer what the command needs: a folder, a port, threads.";
    C004 E_SETTINGS 400 Usage "A setting in `ice.toml` or the environment is wrong.";
    C005 E_TOOLCHAIN 400 Usage "A tool that building plugins needs is missing or failed.";
    C006 E_CONFIG 400 Usage "A setting of a registry is wrong: its address, certificate, login or mirrors.";
    C020 E_SECRET_SETTING 400 Usage "A secret of the operator cannot be used: its name, its value or its file.";
    C021 E_EGRESS_SETTING 400 Usage "A setting of outgoing requests is wrong: an allowed address, a certificate, a limit.";
    C022 E_LLM_SETTING 400 Usage "A setting of a language model provider or a price is wrong.";
    C023 E_DOCUMENT 422 Usage "A document is too large or of a type that is not read.";
    C030 E_CODE_CACHE 400 Usage "The folder of compiled code cannot be used; components are compiled anew.";
    C040 E_STORE_URL 400 Usage "The database is not named by a path or URL that this version can open.";
    C041 E_STORE_FULL 507 Failed "The disk, or the size allowed for the database, is full.";
    C042 E_STORE_READ_ONLY 400 Usage "The database or its folder may not be written.";
    C043 E_STORE_CORRUPT 500 Failed "The file is no database, or its content is damaged.";
    C044 E_STORE_NEWER 400 Usage "The database was written by a newer version.";
    C045 E_STORE_FOREIGN 400 Usage "The file is the database of another program.";
}

impl Code {
    /// Whether the same thing may go well a little later although nobody changes anything: something is busy, held,
    /// full or cannot be reached.
    pub const fn passes(self) -> bool {
        matches!(self.http(), 408 | 429 | 503 | 504 | 507)
            || matches!(self, Self::X008 | Self::X040 | Self::X042 | Self::X047)
            || matches!(self, Self::X061 | Self::X062 | Self::X069)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ICE-{}", self.letters())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let letters = text.strip_prefix("ICE-").unwrap_or(&text);
        (Self::ALL.iter().copied())
            .find(|code| code.letters() == letters)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a code of this version")))
    }
}

/// Where a problem is: a file position, a place inside a document, a node, or several of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(default)]
pub struct Place {
    /// The file, URL or artifact, as the user named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// JSON pointer (RFC 6901) into the document, for example `/nodes/2/tool_args`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The node, execution, kit or other thing concerned, in words: "node `lookup` in blueprint `news`".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// An error a person reads. Printed by its `Display` as
/// `error[ICE-B001]: message`, then `  at: …` and `  help: …` where they are known.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, thiserror::Error)]
pub struct Problem {
    /// Which kind of problem; decides HTTP status and exit code.
    pub code: Code,
    /// One sentence, lower case, names in backticks, no full stop.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// What to do, ideally the exact command or line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// A problem without place or help yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), at: None, help: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Names the thing concerned, in words.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.at.get_or_insert_default().subject = Some(subject.into());
        self
    }

    /// Names the file, URL or artifact.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.at.get_or_insert_default().file = Some(file.into());
        self
    }

    /// Points into the document.
    #[must_use]
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.at.get_or_insert_default().pointer = Some(pointer.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => parts.push(format!("{file}:{line}:{column}")),
            (Some(file), Some(line), None) => parts.push(format!("{file}:{line}")),
            (Some(file), ..) => parts.push(file.clone()),
            (None, Some(line), Some(column)) => parts.push(format!("line {line}, column {column}")),
            (None, Some(line), None) => parts.push(format!("line {line}")),
            _ => {}
        }
        parts.extend(self.pointer.as_ref().filter(|pointer| !pointer.is_empty()).cloned());
        parts.extend(self.subject.clone());
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        let place = self.at.as_ref().map(ToString::to_string).filter(|place| !place.is_empty());
        if let Some(place) = place {
            write!(f, "\n  at: {place}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}
