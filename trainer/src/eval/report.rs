//! `docs/evaluation.md`: every figure, and sentences that follow from figures.

use std::fmt::Write as _;

use accel_core::policy::{Admission, PolicyKind};

use super::compare::{EMBEDDED, ORACLE, PROTOTYPE, Points, SCORED, SCORERS, Who, best_single, classics, reuse};
use super::gaps::Mean;
use super::measure::{Measured, Unit};

/// The halves by name, and whether they were looked at.
const HALVES: [(&str, bool); 2] = [("never seen", false), ("validation", true)];
/// Points that are named as the worst of a scorer.
const WORST: usize = 5;

/// Two digits; a dash where there is nothing.
pub(super) fn two(value: f64) -> String {
    let text = format!("{value:.2}");
    match text.as_str() {
        "NaN" => "–".to_owned(),
        "-0.00" => "0.00".to_owned(),
        _ => text,
    }
}

/// Two digits and the interval.
fn interval(mean: Mean) -> String {
    if mean.count == 0 {
        "–".to_owned()
    } else {
        format!("{} [{}, {}]", two(mean.mean), two(mean.low), two(mean.high))
    }
}

/// A difference with its sign, and the interval.
fn difference(mean: Mean) -> String {
    let sign = if mean.mean >= 0.005 { "+" } else { "" };
    format!("{sign}{}", interval(mean))
}

/// Objects / bytes.
fn pair(of: impl Fn(Unit) -> Option<f64>) -> String {
    let [objects, bytes] = [Unit::Objects, Unit::Bytes].map(|unit| two(of(unit).unwrap_or(f64::NAN)));
    format!("{objects} / {bytes}")
}

fn means(who: Who, points: &Points<'_>) -> String {
    pair(|unit| Some(who.mean(points, unit).mean))
}

/// The points of a half.
pub(super) fn half(all: &[Measured], seen: bool) -> Vec<&Measured> {
    all.iter().filter(|point| point.seen == seen).collect()
}

/// The families in the order of the table.
pub(super) fn families<'p>(points: &Points<'p>) -> Vec<&'p str> {
    let mut families: Vec<&str> = Vec::new();
    for point in points {
        if !families.contains(&point.family.as_str()) {
            families.push(&point.family);
        }
    }
    families
}

fn of_family<'p>(points: &Points<'p>, family: &str) -> Vec<&'p Measured> {
    points.iter().copied().filter(|point| point.family == family).collect()
}

fn workloads(points: &Points<'_>) -> usize {
    points.iter().map(|point| (&point.family, &point.workload)).collect::<std::collections::BTreeSet<_>>().len()
}

/// A row of a table.
fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// The head of a table whose columns but the first are numbers.
fn head(out: &mut String, first: &str, columns: &[&str]) {
    row(out, std::iter::once(first).chain(columns.iter().copied()).map(str::to_owned));
    row(out, std::iter::once("---").chain(columns.iter().map(|_| "---:")).map(str::to_owned));
}

/// The result in a sentence or two; the README quotes it.
pub(super) fn quote(all: &[Measured]) -> String {
    let points = half(all, false);
    let single = |unit| best_single(&points, unit);
    let names = match (single(Unit::Objects).title(), single(Unit::Bytes).title()) {
        (objects, bytes) if objects == bytes => objects,
        (objects, bytes) => format!("{objects} for objects, {bytes} for bytes"),
    };
    let of = |who: &dyn Fn(Unit) -> Who, unit| two(who(unit).mean(&points, unit).mean);
    let both = |who: &dyn Fn(Unit) -> Who| [of(who, Unit::Objects), of(who, Unit::Bytes)];
    let ([a, b], [c, d], [e, f]) = (both(&|_| EMBEDDED), both(&single), both(&|_| Who::Hindsight));
    format!(
        "On {} points of {} workloads with models that were never looked at before, `ml-reuse` with the network that is \
         shipped closes {a} of the gap between LRU and the best schedule known in misses and {b} in bytes; the best single \
         classic ({names}) closes {c} and {d}, and the best classic of each point, chosen with hindsight, {e} and {f}.",
        points.len(),
        workloads(&points),
    )
}

/// Wraps prose at 120 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > 120 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn paragraph(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{}", wrapped(text));
}

fn item(out: &mut String, text: &str) {
    let _ = writeln!(out, "- {}", wrapped(text).replace('\n', "\n  "));
}

