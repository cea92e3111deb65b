//! Sources in languages that are not read, by their marks: what they are, and what to give instead.

use super::source::{place, refuse};
use accel_ground::error::Error;

/// A language that is not read.
struct Foreign {
    /// How lines of it begin, in lower case; one is enough.
    starts: &'static [&'static str],
    /// What it is.
    name: &'static str,
    /// What to give instead.
    cure: &'static str,
}

const FOREIGN: [Foreign; 6] = [
    Foreign {
        starts: &["hlomodule"],
        name: "HLO text of XLA",
        cure: "Give StableHLO, which `jax.jit(f).lower(x).as_text()` prints, or the Python",
    },
    Foreign {
        starts: &["__kernel ", "kernel void "],
        name: "OpenCL or Metal, whose grid the source does not give",
        cure: "Write it as a C loop over the work-items, or as CUDA",
    },
    Foreign {
        starts: &["subroutine ", "end do", "enddo", "end subroutine", "end program"],
        name: "Fortran",
        cure: "Write its loops in C or Python",
    },
    Foreign {
        starts: &["linalg.", "affine.for", "scf.for", "memref.", "%0 = arith.", "func @", "llvm.func"],
        name: "MLIR of another dialect than StableHLO",
        cure: "Give StableHLO, or the loops in C or Python",
    },
    Foreign { starts: &["define void @", "define dso_local", "target triple"], name: "LLVM IR", cure: "Give the C" },
    Foreign { starts: &["fn ", "pub fn "], name: "Rust", cure: "Write its loops in C or Python" },
];

/// Whether a source is StableHLO.
pub(crate) fn is_stablehlo(code: &str) -> bool {
    code.contains("stablehlo.") && code.contains("func.func")
}

/// Refuses a source in a language that is not read.
pub(crate) fn check(code: &str) -> Result<(), Error> {
    let mut offset = 0;
    for line in code.split_inclusive('\n') {
        let text = line.trim_start();
        let lower: String = text.chars().take(24).collect::<String>().to_ascii_lowercase();
        let found = FOREIGN.iter().find(|foreign| foreign.starts.iter().any(|start| lower.starts_with(start)));
        if let Some(foreign) = found {
            let at = place(code, offset + line.len() - text.len());
            return Err(refuse(at, format!("this is {}", foreign.name), foreign.cure));
        }
        offset += line.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_named() {
        for (code, name) in [
            ("HloModule m\nENTRY main {}", "HLO"),
            ("__kernel void f(__global float* a) { a[get_global_id(0)] = 0; }", "OpenCL"),
            ("! sums\nsubroutine s(a, n)\nend subroutine", "Fortran"),
            ("func.func @f(%a: memref<4xf32>) {\n  affine.for %i = 0 to 4 {\n", "MLIR"),
            ("fn f(x: &mut [f32]) {\n}", "Rust"),
        ] {
            assert!(check(code).unwrap_err().to_string().contains(name), "{code}");
        }
        for code in ["for (int i = 0; i < n; i++) x[i] = 0;", "def f(program):\n    program = 1\n", "x = fn(y)\n"] {
            assert_eq!(check(code), Ok(()), "{code}");
        }
    }
}
