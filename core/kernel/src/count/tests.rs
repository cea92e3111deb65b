//! Counts against runs of the same programs, and forms that are known.

use proptest::prelude::*;

use super::*;
use crate::expr::{Rounding, Symbol};
use crate::naive::{self, Watch};
use crate::nest::{Access, Array, At, Builder, Comparison, Condition, Element, Flops};

/// Writes programs by hand.
struct Maker {
    builder: Builder,
    line: u32,
}

impl Maker {
    fn new(parameters: &[(&str, i64)]) -> (Self, Vec<Expr>) {
        let defines = parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let mut builder = Builder::new(&defines);
        let symbols = parameters.iter().map(|(name, _)| builder.parameter(name).into()).collect();
        let dims = vec![Expr::Const(64)];
        builder.array(Array { name: "a".into(), element: Element::F32, dims, temporary: false });
        (Self { builder, line: 0 }, symbols)
    }

    fn at(&mut self) -> At {
        self.line += 1;
        At { line: self.line, column: 1 }
    }

    fn var(&mut self, name: &str) -> (Symbol, Expr) {
        let symbol = self.builder.variable(name);
        (symbol, symbol.into())
    }

    fn count(mut self, body: Vec<Node>) -> Counts {
        self.builder.program.body = body;
        assert!(check(&self.builder.program) > 0, "the form was tried for no other parameters");
        count(&self.builder.program).unwrap()
    }
}

fn each(maker: &mut Maker, var: Symbol, lower: impl Into<Expr>, upper: impl Into<Expr>, body: Vec<Node>) -> Node {
    stepped(maker, var, (lower.into(), upper.into(), 1.into()), body)
}

fn stepped(maker: &mut Maker, var: Symbol, (lower, upper, step): (Expr, Expr, Expr), body: Vec<Node>) -> Node {
    Node::Loop(Loop { var, lower, upper, step, body, at: maker.at() })
}

/// So many loads, stores and additions.
fn work(maker: &mut Maker, loads: usize, stores: usize, add: u32) -> Node {
    let at = maker.at();
    let access = |write| Access { array: 0, index: Some(vec![0.into()]), known: Default::default(), write, at };
    let accesses = (0..loads + stores).map(|i| access(i >= loads)).collect();
    Node::Work(Work { accesses, flops: Flops { add, ..Flops::default() }, at, ..Work::default() })
}

fn when(maker: &mut Maker, condition: Condition, then: Vec<Node>, otherwise: Vec<Node>) -> Node {
    Node::Branch(Branch { condition, then, otherwise, at: maker.at() })
}

/// How often each node runs, by its number in pre-order, and iterations, loads, stores and FLOPs of all.
#[derive(Default)]
struct Run {
    runs: Vec<u64>,
    totals: [u64; 4],
}

impl Watch for Run {
    fn round(&mut self) {
        self.totals[0] += 1;
    }
    fn work(&mut self, work: &Work) {
        self.totals[3] += work.flops.total();
    }
    fn access(&mut self, _: usize, _: i64, access: &Access) {
        self.totals[1 + usize::from(access.write)] += 1;
    }
}

/// Runs the program a second time, node by node.
fn step(body: &[Node], values: &mut Vec<i64>, mut number: usize, run: &mut Run) -> usize {
    for node in body {
        let own = number;
        run.runs.resize(run.runs.len().max(own + 1), 0);
        number += 1;
        match node {
            Node::Loop(l) => {
                let value = |expr: &Expr, values: &[i64]| expr.value(values).unwrap();
                let (mut var, upper, step_by) =
                    (value(&l.lower, values), value(&l.upper, values), value(&l.step, values));
                number = size(&l.body) + own + 1;
                while if step_by > 0 { var < upper } else { var > upper } {
                    values[l.var.0 as usize] = var;
                    run.runs[own] += 1;
                    step(&l.body, values, own + 1, run);
                    var += step_by;
                }
            }
            Node::Branch(branch) => {
                run.runs[own] += 1;
                let (then, otherwise) = (own + 1, own + 1 + size(&branch.then));
                number = otherwise + size(&branch.otherwise);
                match naive::holds(&branch.condition, values) {
                    true => step(&branch.then, values, then, run),
                    false => step(&branch.otherwise, values, otherwise, run),
                };
            }
            Node::Work(_) | Node::Library(_) => run.runs[own] += 1,
        }
    }
    number
}

