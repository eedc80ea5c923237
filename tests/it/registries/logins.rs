//! A registry that asks who is there. The password reaches it and nobody else.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;

use crate::home::{Home, Ran};

use super::servers::DockerRegistry;
use super::world::{Small, acme, is_whole, refuses, user_of};

const USER: &str = "alice";
const PASSWORD: &str = "correct-Horse-7f3a";
const WRONG: &str = "battery-Staple-91cc";

fn login(home: &Home, address: &str, password: &str) -> Ran {
    let mut command = home.ice();
    command.args(["login", address, "--user", USER, "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    Ran::from(child.wait_with_output().unwrap())
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// The passwords, as they are and as they are sent.
fn secrets() -> Vec<String> {
    let sent = |password| base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
    vec![PASSWORD.to_owned(), WRONG.to_owned(), sent(PASSWORD), sent(WRONG)]
}

fn holds_a_secret(text: &[u8]) -> bool {
    secrets().iter().any(|secret| text.windows(secret.len()).any(|part| part == secret.as_bytes()))
}

/// Files of a home that hold a password.
fn leaks(home: &Home) -> Vec<PathBuf> {
    files(home.path()).into_iter().filter(|path| holds_a_secret(&std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_registry_with_a_password_takes_the_right_one_and_nothing_else_learns_it() {
    let registry = DockerRegistry::start_with_htpasswd(USER, PASSWORD);
    let address = registry.address();
    let publisher = acme(&address);
    let user = user_of(&publisher, &address);
    let plugin = Small::new("acme/table");
    plugin.sign(&publisher, "acme");
    let publish = ["publish", "acme/table", "--yes"];
    let install = ["install", "acme/table", "--yes"];
    let mut seen = Vec::new();
    let mut see = |ran: Ran| seen.push(format!("{}{}", ran.out, ran.err));
    let wants_login = |ran: Ran| {
        let ran = refuses(ran.exits(3), "R007");
        assert!(ran.err.contains(&format!("`ice login {address}`")), "{}", ran.err);
        ran
    };

    see(wants_login(publisher.run(&publish)));
    see(wants_login(user.run(&install)));
    see(wants_login(login(&publisher, &address, WRONG)));
    assert_eq!(leaks(&publisher), Vec::<PathBuf>::new(), "a refused login is not kept");
    see(wants_login(publisher.run(&publish)));

    for home in [&publisher, &user] {
        let ran = login(home, &address, PASSWORD).exits(0);
        let kept = leaks(home);
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(ran.out.contains(kept[0].to_str().unwrap()), "{}", ran.out);
        assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        see(ran);
    }
    see(publisher.run(&publish).exits(0));
    see(user.run(&install).exits(0));
    assert_eq!((leaks(&publisher).len(), leaks(&user).len()), (1, 1), "the login file, and nothing else");
    is_whole(&user);

    for home in [&publisher, &user] {
        see(home.run(&["logout", &address]).exits(0));
        assert_eq!(leaks(home), Vec::<PathBuf>::new());
    }
    see(wants_login(publisher.run(&publish)));
    see(wants_login(user.run(&["update"])));
    for text in seen.iter().chain([&registry.log()]) {
        assert!(!holds_a_secret(text.as_bytes()), "a password is told:\n{text}");
    }
    assert!(registry.log().contains("alice"), "the log was looked at: {}", registry.log());
}
