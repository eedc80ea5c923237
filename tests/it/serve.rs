//! Processes that stay up: schedules whose time has come, `kill -9` in the middle, and stopping in order.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use ice_capabilities::SystemClock;
use ice_client::wire::StartRequest;
use ice_core::id::Identity;
use ice_core::ports::{Clock, ScheduleRow, Schedules};
use serde_json::{Value, json};

use crate::api::{Serving, TOKEN, block_on, home_for, posts};
use crate::home::Home;
use crate::postgres;
use crate::servers::{Reply, Server};

/// A server that answers from the request on that has this number only when the door is opened.
struct Door {
    bin: Server,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Door {
    fn shut_from(number: usize) -> Self {
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = Arc::clone(&open);
        let bin = Server::start(move |_, before| -> Reply {
            if before >= number {
                drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
            }
            (201, "application/json", "{}".into())
        });
        Self { bin, open }
    }

    fn open(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }

    fn paths(&self) -> Vec<String> {
        self.bin.received().iter().map(|request| request.path.clone()).collect()
    }
}

/// Adds a schedule whose time was last midnight of New Year, and has not come for this host yet.
fn add_overdue(home: &Home, document: &Value) {
    let file = home.write("overdue.json", document.to_string());
    home.run(&["schedules", "add", "overdue", &file, "--cron", "@yearly"]).exits(0);
    block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let path = home.path().join("ice.db");
        let store = ice_store::open_path(&path, Arc::clone(&clock), ice_store::Options::default()).await.unwrap();
        let row = store.schedule(&Identity::local(), "overdue").await.unwrap().unwrap();
        let last = clock.now_ms() - 367 * 86_400_000;
        store.put_schedule(&ScheduleRow { last, next: Some(last), ..row }).await.unwrap();
        store.close().await;
    });
}

/// How the newest run of the schedule stands.
fn standing(home: &Home) -> Value {
    home.run(&["schedules", "show", "overdue", "--json"]).exits(0).json()["status"].clone()
}

/// Follows an execution in a server to its end.
async fn ends(serving: &Serving, id: &str) -> String {
    let mut client = serving.client();
    let (mut last, mut after) = (String::new(), 0);
    while last != "execution_finished" {
        let mut events = client.events(id, after).await.unwrap();
        while let Some(event) = events.next().await.unwrap() {
            (after, last) = (event.id.unwrap_or(after), event.event);
        }
    }
    client.execution(id).await.unwrap().status
}

#[test]
fn what_a_killed_server_left_goes_on_in_the_next_one_scheduled_or_not() {
    let door = Door::shut_from(2);
    let home = home_for(&door.bin);
    add_overdue(&home, &posts(&format!("{}/timed", door.bin.url()), 3));
    let mut first = Serving::start(&home);
    door.bin.wait_for(3);
    let asked = StartRequest::of_document(posts(&format!("{}/asked", door.bin.url()), 2), json!({}));
    let asked = block_on(async { first.client().start(&asked, 0.0).await.unwrap().execution_id });
    door.bin.wait_for(4);
    first.signal("-KILL");
    first.child.wait().unwrap();
    assert_eq!(standing(&home), "running");
    door.open();

    let second = Serving::start(&home);
    block_on(async {
        let rows = second.client().executions(10, None).await.unwrap().executions;
        assert_eq!(rows.len(), 2, "one for the schedule, one that was asked for");
        for row in rows {
            assert_eq!(ends(&second, &row.execution_id).await, "completed", "{}", row.execution_id);
        }
    });
    assert_eq!(standing(&home), "completed");
    let (timed, mut others): (Vec<_>, Vec<_>) = door.paths().into_iter().partition(|path| path.starts_with("/timed"));
    assert_eq!(timed, ["/timed/0", "/timed/1", "/timed/2", "/timed/2"], "only the one in flight was sent twice");
    others.dedup();
    assert_eq!(others, ["/asked/0", "/asked/1"], "{asked}");
}

