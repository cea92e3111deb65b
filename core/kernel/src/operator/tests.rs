//! Prices against measurements: a committed sample, and all rows where they lie beside the checkout.

use std::collections::BTreeMap;
use std::path::Path;

use accel_ground::device::{self, DeviceInfo};

use super::*;

/// 200 of the rows that were fitted, with what the fit expects of them.
const SAMPLE: &str = include_str!("../../../../tests/fixtures/gpu/sample.csv");
/// Rates of products on an H100's tensor cores.
const TENSOR: &str = include_str!("../../../../tests/fixtures/gpu/h100_tensor_cores.csv");

/// The names of the devices in the measurements.
const NAMES: [(&str, &str); 8] = [
    ("NVIDIA A100 80GB PCIe", "a100-80-pcie"),
    ("NVIDIA A100-PCIE-40GB", "a100-40-pcie"),
    ("NVIDIA H100 80GB HBM3", "h100-sxm"),
    ("NVIDIA L4", "l4"),
    ("Tesla P100-PCIE-16GB", "p100-pcie"),
    ("Tesla P4", "p4"),
    ("Tesla T4", "t4"),
    ("Tesla V100-PCIE-32GB", "v100-pcie"),
];

fn row(name: &str) -> &'static DeviceInfo {
    device::find(name).unwrap()
}

fn chip(name: &str) -> Chip {
    let row = row(name);
    Chip::of(&row.device(), row.on_chip_bytes.unwrap_or_default() as f64)
}

/// The same device under a name that no measurement knows: all follows from its figures.
fn unknown(name: &str) -> Chip {
    Chip { name: String::new(), ..chip(name) }
}

/// A measurement.
struct Row {
    class: &'static str,
    device: String,
    operator: Operator,
    ms: f64,
    fitted_ms: Option<f64>,
}

fn product(class: fn(Product) -> Class, element: Element, product: Product) -> Operator {
    let Product { batch, m, n, k } = product;
    let size = element.bytes() as f64;
    let read_bytes = size * batch * (m * k + k * n);
    Operator { class: class(product), element, read_bytes, written_bytes: size * batch * m * n, operations: 0.0 }
}

fn rows(text: &str) -> Vec<Row> {
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let read = |line: &str| {
        let fields: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(',')).collect();
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<f64>().ok());
        let device = match fields.get("device") {
            Some(device) => NAMES.iter().find(|(name, _)| name == device).unwrap().1,
            None => fields["name"],
        };
        let matrix = || Product {
            batch: number("B").unwrap(),
            m: number("M").unwrap(),
            k: number("N").unwrap(),
            n: number("K").unwrap(),
        };
        let element = Element::F32;
        let pass = |class: Class, passes: f64| {
            let bytes = 4.0 * number("B").unwrap() * number("H").unwrap();
            Operator { class, element, read_bytes: (passes - 1.0) * bytes, written_bytes: bytes, operations: 0.0 }
        };
        let own = || Rows { rows: number("B").unwrap(), columns: number("H").unwrap() };
        let (class, operator) = match fields["op"] {
            "linear" => ("linear", product(Class::Linear, element, matrix())),
            "bmm" => ("bmm", product(Class::Bmm, element, matrix())),
            "softmax" => ("softmax", pass(Class::Softmax(own()), 2.0)),
            "ln" => ("ln", pass(Class::Norm(own()), 2.0)),
            "add" | "mul" | "div" | "pow" => ("elementwise", pass(Class::Elementwise, 3.0)),
            _ => ("elementwise", pass(Class::Elementwise, 2.0)),
        };
        Row {
            class,
            device: device.to_owned(),
            operator,
            ms: number("latency_ms").unwrap(),
            fitted_ms: number("fitted_ms"),
        }
    };
    lines.filter(|line| !line.is_empty()).map(read).collect()
}

/// Mean absolute percentage error and the share inside the interval, by class.
fn errors<'r>(rows: impl Iterator<Item = &'r Row>, chip: fn(&str) -> Chip) -> BTreeMap<&'static str, (f64, f64, f64)> {
    let mut found: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for row in rows {
        let price = chip(&row.device).price(&row.operator);
        let entry = found.entry(row.class).or_default();
        entry.0 += 1.0;
        entry.1 += (price.expected * 1e3 / row.ms - 1.0).abs();
        entry.2 += f64::from(u8::from((price.least * 1e3..=price.most * 1e3).contains(&row.ms)));
    }
    found.into_iter().map(|(class, (count, error, inside))| (class, (count, error / count, inside / count))).collect()
}

/// What must hold: issue 19.
const BARS: [(&str, f64); 5] =
    [("linear", 0.15), ("bmm", 0.20), ("elementwise", 0.08), ("softmax", 0.15), ("ln", 0.15)];

