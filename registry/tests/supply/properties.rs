//! No single changed bit is accepted, and no bytes make the readers panic.

use ice_core::id::Digest;
use ice_registry::Envelope;
use proptest::prelude::*;

use crate::world::{COMPONENT, World, base64, envelope, unbase64};

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn no_single_bit_of_payload_manifest_signature_or_component_can_change() {
    let world = World::new();
    let good = envelope();
    let (payload, manifest, signature) =
        (unbase64(&good.payload), unbase64(&good.manifest), unbase64(&good.signatures[0].sig));
    let check = |what: &str, bit: usize, envelope: &Envelope| {
        assert!(world.verify(envelope).is_err(), "bit {bit} of the {what}");
    };
    for bit in 0..payload.len() * 8 {
        check("payload", bit, &Envelope { payload: base64(&flipped(&payload, bit)), ..good.clone() });
    }
    for bit in 0..manifest.len() * 8 {
        check("manifest", bit, &Envelope { manifest: base64(&flipped(&manifest, bit)), ..good.clone() });
    }
    for bit in 0..signature.len() * 8 {
        let mut envelope = good.clone();
        envelope.signatures[0].sig = base64(&flipped(&signature, bit));
        check("signature", bit, &envelope);
    }
    let verified = world.verify(&good).unwrap();
    for bit in 0..COMPONENT.len() * 8 {
        let changed = flipped(&COMPONENT, bit);
        assert!(verified.check_blob(&Digest::of(&COMPONENT), &changed).is_err(), "bit {bit} of the component");
        assert!(
            verified.check_blob(&Digest::of(&changed), &changed).is_err(),
            "bit {bit} of the component, named anew"
        );
    }
}

#[test]
fn a_changed_byte_of_the_envelope_text_never_gives_another_accepted_statement() {
    let world = World::new();
    let good = envelope();
    let (bytes, statement) = (good.to_bytes(), good.statement().unwrap());
    for at in 0..bytes.len() {
        for change in [1, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let verdict = Envelope::parse(&changed).and_then(|envelope| world.verify(&envelope));
            assert!(verdict.is_err() || verdict.is_ok_and(|verified| verified.statement() == statement), "byte {at}");
        }
    }
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

#[test]
fn reading_any_bytes_as_an_envelope_never_panics() {
    proptest!(cases(256), |(bytes in proptest::collection::vec(any::<u8>(), 0..512))| {
        let _ = Envelope::parse(&bytes);
        let _ = Envelope::from_inline(&bytes);
    });
}

#[test]
fn any_manifest_and_payload_beside_the_signature_are_refused() {
    let (world, good) = (World::new(), envelope());
    let payloads = proptest::collection::vec(any::<u8>(), 0..128);
    proptest!(cases(256), |(manifest in ".{0,64}", payload in payloads)| {
        let (manifest, payload) = (base64(manifest.as_bytes()), base64(&payload));
        let changed = Envelope { manifest, payload, ..good.clone() };
        prop_assert!(world.verify(&changed).is_err());
    });
}

#[test]
fn loose_base64_is_refused() {
    let (world, good) = (World::new(), envelope());
    for tail in ["", "=", "===", "==\n", " ==", "-", "_=", "A"] {
        let payload = format!("{}{tail}", good.payload.trim_end_matches('='));
        if payload != good.payload {
            assert!(world.verify(&Envelope { payload, ..good.clone() }).is_err(), "{tail:?}");
        }
    }
}
