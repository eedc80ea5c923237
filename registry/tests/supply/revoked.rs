//! What was taken back: who may say so, and what it stops.

use ice_core::problem::{Code, Problem};
use ice_registry::trust::{KeyNotes, KeyRole, Revoked};
use ice_registry::{DocumentKind, Purpose, Signed, Trust};
use serde_json::json;

use crate::attacks::{Accepted, Attack, edited, mode, two_of_three};
use crate::world::{
    COMPONENT, DAY, INDEXER, NOW, REVOKER, World, changed, edited_document, envelope, key, list_after, publisher, role,
    roles, root_after, roots, sign, sign_payload, sign_root, signed,
};

fn statement() -> ice_core::id::Digest {
    envelope().statement().unwrap()
}

/// Believes a list that [`REVOKER`] signed.
fn revoked(world: &mut World, change: impl FnOnce(&mut Revoked)) {
    world.believe_revoker();
    let (list, document) = list_after(None, change);
    assert_eq!(world.revoke(&document).unwrap(), list);
}

fn refused(world: &mut World, document: &Signed) -> Problem {
    let before = world.trust.clone();
    let problem = world.revoke(document).expect_err("the attack went through");
    world.reopen();
    assert_eq!(world.trust, before, "a refused list changed what is believed");
    problem
}

