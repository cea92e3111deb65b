//! What is asked about a kernel, and what is answered.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::nest::Element;
use accel_ground::closed;
use accel_ground::device::DeviceRef;
use accel_ground::error::{Error, Place};
use accel_ground::units::parse_bytes;

/// The device where nobody asks for another: one of which all is known, with caches of 32 KiB and 512 KiB.
pub const DEFAULT_DEVICE: &str = "epyc-7452";
/// The same for kernels on a grid (CUDA, Triton), which are written for GPUs.
pub const DEFAULT_GPU: &str = "h100-sxm";

/// A kernel and the machine it is to run on. Every field but `code` has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Source code.
    pub code: String,
    /// Its language; guessed if not given.
    pub language: Option<Language>,
    /// The function to look at; needed if there are several that no other calls.
    pub function: Option<String>,
    /// Values of parameters.
    pub defines: BTreeMap<String, i64>,
    /// Shapes of arrays: `a: f32[M, K]`.
    pub shapes: Vec<String>,
    /// The type of elements where nobody says.
    pub element: Element,
    /// How often a condition on data holds, 0..=1.
    pub probability: f64,
    /// The device; if nobody says, [`DEFAULT_GPU`] for a kernel on a grid and [`DEFAULT_DEVICE`] for all else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceRef>,
    /// Caches instead of the device's own, nearest first.
    pub levels: Option<Vec<Level>>,
    /// Bytes of a cache line instead of the device's own.
    pub line_bytes: Option<u64>,
    /// How the code is compiled.
    pub opt_level: OptLevel,
    /// Who compiles; if nobody says, the expectation is that of clang, and the range holds GCC's too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiler: Option<Compiler>,
    /// Whether the gradients of what array operations in Python compute are computed too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub backward: bool,
    /// Whether caches hold what the run before left, as in a loop around the kernel: what fits is not fetched.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
    /// Cores that share loops marked as parallel (`#pragma omp parallel for`, `prange`), of a device with cores.
    #[serde(skip_serializing_if = "is_one")]
    pub cores: u32,
    /// How much work finding the misses of caches may take, in lines touched (about 10 ns each); beyond it they are
    /// bounded, and the answer says how.
    #[serde(skip_serializing_if = "is_usual")]
    pub budget: u64,
}

/// Whether a number of cores is that where nobody says.
fn is_one(cores: &u32) -> bool {
    *cores == 1
}

/// Whether a budget is that where nobody says.
fn is_usual(budget: &u64) -> bool {
    *budget == BUDGET
}

impl Default for Request {
    fn default() -> Self {
        Self {
            code: String::new(),
            language: None,
            function: None,
            defines: BTreeMap::new(),
            shapes: Vec::new(),
            element: Element::F32,
            probability: 0.5,
            device: None,
            levels: None,
            line_bytes: None,
            opt_level: OptLevel::default(),
            compiler: None,
            backward: false,
            warm: false,
            cores: 1,
            budget: BUDGET,
        }
    }
}

/// Work that finding the misses of a program may take where nobody says: a second or two, natively.
pub const BUDGET: u64 = 120_000_000;

/// What precedes a kernel in a link's fragment: `#k=...`.
pub const FRAGMENT: &str = "k=";

impl Request {
    /// The fragment of a link that reopens this kernel, without the `#`.
    pub fn to_fragment(&self) -> Result<String, Error> {
        let json = serde_json::to_string(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(format!("{FRAGMENT}{}", URL_SAFE_NO_PAD.encode(json)))
    }

    /// Reads such a fragment.
    pub fn from_fragment(fragment: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::input("link", Place::Whole, problem, "Copy the whole link again");
        let encoded = fragment.strip_prefix(FRAGMENT).unwrap_or(fragment);
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|e| wrong(format!("not a kernel: {e}")))?;
        serde_json::from_slice(&json).map_err(|e| wrong(format!("not a kernel: {e}")))
    }
}

/// Reads a parameter and its value: `N=1024`.
pub fn define(text: &str) -> Result<(String, i64), Error> {
    let wrong = |problem| Error::field("define", format!("\"{text}\""), problem, "Write it as N=1024");
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("there is no value"))?;
    let name = name.trim();
    if !super::source::is_name(name) {
        return Err(wrong("what stands before = is not a name"));
    }
    // A type, as PolyBench's headers ask for it: `DATA_TYPE=float` is DATA_TYPE_IS_FLOAT.
    if let Some(known) = super::nest::Element::named(value.trim()).filter(|_| value.trim().parse::<i64>().is_err()) {
        use super::nest::Element::{F32, F64, I32};
        let word = match known {
            F64 => "DOUBLE",
            F32 => "FLOAT",
            I32 => "INT",
            _ => return Err(wrong("of types, only int, float and double can be given")),
        };
        return Ok((format!("{name}_IS_{word}"), 1));
    }
    let value = value.trim().parse().map_err(|_| wrong("what stands behind = is not a whole number"))?;
    Ok((name.to_owned(), value))
}

