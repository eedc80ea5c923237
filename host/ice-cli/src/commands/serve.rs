//! `ice serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ice_api::{Access, Rate, Server, Token};
use ice_core::problem::{Code, Exit, Problem};
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::files;
use crate::interrupt;
use crate::output::Output;
use crate::wire::Host;

/// Answer over HTTP: start executions, wait for them, follow and cancel them
///
/// Whoever asks sends `Authorization: Bearer TOKEN` with the token in `ICE_API_TOKEN` or `--token-file`. Executions that
/// a dead process left are taken up. Ctrl-C or SIGTERM stops it: everybody who waits is answered, executions have
/// `--grace` seconds to end, and what has not ended by then is taken up by the next process.
///
/// Example: ICE_API_TOKEN=$(openssl rand -hex 32) ice serve --listen 127.0.0.1:8080
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// A file with the token, instead of `ICE_API_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answer everybody on this machine, without a token; on loopback addresses only
    #[arg(long, conflicts_with = "token_file")]
    dev_no_auth: bool,
    /// How many seconds executions have to end when the server stops
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3_600))]
    grace: u64,
    /// The most requests that one route takes within `--rate-window`; any number by default
    #[arg(long, env = "ICE_RATE_MAX_REQUESTS", value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    rate_max: Option<u32>,
    /// The seconds over which requests are counted
    #[arg(long, env = "ICE_RATE_WINDOW_SECONDS", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    rate_window: u64,
}

pub(crate) async fn run(args: Args, config: &Config, output: &Output) -> Outcome {
    let one = |problem: Problem| vec![problem];
    let access = access(&args).map_err(one)?;
    // Before anything is opened: a port that is taken should not cost a start.
    let server = Server::bind(args.listen, &access).await.map_err(one)?;
    let host = Host::open(config, output).await?;
    let rate = args.rate_max.map(|requests| Rate { requests, window: Duration::from_secs(args.rate_window) });
    let log = Output::new(output.json(), false);
    let api = host.api(access, rate, Arc::new(move |problem| log.warn(problem)));
    let url = format!("http://{}", server.address);
    output.either(|| json!({ "url": url, "address": server.address }), || vec![format!("listening on {url}")]);
    let stop = async {
        interrupt::interrupted().await;
        interrupt::leave_on_second();
        output.note("stopping");
    };
    let left = server.serve(&api, stop, args.grace * 1_000).await;
    host.close().await;
    if left > 0 {
        output.note(&format!("{left} executions have not ended; the next `ice serve` goes on with them"));
    }
    Ok(Exit::Done)
}

fn access(args: &Args) -> Result<Access, Problem> {
    if args.dev_no_auth {
        return Ok(Access::ThisMachine);
    }
    let token = match &args.token_file {
        Some(path) => Some(from_file(path)?),
        None => from_environment()?,
    };
    let missing = || {
        Problem::new(Code::A013, "there is no token: nobody could ask, or everybody")
            .help("set `ICE_API_TOKEN` or `--token-file`, or add `--dev-no-auth` to let everybody on this machine ask")
    };
    Token::new(&token.ok_or_else(missing)?).map(Access::Token)
}

fn from_file(path: &Path) -> Result<String, Problem> {
    Ok(files::read_text(path)?.trim().to_owned())
}

fn from_environment() -> Result<Option<String>, Problem> {
    match std::env::var("ICE_API_TOKEN") {
        Ok(token) if token.is_empty() => Ok(None),
        Ok(token) => Ok(Some(token)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Problem::new(Code::A013, "`ICE_API_TOKEN` is not text").help("make one with `openssl rand -hex 32`"))
        }
    }
}
