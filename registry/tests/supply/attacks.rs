//! The attacks of the threat model that concern signed plugins and the trust folder: each changes a fresh world and answers the request for
//! vector V. Those on roots and revocations are in `roots` and `revoked`; `table` runs them all.

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::problem::Problem;
use ice_registry::envelope::{DIGESTS_PAYLOAD_TYPE, Envelope, pae, payload};
use ice_registry::trust::{KeyNotes, ScopeEdit, State};
use ice_registry::{PrivateKey, PublicKey, Purpose, Release, Trust, VerifyOptions, verify};
use serde_json::{Value, json};

use crate::table::Row;
use crate::world::{
    COMPONENT, DAY, NOW, World, base64, changed, document, envelope, forge, forge_framed, key, options, publisher,
    sign, unbase64, wanted,
};
use crate::{revoked, roots};

/// One attack: changes a fresh world and answers the request for V. Must end with a problem.
pub(crate) type Attack = fn(&mut World) -> Problem;

/// Something that has to go through; asserts that it does.
pub(crate) type Accepted = fn(&mut World);

/// The world gets `envelope` and V's component; the problem is why it did not enter.
pub(crate) fn refused(world: &World, envelope: &Envelope) -> Problem {
    world.add(envelope, &COMPONENT).expect_err("the attack went through")
}

fn parsed(world: &World, document: &Value) -> Problem {
    match Envelope::parse(document.to_string().as_bytes()) {
        Ok(envelope) => refused(world, &envelope),
        Err(problem) => problem,
    }
}

pub(crate) fn edited(edit: impl FnOnce(&mut Envelope)) -> Envelope {
    let mut envelope = envelope();
    edit(&mut envelope);
    envelope
}

/// Signs what signing itself would refuse.
fn signed_anyway(manifest: &[u8]) -> Envelope {
    forge_framed(manifest, &payload([Digest::of(&COMPONENT)], &Digest::of(manifest)))
}

fn respelled(from: &str, to: &str) -> Envelope {
    let text = String::from_utf8(canonical(&document())).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text);
    signed_anyway(changed.as_bytes())
}

fn described(text: &str) -> Envelope {
    signed_anyway(&changed(|document| document["components"][0]["description"] = json!(text)))
}

/// Adds the group order L to the scalar S of a signature: the same signature, spelled another way.
pub(crate) fn malleate(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = unbase64(signature);
    let mut carry = 0_u16;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    base64(&bytes)
}

pub(crate) fn weak_point() -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = 1;
    point
}

