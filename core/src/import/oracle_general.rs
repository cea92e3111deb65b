//! oracleGeneral, libCacheSim's binary trace: packed little-endian records of 24 bytes.
//!
//! | bytes | type | meaning |
//! | --- | --- | --- |
//! | 0..4 | u32 | time in seconds |
//! | 4..12 | u64 | object id |
//! | 12..16 | u32 | size in bytes |
//! | 16..24 | i64 | index of the next request for the object, counted from 1; -1 = never |

use std::collections::HashMap;
use std::io::Read as _;

use super::cache_csv::{RENUMBERED, lost_in_requests};
use super::input::Input;
use super::occurring;
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::trace::reuse::{NEVER, previous_use};
use crate::trace::{Chunk, Kind, Resize, Summary, Tensor, Trace, TraceBuilder};

/// Bytes of a record.
pub const RECORD: usize = 24;
/// Bytes read at a time: whole records.
const PIECE: usize = 4096 * RECORD;
/// Records looked up at a time: enough to keep a processor's dozen outstanding reads busy, few enough for the stack.
const BLOCK: usize = 64;
/// Slots from which on the table of objects only doubles as it grows: 64 MB.
const MOST_QUADRUPLED: usize = 1 << 22;
/// No file has as many records: 24 TB.
const MOST_RECORDS: i64 = 1 << 40;

/// A request as a record; the next access is not known, and nobody reads it.
pub fn record(time: u32, id: u64, bytes: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&time.to_le_bytes());
    record[4..12].copy_from_slice(&id.to_le_bytes());
    record[12..16].copy_from_slice(&bytes.to_le_bytes());
    record
}

fn time(r: &[u8; RECORD]) -> u32 {
    u32::from_le_bytes([r[0], r[1], r[2], r[3]])
}

fn id(r: &[u8; RECORD]) -> u64 {
    u64::from_le_bytes([r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11]])
}

fn size(r: &[u8; RECORD]) -> u32 {
    u32::from_le_bytes([r[12], r[13], r[14], r[15]])
}

fn next(r: &[u8; RECORD]) -> i64 {
    i64::from_le_bytes([r[16], r[17], r[18], r[19], r[20], r[21], r[22], r[23]])
}

/// Whether `bytes` begin like this format: whole records whose next-access fields are -1 or point ahead.
///
/// Some published files write the next access as i64::MAX for "never"; that is accepted as well. Text is
/// not: eight letters read as a number far beyond any index.
pub fn matches(bytes: &[u8]) -> bool {
    let plausible = |(i, record): (usize, &[u8; RECORD])| {
        let next = next(record);
        // Bytes that are all ones are no object: they are what erased memory holds.
        let erased = id(record) == u64::MAX && size(record) == u32::MAX;
        !erased && (next == -1 || next == i64::MAX || (i as i64 + 1..MOST_RECORDS).contains(&next))
    };
    bytes.len() >= RECORD && bytes.as_chunks().0.iter().take(64).enumerate().all(plausible)
}

/// What is known of the object of an id.
#[derive(Debug, Clone, Copy)]
struct Slot {
    id: u64,
    /// Its number; [`FREE`] where there is no object.
    number: u32,
    bytes: u32,
}

const FREE: u32 = u32::MAX;

const NOTHING: Slot = Slot { id: 0, number: FREE, bytes: 0 };

/// Objects by id: open addressing with linear probing, one place in memory to look at for most records.
///
/// The map of the standard library looks at two, far apart once there are millions of objects, and takes a fifth
/// longer to load ten million records (`cargo bench --bench import`).
#[derive(Debug)]
struct Ids {
    slots: Vec<Slot>,
    /// Bits that a hash is too long.
    shift: u32,
}

impl Default for Ids {
    fn default() -> Self {
        Self::with_bits(10)
    }
}

impl Ids {
    /// Room for 2^`bits` slots.
    fn with_bits(bits: u32) -> Self {
        Self { slots: vec![NOTHING; 1 << bits], shift: u64::BITS - bits }
    }

