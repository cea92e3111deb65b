//! Against instrumented runs of the same text (tests/fixtures/kernel.py), and against what must be refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read;
use crate::Kernel;
use crate::naive::{Watch, run};
use crate::nest::{Access, Comparison, Condition, Element, Flops, Node, Program, Work};
use crate::source::{Fusion, MAX_BYTES, Shape, Source};
use accel_ground::error::{Error, Place};

mod people_tests;

const LOOPS: &str = include_str!("../../../../tests/fixtures/kernel/loops.c");
const EXPECTED: &str = include_str!("../../../../tests/fixtures/kernel/expected.json");

/// What the user says.
#[derive(Default)]
struct Given {
    defines: BTreeMap<String, i64>,
    shapes: Vec<Shape>,
    function: Option<String>,
}

impl Given {
    fn defines(pairs: &[(&str, i64)]) -> Self {
        let defines = pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { defines, ..Self::default() }
    }

    fn read(&self, code: &str) -> Result<Kernel, Error> {
        read(&Source {
            code,
            function: self.function.as_deref(),
            defines: &self.defines,
            shapes: &self.shapes,
            element: Element::F32,
            probability: 0.5,
            fusion: Fusion::None,
            backward: false,
        })
    }
}

/// What a run does: by array, and in all.
#[derive(Default)]
struct Tally {
    arrays: BTreeMap<usize, [i64; 4]>,
    flops: [u64; 6],
    /// Loads and stores in order: the array, the element, and whether it is a store.
    stream: Vec<(usize, i64, bool)>,
}

impl Watch for Tally {
    fn work(&mut self, work: &Work) {
        let Flops { add, mul, div, sqrt, min_max, special } = work.flops;
        for (sum, own) in self.flops.iter_mut().zip([add, mul, div, sqrt, min_max, special]) {
            *sum += u64::from(own);
        }
    }

    fn access(&mut self, array: usize, element: i64, access: &Access) {
        let sums = self.arrays.entry(array).or_default();
        let kind = usize::from(access.write);
        sums[kind] += 1;
        sums[2 + kind] += element + 1;
        self.stream.push((array, element, access.write));
    }
}

impl Tally {
    fn of(program: &Program) -> Self {
        let mut program = program.clone();
        certain(&mut program.body);
        let mut tally = Self::default();
        run(&program, &mut tally);
        tally
    }

    fn loads(&self) -> usize {
        self.stream.iter().filter(|(_, _, write)| !write).count()
    }

    fn stores(&self) -> usize {
        self.stream.len() - self.loads()
    }

    fn total_flops(&self) -> u64 {
        self.flops.iter().sum()
    }
}

/// Chances of nothing and of one become conditions, which can be run.
fn certain(nodes: &mut [Node]) {
    fn decide(condition: &mut Condition) {
        match condition {
            Condition::Chance(chance) => {
                assert!(*chance == 0.0 || *chance == 1.0);
                *condition = Condition::Compare((*chance as i64).into(), Comparison::Equal, 1.into());
            }
            Condition::And(a, b) | Condition::Or(a, b) => {
                decide(a);
                decide(b);
            }
            Condition::Not(a) => decide(a),
            Condition::Compare(..) => {}
        }
    }
    for node in nodes {
        match node {
            Node::Loop(own) => certain(&mut own.body),
            Node::Branch(branch) => {
                decide(&mut branch.condition);
                certain(&mut branch.then);
                certain(&mut branch.otherwise);
            }
            Node::Work(_) | Node::Library(_) => {}
        }
    }
}

#[test]
fn counts_are_those_of_instrumented_runs() {
    let runs: Vec<Value> = serde_json::from_str(EXPECTED).unwrap();
    assert!(runs.len() >= 100);
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    for run in runs {
        let defines: BTreeMap<String, i64> = serde_json::from_value(run["defines"].clone()).unwrap();
        let name = run["function"].as_str().unwrap();
        let given = Given { defines: defines.clone(), function: Some(name.to_owned()), ..Given::default() };
        // A program holds for all values of its parameters.
        let kernel = kernels
            .entry(name.to_owned())
            .or_insert_with(|| given.read(LOOPS).unwrap_or_else(|error| panic!("{name}: {error}")));
        for symbol in kernel.program.symbols.iter_mut().filter(|symbol| symbol.value.is_some()) {
            symbol.value = Some(defines.get(&symbol.name).copied().unwrap_or_else(|| symbol.value.unwrap()));
        }
        let tally = Tally::of(&kernel.program);
        let kinds = ["add", "mul", "div", "sqrt", "min_max", "special"];
        let flops = kinds.map(|kind| run["flops"][kind].as_u64().unwrap());
        assert_eq!(tally.flops, flops, "{name}: {kinds:?}");
        let arrays = run["arrays"].as_object().unwrap();
        assert_eq!(kernel.program.arrays.len(), arrays.len(), "{name}");
        for (number, array) in kernel.program.arrays.iter().enumerate() {
            let keys = ["loads", "stores", "load_sum", "store_sum"];
            let sums = keys.map(|key| arrays[&array.name][key].as_i64().unwrap());
            assert_eq!(tally.arrays.get(&number).copied().unwrap_or_default(), sums, "{name}: {}", array.name);
        }
    }
}

