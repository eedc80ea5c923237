//! `.ice.tgz` from outside: what goes round, what other tools read, what is refused and leaves nothing behind.

mod attacks;
mod closure;
mod peers;
mod tar;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ice_core::id::Digest;
use ice_core::manifest::canonical;
use ice_core::problem::{Code, Problem};
use ice_registry::archive::{self, Archive, Extras, Limits};
use ice_registry::{Added, DocumentKind, Envelope, Signed, Source as _, VerifyOptions, Wanted, verify};
use serde_json::json;

use crate::archive::attacks::{ATTACKS, Attack, Good};
use crate::archive::tar::{END, Files, entry, gunzip, gzip};
use crate::table::Row;
use crate::world::{COMPONENT, NOW, World, changed, envelope, key, list_after, options, publisher, sign};

/// A store with V, and its archive.
fn v() -> (World, Vec<u8>) {
    let world = World::new();
    world.add(&envelope(), &COMPONENT).unwrap();
    let bytes = save(&world, &Extras::default());
    (world, bytes)
}

/// Everything in the store.
fn save(world: &World, extras: &Extras) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = archive::write(&world.store, &world.trust, &world.store.list().unwrap(), extras, &mut bytes).unwrap();
    assert_eq!(written.compressed, bytes.len() as u64);
    assert_eq!(written.expanded, gunzip(&bytes).len() as u64);
    bytes
}

fn read(world: &World, bytes: &[u8]) -> Result<Archive, Problem> {
    archive::read(bytes, &world.store.layout().ingest_folder())
}

/// Reads and loads.
fn load(world: &World, bytes: &[u8]) -> Result<Vec<Added>, Vec<Problem>> {
    let archive = read(world, bytes).map_err(|problem| vec![problem])?;
    let loaded = archive.load(&world.store, &world.trust, NOW)?;
    Ok(loaded.into_iter().map(|(added, _)| added).collect())
}

/// Every file and folder below, with its content and mode; locks left out.
fn tree(folder: &Path) -> BTreeSet<(PathBuf, u32, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            if !path.to_string_lossy().ends_with("lock") {
                found.insert((path, metadata.mode(), content));
            }
        }
    }
    found
}

/// Row 26 of the table, and what else has to do with archives. Nothing is left behind anywhere in the home.
pub(crate) fn rows() -> Vec<Row> {
    let good = || {
        let (_, bytes) = v();
        Good { files: Files::of(&bytes), bytes }
    };
    let hostile = |row, attack: &'static str, expected, words: &'static str, make: Attack| {
        Row::refused((row, attack, expected), move || {
            let world = World::new();
            std::fs::write(world.home.path().join("victim"), b"untouched").unwrap();
            let before = tree(world.home.path());
            let problem = load(&world, &make(&good())).expect_err("it was taken").remove(0);
            assert!(problem.message.contains(words), "refused for another reason: {problem}");
            assert!(!problem.to_string().contains(|c: char| c.is_control() && c != '\n'), "raw bytes: {problem:?}");
            assert!(tree(world.home.path()) == before, "something was left behind");
            assert!(!Path::new("/x").exists(), "`/x` was written");
            problem
        })
    };
    let listed = ATTACKS.iter().map(|(attack, expected, words, make)| hostile(26, attack, expected, words, *make));
    let unsigned = hostile(39, "an archive with an unsigned plugin", "E_UNSIGNED", "signature", Good::unsigned);
    let folder = Row::refused((39, "a folder in the place of an archive", "E_FILE"), || {
        let world = World::new();
        let folder = std::fs::File::open(world.home.path()).unwrap();
        archive::read(folder, &world.store.layout().ingest_folder()).unwrap_err()
    });
    let titled = Row::accepted(27, "titles of layers that climb out", move || titles_mean_nothing(&good()));
    listed.chain([unsigned, folder, titled]).collect()
}

