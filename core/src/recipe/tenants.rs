//! Several workloads on one memory, a slice of each in turn.

use serde::{Deserialize, Serialize};

use super::Workload;
use crate::check::check_range;
use crate::error::Error;
use crate::trace::{MAX_ACCESSES, Trace, TraceBuilder};

/// Workloads that share a memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// Who shares, 1..=64.
    pub tenants: Vec<Tenant>,
}

/// One of several workloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name; the names of its tensors begin with it.
    pub name: String,
    /// What it does.
    pub workload: Workload,
    /// Accesses it makes before the next one's turn, 1..=1000000000.
    #[serde(default = "slice")]
    pub slice: u64,
}

/// Long enough for an operator or two, short enough for tenants to meet in memory.
fn slice() -> u64 {
    64
}

impl Tenants {
    /// Fails on the first field that is out of range.
    pub fn check(&self, capacity_bytes: u64) -> Result<(), Error> {
        check_range("tenants", self.tenants.len(), 1..=64)?;
        for (i, tenant) in self.tenants.iter().enumerate() {
            check_range("slice", tenant.slice, 1..=1_000_000_000)?;
            let bad = |problem: &str, cure: &str| Err(Error::field("tenants", &tenant.name, problem, cure));
            if tenant.name.is_empty() || self.tenants[..i].iter().any(|other| other.name == tenant.name) {
                return bad("two tenants have this name, or it is empty", "Give each a name of its own");
            }
            if matches!(tenant.workload, Workload::Tenants(_)) {
                return bad("a tenant cannot have tenants", "List them all side by side");
            }
            if tenant.workload.file().is_some() {
                return bad("a tenant's workload cannot need a file", "Use models by name or configuration");
            }
            tenant.workload.check(capacity_bytes)?;
        }
        Ok(())
    }

    /// Whether the trace of any depends on the capacity.
    pub(crate) fn follow_capacity(&self) -> bool {
        self.tenants.iter().any(|tenant| tenant.workload.follows_capacity())
    }

    /// The trace of all tenants; who is done drops out. Each draws from its own seed.
    pub(crate) fn trace(&self, seed: u64, capacity_bytes: u64) -> Result<Trace, Error> {
        self.check(capacity_bytes)?;
        let traces =
            (0..).zip(&self.tenants).map(|(i, tenant)| tenant.workload.trace(seed.wrapping_add(i), capacity_bytes));
        let traces = traces.collect::<Result<Vec<Trace>, Error>>()?;
        let total: usize = traces.iter().map(|trace| trace.accesses().len()).sum();
        if total > MAX_ACCESSES {
            return Err(Error::TooLarge {
                problem: format!("the tenants make {total} accesses together"),
                cure: "Use larger tiles, fewer tokens or fewer tenants".into(),
            });
        }
        let mut families: Vec<&str> = traces.iter().map(Trace::model_type).collect();
        families.dedup();
        let mut builder = TraceBuilder::new(families.join(" + "));
        let mut first = Vec::new();
        // Layers of tenants come one after the other, so that charts tell them apart.
        let mut layers = 0;
        for (tenant, trace) in self.tenants.iter().zip(&traces) {
            first.push(builder.tensors() as u32);
            let own = trace.tensors().iter().filter_map(|t| t.layer).max().map_or(0, |last| last + 1);
            for tensor in trace.tensors() {
                let name = format!("{}/{}", tenant.name, tensor.name);
                let layer = tensor.layer.map(|layer| layer.saturating_add(layers));
                builder.tensor(crate::trace::Tensor { name, layer, ..tensor.clone() })?;
            }
            layers = layers.saturating_add(own);
            trace.warnings().iter().for_each(|warning| builder.warn(format!("{}: {warning}", tenant.name)));
        }
        let mut at = vec![0; traces.len()];
        while at.iter().zip(&traces).any(|(at, trace)| *at < trace.accesses().len()) {
            for (i, (tenant, trace)) in self.tenants.iter().zip(&traces).enumerate() {
                let end = at[i].saturating_add(tenant.slice as usize).min(trace.accesses().len());
                for now in at[i]..end {
                    let tensor = first[i] + trace.accesses()[now];
                    builder.access_with(tensor, trace.op(now), trace.mode(now), trace.flops(now))?;
                }
                at[i] = end;
            }
        }
        // Each of them would need as much alone.
        builder.moves_at_least(traces.iter().map(Trace::least_bytes).sum());
        builder.finish("tenants")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::model_run::ModelRun;

    fn two(slice: u64) -> Tenants {
        let tenant = |name: &str, model: &str| Tenant {
            name: name.into(),
            workload: Workload::Model(ModelRun::preset(model)),
            slice,
        };
        Tenants { tenants: vec![tenant("a", "lenet-300-100"), tenant("b", "dlrm-top-mlp")] }
    }

    #[test]
    fn tenants_take_turns_and_keep_their_order() {
        let alone: Vec<Trace> = two(3).tenants.iter().map(|t| t.workload.trace(1, u64::MAX).unwrap()).collect();
        let trace = two(3).trace(1, u64::MAX).unwrap();
        let own = |prefix: &str| -> Vec<String> {
            let names = trace.accesses().iter().map(|t| trace.tensors()[*t as usize].name.as_str());
            names.filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
        };
        for (prefix, alone) in [("a/", &alone[0]), ("b/", &alone[1])] {
            let names: Vec<_> = alone.accesses().iter().map(|t| alone.tensors()[*t as usize].name.clone()).collect();
            assert_eq!(own(prefix), names);
        }
        let turns: Vec<u8> =
            trace.accesses()[..9].iter().map(|t| trace.tensors()[*t as usize].name.as_bytes()[0]).collect();
        assert_eq!(turns, b"aaabbbaaa");
        let sum = |traces: &[Trace]| traces.iter().map(|t| t.summary().requested_bytes).sum::<u64>();
        assert_eq!(trace.summary().requested_bytes, sum(&alone));
    }

    #[test]
    fn bad_tenants_are_refused() {
        let mut same = two(3);
        same.tenants[1].name = "a".into();
        assert_eq!(same.check(u64::MAX).unwrap_err().field_name(), Some("tenants"));
        assert_eq!(two(0).check(u64::MAX).unwrap_err().field_name(), Some("slice"));
        let mut nested = two(3);
        nested.tenants[0].workload = Workload::Tenants(two(3));
        assert_eq!(nested.check(u64::MAX).unwrap_err().field_name(), Some("tenants"));
        assert!(Tenants { tenants: Vec::new() }.check(u64::MAX).is_err());
    }
}
