//! Time: the parts, how much of its peak the machine reaches in each, and what overlaps.

use super::demand::{Demand, Demands};
use super::target::Target;

/// What share of its peak the machine reaches in each kind of part: expected, and at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Efficiency {
    /// FLOPs, loads and stores of plain code.
    plain: f64,
    /// Matrix products of libraries.
    library: f64,
    /// Bytes between memories.
    traffic: f64,
    /// Misses that wait at once where addresses come from data.
    outstanding: f64,
    /// Stores into other lines each that wait at once.
    ordered: f64,
    /// Translations of addresses that are looked up at once.
    walks: f64,
}

/// Nothing is lost, and misses wait for nobody.
const PEAK: Efficiency = Efficiency {
    plain: 1.0,
    library: 1.0,
    traffic: 1.0,
    outstanding: f64::INFINITY,
    ordered: f64::INFINITY,
    walks: f64::INFINITY,
};

/// One core. Plain code: loads from L1 reached 0.92 (Zen 2) and 0.83 (Skylake) of what the ports allow; traffic: the
/// mean of the streams in the test below, against the best mix of loads and stores, which is the peak here (all from
/// kerncraft's machine files). Libraries: about 0.9 of the peak on one core of Zen 2 (flame/blis, docs/Performance.md).
/// Ten line fill buffers where nobody says how many lines the core waits for at once, and two walks through the tables of pages at once, each of which finds its entry in L2 (Intel's
/// optimisation manual, Skylake: 10 to 12, and 2). Stores into other lines each wait in the same buffers, because their lines
/// are asked for before their turn comes: on Sapphire Rapids, 17.7 of them at once where loads were 15.5
/// (`benches/machine/calibrate.c`, sixteen buffers).
const CORE: Efficiency =
    Efficiency { plain: 0.87, library: 0.9, traffic: 0.75, outstanding: 10.0, ordered: 10.0, walks: 2.0 };
/// The least: traffic is that of loads from Skylake's L3; the others are an assumption, half of the peak.
const CORE_LEAST: Efficiency =
    Efficiency { plain: 0.5, library: 0.6, traffic: 0.5, outstanding: 1.0, ordered: 1.0, walks: 1.0 };

/// A device as a whole. NeuSight (Lee et al., ASPLOS 2025) finds that a plain roofline is off by 55 % for batched
/// matrix products, 33 % for fully connected layers, 30 % for element-wise operations, 26 % for softmax and 55 % for
/// layer norm, on GPUs; it foretells too little, so they reach 0.45, 0.67, 0.70, 0.74 and 0.45 of it. Plain code: a
/// naive matrix product of 4096 on an H200 reached 0.7 of what load units move (25.3 ms, Roemerdt/matmulkernels).
const WHOLE: Efficiency =
    Efficiency { plain: 0.70, library: 0.67, traffic: 0.70, outstanding: 64.0, ordered: 64.0, walks: 1.0 };
/// The least of the figures above.
const WHOLE_LEAST: Efficiency =
    Efficiency { plain: 0.45, library: 0.45, traffic: 0.45, outstanding: 1.0, ordered: 1.0, walks: 1.0 };

/// How good things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    /// Everything runs at its peak.
    Best,
    /// As expected.
    Usual,
    /// At the lowest efficiency.
    Worst,
}

impl Target {
    fn efficiency(&self, luck: Luck) -> Efficiency {
        match (luck, self.core()) {
            (Luck::Best, _) => PEAK,
            (Luck::Usual, Some(core)) => {
                let [loads, stores] = [CORE.outstanding, CORE.ordered].map(|own| core.misses_at_once.unwrap_or(own));
                Efficiency { outstanding: loads, ordered: stores, ..CORE }
            }
            (Luck::Usual, None) => WHOLE,
            (Luck::Worst, Some(_)) => CORE_LEAST,
            (Luck::Worst, None) => WHOLE_LEAST,
        }
    }
}

/// The features, in the order of the prototype: bits of a set of features.
pub(super) const FEATURES: [&str; 6] = ["num_loops", "num_branches", "load_ops", "store_ops", "flops", "mem_bytes"];
/// All features.
pub(super) const ALL: u32 = (1 << FEATURES.len()) - 1;

/// The parts of the time in seconds, each by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parts {
    /// FLOPs and what waits for their results.
    pub(super) compute: f64,
    /// Between registers and the nearest memory.
    pub(super) nearest: f64,
    /// Loop counters and integer arithmetic.
    pub(super) loops: f64,
    /// Conditions.
    pub(super) branches: f64,
    /// To and from what lies below each level.
    pub(super) traffic: Vec<f64>,
    /// Misses that wait for each other.
    pub(super) latency: f64,
    /// Operators, one after the other, without their starts: all, arithmetic by itself, and bytes by themselves.
    pub(super) operators: [f64; 3],
    /// Starting all instructions.
    issue: f64,
    /// Whether one core does everything.
    core: bool,
}

