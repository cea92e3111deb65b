//! Answers given before: in memory, and by option on disk. A key is a digest of everything that an answer depends on.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use accel_core::score::prompt;
use quick_cache::sync::Cache as Memory;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use sha2::{Digest as _, Sha256};

use super::{Asked, Row};
use crate::metrics::Metrics;
use crate::panics::guarded;
use crate::store::{Fault, Kind};

/// SHA-256.
pub type Digest = [u8; 32];

/// Answers kept in memory unless the command line says otherwise: some 200 bytes each, so about 13 MB.
pub const ENTRIES: usize = 1 << 16;
/// Answers kept on disk: some 150 bytes each, so about 150 MB.
pub const ENTRIES_ON_DISK: u64 = 1 << 20;

/// A digest of parts, each of which has a beginning and an end.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    parts.into_iter().fold(Sha256::new(), part).finalize().into()
}

fn part(hash: Sha256, part: &[u8]) -> Sha256 {
    hash.chain_update((part.len() as u64).to_le_bytes()).chain_update(part)
}

/// What is asked of each distinct item, by anyone: prompt version, labels, query and item.
pub(crate) fn contents(asked: &Asked) -> Vec<Digest> {
    let mut shared = part(Sha256::new(), &prompt::VERSION.to_le_bytes());
    shared.update((asked.request.labels.len() as u64).to_le_bytes());
    shared = asked.request.labels.iter().map(String::as_bytes).fold(shared, part);
    shared = part(shared, asked.request.query.as_bytes());
    asked.items().map(|item| part(shared.clone(), item.as_bytes()).finalize().into()).collect()
}

/// The same content, asked of a model with its adapter.
pub fn key(identity: &Digest, content: &Digest) -> Digest {
    digest([&identity[..], content])
}

/// Identifies a file without reading it: by its path, size and time of change. A missing one is identified by its path.
pub fn file_identity(path: &Path) -> Digest {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let changed = std::fs::metadata(&path).ok().map(|data| {
        let time = data.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        (data.len(), time.unwrap_or_default().as_nanos())
    });
    let (bytes, time) = changed.unwrap_or_default();
    digest([path.as_os_str().as_encoded_bytes(), &bytes.to_le_bytes(), &time.to_le_bytes()])
}

/// Identifies the files of one model, as [`file_identity`] does each.
pub fn files_identity(paths: &[PathBuf]) -> Digest {
    let files: Vec<Digest> = paths.iter().map(|path| file_identity(path)).collect();
    digest(files.iter().map(|file| &file[..]))
}

/// Answers given before.
#[derive(Debug)]
pub struct Cache {
    memory: Memory<Digest, Row>,
    disk: Option<Disk>,
    metrics: Metrics,
}

impl Cache {
    /// Keeps `entries` answers in memory, those used most; all that `disk` takes on disk.
    pub fn new(entries: usize, disk: Option<Disk>, metrics: Metrics) -> Self {
        Self { memory: Memory::new(entries), disk, metrics }
    }

    /// The answer to one question.
    pub fn get(&self, key: &Digest) -> Option<Row> {
        let found = self.find(key);
        if found.is_some() { &self.metrics.cache_hits } else { &self.metrics.cache_misses }.inc();
        found
    }

    /// The answers to all questions, or nothing.
    pub fn get_all(&self, keys: &[Digest]) -> Option<Vec<Row>> {
        let rows: Vec<Row> = keys.iter().map_while(|key| self.find(key)).collect();
        let all = rows.len() == keys.len();
        self.metrics.cache_hits.inc_by(if all { keys.len() as u64 } else { 0 });
        all.then_some(rows)
    }

    fn find(&self, key: &Digest) -> Option<Row> {
        if let Some(row) = self.memory.get(key) {
            return Some(row);
        }
        let row = self.disk.as_ref()?.get(key)?;
        self.memory.insert(*key, row.clone());
        Some(row)
    }

