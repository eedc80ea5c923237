//! Real registries for tests: Debian's docker-registry and ferro-oci-server, each on a free port of 127.0.0.1 with a
//! temporary folder, ended with its value. `make setup` brings the programs; without them tests fail, they do not skip.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A loaded machine with two cores starts one in a second or two.
const START_TIME: Duration = Duration::from_secs(30);
/// Somebody else may take a free port before the registry does.
const PORTS_TRIED: usize = 5;

/// What a garbage collection does with manifests that no tag names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Untagged {
    Keep,
    Delete,
}

/// Debian's docker-registry: no list of referrers, ranges, mounts; a password where one is asked for.
pub(crate) struct DockerRegistry {
    running: Running,
}

impl DockerRegistry {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Asks for this login (HTTP Basic, bcrypt).
    pub(crate) fn start_with_htpasswd(user: &str, password: &str) -> Self {
        let hash = "import bcrypt, sys; u, p = (a.encode() for a in sys.argv[1:]); \
                    sys.stdout.buffer.write(u + b':' + bcrypt.hashpw(p, bcrypt.gensalt(4)) + b'\\n')";
        let line = Command::new(tool("venv/bin/python")).args(["-c", hash, user, password]).output().unwrap();
        assert!(line.status.success(), "bcrypt: {}", String::from_utf8_lossy(&line.stderr));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("htpasswd");
        fs::write(&file, line.stdout).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", file.display());
        let mut registry = Self::start_with(&auth);
        registry.running.folders.push(folder);
        registry
    }

    fn start_with(more: &str) -> Self {
        let running = Running::start(|folder, address| {
            let root = folder.join("data");
            // No cache: what a garbage collection removes must be gone for the server too.
            let text = format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http: {{addr: '{address}'}}\n{more}",
                root.display()
            );
            fs::write(folder.join("config.yml"), text).unwrap();
            let mut command = Command::new(tool("peers/bin/docker-registry"));
            command.arg("serve").arg(folder.join("config.yml"));
            command
        });
        Self { running }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.running.address.to_string()
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Removes blobs that no manifest names, as an operator does.
    pub(crate) fn garbage_collect(&self, untagged: Untagged) {
        let mut command = Command::new(tool("peers/bin/docker-registry"));
        command.arg("garbage-collect");
        if untagged == Untagged::Delete {
            command.arg("--delete-untagged");
        }
        let done = command.arg(self.running.folder().join("config.yml")).output().unwrap();
        assert!(done.status.success(), "garbage-collect: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// ferro-oci-server: a list of referrers and pages of tags, no ranges, no mounts, no passwords.
pub(crate) struct Ferro {
    running: Running,
}

impl Ferro {
    pub(crate) fn start() -> Self {
        let running = Running::start(|folder, address| {
            let mut command = Command::new(tool("peers/bin/ferro-oci-server"));
            command.env("FERRO_OCI_LISTEN", address.to_string()).env("FERRO_OCI_STORAGE_DIR", folder.join("data"));
            command
        });
        Self { running }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.running.address.to_string()
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }
}

struct Running {
    child: Child,
    address: SocketAddr,
    // The first is the registry's own.
    folders: Vec<TempDir>,
}

impl Running {
    fn start(command: impl Fn(&Path, SocketAddr) -> Command) -> Self {
        for _ in 0..PORTS_TRIED {
            let folder = tempfile::tempdir().unwrap();
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let log = File::create(folder.path().join("log")).unwrap();
            let mut command = command(folder.path(), address);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let mut running = Self { child, address, folders: vec![folder] };
            if running.is_up() {
                return running;
            }
            let (ended, log) = (running.child.try_wait().unwrap(), running.log());
            assert!(log.contains("in use"), "the registry did not start ({ended:?}):\n{log}");
        }
        panic!("no port of 127.0.0.1 stays free");
    }

    /// Whether it takes connections before it ends or the time is over.
    fn is_up(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < START_TIME && self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                // On a port that was taken in between, somebody else answers and this one ends.
                return self.child.try_wait().unwrap().is_none();
            }
            std::thread::yield_now();
        }
        false
    }

    fn folder(&self) -> &Path {
        self.folders[0].path()
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder().join("log")).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program below `target/` of the checkout.
fn tool(path: &str) -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join(".ci/setup").is_file());
    let tool = checkout.expect("a checkout holds .ci/setup").join("target").join(path);
    assert!(tool.is_file(), "{} is missing: run `make setup`", tool.display());
    tool
}
