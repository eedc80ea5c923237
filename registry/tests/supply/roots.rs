//! Roots: who may sign what, how that changes, and how it cannot.

use ice_core::problem::{Code, Problem};
use ice_registry::trust::{KeyNotes, KeyRole, Origin, Role, Root, ScopeEdit, SeenIndex, State};
use ice_registry::{DocumentKind, Purpose, Signed, Trust};
use serde_json::{Value, json};

use crate::attacks::{Accepted, Attack, mode, weak_point};
use crate::world::{
    DAY, INDEXER, NOW, ROOTS, World, base64, edited_document, envelope, key, publisher, role, roles, root_after, roots,
    sign_payload, sign_root, signed,
};

/// A world that believes root 1, and the documents of that root and the next ones.
fn rooted(world: &mut World, count: usize) -> Vec<Signed> {
    let all = roots(count);
    world.import(&all[..1]).unwrap();
    all
}

fn root_1() -> Root {
    root_after(None, roles())
}

fn refused(world: &mut World, documents: &[Signed]) -> Problem {
    let before = world.trust.clone();
    let problem = world.import(documents).expect_err("the attack went through");
    world.reopen();
    assert_eq!(world.trust, before, "a refused root changed what is believed");
    problem
}

/// Root 1 with another document in its place, signed by its keys.
fn first(world: &mut World, change: impl FnOnce(&mut Value)) -> Problem {
    let mut document = root_1().to_value();
    change(&mut document);
    refused(world, &[signed(DocumentKind::Root, &document, &ROOTS)])
}

