use std::collections::BTreeMap;

use super::read;
use crate::Kernel;
use crate::expr::Expr;
use crate::naive::{Watch, run};
use crate::nest::{Access, Comparison, Condition, Element, Node, Program, Work};
use crate::source::{Fusion, Shape, Source};
use accel_ground::error::Error;

/// Reads `code` with what the user says: `N=8`, `a: f32[M, K]`.
fn kernel(code: &str, said: &[&str], fusion: Fusion) -> Result<Kernel, Error> {
    function(code, None, said, fusion)
}

fn function(code: &str, function: Option<&str>, said: &[&str], fusion: Fusion) -> Result<Kernel, Error> {
    let (defines, shapes): (Vec<&str>, Vec<&str>) = said.iter().partition(|text| text.contains('='));
    let define =
        |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap();
    let defines: BTreeMap<String, i64> = defines.iter().map(define).collect();
    let shapes: Vec<Shape> = shapes.iter().map(|text| Shape::parse(text).unwrap()).collect();
    read(&Source {
        code,
        function,
        defines: &defines,
        shapes: &shapes,
        element: Element::F32,
        probability: 0.75,
        fusion,
        backward: false,
    })
}

/// Loads, stores and FLOPs, those of libraries included as they are documented.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Totals {
    loads: u64,
    stores: u64,
    flops: u64,
}

impl Watch for Totals {
    fn work(&mut self, work: &Work) {
        self.flops += work.flops.total();
    }

    fn access(&mut self, _array: usize, element: i64, access: &Access) {
        assert!(element >= 0, "{access:?}");
        *(if access.write { &mut self.stores } else { &mut self.loads }) += 1;
    }
}

fn totals(program: &Program) -> Totals {
    let (mut totals, mut program) = (Totals::default(), program.clone());
    decide(&mut program.body);
    run(&program, &mut totals);
    totals
}

/// What is likely happens.
fn decide(body: &mut [Node]) {
    fn likely(condition: &mut Condition) {
        match condition {
            Condition::Chance(p) => {
                *condition = Condition::Compare(0.into(), Comparison::Less, i64::from(*p > 0.5).into())
            }
            Condition::And(a, b) | Condition::Or(a, b) => {
                likely(a);
                likely(b);
            }
            Condition::Not(a) => likely(a),
            Condition::Compare(..) => {}
        }
    }
    for node in body {
        match node {
            Node::Loop(l) => decide(&mut l.body),
            Node::Branch(branch) => {
                likely(&mut branch.condition);
                decide(&mut branch.then);
                decide(&mut branch.otherwise);
            }
            _ => {}
        }
    }
}

fn show(program: &Program) -> String {
    fn nodes(program: &Program, body: &[Node], indent: usize, out: &mut String) {
        let name = |s| program.name(s);
        let pad = "  ".repeat(indent);
        for node in body {
            match node {
                Node::Loop(l) => {
                    *out += &format!(
                        "{pad}for {} in {}..{} by {}\n",
                        name(l.var),
                        l.lower.text(&name),
                        l.upper.text(&name),
                        l.step.text(&name)
                    );
                    nodes(program, &l.body, indent + 1, out);
                }
                Node::Branch(b) => {
                    *out += &format!("{pad}if {:?}\n", b.condition);
                    nodes(program, &b.then, indent + 1, out);
                    *out += &format!("{pad}else\n");
                    nodes(program, &b.otherwise, indent + 1, out);
                }
                Node::Work(w) => {
                    let accesses: Vec<String> = w
                        .accesses
                        .iter()
                        .map(|a| {
                            let index = a
                                .index
                                .as_ref()
                                .map(|i| i.iter().map(|e| e.text(&name)).collect::<Vec<_>>().join(", "));
                            format!(
                                "{} {}[{}]",
                                if a.write { "store" } else { "load" },
                                program.arrays[a.array].name,
                                index.unwrap_or("?".into())
                            )
                        })
                        .collect();
                    *out += &format!(
                        "{pad}{}  {:?} carried={} {:?} int={} @{}\n",
                        accesses.join("; "),
                        w.flops,
                        w.carried,
                        w.scalars,
                        w.integer_ops,
                        w.at.line
                    );
                }
                Node::Library(l) => {
                    *out += &format!(
                        "{pad}library {} b={} m={} n={} k={}\n",
                        l.name,
                        l.batch.text(&name),
                        l.m.text(&name),
                        l.n.text(&name),
                        l.k.text(&name)
                    );
                    nodes(program, &l.sweep, indent + 1, out);
                }
            }
        }
    }
    let mut out = String::new();
    for a in &program.arrays {
        let name = |s| program.name(s);
        out += &format!(
            "array {} {:?} [{}] temp={}\n",
            a.name,
            a.element,
            a.dims.iter().map(|d| d.text(&name)).collect::<Vec<_>>().join(", "),
            a.temporary
        );
    }
    nodes(program, &program.body, 0, &mut out);
    for a in &program.assumptions {
        out += &format!("# {a}\n");
    }
    out
}

