//! The shape of the upper band at 6.6 kbit/s: the frequencies of the lower one, carried on: 3GPP TS 26.190, section 6.3.

use super::super::fixed::{add_product, divide, mult, norm, product, round, shift};
use super::ORDER;
use super::isf::{HIGH_ORDER, Lines, pairs};

/// How near the two frequencies around another one are at most.
const GAP: i16 = 1280;

/// The pairs of a filter of 16 kHz.
pub(super) fn high_pairs(lines: &Lines) -> [i16; HIGH_ORDER] {
    let mut high = [0; HIGH_ORDER];
    high[..ORDER].copy_from_slice(lines);
    high[HIGH_ORDER - 1] = lines[ORDER - 1];
    let back = 1 + likeness(lines);
    for at in ORDER - 1..HIGH_ORDER - 1 {
        let step = high[at - 1 - back].saturating_sub(high[at - 2 - back]);
        high[at] = high[at - 1].saturating_add(step);
    }
    let steps = steps(&high);
    for (at, step) in (ORDER - 1..HIGH_ORDER - 1).zip(steps) {
        high[at] = high[at - 1].saturating_add(step);
    }
    for line in &mut high[..HIGH_ORDER - 1] {
        *line = mult(*line, 26214);
    }
    pairs(&high)
}

/// After how many frequencies their distances are most like themselves: from 1 to 3, less one.
fn likeness(lines: &Lines) -> usize {
    let mut apart = [0i16; ORDER - 2];
    for (apart, pair) in apart.iter_mut().zip(lines[..ORDER - 1].windows(2)) {
        *apart = pair[1].saturating_sub(pair[0]);
    }
    let mean = apart[2..]
        .iter()
        .fold(0, |sum, apart| add_product(sum, *apart, 2731));
    let most = apart.iter().copied().max().unwrap_or(0).max(0);
    let up = norm(most);
    let mean = shift(round(mean), up);
    let around = apart.map(|apart| shift(apart, up).saturating_sub(mean));
    let alike = |lag: usize| {
        let pairs = around[7..].iter().zip(&around[7 - lag..]);
        pairs.fold(0i32, |sum, (a, b)| {
            sum.saturating_add(square(product(*a, *b)))
        })
    };
    let [two, three, four] = [alike(2), alike(3), alike(4)];
    let (best, value) = if two > three { (0, two) } else { (1, three) };
    if four > value { 2 } else { best }
}

/// The square of a number in Q31, by its halves.
fn square(value: i32) -> i32 {
    let (upper, lower) = ((value >> 16) as i16, ((value >> 1) & 0x7FFF) as i16);
    let cross = mult(upper, lower);
    let sum = add_product(product(upper, upper), cross, 1);
    add_product(sum, cross, 1)
}

/// The steps of the new frequencies, so that they end where speech does.
fn steps(high: &[i16; HIGH_ORDER]) -> [i16; 4] {
    let end = high[2].saturating_sub(high[4].saturating_add(high[3]));
    let end = (i32::from(mult(end, 5461)) + 20390).min(19456) as i16;
    let last = high[ORDER - 2];
    let wanted = end.saturating_sub(last);
    let found = high[HIGH_ORDER - 2].saturating_sub(last);
    let (up, found_up) = (norm(wanted) - 1, norm(found));
    let scale = divide(shift(wanted, up), shift(found, found_up));
    let mut steps = [0; 4];
    for (step, pair) in steps.iter_mut().zip(high[ORDER - 2..].windows(2)) {
        *step = shift(mult(pair[1].saturating_sub(pair[0]), scale), found_up - up);
    }
    for at in 1..steps.len() {
        let (before, after) = (steps[at - 1], steps[at]);
        if i32::from(before) + i32::from(after) < i32::from(GAP) {
            match after > before {
                true => steps[at - 1] = GAP.saturating_sub(after),
                false => steps[at] = GAP.saturating_sub(before),
            }
        }
    }
    steps
}

/// What is measured of the lower band.
pub(super) mod high_pass_400 {
    use super::super::Subframe;

    /// Takes off what is below 400 Hz.
    #[derive(Default)]
    pub(in super::super) struct HighPass {
        inputs: [i32; 2],
        /// Upper and lower halves of the last outputs.
        outputs: [(i32, i32); 2],
    }

    impl HighPass {
        pub(in super::super) fn apply(&mut self, samples: &mut Subframe) {
            for sample in samples {
                let input = i32::from(*sample);
                let [(a, a_low), (b, b_low)] = self.outputs;
                let low = (8192 + a_low * 29280).wrapping_sub(b_low * 14160) >> 13;
                let sum = (a * 29280)
                    .wrapping_sub(b * 14160)
                    .wrapping_add(self.inputs[1] * 915)
                    .wrapping_sub(self.inputs[0] * 1830)
                    .wrapping_add(input * 915);
                let sum = low.wrapping_add(sum.wrapping_shl(2));
                *sample = (sum.wrapping_add(0x8000) >> 16) as i16;
                self.inputs = [input, self.inputs[0]];
                self.outputs = [(sum >> 16, (sum >> 1) & 0x7FFF), self.outputs[0]];
            }
        }
    }
}
