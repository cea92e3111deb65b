//! What to expect of accesses that data decide: each goes to any line of its array, as likely to one as to another.

use std::collections::BTreeMap;

use super::plan::{CachePlan, Touch};

/// Fewer draws than this are drawn one by one.
const LEAST_DRAWS: f64 = 65_536.0;
/// But not where there is less than one for so many lines: these hardly feel them.
const FEW_OF: f64 = 256.0;
/// Steps in which is followed what happens while a line stays.
const STEPS: usize = 128;
/// Where a line stays for less than one part in so many of the time, it is as if it had always been so.
const LONGEST: f64 = 1000.0;

/// All draws from an array.
#[derive(Debug, Clone, Default)]
pub(super) struct Drawn {
    /// Lines of the array.
    lines: f64,
    /// Draws, and those of them that write.
    draws: f64,
    writes: f64,
    /// How many of them go together at most: those of a row.
    pub(super) lot: f64,
    /// How many lines at most a part of the draws is from that comes by itself; none where all are from all lines.
    pub(super) turn: Option<u64>,
    /// Draws by index into the lines of the source.
    pub(super) by_source: BTreeMap<u32, f64>,
}

/// Draws by array, each of `draws` as often as it says, times `rounds`.
pub(super) fn by_array(plan: &CachePlan<'_>, draws: &[(&Touch<'_>, f64)], rounds: f64) -> BTreeMap<u32, Drawn> {
    let mut all: BTreeMap<u32, Drawn> = BTreeMap::new();
    for (index, (touch, times)) in draws.iter().enumerate() {
        let own = all.entry(touch.array).or_default();
        let times = times * rounds;
        own.lines = plan.lines_of(touch.array) as f64;
        own.lot = own.lot.max(touch.lot(plan.line_bytes));
        let turn = touch.turn(plan.line_bytes);
        own.turn = if own.draws > 0.0 { own.turn.zip(turn).map(|(a, b)| a.max(b)) } else { turn };
        // A place that was read is there when it is stored to.
        if draws.iter().take(index).any(|(before, _)| before.drawn_with(touch)) {
            own.writes += times;
            continue;
        }
        own.draws += times;
        own.writes += if touch.write { times } else { 0.0 };
        *own.by_source.entry(touch.source).or_default() += times;
    }
    all
}

/// How many there are.
pub(super) fn number(all: &BTreeMap<u32, Drawn>) -> f64 {
    all.values().map(|own| own.draws).sum()
}

/// Whether so many lines hardly feel them.
pub(super) fn few(all: &BTreeMap<u32, Drawn>, lines: u64) -> bool {
    number(all) * FEW_OF <= lines as f64
}

/// Whether they are too few to go by what to expect of them, in a program of so many lines.
pub(super) fn too_few(all: &BTreeMap<u32, Drawn>, lines: u64) -> bool {
    !all.is_empty() && number(all) < LEAST_DRAWS && !few(all, lines)
}

/// How many of `lines` so many draws touch.
fn distinct(lines: f64, draws: f64) -> f64 {
    if lines > 0.0 { -lines * (-draws / lines).exp_m1() } else { 0.0 }
}

impl Drawn {
    /// The share of its draws that a line of the source has.
    pub(super) fn share(&self, draws: f64) -> f64 {
        if self.draws > 0.0 { draws / self.draws } else { 0.0 }
    }

    /// How many lines are touched, and how many of them are written.
    pub(super) fn touched(&self) -> [f64; 2] {
        [distinct(self.lines, self.draws), distinct(self.lines, self.writes)]
    }

    /// How many lines the draws of a share of the time touch.
    fn within(&self, share: f64) -> f64 {
        distinct(self.lines, self.draws * share)
    }

    /// Misses, and lines that go back, where a line stays for a share of the time after its last use.
    pub(super) fn misses(&self, stays: f64) -> [f64; 2] {
        let gone = if self.lines > 0.0 { (-self.draws * stays / self.lines).exp() } else { 0.0 };
        let later = self.draws * (1.0 - stays) * gone;
        [self.within(stays) + later, self.writes * self.unchanged(stays)]
    }

    /// How likely a line that stays for a share `lasts` of the time is written before it leaves, where it stays longer by
    /// `stays` after each draw.
    fn changed_again(&self, lasts: f64, stays: f64) -> f64 {
        let (rate, write) = (self.draws / self.lines, self.writes / self.draws);
        if lasts >= 1.0 {
            return distinct(1.0, rate * write);
        }
        let again = distinct(1.0, rate * stays);
        distinct(1.0, rate * lasts) * write / (1.0 - (1.0 - write) * again)
    }

