//! Energy as a ledger: how much of what, at how many picojoules, from least to most, each with its source.
//!
//! Only data movement and arithmetic are counted. Leakage, control, and links between chips not named are not.

use serde::{Deserialize, Serialize};

/// A fused multiply-add at 7 nm, in pJ: its multiplication and its addition (Jouppi et al., "Ten Lessons From Three
/// Generations", ISCA 2021, table 2, unverified).
const FLOAT32_PJ: [f64; 2] = [1.31, 0.38];
/// The same for bfloat16.
const BFLOAT16_PJ: [f64; 2] = [0.21, 0.11];

/// Energy per FLOP: a multiplication with its addition is two.
fn per_flop([multiply, add]: [f64; 2]) -> f64 {
    (multiply + add) / 2.0
}

/// A line of the ledger: `amount` x pJ = J.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// What was done.
    pub what: String,
    /// How often.
    pub amount: f64,
    /// In which unit: `bit` or `FLOP`.
    pub unit: String,
    /// Energy of one in pJ, the least that is plausible.
    pub low_pj: f64,
    /// Energy of one in pJ, the most.
    pub high_pj: f64,
    /// Joules, least.
    pub low_j: f64,
    /// Joules, most.
    pub high_j: f64,
    /// Where the pJ come from.
    pub source: String,
}

/// The ledger and its sums.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Energy {
    /// Joules, least.
    pub low_j: f64,
    /// Joules, most.
    pub high_j: f64,
    /// Line by line.
    pub ledger: Vec<Item>,
}

impl Energy {
    /// Adds a line.
    fn add(&mut self, what: impl Into<String>, amount: f64, unit: &str, [low_pj, high_pj]: [f64; 2], source: &str) {
        let (low_j, high_j) = (amount * low_pj * 1e-12, amount * high_pj * 1e-12);
        self.low_j += low_j;
        self.high_j += high_j;
        let (what, unit, source) = (what.into(), unit.into(), source.into());
        self.ledger.push(Item { what, amount, unit, low_pj, high_pj, low_j, high_j, source });
    }

    /// Bytes moved over `what`.
    pub fn moved(&mut self, what: impl Into<String>, bytes: u64, pj_per_bit: [f64; 2], source: &str) {
        self.add(what, 8.0 * bytes as f64, "bit", pj_per_bit, source);
    }

    /// Bytes read from and written to an on-chip memory of `capacity` bytes.
    pub fn on_chip(&mut self, bytes: u64, capacity: u64) {
        // 14 pJ for 64 bits from a bank of 1 MB at 7 nm; as a whole, a memory costs about the square root of its
        // size more (the trend of Horowitz's 8 KB, 32 KB and 1 MB at 45 nm).
        let bank = 14.0 / 64.0;
        let whole = bank * (capacity as f64 / 1e6).sqrt().max(1.0);
        let source = "14 pJ per 64 bits of 1 MB SRAM at 7 nm (Jouppi et al., ISCA 2021, table 2, unverified), times \
                      the square root of the size at most (trend of Horowitz, ISSCC 2014)";
        self.moved("on-chip memory", bytes, [bank, whole], source);
    }

    /// Bytes moved over `what`, where they are an expectation.
    pub fn moved_bytes(&mut self, what: impl Into<String>, bytes: f64, pj_per_bit: [f64; 2], source: &str) {
        self.add(what, 8.0 * bytes, "bit", pj_per_bit, source);
    }

    /// Bytes read from and written to a cache of `capacity` bytes.
    pub fn sram(&mut self, what: impl Into<String>, bytes: f64, capacity: u64) {
        // pJ for 64 bits by size: at 7 nm (Jouppi) and at 45 nm (Horowitz).
        const SIZES: [(f64, f64, f64); 3] = [(8.0, 7.5, 10.0), (32.0, 8.5, 20.0), (1024.0, 14.0, 100.0)];
        let kib = capacity as f64 / 1024.0;
        // The largest size that is not larger, and the smallest that is not smaller: what lies between is not published.
        let low = SIZES.iter().rev().find(|(size, ..)| *size <= kib).map_or(7.5, |(_, low, _)| *low);
        let high = SIZES.iter().find(|(size, ..)| *size >= kib).map(|(.., high)| *high);
        let high = high.unwrap_or_else(|| 100.0 * (kib / 1024.0).sqrt());
        let source = "SRAM of 8 KB, 32 KB and 1 MB: 7.5, 8.5 and 14 pJ per 64 bits at 7 nm (Jouppi et al., ISCA 2021, table \
                      2, unverified) to 10, 20 and 100 at 45 nm (Horowitz, ISSCC 2014), above it with the square root of \
                      the size";
        self.moved_bytes(what, bytes, [low / 64.0, high / 64.0], source);
    }

    /// Arithmetic on floating-point values of `size` bytes.
    pub fn computed(&mut self, flops: f64, size: u64) {
        let (pj, source) = match size {
            8 => (
                [6.5 / 2.0, 50.0 / 2.0],
                "fused multiply-add: 6.5 pJ (10 nm, low voltage) to 50 pJ (40 nm) (Keckler et al., IEEE Micro 2011, \
                 unverified)",
            ),
            4 => (
                [per_flop(FLOAT32_PJ), per_flop([3.7, 0.9])],
                "float32 at 7 nm (Jouppi et al., ISCA 2021, table 2, unverified) to 45 nm (Horowitz, ISSCC 2014)",
            ),
            _ => (
                [per_flop(BFLOAT16_PJ), per_flop([1.1, 0.4])],
                "bfloat16 at 7 nm (Jouppi et al., ISCA 2021, table 2, unverified) to float16 at 45 nm (Horowitz, ISSCC \
                 2014)",
            ),
        };
        self.add(format!("arithmetic on {} bits", 8 * size), flops, "FLOP", pj, source);
    }

    /// Arithmetic.
    pub fn arithmetic(&mut self, flops: f64) {
        let source = "bfloat16 to float32 at 7 nm (Jouppi et al., ISCA 2021, table 2; bfloat16 unverified)";
        self.add("arithmetic", flops, "FLOP", [per_flop(BFLOAT16_PJ), per_flop(FLOAT32_PJ)], source);
    }
}