const LOOPS: &str = include_str!("../../../../tests/fixtures/kernel_python/loops.py");
const ARRAYS: &str = include_str!("../../../../tests/fixtures/kernel_python/arrays.py");

/// What `kernel_python.py` counted.
#[derive(serde::Deserialize)]
struct Counted {
    file: String,
    function: String,
    sizes: BTreeMap<String, i64>,
    shapes: Vec<String>,
    loads: u64,
    stores: u64,
    flops: u64,
}

#[test]
fn counts_are_those_of_instrumented_runs() {
    let counts: Vec<Counted> =
        serde_json::from_str(include_str!("../../../../tests/fixtures/kernel_python/counts.json")).unwrap();
    assert!(counts.len() > 25);
    let mut wrong = Vec::new();
    for counted in counts {
        let code = if counted.file == "loops.py" { LOOPS } else { ARRAYS };
        let sizes = counted.sizes.iter().map(|(name, value)| format!("{name}={value}"));
        let said: Vec<String> = sizes.chain(counted.shapes.iter().cloned()).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let expected = Totals { loads: counted.loads, stores: counted.stores, flops: counted.flops };
        match function(code, Some(&counted.function), &said, Fusion::None) {
            Ok(kernel) if totals(&kernel.program) == expected => {}
            Ok(kernel) => wrong.push(format!(
                "{} {said:?}: {:?}, not {expected:?}\n{}",
                counted.function,
                totals(&kernel.program),
                show(&kernel.program)
            )),
            Err(error) => wrong.push(format!("{} {said:?}: {error}", counted.function)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn shapes_told_from_use_give_the_same_counts() {
    for (name, said) in [("gemm", "N=5"), ("trisolv", "n=6"), ("cholesky", "n=7"), ("lu", "n=6"), ("seidel", "N=10")] {
        let inferred = function(LOOPS, Some(name), &[said], Fusion::None).unwrap();
        let shape = format!("A: f32[{0}, {0}]", &said[..1]);
        let given = function(LOOPS, Some(name), &[said, &shape], Fusion::None).unwrap();
        assert_eq!(totals(&inferred.program), totals(&given.program), "{name}");
        assert!(inferred.program.assumptions.iter().any(|text| text.contains("assumed from its use")), "{name}");
    }
}

#[test]
fn what_cannot_be_known_is_refused_with_its_place() {
    let cases: &[(&str, u32, u32, &str)] = &[
        ("def f(a, n):\n    while True:\n        a[0] = 1.0\n", 2, 5, "never ends"),
        ("def f(a, n):\n    while a[0] > 0:\n        a[0] -= 1.0\n", 2, 5, "depends on data"),
        ("for i in range(10**30):\n    a[i] = 0.0\n", 1, 16, "64 bits"),
        ("for i in range(10**10**10):\n    a[i] = 0.0\n", 1, 16, "exponent"),
        ("for i in range(2**2**2**2**9):\n    a[i] = 0.0\n", 1, 22, "exponent"),
        ("for i in range(0, n, 0):\n    a[i] = 0.0\n", 1, 10, "step"),
        ("for i in range(n):\n    if a[i] > 0:\n        break\n", 3, 9, "break"),
        ("def f(a, n):\n    for i in range(n):\n        return a[i]\n", 3, 9, "return"),
        ("def f(n):\n    return f(n - 1)\n", 2, 12, "calls itself"),
        ("def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\n", 0, 0, "called by another"),
        ("def f(a):\n    a[0] = 1\ndef g(a):\n    a[0] = 1\n", 3, 1, "f, g"),
        ("def f(x):\n    return np.sofmax(x)\n", 2, 12, "softmax"),
        ("x = (1,\n", 2, 1, "no Python"),
        ("for i in range(n)\n    a[i] = 0.0\n", 1, 18, "no Python"),
        ("class A:\n    pass\n", 1, 1, "class"),
        ("try:\n    x = 1\nexcept E:\n    pass\n", 1, 1, "try"),
        ("with f() as g:\n    pass\n", 1, 1, "with"),
        ("async def f(a):\n    a[0] = 1\n", 1, 1, "async"),
        ("def f(a):\n    yield a[0]\n", 2, 5, "generators"),
        ("@cache\ndef f(a):\n    a[0] = 1.0\n", 1, 1, "decorator"),
        ("a = np.zeros((3, 4))\nb = np.zeros((5, 4))\nc = a + b\n", 3, 5, "[3, 4] and [5, 4]"),
        ("a = np.zeros((3, 4))\nb = a @ a\n", 2, 5, "[3, 4] and [3, 4]"),
        ("a = np.zeros(4)\na[4] = 1.0\n", 2, 3, "reaches 4"),
        ("a = np.zeros(4)\nfor i in range(5):\n    a[i] = 1.0\n", 3, 7, "reaches 4"),
        ("a = np.zeros(4)\na[0, 0] = 1.0\n", 2, 1, "2 subscripts for 1 axes"),
        ("a = np.zeros((4, 4))\nb = a.sum(axis=2)\n", 2, 5, "axis 2"),
        ("a = np.zeros((4, 4)).reshape(3, 5)\n", 1, 5, "numbers of elements differ"),
        ("a = np.zeros((10**9, 10**9, 10**9))\n", 1, 5, "bytes"),
        ("n = 5 // 0\n", 1, 5, "zero"),
        ("x = {a[0]: 2}\n", 1, 5, "as a key"),
        ("def f(*a):\n    return a\n", 1, 7, "*args"),
        ("x = 1j\n", 1, 5, "complex"),
        ("x = a[1:2, ::0]\n", 1, 12, "step"),
        ("# comment\n\tx = 1\n", 2, 1, "no Python"),
    ];
    for (code, line, column, words) in cases {
        let error = match kernel(code, &[], Fusion::None) {
            Err(error) => error.to_string(),
            Ok(kernel) => panic!("{code}\n{}", show(&kernel.program)),
        };
        let place = format!("line {line}, column {column}:");
        assert!(*line == 0 || error.contains(&place), "{code}\n{error}\nnot {place}");
        assert!(error.contains(words), "{code}\n{error}");
    }
}

/// A thread of the stack that a page has.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn hostile_sources_are_refused_before_they_overflow_the_stack() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("x = {}{middle}{}\n", open.repeat(times), close.repeat(times))
    };
    let blocks = |times: usize| {
        (0..times).map(|depth| format!("{}for i{depth} in range(2):\n", " ".repeat(depth))).collect::<String>()
            + &" ".repeat(times)
            + "a[0] = 1.0\n"
    };
    let mut cases = vec![blocks(90), "1_".repeat(500_000), format!("x = {}\n", "9".repeat(1_000_000))];
    for times in [100, 10_000] {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{", "1", "}"),
            ("f(", "1", ")"),
            ("a[", "0", "]"),
            ("-", "1", ""),
            ("not ", "1", ""),
            ("~", "1", ""),
            ("- -", "1", ""),
            ("lambda: ", "1", ""),
            ("lambda a, b: ", "1", ""),
            ("1 ** ", "1", ""),
            ("1 if 1 else ", "1", ""),
            ("await ", "1", ""),
            ("f\"{", "1", "}\""),
            ("(yield ", "1", ")"),
            ("[i for i in ", "1", "]"),
            ("(a := ", "1", ")"),
        ] {
            cases.push(nested(open, middle, close, times));
            cases.push(nested(open, middle, "", times));
        }
    }
    for times in [2_000, 30_000] {
        for part in [".b", "()", "[0]", " + 1", " * a", " @ a", " and a", " < a", "\n+1", ", b"] {
            cases.push(format!("x = (a{})\n", part.repeat(times)));
        }
        cases.push(format!("if a:\n    b = 1\n{}", "elif a:\n    b = 1\n".repeat(times)));
        cases.push("async ".repeat(times));
        cases.push("if a: ".repeat(times));
        cases.push("@a\n".repeat(times));
        cases.push(format!("match x:\n    case {}1:\n        pass\n", "1 | ".repeat(times)));
        cases.push("def f(): return ".repeat(times));
    }
    let minus = "-".repeat(60);
    let chain = |at| format!("def f{at}(x):\n    return {minus}f{}(x)\n", at + 1);
    cases.push((0..60).map(chain).collect::<String>() + "def f60(x):\n    return x\n");
    cases.push("def f(n, a):\n".to_owned() + &"    if n > 3:\n        return 1\n".repeat(5_000));
    cases.push("def f(n, a):\n".to_owned() + &"    if a[n] > 3:\n        return 1\n".repeat(5_000));
    cases.push(blocks(60));
    let nested_ifs = |test: &str| {
        let head = |depth| format!("{}if {test}:\n", " ".repeat(depth));
        (0..60).map(head).collect::<String>() + &" ".repeat(60) + "a[0] = 1.0\n"
    };
    cases.extend([nested_ifs("n > 3"), nested_ifs("a[1] > 3 and n > a[2]")]);
    cases.push(format!("x = [{}]\n", "1, ".repeat(300_000)));
    on_a_small_stack(move || {
        for code in cases {
            let start: String = code.chars().take(40).collect();
            // Flat chains may be read; nothing may fall over.
            if let Err(error) = kernel(&code, &[], Fusion::None) {
                assert!(
                    error.to_string().contains("line ") || matches!(error, Error::Field { .. }),
                    "{start}: {error}"
                );
            }
        }
    });
}

#[test]
fn long_sources_are_read_and_growth_is_bounded() {
    let long =
        "def f(a, b, n):\n".to_owned() + &"    for i in range(n):\n        a[i] = a[i] * b[i] + 1.0\n".repeat(5_000);
    let read = kernel(&long, &[], Fusion::None).unwrap();
    assert_eq!(read.program.body.len(), 5_000);
    let sum = format!("s = a[0]{}\n", " + a[1]".repeat(990));
    assert_eq!(totals(&kernel(&sum, &[], Fusion::None).unwrap().program).flops, 990);
    let squares = "n = len(a)\nm = len(b)\n".to_owned() + &"n = (n + m) * (n + 1)\n".repeat(40);
    assert!(kernel(&squares, &[], Fusion::None).is_err());
    let calls: String = (0..30).map(|at| format!("def f{at}(a):\n    f{0}(a)\n    f{0}(a)\n", at + 1)).collect();
    let error = kernel(&(calls + "def f30(a):\n    a[0] = 1.0\n"), &[], Fusion::None).unwrap_err().to_string();
    assert!(error.contains("statements"), "{error}");
    let doubled = "x = a + a\n".to_owned() + &"x = x + x\n".repeat(200);
    assert!(kernel(&doubled, &[], Fusion::Function).is_ok());
}

/// Elements loaded, in order, by array.
#[derive(Default)]
struct Loaded(Vec<(usize, i64)>);

impl Watch for Loaded {
    fn access(&mut self, array: usize, element: i64, access: &Access) {
        if !access.write {
            self.0.push((array, element));
        }
    }
}

#[test]
fn views_find_the_elements_that_numpy_finds() {
    // What is loaded is the elements of `x`, whose number is 24, in the order of the view.
    let cases: &[(&str, &str, &[i64])] = &[
        (
            "x: f32[6, 4]",
            "x.T",
            &[0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23],
        ),
        (
            "x: f32[24]",
            "x.reshape(2, 3, 4).transpose(0, 2, 1)",
            &[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23],
        ),
        ("x: f32[2, 3, 4]", "x.reshape(6, 4)[::2]", &[0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]),
        ("x: f32[2, 12]", "x.reshape(2, 3, 2, 2)[:, :, 1]", &[2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23]),
        ("x: f32[4, 6]", "x.reshape(6, 4)[:, 0]", &[0, 4, 8, 12, 16, 20]),
        ("x: f32[4, 6]", "x.reshape(2, 2, 2, 3)[1]", &[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]),
        ("x: f32[2, 2, 6]", "x.reshape(4, 2, 3)[:, 1, 0]", &[3, 9, 15, 21]),
        ("x: f32[4, 6]", "x[1:-1, ::-2]", &[11, 9, 7, 17, 15, 13]),
        ("x: f32[4, 6]", "x[-1, None, 4:]", &[22, 23]),
        ("x: f32[4, 6]", "x[..., 0]", &[0, 6, 12, 18]),
        ("x: f32[4, 6]", "np.roll(x, 1, axis=0)[0]", &[18, 19, 20, 21, 22, 23]),
        ("x: f32[4, 6]", "np.swapaxes(x, 0, 1)[5]", &[5, 11, 17, 23]),
        ("x: f32[4, 6]", "np.diag(x)", &[0, 7, 14, 21]),
        ("x: f32[4, 6]", "x.ravel()[5:8]", &[5, 6, 7]),
        ("x: f32[4, 6]", "x[2:100, 5]", &[17, 23]),
        ("x: f32[4, 6]", "x[-100:1, -1]", &[5]),
        ("x: f32[4, 6]", "np.expand_dims(x, 0).squeeze()[0, :2]", &[0, 1]),
    ];
    for (shape, view, elements) in cases {
        let read = kernel(&format!("def f(x):\n    return {view} + 1.0\n"), &[shape], Fusion::None).unwrap();
        let mut loaded = Loaded::default();
        run(&read.program, &mut loaded);
        let of_x: Vec<i64> = loaded.0.iter().filter(|(array, _)| *array == 0).map(|(_, element)| *element).collect();
        if view.contains("roll") {
            // Copied first: the last row before the others.
            assert_eq!(of_x.get(..6), Some(*elements), "{view}");
        } else {
            assert_eq!(of_x, *elements, "{view}\n{}", show(&read.program));
        }
    }
}

#[test]
fn shapes_that_nobody_gave_are_stated() {
    let cases: &[(&str, &[&str])] = &[
        ("def matmul(a, b): return a @ b", &["a: f32[M, K]", "b: f32[K, N]", "M = 1024", "K = 1024", "N = 1024"]),
        ("def f(a, b): return a + b", &["a: f32[M, N]", "b: f32[M, N]"]),
        ("def f(x, w, b): return x @ w + b", &["x: f32[M, K]", "w: f32[K, N]", "b: f32[N]"]),
        ("def f(q, k, v): return (q @ k.T) @ v", &["q: f32[M, K]", "k: f32[N, K]", "v: f32[N, P]"]),
        ("def f(x, idx): return x[idx] * 2.0", &["x: f32[", "idx: i64["]),
        ("def f(x, y, alpha): return alpha * x + y", &["alpha is a scalar", "x: f32[M, N]", "y: f32[M, N]"]),
        ("def f(m, g, b1=0.9): m[:] = b1 * m + 0.5 * g", &["m: f32[N]", "g: f32[N]"]),
        (
            "for i in range(D):\n    for j in range(D): C[i, j] *= beta",
            &["C: f32[D, D]", "D = 1024", "beta is a scalar"],
        ),
        ("def f(u, v, n):\n    for i in range(1, n - 1): v[i] = u[i - 1] + u[i + 1]", &["u: f32[n]", "v: f32[n - 1]"]),
    ];
    for (code, stated) in cases {
        let read = kernel(code, &[], Fusion::None).unwrap_or_else(|error| panic!("{code}: {error}"));
        for text in *stated {
            assert!(
                read.program.assumptions.iter().any(|own| own.contains(text)),
                "{code}: {:?}",
                read.program.assumptions
            );
        }
    }
}

#[test]
fn fusion_leaves_flops_as_they_are_and_saves_passes() {
    for (name, said) in [
        ("softmax", "x: f32[6, 8]"),
        ("layer_norm", "x: f32[6, 8]"),
        ("stencil", "A: f32[9, 9]"),
        ("mlp", "w: f32[4, 5]"),
    ] {
        let [none, statement, all] = [Fusion::None, Fusion::Statement, Fusion::Function].map(|fusion| {
            totals(&function(ARRAYS, Some(name), &[said, "T=2", "M=3", "N=8", "K=4"], fusion).unwrap().program)
        });
        assert!(none.flops == statement.flops && none.flops == all.flops, "{name}: {none:?} {statement:?} {all:?}");
        assert!(
            statement.stores < none.stores && all.stores <= statement.stores,
            "{name}: {none:?} {statement:?} {all:?}"
        );
    }
}

/// The same random numbers each time, without a library.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn changed_sources_are_read_or_refused() {
    let mut state = 1;
    let pieces = [
        "(", ")", "[", "]", ":", ",", "-", "**", " ", "\n", "    ", "0", "9", "x", "@", ".T", "if ", "for ", "é", "\"",
        "#", "%", "//", "None", "::",
    ];
    for _ in 0..400 {
        let whole = if random(&mut state).is_multiple_of(2) { LOOPS } else { ARRAYS };
        let functions: Vec<&str> = whole.split("\n\n\n").collect();
        let mut code = functions[random(&mut state) as usize % functions.len()].to_owned();
        for _ in 0..=random(&mut state) % 4 {
            let places: Vec<usize> = code.char_indices().map(|(at, _)| at).collect();
            let Some(at) = places.get(random(&mut state) as usize % places.len().max(1)).copied() else { break };
            let end = (at + random(&mut state) as usize % 3..=code.len())
                .find(|end| code.is_char_boundary(*end))
                .unwrap_or(at);
            code.replace_range(at..end.max(at), pieces[random(&mut state) as usize % pieces.len()]);
        }
        for fusion in [Fusion::None, Fusion::Function] {
            let _ = kernel(&code, &["N=8", "n=8", "M=4"], fusion);
        }
    }
}