/// Reads a cache: `L1=32KiB`.
pub fn level(text: &str) -> Result<Level, Error> {
    let cure = "Write it as L1=32KiB";
    let (name, capacity) =
        text.split_once('=').ok_or_else(|| Error::field("level", format!("\"{text}\""), "there is no size", cure))?;
    Ok(Level { name: name.trim().to_owned(), capacity_bytes: parse_bytes("level", capacity)? })
}

closed! {
    /// A source language.
    pub enum Language("language", "language") {
        /// C.
        C = "c" titled "C, C++, CUDA C or OpenCL C" or "c++" or "cpp" or "cuda" or "opencl",
        /// Python, with NumPy.
        Python = "python" titled "Python" or "py",
        /// StableHLO, as text.
        Stablehlo = "stablehlo" titled "StableHLO" or "mlir",
    }
}

impl Language {
    /// The extensions of its files, the usual one first.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::C => &["c", "h", "cpp", "cc", "cxx", "hpp", "cu", "cuh", "cl"],
            Self::Python => &["py"],
            Self::Stablehlo => &["mlir", "stablehlo"],
        }
    }

    /// The language of a file of that name; none where its extension is that of no language.
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        Self::ALL.into_iter().find(|language| language.extensions().contains(&extension))
    }
}

closed! {
    /// How the code is compiled; compilers take the names with a dash in front.
    #[derive(Default)]
    pub enum OptLevel("opt_level", "level of optimization") {
        /// As written: every scalar variable in memory, one element at a time.
        O0 = "O0" titled "O0: as written, scalars in memory" or "0",
        /// Scalars in registers.
        O1 = "O1" titled "O1: scalars in registers" or "1",
        /// Vectors where dependences allow, element-wise operations of a statement in one pass.
        #[default]
        O2 = "O2" titled "O2: vectors, statements fused" or "2",
        /// Unrolled too, and element-wise operations of neighbouring statements in one pass.
        O3 = "O3" titled "O3: unrolled, neighbours fused" or "3",
    }
}

closed! {
    /// A compiler of C.
    pub enum Compiler("compiler", "compiler") {
        /// It makes vectors at O2.
        Clang = "clang",
        /// From version 12 on; at O2 it makes vectors only where it knows the number of rounds, and they divide it.
        Gcc = "gcc" titled "GCC",
    }
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// Its capacity in bytes.
    pub capacity_bytes: u64,
}

/// A count: whole where it is known exactly, otherwise an expectation (a stated probability) or an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Count {
    /// Exact.
    Whole(u64),
    /// Expected, estimated, or beyond 2^64.
    Real(f64),
}

impl Count {
    /// As a floating-point number.
    pub fn value(self) -> f64 {
        match self {
            Self::Whole(count) => count as f64,
            Self::Real(count) => count,
        }
    }
}

/// What the kernel does and costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Time in ms.
    pub latency_ms: f64,
    /// Between which times it lies: everything overlaps and runs at its peak, or nothing overlaps.
    pub latency_range_ms: [f64; 2],
    /// Energy in J: the middle of the range.
    pub energy_j: f64,
    /// Between which energies it lies.
    pub energy_range_j: [f64; 2],
    /// What was counted.
    pub features: Features,
    /// How many ms of the time each feature is answerable for (Shapley values): they add up to the time less that of an
    /// empty kernel.
    pub feature_importance: BTreeMap<String, f64>,
    /// Each cache, nearest first.
    pub levels: Vec<LevelReport>,
    /// The counts as expressions in the parameters.
    pub closed_forms: BTreeMap<String, String>,
    /// What was assumed.
    pub assumptions: Vec<String>,
    /// The function looked at; none for a fragment.
    pub function: Option<String>,
    /// The language it was read as.
    pub language: Language,
    /// The device's name.
    pub device: String,
    /// How it was compiled.
    pub opt_level: OptLevel,
    /// Values of parameters.
    pub parameters: BTreeMap<String, i64>,
    /// What takes the time, in words.
    pub bottleneck: String,
    /// What takes the time, part by part.
    pub parts: Vec<Part>,
    /// The data of a roofline chart.
    pub roofline: Roofline,
    /// What each line of the source costs, in the order of the lines.
    pub lines: Vec<LineCost>,
    /// On a device that works as a whole, the operators that the program is made of, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorCost>,
    /// On such a device, changes that would help, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// What blocks and warps do, of a kernel on a grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridReport>,
}

