//! What has come so far, and how far that is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};

use super::error::{FetchError, file_error};

/// What has come so far.
pub(super) struct Part {
    pub(super) path: PathBuf,
    file: File,
    pub(super) bytes: u64,
    /// More bytes than these are not the file.
    pub(super) most: u64,
}

impl Part {
    /// Opens the part of the very content that `etag` names, of `all` bytes, and takes away those of others. `most` counts
    /// where the hub states no size.
    pub(super) fn open(path: &Path, etag: &str, all: Option<u64>, most: u64) -> Result<Self, FetchError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let own = folder.join(format!(".{name}.{}.part", tag(etag)));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&own)
            .map_err(|error| file_error(&own, &error))?;
        match file.try_lock() {
            // Not every file system has locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another process is downloading it".to_owned();
                return Err(FetchError::File { path: own, problem, cure: "Wait for it, or stop it".to_owned() });
            }
        }
        for entry in fs::read_dir(folder).map_err(|error| file_error(folder, &error))?.flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            let stale = other.starts_with(&format!(".{name}.")) && other.ends_with(".part") && entry.path() != own;
            if stale && fs::remove_file(entry.path()).is_ok() {
                tracing::info!("the file changed on the hub: {} is of no use and was removed", entry.path().display());
            }
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(|error| file_error(&own, &error))?;
        let mut part = Self { path: own, file, bytes, most: all.unwrap_or(most) };
        if all.is_none_or(|all| bytes > all) {
            part.cut()?;
        }
        Ok(part)
    }

    fn cut(&mut self) -> Result<(), FetchError> {
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.map_err(|error| file_error(&self.path, &error))?;
        self.bytes = 0;
        Ok(())
    }

    pub(super) fn restart(&mut self, bar: &mut Bar) -> Result<(), FetchError> {
        if self.bytes > 0 {
            tracing::warn!("the download starts again from its first byte");
            self.cut()?;
            bar.set(0);
        }
        Ok(())
    }

    /// Whether so many more bytes can be of the file.
    pub(super) fn takes(&self, more: usize) -> bool {
        self.bytes.saturating_add(more as u64) <= self.most
    }

    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(chunk).map_err(|error| file_error(&self.path, &error))?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Sees to it that all is on the disk; its SHA-256.
    pub(super) fn finish(&self) -> Result<String, FetchError> {
        self.file.sync_all().map_err(|error| file_error(&self.path, &error))?;
        sha256_of(&self.path)
    }
}

/// Shows how far a download is: a bar on a terminal, a line per tenth elsewhere.
pub(super) struct Bar {
    bar: ProgressBar,
    all: Option<u64>,
    tenths: u64,
}

impl Bar {
    pub(super) fn new(all: Option<u64>, present: u64) -> Self {
        let bar = all.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta:>4} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar: bar.with_position(present), all, tenths: tenths(present, all) }
    }

    pub(super) fn set(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        let tenths = tenths(bytes, self.all);
        if self.bar.is_hidden() && self.tenths < tenths {
            tracing::info!(bytes, "{tenths}0 % is here");
        }
        self.tenths = tenths;
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many tenths of `all` are there.
fn tenths(bytes: u64, all: Option<u64>) -> u64 {
    all.filter(|all| *all > 0).map_or(0, |all| bytes.saturating_mul(10) / all)
}

/// A name for a content.
pub(super) fn tag(etag: &str) -> String {
    hex(&Sha256::digest(etag)).chars().take(16).collect()
}

pub(super) fn sha256_of(path: &Path) -> Result<String, FetchError> {
    let failed = |error: io::Error| file_error(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
