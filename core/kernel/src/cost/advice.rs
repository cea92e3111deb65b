//! Which changes would help on a device that works as a whole, by pricing the operators as they would be.

use std::ops::Range;

use super::demand::Priced;
use crate::nest::{Element, Program};
use crate::operator::{Chip, Class, Operator, Price};
use crate::report::Advice;

/// What helps less is left out: less than what models know.
const LEAST_GAIN: f64 = 1.05;

/// An operator, what it takes now, and how often it runs.
pub(crate) type Now<'a> = (&'a Operator, &'a Price, f64);

/// The changes that help a program, the best first; `seconds` is what it takes now.
pub(super) fn advice(program: &Program, operators: &[Priced], chip: &Chip, seconds: f64) -> Vec<Advice> {
    let now: Vec<Now<'_>> = operators.iter().map(|own| (&own.operator, &own.price, own.runs)).collect();
    let mut all = changes(&now, chip);
    let (fused, kernels) = fused(program, operators, chip);
    if kernels > 0 {
        let what = if kernels == 1 { "operation".to_owned() } else { format!("{kernels} operations") };
        all.push((format!("element-wise {what} in the pass before, whose result is then not stored"), fused));
    }
    helpful(all, seconds)
}

/// Changes of types and of layouts, and by how many seconds each changes the time.
pub(crate) fn changes(operators: &[Now<'_>], chip: &Chip) -> Vec<(String, f64)> {
    let priced = |(_, price, _): &Now<'_>, operator: Operator| chip.price(&operator).expected.min(price.expected);
    let each = |change: &dyn Fn(&Now<'_>) -> f64| -> f64 {
        operators.iter().map(|own| own.2 * (change(own) - own.1.expected)).sum()
    };
    let halved = |from: &'static [Element], to: Element, products: bool| {
        each(&|own| {
            if from.contains(&own.0.element) && (!products || own.0.class.product().is_some()) {
                priced(own, own.0.with(to))
            } else {
                own.1.expected
            }
        })
    };
    let mut all = vec![
        ("bf16 in place of f32".to_owned(), halved(&[Element::F32], Element::Bf16, false)),
        ("f32 in place of f64".to_owned(), halved(&[Element::F64], Element::F32, false)),
    ];
    if chip.has_f8() {
        let change = halved(&[Element::F16, Element::Bf16], Element::F8, true);
        all.push(("fp8 in products, in place of 16 bits".to_owned(), change));
    }
    if let Some(tf32) = chip.with_tf32() {
        let change = each(&|own| match (own.0.class.product(), own.0.element) {
            (Some(_), Element::F32) => tf32.price(own.0).expected.min(own.1.expected),
            _ => own.1.expected,
        });
        all.push(("TF32 in products of f32".to_owned(), change));
    }
    let along = each(&|own| match own.0.class {
        Class::Transpose => priced(own, Operator { class: Class::Elementwise, ..*own.0 }),
        _ => own.1.expected,
    });
    all.push(("rows of operands and results in the same order in memory".to_owned(), along));
    all
}

/// Those that help, the best first.
pub(crate) fn helpful(changes: Vec<(String, f64)>, seconds: f64) -> Vec<Advice> {
    let mut all: Vec<Advice> = changes
        .into_iter()
        .map(|(change, difference)| {
            let then = (seconds + difference).max(f64::MIN_POSITIVE);
            Advice { change, ms: then * 1e3, factor: seconds / then }
        })
        .filter(|advice| advice.factor >= LEAST_GAIN)
        .collect();
    all.sort_by(|a, b| b.factor.total_cmp(&a.factor));
    all
}

/// Seconds that change, and how many operations are gone, where each that works on elements follows what it reads from.
fn fused(program: &Program, operators: &[Priced], chip: &Chip) -> (f64, usize) {
    let (mut difference, mut kernels) = (0.0, 0);
    let mut at = 0;
    while let Some(first) = operators.get(at) {
        let mut whole = first.operator;
        let mut chain: Range<usize> = at..at + 1;
        while let (Some(before), Some(next)) = (operators.get(chain.end - 1), operators.get(chain.end)) {
            let between = before.writes.iter().find(|array| {
                next.reads.contains(array) && program.arrays.get(**array).is_some_and(|array| array.temporary)
            });
            // What is between must be read by nobody else.
            let again = |array: &usize| operators.iter().skip(chain.end + 1).any(|own| own.reads.contains(array));
            let (Some(array), Class::Elementwise, true) = (between, next.operator.class, next.runs == before.runs)
            else {
                break;
            };
            if again(array) {
                break;
            }
            let spared = before.operator.written_bytes.min(next.operator.read_bytes);
            whole.read_bytes += next.operator.read_bytes - spared;
            whole.written_bytes += next.operator.written_bytes - before.operator.written_bytes;
            whole.operations += next.operator.operations;
            chain.end += 1;
        }
        let parts: f64 = operators.iter().skip(chain.start).take(chain.len()).map(|own| own.price.expected).sum();
        let change = chip.price(&whole).expected - parts;
        if chain.len() > 1 && change < 0.0 {
            difference += first.runs * change;
            kernels += chain.len() - 1;
        }
        at = chain.end;
    }
    (difference, kernels)
}
