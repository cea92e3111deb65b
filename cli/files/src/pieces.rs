//! Requests that are read in pieces, whatever their format: one thread reads and unpacks while another makes something of
//! what is there. A piece holds records of oracleGeneral; other formats become such records on the way.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use accel_core::error::{Error, Place};
use accel_core::import::cache_csv::{self, Columns, Request, Requests, UNSIZED};
use accel_core::import::input::{Input, MARK, damaged, unpack};
use accel_core::import::oracle_general::{RECORD, record};
use accel_core::import::prototype_csv::{self, Record, Records};
use accel_core::import::{self, Format, prototype_json};
use accel_core::progress::{Flow, Progress};
use accel_core::recipe::sample::id_of;
use anyhow::{Context as _, bail};

use crate::parquet;

/// Bytes of a piece: whole records.
pub const PIECE: usize = 64 * 1024 * RECORD;
/// Pieces that are read ahead.
const AHEAD: usize = 4;
/// Enough of a file to detect its format.
const HEAD: u64 = 64 * 1024;

/// What the file at `path` is called in messages.
pub fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// How requests are written.
#[derive(Debug)]
enum Form {
    Records,
    Table(Option<Columns>),
    Prototype(fn(&Input<'_>, &mut dyn BufRead, &mut dyn Records) -> Result<(), Error>),
    Parquet(Option<Columns>),
}

/// A file of requests that can be read several times.
#[derive(Debug)]
pub struct Source {
    /// What it is called in messages.
    name: String,
    file: File,
    head: Vec<u8>,
    form: Form,
}

/// A piece of the content, and how far the file was read by then, as a part of 2^16.
struct Piece {
    content: Vec<u8>,
    done: u64,
}

/// What all of a file is, in [`Piece::done`].
const ALL: u64 = 1 << 16;

impl Source {
    /// Opens a file in `format` or the one that is detected. Standard input (`-`) and pipes are copied to a temporary file:
    /// they cannot be read twice.
    ///
    /// # Errors
    ///
    /// Where its format has more than requests in their order, or is not known.
    pub fn open(path: &Path, format: Option<Format>, columns: Option<&Columns>) -> anyhow::Result<Self> {
        let name = name(path);
        let cannot = || format!("cannot read {name}");
        let file = match path == Path::new("-") {
            true => spool(&mut std::io::stdin().lock(), &name)?,
            false => {
                let mut file = File::open(path).with_context(cannot)?;
                if file.metadata().with_context(cannot)?.is_file() { file } else { spool(&mut file, &name)? }
            }
        };
        let mut source = Self { name, file, head: Vec::new(), form: Form::Records };
        source.look()?;
        let packed = !source.head.starts_with(import::PARQUET);
        let input = Input::new(&source.name, &source.head);
        source.form = match input.head().starts_with(import::PARQUET) {
            true if format.is_none() => Form::Parquet(columns.cloned()),
            _ => match import::choose(format, columns, &input)? {
                Format::OracleGeneral => Form::Records,
                Format::Csv => Form::Table(columns.cloned()),
                Format::PrototypeCsv => Form::Prototype(|input, text, take| prototype_csv::each(input, text, take)),
                Format::PrototypeJson => Form::Prototype(|input, text, take| prototype_json::each(input, text, take)),
                other => bail!(
                    "{}: {} cannot be streamed, only oracle-general, csv, prototype-csv, prototype-json and parquet: \
                     leave --stream out",
                    source.name,
                    other.name()
                ),
            },
        };
        if matches!(source.form, Form::Parquet(_)) && packed {
            // Its end is read first.
            let content = {
                let mut content = unpack(BufReader::with_capacity(1 << 18, &source.file))?;
                spool(&mut content, &source.name)?
            };
            source.file = content;
            source.look()?;
        }
        Ok(source)
    }

    /// Records of oracleGeneral in a regular file.
    pub fn records(path: &Path) -> anyhow::Result<Self> {
        Self::open(path, Some(Format::OracleGeneral), None)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks at the beginning of the file.
    fn look(&mut self) -> anyhow::Result<()> {
        let cannot = || format!("cannot read {}", self.name);
        let mut file = &self.file;
        file.rewind().with_context(cannot)?;
        self.head.clear();
        file.take(HEAD).read_to_end(&mut self.head).with_context(cannot)?;
        file.rewind().with_context(cannot)
    }

    /// Reads the content, unpacked, from its start to its end or to the end of record number `most`, piece by piece; `what`
    /// is shown meanwhile. What the reader should know is given back.
    pub fn each(
        &self,
        most: u64,
        progress: &mut dyn Progress,
        what: &str,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<String>> {
        let cannot = || format!("cannot read {}", self.name);
        (&self.file).rewind().with_context(cannot)?;
        let total = self.file.metadata().with_context(cannot)?.len();
        std::thread::scope(|scope| {
            let (sender, pieces) = sync_channel::<Piece>(AHEAD);
            let (back, spent) = sync_channel::<Vec<u8>>(2 * AHEAD);
            let reader = scope.spawn(move || self.read(most, Sending { sender, spent, total }));
            let mut result = Ok(());
            // The reader sends no more once nobody listens.
            for Piece { content, done } in pieces {
                if progress.report(done, ALL.max(done), what) == Flow::Cancel {
                    result = Err(Error::Cancelled.into());
                    break;
                }
                result = take(&content);
                if result.is_err() {
                    break;
                }
                drop(back.try_send(content));
            }
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(read)
        })
    }

    /// Enough of the file to tell how it is written.
    fn beginning(&self) -> Input<'_> {
        Input::new(&self.name, &self.head)
    }

    /// The content of a text, unpacked and without a mark.
    fn text(&self) -> anyhow::Result<impl BufRead> {
        let content = unpack(BufReader::with_capacity(1 << 18, &self.file));
        let content = content.with_context(|| format!("cannot read {}", self.name))?;
        let mut content = BufReader::with_capacity(1 << 18, content);
        if content.fill_buf().is_ok_and(|text| text.starts_with(MARK)) {
            content.consume(MARK.len());
        }
        Ok(content)
    }

    /// Sends the pieces of the file.
    fn read(&self, most: u64, sending: Sending) -> anyhow::Result<Vec<String>> {
        let cannot = || format!("cannot read {}", self.name);
        let name = self.name.as_str();
        let mut converting = Converting::new(name, most, &sending, &self.file);
        match &self.form {
            Form::Records => {
                let content = unpack(BufReader::with_capacity(1 << 18, &self.file)).with_context(cannot)?;
                let mut content = content.take(most.saturating_mul(RECORD as u64));
                loop {
                    let mut piece = sending.empty();
                    match content.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
                        Ok(0) => return Ok(Vec::new()),
                        Ok(_) => {}
                        // What the system refuses has a number; the rest is in the bytes.
                        Err(error) if error.raw_os_error().is_some() => return Err(error).with_context(cannot),
                        Err(error) => return Err(damaged(name, &error).into()),
                    }
                    if !sending.send(piece, sending.position(&self.file)) {
                        return Ok(Vec::new());
                    }
                }
            }
            Form::Table(columns) => {
                let read = cache_csv::each(&self.beginning(), self.text()?, columns.as_ref(), &mut converting);
                converting.end(read)
            }
            Form::Prototype(each) => {
                converting.warnings.push(parquet::UNTIMED.to_owned());
                let read = each(&self.beginning(), &mut self.text()?, &mut converting);
                converting.end(read)
            }
            Form::Parquet(columns) => {
                let file = self.file.try_clone().with_context(cannot)?;
                let mut warnings = Vec::new();
                let take = &mut |batch: &parquet::Batch| converting.batch(batch);
                let warn = &mut |warning| warnings.push(warning);
                parquet::requests(name, file, columns.as_ref(), warn, take)?;
                converting.warnings.extend(warnings);
                converting.end(Ok(()))
            }
        }
    }
}

/// Copies what cannot be read twice to a temporary file that has no name.
fn spool(content: &mut dyn std::io::Read, name: &str) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().with_context(|| format!("cannot make a temporary file for {name}"))?;
    std::io::copy(content, &mut file).with_context(|| {
        format!("cannot copy {name} to a temporary file: make room, or name another folder in TMPDIR")
    })?;
    file.seek(SeekFrom::Start(0)).with_context(|| format!("cannot read {name}"))?;
    Ok(file)
}

/// Where pieces go.
struct Sending {
    sender: SyncSender<Piece>,
    /// Pieces that are done with.
    spent: Receiver<Vec<u8>>,
    /// Bytes of the file.
    total: u64,
}

impl Sending {
    fn empty(&self) -> Vec<u8> {
        let mut piece = self.spent.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        piece.clear();
        piece
    }

