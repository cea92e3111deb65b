//! Energy: what moves and is computed, at the picojoules of each, from least to most.

use super::demand::Demands;
use super::target::Target;
use crate::cache::Misses;
use accel_ground::energy::Energy;

/// The ledger of a run.
pub(super) fn energy(demands: &Demands, misses: &[Misses], target: &Target) -> Energy {
    let mut energy = Energy::default();
    let [all, library] = demands.bytes;
    if let Some(nearest) = target.levels.first() {
        energy.sram(nearest.name.clone(), all - library, nearest.capacity_bytes);
    }
    for (level, below) in misses.iter().zip(&target.below) {
        let lines = level.compulsory.value() + level.capacity.value() + level.write_backs.value();
        let bytes = lines * target.line_bytes as f64;
        match (below.bytes, target.device.dram_pj_per_bit) {
            (Some(capacity), _) => energy.sram(below.name.clone(), bytes, capacity),
            (None, Some(pj_per_bit)) => {
                energy.moved_bytes("DRAM", bytes, pj_per_bit, "the device's DRAM; see the table of devices");
            }
            (None, None) => {}
        }
    }
    for (element, flops) in &demands.flops {
        energy.computed(*flops, element.bytes());
    }
    energy
}
