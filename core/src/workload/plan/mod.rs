//! From operators to accesses: cuts tensors into tiles, lays out buffers, and orders the uses of tiles.
//!
//! A workload is written as steps: lists of operators over stored tensors (weights, KV cache) and temporary ones
//! (activations, gradients). A planner turns each step into accesses:
//!
//! - Every tensor is cut into tiles of at most `tile_bytes`, because real tensors exceed fast memory.
//! - An operator uses each tile of its operands once where they all are moved once whatever it does. A product that is too
//!   large for that is walked over by its best mapping (see [`crate::tiling`]), in tiles of its own. With a dataflow,
//!   matrices are cut into square tiles, and products walk over them in that order.
//! - Temporary tensors share buffers as a static memory planner lays them out: a buffer whose content nobody needs any
//!   more takes the next tensor of the same shape (one of another shape has its own), and an operator that works element
//!   by element overwrites its input where nobody else needs it. What comes from outside, such as a batch of images, is
//!   new in every step.
//! - FLOPs wait for the operands that are streamed (weights, KV cache), in proportion to their bytes; where there are
//!   none, for what is read.

// Ground first: each imports only from those before it.
mod step;
mod tiles;

mod nest;

pub mod listing;

pub(crate) mod census;
mod mapped;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub(crate) use self::step::{Filtering, Operator, Product, Shape, Step, Temp, Val};
pub(crate) use self::tiles::{Order, Purpose, Tiles};

use self::census::Census;
use self::listing::Listing;
use self::step::last_uses;
use self::tiles::{Cut, TileGrid, WHOLE, Walked, pairs};
use super::dtype::product;
use crate::error::Error;
pub use crate::tiling::Dataflow;
use crate::tiling::{self, Mapping};
use crate::trace::{Decoding, Kind, Mode, Op, Sink, Tensor, Trace, TraceBuilder};

/// The most accesses a workload may make.
pub const MAX_ACCESSES: usize = 50_000_000;

/// The most tiles a workload may have: a tile takes about a hundred bytes before it is used at all.
pub const MAX_TILES: usize = 4_000_000;

/// A stored tensor, or a buffer for temporary ones. It gets its tiles when they are first used.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) layer: Option<u32>,
    pub(crate) kind: Kind,
    /// The ways in which it is cut.
    cuts: Vec<(Cut, TileGrid)>,
}

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Stored(u32),
    Buffer(u32),
}

/// Turns steps into a trace.
pub(crate) struct Planner {
    builder: TraceBuilder,
    /// What names of tensors that are stored begin with.
    prefix: &'static str,
    tiles: Tiles,
    stored: Vec<StoredTensor>,
    buffers: Vec<StoredTensor>,
    /// Buffers whose content nobody needs, by shape.
    free: BTreeMap<Shape, Vec<u32>>,
    /// How often a name was given to a buffer.
    names: BTreeMap<Cow<'static, str>, u32>,
    /// The mapping of each product; none where every operand is moved once.
    mappings: BTreeMap<tiling::Product, Option<Mapping>>,
    /// What the operators move at least.
    census: Census,
}

impl Planner {
    /// An empty plan for a model of family `model_type`.
    pub(crate) fn new(model_type: &str, tiles: Tiles) -> Self {
        Self {
            builder: TraceBuilder::new(model_type),
            prefix: "",
            tiles,
            stored: Vec::new(),
            buffers: Vec::new(),
            free: BTreeMap::new(),
            names: BTreeMap::new(),
            mappings: BTreeMap::new(),
            census: Census::default(),
        }
    }

    /// An empty plan whose accesses go to `sink`, where there is one.
    pub(crate) fn handing(model_type: &str, tiles: Tiles, sink: Option<Sink>) -> Self {
        let mut plan = Self::new(model_type, tiles);
        sink.into_iter().for_each(|sink| plan.builder.hand_to(sink));
        plan
    }

