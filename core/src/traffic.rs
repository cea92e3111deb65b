//! DRAM traffic by the size of fast memory: of one operator, or of a whole model, operator by operator.
//!
//! A point of the curve says what the best mapping found moves, and what no schedule goes below (see [`crate::tiling`]).
//! Groups of operators that may be fused are done one after the other, and nothing is kept in between: the traffic of
//! the operators, which no replacement policy comes into.

use serde::{Deserialize, Serialize};

use crate::check::check_range;
use crate::error::{Error, Place};
use crate::import::input::Input;
use crate::order;
use crate::progress::{Flow, Progress};
use crate::recipe::{Workload, default_seed};
use crate::tiling::{Axis, Chain, Group, Image, Least, MOST_SIDE, Product, Rows, Work};
use crate::workload::dtype::Dtype;

/// What is moved, at which capacities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// The operator or the model.
    pub of: Subject,
    /// Bytes of fast memory, at most 64 sizes; where none are given, doublings from 1 KiB, or from the first that the
    /// smallest tiles fit, to 64 MiB.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacities: Vec<u64>,
}

/// An operator by its sizes, or a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A matrix product.
    Gemm(Gemm),
    /// A convolution.
    Conv(Conv),
    /// An attention.
    Attention(Attention),
    /// A model at work.
    Workload(Workload),
}

/// A matrix product: m x k times k x n.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gemm {
    /// Rows of A and C.
    pub m: u64,
    /// Columns of B and C.
    pub n: u64,
    /// Columns of A and rows of B.
    pub k: u64,
    /// Products of this shape that share nothing.
    #[serde(default = "one")]
    pub batch: u64,
    /// Number format; float32 where absent.
    #[serde(default = "float32")]
    pub dtype: Dtype,
}

/// A convolution of images of `height` x `width` x `channels` with `filters` of `size` x `size`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Rows of an image.
    pub height: u64,
    /// Columns of an image.
    pub width: u64,
    /// Channels of an image.
    pub channels: u64,
    /// Filters.
    pub filters: u64,
    /// Rows and columns of a filter.
    pub size: u64,
    /// Step of a filter; 1 where absent.
    #[serde(default = "one")]
    pub stride: u64,
    /// Zeros around the image; 0 where absent.
    #[serde(default)]
    pub padding: u64,
    /// Groups of channels; 1 where absent.
    #[serde(default = "one")]
    pub groups: u64,
    /// Images; 1 where absent.
    #[serde(default = "one")]
    pub batch: u64,
    /// Number format; float32 where absent.
    #[serde(default = "float32")]
    pub dtype: Dtype,
}

/// An attention of `queries` to `keys`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Queries of a sequence.
    pub queries: u64,
    /// Keys of a sequence.
    pub keys: u64,
    /// Heads; 1 where absent.
    #[serde(default = "one")]
    pub heads: u64,
    /// Heads of keys and values; as many as heads where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<u64>,
    /// Elements of a head.
    pub head_dim: u64,
    /// Sequences; 1 where absent.
    #[serde(default = "one")]
    pub batch: u64,
    /// Number format; float32 where absent.
    #[serde(default = "float32")]
    pub dtype: Dtype,
}

fn one() -> u64 {
    1
}

fn float32() -> Dtype {
    Dtype::Float32
}

/// The curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Groups of operators, each as often as it is done.
    pub groups: u64,
    /// The traffic at each capacity.
    pub points: Vec<Point>,
}

/// The traffic at one capacity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Bytes of fast memory.
    pub capacity_bytes: u64,
    /// Each operand of each operator once.
    pub compulsory_bytes: u64,
    /// No schedule moves less.
    pub bound_bytes: u64,
    /// What the best mapping found moves.
    pub attained_bytes: u64,
    /// Attained bytes as a multiple of the bound.
    pub ratio: f64,
    /// How the operator is tiled, where it is one.
    pub mapping: Option<String>,
}

/// The most capacities of a curve.
const MOST_CAPACITIES: usize = 64;

