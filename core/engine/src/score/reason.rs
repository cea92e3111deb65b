//! Where a score comes from, in words.

use rustc_hash::FxHashMap;

use super::embedded::{Inputs, Network};
use super::history::{ONE, Seen, Source, WAITS, predicted, scan, source};
use super::prompt::{line, size, verb};
use super::{Features, Scorer, features, of_log2, predicted_reuse_distance};
use crate::trace::Trace;
use crate::units::{format_bytes, format_count};

/// What the scores of `accesses` by `scorer` rest on, in the same order.
pub fn reasons(trace: &Trace, scorer: Scorer, accesses: &[u32]) -> Vec<String> {
    let mut words: FxHashMap<u32, String> = accesses.iter().map(|access| (*access, String::new())).collect();
    let mut tell = |now: usize, reason: &dyn Fn() -> String| {
        if let Some(words) = words.get_mut(&(now as u32)) {
            *words = reason();
        }
    };
    match scorer {
        Scorer::Heuristic => features(trace).enumerate().for_each(|(now, features)| {
            tell(now, &|| {
                let Features { bytes, uses, stride } = features;
                format!("{}, {} uses before, stride {stride}", format_bytes(bytes), format_count(uses.into()))
            });
        }),
        Scorer::History | Scorer::Embedded => {
            let network = (scorer == Scorer::Embedded).then(Network::trained);
            let mut now = 0;
            scan(trace, |seen| {
                tell(now, &|| {
                    let history = by_history(trace, seen, now);
                    let Some(network) = &network else { return history };
                    let [network, alone] = [network.predict(&Inputs::of(seen)), predicted(seen)].map(accesses_in);
                    format!("the network: {network}; history alone: {alone}, for {history}")
                });
                now += 1;
            });
        }
        Scorer::Local | Scorer::Remote => {
            let mut now = 0;
            scan(trace, |seen| {
                tell(now, &|| format!("the answer to: {}", line(seen)));
                now += 1;
            });
        }
    }
    accesses.iter().map(|access| words.get(access).cloned().unwrap_or_default()).collect()
}

/// A [`log2`](super::log2) of accesses.
fn accesses_in(log2: u16) -> String {
    format!("{} accesses", format_count(predicted_reuse_distance(of_log2(log2))))
}

fn by_history(trace: &Trace, seen: &Seen, now: usize) -> String {
    match source(seen) {
        Source::Context(context) => {
            let (outcomes, mean) = (seen.contexts[context].outcomes, seen.contexts[context].mean);
            let (who, mean) = (alike(trace, seen, now, context), accesses_in(mean));
            format!("{who} came back after {mean} (mean, {} times)", format_count(outcomes.into()))
        }
        Source::Gone(context) => {
            let share = 100 * i32::from(seen.contexts[context].beyond[1]) / ONE;
            let (who, wait) = (alike(trace, seen, now, context), format_count(WAITS[1] as u64));
            format!("{share} % of {who} had not come back after {wait} accesses")
        }
        Source::All => {
            let mean = accesses_in(seen.all.mean);
            format!("nothing like it came back yet; others did after {mean} (mean, {} times)", seen.all.outcomes)
        }
        Source::Nothing => "nothing came back yet".into(),
    }
}

/// Whom the accesses of a context have in common, by the list at [`CONTEXTS`](super::history::CONTEXTS).
fn alike(trace: &Trace, seen: &Seen, now: usize, context: usize) -> String {
    let Seen { kind, op, mode, bytes, gaps, place, .. } = *seen;
    let (kind, used) = (kind.title(), format!("{} by {}", verb(mode), op.name()));
    let (about, exactly) = (size(bytes), format_bytes(bytes));
    let [gap, before] = gaps.map(|gap| if gap == 0 { "none".to_owned() } else { format_count(gap.into()) });
    match context {
        0 => format!("{kind} of about {about}"),
        1 => format!("{kind} of about {about}, {used}"),
        2 => format!("{kind} of about {about}, {used}, last gap about {gap}"),
        3 => format!("{kind} of about {about}, {used}, after two accesses like these"),
        4 => {
            let way = if place.backwards { "backward" } else { "forward" };
            format!("{kind} of {exactly}, {used}, at layer {} going {way}", place.layer)
        }
        5 => format!("{kind} of {exactly}, {used}, last gaps {gap} and {before}"),
        own => {
            let name = &trace.tensors()[trace.accesses()[now] as usize].name;
            let after = if own == 6 { String::new() } else { format!(", last gap about {gap}") };
            format!("{name}, {used}{after},")
        }
    }
}