/// Row of the threat model, attack, code, how it is done.
pub(crate) const ROWS: &[(u8, &str, &str, Attack)] = &[
    (7, "a signed index that calls itself revocations", "E_SIG", |world| {
        world.believe_revoker();
        let index = signed(DocumentKind::Index, &list_after(None, |_| {}).0.to_value(), &[REVOKER]);
        let kind = DocumentKind::Revocations.payload_type();
        refused(world, &edited_document(&index, |document| document["payloadType"] = json!(kind)))
    }),
    (8, "revocations in another spelling", "E_NONCANONICAL", |world| {
        world.believe_revoker();
        let spelling = serde_json::to_vec_pretty(&list_after(None, |_| {}).0.to_value()).unwrap();
        refused(world, &sign_payload(DocumentKind::Revocations, &spelling, &[REVOKER]))
    }),
    (12, "the same revocations 31 days later", "E_STALE", |world| {
        revoked(world, |_| {});
        let (_, document) = list_after(None, |_| {});
        Trust::import_revocations(&world.trust_folder(), &document, NOW + 31 * DAY).unwrap_err()
    }),
    (12, "revocations N-1", "E_ROLLBACK", |world| {
        world.believe_revoker();
        let (first, old) = list_after(None, |_| {});
        let (_, new) = list_after(Some(&first), |list| list.revoke_statement(statement(), "malware", None));
        world.revoke(&old).unwrap();
        world.revoke(&new).unwrap();
        refused(world, &old)
    }),
    (12, "other revocations of the same version", "E_ROLLBACK", |world| {
        revoked(world, |list| list.revoke_statement(statement(), "malware", None));
        let (_, empty) = list_after(None, |_| {});
        refused(world, &empty)
    }),
    (28, "V's key is revoked, V is installed", "E_REVOKED", |world| {
        revoked(world, |list| list.revoke_key(publisher().public().id(), "stolen", []));
        crate::attacks::refused(world, &envelope())
    }),
    (28, "V's key is revoked, V is run", "E_REVOKED", |world| {
        revoked(world, |list| list.revoke_key(publisher().public().id(), "stolen", []));
        world.verify(&envelope()).unwrap_err()
    }),
    (28, "V's key is revoked but for V, a new statement", "E_REVOKED", |world| {
        revoked(world, |list| list.revoke_key(publisher().public().id(), "stolen", [statement()]));
        world.verify(&envelope()).unwrap();
        crate::attacks::refused(world, &sign(&changed(|document| document["sequence"] = json!(2))))
    }),
    (28, "V itself is revoked", "E_REVOKED", |world| {
        revoked(world, |list| list.revoke_statement(statement(), "malware", Some("https://acme.example/1")));
        crate::attacks::refused(world, &envelope())
    }),
    (28, "V is revoked after it was installed", "E_REVOKED", |world| {
        world.add(&envelope(), &COMPONENT).unwrap();
        revoked(world, |list| list.revoke_statement(statement(), "malware", None));
        let entry = world.store.find("acme/csv_reader", None).unwrap();
        let problem = world.store.verified(&entry, &world.trust).unwrap_err();
        world.store.remove("acme/csv_reader", None).unwrap();
        problem
    }),
    (28, "a publisher takes back another's key", "E_UNTRUSTED", |world| {
        world.believe_revoker();
        let (list, _) = list_after(None, |list| list.revoke_key(key(8).public().id(), "I say so", []));
        refused(world, &signed(DocumentKind::Revocations, &list.to_value(), &[7]))
    }),
    (28, "revocations that nobody signed", "E_UNSIGNED", |world| {
        world.believe_revoker();
        let (list, _) = list_after(None, |_| {});
        refused(world, &Signed::new(DocumentKind::Revocations, &list.to_value()))
    }),
    (28, "revocations, and nobody may sign them", "E_NO_SCOPE", |world| {
        let (_, document) = list_after(None, |_| {});
        refused(world, &document)
    }),
    (29, "revocations of two of three, one signature twice", "E_THRESHOLD", |world| {
        let mut roles = roles();
        roles.revocations = role(&[REVOKER, 26, 27], 2);
        world.import(&[sign_root(&root_after(None, roles))]).unwrap();
        let (_, once) = list_after(None, |_| {});
        let twice = edited_document(&once, |document| {
            let signature = document["signatures"][0].clone();
            document["signatures"].as_array_mut().unwrap().push(signature);
        });
        refused(world, &twice)
    }),
    (37, "revocations come under a clock moved back", "E_CLOCK", |world| {
        revoked(world, |_| {});
        let (_, document) = list_after(None, |_| {});
        Trust::import_revocations(&world.trust_folder(), &document, NOW - 2 * DAY).unwrap_err()
    }),
    (38, "revocations that name 63 hex digits", "E_SIGNED_FORM", |world| {
        world.believe_revoker();
        let (list, _) = list_after(None, |list| list.revoke_key(publisher().public().id(), "stolen", []));
        let mut document = list.to_value();
        document["keys"][0]["keyid"] = json!(publisher().public().id().to_string()[..70]);
        refused(world, &signed(DocumentKind::Revocations, &document, &[REVOKER]))
    }),
    (39, "a group may write to the revocations", "E_TRUST_PERM", |world| {
        revoked(world, |_| {});
        mode(&world.trust_folder().join("revoked.json"), 0o660);
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "the revocations are a symbolic link", "E_TRUST_PERM", |world| {
        revoked(world, |_| {});
        let (path, elsewhere) = (world.trust_folder().join("revoked.json"), world.home.path().join("revoked.json"));
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "the revocations are changed on disk", "E_SIG", |world| {
        revoked(world, |list| list.revoke_key(publisher().public().id(), "stolen", []));
        let path = world.trust_folder().join("revoked.json");
        let real = Signed::parse(&std::fs::read(&path).unwrap()).unwrap();
        let (_, empty) = list_after(None, |_| {});
        let signature = serde_json::to_value(&real).unwrap()["signatures"].clone();
        let forged = edited_document(&empty, |document| document["signatures"] = signature);
        std::fs::write(&path, forged.to_bytes()).unwrap();
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
];

/// Row of the threat model, what has to go through, how it is done.
pub(crate) const ACCEPTED: &[(u8, &str, Accepted)] =
    &[(28, "V's key is revoked but for V, V is installed and run", |world| {
        revoked(world, |list| list.revoke_key(publisher().public().id(), "stolen", [statement()]));
        world.install(&envelope()).unwrap();
        world.verify(&envelope()).unwrap();
        world.add(&envelope(), &COMPONENT).unwrap();
    })];

#[test]
fn signatures_of_other_keys_may_be_enough_without_the_revoked_one() {
    let mut world = World::new();
    two_of_three(&mut world);
    revoked(&mut world, |list| list.revoke_key(publisher().public().id(), "stolen", []));
    let mut envelope = edited(|_| {});
    envelope.add_signature(&key(8), "second").unwrap();
    assert_eq!(world.install(&envelope).unwrap_err().code, Code::T022, "one good key of two");
    envelope.add_signature(&key(9), "third").unwrap();
    let mut good = [key(8).public().id(), key(9).public().id()];
    good.sort_unstable();
    assert_eq!(world.install(&envelope).unwrap().signers(), good, "the revoked key is not among those that count");
}

#[test]
fn an_expired_list_goes_on_taking_back() {
    let mut world = World::new();
    revoked(&mut world, |list| list.revoke_key(publisher().public().id(), "stolen", []));
    let late = ice_registry::AddOptions { now: NOW + 60 * DAY, ..crate::world::options(None) };
    let problem = world.store.add(&envelope(), &[COMPONENT.to_vec()], &world.trust, &late).unwrap_err();
    assert_eq!(problem.code, Code::T022);
}

#[test]
fn a_list_outlives_the_key_that_signed_it_and_the_next_key_begins_anew() {
    let mut world = World::new();
    world.import(&roots(1)).unwrap();
    // A stolen key says the highest version.
    let (list, _) = list_after(None, |list| list.revoke_statement(statement(), "malware", None));
    let mut document = list.to_value();
    document["version"] = json!((1_u64 << 53) - 1);
    world.revoke(&signed(DocumentKind::Revocations, &document, &[REVOKER])).unwrap();
    let (_, small) = list_after(None, |list| list.revoke_statement(statement(), "malware", None));
    assert_eq!(refused(&mut world, &small).code, Code::T021);
    let mut changed = roles();
    changed.revocations = role(&[35], 1);
    let one = root_after(None, roles());
    world.import(&[sign_root(&root_after(Some(&one), changed))]).unwrap();
    assert_eq!(world.verify(&envelope()).unwrap_err().code, Code::T022, "what it took back stays taken back");
    assert_eq!(refused(&mut world, &small).code, Code::T004);
    world.revoke(&signed(DocumentKind::Revocations, &list_after(None, |_| {}).0.to_value(), &[35])).unwrap();
    world.verify(&envelope()).unwrap();
}

#[test]
fn the_last_key_that_signed_the_list_cannot_be_removed() {
    let mut world = World::new();
    revoked(&mut world, |_| {});
    let id = key(REVOKER).public().id();
    assert_eq!(Trust::remove_key(&world.trust_folder(), &id).unwrap_err().code, Code::T024);
    world.reopen();
    assert!(world.trust.trusted_keys().contains_key(&id), "nothing was removed");
    let notes = KeyNotes { roles: vec![KeyRole::Revocations], ..KeyNotes::default() };
    Trust::add_key(&world.trust_folder(), key(26).public(), &notes, &[]).unwrap();
    let (first, _) = list_after(None, |_| {});
    let (second, _) = list_after(Some(&first), |_| {});
    world.revoke(&signed(DocumentKind::Revocations, &second.to_value(), &[26])).unwrap();
    let trust = Trust::remove_key(&world.trust_folder(), &id).unwrap();
    assert_eq!(trust.revoked(), Some(&second));
}

#[test]
fn a_revoked_index_key_signs_no_index() {
    let mut world = World::new();
    world.import(&roots(1)).unwrap();
    let (_, document) = list_after(None, |list| list.revoke_key(key(INDEXER).public().id(), "stolen", []));
    world.revoke(&document).unwrap();
    for purpose in [Purpose::Run, Purpose::Install { now: NOW }] {
        assert_eq!(world.trust.signers(DocumentKind::Index, purpose).unwrap_err().code, Code::T022);
        world.trust.signers(DocumentKind::Root, purpose).unwrap();
    }
}

#[test]
fn a_list_follows_the_one_before_with_all_it_took_back() {
    let (first, document) = list_after(None, |list| {
        list.revoke_key(publisher().public().id(), "stolen", [statement()]);
        list.revoke_statement(statement(), "malware", Some("https://acme.example/1"));
    });
    let (second, _) = list_after(Some(&first), |list| list.revoke_key(key(8).public().id(), "lost", []));
    assert_eq!((first.version(), second.version()), (1, 2));
    assert_eq!((second.keys().len(), second.statements().len()), (2, 1));
    assert_eq!(Revoked::from_value(&document.unchecked().unwrap()).unwrap(), first);
    assert_eq!(Revoked::after(None, NOW, NOW).unwrap_err().code, Code::T049);
    assert_eq!(Revoked::after(None, NOW, u64::MAX).unwrap_err().code, Code::T049);
    for (member, value) in [
        ("version", json!(0)),
        ("issued", json!("2028-01-01T00:00:00Z")),
        ("expires", json!("tomorrow")),
        ("keys", json!([{"keyid": statement(), "reason": ""}, {"keyid": statement(), "reason": ""}])),
        ("statements", json!([{"S": statement(), "reason": ""}, {"S": statement(), "reason": ""}])),
        ("statements", json!([{"S": statement()}])),
    ] {
        let mut document = first.to_value();
        document[member] = value;
        assert_eq!(Revoked::from_value(&document).unwrap_err().code, Code::T049, "{member}");
    }
}
