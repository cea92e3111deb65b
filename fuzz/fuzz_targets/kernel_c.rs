//! Any text as C: a program or an error with its place, never a panic.
#![no_main]

use std::collections::BTreeMap;

use accel_kernel::c;
use accel_kernel::nest::{Element, Node, Program};
use accel_kernel::source::{Fusion, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|code: &str| {
    let defines = BTreeMap::from([("N".to_owned(), 8)]);
    let source = Source {
        code,
        function: None,
        defines: &defines,
        shapes: &[],
        element: Element::F32,
        probability: 0.5,
        fusion: Fusion::None,
        backward: false,
    };
    if let Ok(kernel) = c::read(&source) {
        check(&kernel.program, &kernel.program.body);
    }
});

/// Every access has a subscript for each extent.
fn check(program: &Program, nodes: &[Node]) {
    for node in nodes {
        match node {
            Node::Loop(own) => check(program, &own.body),
            Node::Branch(branch) => {
                check(program, &branch.then);
                check(program, &branch.otherwise);
            }
            Node::Work(work) => {
                for access in &work.accesses {
                    let dims = &program.arrays[access.array].dims;
                    assert!(access.index.as_ref().is_none_or(|index| index.len() == dims.len()));
                }
            }
            Node::Library(_) => {}
        }
    }
}
