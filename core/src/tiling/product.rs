//! Matrix products and convolutions: C = A x B, tile by tile.
//!
//! Three tiles are in fast memory at once, one of each operand. A tile stays while the loops inside do not change it, so
//! an operand is moved once for each round of a loop that does not concern it and has such a loop inside. What the tiles
//! leave free keeps elements of the operands that are moved most often. Partial sums are read again and written again.

use serde::{Deserialize, Serialize};

use super::axis::Axis;
use super::{Dataflow, Least, MOST_SIDE, bits_of, bound, bytes, cuts, too_small};
use crate::check::check_range;
use crate::error::Error;
use crate::order;

/// A batch of products of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Product {
    /// Products that share nothing: heads, or groups of a convolution.
    pub batch: u64,
    /// Rows of A and C.
    pub rows: Rows,
    /// Columns of B and C, or filters.
    pub n: u64,
    /// Columns of A and rows of B, or channels of the image.
    pub k: u64,
    /// Bits of an element of A, B and C.
    pub bits: [u64; 3],
}

/// What the rows of A are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Rows of a matrix.
    Matrix(u64),
    /// Positions of a filter in images.
    Image(Image),
}

/// Images, and how a filter moves over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Image {
    /// Images.
    pub images: u64,
    /// Rows, then columns.
    pub axes: [Axis; 2],
}

impl Image {
    /// Elements of a filter, for each channel.
    pub(crate) fn taps(&self) -> u64 {
        let [rows, cols] = self.axes;
        rows.filter * cols.filter
    }

    /// Positions of the filter; none beyond 64 bits.
    pub(crate) fn outputs(&self) -> Option<u64> {
        self.axes.iter().try_fold(self.images, |all, axis| all.checked_mul(axis.out))
    }

    /// Elements of a channel; none beyond 64 bits.
    pub(crate) fn inputs(&self) -> Option<u64> {
        self.axes.iter().try_fold(self.images, |all, axis| all.checked_mul(axis.size))
    }
}

/// A schedule of a [`Product`] and what it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The operand whose tile stays longest: the innermost loop does not concern it.
    pub dataflow: Dataflow,
    /// Images of a tile; 1 where A is a matrix.
    pub images: u64,
    /// Rows of a tile: of the matrix, or of the output image.
    pub rows: u64,
    /// Columns of the output image in a tile; 1 where A is a matrix.
    pub cols: u64,
    /// Columns of B and C, or filters, of a tile.
    pub n: u64,
    /// Columns of A, or channels, of a tile.
    pub k: u64,
    /// Bytes of A, B and C that stay in fast memory beside the tiles.
    pub kept_bytes: [u64; 3],
    /// Tiles of the loop nest: products of a tile of A and one of B.
    pub steps: u64,
    /// Bytes moved, of all products of the batch.
    pub moved_bytes: u64,
}

/// A way to cut the rows.
#[derive(Debug, Clone, Copy)]
struct Band {
    images: u64,
    rows: u64,
    cols: u64,
    /// Tiles.
    tiles: u64,
    /// Rows of C in a tile.
    outputs: u64,
    /// Elements of A in a tile, for each column or channel.
    inputs: u64,
    /// Elements of A that are moved when each tile is moved once, for each column or channel.
    moved: u128,
    /// The same where each tile follows the one above it and keeps what the two share.
    slid: u128,
}

/// The mapping so far, with the bits that it moves.
struct Best {
    mapping: Option<Mapping>,
    bits: u128,
}

impl Product {
    /// The product of a matrix of `m` rows and `k` columns and one of `n` columns, all of elements of `bits` bits.
    pub fn matrix(m: u64, n: u64, k: u64, bits: u64) -> Self {
        Self { batch: 1, rows: Rows::Matrix(m), n, k, bits: [bits; 3] }
    }

