//! Costs of programs made by hand, counted and cached by brute force.

use super::vector::{self, Vector};
use super::*;
use crate::count::{NodeCount, Quantity};
use crate::expr::{Expr, Symbol};
use crate::naive::{self, Watch};
use crate::nest::{Access, Array, At, Branch, Condition, Flops, Library, Loop, Node, Scalars, Work};
use crate::report::{Compiler, Level, Request};
use accel_ground::device::{DEVICES, DeviceRef};

const N: i64 = 48;

fn symbol(index: u32) -> Expr {
    Symbol(index).into()
}

/// A program over square arrays `A`, `B`, `C` of f32 with `N` rows, and variables 1, 2, 3 (`i`, `j`, `k`).
fn program(body: Vec<Node>) -> Program {
    let mut builder = crate::nest::Builder::new(&[("N".to_owned(), N)].into());
    let n = builder.parameter("N");
    for name in ["i", "j", "k"] {
        builder.variable(name);
    }
    for name in ["A", "B", "C"] {
        let dims = vec![n.into(), n.into()];
        builder.array(Array { name: name.into(), element: Element::F32, dims, temporary: false });
    }
    builder.program.body = body;
    builder.program
}

fn at(line: u32) -> At {
    At { line, column: 1 }
}

fn rounds(var: u32, lower: i64, line: u32, body: Vec<Node>) -> Node {
    Node::Loop(Loop { var: Symbol(var), lower: lower.into(), upper: symbol(0), step: 1.into(), body, at: at(line) })
}

fn access(array: usize, row: Expr, column: Expr, write: bool) -> Access {
    Access { array, index: Some(vec![row, column]), known: Default::default(), write, at: at(3) }
}

fn work(accesses: Vec<Access>, flops: Flops) -> Work {
    Work {
        accesses,
        flops,
        integer_ops: 2,
        subscript_ops: 0,
        scalars: Scalars { reads: 1, writes: 0 },
        carried: false,
        at: at(3),
    }
}

const ONE_ADD: Flops = Flops { add: 1, mul: 0, div: 0, sqrt: 0, min_max: 0, special: 0 };
const FMA: Flops = Flops { add: 1, mul: 1, div: 0, sqrt: 0, min_max: 0, special: 0 };

/// `for i for k for j C[i][j] += A[i][k] * B[k][j]`, or with `k` innermost and carried.
fn gemm(k_inside: bool) -> Program {
    let (i, j, k) = (symbol(1), symbol(2), symbol(3));
    let mut inner = work(
        vec![
            access(0, i.clone(), k.clone(), false),
            access(1, k, j.clone(), false),
            access(2, i.clone(), j.clone(), false),
            access(2, i, j, true),
        ],
        FMA,
    );
    inner.carried = k_inside;
    let (outer, inside) = if k_inside { (2, 3) } else { (3, 2) };
    program(vec![rounds(1, 0, 1, vec![rounds(outer, 0, 2, vec![rounds(inside, 0, 3, vec![Node::Work(inner)])])])])
}

/// `for i for j C[i][j] = A[row][column] + x`.
fn copy(row: Expr, column: Expr, from: usize, lower: i64) -> Program {
    let accesses = vec![access(from, row, column, false), access(2, symbol(1), symbol(2), true)];
    program(vec![rounds(1, lower, 1, vec![rounds(2, lower, 2, vec![Node::Work(work(accesses, ONE_ADD))])])])
}

