//! oracleGeneral, libCacheSim's binary trace: packed little-endian records of 24 bytes.
//!
//! | bytes | type | meaning |
//! | --- | --- | --- |
//! | 0..4 | u32 | time in seconds |
//! | 4..12 | u64 | object id |
//! | 12..16 | u32 | size in bytes |
//! | 16..24 | i64 | index of the next request for the object, counted from 1; -1 = never |

use rustc_hash::FxHashMap;

use crate::error::{Error, Place};
use crate::trace::reuse::{NEVER, previous_use};
use crate::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

const RECORD: usize = 24;
/// No file has as many records: 24 TB.
const MOST_RECORDS: i64 = 1 << 40;

fn id(record: &[u8]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| record[4 + i]))
}

fn size(record: &[u8]) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| record[12 + i]))
}

fn next(record: &[u8]) -> i64 {
    i64::from_le_bytes(std::array::from_fn(|i| record[16 + i]))
}

/// Whether `bytes` begin like this format: whole records whose next-access fields are -1 or point ahead.
///
/// Some published files write the next access as i64::MAX for "never"; that is let through as well. Text is
/// not: eight letters read as a number far beyond any index.
pub fn looks_like(bytes: &[u8]) -> bool {
    let plausible = |(i, record): (usize, &[u8])| {
        let next = next(record);
        next == -1 || next == i64::MAX || (i as i64 + 1..MOST_RECORDS).contains(&next)
    };
    bytes.len() >= RECORD && bytes.chunks_exact(RECORD).take(64).enumerate().all(plausible)
}

/// Reads all records. The next-access field is not trusted: reuse is computed from the ids.
///
/// An object whose size changes keeps its largest size, and the trace says so in a warning.
pub fn read(input: &str, bytes: &[u8]) -> Result<Trace, Error> {
    let rest = bytes.len() % RECORD;
    if rest != 0 {
        return Err(Error::input(
            input,
            Place::Byte((bytes.len() - rest) as u64),
            format!("the last record has {rest} of {RECORD} bytes"),
            format!("The file is truncated: fetch it again, or cut it to {} bytes", bytes.len() - rest),
        ));
    }
    let mut builder = TraceBuilder::new("");
    let mut index: FxHashMap<u64, u32> = FxHashMap::default();
    let mut resized = 0u64;
    for record in bytes.chunks_exact(RECORD) {
        let (id, bytes) = (id(record), u64::from(size(record)));
        let tensor = match index.get(&id) {
            Some(&tensor) => tensor,
            None => {
                let name = id.to_string();
                let tensor = builder.tensor(Tensor { name, bytes, layer: None, stride: 1, kind: Kind::Object })?;
                index.insert(id, tensor);
                tensor
            }
        };
        let known = builder.tensor_mut(tensor);
        if known.bytes != bytes {
            resized += 1;
            known.bytes = known.bytes.max(bytes);
        }
        builder.access(tensor, Op::Request)?;
    }
    if resized > 0 {
        builder.warn(format!(
            "{resized} requests give an object another size than it had before; each object counts with its largest size"
        ));
    }
    builder.finish(input)
}

/// Writes the trace. Ids are the tensor names where all are numbers, else indices in order of first use.
///
/// Sizes are 32 bits wide in this format: a larger tensor is an error.
pub fn write(trace: &Trace) -> Result<Vec<u8>, Error> {
    let names: Option<Vec<u64>> = trace.tensors().iter().map(|t| t.name.parse().ok()).collect();
    let ids = names.unwrap_or_else(|| (0..trace.tensors().len() as u64).collect());
    let mut next = vec![-1i64; trace.accesses().len()];
    for (now, last) in previous_use(trace).into_iter().enumerate() {
        if last != NEVER {
            next[last as usize] = now as i64 + 1;
        }
    }
    let mut out = Vec::with_capacity(trace.accesses().len() * RECORD);
    for (now, &t) in trace.accesses().iter().enumerate() {
        let tensor = &trace.tensors()[t as usize];
        let bytes = u32::try_from(tensor.bytes).map_err(|_| {
            Error::field(
                &tensor.name,
                format!("{} bytes", tensor.bytes),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::format::{Format, detect};
    use crate::trace::testing::trace;

    #[test]
    fn round_trip() {
        let trace = trace(&[10, 20, 30], &[0, 1, 0, 2, 1, 0]);
        let bytes = write(&trace).unwrap();
        assert_eq!(detect("t", &bytes).unwrap(), Format::OracleGeneral);
        assert_eq!(read("t", &bytes).unwrap(), trace);
    }

    #[test]
    fn text_is_not_taken_for_records() {
        let text = "id,size,op\n".repeat(24);
        assert!(!looks_like(text.as_bytes()));
        assert!(detect("t.csv", text.as_bytes()).unwrap_err().to_string().contains("cannot be told"));
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
    fn changing_sizes_are_told() {
        let mut bytes = write(&trace(&[10], &[0, 0])).unwrap();
        bytes[12] = 7;
        let trace = read("t", &bytes).unwrap();
        assert_eq!(trace.tensors()[0].bytes, 10);
        assert_eq!(trace.warnings().len(), 1);
    }
}