    /// Of the whole time, for which share a line is away or as it came: what is written then will go back.
    ///
    /// A line is there and changed if the draw before came while it stays, and wrote, or found it there and changed.
    /// So the share that is changed grows by the writes that find it otherwise, and falls by those whose last draw is
    /// too long ago.
    fn unchanged(&self, stays: f64) -> f64 {
        if self.lines == 0.0 || self.draws == 0.0 {
            return 1.0;
        }
        let (rate, write) = (self.draws / self.lines, self.writes / self.draws);
        let (gone, clean) = ((-rate * stays).exp(), 1.0 - write);
        let lasting = 1.0 - (1.0 - gone) * write / (1.0 - (1.0 - gone) * clean);
        if stays * LONGEST < 1.0 || gone == 0.0 {
            // Nothing hangs on how it began.
            return if gone == 0.0 {
                distinct(1.0, rate * write) / (rate * write).max(f64::MIN_POSITIVE)
            } else {
                lasting
            };
        }
        let step = stays / STEPS as f64;
        let mut changed = vec![0.0];
        let (mut now, mut all, mut time) = (0.0, 0.0, 0.0);
        // What comes to lines that were away or are so again, by the end of this step and at its beginning.
        let falls = |changed: &[f64], at: Option<usize>| {
            at.and_then(|at| changed.get(at)).map_or(0.0, |then| gone * (write + clean * then))
        };
        while time < 1.0 {
            let length = step.min(1.0 - time);
            let half = length * rate / 2.0;
            let at = changed.len() - 1;
            let fall = falls(&changed, at.checked_sub(STEPS)) + falls(&changed, at.checked_sub(STEPS).map(|at| at + 1));
            let next = (now * (1.0 - half * write) + 2.0 * half * write - half * fall) / (1.0 + half * write);
            all += length * (1.0 - f64::midpoint(now, next));
            (now, time) = (next, time + length);
            changed.push(now);
        }
        all
    }
}

/// For which share of the time a line stays after its last use, in a cache of so many lines that also sees lines that
/// `stand` and others that `move` on, each of these once (Che, Tung and Wang, "Hierarchical Web Caching Systems:
/// Modeling, Design and Experimental Results", 2002).
pub(super) fn stays(all: &BTreeMap<u32, Drawn>, capacity: u64, [stand, moving]: [f64; 2]) -> f64 {
    longest(capacity, |share| stand + moving * share + all.values().map(|own| own.within(share)).sum::<f64>())
}

/// The largest share of the time for which no more than `capacity` lines are touched; `lines` grows with it.
fn longest(capacity: u64, lines: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    if lines(high) <= capacity as f64 {
        return high;
    }
    // As far as numbers tell shares apart.
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = f64::midpoint(low, high);
        if lines(middle) <= capacity as f64 { low = middle } else { high = middle }
    }
    low
}

/// Lines that may be there when the draws begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) array: u32,
    pub(super) lines: f64,
    /// Other lines touched since they were touched last.
    pub(super) age: f64,
    pub(super) dirty: bool,
}

/// What [`Drawn::misses`] counts too many by array where lines are there at first: misses, and lines that go back.
///
/// Such a line is still there for its first draw if that comes before so many others are touched that it leaves: those
/// since it was touched last, and those drawn or passed that are not among these. If it was changed before, what is
/// written as long as it is there makes no other line go back.
pub(super) fn found(
    all: &BTreeMap<u32, Drawn>,
    mut held: Vec<Held>,
    (capacity, stays): (u64, f64),
    [stand, moving]: [f64; 2],
) -> BTreeMap<u32, [f64; 2]> {
    held.sort_by(|a, b| a.age.total_cmp(&b.age));
    let (mut newer, mut found) = (BTreeMap::<u32, f64>::new(), BTreeMap::<u32, [f64; 2]>::new());
    for piece in held {
        let Some(own) = all.get(&piece.array).filter(|own| own.lines > 0.0 && own.draws > 0.0) else { continue };
        // Half of its own lines are newer than the one in its middle.
        *newer.entry(piece.array).or_default() += piece.lines / 2.0;
        let lasts = longest(capacity, |share| {
            let more = |(array, other): (&u32, &Drawn)| {
                let known = newer.get(array).copied().unwrap_or_default();
                if other.lines > 0.0 { other.within(share) * (1.0 - known / other.lines).max(0.0) } else { 0.0 }
            };
            piece.age + stand + moving * share + all.iter().map(more).sum::<f64>()
        });
        *newer.entry(piece.array).or_default() += piece.lines / 2.0;
        let [misses, write_backs] = found.entry(piece.array).or_default();
        *misses += piece.lines * distinct(1.0, own.draws / own.lines * lasts);
        *write_backs += if piece.dirty { piece.lines * own.changed_again(lasts, stays) } else { 0.0 };
    }
    found
}
