//! The operator's secrets: where they come from and a type that never prints. Who may use one is a grant's business,
//! filling them in and scrubbing them out is `http`'s.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ice_core::problem::{Code, Problem};

/// Environment variables with this prefix are secrets: `ICE_SECRET_SHOP_KEY` is the secret `SHOP_KEY`.
pub const VARIABLE_PREFIX: &str = "ICE_SECRET_";

/// A shorter value cannot be scrubbed from an answer without tearing ordinary words apart.
const BYTES_MIN: usize = 8;
/// A header value has to hold it together with other text.
const BYTES_MAX: usize = 8 << 10;
/// A file of secrets is read whole.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A value that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value. Call it only where the value leaves for its destination.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The secrets of one host, by name. Names are letters, digits and `_`.
#[derive(Clone, Default, Debug)]
pub struct Secrets {
    // Invariant: every name and value passed `admit`.
    by_name: BTreeMap<String, Secret>,
}

impl Secrets {
    /// Takes every variable whose name starts with `ICE_SECRET_`; other variables are ignored.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Problem>> {
        let named = variables
            .into_iter()
            .filter_map(|(variable, value)| Some((variable.strip_prefix(VARIABLE_PREFIX)?.to_owned(), value)));
        Self::from_values(named)
    }

    /// Takes names and values; every one that cannot be used is a problem, and then none is taken.
    pub fn from_values(values: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Problem>> {
        let mut secrets = Self::default();
        let mut problems = Vec::new();
        for (name, value) in values {
            match admit(&name, &value) {
                Ok(()) => drop(secrets.by_name.insert(name, Secret::new(value))),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(secrets) } else { Err(problems) }
    }

    /// Reads a TOML file of lines `NAME = "value"`. A file that others on the machine may read or write is refused.
    pub fn from_file(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = read_private(path).map_err(|problem| vec![problem])?;
        // The error of the TOML crate quotes the line it stopped at, which may be a secret.
        let table: BTreeMap<String, toml::Value> = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
            let mut problem =
                Problem::new(Code::C020, "the file of secrets is not TOML").file(path.display().to_string());
            problem.at.get_or_insert_default().line = u32::try_from(line).ok();
            vec![problem.help("write one line `NAME = \"value\"` for each secret")]
        })?;
        let mut values = Vec::new();
        let mut problems = Vec::new();
        for (name, value) in table {
            match value {
                toml::Value::String(value) => values.push((name, value)),
                _ => problems.push(
                    Problem::new(Code::C020, format!("the secret `{name}` is not a string"))
                        .help(format!("write `{name} = \"value\"`")),
                ),
            }
        }
        let secrets = match Self::from_values(values) {
            Ok(secrets) => secrets,
            Err(more) => {
                problems.extend(more);
                Self::default()
            }
        };
        if problems.is_empty() {
            return Ok(secrets);
        }
        Err(problems.into_iter().map(|problem| problem.file(path.display().to_string())).collect())
    }

    /// These and `others`; a name in both keeps the value of `others`.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.by_name.extend(others.by_name);
        self
    }

    /// The secret of that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The values, for scrubbing.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Secret> {
        self.by_name.values()
    }
}

fn admit(name: &str, value: &str) -> Result<(), Problem> {
    let refuse = |what: String, help: &str| Err(Problem::new(Code::C020, what).help(help.to_owned()));
    if name.is_empty() || name.len() > 128 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return refuse(format!("`{}` is not the name of a secret", name.escape_debug()), "use letters, digits and `_`");
    }
    if value.len() < BYTES_MIN {
        return refuse(
            format!("the secret `{name}` is shorter than {BYTES_MIN} bytes"),
            "a short value cannot be removed from answers safely; use a longer one",
        );
    }
    if BYTES_MAX < value.len() {
        return refuse(format!("the secret `{name}` is longer than {BYTES_MAX} bytes"), "use a shorter value");
    }
    if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || value.trim() != value {
        return refuse(
            format!("the secret `{name}` holds a line break, a space at an end or a character that is not ASCII"),
            "a secret is sent in an HTTP header: encode it, for example with base64",
        );
    }
    Ok(())
}