/// How many nodes there are.
fn size(body: &[Node]) -> usize {
    let of = |node: &Node| match node {
        Node::Loop(l) => 1 + size(&l.body),
        Node::Branch(branch) => 1 + size(&branch.then) + size(&branch.otherwise),
        Node::Work(_) | Node::Library(_) => 1,
    };
    body.iter().map(of).sum()
}

fn run(program: &Program) -> Run {
    let mut run = Run::default();
    naive::run(program, &mut run);
    step(&program.body, &mut program.values(), 0, &mut run);
    run.runs.resize(size(&program.body), 0);
    run
}

fn with_values(program: &Program, parameters: &[i64]) -> Program {
    let mut program = program.clone();
    let open = program.symbols.iter_mut().filter_map(|symbol| symbol.value.as_mut());
    open.zip(parameters).for_each(|(own, new)| *own = *new);
    program
}

/// Compares all counts with a run; and closed forms with runs for other parameters, where their assumptions hold.
/// Returns for how many.
fn check(program: &Program) -> usize {
    let counts = count(program).unwrap_or_else(|error| panic!("{error}"));
    let truth = run(program);
    let totals = [&counts.rounds, &counts.load_ops, &counts.store_ops, &counts.flops];
    let found: Vec<Count> = totals.iter().map(|quantity| quantity.count).collect();
    let forms: Vec<&str> = totals.iter().map(|quantity| quantity.form.as_str()).collect();
    assert_eq!(found, truth.totals.map(Count::Whole), "{forms:?} assuming {:?}", counts.assumptions);
    let runs: Vec<Count> = counts.nodes.iter().map(|node| node.runs).collect();
    let expected: Vec<Count> = truth.runs.iter().map(|runs| Count::Whole(*runs)).collect();
    assert_eq!(runs, expected, "{forms:?}");
    let parameters = program.symbols.iter().filter(|symbol| symbol.value.is_some()).count();
    let others = [[1, 1, 1], [2, 1, 3], [3, 5, 2], [6, 6, 2], [7, 4, 3], [9, 9, 4], [0, 2, 1]];
    others.iter().filter(|values| form_holds(program, &values[..parameters.min(3)])).count()
}

/// Whether the assumptions hold for other parameters; the form must be right then.
fn form_holds(program: &Program, parameters: &[i64]) -> bool {
    let mut counter = Counter::new(program, MAX_EVALUATIONS);
    counter.program().unwrap();
    let forms = counter.totals.clone().map(|sum| sum.form);
    let other = with_values(program, parameters);
    let mut table = counter.table;
    table.values = other.values();
    table.atoms.iter_mut().for_each(|info| info.value = None);
    let conditions = table.conditions.clone();
    let holds = |table: &mut Table, poly: &Poly| table.number(poly).is_ok_and(|value| value >= Rational::from(0));
    if parameters.iter().any(|value| *value < 1) || !conditions.iter().all(|poly| holds(&mut table, poly)) {
        return false;
    }
    let truth = run(&other).totals;
    for (what, truth) in [(ROUNDS, truth[0]), (LOADS, truth[1]), (STORES, truth[2]), (FLOPS, truth[3])] {
        let value = table.evaluate(&forms[what]).unwrap().count(false);
        let form = Writer { table: &table, decimals: false }.form(&forms[what]);
        assert_eq!(value, Some(Count::Whole(truth)), "{form} for {parameters:?}");
    }
    true
}

/// An expression of what is in scope; symbols are chosen by a number.
#[derive(Debug, Clone)]
enum Wish {
    Const(i64),
    Symbol(usize),
    Plus(Box<Wish>, Box<Wish>),
    Minus(Box<Wish>, Box<Wish>),
    Times(Box<Wish>, i64),
    Square(usize, usize),
    Over(Box<Wish>, i64, bool),
    Modulo(Box<Wish>, i64, bool),
    Min(Box<Wish>, Box<Wish>),
    Max(Box<Wish>, Box<Wish>),
}