/// Row of the threat model, attack, code, how it is done.
pub(crate) const ROWS: &[(u8, &str, &str, Attack)] = &[
    (5, "a root with a small-order key", "E_WEAK_KEY", |world| {
        first(world, |document| {
            let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], &weak_point()[..]];
            let keyid = ice_core::id::Digest::of(&der.concat()).to_string();
            document["keys"][&keyid] = json!(base64(&weak_point()));
            document["roles"]["index"]["keys"] = json!([keyid]);
        })
    }),
    (7, "a root that is signed as an index", "E_SIG", |world| {
        refused(world, &[signed(DocumentKind::Index, &root_1().to_value(), &ROOTS)])
    }),
    (7, "a signed index that calls itself a root", "E_SIG", |world| {
        let index = signed(DocumentKind::Index, &root_1().to_value(), &ROOTS);
        let kind = DocumentKind::Root.payload_type();
        refused(world, &[edited_document(&index, |document| document["payloadType"] = json!(kind))])
    }),
    (8, "a root in another spelling", "E_NONCANONICAL", |world| {
        let spelling = serde_json::to_vec_pretty(&root_1().to_value()).unwrap();
        refused(world, &[sign_payload(DocumentKind::Root, &spelling, &ROOTS)])
    }),
    (29, "a root signed by one key twice", "E_ROOT", |world| {
        let once = signed(DocumentKind::Root, &root_1().to_value(), &ROOTS[..1]);
        let twice = edited_document(&once, |document| {
            let signature = document["signatures"][0].clone();
            document["signatures"].as_array_mut().unwrap().push(signature);
        });
        refused(world, &[twice])
    }),
    (29, "a root with one key under two ids", "E_SIGNED_FORM", |world| {
        first(world, |document| {
            let other = ice_core::id::Digest::of(b"another id").to_string();
            let id = key(ROOTS[0]).public().id().to_string();
            document["keys"][&other] = document["keys"][&id].clone();
            document["roles"]["root"]["keys"] = json!([id, other]);
        })
    }),
    (30, "root 3 after root 1", "E_ROOT", |world| {
        let all = rooted(world, 3);
        refused(world, &all[2..])
    }),
    (30, "root 2 signed by its own keys only", "E_ROOT", |world| {
        rooted(world, 1);
        let mut roles = roles();
        roles.root = role(&[31, 32], 2);
        let next = root_after(Some(&root_1()), roles);
        refused(world, &[signed(DocumentKind::Root, &next.to_value(), &[31, 32])])
    }),
    (30, "root 2 signed by the old keys only", "E_ROOT", |world| {
        rooted(world, 1);
        let mut roles = roles();
        roles.root = role(&[31, 32], 2);
        refused(world, &[sign_root(&root_after(Some(&root_1()), roles))])
    }),
    (30, "root 2 signed by one of two old keys", "E_ROOT", |world| {
        rooted(world, 1);
        let next = root_after(Some(&root_1()), roles());
        refused(world, &[signed(DocumentKind::Root, &next.to_value(), &ROOTS[..1])])
    }),
    (30, "another root 1", "E_ROOT", |world| {
        rooted(world, 1);
        let other = Root::after(None, NOW + 30 * DAY, roles()).unwrap();
        refused(world, &[sign_root(&other)])
    }),
    (30, "the last root has expired", "E_ROOT_EXPIRED", |world| {
        let all = rooted(world, 2);
        let second = Root::unchecked(&all[1]).unwrap();
        let expired = Root::after(Some(&second), NOW, roles()).unwrap();
        refused(world, &[all[1].clone(), sign_root(&expired)])
    }),
    (30, "a first root that nobody signed", "E_ROOT", |world| {
        refused(world, &[Signed::new(DocumentKind::Root, &root_1().to_value())])
    }),
    (37, "a root is imported under a clock moved back", "E_CLOCK", |world| {
        let all = rooted(world, 2);
        Trust::import_root(&world.trust_folder(), &all[1..], NOW - 2 * DAY).unwrap_err()
    }),
    (38, "a root with `algo: none`", "E_ALGO", |world| {
        let root = sign_root(&root_1());
        refused(world, &[edited_document(&root, |document| document["signatures"][0]["algo"] = json!("none"))])
    }),
    (38, "a root with a `SHA256:` key id", "E_SIGNED_FORM", |world| {
        first(world, |document| {
            let id = key(INDEXER).public().id().to_string().replace("sha256:", "SHA256:");
            document["roles"]["index"]["keys"] = json!([id]);
        })
    }),
    (39, "a group may write to a root", "E_TRUST_PERM", |world| {
        rooted(world, 1);
        mode(&world.trust_folder().join("root/1.json"), 0o660);
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "a group may write to the folder of roots", "E_TRUST_PERM", |world| {
        rooted(world, 1);
        mode(&world.trust_folder().join("root"), 0o770);
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "a root is a symbolic link", "E_TRUST_PERM", |world| {
        rooted(world, 1);
        let (path, elsewhere) = (world.trust_folder().join("root/1.json"), world.home.path().join("1.json"));
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (0, "a root's scope after the root expired", "E_ROOT_EXPIRED", |world| {
        rooted(world, 1);
        Trust::remove_scope(&world.trust_folder(), "acme/*").unwrap();
        world.reopen();
        let late = ice_registry::AddOptions { now: NOW + 365 * DAY, ..crate::world::options(None) };
        world.store.add(&envelope(), &[crate::world::COMPONENT.to_vec()], &world.trust, &late).unwrap_err()
    }),
];

/// Row of the threat model, what has to go through, how it is done.
pub(crate) const ACCEPTED: &[(u8, &str, Accepted)] = &[(30, "a root in the middle has expired", |world| {
    let one = root_1();
    let two = Root::after(Some(&one), NOW - DAY, roles()).unwrap();
    let three = root_after(Some(&two), roles());
    world.import(&[sign_root(&one)]).unwrap();
    assert_eq!(world.import(&[sign_root(&two), sign_root(&three)]).unwrap().version, 3);
    assert_eq!(world.trust.root(), Some(&three));
})];

#[test]
fn the_publishers_of_the_first_root_may_sign_their_names() {
    let mut world = World::new();
    Trust::remove_key(&world.trust_folder(), &publisher().public().id()).unwrap();
    world.reopen();
    assert_eq!(world.install(&envelope()).unwrap_err().code, Code::T019);
    let document = sign_root(&root_1());
    let imported = world.import(std::slice::from_ref(&document)).unwrap();
    assert_eq!((imported.added, imported.version, imported.first), (1, 1, true));
    assert_eq!(imported.fingerprint, document.digest().unwrap());
    assert_eq!(world.install(&envelope()).unwrap().signers(), [publisher().public().id()]);
    assert_eq!(world.trust.scopes()[0].origin, Origin::Root);
    let again = world.import(&[document]).unwrap();
    assert_eq!((again.added, again.version, again.first), (0, 1, false));
    assert_eq!(Trust::import_root(&world.home.path().join("new"), &[], NOW).unwrap_err().code, Code::T042);
}

#[test]
fn the_operators_scope_decides_before_any_of_the_root() {
    let mut world = World::new();
    let mut roles = roles();
    for scope in ["acme/*", "acme/csv*", "acme/csv_reader", "other/*"] {
        roles.publishers.insert(scope.to_owned(), role(&[31], 1));
    }
    world.import(&[sign_root(&root_after(None, roles))]).unwrap();
    let scope = world.trust.scope_for("acme/csv_reader").unwrap();
    assert_eq!((scope.name.as_str(), scope.origin), ("acme/*", Origin::Policy));
    world.install(&envelope()).unwrap();
    assert_eq!(world.trust.scope_for("other/x").unwrap().origin, Origin::Root);
    assert_eq!(world.trust.scopes().iter().filter(|scope| scope.name == "acme/*").count(), 1);
    // Without a scope of the operator the longest of the root decides.
    world.trust = Trust::remove_scope(&world.trust_folder(), "acme/*").unwrap();
    assert_eq!(world.trust.scope_for("acme/csv_reader").unwrap().name, "acme/csv_reader");
    assert_eq!(world.install(&envelope()).unwrap_err().code, Code::T004);
}

#[test]
fn the_policy_says_where_a_scope_of_the_root_comes_from_and_never_whose_it_is() {
    let mut world = World::new();
    let folder = world.trust_folder();
    Trust::remove_key(&folder, &publisher().public().id()).unwrap();
    let edit = |name: &str| ScopeEdit {
        name: name.to_owned(),
        registry: Some("registry.example/ice".to_owned()),
        cooldown_hours: Some(24),
        ..ScopeEdit::default()
    };
    assert_eq!(Trust::set_scope(&folder, &edit("acme/*")).unwrap_err().code, Code::R001, "nobody names it yet");
    world.import(&[sign_root(&root_1())]).unwrap();
    world.trust = Trust::set_scope(&folder, &edit("acme/*")).unwrap();
    let scope = world.trust.scope_for("acme/csv_reader").unwrap();
    assert_eq!((scope.origin, scope.registry.as_deref()), (Origin::Root, Some("registry.example/ice")));
    assert_eq!((scope.keys.as_slice(), scope.threshold), (&[publisher().public().id()][..], 1));
    assert_eq!(scope.cooldown_hours, Some(24));
    world.install(&envelope()).unwrap();
    assert_eq!(Trust::set_scope(&folder, &edit("other/*")).unwrap_err().code, Code::R001);
    let threshold = ScopeEdit { name: "acme/*".to_owned(), threshold: Some(1), ..ScopeEdit::default() };
    assert_eq!(Trust::set_scope(&folder, &threshold).unwrap_err().code, Code::T024, "a threshold of which keys?");

    // What is beside a scope that no root names gives nobody anything.
    std::fs::remove_dir_all(folder.join("root")).unwrap();
    world.reopen();
    assert_eq!(world.trust.scope_for("acme/csv_reader").unwrap_err().code, Code::T019);
    // The operator may name keys of his own there, and decides from then on.
    world.trust = Trust::add_key(&folder, key(44).public(), &KeyNotes::default(), &["acme/*"]).unwrap();
    let scope = world.trust.scope_for("acme/csv_reader").unwrap();
    assert_eq!((scope.origin, scope.keys.as_slice()), (Origin::Policy, &[key(44).public().id()][..]));
    assert_eq!(scope.registry.as_deref(), Some("registry.example/ice"));
}

#[test]
fn a_key_is_believed_with_its_bounds_or_not_at_all() {
    let mut world = World::new();
    let bounds = [ScopeEdit { name: "other/*".to_owned(), threshold: Some(2), ..ScopeEdit::default() }];
    let folder = world.trust_folder();
    let before = world.trust.clone();
    let add = |number| Trust::add_key_with(&folder, key(number).public(), &KeyNotes::default(), &bounds);
    assert_eq!(add(44).unwrap_err().code, Code::T024);
    world.reopen();
    assert_eq!(world.trust, before, "one of two is not believed alone");
    Trust::add_key(&folder, key(44).public(), &KeyNotes::default(), &["other/*"]).unwrap();
    assert_eq!(add(45).unwrap().scope_for("other/x").unwrap().threshold, 2);
}

#[test]
fn a_chain_is_followed_in_any_order_over_expired_roots_and_changed_keys() {
    let mut world = World::new();
    let one = root_1();
    let two = Root::after(Some(&one), NOW - DAY, roles()).unwrap();
    let mut changed = roles();
    changed.root = role(&[31, 32, 33], 2);
    changed.publishers.insert("new/*".to_owned(), role(&[8], 1));
    let three = root_after(Some(&two), changed.clone());
    let four = root_after(Some(&three), changed);
    let third = signed(DocumentKind::Root, &three.to_value(), &[ROOTS[1], ROOTS[2], 31, 33]);
    let fourth = signed(DocumentKind::Root, &four.to_value(), &[32, 33]);
    // Somebody who collects signatures sees who is missing, and that it is not enough yet.
    let half = signed(DocumentKind::Root, &three.to_value(), &[ROOTS[1], 31]);
    assert_eq!(half.keyids().collect::<Vec<_>>(), [ROOTS[1], 31].map(|seed| key(seed).public().id()));
    assert_eq!(two.check_next(&half).unwrap_err().code, Code::T042);
    assert_eq!(two.check_next(&third).unwrap(), three);
    let all = [sign_root(&one), sign_root(&two), third, fourth];
    world.import(&all[..1]).unwrap();
    let imported = world.import(&[all[3].clone(), all[1].clone(), all[2].clone()]).unwrap();
    assert_eq!((imported.added, imported.version, imported.first), (3, 4, false));
    assert_eq!(world.trust.root(), Some(&four));
    assert_eq!(world.trust.root_documents().cloned().collect::<Vec<_>>(), all);
    assert!(world.trust.scope_for("new/x").is_ok());
    // The old keys sign no more.
    let five = sign_root(&root_after(Some(&four), roles()));
    assert_eq!(refused(&mut world, &[five]).code, Code::T042);
    // An old root that comes with a program, alone or with those after it, changes nothing.
    assert_eq!(world.import(&all[..1]).unwrap().added, 0);
    assert_eq!(world.import(&all).unwrap().version, 4);
    // The first roots may be gone.
    std::fs::remove_file(world.trust_folder().join("root/1.json")).unwrap();
    world.reopen();
    assert_eq!(world.import(&all).unwrap().version, 4);
    // A new machine takes them all at once.
    let mut fresh = World::new();
    let imported = fresh.import(&all).unwrap();
    assert_eq!((imported.added, imported.version, imported.first), (4, 4, true));
}

#[test]
fn an_expired_root_stops_what_is_new_and_nothing_that_runs() {
    let mut world = World::new();
    rooted(&mut world, 1);
    world.trust = Trust::remove_scope(&world.trust_folder(), "acme/*").unwrap();
    let late = Purpose::Install { now: NOW + 365 * DAY };
    for kind in [DocumentKind::Index, DocumentKind::Revocations, DocumentKind::Root] {
        assert_eq!(world.trust.signers(kind, late).unwrap_err().code, Code::T043);
        world.trust.signers(kind, Purpose::Install { now: NOW + 365 * DAY - 1 }).unwrap();
        world.trust.signers(kind, Purpose::Run).unwrap();
    }
    world.verify(&envelope()).unwrap();
    world.install(&envelope()).unwrap();
}

#[test]
fn a_root_that_does_not_fit_on_disk_stops_everything() {
    type Damage = fn(&std::path::Path);
    let cases: &[(&str, Damage)] = &[
        ("a gap", |folder| std::fs::remove_file(folder.join("2.json")).unwrap()),
        ("a root under another version", |folder| {
            std::fs::rename(folder.join("3.json"), folder.join("4.json")).unwrap();
        }),
        ("another spelling of a version", |folder| {
            std::fs::rename(folder.join("3.json"), folder.join("03.json")).unwrap();
        }),
        ("not signed", |folder| {
            let bytes = Signed::new(DocumentKind::Root, &Root::to_value(&root_1())).to_bytes();
            std::fs::write(folder.join("1.json"), bytes).unwrap();
        }),
    ];
    for (what, damage) in cases {
        let mut world = World::new();
        world.import(&roots(3)).unwrap();
        damage(&world.trust_folder().join("root"));
        let problem = Trust::open(&world.trust_folder()).expect_err(what);
        assert_eq!((problem.code, problem.at.is_some()), (Code::T042, true), "{what}");
    }
    let mut world = World::new();
    world.import(&roots(3)).unwrap();
    std::fs::write(world.trust_folder().join("root/3.json"), b"{}").unwrap();
    assert_eq!(Trust::open(&world.trust_folder()).unwrap_err().code, Code::T049);
}

/// Row 14: a stolen index key that said the highest version does not lock out the key that follows it.
#[test]
fn a_root_that_changes_the_index_keys_makes_seen_index_versions_void() {
    let mut world = World::new();
    let all = rooted(&mut world, 2);
    let state = State::of(&world.trust_folder());
    let seen = SeenIndex { version: (1 << 53) - 1, root_version: 1, refreshed: NOW };
    state.saw_index("registry.example/ice", &seen).unwrap();
    world.import(&all[1..]).unwrap();
    assert_eq!(state.index("registry.example/ice").unwrap(), Some(seen), "the index keys are the same in root 2");
    let mut changed = roles();
    changed.index = role(&[34], 1);
    let three = root_after(Some(&Root::unchecked(&all[1]).unwrap()), changed);
    world.import(&[sign_root(&three)]).unwrap();
    assert_eq!(state.index("registry.example/ice").unwrap(), None);
    let now = SeenIndex { version: 12, root_version: 3, refreshed: NOW };
    state.saw_index("registry.example/ice", &now).unwrap();
    world.import(&[sign_root(&three)]).unwrap();
    assert_eq!(state.index("registry.example/ice").unwrap(), Some(now), "nothing new, nothing forgotten");
}

#[test]
fn without_a_root_the_notes_of_keys_say_who_signs_the_index() {
    let world = World::new();
    let (folder, install) = (world.trust_folder(), Purpose::Install { now: NOW });
    for (kind, command) in [
        (DocumentKind::Index, "`ice trust add KEY.pem --role index`"),
        (DocumentKind::Revocations, "`ice trust add KEY.pem --role revocations`"),
        (DocumentKind::Root, "`ice trust import-root 1.json`"),
    ] {
        let problem = world.trust.signers(kind, install).unwrap_err();
        assert_eq!(problem.code, Code::T019);
        assert!(problem.help.unwrap().contains(command));
    }
    let notes = KeyNotes { roles: vec![KeyRole::Index], ..KeyNotes::default() };
    let until = KeyNotes { valid_until: Some("2026-11-30T00:00:00Z".to_owned()), ..notes.clone() };
    let trust = Trust::add_key(&folder, key(8).public(), &until, &[]).unwrap();
    assert_eq!(trust.signers(DocumentKind::Index, install).unwrap_err().code, Code::T023);
    assert_eq!(trust.signers(DocumentKind::Index, Purpose::Run).unwrap().keys.len(), 1);
    assert_eq!(trust.signers(DocumentKind::Revocations, install).unwrap_err().code, Code::T019);
    let trust = Trust::add_key(&folder, key(9).public(), &notes, &[]).unwrap();
    let signers = trust.signers(DocumentKind::Index, install).unwrap();
    assert_eq!((signers.keys.keys().collect::<Vec<_>>(), signers.threshold), (vec![&key(9).public().id()], 1));
    let index = signed(DocumentKind::Index, &json!({"version": 1}), &[9]);
    assert_eq!(index.check(DocumentKind::Index, &signers).unwrap(), json!({"version": 1}));
    // A root takes over.
    Trust::import_root(&folder, &roots(1), NOW).unwrap();
    let trust = Trust::open(&folder).unwrap();
    let signers = trust.signers(DocumentKind::Index, install).unwrap();
    assert_eq!(signers.keys.keys().collect::<Vec<_>>(), [&key(INDEXER).public().id()]);
    assert_eq!(index.check(DocumentKind::Index, &signers).unwrap_err().code, Code::T004);
}

#[test]
fn a_root_in_another_form_is_refused() {
    let read = |change: &dyn Fn(&mut Value)| {
        let mut document = root_1().to_value();
        change(&mut document);
        Root::from_value(&document)
    };
    assert_eq!(read(&|_| {}).unwrap(), root_1());
    assert_eq!(read(&|document| document["later"] = json!(1)).unwrap(), root_1(), "unknown members are passed over");
    type Change = fn(&mut Value);
    let cases: &[(&str, Change)] = &[
        ("no version", |document| drop(document.as_object_mut().unwrap().remove("version"))),
        ("version 0", |document| document["version"] = json!(0)),
        ("version 2^53", |document| document["version"] = json!(1_u64 << 53)),
        ("version -1", |document| document["version"] = json!(-1)),
        ("another date", |document| document["expires"] = json!("2027-02-30T00:00:00Z")),
        ("no keys for a role", |document| document["roles"]["index"]["keys"] = json!([])),
        ("threshold 0", |document| document["roles"]["root"]["threshold"] = json!(0)),
        ("threshold 4 of 3", |document| document["roles"]["root"]["threshold"] = json!(4)),
        ("a key that is not in `keys`", |document| document["keys"] = json!({})),
        ("a key twice", |document| {
            let id = document["roles"]["index"]["keys"][0].clone();
            document["roles"]["index"]["keys"] = json!([id, id]);
        }),
        ("a key of 31 bytes", |document| {
            let id = key(INDEXER).public().id().to_string();
            document["keys"][&id] = json!(base64(&[1; 31]));
        }),
        ("a key under another's id", |document| {
            let (one, other) = (key(INDEXER).public().id().to_string(), key(7).public().id().to_string());
            document["keys"][&one] = document["keys"][&other].clone();
        }),
        ("no role for revocations", |document| drop(document["roles"].as_object_mut().unwrap().remove("revocations"))),
        ("a publisher of everything", |document| document["roles"]["publishers"][0]["scope"] = json!("*")),
        ("a scope twice", |document| {
            let publisher = document["roles"]["publishers"][0].clone();
            document["roles"]["publishers"] = json!([publisher, publisher]);
        }),
    ];
    for (what, change) in cases {
        assert_eq!(read(change).expect_err(what).code, Code::T049, "{what}");
    }
    assert_eq!(Role::new([], 1).unwrap_err().code, Code::T049);
    assert_eq!(Role::new((1..=17).map(|seed| key(seed).public().clone()), 1).unwrap_err().code, Code::T049);
    assert_eq!(Root::after(None, u64::MAX, roles()).unwrap_err().code, Code::T049);
}
