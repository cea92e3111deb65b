//! The header of a GGUF file: metadata, then the type, shape and place of every weight.
//!
//! Only the header is read, so that the first part of a file is enough. Layout: `docs/gguf.md` of ggml; versions 2
//! and 3, little-endian.

use std::io::{self, BufRead, Read as _};

use super::input::Input;
use super::text::shorten;
use super::weights::{MOST_BYTES, Weight, Weights};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::Trace;
use crate::workload::config::GgmlType;

/// The longest header: the vocabularies and merges in it take some 10 MB.
const MOST_HEADER: u64 = 256 << 20;
/// `GGML_MAX_DIMS`.
const MOST_DIMENSIONS: u32 = 4;
/// A key has at most 2^16 - 1 bytes (`docs/gguf.md`); names of weights are shorter still.
const MOST_NAME: u64 = 65_535;
/// The longest value of the metadata that is kept, and the most of them.
const MOST_VALUE: u64 = 256;
const MOST_VALUES: usize = 256;
/// Where weights begin unless `general.alignment` says otherwise (`GGUF_DEFAULT_ALIGNMENT`).
const ALIGNMENT: u64 = 32;

/// Whether `head` begins with the four letters.
pub fn matches(head: &[u8]) -> bool {
    head.starts_with(b"GGUF")
}

/// Parses the header, byte by byte in its order.
struct Header<'i, R> {
    input: Input<'i>,
    source: R,
    at: u64,
}

