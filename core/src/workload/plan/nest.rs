//! Operators as the mapper of tiles sees them.

use super::StoredTensor;
use super::step::{Filtering, Operator, Shape, Step, Val};
use crate::tiling::{Product, Rows};

/// The shape of a value.
pub(super) fn shape(step: &Step, stored: &[StoredTensor], value: Val) -> Shape {
    match value {
        Val::Temp(_) => step.shape(value),
        Val::Stored(index) => stored[index as usize].shape,
    }
}

/// The product of an operator as the mapper sees it; none where the shapes of its tensors say nothing about tiles.
pub(super) fn nest(step: &Step, stored: &[StoredTensor], operator: &Operator) -> Option<Product> {
    shaped(step, stored, operator).filter(|product| product.check().is_ok())
}

fn shaped(step: &Step, stored: &[StoredTensor], operator: &Operator) -> Option<Product> {
    let product = operator.product?;
    let [a, b, c] = [product.a, product.b, product.c].map(|value| shape(step, stored, value));
    let bits = [a.bits, b.bits, c.bits];
    let (m, n, k) = (product.m, product.n, product.k);
    if m == 0 || n == 0 || k == 0 {
        return None;
    }
    if let Some(Filtering { image, operands, sum }) = product.filtering {
        let [a, b, c] = operands.map(|value| shape(step, stored, value));
        let (bits, filters) = ([a.bits, b.bits, c.bits], b.rows.checked_mul(b.cols)?);
        let meets = a.cols.checked_mul(image.taps())?.checked_mul(c.cols)?;
        let groups = if operator.grouped { meets.checked_div(filters)? } else { 1 };
        let whole = groups > 0
            && Some(meets) == filters.checked_mul(groups)
            && c.cols.is_multiple_of(groups)
            && a.cols.is_multiple_of(groups)
            && Some(a.rows) == image.inputs()
            && Some(c.rows) == image.outputs();
        let rows = Rows::Image(image);
        return whole.then(|| Product { batch: groups, rows, n: c.cols / groups, k: a.cols / groups, bits, sum });
    }
    // The same elements, or the first rows of more.
    let holds = |of: Shape, transposed: bool, rows: u64, cols: u64| {
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        of.rows.checked_mul(of.cols) == rows.checked_mul(cols) || (of.cols == cols && of.rows >= rows)
    };
    let holds = holds(a, product.a_transposed, m, k) && holds(b, product.b_transposed, k, n) && holds(c, false, m, n);
    (holds && !operator.grouped).then_some(Product { batch: 1, rows: Rows::Matrix(m), n, k, bits, sum: 2 })
}
