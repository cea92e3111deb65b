//! `accel kernel`: source code, models and graphs, warm caches, several cores.

use std::path::Path;

use crate::{json, refusal, stdout};

/// `C = alpha A B + beta C` as a fragment in C.
const GEMM: &str = "for (int i = 0; i < D; i++) {
  for (int j = 0; j < D; j++) C[i][j] *= beta;
  for (int k = 0; k < D; k++)
    for (int j = 0; j < D; j++) C[i][j] += alpha * A[i][k] * B[k][j];
}
";

#[test]
fn kernel_counts_misses_and_prices_source_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gemm.c").display().to_string();
    std::fs::write(&path, GEMM).unwrap();
    let base = ["kernel", path.as_str(), "--define", "D=1024", "--level", "L1=32KiB", "--level", "L2=512KiB"];
    let answer = json(&[&base[..], &["--json"]].concat());
    assert_eq!(answer["features"]["load_ops"], 3_222_274_048u64);
    assert_eq!(answer["features"]["store_ops"], 1_074_790_400u64);
    for level in answer["levels"].as_array().unwrap() {
        assert_eq!(level["accesses"], 4_297_064_448u64);
        assert_eq!(level["compulsory_misses"], 196_608);
        assert_eq!(level["capacity_misses"], 67_043_328);
    }
    let ms = |opt: &str| json(&[&base[..], &["--opt-level", opt, "--json"]].concat())["latency_ms"].as_f64().unwrap();
    let [o0, o1, o2, o3] = ["O0", "-O1", "2", "o3"].map(ms);
    assert!(o0 > o1 && o1 > o2 && o2 >= o3 && o3 > 0.0, "{o0} {o1} {o2} {o3}");
    let text = stdout(&base);
    for wanted in ["closed form", "3*D^3 + D^2", "67,043,328", "L2", "Assumptions:", "elements at a time"] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    for (flags, wanted) in [
        (&["--define", "D"][..], "Write it as N=1024"),
        (&["--define", "D=many"], "Write it as N=1024"),
        (&["--level", "L1"], "Write it as L1=32KiB"),
        (&["--level", "L1=1"], "levels[0].capacity_bytes"),
        (&["--device", "abacus"], "epyc-7452"),
        (&["--opt-level", "O9"], "Choose one of O0, O1, O2, O3"),
        (&["--element", "f99"], "there is no such type"),
        (&["--language", "rust"], "Choose one of c, python"),
        (&["--probability", "-1"], "Choose a number from 0 to 1"),
        (&["--line-bytes", "65"], "power of two"),
    ] {
        let text = refusal(&[&["kernel", path.as_str()], flags].concat());
        assert!(text.contains(wanted), "{flags:?}: {text}");
    }
    assert!(refusal(&["kernel", "nowhere.c"]).contains("cannot read nowhere.c"));
    std::fs::write(&path, b"x[0] = \xff;").unwrap();
    assert!(refusal(&["kernel", &path]).contains("byte 7 is not UTF-8"));
}

