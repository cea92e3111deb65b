//! Kernels on a grid: what their threads are, and the functions that only they call.

use std::collections::BTreeSet;

use lang_c::ast::*;

use super::launch::{BLOCK, DYNAMIC, GRID};
use super::lower::{Binding, CLowering, IntegerValue, Round, Scalar};
use super::value::{INTEGER, NumberKind};
use super::view::value;
use crate::expr::Expr;
use crate::nest::{At, Axis, Flops, Grid, Work};
use crate::source::refuse;
use accel_ground::error::Error;

/// More threads no block has (CUDA C++ Programming Guide, technical specifications per compute capability).
const MOST_THREADS: i64 = 1024;

/// Slowest first: `x` moves from one thread or block to the next.
const AXES: [&str; 3] = ["z", "y", "x"];

/// Functions without a memory and without arithmetic: what stands before `_sync` moves values between the registers of
/// a warp.
const QUIET: [&str; 12] = [
    "__syncthreads",
    "__syncwarp",
    "__threadfence",
    "__threadfence_block",
    "__activemask",
    "__ballot_sync",
    "__any_sync",
    "__all_sync",
    "__pipeline_commit",
    "__pipeline_wait_prior",
    "__nanosleep",
    "__trap",
];
/// Those that give another thread's value.
const SHUFFLES: [&str; 8] = [
    "__shfl_sync",
    "__shfl_down_sync",
    "__shfl_up_sync",
    "__shfl_xor_sync",
    "__shfl",
    "__shfl_down",
    "__shfl_up",
    "__shfl_xor",
];
/// Arithmetic under CUDA's names, and how much of it (CUDA Math API; an intrinsic counts as the function that it
/// approximates).
const MATH: [(&str, Flops); 24] = [
    ("__expf", Flops::SPECIAL),
    ("__exp10f", Flops::SPECIAL),
    ("__logf", Flops::SPECIAL),
    ("__log2f", Flops::SPECIAL),
    ("__sinf", Flops::SPECIAL),
    ("__cosf", Flops::SPECIAL),
    ("__powf", Flops::SPECIAL),
    ("hexp", Flops::SPECIAL),
    ("hlog", Flops::SPECIAL),
    ("__fdividef", Flops::DIV),
    ("__fdiv_rn", Flops::DIV),
    ("__frcp_rn", Flops::DIV),
    ("__hdiv", Flops::DIV),
    ("__fsqrt_rn", Flops::SQRT),
    ("hsqrt", Flops::SQRT),
    ("__fadd_rn", Flops::ADD),
    ("__hadd", Flops::ADD),
    ("__hsub", Flops::ADD),
    ("__fmul_rn", Flops::MUL),
    ("__hmul", Flops::MUL),
    ("__fmaf_rn", Flops { mul: 1, add: 1, ..Flops::NONE }),
    ("__hfma", Flops { mul: 1, add: 1, ..Flops::NONE }),
    ("__hmax", Flops::MIN_MAX),
    ("__hmin", Flops::MIN_MAX),
];
/// Conversions: of a value, to another type.
const CONVERSIONS: [&str; 8] = [
    "__half2float",
    "__float2half",
    "__float2half_rn",
    "__float2bfloat16",
    "__bfloat162float",
    "__int2float_rn",
    "__uint2float_rn",
    "__saturatef",
];
/// Functions that read an element, change it and write it back.
const ATOMICS: [(&str, Flops); 4] = [
    ("atomicAdd", Flops::ADD),
    ("atomicSub", Flops::ADD),
    ("atomicMax", Flops::MIN_MAX),
    ("atomicMin", Flops::MIN_MAX),
];

impl<'a> CLowering<'a> {
    /// Takes the size of a block, which is a number, for what the source says of it.
    fn block_size(&mut self, at: At) -> Result<(), Error> {
        let mut threads = 1_i64;
        for axis in AXES {
            let name = format!("blockDim_{axis}");
            self.scalar_if_undeclared(&name, true);
            let size = self.integer_named(&name).and_then(|size| value(&size, &self.builder.program));
            let Some(size) = size.filter(|size| (1..=MOST_THREADS).contains(size)) else {
                let problem = format!("blockDim.{axis} is not a number from 1 to {MOST_THREADS}");
                return Err(refuse(at, problem, format!("Give the block, such as {name} = 256")));
            };
            threads = threads.saturating_mul(size);
            self.fix(&name, Expr::Const(size));
        }
        if threads > MOST_THREADS {
            let problem = format!("a block has {threads} threads");
            return Err(refuse(at, problem, format!("Give a block of at most {MOST_THREADS} threads")));
        }
        Ok(())
    }

