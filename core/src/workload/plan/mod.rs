//! From operators to accesses: cuts tensors into tiles, lays out buffers, and orders the uses of tiles.
//!
//! A workload is written as steps: lists of operators over stored tensors (weights, KV cache) and temporary ones
//! (activations, gradients). A planner turns each step into accesses:
//!
//! - Every tensor is cut into tiles of at most `tile_bytes`, because real tensors exceed fast memory.
//! - Without a dataflow an operator uses each tile of its operands once. With one, matrices are cut into square tiles,
//!   and a matrix multiplication walks over them in the order of that dataflow, so that reuse inside it is visible.
//! - Temporary tensors share buffers as a static memory planner lays them out: a buffer whose content nobody needs any
//!   more takes the next tensor of the same shape (one of another shape has its own), and an operator that works element
//!   by element overwrites its input where nobody else needs it. What comes from outside, such as a batch of images, is
//!   new in every step.
//! - FLOPs wait for the operands that are streamed (weights, KV cache), in proportion to their bytes; where there are
//!   none, for what is read.

// Ground first: each imports only from those before it.
mod step;
mod tiles;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use self::step::Dataflow;
pub(crate) use self::step::{Operator, Product, Shape, Step, Temp, Val};

use self::step::last_uses;
use self::tiles::{TileGrid, Walked, pairs};
use super::dtype::product;
use crate::error::Error;
use crate::trace::{Decoding, Kind, Mode, Op, Tensor, Trace, TraceBuilder};

/// The most accesses a workload may make.
pub const MAX_ACCESSES: usize = 50_000_000;

/// The most tiles a workload may have: a tile takes about a hundred bytes before it is used at all.
pub const MAX_TILES: usize = 4_000_000;

/// A stored tensor, which gets its tiles when it is first used.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) layer: Option<u32>,
    pub(crate) kind: Kind,
    grid: Option<TileGrid>,
}

/// A buffer for temporary tensors.
#[derive(Debug, Clone, Copy)]
struct Buffer {
    grid: TileGrid,
    layer: Option<u32>,
    kind: Kind,
}

/// Turns steps into a trace.
pub(crate) struct Planner {
    builder: TraceBuilder,
    tile_bytes: u64,
    dataflow: Option<Dataflow>,
    stored: Vec<StoredTensor>,
    /// Buffers whose content nobody needs, by shape.
    free: BTreeMap<Shape, Vec<Buffer>>,
    /// How often a name was given to a buffer.
    names: BTreeMap<Cow<'static, str>, u32>,
}

