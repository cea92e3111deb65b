//! Predictions against the machine at hand: compiles kernels in C with `cc` at O0 to O3, runs them from warm and from cold
//! caches, and prints for each what was measured, what was predicted, and whether it lies inside the range:
//! `cargo bench -p accel-kernel --bench machine [-- NAME]`, where NAME chooses kernels.
//!
//! The machine is described by a known one of the same cores (`MACHINE=xeon-6148`, an environment variable) with the
//! clock, the caches, their rates and their latencies as `calibrate.c` measures them. Times are medians.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
    runs: &'static [(i64, bool)],
}

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
const SIZES: &[(i64, bool)] = &[(64, false), (160, false), (400, false)];
/// From 4 KiB of both arrays together to 128 MiB.
const STREAMS: &[(i64, bool)] = &[
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
    },
    Kernel {
        name: "dot",
        code: DOT,
        setup: "double *x = doubles(N), *y = doubles(N);",
        call: "sink = kernel(N, x, y)",
        runs: &[(512, false), (32_768, false), (32_768, true), (8_388_608, false), (8_388_608, true)],
    },
    Kernel {
        name: "gather",
        code: GATHER,
        setup: "int *at = places(N); double *x = doubles(N);",
        call: "sink = kernel(N, at, x)",
        runs: &[(2048, false), (65_536, false), (1_048_576, true), (4_194_304, true)],
    },
    Kernel { name: "gemm ijk", code: IJK, setup: SQUARES, call: PRODUCT, runs: SIZES },
    Kernel { name: "gemm ikj", code: IKJ, setup: SQUARES, call: PRODUCT, runs: SIZES },
    Kernel { name: "gemm jki", code: JKI, setup: SQUARES, call: PRODUCT, runs: SIZES },
    Kernel { name: "gemm kij", code: KIJ, setup: SQUARES, call: PRODUCT, runs: SIZES },
    Kernel {
        name: "transpose",
        code: TRANSPOSE,
        setup: SQUARES,
        call: "kernel(N, (void *)A, (void *)B)",
        runs: &[(100, false), (500, false), (1000, true), (2048, true), (2100, true)],
    },
    Kernel {
        name: "stencil",
        code: STENCIL,
        setup: SQUARES,
        call: "kernel(N, (void *)A, (void *)B)",
        runs: &[(50, false), (500, false), (1000, true), (2000, true)],
    },
    Kernel {
        name: "softmax",
        code: SOFTMAX,
        setup: "float *x = floats((size_t)N * N), *y = floats((size_t)N * N);",
        call: "kernel(N, (void *)x, (void *)y)",
        runs: &[(64, false), (512, false), (1024, true)],
    },
];

fn main() {
    // What cargo adds is no name of a kernel.
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let folder = std::env::temp_dir().join(format!("accel-machine-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let machine = machine(&folder);
    let compiler = compiler();
    let core = machine.machine.as_deref().unwrap();
    println!(
        "{}: {:?}, DRAM {:.1} GB/s, {:?} ns",
        machine.name, core.caches, machine.dram_gb_s, machine.dram_latency_ns
    );
    println!("kernel           N      from  opt   measured ms  predicted ms        from          to   ratio  inside");
    let mut rows = Vec::new();
    for kernel in KERNELS.iter().filter(|own| names.is_empty() || names.iter().any(|name| own.name.contains(name))) {
        for opt in OptLevel::ALL {
            let binary = compiled(&folder, kernel, opt);
            for (n, cold) in kernel.runs {
                let output = Command::new(&binary).args([n.to_string(), u8::from(*cold).to_string()]).output().unwrap();
                let measured: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
                let request = Request {
                    code: kernel.code.to_owned(),
                    defines: [("N".to_owned(), *n)].into(),
                    device: DeviceRef::Own(machine.clone()),
                    opt_level: opt,
                    compiler,
                    warm: !cold,
                    ..Request::default()
                };
                let report = predict(&request, &mut Unattended).unwrap();
                let [low, high] = report.latency_range_ms;
                let (expected, inside) = (report.latency_ms, (low..=high).contains(&measured));
                println!(
                    "{:<12} {n:>9} {:>7}  {}  {measured:>12.6}  {expected:>12.6} {low:>11.6} {high:>11.6}  {:>6.2}  {}",
                    kernel.name,
                    if *cold { "cold" } else { "warm" },
                    opt.name(),
                    expected / measured,
                    if inside { "yes" } else { "NO" }
                );
                rows.push((kernel.name, (expected / measured - 1.0).abs(), inside));
            }
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    for name in KERNELS.iter().map(|kernel| kernel.name) {
        summary(name, rows.iter().filter(|(own, ..)| *own == name).map(|(_, error, inside)| (*error, *inside)));
    }
    summary("all", rows.iter().map(|(_, error, inside)| (*error, *inside)));
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
fn compiled(folder: &Path, kernel: &Kernel, opt: OptLevel) -> String {
    let [source, object, driver, binary] = ["kernel.c", "kernel.o", "driver.c", "run"].map(|name| path(folder, name));
    fs::write(&source, kernel.code).unwrap();
    let declared = kernel.code.lines().find(|line| line.contains("kernel(")).unwrap().trim_end_matches(['{', ' ']);
    let text = DRIVER.replace("DECLARATION", declared).replace("SETUP", kernel.setup).replace("CALL", kernel.call);
    fs::write(&driver, text).unwrap();
    cc(&["-c", &format!("-{}", opt.name()), "-march=native", &source, "-o", &object]);
    cc(&["-O2", &driver, &object, "-lm", "-o", &binary]);
    binary
}

/// The machine at hand.
fn machine(folder: &Path) -> Device {
    let base = std::env::var("MACHINE").unwrap_or_else(|_| "xeon-6148".to_owned());
    let mut device = device::find(&base).unwrap().device();
    let [source, binary] = ["calibrate.c", "calibrate"].map(|name| path(folder, name));
    fs::write(&source, CALIBRATE).unwrap();
    cc(&["-O3", "-march=native", &source, "-o", &binary]);
    let output = Command::new(&binary).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rows = text.lines().map(|line| line.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<f64>>());
    let machine = device.machine.as_mut().unwrap();
    let core = machine.core.as_mut().unwrap();
    core.clock_ghz = rows.next().unwrap()[0];
    // Compilers prefer 256 bits on Skylake-SP, whose clock falls with wider vectors (GCC's -mprefer-vector-width).
    if base == "xeon-6148" {
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