    /// Fails where a side is out of range, or an operand has more than 2^61 bytes.
    pub fn check(&self) -> Result<(), Error> {
        for (name, side) in [("batch", self.batch), ("n", self.n), ("k", self.k)] {
            check_range(name, side, 1..=MOST_SIDE)?;
        }
        self.bits.into_iter().try_for_each(|bits| check_range("bits", bits, 1..=64))?;
        match &self.rows {
            Rows::Matrix(m) => check_range("m", *m, 1..=MOST_SIDE)?,
            Rows::Image(image) => {
                check_range("images", image.images, 1..=MOST_SIDE)?;
                image.axes.iter().try_for_each(Axis::check)?;
                let [rows, cols] = image.axes;
                bits_of("the filters", &[rows.filter, cols.filter, self.n, self.k, self.bits[1], self.batch])?;
                bits_of("the output", &[rows.out, cols.out, image.images, self.n, self.bits[2], self.batch])?;
                bits_of("the image", &[rows.size, cols.size, image.images, self.k, self.bits[0], self.batch])?;
                return Ok(());
            }
        }
        let m = self.outputs();
        bits_of("A", &[m, self.k, self.bits[0], self.batch])?;
        bits_of("B", &[self.k, self.n, self.bits[1], self.batch])?;
        bits_of("C", &[m, self.n, self.bits[2], self.batch])?;
        Ok(())
    }

    /// Elements of a filter, for each channel.
    pub(crate) fn taps(&self) -> u64 {
        match &self.rows {
            Rows::Matrix(_) => 1,
            Rows::Image(image) => image.taps(),
        }
    }

    /// Rows of C.
    fn outputs(&self) -> u64 {
        match &self.rows {
            Rows::Matrix(m) => *m,
            // Checked to fit.
            Rows::Image(image) => image.outputs().unwrap_or(u64::MAX),
        }
    }

    /// Elements of A, B and C that are used, for each product of the batch.
    fn elements(&self) -> [u128; 3] {
        let wide = u128::from;
        let inputs = match &self.rows {
            Rows::Matrix(m) => wide(*m),
            Rows::Image(Image { images, axes }) => {
                axes.iter().fold(wide(*images), |all, axis| all * wide(axis.inputs(0, axis.out)))
            }
        };
        let (n, k) = (wide(self.n), wide(self.k));
        [inputs * k, k * n * wide(self.taps()), wide(self.outputs()) * n]
    }

    /// Bits of A, B and C that are used, for each product of the batch.
    fn compulsory(&self) -> u128 {
        self.elements().iter().zip(self.bits).map(|(elements, bits)| elements * u128::from(bits)).sum()
    }

    /// Bytes of all operands, each moved once.
    pub fn compulsory_bytes(&self) -> u64 {
        bytes(self.compulsory() * u128::from(self.batch))
    }

    /// Bytes that no schedule goes below with `capacity_bytes` of fast memory.
    pub fn bound_bytes(&self, capacity_bytes: u64) -> Result<u64, Error> {
        self.check()?;
        Ok(bytes(self.bound(capacity_bytes)).max(self.compulsory_bytes()))
    }

    /// The least bytes it moves through `capacity_bytes` of fast memory. Fails where not even tiles of one element fit.
    pub fn least(&self, capacity_bytes: u64) -> Result<Least, Error> {
        let attained_bytes = self.map(capacity_bytes, u64::MAX)?.moved_bytes;
        let bound_bytes = self.bound_bytes(capacity_bytes)?;
        Ok(Least { compulsory_bytes: self.compulsory_bytes(), bound_bytes, attained_bytes })
    }

    /// Bits that no schedule goes below.
    fn bound(&self, capacity_bytes: u64) -> u128 {
        // Rows of C times elements of A that each is made of, for each column or channel, and how often one shows.
        let (uses, reuse) = match &self.rows {
            Rows::Matrix(m) => (*m as f64, 1.0),
            Rows::Image(Image { images, axes }) => axes.iter().fold((*images as f64, 1.0), |(uses, reuse), axis| {
                // Padding is multiplied with nothing.
                (uses * axis.tiles(1).1 as f64, reuse * axis.reuse() as f64)
            }),
        };
        let macs = self.batch as f64 * uses * self.n as f64 * self.k as f64;
        bound::product(macs, self.bits, reuse, 8.0 * capacity_bytes as f64)
    }

