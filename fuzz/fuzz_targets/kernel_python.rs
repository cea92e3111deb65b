//! Any text as a Python kernel: a program or an error, no panic.
#![no_main]

use std::collections::BTreeMap;

use accel_kernel::nest::Element;
use accel_kernel::python::read;
use accel_kernel::source::{Fusion, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|code: &str| {
    for fusion in [Fusion::None, Fusion::Statement, Fusion::Function] {
        let source = Source {
            code,
            function: None,
            defines: &BTreeMap::new(),
            shapes: &[],
            element: Element::F32,
            probability: 0.5,
            fusion,
            backward: false,
        };
        if let Ok(kernel) = read(&source) {
            let symbols = kernel.program.symbols.len();
            assert!(kernel.program.arrays.iter().all(|array| array.dims.len() < symbols + 64));
        }
    }
});
