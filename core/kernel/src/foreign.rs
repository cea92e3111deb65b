//! Sources in languages that are not read, by their marks: what they are, and what to give instead.

use super::source::{place, refuse};
use accel_ground::error::Error;

/// A language that is not read.
struct Foreign {
    /// How lines of it begin; one is enough.
    starts: &'static [&'static str],
    /// What stands in lines of it; one is enough.
    marks: &'static [&'static str],
    /// What it is.
    name: &'static str,
    /// What to give instead.
    cure: &'static str,
}

const FOREIGN: [Foreign; 8] = [
    Foreign {
        starts: &["HloModule "],
        marks: &[],
        name: "HLO text of XLA",
        cure: "Give StableHLO, which `jax.jit(f).lower(x).as_text()` prints, or the Python",
    },
    Foreign {
        starts: &["kernel void "],
        marks: &["thread_position_in_grid", "[[buffer("],
        name: "Metal",
        cure: "Write it in CUDA C: the same blocks and threads",
    },
    Foreign {
        starts: &["@compute"],
        marks: &["var<storage"],
        name: "WGSL",
        cure: "Write it in CUDA C: the same blocks and threads",
    },
    Foreign {
        starts: &[".visible .entry", ".version 7", ".version 8"],
        marks: &[],
        name: "PTX",
        cure: "Give the CUDA C that it was compiled from",
    },
    Foreign {
        starts: &[
            "subroutine ",
            "SUBROUTINE ",
            "end do",
            "END DO",
            "enddo",
            "end subroutine",
            "END SUBROUTINE",
            "end program",
        ],
        marks: &[],
        name: "Fortran",
        cure: "Write the loops in C (`a[j-1][i-1]` for `a(i, j)`, whose columns lie one behind another) or in Python",
    },
    Foreign {
        starts: &["linalg.", "affine.for", "scf.for", "memref.", "%0 = arith.", "func @", "llvm.func"],
        marks: &["func.func ", "memref<"],
        name: "MLIR of another dialect than StableHLO",
        cure: "Give StableHLO, or the C or Python that it was made of",
    },
    Foreign {
        starts: &["define void @", "define dso_local", "target triple"],
        marks: &[],
        name: "LLVM IR",
        cure: "Give the C that it was compiled from",
    },
    Foreign { starts: &["fn ", "pub fn "], marks: &[], name: "Rust", cure: "Write its loops in C or Python" },
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
        let comment = ["//", "#", "/*", "*", "!"].iter().any(|start| text.starts_with(start));
        let found = FOREIGN.iter().filter(|_| !comment).find(|foreign| {
            foreign.starts.iter().any(|start| text.starts_with(start))
                || foreign.marks.iter().any(|mark| text.contains(mark))
        });
        if let Some(foreign) = found {
            let at = place(code, offset + line.len() - text.len());
            let problem = format!("this is {}; C, C++, CUDA C, OpenCL C, Python and StableHLO are read", foreign.name);
            return Err(refuse(at, problem, foreign.cure));
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
            ("! sums\nsubroutine s(a, n)\nend subroutine", "Fortran"),
            ("func.func @f(%a: memref<4xf32>) {\n  affine.for %i = 0 to 4 {\n", "MLIR"),
            ("fn f(x: &mut [f32]) {\n}", "Rust"),
            (".version 8.0\n.visible .entry f()", "PTX"),
        ] {
            let error = check(code).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("line "), "{error}");
        }
        for code in [
            "// as in `end do` of Fortran\nfor (;;) x[0] = 1;",
            "x = np.linalg.norm(a)",
            "__kernel void f(__global float* a) { a[get_global_id(0)] = 0; }",
            "for (int i = 0; i < n; i++) x[i] = 0;",
            "def f(program):\n    program = 1\n",
            "x = fn(y)\n",
        ] {
            assert_eq!(check(code), Ok(()), "{code}");
        }
    }
}
