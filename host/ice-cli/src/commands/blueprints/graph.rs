//! `ice blueprints graph`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ice_core::blueprint::{self, Parsed};
use ice_core::ports::Components as _;
use ice_core::problem::{Exit, Problem};
use ice_engine::drawing::Drawing;
use serde_json::json;

use crate::commands::{Outcome, build, bundle};
use crate::config::Config;
use crate::files;
use crate::output::Output;
use crate::wire::Host;

/// Draw a blueprint: Mermaid, DOT or SVG
///
/// Nodes inside nodes stand in frames, a line goes from a node to each one that takes its output or waits for it, the
/// words on it are the parameters that take it. The blueprint is checked first: what is drawn can run.
///
/// Example: ice blueprints graph chatkit.rag_chat -o rag_chat.svg
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A blueprint in YAML or JSON, `-` for standard input, or an entry of an installed bundle
    source: String,
    /// The notation [default: by the ending of `--output`, else mermaid]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file to write; standard output by default
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Markdown pages
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
}

/// Endings of files, by notation.
const ENDINGS: &[(&str, Format)] =
    &[("svg", Format::Svg), ("dot", Format::Dot), ("gv", Format::Dot), ("mmd", Format::Mermaid)];

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
    }
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let host = Host::open(config, output).await?;
    let parsed = source(&args.source, &host).await?;
    let plan = host.engine.plan(&parsed).await.map_err(|problems| host.explain(problems))?;
    let drawing = Drawing::of(&plan).map_err(one)?;
    let format = args.format.or_else(|| Format::of(args.output.as_ref()?)).unwrap_or(Format::Mermaid);
    let text = match format {
        Format::Mermaid => drawing.mermaid(),
        Format::Dot => drawing.dot(),
        Format::Svg => drawing.svg(),
    };
    match &args.output {
        Some(path) => {
            files::replace(path, text.as_bytes()).map_err(one)?;
            output.note(&format!("wrote {}", path.display()));
            if output.json() {
                output.value(&json!({ "file": path, "kinds": drawing.kinds() }));
            }
        }
        None if output.json() => output.value(&json!({ "graph": text, "kinds": drawing.kinds() })),
        None => output.line(text.trim_end()),
    }
    Ok(Exit::Done)
}

/// A file when there is one of that name, else a bundle's blueprint.
async fn source(source: &str, host: &Host) -> Result<Parsed, Vec<Problem>> {
    let path = Path::new(source);
    let known = bundle::find(&host.catalog, source);
    match known {
        Ok(entry) if source != "-" && !path.exists() => {
            let document = host.runtime.blueprint(&entry).await.map_err(|failure| vec![failure.problem])?;
            blueprint::parse(&document.to_string(), &entry)
        }
        Err(problem) if source != "-" && !path.exists() && path.extension().is_none_or(|end| end != "yaml") => {
            Err(vec![problem.help("name a file, or a blueprint that `ice bundle list` shows")])
        }
        _ => build::parse_file(path),
    }
}
