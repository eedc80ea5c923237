//! Archives by hand: raw headers of 512 bytes, so that every field can lie.

use std::io::{Read as _, Write as _};

use flate2::{Compression, GzBuilder};

/// A header that is in form, but for what a test does to it.
#[derive(Clone)]
pub(super) struct Header(pub(super) [u8; 512]);

impl Header {
    pub(super) fn new(name: &[u8], size: usize) -> Self {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        field(100, "0000644\0");
        field(108, "0000000\0");
        field(116, "0000000\0");
        field(124, &format!("{size:011o}\0"));
        field(136, "00000000000\0");
        field(156, "0");
        field(257, "ustar\x0000");
        field(329, "0000000\0");
        field(337, "0000000\0");
        Self(header)
    }

    pub(super) fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn of_type(self, flag: u8) -> Self {
        self.set(156, &[flag])
    }

    pub(super) fn linking(self, target: &str) -> Self {
        self.set(157, target.as_bytes())
    }

    /// The header with its right checksum, then `content` up to a whole block.
    pub(super) fn with(mut self, content: &[u8]) -> Vec<u8> {
        self.0[148..156].copy_from_slice(b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.0.to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

pub(super) fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    Header::new(name.as_bytes(), content.len()).with(content)
}

pub(super) const END: [u8; 1024] = [0; 1024];

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut expanded).unwrap();
    expanded
}

/// Names and contents, as tar-rs reads them.
#[derive(Clone)]
pub(super) struct Files(pub(super) Vec<(String, Vec<u8>)>);

impl Files {
    pub(super) fn of(archive: &[u8]) -> Self {
        let expanded = gunzip(archive);
        let mut tar = tar::Archive::new(expanded.as_slice());
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), content)
        };
        Self(tar.entries().unwrap().map(read).collect())
    }

    pub(super) fn get(&self, name: &str) -> &[u8] {
        &self.0.iter().find(|(found, _)| found == name).unwrap().1
    }

    pub(super) fn replaced(mut self, name: &str, content: &[u8]) -> Self {
        self.0.iter_mut().find(|(found, _)| found == name).unwrap().1 = content.to_vec();
        self
    }

    pub(super) fn with(mut self, name: &str, content: &[u8]) -> Self {
        self.0.push((name.to_owned(), content.to_vec()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(found, _)| found != name);
        self
    }

    /// The entries without the end.
    pub(super) fn entries(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, content)| entry(name, content)).collect()
    }

    /// The whole archive.
    pub(super) fn packed(&self) -> Vec<u8> {
        self.preceded_by(&[])
    }

    /// The whole archive, with something before its first entry.
    pub(super) fn preceded_by(&self, first: &[u8]) -> Vec<u8> {
        gzip(&[first, &self.entries(), &END].concat())
    }
}
