//! How long whole answers take, from the source to the report, against what each may take: operators of libraries,
//! the kernels of PolyBench at MEDIUM, a block of a language model, sources that are made to take long, and those that
//! lie beside some checkouts: `cargo bench -p accel-kernel --bench answers [-- NAME…]`, where NAMEs choose by part of a name.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use accel_ground::device::DeviceRef;
use accel_ground::progress::Unattended;
use accel_kernel::predict;
use accel_kernel::report::{Language, Request};

/// How often each is answered at most, and for how long in all, in ms; the median counts.
const MOST_TIMES: usize = 5;
const LONG_ENOUGH_MS: f64 = 1500.0;

/// Operators of libraries: what is called, what it is given, and the shapes.
const OPERATORS: [(&str, &str, &[&str]); 33] = [
    ("matmul", "a, b: torch.matmul(a, b)", &["a: f32[4096, 4096]", "b: f32[4096, 4096]"]),
    ("linear", "x, w, b: F.linear(x, w, b)", &["x: bf16[8, 2048, 4096]", "w: bf16[11008, 4096]", "b: bf16[11008]"]),
    ("bmm", "a, b: torch.bmm(a, b)", &["a: f32[96, 1024, 64]", "b: f32[96, 64, 1024]"]),
    ("addmm", "c, a, b: torch.addmm(c, a, b)", &["c: f32[2048, 512]", "a: f32[2048, 768]", "b: f32[768, 512]"]),
    ("einsum of two", "a, b: torch.einsum('bhwc,cd->bhwd', a, b)", &["a: f32[32, 56, 56, 64]", "b: f32[64, 256]"]),
    (
        "einsum of three",
        "a, v, s: torch.einsum('bgk,bkd,bk->bgd', a, v, s)",
        &["a: f32[64, 256, 512]", "v: f32[64, 512, 128]", "s: f32[64, 512]"],
    ),
    ("conv2d", "x, w: F.conv2d(x, w, padding=1)", &["x: f32[32, 64, 56, 56]", "w: f32[128, 64, 3, 3]"]),
    ("conv2d stride", "x, w: F.conv2d(x, w, stride=2, padding=3)", &["x: f32[32, 3, 224, 224]", "w: f32[64, 3, 7, 7]"]),
    ("conv groups", "x, w: F.conv2d(x, w, padding=1, groups=96)", &["x: f32[32, 96, 56, 56]", "w: f32[96, 1, 3, 3]"]),
    ("conv transpose", "x, w: F.conv_transpose2d(x, w, stride=2)", &["x: f32[16, 64, 32, 32]", "w: f32[64, 32, 2, 2]"]),
    ("add", "a, b: a + b", &["a: f32[8192, 8192]", "b: f32[8192, 8192]"]),
    ("gelu", "x: F.gelu(x)", &["x: f32[8, 2048, 4096]"]),
    ("softmax", "x: F.softmax(x, dim=-1)", &["x: f32[8, 16, 1024, 1024]"]),
    ("log softmax", "x: F.log_softmax(x, dim=-1)", &["x: f32[4096, 32000]"]),
    ("layer norm", "x: F.layer_norm(x, (4096,))", &["x: f32[8, 2048, 4096]"]),
    ("rms norm", "x: F.rms_norm(x, (4096,))", &["x: f32[8, 2048, 4096]"]),
    ("batch norm", "x, m, v: F.batch_norm(x, m, v)", &["x: f32[32, 64, 112, 112]", "m: f32[64]", "v: f32[64]"]),
    ("group norm", "x: F.group_norm(x, 32)", &["x: f32[16, 256, 64, 64]"]),
    (
        "attention",
        "q, k, v: F.scaled_dot_product_attention(q, k, v)",
        &["q: f16[8, 32, 2048, 128]", "k: f16[8, 32, 2048, 128]", "v: f16[8, 32, 2048, 128]"],
    ),
    (
        "grouped attention",
        "q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)",
        &["q: f16[4, 32, 4096, 128]", "k: f16[4, 8, 4096, 128]", "v: f16[4, 8, 4096, 128]"],
    ),
    ("embedding", "i, w: F.embedding(i, w)", &["i: i64[8, 2048]", "w: f32[32000, 4096]"]),
    ("cross entropy", "x, i: F.cross_entropy(x, i)", &["x: f32[4096, 32000]", "i: i64[4096]"]),
    ("gather", "x, i: torch.gather(x, 1, i)", &["x: f32[4096, 4096]", "i: i64[4096, 4096]"]),
    ("index select", "x, i: torch.index_select(x, 0, i)", &["x: f32[100000, 512]", "i: i64[65536]"]),
    (
        "scatter add",
        "x, i, y: x.scatter_add(0, i, y)",
        &["x: f32[4096, 1024]", "i: i64[4096, 1024]", "y: f32[4096, 1024]"],
    ),
    ("topk", "x: torch.topk(x, 8)", &["x: f32[4096, 32000]"]),
    ("sort", "x: torch.sort(x)", &["x: f32[4096, 4096]"]),
    ("cumsum", "x: torch.cumsum(x, -1)", &["x: f32[4096, 4096]"]),
    ("sum", "x: x.sum(dim=0)", &["x: f32[8192, 8192]"]),
    ("transpose", "x: x.transpose(0, 1).contiguous()", &["x: f32[8192, 8192]"]),
    ("max pool", "x: F.max_pool2d(x, 3, stride=2, padding=1)", &["x: f32[32, 64, 112, 112]"]),
    ("average pool", "x: F.avg_pool2d(x, 2)", &["x: f32[32, 256, 56, 56]"]),
    ("interpolate", "x: F.interpolate(x, scale_factor=2)", &["x: f32[16, 64, 64, 64]"]),
];

