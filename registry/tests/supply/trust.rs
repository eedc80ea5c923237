//! Who is believed for what: scopes, and a policy that people and commands both edit.

use ice_core::problem::Code;
use ice_registry::{PrivateKey, PublicKey, Trust};

use crate::world::{World, key, publisher};

fn policy(world: &World, text: &str) -> Result<Trust, ice_core::problem::Problem> {
    std::fs::write(world.trust_folder().join("policy.toml"), text).unwrap();
    Trust::open(&world.trust_folder())
}

fn scope(name: &str) -> String {
    format!("[[scope]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", publisher().public().id())
}

#[test]
fn nobody_is_trusted_before_the_one_command_that_the_error_names() {
    let home = tempfile::tempdir().unwrap();
    let trust = Trust::open(&home.path().join("nowhere")).unwrap();
    let problem = trust.scope_for("iceos/memory").unwrap_err();
    assert_eq!(problem.code, Code::T019);
    assert!(problem.help.unwrap().contains("`ice keys trust KEY.pem --scope 'iceos/*'`"));
}

#[test]
fn the_exact_name_decides_then_the_longest_prefix() {
    let world = World::new();
    let names = ["acme/*", "acme/csv*", "acme/csv_reader", "other/x"];
    let text = format!("version = 1\n{}", names.map(scope).concat());
    let trust = policy(&world, &text).unwrap();
    for (name, expected) in [
        ("acme/csv_reader", Some("acme/csv_reader")),
        ("acme/csv_writer", Some("acme/csv*")),
        ("acme/other", Some("acme/*")),
        ("other/x", Some("other/x")),
        ("other/xy", None),
        ("acme2/x", None),
    ] {
        assert_eq!(trust.scope_for(name).ok().map(|scope| scope.name.as_str()), expected, "{name}");
    }
}

#[test]
fn a_policy_that_protects_less_than_it_seems_to_is_refused() {
    let world = World::new();
    let good = scope("acme/*");
    let cases = [
        format!("version = 1\n{good}{good}"),
        format!("version = 2\n{good}"),
        format!("version = 1\ndefault = \"allow\"\n{good}"),
        format!("version = 1\n{good}threshhold = 2\n"),
        format!("version = 1\n{good}threshold = 0\n"),
        format!("version = 1\n{good}threshold = 2\n"),
        format!("version = 1\n{}", scope("*")),
        format!("version = 1\n{}", scope("acme*")),
        format!("version = 1\n{}", scope("acme/*x")),
        format!("version = 1\n{}", good.replace("\"]", "\", \"sha256:0000\"]")),
        format!("version = 1\n{}", good.replace("324b", "324c")),
        format!("version = 1\n{good}[scope.grant]\nhttp = [\"GET ftp://x/\"]\n"),
        "version = ".to_owned(),
    ];
    for text in cases {
        let problem = policy(&world, &text).expect_err(&text);
        assert_eq!(problem.code, Code::T024, "{text}");
        assert!(problem.at.is_some(), "{text}");
    }
    policy(&world, &format!("version = 1\n{good}")).unwrap();
}

#[test]
fn adding_and_removing_keys_keeps_what_their_owner_wrote() {
    let world = World::new();
    let id = publisher().public().id();
    policy(&world, &format!("# ours\nversion = 1\n# acme is fine\n{}", scope("acme/*"))).unwrap();
    let folder = world.trust_folder();
    let trust = Trust::add_key(&folder, key(8).public(), &Default::default(), &["acme/*", "other/*"]).unwrap();
    assert_eq!(trust.scope_for("acme/x").unwrap().keys.len(), 2);
    assert_eq!(Trust::add_key(&folder, key(8).public(), &Default::default(), &["acme/*"]).unwrap(), trust);
    let text = std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    assert!(text.contains("# ours") && text.contains("# acme is fine"), "{text}");
    let trust = Trust::remove_key(&folder, &key(8).public().id()).unwrap();
    assert_eq!((trust.scope_for("acme/x").unwrap().keys.as_slice(), trust.trusted_keys().len()), (&[id][..], 1));
    assert!(trust.scope_for("other/x").is_err());
    assert_eq!(Trust::remove_key(&folder, &key(8).public().id()).unwrap_err().code, Code::R001);
}

#[test]
fn a_scope_for_everybody_cannot_be_added() {
    let world = World::new();
    for scope in ["*", "*/*", "", "acme", "Acme/*"] {
        let added = Trust::add_key(&world.trust_folder(), key(8).public(), &Default::default(), &[scope]);
        assert!(added.is_err(), "{scope}");
    }
    assert_eq!(Trust::open(&world.trust_folder()).unwrap(), world.trust);
}

#[test]
fn keys_are_written_so_that_only_their_owner_reads_them_and_read_back() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys/dev.pem");
    let key = PrivateKey::generate().unwrap();
    key.write_new(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(PrivateKey::read(&path).unwrap().public(), key.public());
    assert_eq!(key.write_new(&path).unwrap_err().code, Code::R003);
    assert_eq!(PublicKey::from_pem(&key.public().to_pem()).unwrap(), *key.public());
    let link = home.path().join("link.pem");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(PrivateKey::read(&link).unwrap_err().code, Code::T010);
    assert_eq!(PrivateKey::read(&home.path().join("none.pem")).unwrap_err().code, Code::C002);
    for text in ["", "hello", &key.public().to_pem()] {
        assert_eq!(PrivateKey::from_pem(text).unwrap_err().code, Code::T025);
    }
    assert!(!format!("{key:?}").contains("PRIVATE"));
}
