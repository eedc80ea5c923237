//! Which process holds a lease, and whether it still lives.
//!
//! A process that died by `kill -9` leaves its lease behind. On its own machine its successor need not wait for the
//! lease to expire: the kernel knows that the holder is gone. This file is the one place that asks the machine about
//! processes; where the answer is not certain, the holder counts as alive and the lease has to expire.

use std::fmt;
use std::sync::OnceLock;

/// A process, in a form that outlives it: `host:pid:start`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holder {
    /// The space in which `pid` means something, see [`host`].
    host: String,
    pid: u32,
    /// When the process started, in ticks since boot: tells it from a later process of the same number.
    start: u64,
}

impl Holder {
    /// This process.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Holder> = OnceLock::new();
        let current = CURRENT.get_or_init(|| {
            let pid = std::process::id();
            let start = match look(pid) {
                Sight::Runs { start } => start,
                Sight::Gone | Sight::Unclear => 0,
            };
            Self { host: host(), pid, start }
        });
        current.clone()
    }

    /// Reads what `Display` writes; `None` for another form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let start = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        Some(Self { host: parts.next()?.to_owned(), pid, start })
    }

    /// Whether this process is certainly gone, as seen from here.
    pub(crate) fn is_gone(&self) -> bool {
        if self.host != Self::current().host {
            return false;
        }
        match look(self.pid) {
            Sight::Runs { start } => start != self.start,
            Sight::Gone => true,
            Sight::Unclear => false,
        }
    }

    /// The holder in words, for messages.
    pub(crate) fn words(&self) -> String {
        let name = self.host.split('/').next().unwrap_or_default();
        format!("process {} on `{name}`", self.pid)
    }

    /// The command that stops it, when it is another process beside this one.
    pub(crate) fn stop_command(&self) -> Option<String> {
        let current = Self::current();
        (self.host == current.host && self.pid != current.pid).then(|| format!("kill {}", self.pid))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host, self.pid, self.start)
    }
}

/// What can be said of a process number.
enum Sight {
    Runs { start: u64 },
    Gone,
    Unclear,
}

/// Names the space in which process numbers are unique: host name, boot and process namespace. Two containers may
/// share a host name, and one machine has other numbers after a restart; both then look like another host.
#[cfg(target_os = "linux")]
fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let namespace: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    let boot: String = read("/proc/sys/kernel/random/boot_id").chars().take(8).collect();
    format!("{}/{boot}/{namespace}", read("/proc/sys/kernel/hostname"))
}

#[cfg(not(target_os = "linux"))]
fn host() -> String {
    "this host".to_owned()
}

/// Looks a process up in `/proc`, whose `stat` is readable for everyone. The number of the start is field 22; the
/// second field is a name in parentheses that may hold anything, so fields are counted behind its end
/// (proc_pid_stat(5)).
#[cfg(target_os = "linux")]
fn look(pid: u32) -> Sight {
    use std::io::ErrorKind;
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            let stat = String::from_utf8_lossy(&stat);
            let fields: Vec<&str> =
                stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
            match (fields.first(), fields.get(19).and_then(|start| start.parse().ok())) {
                // A zombie or dead process runs no more; only its parent has not asked yet.
                (Some(&"Z" | &"X"), _) => Sight::Gone,
                (Some(_), Some(start)) => Sight::Runs { start },
                _ => Sight::Unclear,
            }
        }
        // With `hidepid`, processes of other users are missing here though they run. Process 1 tells: it always runs.
        Err(error) if error.kind() == ErrorKind::NotFound && std::fs::read("/proc/1/stat").is_ok() => Sight::Gone,
        Err(_) => Sight::Unclear,
    }
}

#[cfg(not(target_os = "linux"))]
fn look(_pid: u32) -> Sight {
    Sight::Unclear
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_survives_being_written_down() {
        let current = Holder::current();
        assert!(!current.is_gone());
        assert_eq!(current.stop_command(), None, "nobody is told to kill the process that tells");
        assert_eq!(Holder::parse(&current.to_string()), Some(current));
    }

    #[test]
    fn a_number_that_another_process_has_now_is_gone() {
        let mut reused = Holder::current();
        reused.start += 1;
        assert!(reused.is_gone());
    }

    #[test]
    fn a_process_that_ended_is_gone_even_before_it_was_waited_for() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let Sight::Runs { start } = look(child.id()) else { panic!("the child runs until its input ends") };
        let holder = Holder { host: host(), pid: child.id(), start };
        assert!(!holder.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(holder.is_gone());
    }

    #[test]
    fn a_process_of_another_host_counts_as_alive() {
        let elsewhere = Holder { host: "elsewhere/0/0".into(), pid: u32::MAX, start: 1 };
        assert!(!elsewhere.is_gone());
        assert_eq!(elsewhere.stop_command(), None);
        assert_eq!(elsewhere.words(), "process 4294967295 on `elsewhere`");
    }

    #[test]
    fn a_damaged_holder_is_none() {
        for text in ["", "host", "host:1", "host:x:1", "host:1:x"] {
            assert_eq!(Holder::parse(text), None, "{text}");
        }
    }
}
