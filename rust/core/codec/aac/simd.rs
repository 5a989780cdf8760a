//! The one choice between instruction sets: the same code is compiled twice, and vectors are left to the compiler.
#![allow(unsafe_code)]

use super::element::Elements;

#[cfg(target_arch = "x86_64")]
pub(super) fn run(elements: &mut Elements, core: &[Vec<f32>], slot: u32) {
    use std::arch::is_x86_feature_detected as has;
    if has!("avx2") && has!("fma") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { run_avx2(elements, core, slot) };
    }
    elements.run(core, slot);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(elements: &mut Elements, core: &[Vec<f32>], slot: u32) {
    elements.run(core, slot);
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run(elements: &mut Elements, core: &[Vec<f32>], slot: u32) {
    elements.run(core, slot);
}
