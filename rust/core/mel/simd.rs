//! The same code for several generations of processors, chosen when the program runs.
#![allow(unsafe_code)]

use super::bank::Bank;
use super::transform::{LANES, Plan, SPAN, Scratch};

/// What the processor can do; results are the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this processor has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && std::env::var_os("NO512").is_none()
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && std::env::var_os("NO256").is_none() {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    pub(super) fn logs(
        self,
        plan: &Plan,
        bank: &Bank,
        signal: &[f32; SPAN],
        scratch: &mut Scratch,
        tile: &mut [[f32; LANES]],
    ) -> [f32; LANES] {
        match self {
            Self::Baseline => logs(plan, bank, signal, scratch, tile),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has it.
            Self::Avx2 => unsafe { logs_avx2(plan, bank, signal, scratch, tile) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has it.
            Self::Avx512 => unsafe { logs_avx512(plan, bank, signal, scratch, tile) },
        }
    }

    pub(super) fn finish(self, row: &mut [f32], computed: usize, max: f32) {
        match self {
            Self::Baseline => super::finish(row, computed, max),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has it.
            _ => unsafe { finish_avx2(row, computed, max) },
        }
    }
}

#[inline(always)]
fn logs(
    plan: &Plan,
    bank: &Bank,
    signal: &[f32; SPAN],
    scratch: &mut Scratch,
    tile: &mut [[f32; LANES]],
) -> [f32; LANES] {
    plan.power(signal, scratch);
    bank.logs(&scratch.power, tile)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn logs_avx2(
    plan: &Plan,
    bank: &Bank,
    signal: &[f32; SPAN],
    scratch: &mut Scratch,
    tile: &mut [[f32; LANES]],
) -> [f32; LANES] {
    logs(plan, bank, signal, scratch, tile)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn logs_avx512(
    plan: &Plan,
    bank: &Bank,
    signal: &[f32; SPAN],
    scratch: &mut Scratch,
    tile: &mut [[f32; LANES]],
) -> [f32; LANES] {
    logs(plan, bank, signal, scratch, tile)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn finish_avx2(row: &mut [f32], computed: usize, max: f32) {
    super::finish(row, computed, max);
}
