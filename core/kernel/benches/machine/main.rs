//! Predictions against the machine at hand: compiles kernels in C with `cc` at O0 to O3, runs them from warm and from cold
//! caches, and prints for each what was measured, what was predicted, and whether it lies inside the range:
//! `cargo bench -p accel-kernel --bench machine [-- NAME… --sizes=held-out --measured=FILE]`, where NAMEs choose kernels.
//! No constant of the model is chosen by the sizes that are held out. What was measured is added to FILE, and is not
//! measured again where it stands there.
//!
//! The machine is described by a known one of the same cores (that of `/proc/cpuinfo`, or of the environment variable
//! `MACHINE`) with the clock, the caches, their rates and their latencies as `calibrate.c` measures them. Times are medians.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use accel_ground::device::{self, Device, DeviceRef};
use accel_ground::progress::Unattended;
use accel_kernel::predict;
use accel_kernel::report::{Compiler, OptLevel, Request};

const CALIBRATE: &str = include_str!("calibrate.c");
const DRIVER: &str = include_str!("driver.c");

/// A kernel: its source, how it is called, and the values of N.
struct Kernel {
    name: &'static str,
    code: &'static str,
    /// Makes what the call needs, `N` being known.
    setup: &'static str,
    call: &'static str,
    /// Values of N, and whether caches are cold.
    runs: Runs,
    /// The same, held out: the model is not fitted to them.
    held_out: Runs,
}

type Runs = &'static [(i64, bool)];

const SAXPY: &str = "void kernel(int N, float a, const float *restrict x, float *restrict y) {
  for (int i = 0; i < N; i++) y[i] += a * x[i];
}";
const DOT: &str = "double kernel(int N, const double *restrict x, const double *restrict y) {
  double s = 0;
  for (int i = 0; i < N; i++) s += x[i] * y[i];
  return s;
}";
const GATHER: &str = "double kernel(int N, const int idx[restrict N], const double x[restrict N]) {
  double s = 0;
  for (int i = 0; i < N; i++) s += x[idx[i]];
  return s;
}";
const IJK: &str =
    "void kernel(int N, const double A[restrict N][N], const double B[restrict N][N], double C[restrict N][N]) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      double s = 0;
      for (int k = 0; k < N; k++) s += A[i][k] * B[k][j];
      C[i][j] = s;
    }
}";
const IKJ: &str =
    "void kernel(int N, const double A[restrict N][N], const double B[restrict N][N], double C[restrict N][N]) {
  for (int i = 0; i < N; i++)
    for (int k = 0; k < N; k++)
      for (int j = 0; j < N; j++) C[i][j] += A[i][k] * B[k][j];
}";
const JKI: &str =
    "void kernel(int N, const double A[restrict N][N], const double B[restrict N][N], double C[restrict N][N]) {
  for (int j = 0; j < N; j++)
    for (int k = 0; k < N; k++)
      for (int i = 0; i < N; i++) C[i][j] += A[i][k] * B[k][j];
}";
const KIJ: &str =
    "void kernel(int N, const double A[restrict N][N], const double B[restrict N][N], double C[restrict N][N]) {
  for (int k = 0; k < N; k++)
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) C[i][j] += A[i][k] * B[k][j];
}";
const TRANSPOSE: &str = "void kernel(int N, const double A[restrict N][N], double B[restrict N][N]) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) B[j][i] = A[i][j];
}";
const STENCIL: &str = "void kernel(int N, const double A[restrict N][N], double B[restrict N][N]) {
  for (int i = 1; i < N - 1; i++)
    for (int j = 1; j < N - 1; j++)
      B[i][j] = 0.2 * (A[i][j] + A[i][j-1] + A[i][j+1] + A[i-1][j] + A[i+1][j]);
}";
const SOFTMAX: &str = "#include <math.h>
void kernel(int N, const float x[restrict N][N], float y[restrict N][N]) {
  for (int i = 0; i < N; i++) {
    float m = x[i][0], s = 0;
    for (int j = 1; j < N; j++) m = x[i][j] > m ? x[i][j] : m;
    for (int j = 0; j < N; j++) { y[i][j] = expf(x[i][j] - m); s += y[i][j]; }
    for (int j = 0; j < N; j++) y[i][j] /= s;
  }
}";

