//! Time to find the misses of kernels in caches of 32 KiB, 512 KiB and 32 MiB, and to answer for 10,000 lines of source:
//! `cargo bench --bench kernel`.
#![allow(missing_docs, clippy::unwrap_used)]

use accel_ground::progress::Unattended;
use accel_kernel::cache::misses;
use accel_kernel::expr::{Expr, Symbol};
use accel_kernel::nest::{Access, Array, At, Element, Loop, Node, Program, SymbolInfo, Work};
use accel_kernel::predict;
use accel_kernel::report::Request;
use divan::Bencher;

/// 64-byte lines.
const LINE_BYTES: u64 = 64;
const CAPACITIES: [u64; 3] = [32 << 10, 512 << 10, 32 << 20];

fn main() {
    // How they were found says more than the time alone.
    for (name, program) in [
        ("gemm", gemm(1024)),
        ("2mm", two_products(1024)),
        ("jacobi-2d", jacobi(1300)),
        ("cholesky", cholesky(1000)),
        ("cholesky", cholesky(2000)),
    ] {
        for level in misses(&program, LINE_BYTES, &CAPACITIES, &mut Unattended).unwrap() {
            println!("{name}: {} KiB: {:?}, {}", level.capacity_bytes >> 10, level.capacity, level.method);
        }
    }
    divan::main();
}

fn time(bencher: Bencher<'_, '_>, program: &Program, capacity: u64) {
    bencher.bench(|| misses(program, LINE_BYTES, &[capacity], &mut Unattended));
}

#[divan::bench(args = CAPACITIES, sample_count = 3)]
fn gemm_1024(bencher: Bencher<'_, '_>, capacity: u64) {
    time(bencher, &gemm(1024), capacity);
}

#[divan::bench(args = CAPACITIES, sample_count = 3)]
fn two_products_1024(bencher: Bencher<'_, '_>, capacity: u64) {
    time(bencher, &two_products(1024), capacity);
}

#[divan::bench(args = CAPACITIES, sample_count = 3)]
fn jacobi_2d_1300(bencher: Bencher<'_, '_>, capacity: u64) {
    time(bencher, &jacobi(1300), capacity);
}

#[divan::bench(args = CAPACITIES, sample_count = 3)]
fn cholesky_1000(bencher: Bencher<'_, '_>, capacity: u64) {
    time(bencher, &cholesky(1000), capacity);
}

#[divan::bench(args = CAPACITIES, sample_count = 3)]
fn cholesky_2000(bencher: Bencher<'_, '_>, capacity: u64) {
    time(bencher, &cholesky(2000), capacity);
}

/// Read, counted, and all else: everything that a user waits for.
fn answer(bencher: Bencher<'_, '_>, head: &str, nest: &str, tail: &str) {
    let code = format!("{head}\n{}{tail}", nest.repeat(2500));
    let request = Request { code, defines: [("n".to_owned(), 16)].into(), ..Request::default() };
    bencher.bench(|| predict(&request, &mut Unattended));
}

#[divan::bench(sample_count = 3)]
fn ten_thousand_lines_of_c(bencher: Bencher<'_, '_>) {
    let loops = "for (int i = 0; i < n; i++)\nfor (int j = 0; j < n; j++)\nfor (int k = 0; k < n; k++)\n";
    let head = "void f(int n, double x, double A[n][n], double B[n][n], double C[n][n]) {";
    answer(bencher, head, &format!("{loops}C[i][j] += x * A[i][k] * B[k][j];\n"), "}");
}

#[divan::bench(sample_count = 3)]
fn ten_thousand_lines_of_python(bencher: Bencher<'_, '_>) {
    let loops = "  for i in range(n):\n    for j in range(n):\n      for k in range(n):\n";
    answer(bencher, "def f(n, x, A, B, C):", &format!("{loops}        C[i, j] += x * A[i, k] * B[k, j]\n"), "");
}