#[derive(Debug, Clone)]
enum Rule {
    Compare(Wish, u8, Wish),
    Residue(Wish, i64, i64, bool, bool),
    And(Box<Rule>, Box<Rule>),
    Or(Box<Rule>, Box<Rule>),
    Not(Box<Rule>),
}

#[derive(Debug, Clone)]
enum Plan {
    Loop(Wish, Wish, i64, Vec<Plan>),
    Tiles(Wish, i64, Vec<Plan>),
    If(Rule, Vec<Plan>, Vec<Plan>),
    Work(usize, usize, u32),
}

fn wish() -> impl Strategy<Value = Wish> {
    let leaf = prop_oneof![3 => (0..8usize).prop_map(Wish::Symbol), 1 => (-2..5i64).prop_map(Wish::Const)];
    leaf.prop_recursive(2, 5, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        let boxed = |(a, b): (Wish, Wish)| (Box::new(a), Box::new(b));
        prop_oneof![
            4 => pair.clone().prop_map(move |p| { let (a, b) = boxed(p); Wish::Plus(a, b) }),
            4 => pair.clone().prop_map(move |p| { let (a, b) = boxed(p); Wish::Minus(a, b) }),
            1 => (inner.clone(), -2..3i64).prop_map(|(a, c)| Wish::Times(Box::new(a), c)),
            1 => (0..8usize, 0..8usize).prop_map(|(a, b)| Wish::Square(a, b)),
            1 => (inner.clone(), 2..4i64, any::<bool>()).prop_map(|(a, c, f)| Wish::Over(Box::new(a), c, f)),
            1 => (inner, 2..4i64, any::<bool>()).prop_map(|(a, c, f)| Wish::Modulo(Box::new(a), c, f)),
            1 => pair.clone().prop_map(move |p| { let (a, b) = boxed(p); Wish::Min(a, b) }),
            1 => pair.prop_map(move |p| { let (a, b) = boxed(p); Wish::Max(a, b) }),
        ]
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let leaf = prop_oneof![
        3 => (wish(), 0..4u8, wish()).prop_map(|(a, c, b)| Rule::Compare(a, c, b)),
        1 => (wish(), 1..4i64, 0..3i64, any::<bool>(), any::<bool>())
            .prop_map(|(a, m, c, f, e)| Rule::Residue(a, m, c, f, e)),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Rule::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Rule::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Rule::Not(Box::new(a))),
        ]
    })
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let leaf = (0..3usize, 0..2usize, 0..3u32).prop_map(|(l, s, f)| Plan::Work(l, s, f));
    let plan = leaf.prop_recursive(4, 8, 2, |inner| {
        let body = prop::collection::vec(inner, 1..3);
        let bounds = prop_oneof![3 => Just(Wish::Const(0)), 2 => wish()];
        prop_oneof![
            6 => (bounds, wish(), prop_oneof![5 => Just(1i64), 1 => Just(-1), 1 => Just(2), 1 => Just(-3)], body.clone())
                .prop_map(|(a, b, s, body)| if s > 0 { Plan::Loop(a, b, s, body) } else { Plan::Loop(b, a, s, body) }),
            1 => (wish(), 1..4i64, body.clone()).prop_map(|(a, t, body)| Plan::Tiles(a, t, body)),
            2 => (rule(), body.clone(), prop_oneof![Just(Vec::new()), body]).prop_map(|(r, a, b)| Plan::If(r, a, b)),
        ]
    });
    prop::collection::vec(plan, 1..3)
}