/// Counts by running; each arm of a condition on data as often as the condition is met, times its chance.
fn counts(program: &Program) -> Counts {
    fn nodes(body: &[Node], values: &mut Vec<i64>, often: f64, next: &mut usize, out: &mut Vec<[f64; 5]>) {
        for node in body {
            let own = *next;
            *next += 1;
            if out.len() <= own {
                out.resize(own + 1, [0.0; 5]);
            }
            match node {
                Node::Loop(l) => {
                    let (lower, upper) = (l.lower.value(values).unwrap(), l.upper.value(values).unwrap());
                    let inside = *next;
                    for value in lower..upper {
                        values[l.var.0 as usize] = value;
                        out[own][0] += often;
                        *next = inside;
                        nodes(&l.body, values, often, next, out);
                    }
                }
                Node::Branch(branch) => {
                    out[own][0] += often;
                    let Condition::Chance(p) = branch.condition else { panic!() };
                    nodes(&branch.then, values, often * p, next, out);
                    nodes(&branch.otherwise, values, often * (1.0 - p), next, out);
                }
                Node::Work(work) => {
                    let loads = work.accesses.iter().filter(|access| !access.write).count() as f64;
                    let stores = work.accesses.len() as f64 - loads;
                    let own = &mut out[own];
                    own[0] += often;
                    own[1] += often * loads;
                    own[2] += often * stores;
                    own[3] += often * work.flops.total() as f64;
                    own[4] += often * 4.0 * (loads + stores);
                }
                Node::Library(library) => {
                    let product =
                        [&library.batch, &library.m, &library.n, &library.k].map(|e| e.value(values).unwrap());
                    let all = product.iter().product::<i64>() as f64;
                    let bytes = library.element.bytes() as f64;
                    out[own] = [1.0, 2.0 * all, all / product[3] as f64, 2.0 * all, 2.0 * all * bytes];
                }
            }
        }
    }
    let mut out = Vec::new();
    nodes(&program.body, &mut program.values(), 1.0, &mut 0, &mut out);
    let whole = |value: f64| if value.fract() == 0.0 { Count::Whole(value as u64) } else { Count::Real(value) };
    let sum = |i: usize| Quantity { count: whole(out.iter().map(|node| node[i]).sum()), form: String::new() };
    let node = |own: &[f64; 5]| {
        let [runs, load_ops, store_ops, flops, mem_bytes] = own.map(whole);
        NodeCount { runs, load_ops, store_ops, flops, mem_bytes }
    };
    Counts {
        num_loops: 0,
        num_branches: 0,
        rounds: sum(0),
        branches: sum(0),
        load_ops: sum(1),
        store_ops: sum(2),
        flops: sum(3),
        int_ops: Quantity { count: Count::Whole(0), form: String::new() },
        mem_bytes: sum(4),
        nodes: out.iter().map(node).collect(),
        assumptions: Vec::new(),
    }
}

/// Lines in the order of their use, the last one at the end.
struct Lru {
    lines: usize,
    recent: Vec<i64>,
    seen: std::collections::BTreeSet<i64>,
    misses: u64,
}

impl Watch for Lru {
    fn access(&mut self, array: usize, element: i64, _access: &Access) {
        let line = array as i64 * 1_000_000 + element / 16;
        match self.recent.iter().position(|known| *known == line) {
            Some(place) => drop(self.recent.remove(place)),
            None => self.misses += 1,
        }
        self.seen.insert(line);
        self.recent.push(line);
        if self.recent.len() > self.lines {
            self.recent.remove(0);
        }
    }
}

fn misses(program: &Program, target: &Target) -> Vec<Misses> {
    let level = |level: &Level| {
        let lines = (level.capacity_bytes / target.line_bytes) as usize;
        let mut lru = Lru { lines, recent: Vec::new(), seen: Default::default(), misses: 0 };
        naive::run(program, &mut lru);
        let compulsory = lru.seen.len() as u64;
        Misses {
            capacity_bytes: level.capacity_bytes,
            compulsory: Count::Whole(compulsory),
            capacity: Count::Whole(lru.misses - compulsory),
            capacity_range: None,
            write_backs: Count::Whole(compulsory / 3),
            by_line: vec![(3, Count::Whole(lru.misses))],
            method: "by hand".into(),
        }
    };
    target.levels.iter().map(level).collect()
}

fn target(device: &str, levels: Option<Vec<Level>>) -> Target {
    Target::of(&Request { levels, ..Request::default() }, &DeviceRef::Known(device.into())).unwrap()
}

fn small() -> Option<Vec<Level>> {
    let level = |name: &str, capacity_bytes| Level { name: name.into(), capacity_bytes };
    Some(vec![level("L1", 1024), level("L2", 4096)])
}

fn cost_of(program: &Program, target: &Target, opt: OptLevel) -> Cost {
    cost(program, &counts(program), &misses(program, target), target, opt)
}

const OPTS: [OptLevel; 4] = [OptLevel::O0, OptLevel::O1, OptLevel::O2, OptLevel::O3];