#[test]
fn the_sample_is_priced_as_fitted() {
    let rows = rows(SAMPLE);
    assert_eq!(rows.len(), 200);
    for row in &rows {
        let price = chip(&row.device).price(&row.operator);
        let fitted = row.fitted_ms.unwrap();
        let ratio = price.expected * 1e3 / fitted;
        assert!((ratio - 1.0).abs() < 0.005, "{} {}: {ratio} of {fitted} ms", row.class, row.device);
        assert!(0.0 < price.least && price.least <= price.expected && price.expected <= price.most);
    }
    let found = errors(rows.iter(), chip);
    for (class, bar) in BARS {
        let (count, error, inside) = found[class];
        println!("{class}: {count} rows, mean absolute percentage error {error:.3}, {inside:.2} inside");
        assert!(error <= bar, "{class}: {error}");
    }
    let inside = found.values().map(|(count, _, inside)| count * inside).sum::<f64>() / 200.0;
    assert!(inside >= 0.9, "{inside}");
}

#[test]
fn all_measured_rows_are_priced_within_the_bars() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/gpu_latency.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let rows = rows(&text);
    for (known, chip) in [("measured", chip as fn(&str) -> Chip), ("by figures", unknown)] {
        for (_, name) in NAMES {
            for (class, (count, error, inside)) in errors(rows.iter().filter(|row| row.device == name), chip) {
                println!("{known:10} {name:14} {class:12} {count:6} rows, error {error:.3}, {inside:.3} inside");
            }
        }
        let found = errors(rows.iter(), chip);
        for (class, bar) in BARS {
            let (count, error, inside) = found[class];
            println!("{known:10} all devices    {class:12} {count:6} rows, error {error:.3}, {inside:.3} inside");
            assert!(error <= bar && inside >= 0.9, "{known}, {class}: {error}, {inside} inside");
        }
    }
}

/// One chip on boards of different power.
#[test]
fn products_on_a_device_that_nobody_measured_follow_its_power() {
    let sizes = Product { batch: 1.0, m: 8192.0, n: 8192.0, k: 8192.0 };
    let operator = product(Class::Linear, Element::F32, sizes);
    let share = |watts: f64, name: &str| {
        let chip = unknown(name);
        let chip = Chip { gpu: chip.gpu.map(|gpu| Gpu { watts, ..gpu }), ..chip };
        sizes.operations() / chip.price(&operator).compute / chip.vector_rate(Element::F32)
    };
    // An eighth of the power gives a quarter of the clock where power holds it down; elsewhere nothing changes.
    let (low, high) = (share(20.0, "a100-40-pcie"), share(160.0, "a100-40-pcie"));
    assert!((high / low - 4.0).abs() < 0.2, "{low} {high}");
    let [one, other] = [share(600.0, "a100-40-pcie"), share(6000.0, "a100-40-pcie")];
    assert!((one - other).abs() < 1e-9 && one > high, "{one} {other} {high}");
}

/// What AMD measured of rocBLAS on an MI210: TFLOP/s of square products of f32 (ROCm/rocm-libraries#9453).
#[test]
fn products_of_f32_on_matrix_cores_take_what_was_measured() {
    let mut error = 0.0;
    for (extent, tflops) in [(1024.0, 30.1), (2048.0, 34.6), (4096.0, 32.3), (8192.0, 37.9)] {
        let sizes = Product { batch: 1.0, m: extent, n: extent, k: extent };
        let price = chip("mi210").price(&product(Class::Linear, Element::F32, sizes));
        // Without the start from a framework.
        let seconds = sizes.operations() / tflops / 1e12;
        let expected = price.busy(1.0, 1.0);
        error += (expected / seconds - 1.0).abs() / 4.0;
        println!("{extent}: {:.1} instead of {tflops} TFLOP/s", sizes.operations() / expected / 1e12);
        let (least, most) = (price.least / price.expected, price.most / price.expected);
        assert!((least * expected..=most * expected).contains(&seconds), "{extent}: {expected} s for {seconds} s");
    }
    assert!(error < 0.2, "{error}");
}