/// What an operator of the program takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorCost {
    /// The line of the source that it stands in, counted from 1.
    pub line: u32,
    /// What the source calls it; of loops and operations on elements, what they are.
    pub name: String,
    /// What it is: `product`, `softmax`, `element-wise` …
    pub class: String,
    /// The type of its elements.
    pub element: Element,
    /// How often it runs.
    pub runs: f64,
    /// How long all runs take, in ms.
    pub ms: f64,
    /// Between which times that lies.
    pub range_ms: [f64; 2],
    /// What takes most of it: `compute`, `memory` or `launch`.
    pub limit: String,
    /// Bytes that one run must read and write.
    pub bytes: f64,
    /// Operations of one run.
    pub operations: f64,
}

/// A change that would help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What to change.
    pub change: String,
    /// How long the whole would take then, in ms.
    pub ms: f64,
    /// How many times as fast that is.
    pub factor: f64,
}

/// What the blocks and warps of a kernel do. Counts are those of the whole grid unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridReport {
    /// Blocks along x, y and z.
    pub grid: [u64; 3],
    /// Threads of a block along x, y and z.
    pub block: [u64; 3],
    /// Blocks in all.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u64,
    /// Warps of a block.
    pub warps_per_block: u64,
    /// FLOPs of a block, on average.
    pub flops_per_block: f64,
    /// Bytes that the loads and stores of a block name, on average; those of shared memory too.
    pub bytes_per_block: f64,
    /// Bytes that loads and stores of global memory name.
    pub global_bytes: Count,
    /// Sectors of 32 bytes that they move.
    pub global_sectors: Count,
    /// The same in bytes.
    pub global_sector_bytes: Count,
    /// Bytes that warps use of each byte that moves, 0..=1; none where nothing moves.
    pub coalescing: Option<f64>,
    /// Shared memory; none where a block has none.
    pub shared: Option<SharedReport>,
    /// How many blocks a processor holds; none where the device's processors are not known.
    pub occupancy: Option<OccupancyReport>,
    /// Each access of the source.
    pub accesses: Vec<AccessReport>,
    /// How warps were looked at, in words.
    pub method: String,
}

/// What happens in shared memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedReport {
    /// Bytes of a block.
    pub bytes_per_block: u64,
    /// Cycles of a processor in which words are passed: a bank passes one word each.
    pub wavefronts: Count,
    /// How many there would be if no two lanes met in a bank.
    pub without_conflicts: Count,
}

/// How many blocks a processor (SM) holds at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OccupancyReport {
    /// The processors' compute capability.
    pub compute_capability: String,
    /// How many of them the device has.
    pub processors: u64,
    /// Blocks that each holds.
    pub blocks_per_processor: u64,
    /// Warps that each holds.
    pub warps_per_processor: u64,
    /// The same as a share of the most, 0..=1.
    pub share: f64,
    /// What limits them: `threads`, `blocks`, `shared memory` or `registers`.
    pub limit: String,
    /// Registers of a thread, where they are stated; otherwise they are no limit here.
    pub registers_per_thread: Option<i64>,
}

/// An access of the source, over all warps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessReport {
    /// Its line, counted from 1.
    pub line: u32,
    /// Its column.
    pub column: u32,
    /// The array.
    pub array: String,
    /// Whether it stores.
    pub write: bool,
    /// Whether the array is in shared memory.
    pub shared: bool,
    /// Instructions of warps.
    pub requests: Count,
    /// Bytes that threads name.
    pub bytes: Count,
    /// Sectors of 32 bytes that move; none in shared memory.
    pub sectors: Option<Count>,
    /// The same for each instruction.
    pub sectors_per_request: Option<f64>,
    /// Bytes that warps use of each byte that moves, 0..=1.
    pub efficiency: Option<f64>,
    /// How many words a bank passes one after the other, on average; 1 without conflicts. Only in shared memory.
    pub bank_conflict_ways: Option<f64>,
}