/// The whole page. `made` says by what it was made.
pub(super) fn report(all: &[Measured], made: &str) -> String {
    let mut out = String::from("# What the policies are worth\n");
    introduction(&mut out, all, made);
    summary(&mut out, all);
    wins_and_losses(&mut out, all);
    by_family(&mut out, all);
    by_admission(&mut out, all);
    worst(&mut out, all);
    every_policy(&mut out, all);
    every_point(&mut out, all);
    out
}

fn introduction(out: &mut String, all: &[Measured], made: &str) {
    paragraph(out, made);
    paragraph(out, &quote(all));
    let _ = writeln!(out, "\n## What is measured\n");
    let [never, seen] = HALVES.map(|(_, seen)| half(all, seen));
    item(
        out,
        &format!(
            "A **point** is a workload, a capacity, and what comes into memory: whatever fits (*always*), or what the \
             policy would not evict at once (*bypass*). There are {} points in two halves, which share no model.",
            all.len()
        ),
    );
    item(
        out,
        &format!(
            "**Never seen**: {} points of {} workloads that were written down before anything of them was measured, and \
             have not been changed since. **Validation**: {} points of {} workloads that were looked at while the rule, \
             its inputs and the training were chosen: other workloads may come out lower.",
            never.len(),
            workloads(&never),
            seen.len(),
            workloads(&seen)
        ),
    );
    item(
        out,
        "Neither half is trained on. The network is trained on random shapes by another seed; shapes of published models \
         are refused there. The same generators make the traces of both, so nothing here tells of workloads of another \
         kind; the exception are the points named *pytorch*, steps of small models that PyTorch has recorded, each \
         repeated as a loop would.",
    );
    item(
        out,
        "**Gap closed** = (LRU - policy) / (LRU - best schedule known): 1 is as good as the best schedule that anything \
         here has found, with or without knowledge of the future, 0 as good as LRU, below 0 worse. Less than -1 counts \
         as -1. Points where LRU is the best known have no gap.",
    );
    item(
        out,
        "It is told for **misses** (objects), for the **bytes** missed, and for **stall**: the time in which an H100, which \
         is the device where none is named, computes nothing, because it loads or writes back. Requests to objects and \
         the prototype's random workload name no work, and so have no stall.",
    );
    item(
        out,
        "**Of the proven gap**: the same, to the bound that no schedule goes below. The optimum is NP-hard and lies \
         between the best schedule known and the bound, so the true share lies between both figures.",
    );
    item(
        out,
        "**Best single classic**: of all policies that know the past and read no scores, the one with the best mean over \
         the points at hand, chosen for objects, bytes and stall each. **Best classic of each point**: the best of them \
         and LRU, chosen anew at each point. Both are chosen with hindsight, which no memory has.",
    );
    item(
        out,
        "**Perfect** predictions tell the next use as far as the scale of a score goes: what is left to 1 is the rule's.",
    );
    item(
        out,
        "Brackets hold 95 % bootstrap intervals: workloads are drawn anew, each with all of its points. They tell how much \
         the choice of workloads matters, not what other kinds of workloads would give.",
    );
    paragraph(
        out,
        "Every run is a row of [points.parquet](evaluation/points.parquet), with what it costs, what the best schedule known \
         costs, the proven bound, and both gaps.",
    );
}

fn summary(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## In short");
    for (name, seen) in HALVES {
        let points = half(all, seen);
        if points.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\nMean gap closed at {} points, {name}:\n", points.len());
        head(
            out,
            "",
            &["objects", "bytes", "stall", "objects, of the proven gap", "bytes, of the proven gap", "worst"],
        );
        let line = |out: &mut String, title: String, who: &dyn Fn(Unit) -> Who| {
            let closed = Unit::ALL.map(|unit| interval(who(unit).mean(&points, unit)));
            let proven = [Unit::Objects, Unit::Bytes].map(|unit| two(who(unit).proven(&points, unit).mean));
            let least = [Unit::Objects, Unit::Bytes].iter().filter_map(|unit| {
                let gaps = points.iter().filter_map(|point| who(*unit).gap(point, *unit));
                gaps.min_by(f64::total_cmp)
            });
            let least = two(least.min_by(f64::total_cmp).unwrap_or(f64::NAN));
            row(out, std::iter::once(title).chain(closed).chain(proven).chain([least]));
        };
        for who in SCORED.into_iter().chain([PROTOTYPE]) {
            let title = if who == EMBEDDED { format!("**{}**", who.title()) } else { who.title() };
            line(out, title, &|_| who);
        }
        let single = |unit| best_single(&points, unit);
        let names = Unit::ALL.map(|unit| single(unit).title());
        line(out, format!("best single classic ({})", names.join(" / ")), &single);
        for who in [Who::Hindsight, ORACLE, Who::Best] {
            line(out, who.title(), &|_| who);
        }
        let _ = writeln!(out, "\nWhat embedded closes more, point by point, {name}:\n");
        head(out, "", &["objects", "bytes", "stall"]);
        let ahead = |out: &mut String, title: &str, of: &dyn Fn(Unit) -> Who| {
            let cells = Unit::ALL.map(|unit| difference(EMBEDDED.ahead(of(unit), &points, unit)));
            row(out, std::iter::once(format!("than {title}")).chain(cells));
        };
        ahead(out, "the best single classic", &single);
        ahead(out, "the best classic of each point", &|_| Who::Hindsight);
        ahead(out, "history", &|_| reuse("history"));
    }
    let _ = writeln!(out, "\n![Mean gap closed by family](evaluation/families.svg)");
    let _ = writeln!(out, "\n![Gap closed at every point](evaluation/points.svg)");
}

