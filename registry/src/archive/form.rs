//! The closed form of one tar entry: which names there are, and what its 512-byte header may say.
//!
//! ustar without a single extension, so there are no two ways to read an archive. Modes, owners and times are checked
//! for their form and then forgotten.

use std::ops::Range;

use ice_core::id::Digest;
use ice_core::manifest::printable;

/// Headers are one block; contents are filled up to whole ones.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const DEVICES: [Range<usize>; 2] = [329..337, 337..345];
/// The prefix of long names, and the end that nobody uses: no name here is long.
const UNUSED: Range<usize> = 345..512;

/// `ustar`, NUL, version `00`. GNU's own magic differs, and with it the meaning of other fields.
const USTAR: &[u8; 8] = b"ustar\x0000";

const BLOBS: &str = "blobs/sha256/";

/// Something that an archive may hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Member {
    /// A folder, which means nothing: files name theirs.
    Folder(&'static str),
    /// Says that this is an OCI layout.
    Layout,
    /// Lists the artifacts.
    Index,
    /// Some bytes under their own digest.
    Blob(Digest),
    /// Signed revocations.
    Revoked,
    /// The signed header of a marketplace index.
    MarketIndex,
}

/// Every name but those of blobs.
const NAMES: [(&str, Member); 7] = [
    ("oci-layout", Member::Layout),
    ("index.json", Member::Index),
    ("iceos/revoked.json", Member::Revoked),
    ("iceos/index.json", Member::MarketIndex),
    ("blobs", Member::Folder("blobs")),
    ("blobs/sha256", Member::Folder("blobs/sha256")),
    ("iceos", Member::Folder("iceos")),
];

impl Member {
    /// Its name in the archive.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Blob(digest) => format!("{BLOBS}{}", digest.hex()),
            other => NAMES.iter().find(|(_, member)| member == other).map_or("", |(name, _)| name).to_owned(),
        }
    }

    fn of(name: &str) -> Option<Self> {
        if let Some(hex) = name.strip_prefix(BLOBS).filter(|hex| !hex.is_empty()) {
            return Digest::parse(&format!("sha256:{hex}")).ok().map(Self::Blob);
        }
        // Tools write folders with a slash at the end.
        let folder = name.strip_suffix('/');
        let named = NAMES.iter().find(|(known, _)| *known == folder.unwrap_or(name)).map(|(_, member)| *member)?;
        (folder.is_none() || matches!(named, Self::Folder(_))).then_some(named)
    }
}

/// A header that is in form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// What follows.
    pub(super) member: Member,
    /// Its bytes.
    pub(super) size: u64,
}

/// Reads a header. Fails with what is wrong, for a sentence.
pub(super) fn read(block: &[u8; BLOCK]) -> Result<Header, String> {
    if block[MAGIC] != *USTAR {
        return Err("it is not a ustar header".to_owned());
    }
    if octal(&block[CHECKSUM]) != Some(checksum(block)) {
        return Err("the checksum of its header is wrong".to_owned());
    }
    let kind = block[TYPE];
    if !matches!(kind, b'0' | 0 | b'5') {
        return Err(format!("`{}` is not a type of entry that is read", kind.escape_ascii()));
    }
    let name = name(&block[NAME])?;
    if block[UNUSED].iter().any(|byte| *byte != 0) {
        return Err("its name goes on in a second field".to_owned());
    }
    let member = Member::of(name).ok_or_else(|| "an archive has no entry of this name".to_owned())?;
    match (kind, matches!(member, Member::Folder(_))) {
        (b'5', false) => return Err("it is a folder, and should be a file".to_owned()),
        (b'0' | 0, true) => return Err("it is a file, and should be a folder".to_owned()),
        _ => {}
    }
    if block[LINK].iter().any(|byte| *byte != 0) {
        return Err("it names the target of a link".to_owned());
    }
    let mode = octal(&block[MODE]).ok_or("its mode is not an octal number")?;
    if mode > 0o777 {
        return Err(format!("its mode {mode:o} is more than permissions"));
    }
    for (field, what) in [(UID, "owner"), (GID, "group"), (MTIME, "time")] {
        octal(&block[field]).ok_or_else(|| format!("its {what} is not an octal number"))?;
    }
    let no_device = |field: Range<usize>| matches!(octal(&block[field.clone()]), Some(0)) || block[field] == [0; 8];
    if !DEVICES.into_iter().all(no_device) {
        return Err("it names a device".to_owned());
    }
    let size = octal(&block[SIZE]).ok_or("its size is not an octal number")?;
    if size > 0 && matches!(member, Member::Folder(_)) {
        return Err("it is a folder with content".to_owned());
    }
    Ok(Header { member, size })
}

/// What a broken header calls its entry, fit to be shown.
pub(super) fn shown_name(block: &[u8; BLOCK]) -> String {
    let field = &block[NAME];
    let end = field.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    printable(&String::from_utf8_lossy(&field[..end]))
}

/// Up to the first NUL; behind it there is nothing but NULs, or two readers could see two names.
fn name(field: &[u8]) -> Result<&str, String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at(end);
    if rest.iter().any(|byte| *byte != 0) {
        return Err("its name goes on behind a NUL".to_owned());
    }
    std::str::from_utf8(name).map_err(|_| "its name is not text".to_owned())
}

/// Octal digits, then NULs or spaces up to the end. No sign, no base-256, no empty field.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = field.split_at(digits);
    if digits.is_empty() || rest.is_empty() || rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    // 11 digits at most: 33 bits.
    Some(digits.iter().fold(0, |number, digit| number * 8 + u64::from(digit - b'0')))
}

/// The sum of all bytes, with spaces where the sum itself stands.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let outside = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { u64::from(b' ') } else { u64::from(*byte) };
    block.iter().enumerate().map(outside).sum()
}

/// The one header for a file of this name and size: mode 0644, nobody's, from 1970.
pub(super) fn write(member: &Member, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let name = member.name();
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[MAGIC].copy_from_slice(USTAR);
    block[TYPE] = b'0';
    let mut number = |field: Range<usize>, number: u64| {
        let digits = format!("{number:0width$o}\0", width = field.len() - 1);
        block[field].copy_from_slice(digits.as_bytes());
    };
    for (field, value) in [(MODE, 0o644), (UID, 0), (GID, 0), (SIZE, size), (MTIME, 0)] {
        number(field, value);
    }
    let [major, minor] = DEVICES;
    number(major, 0);
    number(minor, 0);
    let sum = format!("{:06o}\0 ", checksum(&block));
    block[CHECKSUM].copy_from_slice(sum.as_bytes());
    block
}

/// How many bytes fill content of `size` up to whole blocks.
pub(super) fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0)
}