impl Parts {
    /// The parts of `demand`, with the features outside `set` left out.
    pub(super) fn of(demand: &Demand, target: &Target, luck: Luck, set: u32) -> Self {
        let rate = target.efficiency(luck);
        let has = |bit: u32| f64::from(set >> bit & 1);
        let [loops, branches, loads, stores, flops, bytes] = [0, 1, 2, 3, 4, 5].map(has);
        let stall = if luck == Luck::Best { 0.0 } else { demand.stall };
        let core = target.core().is_some();
        let kept = if luck == Luck::Best { demand.kept } else { 0.0 };
        let (load, store) = (loads * (demand.loads - kept), stores * demand.stores);
        // A line's whole way is paid once, at the rate of the memory it comes from: rates were measured from there to
        // the registers. What also passes the level below comes from further down.
        let further = demand.traffic.iter().skip(1).chain([&0.0]);
        let served = demand.traffic.iter().zip(further).map(|(moved, further)| (moved - further).max(0.0));
        let traffic = served
            .zip(&target.below)
            .map(|(served, below)| below.gb_s.map_or(0.0, |gb_s| bytes * served / (gb_s * 1e9 * rate.traffic)));
        let [start_flops, start_loads, start_stores] = demand.issue;
        let start = flops * start_flops + loads * start_loads + stores * start_stores + loops * demand.loops;
        let operators = demand.operators.iter().fold([0.0; 3], |[all, compute, memory], (price, runs)| {
            [
                all + runs * price.busy(flops, bytes),
                compute + runs * flops * price.compute,
                memory + runs * bytes * price.memory,
            ]
        });
        Self {
            operators,
            compute: flops * (demand.compute / rate.plain + stall + demand.library / rate.library),
            // A core has ports for each; the units of a whole device do one or the other.
            nearest: if core { load.max(store) } else { load + store } / rate.plain,
            loops: loops * demand.loops / rate.plain,
            branches: branches * demand.branches / rate.plain,
            traffic: traffic.collect(),
            latency: bytes
                * (demand.latency / rate.outstanding + demand.ordered / rate.ordered + demand.walks / rate.walks),
            issue: start / rate.plain,
            core,
        }
    }

    /// The longest part: all others hide behind it.
    pub(super) fn longest(&self) -> f64 {
        let parts = [self.compute, self.nearest, self.loops, self.branches, self.latency];
        parts.into_iter().chain(self.traffic.iter().copied()).fold(0.0, f64::max)
    }

    /// One part after the other.
    pub(super) fn sum(&self) -> f64 {
        let parts = [self.compute, self.nearest, self.loops, self.branches, self.latency];
        parts.into_iter().chain(self.traffic.iter().copied()).sum::<f64>() + self.operators[0]
    }

    /// What overlaps as a rule. In a core, instructions hide behind the way of the data or the other way round; lines
    /// come one after the other, wherever they come from. In a whole device other threads fill every gap.
    pub(super) fn overlapped(&self) -> f64 {
        let moved = self.traffic.iter().copied();
        let work = self.compute.max(self.nearest);
        if self.core {
            (work.max(self.issue) + self.branches).max(moved.sum::<f64>() + self.latency)
        } else {
            work.max(moved.fold(0.0, f64::max)) + self.branches + self.loops + self.latency + self.operators[0]
        }
    }
}

/// Seconds: at least, as expected, at most.
pub(super) fn time(demands: &Demands, target: &Target) -> [f64; 3] {
    // Operators have intervals of their own.
    let [faster, slower] = demands
        .operators
        .iter()
        .fold([0.0; 2], |[least, most], own| [least + own.runs * own.price.least, most + own.runs * own.price.most]);
    let rest = Demand { operators: Vec::new(), ..demands.timed.clone() };
    let [least, most] = launch(demands, target);
    let best = least + faster + Parts::of(&rest, target, Luck::Best, ALL).longest();
    let worst = most + slower + Parts::of(&rest, target, Luck::Worst, ALL).sum();
    let usual = usual_launch(demands, target) + Parts::of(&demands.timed, target, Luck::Usual, ALL).overlapped();
    // Rounding must not push them past each other.
    [best.min(usual), usual, worst.max(usual)]
}

/// Starting all kernels, in seconds: at least and at most.
fn launch(demands: &Demands, target: &Target) -> [f64; 2] {
    target.launch().map(|each| each * demands.launches)
}