#[test]
fn optimisation_never_costs_time() {
    let programs = [gemm(false), gemm(true), copy(symbol(1), symbol(2), 0, 0), copy(symbol(2), symbol(1), 0, 0)];
    for (i, program) in programs.iter().enumerate() {
        for device in ["epyc-7452", "xeon-6148", "raspberry-pi-4", "h100-sxm"] {
            let target = target(device, small());
            let (counts, misses) = (counts(program), misses(program, &target));
            let ms = OPTS.map(|opt| cost(program, &counts, &misses, &target, opt).ms);
            for [low, point, high] in ms {
                assert!(0.0 < low && low <= point && point <= high, "{device}: {low} {point} {high}");
            }
            assert!(ms.is_sorted_by(|a, b| (0..3).all(|j| a[j] >= b[j])), "{i} {device}: {ms:?}");
        }
    }
}

#[test]
fn vectors_need_neighbours_and_no_carried_results() {
    let vector = |program: &Program| {
        let Some(Node::Loop(outer)) = program.body.first() else { panic!() };
        let mut inner = outer;
        while let Some(Node::Loop(l)) = inner.body.first() {
            inner = l;
        }
        vector::of(program, inner, &mut program.values())
    };
    let (i, j) = (symbol(1), symbol(2));
    let yes = Vector::Of(Element::F32);
    assert_eq!(vector(&gemm(false)), yes);
    assert_eq!(vector(&copy(i.clone(), j.clone(), 0, 0)), yes);
    assert_eq!(vector(&copy(i.clone(), j.clone().minus(1), 0, 1)), yes);
    // The row above was written before this loop began.
    assert_eq!(vector(&copy(i.clone().minus(1), j.clone(), 2, 1)), yes);
    assert_eq!(vector(&copy(i.clone(), j.clone(), 2, 0)), yes);
    let no = |program: &Program, because: &str| match vector(program) {
        Vector::No(reason) => assert!(reason.contains(because), "{reason}"),
        Vector::Of(_) => panic!("vectors in spite of: {because}"),
    };
    no(&gemm(true), "result of the one before");
    no(&copy(j.clone(), i.clone(), 0, 0), "next to each other");
    no(&copy(i.clone(), j.clone().minus(1), 2, 1), "another one wrote");
    let mut indirect = copy(i.clone(), j.clone(), 0, 0);
    let Some(Node::Loop(outer)) = indirect.body.first_mut() else { panic!() };
    let Some(Node::Loop(inner)) = outer.body.first_mut() else { panic!() };
    let Some(Node::Work(work)) = inner.body.first_mut() else { panic!() };
    work.accesses[0].index = None;
    no(&indirect, "data decide");
}

#[test]
fn importance_adds_up_and_shares_do_too() {
    for row in DEVICES {
        let own = row.device().machine.is_some_and(|machine| !machine.caches.is_empty());
        let target = target(row.name, if own { None } else { small() });
        let program = copy(symbol(2), symbol(1), 0, 0);
        let (counts, misses) = (counts(&program), misses(&program, &target));
        for opt in OPTS {
            let cost = cost(&program, &counts, &misses, &target, opt);
            let launch = cost.parts.iter().find(|part| part.name == "launch").unwrap().ms;
            let sum: f64 = cost.feature_importance.values().sum();
            assert!((sum - (cost.ms[1] - launch)).abs() <= 1e-12 * cost.ms[1], "{}: {sum} {:?}", row.name, cost.ms);
            assert_eq!(cost.feature_importance.len(), 6);
            let shares: f64 = cost.lines.iter().map(|line| line.share).sum();
            assert!(shares == 0.0 || (shares - 1.0).abs() < 1e-12);
            assert!(cost.joules[0] > 0.0 && cost.joules[0] <= cost.joules[1]);
            assert!(cost.bottleneck.ends_with('.'), "{}", cost.bottleneck);
        }
    }
}

