//! An independent reader and writer of the format (`tests/interop/verify.py`) and OpenSSL agree with this crate.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ice_core::id::Digest;
use ice_core::manifest::{Manifest, canonical};
use ice_registry::envelope::pae;
use ice_registry::trust::KeyNotes;
use ice_registry::{Envelope, PrivateKey, Trust, VerifyOptions, verify};
use serde_json::{Value, json};

const COMPONENT: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the script; fails with the command that prepares Python when it is not prepared.
fn python(arguments: &[&Path]) -> Output {
    let interpreter = repository().join("target/venv/bin/python");
    assert!(
        interpreter.exists(),
        "`{}` is missing: run `make setup` (it makes a Python environment with cryptography, rfc8785, securesystemslib)",
        interpreter.display()
    );
    let mut command = Command::new(interpreter);
    command.arg(repository().join("tests/interop/verify.py")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Two tools of one component, with text and numbers that canonicalisers get wrong first.
fn document() -> Value {
    let component = |name: &str| {
        json!({
            "node_type": "tool", "name": name, "import": format!("ice:plugin/tools@0.1.0#{name}"), "version": "1.0.0",
            "artifact": Digest::of(&COMPONENT), "size": 8, "cost_estimate": {"base": 1e-7, "per_token": 0.1},
            "description": "Übergröße, 日本語, 😀 and \"quotes\"\n\ttabs",
        })
    };
    json!({
        "schema_version": "plugins.v0", "kind": "kit", "name": "acme/kit", "version": "1.0.0", "sequence": 4,
        "created": "2026-11-20T00:00:00Z", "components": [component("alpha"), component("beta")],
        "x-\u{f6}": 1, "x-\u{20ac}": 2, "x-\u{1f600}": 3, "x-\u{fb33}": 4,
    })
}

struct Desk {
    home: tempfile::TempDir,
    key: PrivateKey,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { home: tempfile::tempdir().unwrap(), key: PrivateKey::from_seed(&[7; 32]).unwrap() };
        desk.write("public.pem", desk.key.public().to_pem().as_bytes());
        desk.key.write_new(&desk.path("private.pem")).unwrap();
        desk.write("component.wasm", &COMPONENT);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn trust(&self) -> Trust {
        Trust::add_key(&self.path("trust"), self.key.public(), &KeyNotes::default(), &["acme/*"]).unwrap()
    }
}

#[test]
fn what_we_sign_an_independent_verifier_accepts() {
    let desk = Desk::new();
    let envelope = Envelope::sign_bytes(&canonical(&document()), &desk.key, "release").unwrap();
    let path = desk.write("envelope.json", &envelope.to_bytes());
    let (public, component) = (desk.path("public.pem"), desk.path("component.wasm"));
    let answer = python(&[Path::new("verify"), &path, &public, &component]);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    assert_eq!(text(&answer.stdout), envelope.statement().unwrap().to_string());
    let answer = python(&[Path::new("dsse"), &path, &public]);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
}

#[test]
fn what_an_independent_signer_signs_we_accept() {
    let desk = Desk::new();
    let manifest = desk.write("plugins.json", &serde_json::to_vec_pretty(&document()).unwrap());
    let answer = python(&[Path::new("sign"), &manifest, &desk.path("private.pem"), Path::new("elsewhere")]);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    let theirs = Envelope::parse(&answer.stdout).unwrap();
    let verified = verify(&theirs, &desk.trust(), &VerifyOptions::RUN).unwrap();
    assert_eq!(verified.value(), &Manifest::from_value(&document()).unwrap());
    let ours = Envelope::sign_bytes(&canonical(&document()), &desk.key, "elsewhere").unwrap();
    assert_eq!(theirs, ours, "ed25519 and canonical JSON leave no choice");
}

#[test]
fn both_refuse_the_same_changes() {
    let desk = Desk::new();
    let good = Envelope::sign_bytes(&canonical(&document()), &desk.key, "release").unwrap();
    let manifest = String::from_utf8(good.manifest_bytes().unwrap()).unwrap();
    let encode = |text: &str| STANDARD.encode(text);
    let mut changes = vec![
        ("manifest", Envelope { manifest: encode(&manifest.replace("alpha", "alphb")), ..good.clone() }),
        ("white space", Envelope { manifest: encode(&format!("{manifest} ")), ..good.clone() }),
        ("payload", Envelope { payload: encode("short"), ..good.clone() }),
        ("payload type", Envelope { payload_type: "application/vnd.iceos.root.v0+json".to_owned(), ..good.clone() }),
    ];
    let mut broken = good.clone();
    broken.signatures[0].sig = STANDARD.encode([0; 64]);
    changes.push(("signature", broken));
    let trust = desk.trust();
    for (what, envelope) in changes {
        assert!(verify(&envelope, &trust, &VerifyOptions::RUN).is_err(), "{what}");
        let path = desk.write("envelope.json", &envelope.to_bytes());
        let answer = python(&[Path::new("verify"), &path, &desk.path("public.pem")]);
        assert!(!answer.status.success(), "{what}");
    }
}

#[test]
fn openssl_reads_our_keys_and_verifies_our_signature() {
    let desk = Desk::new();
    let envelope = Envelope::sign_bytes(&canonical(&document()), &desk.key, "release").unwrap();
    let payload = STANDARD.decode(&envelope.payload).unwrap();
    let message = desk.write("message.bin", &pae(&envelope.payload_type, &payload));
    let signature = desk.write("signature.bin", &STANDARD.decode(&envelope.signatures[0].sig).unwrap());
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output();
        output.expect("`openssl` is missing: run `make setup`")
    };
    let public = desk.path("public.pem");
    let [public, message, signature] = [&public, &message, &signature].map(|path| path.to_str().unwrap());
    let verdict =
        openssl(&["pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", message, "-sigfile", signature]);
    assert!(verdict.status.success(), "{}", text(&verdict.stderr));
    let derived = openssl(&["pkey", "-in", desk.path("private.pem").to_str().unwrap(), "-pubout"]);
    assert_eq!(text(&derived.stdout), desk.key.public().to_pem().trim(), "{}", text(&derived.stderr));
}