impl Planner {
    /// An empty planner for a model of family `model_type`.
    pub(crate) fn new(model_type: &str, tile_bytes: u64, dataflow: Option<Dataflow>) -> Self {
        Self {
            builder: TraceBuilder::new(model_type),
            tile_bytes,
            dataflow,
            stored: Vec::new(),
            free: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// A tensor that outlives steps. One that is never used leaves no trace.
    pub(crate) fn stored(&mut self, name: String, shape: Shape, layer: Option<u32>, kind: Kind) -> Val {
        self.stored.push(StoredTensor { name, shape, layer, kind, grid: None });
        Val::Stored(self.stored.len() as u32 - 1)
    }

    /// What is known of a stored tensor.
    pub(crate) fn about(&self, index: u32) -> &StoredTensor {
        &self.stored[index as usize]
    }

    /// Whether products are walked over tile by tile.
    pub(crate) fn walks(&self) -> bool {
        self.dataflow.is_some()
    }

    pub(crate) fn mark(&mut self, label: impl Into<String>) {
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
        self.builder.finish(input)
    }

    /// Runs the operators of a step.
    pub(crate) fn run(&mut self, step: &Step) -> Result<(), Error> {
        let last = last_uses(step);
        let mut placed: Vec<Option<Buffer>> = vec![None; step.temps.len()];
        let mut marks = step.marks.iter().peekable();
        for (now, operator) in step.operators.iter().enumerate() {
            while let Some((_, label)) = marks.next_if(|(at, _)| *at == now) {
                self.builder.mark(*label);
            }
            // What comes from outside is new in every step: it lies where nothing else lay, and nothing else will.
            for value in operator.values().filter(|value| step.inputs.contains(value)) {
                if let Val::Temp(t) = value
                    && placed[t as usize].is_none()
                {
                    placed[t as usize] = Some(self.new_buffer(&step.temps[t as usize])?);
                }
            }
            let overwritten = self.overwrite(step, operator, now, &last, &mut placed);
            for (value, _) in &operator.writes {
                if let Val::Temp(t) = *value
                    && placed[t as usize].is_none()
                {
                    placed[t as usize] = Some(self.buffer(&step.temps[t as usize])?);
                }
            }
            self.emit(step, operator, &placed, overwritten)?;
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
        placed: &mut [Option<Buffer>],
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
    fn buffer(&mut self, temp: &Temp) -> Result<Buffer, Error> {
        if let Some(buffer) = self.free.get_mut(&temp.shape).and_then(Vec::pop) {
            return Ok(self.claim(buffer, temp));
        }
        self.new_buffer(temp)
    }

    fn free(&mut self, shape: Shape, buffer: Buffer) {
        self.free.entry(shape).or_default().push(buffer);
    }

    fn new_buffer(&mut self, temp: &Temp) -> Result<Buffer, Error> {
        let count = self.names.entry(temp.name.clone()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { temp.name.to_string() } else { format!("{}~{count}", temp.name) };
        let grid = self.cut(&name, temp.shape, temp.layer, temp.kind)?;
        Ok(Buffer { grid, layer: temp.layer, kind: temp.kind })
    }

    /// The buffer as one that holds `temp` as well: it belongs to a layer, or is of a kind, while all its content does.
    fn claim(&mut self, buffer: Buffer, temp: &Temp) -> Buffer {
        let layer = buffer.layer.filter(|layer| temp.layer == Some(*layer));
        let kind = if buffer.kind == temp.kind { buffer.kind } else { Kind::Activations };
        if layer != buffer.layer || kind != buffer.kind {
            for tile in buffer.grid.tiles() {
                let tensor = self.builder.tensor_mut(tile);
                (tensor.layer, tensor.kind) = (layer, kind);
            }
        }
        Buffer { layer, kind, ..buffer }
    }

    /// Cuts a tensor into tiles: square ones under a dataflow, else as many as its bytes need.
    fn cut(&mut self, name: &str, shape: Shape, layer: Option<u32>, kind: Kind) -> Result<TileGrid, Error> {
        let bytes = shape.bytes().map_err(|_| Error::TooLarge {
            problem: format!("{name} has more than 2^61 bytes"),
            cure: "Check the sizes of the model, the batch size and the token counts".into(),
        })?;
        let side = self.side();
        let (rows, cols) = match side {
            Some(side) => (shape.rows.div_ceil(side), shape.cols.div_ceil(side)),
            None => (1, bytes.div_ceil(self.tile_bytes)),
        };
        let count = product(&[rows, cols])?;
        if count.saturating_add(self.builder.tensors() as u64) > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("the run has more than {MAX_TILES} tiles ({name} alone falls into {count})"),
                cure: "Choose a larger tile_bytes, or check the sizes of the model".into(),
            });
        }
        let first = self.builder.tensors() as u32;
        for tile in 0..count {
            let bytes = match side {
                // Tiles at the edges are smaller.
                Some(side) => {
                    let (row, col) = (tile / cols, tile % cols);
                    let (height, width) = (side.min(shape.rows - row * side), side.min(shape.cols - col * side));
                    Shape { rows: height, cols: width, ..shape }.bytes()?
                }
                None => self.tile_bytes.min(bytes - tile * self.tile_bytes),
            };
            let name = if count == 1 { name.to_owned() } else { format!("{name}#{tile}") };
            self.builder.tensor(Tensor { name, bytes, layer, stride: 1, kind })?;
        }
        Ok(TileGrid { first, rows, cols })
    }

    /// Rows and columns of a square tile: one side for all number formats, so that the tiles of operands meet. Tiles of
    /// 32-bit elements fill tile_bytes; narrower ones stay below.
    fn side(&self) -> Option<u64> {
        self.dataflow?;
        Some((self.tile_bytes / 4).isqrt().max(1))
    }

    fn grid(&mut self, value: Val, placed: &[Option<Buffer>]) -> Result<TileGrid, Error> {
        match value {
            Val::Temp(t) => placed[t as usize]
                .map(|buffer| buffer.grid)
                .ok_or_else(|| Error::Internal(format!("temporary tensor {t} is read before it is written"))),
            Val::Stored(s) => {
                if let Some(grid) = self.stored[s as usize].grid {
                    return Ok(grid);
                }
                let StoredTensor { name, shape, layer, kind, .. } = self.stored[s as usize].clone();
                let grid = self.cut(&name, shape, layer, kind)?;
                self.stored[s as usize].grid = Some(grid);
                Ok(grid)
            }
        }
    }

    /// The accesses of one operator.
    fn emit(
        &mut self,
        step: &Step,
        operator: &Operator,
        placed: &[Option<Buffer>],
        overwritten: Option<u32>,
    ) -> Result<(), Error> {
        let tiled = operator.product.filter(|_| self.dataflow.is_some() && !operator.grouped);
        let walked = |value: &Val| tiled.is_some_and(|p| p.a == *value || p.b == *value || p.c == *value);
        let mut reads = Vec::new();
        for value in operator.reads.iter().filter(|v| !walked(v) && overwritten.map(Val::Temp) != Some(**v)) {
            reads.push(self.grid(*value, placed)?);
        }
        let mut streams = Vec::new();
        for value in operator.streams.iter().filter(|v| !walked(v)) {
            streams.push(self.grid(*value, placed)?);
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
            self.walk(step, &product, operator, mode, placed)?;
            updated = Some(product.c);
        }
        for (i, (value, mode)) in operator.writes.iter().enumerate() {
            if updated == Some(*value) {
                continue;
            }
            let mode = if i == 0 && overwritten.is_some() { Mode::Update } else { *mode };
            let grid = self.grid(*value, placed)?;
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
        placed: &[Option<Buffer>],
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
        placed: &[Option<Buffer>],
    ) -> Result<Operand, Error> {
        let stored = match value {
            Val::Temp(_) => step.shape(value),
            Val::Stored(index) => self.about(index).shape,
        };
        let grid = self.grid(value, placed)?;
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
        let buffer = self.buffer(&Temp { name: name.into(), shape, layer: operator.layer, kind })?;
        let walked = Walked { grid: buffer.grid, transposed, shape, stored: shape, side };
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
        match self.dataflow {
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
        if self.builder.len() >= MAX_ACCESSES {
            return Err(Error::TooLarge {
                problem: format!("the run makes more than {MAX_ACCESSES} accesses"),
                cure: "Choose a larger tile_bytes, fewer tokens or a smaller batch".into(),
            });
        }
        self.builder.access_with(tile, op, mode, flops)
    }
}

/// An operand of a product, with the tiles and the buffer of one that had to be laid out anew.
struct Operand {
    walked: Walked,
    relaid: Option<(TileGrid, Buffer)>,
}