    /// The best mapping of at most `most_steps` steps found. Without that limit, the search is complete where no side is
    /// longer than 2^18, up to tiles that hold what others keep.
    pub fn map(&self, capacity_bytes: u64, most_steps: u64) -> Result<Mapping, Error> {
        self.check()?;
        let elements = self.elements();
        let search = Search {
            of: *self,
            elements,
            capacity: u128::from(capacity_bytes) * 8,
            compulsory: self.compulsory(),
            most_steps,
        };
        let bands = self.bands();
        let mut best = Best { mapping: None, bits: u128::MAX };
        search.output_stationary(&bands, &mut best);
        search.input_stationary(&bands, &mut best);
        search.weight_stationary(&bands, &mut best);
        best.mapping.ok_or_else(|| {
            let least = bands.iter().map(|band| search.footprint(band, 1, 1)).min().unwrap_or(u128::MAX);
            if least <= search.capacity {
                let problem = format!(
                    "with {capacity_bytes} bytes of fast memory a product falls into more than {most_steps} steps"
                );
                return Error::TooLarge {
                    problem,
                    cure: "Choose a larger capacity, or count its traffic without a trace".into(),
                };
            }
            too_small(capacity_bytes, least)
        })
    }

    /// The ways to cut the rows.
    fn bands(&self) -> Vec<Band> {
        let wide = u128::from;
        match &self.rows {
            Rows::Matrix(m) => {
                let band = |rows: u64| {
                    let (tiles, moved) = (m.div_ceil(rows), wide(*m));
                    Band { images: 1, rows, cols: 1, tiles, outputs: rows, inputs: rows, moved, slid: moved }
                };
                cuts(*m).into_iter().map(band).collect()
            }
            Rows::Image(Image { images, axes: [down, across] }) => {
                let cut = |axis: &Axis| -> Vec<(u64, (u64, u128))> {
                    thin(cuts(axis.out)).into_iter().map(|size| (size, axis.tiles(size))).collect()
                };
                let whole = wide(down.inputs(0, down.out));
                let mut bands = Vec::new();
                for (rows, (high, all_down)) in cut(down) {
                    for (cols, (wide_as, all_across)) in cut(across) {
                        bands.push(Band {
                            images: 1,
                            rows,
                            cols,
                            tiles: down
                                .out
                                .div_ceil(rows)
                                .saturating_mul(across.out.div_ceil(cols))
                                .saturating_mul(*images),
                            outputs: rows * cols,
                            inputs: high.saturating_mul(wide_as),
                            moved: all_down * all_across * wide(*images),
                            slid: whole * all_across * wide(*images),
                        });
                    }
                }
                let (outputs, inputs) = (down.out * across.out, whole * wide(across.inputs(0, across.out)));
                for together in cuts(*images).into_iter().filter(|together| *together > 1) {
                    bands.push(Band {
                        images: together,
                        rows: down.out,
                        cols: across.out,
                        tiles: images.div_ceil(together),
                        outputs: outputs * together,
                        inputs: (inputs as u64).saturating_mul(together),
                        moved: inputs * wide(*images),
                        slid: inputs * wide(*images),
                    });
                }
                bands
            }
        }
    }
}

/// At most 64 of the sizes, evenly chosen; first and last among them.
fn thin(sizes: Vec<u64>) -> Vec<u64> {
    const MOST: usize = 64;
    if sizes.len() <= MOST {
        return sizes;
    }
    let last = sizes.len() - 1;
    (0..MOST).map(|at| sizes[at * last / (MOST - 1)]).collect()
}

/// The loops of a nest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loop {
    Rows,
    N,
    K,
}

/// Outermost first; the last does not concern the operand that stays.
fn order(dataflow: Dataflow) -> [Loop; 3] {
    match dataflow {
        Dataflow::OutputStationary => [Loop::Rows, Loop::N, Loop::K],
        Dataflow::InputStationary => [Loop::Rows, Loop::K, Loop::N],
        Dataflow::WeightStationary => [Loop::N, Loop::K, Loop::Rows],
    }
}

