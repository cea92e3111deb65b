//! Sources as people write them, which lie beside some checkouts: each is answered, or refused for a stated reason.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use accel_ground::progress::Unattended;
use accel_kernel::predict;
use accel_kernel::report::{Language, Request};

/// What is refused, with words of the reason: what data decide, what names no kernel, what is another language.
const REFUSED: [(&str, &str); 9] = [
    ("avx_intrin.c", "vector intrinsics"),
    ("break_loop.c", "`return`"),
    ("fortran.f90", "Fortran"),
    ("hlo.txt", "HLO"),
    ("mlir.mlir", "MLIR"),
    ("module_and_helper.py", "init_weights, Net"),
    ("spmv_csr.c", "decided by data"),
    ("two_funcs.py", "forward, init"),
    ("tvm_te.py", "TVM"),
];
/// The same, where a comment or a definition would do.
const ASKED: [(&str, &str); 1] = [("while_data.c", "how often this loop runs")];

/// The least work that is taken: builds for tests are slow.
const BUDGET: u64 = 1_000_000;

#[test]
fn shared_sources_are_answered_or_refused_for_a_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases/kernel");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    let (mut answered, mut wrong) = (0, Vec::new());
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let code = std::fs::read_to_string(file).unwrap();
        let start = Instant::now();
        // Whether it is answered does not hang on how exactly.
        let request = Request { code, language: Language::of_file(&name), budget: BUDGET, ..Request::default() };
        let answer = predict(&request, &mut Unattended);
        let ms = start.elapsed().as_millis();
        match &answer {
            Ok(report) => {
                answered += 1;
                println!("{name:28} {ms:6} ms  answered: {:.4} ms, {}", report.latency_ms, report.bottleneck);
            }
            Err(error) => println!("{name:28} {ms:6} ms  refused: {error}"),
        }
        let stated = REFUSED.iter().chain(&ASKED).find(|(own, _)| *own == name);
        match (stated, answer) {
            (None, Ok(_)) => {}
            (Some((_, words)), Err(error)) if error.to_string().contains(words) => {}
            (_, Ok(_)) => wrong.push(format!("{name}: answered")),
            (_, Err(error)) => wrong.push(format!("{name}: {error}")),
        }
    }
    println!("{answered} of {} answered, {} refused", files.len(), files.len() - answered);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
