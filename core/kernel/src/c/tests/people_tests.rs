//! Sources as people write them: what is read, and what is refused where it stands.

use super::*;

#[test]
fn polybench_in_another_type() {
    let (name, value) = crate::report::define("DATA_TYPE=float").unwrap();
    let given = Given::defines(&[(name.as_str(), value), ("NI", 5), ("NJ", 4), ("NK", 3)]);
    let kernel = given.read(PASTED).unwrap();
    assert!(kernel.program.arrays.iter().all(|array| array.element == Element::F32));
    assert!(!kernel.program.assumptions.iter().any(|text| text.contains("DATA_TYPE")));
    assert!(crate::report::define("DATA_TYPE=bf16").is_err());
}

#[test]
fn hostile_sources_of_other_dialects_end() {
    let times = |part: &str, count: usize| part.repeat(count);
    for code in [
        format!("namespace a {{ {} }}", times("std::vector<int> v; ", 40_000)),
        times("for (int x : ", 100_000),
        times("for (", 200_000),
        format!("__global__ void f(float *x) {{ {} }}", times("x[threadIdx.x] += 1; ", 100_000)),
        times("__global__ void f() {} ", 4_000),
        times("template <typename T> ", 5_000),
        // Sizes that are made of each other, and of themselves.
        format!(
            "__global__ void f(int n, float *x) {{ x[threadIdx.x] = n; }} int main() {{ {} f<<<a0, a0>>>(a0, x); }}",
            (0..30).map(|i| format!("int a{i} = {} 1; ", format!("a{} + ", i + 1).repeat(50))).collect::<String>()
        ),
        "__global__ void f(int n, float *x) { x[threadIdx.x] = n; } int main() { int a = b, b = a; f<<<a, b>>>(a, x); }"
            .to_owned(),
        format!("auto a = 1; {}", times("int &b = a; ", 3_000)),
        format!("for (int i = 0; i < n; i++) {{ {} }}", (0..30_000).map(|i| format!("a{i}++; ")).collect::<String>()),
    ] {
        let _ = Given::default().read(&code);
    }
}

#[test]
fn operations_on_integers_are_told_from_subscripts() {
    #[derive(Default)]
    struct Integers(u32, u32);
    impl Watch for Integers {
        fn work(&mut self, work: &Work) {
            self.0 += work.integer_ops;
            self.1 += work.subscript_ops;
        }
    }
    let code = "void f(int n, int *a, const int *b) { for (int i = 0; i < 4; i++) a[2 * i + 1] += 3 * b[i + 1]; }";
    let kernel = Given::default().read(code).unwrap();
    let mut integers = Integers::default();
    run(&kernel.program, &mut integers);
    assert_eq!((integers.0, integers.1), (4 * 5, 4 * 3));
}

/// Sources as people write them, which lie beside some checkouts: those that are read, and words of the refusal of others.
#[test]
fn sources_as_people_write_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases/kernel");
    let Ok(files) = std::fs::read_dir(folder) else {
        println!("skipped: ../shared/cases/kernel is not there");
        return;
    };
    let refused = [
        ("avx_intrin.c", "vector intrinsics"),
        ("break_loop.c", "`return`"),
        ("spmv_csr.c", "decided by data"),
        ("while_data.c", "how often this loop runs"),
        ("fortran.f90", "Fortran"),
        ("mlir.mlir", "MLIR"),
        ("stablehlo.mlir", "MLIR"),
        ("hlo.txt", "HLO"),
    ];
    let kinds = ["c", "cpp", "cu", "cl", "f90", "mlir", "txt"];
    for file in files.flatten().map(|file| file.path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !file.extension().is_some_and(|extension| kinds.iter().any(|kind| extension == *kind)) {
            continue;
        }
        let code = std::fs::read_to_string(&file).unwrap();
        let read = crate::foreign::check(&code).and_then(|()| Given::default().read(&code));
        match (refused.iter().find(|(own, _)| *own == name), read) {
            (None, read) => drop(read.unwrap_or_else(|error| panic!("{name}: {error}"))),
            (Some((_, words)), Err(error)) => assert!(error.to_string().contains(words), "{name}: {error}"),
            (Some(_), Ok(_)) => panic!("{name} is read"),
        }
    }
}

