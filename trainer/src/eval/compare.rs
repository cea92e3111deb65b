//! Who is compared: policies and scorers, and the best of the classics in two senses.

use accel_core::policy::{Knows, POLICIES, PolicyKind};

use super::gaps::{Mean, mean};
use super::measure::{Measured, PERFECT, Unit};

/// Points of one half, or of a part of it.
pub type Points<'p> = [&'p Measured];

/// Whose misses are looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Who {
    /// A policy, and who scores where it reads scores.
    Policy(PolicyKind, Option<&'static str>),
    /// The best of LRU and all classics, chosen at each point by what it misses there.
    Hindsight,
    /// The best schedule known.
    Best,
}

/// `ml-reuse` by a scorer.
pub const fn reuse(scorer: &'static str) -> Who {
    Who::Policy(PolicyKind::MlReuse, Some(scorer))
}

/// What is shipped and asked by default.
pub const EMBEDDED: Who = reuse(SCORERS[0]);
/// The scorers that a memory could have, the one that is asked by default first.
pub const SCORERS: [&str; 3] = ["embedded", "history", "heuristic"];
/// `ml-reuse` by each of them.
pub const SCORED: [Who; 3] = [EMBEDDED, reuse(SCORERS[1]), reuse(SCORERS[2])];
/// The prototype's policy.
pub const PROTOTYPE: Who = Who::Policy(PolicyKind::Ml, Some("heuristic"));
/// Predictions that are all true.
pub const ORACLE: Who = reuse(PERFECT);

/// The policies that know the past alone and read no scores, but for LRU, which all are measured by.
pub fn classics() -> impl Iterator<Item = PolicyKind> {
    let past = POLICIES.iter().filter(|policy| policy.knows == Knows::Past);
    past.map(|policy| policy.kind).filter(|kind| *kind != PolicyKind::Lru)
}

impl Who {
    /// The name in tables.
    pub fn title(self) -> String {
        match self {
            Self::Policy(policy, Some(scorer)) => format!("{}, {scorer}", policy.name()),
            Self::Policy(policy, None) => policy.name().to_owned(),
            Self::Hindsight => "best classic of each point".to_owned(),
            Self::Best => "best schedule known".to_owned(),
        }
    }

    /// What it costs at `point`.
    pub fn cost(self, point: &Measured, unit: Unit) -> Option<u64> {
        match self {
            Self::Policy(policy, scorer) => point.cost(policy, scorer, unit),
            Self::Hindsight => {
                let classics = classics().filter_map(|policy| point.cost(policy, None, unit));
                classics.chain(point.lru.get(unit)).min()
            }
            Self::Best => point.best.get(unit),
        }
    }

    /// The gap that it closes at `point`.
    pub fn gap(self, point: &Measured, unit: Unit) -> Option<f64> {
        point.gap(unit, self.cost(point, unit))
    }

    /// The mean gap.
    pub fn mean(self, points: &Points<'_>, unit: Unit) -> Mean {
        over(points, |point| self.gap(point, unit))
    }

    /// The mean share of the way to what no schedule goes below.
    pub fn proven(self, points: &Points<'_>, unit: Unit) -> Mean {
        over(points, |point| point.proven_gap(unit, self.cost(point, unit)))
    }

    /// The mean of what it closes more than `other`, point by point.
    pub fn ahead(self, other: Self, points: &Points<'_>, unit: Unit) -> Mean {
        over(points, |point| Some(self.gap(point, unit)? - other.gap(point, unit)?))
    }

    /// The points, and the lesser of the gaps that it closes in objects and in bytes, the least first.
    pub fn worst<'p>(self, points: &Points<'p>) -> Vec<(f64, &'p Measured)> {
        let least = |point: &'p Measured| {
            let gaps = [Unit::Objects, Unit::Bytes].into_iter().filter_map(|unit| self.gap(point, unit));
            gaps.min_by(f64::total_cmp).map(|gap| (gap, point))
        };
        let mut worst: Vec<(f64, &Measured)> = points.iter().filter_map(|point| least(point)).collect();
        worst.sort_by(|a, b| a.0.total_cmp(&b.0));
        worst
    }
}