    /// How far `file` was read.
    fn position(&self, mut file: &File) -> u64 {
        let at = file.stream_position().unwrap_or_default();
        (u128::from(at) * u128::from(ALL) / u128::from(self.total.max(1))) as u64
    }

    /// Sends a piece; whether anybody listens.
    fn send(&self, content: Vec<u8>, done: u64) -> bool {
        self.sender.send(Piece { content, done }).is_ok()
    }
}

/// Makes records of requests.
struct Converting<'a> {
    name: &'a str,
    sending: &'a Sending,
    file: &'a File,
    /// Requests that are still wanted.
    left: u64,
    piece: Vec<u8>,
    warnings: Vec<String>,
    unsized_: bool,
    /// Whether no more is wanted.
    over: bool,
}

impl<'a> Converting<'a> {
    fn new(name: &'a str, most: u64, sending: &'a Sending, file: &'a File) -> Self {
        let (warnings, piece) = (Vec::new(), Vec::new());
        Self { name, sending, file, left: most, piece, warnings, unsized_: false, over: most == 0 }
    }

    /// Takes a request; `done` says how far the file was read, where a piece is full.
    fn one(&mut self, id: u64, bytes: u64, place: &dyn Fn() -> Place, done: &dyn Fn() -> u64) -> Result<(), Error> {
        let bytes = u32::try_from(bytes).map_err(|_| {
            let problem = format!("an object has {bytes} bytes, and a stream takes less than 4 GiB");
            Error::input(self.name, place(), problem, "Leave --stream out, or write sizes in larger units")
        })?;
        self.piece.extend_from_slice(&record(0, id, bytes));
        self.left -= 1;
        if self.piece.len() >= PIECE || self.left == 0 {
            self.over |= !self.flush(done()) || self.left == 0;
        }
        Ok(())
    }