#[test]
fn what_grows_is_refused_and_what_is_large_takes_no_time() {
    let grown = [
        "x = (1, 1)\n".to_owned() + &"x = (x, x)\n".repeat(40),
        "x = [1, 1]\n".to_owned() + &"x = [x, x]\n".repeat(40),
        "x = [1, 1]\n".to_owned() + &"x = x + x\n".repeat(40),
        "def g(x):\n    return (x, x)\ndef f(a):\n    x = a[0]\n".to_owned() + &"    x = g(x)\n".repeat(40),
        "x = [1, 1]\n".to_owned() + &"x = x + x\n".repeat(10) + &"y = x\n".repeat(5_000),
        "a = np.zeros(3)\n".to_owned() + &"a = np.outer(a, a)\n".repeat(10),
        "def f(a):\n".to_owned() + &"    a = np.outer(a, a)\n".repeat(10),
        "a = np.zeros(3)\n".to_owned() + &"a = a[None]\n".repeat(100),
    ];
    for code in grown {
        let error = kernel(&code, &[], Fusion::None).unwrap_err().to_string();
        assert!(error.contains("line "), "{error}");
    }
    for joined in ["a = np.zeros(3)\n", "a = b[:]\n"] {
        let _ = kernel(&(joined.to_owned() + &"a = np.concatenate([a, a])\n".repeat(40)), &[], Fusion::None);
    }
    assert!(kernel("a = [0] * 10**12\n", &[], Fusion::None).is_ok());
}

