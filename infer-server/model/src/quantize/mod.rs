//! `infer-server quantize`: a GGUF of Hugging Face safetensors.
//!
//! A folder with `config.json`, safetensors and a tokenizer becomes one file that this server and llama.cpp read. Every
//! tensor that a llama has must be there with its shape; each is read, brought to f32 and quantised in parts, so that
//! no more than a part of one is in memory. The file appears under its name when it is whole.
//!
//! - [`dtype`]: types of weights; [`recode`]: from one without fast kernels to one that has them, for loading.
//! - `config`, `checkpoint`, `bitsandbytes`, `tokenizer`: what is read.
//! - `recipe`: which tensor becomes which, in what type; `rows`, `gguf`: what is written.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use accel_core::closed;
use accel_core::error::{Error, Place};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempPath};

mod bitsandbytes;
mod checkpoint;
mod config;
pub mod dtype;
mod gguf;
mod recipe;
pub mod recode;
mod rows;
mod tokenizer;

use checkpoint::{Checkpoint, Weight};
use gguf::TensorInfo;
use recipe::Part;

use crate::flags::one_of;

/// The elements of a tensor that are read and quantised at a time: 16 MiB of f32.
const PART_ELEMENTS: usize = 1 << 22;

/// The options of `infer-server quantize`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The folder of a Hugging Face model: config.json, safetensors, tokenizer.
    #[arg(long, value_name = "DIR")]
    pub input: PathBuf,
    /// The GGUF to write.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// The type of the large matrices.
    #[arg(long = "type", value_name = "TYPE", value_parser = one_of::<Type>(), ignore_case = true, default_value_t = Type::Q4K)]
    pub kind: Type,
    /// Replaces a file that is there.
    #[arg(long)]
    pub force: bool,
}

closed! {
    /// The type of the large matrices of a GGUF.
    pub enum Type("type", "type of matrices") {
        /// 4.5 bits per weight, and 6.6 where it matters most (Q4_K_M).
        Q4K = "q4_k" titled "4.5 bits per weight, and 6.6 where it matters most (Q4_K_M)" or "q4_k_m",
        /// 6.6 bits per weight.
        Q6K = "q6_k" titled "6.6 bits per weight",
        /// 8.5 bits per weight.
        Q8_0 = "q8_0" titled "8.5 bits per weight",
        /// Half precision.
        F16 = "f16" titled "Half precision",
        /// Single precision.
        F32 = "f32" titled "Single precision",
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub file_bytes: u64,
    /// The weights of the model.
    pub parameters: u64,
    /// What the user should know of.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} parameters, {} bytes)", self.path.display(), self.parameters, self.file_bytes)
    }
}

