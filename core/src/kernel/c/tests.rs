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
