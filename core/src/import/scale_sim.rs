//! SCALE-Sim topologies: one layer per line, as convolutions or as matrix multiplications.
//!
//! Convolutions: `Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,`;
//! matrix multiplications: `Layer, M, N, K,`. The first line names the columns, which may stand in any order, with commas,
//! tabs or semicolons between. A stride of the columns and a batch size may follow; what else follows (sparsity) is warned
//! of and not read. Lines end with a comma as often as not. A convolution with `DP` in its name is depthwise: SCALE-Sim
//! runs it once for each channel, with filters of one channel. Outputs are as high as SCALE-Sim makes them:
//! ceil((image - filter + stride) / stride). A *layout* file, whose columns say how a topology's tensors lie in memory banks,
//! holds no layers and is refused.
//!
//! A topology names no edges. A layer reads the output of the latest layer that has as many filters as it has channels
//! (K columns, for matrices): the same tensor where sizes agree, else a copy of it, which stands for the border or the
//! pool between them. Where there is none, its input comes from outside.

use std::collections::BTreeSet;

use super::input::{Input, strip_mark};
use super::text::{Row, Rows, shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::tiling::{Axis, Image};
use crate::trace::{Kind, Op};
use crate::workload::dtype::{Bits, Dtype, product};
use crate::workload::file::{ModelFile, Operators, StoredModel};
use crate::workload::model_run::{Convolution, ModelRun, refuse_field};
use crate::workload::plan::{Operator, Planner, Product, Shape, Step, Val};

/// The most layers.
const MOST_LAYERS: usize = 100_000;
/// The longest side of anything.
const MOST_SIDE: u64 = 1 << 32;

/// One layer, as the matrix multiplication that it is.
#[derive(Debug, Clone)]
struct Layer {
    name: String,
    /// Rows of the output: positions of the filter, or M.
    m: u64,
    /// Filters, or N.
    n: u64,
    /// Elements of a filter, or K.
    k: u64,
    /// Rows and columns of the input.
    input: (u64, u64),
    op: Op,
    batch: u64,
    /// Whether each filter sees one channel.
    depthwise: bool,
    /// Rows and columns of the image, where it is a convolution.
    axes: Option<[Axis; 2]>,
}

/// The layers of a topology.
#[derive(Debug)]
struct Topology {
    layers: Vec<Layer>,
    /// Names of columns that say something and are not read.
    unread: BTreeSet<String>,
}

/// What the columns of a topology are called, without case, blanks, `_` and `-`; the first name is said in errors.
const LAYER: [&str; 4] = ["Layer", "layername", "name", "l"];
const CONVOLUTION: [[&str; 4]; 7] = [
    ["IFMAP Height", "ifmapheight", "ifmaph", "ifmaprows"],
    ["IFMAP Width", "ifmapwidth", "ifmapw", "ifmapcolumns"],
    ["Filter Height", "filterheight", "filterh", "filterrows"],
    ["Filter Width", "filterwidth", "filterw", "filtercolumns"],
    ["Channels", "channels", "channel", "numchannels"],
    ["Num Filter", "numfilter", "numfilters", "filters"],
    ["Strides", "strides", "stride", "strideh"],
];
const PRODUCT: [[&str; 4]; 3] = [["M", "m", "m", "m"], ["N", "n", "n", "n"], ["K", "k", "k", "k"]];

/// What columns of a layout file are about: elements in a line of a memory bank, and the order of lines.
const LAYOUT: [&str; 2] = ["intraline", "interline"];

fn plain(name: &str) -> String {
    let letters = name
        .trim_start_matches('#')
        .chars()
        .filter(|letter| !letter.is_whitespace() && !matches!(letter, '_' | '-' | '"'));
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The columns of a topology, by the line that names them.
struct Header {
    /// As they are written, and in the form in which they are compared.
    names: Vec<(String, String)>,
    delimiter: u8,
}

impl Header {
    /// The first line of `head`, where it names the columns of a topology or of a layout.
    fn of(head: &[u8]) -> Option<Self> {
        let line = strip_mark(head).split(|b| *b == b'\n').find(|line| !line.trim_ascii().is_empty())?;
        let line = String::from_utf8_lossy(line);
        b",\t;".iter().find_map(|delimiter| {
            let names = line.split(char::from(*delimiter)).map(|name| (name.trim().to_owned(), plain(name))).collect();
            Some(Self { names, delimiter: *delimiter }).filter(Self::is_known)
        })
    }

    fn is_known(&self) -> bool {
        let has = |names: &[&str]| self.find(names).is_some();
        let product = PRODUCT.iter().all(|names| has(names));
        // Tables of measurements have such columns among others.
        let only = product && self.names.iter().all(|(_, name)| matches!(name.as_str(), "" | "m" | "n" | "k"));
        self.is_layout() || only || (has(&LAYER) && (product || self.is_convolution()))
    }

    fn is_layout(&self) -> bool {
        let about = |name: &str| LAYOUT.iter().any(|part| name.contains(part));
        self.find(&LAYER).is_some() && self.names.iter().any(|(_, name)| about(name))
    }

    fn is_convolution(&self) -> bool {
        self.names.iter().any(|(_, name)| name.starts_with("ifmap"))
    }

    /// Where the first column with one of the names is.
    fn find(&self, names: &[&str]) -> Option<usize> {
        self.names.iter().position(|(_, name)| names.iter().any(|other| plain(other) == *name))
    }
}

/// Whether the first line of `head` is that of a topology, or of a layout, which the reader refuses.
pub(super) fn matches(head: &[u8]) -> bool {
    Header::of(head).is_some()
}

impl Topology {
    /// Reads a topology.
    fn parse(input: &Input<'_>, progress: &mut dyn Progress) -> Result<Self, Error> {
        let refuse = |line, problem: String, cure: &str| Error::input(input.name, Place::Line(line), problem, cure);
        let header = Header::of(&input.head()).ok_or_else(|| {
            let cure = "The first line must be \"Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, \
                        Channels, Num Filter, Strides,\" or \"Layer, M, N, K,\"";
            refuse(1, "this is no header of a topology".into(), cure)
        })?;
        if header.is_layout() {
            let problem = "it is a SCALE-Sim layout file: it says how tensors lie in memory banks, and holds no layers";
            return Err(refuse(1, problem.into(), "Give the topology that it belongs to (topologies/...csv)"));
        }
        let mut rows = Rows::new(*input, input.text(progress)?, header.delimiter);
        let first = rows.next()?.map_or(1, |row| row.line);
        let convolutions = header.is_convolution();
        let columns: &[[&str; 4]] = if convolutions { &CONVOLUTION } else { &PRODUCT };
        let find = |names: &[&'static str; 4]| {
            header.find(&names[1..]).map(|at| (at, names[0])).ok_or_else(|| {
                let found: Vec<&str> = header.names.iter().map(|(name, _)| name.as_str()).collect();
                let problem = format!("there is no column \"{}\" (found: {})", names[0], shorten(&found.join(",")));
                refuse(first, problem, "Name every column of a topology in the first line")
            })
        };
        // Their places and names.
        let places = columns.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let needed = places.iter().map(|(at, _)| at + 1).max().unwrap_or(0);
        let name_column = header.find(&LAYER);
        let further = |start: &str| {
            let used = |at: usize| places.iter().any(|(place, _)| *place == at) || name_column == Some(at);
            (0..header.names.len()).find(|at| !used(*at) && header.names[*at].1.starts_with(start))
        };
        let batch_column = further("batch");
        let stride_column = further("stride").filter(|_| convolutions);
        let mut unread = BTreeSet::new();
        let mut layers = Vec::new();
        while let Some(row) = rows.next()? {
            let line = row.line;
            // A line that is only commas.
            if row.fields().all(str::is_empty) {
                continue;
            }
            if layers.len() == MOST_LAYERS {
                return Err(refuse(line, format!("more than {MOST_LAYERS} layers"), "Split the topology"));
            }
            let number = |row: &Row<'_>, at: usize, what: &str| -> Result<u64, Error> {
                let text = row.field(at);
                text.parse().ok().filter(|n| (1..=MOST_SIDE).contains(n)).ok_or_else(|| {
                    let problem = format!("{what} is \"{}\"", shorten(text));
                    refuse(line, problem, "Write a whole number from 1 to 4294967296")
                })
            };
            if row.len() < needed {
                let problem = format!("{} fields where {needed} are needed", row.len());
                return Err(refuse(line, problem, "Write every column of the header"));
            }
            let batch = match batch_column {
                Some(at) if !row.field(at).is_empty() => number(&row, at, "the batch size")?,
                _ => 1,
            };
            for (at, field) in row.fields().enumerate() {
                let read = places.iter().any(|(place, _)| *place == at)
                    || [batch_column, stride_column, name_column].contains(&Some(at));
                // Of a sparsity, 1:1 means that nothing is left out.
                let says = field.split_once(':').map_or(!field.is_empty(), |(n, m)| n.trim() != m.trim());
                if !read && says {
                    let name = header.names.get(at).map_or("", |(name, _)| name.as_str()).to_ascii_lowercase();
                    unread.insert(if name.is_empty() { format!("column {}", at + 1) } else { shorten(&name) });
                }
            }
            let name = name_column.map_or_else(|| (layers.len() + 1).to_string(), |at| shorten(row.field(at)));
            let depthwise = convolutions && name.contains("DP");
            layers.push(if convolutions {
                let side = |column: usize| places.get(column).map_or(Ok(1), |(at, what)| number(&row, *at, what));
                let (image, filter) = ((side(0)?, side(1)?), (side(2)?, side(3)?));
                let (channels, filters, stride) = (side(4)?, side(5)?, side(6)?);
                let across = match stride_column {
                    Some(at) if !row.field(at).is_empty() => number(&row, at, "the second stride")?,
                    _ => stride,
                };
                let positions = |image: u64, filter: u64, stride: u64| {
                    let room = image.checked_sub(filter)?;
                    Some((room + stride).div_ceil(stride))
                };
                let out = positions(image.0, filter.0, stride).zip(positions(image.1, filter.1, across)).ok_or_else(
                    || {
                        let problem = format!("the filter of {} x {} is larger than the image", filter.0, filter.1);
                        refuse(line, problem, "Correct one of the two")
                    },
                )?;
                let elements = |sides: &[u64]| {
                    product(sides).map_err(|_| {
                        refuse(line, "the layer has more than 2^64 - 1 elements".into(), "Check its sizes")
                    })
                };
                Layer {
                    name,
                    m: elements(&[out.0, out.1])?,
                    n: if depthwise { elements(&[filters, channels])? } else { filters },
                    k: elements(&[filter.0, filter.1, if depthwise { 1 } else { channels }])?,
                    input: (elements(&[image.0, image.1])?, channels),
                    op: Op::Conv,
                    batch,
                    depthwise,
                    axes: Some([
                        Axis { out: out.0, size: image.0, filter: filter.0, stride, pad: 0 },
                        Axis { out: out.1, size: image.1, filter: filter.1, stride: across, pad: 0 },
                    ]),
                }
            } else {
                let side = |column: usize| places.get(column).map_or(Ok(1), |(at, what)| number(&row, *at, what));
                let (m, n, k) = (side(0)?, side(1)?, side(2)?);
                Layer { name, m, n, k, input: (m, k), op: Op::Matmul, batch, depthwise, axes: None }
            });
        }
        if layers.is_empty() {
            let cure = "Give at least one line below the header";
            return Err(Error::input(input.name, Place::Whole, "the topology has no layers", cure));
        }
        Ok(Self { layers, unread })
    }
}

/// Reads a topology.
pub(super) fn model(input: &Input<'_>, progress: &mut dyn Progress) -> Result<ModelFile, Error> {
    Ok(ModelFile::Operators(Box::new(Topology::parse(input, progress)?)))
}

/// A topology names no formats: 32 bits, if nobody says otherwise.
fn bits(run: &ModelRun) -> Bits {
    let weights = run.weight_dtype.map_or(32, Dtype::bits);
    Bits { weights, activations: weights.max(16), kv: weights }
}

impl Operators for Topology {
    fn family(&self) -> &'static str {
        if self.layers.iter().any(|layer| layer.op == Op::Conv) { "CNN" } else { "MLP" }
    }

    fn check(&self, run: &ModelRun) -> Result<(), Error> {
        refuse_field("prompt_tokens", run.prompt_tokens.is_some(), "a topology has no tokens")
    }

    fn store<'a>(&'a self, planner: &mut Planner, run: &'a ModelRun) -> Result<Box<dyn StoredModel + 'a>, Error> {
        if !self.unread.is_empty() {
            let names: Vec<&str> = self.unread.iter().map(String::as_str).collect();
            planner.warn(format!("these columns are not read: {}; filters count whole", names.join(", ")));
        }
        let width = bits(run).weights;
        let filters = |(number, layer): (u32, &Layer)| {
            let name = format!("{} filters [{number}]", layer.name);
            planner.stored(name, Shape::new(layer.k, layer.n, width), Some(number), Kind::Weights)
        };
        let filters = (0..).zip(&self.layers).map(filters).collect();
        Ok(Box::new(Filters { topology: self, run, filters }))
    }
}

