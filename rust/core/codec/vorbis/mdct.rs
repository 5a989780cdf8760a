//! From spectra to samples: the inverse MDCT, the window and the overlap. Sections 1.3.2 and 4.3.7.

use std::f64::consts::{FRAC_PI_2, PI};
use std::sync::{Arc, OnceLock};

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// Samples that are worked on at once; the shortest slope has twice as many in a half.
const LANES: usize = 8;

/// The inverse MDCT to blocks of one size as a DCT-IV, which is its result folded, by a complex
/// transform of half as many points; and the slope that such blocks overlap with.
pub(super) struct Transform {
    fft: Arc<dyn Fft<f32>>,
    twiddles: Vec<Complex<f32>>,
    /// The rising half of the window.
    slope: Vec<f32>,
}

/// Room for what lives no longer than a call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    complex: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
    folded: Vec<f32>,
}

/// What is left of one channel's last block to overlap with the next: a half of its folded form.
pub(super) type Tail = Vec<f32>;

impl Transform {
    /// The transform for half a block of so many samples, a power of two from 32 to 4096.
    pub(super) fn of(half: usize) -> &'static Self {
        static ALL: [OnceLock<Transform>; 8] = [const { OnceLock::new() }; 8];
        let place = half.trailing_zeros().saturating_sub(5).min(7);
        ALL[place as usize].get_or_init(|| Self::new(32 << place))
    }

    fn new(half: usize) -> Self {
        let twiddle = |n: usize| {
            let angle = -PI * (8 * n + 1) as f64 / (8 * half) as f64;
            Complex::new(angle.cos() as f32, angle.sin() as f32)
        };
        Self {
            fft: FftPlanner::new().plan_fft_forward(half / 2),
            twiddles: (0..half / 2).map(twiddle).collect(),
            slope: slope(half),
        }
    }

    /// The samples between the middle of the block before, which left `tail`, and the middle of this
    /// one; `output` has room for them, and for none after a reset.
    pub(super) fn synthesize(
        &self,
        spectrum: &[f32],
        tail: &mut Tail,
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        self.fold(spectrum, scratch);
        let (lower, upper) = scratch.folded.split_at(spectrum.len() / 2);
        overlap(tail, upper, output);
        tail.clear();
        tail.extend_from_slice(lower);
    }

    /// The DCT-IV of `spectrum`.
    fn fold(&self, spectrum: &[f32], scratch: &mut Scratch) {
        let half = spectrum.len();
        scratch.complex.resize(half / 2, Complex::default());
        let needed = self.fft.get_inplace_scratch_len();
        let needed = needed.max(scratch.fft.len());
        scratch.fft.resize(needed, Complex::default());
        scratch.folded.resize(half, 0.0);
        let (pairs, _) = spectrum.as_chunks::<2>();
        let inputs = pairs.iter().zip(pairs.iter().rev());
        for ((to, twiddle), (even, odd)) in
            scratch.complex.iter_mut().zip(&self.twiddles).zip(inputs)
        {
            *to = Complex::new(even[0], odd[1]) * twiddle;
        }
        self.fft
            .process_with_scratch(&mut scratch.complex, &mut scratch.fft);
        self.unfold(&scratch.complex, &mut scratch.folded);
    }

    /// The results of the complex transform from both ends, turned and in their order.
    fn unfold(&self, values: &[Complex<f32>], folded: &mut [f32]) {
        let middle = values.len() / 2;
        let ((low, high), (low_twiddles, high_twiddles)) =
            (values.split_at(middle), self.twiddles.split_at(middle));
        let (pairs, _) = folded.as_chunks_mut::<2>();
        let (low_pairs, high_pairs) = pairs.split_at_mut(middle);
        let from_low = low.iter().zip(low_twiddles);
        let from_high = high.iter().zip(high_twiddles);
        let to = low_pairs.iter_mut().zip(high_pairs.iter_mut().rev());
        for (((low, low_twiddle), (high, high_twiddle)), (first, last)) in
            from_low.zip(from_high.rev()).zip(to)
        {
            let (low, high) = (low * low_twiddle, high * high_twiddle);
            (*first, *last) = ([low.re, -high.im], [high.re, -low.im]);
        }
    }
}