#[test]
fn kernel_prices_the_operators_of_a_model() {
    let base = ["kernel", "--model", "llama-3-8b", "--layer", "0", "--batch-size", "2", "--prompt-tokens", "512"];
    let prefill = json(&[&base[..], &["--phase", "prefill", "--json"]].concat());
    let rows = prefill["operators"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {rows:#?}"));
    // 2 x 512 tokens through the matrices of Llama 3 8B.
    for (name, sizes, runs) in [
        ("matmul q", "1024 x 4096 x 4096", 1),
        ("matmul k", "1024 x 1024 x 4096", 1),
        // The gate, and what it gates.
        ("matmul mlp", "1024 x 14336 x 4096", 2),
        ("matmul mlp_out", "1024 x 4096 x 14336", 1),
    ] {
        let own = row(name);
        assert_eq!((own["sizes"].as_str(), own["runs"].as_u64()), (Some(sizes), Some(runs)));
        let [m, n, k] = sizes.split(" x ").map(|side| side.parse::<f64>().unwrap()).collect::<Vec<_>>()[..] else {
            panic!("{sizes}")
        };
        assert_eq!(own["operations"].as_f64(), Some(2.0 * m * n * k));
        assert_eq!(own["bytes"].as_f64(), Some(2.0 * (m * k + k * n + m * n)));
    }
    // Two sequences of 32 heads, each query with its own key and those before.
    let attention = row("attention attended");
    assert_eq!(attention["operations"].as_f64(), Some(4.0 * 128.0 * 32.0 * 2.0 * 512.0 * 513.0 / 2.0));
    let sum: f64 = rows.iter().map(|row| row["ms"].as_f64().unwrap()).sum();
    let all = prefill["latency_ms"].as_f64().unwrap();
    assert!((sum / all - 1.0).abs() < 1e-9, "{sum} {all}");
    // All layers are as many of one, and reading weights limits a token.
    let whole = json(&["kernel", "--model", "llama-3-8b", "--phase", "decode", "--decode-tokens", "1", "--json"]);
    let whole = whole["operators"].as_array().unwrap();
    let mlp = whole.iter().find(|row| row["name"] == "matmul mlp").unwrap();
    assert_eq!((mlp["runs"].as_u64(), mlp["limit"].as_str()), (Some(64), Some("memory")));
    let text = stdout(&base);
    for wanted in ["prefill matmul q", "decode matmul q", "on h100-sxm", "Would help: fp8", "Assumptions:"] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    for (flags, wanted) in [
        (&["--layer", "32"][..], "the model has 32 layers"),
        (&["--phase", "forward"], "Choose one of prefill, decode"),
        (&["--device", "epyc-7452"], "h100-sxm"),
        (&["--define", "N=1"], "--define says something of source code"),
        (&["--prompt-tokens", "0"], "prompt_tokens"),
    ] {
        let text = refusal(&[&["kernel", "--model", "llama-3-8b"], flags].concat());
        assert!(text.contains(wanted), "{flags:?}: {text}");
    }
    assert!(refusal(&["kernel", "--model", "llama-9"]).contains("llama-3-8b"));
    assert!(refusal(&["kernel", "x.c", "--batch-size", "2"]).contains("--batch-size belongs to --model"));
}

#[test]
fn kernel_prices_the_operators_of_a_graph() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/onnx");
    let path = |name: &str| folder.join(name).display().to_string();
    let cnn = json(&["kernel", &path("tiny_cnn.onnx"), "--json"]);
    let rows = cnn["operators"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["name"].as_str().unwrap().starts_with("conv") && row["class"] == "product"));
    // The free dimension is the batch.
    let operations = |batch: &str| {
        let list = json(&["kernel", &path("symbolic_batch.onnx"), "--batch-size", batch, "--json"]);
        let rows = list["operators"].as_array().unwrap();
        rows.iter().map(|row| row["operations"].as_f64().unwrap()).sum::<f64>()
    };
    assert_eq!(8.0 * operations("1"), operations("8"));
    let text = stdout(&["kernel", &path("symbolic_batch.onnx"), "--device", "l4"]);
    assert!(text.contains("free dimensions were filled in") && text.contains("on l4"), "{text}");
    assert!(refusal(&["kernel", "nowhere.onnx"]).contains("nowhere.onnx: no such file"));
}