#[test]
fn a_comment_is_about_its_own_line_or_alone_about_the_next() {
    let rounds = |code: &str| {
        let read = kernel(code, &["a: f32[100]", "n=7"], Fusion::None).unwrap_or_else(|error| panic!("{error}"));
        totals(&read.program).stores
    };
    let inner = "    for k in range(64):\n        a[k] = 1.0\n";
    assert_eq!(rounds(&format!("while a[0] > 0:  # trips: 10\n{inner}")), 640);
    assert_eq!(rounds(&format!("# trips: 10\n# other\nwhile a[0] > 0:\n{inner}")), 640);
    assert_eq!(rounds("for i in range(n):  # trips: 3\n    a[i] = 0.0\n"), 7);
    assert_eq!(rounds("for i in range(int(a[0])):  # trips: 3\n    a[0] = 0.0\n"), 3);
    assert!(kernel(&format!("x = 1  # trips: 10\nwhile a[0] > 0:\n{inner}"), &[], Fusion::None).is_err());
}

#[test]
fn new_axes_are_read() {
    for (view, loads) in [("a[None]", 6), ("a[None] * 2", 6), ("a[None, None]", 6), ("a[None, ..., 0]", 2)] {
        let read = kernel(&format!("def f(a):\n    return {view} + 1.0\n"), &["a: f32[2, 3]"], Fusion::None);
        let program = read.unwrap_or_else(|error| panic!("{view}: {error}")).program;
        let mut loaded = Loaded::default();
        run(&program, &mut loaded);
        assert_eq!(loaded.0.iter().filter(|(array, _)| *array == 0).count(), loads, "{view}");
    }
    assert!(kernel("def f(a):\n    return a[None]\n", &[], Fusion::None).is_ok());
}