/// Values of parameters.
type Sizes = &'static [(&'static str, i64)];

/// Linear algebra, stencils and data mining, from their algorithms, under PolyBench's names where they differ, with the
/// extents of its MEDIUM dataset.
const LOOPS: &str = include_str!("../../../tests/fixtures/kernel/loops.c");
const POLYBENCH: [(&str, &str, Sizes); 30] = [
    ("gemm", "", &[("N", 200), ("M", 220), ("P", 240)]),
    ("2mm", "two_products", &[("N", 180), ("M", 190), ("P", 210), ("Q", 220)]),
    ("3mm", "three_products", &[("N", 180), ("M", 190), ("P", 200), ("Q", 220), ("R", 210)]),
    ("atax", "", &[("M", 390), ("N", 410)]),
    ("bicg", "", &[("M", 390), ("N", 410)]),
    ("mvt", "", &[("N", 400)]),
    ("gesummv", "", &[("N", 250)]),
    ("gemver", "", &[("N", 400)]),
    ("syrk", "", &[("M", 200), ("N", 240)]),
    ("syr2k", "", &[("M", 200), ("N", 240)]),
    ("trmm", "", &[("M", 200), ("N", 240)]),
    ("symm", "", &[("M", 200), ("N", 240)]),
    ("trisolv", "", &[("N", 400)]),
    ("cholesky", "", &[("N", 400)]),
    ("lu", "", &[("N", 400)]),
    ("ludcmp", "", &[("N", 400)]),
    ("durbin", "", &[("N", 400)]),
    ("gramschmidt", "", &[("M", 200), ("N", 240)]),
    ("doitgen", "", &[("Q", 40), ("R", 50), ("P", 60)]),
    ("covariance", "", &[("M", 240), ("N", 260)]),
    ("correlation", "", &[("M", 240), ("N", 260)]),
    ("jacobi-1d", "jacobi_1d", &[("T", 100), ("N", 400)]),
    ("jacobi-2d", "jacobi_2d", &[("T", 100), ("N", 250)]),
    ("seidel-2d", "seidel_2d", &[("T", 100), ("N", 400)]),
    ("fdtd-2d", "fdtd_2d", &[("T", 100), ("N", 200), ("M", 240)]),
    ("heat-3d", "heat_3d", &[("T", 100), ("N", 40)]),
    ("adi", "", &[("T", 100), ("N", 200)]),
    ("floyd-warshall", "floyd_warshall", &[("N", 500)]),
    ("deriche", "", &[("M", 720), ("N", 480)]),
    ("nussinov", "", &[("N", 500)]),
];
/// Not among the others: pairs of bases, and the best of all ways to divide what lies between.
const NUSSINOV: &str = "
#define MOST(a, b) ((a) >= (b) ? (a) : (b))
#define PAIR(a, b) ((a) + (b) == 3 ? 1 : 0)
void nussinov(int base[N], int table[N][N]) {
  for (int i = N - 1; i >= 0; i--)
    for (int j = i + 1; j < N; j++) {
      if (j - 1 >= 0) table[i][j] = MOST(table[i][j], table[i][j - 1]);
      if (i + 1 < N) table[i][j] = MOST(table[i][j], table[i + 1][j]);
      if (j - 1 >= 0 && i + 1 < N) {
        if (i < j - 1) table[i][j] = MOST(table[i][j], table[i + 1][j - 1] + PAIR(base[i], base[j]));
        else table[i][j] = MOST(table[i][j], table[i + 1][j - 1]);
      }
      for (int k = i + 1; k < j; k++) table[i][j] = MOST(table[i][j], table[i][k] + table[k + 1][j]);
    }
}";

