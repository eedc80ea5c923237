//! gzip with a meter on it: what comes out for equal bytes is equal everywhere, and what goes in is bounded.
//!
//! Packing uses one deflate implementation by name: another one that is linked for other reasons would give other
//! bytes, and one that uses a CPU's own instructions would give others on another machine.

use std::io::{self, BufReader, Read, Write};

use flate2::Crc;
use flate2::bufread::GzDecoder;
use ice_core::problem::{Code, Problem};
use miniz_oxide::deflate::core::{CompressionStrategy, CompressorOxide};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use super::{Limits, broken};

/// As `gzip -n` writes it: deflate, no flags, no time, no hint, Unix.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// The part of it that a reader asks for: with no flags there is no name, comment or extra field.
const HEAD_FIXED: usize = 4;

/// As `gzip` does when it is not told otherwise.
const LEVEL: u8 = 6;
const WINDOW_BITS: u8 = 15;

const CHUNK: usize = 64 << 10;

/// Up to here the proportion is not looked at: there is nothing to blow up, and little was read to compare with.
const RATIO_FROM: u64 = 16 << 20;

impl Limits {
    /// Whether these two numbers, at any moment of reading or writing, are within the limits (T029).
    fn check(&self, compressed: u64, expanded: u64) -> Result<(), Problem> {
        let over =
            |what: String| Problem::new(Code::T029, what).help("split it: one archive for each bundle or plugin");
        if compressed > self.compressed {
            return Err(over(format!("the archive is larger than {} bytes", self.compressed)));
        }
        if expanded > self.expanded {
            return Err(over(format!("the archive expands to more than {} bytes", self.expanded)));
        }
        if expanded > RATIO_FROM && expanded > compressed.saturating_mul(self.ratio) {
            return Err(over(format!("the archive expands to more than {} times its size", self.ratio)));
        }
        Ok(())
    }
}

/// Packs what is written to it.
pub(super) struct Packer<'a> {
    out: &'a mut dyn Write,
    limits: Limits,
    compressor: Box<CompressorOxide>,
    crc: Crc,
    buffer: Vec<u8>,
    compressed: u64,
    expanded: u64,
}

impl<'a> Packer<'a> {
    pub(super) fn new(out: &'a mut dyn Write, limits: Limits) -> Result<Self, Problem> {
        let compressor =
            CompressorOxide::with_params(DataFormat::Raw, LEVEL, CompressionStrategy::Default, WINDOW_BITS);
        let (compressor, buffer) = (Box::new(compressor), vec![0; CHUNK]);
        let mut packer = Self { out, limits, compressor, crc: Crc::new(), buffer, compressed: 0, expanded: 0 };
        packer.emit(&HEAD)?;
        Ok(packer)
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.compressed += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| {
            let message = format!("the archive cannot be written: {error}");
            Problem::new(Code::R004, message).help("free some space, or write it elsewhere")
        })
    }

    /// Packs some bytes (R004; T029 when nobody could read the archive back).
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        for chunk in bytes.chunks(CHUNK) {
            self.crc.update(chunk);
            self.expanded += chunk.len() as u64;
            self.pump(chunk, MZFlush::None)?;
            self.limits.check(self.compressed, self.expanded)?;
        }
        Ok(())
    }

    fn pump(&mut self, mut input: &[u8], flush: MZFlush) -> Result<(), Problem> {
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let done = deflate(&mut self.compressor, input, &mut buffer, flush);
            let written = self.emit(&buffer[..done.bytes_written]);
            self.buffer = buffer;
            written?;
            input = &input[done.bytes_consumed..];
            let status = done
                .status
                .map_err(|error| Problem::new(Code::R004, format!("the archive cannot be compressed: {error:?}")))?;
            if status == MZStatus::StreamEnd || (flush == MZFlush::None && input.is_empty()) {
                return Ok(());
            }
        }
    }

    /// Ends the stream. Returns how many bytes went in and came out.
    pub(super) fn finish(mut self) -> Result<(u64, u64), Problem> {
        self.pump(&[], MZFlush::Finish)?;
        let tail = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        self.emit(&tail)?;
        self.limits.check(self.compressed, self.expanded)?;
        self.out
            .flush()
            .map_err(|error| Problem::new(Code::R004, format!("the archive cannot be written: {error}")))?;
        Ok((self.expanded, self.compressed))
    }
}

/// Counts what is read and stops beyond a limit, also where the stream gives nothing for what it takes.
struct Metered<R> {
    input: R,
    read: u64,
    limit: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read += count as u64;
        if self.read > self.limit { Err(io::Error::other("more than the limit")) } else { Ok(count) }
    }
}

type Head = io::Cursor<[u8; HEAD.len()]>;

/// Unpacks one gzip member, and only one.
pub(super) struct Unpacker<R> {
    decoder: GzDecoder<BufReader<io::Chain<Head, Metered<R>>>>,
    limits: Limits,
    expanded: u64,
}

impl<R: Read> Unpacker<R> {
    /// Begins to read (T046, C002).
    pub(super) fn new(input: R, limits: Limits) -> Result<Self, Problem> {
        let mut input = Metered { input, read: 0, limit: limits.compressed };
        let mut head = [0; HEAD.len()];
        input.read_exact(&mut head).map_err(|error| unreadable(&error))?;
        if head[..HEAD_FIXED] != HEAD[..HEAD_FIXED] {
            return Err(broken("it is not gzip without a name, as `gzip -n` writes it"));
        }
        let stream = BufReader::with_capacity(CHUNK, io::Cursor::new(head).chain(input));
        Ok(Self { decoder: GzDecoder::new(stream), limits, expanded: 0 })
    }

    /// Reads up to `buffer.len()` bytes; 0 at the end, when length and checksum are right (T029, T046, C002).
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Problem> {
        let count = loop {
            match self.decoder.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count,
            }
        };
        let (_, input) = self.decoder.get_ref().get_ref().get_ref();
        self.expanded += *count.as_ref().unwrap_or(&0) as u64;
        self.limits.check(input.read, self.expanded)?;
        count.map_err(|error| unreadable(&error))
    }

    /// Reads exactly `buffer.len()` bytes (T046 when there are fewer).
    pub(super) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Problem> {
        while !buffer.is_empty() {
            match self.read(buffer)? {
                0 => return Err(broken("it ends too early")),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// How many bytes came out so far.
    pub(super) fn expanded(&self) -> u64 {
        self.expanded
    }

    /// Refuses a second member, and anything else behind the end of the first (T046).
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        let mut byte = [0];
        match self.decoder.get_mut().read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(broken("there is something behind its end")),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => broken("it ends too early"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => broken("its compressed data is damaged"),
        _ => Problem::new(Code::C002, format!("the archive cannot be read: {error}"))
            .help("give the `.ice.tgz` file that `ice bundle save` wrote"),
    }
}