fn over(points: &Points<'_>, value: impl Fn(&Measured) -> Option<f64>) -> Mean {
    mean(points.iter().filter_map(|point| Some(((&*point.family, &*point.workload), value(point)?))))
}

/// The classic whose mean gap over all of `points` is the greatest: chosen with hindsight as well, but once.
pub fn best_single(points: &Points<'_>, unit: Unit) -> Who {
    let mean = |policy: PolicyKind| {
        let gaps: Vec<f64> = points.iter().filter_map(|p| Who::Policy(policy, None).gap(p, unit)).collect();
        gaps.iter().sum::<f64>() / gaps.len().max(1) as f64
    };
    let all = classics().map(|policy| (policy, mean(policy)));
    // Of equals the first.
    let best = all.reduce(|best, other| if other.1 > best.1 { other } else { best });
    Who::Policy(best.map_or(PolicyKind::Lru, |(policy, _)| policy), None)
}

#[cfg(test)]
mod tests {
    use accel_core::policy::Admission;
    use accel_core::score::BuiltIn;

    use super::super::measure::{Cost, Run};
    use super::*;

    #[test]
    fn every_scorer_is_compared() {
        assert_eq!(BuiltIn::ALL.iter().map(|scorer| scorer.name()).collect::<Vec<_>>(), SCORERS);
        assert_eq!(BuiltIn::default().name(), SCORERS[0]);
    }

    /// A point where LRU misses 100, the best schedule 0, and others so many.
    fn point(workload: &str, runs: &[(PolicyKind, Option<&str>, u64)]) -> Measured {
        let cost = |misses| Cost { misses, miss_bytes: misses, stall_ns: None };
        let run = |(policy, scorer, misses): &(PolicyKind, Option<&str>, u64)| Run {
            policy: policy.name().into(),
            scorer: scorer.map(Into::into),
            cost: cost(*misses),
        };
        Measured {
            family: "any".into(),
            workload: workload.into(),
            point: workload.into(),
            seen: true,
            capacity_bytes: 1,
            admission: Admission::Always,
            accesses: 200,
            lru: cost(100),
            best: cost(0),
            proven: cost(0),
            runs: runs.iter().map(run).collect(),
        }
    }

    #[test]
    fn the_best_are_chosen_with_hindsight() {
        use PolicyKind::{Belady, Fifo, Lirs, MlReuse};
        let embedded = Some("embedded");
        let a = point("a", &[(Fifo, None, 50), (Lirs, None, 90), (Belady, None, 0), (MlReuse, embedded, 40)]);
        let b = point("b", &[(Fifo, None, 90), (Lirs, None, 20), (Belady, None, 0), (MlReuse, embedded, 30)]);
        let c = point("c", &[(Fifo, None, 130), (Lirs, None, 120), (Belady, None, 0), (MlReuse, embedded, 110)]);
        let points = [&a, &b, &c];
        // Not one that knows the future: LIRS closes .1, .8 and -.2; FIFO .5, .1 and -.3.
        assert_eq!(best_single(&points, Unit::Objects), Who::Policy(Lirs, None));
        let gaps = points.map(|point| Who::Hindsight.gap(point, Unit::Bytes).unwrap());
        assert_eq!(gaps, [0.5, 0.8, 0.0]);
        let ahead = EMBEDDED.ahead(Who::Hindsight, &points, Unit::Objects);
        assert!((ahead.mean - (0.1 - 0.1 - 0.1) / 3.0).abs() < 1e-12, "{ahead:?}");
        assert_eq!(EMBEDDED.worst(&points)[0], (-0.1, points[2]));
        assert_eq!((EMBEDDED.mean(&points, Unit::Stall).count, EMBEDDED.mean(&points, Unit::Bytes).count), (0, 3));
    }
}
