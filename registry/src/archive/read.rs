//! Reading an archive once, from front to back, into files that only this process names.
//!
//! Every entry's name, size and type are checked before a byte of it is kept. What comes out is in form, and no more.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use ice_core::id::Digest;
use ice_core::manifest::{ARTIFACT_BYTES_MAX, Kind, parse_strict, printable};
use ice_core::problem::{Code, Problem};
use sha2::Digest as _;

use super::form::{self, BLOCK, Header, Member};
use super::gzip::Unpacker;
use super::{Archive, ArchiveEntry, Blobs, Extras, Ingested, Limits, broken};
use crate::files;
use crate::layout::INDEX_BYTES_MAX;
use crate::oci::{
    self, CONFIG_BYTES_MAX, Descriptor, INDEX_MEDIA_TYPE, Index, MANIFEST_BYTES_MAX, MANIFEST_MEDIA_TYPE,
};
use crate::signed::{SIGNED_BYTES_MAX, Signed};
use crate::store::StoreEntry;

/// `{"imageLayoutVersion":"1.0.0"}` with room for spaces.
const LAYOUT_BYTES_MAX: u64 = 4 << 10;

const CHUNK: usize = 64 << 10;

/// Reads an archive. Its blobs are put into `ingest`, which must be there, and nothing is written anywhere else; when
/// this fails, nothing is left. T046 for everything that is not in form, T001 for a blob that is not what its name
/// says, T029 beyond [`Limits::STANDARD`], T049 for an extra that is no signed document, C002 and R004 for the disks.
pub fn read(input: impl Read, ingest: &Path) -> Result<Archive, Problem> {
    read_within(input, ingest, Limits::STANDARD)
}

/// Like [`read`], within other limits.
pub fn read_within(input: impl Read, ingest: &Path, limits: Limits) -> Result<Archive, Problem> {
    let mut tar = Unpacker::new(input, limits)?;
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    let mut block = [0; BLOCK];
    loop {
        let offset = tar.expanded();
        tar.read_exact(&mut block)?;
        if block == [0; BLOCK] {
            break;
        }
        let number = seen.len() + 1;
        let about = |problem: Problem| {
            let place = format!("entry {number} of the archive (`{}`, at byte {offset})", form::shown_name(&block));
            problem.subject(place)
        };
        let header = form::read(&block).map_err(|why| about(broken(&why)))?;
        if !seen.insert(header.member) {
            return Err(about(broken("it has two entries of this name")));
        }
        if number > limits.entries {
            let message = format!("the archive has more than {} entries", limits.entries);
            return Err(about(Problem::new(Code::T029, message).help("split it: one archive for each bundle")));
        }
        found.take(&mut tar, &header, ingest).map_err(about)?;
    }
    end(tar)?;
    found.assemble()
}

/// A second block of zeros, and nothing but zeros up to the end.
fn end<R: Read>(mut tar: Unpacker<R>) -> Result<(), Problem> {
    let mut block = [0; BLOCK];
    tar.read_exact(&mut block).map_err(|problem| match problem.code {
        Code::T046 => broken("its end is missing: two blocks of zeros"),
        _ => problem,
    })?;
    let mut buffer = block.to_vec();
    buffer.resize(CHUNK, 0);
    let mut count = BLOCK;
    while count > 0 {
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Err(broken("there is something behind its end"));
        }
        count = tar.read(&mut buffer)?;
    }
    if !tar.expanded().is_multiple_of(BLOCK as u64) {
        return Err(broken("it ends within a block"));
    }
    tar.finish()
}

/// What the entries held.
#[derive(Default)]
struct Found {
    layout: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
    extras: Extras,
    blobs: Blobs,
}

impl Found {
    fn take<R: Read>(&mut self, tar: &mut Unpacker<R>, header: &Header, ingest: &Path) -> Result<(), Problem> {
        let size = header.size;
        let small = |tar: &mut Unpacker<R>, limit: u64| {
            check_size(size, limit)?;
            let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
            tar.read_exact(&mut bytes).map(|()| bytes)
        };
        let signed = |bytes: Vec<u8>| Signed::parse(&bytes).map(Some);
        match header.member {
            Member::Folder(_) => {}
            Member::Layout => self.layout = Some(small(tar, LAYOUT_BYTES_MAX)?),
            Member::Index => self.index = Some(small(tar, INDEX_BYTES_MAX)?),
            Member::Revoked => self.extras.revoked = signed(small(tar, SIGNED_BYTES_MAX as u64)?)?,
            Member::MarketIndex => self.extras.index = signed(small(tar, SIGNED_BYTES_MAX as u64)?)?,
            Member::Blob(digest) => {
                check_size(size, ARTIFACT_BYTES_MAX)?;
                let blob = take_blob(tar, &digest, size, ingest)?;
                self.blobs.insert(digest, blob);
            }
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[..form::padding(size)];
        tar.read_exact(rest)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(broken("there is something between its entries"));
        }
        Ok(())
    }