#[test]
fn asked_to_stop_it_accepts_nothing_and_lets_what_runs_end() {
    let door = Door::shut_from(0);
    let home = home_for(&door.bin);
    let mut command = home.ice();
    command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--grace", "600"]).env("ICE_API_TOKEN", TOKEN);
    let mut serving = Serving::spawn(command);
    let request = StartRequest::of_document(posts(&door.bin.url(), 2), json!({}));
    let id = block_on(async { serving.client().start(&request, 0.0).await.unwrap().execution_id });
    door.bin.wait_for(1);
    serving.signal("-INT");
    let address = serving.url.strip_prefix("http://").unwrap().to_owned();
    // The signal is on its way; from then on nobody gets in, while the process still runs.
    while TcpStream::connect(&address).is_ok() {}
    assert!(serving.child.try_wait().unwrap().is_none(), "it waits for what runs");
    door.open();
    assert!(serving.child.wait().unwrap().success());
    let shown = home.run(&["executions", "show", &id, "--json"]).exits(0).json();
    assert_eq!(shown["status"], "completed", "{shown}");
    assert_eq!(door.paths(), ["/0", "/1"]);
}

#[test]
fn what_does_not_end_in_time_is_given_back_at_once() {
    let door = Door::shut_from(0);
    let home = home_for(&door.bin);
    let url = postgres::database();
    let mut command = home.ice();
    command.args(["serve", "--listen", "127.0.0.1:0", "--json", "--grace", "0"]);
    command.env("ICE_API_TOKEN", TOKEN).env("ICEOS_DB_URL", &url);
    let mut serving = Serving::spawn(command);
    let request = StartRequest::of_document(posts(&door.bin.url(), 2), json!({}));
    let id = block_on(async { serving.client().start(&request, 0.0).await.unwrap().execution_id });
    door.bin.wait_for(1);
    let held = || postgres::ask(&url, "select status, holder is not null, lease_until > 0 from executions");
    assert_eq!(held(), "running|t|t");
    serving.signal("-TERM");
    assert!(serving.child.wait().unwrap().success());
    // Another machine cannot see that the process is gone: the lease itself must be free.
    assert_eq!(held(), "running|f|f");
    door.open();
    let mut resume = home.ice();
    let resumed = resume.args(["executions", "resume", &id, "--json"]).env("ICEOS_DB_URL", &url).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    assert_eq!(door.paths(), ["/0", "/0", "/1"]);
}

/// A running `ice schedules serve`; killed at its end.
struct Timed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Timed {
    fn start(home: &Home) -> Self {
        let mut command: Command = home.ice();
        let mut child =
            command.args(["schedules", "serve", "--json", "--grace", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn schedules_run_without_an_api_and_survive_kill_9() {
    let door = Door::shut_from(1);
    let home = home_for(&door.bin);
    add_overdue(&home, &posts(&door.bin.url(), 3));
    let mut first = Timed::start(&home);
    let said: Value = serde_json::from_str(&first.lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(said["schedule"], "overdue", "{said}");
    door.bin.wait_for(2);
    first.signal("-KILL");
    first.child.wait().unwrap();
    let mut second = Timed::start(&home);
    door.bin.wait_for(3);
    second.signal("-TERM");
    assert!(second.child.wait().unwrap().success(), "it was asked to stop");
    door.open();
    let third = Timed::start(&home);
    door.bin.wait_for(5);
    drop(third);
    assert_eq!(door.paths(), ["/0", "/1", "/1", "/1", "/2"]);
    let listed = home.run(&["executions", "list", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["id"], said["execution_id"]);
}

#[test]
fn a_timer_goes_on_with_what_a_killed_one_left() {
    let door = Door::shut_from(1);
    let home = home_for(&door.bin);
    add_overdue(&home, &posts(&door.bin.url(), 2));
    let once = ["schedules", "serve", "--once", "--json"];
    let mut first = home.ice().args(once).stdout(Stdio::null()).spawn().unwrap();
    door.bin.wait_for(2);
    first.kill().unwrap(); // SIGKILL
    first.wait().unwrap();
    door.open();
    home.run(&once).exits(0);
    assert_eq!((standing(&home), door.paths()), (json!("completed"), ["/0", "/1", "/1"].map(str::to_owned).to_vec()));
}
