//! Who is believed for what: scopes, and a policy that people and commands both edit.

use ice_core::problem::Code;
use ice_registry::trust::{KeyNotes, KeyRole, ScopeEdit, State};
use ice_registry::verify::COOLDOWN_HOURS_DEFAULT;
use ice_registry::{PrivateKey, PublicKey, Purpose, Release, Trust, VerifyOptions, verify};

use crate::world::{
    DAY, NOW, REVOKER, World, changed, envelope, key, list_after, publisher, roles, root_after, sign, sign_root,
};

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
    assert!(problem.help.unwrap().contains("`ice trust add KEY.pem --scope 'iceos/*'`"));
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

#[test]
fn notes_of_a_key_are_checked_and_added_to() {
    let world = World::new();
    let folder = world.trust_folder();
    let path = folder.join("keys").join(format!("{}.toml", publisher().public().id().hex()));
    for text in [
        "roles = [\"admin\"]",
        "roles = [\"index\", \"index\"]",
        "valid_until = \"tomorrow\"",
        "valid_from = \"2026-12-02T00:00:00Z\"\nvalid_until = \"2026-12-01T00:00:00Z\"",
        "lable = \"x\"",
    ] {
        std::fs::write(&path, text).unwrap();
        let problem = Trust::open(&folder).expect_err(text);
        assert_eq!((problem.code, problem.at.is_some()), (Code::T024, true), "{text}");
    }
    std::fs::write(&path, "label = \"acme\"\nvalid_until = \"2026-12-02T00:00:00Z\"").unwrap();
    let notes = KeyNotes { owner: "Acme".to_owned(), roles: vec![KeyRole::Dev], ..KeyNotes::default() };
    let trust = Trust::add_key(&folder, publisher().public(), &notes, &[]).unwrap();
    let again = KeyNotes { roles: vec![KeyRole::Index], ..KeyNotes::default() };
    assert!(trust.is_development(&publisher().public().id()) && !trust.is_development(&key(8).public().id()));
    let trust = Trust::add_key(&folder, publisher().public(), &again, &[]).unwrap();
    let known = &trust.trusted_keys()[&publisher().public().id()].notes;
    assert_eq!((known.label.as_str(), known.owner.as_str()), ("acme", "Acme"));
    assert_eq!(known.roles, [KeyRole::Index, KeyRole::Dev]);
    assert_eq!(known.valid_until.as_deref(), Some("2026-12-02T00:00:00Z"), "adding again does not make it live longer");
    for role in KeyRole::ALL {
        assert_eq!(KeyRole::parse(role.as_str()).unwrap(), role);
    }
    assert_eq!(KeyRole::parse("Index").unwrap_err().code, Code::T024);
}

#[test]
fn dates_of_a_key_count_for_what_is_new_and_not_for_what_runs() {
    let world = World::new();
    let notes = KeyNotes {
        valid_from: Some("2026-12-01T00:00:00Z".to_owned()),
        valid_until: Some("2026-12-02T00:00:00Z".to_owned()),
        ..KeyNotes::default()
    };
    let trust = Trust::add_key(&world.trust_folder(), publisher().public(), &notes, &[]).unwrap();
    let at = |purpose: Purpose| verify(&envelope(), &trust, &VerifyOptions { purpose, ..VerifyOptions::RUN });
    for (now, expected) in [(NOW - 1, false), (NOW, true), (NOW + DAY - 1, true), (NOW + DAY, false)] {
        let verdict = at(Purpose::Install { now });
        assert_eq!(verdict.map_err(|problem| problem.code).err(), (!expected).then_some(Code::T023), "{now}");
    }
    at(Purpose::Run).unwrap();
}

#[test]
fn a_signature_outside_the_dates_of_its_key_does_not_count_beside_others() {
    let mut world = World::new();
    crate::attacks::two_of_three(&mut world);
    let notes = KeyNotes { valid_until: Some("2026-11-30T00:00:00Z".to_owned()), ..KeyNotes::default() };
    world.trust = Trust::add_key(&world.trust_folder(), publisher().public(), &notes, &[]).unwrap();
    let mut envelope = envelope();
    envelope.add_signature(&key(8), "second").unwrap();
    assert_eq!(world.install(&envelope).unwrap_err().code, Code::T023);
    assert_eq!(world.verify(&envelope).unwrap().signers().len(), 2);
    envelope.add_signature(&key(9), "third").unwrap();
    assert_eq!(world.install(&envelope).unwrap().signers().len(), 2);
}