fn expr(wish: &Wish, scope: &[Expr]) -> Expr {
    let symbol = |at: usize| scope[at % scope.len()].clone();
    let rounding = |floor: bool| if floor { Rounding::Floor } else { Rounding::Zero };
    match wish {
        Wish::Const(value) => (*value).into(),
        Wish::Symbol(at) => symbol(*at),
        Wish::Plus(a, b) => expr(a, scope).plus(expr(b, scope)),
        Wish::Minus(a, b) => expr(a, scope).minus(expr(b, scope)),
        Wish::Times(a, factor) => expr(a, scope).times(*factor),
        Wish::Square(a, b) => symbol(*a).times(symbol(*b)),
        Wish::Over(a, b, floor) => expr(a, scope).over(*b, rounding(*floor)),
        Wish::Modulo(a, b, floor) => expr(a, scope).modulo(*b, rounding(*floor)),
        Wish::Min(a, b) => expr(a, scope).min(expr(b, scope)),
        Wish::Max(a, b) => expr(a, scope).max(expr(b, scope)),
    }
}

fn condition(rule: &Rule, scope: &[Expr]) -> Condition {
    const ALL: [Comparison; 4] = [Comparison::Less, Comparison::LessEqual, Comparison::Equal, Comparison::NotEqual];
    let both = |a: &Rule, b: &Rule| (Box::new(condition(a, scope)), Box::new(condition(b, scope)));
    match rule {
        Rule::Compare(a, comparison, b) => {
            Condition::Compare(expr(a, scope), ALL[usize::from(*comparison)], expr(b, scope))
        }
        Rule::Residue(a, m, c, floor, equal) => {
            let rounding = if *floor { Rounding::Floor } else { Rounding::Zero };
            let comparison = if *equal { Comparison::Equal } else { Comparison::NotEqual };
            Condition::Compare(expr(a, scope).modulo(*m, rounding), comparison, (*c).into())
        }
        Rule::And(a, b) => {
            let (a, b) = both(a, b);
            Condition::And(a, b)
        }
        Rule::Or(a, b) => {
            let (a, b) = both(a, b);
            Condition::Or(a, b)
        }
        Rule::Not(a) => Condition::Not(Box::new(condition(a, scope))),
    }
}

fn build(maker: &mut Maker, plans: &[Plan], scope: &mut Vec<Expr>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for plan in plans {
        let node = match plan {
            Plan::Loop(lower, upper, by, body) => {
                let bounds = (expr(lower, scope), expr(upper, scope), (*by).into());
                let (var, own) = maker.var(&format!("i{}", scope.len()));
                scope.push(own);
                let body = build(maker, body, scope);
                scope.pop();
                stepped(maker, var, bounds, body)
            }
            Plan::Tiles(upper, by, body) => {
                let upper = expr(upper, scope);
                let (tile, first) = maker.var("ii");
                let (var, own) = maker.var("i");
                // The parameter T, or a number.
                let by = if *by == 1 { scope[2].clone() } else { (*by).into() };
                scope.push(own);
                let body = build(maker, body, scope);
                scope.pop();
                let end = first.clone().plus(by.clone()).min(upper.clone());
                let inner = each(maker, var, first, end, body);
                stepped(maker, tile, (0.into(), upper, by), vec![inner])
            }
            Plan::If(rule, then, otherwise) => {
                let condition = condition(rule, scope);
                let (then, otherwise) = (build(maker, then, scope), build(maker, otherwise, scope));
                when(maker, condition, then, otherwise)
            }
            Plan::Work(loads, stores, add) => work(maker, *loads, *stores, *add),
        };
        nodes.push(node);
    }
    nodes
}

/// How many iterations the outer loops have at most, so that a test does not run for ever.
fn is_small(program: &Program) -> bool {
    let mut counter = Counter::new(program, 100_000);
    counter.program().is_ok() && counter.totals[ROUNDS].value.count(false).is_some_and(|rounds| rounds.value() < 2e5)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_programs_count_as_they_run(plans in plans(), n in 1..7i64, m in -1..7i64, t in 1..4i64) {
        let (mut maker, mut scope) = Maker::new(&[("N", n), ("M", m), ("T", t)]);
        let body = build(&mut maker, &plans, &mut scope);
        maker.builder.program.body = body;
        let program = maker.builder.program;
        prop_assume!(is_small(&program));
        check(&program);
    }
}

/// The closed forms of rounds, loads, stores and FLOPs, then the assumptions.
fn closed_forms(counts: &Counts) -> Vec<String> {
    let quantities = [&counts.rounds, &counts.load_ops, &counts.store_ops, &counts.flops];
    quantities.iter().map(|quantity| quantity.form.clone()).chain(counts.assumptions.iter().cloned()).collect()
}