#[test]
fn the_place_in_the_archive_is_named() {
    let (world, bytes) = v();
    let files = Files::of(&bytes);
    let hostile = gzip(&[&files.entries()[..], &entry("../\u{202e}x", b"evil"), &END].concat());
    let problem = read(&world, &hostile).unwrap_err();
    assert_eq!(problem.code, Code::T046);
    let place = problem.at.unwrap().subject.unwrap();
    let offset = files.entries().len();
    assert!(place.starts_with(&format!("entry {} of the archive (`../", files.0.len() + 1)), "{place}");
    assert!(place.ends_with(&format!("at byte {offset})")) && !place.contains('\u{202e}'), "{place}");
}

#[test]
fn desync_is_real_for_others_and_refused_here() {
    let (_, bytes) = v();
    let good = Good { files: Files::of(&bytes), bytes };
    let (.., make) = ATTACKS.iter().find(|(attack, ..)| attack.contains("two readers")).unwrap();
    let hostile = make(&good);
    let count = |raw: bool| {
        let expanded = gunzip(&hostile);
        let mut tar = ::tar::Archive::new(expanded.as_slice());
        tar.entries().unwrap().raw(raw).count()
    };
    assert_ne!(count(true), count(false), "the attack does what it is for");
    let world = World::new();
    assert_eq!(read(&world, &hostile).unwrap_err().code, Code::T046);
}

#[test]
fn limits_hold_where_the_stream_gives_nothing_for_what_it_takes() {
    let world = World::new();
    let small = Limits { compressed: 1 << 20, expanded: 4 << 20, ..Limits::STANDARD };
    let within = |bytes: &[u8], limits| {
        archive::read_within(bytes, &world.store.layout().ingest_folder(), limits).unwrap_err().code
    };
    // Empty stored blocks: five bytes in, nothing out.
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let idle = [&head[..], &[0, 0, 0, 0xff, 0xff].repeat(1 << 19)].concat();
    assert_eq!(within(&idle, small), Code::T029);
    let zeros = attacks::gibibyte_of_zeros(&entry("oci-layout", b"{}"));
    assert_eq!(within(&zeros, small), Code::T029);
    let (_, bytes) = v();
    assert_eq!(within(&bytes, Limits { entries: 2, ..Limits::STANDARD }), Code::T029);
    assert_eq!(within(&bytes, Limits { compressed: bytes.len() as u64 - 1, ..Limits::STANDARD }), Code::T029);
    let expanded = gunzip(&bytes).len() as u64;
    assert_eq!(within(&bytes, Limits { expanded: expanded - 1, ..Limits::STANDARD }), Code::T029);
    let exact = Limits { compressed: bytes.len() as u64, expanded, ..Limits::STANDARD };
    archive::read_within(&bytes[..], &world.store.layout().ingest_folder(), exact).unwrap();
}

#[test]
fn every_prefix_of_an_archive_is_refused() {
    let (world, bytes) = v();
    for length in 0..bytes.len() {
        let problem = read(&world, &bytes[..length]).unwrap_err();
        assert_eq!(problem.code, Code::T046, "{length} bytes: {problem}");
    }
    assert_eq!(std::fs::read_dir(world.store.layout().ingest_folder()).unwrap().count(), 0);
}

/// Statements in an archive that would be believed under the names they have there.
fn believed(world: &World, bytes: &[u8]) -> Option<Vec<Digest>> {
    let archive = read(world, bytes).ok()?;
    let mut statements = Vec::new();
    for entry in archive.entries() {
        let wanted = Wanted { name: entry.name.clone(), version: Some(entry.version.clone()), kind: Some(entry.kind) };
        let options = VerifyOptions { wanted: Some(&wanted), ..VerifyOptions::RUN };
        statements.push(verify(&archive.envelope(entry).ok()?, &world.trust, &options).ok()?.statement());
    }
    Some(statements)
}

#[test]
fn a_flipped_byte_never_gives_another_accepted_statement() {
    let (world, bytes) = v();
    let expanded = gunzip(&bytes);
    let good = believed(&world, &bytes).unwrap();
    let (mut refused, mut same) = (0, 0);
    let mut check = |what: &str, at: usize, changed: &[u8]| match believed(&world, changed) {
        None => refused += 1,
        Some(statements) if statements == good => same += 1,
        Some(_) => panic!("byte {at} of the {what} gives other statements"),
    };
    for change in [0x01, 0x20, 0x80, 0xff] {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            check("file", at, &changed);
        }
    }
    // The same within, where no checksum of gzip hides it.
    for at in 0..expanded.len() {
        let mut changed = expanded.clone();
        changed[at] ^= 1;
        check("tar", at, &gzip(&changed));
    }
    assert!(refused > 50 * same, "{refused} refused, {same} without effect");
    assert!(same > 0, "gzip's time and system mean nothing");
}