#[test]
fn what_expired_runs_unless_the_policy_says_otherwise() {
    let world = World::new();
    let text = std::fs::read_to_string(world.trust_folder().join("policy.toml")).unwrap();
    // V's `expires`.
    let expires = 1_826_668_800;
    let run = |trust: &Trust| verify(&envelope(), trust, &VerifyOptions::RUN);
    let verified = run(&world.trust.clone().at(expires)).unwrap();
    assert_eq!((verified.expired_at(expires - 1), verified.expired_at(expires)), (None, Some(expires)));
    let hard = policy(&world, &text.replace("version = 1", "version = 1\nexpiry = \"run\"")).unwrap();
    assert_eq!(run(&hard.clone().at(expires)).unwrap_err().code, Code::T023);
    run(&hard.clone().at(expires - 1)).unwrap();
    assert_eq!(run(&hard).unwrap_err().code, Code::T023, "nobody said what time it is");
    let forever = sign(&changed(|document| drop(document.as_object_mut().unwrap().remove("expires"))));
    assert_eq!(verify(&forever, &hard, &VerifyOptions::RUN).unwrap().expired_at(u64::MAX), None);
    let soft = policy(&world, &text.replace("version = 1", "version = 1\nexpiry = \"install\"")).unwrap();
    run(&soft).unwrap();
    let wrong = policy(&world, &text.replace("version = 1", "version = 1\nexpiry = \"never\"")).unwrap_err();
    assert_eq!(wrong.code, Code::T024);
}

#[test]
fn a_release_waits_as_long_as_its_scope_says() {
    const HOUR: u64 = 60 * 60;
    let mut world = World::new();
    let seen = |hours: u64| Some(Release { first_seen: Some(NOW - hours * HOUR), security: false });
    let unknown = Some(Release::default());
    let security = Some(Release { first_seen: Some(NOW), security: true });
    let default = u64::from(COOLDOWN_HOURS_DEFAULT);
    let cases = [
        (None, seen(0), false),
        (None, seen(default - 1), false),
        (None, seen(default), true),
        (None, unknown, true),
        (None, security, true),
        (None, None, true),
        (Some(24), seen(23), false),
        (Some(24), seen(24), true),
        (Some(24), unknown, false),
        (Some(24), security, true),
        (Some(24), None, true),
        (Some(0), seen(0), true),
        (Some(0), unknown, true),
    ];
    for (hours, release, expected) in cases {
        if let Some(hours) = hours {
            let edit = ScopeEdit { name: "acme/*".to_owned(), cooldown_hours: Some(hours), ..ScopeEdit::default() };
            world.trust = Trust::set_scope(&world.trust_folder(), &edit).unwrap();
        }
        let install = VerifyOptions { purpose: Purpose::Install { now: NOW }, release, ..VerifyOptions::RUN };
        let code = verify(&envelope(), &world.trust, &install).map_err(|problem| problem.code).err();
        assert_eq!(code, (!expected).then_some(Code::T041), "{hours:?} {release:?}");
        verify(&envelope(), &world.trust, &VerifyOptions { release, ..VerifyOptions::RUN }).unwrap();
    }
    let edit = ScopeEdit { name: "acme/*".to_owned(), cooldown_hours: Some(24), ..ScopeEdit::default() };
    world.trust = Trust::set_scope(&world.trust_folder(), &edit).unwrap();
    let purpose = Purpose::Install { now: NOW };
    let problem = |release| {
        verify(&envelope(), &world.trust, &VerifyOptions { purpose, release, ..VerifyOptions::RUN }).unwrap_err()
    };
    assert!(problem(seen(1)).message.contains("from 2026-12-01T23:00:00Z on"), "{}", problem(seen(1)));
    assert!(problem(unknown).help.unwrap().contains("`ice index refresh`"));
}