const SQUARES: &str = "double *A = doubles((size_t)N * N), *B = doubles((size_t)N * N), *C = doubles((size_t)N * N);";
const PRODUCT: &str = "kernel(N, (void *)A, (void *)B, (void *)C)";
const SIZES: Runs = &[(64, false), (160, false), (400, false)];
const OTHER_SIZES: Runs = &[(48, false), (250, false), (512, false)];
/// From 4 KiB of both arrays together to 128 MiB.
const STREAMS: Runs = &[
    (512, false),
    (512, true),
    (4096, false),
    (4096, true),
    (32_768, false),
    (32_768, true),
    (262_144, false),
    (262_144, true),
    (16_777_216, false),
    (16_777_216, true),
];

const KERNELS: [Kernel; 10] = [
    Kernel {
        name: "saxpy",
        code: SAXPY,
        setup: "float *x = floats(N), *y = floats(N);",
        call: "kernel(N, 1.0f / (N + 1), x, y)",
        runs: STREAMS,
        held_out: &[
            (1000, false),
            (1000, true),
            (20_000, false),
            (20_000, true),
            (1_500_000, false),
            (9_000_000, true),
        ],
    },
    Kernel {
        name: "dot",
        code: DOT,
        setup: "double *x = doubles(N), *y = doubles(N);",
        call: "sink = kernel(N, x, y)",
        runs: &[(512, false), (32_768, false), (32_768, true), (8_388_608, false), (8_388_608, true)],
        held_out: &[(3000, false), (100_000, false), (100_000, true), (3_000_000, true)],
    },
    Kernel {
        name: "gather",
        code: GATHER,
        setup: "int *at = places(N); double *x = doubles(N);",
        call: "sink = kernel(N, at, x)",
        runs: &[(2048, false), (65_536, false), (1_048_576, true), (4_194_304, true)],
        held_out: &[(10_000, false), (200_000, false), (2_500_000, true), (12_000_000, true)],
    },
    Kernel { name: "gemm ijk", code: IJK, setup: SQUARES, call: PRODUCT, runs: SIZES, held_out: OTHER_SIZES },
    Kernel { name: "gemm ikj", code: IKJ, setup: SQUARES, call: PRODUCT, runs: SIZES, held_out: OTHER_SIZES },
    Kernel { name: "gemm jki", code: JKI, setup: SQUARES, call: PRODUCT, runs: SIZES, held_out: OTHER_SIZES },
    Kernel { name: "gemm kij", code: KIJ, setup: SQUARES, call: PRODUCT, runs: SIZES, held_out: OTHER_SIZES },
    Kernel {
        name: "transpose",
        code: TRANSPOSE,
        setup: SQUARES,
        call: "kernel(N, (void *)A, (void *)B)",
        runs: &[(100, false), (500, false), (1000, true), (2048, true), (2100, true)],
        held_out: &[(256, false), (700, false), (1024, true), (3000, true)],
    },
    Kernel {
        name: "stencil",
        code: STENCIL,
        setup: SQUARES,
        call: "kernel(N, (void *)A, (void *)B)",
        runs: &[(50, false), (500, false), (1000, true), (2000, true)],
        held_out: &[(100, false), (300, false), (1500, true), (3000, true)],
    },
    Kernel {
        name: "softmax",
        code: SOFTMAX,
        setup: "float *x = floats((size_t)N * N), *y = floats((size_t)N * N);",
        call: "kernel(N, (void *)x, (void *)y)",
        runs: &[(64, false), (512, false), (1024, true)],
        held_out: &[(100, false), (300, false), (2000, true)],
    },
];