#[test]
fn gemm() {
    let (mut m, p) = Maker::new(&[("D", 20)]);
    let ((i, _), (j, _), (k, _), (l, _)) = (m.var("i"), m.var("j"), m.var("k"), m.var("j"));
    let d = || p[0].clone();
    let scale = work(&mut m, 1, 1, 1);
    let scale = each(&mut m, j, 0, d(), vec![scale]);
    let product = work(&mut m, 3, 1, 3);
    let product = each(&mut m, l, 0, d(), vec![product]);
    let product = each(&mut m, k, 0, d(), vec![product]);
    let outer = each(&mut m, i, 0, d(), vec![scale, product]);
    let counts = m.count(vec![outer]);
    assert_eq!(closed_forms(&counts), ["D^3 + 2*D^2 + D", "3*D^3 + D^2", "D^3 + D^2", "3*D^3 + D^2"]);
    assert_eq!(counts.mem_bytes.form, "16*D^3 + 8*D^2");
    assert_eq!((counts.num_loops, counts.num_branches, counts.mem_bytes.count), (4, 0, Count::Whole(131_200)));
}

/// The triangular nests: for i { for j < i { for k < j {a} b } for k < i {c} d }.
#[test]
fn cholesky() {
    let (mut m, p) = Maker::new(&[("N", 13)]);
    let ((i, iv), (j, jv), (k, _), (l, _)) = (m.var("i"), m.var("j"), m.var("k"), m.var("k"));
    let inner = work(&mut m, 3, 1, 2);
    let inner = each(&mut m, k, 0, jv, vec![inner]);
    let divide = work(&mut m, 2, 1, 1);
    let column = each(&mut m, j, 0, iv.clone(), vec![inner, divide]);
    let square = work(&mut m, 3, 1, 2);
    let diagonal = each(&mut m, l, 0, iv, vec![square]);
    let root = work(&mut m, 1, 1, 1);
    let outer = each(&mut m, i, 0, p[0].clone(), vec![column, diagonal, root]);
    let counts = m.count(vec![outer]);
    let n = 13_u64;
    assert_eq!(closed_forms(&counts)[3], "1/3*N^3 + 1/2*N^2 + 1/6*N");
    assert_eq!(counts.flops.count, Count::Whole((2 * n * n * n + 3 * n * n + n) / 6));
    assert_eq!(counts.assumptions, [] as [&str; 0]);
}

#[test]
fn trisolv() {
    let (mut m, p) = Maker::new(&[("N", 40)]);
    let ((i, iv), (j, _)) = (m.var("i"), m.var("j"));
    let (first, inner, last) = (work(&mut m, 1, 1, 0), work(&mut m, 3, 1, 2), work(&mut m, 2, 1, 1));
    let row = each(&mut m, j, 0, iv, vec![inner]);
    let outer = each(&mut m, i, 0, p[0].clone(), vec![first, row, last]);
    let counts = m.count(vec![outer]);
    assert_eq!(closed_forms(&counts), ["1/2*N^2 + 1/2*N", "3/2*N^2 + 3/2*N", "1/2*N^2 + 3/2*N", "N^2"]);
}

#[test]
fn jacobi_says_from_where_on_it_holds() {
    let program = |n: i64| {
        let (mut m, p) = Maker::new(&[("T", 3), ("N", n)]);
        let ((t, _), (i, _), (j, _)) = (m.var("t"), m.var("i"), m.var("j"));
        let star = work(&mut m, 5, 1, 5);
        let row = each(&mut m, j, 1, p[1].clone().minus(1), vec![star]);
        let sweep = each(&mut m, i, 1, p[1].clone().minus(1), vec![row]);
        let outer = each(&mut m, t, 0, p[0].clone(), vec![sweep]);
        m.count(vec![outer])
    };
    assert_eq!(program(12).flops.form, "5*T*N^2 - 20*T*N + 20*T");
    assert_eq!(program(12).assumptions, ["N >= 2"]);
    // Below that, the form is right without an assumption.
    assert_eq!(program(1).assumptions, [] as [&str; 0]);
    assert_eq!(program(1).flops.form, "5*T*max(N - 2, 0)^2");
}