#[test]
fn what_no_data_decide_is_never_taken_at_random() {
    let head = "def f(a, b, n):\n    k = 0\n    for i in range(n):\n";
    for body in [
        "        b[k] = a[i]\n        k += 1\n",
        "        b[i ^ 1] = a[i]\n",
        "        k += 1\n        if k > 3:\n            b[i] = a[i]\n",
        "        if i ^ 1 > 3:\n            b[i] = a[i]\n",
        "        b[int(i / 2)] = a[i]\n",
        "        for j in range(3):\n            b[k] = a[i]\n            k = k + 1\n",
    ] {
        let error = kernel(&(head.to_owned() + body), &["a: f32[50]", "b: f32[50]", "n=9"], Fusion::None);
        let error = error.map(|kernel| show(&kernel.program)).unwrap_err().to_string();
        assert!(error.contains("line ") && error.contains("not known"), "{body}: {error}");
    }
    for body in [
        "        b[p[i]] = a[i]\n",
        "        k = p[k]\n        b[k] = a[i]\n",
        "        if a[i] > a[k]:\n            k = i\n    b[0] = k\n",
        "        k = p[i] ^ 1\n        b[k] = a[i]\n",
    ] {
        let said = ["a: f32[50]", "b: f32[50]", "p: i32[50]", "n=9"];
        let read =
            kernel(&(head.replace("n)", "p, n)") + body).replace("range(p, n)", "range(n)"), &said, Fusion::None);
        let read = read.unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(read.program.assumptions.iter().any(|text| text.contains("data")), "{body}");
    }
    let distance = "for i in range(5):\n    for j in range(5):\n        b[abs(i - j)] = 1.0\n";
    assert_eq!(totals(&kernel(distance, &["b: f32[5]"], Fusion::None).unwrap().program).stores, 25);
}

