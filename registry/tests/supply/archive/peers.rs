//! The same archives and other tools: what they read of ours, what we read of theirs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ice_core::id::Digest;
use ice_registry::archive::{self, Extras};
use ice_registry::{Added, Store};

use super::tar::{Files, gzip};
use super::{load, v};
use crate::world::{World, envelope};

/// `target/venv` as the setup makes it, or what is on the path.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    if venv.exists() { venv } else { "python3".into() }
}

#[test]
fn pythons_tarfile_reads_what_was_written() {
    let (world, bytes) = v();
    let path = world.home.path().join("x.ice.tgz");
    let entries = world.store.list().unwrap();
    archive::to_file(&world.store, &world.trust, &entries, &Extras::default(), &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let script = "import hashlib, sys, tarfile\n\
        for m in tarfile.open(sys.argv[1], 'r:gz'):\n    \
            data = tarfile.open(sys.argv[1], 'r:gz').extractfile(m.name).read()\n    \
            print(m.name, m.size, oct(m.mode), m.uid, m.gid, m.mtime, m.isreg(), m.uname + m.gname, \
            hashlib.sha256(data).hexdigest())\n";
    let output = Command::new(python()).args(["-c", script]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut expected: Vec<String> = Vec::new();
    for (name, content) in Files::of(&bytes).0 {
        let (size, hex) = (content.len(), Digest::of(&content).hex());
        if let Some(named) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(named, hex);
        }
        expected.push(format!("{name} {size} 0o644 0 0 0 True  {hex}"));
    }
    assert!(expected.is_sorted());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn skopeo_reads_what_was_written() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        let note = "skipped: there is no skopeo (`apt-get install --no-install-recommends skopeo`)\n";
        std::io::stdout().lock().write_all(note.as_bytes()).unwrap();
        return;
    }
    let (world, bytes) = v();
    let path = world.home.path().join("x.ice.tgz");
    std::fs::write(&path, &bytes).unwrap();
    let source = format!("oci-archive:{}:acme/csv_reader:1.2.3", path.display());
    let output = Command::new("skopeo").args(["inspect", "--raw", &source]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(Digest::of(&output.stdout), world.store.list().unwrap()[0].oci.digest);
    // And into a layout of its own, which a store can be.
    let copied = world.home.path().join("copied");
    let target = format!("oci:{}:acme/csv_reader:1.2.3", copied.display());
    let policy = ["--insecure-policy", "copy", "--preserve-digests", &source, &target];
    let output = Command::new("skopeo").args(policy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let store = Store::open(&copied).unwrap();
    let entries = store.list().unwrap();
    assert_eq!(store.check(&entries[0], &world.trust).unwrap().statement(), envelope().statement().unwrap());
}

#[test]
fn what_tar_rs_packs_in_the_form_is_taken() {
    let (_, bytes) = v();
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut add = |kind: ::tar::EntryType, name: &str, content: &[u8]| {
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_username("somebody").unwrap();
        builder.append_data(&mut header, name, content).unwrap();
    };
    for folder in ["blobs/", "blobs/sha256/", "iceos/"] {
        add(::tar::EntryType::Directory, folder, b"");
    }
    // In another order than ours.
    for (name, content) in Files::of(&bytes).0.into_iter().rev() {
        add(::tar::EntryType::Regular, &name, &content);
    }
    let world = World::new();
    assert_eq!(load(&world, &gzip(&builder.into_inner().unwrap())).unwrap(), [Added::New]);
}
