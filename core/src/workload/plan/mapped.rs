//! Products that are walked over by their best mapping.
//!
//! Each step of the loop nest uses a tile of A, one of B and one of C, which fit fast memory together. Tiles are those
//! of the mapping, in two pieces along a side that has a hole: a tensor that two operators cut differently is an
//! object for each, and what one of them leaves in fast memory is of no use to the other. An image is cut into parts
//! of its rows, so that patches that overlap share them.

use super::nest::nest;
use super::step::{Operator, Product, Step};
use super::tiles::pairs;
use super::{Order, Planner};
use crate::error::Error;
use crate::order;
use crate::tiling::{Image, Mapping, Rows};
use crate::trace::Mode;
use crate::workload::dtype::product;

/// The most steps of a product. Each makes three accesses or more; tiles grow until they are enough.
const MOST_STEPS: u64 = 1 << 21;

/// The pieces of a side: their elements, and those that belong to each tile.
struct Pieces {
    sizes: Vec<u64>,
    of_tile: Vec<Vec<u32>>,
}

impl Pieces {
    /// A side of `whole` elements in tiles of `tile`, the first `hole` of which are a piece of their own.
    fn of(whole: u64, tile: u64, hole: u64) -> Self {
        let mut pieces = Self { sizes: Vec::new(), of_tile: Vec::new() };
        for (from, to) in tiles(whole, tile) {
            let at = from + hole.min(to - from);
            let sizes = [at - from, to - at].into_iter().filter(|size| *size > 0);
            let first = pieces.sizes.len() as u32;
            pieces.sizes.extend(sizes);
            pieces.of_tile.push((first..pieces.sizes.len() as u32).collect());
        }
        pieces
    }
}

fn tiles(whole: u64, tile: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..whole.div_ceil(tile)).map(move |at| (at * tile, (at * tile + tile).min(whole)))
}

/// The tiles of the rows of a product.
struct Bands {
    /// Elements of each line of A, for a column or channel: of a piece of a matrix, or a part of a row of an image; and the
    /// lines that each tile uses.
    lines: Pieces,
    /// Rows of C.
    outputs: Pieces,
}

