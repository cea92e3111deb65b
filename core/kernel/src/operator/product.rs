//! Products of matrices: tiles of the result go over the multiprocessors in waves; the sum may be split.

use accel_ground::device::{Architecture, Gpu};
use accel_ground::math::power;

use super::fitted::{BEYOND, FIT, WITHIN};
use super::{
    CDNA_F32, CDNA_F32_WATTS, CDNA3_TENSOR, Chip, OTHER_PRODUCTS, Operator, Parts, Product, UNMEASURED, held, join,
};
use crate::nest::Element;

/// Rows and columns of the tiles that libraries choose between, from the largest (CUTLASS' default set), and their kind.
const TILES: [(f64, f64, Tile); 8] = [
    (128.0, 256.0, Tile::Wide),
    (128.0, 128.0, Tile::Wide),
    (128.0, 64.0, Tile::Narrow),
    (64.0, 128.0, Tile::Narrow),
    (64.0, 64.0, Tile::Small),
    (32.0, 128.0, Tile::Small),
    (128.0, 32.0, Tile::Small),
    (32.0, 32.0, Tile::Tiny),
];
/// Into how many parts the sum is split.
const SPLITS: [f64; 5] = [1.0, 2.0, 4.0, 8.0, 16.0];
/// What splits the sum keeps at least so much of it in each part.
const LEAST_SPLIT: f64 = 256.0;
/// Rows of the first operand beyond which more no longer matter to Pascal's address translation.
const FAR_MOST_ROWS: f64 = 16_384.0;
/// Rows of the first operand to which `far_k` belongs.
const FAR_ROWS: f64 = 4096.0;
/// No finite number has more.
const MOST_OCTAVES: f64 = 1024.0;
/// Rows of that many elements do not suffer.
const FAR_EXCEPT: f64 = 8192.0;
/// Intervals are those of devices that their power holds down where it allows less of the peak than this: those, the L4 and
/// the T4, run batched products at one of two speeds.
const HELD: f64 = 0.7;
/// Tensor cores take 8 elements of a row at once (NVIDIA, "Matrix Multiplication Background"); others are padded.
const TENSOR_STEP: f64 = 8.0;

/// How well a tile keeps the pipes busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tile {
    Wide,
    Narrow,
    Small,
    Tiny,
}

impl Tile {
    fn efficiency(self, gpu: &Gpu) -> f64 {
        let hopper = matches!(gpu.architecture, Architecture::Hopper | Architecture::Blackwell);
        match self {
            Self::Wide => 1.0,
            Self::Narrow if hopper => FIT.product.hopper,
            Self::Narrow => FIT.product.narrow,
            Self::Small => FIT.product.small,
            Self::Tiny => FIT.product.tiny,
        }
    }
}

impl Chip {
    /// The share of the peak that products of f32 reach here, and whether that was measured.
    pub(super) fn efficiency(&self, batched: bool) -> (f64, bool) {
        let row = self.measured();
        let (measured, more) = if batched {
            (row.and_then(|row| row.bmm), FIT.law.batched)
        } else {
            (row.and_then(|row| row.linear), 1.0)
        };
        match (measured, self.gpu) {
            (Some(measured), _) => (measured, true),
            (None, Some(gpu)) if gpu.architecture.is_amd() => (
                CDNA_F32 * held(gpu.watts / self.matrix.map_or(f64::INFINITY, |peaks| peaks.f32), CDNA_F32_WATTS),
                false,
            ),
            (None, Some(_)) => (FIT.law.most * more * self.allowed(), false),
            (None, None) => (OTHER_PRODUCTS, false),
        }
    }

