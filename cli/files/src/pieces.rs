//! Files that are read in pieces: one thread reads and unpacks while another makes something of what is there.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use accel_core::error::Error;
use accel_core::import::input::{damaged, unpack};
use accel_core::import::oracle_general::RECORD;
use accel_core::progress::{Flow, Progress};
use anyhow::Context as _;

/// Bytes of a piece: whole records.
pub const PIECE: usize = 64 * 1024 * RECORD;
/// Pieces that are read ahead.
const AHEAD: usize = 4;

/// A piece of the content, and how far the file was read by then.
struct Piece {
    content: Vec<u8>,
    done: u64,
}

/// Reads the content of the file, unpacked, from its start to its end or to the end of record number `most`, piece by
/// piece; `what` is shown meanwhile.
pub fn each(
    name: &str,
    most: u64,
    progress: &mut dyn Progress,
    what: &str,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {name}");
    let file = File::open(name).with_context(cannot)?;
    let total = file.metadata().with_context(cannot)?.len();
    std::thread::scope(|scope| {
        let (sender, pieces) = sync_channel::<Piece>(AHEAD);
        let (back, spent) = sync_channel::<Vec<u8>>(2 * AHEAD);
        let reader = scope.spawn(move || read(name, &file, most, &sender, &spent));
        let mut result = Ok(());
        // The reader sends no more once nobody listens.
        for Piece { content, done } in pieces {
            if progress.report(done, total.max(done), what) == Flow::Cancel {
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

/// Sends the pieces of `file`; those that are done with come back in `spent`.
fn read(
    name: &str,
    file: &File,
    most: u64,
    sender: &SyncSender<Piece>,
    spent: &Receiver<Vec<u8>>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {name}");
    let content = unpack(BufReader::with_capacity(1 << 18, file)).with_context(cannot)?;
    let mut content = content.take(most.saturating_mul(RECORD as u64));
    loop {
        let mut piece = spent.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        piece.clear();
        match content.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // What the system refuses has a number; the rest is in the bytes.
            Err(error) if error.raw_os_error().is_some() => return Err(error).with_context(cannot),
            Err(error) => return Err(damaged(name, &error).into()),
        }
        let mut file = file;
        let done = file.stream_position().with_context(cannot)?;
        if sender.send(Piece { content: piece, done }).is_err() {
            return Ok(());
        }
    }
}
