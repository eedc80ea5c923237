//! `ice plugins build`.

use std::path::{Path, PathBuf};

use ice_core::problem::Exit;
use serde_json::json;

use super::export;
use crate::commands::Outcome;
use crate::guests::{self, Progress};
use crate::output::Output;

/// Build plugins from source into components, and write their manifests
///
/// Components land under `plugins/target/components`, manifests under `manifests`. What did not change is not built
/// again. Rust plugins need the `wasm32-wasip2` target (`rustup target add wasm32-wasip2`), or Debian's rustc-web,
/// cargo-web, rust-web-src and wasi-libc; bundles of YAML need nothing.
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

pub(crate) async fn run(args: Args, output: &Output) -> Outcome {
    let encode = |folder: &Path| crate::bundle_source::encode(folder);
    let mut report = |progress: Progress| match progress {
        Progress::Compiler(compiler) => output.note(&format!("compiler: {compiler}")),
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
    let mut problems = Vec::new();
    let mut manifests = Vec::new();
    for guest in built.iter().filter(|guest| !guest.label.starts_with("hostile/")) {
        let folder = args.plugins.join(&guest.label);
        let target = args.manifests.join(format!("{}.json", guest.label));
        match export::export(&guest.path, &folder, &target).await {
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