    /// Keeps answers.
    pub fn put(&self, rows: Vec<(Digest, Row)>) {
        for (key, row) in &rows {
            self.memory.insert(*key, row.clone());
        }
        if let Some(disk) = &self.disk {
            disk.put(rows);
        }
    }
}

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Two generations of answers: when the younger one holds half of what is allowed, the older one is emptied and takes its
/// place, so that the file is bounded and nothing needs to be sorted by age.
const GENERATIONS: [TableDefinition<'_, &[u8; 32], &[u8]>; 2] =
    [TableDefinition::new("scores-0"), TableDefinition::new("scores-1")];
/// Batches of answers that wait to be written.
const BACKLOG: usize = 256;
/// How long a file is left alone that could not be written: opening it again may read all of it, and a disk that is full
/// seldom has room at once.
const REOPEN_AFTER: Duration = Duration::from_secs(30);

/// Why a cache file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} as the score cache: {problem}. {cure}", path.display())]
pub struct CacheError {
    path: PathBuf,
    problem: String,
    cure: String,
}

/// The file's database; none from a fault of the disk until it is opened again, as redb gives nothing more after one.
type Slot = RwLock<Option<Database>>;

/// Answers on disk. A transaction is whole or absent, whenever the process dies or the disk is full.
#[derive(Debug)]
pub struct Disk {
    slot: Arc<Slot>,
    writer: SyncSender<Vec<(Digest, Row)>>,
    metrics: Metrics,
}

impl Disk {
    /// Opens or makes the file, for `entries` answers.
    ///
    /// # Errors
    /// Where it is no cache, another server uses it, or it cannot be read.
    pub fn open(path: &Path, entries: u64, metrics: Metrics) -> Result<Self, CacheError> {
        let at = path.to_owned();
        Self::start(path, move || open(&at), entries, REOPEN_AFTER, metrics)
    }

    fn start(
        path: &Path,
        open: impl Fn() -> Result<Database, CacheError> + Send + 'static,
        entries: u64,
        reopen_after: Duration,
        metrics: Metrics,
    ) -> Result<Self, CacheError> {
        let slot = Arc::new(RwLock::new(Some(open()?)));
        let (writer, batches) = sync_channel(BACKLOG);
        let mut theirs =
            Writer { slot: Arc::clone(&slot), open, entries, reopen_after, metrics: metrics.clone(), closed: None };
        let thread = std::thread::Builder::new().name("score-cache".into());
        thread.spawn(move || theirs.write_all(&batches)).map_err(|error| CacheError {
            path: path.to_owned(),
            problem: format!("the thread that writes it cannot be started: {error}"),
            cure: "Raise the limit of threads, or leave --cache out".to_owned(),
        })?;
        Ok(Self { slot, writer, metrics })
    }

    fn get(&self, key: &Digest) -> Option<Row> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref()?;
        let read = || -> Result<Option<Row>, redb::Error> {
            let transaction = database.begin_read()?;
            for generation in GENERATIONS {
                if let Some(value) = transaction.open_table(generation)?.get(key)? {
                    return Ok(decode(value.value()));
                }
            }
            Ok(None)
        };
        // A cache that cannot be read costs time, not answers; redb panics over some damage.
        guarded(read).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the score cache");
            None
        })
    }

    /// Writes the rows soon; not if the disk is far behind.
    fn put(&self, rows: Vec<(Digest, Row)>) {
        let count = rows.len() as u64;
        if self.writer.try_send(rows).is_err() {
            self.metrics.cache_unwritten.inc_by(count);
        }
    }
}

/// What the file is.
const KIND: Kind = Kind {
    option: "--cache",
    // Counts up when rows are written otherwise.
    format: 1,
    // Answers that are lost cost time only.
    checked: false,
    tables: |transaction| {
        for generation in GENERATIONS {
            transaction.open_table(generation)?;
        }
        Ok(())
    },
};

