//! Logins: what is sent after which challenge, where they are kept, and that nothing prints them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ice_core::id::Digest;
use ice_core::problem::Code;
use ice_registry::client::{Client, Credentials, Kept, Registries};

use crate::network::lying::{Authority, Lying, Reply, Seen};
use crate::network::world::{
    PASSWORD, Pauses, TOKEN, USER, client, credentials, options, plain, repository, secret, tells_no_secret,
};

const PAIR: &str = "Basic YWxpY2U6aHVudGVyMlNFQ1JFVA==";

/// A registry that gives tokens itself.
fn with_tokens(seen: &Seen) -> Reply {
    let bearer = format!("Bearer {TOKEN}");
    let host = seen.header("host").unwrap();
    match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", Some(PAIR)) => Reply::status(200).body(format!("{{\"token\":\"{TOKEN}\"}}")),
        ("GET /token", _) => Reply::status(401),
        (_, Some(token)) if token == bearer => Reply::status(200).body("{\"tags\":[\"1.0.0\"]}"),
        _ => Reply::status(401)
            .header("www-authenticate", format!("Bearer realm=\"https://{host}/token?a=b\",service=\"reg istry\"")),
    }
}

#[tokio::test]
async fn a_login_is_exchanged_for_a_token_and_the_token_is_kept() {
    let authority = Authority::new();
    let lying = Lying::secret(&authority, with_tokens).await;
    let client = client(&secret(&lying, &authority.pem));
    for _ in 0..2 {
        assert_eq!(client.tags(&repository(&lying)).await.unwrap(), ["1.0.0"]);
    }
    assert_eq!(
        lying.lines(),
        ["GET /v2/acme/csv/tags/list", "GET /token", "GET /v2/acme/csv/tags/list", "GET /v2/acme/csv/tags/list"]
    );
    assert_eq!(lying.seen()[1].target, "/token?a=b&service=reg+istry&scope=repository%3Aacme%2Fcsv%3Apull");
    client.mount(&repository(&lying), &repository(&lying), &Digest::of(b"x")).await.unwrap_err();
    let scopes = lying.seen().into_iter().rev().find(|seen| seen.line() == "GET /token").unwrap().target;
    assert!(
        scopes.ends_with("&scope=repository%3Aacme%2Fcsv%3Apull%2Cpush&scope=repository%3Aacme%2Fcsv%3Apull"),
        "{scopes}"
    );
    let printed = format!("{client:?}");
    assert!(!printed.contains(PASSWORD) && !printed.contains(TOKEN), "{printed}");
}

#[tokio::test]
async fn a_token_that_ran_out_is_asked_for_again_once() {
    let asked = AtomicUsize::new(0);
    let lying = Lying::plain(move |seen| match (seen.line().as_str(), seen.header("authorization")) {
        ("GET /token", _) => {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            Reply::status(200).body(format!("{{\"access_token\":\"t{number}\"}}"))
        }
        (_, Some("Bearer t1")) => Reply::status(200).body("{\"tags\":[]}"),
        // The first token is good for one request.
        (_, Some("Bearer t0")) if seen.method == "HEAD" => Reply::status(200),
        _ => Reply::status(401)
            .header("www-authenticate", format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap())),
    })
    .await;
    let client = client(&plain(&lying));
    assert!(client.head(&repository(&lying), "1.0.0").await.unwrap());
    client.tags(&repository(&lying)).await.unwrap();
    let lines = lying.lines();
    assert_eq!(lines.iter().filter(|line| *line == "GET /token").count(), 2, "{lines:?}");
}

