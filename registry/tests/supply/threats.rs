//! The rows of the threat model that concern local signing: each attack, and the code it ends with.
//!
//! The table is printed (`cargo test -p ice-registry --test supply threats -- --nocapture`): row, attack, code. After
//! every attack the store is what it was.

use std::io::Write as _;

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_registry::Trust;
use ice_registry::envelope::{DIGESTS_PAYLOAD_TYPE, pae, payload};
use ice_registry::trust::KeyNotes;

use crate::attacks::{ROWS, edited, malleate, refused, two_of_three, weak_point};
use crate::world::{COMPONENT, World, base64, document, envelope, forge, key, publisher};

#[test]
fn every_attack_ends_with_its_code_and_leaves_the_store_as_it_was() {
    let mut table = String::new();
    let mut wrong = Vec::new();
    for (row, attack, expected, run) in ROWS {
        let mut world = World::new();
        let index = |world: &World| world.store.list().unwrap();
        let before = index(&world);
        let problem = run(&mut world);
        table.push_str(&format!("{row:>3}  {attack:<50} {} ({})\n", problem.code.name(), problem.code));
        if problem.code.name() != *expected {
            wrong.push(format!("row {row}, {attack}: expected {expected}, got {problem}"));
        }
        let text = problem.to_string().to_lowercase();
        for way_out in ["skip", "disable", "insecure", "--no-verify", "turn off", "ignore"] {
            assert!(!text.contains(way_out), "a message suggests switching verification off: {problem}");
        }
        assert_eq!(index(&world), before, "row {row}, {attack}");
    }
    std::io::stdout().lock().write_all(table.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refused_envelope_writes_no_file() {
    let world = World::new();
    let before = world.files();
    refused(&world, &edited(|envelope| envelope.signatures[0].sig = malleate(&envelope.signatures[0].sig)));
    world.add(&envelope(), b"\0asm").unwrap_err();
    assert_eq!(world.files(), before);
}

#[test]
fn a_signature_of_an_unknown_key_under_a_trusted_id_is_a_broken_signature() {
    let world = World::new();
    let manifest = canonical(&document());
    let payload = payload([Digest::of(&COMPONENT)], &Digest::of(&manifest));
    let forged = forge(&manifest, &payload, &pae(DIGESTS_PAYLOAD_TYPE, &payload), &key(8));
    assert_eq!(refused(&world, &forged).code.name(), "E_SIG");
}

#[test]
fn enough_keys_of_a_threshold_are_enough() {
    let mut world = World::new();
    two_of_three(&mut world);
    let mut envelope = envelope();
    envelope.add_signature(&key(9), "second").unwrap();
    let verified = world.verify(&envelope).unwrap();
    assert_eq!(verified.signers().len(), 2);
    assert_eq!(verified.statement(), crate::world::envelope().statement().unwrap());
    world.add(&envelope, &COMPONENT).unwrap();
}

#[test]
fn a_weak_key_cannot_be_put_into_the_trust_store_by_hand() {
    let world = World::new();
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(weak_point());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(&der));
    let path = world.trust_folder().join("keys").join(format!("{}.pem", Digest::of(&der).hex()));
    std::fs::write(&path, pem).unwrap();
    assert_eq!(Trust::open(&world.trust_folder()).unwrap_err().code.name(), "E_WEAK_KEY");
    let notes = KeyNotes::default();
    assert!(Trust::add_key(&world.trust_folder(), publisher().public(), &notes, &[]).is_err());
}
