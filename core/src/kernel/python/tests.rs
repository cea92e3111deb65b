use std::collections::BTreeMap;

use super::read;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::kernel::naive::{Watch, run};
use crate::kernel::nest::{Access, Element, Node, Program, Work};
use crate::kernel::source::{Fusion, Shape, Source};

/// Reads `code` with what the user says: `N=8`, `a: f32[M, K]`.
fn kernel(code: &str, said: &[&str], fusion: Fusion) -> Result<Kernel, Error> {
    let (defines, shapes): (Vec<&str>, Vec<&str>) = said.iter().partition(|text| text.contains('='));
    let define = |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap();
    let defines: BTreeMap<String, i64> = defines.iter().map(define).collect();
    let shapes: Vec<Shape> = shapes.iter().map(|text| Shape::parse(text).unwrap()).collect();
    read(&Source {
        code,
        function: None,
        defines: &defines,
        shapes: &shapes,
        element: Element::F32,
        probability: 0.5,
        fusion,
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
    let mut totals = Totals::default();
    run(program, &mut totals);
    totals
}

fn show(program: &Program) -> String {
    fn nodes(program: &Program, body: &[Node], indent: usize, out: &mut String) {
        let name = |s| program.name(s);
        let pad = "  ".repeat(indent);
        for node in body {
            match node {
                Node::Loop(l) => {
                    *out += &format!("{pad}for {} in {}..{} by {}\n", name(l.var), l.lower.text(&name), l.upper.text(&name), l.step.text(&name));
                    nodes(program, &l.body, indent + 1, out);
                }
                Node::Branch(b) => {
                    *out += &format!("{pad}if {:?}\n", b.condition);
                    nodes(program, &b.then, indent + 1, out);
                    *out += &format!("{pad}else\n");
                    nodes(program, &b.otherwise, indent + 1, out);
                }
                Node::Work(w) => {
                    let accesses: Vec<String> = w.accesses.iter().map(|a| {
                        let index = a.index.as_ref().map(|i| i.iter().map(|e| e.text(&name)).collect::<Vec<_>>().join(", "));
                        format!("{} {}[{}]", if a.write { "store" } else { "load" }, program.arrays[a.array].name, index.unwrap_or("?".into()))
                    }).collect();
                    *out += &format!("{pad}{}  {:?} carried={} {:?} int={} @{}\n", accesses.join("; "), w.flops, w.carried, w.scalars, w.integer_ops, w.at.line);
                }
                Node::Library(l) => {
                    *out += &format!("{pad}library {} b={} m={} n={} k={}\n", l.name, l.batch.text(&name), l.m.text(&name), l.n.text(&name), l.k.text(&name));
                    nodes(program, &l.sweep, indent + 1, out);
                }
            }
        }
    }
    let mut out = String::new();
    for a in &program.arrays {
        let name = |s| program.name(s);
        out += &format!("array {} {:?} [{}] temp={}\n", a.name, a.element, a.dims.iter().map(|d| d.text(&name)).collect::<Vec<_>>().join(", "), a.temporary);
    }
    nodes(program, &program.body, 0, &mut out);
    for a in &program.assumptions {
        out += &format!("# {a}\n");
    }
    out
}

#[test]
fn play() {
    let text = std::fs::read_to_string("/tmp/w/k4play.py").unwrap();
    for code in text.split("#----\n") {
        println!("==========\n{code}");
        for fusion in [Fusion::None, Fusion::Function] {
            match kernel(code, &[], fusion) {
                Ok(k) => println!("--- {fusion:?} {:?}\n{}", k.function, show(&k.program)),
                Err(e) => println!("--- {e}"),
            }
            if !code.contains("#both") { break; }
        }
    }
}