/// Where the policy that is shipped is ahead of every classic, and where it is behind one.
fn wins_and_losses(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## Where it wins, where it loses\n");
    for (name, seen) in HALVES {
        let points = half(all, seen);
        if points.is_empty() {
            continue;
        }
        let listed = |wanted: &dyn Fn(f64) -> bool| {
            let ahead = |family: &&str| EMBEDDED.ahead(Who::Hindsight, &of_family(&points, family), Unit::Bytes).mean;
            let told = families(&points).into_iter().filter(|family| wanted(ahead(family)));
            let told: Vec<String> = told.map(|family| format!("{family} {}", signed(ahead(&family)))).collect();
            if told.is_empty() { "none".to_owned() } else { told.join(", ") }
        };
        item(
            out,
            &format!(
                "{}: families in which embedded closes more in bytes than the best classic of each point: {}; \
                 as much, within .01: {}; less: {}.",
                capital(name),
                listed(&|ahead| ahead > 0.01),
                listed(&|ahead| ahead.abs() <= 0.01),
                listed(&|ahead| ahead < -0.01),
            ),
        );
        let ahead = |point: &&&Measured| {
            let more = |unit| Some(EMBEDDED.gap(point, unit)? - Who::Hindsight.gap(point, unit)?);
            more(Unit::Bytes).is_some_and(|more| more > 0.0)
        };
        let worse = |point: &&&Measured| EMBEDDED.gap(point, Unit::Bytes).is_some_and(|gap| gap < 0.0);
        item(
            out,
            &format!(
                "{}: at {} of {} points it misses fewer bytes than every classic, at {} more than LRU.",
                capital(name),
                points.iter().filter(ahead).count(),
                points.len(),
                points.iter().filter(worse).count(),
            ),
        );
    }
}

