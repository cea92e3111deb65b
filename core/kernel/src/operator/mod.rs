//! Operators of libraries, such as a product of matrices or a softmax, and what one takes on a device that works as a
//! whole.
//!
//! A price is made of the operator's sizes and the device's published figures: tiles of the result go over the
//! multiprocessors in waves, rows over their threads, bytes through DRAM. Constants are fitted to measured latencies
//! (`fitted`, written by `tests/fixtures/gpu_latency.py`); `docs/kernel.md` gives errors.

mod fitted;
mod product;
mod rows;
#[cfg(test)]
mod tests;

use accel_ground::device::{Architecture, Device, DramKind, Gpu, Peaks};
use accel_ground::math::power;

use super::nest::Element;
use fitted::{BEYOND, FIT, MEASURED, WITHIN};

/// An operator of a library: what it does, to how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operator {
    /// What it does.
    pub class: Class,
    /// The type of its elements.
    pub element: Element,
    /// Bytes that it must read: each operand once.
    pub read_bytes: f64,
    /// Bytes that it must write: its results once.
    pub written_bytes: f64,
    /// Operations of plain code, an operation on integers and a fused multiply-add being one and two; none of those of
    /// products.
    pub operations: f64,
}

/// What an operator does, and the sizes that decide about its time beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Class {
    /// An operation on each element, or several in one pass; a copy.
    Elementwise,
    /// A copy of which one side is not read or written along rows.
    Transpose,
    /// A reduction.
    Reduction,
    /// A softmax of each row.
    Softmax(Rows),
    /// A layer norm, or another norm, of each row.
    Norm(Rows),
    /// Elements or rows at places that data decide, with so many bytes at each.
    Gather {
        /// Bytes that lie together.
        bytes: f64,
    },
    /// A sort of keys, or the largest of them.
    Sort,
    /// A product of matrices, or a convolution that is counted like one.
    Linear(Product),
    /// Many products of small matrices.
    Bmm(Product),
    /// Two products with a softmax between, in one pass.
    Attention(Product),
}

/// Rows and their elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows {
    /// How many.
    pub rows: f64,
    /// Elements of each.
    pub columns: f64,
}

/// `batch` products of an `m x k` by a `k x n` matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// How many.
    pub batch: f64,
    /// Rows of the result.
    pub m: f64,
    /// Columns of the result.
    pub n: f64,
    /// What is summed over.
    pub k: f64,
}

impl Product {
    /// Multiplications and additions.
    pub fn operations(self) -> f64 {
        2.0 * self.batch * self.m * self.n * self.k
    }
}

impl Class {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elementwise => "element-wise",
            Self::Transpose => "transposed copy",
            Self::Reduction => "reduction",
            Self::Softmax(_) => "softmax",
            Self::Norm(_) => "norm",
            Self::Gather { .. } => "gather",
            Self::Sort => "sort",
            Self::Linear(_) => "product",
            Self::Bmm(_) => "batched product",
            Self::Attention(_) => "attention",
        }
    }

    /// The product that it is, if it is one.
    pub fn product(self) -> Option<Product> {
        match self {
            Self::Linear(product) | Self::Bmm(product) | Self::Attention(product) => Some(product),
            _ => None,
        }
    }
}

impl Operator {
    /// The same on elements of another type.
    #[must_use]
    pub fn with(&self, element: Element) -> Self {
        let scale = element.bytes() as f64 / self.element.bytes() as f64;
        let class = match self.class {
            Class::Gather { bytes } => Class::Gather { bytes: bytes * scale },
            class => class,
        };
        let (read_bytes, written_bytes) = (self.read_bytes * scale, self.written_bytes * scale);
        Self { class, element, read_bytes, written_bytes, ..*self }
    }

    /// All operations.
    pub fn all_operations(&self) -> f64 {
        self.operations + self.class.product().map_or(0.0, Product::operations)
    }

    /// All bytes.
    pub fn bytes(&self) -> f64 {
        self.read_bytes + self.written_bytes
    }
}

/// A device that works as a whole, as operators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chip {
    name: String,
    gpu: Option<Gpu>,
    vector: Option<Peaks>,
    matrix: Option<Peaks>,
    dram_gb_s: f64,
    l2_bytes: f64,
    launched: bool,
    /// Whether products of f32 are rounded to TF32.
    tf32: bool,
}

/// What an operator takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Nothing measured is faster, but for 1 in 40.
    pub least: f64,
    /// As expected.
    pub expected: f64,
    /// Nothing measured is slower, but for 1 in 40.
    pub most: f64,
    /// Starting it.
    pub start: f64,
    /// Arithmetic by itself.
    pub compute: f64,
    /// Bytes from and to DRAM by themselves.
    pub memory: f64,
    /// How arithmetic and bytes hide each other: 1 is one after the other.
    overlap: f64,
    /// What scales both.
    scale: f64,
}