/// Made to take long.
const HOSTILE: [(&str, &str); 9] = [
    (
        "modulus in one loop",
        "void f(double *x, double *y) { for (long i = 0; i < 1000000000; i++) y[i] += x[i % 1000]; }",
    ),
    (
        "modulus of products",
        "void f(double x[1000], double y[1000]) { for (int i = 0; i < 1000; i++) for (int j = 0; j < 1000; j++)
           for (int k = 0; k < 1000; k++) y[(i * j + k) % 1000] += x[(i * k + j) % 1000]; }",
    ),
    (
        "modulus in bounds",
        "void f(double x[1000]) { for (int i = 0; i < 5000; i++) for (int j = 0; j < i * i % 997; j++)
           for (int k = 0; k < (i * j) % 501; k++) x[k] += 1; }",
    ),
    (
        "conditions on products",
        "void f(double x[4000][4000]) { for (int i = 0; i < 4000; i++) for (int j = 0; j < 4000; j++)
           if (i * j % 7 == 3 && i * i + j * j < 9000000) x[i][j] += 1; }",
    ),
    (
        "scattered by data",
        "void f(int n, int *at, double *x) { for (long i = 0; i < 1000000000; i++) x[at[i]] += 1; }",
    ),
    (
        "chances within chances",
        "void f(double x[3000][3000], double y[3000][3000]) { for (int t = 0; t < 1000; t++) for (int i = 0; i < 3000; i++)
           for (int j = 0; j < 3000; j++) if (x[i][j] > 0) { if (y[j][i] > 0) x[j][i] = y[i][j]; else y[j][i] += 1; } }",
    ),
    (
        "eight triangles",
        "void f(double x[300]) { for (int a = 0; a < 300; a++) for (int b = 0; b < a; b++) for (int c = 0; c < b; c++)
           for (int d = 0; d < c; d++) for (int e = 0; e < d; e++) for (int g = 0; g < e; g++) for (int h = 0; h < g; h++)
             for (int i = 0; i < h; i++) x[a - b + c - d + e - g + h - i] += 1; }",
    ),
    (
        "columns of a large matrix",
        "void f(double x[20000][20000], double y[20000]) { for (int t = 0; t < 10; t++) for (int j = 0; j < 20000; j++)
           for (int i = 0; i < j; i++) y[j] += x[i][j] * x[j][i]; }",
    ),
    (
        "quotients of quotients",
        "void f(double x[3000000]) { for (int i = 1; i < 3000; i++) for (int j = 1; j < 3000; j++)
           x[(i * 1000 / j) + (j * 999 / i) % 1000] += x[i * j / 3]; }",
    ),
];

