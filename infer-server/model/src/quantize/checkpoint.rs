//! A folder of safetensors, read tensor by tensor, and of a tensor row by row.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use accel_core::error::{Error, Place};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::bitsandbytes::{self, Absmax, STATE};
use super::{read_json, refuse};

/// The longest header that is read, in bytes: what the safetensors library allows.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// The tensors of all files, by name.
#[derive(Debug)]
pub(super) struct Checkpoint {
    dir: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// The place of its first byte in the file.
    start: u64,
    bytes: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads the headers of `model.safetensors`, or of the files that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// Where a file is missing or broken, or does not hold what the index says.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let single = dir.join("model.safetensors");
        let index_path = dir.join("model.safetensors.index.json");
        let mut checkpoint = Self { dir: dir.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        if single.is_file() {
            checkpoint.add(single)?;
            return Ok(checkpoint);
        }
        if !index_path.is_file() {
            let pickled = dir.join("pytorch_model.bin").is_file() || dir.join("pytorch_model.bin.index.json").is_file();
            let problem = "there is no model.safetensors and no model.safetensors.index.json";
            let cure = if pickled {
                "Pickled weights (pytorch_model.bin) can run code and are not read: save them with \
                 `model.save_pretrained(folder, safe_serialization=True)`"
            } else {
                "Name the folder of a Hugging Face model with --input"
            };
            return Err(refuse(dir, Place::Whole, problem, cure));
        }
        let index: Index = read_json(&index_path, "Download it again")?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = dir.join(name);
            if name.contains(['/', '\\']) || !path.is_file() {
                let problem = format!("the file {name} is missing");
                return Err(refuse(&index_path, Place::Key("weight_map".into()), problem, "Download all files again"));
            }
            checkpoint.add(path)?;
        }
        if let Some((tensor, file)) = index.weight_map.iter().find(|(t, _)| !checkpoint.tensors.contains_key(*t)) {
            let problem = format!("the tensor is not in {file}");
            return Err(refuse(&index_path, Place::Key(tensor.clone()), problem, "Download all files again"));
        }
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), Error> {
        let broken = |problem: String| refuse(&path, Place::Byte(0), problem, "Download it again");
        let failed = |error: std::io::Error| broken(format!("cannot be read: {error}"));
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut header_bytes = [0; 8];
        file.read_exact(&mut header_bytes).map_err(failed)?;
        let header_bytes = u64::from_le_bytes(header_bytes);
        if header_bytes > MOST_HEADER_BYTES.min(length.saturating_sub(8)) {
            return Err(broken(format!("a header of {header_bytes} bytes in a file of {length} is no safetensors")));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| broken(format!("its header is no safetensors: {e}")))?;
        let data_start = 8 + header_bytes;
        let end = data_start + metadata.data_len() as u64;
        if end != length {
            return Err(broken(format!("the file has {length} bytes where its header promises {end}")));
        }
        let number = self.files.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let entry = Entry {
                file: number,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data_start + start as u64,
                bytes: end - start,
            };
            self.tensors.insert(name, entry);
        }
        self.files.push(path);
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names of all tensors, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Finds a weight.
    ///
    /// # Errors
    /// Where it is missing, or kept in a way that is not read.
    pub(super) fn weight(&self, name: &str) -> Result<Weight<'_>, Error> {
        let entry = self.entry(name)?;
        let state = ["nf4", "fp4"].map(|kind| format!("{name}{STATE}{kind}"));
        if let Some(state) = state.iter().find(|key| self.tensors.contains_key(*key)) {
            let state: bitsandbytes::State = serde_json::from_slice(&self.bytes(state)?)
                .map_err(|error| self.broken(state, format!("its JSON is broken: {error}")))?;
            let shape = state.shape.clone();
            return Ok(Weight { checkpoint: self, name: name.to_owned(), shape, source: Source::FourBit(state) });
        }
        if !matches!(entry.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            if self.tensors.contains_key(&name.replace(".weight", ".SCB")) {
                let cure = "Quantise the model that it was made from, or save it in 4 bits (NF4)";
                return Err(refuse(&self.dir, Place::Key(name.to_owned()), super::config::eight_bit(), cure));
            }
            let problem = format!("its type is {}", entry.dtype);
            let cure = "Floats (F64, F32, F16, BF16) and bitsandbytes NF4 and FP4 are read";
            return Err(refuse(&self.dir, Place::Key(name.to_owned()), problem, cure));
        }
        let shape = entry.shape.clone();
        Ok(Weight { checkpoint: self, name: name.to_owned(), shape, source: Source::Float(entry) })
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        self.tensors.get(name).ok_or_else(|| {
            let stem = name.trim_end_matches(".weight");
            let problem = if self.tensors.contains_key(&format!("{stem}.qweight")) {
                "the weights are quantised by GPTQ or AWQ".to_owned()
            } else {
                "the tensor is missing".to_owned()
            };
            let cure = "Name the folder of a whole Hugging Face model: floats and bitsandbytes NF4 are read";
            refuse(&self.dir, Place::Key(name.to_owned()), problem, cure)
        })
    }

    fn broken(&self, name: &str, problem: String) -> Error {
        refuse(&self.dir, Place::Key(name.to_owned()), problem, "Download it again")
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Error> {
        let entry = self.entry(name)?;
        self.read(name, entry, 0, entry.bytes)
    }

    /// Floats that stand beside a weight.
    fn floats(&self, name: &str) -> Result<Vec<f32>, Error> {
        let entry = self.entry(name)?;
        if entry.dtype != Dtype::F32 {
            return Err(self.broken(name, format!("its type is {}, not F32", entry.dtype)));
        }
        Ok(to_f32(&self.bytes(name)?, Dtype::F32))
    }

    fn read(&self, name: &str, entry: &Entry, from: usize, bytes: usize) -> Result<Vec<u8>, Error> {
        let path = &self.files[entry.file];
        let start = entry.start + from as u64;
        let mut buffer = vec![0; bytes];
        File::open(path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(&mut buffer)
            })
            .map_err(|error| {
                let problem = format!("cannot read {bytes} bytes of {name}: {error}");
                refuse(path, Place::Byte(start), problem, "Download it again")
            })?;
        Ok(buffer)
    }
}