/// What takes most of an operator's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Starting it.
    Launch,
    /// Arithmetic.
    Compute,
    /// Bytes from and to DRAM.
    Memory,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Launch, Self::Compute, Self::Memory];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

impl Price {
    /// What takes most of the time.
    pub fn limit(&self) -> Limit {
        if self.start > self.compute.max(self.memory) {
            Limit::Launch
        } else if self.compute > self.memory {
            Limit::Compute
        } else {
            Limit::Memory
        }
    }

    /// Seconds without the start, as expected, with these shares of the arithmetic and of the bytes.
    pub fn busy(&self, compute: f64, memory: f64) -> f64 {
        join(compute * self.compute, memory * self.memory, self.overlap) * self.scale
    }
}

/// Two parts that hide each other in part: the norm of that order.
fn join(compute: f64, memory: f64, overlap: f64) -> f64 {
    let most = compute.max(memory);
    if most <= 0.0 {
        return 0.0;
    }
    // Divided by the larger, so that no power leaves the range.
    most * power(power(compute / most, overlap) + power(memory / most, overlap), 1.0 / overlap)
}

// The constants, as `fitted` holds them.

/// All that was fitted.
#[derive(Debug)]
struct Fit {
    /// Starting an element-wise operation from PyTorch, ms.
    start_ms: f64,
    streams: Streams,
    law: LawFit,
    product: ProductFit,
    norm: NormFit,
    softmax: SoftmaxFit,
    tensor: TensorFit,
}

/// Shares of DRAM's nominal bandwidth that streams reach: of stacks, of those of AMD, of chips on the board, and of such chips
/// before Ampere.
#[derive(Debug)]
struct Streams {
    hbm: f64,
    hbm_amd: f64,
    gddr: f64,
    gddr_early: f64,
}

/// The share of the peak that products of f32 reach on devices that nobody measured: W per TFLOP/s below which the board's
/// power holds them down, the share above that, and what batched products reach of it.
#[derive(Debug)]
struct LawFit {
    watts: f64,
    most: f64,
    batched: f64,
}

/// Products of f32: efficiencies of tiles, elements of the sum that filling the pipes takes, the order of the norm, the
/// start in ms, Hopper's narrow tiles, what rows that lie far apart cost on Pascal (ms per TFLOP and octave, a power of
/// the rows, and elements of a row that cost nothing), and how a product begins on a device that its power holds down (the
/// share of what it lacks, and ms).
#[derive(Debug)]
struct ProductFit {
    narrow: f64,
    small: f64,
    tiny: f64,
    prologue: f64,
    overlap: f64,
    start: f64,
    hopper: f64,
    far: f64,
    far_rows: f64,
    far_k: f64,
    burst: f64,
    burst_ms: f64,
}

/// Norms: the start in ms, cycles of 64 lanes for a row and for an element, what of L2 rows in flight may take, the order of
/// the norm.
#[derive(Debug)]
struct NormFit {
    start: f64,
    row: f64,
    element: f64,
    cache: f64,
    overlap: f64,
}

/// Softmax: the start in ms, cycles of 64 lanes for an element of rows that one warp holds and of longer ones, which a block
/// of threads holds, the order of the norm.
#[derive(Debug)]
struct SoftmaxFit {
    start: f64,
    warp_element: f64,
    block_element: f64,
    overlap: f64,
}

/// Tensor cores, in types of 16 and of 8 bits, and in TF32: the share of the peak, the prologue, the start in ms.
#[derive(Debug)]
struct TensorFit {
    efficiency: [f64; 2],
    prologue: [f64; 2],
    start: [f64; 2],
}

impl TensorFit {
    /// The share of the peak, the prologue and the start at a place.
    fn at(&self, place: usize) -> [f64; 3] {
        [self.efficiency, self.prologue, self.start].map(|both| both.get(place).copied().unwrap_or_default())
    }
}

/// What was measured on one device.
#[derive(Debug)]
struct Measured {
    device: &'static str,
    stream: Option<f64>,
    linear: Option<f64>,
    bmm: Option<f64>,
    softmax: Option<f64>,
    norm: Option<f64>,
}

/// Between which multiples of the expectation measurements lie.
#[derive(Debug)]
struct Spread {
    elementwise: [f64; 2],
    rows: [f64; 2],
    linear: [f64; 2],
    linear_held: [f64; 2],
    bmm: [f64; 2],
    bmm_held: [f64; 2],
}

// What is assumed where nothing was measured.

