//! `accel sweep` as a whole process: CPU-seconds of 1,000 cells over one trace, beside those of the engine's passes alone and
//! of a shell loop of `accel simulate` (`cargo bench -p accel-cli --bench sweep`; Linux).
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use accel_core::policy::{PolicySpec, Setup};
use accel_core::rng::Rng;
use accel_core::sim::cache;
use accel_core::sweep::Sweep;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

const ACCESSES: u32 = 200_000;
const OBJECTS: u32 = 20_000;
const CELLS: u64 = 1_000;
/// Cells of the shell loop that are run; all others would take as long.
const LOOPED: u64 = 20;
/// CPU-seconds of a sweep by those of the engine's passes, at most, and of a shell loop by those of a sweep, at least.
const MOST_BY_ENGINE: f64 = 1.3;
const LEAST_BY_LOOP: f64 = 10.0;

/// CPU-seconds of this process and of those that it has waited for.
fn cpu() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold blanks: fields 14 to 17 of proc(5), in ticks of 1/100 s.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<f64>().unwrap() / 100.0;
    [ticks(11) + ticks(12), ticks(13) + ticks(14)]
}

fn accel(arguments: &[&str]) -> f64 {
    let before = cpu()[1];
    let status = Command::new(env!("CARGO_BIN_EXE_accel")).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    cpu()[1] - before
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut rng = Rng::new(1, "bench");
    let requests: Vec<(u32, u64)> = (0..ACCESSES)
        .map(|_| {
            let object = rng.below(OBJECTS).min(rng.below(OBJECTS)).min(rng.below(OBJECTS));
            (object, 1_000 + u64::from(object) * 7919 % 9_000)
        })
        .collect();
    let mut csv = std::fs::File::create(path("t.csv")).unwrap();
    let lines: Vec<String> = requests.iter().enumerate().map(|(i, (id, size))| format!("{i},{id},{size}\n")).collect();
    csv.write_all(format!("time,obj_id,obj_size\n{}", lines.concat()).as_bytes()).unwrap();
    println!(
        "| policy | sweep, CPU s | engine alone | ratio | shell loop | ratio |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for name in ["lru", "s3-fifo", "gdsf"] {
        let grid = serde_json::json!({
            "recipe": {"workload": {"file": {"name": "t.csv"}}, "policies": [name], "bounds": false},
            "axes": [{"/memory/capacity_bytes": {"from": 100_000, "to": 80_000_000, "points": CELLS}}]
        });
        let cells = serde_json::from_value::<Sweep>(grid.clone()).unwrap().cells().unwrap();
        std::fs::write(path("grid.json"), grid.to_string()).unwrap();
        let swept = accel(&["sweep", &path("grid.json"), "--out", &path(name)]);
        let content = std::fs::read(path("t.csv")).unwrap();
        let input = accel_core::import::input::Input::new("t.csv", &content);
        let trace = accel_core::import::cache_csv::read(&input, None, &mut accel_core::progress::Unattended).unwrap();
        let (sizes, policy) = (trace.sizes(), PolicySpec::parse(name).unwrap());
        let capacities: Vec<u64> = (0..CELLS).map(|cell| cells.recipe(cell).unwrap().memory.capacity_bytes).collect();
        let before = cpu()[0];
        // On as many processors as the sweep: they share caches.
        capacities.par_iter().for_each(|capacity| {
            let mut memory = cache(policy, &Setup::new(&sizes, *capacity)).unwrap();
            memory.advance(trace.whole());
            assert!(memory.counts().misses > 0);
        });
        let engine = cpu()[0] - before;
        let looped: f64 = capacities
            .iter()
            .step_by((CELLS / LOOPED) as usize)
            .map(|capacity| {
                let capacity = capacity.to_string();
                accel(&["simulate", "--trace", &path("t.csv"), "--policy", name, "--capacity", &capacity, "--json"])
            })
            .sum();
        let looped = looped * CELLS as f64 / LOOPED as f64;
        let (by_engine, by_loop) = (swept / engine, looped / swept);
        println!("| {name} | {swept:.2} | {engine:.2} | {by_engine:.2} | {looped:.1} | {by_loop:.1} |");
        if by_engine > MOST_BY_ENGINE || by_loop < LEAST_BY_LOOP {
            println!("{name}: not within {MOST_BY_ENGINE} x the engine and {LEAST_BY_LOOP} x below the loop");
        }
    }
}