impl Subject {
    /// The operators. A model from a file comes with it.
    pub fn groups(&self, file: Option<&Input<'_>>, progress: &mut dyn Progress) -> Result<Vec<Group>, Error> {
        let work = match self {
            Self::Gemm(gemm) => Work::Product(gemm.product()?),
            Self::Conv(conv) => Work::Product(conv.product()?),
            Self::Attention(attention) => Work::Chain(attention.chain()?),
            Self::Workload(workload) => return workload.groups(default_seed(), file, progress),
        };
        Ok(vec![Group { ways: vec![vec![work]], times: 1 }])
    }
}

impl Gemm {
    fn product(&self) -> Result<Product, Error> {
        let product = Product { batch: self.batch, ..Product::matrix(self.m, self.n, self.k, self.dtype.bits()) };
        product.check().map(|()| product)
    }
}

impl Conv {
    fn product(&self) -> Result<Product, Error> {
        let sides = [
            ("height", self.height),
            ("width", self.width),
            ("channels", self.channels),
            ("filters", self.filters),
            ("size", self.size),
            ("stride", self.stride),
            ("groups", self.groups),
            ("batch", self.batch),
        ];
        sides.into_iter().try_for_each(|(name, side)| check_range(name, side, 1..=MOST_SIDE))?;
        check_range("padding", self.padding, 0..=self.size - 1)?;
        for (name, of) in [("channels", self.channels), ("filters", self.filters)] {
            if !of.is_multiple_of(self.groups) {
                let problem = format!("{of} {name} do not fall into {} groups", self.groups);
                return Err(Error::field("groups", self.groups, problem, "Choose a divisor of channels and filters"));
            }
        }
        let axis = |size: u64| {
            let room = (size + 2 * self.padding).checked_sub(self.size).ok_or_else(|| {
                let problem = format!("the filter is larger than the {size} elements of the image and its padding");
                Error::field("size", self.size, problem, "Choose a smaller filter, or more padding")
            })?;
            Ok::<_, Error>(Axis {
                out: room / self.stride + 1,
                size,
                filter: self.size,
                stride: self.stride,
                pad: self.padding,
            })
        };
        let product = Product {
            batch: self.groups,
            rows: Rows::Image(Image { images: self.batch, axes: [axis(self.height)?, axis(self.width)?] }),
            n: self.filters / self.groups,
            k: self.channels / self.groups,
            bits: [self.dtype.bits(); 3],
            sum: 2,
        };
        product.check().map(|()| product)
    }
}

impl Attention {
    fn chain(&self) -> Result<Chain, Error> {
        let heads = (self.heads, self.kv_heads.unwrap_or(self.heads));
        Chain::attention(self.batch, heads, (self.queries, self.keys), self.head_dim, self.dtype.bits())
    }
}

impl Traffic {
    /// Reads a question from JSON; `input` is named in the errors.
    pub fn from_json(input: &str, json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json).map_err(|e| {
            let place = Place::LineColumn(e.line() as u64, e.column() as u64);
            let problem = e.to_string();
            // serde_json repeats the place at the end of its message.
            let problem = problem.split(" at line ").next().unwrap_or_default().to_owned();
            let cure =
                "Write {\"of\": {\"gemm\": {\"m\": 1024, \"n\": 1024, \"k\": 1024}}}, or conv, attention or workload";
            Error::input(input, place, problem, cure)
        })
    }

    /// Fails on the first capacity that is out of range, or on too many.
    fn check(&self) -> Result<(), Error> {
        check_range("capacities", self.capacities.len(), 0..=MOST_CAPACITIES)?;
        self.capacities.iter().try_for_each(|capacity| check_range("capacities", *capacity, 1..=1 << 50))
    }

    /// The curve, by rising capacity. A model from a file comes with it.
    pub fn curve(&self, file: Option<&Input<'_>>, progress: &mut dyn Progress) -> Result<Curve, Error> {
        self.check()?;
        let groups = self.of.groups(file, progress)?;
        let mut capacities = self.capacities.clone();
        if capacities.is_empty() {
            capacities = (10..=26).map(|shift| 1 << shift).collect();
            let fits = |capacity: &u64| groups.iter().all(|group| group.least(*capacity).is_ok());
            let first = capacities.iter().position(fits);
            // Where none does, the error of the last says what would.
            capacities.drain(..first.unwrap_or(capacities.len() - 1));
        }
        let capacities = order::distinct(capacities);
        let mut points = Vec::new();
        for (done, capacity_bytes) in (0..).zip(&capacities) {
            if progress.report(done, capacities.len() as u64, "traffic") == Flow::Cancel {
                return Err(Error::Cancelled);
            }
            points.push(point(&groups, *capacity_bytes)?);
        }
        Ok(Curve { groups: groups.iter().map(|group| group.times).sum(), points })
    }
}