/// The fragment of a published cache model.
const FRAGMENT: &str = "for (int i = 0; i < D; i++) {
  for (int j = 0; j < D; j++)
    C[i][j] *= beta;
  for (int k = 0; k < D; k++)
    for (int j = 0; j < D; j++)
      C[i][j] += alpha * A[i][k] * B[k][j];
}
";

#[test]
fn a_fragment_without_declarations() {
    let kernel = Given::defines(&[("D", 6)]).read(FRAGMENT).unwrap();
    assert_eq!(kernel.function, None);
    let program = &kernel.program;
    let tally = Tally::of(program);
    assert_eq!(tally.stream.len(), 2 * 36 + 4 * 216);
    assert_eq!(tally.flops[..2], [216, 36 + 2 * 216]);
    let shapes: Vec<String> = program
        .arrays
        .iter()
        .map(|array| {
            let dims = array.dims.iter().map(|dim| dim.text(&|symbol| program.name(symbol))).collect::<Vec<_>>();
            format!("{}: {}[{}]", array.name, array.element.name(), dims.join(", "))
        })
        .collect();
    assert_eq!(shapes, ["C: f32[D, D]", "A: f32[D, D]", "B: f32[D, D]"]);
    // In a statement: its own loads left to right, then the one of what it changes, then the store.
    let last = &tally.stream[tally.stream.len() - 4..];
    assert_eq!(last, [(1, 35, false), (2, 35, false), (0, 35, false), (0, 35, true)]);
    assert!(program.assumptions.iter().any(|text| text.contains("alpha is not declared")));
}

/// As in PolyBench's files, without its header.
const PASTED: &str = r#"/* a comment: no hint */
#include <stdio.h>
#include <polybench.h>
#include "gemm.h"

static
void init_array(int ni, int nj, DATA_TYPE *alpha, DATA_TYPE POLYBENCH_2D(C,NI,NJ,ni,nj))
{
  int i, j;
  *alpha = 1.5;
  for (i = 0; i < ni; i++)
    for (j = 0; j < nj; j++)
      C[i][j] = (DATA_TYPE) ((i*j+1) % ni) / ni;
}

static
void print_array(int ni, int nj, DATA_TYPE POLYBENCH_2D(C,NI,NJ,ni,nj))
{
  POLYBENCH_DUMP_START;
  POLYBENCH_DUMP_BEGIN("C");
  for (int i = 0; i < ni; i++)
    fprintf (POLYBENCH_DUMP_TARGET, DATA_PRINTF_MODIFIER, C[i][0]);
  POLYBENCH_DUMP_END("C");
}

static
void kernel_gemm(int ni, int nj, int nk,
		 DATA_TYPE alpha,
		 DATA_TYPE beta,
		 DATA_TYPE POLYBENCH_2D(C,NI,NJ,ni,nj),
		 DATA_TYPE POLYBENCH_2D(A,NI,NK,ni,nk),
		 DATA_TYPE POLYBENCH_2D(B,NK,NJ,nk,nj))
{
  int i, j, k;
#pragma scop
  for (i = 0; i < _PB_NI; i++) {
    for (j = 0; j < _PB_NJ; j++)
	C[i][j] *= beta;
    for (k = 0; k < _PB_NK; k++) {
       for (j = 0; j < _PB_NJ; j++)
	  C[i][j] += alpha * A[i][k] * B[k][j];
    }
  }
#pragma endscop
}

int main(int argc, char** argv)
{
  int ni = NI;
  int nj = NJ;
  int nk = NK;
  DATA_TYPE alpha;
  DATA_TYPE beta;
  POLYBENCH_2D_ARRAY_DECL(C,DATA_TYPE,NI,NJ,ni,nj);
  POLYBENCH_2D_ARRAY_DECL(A,DATA_TYPE,NI,NK,ni,nk);
  init_array (ni, nj, &alpha, POLYBENCH_ARRAY(C));
  polybench_start_instruments;
  kernel_gemm (ni, nj, nk, alpha, beta, POLYBENCH_ARRAY(C), POLYBENCH_ARRAY(A), POLYBENCH_ARRAY(A));
  polybench_stop_instruments;
  polybench_prevent_dce(print_array(ni, nj, POLYBENCH_ARRAY(C)));
  POLYBENCH_FREE_ARRAY(C);
  return 0;
}
"#;