    /// Where the search for `id` starts: the high bits of a product with 2^64 / the golden ratio (Knuth, The Art of
    /// Computer Programming 3, 6.4). Folded before, or ids that are multiples of another constant lie in clusters.
    fn start(&self, id: u64) -> usize {
        ((id ^ (id >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The place of `id`, or the free one that it would take: there always is one.
    fn find(&self, id: u64) -> usize {
        let mut at = self.start(id);
        while self.slots[at].number != FREE && self.slots[at].id != id {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    fn get(&self, id: u64) -> Option<u32> {
        Some(self.slots[self.find(id)].number).filter(|number| *number != FREE)
    }

    fn slot(&mut self, id: u64) -> &mut Slot {
        let at = self.find(id);
        &mut self.slots[at]
    }

    /// Keeps a quarter of the slots free once there are `objects`.
    fn reserve(&mut self, objects: usize) {
        if objects <= self.slots.len() / 4 * 3 {
            return;
        }
        // A table of fewer objects grows fourfold: it moves less on the way to millions.
        let by = if self.slots.len() < MOST_QUADRUPLED { 2 } else { 1 };
        let bits = u64::BITS - self.shift + by;
        let old = std::mem::replace(self, Self::with_bits(bits));
        for slot in old.slots.into_iter().filter(|slot| slot.number != FREE) {
            *self.slot(slot.id) = slot;
        }
    }
}

/// The objects of a trace: a number for each, in order of first use, and its size then.
///
/// The records come in pieces, so that a trace need not be held: once to [`learn`](Self::learn) the objects, once more
/// for the accesses, from [`again`](Self::again).
#[derive(Debug, Default)]
pub struct Objects {
    index: Ids,
    ids: Vec<u64>,
    sizes: Vec<u64>,
    /// The largest size of each object whose size has changed.
    largest: HashMap<u32, u32>,
    records: u64,
    requested_bytes: u64,
}

/// The records of a piece that holds them whole; an error says how many bytes are too many, and where.
fn records<'a>(input: &str, before: u64, bytes: &'a [u8]) -> Result<&'a [[u8; RECORD]], Error> {
    let (records, rest) = bytes.as_chunks();
    if rest.is_empty() {
        return Ok(records);
    }
    let at = (before + records.len() as u64) * RECORD as u64;
    Err(Error::input(
        input,
        Place::Byte(at),
        format!("the last record has {} of {RECORD} bytes", rest.len()),
        format!("The file is truncated: fetch it again, or cut it to {at} bytes"),
    ))
}

impl Objects {
    /// The number of an object with the size that record `at` gives it; a new number for an object not seen before.
    fn number(&mut self, id: u64, bytes: u32, at: u64, resizes: &mut Vec<Resize>) -> u32 {
        let slot = self.index.slot(id);
        if slot.number == FREE {
            *slot = Slot { id, number: self.ids.len() as u32, bytes };
            self.ids.push(id);
            self.sizes.push(bytes.into());
        } else if slot.bytes != bytes {
            let largest = self.largest.entry(slot.number).or_insert(slot.bytes);
            *largest = bytes.max(*largest);
            slot.bytes = bytes;
            resizes.push(Resize { at, bytes: bytes.into() });
        }
        slot.number
    }

    /// Appends the numbers of the objects of a piece, which holds whole records, to `numbers`, and where their sizes
    /// change to `resizes`.
    ///
    /// A block at a time: all its objects are looked up before any is added, so that the processor waits for several
    /// of these reads, far apart in memory, at once.
    fn numbers(
        &mut self,
        input: &str,
        bytes: &[u8],
        numbers: &mut Vec<u32>,
        resizes: &mut Vec<Resize>,
    ) -> Result<(), Error> {
        let mut block = [(NOTHING, 0, 0); BLOCK];
        for records in records(input, self.records, bytes)?.chunks(BLOCK) {
            if self.ids.len() > u32::MAX as usize - BLOCK {
                return Err(Error::TooLarge {
                    problem: "the trace has more than 2^32 - 1 objects".into(),
                    cure: "Split the trace".into(),
                });
            }
            self.index.reserve(self.ids.len() + BLOCK);
            let block = &mut block[..records.len()];
            for (entry, record) in block.iter_mut().zip(records) {
                let id = id(record);
                *entry = (self.index.slots[self.index.start(id)], id, size(record));
            }
            let changes = resizes.len();
            for (at, &(slot, id, bytes)) in (self.records..).zip(&*block) {
                self.requested_bytes += u64::from(bytes);
                // What was looked up holds until a size changes within the block.
                let known = slot.id == id && slot.bytes == bytes && slot.number != FREE;
                let known = known && resizes.len() == changes;
                numbers.push(if known { slot.number } else { self.number(id, bytes, at, resizes) });
            }
            self.records += block.len() as u64;
        }
        Ok(())
    }

    /// Learns the objects of the next piece of the trace, which holds whole records.
    pub fn learn(&mut self, input: &str, bytes: &[u8]) -> Result<(), Error> {
        self.numbers(input, bytes, &mut Vec::with_capacity(bytes.len() / RECORD), &mut Vec::new())
    }

    /// Reads the trace once more.
    pub fn again(&self) -> Again<'_> {
        Again { objects: self, sizes: self.sizes.clone(), done: 0, accesses: Vec::new(), resizes: Vec::new() }
    }

    /// What each object is known by.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The largest size of each object in bytes, where any changes.
    pub fn largest_sizes(&self) -> Option<Vec<u64>> {
        (!self.largest.is_empty()).then(|| {
            let mut sizes = self.sizes.clone();
            self.largest.iter().for_each(|(number, largest)| sizes[*number as usize] = u64::from(*largest));
            sizes
        })
    }

    /// Size of each object in bytes at its first use.
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// Accesses, objects and bytes; fails where there are none.
    pub fn summary(&self, input: &str) -> Result<Summary, Error> {
        if self.records == 0 {
            let cure = "Give at least one record";
            return Err(Error::input(input, Place::Whole, "the trace has no accesses", cure));
        }
        let grown = |(number, largest): (&u32, &u32)| u64::from(*largest) - self.sizes[*number as usize];
        Ok(Summary {
            accesses: self.records,
            tensors: self.sizes.len() as u64,
            // Sizes are 32 bits wide: no file is long enough to overflow.
            requested_bytes: self.requested_bytes,
            unique_bytes: self.sizes.iter().sum::<u64>() + self.largest.iter().map(grown).sum::<u64>(),
        })
    }
}

/// The accesses of a trace whose objects are known, piece by piece.
#[derive(Debug)]
pub struct Again<'a> {
    objects: &'a Objects,
    /// The size of each object at its last use.
    sizes: Vec<u64>,
    done: usize,
    accesses: Vec<u32>,
    resizes: Vec<Resize>,
}

impl Again<'_> {
    /// The accesses of the next piece of the trace, which holds whole records.
    pub fn accesses(&mut self, input: &str, bytes: &[u8]) -> Result<Chunk<'_>, Error> {
        self.accesses.clear();
        self.resizes.clear();
        let start = self.done;
        for record in records(input, start as u64, bytes)? {
            let number = self.objects.index.get(id(record)).ok_or_else(|| {
                Error::input(input, Place::Whole, "the file changed while it was read", "Run again once it rests")
            })?;
            let (before, now) = (&mut self.sizes[number as usize], u64::from(size(record)));
            if *before != now {
                *before = now;
                self.resizes.push(Resize { at: self.done as u64, bytes: now });
            }
            self.accesses.push(number);
            self.done += 1;
        }
        Ok(Chunk { start, accesses: &self.accesses, resizes: &self.resizes, deadlines: &[] })
    }
}

