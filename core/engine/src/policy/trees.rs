//! Boosted trees, small: what a policy learns online to predict by.

/// What is known of an example, each on the scale of [`step`].
pub(super) type Row<const F: usize> = [u8; F];

const TREES: usize = 16;
const DEPTH: usize = 4;
const LEAVES: usize = 1 << DEPTH;
/// How much of its error a tree takes away.
const RATE: f32 = 0.3;
/// Steps of a feature.
const STEPS: usize = 256;

/// Quarters of an octave: the place of `value` on a logarithmic scale, without rounding that depends on a machine.
pub(super) fn step(value: u64) -> u8 {
    match value.checked_ilog2() {
        None => 0,
        Some(octave) => {
            let quarter = if octave < 2 { value << (2 - octave) } else { value >> (octave - 2) } & 3;
            (1 + 4 * u64::from(octave) + quarter).min(255) as u8
        }
    }
}

/// A tree whose levels each ask one question of all examples (as CatBoost's do): whether a feature is above a step.
#[derive(Debug)]
struct Tree {
    questions: [(usize, u8); DEPTH],
    leaves: [f32; LEAVES],
}

impl Tree {
    fn leaf<const F: usize>(&self, row: &Row<F>) -> f32 {
        let leaf = self.questions.iter().fold(0, |leaf, (feature, step)| 2 * leaf + usize::from(row[*feature] > *step));
        self.leaves[leaf]
    }
}

/// The sum of what its trees say.
#[derive(Debug)]
pub(super) struct Trees {
    mean: f32,
    trees: Vec<Tree>,
}

impl Trees {
    /// What it expects of `row`.
    pub(super) fn predict<const F: usize>(&self, row: &Row<F>) -> f32 {
        self.trees.iter().fold(self.mean, |sum, tree| sum + tree.leaf(row))
    }

    /// Learns that `rows` have those values; the errors that remain are left in their place.
    pub(super) fn fit<const F: usize>(rows: &[Row<F>], values: &mut [f32]) -> Self {
        let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
        values.iter_mut().for_each(|value| *value -= mean);
        let mut at = vec![0u8; rows.len()];
        let mut trees = Vec::with_capacity(TREES);
        for _ in 0..TREES {
            at.fill(0);
            let mut tree = Tree { questions: [(0, 0); DEPTH], leaves: [0.0; LEAVES] };
            for level in 0..DEPTH {
                let (feature, step) = question(rows, values, &at, 1 << level);
                tree.questions[level] = (feature, step);
                for (at, row) in at.iter_mut().zip(rows) {
                    *at = 2 * *at + u8::from(row[feature] > step);
                }
            }
            let mut sums = [(0.0f32, 0.0f32); LEAVES];
            for (at, value) in at.iter().zip(values.iter()) {
                let (sum, count) = &mut sums[usize::from(*at)];
                (*sum, *count) = (*sum + value, *count + 1.0);
            }
            tree.leaves = sums.map(|(sum, count)| RATE * sum / f32::max(count, 1.0));
            for (at, value) in at.iter().zip(values.iter_mut()) {
                *value -= tree.leaves[usize::from(*at)];
            }
            trees.push(tree);
        }
        Self { mean, trees }
    }
}

/// The question that, asked of examples that stand at one of `leaves`, leaves the least squared error.
fn question<const F: usize>(rows: &[Row<F>], values: &[f32], at: &[u8], leaves: usize) -> (usize, u8) {
    let mut sums = vec![(0.0f32, 0.0f32); leaves * F * STEPS];
    for ((row, value), at) in rows.iter().zip(values).zip(at) {
        for (feature, step) in row.iter().enumerate() {
            let (sum, count) = &mut sums[(usize::from(*at) * F + feature) * STEPS + usize::from(*step)];
            (*sum, *count) = (*sum + value, *count + 1.0);
        }
    }
    let mut best = (f32::MIN, (0, 0));
    for feature in 0..F {
        // By how much each question lowers the error.
        let mut gains = [0.0f32; STEPS];
        for leaf in 0..leaves {
            let sums = &sums[(leaf * F + feature) * STEPS..][..STEPS];
            let total = sums.iter().fold((0.0, 0.0), |all, here| (all.0 + here.0, all.1 + here.1));
            let mut below = (0.0, 0.0);
            for (gain, here) in gains.iter_mut().zip(sums) {
                below = (below.0 + here.0, below.1 + here.1);
                let above = (total.0 - below.0, total.1 - below.1);
                *gain += below.0 * below.0 / f32::max(below.1, 1.0) + above.0 * above.0 / f32::max(above.1, 1.0);
            }
        }
        for (step, gain) in gains.iter().enumerate() {
            if *gain > best.0 {
                best = (*gain, (feature, step as u8));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_quarters_of_octaves() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(step), [0, 1, 5, 7, 9, 10, 11, 12, 13]);
        assert_eq!((step(1 << 40), step(u64::MAX)), (161, 255));
        assert!((0..10_000u64).is_sorted_by_key(step));
    }

    /// A value that depends on two features and not on the third.
    #[test]
    fn what_depends_on_features_is_learned() {
        let rows: Vec<Row<3>> = (0..2000u32).map(|i| [i % 40, i / 40 % 25, i * 7 % 11].map(|f| f as u8)).collect();
        let truth = |row: &Row<3>| f32::from(row[0] > 20) * 8.0 + f32::from(row[1]);
        let mut values: Vec<f32> = rows.iter().map(truth).collect();
        let trees = Trees::fit(&rows, &mut values);
        let error = |row: &Row<3>| (trees.predict(row) - truth(row)).abs();
        assert!(rows.iter().map(error).sum::<f32>() / 2000.0 < 1.0);
        assert!(values.iter().zip(&rows).all(|(left, row)| (left.abs() - error(row)).abs() < 1e-3));
        assert_eq!(Trees::fit::<3>(&[], &mut []).predict(&[1, 2, 3]), 0.0);
    }
}
