//! Farthest next use, weighed by size.

use std::sync::Arc;

use super::{Policy, Setup};
use crate::error::Error;
use crate::trace::reuse::{Future, NEVER};

/// Evicts the tensor with the greatest (accesses until its next use) x bytes: the space-time that leaves with it.
/// A tensor that is not used again goes first; among equals, the one of lower number.
///
/// As time passes, the product of a larger tensor shrinks faster, so the order changes by itself. A tournament
/// over all tensors remembers for each of its matches how long the winner stays ahead; a match is played again
/// only when a player changed or that time has come.
#[derive(Debug)]
pub struct BeladySize {
    future: Arc<Future>,
    sizes: Vec<u64>,
    /// The next use of each resident, [`NEVER`] of the others.
    next: Vec<u32>,
    /// Residents that are not used again.
    done: Vec<u32>,
    /// Match `i` is between the winners of `2 i` and `2 i + 1`; the players are the last half.
    matches: Vec<Match>,
    now: u32,
}

#[derive(Debug, Clone, Copy)]
struct Match {
    winner: u32,
    /// The first time at which this match, or one below it, may end otherwise.
    until: u32,
}

impl BeladySize {
    /// Who is ahead of the two, and the first time at which it is the other.
    fn play(&self, a: u32, b: u32) -> (u32, u32) {
        let (next_a, next_b) = (self.next[a as usize], self.next[b as usize]);
        match (next_a, next_b) {
            (NEVER, _) => return (b, NEVER),
            (_, NEVER) => return (a, NEVER),
            _ => {}
        }
        let product =
            |t: u32, next: u32| u128::from(self.sizes[t as usize]) * u128::from(next.saturating_sub(self.now));
        let (winner, loser) = if product(b, next_b) > product(a, next_a) { (b, a) } else { (a, b) };
        let line = |t: u32| (i128::from(self.sizes[t as usize]), i128::from(self.next[t as usize]));
        let ((size_w, next_w), (size_l, next_l)) = (line(winner), line(loser));
        if size_l >= size_w {
            return (winner, NEVER);
        }
        // The loser draws level where size_l (next_l - t) = size_w (next_w - t).
        let (rise, run) = (size_w * next_w - size_l * next_l, size_w - size_l);
        let level = rise.div_euclid(run);
        let exact = rise.rem_euclid(run) == 0;
        // At a draw the lower number is ahead; players with lower numbers stand on the left.
        let until = if exact && loser == a { level } else { level + 1 };
        (winner, u32::try_from(until).unwrap_or(NEVER))
    }

    /// Plays again what may have changed below match `at`.
    fn refresh(&mut self, at: usize) {
        if self.matches[at].until > self.now {
            return;
        }
        self.refresh(2 * at);
        self.refresh(2 * at + 1);
        let (a, b) = (self.matches[2 * at], self.matches[2 * at + 1]);
        let (winner, until) = self.play(a.winner, b.winner);
        self.matches[at] = Match { winner, until: until.min(a.until).min(b.until) };
    }

    /// The line of `tensor` changed: all its matches are open.
    fn changed(&mut self, tensor: u32) {
        let mut at = (self.matches.len() / 2 + tensor as usize) / 2;
        while at > 0 && self.matches[at].until > 0 {
            self.matches[at].until = 0;
            at /= 2;
        }
    }
}

impl Policy for BeladySize {
    fn new(setup: &Setup<'_>) -> Result<Self, Error> {
        let players = setup.sizes.len().next_power_of_two().max(2);
        let mut sizes = setup.sizes.to_vec();
        sizes.resize(players, 0);
        // Players win against nobody but themselves; all matches are open.
        let first = |i: usize| match i.checked_sub(players) {
            Some(player) => Match { winner: player as u32, until: NEVER },
            None => Match { winner: 0, until: 0 },
        };
        Ok(Self {
            future: setup.future()?,
            sizes,
            next: vec![NEVER; players],
            done: Vec::new(),
            matches: (0..2 * players).map(first).collect(),
            now: 0,
        })
    }

    fn hit(&mut self, tensor: u32, now: usize) {
        self.insert(tensor, now);
    }

    fn miss(&mut self, _tensor: u32, now: usize) {
        self.now = now as u32;
    }

    fn insert(&mut self, tensor: u32, now: usize) {
        let next = self.future.next_use[now];
        self.next[tensor as usize] = next;
        self.changed(tensor);
        if next == NEVER {
            self.done.push(tensor);
        }
    }

    fn evict(&mut self) -> Option<u32> {
        if let Some(tensor) = self.done.pop() {
            return Some(tensor);
        }
        self.refresh(1);
        let winner = self.matches[1].winner;
        if self.next[winner as usize] == NEVER {
            return None;
        }
        self.next[winner as usize] = NEVER;
        self.changed(winner);
        Some(winner)
    }

    fn remove(&mut self, tensor: u32) {
        match std::mem::replace(&mut self.next[tensor as usize], NEVER) {
            NEVER => self.done.retain(|done| *done != tensor),
            _ => self.changed(tensor),
        }
    }

    fn resize(&mut self, tensor: u32, bytes: u64) {
        self.sizes[tensor as usize] = bytes;
        self.changed(tensor);
    }
}