fn main() {
    // What cargo adds is no name of a kernel.
    let (options, names): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|own| own.starts_with('-'));
    let option = |name: &str| options.iter().find_map(|own| own.strip_prefix(name)?.strip_prefix('='));
    let held_out = option("--sizes") == Some("held-out");
    let folder = std::env::temp_dir().join(format!("accel-machine-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut known = Known::open(option("--measured"));
    let machine = machine(&folder, &mut known);
    let compiler = compiler();
    let core = machine.machine.as_deref().unwrap();
    println!(
        "{}: {:?}, {:?}, DRAM {:.1} GB/s, {:?} ns",
        machine.name, core.core, core.caches, machine.dram_gb_s, machine.dram_latency_ns
    );
    println!("kernel           N      from  opt   measured ms  predicted ms        from          to   ratio  inside");
    let mut rows = Vec::new();
    for kernel in KERNELS.iter().filter(|own| names.is_empty() || names.iter().any(|name| own.name.contains(name))) {
        for opt in OptLevel::ALL {
            let mut binary = None;
            for (n, cold) in if held_out { kernel.held_out } else { kernel.runs } {
                let key = format!("{},{n},{cold},{}", kernel.name, opt.name());
                let measured: f64 = known.get(&key, || {
                    let binary = binary.get_or_insert_with(|| compiled(&folder, kernel, opt, &machine));
                    let cold = u8::from(*cold).to_string();
                    let output = Command::new(binary).args([n.to_string(), cold]).output().unwrap();
                    String::from_utf8(output.stdout).unwrap().trim().to_owned()
                });
                let request = Request {
                    code: kernel.code.to_owned(),
                    defines: [("N".to_owned(), *n)].into(),
                    device: Some(DeviceRef::Own(machine.clone())),
                    opt_level: opt,
                    compiler,
                    warm: !cold,
                    ..Request::default()
                };
                let report = predict(&request, &mut Unattended).unwrap();
                let [low, high] = report.latency_range_ms;
                let (expected, inside) = (report.latency_ms, (low..=high).contains(&measured));
                println!(
                    "{:<12} {n:>9} {:>7}  {}  {measured:>12.6}  {expected:>12.6} {low:>11.6} {high:>11.6}  {:>6.2}  {}  {}",
                    kernel.name,
                    if *cold { "cold" } else { "warm" },
                    opt.name(),
                    expected / measured,
                    if inside { "yes" } else { "NO " },
                    report.bottleneck.split([':', ',', ';']).next().unwrap_or_default()
                );
                rows.push((kernel.name, opt, (expected / measured - 1.0).abs(), inside));
            }
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    for name in KERNELS.iter().map(|kernel| kernel.name) {
        summary(name, rows.iter().filter(|(own, ..)| *own == name).map(|(.., error, inside)| (*error, *inside)));
    }
    for opt in OptLevel::ALL {
        summary(
            opt.name(),
            rows.iter().filter(|(_, own, ..)| *own == opt).map(|(.., error, inside)| (*error, *inside)),
        );
    }
    summary("all", rows.iter().map(|(.., error, inside)| (*error, *inside)));
}

/// What was measured: lines `what=figure`.
struct Known {
    path: Option<String>,
    all: BTreeMap<String, String>,
}

impl Known {
    fn open(path: Option<&str>) -> Self {
        let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self { path: path.map(str::to_owned), all: text.lines().filter_map(pair).collect() }
    }

    fn text(&mut self, key: &str, measure: impl FnOnce() -> String) -> String {
        if let Some(known) = self.all.get(key) {
            return known.clone();
        }
        let value = measure();
        self.all.insert(key.to_owned(), value.clone());
        if let Some(path) = &self.path {
            let lines: String = self.all.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            fs::write(path, lines).unwrap();
        }
        value
    }

    fn get(&mut self, key: &str, measure: impl FnOnce() -> String) -> f64 {
        self.text(key, measure).parse().unwrap()
    }
}

fn summary(name: &str, rows: impl Iterator<Item = (f64, bool)>) {
    let (mut errors, inside): (Vec<f64>, Vec<bool>) = rows.unzip();
    if errors.is_empty() {
        return;
    }
    errors.sort_by(f64::total_cmp);
    let share = inside.iter().filter(|inside| **inside).count() as f64 / inside.len() as f64;
    let median = errors.get(errors.len() / 2).unwrap();
    println!("{name:<12} {:>3} rows, {:.0} % inside, median error {:.2}", errors.len(), 100.0 * share, median);
}

fn cc(arguments: &[&str]) {
    let status = Command::new("cc").args(arguments).status().expect("a compiler of C (cc)");
    assert!(status.success(), "cc {arguments:?}");
}

/// Which compiler `cc` is, if it is a known one.
fn compiler() -> Option<Compiler> {
    let output = Command::new("cc").arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
    [("clang", Compiler::Clang), ("gcc", Compiler::Gcc), ("free software foundation", Compiler::Gcc)]
        .into_iter()
        .find_map(|(word, compiler)| text.contains(word).then_some(compiler))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The kernel, compiled at that level for this processor, with what runs it.
fn compiled(folder: &Path, kernel: &Kernel, opt: OptLevel, machine: &Device) -> String {
    let [source, object, driver, binary] = ["kernel.c", "kernel.o", "driver.c", "run"].map(|name| path(folder, name));
    fs::write(&source, kernel.code).unwrap();
    let declared = kernel.code.lines().find(|line| line.contains("kernel(")).unwrap().trim_end_matches(['{', ' ']);
    let text = DRIVER.replace("DECLARATION", declared).replace("SETUP", kernel.setup).replace("CALL", kernel.call);
    let caches = machine.machine.iter().flat_map(|machine| &machine.caches).map(|cache| cache.bytes >> 20);
    let text = text.replace("FLUSHED", &(caches.max().unwrap_or(0) * 3 / 2).max(160).to_string());
    fs::write(&driver, text).unwrap();
    cc(&["-c", &format!("-{}", opt.name()), "-march=native", &source, "-o", &object]);
    cc(&["-O2", &driver, &object, "-lm", "-o", &binary]);
    binary
}

/// Known machines by what `/proc/cpuinfo` calls the vendor, the family and the models of their cores.
const CORES: [(&str, u32, &[u32], &str); 6] = [
    ("GenuineIntel", 6, &[85], "xeon-6148"),
    ("GenuineIntel", 6, &[143, 207], "xeon-8480"),
    ("AuthenticAMD", 23, &[49, 96, 104, 113], "epyc-7452"),
    ("AuthenticAMD", 25, &[1, 33, 80], "ryzen-5950x"),
    ("AuthenticAMD", 25, &[17, 97, 116, 160], "ryzen-7950x"),
    ("AuthenticAMD", 26, &[2, 36, 68], "ryzen-9950x"),
];

/// The known machine whose cores are those at hand.
fn base() -> String {
    if let Ok(name) = std::env::var("MACHINE") {
        return name;
    }
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().unwrap_or_default().trim() == name);
        line.and_then(|line| line.split(':').nth(1)).unwrap_or_default().trim().to_owned()
    };
    let number = |name: &str| field(name).parse::<u32>().unwrap_or_default();
    let (vendor, family, model) = (field("vendor_id"), number("cpu family"), number("model"));
    let own = CORES.iter().find(|own| own.0 == vendor && own.1 == family && own.2.contains(&model));
    own.expect("cores that are known; name such a device in the variable MACHINE").3.to_owned()
}

/// The machine at hand.
fn machine(folder: &Path, known: &mut Known) -> Device {
    let base = base();
    let mut device = device::find(&base).unwrap().device();
    let text = known.text("machine", || {
        let [source, binary] = ["calibrate.c", "calibrate"].map(|name| path(folder, name));
        fs::write(&source, CALIBRATE).unwrap();
        cc(&["-O3", "-march=native", &source, "-o", &binary]);
        let output = Command::new(&binary).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().replace('\n', ";")
    });
    let mut rows = text.split(';').map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<f64>>());
    let machine = device.machine.as_mut().unwrap();
    let core = machine.core.as_mut().unwrap();
    let own = rows.next().unwrap();
    (core.clock_ghz, core.misses_at_once) = (own[0], Some(own[1]));
    // GCC and clang prefer 256 bits on Intel's servers, whose clock falls with wider vectors (-mprefer-vector-width).
    if base.starts_with("xeon") {
        core.vector_bits = 256;
    }
    for (cache, row) in machine.caches.iter_mut().zip(rows.by_ref()) {
        (cache.bytes, cache.gb_s, cache.latency_ns) = (row[0] as u64, Some(row[1]), Some(row[2]));
    }
    let memory = rows.next().unwrap();
    (device.dram_gb_s, device.dram_latency_ns) = (memory[1], Some(memory[2]));
    device.name = format!("the machine at hand, as {base}");
    device
}
