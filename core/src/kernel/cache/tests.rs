use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::kernel::expr::{Expr, Rounding, Symbol};
use crate::kernel::naive::{self, Watch};
use crate::kernel::nest::{
    Access, Array, At, Branch, Comparison, Condition, Element, Library, Loop, Node, Program, SymbolInfo, Work,
};
use crate::run::{Flow, Unattended};

const REPLAY: Ways = Ways { engine: false, replay_work: u64::MAX, sample_work: 0 };
const SAMPLE: Ways = Ways { engine: false, replay_work: 0, sample_work: 20_000_000 };

/// Writes programs in few words.
#[derive(Default)]
pub(super) struct Writer {
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
pub(super) fn gemm(d: i64) -> Program {
    let mut w = Writer::default();
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let [a, b, c] = ["A", "B", "C"].map(|name| w.array(name, Element::F32, &[d, d]));
    let (cij, aik, bkj) = ([i.clone(), j.clone()], [i.clone(), k.clone()], [k.clone(), j.clone()]);
    let scale = work(2, &[(c, &cij, false), (c, &cij, true)]);
    let add = work(3, &[(a, &aik, false), (b, &bkj, false), (c, &cij, false), (c, &cij, true)]);
    let body = vec![repeat(&j, 0, d, vec![scale]), repeat(&k, 0, d, vec![repeat(&j, 0, d, vec![add])])];
    w.does(vec![repeat(&i, 0, d, body)])
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
        assert_eq!(level.method, "exact: replayed, repeating rounds skipped");
    }
}

#[test]
fn known_kernels_equal_a_plain_cache() {
    for program in [gemm(24), jacobi(20, 3), cholesky(24)] {
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
    let found = check(&gemm(48), 64, 16, REPLAY);
    assert_eq!(found.method, "exact: replayed, repeating rounds skipped");
    let found = check(&jacobi(40, 20), 64, 20, REPLAY);
    assert_eq!(found.method, "exact: replayed, repeating rounds skipped");
    // A long loop without others around it.
    let mut w = Writer::default();
    let i = w.variable("i");
    let n = 1 << 30;
    let [x, y] = ["x", "y"].map(|name| w.array(name, Element::F32, &[n]));
    let copy = work(1, &[(x, std::slice::from_ref(&i), false), (y, std::slice::from_ref(&i), true)]);
    let program = w.does(vec![repeat(&i, 0, n, vec![copy])]);
    let found = misses(&program, 64, &[32 << 10, 1 << 30], &mut Unattended).unwrap();
    for level in found {
        assert_eq!((level.compulsory, level.capacity), (Count::Whole(1 << 27), Count::Whole(0)));
        assert_eq!(level.write_backs, Count::Whole(1 << 26));
    }
}

/// Instructions from which a random program is made.
#[derive(Debug, Clone)]
enum Tree {
    Loop { lower: (u8, i64), upper: (u8, i64), step: i64, body: Vec<Tree> },
    Branch { a: (u8, i64), b: u8, comparison: u8, then: Vec<Tree>, otherwise: Vec<Tree> },
    Work { line: u32, accesses: Vec<(usize, Vec<(u8, i64, u8, i64)>, bool)> },
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
                let access = |(array, index, write): &(usize, Vec<(u8, i64, u8, i64)>, bool)| {
                    let subscript = |(a, by, b, add): &(u8, i64, u8, i64)| {
                        // Never outside: variables are at most 30, so this lies within 30..=130.
                        let sum = pick(around, *a).times(*by).plus(pick(around, *b)).plus(add + 30);
                        if *by == 2 && *add == 3 { sum.over(2, Rounding::Floor) } else { sum }
                    };
                    let index = Some(index.iter().map(subscript).collect());
                    Access { array: *array, index, write: *write, at }
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
