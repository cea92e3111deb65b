//! OpenCL C as CUDA C: other names for kernels, memories, indices and functions.
//!
//! The names are those of the OpenCL C specification (version 3.0, 6.7 for memories and functions, 6.15 for those of
//! work-items); a work-group is a block, a work-item a thread.

use super::words::{Pass, Word};

/// Words with another name, and those that say nothing here.
const NAMES: [(&str, &str); 22] = [
    ("__kernel", "__global__"),
    ("__global", ""),
    ("__constant", "const"),
    ("__private", ""),
    ("__local", "__shared__"),
    ("uchar", "unsigned char"),
    ("ushort", "unsigned short"),
    ("uint", "unsigned int"),
    ("ulong", "unsigned long"),
    ("mad", "fmaf"),
    ("mad24", "__mul24"),
    ("rsqrt", "rsqrtf"),
    ("native_exp", "expf"),
    ("native_log", "logf"),
    ("native_sqrt", "sqrtf"),
    ("native_rsqrt", "rsqrtf"),
    ("native_sin", "sinf"),
    ("native_cos", "cosf"),
    ("atomic_add", "atomicAdd"),
    ("atomic_sub", "atomicSub"),
    ("atomic_max", "atomicMax"),
    ("atomic_min", "atomicMin"),
];
/// The same without underscores, where a type stands behind them.
const SHORT: [(&str, &str); 4] =
    [("kernel", "__kernel"), ("global", "__global"), ("local", "__local"), ("constant", "__constant")];

/// What a function of work-items is along an axis.
fn index(name: &str, axis: &str) -> Option<String> {
    Some(match name {
        "get_global_id" => format!("( blockIdx . {axis} * blockDim . {axis} + threadIdx . {axis} )"),
        "get_local_id" => format!("threadIdx . {axis}"),
        "get_group_id" => format!("blockIdx . {axis}"),
        "get_local_size" => format!("blockDim . {axis}"),
        "get_num_groups" => format!("gridDim . {axis}"),
        "get_global_size" => format!("( gridDim . {axis} * blockDim . {axis} )"),
        _ => return None,
    })
}

impl Pass<'_> {
    /// Whether a source is OpenCL C.
    pub(super) fn is_opencl(&self) -> bool {
        let marks = ["__kernel", "get_global_id", "get_local_id", "get_group_id"];
        self.words.iter().any(|word| marks.contains(&word.text.as_str()))
    }

    /// Writes OpenCL C as CUDA C.
    pub(super) fn opencl(&mut self) {
        let mut kept: Vec<Word> = Vec::with_capacity(self.words.len());
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(word) = self.words.get(at) {
            let typed = self.words.get(at + 1).is_some_and(|next| next.kind == super::token::TokenKind::Name);
            let long = SHORT.iter().find(|(short, _)| word.is(short) && typed).map(|(_, long)| *long);
            let name = long.unwrap_or(&word.text);
            let axis = match (self.text(at + 1), self.text(at + 2), self.text(at + 3)) {
                ("(", "0", ")") => Some("x"),
                ("(", "1", ")") => Some("y"),
                ("(", "2", ")") => Some("z"),
                _ => None,
            };
            if let Some(text) = axis.and_then(|axis| index(name, axis)) {
                kept.extend(word.all(&text));
                at += 4;
                continue;
            }
            match name {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if matches!(name, "barrier" | "work_group_barrier" | "mem_fence") && self.text(at + 1) == "(" {
                kept.extend(word.all("__syncthreads ( )"));
                at = self.behind(at + 1);
                continue;
            }
            // `__attribute__((reqd_work_group_size(16, 16, 1)))`: the only size that the kernel may be started with.
            if name == "__attribute__" && self.text(at + 1) == "(" {
                let end = self.behind(at + 1);
                let sized = (at..end).find(|own| self.text(*own) == "reqd_work_group_size");
                if let Some(sized) = sized {
                    self.block = Some(self.slice(sized + 2, self.behind(sized + 1).saturating_sub(1)));
                }
                at = end;
                continue;
            }
            // Local memory that the host sizes stands among the parameters.
            if name == "__local" && depth > 0 {
                self.assumptions.push(format!(
                    "line {}, column {}: local memory that the host sizes is counted as an array in memory",
                    word.at.line, word.at.column
                ));
                at += 1;
                continue;
            }
            match NAMES.iter().find(|(own, _)| *own == name) {
                Some((_, text)) => kept.extend(word.all(text)),
                None => kept.push(word.clone()),
            }
            at += 1;
        }
        self.words = kept;
    }
}