/// The share of the peak that devices other than GPUs reach in products: TPU v4 trains PaLM at 0.57 to 0.62 of its peak
/// (Chowdhery et al., "PaLM", table 3), which includes everything else, so products alone reach more.
const OTHER_PRODUCTS: f64 = 0.7;
/// AMD's MI300X reached 0.56 of its peak in 16 bits where NVIDIA's A100 reached 0.87 (the benchmark of matmul FLOPS in
/// stas00/ml-engineering), so by that much less of what NVIDIA's tensor cores reach.
const CDNA3_TENSOR: f64 = 0.56 / 0.87;
/// AMD's matrix cores reach so much of their peak in f32, without rounding: 37.9 of 45.3 TFLOP/s on an MI210, products of
/// 8192 by rocBLAS, at 299 W and nearly full clock (ROCm/rocm-libraries#9453, measured by AMD).
const CDNA_F32: f64 = 37.9 / 45.3;
/// W per TFLOP/s of that MI210, below which power is taken to hold such products down as it does others.
const CDNA_F32_WATTS: f64 = 300.0 / 45.3;
/// Attention in one pass reaches 0.5 to 0.73 of the A100's peak (Dao, "FlashAttention-2", 2023, abstract).
const ATTENTION: [f64; 3] = [0.5, 0.6, 0.73];
/// Transposed copies against plain ones: 0.9 or so with tiles in shared memory and padding, as NVIDIA's "An Efficient Matrix
/// Transpose in CUDA C/C++" measured, 0.5 as compilers of frameworks often write them (an assumption).
const TRANSPOSE: f64 = 0.7;
/// The least that DRAM sends: a sector of 32 bytes (NVIDIA, CUDA C++ best practices guide).
const SECTOR_BYTES: f64 = 32.0;
/// Passes of a radix sort of 32-bit keys over its keys and their places, a read and a write each, and one to count: eight
/// bits a pass (Adinets and Merrill, "Onesweep", 2022).
const SORT_PASSES: f64 = 4.5;
/// The clock that a board's power allows goes with it to this exponent. A chip takes power in proportion to its clock where
/// the voltage is at its lowest, and to the cube of its clock where the voltage goes with the clock; between the two, to the
/// exponent of 3/2. The A100 is one chip on boards of 250 and 300 W, whose products differ by 300 / 250 to the exponent of 0.66
/// (`tests/fixtures/gpu_latency.py`, which also prints what other exponents would give).
const CLOCK: f64 = 2.0 / 3.0;
/// The share of the peak of plain code that arithmetic between loads and stores reaches: as for loops (`cost`).
const PLAIN: f64 = 0.7;
/// Where arithmetic and bytes of a pass hide each other: other threads fill every gap.
const HIDDEN: f64 = 8.0;
/// What the intervals of classes that nobody measured are wider by.
const UNMEASURED: [f64; 2] = [0.7, 1.6];

impl Chip {
    /// What operators need to know of `device`, whose memory nearest to DRAM holds `l2_bytes`.
    pub fn of(device: &Device, l2_bytes: f64) -> Self {
        let machine = device.machine.as_deref();
        let any = device.tflops.map(|peak| Peaks::new(peak, peak, peak));
        let vector = machine.and_then(|machine| machine.vector_tflops).or(any);
        Self {
            name: device.name.clone(),
            gpu: machine.and_then(|machine| machine.gpu),
            vector,
            matrix: machine.and_then(|machine| machine.matrix_tflops).or(vector),
            dram_gb_s: device.dram_gb_s,
            l2_bytes,
            launched: machine.is_some_and(|machine| machine.launch_us.is_some()),
            tf32: false,
        }
    }

    /// The same where products of f32 are rounded to TF32; none where there is no such unit.
    pub fn with_tf32(&self) -> Option<Self> {
        let tf32 = self.matrix.and_then(|peaks| peaks.tf32)?;
        let matrix = self.matrix.map(|peaks| Peaks { f32: tf32, ..peaks });
        Some(Self { matrix, tf32: true, ..self.clone() })
    }

    /// Whether it has units for 8-bit floating point.
    pub fn has_f8(&self) -> bool {
        self.matrix.is_some_and(|peaks| peaks.f8.is_some())
    }

    /// Whether some of its times were measured, and went into the constants.
    pub fn is_measured(&self) -> bool {
        self.measured().is_some()
    }

    /// The place of an element's constants among those of tensor cores.
    fn tensor_place(&self, element: Element) -> usize {
        usize::from(self.tf32 && element == Element::F32)
    }

