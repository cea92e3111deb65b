//! SHA-256 of the model's file, computed in the background: gigabytes take seconds.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::cache::{Digest, file_identity};

#[derive(Debug, Default)]
struct Known {
    /// The file by path, size and time of change, so that an unchanged one is read once.
    of: Option<Digest>,
    sum: Option<String>,
}

/// The checksum of one file, as soon as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checksum(Arc<Mutex<Known>>);

impl Checksum {
    /// Starts to read `path`, unless that was done.
    pub(crate) fn start(&self, path: &Path) {
        let of = Some(file_identity(path));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of == of {
            return;
        }
        *known = Known { of, sum: None };
        drop(known);
        let (path, mine) = (path.to_owned(), self.clone());
        let thread = std::thread::Builder::new().name("checksum".into()).spawn(move || match sha256(&path) {
            Ok(sum) => {
                let mut known = mine.0.lock().unwrap_or_else(PoisonError::into_inner);
                if known.of == of {
                    known.sum = Some(sum);
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot compute the model's checksum"),
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "cannot start to compute the model's checksum");
        }
    }

    /// The checksum in hexadecimal.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sum.clone()
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}
