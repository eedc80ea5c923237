//! What goes with the attacks of `attacks`: a refusal leaves no file, and no key gets into the trust store by hand.

use ice_core::id::Digest;
use ice_registry::Trust;
use ice_registry::trust::KeyNotes;

use crate::attacks::{edited, malleate, refused, weak_point};
use crate::world::{World, base64, envelope, publisher};

#[test]
fn a_refused_envelope_writes_no_file() {
    let world = World::new();
    let before = world.files();
    refused(&world, &edited(|envelope| envelope.signatures[0].sig = malleate(&envelope.signatures[0].sig)));
    world.add(&envelope(), b"\0asm").unwrap_err();
    assert_eq!(world.files(), before);
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
