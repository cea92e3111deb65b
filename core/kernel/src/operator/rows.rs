//! Softmax and norms: a warp or a block of threads holds a row; norms read a row twice.

use accel_ground::math::power;

use super::fitted::{BEYOND, FIT, WITHIN};
use super::{Chip, Operator, Parts, Rows, UNMEASURED};
use crate::nest::Element;

/// PyTorch's softmax holds rows of up to so many elements in a warp.
const WARP_ELEMENTS: f64 = 1024.0;
/// Threads of PyTorch's blocks for norms.
const NORM_THREADS: f64 = 128.0;
/// FLOPs of 64 lanes in a cycle: what a unit of the fitted cycles is.
const UNIT: f64 = 128.0;
/// How suddenly rows in flight fall out of L2.
const STEEP: f64 = 3.0;
/// Threads of a device of which nobody says how many it holds.
const ANY_THREADS: f64 = 108.0 * 2048.0;

impl Chip {
    /// The share of a norm's second pass over its rows that L2 no longer holds.
    fn missed(&self, operator: &Operator, rows: Rows) -> f64 {
        let all = self.gpu.map_or(ANY_THREADS, |gpu| f64::from(gpu.multiprocessors) * f64::from(gpu.threads));
        let flight = all / NORM_THREADS * rows.columns * operator.element.bytes() as f64;
        1.0 / (1.0 + power(FIT.norm.cache * self.l2_bytes / flight.max(1.0), STEEP))
    }

    fn interval(&self, measured: bool, operator: &Operator) -> [f64; 2] {
        let [low, high] = if measured { WITHIN.rows } else { BEYOND.rows };
        let known = operator.element == Element::F32 && self.gpu.is_some();
        let [less, more] = if known { [1.0, 1.0] } else { UNMEASURED };
        [less * low, more * high]
    }

    /// The parts of a norm, and between which multiples of their sum the time lies.
    pub(super) fn norm(&self, operator: &Operator, rows: Rows) -> (Parts, [f64; 2]) {
        let fit = &FIT.norm;
        let elements = rows.rows * rows.columns * operator.element.bytes() as f64;
        let more = elements * self.missed(operator, rows);
        let cycles = rows.rows * (fit.row + fit.element * rows.columns);
        let measured = self.measured().and_then(|row| row.norm);
        let parts = Parts {
            start: self.start(fit.start),
            compute: cycles * UNIT / self.vector_rate(Element::F32),
            memory: (operator.bytes() + more) / self.stream().0,
            overlap: fit.overlap,
            scale: measured.unwrap_or(1.0),
        };
        (parts, self.interval(measured.is_some(), operator))
    }

    /// The parts of a softmax, and between which multiples of their sum the time lies.
    pub(super) fn softmax(&self, operator: &Operator, rows: Rows) -> (Parts, [f64; 2]) {
        let fit = &FIT.softmax;
        let element = if rows.columns <= WARP_ELEMENTS { fit.warp_element } else { fit.block_element };
        let measured = self.measured().and_then(|row| row.softmax);
        let parts = Parts {
            start: self.start(fit.start),
            compute: rows.rows * rows.columns * element * UNIT / self.vector_rate(Element::F32),
            memory: operator.bytes() / self.stream().0,
            overlap: fit.overlap,
            scale: measured.unwrap_or(1.0),
        };
        (parts, self.interval(measured.is_some(), operator))
    }
}