    /// A tensor that outlives steps. One that is never used leaves no trace.
    pub(crate) fn stored(&mut self, name: String, shape: Shape, layer: Option<u32>, kind: Kind) -> Val {
        let name = if self.prefix.is_empty() { name } else { format!("{}{name}", self.prefix) };
        self.stored.push(StoredTensor { name, shape, layer, kind, cuts: Vec::new() });
        Val::Stored(self.stored.len() as u32 - 1)
    }

    /// What the names of further tensors that are stored begin with.
    pub(crate) fn names_begin(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// What is known of a stored tensor.
    pub(crate) fn about(&self, index: u32) -> &StoredTensor {
        &self.stored[index as usize]
    }

    /// Whether products are walked over tile by tile.
    pub(crate) fn walks(&self) -> bool {
        self.dataflow().is_some()
    }

    fn dataflow(&self) -> Option<Dataflow> {
        match self.tiles.order {
            Order::Dataflow(dataflow) => Some(dataflow),
            Order::Once | Order::Mapped => None,
        }
    }

    pub(crate) fn mark(&mut self, label: &'static str) {
        self.census.list.phase = label;
        self.builder.mark(label);
    }

    /// Accesses so far.
    pub(crate) fn accesses(&self) -> u64 {
        self.builder.len() as u64
    }

    pub(crate) fn decodes(&mut self, decoding: Decoding) {
        self.builder.decodes(decoding);
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.builder.warn(warning);
    }

    pub(crate) fn finish(self, input: &str) -> Result<Trace, Error> {
        self.told().finish(input)
    }

    /// The tensors, and what their reader should know; the accesses were handed to a sink.
    pub(crate) fn finish_handing(self, input: &str) -> Result<(Vec<Tensor>, Vec<String>), Error> {
        self.told().finish_handing(input)
    }

    /// With what the operators load.
    fn told(mut self) -> TraceBuilder {
        if let Some(warning) = self.census.untiled() {
            self.builder.warn(warning);
        }
        self.builder.moves_at_least(self.census.least_bytes());
        self.builder
    }

    /// The operators of the plan, to be asked what they move; there is no trace then.
    pub(crate) fn into_census(self) -> Census {
        self.census
    }

    /// The operators of the plan, one by one, and what should be known of them.
    pub(crate) fn into_listing(self, layer: Option<u32>) -> Result<Listing, Error> {
        let notes = self.builder.warnings().to_vec();
        self.census.list.listing(layer, notes)
    }

    /// Runs the operators of a step.
    pub(crate) fn run(&mut self, step: &Step) -> Result<(), Error> {
        let last = last_uses(step);
        self.census.step(step, &last, &self.stored, &self.tiles)?;
        if self.tiles.purpose != Purpose::Trace {
            return Ok(());
        }
        let mut placed: Vec<Option<u32>> = vec![None; step.temps.len()];
        let mut marks = step.marks.iter().peekable();
        for (now, operator) in step.operators.iter().enumerate() {
            while let Some((_, label)) = marks.next_if(|(at, _)| *at == now) {
                self.builder.mark(*label);
            }
            let before = self.buffers.len();
            // What comes from outside is new in every step: it lies where nothing else lay, and nothing else will.
            for value in operator.values().filter(|value| step.inputs.contains(value)) {
                if let Val::Temp(t) = value
                    && placed[t as usize].is_none()
                {
                    placed[t as usize] = Some(self.new_buffer(&step.temps[t as usize]));
                }
            }
            let overwritten = self.overwrite(step, operator, now, &last, &mut placed);
            for (value, _) in &operator.writes {
                if let Val::Temp(t) = *value
                    && placed[t as usize].is_none()
                {
                    placed[t as usize] = Some(self.buffer(&step.temps[t as usize]));
                }
            }
            let mapping = self.mapping(step, operator)?;
            if mapping.is_none() {
                for buffer in before..self.buffers.len() {
                    self.grid(Home::Buffer(buffer as u32))?;
                }
            }
            self.emit(step, operator, &placed, overwritten, mapping)?;
            for value in operator.values() {
                if let Val::Temp(t) = value
                    && last[t as usize] == now
                    && !step.inputs.contains(&value)
                    && let Some(buffer) = placed[t as usize].take()
                {
                    self.free(step.temps[t as usize].shape, buffer);
                }
            }
        }
        for (_, label) in marks {
            self.builder.mark(*label);
        }
        Ok(())
    }

    /// Gives the first output the buffer of an input that dies here, where the operator allows it; which input it was.
    fn overwrite(
        &mut self,
        step: &Step,
        operator: &Operator,
        now: usize,
        last: &[usize],
        placed: &mut [Option<u32>],
    ) -> Option<u32> {
        let Some((Val::Temp(output), _)) = operator.writes.first() else { return None };
        let temp = &step.temps[*output as usize];
        if !operator.in_place || placed[*output as usize].is_some() {
            return None;
        }
        let dies = operator.reads.iter().find_map(|value| match *value {
            Val::Temp(t)
                if last[t as usize] == now
                    && step.temps[t as usize].shape == temp.shape
                    && !step.inputs.contains(value) =>
            {
                Some(t)
            }
            _ => None,
        })?;
        let buffer = placed[dies as usize].take()?;
        placed[*output as usize] = Some(self.claim(buffer, temp));
        Some(dies)
    }

    /// A buffer for `temp`: one that is free, or a new one.
    fn buffer(&mut self, temp: &Temp) -> u32 {
        match self.free.get_mut(&temp.shape).and_then(Vec::pop) {
            Some(buffer) => self.claim(buffer, temp),
            None => self.new_buffer(temp),
        }
    }

    fn free(&mut self, shape: Shape, buffer: u32) {
        self.free.entry(shape).or_default().push(buffer);
    }

    fn new_buffer(&mut self, temp: &Temp) -> u32 {
        let count = self.names.entry(temp.name.clone()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { temp.name.to_string() } else { format!("{}~{count}", temp.name) };
        self.buffers.push(StoredTensor {
            name,
            shape: temp.shape,
            layer: temp.layer,
            kind: temp.kind,
            cuts: Vec::new(),
        });
        self.buffers.len() as u32 - 1
    }

    /// The buffer as one that holds `temp` as well: it belongs to a layer, or is of a kind, while all its content does.
    fn claim(&mut self, buffer: u32, temp: &Temp) -> u32 {
        let of = &mut self.buffers[buffer as usize];
        let layer = of.layer.filter(|layer| temp.layer == Some(*layer));
        let kind = if of.kind == temp.kind { of.kind } else { Kind::Activations };
        if layer != of.layer || kind != of.kind {
            (of.layer, of.kind) = (layer, kind);
            for tile in of.cuts.iter().flat_map(|(_, grid)| grid.tiles()) {
                let tensor = self.builder.tensor_mut(tile);
                (tensor.layer, tensor.kind) = (layer, kind);
            }
        }
        buffer
    }

    fn at(&mut self, home: Home) -> &mut StoredTensor {
        match home {
            Home::Stored(index) => &mut self.stored[index as usize],
            Home::Buffer(index) => &mut self.buffers[index as usize],
        }
    }

    /// The tiles of a tensor: square ones under a dataflow, else as many as its bytes need.
    fn grid(&mut self, home: Home) -> Result<TileGrid, Error> {
        let (shape, tile_bytes) = (self.at(home).shape, self.tiles.tile_bytes);
        let bytes = shape.bytes().map_err(|_| Error::TooLarge {
            problem: format!("{} has more than 2^61 bytes", self.at(home).name),
            cure: "Check the sizes of the model, the batch size and the token counts".into(),
        })?;
        match self.side() {
            // Tiles at the edges are smaller.
            Some(side) => {
                let sides = (shape.rows.div_ceil(side), shape.cols.div_ceil(side));
                self.cut(home, WHOLE, sides, |row, col| {
                    let (height, width) = (side.min(shape.rows - row * side), side.min(shape.cols - col * side));
                    Shape { rows: height, cols: width, ..shape }.bytes()
                })
            }
            None => {
                let tiles = (1, bytes.div_ceil(tile_bytes));
                self.cut(home, WHOLE, tiles, |_, tile| Ok(tile_bytes.min(bytes - tile * tile_bytes)))
            }
        }
    }

    /// The `rows` x `cols` tiles of a tensor under `cut`, with the bytes of each; made where it is not cut so yet.
    fn cut(
        &mut self,
        home: Home,
        cut: Cut,
        (rows, cols): (u64, u64),
        bytes: impl Fn(u64, u64) -> Result<u64, Error>,
    ) -> Result<TileGrid, Error> {
        if let Some((_, grid)) = self.at(home).cuts.iter().find(|(known, _)| *known == cut) {
            return Ok(*grid);
        }
        let count = product(&[rows, cols])?;
        // Cut into one tile, it is the tile that other operators use.
        if cut != WHOLE && count == 1 && self.at(home).shape.bytes()? <= self.tiles.tile_bytes {
            return self.grid(home);
        }
        let StoredTensor { name, layer, kind, .. } = self.at(home).clone();
        if count.saturating_add(self.builder.tensors() as u64) > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("the run has more than {MAX_TILES} tiles ({name} alone falls into {count})"),
                cure: "Choose a larger capacity or tile_bytes, or check the sizes of the model".into(),
            });
        }
        let first = self.builder.tensors() as u32;
        for tile in 0..count {
            let bytes = bytes(tile / cols, tile % cols)?;
            let name = match (cut == WHOLE, count) {
                (true, 1) => name.clone(),
                (true, _) => format!("{name}#{tile}"),
                // Tensors that several operators cut in ways of their own.
                (false, _) => format!("{name}/{}x{}#{tile}", cut[2], cut[3]),
            };
            self.builder.tensor(Tensor { name, bytes, layer, stride: 1, kind })?;
        }
        let grid = TileGrid { first, rows, cols };
        self.at(home).cuts.push((cut, grid));
        Ok(grid)
    }

    /// Rows and columns of a square tile: one side for all number formats, so that the tiles of operands meet. Tiles of
    /// 32-bit elements fill tile_bytes; narrower ones stay below.
    fn side(&self) -> Option<u64> {
        self.dataflow()?;
        Some((self.tiles.tile_bytes / 4).isqrt().max(1))
    }

    fn home(&self, value: Val, placed: &[Option<u32>]) -> Result<Home, Error> {
        match value {
            Val::Temp(t) => placed[t as usize]
                .map(Home::Buffer)
                .ok_or_else(|| Error::Internal(format!("temporary tensor {t} is read before it is written"))),
            Val::Stored(s) => Ok(Home::Stored(s)),
        }
    }

    fn grid_of(&mut self, value: Val, placed: &[Option<u32>]) -> Result<TileGrid, Error> {
        let home = self.home(value, placed)?;
        self.grid(home)
    }

    /// The accesses of one operator.
    fn emit(
        &mut self,
        step: &Step,
        operator: &Operator,
        placed: &[Option<u32>],
        overwritten: Option<u32>,
        mapping: Option<Mapping>,
    ) -> Result<(), Error> {
        let fixed = self.dataflow().is_some() && !operator.grouped;
        let tiled = operator.product.filter(|_| fixed || mapping.is_some());
        let walked = |value: &Val| tiled.is_some_and(|p| p.a == *value || p.b == *value || p.c == *value);
        let mut reads = Vec::new();
        for value in operator.reads.iter().filter(|v| !walked(v) && overwritten.map(Val::Temp) != Some(**v)) {
            reads.push(self.grid_of(*value, placed)?);
        }
        let mut streams = Vec::new();
        for value in operator.streams.iter().filter(|v| !walked(v)) {
            streams.push(self.grid_of(*value, placed)?);
        }
        let waiting = if tiled.is_some() {
            &[][..]
        } else if streams.is_empty() {
            &reads
        } else {
            &streams
        };
        let bytes: u64 = waiting.iter().flat_map(TileGrid::tiles).map(|tile| self.builder.tensor_mut(tile).bytes).sum();
        let flops_per_byte = if bytes == 0 { 0.0 } else { operator.flops / bytes as f64 };
        let work = |of: bool| if of && tiled.is_none() { flops_per_byte } else { 0.0 };
        let alone = streams.is_empty();
        for grid in &reads {
            self.touch(*grid, operator.op, Mode::Read, work(alone))?;
        }
        for grid in &streams {
            self.touch(*grid, operator.op, Mode::Read, work(true))?;
        }
        let mut updated = None;
        if let Some(product) = tiled {
            let mode = operator.writes.iter().find(|(v, _)| *v == product.c).map_or(Mode::Write, |(_, mode)| *mode);
            match mapping {
                Some(mapping) => self.walk_mapped(step, operator, &product, &mapping, mode, placed)?,
                None => self.walk(step, &product, operator, mode, placed)?,
            }
            updated = Some(product.c);
        }
        for (i, (value, mode)) in operator.writes.iter().enumerate() {
            if updated == Some(*value) {
                continue;
            }
            let mode = if i == 0 && overwritten.is_some() { Mode::Update } else { *mode };
            let grid = self.grid_of(*value, placed)?;
            self.touch(grid, operator.op, mode, 0.0)?;
        }
        Ok(())
    }

    /// A matrix multiplication, tile by tile.
    fn walk(
        &mut self,
        step: &Step,
        product: &Product,
        operator: &Operator,
        mode: Mode,
        placed: &[Option<u32>],
    ) -> Result<(), Error> {
        let Product { m, n, k, .. } = *product;
        let a = self.operand(step, operator, (product.a, product.a_transposed), (m, k), placed)?;
        let b = self.operand(step, operator, (product.b, product.b_transposed), (k, n), placed)?;
        let c = self.operand(step, operator, (product.c, false), (m, n), placed)?;
        for operand in [&a, &b] {
            if let Some((stored, _)) = operand.relaid {
                self.touch(stored, Op::Copy, Mode::Read, 0.0)?;
                self.touch(operand.walked.grid, Op::Copy, Mode::Write, 0.0)?;
            }
        }
        if let Some((stored, _)) = c.relaid.filter(|_| mode == Mode::Update) {
            self.touch(stored, Op::Copy, Mode::Read, 0.0)?;
            self.touch(c.walked.grid, Op::Copy, Mode::Write, 0.0)?;
        }
        self.walk_tiles(operator, (a.walked, b.walked, c.walked), mode)?;
        if let Some((stored, _)) = c.relaid {
            self.touch(c.walked.grid, Op::Copy, Mode::Read, 0.0)?;
            self.touch(stored, Op::Copy, Mode::Write, 0.0)?;
        }
        for operand in [a, b, c] {
            if let Some((_, buffer)) = operand.relaid {
                self.free(operand.walked.shape, buffer);
            }
        }
        Ok(())
    }

    /// How the tiles of `value`, which may be stored with columns as rows, make up an operand of `rows` x `cols`
    /// elements.
    fn operand(
        &mut self,
        step: &Step,
        operator: &Operator,
        (value, transposed): (Val, bool),
        (rows, cols): (u64, u64),
        placed: &[Option<u32>],
    ) -> Result<Operand, Error> {
        let stored = match value {
            Val::Temp(_) => step.shape(value),
            Val::Stored(index) => self.about(index).shape,
        };
        let grid = self.grid_of(value, placed)?;
        let side = self.side().unwrap_or(1);
        let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
        let shape = Shape { rows, cols, ..stored };
        let image = operator.op == Op::Conv;
        let same_elements = rows.checked_mul(cols) == stored.rows.checked_mul(stored.cols);
        if shape == stored || image || !same_elements {
            let walked = Walked { grid, transposed, shape, stored, side };
            return Ok(Operand { walked, relaid: None });
        }
        // Another matrix of the same elements, such as images flattened for a linear layer: square tiles of the one are
        // not square tiles of the other, so it is laid out anew.
        let name = match value {
            Val::Temp(t) => format!("{}.flat", step.temps[t as usize].name),
            Val::Stored(index) => format!("{}.flat", self.about(index).name),
        };
        let kind = match value {
            Val::Temp(t) => step.temps[t as usize].kind,
            Val::Stored(_) => Kind::Activations,
        };
        let buffer = self.buffer(&Temp { name: name.into(), shape, layer: operator.layer, kind });
        let walked = Walked { grid: self.grid(Home::Buffer(buffer))?, transposed, shape, stored: shape, side };
        Ok(Operand { walked, relaid: Some((grid, buffer)) })
    }

    fn walk_tiles(
        &mut self,
        operator: &Operator,
        (a, b, c): (Walked, Walked, Walked),
        mode: Mode,
    ) -> Result<(), Error> {
        let op = operator.op;
        let ((m, k), (_, n)) = (a.tiles(), b.tiles());
        let flops = operator.flops / (m as f64 * n as f64 * k as f64);
        // What is summed up in parts is written whole at first, unless it held something before.
        let mut written = vec![false; (c.grid.rows * c.grid.cols) as usize];
        let mut put = |planner: &mut Self, row, col| {
            for tile in c.at(row, col) {
                let before = std::mem::replace(&mut written[(tile - c.grid.first) as usize], true);
                planner.access(tile, op, if before { Mode::Update } else { mode }, 0.0)?;
            }
            Ok::<_, Error>(())
        };
        match self.dataflow() {
            None | Some(Dataflow::OutputStationary) => {
                for (row, col) in pairs(m, n) {
                    for inner in 0..k {
                        self.touch_tiles(a.at(row, inner), op, Mode::Read, 0.0)?;
                        self.touch_tiles(b.at(inner, col), op, Mode::Read, flops)?;
                    }
                    put(self, row, col)?;
                }
            }
            Some(Dataflow::WeightStationary) => {
                for (inner, col) in pairs(k, n) {
                    self.touch_tiles(b.at(inner, col), op, Mode::Read, 0.0)?;
                    for row in 0..m {
                        self.touch_tiles(a.at(row, inner), op, Mode::Read, flops)?;
                        put(self, row, col)?;
                    }
                }
            }
            Some(Dataflow::InputStationary) => {
                for (row, inner) in pairs(m, k) {
                    self.touch_tiles(a.at(row, inner), op, Mode::Read, 0.0)?;
                    for col in 0..n {
                        self.touch_tiles(b.at(inner, col), op, Mode::Read, flops)?;
                        put(self, row, col)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Uses all tiles of a tensor.
    fn touch(&mut self, grid: TileGrid, op: Op, mode: Mode, flops_per_byte: f64) -> Result<(), Error> {
        grid.tiles().try_for_each(|tile| {
            let flops = flops_per_byte * self.builder.tensor_mut(tile).bytes as f64;
            self.access(tile, op, mode, flops)
        })
    }

    /// Uses a few tiles; the work waits for the first.
    fn touch_tiles(&mut self, tiles: impl Iterator<Item = u32>, op: Op, mode: Mode, flops: f64) -> Result<(), Error> {
        for (i, tile) in tiles.enumerate() {
            self.access(tile, op, mode, if i == 0 { flops } else { 0.0 })?;
        }
        Ok(())
    }

    fn access(&mut self, tile: u32, op: Op, mode: Mode, flops: f64) -> Result<(), Error> {
        if self.builder.holds() && self.builder.len() >= MAX_ACCESSES {
            return Err(Error::TooLarge {
                problem: format!("the run makes more than {MAX_ACCESSES} accesses"),
                cure: "Choose a larger capacity or tile_bytes, fewer tokens or a smaller batch, or hold no trace \
                       (accel simulate --stream)"
                    .into(),
            });
        }
        self.builder.access_with(tile, op, mode, flops)
    }
}

/// An operand of a product, with the tiles and the buffer of one that had to be laid out anew.
struct Operand {
    walked: Walked,
    relaid: Option<(TileGrid, u32)>,
}
