//! The one choice between instruction sets: the same code is compiled twice, and vectors are left to
//! the compiler.
#![allow(unsafe_code)]

use super::Decoder;
use crate::error::Result;

/// Whether every processor of this architecture multiplies and adds in one instruction.
const IS_FUSED: bool = cfg!(target_arch = "aarch64");

/// `a * b + c`, rounded once where `FUSED`. Without the instruction that would take a call each.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn decode(decoder: &mut Decoder, packet: &[u8]) -> Result<()> {
    use std::arch::is_x86_feature_detected as has;
    if has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { decode_avx2(decoder, packet) };
    }
    decoder.decode_frame::<IS_FUSED>(packet)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2")]
fn decode_avx2(decoder: &mut Decoder, packet: &[u8]) -> Result<()> {
    decoder.decode_frame::<true>(packet)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn decode(decoder: &mut Decoder, packet: &[u8]) -> Result<()> {
    decoder.decode_frame::<IS_FUSED>(packet)
}