#[test]
fn tiles_have_the_form_of_what_is_tiled() {
    let (mut m, p) = Maker::new(&[("N", 10), ("T", 4)]);
    let names = ["ii", "jj", "kk"];
    let tiles = names.map(|name| m.var(name));
    let points = ["i", "j", "k"].map(|name| m.var(name));
    let mut body = vec![work(&mut m, 3, 1, 2)];
    for ((var, _), (_, tile)) in points.iter().zip(&tiles) {
        let end = tile.clone().plus(p[1].clone()).min(p[0].clone());
        body = vec![each(&mut m, *var, tile.clone(), end, body)];
    }
    for (var, _) in &tiles {
        body = vec![stepped(&mut m, *var, (0.into(), p[0].clone(), p[1].clone()), body)];
    }
    let counts = m.count(body);
    assert_eq!(closed_forms(&counts)[1..], ["3*N^3", "N^3", "2*N^3"]);
    assert_eq!(counts.rounds.form, "N^3 + N^2*ceil(N/T) + N*ceil(N/T)^2 + ceil(N/T)^3 + ceil(N/T)^2 + ceil(N/T)");
}

/// As many blocks as it takes, and in each no more than is left: however their number is rounded up.
#[test]
fn blocks_have_the_form_of_what_is_cut() {
    let forms = |blocks: fn(Expr) -> Expr| {
        let (mut m, p) = Maker::new(&[("N", 1000)]);
        let ((b, bv), (i, _)) = (m.var("b"), m.var("i"));
        let own = work(&mut m, 1, 0, 0);
        let begin = bv.times(256);
        let end = begin.clone().plus(256).min(p[0].clone());
        let block = each(&mut m, i, begin, end, vec![own]);
        let outer = each(&mut m, b, 0, blocks(p[0].clone()), vec![block]);
        m.count(vec![outer]).load_ops.form
    };
    assert_eq!(forms(|n| n.plus(255).over(256, Rounding::Floor)), "N");
    assert_eq!(forms(|n| n.plus(-1).over(256, Rounding::Floor).plus(1)), "N");
    assert_eq!(forms(|n| n.over(256, Rounding::Floor)), "256*floor(N/256)");
}

#[test]
fn conditions_on_variables_are_exact() {
    let forms = |condition: fn(Expr, Expr) -> Condition| {
        let (mut m, p) = Maker::new(&[("N", 9)]);
        let ((i, iv), (j, jv)) = (m.var("i"), m.var("j"));
        let own = work(&mut m, 1, 0, 0);
        let arm = when(&mut m, condition(iv, jv), vec![own], vec![]);
        let row = each(&mut m, j, 0, p[0].clone(), vec![arm]);
        let outer = each(&mut m, i, 0, p[0].clone(), vec![row]);
        let counts = m.count(vec![outer]);
        format!("{} {:?}", counts.load_ops.form, counts.assumptions)
    };
    assert_eq!(forms(|i, j| Condition::Compare(j, Comparison::LessEqual, i)), "1/2*N^2 + 1/2*N []");
    assert_eq!(forms(|i, j| Condition::Compare(i, Comparison::Equal, j)), "N []");
    assert_eq!(forms(|i, j| Condition::Compare(i, Comparison::NotEqual, j)), "N^2 - N []");
    assert_eq!(
        forms(|i, _| Condition::Compare(i.modulo(2, Rounding::Zero), Comparison::Equal, 0.into())),
        "N*ceil(N/2) []"
    );
}

#[test]
fn chances_are_expected_values() {
    let (mut m, p) = Maker::new(&[("N", 10)]);
    let ((i, _), (j, _)) = (m.var("i"), m.var("j"));
    let (then, otherwise) = (work(&mut m, 1, 0, 0), work(&mut m, 0, 1, 1));
    let branch = when(&mut m, Condition::Chance(0.3), vec![then], vec![otherwise]);
    let row = each(&mut m, j, 0, p[0].clone(), vec![branch]);
    let outer = each(&mut m, i, 0, p[0].clone(), vec![row]);
    m.builder.program.body = vec![outer];
    let counts = count(&m.builder.program).unwrap();
    assert_eq!(closed_forms(&counts), ["N^2 + N", "0.3*N^2", "0.7*N^2", "0.7*N^2"]);
    assert_eq!(counts.load_ops.count, Count::Real(30.0));
    assert_eq!(counts.branches, Quantity { count: Count::Whole(100), form: "N^2".into() });
}

