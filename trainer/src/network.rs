//! The network while it is trained: the shape of [`accel_core::score::embedded`] in 32-bit floating point.
//!
//! Additions, multiplications, divisions and square roots only, in one order: the same weights to the last bit on every
//! machine that follows IEEE 754.

use accel_core::rng::Rng;
use accel_core::score::embedded::{GREATEST, HIDDEN, Inputs, NUMBERS, PREDICTED, SWITCHES, UNIT, WEIGHTS};
use accel_core::score::history::ONE;

/// What is learned from: what the network sees, and what it should have said.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it sees.
    pub inputs: Inputs,
    /// The logarithm of the gap, in sixteenths of the exponent.
    pub wanted: f32,
    /// Whether the trace ended before the tensor came back: then any later prediction is as good.
    pub at_least: bool,
    /// How much it counts.
    pub weight: f32,
}

const FIRST: usize = HIDDEN[0];
const SECOND: usize = HIDDEN[1];
const NUMBERS_AT: usize = SWITCHES * FIRST;
const SECOND_AT: usize = NUMBERS_AT + (NUMBERS + 1) * FIRST;
const THIRD_AT: usize = SECOND_AT + (FIRST + 1) * SECOND;

/// Weights, in the order of the file, and what Adam keeps of each (Kingma and Ba 2015, with their constants).
#[derive(Debug)]
pub struct Trainee {
    weights: Vec<f32>,
    gradient: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    powers: [f32; 2],
}

const BETA: [f32; 2] = [0.9, 0.999];

impl Trainee {
    /// Weights drawn by chance: uniform, with the deviation of He et al. 2015.
    pub fn new(rng: &mut Rng) -> Self {
        let mut weights = vec![0.0f32; WEIGHTS];
        let mut fill = |range: std::ops::Range<usize>, spread: f32| {
            for weight in &mut weights[range] {
                *weight = (rng.unit() as f32 * 2.0 - 1.0) * spread;
            }
        };
        fill(0..NUMBERS_AT, 0.3);
        for i in 0..FIRST {
            let at = NUMBERS_AT + i * (NUMBERS + 1);
            fill(at..at + NUMBERS, 0.33);
        }
        for i in 0..SECOND {
            let at = SECOND_AT + i * (FIRST + 1);
            fill(at..at + FIRST, 0.43);
        }
        fill(THIRD_AT..THIRD_AT + SECOND, 0.1);
        let zeros = vec![0.0; WEIGHTS];
        Self { weights, gradient: zeros.clone(), mean: zeros.clone(), square: zeros, powers: BETA }
    }

    /// What it says, with the values of the neurons on the way.
    fn forward(&self, inputs: &Inputs, numbers: &mut [f32; NUMBERS]) -> ([f32; FIRST], [f32; SECOND], f32) {
        let w = &self.weights;
        for (number, input) in numbers.iter_mut().zip(inputs.numbers) {
            *number = f32::from(input) / ONE as f32;
        }
        let first: [f32; FIRST] = std::array::from_fn(|i| {
            let row = &w[NUMBERS_AT + i * (NUMBERS + 1)..][..=NUMBERS];
            let switches = inputs.switches.iter().filter(|s| **s < SWITCHES).map(|s| w[s * FIRST + i]).sum::<f32>();
            (switches + dot(row, numbers)).max(0.0)
        });
        let second: [f32; SECOND] =
            std::array::from_fn(|i| dot(&w[SECOND_AT + i * (FIRST + 1)..][..=FIRST], &first).max(0.0));
        let out = numbers[PREDICTED] + dot(&w[THIRD_AT..][..=SECOND], &second);
        (first, second, out)
    }

    /// Adds the gradient of a sample, and returns its loss.
    fn learn(&mut self, sample: &Sample) -> f32 {
        let mut numbers = [0.0; NUMBERS];
        let (first, second, out) = self.forward(&sample.inputs, &mut numbers);
        let off = out - sample.wanted;
        if sample.at_least && off > 0.0 {
            return 0.0;
        }
        let slope = 2.0 * off * sample.weight;
        let (w, g) = (&self.weights, &mut self.gradient);
        let mut of_second = [0.0; SECOND];
        for i in 0..SECOND {
            g[THIRD_AT + i] += slope * second[i];
            of_second[i] = if second[i] > 0.0 { slope * w[THIRD_AT + i] } else { 0.0 };
        }
        g[THIRD_AT + SECOND] += slope;
        let mut of_first = [0.0; FIRST];
        for (i, slope) in of_second.into_iter().enumerate().filter(|(_, slope)| *slope != 0.0) {
            let at = SECOND_AT + i * (FIRST + 1);
            for j in 0..FIRST {
                g[at + j] += slope * first[j];
                of_first[j] += slope * w[at + j];
            }
            g[at + FIRST] += slope;
        }
        for (i, slope) in of_first.into_iter().enumerate().filter(|(i, slope)| *slope != 0.0 && first[*i] > 0.0) {
            let row = &mut g[NUMBERS_AT + i * (NUMBERS + 1)..][..=NUMBERS];
            for (slot, number) in row.iter_mut().zip(&numbers) {
                *slot += slope * number;
            }
            row[NUMBERS] += slope;
            for switch in sample.inputs.switches.into_iter().filter(|s| *s < SWITCHES) {
                g[switch * FIRST + i] += slope;
            }
        }
        off * off * sample.weight
    }