#[test]
fn the_same_plugins_make_the_same_bytes_on_every_machine_and_day() {
    let (world, first) = v();
    assert_eq!(save(&world, &Extras::default()), first);
    let (_, again) = v();
    assert_eq!(again, first);
    assert_eq!(first[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    // Known bytes, where fuzzing begins too. They change when the compressor does, and then every archive gets another
    // digest: that is for the changelog, and for `UPDATE_EXPECT=1`.
    golden("archive/v.ice.tgz", &first);
    golden("envelope/v.json", &envelope().to_bytes());
}

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(std::fs::read(&path).unwrap() == bytes, "{} holds other bytes", path.display());
}

#[test]
fn an_archive_goes_round_to_a_clean_home() {
    let (world, _) = v();
    world.store.add(&sign(&changed(next)), &[COMPONENT.to_vec()], &world.trust, &options(None)).unwrap();
    let mut revoked = Signed::new(DocumentKind::Revocations, &json!({"version": 1}));
    revoked.sign(&key(9), "revocations").unwrap();
    let mut index = Signed::new(DocumentKind::Index, &json!({"version": 7}));
    index.sign(&key(9), "index").unwrap();
    let extras = Extras { revoked: Some(revoked), index: Some(index) };
    let bytes = save(&world, &extras);
    let clean = World::new();
    let archive = read(&clean, &bytes).unwrap();
    assert_eq!(archive.extras(), &extras);
    let names: Vec<String> =
        archive.entries().iter().map(|entry| format!("{} {}", entry.name, entry.version)).collect();
    assert_eq!(names, ["acme/csv_reader 1.2.3", "acme/csv_reader 1.3.0"]);
    assert!(clean.store.list().unwrap().is_empty(), "reading adds nothing");
    assert_eq!(archive.load(&clean.store, &clean.trust, NOW).unwrap().len(), 2);
    let again = archive.load(&clean.store, &clean.trust, NOW).unwrap();
    assert!(again.iter().all(|(added, _)| *added == Added::AlreadyThere));
    drop(archive);
    assert_eq!(std::fs::read_dir(clean.store.layout().ingest_folder()).unwrap().count(), 0);
    for entry in clean.store.list().unwrap() {
        clean.store.check(&entry, &clean.trust).unwrap();
    }
    assert_eq!(save(&clean, &extras), bytes, "and out again, byte for byte");
}

fn next(document: &mut serde_json::Value) {
    document["version"] = json!("1.3.0");
    document["sequence"] = json!(2);
}

#[test]
fn when_one_is_refused_none_is_added_and_every_problem_is_told() {
    let mut author = World::new();
    author.believe(&key(8), "other/*");
    author.add(&envelope(), &COMPONENT).unwrap();
    for name in ["other/one", "other/two"] {
        let manifest = changed(|document| document["name"] = json!(name));
        let envelope = Envelope::sign_bytes(&manifest, &key(8), "other").unwrap();
        author.store.add(&envelope, &[COMPONENT.to_vec()], &author.trust, &options(None)).unwrap();
    }
    let bytes = save(&author, &Extras::default());
    let world = World::new();
    let before = tree(world.home.path());
    let problems = load(&world, &bytes).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), [Code::T019, Code::T019]);
    assert_eq!(tree(world.home.path()), before);
}

#[test]
fn a_version_that_is_there_with_other_content_and_a_step_back_are_refused() {
    let (_, bytes) = v();
    let world = World::new();
    let other = changed(|document| document["components"][0]["description"] = json!("Another one"));
    world.store.add(&sign(&other), &[COMPONENT.to_vec()], &world.trust, &options(None)).unwrap();
    assert_eq!(load(&world, &bytes).unwrap_err()[0].code, Code::R003);

    let author = World::new();
    author.store.add(&sign(&changed(next)), &[COMPONENT.to_vec()], &author.trust, &options(None)).unwrap();
    let world = World::new();
    load(&world, &save(&author, &Extras::default())).unwrap();
    assert_eq!(load(&world, &bytes).unwrap_err()[0].code, Code::T021);
    assert_eq!(load(&world, &save(&author, &Extras::default())).unwrap(), [Added::AlreadyThere]);
}