/// A weight that can be read in parts.
#[derive(Debug)]
pub(super) struct Weight<'a> {
    checkpoint: &'a Checkpoint,
    name: String,
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    source: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    Float(&'a Entry),
    FourBit(bitsandbytes::State),
}

impl Weight<'_> {
    /// Calls `each` with the elements as f32, in order, `most` or fewer at a time.
    ///
    /// # Errors
    /// Where the file cannot be read, a weight in 4 bits does not fit together, or `each` fails.
    pub(super) fn read(&self, most: usize, mut each: impl FnMut(Vec<f32>) -> Result<(), Error>) -> Result<(), Error> {
        let elements: usize = self.shape.iter().product();
        let packed = match &self.source {
            Source::FourBit(state) => Some(self.four_bit(state)?),
            Source::Float(_) => None,
        };
        for first in (0..elements).step_by(most.max(1)) {
            let count = most.min(elements - first);
            each(match (&self.source, &packed) {
                (Source::Float(entry), _) => {
                    let size = entry.bytes / elements;
                    let bytes = self.checkpoint.read(&self.name, entry, first * size, count * size)?;
                    to_f32(&bytes, entry.dtype)
                }
                (Source::FourBit(_), Some(weight)) => {
                    let mut values = vec![0.0; count];
                    weight.dequantize(first, &mut values);
                    values
                }
                (Source::FourBit(_), None) => return Err(Error::Internal(format!("{} was not unpacked", self.name))),
            })?;
        }
        Ok(())
    }

    fn four_bit(&self, state: &bitsandbytes::State) -> Result<bitsandbytes::Weight, Error> {
        let beside = |part: &str| format!("{}.{part}", self.name);
        let checkpoint = self.checkpoint;
        let absmax = if checkpoint.tensors.contains_key(&beside("nested_absmax")) {
            Absmax::Nested {
                indices: checkpoint.bytes(&beside("absmax"))?,
                code: checkpoint.floats(&beside("nested_quant_map"))?,
                absmax: checkpoint.floats(&beside("nested_absmax"))?,
            }
        } else {
            Absmax::Plain(checkpoint.floats(&beside("absmax"))?)
        };
        let code = checkpoint.floats(&beside("quant_map"))?;
        bitsandbytes::Weight::new(state, checkpoint.bytes(&self.name)?, code, absmax)
            .map_err(|problem| checkpoint.broken(&self.name, problem))
    }
}

/// Little-endian floats of type `dtype`; none where it is no float.
fn to_f32(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn four_bit_weights_are_what_bitsandbytes_makes_of_them_bit_for_bit() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/checkpoints/four_bit");
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let mut seen = BTreeSet::new();
        for (case, view) in expected.tensors() {
            let weight = checkpoint.weight(&format!("{case}.weight")).unwrap();
            assert_eq!(weight.shape, view.shape(), "{case}");
            let expected: Vec<u32> = to_f32(view.data(), view.dtype()).iter().map(|v| v.to_bits()).collect();
            // At once, and in parts that end within blocks.
            for most in [usize::MAX, 100] {
                let mut values = Vec::new();
                weight
                    .read(most, |part| {
                        values.extend(part.iter().map(|v| v.to_bits()));
                        Ok(())
                    })
                    .unwrap();
                assert!(values == expected, "{case}");
            }
            let parts: Vec<&str> = case.split('.').take(3).collect();
            seen.insert(parts.join("."));
        }
        for kind in ["nf4", "fp4"] {
            for nested in ["nested", "plain"] {
                for dtype in ["float16", "bfloat16", "float32"] {
                    assert!(seen.contains(&format!("{kind}.{nested}.{dtype}")), "{kind} {nested} {dtype}");
                }
            }
        }
    }
}
