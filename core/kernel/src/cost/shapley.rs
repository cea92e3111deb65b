//! Exact Shapley values: what each player adds, averaged over all orders in which players can join.

/// The values of `N` players of the game `worth`, which says what a set of players is worth (bit `i`: player `i` is
/// in). They add up to the worth of all less that of none.
pub(super) fn values<const N: usize>(worth: impl Fn(u32) -> f64) -> [f64; N] {
    let worths: Vec<f64> = (0..1u32 << N).map(worth).collect();
    let of = |set: usize| worths.get(set).copied().unwrap_or_default();
    // In how many of the orders exactly `size` others have come before.
    let weight = |size: u32| factorial(size) * factorial(N as u32 - 1 - size) / factorial(N as u32);
    std::array::from_fn(|player| {
        let own = 1usize << player;
        let without = (0..worths.len()).filter(|set| set & own == 0);
        without.map(|set| weight(set.count_ones()) * (of(set | own) - of(set))).sum()
    })
}

fn factorial(n: u32) -> f64 {
    (1..=n).map(f64::from).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All orders of the players, by Heap's algorithm.
    fn orders(players: &mut Vec<usize>, length: usize, out: &mut Vec<Vec<usize>>) {
        if length <= 1 {
            out.push(players.clone());
            return;
        }
        for i in 0..length {
            orders(players, length - 1, out);
            players.swap(if length.is_multiple_of(2) { i } else { 0 }, length - 1);
        }
    }

    #[test]
    fn values_are_averages_over_all_orders() {
        let game = |set: u32| {
            let has = |player: u32| f64::from(set >> player & 1);
            let (a, b) = (3.0 * has(0) + has(1), 2.5 * has(2) * has(3) + has(4));
            a.max(b) + 0.25 * has(5) + has(0) * has(4)
        };
        let mut all = Vec::new();
        orders(&mut (0..6).collect(), 6, &mut all);
        assert_eq!(all.len(), 720);
        let mut average = [0.0; 6];
        for order in &all {
            let mut set = 0;
            for player in order {
                average[*player] += (game(set | 1 << player) - game(set)) / 720.0;
                set |= 1 << player;
            }
        }
        let values: [f64; 6] = values(game);
        for (value, average) in values.iter().zip(average) {
            assert!((value - average).abs() < 1e-12, "{values:?}");
        }
        assert!((values.iter().sum::<f64>() - (game(63) - game(0))).abs() < 1e-12);
    }
}