#[test]
fn expired_and_revoked_plugins_are_not_loaded() {
    let (_, bytes) = v();
    let mut world = World::new();
    let archive = read(&world, &bytes).unwrap();
    assert_eq!(archive.load(&world.store, &world.trust, 1_900_000_000).unwrap_err()[0].code, Code::T023);
    world.believe_revoker();
    let (_, list) = list_after(None, |list| list.revoke_key(publisher().public().id(), "it was stolen", []));
    world.revoke(&list).unwrap();
    assert_eq!(archive.load(&world.store, &world.trust, NOW).unwrap_err()[0].code, Code::T022);
    assert!(world.store.list().unwrap().is_empty());
}

/// Names of files never come from annotations.
fn titles_mean_nothing(good: &Good) {
    let titled = good.manifest(|manifest| {
        manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = json!("../../.bashrc");
        manifest["annotations"]["org.opencontainers.image.title"] = json!("/etc/passwd");
    });
    let world = World::new();
    assert_eq!(load(&world, &titled).unwrap(), [Added::New]);
    let hex = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (path, ..) in tree(&world.home.path().join("store/blobs/sha256")) {
        assert!(hex(path.file_name().unwrap().to_str().unwrap()), "{}", path.display());
    }
    let all = tree(world.home.path());
    assert!(!all.iter().any(|(path, ..)| path.to_string_lossy().contains("bashrc")));
    assert!(!world.home.path().parent().unwrap().join(".bashrc").exists());
    // What is written anew holds nothing of it: documents are laid out from what was signed.
    let again = save(&world, &Extras::default());
    assert_eq!(again, good.bytes);
}

#[test]
fn a_file_of_the_archive_that_was_changed_meanwhile_is_not_used() {
    let (_, bytes) = v();
    let world = World::new();
    let archive = read(&world, &bytes).unwrap();
    for file in std::fs::read_dir(world.store.layout().ingest_folder()).unwrap() {
        let path = file.unwrap().path();
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        if std::fs::read(&path).unwrap() == COMPONENT {
            std::fs::write(&path, b"\0asm\x0d\0\x01\x01").unwrap();
        }
    }
    assert_eq!(archive.load(&world.store, &world.trust, NOW).unwrap_err()[0].code, Code::T001);
    assert!(world.store.list().unwrap().is_empty());
}

