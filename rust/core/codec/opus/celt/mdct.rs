//! The inverse MDCT and its window: RFC 6716, section 4.3.7.

use std::f64::consts::{FRAC_PI_2, TAU};
use std::sync::{Arc, LazyLock};

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::tables::{MAX_FRAME, MAX_LOG_BLOCKS, SHORT_BLOCK};

/// Samples that two blocks share.
pub(super) const OVERLAP: usize = 120;

/// The rising half of the window, power-complementary.
pub(super) static WINDOW: LazyLock<[f32; OVERLAP]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let sine = (FRAC_PI_2 * (at as f64 + 0.5) / OVERLAP as f64).sin();
        (FRAC_PI_2 * sine * sine).sin() as f32
    })
});

/// By `log2` of the short blocks in one.
static TRANSFORMS: LazyLock<[Transform; MAX_LOG_BLOCKS + 1]> = LazyLock::new(|| {
    let mut planner = FftPlanner::new();
    std::array::from_fn(|log| Transform::new(&mut planner, SHORT_BLOCK << log))
});

/// An inverse MDCT from some bins to twice as many samples.
struct Transform {
    fft: Arc<dyn Fft<f32>>,
    /// `exp` at an eighth of a step after each of the first quarter's.
    twiddles: Vec<Complex<f32>>,
}

impl Transform {
    fn new(planner: &mut FftPlanner<f32>, bins: usize) -> Self {
        let twiddle = |at| {
            let angle = TAU * (at as f64 + 0.125) / (2 * bins) as f64;
            Complex::new(angle.cos() as f32, angle.sin() as f32)
        };
        Self {
            fft: planner.plan_fft_inverse(bins / 2),
            twiddles: (0..bins / 2).map(twiddle).collect(),
        }
    }
}

/// What the transforms work in.
#[derive(Clone)]
pub(super) struct Mdct {
    bins: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Mdct {
    pub(super) fn new() -> Self {
        let scratch = TRANSFORMS
            .iter()
            .map(|transform| transform.fft.get_inplace_scratch_len());
        Self {
            bins: vec![Complex::default(); MAX_FRAME / 2],
            scratch: vec![Complex::default(); scratch.max().unwrap_or(0)],
        }
    }

    /// The middle half of `blocks` interleaved blocks, end to end and without the window.
    /// The outer quarters mirror it.
    pub(super) fn invert(&mut self, spectrum: &[f32], blocks: usize, output: &mut [f32]) {
        let block = spectrum.len() / blocks;
        let transform = &TRANSFORMS[(block / SHORT_BLOCK).ilog2() as usize];
        let bins = &mut self.bins[..spectrum.len() / 2];
        for (at, bins) in bins.chunks_exact_mut(block / 2).enumerate() {
            turn_in(&spectrum[at..], blocks, &transform.twiddles, bins);
        }
        transform.fft.process_with_scratch(bins, &mut self.scratch);
        let outputs = output.chunks_exact_mut(block);
        for (bins, output) in bins.chunks_exact(block / 2).zip(outputs) {
            turn_out(bins, &transform.twiddles, output);
        }
    }
}

/// Pairs each even bin of a block with the odd one as far from the end.
fn turn_in(spectrum: &[f32], stride: usize, twiddles: &[Complex<f32>], bins: &mut [Complex<f32>]) {
    let turned = bins.iter_mut().zip(twiddles);
    if stride == 1 {
        let pairs = spectrum.chunks_exact(2).zip(spectrum.rchunks_exact(2));
        for ((bin, twiddle), (front, back)) in turned.zip(pairs) {
            *bin = Complex::new(back[1], front[0]) * twiddle;
        }
        return;
    }
    let block = spectrum.iter().step_by(stride);
    let pairs = block.clone().step_by(2).zip(block.rev().step_by(2));
    for ((bin, twiddle), (even, odd)) in turned.zip(pairs) {
        *bin = Complex::new(*odd, *even) * twiddle;
    }
}

/// Even samples from the front, odd ones from the end.
fn turn_out(bins: &[Complex<f32>], twiddles: &[Complex<f32>], output: &mut [f32]) {
    let front = bins.iter().zip(twiddles);
    let back = front.clone().rev();
    for ((pair, (bin, twiddle)), (end_bin, end_twiddle)) in
        output.chunks_exact_mut(2).zip(front).zip(back)
    {
        pair[0] = bin.re * twiddle.re - bin.im * twiddle.im;
        pair[1] = -(end_bin.re * end_twiddle.im + end_bin.im * end_twiddle.re);
    }
}

/// Joins two blocks: `seam` is the last half overlap of one and the first of the next.
pub(super) fn overlap(seam: &mut [f32]) {
    let window = &*WINDOW;
    let (before, after) = seam.split_at_mut(OVERLAP / 2);
    let rising = window[..OVERLAP / 2].iter();
    let falling = window[OVERLAP / 2..].iter().rev();
    let pairs = before.iter_mut().zip(after.iter_mut().rev());
    for ((before, after), (rising, falling)) in pairs.zip(rising.zip(falling)) {
        let (early, late) = (*before, *after);
        *before = falling * early - rising * late;
        *after = rising * early + falling * late;
    }
}