#[test]
fn polybench_as_pasted() {
    for extents in [["NI", "NJ", "NK"], ["ni", "nj", "nk"]] {
        let given = Given::defines(&[(extents[0], 5), (extents[1], 4), (extents[2], 3)]);
        let kernel = given.read(PASTED).unwrap();
        assert_eq!(kernel.function.as_deref(), Some("kernel_gemm"));
        let tally = Tally::of(&kernel.program);
        assert_eq!((tally.loads(), tally.stores()), (80 + 120, 80));
        assert_eq!(tally.flops[..2], [60, 140]);
        assert!(kernel.program.arrays.iter().all(|array| array.element == Element::F64));
    }
}

/// The line and column of a refusal, and all of its text.
fn refused(code: &str) -> (u64, u64, String) {
    match Given::default().read(code) {
        Err(error) => {
            let text = error.to_string();
            match error {
                Error::Input { place: Place::LineColumn(line, column), .. } => (line, column, text),
                _ => panic!("no place: {text}"),
            }
        }
        Ok(kernel) => (0, 0, format!("read as {:?}", kernel.program.body)),
    }
}

/// Loads, stores and FLOPs of a run, and the extents of the arrays.
fn counted(given: &Given, code: &str) -> (usize, usize, u64, String) {
    let kernel = given.read(code).unwrap_or_else(|error| panic!("{code}\n{error}"));
    let program = &kernel.program;
    let tally = Tally::of(program);
    let shapes: Vec<String> = program
        .arrays
        .iter()
        .map(|array| {
            let dims = array.dims.iter().map(|dim| dim.text(&|symbol| program.name(symbol))).collect::<Vec<_>>();
            format!("{}: {}[{}]", array.name, array.element.name(), dims.join(", "))
        })
        .collect();
    (tally.loads(), tally.stores(), tally.total_flops(), shapes.join("; "))
}

