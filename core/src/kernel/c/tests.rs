//! Against instrumented runs of the same text (tests/fixtures/kernel.py), and against what must be refused.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read;
use crate::error::{Error, Place};
use crate::kernel::Kernel;
use crate::kernel::naive::{Watch, run};
use crate::kernel::nest::{Access, Comparison, Condition, Element, Flops, Node, Program, Work};
use crate::kernel::source::{Fusion, MAX_BYTES, Shape, Source};

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
    for run in runs {
        let defines = serde_json::from_value(run["defines"].clone()).unwrap();
        let name = run["function"].as_str().unwrap();
        let given = Given { defines, function: Some(name.to_owned()), ..Given::default() };
        let kernel = given.read(LOOPS).unwrap_or_else(|error| panic!("{name}: {error}"));
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
    println!(">> {:#?}", program.assumptions);
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
        println!(">> {:#?}", kernel.program.assumptions);
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

#[test]
fn what_is_not_known_is_refused_where_it_stands() {
    let cases = [
        ("for (;;) x[0] = 1;", (1, 1), "never ends"),
        ("int i = 0;\nwhile (1) i++;", (2, 1), "never ends"),
        ("while (x[0] > 1) x[0] = x[0] / 2;", (1, 1), "`trips: 100`"),
        ("do { x[0] = 1; } while (x[0]);", (1, 1), "how often this loop runs"),
        ("for (int i = 0; i < n; i--) x[i] = 1;", (1, 17), "never ends as written"),
        ("for (int i = 0; i < n; i += 0) x[i] = 1;", (1, 1), "never ends"),
        ("for (int i = 1; i < n; i *= 2) x[i] = 1;", (1, 1), "`trips: 100`"),
        ("for (int i = 0; i < n; i++) { i = i + 1; }", (1, 1), "changed within the loop"),
        ("for (int i = 0; i * i < n; i++) x[i] = 1;", (1, 17), "when i ends"),
        ("for (int i = 0; i != n; i += 2) x[i] = 1;", (1, 17), "step over"),
        ("for (int i = 0; i < n; i++) {\n  if (x[i] > 0)\n    break;\n}", (3, 5), "`break`"),
        ("for (int i = 0; i < n; i++) { if (x[i]) return; }", (1, 41), "`return`"),
        ("for (int i = 0; i < n; i++) { goto end; } end: ;", (1, 31), "`goto`"),
        ("void f(int n) { f(n - 1); }", (1, 17), "calls itself"),
        ("void g(int n);\nvoid f(int n) { g(n); }\nvoid g(int n) { f(n); }\nvoid h(void) { f(1); }", (3, 17), "calls itself"),
        ("void f(double *a) { a[0] = mystery(a[1]); }", (1, 28), "what mystery does is not known"),
        ("void f(double *a) { *a++ = 1; }", (1, 22), "pointers are not followed"),
        ("struct p { double x; };\nvoid f(struct p *a) {\n  a[0].x = 1;\n}", (3, 3), "structs"),
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
        ("std::vector<double> v;", (1, 4), "C++"),
        ("", (1, 1), "no code"),
        ("int x;", (1, 1), "nothing that runs"),
        ("void f(void) {}\nvoid g(void) {}", (1, 1), "f, g"),
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