#[test]
fn parts_are_what_paper_and_pencil_say() {
    let program = gemm(false);
    let target = target("epyc-7452", None);
    let cost = cost_of(&program, &target, OptLevel::O2);
    let part = |name: &str| cost.parts.iter().find(|part| part.name == name).unwrap().ms;
    let (n, cycle) = (N as f64, 1e-6 / 2.35);
    let rounds = n * n * n;
    // Eight fused multiply-adds in a vector, two vectors a cycle, 0.87 of the peak.
    assert!((part("compute") - rounds / 8.0 / 2.0 * cycle / 0.87).abs() < 1e-12);
    // Three loads through two ports.
    assert!((part("loads and stores") - 3.0 * rounds / 8.0 / 2.0 * cycle / 0.87).abs() < 1e-12);
    // All fits into L2: three arrays come in once, one is said to go back.
    let lines = 3.0 * n * n / 16.0;
    assert!((part("DRAM") - (lines + lines / 3.0) * 64.0 / 34.8e9 / 0.75 * 1e3).abs() < 1e-12);
    assert_eq!(part("launch"), 0.0);
    assert_eq!(cost.levels[1].capacity_misses, Count::Whole(0));
    assert_eq!(cost.levels[1].bytes, Count::Whole(3 * 48 * 48 * 4));
    assert_eq!(cost.levels[0].accesses, Count::Whole(4 * 48 * 48 * 48));
    assert_eq!(cost.roofline.peak_gflop_s, Some(2.0 * 2.0 * 8.0 * 2.35));
    assert!((cost.roofline.gflop_s - 2.0 * rounds / cost.ms[1] / 1e6).abs() < 1e-9);
    assert_eq!(cost.roofline.roofs.len(), 4);
    // A sum that waits for itself: five cycles per iteration.
    let chained = cost_of(&gemm(true), &target, OptLevel::O2);
    let busy = rounds / 2.0 * cycle;
    assert!((chained.parts[0].ms - (busy / 0.87 + (5.0 * rounds * cycle - busy))).abs() < 1e-12);
    assert!(chained.bottleneck.starts_with("Compute-bound"), "{}", chained.bottleneck);
}

/// GCC fuses no such sums for Zen, and a store is not loaded again at once.
#[test]
fn sums_take_what_compiler_and_core_make_of_them() {
    let program = gemm(true);
    let cycles = |device: &str, compiler: Option<Compiler>, opt| {
        let request = Request { compiler, ..Request::default() };
        let target = Target::of(&request, &DeviceRef::Known(device.into())).unwrap();
        let core = target.core().copied().unwrap();
        let cost = cost_of(&program, &target, opt);
        let rounds = (N * N * N) as f64;
        let compute = cost.parts.iter().find(|part| part.name == "compute").unwrap().ms;
        // An addition and a multiplication, fused or not, are started meanwhile.
        let started = if opt == OptLevel::O0 { 2.0 } else { 1.0 } / core.pipes;
        compute / rounds * 1e6 * core.clock_ghz - started / 0.87 + started
    };
    let cases = [
        ("epyc-7452", None, OptLevel::O2, 5.0),
        ("epyc-7452", Some(Compiler::Gcc), OptLevel::O2, 3.0),
        ("epyc-7452", Some(Compiler::Clang), OptLevel::O2, 5.0),
        ("xeon-6148", Some(Compiler::Gcc), OptLevel::O2, 4.0),
        ("epyc-7452", None, OptLevel::O0, 3.0 + 8.0),
        ("xeon-6148", None, OptLevel::O0, 4.0 + 5.0),
        ("ryzen-9950x", None, OptLevel::O0, 2.0 + 10.0),
    ];
    for (device, compiler, opt, wanted) in cases {
        let found = cycles(device, compiler, opt);
        assert!((found - wanted).abs() < 1e-9, "{device} {compiler:?} {opt:?}: {found}, not {wanted}");
    }
}

/// What does not change in an innermost loop may be in a register: the least time has it there.
#[test]
fn the_least_time_loads_what_stays_once() {
    let target = target("epyc-7452", None);
    let (rounds, cycle) = ((N * N * N) as f64, 1e-6 / 2.35);
    let low = |opt| cost_of(&gemm(false), &target, opt).ms[0];
    // Of three loads one stays: two through two ports, beside one store.
    assert!((low(OptLevel::O1) - rounds * cycle).abs() < 1e-12);
    // Without optimisation, there are also the addresses, the subscripts and a scalar: 3 + 4 + 8 + 1.
    assert!((low(OptLevel::O0) - 16.0 / 2.0 * rounds * cycle).abs() < 1e-12);
}

