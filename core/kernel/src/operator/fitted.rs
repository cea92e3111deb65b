//! Constants fitted to measured latencies; written by `tests/fixtures/gpu_latency.py`, not by hand.
//!
//! Measured by the authors of NeuSight (Lee et al., ASPLOS 2025; sitar-lab/NeuSight) in float32 without TF32, with
//! PyTorch 2.1 and CUDA 12.1. Errors stand in `docs/kernel.md`.

use super::{Fit, LawFit, Measured, NormFit, ProductFit, SoftmaxFit, Spread, Streams, TensorFit};

/// All constants.
pub(super) const FIT: Fit = Fit {
    start_ms: 0.02,
    streams: Streams { hbm: 0.8845, hbm_amd: 0.8539, gddr: 0.9454, gddr_early: 0.7539 },
    law: LawFit { watts: 15.5, most: 0.92, batched: 1.06 },
    product: ProductFit {
        narrow: 0.722,
        small: 0.699,
        tiny: 0.2881,
        prologue: 11.4719,
        overlap: 2.7279,
        start: 0.0248,
        hopper: 0.8863,
        far: 70.048,
        far_rows: 0.5073,
        far_k: 8272.1137,
        burst: 0.1352,
        burst_ms: 17.0076,
    },
    norm: NormFit { start: 0.0449, row: 214.7604, element: 0.922, cache: 0.5281, overlap: 8.0 },
    softmax: SoftmaxFit { start: 0.0238, warp_element: 0.2473, block_element: 0.4791, overlap: 1.0658 },
    tensor: TensorFit { efficiency: [0.8854, 0.6962], prologue: [68.5059, 0.0002], start: [0.0053, 0.009] },
};

/// What was measured on single devices, as shares of their figures and of the times of the formulas.
pub(super) const MEASURED: &[Measured] = &[
    Measured {
        device: "a100-40-pcie",
        stream: Some(0.8845),
        linear: Some(0.8271),
        bmm: Some(0.8782),
        softmax: Some(0.9141),
        norm: Some(1.0102),
    },
    Measured {
        device: "a100-80-pcie",
        stream: None,
        linear: Some(0.9325),
        bmm: Some(0.9706),
        softmax: None,
        norm: None,
    },
    Measured { device: "h100-sxm", stream: None, linear: Some(0.7484), bmm: Some(0.7635), softmax: None, norm: None },
    Measured { device: "l4", stream: None, linear: Some(0.2754), bmm: Some(0.23), softmax: None, norm: None },
    Measured {
        device: "p100-pcie",
        stream: Some(0.7496),
        linear: Some(0.779),
        bmm: Some(0.9514),
        softmax: Some(1.2841),
        norm: Some(1.0943),
    },
    Measured {
        device: "p4",
        stream: Some(0.753),
        linear: Some(0.8609),
        bmm: Some(0.7484),
        softmax: Some(0.9902),
        norm: Some(1.0102),
    },
    Measured {
        device: "t4",
        stream: Some(0.7539),
        linear: Some(0.4821),
        bmm: Some(0.5017),
        softmax: Some(1.0306),
        norm: Some(1.0514),
    },
    Measured {
        device: "v100-pcie",
        stream: Some(0.921),
        linear: Some(0.9902),
        bmm: Some(1.1389),
        softmax: Some(1.0102),
        norm: Some(0.9706),
    },
];

/// Between which multiples of the expectation measurements lie, 95 of 100 and 90 of 100 of each device:
/// rows of measured devices.
pub(super) const WITHIN: Spread = Spread {
    elementwise: [0.9357, 1.1707],
    rows: [0.8107, 1.3059],
    linear: [0.7863, 1.309],
    linear_held: [0.8441, 1.3659],
    bmm: [0.7278, 1.8839],
    bmm_held: [0.6139, 1.4664],
};

/// Between which multiples of the expectation measurements lie, 95 of 100 and 90 of 100 of each device:
/// devices that no fit has seen.
pub(super) const BEYOND: Spread = Spread {
    elementwise: [0.9357, 1.4257],
    rows: [0.8087, 1.8993],
    linear: [0.7004, 1.921],
    linear_held: [0.8159, 1.6959],
    bmm: [0.6722, 2.1121],
    bmm_held: [0.6676, 1.7041],
};
