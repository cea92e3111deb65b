//! Small faults in valid bytes, as damage and malice make them, and a watch over what reads them.

use std::sync::mpsc::channel;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// No fault takes longer to be found: by then it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(300);
/// How far faults reach that are not anywhere: headers lie there, and say more than what is behind them.
const HEAD: usize = 2048;
/// Numbers that lengths, offsets and counts should not be.
const ODD: [u64; 8] = [0, 1, u64::MAX, i64::MAX as u64, u32::MAX as u64, i32::MAX as u64, 1 << 40, u64::MAX - 7];

/// The mutant of a number: always the same.
pub(crate) fn mutant(number: u64, valid: &[u8]) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let mut bytes = valid.to_vec();
    for _ in 0..rng.random_range(1..4) {
        spoil(&mut rng, &mut bytes);
    }
    bytes
}

fn spoil(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let reach = if rng.random_bool(0.75) { HEAD.min(bytes.len()) } else { bytes.len() };
    let at = rng.random_range(0..reach);
    let end = (at + rng.random_range(1..64)).min(bytes.len());
    match rng.random_range(0..8) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => rng.fill_bytes(&mut bytes[at..end]),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, copy));
        }
        5 => {
            let mut noise = vec![0; end - at];
            rng.fill_bytes(&mut noise);
            drop(bytes.splice(at..at, noise));
        }
        width => {
            let number = ODD[rng.random_range(0..ODD.len())].to_le_bytes();
            let width = if width == 6 { 4 } else { 8 };
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
    }
}

/// Runs `read` on a thread of its own for each number below `count`: what panics or hangs is named by its number.
pub(crate) fn each(count: u64, read: impl Fn(u64) + Send + Sync + 'static) {
    let (done, numbers) = channel();
    let thread = std::thread::spawn(move || {
        for number in 0..count {
            read(number);
            done.send(number).unwrap();
        }
    });
    for number in 0..count {
        if numbers.recv_timeout(HANGS_AFTER).is_err() {
            assert!(thread.is_finished(), "mutant {number} hangs");
            let panic = thread.join().unwrap_err();
            println!("mutant {number} breaks it");
            std::panic::resume_unwind(panic);
        }
    }
    thread.join().unwrap();
}
