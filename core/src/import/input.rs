//! The bytes of a file, unpacked while they are read.
//!
//! Any format may come packed as gzip or zstd, and as a member of an archive. What is unpacked is never
//! held as a whole unless a reader asks for it, within a limit; progress is reported on the way, and reading can be cancelled.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::{Error, Place};
use crate::progress::{Flow, Progress};

/// Bytes of the content that are enough to detect a format.
const HEAD: usize = 64 * 1024;
/// Packed bytes between two reports of progress.
const REPORT: usize = 1 << 20;
/// The most a packed file may unpack to: more accesses than a trace may have, in any format.
const MOST_UNPACKED: u64 = 16 << 30;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    /// As members of zip archives are.
    Deflate,
}

impl Compression {
    /// How a file is packed that begins like this.
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    fn open<'a>(self, source: impl BufRead + 'a) -> Box<dyn Read + 'a> {
        match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(MultiGzDecoder::new(source)),
            Self::Zstd => Box::new(Zstd { source, decoder: None }),
            Self::Deflate => Box::new(DeflateDecoder::new(source)),
        }
    }
}

/// How the content comes out of the bytes of a file: they are unpacked, a part is cut out, and that is unpacked in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    pub(super) outer: Compression,
    pub(super) part: Option<Part>,
    pub(super) inner: Compression,
}

/// A part of unpacked bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Bytes before it.
    pub(super) start: u64,
    pub(super) length: u64,
    /// Its CRC-32, where that is known.
    pub(super) sum: Option<u32>,
}

impl Packing {
    /// Of bytes that may be packed.
    pub(super) fn of(head: &[u8]) -> Self {
        Self { outer: Compression::of(head), part: None, inner: Compression::None }
    }

    fn open<'a>(self, source: impl BufRead + 'a) -> Box<dyn Read + 'a> {
        let outer = self.outer.open(source);
        let Some(part) = self.part else { return outer };
        let part = PartReader { source: outer, part, sum: Crc::new() };
        self.inner.open(BufReader::with_capacity(HEAD, part))
    }
}

/// Reads a part of a source.
struct PartReader<R> {
    source: R,
    /// What is left of it.
    part: Part,
    sum: Crc,
}

impl<R: Read> Read for PartReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.part.start > 0 {
            let skipped = io::copy(&mut (&mut self.source).take(self.part.start), &mut io::sink())?;
            self.part.start -= skipped;
            if self.part.start > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if self.part.length == 0 {
            return match self.part.sum {
                Some(sum) if sum != self.sum.sum() => Err(io::Error::other("its checksum is another")),
                _ => Ok(0),
            };
        }
        let most = usize::try_from(self.part.length).unwrap_or(usize::MAX).min(out.len());
        let read = self.source.read(&mut out[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.part.length -= read as u64;
        self.sum.update(&out[..read]);
        Ok(read)
    }
}

/// The content of a file that is not held: unpacked while it is read.
pub fn unpack<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let compression = Compression::of(source.fill_buf()?);
    Ok(compression.open(source))
}

/// Whether a file that begins like this has to be unpacked.
pub(super) fn is_packed(head: &[u8]) -> bool {
    Compression::of(head) != Compression::None
}

/// The mark that some editors put before UTF-8.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// A text without its byte order mark.
pub fn strip_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// What a file is that begins like this and has no reader here, and what to do about it.
fn stranger(head: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("the text is UTF-16", "Save the file as UTF-8"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
            ("it is packed with bzip2, which is not read here", "Unpack it first (bunzip2 FILE)")
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            ("it is packed with xz, which is not read here", "Unpack it first (unxz FILE)")
        }
        [b'P', b'K', 3, 4, ..] => ("it is a zip archive in another file", "Unpack it and give one of its files"),
        [0x1f, 0x8b, 8, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            ("it is packed twice", "Unpack it once (gunzip FILE, unzstd FILE)")
        }
        _ => return None,
    })
}

/// A named file: the name is shown in errors.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its name.
    pub name: &'a str,
    bytes: &'a [u8],
    packing: Packing,
}