#[test]
fn scopes_are_edited_and_keep_what_their_owner_wrote() {
    let world = World::new();
    let folder = world.trust_folder();
    let text = format!(
        "# ours\nversion = 1\n\n# acme is fine\n{}threshold = 1 # they are one person\n\n{}",
        scope("acme/*"),
        scope("other/*")
    );
    policy(&world, &text).unwrap();
    let edit = ScopeEdit {
        name: "acme/*".to_owned(),
        registry: Some("registry.acme.example/ice".to_owned()),
        threshold: None,
        cooldown_hours: Some(24),
    };
    let trust = Trust::set_scope(&folder, &edit).unwrap();
    let changed = trust.scope_for("acme/x").unwrap();
    assert_eq!((changed.registry.as_deref(), changed.cooldown_hours), (Some("registry.acme.example/ice"), Some(24)));
    let edit = ScopeEdit { name: "acme/*".to_owned(), threshold: Some(1), cooldown_hours: Some(0), ..edit };
    let trust = Trust::set_scope(&folder, &edit).unwrap();
    assert_eq!(trust.scope_for("acme/x").unwrap().cooldown_hours, Some(0));
    let before = std::fs::read_to_string(folder.join("policy.toml")).unwrap();
    for comment in ["# ours", "# acme is fine", "threshold = 1 # they are one person"] {
        assert!(before.contains(comment), "{before}");
    }
    for (name, threshold, code) in [
        ("acme/*", 2, Code::T024),
        ("acme/*", 0, Code::T024),
        ("acme/*", usize::MAX, Code::T024),
        ("no/*", 1, Code::R001),
    ] {
        let edit = ScopeEdit { name: name.to_owned(), threshold: Some(threshold), ..ScopeEdit::default() };
        assert_eq!(Trust::set_scope(&folder, &edit).unwrap_err().code, code);
    }
    assert_eq!(Trust::remove_scope(&folder, "no/*").unwrap_err().code, Code::R001);
    assert_eq!(std::fs::read_to_string(folder.join("policy.toml")).unwrap(), before, "what is refused is not written");
    let trust = Trust::remove_scope(&folder, "acme/*").unwrap();
    assert_eq!(trust.scopes().iter().map(|scope| scope.name.as_str()).collect::<Vec<_>>(), ["other/*"]);
    assert_eq!(trust.trusted_keys().len(), 1, "its keys stay");
    assert!(Trust::remove_scope(&folder, "other/*").unwrap().scopes().is_empty());
    let inline =
        format!("version = 1\nscope = [{{ name = \"acme/*\", keys = [\"{}\"] }}]\n", publisher().public().id());
    policy(&world, &inline).unwrap();
    let refused = Trust::add_key(&folder, key(8).public(), &KeyNotes::default(), &["acme/*"]).unwrap_err();
    assert_eq!(refused.code, Code::T024, "not believed silently for nothing");
    assert_eq!(Trust::open(&folder).unwrap().trusted_keys().len(), 1);
}

#[test]
fn people_are_told_before_something_ends() {
    let mut world = World::new();
    let nobody = Trust::open(&world.home.path().join("nowhere")).unwrap();
    let warnings = nobody.warnings(NOW);
    assert_eq!((warnings.len(), warnings[0].code), (1, Code::T019));
    assert!(warnings[0].help.as_ref().unwrap().contains("`ice trust add KEY.pem --scope"));
    assert_eq!(world.trust.warnings(NOW), []);
    // A root for a year, a list for 30 days, a key for 100 days from NOW.
    world.import(&[sign_root(&root_after(None, roles()))]).unwrap();
    let (_, list) = list_after(None, |list| list.revoke_key(key(REVOKER + 9).public().id(), "lost", []));
    world.revoke(&list).unwrap();
    let notes = KeyNotes { valid_until: Some("2027-03-11T00:00:00Z".to_owned()), ..KeyNotes::default() };
    world.trust = Trust::add_key(&world.trust_folder(), publisher().public(), &notes, &[]).unwrap();
    let at = |days: u64| -> Vec<(Code, String)> {
        let end = |text: &str| text.rsplit(", ").next().unwrap_or_default().to_owned();
        let warnings = world.trust.warnings(NOW + days * DAY);
        warnings.iter().map(|problem| (problem.code, end(&problem.message))).collect()
    };
    let said = |days: u64, code: Code| at(days).into_iter().find(|(told, _)| *told == code).map(|(_, text)| text);
    let in_days = |days: u64| Some(format!("in less than {days} days"));
    for (days, expected) in [(0, None), (14, None), (15, in_days(30)), (23, in_days(7)), (29, in_days(7))] {
        assert_eq!(said(days, Code::T020), expected, "list, day {days}");
    }
    for (days, expected) in [(9, None), (10, in_days(90)), (70, in_days(30)), (93, in_days(7))] {
        assert_eq!(said(days, Code::T023), expected, "key, day {days}");
    }
    for (days, expected) in [(274, None), (275, in_days(90)), (335, in_days(30)), (358, in_days(7))] {
        assert_eq!(said(days, Code::T043), expected, "root, day {days}");
    }
    let ended = at(365);
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|(_, text)| text.contains("expired on 20")), "{ended:?}");
}

/// Row 37: a clock that went back stops what depends on dates, not what is installed.
#[test]
fn a_clock_moved_back_lets_run_what_is_installed() {
    let world = World::new();
    world.add(&envelope(), &crate::world::COMPONENT).unwrap();
    let state = State::of(&world.trust_folder());
    state.check_clock(NOW).unwrap();
    assert_eq!(state.check_clock(NOW - 2 * DAY).unwrap_err().code, Code::T038);
    state.check_clock(NOW - DAY).unwrap();
    let trust = Trust::open(&world.trust_folder()).unwrap().at(NOW - 2 * DAY);
    let entry = world.store.find("acme/csv_reader", None).unwrap();
    world.store.check(&entry, &trust).unwrap();
    state.check_clock(NOW + 1).unwrap();
}