/// A topology whose filters are part of a plan.
struct Filters<'a> {
    topology: &'a Topology,
    run: &'a ModelRun,
    filters: Vec<Val>,
}

impl StoredModel for Filters<'_> {
    fn step(&self, _planner: &mut Planner, _pass: u64) -> Result<Step, Error> {
        self.topology.step(self.run.convolution, &self.filters, self.run.batch_size, bits(self.run))
    }
}

impl Topology {
    /// One pass over `batch` inputs. Filters of one element and depthwise ones need no matrix of positions.
    fn step(&self, convolution: Convolution, filters: &[Val], batch: u64, bits: Bits) -> Result<Step, Error> {
        let mut step = Step::default();
        // What was made last with a number of columns.
        let mut made: Vec<(u64, Val)> = Vec::new();
        for ((number, layer), weights) in (0..).zip(&self.layers).zip(filters) {
            let of_layer = Some(number);
            let rows = |rows: u64| product(&[rows, layer.batch, batch]);
            let shape = Shape::new(rows(layer.input.0)?, layer.input.1, bits.activations);
            let before = made.iter().rev().find(|(cols, _)| *cols == layer.input.1).map(|(_, value)| *value);
            let input = match before {
                Some(value) if step.shape(value) == shape => value,
                Some(value) => {
                    let copy = step.temp("ifmap", shape, of_layer);
                    step.push(Operator::new(Op::Copy, of_layer, vec![value], copy));
                    copy
                }
                None => {
                    let outside = step.temp("ifmap", shape, of_layer);
                    step.inputs.push(outside);
                    outside
                }
            };
            let m = rows(layer.m)?;
            let unfolds = layer.op == Op::Conv && !layer.depthwise && (layer.m, layer.k) != layer.input;
            let mut image = layer.axes.map(|axes| Image { images: layer.batch * batch, axes });
            let input = if convolution == Convolution::Im2col && unfolds {
                image = None;
                let columns = step.temp("im2col", Shape::new(m, layer.k, bits.activations), of_layer);
                step.push(Operator::new(Op::Copy, of_layer, vec![input], columns));
                columns
            } else {
                input
            };
            let out = step.temp("ofmap", Shape::new(m, layer.n, bits.activations), of_layer);
            let product = Product::new((m, layer.n, layer.k), input, *weights, out).over(image);
            let operator = Operator::multiply(layer.op, of_layer, product, vec![*weights]);
            step.push(Operator { grouped: layer.depthwise, ..operator });
            made.retain(|(cols, _)| *cols != layer.n);
            made.push((layer.n, out));
            step.output = Some(out);
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;

    /// 8 x 8 positions of 3 x 3 x 4 elements are written as a matrix; those of one element are the image.
    #[test]
    fn im2col_writes_a_row_for_each_position() {
        let text = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n\
                    c1,10,10,3,3,4,8,1,\nc2,8,8,1,1,8,16,1,\nDP3,8,8,3,3,16,1,1,\n";
        let topology = Topology::parse(&Input::new("t.csv", text.as_bytes()), &mut Unattended).unwrap();
        let columns = |convolution| {
            let run = ModelRun { convolution, batch_size: 2, ..ModelRun::default() };
            let mut planner = Planner::new("CNN", run.tiles(u64::MAX).unwrap());
            let filters = topology.store(&mut planner, &run).unwrap();
            let step = filters.step(&mut planner, 0).unwrap();
            let made = step.temps.iter().filter(|temp| temp.name == "im2col");
            made.map(|temp| (temp.shape.rows, temp.shape.cols)).collect::<Vec<_>>()
        };
        assert_eq!(columns(Convolution::Im2col), [(2 * 64, 36)]);
        assert_eq!(columns(Convolution::Direct), []);
    }
}
