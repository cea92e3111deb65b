//! Constants fitted to measured latencies; written by `tests/fixtures/gpu_latency.py`, not by hand.
//!
//! Measured by the authors of NeuSight (Lee et al., ASPLOS 2025; sitar-lab/NeuSight) in float32 without TF32, with
//! PyTorch 2.1 and CUDA 12.1. Errors stand in `docs/kernel.md`.

use super::{Fit, Measured, NormFit, ProductFit, SoftmaxFit, Spread, Streams, TensorFit};

/// All constants.
pub(super) const FIT: Fit = Fit {
    start_ms: 0.02,
    streams: Streams { hbm: 0.8845, gddr: 0.7535 },
    usual_linear: 0.8612,
    usual_bmm: 0.9244,
    product: ProductFit {
        narrow: 0.703,
        small: 0.6808,
        tiny: 0.3346,
        prologue: 12.2732,
        overlap: 2.649,
        start: 0.0242,
        hopper: 0.8952,
        far: 0.5718,
        far_rows: 0.6235,
        far_k: 9623.0834,
        burst: 0.3465,
        burst_ms: 6.7245,
    },
    norm: NormFit { start: 0.0424, row: 320.9268, element: 0.89, again: 1.1411, cache: 0.5522, overlap: 7.9989 },
    softmax: SoftmaxFit {
        start: 0.0173,
        warp_more: 0.0978,
        row: 138.782,
        element: 0.2477,
        block_row: 124.2795,
        block_element: 0.5922,
        again: 44.285,
        cache: 1.9082,
        overlap: 1.3285,
    },
    tensor: TensorFit { efficiency: [0.8853, 0.7038], prologue: [63.5829, 0.0001], start: [0.0053, 0.009] },
};

/// What was measured on single devices, as shares of their figures and of the times of the formulas.
pub(super) const MEASURED: &[Measured] = &[
    Measured {
        device: "a100-40-pcie",
        stream: Some(0.8845),
        linear: Some(0.8352),
        bmm: Some(0.8872),
        softmax: Some(0.9616),
        norm: Some(1.0011),
    },
    Measured {
        device: "a100-80-pcie",
        stream: None,
        linear: Some(0.9237),
        bmm: Some(0.9812),
        softmax: None,
        norm: None,
    },
    Measured { device: "h100-sxm", stream: None, linear: Some(0.7552), bmm: Some(0.7863), softmax: None, norm: None },
    Measured { device: "l4", stream: Some(0.8165), linear: Some(0.2873), bmm: Some(0.2598), softmax: None, norm: None },
    Measured {
        device: "p100-pcie",
        stream: Some(0.7496),
        linear: Some(0.7863),
        bmm: Some(0.9616),
        softmax: Some(1.1526),
        norm: Some(1.0635),
    },
    Measured {
        device: "p4",
        stream: Some(0.753),
        linear: Some(0.8872),
        bmm: Some(0.7706),
        softmax: Some(0.9616),
        norm: Some(0.9812),
    },
    Measured {
        device: "t4",
        stream: Some(0.7539),
        linear: Some(0.4753),
        bmm: Some(0.4949),
        softmax: Some(1.0423),
        norm: Some(1.0215),
    },
    Measured {
        device: "v100-pcie",
        stream: Some(0.921),
        linear: Some(1.0011),
        bmm: Some(1.1761),
        softmax: Some(0.9425),
        norm: Some(0.9425),
    },
];

/// Between which multiples of the expectation measurements lie, 95 of 100 and 90 of 100 of each device:
/// rows of measured devices.
pub(super) const WITHIN: Spread = Spread {
    elementwise: [0.9357, 1.1707],
    rows: [0.8683, 1.3118],
    linear: [0.7502, 1.4825],
    linear_held: [0.8488, 1.4116],
    bmm: [0.7105, 1.829],
    bmm_held: [0.641, 1.4432],
};

/// Between which multiples of the expectation measurements lie, 95 of 100 and 90 of 100 of each device:
/// devices that no fit has seen.
pub(super) const BEYOND: Spread = Spread {
    elementwise: [0.8828, 1.3994],
    rows: [0.7123, 1.846],
    linear: [0.5007, 1.8849],
    linear_held: [0.6631, 1.4453],
    bmm: [0.6087, 1.9467],
    bmm_held: [0.5722, 1.531],
};