#[test]
fn joined_conditions_on_data_are_stated() {
    let code = "for i in range(9):\n    if a[i] > 0 and b[i] > 0:\n        a[i] = 0.0\n";
    let read = kernel(code, &[], Fusion::None).unwrap();
    assert!(read.program.assumptions.iter().any(|text| text.contains("joined by `and`")));
}

#[test]
fn sources_without_statements_are_refused() {
    for code in ["", "\n\n", "# nothing\n", "\"\"\"Words.\"\"\"\n"] {
        assert!(kernel(code, &[], Fusion::None).unwrap_err().to_string().contains("line 1, column 1:"), "{code:?}");
    }
}

#[test]
fn convolutions_have_the_extents_that_numpy_gives_them() {
    let cases: &[(&str, [&str; 2], u64, u64)] = &[
        ("np.convolve(x, w)", ["x: f32[10]", "w: f32[3]"], 12, 3),
        ("np.convolve(w, x)", ["x: f32[10]", "w: f32[3]"], 12, 3),
        ("np.convolve(w, x, 'same')", ["x: f32[10]", "w: f32[3]"], 10, 3),
        ("np.convolve(w, x, mode='valid')", ["x: f32[10]", "w: f32[3]"], 8, 3),
        ("np.correlate(x, w)", ["x: f32[10]", "w: f32[3]"], 8, 3),
        ("np.correlate(w, x)", ["x: f32[10]", "w: f32[3]"], 8, 3),
        ("signal.convolve2d(x, w)", ["x: f32[6, 7]", "w: f32[3, 2]"], 8 * 8, 6),
        ("signal.convolve2d(x, w, 'valid')", ["x: f32[6, 7]", "w: f32[3, 2]"], 4 * 6, 6),
        ("signal.convolve2d(w, x, 'valid')", ["x: f32[6, 7]", "w: f32[3, 2]"], 4 * 6, 6),
        ("F.conv2d(x, w, padding=1)", ["x: f32[2, 3, 5, 5]", "w: f32[4, 3, 3, 3]"], 2 * 4 * 25, 27),
    ];
    for (call, said, stores, sum) in cases {
        let read = kernel(&format!("def f(x, w):\n    return {call}\n"), said, Fusion::None);
        let program = read.unwrap_or_else(|error| panic!("{call}: {error}")).program;
        let value = |expr: &Expr| expr.value(&program.values()).unwrap() as u64;
        let multiplied = program.body.iter().find_map(|node| match node {
            Node::Library(l) => Some([&l.batch, &l.m, &l.n, &l.k].into_iter().map(value).product::<u64>()),
            _ => None,
        });
        assert_eq!((totals(&program).stores, multiplied), (*stores, Some(stores * sum)), "{call}: {}", show(&program));
        let padded = program.assumptions.iter().any(|text| text.contains("zeros beyond the edges"));
        assert_eq!(padded, !call.contains("valid") && !call.contains("correlate"), "{call}");
        let result =
            program.arrays.last().map(|array| array.dims.iter().map(|dim| dim.value(&program.values()).unwrap()));
        assert_eq!(result.unwrap().product::<i64>(), *stores as i64, "{call}");
    }
    let large = kernel(
        "def f(x, w):\n    return F.conv2d(x, w)\n",
        &["x: f32[1, 1, 3, 3]", "w: f32[1, 1, 5, 5]"],
        Fusion::None,
    );
    assert!(large.unwrap_err().to_string().contains("line 2, column 12: "));
}