/// Opens or makes the file.
fn open(path: &Path) -> Result<Database, CacheError> {
    let refused = |Fault { problem, cure, .. }| CacheError { path: path.to_owned(), problem, cure };
    KIND.open(path).map_err(refused)
}

/// The thread that writes.
struct Writer<O> {
    slot: Arc<Slot>,
    open: O,
    entries: u64,
    reopen_after: Duration,
    metrics: Metrics,
    /// Since when the slot is empty.
    closed: Option<Instant>,
}

impl<O: Fn() -> Result<Database, CacheError>> Writer<O> {
    /// Writes until the cache is dropped. What has gathered in the meantime becomes one transaction: each waits for the disk.
    fn write_all(&mut self, batches: &Receiver<Vec<(Digest, Row)>>) {
        while let Ok(first) = batches.recv() {
            let rows: Vec<(Digest, Row)> =
                first.into_iter().chain(batches.try_iter().take(BACKLOG).flatten()).collect();
            if !self.is_written(&rows) {
                self.metrics.cache_unwritten.inc_by(rows.len() as u64);
            }
        }
    }

    fn is_written(&mut self, rows: &[(Digest, Row)]) -> bool {
        if self.closed.is_some_and(|since| since.elapsed() < self.reopen_after) {
            return false;
        }
        if self.closed.is_some() {
            match (self.open)() {
                Ok(database) => self.put(Some(database)),
                Err(error) => return self.close(&error),
            }
        }
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        // Only this thread empties it.
        let outcome = slot.as_ref().map(|database| guarded(|| write(database, rows, self.entries)));
        drop(slot);
        match outcome {
            Some(Ok(())) => true,
            Some(Err(error)) => self.close(&error),
            None => false,
        }
    }

    /// Answers are not kept for some time; that they were not.
    fn close(&mut self, error: &dyn std::fmt::Display) -> bool {
        let pause = self.reopen_after.as_secs();
        tracing::warn!(%error, "cannot write the score cache: answers are not kept on disk for {pause} s. Make room for it");
        self.put(None);
        self.closed = Some(Instant::now());
        false
    }

    fn put(&mut self, database: Option<Database>) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = database;
        self.closed = None;
    }
}

