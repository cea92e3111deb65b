//! `accel simulate` as a whole process: seconds and memory on ten million oracleGeneral records over a million objects,
//! beside libCacheSim on the same file (`cargo xtask bench simulate`).
//!
//! libCacheSim is the program `cachesim`, where `ACCEL_CACHESIM` or the path names it, or its Python package in the
//! `python3` of the path. Without either, its columns are empty.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use accel_core::rng::Rng;

const RECORDS: usize = 10_000_000;
const OBJECTS: usize = 1_000_000;
/// Runs of which the fastest counts: what disturbs a run only makes it slower.
const RUNS: usize = 3;
/// A tenth of the bytes of all objects, about.
const SHARE: u64 = 10;
/// Seconds and bytes that a run of LRU takes at most, on two cores.
const LRU: (f64, u64) = (2.5, 600_000_000);
/// Seconds that all policies take with bounds, at most, on two cores.
const ALL_SECONDS: f64 = 40.0;
/// Our names of policies, and libCacheSim's on its command line and in Python.
const POLICIES: [(&str, &str, &str); 4] =
    [("lru", "lru", "LRU"), ("fifo", "fifo", "FIFO"), ("sieve", "sieve", "Sieve"), ("s3-fifo", "s3fifo", "S3FIFO")];

/// Writes requests that follow a Zipf law of exponent 1, with sizes of 1 to 64 KiB; the bytes of all objects.
fn write_trace(path: &Path) -> u64 {
    let mut rng = Rng::new(1, "bench");
    let mut sums = Vec::with_capacity(OBJECTS);
    let mut sum = 0.0;
    for rank in 1..=OBJECTS {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let sizes: Vec<u32> = (0..OBJECTS).map(|_| 1024 + rng.below(64 * 1024)).collect();
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path).unwrap());
    for now in 0..RECORDS {
        // Every object comes at least once, and the rest by chance.
        let object = if now % (RECORDS / OBJECTS) == 0 {
            now / (RECORDS / OBJECTS)
        } else {
            let drawn = rng.unit() * sum;
            sums.partition_point(|sum| *sum < drawn).min(OBJECTS - 1)
        };
        let id = (object as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
        file.write_all(&(now as u32 / 1000).to_le_bytes()).unwrap();
        file.write_all(&id.to_le_bytes()).unwrap();
        file.write_all(&sizes[object].to_le_bytes()).unwrap();
        file.write_all(&(-1i64).to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
    sizes.iter().map(|size| u64::from(*size)).sum()
}

/// Seconds of a whole process, and the most memory that it had, where the system tells; none where it fails.
fn measure(command: &mut Command) -> Option<(f64, u64)> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let success = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        most = kib.map_or(most, |kib| 1024 * kib);
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    success.then(|| (start.elapsed().as_secs_f64(), most))
}

/// The fastest of some runs.
fn fastest(mut command: impl FnMut() -> Command) -> Option<(f64, u64)> {
    (0..RUNS).filter_map(|_| measure(&mut command())).min_by(|a, b| a.0.total_cmp(&b.0))
}

fn accel(trace: &Path, capacity: u64, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accel"));
    command.args(["simulate", "--capacity", &capacity.to_string(), "--trace"]).arg(trace).args(arguments);
    command
}

/// The same run by libCacheSim, by its program or else its Python package.
fn cachesim(trace: &Path, capacity: u64, (_, program, class): (&str, &str, &str)) -> Option<(f64, u64)> {
    let name = std::env::var("ACCEL_CACHESIM").unwrap_or_else(|_| "cachesim".into());
    let by_program = fastest(|| {
        let mut command = Command::new(&name);
        command.arg(trace).args(["oracleGeneral", program, &capacity.to_string()]);
        command
    });
    let script = format!(
        "import sys, libcachesim as l\n\
         r = l.TraceReader(sys.argv[1], l.TraceType.ORACLE_GENERAL_TRACE, l.ReaderInitParam(ignore_obj_size=False))\n\
         l.{class}(cache_size={capacity}).process_trace(r)"
    );
    by_program.or_else(|| {
        fastest(|| {
            let mut command = Command::new("python3");
            command.args(["-c", &script]).arg(trace);
            command
        })
    })
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let folder = std::env::temp_dir();
    let trace = folder.join(format!("accel-bench-{}.oracleGeneral.bin", std::process::id()));
    let capacity = write_trace(&trace) / SHARE;
    println!(
        "{RECORDS} records over {OBJECTS} objects, capacity {capacity} bytes; whole processes, the fastest of {RUNS}"
    );
    println!("{:<28} {:>8} {:>8} {:>10} {:>7}", "", "seconds", "MB", "cachesim s", "ratio");
    for row in POLICIES.into_iter().filter(|row| filter.as_deref().is_none_or(|filter| row.0.contains(filter))) {
        let (seconds, bytes) = fastest(|| accel(&trace, capacity, &["--policy", row.0])).unwrap();
        let theirs = cachesim(&trace, capacity, row).map(|(seconds, _)| seconds);
        let shown = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        let ratio = theirs.map(|theirs| theirs / seconds);
        let mb = bytes / 1_000_000;
        println!("{:<28} {seconds:>8.2} {mb:>8} {:>10} {:>7}", row.0, shown(theirs), shown(ratio));
        if row.0 == "lru" {
            println!("  wanted: {} s and {} MB at most", LRU.0, LRU.1 / 1_000_000);
        }
    }
    if filter.is_none() {
        for arguments in [&["--policy", "lru", "--stream"][..], &["--policy", "all", "--bounds"]] {
            let (seconds, bytes) = measure(&mut accel(&trace, capacity, arguments)).unwrap();
            println!("{:<28} {seconds:>8.2} {:>8}", arguments[1..].join(" "), bytes / 1_000_000);
        }
        println!("  wanted of all policies with bounds: {ALL_SECONDS} s at most");
    }
    std::fs::remove_file(&trace).unwrap();
}
