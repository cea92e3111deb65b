//! Policies against libCacheSim, their authors' simulator, on traces made here.

use std::collections::BTreeMap;
use std::process::Command;

use accel_core::policy::{PolicySpec, Setup};
use accel_core::sim::simulate;
use accel_core::trace::{Kind, Op, Tensor, Trace, TraceBuilder};

/// Misses there, by trace, policy and capacity in bytes: `tests/fixtures/policies.py` made them.
const MISSES: &str = include_str!("../../../tests/fixtures/policies.json");

const ACCESSES: u64 = 100_000;

/// By how much misses may differ, in percent, where a definition leaves freedom; `docs/policies.md` has the reasons.
const FREEDOM: [(&str, f64); 11] = [
    ("random", 1.5),
    ("hyperbolic", 0.5),
    ("lecar", 1.0),
    ("lhd", 1.0),
    ("gdsf", 0.1),
    ("lirs", 2.0),
    ("slru", 2.0),
    ("arc", 0.5),
    ("2q", 0.1),
    ("w-tinylfu", 6.0),
    ("w-tinylfu(sample=0)", 0.5),
];

/// Those in which chance decides: the script has means of several runs, and so are ours.
const CHANCE: [&str; 4] = ["random", "hyperbolic", "lecar", "lhd"];
const SEEDS: u64 = 3;

/// The generator of the script: SplitMix64, as its authors print it.
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Objects and their bytes, as the script makes them.
fn accesses(trace: &str) -> Vec<(u64, u64)> {
    if trace == "scan and loop" {
        let (mut rng, mut looped, mut scan) = (SplitMix64(2), 0, 100_000);
        let mut one = |_| {
            let kind = rng.unit();
            let thing = if kind < 0.5 {
                looped += 1;
                (looped - 1) % 1500
            } else if kind < 0.75 {
                2000 + (rng.unit() * rng.unit() * 400.0) as u64
            } else {
                scan += 1;
                scan - 1
            };
            (thing, 16_384)
        };
        return (0..ACCESSES).map(&mut one).collect();
    }
    let mut rng = SplitMix64(1);
    let mut one = |_| {
        let thing = (rng.unit() * rng.unit() * rng.unit() * 20_000.0) as u64;
        let bytes = if trace == "skewed" { 4096 } else { 512 * (1 + SplitMix64(thing).next() % 128) };
        (thing, bytes)
    };
    (0..ACCESSES).map(&mut one).collect()
}

fn trace(name: &str) -> Trace {
    let mut builder = TraceBuilder::new("");
    let mut tensors = BTreeMap::new();
    for (thing, bytes) in accesses(name) {
        let tensor = *tensors.entry(thing).or_insert_with(|| {
            let tensor = Tensor { name: thing.to_string(), bytes, layer: None, stride: 1, kind: Kind::Object };
            builder.tensor(tensor).unwrap()
        });
        builder.access(tensor, Op::Request).unwrap();
    }
    builder.finish(name).unwrap()
}

#[test]
fn misses_are_those_of_libcachesim() {
    let fixture: BTreeMap<String, BTreeMap<String, BTreeMap<u64, u64>>> = serde_json::from_str(MISSES).unwrap();
    for (name, policies) in fixture {
        let trace = trace(&name);
        let sizes = trace.sizes();
        for (policy, capacities) in policies {
            let freedom = FREEDOM.iter().find(|(named, _)| *named == policy).map_or(0.0, |(_, percent)| *percent);
            for (capacity, wanted) in capacities {
                let seeds = if CHANCE.contains(&policy.as_str()) { SEEDS } else { 1 };
                let misses = |seed| {
                    let setup = Setup { seed, ..Setup::new(&sizes, capacity) };
                    simulate(PolicySpec::parse(&policy).unwrap(), &setup, &trace).unwrap().misses
                };
                let found = (0..seeds).map(misses).sum::<u64>() / seeds;
                let off = 100.0 * (found as f64 / wanted as f64 - 1.0);
                assert!(
                    off.abs() <= freedom,
                    "{name}: {policy} misses {found} in {capacity}, there {wanted}: {off:.2} %"
                );
            }
        }
    }
}

/// Where libCacheSim is installed, it still gives the figures that are kept.
#[test]
fn the_figures_kept_are_those_of_libcachesim() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    if !python(&["-c", "import libcachesim"]).is_ok_and(|output| output.status.success()) {
        println!("no libcachesim for python3: nothing to compare");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/policies.py");
    let output = python(&[script, "--check"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
