use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::expr::{Expr, Rounding, Symbol};
use crate::naive::{self, Watch};
use crate::nest::{
    Access, Array, At, Branch, Comparison, Condition, Element, Library, Loop, Node, Program, SymbolInfo, Work,
};
use accel_ground::progress::{Flow, Unattended};

mod draws_tests;
mod edges_tests;

const REPLAY: Ways = Ways { engine: false, footprint_work: 2_000_000, replay_work: u64::MAX, sample_work: 0 };
const SAMPLE: Ways = Ways { engine: false, footprint_work: 2_000_000, replay_work: 0, sample_work: 400_000 };

/// Writes programs in few words.
#[derive(Default)]
struct Writer {
    program: Program,
}

impl Writer {
    fn variable(&mut self, name: &str) -> Expr {
        self.program.symbols.push(SymbolInfo { name: name.into(), value: None });
        Symbol(self.program.symbols.len() as u32 - 1).into()
    }

    fn array(&mut self, name: &str, element: Element, dims: &[i64]) -> usize {
        let dims = dims.iter().map(|dim| Expr::from(*dim)).collect();
        self.program.arrays.push(Array { name: name.into(), element, dims, temporary: false });
        self.program.arrays.len() - 1
    }

    fn does(mut self, body: Vec<Node>) -> Program {
        self.program.body = body;
        self.program
    }
}

fn repeat(var: &Expr, lower: impl Into<Expr>, upper: impl Into<Expr>, body: Vec<Node>) -> Node {
    stepped(var, (lower, upper, 1), body)
}

fn stepped(var: &Expr, (lower, upper, step): (impl Into<Expr>, impl Into<Expr>, i64), body: Vec<Node>) -> Node {
    let Expr::Symbol(var) = *var else { panic!("a variable") };
    Node::Loop(Loop {
        var,
        lower: lower.into(),
        upper: upper.into(),
        step: step.into(),
        body,
        at: At { line: 1, column: 1 },
    })
}

fn work(line: u32, accesses: &[(usize, &[Expr], bool)]) -> Node {
    let at = At { line, column: 1 };
    let access = |(array, index, write): &(usize, &[Expr], bool)| Access {
        array: *array,
        index: Some(index.to_vec()),
        known: Default::default(),
        write: *write,
        at,
    };
    Node::Work(Work { accesses: accesses.iter().map(access).collect(), at, ..Work::default() })
}

fn when(a: impl Into<Expr>, comparison: Comparison, b: impl Into<Expr>, then: Vec<Node>, otherwise: Vec<Node>) -> Node {
    let condition = Condition::Compare(a.into(), comparison, b.into());
    Node::Branch(Branch { condition, then, otherwise, at: At { line: 1, column: 1 } })
}

/// The nest of the haystack paper, in `f32`.
fn gemm(d: i64) -> Program {
    let mut w = Writer::default();
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let [a, b, c] = ["A", "B", "C"].map(|name| w.array(name, Element::F32, &[d, d]));
    let (cij, aik, bkj) = ([i.clone(), j.clone()], [i.clone(), k.clone()], [k.clone(), j.clone()]);
    let scale = work(2, &[(c, &cij, false), (c, &cij, true)]);
    let add = work(3, &[(a, &aik, false), (b, &bkj, false), (c, &cij, false), (c, &cij, true)]);
    let body = vec![repeat(&j, 0, d, vec![scale]), repeat(&k, 0, d, vec![repeat(&j, 0, d, vec![add])])];
    w.does(vec![repeat(&i, 0, d, body)])
}

/// The textbook product: the innermost loop runs down a column.
fn columns(n: i64) -> Program {
    let mut w = Writer::default();
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let [a, b, c] = ["A", "B", "C"].map(|name| w.array(name, Element::F32, &[n, n]));
    let (cij, aik, bkj) = ([i.clone(), j.clone()], [i.clone(), k.clone()], [k.clone(), j.clone()]);
    let add = work(2, &[(a, &aik, false), (b, &bkj, false)]);
    let body = vec![work(1, &[(c, &cij, false)]), repeat(&k, 0, n, vec![add]), work(3, &[(c, &cij, true)])];
    w.does(vec![repeat(&i, 0, n, vec![repeat(&j, 0, n, body)])])
}

fn jacobi(n: i64, steps: i64) -> Program {
    let mut w = Writer::default();
    let (t, i, j) = (w.variable("t"), w.variable("i"), w.variable("j"));
    let [a, b] = ["A", "B"].map(|name| w.array(name, Element::F64, &[n, n]));
    let at = |di: i64, dj: i64| [i.clone().plus(di), j.clone().plus(dj)];
    let sweep = |line: u32, from: usize, to: usize| {
        let stencil = work(
            line,
            &[
                (from, &at(0, 0), false),
                (from, &at(0, -1), false),
                (from, &at(0, 1), false),
                (from, &at(1, 0), false),
                (from, &at(-1, 0), false),
                (to, &at(0, 0), true),
            ],
        );
        repeat(&i, 1, n - 1, vec![repeat(&j, 1, n - 1, vec![stencil])])
    };
    let body = vec![sweep(2, a, b), sweep(3, b, a)];
    w.does(vec![repeat(&t, 0, steps, body)])
}

