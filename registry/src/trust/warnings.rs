//! What will stop to be believed, before it does.

use ice_core::manifest::{UnixSeconds, print_date};
use ice_core::problem::{Code, Problem};

use super::Trust;

const DAY: UnixSeconds = 24 * 60 * 60;

/// Days before an end at which people are told, the nearest first.
const WARN_DAYS: [UnixSeconds; 3] = [7, 30, 90];

impl Trust {
    /// What the operator should do soon: root (T043), revocations (T020) and keys (T023) that expire within 90, 30 or
    /// 7 days or have expired, and T019 with the one command to run while nobody is trusted.
    pub fn warnings(&self, now: UnixSeconds) -> Vec<Problem> {
        let mut warnings = Vec::new();
        if self.scopes.is_empty() {
            let message = "nobody is trusted yet, so nothing can be installed";
            warnings.push(
                Problem::new(Code::T019, message)
                    .help("get a publisher's public key and run `ice trust add KEY.pem --scope 'NAME/*'`"),
            );
        }
        if let Some(root) = self.root() {
            let next = root.version() + 1;
            let what = format!("root {}", root.version());
            let help = format!("ask those who hold the root keys for root {next}: `ice trust import-root {next}.json`");
            warnings.extend(ending(Code::T043, &what, root.expires(), UnixSeconds::MAX, now, &help));
        }
        if let Some(list) = self.revoked() {
            let help = "fetch a newer one: `ice index refresh`";
            let life = list.expires() - list.issued();
            warnings.extend(ending(Code::T020, "the list of revocations", list.expires(), life, now, help));
        }
        for (keyid, trusted) in &self.keys {
            let Some(until) = trusted.notes.until() else { continue };
            let what = match trusted.notes.label.as_str() {
                "" => format!("key {}", keyid.short()),
                label => format!("key {} (`{}`)", keyid.short(), ice_core::manifest::printable(label)),
            };
            let help = "get the publisher's next key and add it: `ice trust add KEY.pem --scope 'NAME/*'`";
            warnings.extend(ending(Code::T023, &what, until, UnixSeconds::MAX, now, help));
        }
        warnings
    }
}

/// A warning about something with this end that was made to live for `life` seconds. What is renewed every week is
/// always near its end: only the last half of a life is worth a warning.
fn ending(
    code: Code,
    what: &str,
    end: UnixSeconds,
    life: UnixSeconds,
    now: UnixSeconds,
    help: &str,
) -> Option<Problem> {
    let date = print_date(end);
    if now >= end {
        return Some(Problem::new(code, format!("{what} expired on {date}")).help(help));
    }
    let left = end - now;
    let days = WARN_DAYS.into_iter().find(|days| left <= days * DAY).filter(|_| left <= life / 2)?;
    Some(Problem::new(code, format!("{what} expires on {date}, in less than {days} days")).help(help))
}