#[test]
fn nothing_is_written_that_does_not_verify() {
    let (world, _) = v();
    let blob = world.store.layout().blob_path(&Digest::of(&COMPONENT));
    std::fs::write(&blob, b"\0asm\x0d\0\x01\x01").unwrap();
    let entries = world.store.list().unwrap();
    let target = world.home.path().join("x.ice.tgz");
    let before = std::fs::read_dir(world.home.path()).unwrap().count();
    let problem = archive::to_file(&world.store, &world.trust, &entries, &Extras::default(), &target).unwrap_err();
    assert_eq!(problem.code, Code::T011);
    assert_eq!(std::fs::read_dir(world.home.path()).unwrap().count(), before, "no half archive");
    let nobody = ice_registry::Trust::open(&world.home.path().join("nobody")).unwrap();
    world.add(&envelope(), &COMPONENT).unwrap();
    let problem = archive::write(&world.store, &nobody, &entries, &Extras::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(problem.code, Code::T019);
}

#[test]
fn what_nobody_could_read_back_is_not_written() {
    let world = World::new();
    let size = 40 << 20;
    let mut component = COMPONENT.to_vec();
    component.resize(size, 0);
    let manifest = changed(|document| {
        document["components"][0]["artifact"] = json!(Digest::of(&component));
        document["components"][0]["size"] = json!(size);
    });
    world.store.add(&sign(&manifest), &[component], &world.trust, &options(None)).unwrap();
    let entries = world.store.list().unwrap();
    let problem = archive::write(&world.store, &world.trust, &entries, &Extras::default(), &mut Vec::new());
    assert_eq!(problem.unwrap_err().code, Code::T029);
}

#[tokio::test]
async fn an_archive_is_a_source() {
    let (_, bytes) = v();
    let world = World::new();
    let archive = read(&world, &bytes).unwrap();
    let versions = archive.versions("acme/csv_reader").await.unwrap();
    let version = versions[0].version.clone();
    assert_eq!((versions.len(), version.to_string().as_str()), (1, "1.2.3"));
    let offer = archive.offer("acme/csv_reader", &version).await.unwrap();
    assert_eq!(offer.envelope, envelope());
    assert_eq!(offer.oci_digest, Some(archive.entries()[0].oci_digest));
    let digest = Digest::of(&COMPONENT);
    let blob = |size| archive.blob("acme/csv_reader", &version, &digest, size, &());
    assert_eq!(blob(8).await.unwrap(), COMPONENT);
    assert_eq!(blob(9).await.unwrap_err().code, Code::T001);
    assert_eq!(blob(7).await.unwrap_err().code, Code::T029);
    let absent = archive.blob("acme/csv_reader", &version, &Digest::of(b"x"), 1, &()).await;
    assert_eq!(absent.unwrap_err().code, Code::R001);
    assert_eq!(archive.versions("acme/csv_raeder").await.unwrap_err().help.unwrap(), "did you mean `acme/csv_reader`?");
    assert_eq!(archive.offer("acme/csv_reader", &"2.0.0".parse().unwrap()).await.unwrap_err().code, Code::R001);
}

#[test]
fn an_archive_that_cannot_be_put_anywhere_says_so() {
    let (world, bytes) = v();
    let problem = archive::read(&bytes[..], &world.home.path().join("absent")).unwrap_err();
    assert_eq!(problem.code, Code::R004);
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(5))
        }
    }
    let problem = archive::read(Broken, &world.store.layout().ingest_folder()).unwrap_err();
    assert_eq!(problem.code, Code::C002);
    let entries = world.store.list().unwrap();
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _buffer: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let problem = archive::write(&world.store, &world.trust, &entries, &Extras::default(), &mut Full).unwrap_err();
    assert_eq!(problem.code, Code::R004);
}

#[test]
fn a_bundle_keeps_its_files() {
    let world = World::new();
    let example = b"a,b\n1,2\n".to_vec();
    let manifest = canonical(&json!({
        "schema_version": "plugins.v0", "kind": "bundle", "name": "acme/shop", "version": "1.0.0", "sequence": 1,
        "created": "2026-11-20T00:00:00Z",
        "components": [{
            "node_type": "workflow", "name": "price_all", "import": "ice:plugin/blueprints@0.1.0#price_all",
            "version": "1.0.0", "artifact": Digest::of(&COMPONENT), "size": 8, "entrypoint": true,
        }],
        "files": [{"path": "examples/items.csv", "artifact": Digest::of(&example), "size": 8, "media_type": "text/csv"}],
    }));
    let envelope = Envelope::sign_bytes(&manifest, &publisher(), "dev").unwrap();
    world.store.add(&envelope, &[COMPONENT.to_vec(), example.clone()], &world.trust, &options(None)).unwrap();
    let clean = World::new();
    assert_eq!(load(&clean, &save(&world, &Extras::default())).unwrap(), [Added::New]);
    let entry = clean.store.find("acme/shop", None).unwrap();
    let verified = clean.store.check(&entry, &clean.trust).unwrap();
    assert_eq!(clean.store.blob(&verified, &Digest::of(&example)).unwrap(), example);
}

#[test]
fn a_clock_that_went_back_cannot_judge_what_expires() {
    let (_, bytes) = v();
    let world = World::new();
    let archive = read(&world, &bytes).unwrap();
    ice_registry::trust::State::of(&world.trust_folder()).check_clock(NOW + 2 * 24 * 60 * 60).unwrap();
    assert_eq!(archive.load(&world.store, &world.trust, NOW).unwrap_err()[0].code, Code::T038);
    assert!(world.store.list().unwrap().is_empty());
}
