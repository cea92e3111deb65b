//! Floating-point operations of calls, by their shapes.

use super::call::Side;
use super::names::base;

/// Elements of a shape.
pub(super) fn count(shape: &[i64]) -> f64 {
    shape.iter().map(|d| (*d).max(0) as f64).product()
}

/// Floating-point operations of a product, by the shapes of its inputs alone: two for each multiplication and
/// addition. 0 where it is no product, or unknown.
pub(in crate::import) fn products<'s>(name: &str, shape: &dyn Fn(u32) -> Option<&'s [i64]>) -> f64 {
    let product = |a: Option<&[i64]>, b: Option<&[i64]>| match (a, b.and_then(|b| b.last())) {
        (Some(a), Some(n)) => 2.0 * count(a) * (*n).max(0) as f64,
        _ => 0.0,
    };
    match base(name) {
        "mm" | "bmm" | "_scaled_mm" => product(shape(0), shape(1)),
        "addmm" | "addmm_" | "baddbmm" | "baddbmm_" | "_addmm_activation" => product(shape(1), shape(2)),
        "mv" | "dot" => shape(0).map_or(0.0, |a| 2.0 * count(a)),
        "addmv" | "addmv_" => shape(1).map_or(0.0, |a| 2.0 * count(a)),
        "linear" | "mkldnn_linear" | "_mkl_linear" => match (shape(0), shape(1)) {
            (Some(x), Some([n, ..])) => 2.0 * count(x) * (*n).max(0) as f64,
            _ => 0.0,
        },
        _ => 0.0,
    }
}

/// Whether a call of the name is a product or a convolution that works itself, whatever it calls.
pub(in crate::import) fn multiplies(name: &str) -> bool {
    matches!(
        base(name),
        "mm" | "bmm"
            | "_scaled_mm"
            | "addmm"
            | "addmm_"
            | "baddbmm"
            | "baddbmm_"
            | "_addmm_activation"
            | "mv"
            | "addmv"
            | "addmv_"
            | "dot"
            | "cudnn_convolution"
            | "mkldnn_convolution"
            | "miopen_convolution"
            | "_slow_conv2d_forward"
            | "convolution_backward"
    )
}

/// Floating-point operations of one call by its shapes: two for each multiplication and addition. 0 where unknown.
pub(super) fn work(name: &str, inputs: &Side, outputs: &Side) -> f64 {
    let shape = |position| inputs.shape(position);
    // Of `y` elements, each takes as many products as a filter has weights.
    let filters = |y: Option<&[i64]>, weight: Option<&[i64]>| match (y, weight.and_then(|w| w.split_first())) {
        (Some(y), Some((_, filter))) => 2.0 * count(y) * count(filter),
        _ => 0.0,
    };
    // Scores and weighted sums of [batch, heads, length, width].
    let attention = |first: u32, wide: f64, value: f64| match (shape(first), shape(first + 1), shape(first + 2)) {
        (Some(q @ [_, _, _, width]), Some([_, _, length, _]), Some([_, _, _, v])) => {
            let scores = 2.0 * count(q) / (*width).max(1) as f64 * (*length).max(0) as f64;
            scores * (wide * (*width).max(0) as f64 + value * (*v).max(0) as f64)
        }
        _ => 0.0,
    };
    match base(name) {
        "matmul" => match (outputs.shape(0), shape(0).and_then(|a| a.last())) {
            (Some(y), Some(k)) => 2.0 * count(y) * (*k).max(0) as f64,
            _ => 0.0,
        },
        "convolution" | "_convolution" | "convolution_overrideable" if inputs.set(6) > 0 => filters(shape(0), shape(1)),
        "convolution_backward" => {
            // The mask asks for the gradients of input, weight and bias; the last is a sum.
            let mask = inputs.flags.iter().filter(|flag| flag.position == 10).take(2);
            let y = if inputs.set(7) > 0 { shape(1) } else { shape(0) };
            mask.filter(|flag| flag.set).count() as f64 * filters(y, shape(2))
        }
        base if base.contains("conv") && base.contains("transpose") && !base.contains("backward") => {
            filters(shape(0), shape(1))
        }
        "convolution"
        | "_convolution"
        | "convolution_overrideable"
        | "conv1d"
        | "conv2d"
        | "conv3d"
        | "cudnn_convolution"
        | "cudnn_convolution_relu"
        | "mkldnn_convolution"
        | "miopen_convolution"
        | "_slow_conv2d_forward"
        | "slow_conv3d_forward"
        | "thnn_conv2d"
        | "_conv_depthwise2d"
        | "conv_depthwise3d" => filters(outputs.shape(0), shape(1)),
        // Backward: the scores once more, their gradient, and those of q, k and v.
        base if base.starts_with("_scaled_dot_product_") && base.contains("backward") => attention(1, 3.0, 2.0),
        base if base.starts_with("_scaled_dot_product_") => attention(0, 1.0, 1.0),
        _ => products(name, &shape),
    }
}