/// Data decide anywhere in an array of 16,384 pages, on a row of it, or in a row that is known.
#[test]
fn what_data_decide_waits_as_long_as_it_lies_apart() {
    let priced = |code: &str, shapes: &[&str]| {
        let request = Request {
            code: format!("import torch\ndef f(x, i):\n    return {code}\n"),
            shapes: shapes.iter().map(|shape| (*shape).to_owned()).collect(),
            device: Some(DeviceRef::Known("epyc-7452".into())),
            ..Request::default()
        };
        let report = crate::predict::predict(&request, &mut accel_ground::progress::Unattended).unwrap();
        let pages = report.assumptions.iter().any(|text| text.contains("16384 pages"));
        let waiting = report.parts.iter().find(|part| part.name == "latency").map_or(0.0, |part| part.ms);
        (pages, waiting)
    };
    let anywhere = priced("x.reshape(-1)[i]", &["x: f32[4096, 4096]", "i: i64[4096, 4096]"]);
    let row = priced("x[i]", &["x: f32[4096, 4096]", "i: i64[4096]"]);
    let in_a_row = priced("torch.gather(x, 1, i)", &["x: f32[4096, 4096]", "i: i64[4096, 4096]"]);
    assert!(anywhere.0 && row.0 && !in_a_row.0);
    // As many elements each time: a row of 256 lines is waited for once.
    assert!(row.1 * 50.0 < in_a_row.1 && in_a_row.1 * 4.0 < anywhere.1, "{row:?} {in_a_row:?} {anywhere:?}");
}

#[test]
fn conditions_cost_what_is_foretold_wrongly() {
    let arm = Node::Work(work(vec![access(0, symbol(1), symbol(2), true)], ONE_ADD));
    let with = |p: f64| {
        let condition = Condition::Chance(p);
        let branch = Branch { condition, then: vec![arm.clone()], otherwise: Vec::new(), at: at(3) };
        program(vec![rounds(1, 0, 1, vec![rounds(2, 0, 2, vec![Node::Branch(branch)])])])
    };
    let target = target("epyc-7452", None);
    let branches = |p| {
        let program = with(p);
        // Caches are not asked: the naive run has no chances.
        let cost = cost(&program, &counts(&program), &[], &target, OptLevel::O2);
        cost.parts.iter().find(|part| part.name == "branches").unwrap().ms
    };
    let rounds = (N * N) as f64;
    let foretold = 2.0 / 5.0;
    for (p, wrong) in [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.9, 0.1), (1.0, 0.0)] {
        let expected = rounds * (foretold + wrong * 18.0) * 1e-6 / 2.35 / 0.87;
        assert!((branches(p) - expected).abs() < 1e-12, "{p}");
    }
}

#[test]
fn libraries_run_at_their_own_efficiency() {
    let n = Expr::from(4096);
    let library = Library {
        name: "matmul".into(),
        batch: 1.into(),
        m: n.clone(),
        n: n.clone(),
        k: n,
        element: Element::F16,
        sweep: Vec::new(),
        at: at(1),
    };
    let program = program(vec![Node::Library(library)]);
    let flops = 2.0 * 4096f64.powi(3);
    let matrix = 4096.0 * 4096.0 * 2.0 / 64.0;
    let misses = vec![Misses {
        capacity_bytes: 50 << 20,
        compulsory: Count::Real(3.0 * matrix),
        capacity: Count::Whole(0),
        capacity_range: None,
        write_backs: Count::Real(matrix),
        by_line: vec![(1, Count::Real(3.0 * matrix))],
        method: "by hand".into(),
    }];
    for opt in OPTS {
        let cost = cost(&program, &counts(&program), &misses, &target("h100-sxm", None), opt);
        // 0.139 ms at the peak of 989 TFLOP/s; measured: 765 TFLOP/s for 4096 x 4096 x 2048 (XLA's table).
        let launch = cost.parts.iter().find(|part| part.name == "launch").unwrap().ms;
        let point = cost.ms[1];
        assert!(flops / 989e9 < point && (flops / (point - launch) / 1e9 / 765.0 - 1.0).abs() < 0.1, "{point}");
        assert!(cost.ms[0] < point && point < cost.ms[2]);
        assert!(cost.bottleneck.starts_with("Compute-bound: arithmetic takes"), "{}", cost.bottleneck);
        assert_eq!(cost.roofline.peak_gflop_s, Some(989e3));
    }
}

/// The classes of the operators that a program is made of.
fn classes(body: Vec<Node>) -> Vec<String> {
    let (program, target) = (program(body), target("a100-80", None));
    let cost = cost(&program, &counts(&program), &misses(&program, &target), &target, OptLevel::O2);
    cost.operators.iter().map(|own| own.class.clone()).collect()
}