fn cholesky(n: i64) -> Program {
    let mut w = Writer::default();
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let a = w.array("A", Element::F64, &[n, n]);
    let at = |r: &Expr, c: &Expr| [r.clone(), c.clone()];
    let inner =
        work(1, &[(a, &at(&i, &k), false), (a, &at(&j, &k), false), (a, &at(&i, &j), false), (a, &at(&i, &j), true)]);
    let divide = work(2, &[(a, &at(&j, &j), false), (a, &at(&i, &j), false), (a, &at(&i, &j), true)]);
    let square =
        work(3, &[(a, &at(&i, &k), false), (a, &at(&i, &k), false), (a, &at(&i, &i), false), (a, &at(&i, &i), true)]);
    let root = work(4, &[(a, &at(&i, &i), false), (a, &at(&i, &i), true)]);
    let body = vec![
        repeat(&j, 0, i.clone(), vec![repeat(&k, 0, j.clone(), vec![inner]), divide]),
        repeat(&k, 0, i.clone(), vec![square]),
        root,
    ];
    w.does(vec![repeat(&i, 0, n, body)])
}

/// A plain LRU cache beside the naive interpreter.
struct Plain<'a> {
    program: &'a Program,
    line_bytes: u64,
    capacity: usize,
    /// Newest first: array, line within it, whether it was written.
    lines: VecDeque<(usize, u64, bool)>,
    distinct: BTreeSet<(usize, u64)>,
    by_line: BTreeMap<u32, u64>,
    write_backs: u64,
    accesses: u64,
}

impl<'a> Plain<'a> {
    fn run(program: &'a Program, line_bytes: u64, capacity: usize) -> Self {
        let mut plain = Self {
            program,
            line_bytes,
            capacity,
            lines: VecDeque::new(),
            distinct: BTreeSet::new(),
            by_line: BTreeMap::new(),
            write_backs: 0,
            accesses: 0,
        };
        naive::run(program, &mut plain);
        plain.write_backs += plain.lines.iter().filter(|(.., dirty)| *dirty).count() as u64;
        plain
    }
}

impl Watch for Plain<'_> {
    fn access(&mut self, array: usize, element: i64, access: &Access) {
        let line = element as u64 * self.program.arrays[array].element.bytes() / self.line_bytes;
        self.accesses += 1;
        self.distinct.insert((array, line));
        let missed = self.by_line.entry(access.at.line).or_default();
        let place = self.lines.iter().position(|(a, l, _)| (*a, *l) == (array, line));
        let dirty = place.and_then(|place| self.lines.remove(place)).map(|(.., dirty)| dirty);
        *missed += u64::from(dirty.is_none());
        self.lines.push_front((array, line, dirty == Some(true) || access.write));
        if self.lines.len() > self.capacity {
            self.write_backs += u64::from(self.lines.pop_back().unwrap().2);
        }
    }
}

fn whole(count: Count) -> u64 {
    match count {
        Count::Whole(count) => count,
        Count::Real(_) => panic!("not exact"),
    }
}

fn check(program: &Program, line_bytes: u64, capacity: usize, ways: Ways) -> Misses {
    let plain = Plain::run(program, line_bytes, capacity);
    let found = find(program, line_bytes, &[capacity as u64 * line_bytes], ways, &mut Unattended).unwrap();
    let [found] = &found[..] else { panic!() };
    assert_eq!(whole(found.compulsory), plain.distinct.len() as u64);
    let by_line: BTreeMap<u32, u64> = found.by_line.iter().map(|(line, count)| (*line, whole(*count))).collect();
    let missed: u64 = plain.by_line.values().sum();
    let lines = plain.by_line.iter().filter(|(_, count)| **count > 0).collect::<Vec<_>>();
    assert_eq!(by_line.iter().filter(|(_, count)| **count > 0).collect::<Vec<_>>(), lines, "{}", found.method);
    assert_eq!(whole(found.compulsory) + whole(found.capacity), missed);
    assert_eq!(whole(found.write_backs), plain.write_backs);
    found.clone()
}

/// "A Fast Analytical Model of Fully Associative Caches" (Gysi, Grosser, Brandner and Hoefler, PLDI 2019) prints these
/// numbers for this nest.
#[test]
fn the_published_figures_of_a_matrix_product_hold() {
    let found = misses(&gemm(1024), 64, &[32 << 10, 512 << 10], &mut Unattended).unwrap();
    for level in &found {
        assert_eq!((level.compulsory, level.capacity), (Count::Whole(196_608), Count::Whole(67_043_328)));
        assert!(level.method.starts_with("exact: "), "{}", level.method);
    }
}

#[test]
fn known_kernels_equal_a_plain_cache() {
    for program in [gemm(24), columns(24), jacobi(20, 3), cholesky(24)] {
        for capacity in [1, 2, 3, 5, 8, 17, 40, 1000] {
            for line in [8, 24, 64] {
                check(&program, line, capacity, REPLAY);
            }
            check(&program, 64, capacity, Ways { engine: true, ..REPLAY });
        }
    }
}

