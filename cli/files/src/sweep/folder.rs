//! A folder of parts.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use accel_core::error::{Error, Place};
use accel_core::sweep::table::Values;
use accel_core::sweep::{Cells, Group, Key, Row, table};
use tempfile::NamedTempFile;

use super::part::{self, Table};

/// The folder that keeps the rows of one sweep, as parts. A part is written under another name and renamed: it is whole,
/// or it is not there. Its name says which rows it has, so that a part which is written twice is there once.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    parts: Vec<PathBuf>,
    done: BTreeSet<Key>,
    /// The keys of the whole sweep, in the order of its cells.
    keys: Vec<Key>,
}

/// What a part is called: `part-KEY.parquet`.
const BEGINS: &str = "part-";
const ENDS: &str = ".parquet";
/// What a part is called while it is written. Readers of whole folders pass by names that begin with a dot.
const UNFINISHED: &str = ".part-";

fn cannot(path: &Path, what: &str, error: impl std::fmt::Display) -> Error {
    let cure = "Make room or another folder, and run the same command again: what is written stays";
    Error::input(path.display().to_string(), Place::Whole, format!("cannot be {what}: {error}"), cure)
}

impl Folder {
    /// Opens the folder at `path`, which is made where there is none, for the sweep of `cells` and its `groups`. Fails if it
    /// has rows of another sweep, or a part that cannot be read.
    pub fn open(path: &Path, cells: &Cells, groups: &[Group]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).map_err(|error| cannot(path, "made", error))?;
        let mut parts = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| cannot(path, "read", error))? {
            let entry = entry.map_err(|error| cannot(path, "read", error))?.path();
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(BEGINS) && name.ends_with(ENDS) {
                parts.push(entry);
            }
        }
        parts.sort();
        let keys: Vec<Key> = groups.iter().flat_map(Group::keys).collect();
        let known: BTreeSet<Key> = keys.iter().copied().collect();
        let names = table::columns(cells, &[])?.into_iter().map(|column| column.name);
        let names: Vec<String> = names.collect();
        let mut done = BTreeSet::new();
        for part in &parts {
            // The columns' names alone would not show that a part is cut off.
            let head = part::read_part(part, Some(&["key"]))?;
            let found = head.keys()?;
            let foreign = found.iter().filter(|key| !known.contains(key)).count();
            let other = |problem: String| {
                let cure = "Name another folder, or give the sweep that wrote this one, with more values or policies if you like";
                Error::input(part.display().to_string(), Place::Whole, problem, cure)
            };
            if foreign > 0 {
                return Err(other(format!("{foreign} of its {} rows are of another sweep", found.len())).into());
            }
            if part::names(part)? != names {
                return Err(other("its rows have other columns than those of this sweep".into()).into());
            }
            done.extend(found);
        }
        Ok(Self { path: path.to_owned(), parts, done, keys })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the row of `key` is there.
    pub fn has(&self, key: Key) -> bool {
        self.done.contains(&key)
    }

    /// How many rows there are, and how many the whole sweep has.
    pub fn progress(&self) -> (usize, usize) {
        (self.done.len(), self.keys.len())
    }

    /// Writes a part of these rows.
    pub fn write(&self, cells: &Cells, rows: &[Row]) -> anyhow::Result<PathBuf> {
        self.put(Key::of_all(rows.iter().map(|row| row.key)), &part::bytes_of(cells, rows)?)
    }

    fn put(&self, key: Key, content: &[u8]) -> anyhow::Result<PathBuf> {
        put(&self.path, key, content)
    }

    /// All rows, each key once, in the order of the cells.
    pub fn table(&self) -> anyhow::Result<Table> {
        let mut table = Table::default();
        for part in &self.parts {
            table.append(part::read_part(part, None)?)?;
        }
        let keys = table.keys()?;
        let mut at: std::collections::BTreeMap<Key, usize> = std::collections::BTreeMap::new();
        (0..).zip(keys).for_each(|(row, key)| {
            at.entry(key).or_insert(row);
        });
        let wanted: Vec<usize> = self.keys.iter().filter_map(|key| at.get(key).copied()).collect();
        Ok(table.rows(&wanted))
    }

    /// How many rows could not be computed.
    pub fn failed(&self) -> anyhow::Result<u64> {
        let mut failed = BTreeSet::new();
        for part in &self.parts {
            let table = part::read_part(part, Some(&["key", "error"]))?;
            let Some(Values::Text(errors)) = table.column("error") else { continue };
            failed
                .extend(table.keys()?.into_iter().zip(errors).filter(|(_, error)| error.is_some()).map(|(key, _)| key));
        }
        Ok(failed.len() as u64)
    }

    /// Reads the folder anew, after rows were written.
    pub fn again(&self, cells: &Cells, groups: &[Group]) -> anyhow::Result<Self> {
        Self::open(&self.path, cells, groups)
    }

    /// Writes all rows into one part and takes the others away, also what was left unfinished.
    pub fn compact(&self) -> anyhow::Result<PathBuf> {
        let table = self.table()?;
        let whole = self.put(Key::of_all(table.keys()?), &table.to_parquet()?)?;
        for part in self.parts.iter().filter(|part| **part != whole) {
            std::fs::remove_file(part).map_err(|error| cannot(part, "removed", error))?;
        }
        for entry in std::fs::read_dir(&self.path).map_err(|error| cannot(&self.path, "read", error))?.flatten() {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.starts_with(UNFINISHED) && name.ends_with(".tmp") {
                // Someone else may have been quicker.
                drop(std::fs::remove_file(entry.path()));
            }
        }
        Ok(whole)
    }
}

/// Keeps parts that were made elsewhere, the contents of Parquet files, as one part in the folder `path`: how many rows it
/// has.
pub fn keep(path: &Path, contents: &[Vec<u8>]) -> anyhow::Result<usize> {
    let place = path.join("a part that a worker sent");
    let mut table = Table::default();
    for content in contents {
        table.append(part::read(&place, bytes::Bytes::copy_from_slice(content), None)?)?;
    }
    if !table.is_empty() {
        put(path, Key::of_all(table.keys()?), &table.to_parquet()?)?;
    }
    Ok(table.len())
}

fn put(folder: &Path, key: Key, content: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{BEGINS}{key}{ENDS}"));
    let failed = |error: std::io::Error| cannot(&path, "written", error);
    // It goes when it is dropped: nothing stays of what could not be finished.
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).suffix(".tmp").tempfile_in(folder).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    readable(&file).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    Ok(path)
}

/// A temporary file is its owner's alone; a part is read by others too, as far as the system lets them.
#[cfg(unix)]
fn readable(file: &NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &NamedTempFile) -> std::io::Result<()> {
    Ok(())
}