fn point(groups: &[Group], capacity_bytes: u64) -> Result<Point, Error> {
    let least = groups
        .iter()
        .try_fold(Least::NOTHING, |sum, group| Ok::<_, Error>(sum.plus(group.least(capacity_bytes)?, 1)))?;
    let mapping = match groups {
        [Group { ways, times: 1 }] => match &ways[..] {
            [way] => match &way[..] {
                [work] => work.mapping(capacity_bytes)?,
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let ratio = if least.bound_bytes == 0 { 1.0 } else { least.attained_bytes as f64 / least.bound_bytes as f64 };
    let Least { compulsory_bytes, bound_bytes, attained_bytes } = least;
    Ok(Point { capacity_bytes, compulsory_bytes, bound_bytes, attained_bytes, ratio, mapping })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;
    use crate::units::MIB;

    fn read(json: &str) -> Result<Curve, Error> {
        serde_json::from_str::<Traffic>(json).unwrap().curve(None, &mut Unattended)
    }

    #[test]
    fn an_operator_has_a_curve() {
        let curve = read(r#"{"of":{"gemm":{"m":1024,"n":1024,"k":1024}}}"#).unwrap();
        assert_eq!((curve.points.len(), curve.points[0].capacity_bytes), (17, 1024));
        assert!(curve.points.windows(2).all(|two| two[0].attained_bytes >= two[1].attained_bytes));
        assert!(curve.points[0].bound_bytes >= 536_000_000);
        assert_eq!(curve.points[16].attained_bytes, 12 * MIB);
        assert!(curve.points[0].mapping.as_ref().unwrap().starts_with("output stationary"), "{:?}", curve.points[0]);
        let one = read(
            r#"{"of":{"attention":{"queries":4096,"keys":4096,"heads":32,"kv_heads":8,"head_dim":128,"dtype":"bf16"}},"capacities":[1048576]}"#,
        );
        assert_eq!(one.unwrap().points.len(), 1);
        let conv = read(r#"{"of":{"conv":{"height":56,"width":56,"channels":64,"filters":64,"size":3,"padding":1}}}"#)
            .unwrap();
        assert_eq!(conv.points.last().unwrap().ratio, 1.0);
    }

    #[test]
    fn a_model_moves_what_its_groups_move() {
        let of = |model: &str, capacity: u64| {
            read(&format!(r#"{{"of":{{"workload":{{"model":{{"model":"{model}"}}}}}},"capacities":[{capacity}]}}"#))
                .unwrap()
        };
        for model in ["gpt2-large", "resnet-18", "bert-base"] {
            let (small, large) = (of(model, 64 * 1024), of(model, 64 * MIB));
            for curve in [&small, &large] {
                let least = &curve.points[0];
                assert!(least.bound_bytes <= least.attained_bytes, "{model}: {least:?}");
            }
            assert!(small.points[0].attained_bytes > large.points[0].attained_bytes, "{model}");
        }
    }

    #[test]
    fn what_has_no_operators_is_refused() {
        let problem = |json: &str| read(json).unwrap_err().to_string();
        assert!(problem(r#"{"of":{"workload":{"synthetic":{}}}}"#).contains("no operators"));
        assert!(problem(r#"{"of":{"gemm":{"m":0,"n":1,"k":1}}}"#).starts_with("m is 0"));
        assert!(problem(r#"{"of":{"gemm":{"m":9,"n":9,"k":9}},"capacities":[4]}"#).contains("Choose at least 12"));
        assert!(
            problem(r#"{"of":{"conv":{"height":2,"width":2,"channels":1,"filters":1,"size":3}}}"#)
                .contains("larger than")
        );
        assert!(
            problem(r#"{"of":{"conv":{"height":9,"width":9,"channels":4,"filters":4,"size":3,"groups":3}}}"#)
                .contains("divisor")
        );
    }
}