/// A block of a language model with a batch of 8 sequences of 1,024 tokens, 768 wide.
const GPT: &str = include_str!("../../../tests/fixtures/kernel_torch/gpt.py");

const DEVICES: [&str; 2] = ["epyc-7452", "h100-sxm"];

/// A question, and how many ms its answer may take.
struct Case {
    name: String,
    request: Request,
    bar_ms: f64,
}

fn main() {
    // What cargo adds is no name.
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let (mut late, mut all) = (0, 0);
    for case in cases() {
        if !names.is_empty() && !names.iter().any(|name| case.name.contains(name)) {
            continue;
        }
        let (mut times, mut outcome) = (Vec::new(), String::new());
        while times.len() < MOST_TIMES && times.iter().sum::<f64>() < LONG_ENOUGH_MS {
            let start = Instant::now();
            let answer = predict(&case.request, &mut Unattended);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            outcome = match answer {
                Ok(report) => {
                    let methods =
                        report.levels.iter().map(|level| level.method.split([':', ';']).next().unwrap_or_default());
                    methods.collect::<Vec<_>>().join(", ")
                }
                Err(error) => error.to_string().chars().take(100).collect(),
            };
        }
        times.sort_by(f64::total_cmp);
        let ms = times[times.len() / 2];
        all += 1;
        late += u32::from(ms > case.bar_ms);
        println!(
            "{:40} {ms:9.2} ms of {:5}  {}  {outcome}",
            case.name,
            case.bar_ms,
            if ms > case.bar_ms { "LATE" } else { "    " }
        );
    }
    println!("{late} of {all} are late");
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for device in DEVICES {
        let on = |name: &str, request: Request, bar_ms: f64| Case {
            name: format!("{name} on {device}"),
            request: Request { device: Some(DeviceRef::Known(device.to_owned())), ..request },
            bar_ms,
        };
        for (name, call, shapes) in OPERATORS {
            let (arguments, result) = call.split_once(": ").unwrap();
            let head = "import torch\nimport torch.nn.functional as F\n";
            let request = Request {
                code: format!("{head}def f({arguments}):\n    return {result}\n"),
                shapes: shapes.iter().map(|shape| (*shape).to_owned()).collect(),
                ..Request::default()
            };
            cases.push(on(&format!("operator {name}"), request, 20.0));
        }
        let defines = [("width", 768), ("heads", 12), ("length", 1024)];
        let request = Request {
            code: GPT.to_owned(),
            function: Some("Block".to_owned()),
            defines: defines.map(|(name, value)| (name.to_owned(), value)).into(),
            shapes: vec!["x: f32[8, 1024, 768]".to_owned()],
            ..Request::default()
        };
        cases.push(on("gpt block", request, 100.0));
    }
    // Of data that decide, PolyBench's sources say nothing.
    let loops = LOOPS.replace("probability", "likely");
    for (name, function, defines) in POLYBENCH {
        let request = Request {
            code: if name == "nussinov" { NUSSINOV.to_owned() } else { loops.clone() },
            language: Some(Language::C),
            function: Some(if function.is_empty() { name } else { function }.to_owned()),
            defines: defines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            ..Request::default()
        };
        cases.push(Case { name: format!("polybench {name}"), request, bar_ms: 1000.0 });
    }
    for (name, code) in HOSTILE {
        let request = Request { code: code.to_owned(), ..Request::default() };
        cases.push(Case { name: format!("hostile {name}"), request, bar_ms: 2000.0 });
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases/kernel");
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let code = std::fs::read_to_string(&file).unwrap();
        let request = Request { code, language: Language::of_file(&name), ..Request::default() };
        cases.push(Case { name: format!("shared {name}"), request, bar_ms: 2000.0 });
    }
    cases
}