/// What was counted: the prototype's features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Loops in the source, and those that array operations stand for.
    pub num_loops: u64,
    /// Conditions in the source.
    pub num_branches: u64,
    /// Loads of array elements.
    pub load_ops: Count,
    /// Stores of array elements.
    pub store_ops: Count,
    /// Floating-point operations.
    pub flops: Count,
    /// Operations on elements that are integers; left out where there are none, as the prototype has no such key.
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub int_ops: Count,
    /// Bytes that loads and stores move between registers and the nearest memory.
    pub mem_bytes: Count,
}

fn none() -> Count {
    Count::Whole(0)
}

fn is_none(count: &Count) -> bool {
    *count == none()
}

/// A cache and what happens in it: fully associative, LRU, seeing every access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelReport {
    /// Its name.
    pub name: String,
    /// Its capacity in bytes.
    pub capacity_bytes: u64,
    /// Bytes per line.
    pub line_bytes: u64,
    /// Accesses of elements.
    pub accesses: Count,
    /// Lines touched for the first time.
    pub compulsory_misses: Count,
    /// Lines that were there and had left.
    pub capacity_misses: Count,
    /// Between which numbers the capacity misses lie, where they are not exact.
    pub capacity_misses_range: Option<[f64; 2]>,
    /// Bytes that come in: both kinds of misses, one line per miss.
    pub bytes: Count,
    /// Bytes of changed lines that go back.
    pub written_bytes: Count,
    /// How the misses were found, in words.
    pub method: String,
}

/// A part of the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What takes it: `compute`, `loads and stores`, `L2`, `DRAM`, `loops`, `branches`, `launch`.
    pub name: String,
    /// How long it takes alone.
    pub ms: f64,
}

/// The data of a roofline chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// The ceiling of arithmetic in GFLOP/s; none where the device's is unknown.
    pub peak_gflop_s: Option<f64>,
    /// What the kernel reaches.
    pub gflop_s: f64,
    /// One roof for each memory: its bandwidth, and where the kernel stands under it.
    pub roofs: Vec<Roof>,
}

/// A roof of a roofline chart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// The memory.
    pub name: String,
    /// Its bandwidth in GB/s.
    pub gb_s: f64,
    /// The kernel's FLOPs for each byte that this memory moves; none if it moves nothing, or if a library
    /// decides what it moves.
    pub flop_per_byte: Option<f64>,
}

/// What a line of the source costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineCost {
    /// The line, counted from 1.
    pub line: u32,
    /// How often it runs.
    pub runs: Count,
    /// Loads.
    pub load_ops: Count,
    /// Stores.
    pub store_ops: Count,
    /// Floating-point operations.
    pub flops: Count,
    /// Misses in each level.
    pub misses: Vec<Count>,
    /// Its share of the time, 0..=1.
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_languages_have_names() {
        for (name, level) in [("O0", OptLevel::O0), ("-O1", OptLevel::O1), ("o2", OptLevel::O2), ("3", OptLevel::O3)] {
            assert_eq!(OptLevel::from_name(name), Ok(level));
        }
        assert_eq!(OptLevel::from_name("Ofast").unwrap_err().field_name(), Some("opt_level"));
        for (name, language) in
            [("a/gemm.c", Some(Language::C)), ("gemm.h", Some(Language::C)), ("a.b.py", Some(Language::Python))]
        {
            assert_eq!(Language::of_file(name), language, "{name}");
        }
        for other in ["gemm", "c", "gemm.rs", "gemm.c.txt"] {
            assert_eq!(Language::of_file(other), None, "{other}");
        }
        assert_eq!(Language::from_name("Python"), Ok(Language::Python));
        assert_eq!(Language::from_name("rust").unwrap_err().field_name(), Some("language"));
    }

    #[test]
    fn links_reopen_the_kernel() {
        let request =
            Request { code: "for (;;) é".into(), defines: [("N".to_owned(), 4)].into(), ..Request::default() };
        assert_eq!(Request::from_fragment(&request.to_fragment().unwrap()), Ok(request));
        assert!(Request::from_fragment("k=%").unwrap_err().to_string().contains("not a kernel"));
    }

    #[test]
    fn parameters_and_caches_are_read() {
        assert_eq!(define(" N = 7 "), Ok(("N".to_owned(), 7)));
        assert_eq!(level("L1=32KiB").unwrap().capacity_bytes, 32 << 10);
        for bad in ["N", "=3", "N=x", "N=1e3", "2N=3", "N=99999999999999999999"] {
            assert_eq!(define(bad).unwrap_err().field_name(), Some("define"), "{bad}");
        }
        assert!(level("L1").is_err() && level("L1=many").is_err());
    }
}
