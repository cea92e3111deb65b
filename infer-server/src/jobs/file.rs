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
use crate::panics::guarded;
use crate::store::{Fault, Kind};

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
    cure: String,
}

impl JobsFileError {
    fn new(path: &Path, fault: Fault) -> Self {
        Self { path: path.to_owned(), problem: fault.problem, cure: fault.cure }
    }
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
        let refused = |fault| JobsFileError::new(path, fault);
        let database = match KIND.open(path) {
            Err(fault) if fault.damaged && begins_as_database(path) => {
                let mut aside = path.as_os_str().to_owned();
                aside.push(".damaged");
                std::fs::rename(path, &aside)
                    .map_err(|error| refused(Fault { problem: error.to_string(), ..fault }))?;
                tracing::error!(
                    file = %path.display(),
                    aside = %PathBuf::from(aside).display(),
                    "the file of jobs was damaged: it is set aside, and its jobs are lost"
                );
                KIND.open(path).map_err(refused)?
            }
            database => database.map_err(refused)?,
        };
        let store = Mutex::new(Store::Open { database, written: HashMap::new() });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), store })))
    }

    /// The jobs in it. What cannot be read is told and left out; the next [`JobsFile::save`] takes it out of the file.
    pub(super) fn read(&self) -> Vec<Kept> {
        let mut store = locked(&self.0.store);
        let Store::Open { database, written } = &mut *store else { return Vec::new() };
        match guarded(|| read(database)) {
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
            Store::Open { database, written } => guarded(|| bring(database, written, jobs)),
            Store::Closed(since) if since.elapsed() < REOPEN_AFTER => return,
            Store::Closed(_) => guarded(|| self.reopen(&mut store, jobs)),
        };
        if let Err(error) = outcome {
            let (file, pause) = (self.0.path.display(), REOPEN_AFTER.as_secs());
            tracing::warn!(%error, %file, "cannot write the file of jobs: they are in memory only for {pause} s. Make room for it");
            *store = Store::Closed(Instant::now());
        }
    }

    fn reopen(&self, store: &mut Store, jobs: Vec<Kept>) -> Result<(), Box<dyn std::error::Error>> {
        let path = &self.0.path;
        let database = KIND.open(path).map_err(|fault| JobsFileError::new(path, fault))?;
        let (_, mut written) = read(&database)?;
        // What was written of them last is not known.
        bring(&database, &mut written, Vec::new())?;
        bring(&database, &mut written, jobs)?;
        *store = Store::Open { database, written };
        Ok(())
    }
}

/// What the file is.
const KIND: Kind = Kind {
    option: "--jobs-file",
    // Counts up when jobs are written otherwise.
    format: 1,
    // Every page has a checksum, and none is looked at otherwise.
    checked: true,
    tables: |transaction| {
        transaction.open_table(JOBS)?;
        transaction.open_table(RESULTS)?;
        Ok(())
    },
};

fn begins_as_database(path: &Path) -> bool {
    let mut head = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == MAGIC
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