    /// One step of Adam at `rate` on `samples`; returns their mean loss.
    pub fn step<'a>(&mut self, samples: impl Iterator<Item = &'a Sample>, rate: f32) -> f32 {
        self.gradient.fill(0.0);
        let (mut loss, mut weight) = (0.0, 0.0);
        for sample in samples {
            loss += self.learn(sample);
            weight += sample.weight;
        }
        let greatest = GREATEST as f32 / UNIT as f32;
        let [unbias, unbias_square] = self.powers.map(|power| 1.0 - power);
        for i in 0..WEIGHTS {
            let slope = self.gradient[i] / weight;
            self.mean[i] = BETA[0] * self.mean[i] + (1.0 - BETA[0]) * slope;
            self.square[i] = BETA[1] * self.square[i] + (1.0 - BETA[1]) * slope * slope;
            let step = self.mean[i] / unbias / ((self.square[i] / unbias_square).sqrt() + 1e-8);
            self.weights[i] = (self.weights[i] - rate * step).clamp(-greatest, greatest);
        }
        self.powers = [self.powers[0] * BETA[0], self.powers[1] * BETA[1]];
        loss / weight
    }

    /// The mean loss of `samples`.
    pub fn loss<'a>(&self, samples: impl Iterator<Item = &'a Sample>) -> f32 {
        let (mut loss, mut weight) = (0.0f64, 0.0f64);
        for sample in samples {
            let off = self.forward(&sample.inputs, &mut [0.0; NUMBERS]).2 - sample.wanted;
            let off = if sample.at_least { off.min(0.0) } else { off };
            loss += f64::from(off * off * sample.weight);
            weight += f64::from(sample.weight);
        }
        (loss / weight) as f32
    }

    /// The weights as the file has them.
    pub fn whole(&self) -> [i16; WEIGHTS] {
        std::array::from_fn(|i| (self.weights[i] * UNIT as f32).round() as i16)
    }
}

/// Weights by inputs, and the bias behind them.
fn dot<const N: usize>(row: &[f32], inputs: &[f32; N]) -> f32 {
    // Eight sums at once, so that it is fast and yet always added in the same order.
    let mut sums = [0.0f32; 8];
    for (weights, inputs) in row.as_chunks::<8>().0.iter().zip(inputs.as_chunks::<8>().0) {
        for i in 0..8 {
            sums[i] += weights[i] * inputs[i];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h)) + row[N]
}

#[cfg(test)]
mod tests {
    use accel_core::score::embedded::Network;

    use super::*;

    fn sample(rng: &mut Rng, wanted: f32, at_least: bool) -> Sample {
        let numbers = std::array::from_fn(|_| rng.below(4096) as i16);
        let inputs = Inputs { switches: [rng.below(6) as usize, 6 + rng.below(14) as usize, SWITCHES], numbers };
        Sample { inputs, wanted, at_least, weight: 1.0 + rng.unit() as f32 }
    }

    #[test]
    fn gradients_are_differences_of_losses() {
        let mut rng = Rng::new(3, "test");
        let mut trainee = Trainee::new(&mut rng);
        let samples: Vec<Sample> = (0..8).map(|i| sample(&mut rng, 0.2 * i as f32, i % 4 == 1)).collect();
        let weight: f32 = samples.iter().map(|sample| sample.weight).sum();
        trainee.gradient.fill(0.0);
        for sample in &samples {
            trainee.learn(sample);
        }
        let gradient = trainee.gradient.clone();
        let mut compared = 0;
        for at in (0..WEIGHTS).step_by(7).chain(THIRD_AT..WEIGHTS) {
            let before = trainee.weights[at];
            let [above, below] = [1e-2f32, -1e-2].map(|step| {
                trainee.weights[at] = before + step;
                f64::from(trainee.loss(samples.iter()))
            });
            trainee.weights[at] = before;
            let difference = (above - below) / 2e-2 * f64::from(weight);
            // Where a neuron turns on within the step, the difference is another one.
            let close = (difference - f64::from(gradient[at])).abs() < 0.02 + 0.05 * difference.abs();
            compared += usize::from(close);
        }
        let all = (0..WEIGHTS).step_by(7).chain(THIRD_AT..WEIGHTS).count();
        assert!(compared * 100 >= all * 97, "{compared} of {all}");
    }

    #[test]
    fn the_whole_numbers_say_what_the_trainee_says() {
        let mut rng = Rng::new(4, "test");
        let trainee = Trainee::new(&mut rng);
        let network = Network::new(&trainee.whole());
        for i in 0..200 {
            let sample = sample(&mut rng, 0.05 * i as f32, false);
            let said = trainee.forward(&sample.inputs, &mut [0.0; NUMBERS]).2.clamp(0.0, 18.0 / 16.0);
            let whole = f32::from(network.predict(&sample.inputs)) / ONE as f32;
            assert!((said - whole).abs() < 0.02, "{said} {whole}");
        }
    }
}