impl<'a> Input<'a> {
    /// The file `name` with these bytes, packed or not.
    pub fn new(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes, packing: Packing::of(bytes) }
    }

    /// A member of an archive.
    pub(super) fn member(name: &'a str, bytes: &'a [u8], packing: Packing) -> Self {
        Self { name, bytes, packing }
    }

    /// The bytes as they are, and how the content comes out of them.
    pub(super) fn packed(&self) -> (&'a [u8], Packing) {
        (self.bytes, self.packing)
    }

    /// The content, where it is not packed.
    pub fn plain(&self) -> Option<&'a [u8]> {
        let plain = Packing { outer: Compression::None, part: None, inner: Compression::None };
        (self.packing == plain).then_some(self.bytes)
    }

    /// The first bytes of the content: 64 KiB, or less where it is shorter or damaged.
    pub fn head(&self) -> Vec<u8> {
        self.start().0
    }

    /// The same, and why it is not longer where that is no end.
    fn start(&self) -> (Vec<u8>, Option<io::Error>) {
        let mut head = Vec::new();
        let read = self.packing.open(self.bytes).take(HEAD as u64).read_to_end(&mut head);
        (head, read.err())
    }

    /// Refuses a file that no reader here can make sense of: text in another encoding, an unknown or a second packing,
    /// a start that is damaged.
    pub fn check(&self) -> Result<(), Error> {
        let (head, damage) = self.start();
        match (stranger(&head), damage) {
            (Some((problem, cure)), _) => Err(Error::input(self.name, Place::Whole, problem, cure)),
            (None, Some(damage)) => Err(self.error(&damage)),
            (None, None) => Ok(()),
        }
    }

    /// The content from its start. A read fails where the packed bytes are damaged or `progress` cancels;
    /// [`error`](Self::error) turns that into an error of this file.
    pub fn reader<'p>(&self, progress: &'p mut dyn Progress) -> BufReader<Tracked<'a, 'p>> {
        let packed = Rc::new(Cell::new(0));
        let source = Counted { rest: self.bytes, taken: Rc::clone(&packed) };
        let source = self.packing.open(source);
        let total = self.bytes.len() as u64;
        BufReader::with_capacity(HEAD, Tracked { source, packed, total, unpacked: 0, reported: None, progress })
    }

    /// The same of a text, without its byte order mark.
    pub(crate) fn text<'p>(&self, progress: &'p mut dyn Progress) -> Result<BufReader<Tracked<'a, 'p>>, Error> {
        let mut reader = self.reader(progress);
        if reader.fill_buf().map_err(|e| self.error(&e))?.starts_with(MARK) {
            reader.consume(MARK.len());
        }
        Ok(reader)
    }

    /// The whole content, unless it is longer than `most` bytes.
    pub fn whole(&self, most: usize, progress: &mut dyn Progress) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        let mut reader = self.reader(progress).take(most as u64 + 1);
        reader.read_to_end(&mut content).map_err(|e| self.error(&e))?;
        if content.len() > most {
            return Err(self.too_long(most as u64));
        }
        Ok(content)
    }

    fn too_long(&self, most: u64) -> Error {
        Error::input(
            self.name,
            Place::Whole,
            format!("it holds more than {} once unpacked", crate::units::format_bytes(most)),
            "Check that it is the file you meant, or give a part of it",
        )
    }

    /// What a failed read of [`reader`](Self::reader) means.
    pub fn error(&self, error: &io::Error) -> Error {
        match error.get_ref().and_then(|e| e.downcast_ref::<Stop>()) {
            Some(Stop::Cancelled) => Error::Cancelled,
            Some(Stop::TooLong) => self.too_long(MOST_UNPACKED),
            Some(Stop::Guard(problem)) => Error::input(
                self.name,
                Place::Whole,
                problem.clone(),
                "Check that it is the file you meant and is not damaged",
            ),
            None => damaged(self.name, error),
        }
    }
}

/// What a failed read of [`unpack`] means, where the file `name` itself could be read.
pub fn damaged(name: &str, error: &io::Error) -> Error {
    // What the system refuses has a number; the rest is in the bytes.
    if error.raw_os_error().is_some() {
        return Error::input(name, Place::Whole, format!("it cannot be read: {error}"), "See whether the disk is well");
    }
    let problem = format!("the packed data are damaged or cut off ({error})");
    Error::input(name, Place::Whole, problem, "Fetch the file again")
}

/// Why a read was stopped, inside an [`io::Error`].
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("too long")]
    TooLong,
    /// A reader on top refuses what it sees.
    #[error("{0}")]
    Guard(String),
}

