//! Matrix products and convolutions: C = A x B, tile by tile.
//!
//! Three tiles are in fast memory at once, one of each operand. One of them stays while the innermost loop passes by the
//! tiles of the other two. Every round of an inner loop goes the other way than the one before, so what was used last is
//! used first; what the tiles leave free keeps more of it. Partial sums are read again and written again.
//!
//! Where the tile that stays is a little too large for the memory, a corner of it is left out, its *hole*; the products of
//! all holes follow at the end. They need few rows and columns, where smaller tiles would need a whole round more.

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
    /// Which of A, B and C is summed up (0, 1, 2): C, but in the backward pass of a convolution the image or the filters.
    pub sum: usize,
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
    /// Rows, columns and depth of what the tile that stays leaves for the end, along two of these sides; 0 where it is whole.
    pub hole: [u64; 3],
    /// Tiles of the loop nest: products of a tile of A and one of B.
    pub steps: u64,
    /// Bytes moved, of all products of the batch.
    pub moved_bytes: u64,
}

impl Mapping {
    /// The loops over rows, columns and depth (0, 1, 2), outermost first.
    pub(crate) fn order(&self) -> [usize; 3] {
        order(self.dataflow).map(|of| of as usize)
    }
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
        Self { batch: 1, rows: Rows::Matrix(m), n, k, bits: [bits; 3], sum: 2 }
    }

    /// Fails where a side is out of range, or an operand has more than 2^61 bytes.
    pub fn check(&self) -> Result<(), Error> {
        for (name, side) in [("batch", self.batch), ("n", self.n), ("k", self.k)] {
            check_range(name, side, 1..=MOST_SIDE)?;
        }
        self.bits.into_iter().try_for_each(|bits| check_range("bits", bits, 1..=64))?;
        check_range("sum", self.sum, 0..=2)?;
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
    pub(crate) fn outputs(&self) -> u64 {
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
        let (attained_bytes, _) = self.parts(capacity_bytes)?;
        let bound_bytes = self.bound_bytes(capacity_bytes)?;
        Ok(Least { compulsory_bytes: self.compulsory_bytes(), bound_bytes, attained_bytes })
    }

    /// The bytes that the best way found moves: by one mapping, or by one for each of two parts of a side.
    pub fn parts(&self, capacity_bytes: u64) -> Result<(u64, Vec<Mapping>), Error> {
        /// Places where a side is cut in two.
        const PLACES: u64 = 32;
        /// Memories of this share of the smallest operand are small: a tile more or less makes little difference.
        const FEW_TILES: u64 = 16;
        /// A search for each part of longer sides would take seconds.
        const LONGEST: u64 = 1 << 17;
        let whole = self.map(capacity_bytes)?;
        let mut best = (whole.moved_bytes, vec![whole]);
        let sizes = self.elements().map(|elements| elements * u128::from(self.bits.into_iter().min().unwrap_or(1)));
        let (Rows::Matrix(m), Some(smallest)) = (self.rows, sizes.into_iter().min()) else { return Ok(best) };
        if bytes(smallest) / FEW_TILES > capacity_bytes || m.max(self.n).max(self.k) > LONGEST {
            return Ok(best);
        }
        for (side, length) in [m, self.n, self.k].into_iter().enumerate() {
            for place in 1..PLACES {
                let at = length / PLACES * place + length % PLACES * place / PLACES;
                let of = |length: u64| match side {
                    0 => Self { rows: Rows::Matrix(length), ..*self },
                    1 => Self { n: length, ..*self },
                    _ => Self { k: length, ..*self },
                };
                let parts = [of(at), of(length - at)];
                // The second part reads the sums of the first.
                let sums = u128::from(self.batch) * u128::from(m) * u128::from(self.n) * u128::from(self.bits[2]);
                let sums = if side == 2 { bytes(sums) } else { 0 };
                if at == 0 || best.0 <= parts.iter().map(Self::compulsory_bytes).fold(sums, u64::saturating_add) {
                    continue;
                }
                let [one, other] = parts;
                let [one, other] = [one.map(capacity_bytes)?, other.map(capacity_bytes)?];
                let moved = one.moved_bytes.saturating_add(other.moved_bytes).saturating_add(sums);
                if moved < best.0 {
                    best = (moved, vec![one, other]);
                }
            }
        }
        Ok(best)
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
        let macs = uses * self.n as f64 * self.k as f64;
        let elements = self.elements();
        let sizes = [0, 1, 2].map(|i| elements[i] as f64 * self.bits[i] as f64);
        let boxed =
            Some(elements[0]) == u128::from(self.outputs()).checked_mul(u128::from(self.taps()) * u128::from(self.k));
        let of_one = bound::product(macs, self.bits, sizes, reuse, boxed, 8.0 * capacity_bytes as f64);
        of_one.saturating_mul(u128::from(self.batch))
    }

    /// The best mapping found. The search is complete where no side is longer than 2^18, up to tiles that hold what others
    /// keep.
    pub fn map(&self, capacity_bytes: u64) -> Result<Mapping, Error> {
        self.search(capacity_bytes, u64::MAX, true)
    }

    /// The best mapping of at most `most_steps` steps found that keeps nothing but its tiles: what a replacement policy makes
    /// of the rest of the memory is not known.
    pub fn map_tiles(&self, capacity_bytes: u64, most_steps: u64) -> Result<Mapping, Error> {
        self.search(capacity_bytes, most_steps, false)
    }

    fn search(&self, capacity_bytes: u64, most_steps: u64, keeps: bool) -> Result<Mapping, Error> {
        self.check()?;
        let elements = self.elements();
        let search = Search {
            of: *self,
            elements,
            capacity: u128::from(capacity_bytes) * 8,
            compulsory: self.compulsory(),
            most_steps,
            keeps,
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

impl Loop {
    /// The operand that it does not concern: A, B or C.
    fn apart(self) -> usize {
        match self {
            Self::Rows => 1,
            Self::N => 0,
            Self::K => 2,
        }
    }
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
    /// Whether what the tiles leave free keeps something.
    keeps: bool,
}

impl Search {
    /// Bits of the three tiles.
    fn footprint(&self, band: &Band, n: u64, k: u64) -> u128 {
        let wide = u128::from;
        let [a, b, c] = self.of.bits.map(wide);
        let (n, k) = (wide(n), wide(k));
        wide(band.inputs) * k * a + k * n * wide(self.of.taps()) * b + wide(band.outputs) * n * c
    }

    /// The tiles of a side that fit, where tiles of `size` take `of(size)` bits, and the next larger one, which may have a
    /// hole; largest first.
    fn fitting<'a>(&self, sizes: &'a [u64], of: impl Fn(u64) -> u128) -> &'a [u64] {
        let fits = sizes.partition_point(|size| of(*size) > self.capacity);
        &sizes[fits.saturating_sub(1)..]
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
    /// times: all but what fits of each `panel`, which comes back at once.
    fn further(&self, operand: usize, rounds: u64, panel: u128) -> u128 {
        let size = self.size(operand);
        size.saturating_mul(panel.saturating_sub(self.capacity)) / panel.max(1)
            * u128::from(rounds - 1)
            * self.transfers(operand)
    }

    /// Transfers of an element in each further round: partial sums come and go.
    fn transfers(&self, operand: usize) -> u128 {
        if operand == self.of.sum { 2 } else { 1 }
    }

    /// Bits of A, B or C.
    fn size(&self, operand: usize) -> u128 {
        self.elements[operand] * u128::from(self.of.bits[operand])
    }

    /// Whether so much beside the compulsory bits is no less than what was found.
    fn hopeless(&self, further: u128, best: &Best) -> bool {
        (self.compulsory + further) * u128::from(self.of.batch) >= best.bits
    }

    /// C stays: of K as little as possible at a time.
    fn output_stationary(&self, bands: &[Band], best: &mut Best) {
        let sizes = cuts(self.of.n);
        for band in bands {
            let of_b = self.further(1, band.tiles, self.size(1));
            let panel = u128::from(band.inputs) * u128::from(self.of.k) * u128::from(self.of.bits[0]);
            for n in self.fitting(&sizes, |n| self.footprint(band, n, 1)) {
                let of_a = self.further(0, self.of.n.div_ceil(*n), panel);
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
        for band in bands {
            let of_b = self.further(1, band.tiles, self.size(1));
            let panel = u128::from(band.outputs) * u128::from(self.of.n) * u128::from(self.of.bits[2]);
            for k in self.fitting(&sizes, |k| self.footprint(band, 1, k)) {
                let of_c = self.further(2, self.of.k.div_ceil(*k), panel);
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
            for n in self.fitting(&columns, |n| self.footprint(band, n, 1)) {
                let of_a = self.further(0, self.of.n.div_ceil(*n), self.size(0));
                let panel = u128::from(self.of.outputs()) * u128::from(*n) * u128::from(self.of.bits[2]);
                for k in self.fitting(&depths, |k| self.footprint(band, *n, k)) {
                    let of_c = self.further(2, self.of.k.div_ceil(*k), panel);
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
        let of = &self.of;
        let footprint = self.footprint(band, n, k);
        let [outer, inner, innermost] = order(dataflow);
        let tiles = [band.tiles, of.n.div_ceil(n), of.k.div_ceil(k)];
        let tile = [band.rows, n, k];
        let (hole, apart) = if footprint <= self.capacity {
            ([0; 3], 0)
        } else {
            let over = footprint - self.capacity;
            let Some(found) = self.hole([outer, inner, innermost], tile, tiles, over) else { return };
            found
        };
        let of_holes = if apart > 0 { tiles[innermost as usize] } else { 0 };
        let steps = self.steps(band.tiles, n, k).saturating_add(of_holes.saturating_mul(of.batch));
        if steps > self.most_steps {
            return;
        }
        // A tile of the image keeps what it shares with the one above where no other tile comes between.
        let slides = match dataflow {
            Dataflow::WeightStationary => true,
            Dataflow::InputStationary => tiles[Loop::K as usize] == 1,
            Dataflow::OutputStationary => false,
        };
        let all = (if slides { band.slid } else { band.moved }, wide(of.outputs()));
        // Bits of an operand by elements of A for each column of it, rows of C, columns of B and depth.
        let bits = of.bits.map(wide);
        let size = |operand: usize, (inputs, outputs): (u128, u128), n: u64, k: u64| match operand {
            0 => inputs * wide(k) * bits[0],
            1 => wide(k) * wide(n) * wide(of.taps()) * bits[1],
            _ => outputs * wide(n) * bits[2],
        };
        let whole = |operand| size(operand, all, of.n, of.k);
        let part = |operand, along: Loop| match along {
            Loop::Rows => size(operand, (wide(band.inputs), wide(band.outputs)), of.n, of.k),
            Loop::N => size(operand, all, n, of.k),
            Loop::K => size(operand, all, of.n, k),
        };
        // The tile that was used last stays, and what the tiles leave free.
        let free = if self.keeps { self.capacity.saturating_sub(footprint) } else { 0 };
        let room = |operand| {
            let last = size(operand, (wide(band.inputs), wide(band.outputs)), n, k);
            (last, (last + free) / bits[operand] * bits[operand])
        };
        // The inner loop does not concern this one: a part of it comes back at once.
        let turned = inner.apart();
        let (panel, (last, room_of_panel)) = (part(turned, outer), room(turned));
        let stays = room_of_panel >= panel;
        let kept = if stays { whole(turned) } else { whole(turned).saturating_mul(room_of_panel) / panel };
        // What patches of an image share is moved for each.
        let shared = (whole(0) - self.size(0)) * (self.transfers(0) - 1);
        let mut moved = (0..3).map(whole).sum::<u128>() + shared + apart;
        moved += (whole(turned) - kept) * wide(tiles[inner as usize] - 1) * self.transfers(turned);
        // All of this one comes back after a round of the inner loop, its last part first: that of the last tile, which may
        // be smaller, and in the next round that of the first.
        let swept = outer.apart();
        let (_, room_of_part) = room(swept);
        let (turns, before) = (tiles[outer as usize] - 1, tiles[inner as usize] - 1);
        let beside = match before {
            0 => Some(0),
            _ => stays.then(|| panel - last),
        };
        let at_end = |of: Loop, whole: u64, tile: u64| if of == inner { whole - before * tile } else { tile };
        let end = (at_end(Loop::N, of.n, n), at_end(Loop::K, of.k, k));
        for ((n, k), turns) in [((n, k), turns / 2), (end, turns.div_ceil(2))] {
            let end = if inner == Loop::N { size(swept, all, n, of.k) } else { size(swept, all, of.n, k) };
            let kept = room_of_part.min(end);
            let kept = beside.map_or(kept, |beside| kept.max(room_of_part.saturating_sub(beside).min(whole(swept))));
            moved += (whole(swept) - kept) * wide(turns) * self.transfers(swept);
        }
        let moved = moved * wide(of.batch);
        if moved < best.bits {
            let Band { images, rows, cols, .. } = *band;
            best.bits = moved;
            best.mapping = Some(Mapping { dataflow, images, rows, cols, n, k, hole, steps, moved_bytes: bytes(moved) });
        }
    }

    /// A hole that makes room for `over` bits in the tile that stays, with the bits that its rows and columns move at the
    /// end; none where the operand is an image, or where all holes together do not fit.
    fn hole(
        &self,
        [outer, inner, innermost]: [Loop; 3],
        tile: [u64; 3],
        tiles: [u64; 3],
        over: u128,
    ) -> Option<([u64; 3], u128)> {
        let Rows::Matrix(m) = self.of.rows else { return None };
        let size = |operand: usize, [rows, n, k]: [u128; 3]| {
            let elements = [rows * k, k * n, rows * n];
            elements[operand] * u128::from(self.of.bits[operand])
        };
        let stays = innermost.apart();
        let missing = u64::try_from(over.div_ceil(self.of.bits[stays].into())).ok()?;
        let mut best: Option<([u64; 3], u128)> = None;
        // 1, 2, 3, 4, 6, 8, 12: the same for all capacities, so that more memory never moves more.
        for high in (0..32).flat_map(|shift| [1u64 << shift, 3 << shift]).filter(|high| *high <= tile[outer as usize]) {
            let across = missing.div_ceil(high);
            if across > tile[inner as usize] {
                continue;
            }
            let mut sides = tile.map(u128::from);
            for (of, size) in [(outer, high), (inner, across)] {
                sides[of as usize] = u128::from(size) * u128::from(tiles[of as usize]);
            }
            if (0..3).map(|operand| size(operand, sides)).sum::<u128>() > self.capacity {
                continue;
            }
            sides[innermost as usize] = [m, self.of.n, self.of.k][innermost as usize].into();
            let moved = [inner, outer].map(|of| size(of.apart(), sides) * self.transfers(of.apart())).iter().sum();
            if best.is_none_or(|(_, least)| moved < least) {
                let mut hole = [0; 3];
                (hole[outer as usize], hole[inner as usize]) = (high, across);
                best = Some((hole, moved));
            }
        }
        best
    }
}
