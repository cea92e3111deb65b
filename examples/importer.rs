//! An importer of your own: `cargo run -p accel-core --example importer`.
//!
//! Its format: a line per access, the name of a tensor, its size in bytes, and `r` or `w`; `#` begins a comment. What a
//! builder finishes is checked, and runs like any other trace.

use std::collections::HashMap;

use accel_core::error::{Error, Place};
use accel_core::policy::{PolicyKind, Setup};
use accel_core::sim::simulate;
use accel_core::trace::{Kind, Mode, Op, Tensor, Trace, TraceBuilder};

const FILE: &str = "\
# name bytes mode
weights.0 400 r
hidden    100 w
weights.1 400 r
hidden    100 r
weights.0 400 r
hidden    100 w
weights.1 400 r
hidden    100 r
";

/// Reads `text`; `file` is named in errors.
fn read(file: &str, text: &str) -> Result<Trace, Error> {
    let mut builder = TraceBuilder::new("");
    let mut tensors: HashMap<&str, u32> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#')) {
        // An error names the input, the place and the cure.
        let bad =
            |problem| Error::input(file, Place::Line(number), problem, "Write a name, a number of bytes, and r or w");
        let mut words = line.split_whitespace();
        let (Some(name), Some(bytes), Some(mode), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad("not three words"));
        };
        let mode = match mode {
            "r" => Mode::Read,
            "w" => Mode::Write,
            _ => return Err(bad("the mode is neither r nor w")),
        };
        let tensor = match tensors.get(name) {
            Some(tensor) => *tensor,
            None => {
                let bytes = bytes.parse().map_err(|_| bad("the size is not a whole number"))?;
                let tensor = Tensor { name: name.into(), bytes, layer: None, stride: 1, kind: Kind::Object };
                *tensors.entry(name).or_insert(builder.tensor(tensor)?)
            }
        };
        builder.access_with(tensor, Op::Request, mode, 0.0)?;
    }
    builder.finish(file)
}

fn main() -> Result<(), Error> {
    let trace = read("example.txt", FILE)?;
    let sizes = trace.sizes();
    for name in ["lru", "fifo", "lfu"] {
        let report = simulate(PolicyKind::from_name(name)?, &Setup::new(&sizes, 600), &trace)?;
        println!("{name}: {} hits, {} misses, {} bytes missed", report.hits, report.misses, report.miss_bytes);
    }
    // What a broken file is answered.
    if let Err(error) = read("broken.txt", "weights.0 many r\n") {
        println!("{error}");
    }
    Ok(())
}