    fn measured(&self) -> Option<&'static Measured> {
        MEASURED.iter().find(|row| row.device == self.name)
    }

    /// FLOP/s of plain code.
    fn vector_rate(&self, element: Element) -> f64 {
        rate(self.vector, element)
    }

    /// FLOP/s of products.
    fn matrix_rate(&self, element: Element) -> f64 {
        rate(self.matrix, element)
    }

    /// Whether products of such elements run on tensor cores: they are faster than plain code.
    fn tensor(&self, element: Element) -> bool {
        element != Element::F64 && self.matrix_rate(element) > 1.5 * self.vector_rate(element)
    }

    /// Bytes/s that streams reach, and whether that was measured.
    fn stream(&self) -> (f64, bool) {
        let usual = match self.gpu.map(|gpu| (gpu.memory, gpu.architecture)) {
            Some((DramKind::Gddr, Architecture::Pascal | Architecture::Volta | Architecture::Turing)) => {
                FIT.streams.gddr_early
            }
            Some((DramKind::Gddr, _)) => FIT.streams.gddr,
            Some((DramKind::Hbm, architecture)) if architecture.is_amd() => FIT.streams.hbm_amd,
            _ => FIT.streams.hbm,
        };
        let measured = self.measured().and_then(|row| row.stream);
        (self.dram_gb_s * 1e9 * measured.unwrap_or(usual), measured.is_some())
    }

    /// The share of the peak of plain code that the board's power allows products of f32.
    fn allowed(&self) -> f64 {
        let (Some(gpu), Some(peaks)) = (self.gpu, self.vector) else { return 1.0 };
        held(gpu.watts / peaks.f32, FIT.law.watts)
    }

    fn start(&self, ms: f64) -> f64 {
        if self.launched { ms * 1e-3 } else { 0.0 }
    }

    /// What `operator` takes here.
    pub fn price(&self, operator: &Operator) -> Price {
        let (stream, measured) = self.stream();
        let pass = |bytes: f64, start: f64| Parts {
            start: self.start(start),
            compute: operator.operations / self.vector_rate(operator.element) / PLAIN,
            memory: bytes / stream,
            overlap: HIDDEN,
            scale: 1.0,
        };
        let spread = if measured { &WITHIN } else { &BEYOND };
        let wider = |[low, high]: [f64; 2]| [low * UNMEASURED[0], high * UNMEASURED[1]];
        let (parts, [low, high]) = match operator.class {
            Class::Elementwise => (pass(operator.bytes(), FIT.start_ms), spread.elementwise),
            Class::Reduction => (pass(operator.bytes(), FIT.start_ms), wider(spread.elementwise)),
            Class::Transpose => (pass(operator.bytes() / TRANSPOSE, FIT.start_ms), wider(spread.elementwise)),
            Class::Gather { bytes } => {
                let sectors = (bytes / SECTOR_BYTES).ceil().max(1.0) * SECTOR_BYTES / bytes.max(1.0);
                let moved = operator.read_bytes * sectors + operator.written_bytes;
                (pass(moved, FIT.start_ms), wider(spread.elementwise))
            }
            Class::Sort => {
                (pass(SORT_PASSES * operator.bytes(), FIT.start_ms * SORT_PASSES), wider(spread.elementwise))
            }
            Class::Softmax(rows) => self.softmax(operator, rows),
            Class::Norm(rows) => self.norm(operator, rows),
            Class::Linear(product) => self.product(operator, product, false),
            Class::Bmm(product) => self.product(operator, product, true),
            Class::Attention(product) => {
                let [least, usual, most] = ATTENTION;
                let rate = self.matrix_rate(operator.element);
                let tensor = self.tensor(operator.element);
                let share = if tensor { usual } else { self.efficiency(true).0 * usual / most };
                let parts = Parts {
                    start: self.start(FIT.product.start),
                    compute: product.operations() / rate / share,
                    memory: operator.bytes() / stream,
                    overlap: HIDDEN,
                    scale: 1.0,
                };
                (parts, wider([usual / most, usual / least]))
            }
        };
        parts.price(low, high)
    }
}

/// The share of the clock that so many W per TFLOP/s of the peak allow, where `full` are enough for all of it.
fn held(watts: f64, full: f64) -> f64 {
    power((watts / full).min(1.0), CLOCK)
}

/// What a price is made of, in seconds.
#[derive(Debug, Clone, Copy)]
struct Parts {
    start: f64,
    compute: f64,
    memory: f64,
    overlap: f64,
    scale: f64,
}

impl Parts {
    fn price(self, low: f64, high: f64) -> Price {
        let Self { start, compute, memory, overlap, scale } = self;
        let expected = start + join(compute, memory, overlap) * scale;
        Price { least: low * expected, expected, most: high * expected, start, compute, memory, overlap, scale }
    }
}

/// Operations/s with elements of that type; infinite where unknown.
pub fn rate(peaks: Option<Peaks>, element: Element) -> f64 {
    let tera = peaks.map(|peaks| match element {
        Element::F64 | Element::I64 => peaks.f64,
        Element::F32 | Element::I32 => peaks.f32,
        Element::F16 | Element::Bf16 | Element::I16 => peaks.f16,
        Element::F8 => peaks.f8.unwrap_or(peaks.f16),
        Element::I8 => peaks.i8.unwrap_or(peaks.f16),
    });
    tera.map_or(f64::INFINITY, |tera| tera * 1e12)
}