    fn assemble(self) -> Result<Archive, Problem> {
        check_layout(self.layout.as_deref())?;
        let index = read_index(self.index.as_deref())?;
        let mut entries = Vec::new();
        let (mut needed, mut documents) = (BTreeSet::new(), BTreeSet::new());
        for descriptor in &index.manifests {
            // An OCI manifest and an envelope are of one version. Else a line of the index could cost megabytes of
            // reading, as often as somebody cares to write it.
            let own = |digest: Digest, documents: &mut BTreeSet<Digest>| {
                let why = format!("two lines of its index share document {}", digest.short());
                if documents.insert(digest) { Ok(()) } else { Err(broken(&why).subject("`index.json` of the archive")) }
            };
            own(descriptor.digest, &mut documents)?;
            let entry = read_entry(descriptor, &self.blobs, &mut needed)?;
            own(entry.config.digest, &mut documents)?;
            entries.push(entry);
        }
        entries.sort_by(|a: &ArchiveEntry, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        if let Some(pair) =
            entries.windows(2).find(|pair| (&pair[0].name, &pair[0].version) == (&pair[1].name, &pair[1].version))
        {
            let why = format!("its index has `{}` {} twice", pair[0].name, pair[0].version);
            return Err(broken(&why).subject("`index.json` of the archive"));
        }
        if let Some(stray) = self.blobs.keys().find(|digest| !needed.contains(*digest)) {
            let why = format!("nothing needs blob {}", stray.short());
            return Err(broken(&why).subject(format!("`{}` of the archive", Member::Blob(*stray).name())));
        }
        Ok(Archive { entries, extras: self.extras, blobs: Arc::new(self.blobs) })
    }
}

fn check_size(size: u64, limit: u64) -> Result<(), Problem> {
    if size <= limit {
        return Ok(());
    }
    Err(Problem::new(Code::T029, format!("an entry has {size} bytes, the limit is {limit}"))
        .help("get the archive again from whoever made it with `ice bundle save`"))
}

/// Reads one blob into a new file and hashes what it reads.
fn take_blob<R: Read>(tar: &mut Unpacker<R>, digest: &Digest, size: u64, ingest: &Path) -> Result<Ingested, Problem> {
    let path = files::fresh_name(ingest, "")?;
    let failed = |error: io::Error| files::io_problem(Code::R004, "write", &path, &error);
    let mut file = files::create_new(&path).map_err(failed)?;
    // From here on the file goes away with this value, whatever happens.
    let blob = Ingested { path: path.clone(), size };
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let mut left = size;
    while left > 0 {
        let count = buffer.len().min(usize::try_from(left).unwrap_or(CHUNK));
        tar.read_exact(&mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(failed)?;
        left -= count as u64;
    }
    let got = Digest::from_bytes(hasher.finalize().into());
    if got == *digest {
        return Ok(blob);
    }
    let message =
        format!("a blob of the archive is not what its name says: expected {}, got {}", digest.short(), got.short());
    Err(Problem::new(Code::T001, message).help("get the archive again from whoever made it with `ice bundle save`"))
}

fn check_layout(bytes: Option<&[u8]>) -> Result<(), Problem> {
    let bytes = bytes.ok_or_else(|| broken("it has no `oci-layout`"))?;
    let about = |why: &str| broken(why).subject("`oci-layout` of the archive");
    let document = parse_strict(bytes).map_err(|problem| about(&problem.message))?;
    match document.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => Ok(()),
        Some(version) => Err(about(&format!("its layout has version `{}`, this host reads 1.0.0", printable(version)))),
        None => Err(about("its layout has no version")),
    }
}

fn read_index(bytes: Option<&[u8]>) -> Result<Index, Problem> {
    let bytes = bytes.ok_or_else(|| broken("it has no `index.json`"))?;
    let about = |why: &str| broken(why).subject("`index.json` of the archive");
    let document = parse_strict(bytes).map_err(|problem| about(&problem.message))?;
    let index: Index = serde_json::from_value(document).map_err(|error| about(&printable(&error.to_string())))?;
    let form = (index.schema_version, index.media_type.as_str());
    if !matches!(form, (2, "" | INDEX_MEDIA_TYPE)) {
        return Err(about("it is not an OCI index of schema version 2"));
    }
    Ok(index)
}

/// Reads one line of the index, and notes which blobs it needs.
fn read_entry(descriptor: &Descriptor, blobs: &Blobs, needed: &mut BTreeSet<Digest>) -> Result<ArchiveEntry, Problem> {
    let at_line =
        |why: &str| broken(why).subject(format!("{} in `index.json` of the archive", descriptor.digest.short()));
    if descriptor.media_type != MANIFEST_MEDIA_TYPE {
        return Err(at_line(&format!("it lists `{}`", printable(&descriptor.media_type))));
    }
    let line = StoreEntry::read(descriptor).ok_or_else(|| at_line("an entry has no `scope/name:version`"))?;
    let about = |problem: Problem| problem.subject(format!("`{}:{}` of the archive", line.name, line.version));
    present(descriptor, blobs, MANIFEST_BYTES_MAX).map_err(about)?;
    let bytes = blob(blobs, &descriptor.digest, MANIFEST_BYTES_MAX).map_err(about)?;
    let manifest = oci::read_manifest(&bytes).map_err(|problem| about(broken(&problem.message)))?;
    let mut kinds = [Kind::Plugin, Kind::Kit, Kind::Bundle].into_iter();
    let kind = kinds.find(|kind| oci::artifact_type(*kind) == manifest.artifact_type).ok_or_else(|| {
        about(broken(&format!("`{}` is no plugin, kit or bundle", printable(&manifest.artifact_type))))
    })?;
    if descriptor.artifact_type.as_ref().is_some_and(|said| *said != manifest.artifact_type) {
        return Err(about(broken("its index and its manifest disagree about what it is")));
    }
    present(&manifest.config, blobs, CONFIG_BYTES_MAX).map_err(about)?;
    for layer in &manifest.layers {
        present(layer, blobs, ARTIFACT_BYTES_MAX).map_err(about)?;
    }
    needed.extend(manifest.layers.iter().chain([&manifest.config, descriptor]).map(|blob| blob.digest));
    let StoreEntry { name, version, oci, .. } = line;
    Ok(ArchiveEntry { name, version, kind, oci_digest: oci.digest, config: manifest.config })
}

fn present(descriptor: &Descriptor, blobs: &Blobs, limit: u64) -> Result<(), Problem> {
    check_size(descriptor.size, limit)?;
    match blobs.get(&descriptor.digest) {
        Some(blob) if blob.size == descriptor.size => Ok(()),
        Some(blob) => {
            let (digest, said) = (descriptor.digest.short(), descriptor.size);
            Err(broken(&format!("blob {digest} has {} bytes where {said} are promised", blob.size)))
        }
        None => Err(broken(&format!("blob {} is missing", descriptor.digest.short()))),
    }
}

/// Reads a blob back and hashes this very buffer: R001 when there is none, T029 beyond `limit`, T001 when somebody
/// changed the file meanwhile.
pub(super) fn blob(blobs: &Blobs, digest: &Digest, limit: u64) -> Result<Vec<u8>, Problem> {
    let Some(blob) = blobs.get(digest) else {
        return Err(Problem::new(Code::R001, format!("the archive has no blob {}", digest.short()))
            .help("get the archive again from whoever made it with `ice bundle save`"));
    };
    check_size(blob.size, limit)?;
    let failed = |error: io::Error| files::io_problem(Code::C002, "read", &blob.path, &error);
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(no_follow).open(&blob.path).map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(blob.size).unwrap_or_default());
    file.take(blob.size + 1).read_to_end(&mut bytes).map_err(failed)?;
    if Digest::of(&bytes) != *digest {
        let message = format!("blob {} of the archive was changed on this machine", digest.short());
        return Err(Problem::new(Code::T001, message).help("read the archive again"));
    }
    Ok(bytes)
}