#[test]
fn what_is_not_known_is_refused_where_it_stands() {
    let cases = [
        ("for (;;) x[0] = 1;", (1, 1), "never ends"),
        ("int i = 0;\nwhile (1) i++;", (2, 1), "never ends"),
        ("while (x[0] > 1) x[0] = x[0] / 2;", (1, 1), "`trips: 100`"),
        ("do { x[0] = 1; } while (x[0]);", (1, 1), "how often this loop runs"),
        ("for (int i = 0; i < n; i--) x[i] = 1;", (1, 17), "never ends as written"),
        ("for (int i = 0; i < n; i += 0) x[i] = 1;", (1, 1), "never ends"),
        ("for (int i = 0; i < n; i *= 2) x[i] = 1;", (1, 1), "starts below 1"),
        ("for (int i = n; i >= 0; i /= 2) x[i] = 1;", (1, 1), "stops at 0"),
        ("for (int i = 0; i < n; i++) { i = i + 1; }", (1, 1), "changed within the loop"),
        ("for (unsigned i = n - 1; i >= 0; i--) x[i] = 1;", (1, 26), "unsigned, never below zero"),
        ("for (size_t i = n; i > -1; --i) x[i] = 1;", (1, 20), "unsigned, never below zero"),
        ("void f(unsigned n) { for (; n >= 0; n--) x[n] = 1; }", (1, 29), "unsigned, never below zero"),
        ("for (char c = 0; c < 200; c++) x[c] = 1;", (1, 18), "never above 127"),
        ("for (unsigned char i = 0; i < 300; i++) x[i] = 1;", (1, 27), "never above 255"),
        ("for (short i = 0; i > -40000; i--) y[0] = 1;", (1, 19), "never below -32768"),
        ("for (int i = 0; i < 9; i++) if ((i ^ (i * i)) & 1) x[i] = 1;", (1, 33), "by a formula that is not read"),
        ("for (int i = 0; i < 9; i++) if ((i | i) > 3) x[i] = 1;", (1, 33), "by a formula that is not read"),
        ("for (int i = 0; i < 9; i++) { int k = i ^ (i * i); x[k] = 1; }", (1, 54), "by a formula that is not read"),
        (
            "int k;\nfor (int i = 0; i < 9; i++) { k = i | i; if (k) x[0] = 1; }",
            (2, 46),
            "by a formula that is not read",
        ),
        ("for (int i = 0; i < 9; i++) x[1 << i] = 1;", (1, 31), "by a formula that is not read"),
        ("for (int i = 0; i * i < n; i++) x[i] = 1;", (1, 17), "when i ends"),
        ("for (int i = 0; i != n; i += 2) x[i] = 1;", (1, 17), "step over"),
        ("for (int i = 0; i < n; i++) {\n  if (x[i] > 0)\n    break;\n}", (3, 5), "`break`"),
        ("for (int i = 0; i < n; i++) { if (x[i]) return; }", (1, 41), "`return`"),
        ("for (int i = 0; i < n; i++) { goto end; } end: ;", (1, 31), "`goto`"),
        ("void f(int n) { f(n - 1); }", (1, 17), "calls itself"),
        (
            "void g(int n);\nvoid f(int n) { g(n); }\nvoid g(int n) { f(n); }\nvoid h(void) { f(1); }",
            (3, 17),
            "calls itself",
        ),
        ("void f(double *a) { a[0] = mystery(a[1]); }", (1, 28), "what mystery does is not known"),
        ("void f(double a[4]) { int k; (&k)[0] = 1; }", (1, 32), "no array"),
        ("union p { double x; int y; };\nvoid f(union p *a) {\n  a[0].x = 1;\n}", (3, 3), "a union"),
        ("struct p { double x; int y; };\nvoid f(struct p *a) {\n  a[0].x = 1;\n}", (2, 18), "differ in size"),
        ("void f(double (*g)(double), double *a) { a[0] = g(a[1]); }", (1, 49), "g is not a function"),
        ("void f(double a[4]) { a[0][1] = 2; }", (1, 23), "fewer extents"),
        ("void f(double a[4][4]) { a[0] = 2; }", (1, 26), "needs 1 more"),
        ("void f(int n) {\n  x[0] = 1\n}", (3, 1), "expected `;`"),
        ("void f(int n) {\n  x[0] = ;\n}", (2, 10), "is not C here"),
        ("void f(void) { x[0] = (1; }", (1, 27), "`)` is missing"),
        ("void f(void) { x[0] = 1;", (1, 24), "`}` is missing"),
        ("void f(void) { } }", (1, 18), "closes nothing"),
        ("real y[4];\ny[0] = 1;", (1, 6), "typedef double real;"),
        ("/* for ever", (1, 1), "never ends"),
        ("x[0] = \"abc", (1, 8), "quotation mark"),
        ("x[0] = 1;\n\u{0}", (2, 1), "means nothing"),
        ("x[0] = 1;\n  é = 2;", (2, 3), "means nothing"),
        ("#define A B\n#define B A\nx[0] = A;", (3, 8), "expands to itself"),
        ("#define N 4\n#define N 5\nx[0] = 1;", (2, 1), "another value"),
        ("#if 1\nx[0] = 1;", (1, 1), "never closed"),
        ("#endif\nx[0] = 1;", (1, 1), "no `#if`"),
        ("#error no\nx[0] = 1;", (1, 1), "refuses"),
        ("x[0] = 99999999999999999999;", (1, 8), "too large"),
        ("x[0] = ({ 1; });", (1, 9), "block within an expression"),
        ("asm(\"nop\");", (1, 1), "assembly"),
        ("auto f = [&](int i) { return i; };", (1, 10), "lambda"),
        ("std::map<int, int> m;", (1, 6), "maps"),
        ("__m256 v = _mm256_loadu_ps(x);", (1, 1), "vector intrinsics"),
        ("", (1, 1), "no code"),
        ("int x;", (1, 1), "nothing that runs"),
        ("void f(void) {}\nvoid g(void) {}", (1, 1), "f, g"),
        ("double x[4];\nfor (int i = 0; i < 2; i++) x[i][0] = 1;", (2, 29), "fewer extents"),
        ("for (int i = 0; i < x[0]; i++) y[i] = 1;", (1, 17), "when i ends"),
        ("for (int i = 0; i < n; i++) // trips: 3\n  ;\n// probability: 2\nx[0] = 1;", (3, 1), "0 to 1"),
    ];
    let wrong = cases.iter().filter_map(|(code, place, words)| {
        let (line, column, text) = refused(code);
        let right = text.contains(words) && (line, column) == *place;
        (!right).then(|| format!("{code}\n  {text}\n  and not {place:?} {words}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn opencl_is_cuda_with_other_names() {
    let opencl = "#define TS 4
__kernel void mm(const int N, const __global float* A, const __global float* B, __global float* C) {
    const int row = get_local_id(0);
    const int col = get_local_id(1);
    const int r = TS*get_group_id(0) + row;
    const int c = get_global_id(1);
    __local float a[TS][TS];
    __local float b[TS][TS];
    float sum = 0.0f;
    for (uint t=0; t<N/TS; t++) {
        a[col][row] = A[(TS*t + col)*N + r];
        b[col][row] = B[c*N + TS*t + row];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k=0; k<TS; k++) sum = mad(a[k][row], b[col][k], sum);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    C[c*N + r] = sum;
}";
    let cuda = "#define TS 4
__global__ void mm(const int N, const float* A, const float* B, float* C) {
    const int row = threadIdx.x;
    const int col = threadIdx.y;
    const int r = TS*blockIdx.x + row;
    const int c = blockIdx.y * blockDim.y + threadIdx.y;
    __shared__ float a[TS][TS];
    __shared__ float b[TS][TS];
    float sum = 0.0f;
    for (unsigned int t=0; t<N/TS; t++) {
        a[col][row] = A[(TS*t + col)*N + r];
        b[col][row] = B[c*N + TS*t + row];
        __syncthreads();
        for (int k=0; k<TS; k++) sum = fmaf(a[k][row], b[col][k], sum);
        __syncthreads();
    }
    C[c*N + r] = sum;
}";
    let given = Given::defines(&[("N", 8), ("gridDim_x", 2), ("gridDim_y", 2), ("blockDim_x", 4), ("blockDim_y", 4)]);
    let counted = |code: &str| {
        let kernel = given.read(code).unwrap();
        let counts = crate::count::count(&kernel.program).unwrap();
        [&counts.flops, &counts.load_ops, &counts.store_ops].map(|quantity| quantity.count.value())
    };
    assert_eq!(counted(opencl), counted(cuda));
    assert_eq!(counted(opencl)[0], f64::from(2 * 8 * 8 * 8));
}

/// What the host launches a kernel with, where nothing changes it on the way.
#[test]
fn arguments_of_a_launch_are_what_the_host_declares() {
    let launched = |main: &str, arguments: &str| {
        let code = format!(
            "__global__ void scale(int m, int n, float a, float *x) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < m * n) x[i] *= a;
}}
int main(int argc, char **argv) {{
  {main}
  scale<<<(m * n + 255) / 256, 256>>>({arguments}, 2.0f, x);
}}"
        );
        let kernel = Given::default().read(&code).unwrap();
        let value = |name: &str| {
            let symbol = kernel.program.symbols.iter().find(|symbol| symbol.name == name);
            symbol.and_then(|symbol| symbol.value)
        };
        (value("m"), value("n"))
    };
    let cases = [
        ("int m = 512, n = 1 << 4; float *x;", "m, n", (512, 16)),
        ("const int m = 100; int n = m * 2 + 3; float *x;", "m, n", (100, 203)),
        ("int m = 30; int n = 40; float *x; cudaMalloc(&x, m * n * sizeof(float));", "m, n / 2", (30, 20)),
        // Whoever changes it, or may, leaves the default.
        ("int m = 512, n = 7; float *x; if (argc > 1) m = atoi(argv[1]);", "m, n", (1024, 7)),
        ("int m = 512, n = 7; float *x; scanf(\"%d\", &n);", "m, n", (512, 1024)),
        ("int m = 512, n = 7; float *x; n += m;", "m, n", (512, 1024)),
        ("int m = 512; int n = atoi(argv[1]); float *x;", "m, n", (512, 1024)),
    ];
    for (main, arguments, (m, n)) in cases {
        assert_eq!(launched(main, arguments), (Some(m), Some(n)), "{main}");
    }
}

#[test]
fn a_work_group_has_the_size_that_the_source_requires() {
    let code = "#define TS 8
__kernel __attribute__((reqd_work_group_size(TS, 4, 1))) void copy(const int n, __global const float *x, __global float *y) {
  int i = get_global_id(0), j = get_global_id(1);
  if (i < n && j < n) y[j * n + i] = x[j * n + i];
}";
    let kernel = Given::defines(&[("n", 64)]).read(code).unwrap();
    let values = kernel.program.values();
    let threads = &kernel.grid.as_ref().unwrap().threads;
    let sizes: Vec<i64> = threads.iter().map(|axis| axis.extent.value(&values).unwrap()).collect();
    assert_eq!(sizes, [4, 8]);
    assert!(!kernel.program.assumptions.iter().any(|text| text.contains("with blockDim.x = ")));
}
