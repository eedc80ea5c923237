//! No single changed bit is accepted, and no bytes make the readers panic.

use ice_core::id::Digest;
use ice_registry::trust::{Revoked, Roles, Root};
use ice_registry::{DocumentKind, Envelope, Purpose, Signed, Trust};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{
    COMPONENT, NOW, ROOTS, World, base64, edited_document, envelope, key, list_after, root_after, signed, unbase64,
};

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

/// Every root and list of revocations that differs from `document` in one bit of its payload, or of a signature.
fn flips(document: &Signed) -> Vec<(String, Signed)> {
    let value = serde_json::to_value(document).unwrap();
    let mut all = Vec::new();
    let text = |value: &serde_json::Value| unbase64(value.as_str().unwrap());
    let payload = text(&value["payload"]);
    for bit in 0..payload.len() * 8 {
        let changed = base64(&flipped(&payload, bit));
        all.push((
            format!("bit {bit} of the payload"),
            edited_document(document, |document| document["payload"] = json!(changed)),
        ));
    }
    for (index, signature) in value["signatures"].as_array().unwrap().iter().enumerate() {
        let signature = text(&signature["sig"]);
        for bit in 0..signature.len() * 8 {
            let changed = base64(&flipped(&signature, bit));
            let edited = edited_document(document, |document| document["signatures"][index]["sig"] = json!(changed));
            all.push((format!("bit {bit} of signature {index}"), edited));
        }
    }
    all
}

#[test]
fn no_single_bit_of_a_signed_root_can_change() {
    let world = World::new();
    let folder = world.trust_folder();
    let role = || crate::world::role(&ROOTS[..1], 1);
    let roles = Roles { root: role(), index: role(), revocations: role(), publishers: Default::default() };
    let first = root_after(None, roles.clone());
    let second = root_after(Some(&first), roles);
    let sign = |root: &Root| signed(DocumentKind::Root, &root.to_value(), &ROOTS[..1]);
    Trust::import_root(&folder, &[sign(&first)], NOW).unwrap();
    let trust = Trust::open(&folder).unwrap();
    let signers = trust.signers(DocumentKind::Root, Purpose::Install { now: NOW }).unwrap();
    for (index, (what, changed)) in flips(&sign(&second)).into_iter().enumerate() {
        assert!(changed.check(DocumentKind::Root, &signers).is_err(), "{what}");
        // The whole way, for one bit of every byte: it reads the folder each time.
        if index % 8 == index / 8 % 8 {
            assert!(Trust::import_root(&folder, &[changed], NOW).is_err(), "{what}");
        }
    }
    assert_eq!(Trust::import_root(&folder, &[sign(&second)], NOW).unwrap().version, 2);
}

#[test]
fn no_single_bit_of_signed_revocations_can_change() {
    let mut world = World::new();
    world.believe_revoker();
    let (list, document) = list_after(None, |list| list.revoke_key(key(8).public().id(), "stolen", []));
    let signers = world.trust.signers(DocumentKind::Revocations, Purpose::Install { now: NOW }).unwrap();
    for (what, changed) in flips(&document) {
        assert!(changed.check(DocumentKind::Revocations, &signers).is_err(), "{what}");
    }
    let value = document.check(DocumentKind::Revocations, &signers).unwrap();
    assert_eq!(Revoked::from_value(&value).unwrap(), list);
}

#[test]
fn a_changed_byte_of_the_text_of_a_signed_document_never_gives_another_accepted_one() {
    let mut world = World::new();
    world.believe_revoker();
    let (_, document) = list_after(None, |list| list.revoke_key(key(8).public().id(), "stolen", []));
    let signers = world.trust.signers(DocumentKind::Revocations, Purpose::Run).unwrap();
    let good = document.check(DocumentKind::Revocations, &signers).unwrap();
    let bytes = document.to_bytes();
    for at in 0..bytes.len() {
        for bit in [0, 5, 7] {
            let changed = flipped(&bytes, at * 8 + bit);
            let checked = Signed::parse(&changed).and_then(|signed| signed.check(DocumentKind::Revocations, &signers));
            assert!(checked.is_err() || checked.is_ok_and(|value| value == good), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn reading_any_bytes_as_a_signed_document_never_panics() {
    proptest!(cases(256), |(bytes in proptest::collection::vec(any::<u8>(), 0..512), text in "[{}\\[\\]\":,a-zA-Z0-9 ]{0,200}")| {
        let _ = Signed::parse(&bytes);
        let _ = Signed::parse(text.as_bytes());
        if let Ok(value) = serde_json::from_str(&text) {
            let _ = Root::from_value(&value);
            let _ = Revoked::from_value(&value);
        }
    });
}

#[test]
fn a_root_reads_back_as_itself_whoever_has_which_role() {
    let seeds = || proptest::collection::btree_set(1_u8..9, 1..5);
    let strategy = (seeds(), seeds(), seeds(), proptest::option::of(seeds()), 0_u64..4_000_000_000);
    proptest!(cases(64), |((root, index, revocations, publisher, expires) in strategy)| {
        let role = |seeds: &std::collections::BTreeSet<u8>| {
            let seeds: Vec<u8> = seeds.iter().copied().collect();
            crate::world::role(&seeds, seeds.len())
        };
        let publishers = publisher.iter().map(|seeds| ("acme/*".to_owned(), role(seeds))).collect();
        let roles = Roles {
            root: role(&root), index: role(&index), revocations: role(&revocations), publishers,
        };
        let made = Root::after(None, expires, roles).unwrap();
        prop_assert_eq!(Root::from_value(&made.to_value()).unwrap(), made);
    });
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