#[test]
fn a_library_counts_like_textbook_loops() {
    let (mut m, p) = Maker::new(&[("M", 3), ("N", 4), ("K", 5)]);
    let [rows, columns, k] = [0, 1, 2].map(|i| p[i].clone());
    let (name, at) = ("matmul".to_owned(), m.at());
    let (batch, element) = (Expr::Const(1), Element::F64);
    let call = Library { name, batch, m: rows, n: columns, k, element, sweep: Vec::new(), at };
    m.builder.program.body = vec![Node::Library(call)];
    let counts = count(&m.builder.program).unwrap();
    assert_eq!(closed_forms(&counts), ["M*N*K", "2*M*N*K", "M*N", "2*M*N*K"]);
    assert_eq!((counts.num_loops, counts.mem_bytes.count), (3, Count::Whole(8 * (120 + 12))));
}

/// `depth` loops, each up to `bound` of the variable of the one around.
fn nest(depth: usize, bound: impl Fn(&Expr, &[Expr]) -> Expr) -> Program {
    let (mut m, p) = Maker::new(&[("N", 1024)]);
    let vars: Vec<_> = (0..depth).map(|i| m.var(&format!("i{i}"))).collect();
    let mut body = vec![work(&mut m, 1, 0, 0)];
    for at in (0..depth).rev() {
        let around: Vec<Expr> = vars[..at].iter().map(|(_, var)| var.clone()).collect();
        body = vec![each(&mut m, vars[at].0, 0, bound(&p[0], &around), body)];
    }
    m.builder.program.body = body;
    m.builder.program
}

#[test]
fn deep_nests_have_a_form_or_a_clear_error() {
    let counts = count(&nest(64, |n, _| n.clone())).unwrap();
    assert_eq!(counts.load_ops.form, "N^64");
    assert_eq!(counts.load_ops.count, Count::Real(1024_f64.powi(64)));
    let shifted = count(&nest(64, |n, _| n.clone().minus(1))).unwrap();
    assert!(matches!(shifted.load_ops.count, Count::Real(count) if count > 1e190), "{:?}", shifted.load_ops.count);
    let counts = count(&nest(6, |n, around| around.last().unwrap_or(n).clone())).unwrap();
    let choose = (0..6).fold(1_u128, |all, k| all * (1024 - k) / (k + 1));
    assert_eq!(counts.load_ops.count, Count::Whole(choose as u64));
    for bound in [
        |n: &Expr, around: &[Expr]| around.last().unwrap_or(n).clone(),
        |n: &Expr, around: &[Expr]| around.iter().fold(n.clone(), |sum, i| sum.plus(i.clone())),
        |n: &Expr, around: &[Expr]| around.iter().fold(n.clone(), |sum, i| sum.times(i.clone()).plus(1)),
        |n: &Expr, around: &[Expr]| around.iter().fold(n.clone(), |sum, i| sum.min(i.clone().times(2))),
    ] {
        // With smaller limits than users have, for a test without optimisation.
        let program = nest(64, bound);
        let mut counter = Counter::new(&program, 200_000);
        counter.table.terms_left = 100_000;
        match counter.program().and_then(|()| counter.counts()) {
            Ok(counts) => assert!(matches!(counts.load_ops.count, Count::Real(_)), "{:?}", counts.load_ops.count),
            Err(error) => assert!(matches!(error, Error::TooLarge { .. } | Error::Input { .. }), "{error}"),
        }
    }
}

