//! Vector V to the byte, and the vectors of RFC 8032.

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_registry::envelope::{DIGESTS_PAYLOAD_TYPE, Envelope, pae};
use ice_registry::{DocumentKind, PrivateKey, Signed};
use serde_json::Value;

use crate::world::{
    COMPONENT, ROOTS, World, document, envelope, list_after, publisher, roles, root_after, signed, unbase64,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn vector_v_is_reproduced_to_the_byte() {
    let manifest = canonical(&document());
    assert_eq!(manifest.len(), 503);
    let public = publisher().public().clone();
    assert_eq!(hex(public.as_bytes()), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    assert_eq!(public.id().to_string(), "sha256:324be2dea8bc44461b0233e51fa48902ed6b1cc671e7739af2551e0bfe68f54e");
    let artifact = "24eaf3439a60c96764c4f2c92a0a81b52bd4fe5d5b91f090184a0f6486b1bf29";
    let digest = "f37f7676007d67440075e5854d5cb29b0d03511a520b33a4c0539b5456bd3f09";
    assert_eq!(Digest::of(&COMPONENT).hex(), artifact);
    assert_eq!(Digest::of(&manifest).hex(), digest);

    let envelope = envelope();
    let payload = unbase64(&envelope.payload);
    assert_eq!(hex(&payload), format!("{artifact}{digest}"));
    assert_eq!(unbase64(&envelope.manifest), manifest);
    assert_eq!(envelope.statement().unwrap().hex(), "6a0d297b16c18aa9d92bee68b07661e57d0344ba51a8eb176d6f3116de09c95c");
    let framed = pae(DIGESTS_PAYLOAD_TYPE, &payload);
    assert!(framed.starts_with(b"DSSEv1 40 application/vnd.iceos.plugins.v0.digests 64 "));
    assert_eq!(framed.len(), 55 + 64 - 1);
    assert_eq!(
        hex(&unbase64(&envelope.signatures[0].sig)),
        "085e87051a888a2d630ded341f563b4b3d500bbd8d862ad2db04bd234b55f2af\
         7064acb7c61a6d6346f44bfc97eaf616dfefe8d8e568986b7b85a198c8ad0e0e"
    );
    assert_eq!(envelope.signatures[0].keyid, public.id().to_string());

    let world = World::new();
    let verified = world.verify(&envelope).unwrap();
    assert_eq!((verified.bytes(), verified.digest()), (manifest.as_slice(), Digest::of(&manifest)));
    assert_eq!((verified.statement(), verified.signers()), (envelope.statement().unwrap(), &[public.id()][..]));
}

#[test]
fn an_envelope_reads_back_as_itself_also_from_a_plugins_json_with_the_signature_inside() {
    let envelope = envelope();
    assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap(), envelope);
    let inline = serde_json::to_vec_pretty(&envelope.to_inline().unwrap()).unwrap();
    let back = Envelope::from_inline(&inline).unwrap();
    assert_eq!(back, envelope);
    World::new().verify(&back).unwrap();
    let unsigned = serde_json::to_vec(&document()).unwrap();
    assert_eq!(Envelope::from_inline(&unsigned).unwrap_err()[0].code.name(), "E_UNSIGNED");
}

/// The numbers were made by Python's `cryptography` and `json` from the page of the formats, not by this crate.
#[test]
fn a_root_and_revocations_are_reproduced_to_the_byte() {
    let check = |document: &Signed, length: usize, digest: &str, signature: &str| {
        let value: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
        assert_eq!(unbase64(value["payload"].as_str().unwrap()).len(), length);
        assert_eq!(document.digest().unwrap().hex(), digest);
        assert_eq!(hex(&unbase64(value["signatures"][0]["sig"].as_str().unwrap())), signature);
    };
    check(
        &signed(DocumentKind::Root, &root_after(None, roles()).to_value(), &ROOTS),
        1396,
        "ad680b302fbb230658d3984380d3cde1b9f427c05eb1970adca5ba22042f4e6a",
        "a842ddf0835948cf8d26e279fc08d90955f10b4301d25724dbe36b0f40d05563\
         956d2963ce444e9fc5a36e0ec102e692214d858c4d311ecdc037a66ade878e05",
    );
    let statement = envelope().statement().unwrap();
    let (_, list) = list_after(None, |list| {
        list.revoke_key(publisher().public().id(), "stolen", [statement]);
        list.revoke_statement(statement, "malware", Some("https://acme.example/1"));
    });
    check(
        &list,
        431,
        "c0e1c4d44f8997576e84f4a7c53ee0250fceaeaa33145a04e79f002e16e1946b",
        "e95f068a38b1d0f83d817c2a398e76cd47302f85e6d9aafd11784c8491e8232e\
         bb59c5e3f982f825f94b7c24b0cab1b7c74514428014ce396ae86b4098c8b908",
    );
}

#[test]
fn signatures_are_those_of_rfc_8032() {
    // Section 7.1, tests 1 to 3: secret key, public key, message, signature.
    let vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (secret, public, message, signature) in vectors {
        let key = PrivateKey::from_seed(&unhex(secret).try_into().unwrap()).unwrap();
        assert_eq!(hex(key.public().as_bytes()), public);
        assert_eq!(hex(&key.sign(&unhex(message))), signature);
        assert!(key.public().verifies(&unhex(message), &unhex(signature).try_into().unwrap()));
    }
}