#[test]
fn what_code_does() {
    /// Loads, stores, FLOPs, and the extents of the arrays.
    type Counts<'a> = (usize, usize, u64, &'a str);
    let cases: &[(&str, Counts)] = &[
        // Extents from subscripts.
        ("for (int i = 1; i < N - 1; i++) y[i] = x[i - 1] + x[i + 1];", (12, 6, 6, "x: f32[N]; y: f32[N - 1]")),
        ("for (int i = 0; i <= N; i++) x[2 * i + 1] = 0;", (0, 9, 0, "x: f32[2*N + 2]")),
        ("for (int i = N - 1; i >= 0; i--) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("for (int i = 0; i < N; i++) for (int j = 0; j <= i; j++) L[i][j] = 1;", (0, 36, 0, "L: f32[N, N]")),
        (
            "void f(int n, double *a) { for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) a[i * n + j] *= 2; }",
            (1024 * 1024, 1024 * 1024, 1024 * 1024, "a: f64[n*n]"),
        ),
        (
            "void f(float a[][4], float (*b)[4]) { for (int i = 0; i < N; i++) a[i][3] = b[i][0]; }",
            (8, 8, 0, "a: f32[N, 4]; b: f32[N, 4]"),
        ),
        ("for (int i = 0; i < N; i++) for (int j = 0; j < N - i; j++) x[i + j] = 0;", (0, 36, 0, "x: f32[N]")),
        (
            "for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) x[i * N + j] = y[(N - 1 - i) * N + j];",
            (64, 64, 0, "y: f32[N*N]; x: f32[N*N]"),
        ),
        // Whatever a C programmer calls a matrix.
        ("void f(double **a) { for (int i = 0; i < N; i++) a[i][i] = 1; }", (0, 8, 0, "a: f64[N, N]")),
        (
            "typedef float real; real *v; void f(void) { for (int i = 0; i < N; i++) *(v + i) = 0; }",
            (0, 8, 0, "v: f32[N]"),
        ),
        (
            "void f(void) { double *a = (double *)malloc(N * sizeof(double)); for (int i = 0; i < N; i++) a[i] = 0; }",
            (0, 8, 0, "a: f64[N]"),
        ),
        (
            "void f(double a[N][N]) { for (int i = 0; i < N; i++) { double *row = a[i]; for (int j = 0; j < N; j++) row[j] += 1; } }",
            (64, 64, 64, "a: f64[N, N]"),
        ),
        (
            "void f(double a[N][N]) { for (int i = 0; i < N; i++) { double *row = &a[i][1]; row[2] = 1; } }",
            (0, 8, 0, "a: f64[N, N]"),
        ),
        (
            "void f(double a[N][N]) { double *p = a[0]; for (int i = 0; i < N * N; i++) p[i] = 1; }",
            (0, 64, 0, "a: f64[N, N]"),
        ),
        // Order, types, kinds.
        ("int a[4]; void f(void) { a[0] = a[1] * a[2] + 3; }", (2, 1, 0, "a: i32[4]")),
        (
            "double a[4]; void f(void) { a[0] = sqrt(a[1]) + fmax(a[2], 0.0) - fabs(a[3]) * exp(-a[1]); }",
            (4, 1, 6, "a: f64[4]"),
        ),
        ("double a[4]; void f(void) { a[0] = 2.0 * 3.0 + a[1] / (1.0 / 3.0); }", (1, 1, 2, "a: f64[4]")),
        ("double a[4]; void f(void) { a[0] = a[1] = a[2] = 0; a[3]++; --a[3]; }", (2, 5, 2, "a: f64[4]")),
        ("double a[4]; void f(int n) { a[0] = n * 2 + (double)n / 3; }", (0, 1, 2, "a: f64[4]")),
        ("double a[4]; void f(void) { a[0] = fma(a[1], a[2], a[3]); }", (3, 1, 2, "a: f64[4]")),
        // What the shared table of functions says: 1 / sqrt(x) either way, and `abs` by the type of its operand.
        ("double a[4]; void f(void) { a[0] = rsqrt(a[1]); }", (1, 1, 2, "a: f64[4]")),
        ("double a[4]; void f(void) { a[0] = 1.0 / sqrt(a[1]); }", (1, 1, 2, "a: f64[4]")),
        ("double a[4]; void f(void) { a[0] = max(2, 3) * fabs(a[1]); }", (1, 1, 1, "a: f64[4]")),
        ("int a[4]; void f(void) { a[0] = abs(a[1]) + max(a[2], 3); }", (2, 1, 0, "a: i32[4]")),
        ("#define N 3\nfor (int i = 0; i < N; i++) x[i] *= 1.0 / N;", (8, 8, 8, "x: f32[N]")),
        // Integers followed through variables.
        (
            "int n2 = N / 2; for (int i = 0; i < n2; i++) { int j = n2 + i; x[j] = x[i]; }",
            (4, 4, 0, "x: f32[max(N/2, 2*(N/2))]"),
        ),
        ("int i; for (i = 0; i < N; i++) x[i] = 0; x[i] = 1;", (0, 9, 0, "x: f32[max(N, max(0, N) + 1)]")),
        ("for (int i = 0, j = N - 1; i < j; i++) x[i] = x[j];", (7, 7, 0, "x: f32[N]")),
        ("enum { K = 3 }; const int M = K * 2; for (int i = 0; i < M; i++) x[i] = 0;", (0, 6, 0, "x: f32[2*K]")),
        ("for (int i = 0; i < (N < 5 ? N : 5); i++) x[i] = 0;", (0, 5, 0, "x: f32[min(N, 5)]")),
        ("for (int t = 0; t < N; t += 3) for (int i = t; i < min(t + 3, N); i++) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("for (int i = 0; i < N && i < 5; i++) x[i] = 0;", (0, 5, 0, "x: f32[min(N, 5)]")),
        ("for (int i = N; i-- > 0; ) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        // Loops that count without `for`.
        ("int i = 0; while (i < N) { x[i] = 0; i++; }", (0, 8, 0, "x: f32[N]")),
        ("int i = 0; while (i < N) { x[i] = 0; i += 2; }", (0, 4, 0, "")),
        ("int i = 0; do { x[i] = 0; i++; } while (i < N);", (0, 8, 0, "x: f32[max(N, 1)]")),
        ("int i = 9; do { x[i] = 0; i++; } while (i < N);", (0, 1, 0, "")),
        ("int i = N; while (i--) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("int i = N; while (--i) x[i] = 0;", (0, 7, 0, "x: f32[N]")),
        ("int i = 0; while (1) { if (i >= N) break; x[i] = 0; i++; }", (0, 8, 0, "x: f32[N]")),
        ("for (int i = 0; i < 20; i++) { if (i == N) break; x[i] = 0; }", (0, 8, 0, "")),
        ("int i = 1; while (i < N) { x[i] = 0; i *= 2; }", (0, 3, 0, "")),
        ("for (int s = N; s > 0; s >>= 1) x[s - 1] = 0;", (0, 4, 0, "x: f32[N]")),
        ("for (int s = N; s > 2; s /= 2) for (int i = 0; i < s; i++) x[i] = 0;", (0, 12, 0, "x: f32[N]")),
        ("for (int s = 3; s <= 27; s = s * 3) x[s] = 0;", (0, 3, 0, "")),
        // Pointers that move.
        (
            "void f(int n, const float *x, float *y) { const float *p = x; for (int i = 0; i < N; i++) *y++ = 2 * *p++; }",
            (8, 8, 8, "x: f32[N]; y: f32[N]"),
        ),
        ("float s; void f(float *x) { for (float *p = x; p < x + N; p++) s += *p; }", (8, 0, 8, "x: f32[N]")),
        (
            "void f(float *x) { float *p = x; for (int i = 0; i < N; i++) { for (int j = 0; j < 3; j++) *p++ = 1; p += 1; } }",
            (0, 24, 0, "x: f32[4*N - 1]"),
        ),
        ("void f(float *x) { float *p = x + 2; *++p = 1; p[-1] = 2; }", (0, 2, 0, "x: f32[4]")),
        // Structs.
        (
            "typedef struct { float x, y, z; } P; void f(P *p) { for (int i = 0; i < N; i++) p[i].y += p[i].z; }",
            (16, 8, 8, "p: f32[N, 3]"),
        ),
        (
            "struct S { int n; float *a; float b[4]; }; void f(struct S *s) { for (int i = 0; i < 2; i++) s->a[i] = s->b[i]; }",
            (2, 2, 0, "s_a: f32[2]; s_b: f32[4]"),
        ),
        // C++.
        (
            "template <typename T> void f(T *x) { for (int i = 0; i < N; ++i) x[i] = T(2) * x[i]; }",
            (8, 8, 8, "x: f32[N]"),
        ),
        (
            "void f(std::vector<std::vector<double>> &a) { for (size_t i = 0; i < a.size(); ++i) for (size_t j = 0; j < a[i].size(); ++j) a[i][j] = 0; }",
            (0, 1024 * 1024, 0, "a: f64[a_size, a_size_1]"),
        ),
        ("void f(std::vector<float> &a) { for (auto &v : a) v *= 2; }", (1024, 1024, 1024, "a: f32[a_size]")),
        (
            "namespace m { constexpr int K = 3; void f(float *x) { float &y = x[K]; y += 1; } }",
            (1, 1, 1, "x: f32[K + 1]"),
        ),
        ("void f(std::array<float, 5> &a) { for (float v : a) s += std::exp(v); }", (5, 0, 10, "a: f32[5]")),
        ("for (unsigned i = 0; N > i; ++i) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("for (size_t i = 0; i + 2 <= N; i += 2) { x[i] = 0; x[i + 1] = 0; }", (0, 8, 0, "x: f32[N]")),
        // Loops that a comment explains.
        ("// trips: 5\nwhile (x[0] > 1) x[0] = x[0] / 2;", (11, 5, 5, "x: f32[1]")),
        ("for (int i = 1; i < N; i *= 2) // trips: 3\n  s += 1.0f;", (0, 0, 3, "")),
        (
            "for (int i = 0; i < N; i++) for (int k = p[i]; k < p[i + 1]; k++) /* trips: 4 */ y[i] += v[k] * x[c[k]];",
            (8 * (1 + 4 * 5 + 1), 32, 64, "p: i32[N + 1]; v: f32[v_0]; x: f32[x_0]; c: i32[c_0]; y: f32[N]"),
        ),
        // The test that ends it, too; `do` tests behind each iteration.
        ("// trips: 5\nwhile (x[1] + x[2] > 1) x[0] = 1;", (12, 5, 6, "x: f32[3]")),
        ("// trips: 5\ndo x[0] = 1; while (x[1] + x[2] > 1);", (10, 5, 5, "x: f32[3]")),
        ("// trips: 5\nfor (; x[1] > 1; ) x[0] = 1;", (6, 5, 0, "x: i32[2]")),
        // Variables that each iteration moves.
        ("int k = 3;\n// trips: 5\nwhile (x[k] > 1) { y[2 * k] = 1; k += 2; }", (6, 5, 0, "x: f32[14]; y: f32[23]")),
        ("int k = 1;\n// trips: 5\nwhile (x[k] > 1) k++;", (6, 0, 0, "x: f32[7]")),
        ("int k = N;\n// trips: 3\ndo { k--; y[k] = 1; } while (x[0]);", (3, 3, 0, "x: f32[1]; y: f32[N]")),
        ("int k = 1; for (int i = 0; i < N; i++) { y[k] = 1; k += 2; }", (0, 8, 0, "y: f32[2*N]")),
        (
            "int k = 1; for (int i = 0; i < N; i++) { y[k] = 1; if (x[i] > 0) /* probability: 1 */ k += 2; }",
            (8, 8, 0, "y: f32[y_0]; x: f32[N]"),
        ),
        ("for (unsigned i = N - 1; i != -1; i--) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("for (unsigned char i = 0; i < 255; i++) x[i] = 0;", (0, 255, 0, "x: f32[255]")),
        ("do { x[0] = 1; } while (0);", (0, 1, 0, "x: f32[1]")),
        // Conditions.
        ("for (int i = 0; i < N; i++) { if (i == 2) continue; x[i] = 0; }", (0, 7, 0, "x: f32[N]")),
        ("void f(int n, double *x) { if (n <= 0) return; x[0] = 1; }", (0, 1, 0, "x: f64[1]")),
        (
            "for (int i = 0; i < N; i++) if (x[i] > 0) /* probability: 1 */ y[i] = 0; else z[i] = 0;",
            (8, 8, 0, "x: f32[N]; y: f32[N]; z: f32[N]"),
        ),
        (
            "static double g(double v) { if (v > 0) /* probability: 0 */ return v * v; else return -v; } void f(double *x) { x[0] = g(x[1]) + g(x[2]); }",
            (2, 1, 1, "x: f64[3]"),
        ),
        // Libraries: a sweep over each operand.
        (
            "void f(double a[3 * 4], double b[4 * N], double c[3][N]) { cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 3, N, 4, 1.0, a, 4, b, 4, 0.0, &c[0][0], N); }",
            (12 + 32, 24, 0, "a: f64[12]; b: f64[4*N]; c: f64[3, N]"),
        ),
        // Values that the source reads from elsewhere.
        (
            "void f(double *x) { int N = atoi_of_something; int M; for (int i = 0; i < N; i++) x[i] = 0; }",
            (0, 8, 0, "x: f64[N]"),
        ),
        ("int i, j; for (i = j = 0; i < N; i++) x[i] = 0;", (0, 8, 0, "x: f32[N]")),
        ("float w[] = {1, 2, 3}; y[0] = w[1];", (1, 1, 0, "w: f32[3]; y: f32[1]")),
        // What the preprocessor knows.
        (
            "#ifdef FAST\nx[0] = 1;\n#elif defined(N) && N > 4\nx[1] = 1;\n#else\nx[2] = 1;\n#endif\n",
            (0, 1, 0, "x: f32[2]"),
        ),
        (
            "#if 0\nit's not C \u{1}\n#endif\n#define AT(i, \\\n  j) x[(i) * 4 + (j)]\nAT(1, 2) = AT(0, 1);\r\n",
            (1, 1, 0, "x: f32[7]"),
        ),
        ("x[0] = 1; // \u{00e9}t\u{00e9}: trips\n", (0, 1, 0, "x: f32[1]")),
    ];
    let given = Given::defines(&[("N", 8)]);
    let mut wrong = Vec::new();
    for (code, (loads, stores, flops, shapes)) in cases {
        if *shapes == "refused" {
            assert!(given.read(code).is_err(), "{code}");
            continue;
        }
        let (l, s, f, own) = counted(&given, code);
        if (l, s, f) != (*loads, *stores, *flops) || (!shapes.is_empty() && own != *shapes) {
            wrong.push(format!("{code}\n  {l} {s} {f} {own}, and not {loads} {stores} {flops} {shapes}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn known_integers_are_exact() {
    /// An expression of `i`, and its value.
    type Case = (&'static str, fn(i64) -> i64);
    let cases: [Case; 26] = [
        ("i % 3", |i| i % 3),
        ("!(i % 2)", |i| i64::from(i % 2 == 0)),
        ("!!i", |i| i64::from(i != 0)),
        ("i & 1", |i| i & 1),
        ("(i & 1) == 0", |i| i64::from(i & 1 == 0)),
        ("i & 6", |i| i & 6),
        ("5 & i", |i| i & 5),
        ("i & ~7", |i| i & !7),
        ("i & -3", |i| i & -3),
        ("i | 1", |i| i | 1),
        ("i | 10", |i| i | 10),
        ("i ^ 1", |i| i ^ 1),
        ("i ^ -6", |i| i ^ -6),
        ("~i", |i| !i),
        ("i >> 2", |i| i >> 2),
        ("(i >> 1) & 1", |i| (i >> 1) & 1),
        ("i << 3", |i| i << 3),
        ("(i & 3) * (i / 4) - (i | 2) % 5", |i| (i & 3) * (i / 4) - (i | 2) % 5),
        ("i % 2 ? 3 : i", |i| if i % 2 != 0 { 3 } else { i }),
        ("i < 4 ? 0 : 1", |i| i64::from(i >= 4)),
        ("i > 4 ? i : 4", |i| i.max(4)),
        ("(i < 3) + (i <= 3) + (i == 3) + (i != 5)", |i| {
            i64::from(i < 3) + i64::from(i <= 3) + i64::from(i == 3) + i64::from(i != 5)
        }),
        ("i > 2 && i % 2 || i == 0", |i| i64::from(i > 2 && i % 2 != 0 || i == 0)),
        ("(i > 2) == (i < 9)", |i| i64::from((i > 2) == (i < 9))),
        ("abs(i) & 3 ? i & 1 ? 5 : 6 : 7", |i| if i.abs() & 3 != 0 { if i & 1 != 0 { 5 } else { 6 } } else { 7 }),
        ("(unsigned) (i * i) % N", |i| i * i % 8),
    ];
    let given = Given::defines(&[("N", 8)]);
    for (code, value) in cases {
        let text = format!(
            "float x[500], y[9]; for (int i = -9; i < 20; i++) {{ int k = {code}; x[({code}) + 200] = 0; if ({code}) y[0] = 0; y[1] = ({code}) ? y[2] : y[3]; if (k) y[4] = 0; }}"
        );
        let kernel = given.read(&text).unwrap_or_else(|error| panic!("{code}\n{error}"));
        let own: Vec<_> = Tally::of(&kernel.program).stream;
        let mut expected = Vec::new();
        for value in (-9..20).map(value) {
            expected.push((0, value + 200, true));
            expected.extend((value != 0).then_some((1, 0, true)));
            expected.push((1, if value != 0 { 2 } else { 3 }, false));
            expected.push((1, 1, true));
            expected.extend((value != 0).then_some((1, 4, true)));
        }
        assert_eq!(own, expected, "{code}");
    }
}

#[test]
fn variables_that_rounds_move_are_followed() {
    let kernel =
        Given::default().read("int k = 3;\n// trips: 3\nwhile (x[k] > 1) { y[k] = 1; k += 2; y[k] = 2; }").unwrap();
    let elements: Vec<i64> = Tally::of(&kernel.program).stream.iter().map(|(_, element, _)| *element).collect();
    assert_eq!(elements, [3, 3, 5, 5, 5, 7, 7, 7, 9, 9]);
}

/// Runs `inside` with the stack that a WebAssembly module has by default; frames that are not optimised take more.
fn with_small_stack(inside: impl FnOnce() + Send + 'static) {
    let bytes = if cfg!(debug_assertions) { 8 << 20 } else { 1 << 20 };
    std::thread::Builder::new().stack_size(bytes).spawn(inside).unwrap().join().unwrap();
}

#[test]
fn hostile_sources_are_refused_or_read() {
    with_small_stack(|| {
        let repeat = |front: &str, middle: &str, back: &str, n: usize| {
            format!("void f(void) {{ {}{middle}{}; }}", front.repeat(n), back.repeat(n))
        };
        let pairs = [
            ("x[0] = (", "1", ")"),
            ("(", "x[0] = 1", ")"),
            ("-(1 + ", "y", ")"),
            ("!(a[0] * ", "y", ")"),
            ("a[", "0", "]"),
            ("a[a[0] + ", "0", "]"),
            ("sqrt(", "0", ")"),
            ("(double)(", "0", ")"),
            ("(int)", "x", ""),
            ("sizeof(", "x", ")"),
            ("*(", "x", ")"),
            ("(*(", "x", "))"),
            ("*", "x", ""),
            ("- ", "x", ""),
            ("!", "x", ""),
            ("++", "x", ""),
            ("&", "x", ""),
            ("{", "x = 1;", "}"),
            ("for (;;)", "x = 1", ""),
            ("for (int i = 0; i < n; i++)", "x = 1", ""),
            ("for (int i = 0; i < n; i++) {", "x = 1;", "}"),
            ("for (int i = 0; i < n; i++) { if (i > 0) ", "x = 1;", "}"),
            ("if (a) ", "x = 1", ""),
            ("if (a) y = 1; else ", "x = 1", ""),
            ("if (a) { y = 1; } else ", "x = 1", ""),
            ("do ", "x = 1;", " while (0)"),
            ("do {", "x = 1;", "} while (0);"),
            ("switch (1) ", "x = 1", ""),
            ("switch (1) { case 1: ", "x = 1;", "}"),
            ("l: ", "x = 1", ""),
            ("case 1: ", "x = 1", ""),
            ("x = a ? b : ", "c", ""),
            ("a ? ", "b", " : c"),
            ("a = ", "b", ""),
            ("a && ", "b", ""),
            ("a + ", "b", ""),
            ("a[0] * ", "b", ""),
            ("a, ", "b", ""),
            ("a(", "b", ")"),
            ("f", "", "(x)"),
            ("f", "[0]", "[0]"),
            ("int x[] = ", "{1}", ""),
            ("int (", "x", ")"),
            ("int (*", "x", ")"),
            ("int (*", "x", ")(int)"),
            ("int g(int (*h)(", "int x", "))"),
            ("x = (int (*)(", "int", ")) 0"),
            ("x = (int) {", "1", "}"),
            ("x = ({", "1;", "})"),
            ("struct { ", "int x;", " } a;"),
            ("int a[sizeof(int[", "3", "])]"),
            ("__attribute__((a(", "b", ")))"),
            ("const ", "int x", ""),
            ("long ", "x", ""),
            ("\\\n", "x", ""),
            ("/*", "", "*/"),
            ("#if 1\n", "", "\n#endif\n"),
            ("x;", "", ""),
            ("int a; ", "", ""),
            ("a[b].c->d", "", ""),
            ("0x", "", ""),
            ("'", "", ""),
            ("? ", ": ", ""),
            (") (", "", ""),
        ];
        for (front, middle, back) in pairs {
            for n in [20, 63, 64, 300, 999, 10_000] {
                let wrapped = repeat(front, middle, back, n);
                let _ = Given::default().read(&wrapped);
                let _ = Given::default().read(&wrapped[15..wrapped.len() - 1]);
            }
        }
    });
}

#[test]
fn explosions_are_refused() {
    with_small_stack(|| {
        let mut macros = String::from("#define A0(x) (x + x)\n#define B0 1 + 1\n");
        let mut calls = String::from("double f0(double x) { return x + x; }\n");
        let mut integers = String::from("int n0 = N;\n");
        let mut loops = String::new();
        for i in 1..60 {
            let before = i - 1;
            macros += &format!("#define A{i}(x) A{before}(A{before}(x))\n#define B{i} B{before} + B{before}\n");
            calls += &format!("double f{i}(double x) {{ return f{before}(x) + f{before}(x); }}\n");
            integers += &format!("int n{i} = n{before} * n{before} + n{before};\n");
            loops += &format!("for (int i{i} = 0; i{i} < (N < i{before} + 1 ? N : i{before} + 1); i{i}++) ");
        }
        for text in [format!("{macros}x[0] = A59(1);"), format!("{macros}x[0] = B59;")] {
            assert!(Given::default().read(&text).unwrap_err().to_string().contains("tokens"));
        }
        assert!(Given::default().read(&format!("{calls}double g(void) {{ return f59(1); }}")).is_err());
        assert!(Given::default().read(&format!("{integers}for (int i = 0; i < n59; i++) x[i] = 1;")).is_err());
        let cases: String = (0..5000).map(|i| format!("case {i}: x[0] = 1; break; ")).collect();
        assert!(Given::default().read(&format!("switch (n) {{ {cases} }}")).is_err());
        let loops = loops.replace("i0", "0");
        let _ = Given::default().read(&format!("{loops} x[i59] = 1;"));
        let long = "x[0] = 1;\n".repeat(MAX_BYTES);
        assert!(Given::default().read(&long).unwrap_err().to_string().contains("bytes"));
    });
}

proptest::proptest! {
    #[test]
    fn mutations_never_panic(
        start in 0..LOOPS.len(),
        length in 1_usize..600,
        cuts in proptest::collection::vec((0_usize..600, 0_usize..12, "[-+*/%<>=!&|?:;,.()\\[\\]{}#\"'a-c0-2 \\\\\n]{0,4}"), 0..6),
    ) {
        let mut text: Vec<char> = LOOPS.chars().skip(start).take(length).collect();
        for (at, gone, new) in cuts {
            let at = at.min(text.len());
            let end = (at + gone).min(text.len());
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        let _ = Given::default().read(&text);
    }
}

#[test]
fn shapes_and_types_given() {
    let shapes = ["a: f64[M, 64]", "v: i32[7]", "p: f16[M, 2]"].map(|shape| Shape::parse(shape).unwrap());
    let given = Given { shapes: shapes.to_vec(), ..Given::defines(&[("M", 3)]) };
    let code = "void f(float *p) { for (int i = 0; i < M; i++) p[2 * i] = 1; }";
    assert_eq!(counted(&given, code), (0, 3, 0, "p: f16[M*2]".into()));
    let code = "for (int i = 0; i < M; i++) a[i][2] += v[i] + v[i] * w[v[i]];";
    assert_eq!(counted(&given, code), (15, 3, 9, "v: i32[7]; w: f32[w_0]; a: f64[M, 64]".into()));
    let error = given.read("a[0] = a[1][2][3];").unwrap_err();
    assert!(error.to_string().contains("line 1, column 8"), "{error}");
}

#[test]
fn values_carried_from_round_to_round() {
    let cases = [
        ("for (int i = 0; i < N; i++) s += x[i];", true),
        ("for (int i = 0; i < N; i++) x[i] += y[i];", false),
        ("for (int i = 0; i < N; i++) x[0] += y[i];", true),
        ("for (int i = 1; i < N; i++) x[i] = x[i - 1] + 1;", true),
        ("for (int i = 1; i < N; i++) x[i - 1] = x[i] + 1;", false),
        ("for (int i = 1; i < N; i += 2) x[i] = x[i - 1] + 1;", false),
        ("for (int i = N - 2; i >= 0; i--) x[i] = x[i + 1] + 1;", true),
        ("for (int i = 0; i < N; i++) { float t = x[i]; y[i] = t * t; }", false),
        ("for (int i = 0; i < N; i++) { t = x[i]; y[i] = t * t; }", false),
        ("for (int i = 0; i < N; i++) { y[i] = t; t = x[i]; }", true),
        ("for (int j = 0; j < N; j++) for (int i = 1; i < N; i++) x[j][i] = x[j - 1][i - 1];", false),
    ];
    fn carried(nodes: &[Node]) -> bool {
        nodes.iter().any(|node| match node {
            Node::Loop(own) => carried(&own.body),
            Node::Work(work) => work.carried,
            _ => false,
        })
    }
    for (code, expected) in cases {
        let kernel = Given::default().read(code).unwrap();
        assert_eq!(carried(&kernel.program.body), expected, "{code}");
    }
}