/// Makes a GGUF.
///
/// # Errors
/// Where the model cannot be read or is of a kind that a llama GGUF cannot hold, or the file cannot be written: with the
/// place and the cure.
pub fn run(args: &Args) -> Result<Summary, Error> {
    if args.output.exists() && !args.force {
        return Err(refuse(
            &args.output,
            Place::Whole,
            "it is there already",
            "Choose another name, or replace it with --force",
        ));
    }
    let config = config::read(&args.input)?;
    let checkpoint = Checkpoint::open(&args.input)?;
    let mut warnings = Vec::new();
    let parts = recipe::plan(&config, args.kind, &mut warnings);
    let weights = parts.iter().map(|part| find(&checkpoint, part)).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = recipe::unknown(&checkpoint, &config) {
        let problem = "a llama model has no such tensor";
        let cure = "Choose a model of LlamaForCausalLM or MistralForCausalLM; merge an adapter first";
        return Err(refuse(&args.input, Place::Key(name.to_owned()), problem, cure));
    }
    let mut metadata = config::metadata(&config, recipe::file_type(args.kind));
    metadata.extend(tokenizer::read(&args.input, &config, &mut warnings)?);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }

    let tensors: Vec<TensorInfo> = parts.iter().map(|part| part.info.clone()).collect();
    let total = tensors.iter().map(TensorInfo::bytes).sum();
    let parameters = tensors.iter().map(|t| t.shape.iter().product::<usize>() as u64).sum();
    tracing::info!(tensors = tensors.len(), parameters, bytes = total, "writing {}", args.output.display());
    let failed = |error: std::io::Error| cannot_write(&args.output, total, &error);
    let mut file = temporary(&args.output).map_err(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    gguf::write_header(&mut out, &metadata, &tensors).map_err(failed)?;
    let bar = bar(total);
    for (part, weight) in parts.iter().zip(&weights) {
        bar.set_message(part.info.name.clone());
        let mut written = 0;
        weight.read(part.step(PART_ELEMENTS), |mut values| {
            part.check(&values).map_err(|problem| bad_weights(&args.input, part, problem))?;
            part.permute(&mut values);
            let bytes = rows::quantize_rows(&values, part.columns(), part.info.dtype)
                .map_err(|error| Error::Internal(format!("{}: {error}", part.info.name)))?;
            out.write_all(&bytes).map_err(failed)?;
            written += bytes.len() as u64;
            bar.inc(bytes.len() as u64);
            Ok(())
        })?;
        if written != part.info.bytes() {
            return Err(Error::Internal(format!("{}: {written} bytes, not {}", part.info.name, part.info.bytes())));
        }
        out.write_all(&vec![0; gguf::padding(written) as usize]).map_err(failed)?;
    }
    bar.finish_and_clear();
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    let file_bytes = file.as_file().metadata().map_err(failed)?.len();
    // Between the look at the start and now, another may have written it.
    let kept = if args.force { file.persist(&args.output) } else { file.persist_noclobber(&args.output) };
    kept.map_err(|error| failed(error.error))?;
    Ok(Summary { path: args.output.clone(), file_bytes, parameters, warnings })
}

/// The weight that becomes `part`, with the shape that the configuration promises.
fn find<'a>(checkpoint: &'a Checkpoint, part: &Part) -> Result<Weight<'a>, Error> {
    let weight = checkpoint.weight(&part.source)?;
    if weight.shape != part.info.shape {
        let problem = format!("its shape is {:?}; by config.json it is {:?}", weight.shape, part.info.shape);
        let cure = "Take config.json and the weights from the same model";
        return Err(refuse(checkpoint.dir(), Place::Key(part.source.clone()), problem, cure));
    }
    Ok(weight)
}

fn bad_weights(input: &Path, part: &Part, problem: String) -> Error {
    let cure = "Save the model again, or choose another --type";
    refuse(input, Place::Key(part.source.clone()), problem, cure)
}

/// A file beside the output, which goes away unless it is given its name. One that a killed run left is used again.
fn temporary(output: &Path) -> std::io::Result<NamedTempFile> {
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let path = folder.join(format!(".{name}.part"));
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => return Err(std::io::Error::other("another process is writing it")),
    }
    file.set_len(0)?;
    Ok(NamedTempFile::from_parts(file, TempPath::try_from_path(path)?))
}

fn cannot_write(path: &Path, bytes: u64, error: &std::io::Error) -> Error {
    let cure = match error.kind() {
        std::io::ErrorKind::StorageFull => format!("The file takes {bytes} bytes: make room, or choose another folder"),
        std::io::ErrorKind::AlreadyExists => "Choose another name, or replace it with --force".to_owned(),
        _ => "Choose a file in a folder that is there and can be written".to_owned(),
    };
    Error::input(path.display().to_string(), Place::Whole, format!("cannot be written: {error}"), cure)
}

fn bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta:>4} left  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// An error in a file.
fn refuse(path: &Path, place: Place, problem: impl Into<String>, cure: &str) -> Error {
    Error::input(path.display().to_string(), place, problem, cure)
}

fn read_bytes(path: &Path, cure: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| refuse(path, Place::Whole, format!("cannot be read: {error}"), cure))
}

fn read_json<T: DeserializeOwned>(path: &Path, cure: &str) -> Result<T, Error> {
    serde_json::from_slice(&read_bytes(path, cure)?).map_err(|error| {
        let place = Place::LineColumn(error.line() as u64, error.column() as u64);
        refuse(path, place, format!("it is not as expected: {error}"), cure)
    })
}
