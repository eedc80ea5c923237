//! Reading an archive: nothing stays on the disk, what is read is in form, and nothing in it is believed but V.
//!
//! The first byte chooses what the others are, because no mutation finds a checksum or a digest: the file itself, the
//! tar in it, the tar with mended checksums, or the `index.json` or OCI manifest of an archive that is good otherwise.
#![no_main]

use std::io::{Read as _, Write as _};
use std::sync::LazyLock;

use ice_core::id::Digest;
use ice_fuzz::{HOME, believed_is_v};
use ice_registry::Wanted;
use ice_registry::archive::{self, Limits};
use libfuzzer_sys::fuzz_target;

const GOOD: &[u8] = include_bytes!("../seeds/archive/v.ice.tgz");

/// Small enough for thousands of tries a second.
const LIMITS: Limits = Limits { compressed: 1 << 20, expanded: 4 << 20, ratio: 200, entries: 64 };

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let file = match kind % 5 {
        0 => rest.to_vec(),
        1 => gzip(rest),
        2 => gzip(&mended(rest)),
        3 => gzip(&tar(rest, None)),
        _ => gzip(&tar(&index_of(rest), Some(rest))),
    };
    if let Ok(archive) = archive::read_within(file.as_slice(), &HOME.ingest, LIMITS) {
        for entry in archive.entries() {
            let wanted =
                Wanted { name: entry.name.clone(), version: Some(entry.version.clone()), kind: Some(entry.kind) };
            if let Ok(envelope) = archive.envelope(entry) {
                believed_is_v(&envelope, Some(&wanted));
            }
        }
        let entries = archive.entries().iter().map(|entry| (&entry.name, &entry.version));
        assert!(entries.is_sorted_by(|a, b| a < b), "sorted, and none twice");
    }
    let left = std::fs::read_dir(&HOME.ingest).expect("the folder").count();
    assert_eq!(left, 0, "files are left behind");
});

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
}

/// The checksums of the headers, as they should be.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 512) {
        let size = std::str::from_utf8(&header[124..135]).ok().and_then(|text| usize::from_str_radix(text, 8).ok());
        seal(header);
        at += 512 + size.unwrap_or(0).min(1 << 24).next_multiple_of(512);
    }
    bytes
}

fn seal(header: &mut [u8]) {
    if header.iter().all(|byte| *byte == 0) {
        return;
    }
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// V's blobs: config, component and OCI manifest, told apart by their sizes' order.
static BLOBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut expanded = Vec::new();
    flate2::read::GzDecoder::new(GOOD).read_to_end(&mut expanded).expect("the seed");
    let (mut blobs, mut at) = (Vec::new(), 0);
    while expanded[at] != 0 {
        let size = std::str::from_utf8(&expanded[at + 124..at + 135]).expect("digits");
        let size = usize::from_str_radix(size, 8).expect("digits");
        if expanded[at..].starts_with(b"blobs/") {
            blobs.push(expanded[at + 512..at + 512 + size].to_vec());
        }
        at += 512 + size.next_multiple_of(512);
    }
    blobs
});

fn is_manifest(blob: &[u8]) -> bool {
    blob.windows(13).any(|window| window == b"schemaVersion")
}

/// An index with this OCI manifest under V's name.
fn index_of(manifest: &[u8]) -> Vec<u8> {
    serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": Digest::of(manifest), "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "acme/csv_reader:1.2.3"},
    }]})
    .to_string()
    .into_bytes()
}

/// V's archive with this index, and this OCI manifest where one is given.
fn tar(index: &[u8], manifest: Option<&[u8]>) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut add = |name: &str, content: &[u8]| {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "00000000000"), (156, "0")] {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut header);
        tar.extend(header);
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    for blob in BLOBS.iter().filter(|blob| manifest.is_none() || !is_manifest(blob)).map(Vec::as_slice).chain(manifest)
    {
        add(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    add("index.json", index);
    add("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
    tar.extend([0; 1024]);
    tar
}