#[test]
fn rounds_that_repeat_are_skipped() {
    for (program, capacity) in [(gemm(48), 16), (jacobi(40, 20), 20)] {
        check(&program, 64, capacity, REPLAY);
        let mut progress = Unattended;
        let plan = CachePlan::new(&program, 64).unwrap();
        let mut meter = Meter::new(&mut progress, "lines", u64::MAX);
        let (totals, skipped) = Replay::run(&plan, capacity as u64, &mut meter).unwrap();
        let missed: u64 = Plain::run(&program, 64, capacity).by_line.values().sum();
        assert!(skipped && totals.misses.iter().sum::<u128>() == u128::from(missed));
    }
    // More misses than 64 bits count.
    let mut w = Writer::default();
    let (t, i) = (w.variable("t"), w.variable("i"));
    let x = w.array("x", Element::F64, &[1024]);
    let sweep = repeat(&i, 0, 1024, vec![work(1, &[(x, std::slice::from_ref(&i), false)])]);
    let program = w.does(vec![repeat(&t, 0, 1 << 60, vec![sweep])]);
    let found = misses(&program, 64, &[4096], &mut Unattended).unwrap().remove(0);
    assert_eq!((found.compulsory, found.capacity), (Count::Whole(128), Count::Real(2f64.powi(67) - 128.0)));
    // A long loop without others around it.
    let mut w = Writer::default();
    let i = w.variable("i");
    let n = 1 << 30;
    let [x, y] = ["x", "y"].map(|name| w.array(name, Element::F32, &[n]));
    let copy = work(1, &[(x, std::slice::from_ref(&i), false), (y, std::slice::from_ref(&i), true)]);
    let program = w.does(vec![repeat(&i, 0, n, vec![copy])]);
    let found = misses(&program, 64, &[32 << 10, 128 << 10], &mut Unattended).unwrap();
    for level in found {
        assert_eq!((level.compulsory, level.capacity), (Count::Whole(1 << 27), Count::Whole(0)));
        assert_eq!(level.write_backs, Count::Whole(1 << 26));
    }
}

/// `T = A B`, then `D = T C`: each product fits caches that do not hold both.
fn two_products(n: i64) -> Program {
    let mut w = Writer::default();
    let arrays = ["A", "B", "T", "C", "D"].map(|name| w.array(name, Element::F32, &[n, n]));
    let mut nests = Vec::new();
    for (line, [a, b, c]) in [(1, [0, 1, 2]), (2, [2, 3, 4])] {
        let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
        let (cij, aik, bkj) = ([i.clone(), j.clone()], [i.clone(), k.clone()], [k.clone(), j.clone()]);
        let add = work(line, &[(arrays[a], &aik, false), (arrays[b], &bkj, false), (arrays[c], &cij, true)]);
        nests.push(repeat(&i, 0, n, vec![repeat(&j, 0, n, vec![repeat(&k, 0, n, vec![add])])]));
    }
    w.does(nests)
}

#[test]
fn loops_that_fit_are_walked_sparsely() {
    for capacity in [47, 48, 49, 55, 64, 70, 79, 80] {
        check(&two_products(16), 64, capacity, REPLAY);
        check(&two_products(15), 32, capacity, REPLAY);
    }
    // Three matrices fit, five do not: all touches are 800 million. What comes back is part of T.
    let ways = Ways { replay_work: 8_000_000, ..REPLAY };
    let found = find(&two_products(512), 64, &[4 << 20], ways, &mut Unattended).unwrap().remove(0);
    assert_eq!(found.compulsory, Count::Whole(5 * 512 * 32));
    assert!(whole(found.capacity) <= 512 * 32);
}

/// An access of a random program: its array, its subscripts, and whether it writes.
type RandomAccess = (usize, Vec<(u8, i64, u8, i64)>, bool);

/// Instructions from which a random program is made.
#[derive(Debug, Clone)]
enum Tree {
    Loop { lower: (u8, i64), upper: (u8, i64), step: i64, body: Vec<Tree> },
    Branch { a: (u8, i64), b: u8, comparison: u8, then: Vec<Tree>, otherwise: Vec<Tree> },
    Work { line: u32, accesses: Vec<RandomAccess> },
}

fn leaf() -> impl Strategy<Value = Tree> {
    let subscript = (0u8..4, -1i64..3, 0u8..4, 0i64..4);
    let access = (0usize..3, prop::collection::vec(subscript, 2), any::<bool>());
    (1u32..4, prop::collection::vec(access, 1..4)).prop_map(|(line, accesses)| Tree::Work { line, accesses })
}

fn tree() -> impl Strategy<Value = Vec<Tree>> {
    let inner = leaf().prop_recursive(4, 12, 3, |inner| {
        let body = prop::collection::vec(inner, 1..3);
        let bound = || (0u8..6, 0i64..24);
        let step = prop_oneof![4 => Just(1i64), 1 => Just(2), 1 => Just(3), 1 => Just(-1), 1 => Just(-2)];
        prop_oneof![
            5 => (bound(), bound(), step, body.clone())
                .prop_map(|(lower, upper, step, body)| Tree::Loop { lower, upper, step, body }),
            1 => ((0u8..4, -3i64..9), 0u8..4, 0u8..4, body.clone(), body)
                .prop_map(|(a, b, comparison, then, otherwise)| Tree::Branch { a, b, comparison, then, otherwise }),
        ]
    });
    prop::collection::vec(inner, 1..3)
}