/// Starting all kernels as expected: the geometric mean of the least and the most.
pub(super) fn usual_launch(demands: &Demands, target: &Target) -> f64 {
    let [least, most] = launch(demands, target);
    let own: f64 = demands.operators.iter().map(|own| own.runs * own.price.start).sum();
    (least * most).sqrt() + own
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::Request;
    use accel_ground::device::DeviceRef;

    /// What kerncraft's machine files measured on one core: the level that holds the data (0: L2), loads and stores of
    /// 8 bytes per iteration, bytes to and from that level per iteration (a store's line comes in, too), and GB/s as
    /// counted by loads and stores.
    type Stream = (usize, f64, f64, f64, f64);
    const ZEN2: [Stream; 6] = [
        (0, 1.0, 0.0, 8.0, 74.64),
        (0, 3.0, 1.0, 40.0, 73.12),
        (1, 3.0, 1.0, 40.0, 60.48),
        (2, 1.0, 0.0, 8.0, 25.18),
        (2, 3.0, 1.0, 40.0, 22.88),
        (2, 1.0, 1.0, 16.0, 34.78),
    ];
    const SKYLAKE: [Stream; 11] = [
        (0, 1.0, 0.0, 8.0, 110.92),
        (0, 1.0, 1.0, 24.0, 70.32),
        (0, 3.0, 1.0, 40.0, 85.84),
        (0, 1.0, 1.0, 16.0, 88.71),
        (1, 1.0, 0.0, 8.0, 24.42),
        (1, 3.0, 1.0, 40.0, 24.52),
        (2, 1.0, 0.0, 8.0, 14.32),
        (2, 1.0, 1.0, 24.0, 13.08),
        (2, 2.0, 1.0, 24.0, 20.30),
        (2, 3.0, 1.0, 40.0, 13.91),
        (2, 1.0, 1.0, 16.0, 24.85),
    ];

    #[test]
    fn streams_take_what_was_measured() {
        let mut ratios = Vec::new();
        for (device, streams) in [("epyc-7452", &ZEN2[..]), ("xeon-6148", &SKYLAKE[..])] {
            let target = Target::of(&Request::default(), &DeviceRef::Known(device.into())).unwrap();
            let core = target.core().copied().unwrap();
            let vectors = f64::from(core.vector_bits) / 64.0 * core.clock_ghz * 1e9;
            for (level, loads, stores, bytes, gb_s) in streams {
                let traffic = (0..3).map(|i| if i <= *level { *bytes } else { 0.0 }).collect();
                let (load, store) = (loads / core.loads / vectors, stores / core.stores / vectors);
                let all = Demand { loads: load, stores: store, traffic, ..Demand::default() };
                let [low, point, high] = time(&Demands { timed: all, ..Demands::default() }, &target);
                let measured = 8.0 * (loads + stores) / (gb_s * 1e9);
                // Figures are rounded in the table of devices, and caches were as good for some mix.
                assert!(
                    low <= 1.01 * measured && measured <= high,
                    "{device} {level} {loads}: {low} {measured} {high}"
                );
                ratios.push(point / measured);
                println!(
                    "{device} level {level}, {loads} loads, {stores} stores: {:.2} of what was measured",
                    point / measured
                );
            }
        }
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        println!("on average {:.3}", mean.exp());
        assert!(mean.abs() < 0.05, "the mean is off: {}", mean.exp());
        assert!(ratios.iter().all(|ratio| (0.65..1.5).contains(ratio)), "{ratios:?}");
    }

    proptest! {
        #[test]
        fn expectation_lies_between_the_bounds(
            figures in proptest::array::uniform9(0.0..1e3f64),
            traffic in proptest::array::uniform3(0.0..1e12f64),
            device in prop_oneof![Just("epyc-7452"), Just("h100-sxm")],
        ) {
            let target = Target::of(&Request::default(), &DeviceRef::Known(device.into())).unwrap();
            let core = target.core().copied();
            let [compute, stall, library, loads, stores, loops, branches, latency, launches] = figures;
            // What is started in a cycle is at most what pipes and ports take.
            let issue = core.map_or([0.0; 3], |core| {
                [compute * core.pipes, loads * core.loads, stores * core.stores].map(|busy| busy / core.issue)
            });
            let all = Demand {
                compute, stall, library, loads, stores, loops, branches, latency, issue,
                traffic: traffic.to_vec(), ..Demand::default()
            };
            let demands = Demands { timed: all.clone(), all, launches, ..Demands::default() };
            let [low, point, high] = time(&demands, &target);
            prop_assert!(low <= point && point <= high, "{low} {point} {high}");
            let parts = Parts::of(&demands.all, &target, Luck::Best, ALL);
            prop_assert!(parts.longest() <= low - launch(&demands, &target)[0] + 1e-9);
            let empty = Parts::of(&demands.all, &target, Luck::Usual, 0);
            prop_assert_eq!(empty.overlapped(), 0.0);
        }
    }
}
