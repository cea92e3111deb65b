//! Jobs on disk, by option: results outlive the server, and what it was doing when it stopped is told.
//!
//! The file holds what memory holds, no more: each time a job begins, ends or is forgotten, one transaction brings the two
//! together. Transactions are whole or absent, whenever the process dies.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::locked;
use super::view::{JobStatus, JobView};
use crate::panics::caught;

/// Format of the file: counts up when jobs are written otherwise.
const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Jobs without their results, as JSON, by their names.
const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");
/// Results of jobs, as JSON, by the names of the jobs.
const RESULTS: TableDefinition<'_, &str, &str> = TableDefinition::new("results");
/// What a database begins with (redb's `docs/design.md`, "Database header").
const MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// How long a file is left alone that could not be written: a disk that is full seldom has room at once.
const REOPEN_AFTER: Duration = Duration::from_secs(30);

/// Why a file of jobs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep jobs in {}: {problem}. {cure}", path.display())]
pub struct JobsFileError {
    path: PathBuf,
    problem: String,
    cure: &'static str,
}

/// A job as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) view: JobView,
    /// When it ended, in milliseconds since 1970.
    pub(super) ended_ms: Option<u64>,
    #[serde(skip)]
    pub(super) result: Option<Arc<RawValue>>,
}

/// The file; clones share it.
#[derive(Debug, Clone)]
pub struct JobsFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    store: Mutex<Store>,
}

#[derive(Debug)]
enum Store {
    Open {
        database: Database,
        /// What is in it.
        written: HashMap<String, JobStatus>,
    },
    /// After a fault of the disk: redb gives nothing more after one.
    Closed(Instant),
}

/// What to do to make the file what memory is.
#[derive(Default)]
struct Change {
    put: Vec<Kept>,
    forget: Vec<String>,
}

impl JobsFile {
    /// Opens or makes the file. A damaged one is set aside, as `NAME.damaged`, and told of.
    ///
    /// # Errors
    ///
    /// Where it is another kind of file, another server uses it, or it cannot be read or made.
    pub fn open(path: &Path) -> Result<Self, JobsFileError> {
        let database = match open(path) {
            Err(error) if error.cure == DAMAGED && begins_as_database(path) => {
                let mut aside = path.as_os_str().to_owned();
                aside.push(".damaged");
                std::fs::rename(path, &aside).map_err(|e| JobsFileError { problem: e.to_string(), ..error })?;
                tracing::error!(
                    file = %path.display(),
                    aside = %PathBuf::from(aside).display(),
                    "the file of jobs was damaged: it is set aside, and its jobs are lost"
                );
                open(path)?
            }
            database => database?,
        };
        let store = Mutex::new(Store::Open { database, written: HashMap::new() });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), store })))
    }

    /// The jobs in it. What cannot be read is told and left out; the next [`JobsFile::save`] takes it out of the file.
    pub(super) fn read(&self) -> Vec<Kept> {
        let mut store = locked(&self.0.store);
        let Store::Open { database, written } = &mut *store else { return Vec::new() };
        match told(|| read(database)) {
            Ok((jobs, names)) => {
                *written = names;
                jobs
            }
            Err(error) => {
                tracing::warn!(%error, file = %self.0.path.display(), "cannot read the jobs of before");
                Vec::new()
            }
        }
    }

    /// Makes the file hold `jobs` and nothing else. One that cannot be written is told, and tried again after a while.
    pub(super) fn save(&self, jobs: impl FnOnce() -> Vec<Kept>) {
        let mut store = locked(&self.0.store);
        // Read under the lock, so that what is older is never written over what is newer.
        let jobs = jobs();
        let outcome = match &mut *store {
            Store::Open { database, written } => told(|| bring(database, written, jobs)),
            Store::Closed(since) if since.elapsed() < REOPEN_AFTER => return,
            Store::Closed(_) => told(|| self.reopen(&mut store, jobs)),
        };
        if let Err(error) = outcome {
            let (file, pause) = (self.0.path.display(), REOPEN_AFTER.as_secs());
            tracing::warn!(%error, %file, "cannot write the file of jobs: they are in memory only for {pause} s. Make room for it");
            *store = Store::Closed(Instant::now());
        }
    }

    fn reopen(&self, store: &mut Store, jobs: Vec<Kept>) -> Result<(), Box<dyn std::error::Error>> {
        let database = open(&self.0.path)?;
        let (_, mut written) = read(&database)?;
        // What was written of them last is not known.
        bring(&database, &mut written, Vec::new())?;
        bring(&database, &mut written, jobs)?;
        *store = Store::Open { database, written };
        Ok(())
    }
}

/// The cure of a file that is no use any more.
const DAMAGED: &str = "Delete the file, or name another with --jobs-file";