/// Extents of the random programs' arrays; the first is the largest by far, so that some lines share no page.
const DIMS: [[i64; 2]; 3] = [[200, 170], [130, 190], [160, 160]];

fn grow(w: &mut Writer, trees: &[Tree], around: &mut Vec<Expr>) -> Vec<Node> {
    let pick = |around: &[Expr], which: u8| around.get(usize::from(which)).cloned().unwrap_or(Expr::Const(0));
    let mut nodes = Vec::new();
    for tree in trees {
        match tree {
            Tree::Loop { lower, upper, step, body } => {
                let var = w.variable("v");
                let low = pick(around, lower.0).plus(if lower.0 < 4 { lower.1 / 8 } else { 0 }).min(30);
                let high = pick(around, upper.0).plus(upper.1).min(30);
                let bounds = if *step > 0 { (low, high, *step) } else { (high, low, *step) };
                around.push(var.clone());
                let body = grow(w, body, around);
                around.pop();
                nodes.push(stepped(&var, bounds, body));
            }
            Tree::Branch { a, b, comparison, then, otherwise } => {
                let comparison = [Comparison::Less, Comparison::LessEqual, Comparison::Equal, Comparison::NotEqual]
                    [usize::from(*comparison)];
                let (then, otherwise) = (grow(w, then, around), grow(w, otherwise, around));
                nodes.push(when(pick(around, a.0).plus(a.1), comparison, pick(around, *b), then, otherwise));
            }
            Tree::Work { line, accesses } => {
                let at = At { line: *line, column: 1 };
                let access = |(array, index, write): &RandomAccess| {
                    let subscript = |(a, by, b, add): &(u8, i64, u8, i64)| {
                        // Never outside: variables are at most 30, so this lies within 30..=130.
                        let sum = pick(around, *a).times(*by).plus(pick(around, *b)).plus(add + 30);
                        if *by == 2 && *add == 3 { sum.over(2, Rounding::Floor) } else { sum }
                    };
                    let index = Some(index.iter().map(subscript).collect());
                    Access { array: *array, index, known: Default::default(), write: *write, at }
                };
                let accesses = accesses.iter().map(access).collect();
                nodes.push(Node::Work(Work { accesses, at, ..Work::default() }));
            }
        }
    }
    nodes
}

fn random_program(trees: &[Tree]) -> Program {
    let mut w = Writer::default();
    for (name, (dims, element)) in
        ["A", "B", "C"].iter().zip(DIMS.iter().zip([Element::F32, Element::F64, Element::F32]))
    {
        w.array(name, element, dims);
    }
    let body = grow(&mut w, trees, &mut Vec::new());
    w.does(body)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_equal_a_plain_cache(
        trees in tree(),
        capacity in prop_oneof![1usize..6, 6usize..40, 40usize..400],
        line in prop_oneof![Just(8u64), Just(16), Just(24), Just(64), Just(256)],
    ) {
        let program = random_program(&trees);
        let accesses = Plain::run(&program, line, 1).accesses;
        prop_assume!(accesses < 200_000);
        check(&program, line, capacity, REPLAY);
        check(&program, line, capacity, Ways { engine: true, ..REPLAY });
    }
}

/// A pass over arrays: which, with what it writes, how it goes, and where it starts and ends.
type Pass = (Vec<(usize, bool)>, u8, bool, i64, i64);