fn write(database: &Database, rows: &[(Digest, Row)], entries: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let mut young = meta.get("young")?.map_or(0, |young| young.value()) as usize % GENERATIONS.len();
        if transaction.open_table(GENERATIONS[young])?.len()? >= entries / 2 {
            young = 1 - young;
            transaction.delete_table(GENERATIONS[young])?;
            meta.insert("young", young as u64)?;
        }
        let mut table = transaction.open_table(GENERATIONS[young])?;
        for (key, row) in rows {
            table.insert(key, &*encode(row))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn encode(row: &Row) -> Vec<u8> {
    let values = row.log_probs.iter().flat_map(|p| p.to_le_bytes());
    [u8::from(row.of_vocabulary)].into_iter().chain(values).collect()
}

fn decode(bytes: &[u8]) -> Option<Row> {
    let (of_vocabulary, values) = bytes.split_first()?;
    let (values, rest) = values.as_chunks::<4>();
    let log_probs = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    rest.is_empty().then_some(Row { log_probs, of_vocabulary: *of_vocabulary == 1 })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    fn row(value: f32) -> Row {
        Row { log_probs: [value, -0.5].into(), of_vocabulary: true }
    }

    fn key_of(n: u64) -> Digest {
        digest([&n.to_le_bytes()[..]])
    }

    #[test]
    fn every_part_of_a_question_is_in_its_key() {
        let request = |query: &str, item: &str, labels: &[&str]| super::super::ScoreRequest {
            query: query.into(),
            items: vec![item.into()],
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        };
        let all = [
            request("q", "i", &["0", "1"]),
            request("qi", "", &["0", "1"]),
            request("", "qi", &["0", "1"]),
            request("q", "i", &["1", "0"]),
            request("q", "i", &["0"]),
            request("1q", "i", &["0"]),
        ];
        let contents: std::collections::HashSet<Digest> =
            all.iter().map(|request| contents(&Asked::new(request.clone()))[0]).collect();
        assert_eq!(contents.len(), all.len());
        assert_ne!(key(&[0; 32], &[1; 32]), key(&[1; 32], &[0; 32]));
    }

    #[test]
    fn what_is_on_disk_outlives_the_cache_and_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.redb");
        let database = Database::create(&path).unwrap();
        KIND.prepare(&database).unwrap();
        for n in 0..40u64 {
            write(&database, &[(key_of(n), row(n as f32))], 10).unwrap();
        }
        drop(database);
        let disk = Disk::open(&path, 10, Metrics::default()).unwrap();
        let kept: Vec<u64> = (0..40).filter(|n| disk.get(&key_of(*n)).is_some()).collect();
        assert!(kept.len() <= 10 && kept.contains(&39), "{kept:?}");
        assert_eq!(disk.get(&key_of(39)), Some(row(39.0)));
        let second = Disk::open(&path, 10, Metrics::default()).unwrap_err().to_string();
        assert!(second.contains("Stop the server that uses it"), "{second}");
    }

    /// A disk whose room has an end.
    #[derive(Debug)]
    struct Narrow {
        inside: Arc<InMemoryBackend>,
        full: Arc<AtomicBool>,
    }

    impl Narrow {
        fn room(&self) -> io::Result<()> {
            match self.full.load(SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Narrow {
        fn len(&self) -> io::Result<u64> {
            self.inside.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.inside.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.inside.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.inside.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.inside.write(offset, data)
        }
    }

    /// Puts rows until one is found on disk or, where `found` is false, counted as lost.
    fn put_until(disk: &Disk, keys: &mut impl Iterator<Item = u64>, found: bool) -> u64 {
        let lost = disk.metrics.cache_unwritten.get();
        loop {
            let n = keys.next().unwrap();
            disk.put(vec![(key_of(n), row(n as f32))]);
            // The thread answers each batch in the end, by one way or the other.
            while disk.get(&key_of(n)).is_none() && disk.metrics.cache_unwritten.get() == lost {
                std::thread::yield_now();
            }
            if disk.get(&key_of(n)).is_some() == found {
                return n;
            }
        }
    }

    #[test]
    fn a_full_disk_costs_what_is_not_written_and_is_written_again_once_there_is_room() {
        let (inside, full) = (Arc::new(InMemoryBackend::new()), Arc::new(AtomicBool::new(false)));
        let (store, switch) = (Arc::clone(&inside), Arc::clone(&full));
        let path = Path::new("narrow");
        let open = move || {
            let backend = Narrow { inside: Arc::clone(&store), full: Arc::clone(&switch) };
            let fault = |problem: String| CacheError { path: path.to_owned(), problem, cure: String::new() };
            let database = Database::builder().create_with_backend(backend).map_err(|e| fault(e.to_string()))?;
            KIND.prepare(&database).map_err(|e| fault(e.to_string()))?;
            Ok(database)
        };
        let disk = Disk::start(path, open, 1000, Duration::ZERO, Metrics::default()).unwrap();
        let mut keys = 0..;
        let before = put_until(&disk, &mut keys, true);
        full.store(true, SeqCst);
        let lost = put_until(&disk, &mut keys, false);
        let again = put_until(&disk, &mut keys, false);
        full.store(false, SeqCst);
        let after = put_until(&disk, &mut keys, true);
        assert_eq!((before, lost, again), (0, 1, 2));
        for n in [before, after] {
            assert_eq!(disk.get(&key_of(n)), Some(row(n as f32)));
        }
        assert_eq!(disk.get(&key_of(lost)), None);
    }

    #[test]
    fn a_file_that_is_no_cache_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.redb");
        std::fs::write(&path, "not a database, but a text of some length").unwrap();
        let error = Disk::open(&path, 10, Metrics::default()).unwrap_err().to_string();
        assert!(error.contains("Delete the file"), "{error}");
    }
}