/// A trace under construction: its records come in pieces. The next-access field is not trusted: reuse is computed from
/// the ids.
#[derive(Debug)]
pub struct Reading {
    objects: Objects,
    builder: TraceBuilder,
    numbers: Vec<u32>,
    resizes: Vec<Resize>,
}

impl Default for Reading {
    fn default() -> Self {
        let (objects, builder) = (Objects::default(), TraceBuilder::new(""));
        Self { objects, builder, numbers: Vec::new(), resizes: Vec::new() }
    }
}

impl Reading {
    /// Appends the records of a piece, which holds whole records; `input` is named in the errors.
    pub fn push(&mut self, input: &str, piece: &[u8]) -> Result<(), Error> {
        let Self { objects, builder, numbers, resizes } = self;
        numbers.clear();
        resizes.clear();
        objects.numbers(input, piece, numbers, resizes)?;
        // The last record of a piece shows whether times are more than a count.
        if piece.as_chunks().0.last().is_some_and(|record| u64::from(time(record)) != objects.records - 1) {
            builder.timed();
        }
        for (id, bytes) in objects.ids.iter().zip(&objects.sizes).skip(builder.tensors()) {
            let name = id.to_string();
            builder.tensor(Tensor { name, bytes: *bytes, layer: None, stride: 1, kind: Kind::Object })?;
        }
        builder.requests(numbers, resizes)
    }

    /// The trace.
    pub fn finish(self, input: &str) -> Result<Trace, Error> {
        // What only serves the reading goes before the trace is checked.
        drop(self.objects);
        self.builder.finish(input)
    }
}

/// Reads all records.
pub fn read(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Trace, Error> {
    let mut reading = Reading::default();
    let mut reader = input.reader(progress);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        piece.clear();
        (&mut reader).take(PIECE as u64).read_to_end(&mut piece).map_err(|e| input.error(&e))?;
        if piece.is_empty() {
            return reading.finish(input.name);
        }
        reading.push(input.name, &piece)?;
    }
}