impl<R: BufRead> Header<'_, R> {
    fn bad(&self, at: u64, problem: impl Into<String>, cure: &str) -> Error {
        Error::input(self.input.name, Place::Byte(at), problem, cure)
    }

    fn damaged(&self, at: u64, problem: impl Into<String>) -> Error {
        self.bad(at, problem, "Check that it is a GGUF file and not damaged")
    }

    /// Fails where the next `length` bytes would pass the limit of a header.
    fn claim(&mut self, length: u64, what: &str) -> Result<(), Error> {
        let end = self.at.checked_add(length).filter(|end| *end <= MOST_HEADER);
        let problem = || format!("{what} of {length} bytes, and a header has at most {MOST_HEADER}");
        self.at = end.ok_or_else(|| self.damaged(self.at, problem()))?;
        Ok(())
    }

    fn cut_off(&self, error: &io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
            let cure = "Give at least the whole header: the first 64 MB of the file are enough for most";
            return self.bad(self.at, "the header is cut off before this byte", cure);
        }
        self.input.error(error)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.claim(N as u64, "a number")?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|e| self.cut_off(&e))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn skip(&mut self, length: u64, what: &str) -> Result<(), Error> {
        self.claim(length, what)?;
        let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink());
        match skipped.map_err(|e| self.cut_off(&e))? {
            skipped if skipped == length => Ok(()),
            _ => Err(self.cut_off(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// A name: a key or a weight's.
    fn name(&mut self) -> Result<String, Error> {
        let at = self.at;
        let length = self.u64()?;
        if length > MOST_NAME {
            return Err(self.damaged(at, format!("a name of {length} bytes, and names have at most {MOST_NAME}")));
        }
        self.text(length)
    }

    fn text(&mut self, length: u64) -> Result<String, Error> {
        let at = self.at;
        self.claim(length, "a string")?;
        let mut bytes = Vec::new();
        let read = (&mut self.source).take(length).read_to_end(&mut bytes);
        if (read.map_err(|e| self.cut_off(&e))? as u64) < length {
            return Err(self.cut_off(&io::ErrorKind::UnexpectedEof.into()));
        }
        String::from_utf8(bytes).map_err(|_| self.damaged(at, "a name that is not UTF-8"))
    }

    /// A value of the metadata; none where it is not kept.
    fn value(&mut self, kind: u32) -> Result<Option<String>, Error> {
        Ok(Some(match kind {
            0 => self.array::<1>()?[0].to_string(),
            1 => i8::from_le_bytes(self.array()?).to_string(),
            2 => u16::from_le_bytes(self.array()?).to_string(),
            3 => i16::from_le_bytes(self.array()?).to_string(),
            4 => self.u32()?.to_string(),
            5 => i32::from_le_bytes(self.array()?).to_string(),
            6 => f32::from_le_bytes(self.array()?).to_string(),
            7 => (self.array::<1>()?[0] != 0).to_string(),
            8 => {
                let length = self.u64()?;
                if length > MOST_VALUE {
                    self.skip(length, "a string")?;
                    return Ok(None);
                }
                self.text(length)?
            }
            9 => {
                self.skip_list()?;
                return Ok(None);
            }
            10 => self.u64()?.to_string(),
            11 => i64::from_le_bytes(self.array()?).to_string(),
            12 => f64::from_le_bytes(self.array()?).to_string(),
            other => return Err(self.damaged(self.at - 4, format!("a value of unknown type {other}"))),
        }))
    }

    fn skip_list(&mut self) -> Result<(), Error> {
        let at = self.at;
        let kind = self.u32()?;
        let count = self.u64()?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                // Each takes eight bytes at least, so the limit of the header ends this.
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length, "a string")?;
                }
                return Ok(());
            }
            9 => return Err(self.bad(at, "a list of lists, which ggml does not read either", "Write the file again")),
            other => return Err(self.damaged(at, format!("a list of values of unknown type {other}"))),
        };
        self.skip(count.saturating_mul(width), "a list")
    }

    /// Name, shape, type and offset of a weight.
    fn weight(&mut self, alignment: u64) -> Result<(u64, Weight), Error> {
        let at = self.at;
        let name = self.name()?;
        let called = shorten(&name);
        let dimensions = self.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(self.damaged(at, format!("{called} has {dimensions} dimensions, at most 4 are allowed")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        let number = self.u32()?;
        let Some(GgmlType { name: dtype, elements: block, bytes, .. }) = GgmlType::of_number(number) else {
            let cure = "If it is a type of a newer ggml, please report it; else check that the file is not damaged";
            return Err(self.bad(at, format!("{called} has the unknown type {number}"), cure));
        };
        let offset = self.u64()?;
        let row = shape.first().copied().unwrap_or(1);
        if row % block != 0 {
            let problem = format!("{called} has rows of {row} elements, not a multiple of the {block} of {dtype}");
            return Err(self.damaged(at, problem));
        }
        let elements = shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
        let total = elements.and_then(|elements| (elements / block).checked_mul(bytes));
        let end = total.and_then(|total| offset.checked_add(total)).filter(|end| *end <= MOST_BYTES);
        let (Some(bytes), Some(_)) = (total, end) else {
            let problem = format!("{called} of shape {shape:?} at {offset}: no model has more than {MOST_BYTES} bytes");
            return Err(self.damaged(at, problem));
        };
        if offset % alignment != 0 {
            return Err(self.damaged(at, format!("{called} begins at {offset}, not a multiple of {alignment}")));
        }
        shape.reverse();
        Ok((offset, Weight { name, shape, dtype: dtype.to_owned(), bytes }))
    }
}

/// Reads the header. Shapes are given with the slowest dimension first, the reverse of the file's order.
pub fn header(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Weights, Error> {
    parse(Header { input: *input, source: input.reader(progress), at: 0 })
}

/// The same of the bytes of a file that is not packed.
pub(super) fn of_bytes(input: &Input<'_>, bytes: &[u8]) -> Result<Weights, Error> {
    parse(Header { input: *input, source: bytes, at: 0 })
}

fn parse<R: BufRead>(mut header: Header<'_, R>) -> Result<Weights, Error> {
    let input = header.input;
    if header.array::<4>()? != *b"GGUF" {
        return Err(header.damaged(0, "the file does not begin with GGUF"));
    }
    match header.u32()? {
        2 | 3 => {}
        1 => {
            let cure = "Convert the model again: llama.cpp has written versions 2 and 3 since August 2023";
            return Err(header.bad(4, "GGUF version 1 is not read", cure));
        }
        version if version.swap_bytes() <= 3 => {
            let cure = "Convert the model to little-endian with gguf-convert-endian";
            return Err(header.bad(4, "the file is big-endian", cure));
        }
        version => return Err(header.damaged(4, format!("GGUF version {version}; versions 2 and 3 are read"))),
    }
    let (tensors, entries) = (header.u64()?, header.u64()?);
    // A weight takes 24 bytes at least and an entry 13.
    if tensors > MOST_HEADER / 24 || entries > MOST_HEADER / 13 {
        let problem = format!("{tensors} weights and {entries} entries of metadata, more than fit into a header");
        return Err(header.damaged(8, problem));
    }
    let mut weights = Weights::default();
    let mut alignment = ALIGNMENT;
    for _ in 0..entries {
        let key = header.name()?;
        let at = header.at;
        let kind = header.u32()?;
        let Some(value) = header.value(kind)? else { continue };
        if key == "general.alignment" {
            alignment = value.parse().ok().filter(|n: &u64| n.is_power_of_two()).ok_or_else(|| {
                header.damaged(at, format!("general.alignment is {}, not a power of two", shorten(&value)))
            })?;
        }
        if key.len() as u64 <= MOST_VALUE && weights.metadata.len() < MOST_VALUES {
            weights.metadata.push((key, value));
        }
    }
    let mut places = Vec::new();
    for _ in 0..tensors {
        let at = header.at;
        let (offset, weight) = header.weight(alignment)?;
        places.push((offset, weight.bytes, at));
        weights.tensors.push(weight);
    }
    places.sort_unstable();
    if let Some([_, (offset, _, at)]) = places.array_windows().find(|[a, b]| a.0 + a.1 > b.0) {
        return Err(header.damaged(*at, format!("the weight at offset {offset} overlaps the one before it")));
    }
    let mut names: Vec<&str> = weights.tensors.iter().map(|weight| weight.name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
        let (place, cure) = (Place::Key(shorten(name)), "Write the file again");
        return Err(Error::input(input.name, place, "the name is given twice", cure));
    }
    Ok(weights)
}

/// One pass over the weights, whole or in tiles.
pub fn read(input: &Input<'_>, tile_bytes: Option<u64>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    header(input, progress)?.trace(input.name, tile_bytes)
}

/// Bytes from the start of the file that are all that is read of it: its header does not say how long it is.
pub(super) fn bytes_to_read(_: &[u8]) -> Option<u64> {
    Some(MOST_HEADER)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [string(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
    }

    fn weight(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let dims = dimensions.iter().flat_map(|n| n.to_le_bytes()).collect();
        let count = (dimensions.len() as u32).to_le_bytes().to_vec();
        [string(name), count, dims, kind.to_le_bytes().to_vec(), offset.to_le_bytes().to_vec()].concat()
    }

    fn file(version: u32, entries: &[Vec<u8>], weights: &[Vec<u8>]) -> Vec<u8> {
        [
            b"GGUF".to_vec(),
            version.to_le_bytes().to_vec(),
            (weights.len() as u64).to_le_bytes().to_vec(),
            (entries.len() as u64).to_le_bytes().to_vec(),
            entries.concat(),
            weights.concat(),
        ]
        .concat()
    }

    fn list(kind: u32, count: u64, values: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
    }

    pub(in super::super) fn good() -> Vec<u8> {
        let entries = [
            entry("general.architecture", 8, &string("llama")),
            entry("llama.block_count", 4, &2u32.to_le_bytes()),
            entry("tokenizer.ggml.tokens", 9, &list(8, 2, &[string("a"), string("bc")].concat())),
            entry("tokenizer.ggml.scores", 9, &list(6, 2, &[0; 8])),
            entry("x.f", 12, &1.5f64.to_le_bytes()),
        ];
        let weights = [
            weight("output.weight", &[256, 10], 14, 0),
            weight("blk.1.attn_q.weight", &[64, 2], 8, 2112),
            weight("token_embd.weight", &[256, 10], 12, 2272),
        ];
        file(3, &entries, &weights)
    }

    #[test]
    fn a_header_is_enough() {
        let bytes = good();
        let input = Input::new("t", &bytes);
        assert_eq!(detect(&input).unwrap(), Format::Gguf);
        let weights = header(&input, &mut Unattended).unwrap();
        assert_eq!(weights.tensors[0].shape, [10, 256]);
        assert_eq!(weights.tensors[0].dtype, "Q6_K");
        let metadata: Vec<String> = weights.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(metadata, ["general.architecture=llama", "llama.block_count=2", "x.f=1.5"]);
        let trace = read(&input, None, &mut Unattended).unwrap();
        let names: Vec<_> = trace.tensors().iter().map(|t| (t.name.as_str(), t.bytes, t.layer)).collect();
        let wanted =
            [("token_embd.weight", 1440, None), ("blk.1.attn_q.weight", 136, Some(1)), ("output.weight", 2100, None)];
        assert_eq!(names, wanted);
    }

    #[test]
    fn broken_files_name_the_byte_and_the_cure() {
        let good = good();
        let one = |weight: Vec<u8>| file(3, &[], &[weight]);
        let meta = |kind: u32, value: &[u8]| file(3, &[entry("k", kind, value)], &[weight("a", &[1], 0, 0)]);
        let claimed = |tensors: u64, entries: u64| {
            [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
        };
        for (bytes, wanted) in [
            (b"GGUF\x03\0".to_vec(), "byte 8: the header is cut off before this byte. Give at least"),
            (good[..good.len() - 3].to_vec(), "the header is cut off"),
            (b"GGML\x03\0\0\0".to_vec(), "byte 0: the file does not begin with GGUF"),
            (file(1, &[], &[]), "byte 4: GGUF version 1 is not read. Convert the model again"),
            (file(4, &[], &[]), "GGUF version 4; versions 2 and 3 are read"),
            ([&b"GGUF\0\0\0\x03"[..], &[0; 16]].concat(), "the file is big-endian. Convert"),
            (claimed(1 << 60, 0), "byte 8: 1152921504606846976 weights and 0 entries"),
            (claimed(1, 1 << 60), "more than fit into a header"),
            (claimed(1000, 0), "the header is cut off"),
            (one([&(1u64 << 60).to_le_bytes()[..], b"a"].concat()), "a name of 1152921504606846976 bytes"),
            (one([&60_000u64.to_le_bytes()[..], b"a"].concat()), "the header is cut off"),
            (one(weight("a", &[1; 5], 0, 0)), "a has 5 dimensions"),
            (one(weight("a", &[32], 4, 0)), "a has the unknown type 4"),
            (one(weight("a", &[31], 2, 0)), "a has rows of 31 elements, not a multiple of the 32 of Q4_0"),
            (one(weight("a", &[1 << 32, 1 << 32], 0, 0)), "no model has more than"),
            (one(weight("a", &[1_000_000_000, 1_000_000_000], 0, 0)), "no model has more than"),
            (one(weight("a", &[1], 0, u64::MAX - 1)), "no model has more than"),
            (one(weight("a", &[1], 0, 7)), "a begins at 7, not a multiple of 32"),
            (
                file(3, &[], &[weight("a", &[9], 0, 0), weight("b", &[9], 0, 32)]),
                "the weight at offset 32 overlaps the one before it",
            ),
            (file(3, &[], &[weight("a", &[8], 0, 0), weight("a", &[8], 0, 32)]), "key `a`: the name is given twice"),
            (one(weight("\u{1}", &[1], 0, 0)).iter().map(|b| if *b == 1 { 0xff } else { *b }).collect(), "t, "),
            (meta(13, &[]), "a value of unknown type 13"),
            (meta(9, &list(9, 1, &[])), "a list of lists"),
            (meta(9, &list(99, 1, &[])), "a list of values of unknown type 99"),
            (meta(9, &list(10, 1 << 61, &[])), "a list of 18446744073709551615 bytes"),
            (meta(9, &list(8, 1 << 60, &[])), "t, byte"),
            (meta(8, &(1u64 << 40).to_le_bytes()), "a string of 1099511627776 bytes"),
            (file(3, &[entry("general.alignment", 4, &7u32.to_le_bytes())], &[]), "not a power of two"),
            (file(3, &[], &[]), "the file has no weights"),
        ] {
            let error = read(&Input::new("t", &bytes), None, &mut Unattended).unwrap_err().to_string();
            assert!(error.starts_with("t, ") && error.contains(wanted), "{wanted}: {error}");
        }
    }
}