#[tokio::test]
async fn a_realm_that_is_listed_gets_the_login() {
    let authority = Authority::new();
    let tokens = Lying::secret(&authority, with_tokens).await;
    let realm = format!("https://{}/token", tokens.host());
    let header = format!("Bearer realm=\"{}\"", realm.replace("127.0.0.1", "localhost"));
    let lying = Lying::secret(&authority, move |seen| match seen.header("authorization") {
        Some(_) => Reply::status(200).body("{\"tags\":[]}"),
        None => Reply::status(401).header("www-authenticate", header.clone()),
    })
    .await;
    let localhost = format!("localhost:{}", tokens.address.port());
    let listed = format!(
        "{}realms = [\"https://{localhost}/token\"]\n[registry.\"{localhost}\"]\nca = '''\n{}'''\n",
        secret(&lying, &authority.pem),
        authority.pem
    );
    client(&listed).tags(&repository(&lying)).await.unwrap();
    assert_eq!(tokens.seen()[0].header("authorization"), Some(PAIR));
    assert_eq!(lying.seen()[1].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
}

#[tokio::test]
async fn a_login_is_sent_after_a_challenge_only() {
    let lying = Lying::plain(|_| Reply::status(200).body("{\"tags\":[]}")).await;
    client(&plain(&lying)).tags(&repository(&lying)).await.unwrap();
    assert!(!lying.saw_login());
}

#[tokio::test]
async fn a_login_is_proved_or_not() {
    let authority = Authority::new();
    let lying = Lying::secret(&authority, with_tokens).await;
    let with_prefix = secret(&lying, &authority.pem).replace("\"]", "/ice\"]");
    let client = client(&with_prefix);
    client.login(&format!("{}/ice", lying.host()), USER, PASSWORD).await.unwrap();
    client.login(&lying.host(), USER, PASSWORD).await.unwrap();
    assert_eq!(lying.lines()[..3], ["GET /v2/", "GET /token", "GET /v2/"]);
    let problem = client.login(&lying.host(), USER, "wrongSECRET").await.unwrap_err();
    assert_eq!(problem.code, Code::R007);
    tells_no_secret(&problem);
    let open = Lying::plain(|_| Reply::status(200)).await;
    let problem = crate::network::world::client(&plain(&open)).login(&open.host(), USER, PASSWORD).await.unwrap_err();
    assert_eq!(problem.code, Code::R007);
    assert!(!open.saw_login());
    assert_eq!(client.login("acme", USER, PASSWORD).await.unwrap_err().code, Code::R014);
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_named() {
    let lying = Lying::plain(|_| Reply::status(401).header("www-authenticate", "Basic realm=\"x\"")).await;
    let settings = plain(&lying).replace("ICE_PASSWORD", "ICE_OTHER");
    let problem = client(&settings).tags(&repository(&lying)).await.unwrap_err();
    assert_eq!(problem.code, Code::C006);
    assert!(problem.message.contains("$ICE_OTHER"), "{problem}");
    assert!(!lying.saw_login());
}

fn with_files(lying: &Lying, credentials: Credentials) -> Client {
    let settings = format!("[registry.\"{}\"]\nplain_http = true\n", lying.host());
    Client::new(Registries::parse(&settings).unwrap(), credentials, options(&Arc::<Pauses>::default())).unwrap()
}

async fn basic() -> Lying {
    Lying::plain(|seen| match seen.header("authorization") {
        Some(PAIR) => Reply::status(200).body("{\"tags\":[]}"),
        _ => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await
}

#[tokio::test]
async fn a_login_is_kept_in_a_file_of_its_owner() {
    let home = tempfile::tempdir().unwrap();
    let own = home.path().join("ice").join("docker-config.json");
    let credentials = Credentials::new(Some(own.clone()), None, |_| None);
    let lying = basic().await;
    let without = with_files(&lying, credentials.clone());
    let problem = without.tags(&repository(&lying)).await.unwrap_err();
    assert_eq!((problem.code, problem.help), (Code::R007, Some(format!("`ice login {}`", lying.host()))));

    credentials.store("other.example", "bob", "x").await.unwrap();
    assert_eq!(credentials.store(&lying.host(), USER, PASSWORD).await.unwrap(), Kept::File(own.clone()));
    assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
    with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap();
    assert!(!format!("{credentials:?}").contains(PASSWORD));

    credentials.erase(&lying.host()).await.unwrap();
    credentials.erase(&lying.host()).await.unwrap();
    let text = std::fs::read_to_string(&own).unwrap();
    assert!(!text.contains(&lying.host()) && text.contains("other.example"), "{text}");

    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o644)).unwrap();
    let problem = with_files(&lying, credentials).tags(&repository(&lying)).await.unwrap_err();
    assert_eq!(problem.code, Code::T010);
}

#[tokio::test]
async fn what_docker_keeps_is_found_and_never_quoted() {
    let home = tempfile::tempdir().unwrap();
    let docker = home.path().join("config.json");
    let credentials = Credentials::new(None, Some(docker.clone()), |_| None);
    let lying = basic().await;
    let write =
        |entry: &str| std::fs::write(&docker, format!("{{\"auths\":{{\"{}\":{entry}}}}}", lying.host())).unwrap();
    write("{\"auth\":\"YWxpY2U6aHVudGVyMlNFQ1JFVA==\"}");
    with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap();
    for bad in ["{\"auth\":\"hunter2SECRET\"}", "\"hunter2SECRET\"", "{\"auth\":1,hunter2SECRET"] {
        write(bad);
        let problem = with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap_err();
        assert_eq!(problem.code, Code::C006, "{bad}");
        tells_no_secret(&problem);
    }
    std::fs::write(&docker, "{\"credsStore\":\"../../evil\"}").unwrap();
    let problem = with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap_err();
    assert_eq!(problem.code, Code::C006);
    for (user, password) in [("", "x"), ("a:b", "x")] {
        assert_eq!(credentials.store("r.example", user, password).await.unwrap_err().code, Code::C006);
    }
}

#[tokio::test]
async fn a_token_of_docker_is_exchanged_and_stays_out_of_urls() {
    let home = tempfile::tempdir().unwrap();
    let docker = home.path().join("config.json");
    let lying = Lying::plain(|seen| match (seen.line().as_str(), seen.header("authorization")) {
        ("POST /token", None) => Reply::status(200).body(format!("{{\"access_token\":\"{TOKEN}\"}}")),
        (_, Some(_)) => Reply::status(200).body("{\"tags\":[]}"),
        _ => Reply::status(401).header(
            "www-authenticate",
            format!("Bearer realm=\"http://{}/token\",service=\"s\"", seen.header("host").unwrap()),
        ),
    })
    .await;
    let config = format!("{{\"auths\":{{\"{}\":{{\"identitytoken\":\"id&SECRET\"}}}}}}", lying.host());
    std::fs::write(&docker, config).unwrap();
    let client = with_files(&lying, Credentials::new(None, Some(docker), |_| None));
    client.tags(&repository(&lying)).await.unwrap();
    let exchange = &lying.seen()[1];
    assert_eq!(exchange.target, "/token");
    assert_eq!(
        exchange.body,
        "grant_type=refresh_token&client_id=ice&scope=repository%3Aacme%2Fcsv%3Apull&service=s&refresh_token=id%26SECRET"
    );
}

/// Keeps what it is told in a file beside itself, as the programs of desktops do with theirs.
const KEEPER: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 2\ncase $1 in\n  store) cat > kept;;\n  get) cat > asked\n\
    if [ -f kept ]; then cat kept; else echo 'credentials not found in native keychain'; exit 1; fi;;\n\
  erase) cat > erased; rm kept;;\nesac\n";

