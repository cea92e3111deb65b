//! Products that are walked over by their best mapping.
//!
//! Each step of the loop nest uses a tile of A, one of B and one of C, which fit fast memory together. Tiles are those of
//! the mapping: a tensor that two operators cut differently is an object for each, and what one of them leaves in fast
//! memory is of no use to the other. An image is cut into parts of its rows, so that patches that overlap share them.

use super::census::nest;
use super::step::{Operator, Product, Step};
use super::tiles::pairs;
use super::{Order, Planner};
use crate::error::Error;
use crate::order;
use crate::tiling::{Dataflow, Image, Mapping, Rows};
use crate::trace::Mode;
use crate::workload::dtype::product;

/// The most steps of a product. Each makes three accesses or more; tiles grow until they are enough.
const MOST_STEPS: u64 = 1 << 21;

/// The tiles of the rows of a product.
struct Bands {
    /// Elements of each line of A, for a column or channel: of a tile of a matrix, or a part of a row of an image.
    lines: Vec<u64>,
    /// The lines that each tile uses.
    used: Vec<Vec<u32>>,
    /// Rows of C in each tile.
    outputs: Vec<u64>,
}

impl Bands {
    fn of(rows: &Rows, mapping: &Mapping) -> Result<Self, Error> {
        let tiles =
            |whole: u64, tile: u64| (0..whole.div_ceil(tile)).map(move |at| (at * tile, (at * tile + tile).min(whole)));
        match rows {
            Rows::Matrix(m) => {
                let lines: Vec<u64> = tiles(*m, mapping.rows).map(|(from, to)| to - from).collect();
                Ok(Self {
                    used: (0..lines.len() as u32).map(|line| vec![line]).collect(),
                    outputs: lines.clone(),
                    lines,
                })
            }
            Rows::Image(Image { images, axes: [down, across] }) => {
                if down.size.max(across.size) > super::MAX_TILES as u64 {
                    return Err(too_long());
                }
                // A row of the image falls into parts where a tile begins or ends: what tiles beside each other share is a part.
                let ends = order::distinct(tiles(across.out, mapping.cols).flat_map(|(left, right)| {
                    let mut columns = across.used(left, right);
                    let first = columns.next();
                    [first, columns.last().or(first).map(|last| last + 1)].into_iter().flatten()
                }));
                let part = |column: u64| ends.partition_point(|end| *end <= column);
                // Elements of each part, and its place among those that have any.
                let mut sizes = vec![0; ends.len() + 1];
                across.used(0, across.out).for_each(|column| sizes[part(column)] += 1);
                let mut places = Vec::with_capacity(sizes.len());
                let mut parts = Vec::new();
                for size in sizes {
                    places.push(parts.len() as u64);
                    parts.extend((size > 0).then_some(size));
                }
                let rows: Vec<u64> = down.used(0, down.out).collect();
                let place = |row: u64| rows.partition_point(|other| *other < row) as u64;
                let (height, width) = (rows.len() as u64, parts.len() as u64);
                if product(&[*images, height, width])? > super::MAX_TILES as u64 {
                    return Err(too_long());
                }
                let (mut used, mut outputs) = (Vec::new(), Vec::new());
                for (first, last) in tiles(*images, mapping.images) {
                    for (left, right) in tiles(across.out, mapping.cols) {
                        let columns = order::distinct(across.used(left, right).map(|column| places[part(column)]));
                        for (top, bottom) in tiles(down.out, mapping.rows) {
                            let mut lines = Vec::new();
                            for image in first..last {
                                for row in down.used(top, bottom) {
                                    let row = (image * height + place(row)) * width;
                                    lines.extend(columns.iter().map(|part| (row + part) as u32));
                                }
                            }
                            used.push(lines);
                            outputs.push((last - first) * (right - left) * (bottom - top));
                        }
                    }
                }
                let lines = (0..images * height).flat_map(|_| parts.iter().copied()).collect();
                Ok(Self { lines, used, outputs })
            }
        }
    }
}

fn too_long() -> Error {
    Error::TooLarge {
        problem: format!("the images of a convolution fall into more than {} rows and parts of rows", super::MAX_TILES),
        cure: "Choose a larger capacity, or fewer or smaller images".into(),
    }
}

