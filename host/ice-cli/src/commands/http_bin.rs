//! `ice http-bin`.

use ice_core::problem::Exit;
use serde_json::json;

use super::Outcome;
use crate::http_bin::HttpBin;
use crate::interrupt;
use crate::output::Output;

/// Start a local HTTP bin that keeps what is posted to it
///
/// POST anything to it; GET /items shows what came, GET /count how many. It listens on 127.0.0.1 only and keeps
/// everything in memory until it is stopped with Ctrl-C.
///
/// Example: ice http-bin --port 8099
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

pub(crate) async fn run(args: Args, output: &Output) -> Outcome {
    let bin = HttpBin::start(args.port).await.map_err(|problem| vec![problem])?;
    let url = format!("http://{}", bin.address);
    output.either(|| json!({ "url": url }), || vec![url.clone()]);
    interrupt::interrupted().await;
    output.note(&format!("received {}", bin.count()));
    Ok(Exit::Done)
}