impl Bands {
    fn of(rows: &Rows, mapping: &Mapping) -> Result<Self, Error> {
        match rows {
            Rows::Matrix(m) => {
                let [lines, outputs] = [0; 2].map(|_| Pieces::of(*m, mapping.rows, mapping.hole[0]));
                Ok(Self { lines, outputs })
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
                let (mut of_tile, mut outputs) = (Vec::new(), Pieces { sizes: Vec::new(), of_tile: Vec::new() });
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
                            outputs.of_tile.push(vec![outputs.sizes.len() as u32]);
                            outputs.sizes.push((last - first) * (right - left) * (bottom - top));
                            of_tile.push(lines);
                        }
                    }
                }
                let sizes = (0..images * height).flat_map(|_| parts.iter().copied()).collect();
                Ok(Self { lines: Pieces { sizes, of_tile }, outputs })
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
        if self.tiles.order != Order::Mapped {
            return Ok(None);
        }
        let Some(nest) = nest(step, &self.stored, operator) else { return Ok(None) };
        if let Some(known) = self.mappings.get(&nest) {
            return Ok(*known);
        }
        let capacity_bytes = self.tiles.capacity_bytes;
        let best = nest.map_tiles(capacity_bytes, u64::MAX)?;
        let mapping = if best.moved_bytes == nest.compulsory_bytes() {
            None
        } else if best.steps <= MOST_STEPS {
            Some(best)
        } else {
            Some(nest.map_tiles(capacity_bytes, MOST_STEPS)?)
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
        let Bands { lines, outputs } = Bands::of(&nest.rows, mapping)?;
        let [_, hole_n, hole_k] = mapping.hole;
        let sides = [&outputs, &Pieces::of(nest.n, mapping.n, hole_n), &Pieces::of(nest.k, mapping.k, hole_k), &lines];
        let counts = [0, 1, 2].map(|side| sides[side].of_tile.len());
        let largest = |side: usize| match side {
            1 => mapping.n,
            2 => mapping.k,
            _ => sides[side].sizes.iter().copied().max().unwrap_or(1),
        };
        // Sides of A, B and C, and the one that does not concern them.
        let mut operands = Vec::new();
        let taps = nest.taps();
        let values = product.filtering.map_or([product.a, product.b, product.c], |of| of.operands);
        let shapes = [([3, 2], 1, nest.bits[0]), ([2, 1], 0, taps * nest.bits[1]), ([0, 1], 2, nest.bits[2])];
        for (value, ([first, second], apart, bits)) in values.into_iter().zip(shapes) {
            let home = self.home(value, placed)?;
            let (rows, cols) = (&sides[first].sizes, &sides[second].sizes);
            // The pieces of one group beside those of the next.
            let [high, wide] = [rows.len() as u64, nest.batch * cols.len() as u64];
            let height = if apart == 0 { largest(first) * taps } else { largest(first) };
            let cut = [high, wide, height, largest(second), mapping.hole[first % 3], mapping.hole[second]];
            let grid = self.cut(home, cut, (high, wide), |row, col| {
                let cols = cols[col as usize % cols.len()];
                self::product(&[rows[row as usize], cols, bits]).map(|bits| bits.div_ceil(8))
            })?;
            operands.push((grid, [first, second], apart));
        }

        // What is summed up in parts is written whole at first, unless it held something before.
        let (sums, _, _) = operands[nest.sum];
        let mut written = vec![false; (sums.rows * sums.cols) as usize];
        let size = |side: usize, piece: u32| sides[side].sizes[piece as usize] as f64;
        let whole = |side: usize| sides[side].sizes.iter().map(|size| *size as f64).sum::<f64>();
        let flops_of_one = operator.flops / (nest.batch as f64 * whole(0) * whole(1) * whole(2));
        let [outer, inner, innermost] = mapping.order();
        let holed = mapping.hole != [0; 3];
        let mut visit = |group: u64, at: [&[u32]; 4], at_the_end: bool| {
            let rows: f64 = at[0].iter().map(|row| size(0, *row)).sum();
            for (operand, (grid, [first, second], apart)) in operands.iter().enumerate() {
                for (i, j) in pairs(at[*first].len() as u64, at[*second].len() as u64) {
                    let (row, col) = (at[*first][i as usize], at[*second][j as usize]);
                    let skips = holed && !at_the_end;
                    if skips && *apart == innermost && (i, j) == (0, 0) {
                        continue;
                    }
                    let tile = grid.tile(row.into(), group * sides[*second].sizes.len() as u64 + u64::from(col));
                    // B meets all rows but those of a hole.
                    let flops = if *apart == 0 {
                        let hole = skips && (innermost == 1 && i == 0 || innermost == 2 && j == 0);
                        let rows = if hole { rows - size(0, at[0][0]) } else { rows };
                        flops_of_one * size(2, row) * size(1, col) * rows
                    } else {
                        0.0
                    };
                    let mode = if operand != nest.sum {
                        Mode::Read
                    } else if std::mem::replace(&mut written[(tile - grid.first) as usize], true) {
                        Mode::Update
                    } else {
                        mode
                    };
                    self.access(tile, operator.op, mode, flops)?;
                }
            }
            Ok::<_, Error>(())
        };
        let ways = |count: usize, back: bool| (0..count).map(move |at| if back { count - 1 - at } else { at });
        let mut at = [0; 3];
        let mut rounds = 0;
        for (group, first) in pairs(nest.batch, counts[outer] as u64) {
            for second in ways(counts[inner], first % 2 == 1) {
                for third in ways(counts[innermost], rounds % 2 == 1) {
                    (at[outer], at[inner], at[innermost]) = (first as usize, second, third);
                    visit(group, [0, 1, 2, 3].map(|side| &sides[side].of_tile[at[side % 3]][..]), false)?;
                }
                rounds += 1;
            }
        }
        if holed {
            let holes = |side: usize| sides[side].of_tile.iter().map(|pieces| pieces[0]).collect::<Vec<_>>();
            let holes = [holes(0), holes(1), holes(2)];
            for third in 0..counts[innermost] {
                let of = |side: usize| {
                    if side % 3 == innermost { &sides[side].of_tile[third][..] } else { &holes[side % 3][..] }
                };
                visit(0, [of(0), of(1), of(2), of(3)], true)?;
            }
        }
        Ok(())
    }
}
