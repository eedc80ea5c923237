//! The table of what can be begun. Each row is a folder of `sdk/templates`.

use clap::ValueEnum;

/// What can be begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Kind {
    /// A crate with one tool
    Tool,
    /// A crate with several tools
    Kit,
    /// A crate with a tool that asks a model
    LlmNodeTool,
    /// A crate with an agent
    Agent,
    /// A crate with an agent that calls tools
    AgentTool,
    /// A folder of blueprints that are installed together
    Bundle,
    /// A blueprint of two steps
    Workflow,
    /// A blueprint with a model call
    Llm,
    /// A blueprint with two paths
    Condition,
    /// A blueprint that goes over a list
    Loop,
    /// A blueprint with branches side by side
    Parallel,
    /// A blueprint that repeats until it is enough
    Recursive,
    /// A blueprint with Python in the sandbox
    Code,
    /// A blueprint that waits for a person
    Human,
    /// A blueprint that watches what it costs
    Monitor,
    /// A blueprint with agents that agree
    Swarm,
    /// A blueprint that posts to an address
    Webhook,
    /// Blueprints that belong together
    Network,
}

/// Where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Into the folder.
    Here,
    /// Into `folder` of a plugin workspace, as a crate whose name begins with `prefix`.
    Plugin { folder: &'static str, prefix: &'static str },
}

/// One row.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// What it is for, when nobody says.
    pub(super) about: &'static str,
    /// Name and text, with `__name__`, `__scope__`, `__prefix__` and `__description__` to be filled in.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Commands that make sense next; `__out__` and `__folder__` are filled in too.
    pub(super) next: &'static [&'static str],
}

impl Template {
    /// As it is written on the command line.
    pub(super) fn name(&self) -> String {
        self.kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// `Cargo.toml` of a new plugin workspace.
pub(super) const PLUGIN_ROOT: &str = include_str!("../../../../../sdk/templates/workspace/Cargo.toml");

macro_rules! text {
    ($($part:literal),+) => {
        include_str!(concat!("../../../../../sdk/templates/", $($part),+))
    };
}

const RUN: &[&str] = &[
    "ice blueprints check __folder__/__name__.yaml",
    "ice run-blueprint __folder__/__name__.yaml",
    "ice blueprints graph __folder__/__name__.yaml -o __name__.svg",
];

const BUILD_KIT: &[&str] = &[
    "cargo test --manifest-path __out__/Cargo.toml -p __prefix_____name__",
    "ice plugins build __name__ --plugins __out__ --manifests __out__/manifests",
    "ice keys generate __scope__ && ice trust add __scope__ --scope '__scope__/*'",
    "ice plugins sign __out__/manifests/kits/__name__.json --key __scope__ --component __out__/target/components/kits/__name__.wasm",
    "ice plugins grant __scope__/__name__ --requested",
    "ice run-blueprint __folder__/example.yaml",
];

const BUILD_AGENT: &[&str] = &[
    "cargo test --manifest-path __out__/Cargo.toml -p __prefix_____name__",
    "ice plugins build __name__ --plugins __out__ --manifests __out__/manifests",
    "ice keys generate __scope__ && ice trust add __scope__ --scope '__scope__/*'",
    "ice plugins sign __out__/manifests/agents/__name__.json --key __scope__ --component __out__/target/components/agents/__name__.wasm",
    "ice plugins grant __scope__/__name__ --requested",
    "ice run-blueprint __folder__/example.yaml",
];

const BUILD_BUNDLE: &[&str] = &[
    "ice keys generate __scope__ && ice trust add __scope__ --scope '__scope__/*'",
    "ice bundle build __folder__ --key __scope__ --out __name__.ice.tgz",
    "ice bundle run __name__.ice.tgz",
];

const RUN_NETWORK: &[&str] = &["ice run-network __folder__/__name__.yaml"];

const KIT: Place = Place::Plugin { folder: "kits", prefix: "kit" };
const AGENT: Place = Place::Plugin { folder: "agents", prefix: "agent" };
const BUNDLE: Place = Place::Plugin { folder: "bundles", prefix: "bundle" };

macro_rules! blueprint {
    ($kind:ident, $folder:literal, $about:literal) => {
        Template {
            kind: Kind::$kind,
            place: Place::Here,
            about: $about,
            files: &[("__name__.yaml", text!($folder, "/blueprint.yaml"))],
            next: RUN,
        }
    };
}

macro_rules! crate_of {
    ($kind:ident, $folder:literal, $place:ident, $next:ident, $about:literal) => {
        Template {
            kind: Kind::$kind,
            place: $place,
            about: $about,
            files: &[
                ("Cargo.toml", text!("workspace/crate.toml")),
                ("plugin.toml", text!($folder, "/plugin.toml")),
                ("src/lib.rs", text!($folder, "/lib.rs")),
                ("example.yaml", text!($folder, "/example.yaml")),
            ],
            next: $next,
        }
    };
}

/// Every kind, in the order of [`Kind`].
pub(super) const TEMPLATES: &[Template] = &[
    crate_of!(Tool, "tool", KIT, BUILD_KIT, "Counts the words of a text."),
    crate_of!(Kit, "kit", KIT, BUILD_KIT, "Splits and joins texts."),
    crate_of!(LlmNodeTool, "llm-node-tool", KIT, BUILD_KIT, "Rewrites a text for somebody."),
    crate_of!(Agent, "agent", AGENT, BUILD_AGENT, "Answers a question from facts."),
    crate_of!(AgentTool, "agent-tool", AGENT, BUILD_AGENT, "Calls a tool for every input."),
    Template {
        kind: Kind::Bundle,
        place: BUNDLE,
        about: "Two steps, the second on the result of the first.",
        files: &[("bundle.yaml", text!("bundle/bundle.yaml")), ("workflows/main.yaml", text!("bundle/main.yaml"))],
        next: BUILD_BUNDLE,
    },
    blueprint!(Workflow, "workflow", "Two steps, the second on the result of the first."),
    blueprint!(Llm, "llm", "One model call with a structured answer."),
    blueprint!(Condition, "condition", "One of two paths, by an expression."),
    blueprint!(Loop, "loop", "The same steps for each item of a list."),
    blueprint!(Parallel, "parallel", "Branches side by side, put together at the end."),
    blueprint!(Recursive, "recursive", "An agent again and again, until it is good enough."),
    blueprint!(Code, "code", "Python in the sandbox."),
    blueprint!(Human, "human", "Waits for a person, then goes on."),
    blueprint!(Monitor, "monitor", "Watches the cost of work and stops it."),
    blueprint!(Swarm, "swarm", "Agents with roles that agree on an answer."),
    blueprint!(Webhook, "webhook", "Posts a result to an address."),
    Template {
        kind: Kind::Network,
        place: Place::Here,
        about: "Blueprints that belong together, the second after the first.",
        files: &[
            ("__name__.yaml", text!("network/network.yaml")),
            ("__name___first.yaml", text!("network/first.yaml")),
            ("__name___second.yaml", text!("network/second.yaml")),
        ],
        next: RUN_NETWORK,
    },
];

pub(super) fn template(kind: Kind) -> &'static Template {
    TEMPLATES.iter().find(|template| template.kind == kind).expect("every kind has a row, a test sees to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_and_every_folder_a_kind() {
        let mut folders: Vec<String> =
            Kind::value_variants().iter().map(|kind| template(*kind).name()).chain(["workspace".into()]).collect();
        folders.sort();
        let there = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/templates");
        let mut found: Vec<String> = std::fs::read_dir(there)
            .expect("the templates are there")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(folders, found);
    }
}