#[test]
fn functions_cost_what_the_shared_table_says() {
    for (call, flops) in [
        ("np.rsqrt(a)", 10),
        ("1.0 / np.sqrt(a)", 10),
        ("a ** -0.5", 10),
        ("np.abs(a)", 0),
        ("np.arcsinh(a)", 5),
        ("math.fma(a, a, a)", 10),
        ("np.clip(a, 0.0, 1.0)", 10),
        ("np.clip(a, None, 1.0)", 5),
        ("F.silu(a, True)", 20),
    ] {
        let read = kernel(&format!("def f(a):\n    return {call}\n"), &["a: f32[5]"], Fusion::None);
        assert_eq!(totals(&read.unwrap_or_else(|error| panic!("{call}: {error}")).program).flops, flops, "{call}");
    }
}

#[test]
fn stores_through_indices_go_to_the_array_itself() {
    let said = ["a: f32[20]", "idx: i64[5]", "b: f32[5]"];
    for (stmt, loads, flops) in [("a[idx] = 0.0", 5, 0), ("a[idx] = b", 10, 0), ("a[idx] += b", 15, 5)] {
        let read = kernel(&format!("def f(a, idx, b):\n    {stmt}\n"), &said, Fusion::None).unwrap();
        let all = totals(&read.program);
        assert_eq!(all, Totals { loads, stores: 5, flops }, "{stmt}: {}", show(&read.program));
        assert_eq!(read.program.arrays.iter().filter(|array| array.temporary).count(), 0, "{stmt}");
        assert!(show(&read.program).contains("store a[?]"), "{stmt}");
    }
}