#[test]
fn operators_are_known_by_what_they_touch() {
    let (i, j) = (symbol(1), symbol(2));
    let pass = |accesses: Vec<Access>, flops: Flops| rounds(2, 0, 2, vec![Node::Work(work(accesses, flops))]);
    let whole = |array: usize, write: bool| access(array, i.clone(), j.clone(), write);
    // A buffer of one row, as functions in one pass have.
    let buffer = |write: bool| access(1, 0.into(), j.clone(), write);
    let most = pass(vec![whole(0, false)], Flops::MIN_MAX);
    let sum = pass(vec![buffer(false)], Flops::ADD);
    let quotient = pass(vec![buffer(false), whole(2, true)], Flops::DIV);
    let with = |kind: Flops| {
        let powers = pass(vec![whole(0, false), buffer(true)], kind);
        vec![rounds(1, 0, 1, vec![most.clone(), powers, sum.clone(), quotient.clone()])]
    };
    assert_eq!(classes(with(Flops::SPECIAL)), ["softmax"]);
    assert_eq!(classes(with(Flops::MUL)), ["norm"]);
    let single = |nest: Program| classes(nest.body);
    assert_eq!(single(copy(i.clone(), j.clone(), 0, 0)), ["element-wise"]);
    assert_eq!(single(copy(j.clone(), i.clone(), 0, 0)), ["transposed copy"]);
    assert_eq!(single(gemm(false)), [""; 0]);
    assert_eq!(single(gemm(true)), [""; 0]);
    let store = Node::Work(work(vec![access(1, 0.into(), i.clone(), true)], Flops::NONE));
    assert_eq!(classes(vec![rounds(1, 0, 1, vec![most, store])]), ["reduction"]);
}

#[test]
fn words_name_the_memory_and_the_cure() {
    let target = target("epyc-7452", None);
    let program = copy(symbol(1), symbol(2), 0, 0);
    let level = |compulsory: u64, capacity: u64| Misses {
        capacity_bytes: 1 << 20,
        compulsory: Count::Whole(compulsory),
        capacity: Count::Whole(capacity),
        capacity_range: None,
        write_backs: Count::Whole(compulsory / 2),
        by_line: vec![(3, Count::Whole(compulsory + capacity))],
        method: "by hand".into(),
    };
    let words = |misses: Misses| {
        let misses = [misses.clone(), misses.clone(), misses];
        cost(&program, &counts(&program), &misses, &target, OptLevel::O2).bottleneck
    };
    let once = words(level(10_000, 0));
    assert!(once.starts_with("Memory-bound: DRAM takes") && once.contains("only once"), "{once}");
    assert!(once.contains("FLOP per byte of DRAM against a ridge of 2.2"), "{once}");
    let again = words(level(10_000, 90_000));
    assert!(again.contains("90 % of the lines come again") && again.contains("1.05 MB"), "{again}");
    let nothing = Program::default();
    let cost = cost(&nothing, &counts(&nothing), &[], &target, OptLevel::O2);
    assert_eq!((cost.ms, cost.roofline.gflop_s), ([0.0; 3], 0.0));
    assert!(cost.bottleneck.starts_with("Nothing takes time"));
}

#[test]
fn indirect_misses_wait_for_where_they_are_found() {
    let mut program = copy(symbol(1), symbol(2), 0, 0);
    let Some(Node::Loop(outer)) = program.body.first_mut() else { panic!() };
    let Some(Node::Loop(inner)) = outer.body.first_mut() else { panic!() };
    let Some(Node::Work(work)) = inner.body.first_mut() else { panic!() };
    work.accesses[0].index = None;
    let level = |lines: u64| Misses {
        capacity_bytes: 1 << 20,
        compulsory: Count::Whole(lines),
        capacity: Count::Whole(0),
        capacity_range: None,
        write_backs: Count::Whole(0),
        by_line: vec![(3, Count::Whole(lines))],
        method: "by hand".into(),
    };
    let misses = [level(1000), level(100), level(10)];
    let latency = |device: &str| {
        let cost = cost(&program, &counts(&program), &misses, &target(device, None), OptLevel::O2);
        cost.parts.iter().find(|part| part.name == "latency").unwrap().ms
    };
    // 900 in L2, 90 in L3, 10 in memory, 22 at a time.
    let ns = (900.0 * 13.0 / 2.35 + 90.0 * 34.0 / 2.35 + 10.0 * 113.0) / 22.0;
    assert!((latency("epyc-7452") - ns * 1e-6).abs() < 1e-12);
    // Where the latency of memory is unknown, it is taken as that of L3; ten at a time where nobody says how many.
    let ns = (900.0 * 14.0 / 2.4 + 100.0 * 46.0 / 2.7) / 10.0;
    assert!((latency("xeon-6148") - ns * 1e-6).abs() < 1e-12);
}
