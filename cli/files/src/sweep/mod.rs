//! Sweeps on this machine: what is written of one ([`read`]), a folder of its rows ([`Folder`]), and running it ([`run()`]).

mod folder;
mod part;
mod run;

use std::path::{Path, PathBuf};

use accel_core::error::{Error, Place};
use accel_core::sweep::{Digest, Sweep};
use anyhow::Context as _;

pub use folder::{Folder, keep};
pub use part::{Table, bytes_of, read_part};
pub use run::{Job, Tally, dry_run, rows, run};

/// Reads a sweep from a file of JSON, TOML or YAML, as its name ends; - for JSON on standard input.
pub fn read(path: &Path) -> anyhow::Result<Sweep> {
    let name = crate::pieces::name(path);
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    let text = text.with_context(|| format!("cannot read {name}"))?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let failed = |place, problem: String| {
        let cure = "Write {\"recipe\": {...}, \"axes\": [{\"/seed\": [1, 2]}]}; see docs/sweeps.md";
        Error::input(name.clone(), place, problem, cure)
    };
    Ok(match ending.as_str() {
        "toml" => toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u64 + 1;
            let line = before.matches('\n').count() as u64 + 1;
            failed(Place::LineColumn(line, column), error.message().to_owned())
        })?,
        "yaml" | "yml" => serde_saphyr::from_str(&text).map_err(|error| {
            let place = error.location().map_or(Place::Whole, |at| Place::LineColumn(at.line(), at.column()));
            failed(place, error.to_string())
        })?,
        _ => serde_json::from_str(&text).map_err(|error| {
            let place = Place::LineColumn(error.line() as u64, error.column() as u64);
            let problem = error.to_string();
            failed(place, problem.split(" at line ").next().unwrap_or_default().to_owned())
        })?,
    })
}

/// The folder in which the files lie that recipes name.
#[derive(Debug, Clone, Default)]
pub struct Files {
    folder: PathBuf,
    digests: std::collections::BTreeMap<String, Digest>,
}

impl Files {
    /// Names are from `folder` on.
    pub fn within(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), digests: Default::default() }
    }

    /// Where the file `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The digest of the content of the file `name`, which is read once.
    pub fn digest(&mut self, name: &str) -> Result<Digest, Error> {
        if let Some(digest) = self.digests.get(name) {
            return Ok(*digest);
        }
        let path = self.path(name);
        let content = std::fs::File::open(&path).and_then(|mut file| Digest::read(&mut file));
        let digest = content.map_err(|error| {
            let cure = "Put it where the recipe says, beside the file of the sweep";
            Error::input(path.display().to_string(), Place::Whole, format!("cannot be read: {error}"), cure)
        })?;
        self.digests.insert(name.to_owned(), digest);
        Ok(digest)
    }
}