/// A policy that asks for two of three keys, V's among them.
pub(crate) fn two_of_three(world: &mut World) {
    let keys = [publisher(), key(8), key(9)];
    for key in &keys {
        world.believe(key, "acme/*");
    }
    let path = world.trust_folder().join("policy.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("threshold = 1", "threshold = 2");
    std::fs::write(&path, text).unwrap();
    world.trust = Trust::open(&world.trust_folder()).unwrap();
}

pub(crate) fn mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn key_path(world: &World) -> std::path::PathBuf {
    world.trust_folder().join("keys").join(format!("{}.pem", publisher().public().id().hex()))
}

/// A world's part of the table. After every attack the store lists what it listed before.
pub(crate) fn rows() -> Vec<Row> {
    let untouched = |attack: Attack| {
        let mut world = World::new();
        let before = world.store.list().unwrap();
        let problem = attack(&mut world);
        assert_eq!(world.store.list().unwrap(), before, "the store has changed");
        problem
    };
    let refused = [ROWS, roots::ROWS, revoked::ROWS].concat().into_iter();
    let accepted = [ACCEPTED, roots::ACCEPTED, revoked::ACCEPTED].concat().into_iter();
    refused
        .map(|(row, attack, code, run)| Row::refused((row, attack, code), move || untouched(run)))
        .chain(accepted.map(|(row, attack, run)| Row::accepted(row, attack, move || run(&mut World::new()))))
        .collect()
}

/// Row of the threat model, attack, code, how it is done.
pub(crate) const ROWS: &[(u8, &str, &str, Attack)] = &[
    (1, "the component is swapped", "E_DIGEST", |world| {
        let other = [&COMPONENT[..], &[0x00, 0x02, 0x01, b'x']].concat();
        world.add(&envelope(), &other).unwrap_err()
    }),
    (1, "the component has another length", "E_DIGEST", |world| world.add(&envelope(), &COMPONENT[..7]).unwrap_err()),
    (2, "the manifest is edited", "E_PAYLOAD", |world| {
        let manifest = String::from_utf8(canonical(&document())).unwrap().replace("streaming", "Streaming");
        refused(world, &edited(|envelope| envelope.manifest = base64(manifest.as_bytes())))
    }),
    (2, "an artifact is added to the payload", "E_PAYLOAD", |world| {
        let manifest = canonical(&document());
        let payload = payload([Digest::of(&COMPONENT), Digest::of(b"x")], &Digest::of(&manifest));
        refused(world, &forge_framed(&manifest, &payload))
    }),
    (3, "the signatures are taken out", "E_UNSIGNED", |world| {
        let mut document = serde_json::to_value(envelope()).unwrap();
        document.as_object_mut().unwrap().remove("signatures");
        parsed(world, &document)
    }),
    (3, "`signatures: []`", "E_UNSIGNED", |world| refused(world, &edited(|envelope| envelope.signatures.clear()))),
    (3, "`sig: \"\"`", "E_UNSIGNED", |world| refused(world, &edited(|envelope| envelope.signatures[0].sig.clear()))),
    (3, "a wasm config without an envelope", "E_UNSIGNED", |_| {
        ice_registry::oci::read_config("application/vnd.wasm.config.v0+json", b"{\"os\":\"wasip2\"}").unwrap_err()
    }),
    (4, "another publisher's key under V's id and label", "E_UNTRUSTED", |world| {
        let attacker = key(8);
        world.believe(&attacker, "other/*");
        let manifest = canonical(&document());
        let payload = payload([Digest::of(&COMPONENT)], &Digest::of(&manifest));
        refused(world, &forge(&manifest, &payload, &pae(DIGESTS_PAYLOAD_TYPE, &payload), &attacker))
    }),
    (4, "a key that nobody knows under V's id and label", "E_SIG", |world| {
        // Nobody can tell it from a broken signature of V's key: ids only narrow, and this one names V's.
        let manifest = canonical(&document());
        let payload = payload([Digest::of(&COMPONENT)], &Digest::of(&manifest));
        refused(world, &forge(&manifest, &payload, &pae(DIGESTS_PAYLOAD_TYPE, &payload), &key(8)))
    }),
    (4, "an unknown key under its own id", "E_UNTRUSTED", |world| {
        refused(world, &Envelope::sign_bytes(&canonical(&document()), &key(8), "acme-release-2026").unwrap())
    }),
    (5, "a small-order key is trusted", "E_WEAK_KEY", |_| PublicKey::from_bytes(&weak_point()).unwrap_err()),
    (5, "a small-order key in a second spelling", "E_WEAK_KEY", |_| {
        // y = 1 + p: the same point as above, not reduced.
        let mut point = [0xff; 32];
        (point[0], point[31]) = (0xee, 0x7f);
        PublicKey::from_bytes(&point).unwrap_err()
    }),
    (5, "a small-order signature", "E_SIG", |world| {
        let mut signature = [0; 64];
        signature[0] = 1;
        refused(world, &edited(|envelope| envelope.signatures[0].sig = base64(&signature)))
    }),
    (6, "L is added to S", "E_SIG", |world| {
        refused(world, &edited(|envelope| envelope.signatures[0].sig = malleate(&envelope.signatures[0].sig)))
    }),
    (7, "a signature over the bare 64 bytes", "E_SIG", |world| {
        let (manifest, payload) = (canonical(&document()), unbase64(&envelope().payload));
        refused(world, &forge(&manifest, &payload, &payload, &publisher()))
    }),
    (7, "a signature over M and A swapped", "E_SIG", |world| {
        let (manifest, payload) = (canonical(&document()), unbase64(&envelope().payload));
        let swapped = [&payload[32..], &payload[..32]].concat();
        refused(world, &forge(&manifest, &payload, &pae(DIGESTS_PAYLOAD_TYPE, &swapped), &publisher()))
    }),
    (7, "the payload type of an index", "E_SIG", |world| {
        refused(world, &edited(|envelope| envelope.payload_type = "application/vnd.iceos.index.v0+json".to_owned()))
    }),
    (8, "a duplicate member", "E_NONCANONICAL", |world| {
        refused(world, &respelled("\"version\":\"1.2.3\"}", "\"version\":\"1.2.3\",\"version\":\"9.9.9\"}"))
    }),
    (8, "a number beyond 2^53", "E_NONCANONICAL", |world| {
        refused(world, &respelled("\"sequence\":1", "\"sequence\":9007199254740993"))
    }),
    (8, "`1.0`", "E_NONCANONICAL", |world| refused(world, &respelled("\"sequence\":1", "\"sequence\":1.0"))),
    (8, "`-0`", "E_NONCANONICAL", |world| refused(world, &respelled("\"per_token\":0", "\"per_token\":-0"))),
    (8, "a trailing newline", "E_NONCANONICAL", |world| {
        refused(world, &signed_anyway(&[&canonical(&document())[..], b"\n"].concat()))
    }),
    (8, "a byte order mark", "E_NONCANONICAL", |world| {
        refused(world, &signed_anyway(&[b"\xef\xbb\xbf", &canonical(&document())[..]].concat()))
    }),
    (8, "a needless escape", "E_NONCANONICAL", |world| refused(world, &respelled("\"acme/csv", "\"\\u0061cme/csv"))),
    (8, "unsorted members", "E_NONCANONICAL", |world| {
        refused(world, &respelled("\"sequence\":1,\"version\":\"1.2.3\"", "\"version\":\"1.2.3\",\"sequence\":1"))
    }),
    (9, "another plugin, validly signed", "E_NAME", |world| {
        refused(world, &sign(&changed(|document| document["name"] = json!("acme/shell"))))
    }),
    (9, "another version, validly signed", "E_NAME", |world| {
        refused(world, &sign(&changed(|document| document["version"] = json!("1.2.2"))))
    }),
    (10, "an older release as a newer version", "E_ROLLBACK", |world| {
        let state = State::of(&world.trust_folder());
        let first = world.install(&sign(&changed(|document| document["sequence"] = json!(9)))).unwrap();
        state.saw_sequences(&[("acme/csv_reader".to_owned(), first.value().sequence)].into()).unwrap();
        let next = sign(&changed(|document| {
            document["version"] = json!("1.2.4");
            document["sequence"] = json!(8);
        }));
        let sequence_seen = state.sequence("acme/csv_reader").unwrap();
        let purpose = Purpose::Install { now: NOW };
        verify(&next, &world.trust, &VerifyOptions { purpose, sequence_seen, ..VerifyOptions::RUN }).unwrap_err()
    }),
    (15, "a manifest that is nested deeper than 64 levels", "E_MANIFEST", |world| {
        let deep = format!("\"deep\":{}{},\"kind\"", "[".repeat(64), "]".repeat(64));
        refused(world, &respelled("\"kind\"", &deep))
    }),
    (15, "a component of more than 64 MiB", "E_TOO_LARGE", |world| {
        refused(world, &signed_anyway(&changed(|document| document["components"][0]["size"] = json!((64 << 20) + 1))))
    }),
    (19, "a name without a scope in the policy", "E_NO_SCOPE", |world| {
        let envelope = sign(&changed(|document| document["name"] = json!("other/csv_reader")));
        world.store.add(&envelope, &[COMPONENT.to_vec()], &world.trust, &options(None)).unwrap_err()
    }),
    (20, "a homograph", "E_NAME_FORM", |world| {
        refused(world, &signed_anyway(&changed(|document| document["name"] = json!("\u{430}cme/csv_reader"))))
    }),
    (24, "a blob of the store is overwritten", "E_STORE", |world| {
        world.add(&envelope(), &COMPONENT).unwrap();
        let blob = world.store.layout().blob_path(&Digest::of(&COMPONENT));
        std::fs::write(&blob, [&COMPONENT[..], b"poison"].concat()).unwrap();
        let entry = world.store.find("acme/csv_reader", None).unwrap();
        let problem = world.store.check(&entry, &world.trust).unwrap_err();
        assert!(!blob.exists(), "the file is out of the way");
        world.store.remove("acme/csv_reader", None).unwrap();
        problem
    }),
    (25, "native code as an artifact", "E_NATIVE", |world| artifact(world, b"\x7fELF\x02\x01\x01")),
    (25, "text as an artifact", "E_NOT_BINARY", |world| artifact(world, b"(component)")),
    (25, "a core module as an artifact", "E_NOT_BINARY", |world| artifact(world, b"\0asm\x01\0\0\0")),
    (27, "a file of a bundle that climbs out", "E_MANIFEST", |world| {
        let file =
            json!({"path": "../../.bashrc", "artifact": Digest::of(b"x"), "size": 1, "media_type": "text/plain"});
        refused(world, &signed_anyway(&changed(|document| document["files"] = json!([file]))))
    }),
    (29, "two of three: the same signature twice", "E_THRESHOLD", |world| {
        two_of_three(world);
        refused(world, &edited(|envelope| envelope.signatures.push(envelope.signatures[0].clone())))
    }),
    (29, "two of three: the same key under two ids", "E_THRESHOLD", |world| {
        two_of_three(world);
        let second = Digest::of(b"another id").to_string();
        let double = edited(|envelope| {
            envelope.signatures.push(envelope.signatures[0].clone());
            envelope.signatures[1].keyid = second;
        });
        refused(world, &double)
    }),
    (31, "released an hour ago", "E_COOLDOWN", |world| {
        released(world, Release { first_seen: Some(NOW - 60 * 60), security: false })
    }),
    (31, "nobody knows since when, and the scope wants a pause", "E_COOLDOWN", |world| {
        let edit = ScopeEdit { name: "acme/*".to_owned(), cooldown_hours: Some(1), ..ScopeEdit::default() };
        world.trust = Trust::set_scope(&world.trust_folder(), &edit).unwrap();
        released(world, Release::default())
    }),
    (33, "a bidirectional override", "E_TEXT", |world| refused(world, &described("a\u{202e}b"))),
    (33, "a zero-width space", "E_TEXT", |world| refused(world, &described("a\u{200b}b"))),
    (33, "a tag character", "E_TEXT", |world| refused(world, &described("a\u{e0041}b"))),
    (33, "a bell", "E_TEXT", |world| refused(world, &described("a\u{7}b"))),
    (34, "a manifest asks for `fs`", "E_CAPABILITY", |world| {
        refused(
            world,
            &signed_anyway(&changed(|document| document["components"][0]["capabilities"] = json!({"fs": "/"}))),
        )
    }),
    (36, "an attacker's manifest, digests and signature", "E_UNTRUSTED", |world| {
        let manifest = changed(|document| document["sequence"] = json!(99));
        refused(world, &Envelope::sign_bytes(&manifest, &PrivateKey::generate().unwrap(), "acme-release-2026").unwrap())
    }),
    (37, "the clock is moved back by two days", "E_CLOCK", |world| {
        let state = State::of(&world.trust_folder());
        state.check_clock(NOW).unwrap();
        state.check_clock(NOW - 2 * DAY).unwrap_err()
    }),
    (38, "`algo: none`", "E_ALGO", |world| refused(world, &edited(|e| e.signatures[0].algo = "none".to_owned()))),
    (38, "no `algo`", "E_ALGO", |world| refused(world, &edited(|e| e.signatures[0].algo.clear()))),
    (38, "a `sha512:` digest", "E_DIGEST_FORM", |world| refused(world, &respelled("sha256:", "sha512:"))),
    (38, "a `SHA256:` digest", "E_DIGEST_FORM", |world| refused(world, &respelled("sha256:", "SHA256:"))),
    (38, "63 hex digits", "E_DIGEST_FORM", |world| refused(world, &respelled("1bf29", "1bf2"))),
    (38, "a key id of another form", "E_DIGEST_FORM", |world| {
        refused(world, &edited(|envelope| envelope.signatures[0].keyid = "acme-release-2026".to_owned()))
    }),
    (39, "a group may write to the trust folder", "E_TRUST_PERM", |world| {
        mode(&world.trust_folder(), 0o770);
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "a group may write to the policy", "E_TRUST_PERM", |world| {
        mode(&world.trust_folder().join("policy.toml"), 0o660);
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "a key is a symbolic link", "E_TRUST_PERM", |world| {
        let (path, elsewhere) = (key_path(world), world.home.path().join("elsewhere.pem"));
        std::fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        Trust::open(&world.trust_folder()).unwrap_err()
    }),
    (39, "the trust folder is a symbolic link", "E_TRUST_PERM", |world| {
        let link = world.home.path().join("link");
        std::os::unix::fs::symlink(world.trust_folder(), &link).unwrap();
        Trust::open(&link).unwrap_err()
    }),
    (39, "others may read a private key", "E_TRUST_PERM", |world| {
        let path = world.home.path().join("key.pem");
        publisher().write_new(&path).unwrap();
        mode(&path, 0o644);
        PrivateKey::read(&path).unwrap_err()
    }),
    (39, "a group may write to what was seen", "E_TRUST_PERM", |world| {
        let state = State::of(&world.trust_folder());
        state.check_clock(NOW).unwrap();
        mode(&world.trust_folder().join("state"), 0o770);
        state.check_clock(NOW).unwrap_err()
    }),
    (0, "signed by a key after its end", "E_EXPIRED", |world| {
        let notes = KeyNotes { valid_until: Some("2026-11-30T00:00:00Z".to_owned()), ..KeyNotes::default() };
        world.trust = Trust::add_key(&world.trust_folder(), publisher().public(), &notes, &[]).unwrap();
        refused(world, &envelope())
    }),
    (0, "installed after it expired", "E_EXPIRED", |world| {
        let late = ice_registry::AddOptions { now: 1_900_000_000, ..options(None) };
        world.store.add(&envelope(), &[COMPONENT.to_vec()], &world.trust, &late).unwrap_err()
    }),
];

/// Row of the threat model, what has to go through, how it is done.
const ACCEPTED: &[(u8, &str, Accepted)] = &[
    (23, "a buffer that was read stays what was checked", |world| {
        let (_, verified) =
            world.store.add(&envelope(), &[COMPONENT.to_vec()], &world.trust, &options(Some(wanted()))).unwrap();
        let (digest, poison) = (Digest::of(&COMPONENT), [&COMPONENT[..], b"poison"].concat());
        let bytes = world.store.blob(&verified, &digest).unwrap();
        // Written in place: a mapped file would show it to whoever reads.
        std::fs::write(world.store.layout().blob_path(&digest), poison).unwrap();
        assert_eq!(bytes, COMPONENT);
        assert_eq!(world.store.blob(&verified, &digest).unwrap_err().code.name(), "E_STORE");
    }),
    (29, "two of three: two keys", |world| {
        two_of_three(world);
        let mut envelope = envelope();
        envelope.add_signature(&key(9), "second").unwrap();
        let verified = world.verify(&envelope).unwrap();
        assert_eq!(verified.signers().len(), 2);
        assert_eq!(verified.statement(), crate::world::envelope().statement().unwrap());
        world.add(&envelope, &COMPONENT).unwrap();
    }),
];

/// V as a source gives it out with what is known about its release.
fn released(world: &World, release: Release) -> Problem {
    let purpose = Purpose::Install { now: NOW };
    let options = VerifyOptions { purpose, release: Some(release), ..VerifyOptions::RUN };
    verify(&envelope(), &world.trust, &options).unwrap_err()
}

/// Validly signed bytes that are no component.
fn artifact(world: &World, bytes: &[u8]) -> Problem {
    let manifest = changed(|document| {
        document["components"][0]["artifact"] = json!(Digest::of(bytes));
        document["components"][0]["size"] = json!(bytes.len());
    });
    world.add(&sign(&manifest), bytes).unwrap_err()
}