struct Search {
    of: Product,
    /// Elements of A, B and C that are used, for each product of the batch, and their bits.
    elements: [u128; 3],
    compulsory: u128,
    /// Bits of fast memory.
    capacity: u128,
    most_steps: u64,
}

impl Search {
    /// Bits of the three tiles.
    fn footprint(&self, band: &Band, n: u64, k: u64) -> u128 {
        let wide = u128::from;
        let [a, b, c] = self.of.bits.map(wide);
        let (n, k) = (wide(n), wide(k));
        wide(band.inputs) * k * a + k * n * wide(self.of.taps()) * b + wide(band.outputs) * n * c
    }

    /// The largest tile of a side that fits, where tiles of `size` take `of(size)` bits.
    fn fitting<'a>(&self, sizes: &'a [u64], of: impl Fn(u64) -> u128) -> &'a [u64] {
        &sizes[sizes.partition_point(|size| of(*size) > self.capacity)..]
    }

    /// Steps of the whole batch.
    fn steps(&self, tiles: u64, n: u64, k: u64) -> u64 {
        let of_one = tiles.saturating_mul(self.of.n.div_ceil(n)).saturating_mul(self.of.k.div_ceil(k));
        of_one.saturating_mul(self.of.batch)
    }

    /// The smallest tile of a side of `whole` elements that keeps the limit on steps, where the other loops take `others`.
    fn innermost(&self, whole: u64, others: u64) -> Option<u64> {
        let tiles = (self.most_steps / others.max(1)).min(whole);
        (tiles > 0).then(|| whole.div_ceil(tiles))
    }

    /// Bits that are moved beside the compulsory ones at least, where the tiles of A, B and C (0, 1, 2) go round `rounds`
    /// times: all but what fits is moved in every round.
    fn further(&self, operand: usize, rounds: u64) -> u128 {
        let size = self.elements[operand] * u128::from(self.of.bits[operand]);
        let times = u128::from(rounds - 1) * if operand == 2 { 2 } else { 1 };
        size.saturating_sub(self.capacity) * times
    }

    /// Whether so much beside the compulsory bits is no less than what was found. With few steps a loop may have one round
    /// where there could be many: then a search ends where nothing is moved twice.
    fn hopeless(&self, further: u128, best: &Best) -> bool {
        let further = if self.most_steps == u64::MAX { further } else { 0 };
        (self.compulsory + further) * u128::from(self.of.batch) >= best.bits
    }

    /// C stays: of K as little as possible at a time.
    fn output_stationary(&self, bands: &[Band], best: &mut Best) {
        let sizes = cuts(self.of.n);
        // Without a loop over K, A or B stays.
        let inside = self.of.k > 1;
        for band in bands {
            let of_b = if inside { self.further(1, band.tiles) } else { 0 };
            for n in self.fitting(&sizes, |n| self.footprint(band, n, 1)) {
                let of_a = if inside { self.further(0, self.of.n.div_ceil(*n)) } else { 0 };
                if self.hopeless(of_a + of_b, best) {
                    break;
                }
                let Some(k) = self.innermost(self.of.k, self.steps(band.tiles, *n, self.of.k)) else { break };
                self.weigh(Dataflow::OutputStationary, band, *n, k, best);
            }
        }
    }

    /// A stays: of N as little as possible at a time.
    fn input_stationary(&self, bands: &[Band], best: &mut Best) {
        let sizes = cuts(self.of.k);
        let inside = self.of.n > 1;
        for band in bands {
            let of_b = if inside { self.further(1, band.tiles) } else { 0 };
            for k in self.fitting(&sizes, |k| self.footprint(band, 1, k)) {
                let of_c = if inside { self.further(2, self.of.k.div_ceil(*k)) } else { 0 };
                if self.hopeless(of_b + of_c, best) {
                    break;
                }
                let Some(n) = self.innermost(self.of.n, self.steps(band.tiles, self.of.n, *k)) else { break };
                self.weigh(Dataflow::InputStationary, band, n, *k, best);
            }
        }
    }

    /// B stays: of the rows as little as possible at a time.
    fn weight_stationary(&self, bands: &[Band], best: &mut Best) {
        // Of the ways to cut the rows, those that are not larger than one that moves no more in no more tiles.
        let narrow = order::by_two_keys(&bands.iter().map(|band| (band.outputs, band.inputs)).collect::<Vec<_>>());
        let mut kept: Vec<&Band> = Vec::new();
        for band in narrow.into_iter().map(|index| &bands[index as usize]) {
            let better = |other: &&Band| {
                other.inputs <= band.inputs
                    && other.slid <= band.slid
                    && (other.tiles <= band.tiles || self.most_steps == u64::MAX)
            };
            if !kept.iter().any(better) {
                kept.push(band);
            }
        }
        let (columns, depths) = (cuts(self.of.n), cuts(self.of.k));
        for band in kept {
            let inside = band.tiles > 1;
            for n in self.fitting(&columns, |n| self.footprint(band, n, 1)) {
                let of_a = if inside { self.further(0, self.of.n.div_ceil(*n)) } else { 0 };
                for k in self.fitting(&depths, |k| self.footprint(band, *n, k)) {
                    let of_c = if inside { self.further(2, self.of.k.div_ceil(*k)) } else { 0 };
                    if self.hopeless(of_a + of_c, best) || self.steps(band.tiles, *n, *k) > self.most_steps {
                        break;
                    }
                    self.weigh(Dataflow::WeightStationary, band, *n, *k, best);
                }
            }
        }
    }

    /// Notes a mapping that moves less than all before.
    fn weigh(&self, dataflow: Dataflow, band: &Band, n: u64, k: u64, best: &mut Best) {
        let wide = u128::from;
        let footprint = self.footprint(band, n, k);
        let steps = self.steps(band.tiles, n, k);
        if footprint > self.capacity || steps > self.most_steps {
            return;
        }
        let order = order(dataflow);
        let tiles = [band.tiles, self.of.n.div_ceil(n), self.of.k.div_ceil(k)];
        let tiles_of = |of: Loop| tiles[of as usize];
        // How often an operand is moved that `of` does not concern: once a round, if a loop inside changes its tile.
        let rounds = |of: Loop| {
            let inside = order.iter().skip_while(|other| **other != of).skip(1);
            if inside.into_iter().any(|other| tiles_of(*other) > 1) { tiles_of(of) } else { 1 }
        };
        let sweeps = [rounds(Loop::N), rounds(Loop::Rows), rounds(Loop::K)];
        let elements = self.elements;
        let bits = self.of.bits.map(wide);
        // A tile of the image keeps what it shares with the one above where no other tile comes between.
        let slides = match dataflow {
            Dataflow::WeightStationary => true,
            Dataflow::InputStationary => tiles_of(Loop::K) == 1,
            Dataflow::OutputStationary => false,
        };
        let sweep = if slides { band.slid } else { band.moved } * wide(self.of.k);
        // Further rounds: one transfer for each element of A and B, two for partial sums.
        let mut further = [0, 1, 2].map(|i| wide(sweeps[i] - 1) * if i == 2 { 2 } else { 1 });
        let mut moved = sweep * bits[0] * wide(sweeps[0]);
        moved += elements[1] * bits[1] * wide(sweeps[1]) + elements[2] * bits[2] * (1 + further[2]);
        // What is free keeps what is moved most often.
        let mut free = self.capacity - footprint;
        let mut kept = [0; 3];
        for _ in 0..3 {
            let most = (0..3).max_by_key(|i| further[*i]).unwrap_or(0);
            if further[most] == 0 {
                break;
            }
            kept[most] = (free / bits[most]).min(elements[most]) * bits[most];
            moved -= kept[most] * further[most];
            free -= kept[most];
            further[most] = 0;
        }
        let moved = moved * wide(self.of.batch);
        if moved < best.bits {
            best.bits = moved;
            best.mapping = Some(Mapping {
                dataflow,
                images: band.images,
                rows: band.rows,
                cols: band.cols,
                n,
                k,
                kept_bytes: kept.map(bytes),
                steps,
                moved_bytes: bytes(moved),
            });
        }
    }
}