    /// Begins what each thread does: everything after stands in loops over blocks and threads.
    fn enter_grid(&mut self, at: At) -> Result<(), Error> {
        // How the sizes are computed is no work of the kernel.
        (self.work, self.out) = (Work::default(), Vec::new());
        self.dynamic_shared = self.integer_named(DYNAMIC);
        if self.source.defines.contains_key(DYNAMIC) {
            self.dynamic_shared = Some(Expr::from(self.builder.parameter(DYNAMIC)));
        }
        let mut grid = Grid::default();
        for (size, index) in [("gridDim", "blockIdx"), ("blockDim", "threadIdx")] {
            for axis in AXES {
                let name = format!("{size}_{axis}");
                self.scalar_if_undeclared(&name, true);
                let Some(mut extent) = self.integer_named(&name) else {
                    let cure = format!("Give the grid and the block, such as {name} = 128");
                    return Err(refuse(at, format!("{size}.{axis} is decided by data"), cure));
                };
                match value(&extent, &self.builder.program) {
                    Some(1) => extent = Expr::Const(1),
                    Some(known) if known < 1 => {
                        return Err(refuse(at, format!("{size}.{axis} is below 1"), "Give at least one block"));
                    }
                    _ => {}
                }
                let value = if extent == Expr::Const(1) {
                    Expr::Const(0)
                } else {
                    let symbol = self.builder.variable(&format!("{index}.{axis}"));
                    self.loops.push(Round {
                        var: symbol,
                        lower: Expr::Const(0),
                        upper: extent.clone(),
                        step: Expr::Const(1),
                        ascending: true,
                        assigned: BTreeSet::new(),
                        written: BTreeSet::new(),
                        commented: false,
                        own: None,
                        leaves: None,
                    });
                    let axes = if size == "gridDim" { &mut grid.blocks } else { &mut grid.threads };
                    axes.push(Axis { symbol, extent: extent.clone() });
                    Expr::from(symbol)
                };
                self.fix(&name, extent);
                self.fix(&format!("{index}_{axis}"), value);
            }
        }
        self.outer_loops = self.loops.len();
        self.grid = Some(grid);
        Ok(())
    }

    /// Gives `name` a value that nobody changes, here and in the functions called.
    fn fix(&mut self, name: &str, value: Expr) {
        let value = IntegerValue::Known(value);
        let known = Binding::Scalar(Scalar { float: false, value, stored: false, depth: 0, range: None });
        self.bind_shared(name, known.clone());
        self.bind(name, known);
    }

    /// Puts the loops over blocks and threads around what a thread does.
    pub(super) fn leave_grid(&mut self, at: At) -> Option<Grid> {
        let mut grid = self.grid.take()?;
        self.loops.clear();
        grid.body = std::mem::take(&mut self.out);
        let launch = self.text.launch.clone().unwrap_or_default();
        let arrays = self.builder.program.arrays.iter().enumerate();
        grid.shared =
            arrays.filter(|(_, array)| launch.shared.contains(&array.name)).map(|(number, _)| number).collect();
        let arrays = self.builder.program.arrays.iter().enumerate();
        let dynamic =
            arrays.filter(|(_, array)| launch.dynamic.contains(&array.name)).map(|(number, _)| number).collect();
        grid.dynamic = self.dynamic_shared.take().map(|bytes| (bytes, dynamic));
        grid.blocks_per_sm = self.calls.first().and_then(|kernel| launch.blocks_per_sm.get(*kernel)).copied();
        self.out = grid.around(grid.body.clone(), at);
        Some(grid)
    }

    /// A function of CUDA; nothing if `function` is another.
    pub(super) fn cuda(
        &mut self,
        function: &str,
        call: &'a CallExpression,
        at: At,
    ) -> Result<Option<NumberKind>, Error> {
        if function == BLOCK {
            return self.block_size(at).map(|()| Some(INTEGER));
        }
        if function == GRID {
            return self.enter_grid(at).map(|()| Some(INTEGER));
        }
        let find = |table: &[(&str, Flops)]| table.iter().find(|(name, _)| *name == function).map(|(_, flops)| *flops);
        let float = NumberKind { float: true, constant: false };
        if QUIET.contains(&function) {
            return Ok(Some(INTEGER));
        }
        if SHUFFLES.contains(&function) {
            let mut kinds = Vec::new();
            for argument in &call.arguments {
                kinds.push(self.value(argument)?);
            }
            self.builder.assume(format!("{function} (line {}) exchanges registers within a warp: no memory", at.line));
            let value = usize::from(function.ends_with("_sync"));
            return Ok(Some(kinds.get(value).copied().unwrap_or(INTEGER)));
        }
        if let Some(flops) = find(&MATH) {
            for argument in &call.arguments {
                self.value(argument)?;
            }
            self.work.flops = self.work.flops.plus(flops);
            return Ok(Some(float));
        }
        if CONVERSIONS.contains(&function) {
            for argument in &call.arguments {
                self.value(argument)?;
            }
            return Ok(Some(float));
        }
        if function == "__ldg"
            && let Some(pointer) = call.arguments.first()
        {
            let view = self.place(pointer, 1)?.at(Some(Expr::Const(0)));
            let element = self.builder.program.arrays.get(view.array).map(|array| array.element);
            self.access(view, false, at)?;
            return Ok(Some(NumberKind { float: element.is_some_and(|own| own.is_float()), constant: false }));
        }
        if let (Some(flops), [pointer, value, ..]) = (find(&ATOMICS), call.arguments.as_slice()) {
            let kind = self.value(value)?;
            let view = self.place(pointer, 1)?.at(Some(Expr::Const(0)));
            self.access(view.clone(), false, at)?;
            if kind.float {
                self.work.flops = self.work.flops.plus(flops);
            } else {
                self.work.integer_ops += 1;
            }
            self.access(view, true, at)?;
            self.builder.assume(format!(
                "{function} (line {}) is a load and a store; that others wait for it is not counted",
                at.line
            ));
            return Ok(Some(kind));
        }
        Ok(None)
    }
}