#[test]
fn the_script_and_the_table_of_devices_agree() {
    let script = include_str!("../../../../tests/fixtures/gpu_latency.py");
    for (measured, name) in NAMES {
        let row = row(name);
        let machine = row.device().machine.unwrap();
        let gpu = machine.gpu.unwrap();
        let number = |value: f64| value.to_string();
        let peak = machine.vector_tflops.unwrap().f32;
        let line = format!(
            "\"{measured}\": (\"{name}\", {}, {}, {}, {}, {}, {}, \"{:?}\", \"{:?}\")",
            gpu.multiprocessors,
            gpu.threads,
            if peak.fract() == 0.0 { format!("{peak:.1}") } else { number(peak) },
            number(row.device().dram_gb_s),
            row.on_chip_bytes.unwrap() >> 20,
            number(gpu.watts),
            gpu.memory,
            gpu.architecture,
        );
        assert!(script.contains(&line), "{line}");
    }
    for row in MEASURED {
        assert!(device::find(row.device).is_ok(), "{}", row.device);
    }
}

#[test]
fn tensor_cores_take_what_was_measured() {
    for (column, element, bar, tf32) in [(4, Element::Bf16, 0.08, false), (5, Element::F32, 0.15, true)] {
        let chip = if tf32 { chip("h100-sxm").with_tf32().unwrap() } else { chip("h100-sxm") };
        let (mut error, mut inside, mut count) = (0.0, 0.0, 0.0);
        for line in TENSOR.lines().skip(1).filter(|line| !line.is_empty()) {
            let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
            let own = Product { batch: fields[0], m: fields[1], n: fields[2], k: fields[3] };
            let seconds = own.operations() / fields[column];
            let price = chip.price(&product(Class::Linear, element, own));
            // Measured on the device alone: without the start from a framework, with its own.
            let [_, _, start] = FIT.tensor.at(usize::from(tf32));
            let expected = price.busy(1.0, 1.0) + start * 1e-3;
            error += (expected / seconds - 1.0).abs();
            let range = price.least / price.expected * expected..=price.most / price.expected * expected;
            inside += f64::from(u8::from(range.contains(&seconds)));
            count += 1.0;
        }
        println!("{element:?}: error {:.3}, {:.2} inside", error / count, inside / count);
        assert!(error / count < bar && inside / count >= 0.9, "{element:?}: {} {}", error / count, inside / count);
    }
}

/// Measured by NeuSight's authors, and not among the rows that were fitted: an operation with a scalar on f32[98304, 2048],
/// and a sum on f32[16384, 8192].
#[test]
fn large_passes_take_what_was_measured() {
    for (device, elements, passes, ms) in
        [("a100-80-pcie", 98_304.0 * 2048.0, 2.0, 0.973), ("a100-40-pcie", 16_384.0 * 8192.0, 3.0, 1.198)]
    {
        let bytes = 4.0 * elements;
        let read_bytes = (passes - 1.0) * bytes;
        let operator = Operator {
            class: Class::Elementwise,
            element: Element::F32,
            read_bytes,
            written_bytes: bytes,
            operations: elements,
        };
        let price = chip(device).price(&operator);
        let expected = price.expected * 1e3;
        assert!(price.least * 1e3 <= ms && ms <= price.most * 1e3, "{device}: {price:?}");
        assert!((expected / ms - 1.0).abs() < 0.05, "{device}: {expected} instead of {ms}");
        assert_eq!(price.limit(), Limit::Memory);
    }
}

#[test]
fn prices_are_finite_and_grow_with_work() {
    for row in device::DEVICES {
        let chip = chip(row.name);
        for element in [Element::F64, Element::F32, Element::Bf16, Element::F8, Element::I8, Element::I64] {
            for extent in [0.0, 1.0, 7.0, 128.0, 5000.0, 1e6] {
                let sizes = Product { batch: 3.0, m: extent, n: extent, k: extent };
                let rows = Rows { rows: extent, columns: extent };
                let size = element.bytes() as f64 * extent * extent;
                let classes = [
                    Class::Elementwise,
                    Class::Transpose,
                    Class::Reduction,
                    Class::Softmax(rows),
                    Class::Norm(rows),
                    Class::Gather { bytes: 4.0 },
                    Class::Sort,
                    Class::Linear(sizes),
                    Class::Bmm(sizes),
                    Class::Attention(sizes),
                ];
                for class in classes {
                    let operator =
                        Operator { class, element, read_bytes: size, written_bytes: size, operations: extent * extent };
                    let price = chip.price(&operator);
                    let all = [price.least, price.expected, price.most];
                    assert!(all.iter().all(|s| s.is_finite() && *s >= 0.0), "{} {class:?}: {price:?}", row.name);
                    assert!(price.least <= price.expected && price.expected <= price.most);
                    let busy = price.start + price.busy(1.0, 1.0);
                    assert!((busy - price.expected).abs() <= 1e-12 * price.expected.max(1e-9), "{price:?}");
                    let twice = Operator { read_bytes: 2.0 * size, written_bytes: 2.0 * size, ..operator };
                    assert!(chip.price(&twice).expected >= price.expected);
                }
            }
        }
    }
}