/// Passes over arrays of 24 rows of 16 elements, one after another.
fn passes(passes: &[Pass], times: i64) -> Program {
    let mut w = Writer::default();
    let arrays = [Element::F32, Element::F64, Element::F32].map(|element| w.array("A", element, &[24, 16]));
    let mut nests = Vec::new();
    for (line, (accesses, way, down, from, to)) in (1..).zip(passes) {
        let (i, j) = (w.variable("i"), w.variable("j"));
        let at = |index: [Expr; 2]| {
            let accesses: Vec<_> = accesses.iter().map(|(own, write)| (arrays[*own], &index[..], *write)).collect();
            work(line, &accesses)
        };
        let over = |var: &Expr, from: i64, to: i64, body: Vec<Node>| {
            if *down { stepped(var, (to - 1, from - 1, -1), body) } else { repeat(var, from, to, body) }
        };
        let digits = |shift: i64, by: i64| {
            let sum = i.clone().times(by).plus(shift);
            [sum.clone().over(16, Rounding::Zero), sum.modulo(16, Rounding::Floor)]
        };
        nests.push(match way {
            // By rows, by columns, and by the number of the element, which is divided into row and column.
            0 => over(&i, *from, *to, vec![over(&j, 0, 16, vec![at([i.clone(), j.clone()])])]),
            1 => over(&j, 0, 16, vec![over(&i, *from, *to, vec![at([i.clone(), j.clone()])])]),
            2 => over(&i, from * 16, to * 16, vec![at(digits(0, 1))]),
            3 => over(&i, from * 16, to * 16 - 5, vec![at(digits(5, 1))]),
            _ => over(&i, from * 4, to * 4, vec![at(digits(3, 4))]),
        });
    }
    let t = w.variable("t");
    w.does(vec![repeat(&t, 0, times, nests)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The closed forms of long passes, with caches around what they touch.
    #[test]
    fn passes_over_arrays_equal_a_plain_cache(
        all in prop::collection::vec(
            (prop::collection::vec((0usize..3, any::<bool>()), 1..4), 0u8..5, any::<bool>(), 0i64..12, 12i64..24),
            1..6,
        ),
        times in 1i64..3,
        capacity in 1usize..110,
        line in prop_oneof![Just(16u64), Just(24), Just(64)],
    ) {
        check(&passes(&all, times), line, capacity, REPLAY);
    }
}

/// A buffer of `groups` times 16 columns that is written row by row; then parts of its columns are read, one after the
/// other, and an array of planes is read plane by plane of its second dimension.
fn parts(all: &[(i64, i64)], groups: i64, (whole, flat, down): (bool, bool, bool)) -> Program {
    let mut w = Writer::default();
    let width = 16 * groups;
    let buffer = w.array("buffer", Element::F32, &[4, 6, width]);
    let planes = w.array("planes", Element::F32, &[4, groups, 2, 16]);
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let mut nests = Vec::new();
    if whole {
        let write = work(1, &[(buffer, &[i.clone(), j.clone(), k.clone()], true)]);
        nests.push(repeat(&i, 0, 4, vec![repeat(&j, 0, 6, vec![repeat(&k, 0, width, vec![write])])]));
    }
    for (line, (from, to)) in (2..).zip(all) {
        let (from, to) = (from % groups, (to % groups).max(from % groups) + 1);
        let (a, b, c, d) = (w.variable("a"), w.variable("b"), w.variable("c"), w.variable("d"));
        let column = c.clone().times(16).plus(d.clone()).plus(from * 16);
        let read = work(line, &[(buffer, &[a.clone(), b.clone(), column], line % 3 == 0)]);
        let inner = repeat(&c, 0, to - from, vec![repeat(&d, 0, 16, vec![read])]);
        let rows = if down { stepped(&b, (5, -1, -1), vec![inner]) } else { repeat(&b, 0, 6, vec![inner]) };
        nests.push(repeat(&a, 0, 4, vec![rows]));
        let (a, b, c) = (w.variable("a"), w.variable("b"), w.variable("c"));
        let read = if flat {
            work(20 + line, &[(planes, &[b.clone(), a.clone(), 0.into(), c.clone()], false)])
        } else {
            work(20 + line, &[(planes, &[b.clone(), a.clone(), 1.into(), c.clone()], true)])
        };
        nests.push(repeat(&a, 0, groups, vec![repeat(&b, 0, 4, vec![repeat(&c, 0, 16, vec![read])])]));
    }
    w.does(nests)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Gaps between the columns and the planes that are read, and caches around what is touched.
    #[test]
    fn arrays_laid_out_anew_equal_a_plain_cache(
        all in prop::collection::vec((0i64..6, 0i64..6), 1..5),
        groups in 1i64..7,
        ways in (any::<bool>(), any::<bool>(), any::<bool>()),
        capacity in 1usize..160,
        line in prop_oneof![Just(8u64), Just(24), Just(64), Just(128)],
    ) {
        check(&parts(&all, groups, ways), line, capacity, REPLAY);
    }
}

/// Queries, keys and values in one buffer, and planes of a batch: closed forms take them, however long.
#[test]
fn gaps_between_rows_take_no_time() {
    let mut w = Writer::default();
    let buffer = w.array("buffer", Element::F32, &[1 << 16, 3 * 768]);
    let planes = w.array("planes", Element::F32, &[512, 64, 1024]);
    let (i, j) = (w.variable("i"), w.variable("j"));
    let write = work(1, &[(buffer, &[i.clone(), j.clone()], true)]);
    let mut nests = vec![repeat(&i, 0, 1 << 16, vec![repeat(&j, 0, 3 * 768, vec![write])])];
    for (line, part) in (2..).zip(0..3) {
        let read = work(line, &[(buffer, &[i.clone(), j.clone().plus(part * 768)], false)]);
        nests.push(repeat(&i, 0, 1 << 16, vec![repeat(&j, 0, 768, vec![read])]));
    }
    let (a, b, c) = (w.variable("a"), w.variable("b"), w.variable("c"));
    let read = work(5, &[(planes, &[b.clone(), a.clone(), c.clone()], false)]);
    nests.push(repeat(&a, 0, 64, vec![repeat(&b, 0, 512, vec![repeat(&c, 0, 1024, vec![read])])]));
    let program = w.does(nests);
    let found =
        find(&program, 64, &[32 << 20], Ways { replay_work: 10_000, ..REPLAY }, &mut Unattended).unwrap().remove(0);
    let (rows, planes) = (3 * 768 / 16 * (1u64 << 16), 512 * 64 * 1024 / 16);
    assert_eq!(
        (found.compulsory, found.method.as_str()),
        (Count::Whole(rows + planes), "exact: passes over arrays, in closed form")
    );
    // Nothing of a part is there when its turn comes: the last rows have three parts, and each evicts the next one's.
    let part = rows / 3;
    let all: u64 = found.by_line.iter().map(|(_, count)| whole(*count)).sum();
    assert_eq!(found.by_line.first(), Some(&(1, Count::Whole(rows))));
    assert_eq!(all, rows + planes + 3 * part);
}

/// `y[i] = x[i]` with loops around it, and tables of 2^18 elements that data read and write at any place. Rows are longer
/// than the smallest cache.
#[test]
fn draws_are_as_many_as_expected() {
    let n = 1i64 << 18;
    for dims in [&[n][..], &[512, 512]] {
        let mut w = Writer::default();
        let vars: Vec<Expr> = dims.iter().map(|_| w.variable("i")).collect();
        let [x, y] = ["x", "y"].map(|name| w.array(name, Element::F64, dims));
        let [table, other] = ["table", "other"].map(|name| w.array(name, Element::F64, &[n]));
        let (i, any) = (&vars[..], &vars[..1]);
        let accesses = [(x, i, false), (table, any, false), (other, any, false), (other, any, true), (y, i, true)];
        let mut drawn = work(1, &accesses);
        if let Node::Work(work) = &mut drawn {
            work.accesses.iter_mut().filter(|access| access.array > y).for_each(|access| access.index = None);
        }
        let nest = vars.iter().zip(dims).rev().fold(drawn, |inner, (var, dim)| repeat(var, 0, *dim, vec![inner]));
        let program = w.does(vec![nest]);
        let rewritten = rewrite::rewritten(&program);
        let plan = CachePlan::new(&rewritten, 64).unwrap();
        for capacity in [64, 1 << 12, 1 << 15, 1 << 16, 1 << 20] {
            let mut progress = Unattended;
            let mut meter = Meter::new(&mut progress, "lines", u64::MAX);
            let (wanted, _) = Replay::run(&plan, capacity, &mut meter).unwrap();
            let found = find(&program, 64, &[capacity * 64], REPLAY, &mut Unattended).unwrap().remove(0);
            let in_closed_form = found.method.starts_with("expected") || found.method.starts_with("all lines fit");
            assert!(in_closed_form, "{capacity}: {}", found.method);
            let all: u128 = wanted.misses.iter().sum();
            let touched = found.compulsory.value();
            let off = (touched + found.capacity.value()) / all as f64 - 1.0;
            assert!(off.abs() < 0.01, "{capacity}: {off} {}", found.method);
            let off = found.write_backs.value() / wanted.write_backs as f64 - 1.0;
            assert!(off.abs() < 0.01, "{capacity}: {off}");
            if let Some([low, high]) = found.capacity_range {
                let truth = all as f64 - touched;
                assert!(low <= truth && truth <= high, "{capacity}: {truth} is not within {low} to {high}");
            }
        }
    }
}

#[test]
fn long_passes_take_no_time() {
    let mut w = Writer::default();
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let n = 1 << 20;
    let [x, y] = ["x", "y"].map(|name| w.array(name, Element::F32, &[n, 1024]));
    let copy = work(1, &[(x, &[i.clone(), j.clone()], false), (y, &[i.clone(), j.clone()], true)]);
    let flat = [k.clone().over(1024, Rounding::Floor), k.clone().modulo(1024, Rounding::Floor)];
    let read = work(2, &[(y, &flat, false)]);
    let program =
        w.does(vec![repeat(&i, 0, n, vec![repeat(&j, 0, 1024, vec![copy])]), repeat(&k, 0, n * 1024, vec![read])]);
    let ways = Ways { footprint_work: 1000, replay_work: 1000, ..REPLAY };
    let found = find(&program, 64, &[32 << 20], ways, &mut Unattended).unwrap().remove(0);
    let lines = 1u64 << 26;
    assert_eq!((found.compulsory, found.capacity), (Count::Whole(2 * lines), Count::Whole(lines)));
    assert_eq!(found.write_backs, Count::Whole(lines));
    assert_eq!(found.by_line, [(1, Count::Whole(2 * lines)), (2, Count::Whole(lines))]);
}

#[test]
fn a_sample_covers_the_truth() {
    let (mut covered, mut all) = (0, 0);
    let mut worst: f64 = 0.0;
    for program in [gemm(40), jacobi(40, 3), cholesky(48)] {
        for (line, capacity) in [(64, 3), (64, 8), (64, 16), (64, 30), (64, 60), (8, 20), (8, 80), (24, 40)] {
            let plain = Plain::run(&program, line, capacity);
            let found = find(&program, line, &[capacity as u64 * line], SAMPLE, &mut Unattended).unwrap().remove(0);
            if !found.method.starts_with("sampled") {
                assert_eq!(found.method, "exact: all lines fit");
                continue;
            }
            let truth = (plain.by_line.values().sum::<u64>() - plain.distinct.len() as u64) as f64;
            let [low, high] = found.capacity_range.unwrap();
            assert!(low <= found.capacity.value() && found.capacity.value() <= high);
            covered += usize::from((low..=high).contains(&truth));
            all += 1;
            let scale = plain.by_line.values().sum::<u64>() as f64;
            worst = worst.max((found.capacity.value() - truth).abs() / scale);
            worst = worst.max((found.write_backs.value() - plain.write_backs as f64).abs() / scale);
            let by_line: f64 = found.by_line.iter().map(|(_, misses)| misses.value()).sum();
            assert!((by_line - (truth + plain.distinct.len() as f64)).abs() < 0.2 * scale);
        }
    }
    assert!(all >= 20 && covered >= all - 1, "{covered} of {all}");
    assert!(worst < 0.15, "{worst}");
}

#[test]
fn what_cannot_be_skipped_is_sampled_without_trying() {
    /// Hears what is done.
    struct Heard(BTreeSet<String>);
    impl Progress for Heard {
        fn report(&mut self, _done: u64, _total: u64, what: &str) -> Flow {
            self.0.insert(what.into());
            Flow::Continue
        }
    }
    for (program, tried) in [(cholesky(96), false), (gemm(96), true)] {
        let mut heard = Heard(BTreeSet::new());
        let ways = Ways { replay_work: 2_000, ..SAMPLE };
        let found = find(&program, 64, &[4096], ways, &mut heard).unwrap().remove(0);
        assert!(found.method.starts_with("sampled"), "{}", found.method);
        assert_eq!(heard.0.contains("accesses replayed"), tried);
    }
}

#[test]
fn what_chance_decides_is_the_same_in_every_way() {
    let mut w = Writer::default();
    let (i, j) = (w.variable("i"), w.variable("j"));
    let [a, b] = ["A", "B"].map(|name| w.array(name, Element::F32, &[64, 64]));
    let index = [i.clone(), j.clone()];
    let mut gather = work(2, &[(a, &index, false), (b, &index, true)]);
    if let Node::Work(work) = &mut gather {
        work.accesses[0].index = None;
    }
    let condition = Condition::Not(Box::new(Condition::Chance(0.25)));
    let branch = Branch { condition, then: vec![gather], otherwise: Vec::new(), at: At { line: 1, column: 1 } };
    let inner = repeat(&j, 0, 64, vec![Node::Branch(branch)]);
    let program = w.does(vec![repeat(&i, 0, 64, vec![inner])]);
    let replayed = find(&program, 64, &[2048, 8192], REPLAY, &mut Unattended).unwrap();
    let engine = misses(&program, 64, &[2048, 8192], &mut Unattended).unwrap();
    for (replayed, engine) in replayed.iter().zip(&engine) {
        assert_eq!((replayed.compulsory, replayed.capacity), (engine.compulsory, engine.capacity));
        assert_eq!((replayed.write_backs, &replayed.by_line), (engine.write_backs, &engine.by_line));
        assert!(matches!(engine.capacity, Count::Real(_)) && engine.method.contains("random"));
    }
    // All lines of B are written: 16 of its elements share a line.
    assert_eq!(engine[1].compulsory, Count::Real(512.0));
    let sampled = find(&program, 64, &[2048], SAMPLE, &mut Unattended).unwrap().remove(0);
    let [low, high] = sampled.capacity_range.unwrap();
    assert!((low..=high).contains(&engine[0].capacity.value()));
}

#[test]
fn subscripts_outside_are_refused_with_place_and_value() {
    let one = |dims: &[i64], index: &dyn Fn(&Expr) -> Vec<Expr>, upper: i64| {
        let mut w = Writer::default();
        let i = w.variable("i");
        let a = w.array("A", Element::F32, dims);
        let body = work(3, &[(a, &index(&i), false)]);
        let program = w.does(vec![repeat(&i, 0, upper, vec![body])]);
        misses(&program, 64, &[1024], &mut Unattended).map(|_| ()).map_err(|error| error.to_string())
    };
    let error = one(&[1024], &|i| vec![i.clone()], 1025).unwrap_err();
    assert!(error.contains("line 3, column 1: A[1024] is outside 0..=1023"), "{error}");
    let error = one(&[8, 8], &|i| vec![i.clone(), i.clone().minus(1)], 8).unwrap_err();
    assert!(error.contains("A[0][-1] is outside 0..=7 in subscript 2"), "{error}");
    let error = one(&[0], &|i| vec![i.clone()], 1).unwrap_err();
    assert!(error.contains("no elements"), "{error}");
    // In range, though the extremes alone do not show it.
    one(&[8], &|i| vec![i.clone().plus(i.clone().times(i.clone()).times(-1)).min(7).max(0)], 8).unwrap();
    let error = one(&[8], &|i| vec![i.clone().times(i64::MAX)], 8).unwrap_err();
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn a_cache_too_large_to_follow_is_refused_unless_all_fits() {
    let mut w = Writer::default();
    let i = w.variable("i");
    let n = 1 << 32;
    let x = w.array("x", Element::F64, &[n]);
    let program = w.does(vec![repeat(&i, 0, n, vec![work(1, &[(x, std::slice::from_ref(&i), false)])])]);
    let found = misses(&program, 64, &[1 << 40], &mut Unattended).unwrap().remove(0);
    assert_eq!((found.compulsory, found.capacity), (Count::Whole(1 << 29), Count::Whole(0)));
    assert!(matches!(misses(&program, 64, &[1 << 34], &mut Unattended), Err(Error::TooLarge { .. })));
}

#[test]
fn guarded_and_triangular_subscripts_are_fine() {
    let mut w = Writer::default();
    let (i, j) = (w.variable("i"), w.variable("j"));
    let a = w.array("A", Element::F32, &[64]);
    let before = work(1, &[(a, &[i.clone().minus(1)], false)]);
    let distance = work(2, &[(a, &[i.clone().minus(j.clone())], true)]);
    let body = vec![
        when(0, Comparison::Less, i.clone(), vec![before], Vec::new()),
        repeat(&j, 0, i.clone().plus(1), vec![distance]),
    ];
    let program = w.does(vec![repeat(&i, 0, 64, body)]);
    check(&program, 64, 2, REPLAY);
}

#[test]
fn wrong_levels_and_cancelling_are_told() {
    let error = misses(&gemm(8), 64, &[63], &mut Unattended).unwrap_err();
    assert_eq!(error.field_name(), Some("levels"));
    assert_eq!(misses(&gemm(8), 0, &[64], &mut Unattended).unwrap_err().field_name(), Some("line_bytes"));
    struct Impatient;
    impl Progress for Impatient {
        fn report(&mut self, _done: u64, _total: u64, _what: &str) -> Flow {
            Flow::Cancel
        }
    }
    assert_eq!(misses(&gemm(256), 64, &[4096], &mut Impatient), Err(Error::Cancelled));
}

#[test]
fn what_is_too_long_ends() {
    let mut w = Writer::default();
    let vars: Vec<Expr> = (0..8).map(|_| w.variable("v")).collect();
    let a = w.array("A", Element::F32, &[1024, 1024, 1024, 8, 8, 8, 8, 8]);
    let none = when(Expr::from(-1), Comparison::Equal, vars[7].clone(), vec![work(1, &[(a, &vars, true)])], vec![]);
    let body = vars.iter().rev().fold(none, |body, var| repeat(var, 0, 1024, vec![body]));
    let found = find(&w.does(vec![body]), 64, &[4096], SAMPLE, &mut Unattended).unwrap().remove(0);
    // Nothing is touched, but who could tell?
    assert!(
        found.method.contains("at most") && found.capacity_range.is_some_and(|[low, high]| low == 0.0 && high > 0.0)
    );
}

#[test]
fn levels_agree() {
    let of = |capacity_bytes, capacity, capacity_range| Misses {
        capacity_bytes,
        compulsory: Count::Whole(1),
        capacity: Count::Real(capacity),
        capacity_range,
        write_backs: Count::Whole(0),
        by_line: Vec::new(),
        method: String::new(),
    };
    let mut all = [
        of(64, 10.0, Some([5.0, 14.0])),
        of(128, 12.0, Some([8.0, 20.0])),
        of(256, 7.0, None),
        of(512, 9.0, Some([1.0, 9.0])),
    ];
    agree(&mut all);
    let found: Vec<_> = all.iter().map(|misses| (misses.capacity.value(), misses.capacity_range)).collect();
    let expected = [(10.0, Some([8.0, 14.0])), (10.0, Some([8.0, 14.0])), (7.0, None), (7.0, Some([1.0, 7.0]))];
    assert_eq!(found, expected);
}

fn product(m: i64, n: i64, k: i64, name: &str) -> Program {
    let mut w = Writer::default();
    let (i, j) = (w.variable("i"), w.variable("j"));
    let shapes = [("A", [m, k]), ("B", [k, n]), ("C", [m, n])];
    let sweep = shapes.map(|(name, dims)| {
        let array = w.array(name, Element::F32, &dims);
        let touch = work(1, &[(array, &[i.clone(), j.clone()], name == "C")]);
        repeat(&i, 0, dims[0], vec![repeat(&j, 0, dims[1], vec![touch])])
    });
    let at = At { line: 1, column: 1 };
    let [m, n, k] = [m, n, k].map(Expr::from);
    let (name, batch, element) = (name.to_owned(), 1.into(), Element::F32);
    w.does(vec![Node::Library(Library { name, batch, m, n, k, element, sweep: sweep.into(), at })])
}

#[test]
fn libraries_move_between_the_lower_bound_and_square_blocks() {
    let program = product(1024, 1024, 1024, "matmul");
    let found = misses(&program, 64, &[32 << 10, 8 << 20, 32 << 20], &mut Unattended).unwrap();
    let sweep = 3 * 1024 * 1024 / 16;
    assert!(found.iter().all(|level| level.compulsory == Count::Whole(sweep)));
    // 8192 elements: blocks of 52 x 52, 20 of them in a row, so that A and B are read 19 times more.
    assert_eq!(found[0].capacity, Count::Real(f64::from(2 * 1024 * 1024 * 19 / 16)));
    let [low, high] = found[0].capacity_range.unwrap();
    let bound = 2.0 * 1024f64.powi(3) / 8192f64.sqrt() - 2.0 * 8192.0;
    assert!((low - (bound / 16.0 - sweep as f64)).abs() < 1.0, "{low}");
    assert_eq!(high, found[0].capacity.value());
    assert_eq!(found[0].by_line, [(1, Count::Real(high + sweep as f64))]);
    // One matrix stays, or all do.
    assert_eq!((found[1].capacity, found[2].capacity), (Count::Whole(0), Count::Whole(0)));
    assert!(found[0].method.contains("square blocks"));
    let conv = misses(&product(512, 512, 512, "conv2d"), 64, &[32 << 10], &mut Unattended).unwrap().remove(0);
    assert_eq!(conv.capacity_range.unwrap()[0], 0.0);
}