fn program(arrays: &[&str], element: Element, n: i64, body: Vec<Node>) -> Program {
    let variable = |name: &str| SymbolInfo { name: name.into(), value: None };
    let array = |name: &&str| Array { name: (*name).into(), element, dims: vec![n.into(), n.into()], temporary: false };
    Program {
        symbols: ["i", "j", "k"].map(variable).into(),
        arrays: arrays.iter().map(array).collect(),
        body,
        assumptions: Vec::new(),
        parallel: Default::default(),
    }
}

const I: u32 = 0;
const J: u32 = 1;
const K: u32 = 2;

fn repeat(var: u32, lower: i64, upper: impl Into<Expr>, body: Vec<Node>) -> Node {
    Node::Loop(Loop {
        var: Symbol(var),
        lower: lower.into(),
        upper: upper.into(),
        step: 1.into(),
        body,
        at: At::default(),
    })
}

/// A loop variable and what is added to it.
type Subscript = (u32, i64);

/// Accesses of `array[i + di][j + dj]`, some of which write.
fn work(accesses: &[(usize, Subscript, Subscript, bool)]) -> Node {
    let subscript = |(symbol, add): (u32, i64)| Expr::from(Symbol(symbol)).plus(add);
    let access = |&(array, row, column, write): &(usize, Subscript, Subscript, bool)| Access {
        array,
        index: Some(vec![subscript(row), subscript(column)]),
        known: Default::default(),
        write,
        at: At::default(),
    };
    Node::Work(Work { accesses: accesses.iter().map(access).collect(), ..Work::default() })
}

/// `c[i][j] += a[i][k] * b[k][j]`, the innermost loop over `j`.
fn product(n: i64, [a, b, c]: [usize; 3]) -> Node {
    let scale = work(&[(c, (I, 0), (J, 0), false), (c, (I, 0), (J, 0), true)]);
    let add = work(&[
        (a, (I, 0), (K, 0), false),
        (b, (K, 0), (J, 0), false),
        (c, (I, 0), (J, 0), false),
        (c, (I, 0), (J, 0), true),
    ]);
    repeat(I, 0, n, vec![repeat(J, 0, n, vec![scale]), repeat(K, 0, n, vec![repeat(J, 0, n, vec![add])])])
}

fn gemm(n: i64) -> Program {
    program(&["A", "B", "C"], Element::F32, n, vec![product(n, [0, 1, 2])])
}

fn two_products(n: i64) -> Program {
    program(&["A", "B", "T", "C", "D"], Element::F64, n, vec![product(n, [0, 1, 2]), product(n, [2, 3, 4])])
}

fn jacobi(n: i64) -> Program {
    let sweep = |from: usize, to: usize| {
        let stencil = work(&[
            (from, (I, 0), (J, 0), false),
            (from, (I, 0), (J, -1), false),
            (from, (I, 0), (J, 1), false),
            (from, (I, 1), (J, 0), false),
            (from, (I, -1), (J, 0), false),
            (to, (I, 0), (J, 0), true),
        ]);
        repeat(I, 1, n - 1, vec![repeat(J, 1, n - 1, vec![stencil])])
    };
    program(&["A", "B"], Element::F64, n, vec![repeat(K, 0, 500, vec![sweep(0, 1), sweep(1, 0)])])
}

fn cholesky(n: i64) -> Program {
    let inner = work(&[
        (0, (I, 0), (K, 0), false),
        (0, (J, 0), (K, 0), false),
        (0, (I, 0), (J, 0), false),
        (0, (I, 0), (J, 0), true),
    ]);
    let divide = work(&[(0, (J, 0), (J, 0), false), (0, (I, 0), (J, 0), false), (0, (I, 0), (J, 0), true)]);
    let square = work(&[(0, (I, 0), (K, 0), false), (0, (I, 0), (I, 0), false), (0, (I, 0), (I, 0), true)]);
    let root = work(&[(0, (I, 0), (I, 0), false), (0, (I, 0), (I, 0), true)]);
    let below = |symbol: u32| Expr::from(Symbol(symbol));
    let body = vec![
        repeat(J, 0, below(I), vec![repeat(K, 0, below(J), vec![inner]), divide]),
        repeat(K, 0, below(I), vec![square]),
        root,
    ];
    program(&["A"], Element::F64, n, vec![repeat(I, 0, n, body)])
}