fn open(path: &Path) -> Result<Database, JobsFileError> {
    let fault = |problem: String, cure| JobsFileError { path: path.to_owned(), problem, cure };
    // redb panics over some damage.
    caught(|| open_whole(path)).unwrap_or_else(|problem| Err(fault(problem, DAMAGED)))
}

/// A panic of redb, or its error, as text.
fn told<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    caught(work)?.map_err(|error| error.to_string())
}

fn open_whole(path: &Path) -> Result<Database, JobsFileError> {
    let fault = |problem: String, cure| JobsFileError { path: path.to_owned(), problem, cure };
    let mut database = Database::create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            fault(error.to_string(), "Stop the server that uses it, or name another with --jobs-file")
        }
        redb::DatabaseError::Storage(redb::StorageError::Io(ref problem))
            if !matches!(problem.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            fault(error.to_string(), "Name a file that can be written with --jobs-file")
        }
        other => fault(other.to_string(), DAMAGED),
    })?;
    // Every page has a checksum, and none is looked at before this.
    database.check_integrity().map_err(|error| fault(error.to_string(), DAMAGED))?;
    let found = prepare(&database).map_err(|error| fault(error.to_string(), DAMAGED))?;
    if found != FORMAT {
        let problem = format!("it has format {found}, and this server writes {FORMAT}");
        return Err(fault(problem, "Start the server that wrote it, or name another with --jobs-file"));
    }
    Ok(database)
}

fn begins_as_database(path: &Path) -> bool {
    let mut head = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == MAGIC
}

/// Makes what is missing; the format that the file has.
fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let format = {
        transaction.open_table(JOBS)?;
        transaction.open_table(RESULTS)?;
        let mut meta = transaction.open_table(META)?;
        let known = meta.get("format")?.map(|format| format.value());
        match known {
            Some(format) => format,
            None => {
                meta.insert("format", FORMAT)?;
                FORMAT
            }
        }
    };
    transaction.commit()?;
    Ok(format)
}

/// The jobs that can be read, and the names and states of all.
fn read(database: &Database) -> Result<(Vec<Kept>, HashMap<String, JobStatus>), redb::Error> {
    let transaction = database.begin_read()?;
    let (table, results) = (transaction.open_table(JOBS)?, transaction.open_table(RESULTS)?);
    let (mut jobs, mut names) = (Vec::new(), HashMap::new());
    for entry in table.iter()? {
        let (name, job) = entry?;
        let name = name.value().to_owned();
        // A state that no job ends with: it is written anew, or taken out.
        names.insert(name.clone(), JobStatus::Queued);
        let result = results.get(name.as_str())?;
        match decode(job.value(), result.as_ref().map(|result| result.value())) {
            Ok(job) => {
                names.insert(name, job.view.status);
                jobs.push(job);
            }
            Err(error) => tracing::warn!(%error, job = name, "a job of before cannot be read, and is left out"),
        }
    }
    Ok((jobs, names))
}

fn decode(job: &[u8], result: Option<&str>) -> Result<Kept, serde_json::Error> {
    let mut job: Kept = serde_json::from_slice(job)?;
    job.result = result.map(|text| RawValue::from_string(text.to_owned())).transpose()?.map(Arc::from);
    Ok(job)
}

/// One transaction that makes the file hold `jobs`, unless it does.
fn bring(
    database: &Database,
    written: &mut HashMap<String, JobStatus>,
    jobs: Vec<Kept>,
) -> Result<(), Box<dyn std::error::Error>> {
    let all: HashMap<String, JobStatus> = jobs.iter().map(|job| (job.view.id.clone(), job.view.status)).collect();
    // How far a job is that has not ended is not worth a turn of the disk.
    let is_same = |before: JobStatus, now: JobStatus| before == now || !(before.ended() || now.ended());
    let change = Change {
        forget: written.keys().filter(|name| !all.contains_key(*name)).cloned().collect(),
        put: jobs
            .into_iter()
            .filter(|job| written.get(&job.view.id).is_none_or(|before| !is_same(*before, job.view.status)))
            .collect(),
    };
    if change.put.is_empty() && change.forget.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let (mut table, mut results) = (transaction.open_table(JOBS)?, transaction.open_table(RESULTS)?);
        for name in &change.forget {
            table.remove(name.as_str())?;
            results.remove(name.as_str())?;
        }
        for job in &change.put {
            table.insert(job.view.id.as_str(), &*serde_json::to_vec(job)?)?;
            match &job.result {
                Some(result) => results.insert(job.view.id.as_str(), result.get())?,
                None => results.remove(job.view.id.as_str())?,
            };
        }
    }
    transaction.commit()?;
    *written = all;
    Ok(())
}