fn signed(value: f64) -> String {
    if value >= 0.005 { format!("+{}", two(value)) } else { two(value) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn by_family(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## By family\n\nObjects / bytes; the interval is that of embedded in bytes.");
    for (name, seen) in HALVES {
        let points = half(all, seen);
        if points.is_empty() {
            continue;
        }
        let single = [Unit::Objects, Unit::Bytes].map(|unit| best_single(&points, unit));
        let _ = writeln!(out);
        head(
            out,
            name,
            &[
                "points",
                "embedded",
                "interval",
                "history",
                "heuristic",
                "best single classic",
                "best classic of each point",
                "perfect",
                "best known, of the proven gap",
            ],
        );
        for family in families(&points) {
            let part = of_family(&points, family);
            let Mean { low, high, .. } = EMBEDDED.mean(&part, Unit::Bytes);
            let [objects, bytes] = single;
            let single = pair(|unit| Some((if unit == Unit::Bytes { bytes } else { objects }).mean(&part, unit).mean));
            let [embedded, history, heuristic] = SCORED.map(|who| means(who, &part));
            row(
                out,
                [
                    family.to_owned(),
                    part.len().to_string(),
                    embedded,
                    format!("[{}, {}]", two(low), two(high)),
                    history,
                    heuristic,
                    single,
                    means(Who::Hindsight, &part),
                    means(ORACLE, &part),
                    pair(|unit| Some(Who::Best.proven(&part, unit).mean)),
                ],
            );
        }
    }
}

fn by_admission(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## By admission\n");
    head(out, "objects / bytes", &["points", "embedded", "history", "best classic of each point", "perfect"]);
    for (name, seen) in HALVES {
        for admission in [Admission::Always, Admission::Bypass] {
            let part: Vec<&Measured> =
                half(all, seen).into_iter().filter(|point| point.admission == admission).collect();
            if part.is_empty() {
                continue;
            }
            let who = [EMBEDDED, reuse("history"), Who::Hindsight, ORACLE].map(|who| means(who, &part));
            let mode = if admission == Admission::Always { "always" } else { "bypass" };
            row(out, [format!("{name}, {mode}"), part.len().to_string()].into_iter().chain(who));
        }
    }
}

fn worst(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## The worst points of each scorer\n");
    head(out, "objects / bytes", &["worst of", "embedded", "history", "heuristic", "best classic of each point"]);
    for who in SCORED {
        for (name, seen) in HALVES {
            for (_, point) in who.worst(&half(all, seen)).into_iter().take(WORST) {
                let cells = SCORED.into_iter().chain([Who::Hindsight]).map(|other| {
                    let gaps = pair(|unit| other.gap(point, unit));
                    if other == who { format!("**{gaps}**") } else { gaps }
                });
                let of = SCORERS.iter().zip(SCORED).find(|(_, scored)| *scored == who).map_or("", |(scorer, _)| scorer);
                row(out, [format!("{} ({name})", point.point), of.to_owned()].into_iter().chain(cells));
            }
        }
    }
}

fn every_policy(out: &mut String, all: &[Measured]) {
    let _ = writeln!(
        out,
        "\n## Every policy\n\nMean gap closed by those that do not know the future; [policies.md](policies.md) tells what each does.\n"
    );
    let halves = HALVES.map(|(_, seen)| half(all, seen));
    let titles =
        HALVES.iter().flat_map(|(name, _)| ["objects", "bytes", "stall", "worst"].map(|of| format!("{name}: {of}")));
    let titles: Vec<String> = titles.collect();
    head(out, "", &titles.iter().map(String::as_str).collect::<Vec<_>>());
    let policies = classics().map(|policy| Who::Policy(policy, None));
    for who in policies.chain([Who::Hindsight, PROTOTYPE]).chain(SCORED).chain([ORACLE]) {
        let cells = halves.iter().flat_map(|points| {
            let means = Unit::ALL.map(|unit| two(who.mean(points, unit).mean));
            let worst = who.worst(points).first().map_or(f64::NAN, |(gap, _)| *gap);
            means.into_iter().chain([two(worst)])
        });
        row(out, std::iter::once(who.title()).chain(cells.collect::<Vec<_>>()));
    }
}

fn every_point(out: &mut String, all: &[Measured]) {
    let _ = writeln!(out, "\n## Every point");
    for (name, seen) in HALVES {
        let points = half(all, seen);
        if points.is_empty() {
            continue;
        }
        let _ = writeln!(out);
        head(
            out,
            &format!("{name}: objects / bytes"),
            &[
                "accesses",
                "embedded",
                "stall",
                "history",
                "heuristic",
                "best classic",
                "which (bytes)",
                "perfect",
                "best known, of the proven gap",
            ],
        );
        for point in points {
            let [embedded, history, heuristic] = SCORED.map(|who| pair(|unit| who.gap(point, unit)));
            row(
                out,
                [
                    point.point.clone(),
                    point.accesses.to_string(),
                    embedded,
                    two(EMBEDDED.gap(point, Unit::Stall).unwrap_or(f64::NAN)),
                    history,
                    heuristic,
                    pair(|unit| Who::Hindsight.gap(point, unit)),
                    best_here(point),
                    pair(|unit| ORACLE.gap(point, unit)),
                    pair(|unit| point.proven_gap(unit, Who::Best.cost(point, unit))),
                ],
            );
        }
    }
}

/// The classic that misses the fewest bytes at `point`, or LRU.
fn best_here(point: &Measured) -> String {
    let lru = (PolicyKind::Lru, point.lru.miss_bytes);
    let classics = classics().filter_map(|policy| Some((policy, point.cost(policy, None, Unit::Bytes)?)));
    let best = classics.fold(lru, |best, other| if other.1 < best.1 { other } else { best });
    best.0.name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_digits() {
        assert_eq!([0.125, -0.001, -0.25, f64::NAN].map(two), ["0.12", "0.00", "-0.25", "–"]);
        let mean = Mean { mean: 0.5, low: 0.25, high: 1.0, count: 3 };
        assert_eq!((interval(mean), difference(mean)), ("0.50 [0.25, 1.00]".into(), "+0.50 [0.25, 1.00]".into()));
    }

    #[test]
    fn prose_is_wrapped() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text);
        assert!(lines.lines().all(|line| line.len() <= 120) && lines.lines().count() == 3, "{lines}");
        assert_eq!(lines.split_whitespace().count(), 60);
    }
}