#[test]
fn what_has_no_number_is_refused_with_its_place() {
    let refused = |lower: Expr, upper: fn(&Expr) -> Expr, step: Expr| {
        let (mut m, p) = Maker::new(&[("N", i64::MAX)]);
        let (i, _) = m.var("i");
        let upper = upper(&p[0]);
        let body = vec![work(&mut m, 1, 0, 0)];
        m.builder.program.body = vec![stepped(&mut m, i, (lower, upper, step), body)];
        count(&m.builder.program).map(|counts| counts.load_ops.form).unwrap_or_else(|error| error.to_string())
    };
    assert_eq!(refused(0.into(), Expr::clone, 1.into()), "N");
    assert!(refused(0.into(), Expr::clone, 0.into()).contains("line 2, column 1: the step of this loop is 0"));
    let squared = refused(0.into(), |n| n.clone().times(n.clone()), 1.into());
    assert!(squared.contains("line 2, column 1: a bound"), "{squared}");
    let divided = refused(0.into(), |n| n.clone().over(0, Rounding::Zero), 1.into());
    assert!(divided.contains("line 2, column 1: a bound"), "{divided}");
}

#[test]
fn trying_out_has_a_limit() {
    let (mut m, p) = Maker::new(&[("N", 100_000_000)]);
    let ((i, iv), (j, _)) = (m.var("i"), m.var("j"));
    let body = vec![work(&mut m, 1, 0, 0)];
    let inner = each(&mut m, j, 0, iv.modulo(7, Rounding::Zero).times(2), body);
    m.builder.program.body = vec![each(&mut m, i, 0, p[0].clone(), vec![inner])];
    let error = count(&m.builder.program).unwrap_err();
    assert!(error.to_string().contains("the loop in line 3"), "{error}");
}

/// Numbers that no run reaches, and a loop from which something is left only where rounding would lose it.
#[test]
fn large_numbers_are_exact_or_refused() {
    let gemm = nest(3, |n, _| n.clone());
    assert_eq!(
        count(&with_values(&gemm, &[2_000_000])).unwrap().load_ops.count,
        Count::Whole(8_000_000_000_000_000_000)
    );
    assert_eq!(count(&with_values(&gemm, &[3_000_000])).unwrap().load_ops.count, Count::Real(2.7e19));
    let (mut m, p) = Maker::new(&[("L", 1 << 60)]);
    let vars: Vec<_> = (0..4).map(|i| m.var(&format!("i{i}"))).collect();
    let mut body = vec![work(&mut m, 1, 0, 0)];
    for at in (0..4).rev() {
        let upper = if at == 0 { p[0].clone().plus(9) } else { vars[at - 1].1.clone() };
        body = vec![each(&mut m, vars[at].0, p[0].clone(), upper, body)];
    }
    m.builder.program.body = body;
    match count(&m.builder.program) {
        Ok(counts) => assert_eq!(counts.load_ops.count, Count::Whole(126)),
        Err(error) => assert!(matches!(error, Error::TooLarge { .. }), "{error}"),
    }
}

#[test]
fn what_chances_guard_is_multiplied() {
    let (mut m, p) = Maker::new(&[("N", 8)]);
    let (i, iv) = m.var("i");
    let chance = |p: f64| Box::new(Condition::Chance(p));
    let even = Condition::Compare(iv.modulo(2, Rounding::Zero), Comparison::Equal, 0.into());
    let either = Condition::Or(chance(0.5), Box::new(Condition::And(chance(0.25), Box::new(even))));
    let (then, otherwise) = (work(&mut m, 1, 0, 0), work(&mut m, 0, 1, 0));
    let branch = when(&mut m, either, vec![then], vec![otherwise]);
    m.builder.program.body = vec![each(&mut m, i, 0, p[0].clone(), vec![branch])];
    let counts = count(&m.builder.program).unwrap();
    assert_eq!(counts.load_ops, Quantity { count: Count::Real(4.5), form: "0.5*N + 0.125*ceil(N/2)".into() });
    assert_eq!(counts.store_ops.count, Count::Real(3.5));
    let never = when(&mut m, Condition::Chance(1.5), Vec::new(), Vec::new());
    m.builder.program.body = vec![never];
    assert!(count(&m.builder.program).unwrap_err().to_string().contains("the probability 1.5 is not one"));
}