fn read_private(path: &Path) -> Result<String, Problem> {
    use std::io::Read as _;

    let shown = path.display().to_string();
    let fail = |error: std::io::Error| {
        Problem::new(Code::C020, format!("the file of secrets could not be read: {error}")).file(shown.clone())
    };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    // The open file is asked, not the path: between two looks at a path it may become another file.
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() || FILE_BYTES_MAX < metadata.len() {
        return Err(Problem::new(Code::C020, "the file of secrets is not a file, or larger than 1 MiB").file(shown));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Problem::new(
                Code::C020,
                format!("the file of secrets has mode {mode:04o}: others may use it"),
            )
            .help(format!("chmod 600 {shown}"))
            .file(shown));
        }
    }
    let mut text = String::new();
    (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn never_prints_its_value() {
        let secret = Secret::new("hunter2hunter2");
        assert!(!format!("{secret} {secret:?} {secret:#?}").contains("hunter2"));
        let secrets = Secrets::from_values([("A".into(), "hunter2hunter2".into())]).unwrap();
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    #[test]
    fn takes_only_variables_with_the_prefix() {
        let variables = [("ICE_SECRET_SHOP", "0123456789"), ("PATH", "/bin"), ("ICE_SECRETS", "0123456789")];
        let secrets = Secrets::from_variables(variables.map(|(k, v)| (k.into(), v.into()))).unwrap();
        assert_eq!(secrets.names().collect::<Vec<_>>(), ["SHOP"]);
    }

    #[test]
    fn refuses_values_that_cannot_be_sent_or_scrubbed_and_says_all_of_them() {
        let values = [("A B", "0123456789"), ("SHORT", "1234567"), ("LINES", "one line\r\ntwo"), ("OK", "0123456789")];
        let problems = Secrets::from_values(values.map(|(k, v)| (k.into(), v.into()))).unwrap_err();
        let text = problems.iter().map(ToString::to_string).collect::<String>();
        assert_eq!(problems.len(), 3);
        assert!(text.contains("`A B`") && text.contains("`SHORT`") && text.contains("`LINES`"));
        assert!(!text.contains("1234567") && !text.contains("one line"));
    }

    #[test]
    fn reads_a_private_file() {
        let (_folder, path) = file("KEY = \"0123456789\"\n", 0o600);
        assert_eq!(Secrets::from_file(&path).unwrap().get("KEY").unwrap().expose(), "0123456789");
    }

    #[test]
    fn refuses_a_file_that_others_may_read() {
        for mode in [0o640, 0o604, 0o666, 0o620] {
            let (_folder, path) = file("KEY = \"0123456789\"\n", mode);
            let problems = Secrets::from_file(&path).unwrap_err();
            assert_eq!(problems[0].code, Code::C020);
            assert!(problems[0].help.as_ref().unwrap().starts_with("chmod 600"));
        }
    }

    #[test]
    fn names_the_line_of_a_broken_file_without_quoting_it() {
        let (_folder, path) = file("A = \"0123456789\"\nB = topsecretvalue\n", 0o600);
        let problems = Secrets::from_file(&path).unwrap_err();
        assert_eq!(problems[0].at.as_ref().unwrap().line, Some(2));
        assert!(!problems[0].to_string().contains("topsecret"));
    }

    #[test]
    fn refuses_a_folder_and_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Secrets::from_file(folder.path()).is_err());
        assert!(Secrets::from_file(&folder.path().join("none")).is_err());
    }

    #[test]
    fn the_later_source_wins() {
        let one = Secrets::from_values([("A".into(), "first-value".into())]).unwrap();
        let two = Secrets::from_values([("A".into(), "second-value".into())]).unwrap();
        assert_eq!(one.merge(two).get("A").unwrap().expose(), "second-value");
    }
}
