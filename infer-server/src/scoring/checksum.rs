//! SHA-256 of the model's files, one after the other, computed in the background: gigabytes take seconds.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::cache::{Digest, files_identity};

#[derive(Debug, Default)]
struct Known {
    /// The files by path, size and time of change, so that those that are unchanged are read once.
    of: Option<Digest>,
    sum: Option<String>,
}

/// The checksum of one model, as soon as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checksum(Arc<Mutex<Known>>);

impl Checksum {
    /// Starts to read `files`, unless that was done.
    pub(crate) fn start(&self, files: Vec<PathBuf>) {
        let of = Some(files_identity(&files));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.of == of {
            return;
        }
        *known = Known { of, sum: None };
        drop(known);
        let mine = self.clone();
        let thread = std::thread::Builder::new().name("checksum".into()).spawn(move || match sha256(&files) {
            Ok(sum) => {
                let mut known = mine.0.lock().unwrap_or_else(PoisonError::into_inner);
                if known.of == of {
                    known.sum = Some(sum);
                }
            }
            Err(error) => tracing::warn!(?files, %error, "cannot compute the model's checksum"),
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

fn sha256(files: &[PathBuf]) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        io::copy(&mut File::open(file)?, &mut hash)?;
    }
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_two_files_has_the_sum_and_the_identity_of_both() {
        let dir = tempfile::TempDir::new().unwrap();
        let files = ["1.gguf", "2.gguf"].map(|name| dir.path().join(name));
        std::fs::write(&files[0], "a").unwrap();
        std::fs::write(&files[1], "bc").unwrap();
        // FIPS 180-4 gives the sum of "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&files).unwrap(), abc);
        let before = files_identity(&files);
        std::fs::write(&files[1], "bcd").unwrap();
        assert_ne!(files_identity(&files), before);
        assert_ne!(files_identity(&files[..1]), files_identity(&files));
    }
}
