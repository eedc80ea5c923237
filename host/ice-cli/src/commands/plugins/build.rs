//! `ice plugins build`.

use std::path::{Path, PathBuf};

use ice_core::problem::Exit;
use serde_json::json;

use super::export;
use crate::commands::Outcome;
use crate::config::Config;
use crate::guests::{self, Progress};
use crate::output::Output;
use crate::wire::refuse_dynamic;

/// Build plugins from source into components, and write their manifests
///
/// Components land under `plugins/target/components`, manifests under `manifests`. What did not change is not built
/// again. Rust plugins need the `wasm32-wasip2` target (`rustup target add wasm32-wasip2`), or Debian's rustc-web,
/// cargo-web, rust-web-src and wasi-libc; Python and JavaScript need what `make setup` puts under `target`; bundles of
/// YAML need nothing.
///
/// Example: ice plugins build memory chatkit
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all of them by default
    names: Vec<String>,
    /// The folder with `kits`, `agents` and `bundles`
    #[arg(long, default_value = "plugins")]
    plugins: PathBuf,
    /// Where manifests are written
    #[arg(long, default_value = "manifests")]
    manifests: PathBuf,
}

/// Components larger than this take long enough to compile that a person wants to know why.
const SLOW_BYTES: u64 = 4 << 20;

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    refuse_dynamic(config).map_err(|problem| vec![problem])?;
    let encode = |folder: &Path| crate::bundle_source::encode(folder);
    let mut report = |progress: Progress| match progress {
        Progress::Compiler(compiler) => output.note(&format!("compiler: {compiler}")),
        Progress::Begins(what) => output.note(&format!("  {what}")),
        Progress::Cargo(line) => output.note(&format!("  {line}")),
        Progress::Placed(built) => output.note(&format!(
            "  {:<28} {:>7} KiB{}",
            built.label,
            built.bytes.div_ceil(1024),
            if built.changed { "" } else { "  (the same as before)" }
        )),
        Progress::Unchanged { components } => output.note(&format!("nothing changed; {components} components")),
    };
    let built = guests::build(&args.plugins, &args.names, &encode, &mut report)?;
    // An interpreter takes a minute to compile; without this it would in every build that changes nothing.
    let compiled = args.plugins.join("target/aot");
    let mut problems = Vec::new();
    let mut manifests = Vec::new();
    for guest in built.iter().filter(|guest| !guest.label.starts_with("hostile/")) {
        let folder = args.plugins.join(&guest.label);
        let target = args.manifests.join(format!("{}.json", guest.label));
        if guest.changed && guest.bytes > SLOW_BYTES {
            output.note(&format!("  compiling {} to ask it what it is; this takes up to a minute", guest.label));
        }
        match export::export(&guest.path, &folder, &target, Some(&compiled)).await {
            Ok(written) => manifests.push(
                json!({ "plugin": guest.label, "component": guest.path, "manifest": target, "written": written }),
            ),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if output.json() {
        output.value(&json!(manifests));
    }
    Ok(Exit::Done)
}