impl Planner {
    /// The mapping by which a product is walked over; none where it moves every operand once, or has no tiles to choose.
    pub(super) fn mapping(&mut self, step: &Step, operator: &Operator) -> Result<Option<Mapping>, Error> {
        if self.tiles.order != Order::Mapped || operator.grouped {
            return Ok(None);
        }
        let Some(nest) = nest(step, &self.stored, operator) else { return Ok(None) };
        if let Some(known) = self.mappings.get(&nest) {
            return Ok(*known);
        }
        let capacity_bytes = self.tiles.capacity_bytes;
        let best = nest.map(capacity_bytes, u64::MAX)?;
        let mapping = if best.moved_bytes == nest.compulsory_bytes() {
            None
        } else if best.steps <= MOST_STEPS {
            Some(best)
        } else {
            Some(nest.map(capacity_bytes, MOST_STEPS)?)
        };
        self.mappings.insert(nest, mapping);
        Ok(mapping)
    }

    /// A product, tile by tile.
    pub(super) fn walk_mapped(
        &mut self,
        step: &Step,
        operator: &Operator,
        product: &Product,
        mapping: &Mapping,
        mode: Mode,
        placed: &[Option<u32>],
    ) -> Result<(), Error> {
        let no_shape = || Error::Internal("a mapping of an operator without a shape".into());
        let nest = nest(step, &self.stored, operator).ok_or_else(no_shape)?;
        let bands = Bands::of(&nest.rows, mapping)?;
        let [a_bits, b_bits, c_bits] = nest.bits;
        let [rows, cols, depth] = [bands.outputs.len() as u64, nest.n.div_ceil(mapping.n), nest.k.div_ceil(mapping.k)];
        let n = |at: u64| mapping.n.min(nest.n - at * mapping.n);
        let k = |at: u64| mapping.k.min(nest.k - at * mapping.k);
        let bytes = |sides: &[u64]| self::product(sides).map(|bits| bits.div_ceil(8));

        let lines = &bands.lines;
        let cut = [lines.len() as u64, depth, lines.iter().copied().max().unwrap_or(1), mapping.k];
        let home = self.home(product.a, placed)?;
        let a = self.cut(home, cut, (cut[0], depth), |line, at| bytes(&[lines[line as usize], k(at), a_bits]))?;
        let taps = nest.taps();
        let home = self.home(product.b, placed)?;
        let cut = [depth, cols, mapping.k * taps, mapping.n];
        let b = self.cut(home, cut, (depth, cols), |at, col| bytes(&[k(at), taps, n(col), b_bits]))?;
        let outputs = &bands.outputs;
        let home = self.home(product.c, placed)?;
        let cut = [rows, cols, outputs.first().copied().unwrap_or(1), mapping.n];
        let c = self.cut(home, cut, (rows, cols), |row, col| bytes(&[outputs[row as usize], n(col), c_bits]))?;

        // What is summed up in parts is written whole at first, unless it held something before.
        let mut written = vec![false; outputs.len() * cols as usize];
        let (op, flops) = (operator.op, operator.flops / (rows as f64 * cols as f64 * depth as f64));
        let mut visit = |row: u64, col: u64, at: u64| {
            for line in &bands.used[row as usize] {
                self.access(a.tile(u64::from(*line), at), op, Mode::Read, 0.0)?;
            }
            self.access(b.tile(at, col), op, Mode::Read, flops)?;
            let before = std::mem::replace(&mut written[(row * cols + col) as usize], true);
            self.access(c.tile(row, col), op, if before { Mode::Update } else { mode }, 0.0)
        };
        for outer in 0..if mapping.dataflow == Dataflow::WeightStationary { cols } else { rows } {
            match mapping.dataflow {
                Dataflow::OutputStationary => {
                    pairs(cols, depth).try_for_each(|(col, at)| visit(outer, col, at))?;
                }
                Dataflow::InputStationary => {
                    pairs(depth, cols).try_for_each(|(at, col)| visit(outer, col, at))?;
                }
                Dataflow::WeightStationary => {
                    pairs(depth, rows).try_for_each(|(at, row)| visit(row, outer, at))?;
                }
            }
        }
        Ok(())
    }
}