/// The tensor names as ids, where all of them are numbers as they are written here (`007` is not).
fn ids(trace: &Trace) -> Option<Vec<u64>> {
    let id = |name: &str| name.parse::<u64>().ok().filter(|id| id.to_string() == name);
    trace.tensors().iter().map(|t| id(&t.name)).collect()
}

/// Writes the trace. Ids are the tensor names where all are numbers, else indices in order of first use.
///
/// Sizes are 32 bits wide in this format: a larger tensor is an error.
pub fn write(trace: &Trace) -> Result<Vec<u8>, Error> {
    let ids = ids(trace).unwrap_or_else(|| (0..trace.tensors().len() as u64).collect());
    let mut next = vec![-1i64; trace.accesses().len()];
    for (now, last) in previous_use(trace).into_iter().enumerate() {
        if last != NEVER {
            next[last as usize] = now as i64 + 1;
        }
    }
    let mut out = Vec::with_capacity(trace.accesses().len() * RECORD);
    for (now, (t, bytes)) in trace.sized().enumerate() {
        let bytes = u32::try_from(bytes).map_err(|_| {
            Error::field(
                &trace.tensors()[t as usize].name,
                format!("{bytes} bytes"),
                "oracleGeneral holds sizes below 2^32 only",
                "Use smaller tiles (tile_bytes), or another format",
            )
        })?;
        out.extend((now as u32).to_le_bytes());
        out.extend(ids[t as usize].to_le_bytes());
        out.extend(bytes.to_le_bytes());
        out.extend(next[now].to_le_bytes());
    }
    Ok(out)
}

/// What oracleGeneral leaves out of `trace`.
pub(super) fn lost(trace: &Trace) -> Vec<&'static str> {
    let mut lost = lost_in_requests(trace);
    lost.extend(occurring([
        (ids(trace).is_none(), "the names: objects are numbered"),
        (trace.was_timed(), RENUMBERED),
    ]));
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Format, detect};
    use crate::progress::Unattended;
    use crate::trace::testing::trace;

    fn read(name: &str, bytes: &[u8]) -> Result<Trace, Error> {
        super::read(&Input::new(name, bytes), &mut Unattended)
    }

    #[test]
    fn round_trip() {
        let trace = trace(&[10, 20, 30], &[0, 1, 0, 2, 1, 0]);
        let bytes = write(&trace).unwrap();
        assert_eq!(detect(&Input::new("t", &bytes)).unwrap(), Format::OracleGeneral);
        assert_eq!(read("t", &bytes).unwrap(), trace);
    }

    #[test]
    fn text_is_not_taken_for_records() {
        let text = "name,width,op\n".repeat(24);
        assert!(!matches(text.as_bytes()));
        assert!(!matches(&[0xff; 2400]));
        assert!(detect(&Input::new("t.csv", text.as_bytes())).unwrap_err().to_string().contains("cannot be detected"));
    }

    #[test]
    fn truncated_names_the_byte() {
        let trace = trace(&[10], &[0, 0]);
        let bytes = write(&trace).unwrap();
        let error = read("cut.bin", &bytes[..40]).unwrap_err().to_string();
        assert!(error.starts_with("cut.bin, byte 24: the last record has 16 of 24 bytes"), "{error}");
        assert!(read("cut.bin", &[]).unwrap_err().to_string().contains("no accesses"));
    }

    #[test]
    fn sizes_belong_to_records() {
        let mut bytes = write(&trace(&[10, 5], &[0, 0, 1, 0, 1])).unwrap();
        bytes[12] = 7;
        bytes[3 * RECORD + 12] = 12;
        let trace = read("t", &bytes).unwrap();
        let sized = [(0, 7), (0, 10), (1, 5), (0, 12), (1, 5)];
        assert_eq!(trace.sized().collect::<Vec<_>>(), sized);
        assert_eq!(write(&trace).unwrap(), bytes);
        // In pieces, without being held.
        let mut objects = Objects::default();
        let pieces = || bytes.chunks(2 * RECORD);
        pieces().for_each(|piece| objects.learn("t", piece).unwrap());
        assert_eq!(objects.sizes(), [7, 5]);
        assert_eq!(objects.summary("t").unwrap(), trace.summary());
        let mut again = objects.again();
        for piece in pieces() {
            let Chunk { start, accesses, resizes, .. } = again.accesses("t", piece).unwrap();
            let held = trace.chunk(start, start + accesses.len());
            assert_eq!((accesses, resizes), (held.accesses, held.resizes));
        }
    }
}