#[test]
fn arrays_have_the_types_of_their_modules() {
    for (made, element) in [
        ("np.zeros(4)", Element::F64),
        ("numpy.eye(4)", Element::F64),
        ("np.linspace(0, 1, 4)", Element::F64),
        ("np.arange(4)", Element::I64),
        ("np.full(4, 0.5)", Element::F64),
        ("np.zeros(4, np.float32)", Element::F32),
        ("np.zeros(4, dtype=int)", Element::I64),
        ("np.ones(4, dtype=float)", Element::F64),
        ("torch.ones(4)", Element::F32),
        ("jnp.zeros(4)", Element::F32),
    ] {
        let read =
            kernel(&format!("a = {made}\n"), &[], Fusion::None).unwrap_or_else(|error| panic!("{made}: {error}"));
        assert_eq!(read.program.arrays[0].element, element, "{made}");
    }
    for product in ["a + b", "b + a", "np.outer(a, b)", "m @ b", "m @ n", "np.concatenate([a, b])"] {
        let code = format!(
            "b = np.zeros(4)\nn = np.zeros((4, 4))\na = np.zeros(4, np.float32)\nm = np.zeros((4, 4), np.float32)\nc = {product}\n"
        );
        let read = kernel(&code, &[], Fusion::None).unwrap_or_else(|error| panic!("{product}: {error}"));
        assert_eq!(read.program.arrays.last().unwrap().element, Element::F64, "{product}");
    }
}

#[test]
fn what_was_given_is_used_or_stated() {
    let stated = |code: &str, said: &[&str], words: &str| {
        let read = kernel(code, said, Fusion::None).unwrap_or_else(|error| panic!("{code}: {error}"));
        assert!(
            read.program.assumptions.iter().any(|text| text.contains(words)),
            "{code}: {:?}",
            read.program.assumptions
        );
    };
    let code = "def f(a: 'f32[M]'):\n    return a + 1.0\n";
    stated(code, &["q: f32[3]"], "q was given a shape, and the source does not use it");
    stated(code, &["ZZ=3"], "ZZ was given, and the source does not use it");
    stated(code, &["a: f32[3]"], "the annotation of a is left out");
    stated(
        "def f(a, b, c):\n    return np.einsum('ij,jk,kl->il', a, b, c, optimize=True)\n",
        &[],
        "are multiplied in the order",
    );
    assert!(kernel(code, &["a: f32[M]", "M=4"], Fusion::None).unwrap().program.assumptions.is_empty());
    for (code, line, column) in [
        ("def f(a: 'f33[M]'):\n    return a + 1.0\n", 1, 10),
        ("def f(a: 'f32[M'):\n    return a + 1.0\n", 1, 10),
        ("def g(x):\n    return x\ndef f(a):\n    return g(a, y=1)\n", 4, 17),
        ("def g(x):\n    return x\ndef f(a):\n    return g(a, x=1)\n", 4, 17),
        ("def g(x):\n    return x\ndef f(a):\n    return g(a, 1)\n", 4, 17),
        ("def g(x):\n    return x\ndef f(a):\n    return g()\n", 4, 12),
    ] {
        let error = kernel(code, &[], Fusion::None).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}, column {column}:")), "{code}: {error}");
    }
    assert!(kernel("def f(a: 'np.ndarray[float]'):\n    return a + 1.0\n", &[], Fusion::None).is_ok());
}

#[test]
fn sources_of_the_shared_cases_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases/kernel");
    let Ok(files) = std::fs::read_dir(folder) else {
        println!("skipped: ../shared/cases/kernel is not there");
        return;
    };
    // What is refused, and why.
    let refused = [
        ("module_and_helper", "init_weights, Net"),
        ("two_funcs", "forward, init"),
        ("numba_cuda", "numba.cuda"),
        ("tvm_te", "TVM"),
        ("triton_add", "program_id"),
    ];
    let mut names: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    names.sort();
    let mut wrong = Vec::new();
    for path in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "py")) {
        let code = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy();
        for fusion in [Fusion::None, Fusion::Statement, Fusion::Function] {
            if let Err(error) = kernel(&code, &[], fusion) {
                let stated = refused.iter().find(|(file, _)| *file == name);
                if !stated.is_some_and(|(_, words)| error.to_string().contains(words)) {
                    wrong.push(format!("{name}: {error}"));
                }
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
