//! `POST /executions?wait_seconds` of one tool node against a real `ice serve`, durable, over kept connections of this
//! machine. Prints rows for the table `api`: table, row, column and value with a tab between two fields.
//!
//! A program of its own, on one thread: it shares the processor with the server it measures. Every answer is checked,
//! and at the end one execution is read back. Needs `ICE_BENCH_DIR` with the prepared home of `tests/bench/run`.

use std::io::{BufRead, BufReader, Error, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ice_client::Client;
use ice_client::wire::StartRequest;
use ice_core::problem::Problem;
use serde_json::{Value, json};

/// Of the server, which listens on this machine only and ends with the measurement.
const TOKEN: &str = "a-token-of-this-measurement";

/// Clients at once, requests of all of them together, and what the row says.
const LOADS: &[(usize, usize, &str)] = &[
    (1, 2_000, "**ice** one tool node, 1 client (goal: p50 2 ms)"),
    (64, 20_000, "**ice** one tool node, 64 clients (goal: 2,000 requests/s, p99 80 ms)"),
];

/// Requests before the clock runs.
const WARM_UP: usize = 200;

/// The longest any answer may take; far beyond what is measured.
const WAIT_SECONDS: f64 = 60.0;

/// `ice serve`, ended when dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(home: &Path) -> Result<Self, Error> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ice"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]);
        command.env_clear().env("ICE_HOME", home).env("ICE_API_TOKEN", TOKEN).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).map_err(Error::other)?;
        let url = said["url"].as_str().ok_or_else(|| Error::other(format!("`ice serve` said {line}")))?.to_owned();
        Ok(Self { process, url })
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Some(TOKEN.into())).expect("the server said its URL")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() -> Result<(), Error> {
    let folder = std::env::var_os("ICE_BENCH_DIR");
    let folder =
        folder.ok_or_else(|| Error::other("`ICE_BENCH_DIR` is not set: run `make bench`, which prepares it"))?;
    let server = Server::start(&Path::new(&folder).join("home"))?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(tokio::task::LocalSet::new().run_until(measure(&server)))
}

async fn measure(server: &Server) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    load(server, 1, WARM_UP).await;
    for (clients, requests, row) in LOADS {
        let began = Instant::now();
        let mut took = load(server, *clients, *requests).await;
        let wall = began.elapsed();
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let count = u32::try_from(took.len()).expect("not that many requests");
        for (column, value) in
            [("p50 ms", at(50)), ("p99 ms", at(99)), ("requests/s", f64::from(count) / wall.as_secs_f64())]
        {
            writeln!(out, "api\t{row}\t{column}\t{value}")?;
        }
    }
    Ok(())
}

/// How long each request took, all clients together.
async fn load(server: &Server, clients: usize, requests: usize) -> Vec<Duration> {
    let request = Rc::new(request());
    let running: Vec<_> = (0..clients)
        .map(|_| tokio::task::spawn_local(ask(server.client(), Rc::clone(&request), requests.div_ceil(clients))))
        .collect();
    let mut took = Vec::with_capacity(requests);
    for client in running {
        took.extend(client.await.expect("no client panics"));
    }
    took
}

async fn ask(mut client: Client, request: Rc<StartRequest>, requests: usize) -> Vec<Duration> {
    let mut took = Vec::with_capacity(requests);
    let mut last = String::new();
    for _ in 0..requests {
        let began = Instant::now();
        let answer = client.start(&request, WAIT_SECONDS).await;
        took.push(began.elapsed());
        let answer = answer.unwrap_or_else(|problems| panic!("{}", words(&problems)));
        let output = answer.result.map(|result| result.output);
        assert_eq!(output, Some(json!({ "join": { "text": "first text, second text" } })), "{}", answer.status);
        last = answer.execution_id;
    }
    let stored = client.execution(&last).await.unwrap_or_else(|problems| panic!("{}", words(&problems)));
    assert_eq!(stored.status, "completed", "what was answered is stored");
    took
}

fn request() -> StartRequest {
    let arguments = json!({ "inputs": "{{ inputs.texts }}", "sep": ", " });
    let node = json!({ "id": "join", "type": "tool", "tool_name": "aggregator_concat", "tool_args": arguments });
    let blueprint = json!({ "schema_version": "1.2.0", "nodes": [node] });
    StartRequest::of_document(blueprint, json!({ "texts": ["first text", "second text"] }))
}

fn words(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
