//! A price list: operators that are known without any source, such as those of a model, and what each takes on a device
//! that works as a whole.

use serde::{Deserialize, Serialize};

use super::cost::{Target, advice};
use super::nest::Element;
use super::operator::{Operator, Price};
use super::report::{Advice, Request};
use accel_ground::device::DeviceRef;
use accel_ground::error::Error;

/// An operator to be priced.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The part of the run that it belongs to, such as `prefill`; empty where there are no parts.
    pub phase: String,
    /// What it is called.
    pub name: String,
    /// Its sizes in words, such as `128 x 4096 x 4096`.
    pub sizes: String,
    /// What it does.
    pub operator: Operator,
    /// How often it runs.
    pub runs: u64,
}

/// What operators take, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriceList {
    /// The device's name.
    pub device: String,
    /// All of them, in ms.
    pub latency_ms: f64,
    /// Between which times that lies.
    pub latency_range_ms: [f64; 2],
    /// The parts of the whole run in their order, whichever of them is priced; none where a run has one part, or nobody
    /// said.
    pub phases: Vec<String>,
    /// Each operator, in the order in which it was given.
    pub operators: Vec<Priced>,
    /// Changes that would help, the best first.
    pub advice: Vec<Advice>,
    /// What was assumed.
    pub assumptions: Vec<String>,
}

/// What an operator takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Priced {
    /// The part of the run that it belongs to; empty where there are no parts.
    pub phase: String,
    /// What it is called.
    pub name: String,
    /// What it is: `product`, `softmax`, `element-wise` …
    pub class: String,
    /// Its sizes in words.
    pub sizes: String,
    /// The type of its elements.
    pub element: Element,
    /// How often it runs.
    pub runs: u64,
    /// How long all runs take, in ms.
    pub ms: f64,
    /// Between which times that lies.
    pub range_ms: [f64; 2],
    /// What takes most of it: `compute`, `memory` or `launch`.
    pub limit: String,
    /// Bytes that one run must read and write.
    pub bytes: f64,
    /// Operations of one run.
    pub operations: f64,
}

/// What `items` take on `device`, which must be one that works as a whole.
///
/// ```
/// use accel_ground::device::DeviceRef;
/// use accel_kernel::list::{Item, price};
/// use accel_kernel::nest::Element;
/// use accel_kernel::operator::{Class, Operator, Product};
///
/// let product = Product { batch: 1.0, m: 4096.0, n: 4096.0, k: 4096.0 };
/// let operator = Operator {
///     class: Class::Linear(product),
///     element: Element::Bf16,
///     read_bytes: 2.0 * 4096.0 * 8192.0,
///     written_bytes: 2.0 * 4096.0 * 4096.0,
///     operations: 0.0,
/// };
/// let item = Item { phase: String::new(), name: "q".into(), sizes: String::new(), operator, runs: 32 };
/// let list = price(&[item], &DeviceRef::Known("h100-sxm".into()))?;
/// assert_eq!(list.operators[0].limit, "compute");
/// # Ok::<(), accel_ground::error::Error>(())
/// ```
pub fn price(items: &[Item], device: &DeviceRef) -> Result<PriceList, Error> {
    let target = Target::of(&Request::default(), device)?;
    let Some(chip) = target.chip() else {
        let problem = "it is one core, and operators of libraries are priced on devices that work as a whole";
        return Err(Error::field("device", target.name(), problem, "Choose one of those, such as h100-sxm or l4"));
    };
    let prices: Vec<Price> = items.iter().map(|item| chip.price(&item.operator)).collect();
    let both = || items.iter().zip(&prices);
    let [low, seconds, high] = both().fold([0.0; 3], |[low, usual, high], (item, price)| {
        let runs = item.runs as f64;
        [low + runs * price.least, usual + runs * price.expected, high + runs * price.most]
    });
    if !(low.is_finite() && seconds.is_finite() && high.is_finite()) {
        let problem = "the cost of the operators exceeds the range of 64-bit floating-point numbers".to_owned();
        return Err(Error::TooLarge { problem, cure: "Choose fewer tokens or a smaller batch".into() });
    }
    let now: Vec<advice::Now<'_>> = both().map(|(item, price)| (&item.operator, price, item.runs as f64)).collect();
    let from = match chip.is_measured() {
        true => "constants fitted to it",
        false => "constants of other devices that were measured",
    };
    let assumptions = vec![format!(
        "operators run one after the other, priced by tiles, waves and bytes, with {from} (docs/kernel.md); nothing is \
         fused but what is one operator here"
    )];
    Ok(PriceList {
        device: target.name().to_owned(),
        latency_ms: seconds * 1e3,
        latency_range_ms: [low, high].map(|seconds| seconds * 1e3),
        phases: Vec::new(),
        operators: both().map(|(item, price)| priced(item, price)).collect(),
        advice: advice::helpful(advice::changes(&now, chip), seconds),
        assumptions,
    })
}

fn priced(item: &Item, price: &Price) -> Priced {
    let runs = item.runs as f64;
    Priced {
        phase: item.phase.clone(),
        name: item.name.clone(),
        class: item.operator.class.name().to_owned(),
        sizes: item.sizes.clone(),
        element: item.operator.element,
        runs: item.runs,
        ms: runs * price.expected * 1e3,
        range_ms: [price.least, price.most].map(|seconds| runs * seconds * 1e3),
        limit: price.limit().name().to_owned(),
        bytes: item.operator.bytes(),
        operations: item.operator.all_operations(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Class, Product};

    /// So large that even one row takes longer than a launch.
    const SIDE: f64 = 16_384.0;

    fn item(m: f64, element: Element) -> Item {
        let product = Product { batch: 1.0, m, n: SIDE, k: SIDE };
        let size = element.bytes() as f64;
        let operator = Operator {
            class: Class::Linear(product),
            element,
            read_bytes: size * (m * SIDE + SIDE * SIDE),
            written_bytes: size * m * SIDE,
            operations: 0.0,
        };
        Item { phase: "prefill".into(), name: "q".into(), sizes: String::new(), operator, runs: 32 }
    }

    fn on(device: &str) -> DeviceRef {
        DeviceRef::Known(device.into())
    }

    #[test]
    fn totals_are_sums_and_types_are_advised() {
        let items = [item(4096.0, Element::F32), item(1.0, Element::Bf16)];
        let list = price(&items, &on("h100-sxm")).unwrap();
        let limits: Vec<&str> = list.operators.iter().map(|own| own.limit.as_str()).collect();
        assert_eq!(limits, ["compute", "memory"]);
        let sum: f64 = list.operators.iter().map(|own| own.ms).sum();
        assert!((sum / list.latency_ms - 1.0).abs() < 1e-12);
        let [low, high] = list.latency_range_ms;
        assert!(low < list.latency_ms && list.latency_ms < high);
        assert!(list.advice.iter().any(|advice| advice.change == "bf16 in place of f32" && advice.factor > 2.0));
        // The same list, priced in bf16, takes what was told.
        let told = list.advice.iter().find(|advice| advice.change.starts_with("bf16")).map(|advice| advice.ms).unwrap();
        let then = price(&[item(4096.0, Element::Bf16), item(1.0, Element::Bf16)], &on("h100-sxm")).unwrap();
        assert!((then.latency_ms / told - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_core_is_refused() {
        let error = price(&[item(1.0, Element::F32)], &on("epyc-7452")).unwrap_err();
        assert_eq!(error.field_name(), Some("device"));
        assert!(error.to_string().contains("h100-sxm"), "{error}");
    }
}
