//! A real Postgres server for the tests of this binary, and a database for each that asks.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::home::root;

const PASSWORD: &str = "s3cret-of-the-tests";

/// A running server. It ends with the process: what keeps it reads from it until then.
struct Server {
    programs: PathBuf,
    port: u16,
    _keeper: (Child, ChildStdin),
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// What a statement answers: one line a row.
pub(crate) fn ask(url: &str, statement: &str) -> String {
    let asked = Command::new(server().programs.join("psql")).args([url, "-Atc", statement]).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}

/// The URL of a new empty database.
pub(crate) fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = server();
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let made = Command::new(server.programs.join("createdb"))
        .args(["-h", "127.0.0.1", "-U", "ice", "-p", &server.port.to_string(), &name])
        .env("PGPASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("postgres://ice:{PASSWORD}@127.0.0.1:{}/{name}", server.port)
}

fn start() -> Server {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
    let version = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let programs = found.map(|folder| folder.join("bin")).filter(|bin| bin.join("initdb").exists()).max_by_key(version);
    let programs = programs.expect("there is no Postgres: run `make setup`");
    let folder = tempfile::Builder::new().prefix("ice-pg-").tempdir().unwrap().keep();
    std::fs::write(folder.join("password"), PASSWORD).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new("sh")
        .arg(root().join("host/ice-store/tests/postgres/keep.sh"))
        .args([&programs, &folder])
        .args([&port.to_string(), "-c max_connections=200"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // An interrupt at the terminal ends the tests, and through them the server, in this order.
        .process_group(0)
        .spawn()
        .unwrap();
    let orders = child.stdin.take().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the server does not start; its words are above");
    Server { programs, port, _keeper: (child, orders) }
}