/// The file of that name in `folder`, with that content.
fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn warm_caches_fetch_nothing_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let code = "void saxpy(int n, float a, const float *restrict x, float *restrict y) {\n  \
                for (int i = 0; i < n; i++) y[i] += a * x[i];\n}\n";
    let path = file(&folder, "saxpy.c", code);
    let of = |n: &str, warm: &[&str]| json(&[&["kernel", &path, "--define", n, "--json"], warm].concat());
    let (cold, warm) = (of("n=2048", &[]), of("n=2048", &["--warm"]));
    assert_eq!(cold["levels"][0]["compulsory_misses"], 256);
    assert!(warm["levels"].as_array().unwrap().iter().all(|level| level["compulsory_misses"] == 0));
    let ms = |answer: &serde_json::Value| answer["latency_ms"].as_f64().unwrap();
    assert!(ms(&warm) < 0.5 * ms(&cold), "{} {}", ms(&warm), ms(&cold));
    assert_eq!(warm["features"], cold["features"]);
    // 128 MiB fit no cache: warm or cold is the same.
    assert_eq!(ms(&of("n=16777216", &["--warm"])), ms(&of("n=16777216", &[])));
    assert!(refusal(&["kernel", &path, "--warm", "--device", "h100-sxm"]).contains("warm is true"));
}

#[test]
fn cores_share_the_loops_that_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let code = |pragma: &str| {
        format!(
            "void scale(int n, double x[n][n], double y[n][n]) {{\n{pragma}\n  for (int i = 0; i < n; i++)\n    \
             for (int j = 0; j < n; j++) y[i][j] = exp(x[i][j]);\n}}\n"
        )
    };
    let path = file(&folder, "scale.c", &code("#pragma omp parallel for schedule(static)"));
    let of = |cores: &str| json(&["kernel", &path, "--define", "n=2000", "--cores", cores, "--json"]);
    let ms = |answer: &serde_json::Value| answer["latency_ms"].as_f64().unwrap();
    let (one, eight) = (of("1"), of("8"));
    assert!((6.0..8.1).contains(&(ms(&one) / ms(&eight))), "{} {}", ms(&one), ms(&eight));
    for same in ["features", "levels", "energy_j"] {
        assert_eq!(one[same], eight[same], "{same}");
    }
    // A triangle: the busiest core has most of the rounds of its rows.
    let code = "void triangle(int n, double y[n][n]) {\n#pragma omp parallel for\n  for (int i = 0; i < n; i++)\n    \
                for (int j = 0; j < i; j++) y[i][j] = exp(y[i][j]);\n}\n";
    let triangle = file(&folder, "triangle.c", code);
    let of = |cores: &str| ms(&json(&["kernel", &triangle, "--define", "n=2000", "--cores", cores, "--json"]));
    let gain = of("1") / of("8");
    assert!((3.5..4.8).contains(&gain), "{gain}");
    // Streams from memory end where its bandwidth does: 8 channels, 5.6 times what one core takes.
    let code = "void add(int n, double *restrict x, double *restrict y) {\n#pragma omp parallel for\n  \
                for (int i = 0; i < n; i++) y[i] += x[i];\n}\n";
    let stream = file(&folder, "add.c", code);
    let of = |cores: &str| ms(&json(&["kernel", &stream, "--define", "n=80000000", "--cores", cores, "--json"]));
    assert!((of("16") / of("32") - 1.0).abs() < 0.1, "{} {}", of("16"), of("32"));
    let serial = file(&folder, "serial.c", &code.replace("#pragma omp parallel for\n", ""));
    assert!(refusal(&["kernel", &serial, "--cores", "2"]).contains("no loop of the source is marked as parallel"));
    assert!(refusal(&["kernel", &path, "--cores", "33"]).contains("Choose a number from 1 to 32"));
    assert!(refusal(&["kernel", &path, "--cores", "2", "--device", "h100-sxm"]).contains("cores is 2"));
    let numba = file(
        &folder,
        "scale.py",
        "from numba import njit, prange\n@njit(parallel=True)\ndef scale(x):\n    for i in prange(x.shape[0]):\n        \
         for j in range(x.shape[1]):\n            x[i, j] = np.exp(x[i, j])\n",
    );
    let of = |cores: &str| ms(&json(&["kernel", &numba, "--shape", "x: f64[2000, 2000]", "--cores", cores, "--json"]));
    assert!((6.0..8.1).contains(&(of("1") / of("8"))));
}
