//! Tiles of matrices, and which of them a product walks over.

use super::step::Shape;
use crate::tiling::Dataflow;

/// How tensors are cut into tiles, and in which order products walk over them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    /// The largest block that moves as one.
    pub(crate) tile_bytes: u64,
    pub(crate) order: Order,
    /// Bytes of fast memory.
    pub(crate) capacity_bytes: u64,
    pub(crate) purpose: Purpose,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A trace.
    Trace,
    /// What operators move at least, without a trace.
    Groups,
    /// The operators themselves, of one layer or of all, without a trace.
    List(Option<u32>),
}

/// The order in which products walk over their tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each tile once.
    Once,
    /// Square tiles in the order of a dataflow.
    Dataflow(Dataflow),
    /// By the best mapping of each product.
    Mapped,
}

/// A way to cut a tensor: rows and columns of tiles, those of elements in a tile, and those of the first piece of a tile,
/// where it falls into pieces.
pub(super) type Cut = [u64; 6];

/// The cut of tensors that no mapping has cut.
pub(super) const WHOLE: Cut = [0; 6];

/// The tiles of a tensor: rows of tiles, one after the other in the table of tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileGrid {
    pub(super) first: u32,
    pub(super) rows: u64,
    pub(super) cols: u64,
}

impl TileGrid {
    pub(super) fn tiles(&self) -> std::ops::Range<u32> {
        // At most MAX_TILES.
        self.first..self.first + (self.rows * self.cols) as u32
    }

    pub(super) fn tile(&self, row: u64, col: u64) -> u32 {
        self.first + (row * self.cols + col) as u32
    }
}

/// An operand on the way of a dataflow.
#[derive(Clone, Copy)]
pub(super) struct Walked {
    pub(super) grid: TileGrid,
    pub(super) transposed: bool,
    /// The matrix that the product sees, as it is stored.
    pub(super) shape: Shape,
    /// The matrix that its tiles are cut from.
    pub(super) stored: Shape,
    /// Rows and columns of a tile.
    pub(super) side: u64,
}

impl Walked {
    /// Rows and columns of tiles that the product walks over.
    pub(super) fn tiles(&self) -> (u64, u64) {
        let (rows, cols) = (self.shape.rows.div_ceil(self.side), self.shape.cols.div_ceil(self.side));
        if self.transposed { (cols, rows) } else { (rows, cols) }
    }

    /// The tiles that the product needs at `row`, `col`.
    ///
    /// A convolution that reads its image directly sees more columns than are stored: the channels pass by once for
    /// each position of the filter. It sees other rows too: those of the image meet in proportion, and what filters
    /// overlap at the edges of a tile is left out.
    pub(super) fn at(&self, row: u64, col: u64) -> impl Iterator<Item = u32> + use<> {
        let (row, col) = if self.transposed { (col, row) } else { (row, col) };
        let Self { grid, stored, shape, side, .. } = *self;
        let rows = if shape.rows == stored.rows {
            row..row + 1
        } else {
            let all = shape.rows.div_ceil(side);
            let first = row * grid.rows / all;
            first..((row + 1) * grid.rows).div_ceil(all).max(first + 1).min(grid.rows)
        };
        let (cols, wrapped) = if shape.cols == stored.cols {
            (col..col + 1, 0..0)
        } else {
            let (start, length) = (col * side % stored.cols, side.min(shape.cols - col * side));
            let end = start + length;
            let first = start / side;
            if length >= stored.cols {
                (0..grid.cols, 0..0)
            } else if end <= stored.cols {
                (first..end.div_ceil(side), 0..0)
            } else {
                // Round to the first channels of the next position.
                (first..grid.cols, 0..(end - stored.cols).div_ceil(side).min(first))
            }
        };
        rows.flat_map(move |row| cols.clone().chain(wrapped.clone()).map(move |col| grid.tile(row, col)))
    }
}

pub(super) fn pairs(outer: u64, inner: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..outer).flat_map(move |o| (0..inner).map(move |i| (o, i)))
}