/// Unfolds the second half of one block (`before`) and the first half of the next (`after`), and adds
/// them up where the slopes of the smaller block lie; what is left of the larger one stays as it is.
fn overlap(before: &[f32], after: &[f32], output: &mut [f32]) {
    let width = before.len().min(after.len());
    let flat = before.len() - width;
    if output.len() != before.len() + after.len() || width == 0 {
        return;
    }
    let (start, rest) = output.split_at_mut(flat);
    let (middle, end) = rest.split_at_mut(2 * width);
    let (falling, before) = before.split_at(width);
    let (after, rising) = after.split_at(after.len() - width);
    negate_reversed(before, start);
    negate_reversed(after, end);
    let (first, second) = middle.split_at_mut(width);
    let (low, high) = Transform::of(2 * width).slope.split_at(width);
    let (first, _) = first.as_chunks_mut::<LANES>();
    let (second, _) = second.as_chunks_mut::<LANES>();
    let (falling, rising) = (
        falling.as_chunks::<LANES>().0,
        rising.as_chunks::<LANES>().0,
    );
    let (low, high) = (low.as_chunks::<LANES>().0, high.as_chunks::<LANES>().0);
    let outputs = first.iter_mut().zip(second.iter_mut().rev());
    let inputs = rising.iter().zip(falling.iter().rev());
    for (((first, second), (rise, fall)), (low, high)) in
        outputs.zip(inputs).zip(low.iter().zip(high.iter().rev()))
    {
        let (fall, high) = (reversed(fall), reversed(high));
        *first = std::array::from_fn(|n| rise[n] * low[n] - fall[n] * high[n]);
        *second = reversed(&std::array::from_fn(|n| {
            -rise[n] * high[n] - fall[n] * low[n]
        }));
    }
}

#[inline(always)]
fn reversed(values: &[f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|n| values[LANES - 1 - n])
}

fn negate_reversed(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from.iter().rev()) {
        *to = -from;
    }
}

/// The rising half of the window: section 4.3.1.
fn slope(half: usize) -> Vec<f32> {
    let inner = |n: usize| ((2 * n + 1) as f64 * PI / (4 * half) as f64).sin();
    (0..half)
        .map(|n| (FRAC_PI_2 * inner(n) * inner(n)).sin() as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spectrum(half: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 2f32.powi(23) - 1.0
        };
        (0..half).map(|_| next()).collect()
    }

    /// The windowed block by the sum of section 1.3.2, where a long block's slopes are as short as
    /// those of its neighbours.
    fn block(spectrum: &[f32], rise: usize, fall: usize) -> Vec<f64> {
        let half = spectrum.len();
        let edge = |width: usize| {
            let mut edge = vec![0.0; (half - width) / 2];
            edge.extend(slope(width).iter().map(|value| f64::from(*value)));
            edge.resize(half, 1.0);
            edge
        };
        let window = edge(rise).into_iter().chain(edge(fall).into_iter().rev());
        let sample = |n: usize| {
            let place = (2 * n + 1 + half) as f64 * PI / (4 * half) as f64;
            let terms = spectrum.iter().enumerate();
            terms
                .map(|(k, value)| f64::from(*value) * (place * (2 * k + 1) as f64).cos())
                .sum::<f64>()
        };
        window
            .enumerate()
            .map(|(n, window)| window * sample(n))
            .collect()
    }

    #[test]
    fn blocks_of_all_sizes_overlap_as_specified() {
        let halves = [64, 64, 512, 512, 64, 32, 256, 256, 32, 32];
        let (mut tail, mut scratch) = (Tail::new(), Scratch::default());
        let mut before: Option<Vec<f64>> = None;
        for (at, half) in halves.into_iter().enumerate() {
            let rise = at.checked_sub(1).map_or(half, |at| halves[at].min(half));
            let fall = halves.get(at + 1).map_or(half, |next| half.min(*next));
            let spectrum = spectrum(half, at as u32);
            let expected = block(&spectrum, rise, fall);
            let count = before
                .as_ref()
                .map_or(0, |before| before.len() / 4 + half / 2);
            let mut output = vec![0.0; count];
            Transform::of(half).synthesize(&spectrum, &mut tail, &mut scratch, &mut output);
            if let Some(before) = before {
                // Of the block before all after its middle, and of this one all in front of it.
                let offset = before.len() as isize / 4 - half as isize / 2;
                for (n, sample) in output.iter().enumerate() {
                    let second = before.get(before.len() / 2 + n).copied().unwrap_or(0.0);
                    let first = usize::try_from(n as isize - offset).map_or(0.0, |n| expected[n]);
                    assert!(
                        (f64::from(*sample) - first - second).abs() < 1e-4,
                        "{at} {n}"
                    );
                }
            }
            before = Some(expected);
        }
    }
}
