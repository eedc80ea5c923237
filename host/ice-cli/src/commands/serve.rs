//! `ice serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ice_api::{Access, Rate, Server, Token};
use ice_core::problem::{Code, Exit, Problem};
use ice_engine::Started;
use serde_json::json;
use tokio::sync::watch;

use super::{Outcome, schedules};
use crate::config::Config;
use crate::files;
use crate::interrupt;
use crate::output::Output;
use crate::wire::Host;

/// Answer over HTTP: start executions, wait for them, follow and cancel them; and run schedules at their times
///
/// Whoever asks sends `Authorization: Bearer TOKEN` with the token in `ICE_API_TOKEN` or `--token-file`. Executions that
/// a dead process left are taken up. Ctrl-C or SIGTERM stops it: nothing more is started, everybody who waits is answered,
/// executions have `--grace` seconds to end, and what has not ended by then another process may take up at once.
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
    /// Leave schedules to other processes
    #[arg(long)]
    no_schedules: bool,
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
    let (stopping, mut stopped) = watch::channel(false);
    let stop = async {
        interrupt::interrupted().await;
        interrupt::leave_on_second();
        output.note("stopping");
        stopping.send_replace(true);
    };
    let scheduled = async {
        let timetable = host.timetable();
        tokio::select! {
            biased;
            // The sender lives as long as this.
            _ = stopped.wait_for(|stopped| *stopped) => {}
            never = timetable.serve(|heard| told(heard, output)), if !args.no_schedules => match never {},
        }
    };
    let (left, ()) = tokio::join!(server.serve(&api, stop, args.grace * 1_000), scheduled);
    host.close().await;
    if left > 0 {
        output.note(&format!("{left} executions have not ended; the next `ice serve` goes on with them"));
    }
    Ok(Exit::Done)
}

/// Says what schedules did. Not on standard output: whoever started the server reads its address there, and nothing more.
fn told(heard: Result<Started, Problem>, output: &Output) {
    match &heard {
        Ok(Started { name, run: Ok(handle), .. }) => {
            output.note(&format!("schedule `{name}`: execution {}", handle.id))
        }
        Ok(started) => schedules::refusals(started).iter().for_each(|problem| output.warn(problem)),
        Err(problem) => output.warn(problem),
    }
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