    /// Sends what there is; whether anybody listens.
    fn flush(&mut self, done: u64) -> bool {
        if self.piece.is_empty() {
            return true;
        }
        let next = self.sending.empty();
        self.sending.send(std::mem::replace(&mut self.piece, next), done)
    }

    /// Takes a batch; whether more is wanted.
    fn batch(&mut self, batch: &parquet::Batch) -> Result<bool, Error> {
        self.unsized_ |= batch.sizes.is_empty();
        let first = batch.done - batch.ids.len() as u64;
        let done = batch.done as f64 / batch.total.max(1) as f64 * ALL as f64;
        for (row, id) in batch.ids.iter().enumerate() {
            if self.over {
                return Ok(false);
            }
            let bytes = batch.sizes.get(row).copied().unwrap_or(1);
            self.one(*id, bytes, &|| Place::Item(first + row as u64), &|| done as u64)?;
        }
        Ok(!self.over)
    }

    /// The end of a file whose requests were `read`.
    fn end(mut self, read: Result<(), Error>) -> anyhow::Result<Vec<String>> {
        if !self.over {
            read?;
            self.flush(ALL);
        }
        if self.unsized_ {
            self.warnings.push(UNSIZED.to_owned());
        }
        Ok(self.warnings)
    }
}

impl Records for Converting<'_> {
    fn push(&mut self, record: &Record, place: Place) -> Result<(), Error> {
        if self.over {
            // Nobody reads this: it ends the reading.
            return Err(Error::Cancelled);
        }
        let (bytes, _) = record.checked(self.name, &place)?;
        let (sending, file) = (self.sending, self.file);
        self.one(id_of(&record.tensor_id), bytes, &|| place.clone(), &|| sending.position(file))
    }
}

impl Requests for Converting<'_> {
    fn push(&mut self, request: Request<'_>, place: Place) -> Result<(), Error> {
        if self.over {
            // Nobody reads this: it ends the reading.
            return Err(Error::Cancelled);
        }
        let Request { id, bytes, ttl, parent, .. } = request;
        if id.is_empty() {
            return Err(Error::input(self.name, place, "the object's id is empty", "Give every request an object"));
        }
        if ttl.is_some() || !parent.is_empty() {
            let problem = "objects expire or continue others, and a stream does not keep that";
            return Err(Error::input(self.name, place, problem, "Leave --stream out, or those columns"));
        }
        self.unsized_ |= bytes.is_none();
        let (sending, file) = (self.sending, self.file);
        self.one(id_of(id), bytes.unwrap_or(1), &|| place.clone(), &|| sending.position(file))
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}