    /// The parts of a product, and between which multiples of their sum the time lies.
    pub(super) fn product(&self, operator: &Operator, product: Product, batched: bool) -> (Parts, [f64; 2]) {
        let element = operator.element;
        let stream = self.stream().0;
        // Products of f32 on AMD's matrix cores are not rounded, and were measured by themselves.
        let amd = self.gpu.is_some_and(|gpu| gpu.architecture.is_amd());
        let tensor = self.tensor(element) && !(amd && element == Element::F32 && !self.tf32);
        let (own, measured) = self.efficiency(batched);
        let (efficiency, prologue) = if tensor {
            // Their start was measured without that of the framework, which takes as long for them.
            let [share, prologue, _] = FIT.tensor.at(self.tensor_place(element));
            let share = match self.gpu.map(|gpu| gpu.architecture) {
                Some(_) if amd => share * CDNA3_TENSOR,
                Some(_) => share,
                None => OTHER_PRODUCTS,
            };
            (share, prologue)
        } else {
            (own, FIT.product.prologue)
        };
        let start = FIT.product.start;
        let rate = self.matrix_rate(element);
        let compute = match &self.gpu {
            Some(gpu) => {
                let step = if tensor { TENSOR_STEP } else { 1.0 };
                let up = |extent: f64| (extent / step).ceil() * step;
                let padded = Product { m: up(product.m), n: up(product.n), k: up(product.k), ..product };
                waves(padded, gpu, rate, prologue, self.dram_gb_s * 1e9, element.bytes() as f64)
            }
            None => product.operations() / rate,
        };
        let memory = (operator.bytes() + self.again(product, element)) / stream;
        let overlap = FIT.product.overlap;
        let held = !tensor && !amd && self.allowed() < HELD;
        let efficiency = if tensor || amd || self.gpu.is_none() {
            efficiency
        } else {
            // What a power limit holds down begins faster: the limit acts after some milliseconds.
            let ms = 1e3 * join(compute / efficiency, memory, overlap) + start;
            efficiency + (1.0 - efficiency).max(0.0) * FIT.product.burst / (1.0 + ms / FIT.product.burst_ms)
        };
        let spread = if measured && !tensor { &WITHIN } else { &BEYOND };
        let [low, high] = match (batched, held) {
            (false, false) => spread.linear,
            (false, true) => spread.linear_held,
            (true, false) => spread.bmm,
            (true, true) => spread.bmm_held,
        };
        let known = (element == Element::F32 || tensor) && !amd;
        let [less, more] = if known && self.gpu.is_some() { [1.0, 1.0] } else { UNMEASURED };
        let parts = Parts { start: self.start(start), compute: compute / efficiency, memory, overlap, scale: 1.0 };
        (parts, [less * low, more * high])
    }

    /// Bytes of operands that come again, because L2 does not hold a block of rows and columns of the whole sum.
    fn again(&self, product: Product, element: Element) -> f64 {
        let Product { batch, m, n, k } = product;
        let size = element.bytes() as f64;
        let held = self.l2_bytes / size;
        if held <= 0.0 || m * k + m + k <= held || k * n + k + n <= held || m * n + m + n <= held {
            return 0.0;
        }
        // Square blocks of the three matrices, a third of L2 each, as a raster of blocks over the result makes them.
        let side = (held / 3.0).sqrt().max(1.0);
        batch * size * (m * k * ((n / side).ceil() - 1.0) + k * n * ((m / side).ceil() - 1.0))
    }
}

/// Seconds at the peak of the fastest choice of a tile and a split: waves of tiles over the multiprocessors.
fn waves(product: Product, gpu: &Gpu, rate: f64, prologue: f64, dram: f64, size: f64) -> f64 {
    let Product { batch, m, n, k } = product;
    let multiprocessors = f64::from(gpu.multiprocessors.max(1));
    let mut best = f64::INFINITY;
    for (rows, columns, tile) in TILES {
        let tiles = batch * (m / rows).ceil() * (n / columns).ceil();
        for split in SPLITS {
            if split > 1.0 && k / split < LEAST_SPLIT {
                continue;
            }
            let waves = (tiles * split / multiprocessors).ceil();
            let each = 2.0 * rows * columns * ((k / split).ceil() + prologue) * multiprocessors / rate;
            // Partial sums are written and read again.
            let partial = if split > 1.0 { batch * m * n * size * 2.0 * split / dram } else { 0.0 };
            best = best.min(waves * each / tile.efficiency(gpu) + partial);
        }
    }
    best + far(product, gpu)
}

/// Seconds on Pascal for operands whose rows lie far apart: they miss in the address translation, which all multiprocessors
/// share, so that its time does not depend on the peak.
fn far(product: Product, gpu: &Gpu) -> f64 {
    if gpu.architecture != Architecture::Pascal || product.k == FAR_EXCEPT {
        return 0.0;
    }
    let reach = product.k / FIT.product.far_k * power(product.m.min(FAR_MOST_ROWS) / FAR_ROWS, FIT.product.far_rows);
    product.operations() / 1e12 * FIT.product.far * 1e-3 * octaves(reach)
}

/// The logarithm to the base 2 of a number, 0 below 1, by operations that give the same bits on every platform.
fn octaves(number: f64) -> f64 {
    let (mut rest, mut octaves, mut bit) = (number.max(1.0), 0.0, 1.0);
    while rest >= 2.0 && octaves < MOST_OCTAVES {
        rest /= 2.0;
        octaves += 1.0;
    }
    for _ in 0..f64::MANTISSA_DIGITS {
        rest *= rest;
        bit /= 2.0;
        if rest >= 2.0 {
            rest /= 2.0;
            octaves += bit;
        }
    }
    octaves
}