/// The path of programs belongs to a process, so this runs itself in another one.
#[test]
fn a_keeper_of_passwords_is_preferred() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("docker-credential-icetest");
    std::fs::write(&program, KEEPER).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "network::logins::with_a_keeper", "--ignored", "--nocapture"])
        .env("PATH", path)
        .env("ICE_TEST_HOME", home.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && printed.contains("1 passed"), "{printed}");
    assert!(!printed.contains(PASSWORD), "{printed}");
}

#[tokio::test]
#[ignore = "run by `a_keeper_of_passwords_is_preferred` with a path of its own"]
async fn with_a_keeper() {
    let home = std::env::var_os("ICE_TEST_HOME").unwrap();
    let home = Path::new(&home);
    let (own, docker) = (home.join("own.json"), home.join("config.json"));
    std::fs::write(&docker, "{\"credsStore\":\"icetest\"}").unwrap();
    let credentials = Credentials::new(Some(own.clone()), Some(docker), |_| None);
    let lying = basic().await;
    let host = lying.host();
    let without = with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap_err();
    assert_eq!(without.code, Code::R007);

    assert_eq!(credentials.store(&host, USER, PASSWORD).await.unwrap(), Kept::Keeper("icetest".to_owned()));
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(home.join("kept")).unwrap()).unwrap();
    assert_eq!(kept, serde_json::json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD}));
    assert!(!own.exists());
    with_files(&lying, credentials.clone()).tags(&repository(&lying)).await.unwrap();
    assert_eq!(std::fs::read_to_string(home.join("asked")).unwrap(), host);

    credentials.erase(&host).await.unwrap();
    assert_eq!(std::fs::read_to_string(home.join("erased")).unwrap(), host);
    let problem = credentials.erase(&host).await.unwrap_err();
    assert_eq!(problem.code, Code::C006, "{problem}");
}

#[tokio::test]
async fn nothing_prints_a_login() {
    let lying = basic().await;
    let client = client(&plain(&lying));
    client.tags(&repository(&lying)).await.unwrap();
    for printed in [format!("{client:?}"), format!("{:?}", credentials())] {
        assert!(!printed.contains(PASSWORD) && !printed.contains("YWxpY2U6"), "{printed}");
    }
}
