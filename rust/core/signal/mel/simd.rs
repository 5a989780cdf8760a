//! The same code for several generations of processors, chosen when the program runs.
//!
//! No sum is contracted and no order changed, so that they all give the same bits.
#![allow(unsafe_code)]

use std::array::from_fn;

use super::bank::{Bank, Tile};
use super::transform::{LANES, Plan, SPAN, Scratch, Square};

/// What the processor can do. Only [`Level::detect`] and [`Level::all`] make the upper ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2(Checked),
    #[cfg(target_arch = "x86_64")]
    Avx512(Checked),
}

/// Proof that the processor was asked.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked(());

impl Level {
    /// The best that this processor has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self::Avx512(Checked(()));
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2(Checked(()));
            }
        }
        Self::Baseline
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let mut levels = vec![Self::Baseline, Self::detect()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            levels.push(Self::Avx2(Checked(())));
        }
        levels
    }

    /// Logarithms of the frames that begin in the hops of `signal`, and the largest of each frame.
    pub(super) fn logs(
        self,
        plan: &Plan,
        bank: &Bank,
        signal: &[f32; SPAN],
        scratch: &mut Scratch,
        tile: &mut Tile,
    ) -> [f32; LANES] {
        match self {
            Self::Baseline => {
                plan.power(signal, scratch, transposed);
                bank.logs(&scratch.power, tile)
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Checked` is made only where the processor has AVX2.
            Self::Avx2(_) => unsafe { logs_avx2(plan, bank, signal, scratch, tile) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Checked` is made only where the processor has these parts of AVX-512, and AVX2.
            Self::Avx512(_) => unsafe { logs_avx512(plan, bank, signal, scratch, tile) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn logs_avx2(
    plan: &Plan,
    bank: &Bank,
    signal: &[f32; SPAN],
    scratch: &mut Scratch,
    tile: &mut Tile,
) -> [f32; LANES] {
    plan.power(signal, scratch, |rows| transposed_avx2(rows));
    bank.logs(&scratch.power, tile)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512dq,avx512vl")]
fn logs_avx512(
    plan: &Plan,
    bank: &Bank,
    signal: &[f32; SPAN],
    scratch: &mut Scratch,
    tile: &mut Tile,
) -> [f32; LANES] {
    plan.power(signal, scratch, |rows| transposed_avx2(rows));
    bank.logs(&scratch.power, tile)
}

fn transposed(rows: Square) -> Square {
    from_fn(|column| rows.map(|row| row[column]))
}

/// Neighbours change places, then pairs, then halves; the compiler does not find this by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn transposed_avx2(rows: Square) -> Square {
    use std::arch::x86_64::*;
    let rows: [__m256; LANES] = bytemuck::cast(rows);
    let ones: [__m256; LANES] = from_fn(|at| match at % 2 {
        0 => _mm256_unpacklo_ps(rows[at], rows[at + 1]),
        _ => _mm256_unpackhi_ps(rows[at - 1], rows[at]),
    });
    let pairs: [__m256; LANES] = from_fn(|at| match (at / 4 * 4 + at % 4 / 2, at % 2) {
        (from, 0) => _mm256_shuffle_ps::<0x44>(ones[from], ones[from + 2]),
        (from, _) => _mm256_shuffle_ps::<0xee>(ones[from], ones[from + 2]),
    });
    let halves: [__m256; LANES] = from_fn(|at| match at / 4 {
        0 => _mm256_permute2f128_ps::<0x20>(pairs[at], pairs[at + 4]),
        _ => _mm256_permute2f128_ps::<0x31>(pairs[at - 4], pairs[at]),
    });
    bytemuck::cast(halves)
}