impl Stop {
    /// As an error of a reader.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// Packed bytes, and how many of them were taken.
struct Counted<'a> {
    rest: &'a [u8],
    taken: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(out)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // In pieces, so that progress moves.
        Ok(&self.rest[..self.rest.len().min(HEAD)])
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
        self.taken.set(self.taken.get() + amount as u64);
    }
}

/// Unpacked content that reports progress.
pub struct Tracked<'a, 'p> {
    source: Box<dyn Read + 'a>,
    packed: Rc<Cell<u64>>,
    total: u64,
    unpacked: u64,
    reported: Option<u64>,
    progress: &'p mut dyn Progress,
}

impl Read for Tracked<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Of what is unpacked, so that a file that unpacks to a thousand times its size can be cancelled as well.
        if self.reported.is_none_or(|last| self.unpacked >= last + REPORT as u64) {
            self.reported = Some(self.unpacked);
            if self.progress.report(self.packed.get().min(self.total), self.total, "reading") == Flow::Cancel {
                return Err(Stop::Cancelled.into_io());
            }
        }
        let read = self.source.read(out)?;
        self.unpacked += read as u64;
        if self.unpacked > MOST_UNPACKED {
            return Err(Stop::TooLong.into_io());
        }
        Ok(read)
    }
}

/// All frames of a zstd file, one after the other.
struct Zstd<R> {
    source: R,
    decoder: Option<FrameDecoder>,
}

/// The window that `zstd --long` asks for; larger ones are refused.
const MOST_WINDOW: u64 = 128 << 20;

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                None if self.source.fill_buf()?.is_empty() => return Ok(0),
                None => {
                    let mut decoder = FrameDecoder::new();
                    decoder.set_max_window_size(MOST_WINDOW);
                    match decoder.init(&mut self.source) {
                        Ok(()) => self.decoder.insert(decoder),
                        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                            length,
                            ..
                        })) => {
                            let skipped = io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                            if skipped < u64::from(length) {
                                return Err(io::ErrorKind::UnexpectedEof.into());
                            }
                            continue;
                        }
                        Err(error) => return Err(io::Error::other(error)),
                    }
                }
            };
            while decoder.can_collect() == 0 && !decoder.is_finished() {
                let blocks = BlockDecodingStrategy::UptoBlocks(1);
                decoder.decode_blocks(&mut self.source, blocks).map_err(io::Error::other)?;
            }
            let read = decoder.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            self.decoder = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::progress::Unattended;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn packed_or_not_the_content_is_the_same() {
        let content: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let (half, rest) = content.split_at(content.len() / 2);
        // A skippable frame of three bytes between two frames.
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        for packed in [
            content.clone(),
            gzip(&content),
            [gzip(half), gzip(rest)].concat(),
            zstd(&content),
            [zstd(half), skipped.to_vec(), zstd(rest)].concat(),
        ] {
            let input = Input::new("t", &packed);
            assert!(input.whole(content.len(), &mut Unattended).unwrap() == content);
            assert_eq!(input.head(), content[..HEAD]);
            assert!(
                input.whole(content.len() - 1, &mut Unattended).unwrap_err().to_string().contains("holds more than")
            );
        }
    }

    #[test]
    fn a_file_that_is_not_held_is_unpacked_as_well() {
        let content = [7; 100_000];
        for packed in [content.to_vec(), gzip(&content), zstd(&content)] {
            let mut found = Vec::new();
            unpack(&packed[..]).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == content);
        }
    }

    #[test]
    fn damaged_packing_is_told() {
        let content = [7; 100_000];
        for packed in [gzip(&content), zstd(&content)] {
            let cut = &packed[..packed.len() - 9];
            let error = Input::new("t.gz", cut).whole(1 << 20, &mut Unattended).unwrap_err().to_string();
            assert!(
                error.contains("packed data are damaged or cut off") && error.ends_with("Fetch the file again"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_bomb_is_cancelled_or_refused_without_being_held() {
        struct After(u32);
        impl Progress for After {
            fn report(&mut self, _: u64, _: u64, _: &str) -> Flow {
                self.0 -= 1;
                if self.0 == 0 { Flow::Cancel } else { Flow::Continue }
            }
        }
        let bomb = gzip(&vec![0; 50 << 20]);
        let input = Input::new("bomb.gz", &bomb);
        assert_eq!(input.whole(1 << 30, &mut After(5)).unwrap_err(), Error::Cancelled);
        assert!(input.whole(1 << 20, &mut Unattended).unwrap_err().to_string().contains("holds more than"));
    }
}
