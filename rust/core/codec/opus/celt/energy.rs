//! Energies of the bands, as `log2` of amplitudes: RFC 6716, section 4.3.2.

use super::allocation::Allocation;
use super::tables::{BANDS, ENERGY_LEAK, ENERGY_MODELS, ENERGY_PREDICTION, SMALL_ENERGY};
use super::{Frame, PerBand};
use crate::codec::opus::range::RangeDecoder;

/// What a band without energy is said to have.
const SILENCE: f32 = -28.0;
/// The prediction takes nothing below.
const PREDICTION_FLOOR: f32 = -9.0;
/// Bits of a fine energy, at most.
const MAX_FINE_BITS: i32 = 8;
/// Frames lost after which the background may change at once.
const LONG_LOSS: u32 = 10;

/// Energies of both channels, now and before.
#[derive(Clone)]
pub(super) struct Energies {
    pub(super) now: [PerBand<f32>; 2],
    /// Of the frame before, and of the one before that; transients only lower the former.
    pub(super) before: [PerBand<f32>; 2],
    pub(super) long_before: [PerBand<f32>; 2],
    /// Floor of the energies heard of late, which lost frames decay to.
    pub(super) background: [PerBand<f32>; 2],
}

impl Energies {
    pub(super) fn new() -> Self {
        Self {
            now: [[0.0; BANDS]; 2],
            before: [[SILENCE; BANDS]; 2],
            long_before: [[SILENCE; BANDS]; 2],
            background: [[0.0; BANDS]; 2],
        }
    }

    /// A mono frame is predicted from the louder of two channels.
    pub(super) fn merge_channels(&mut self) {
        let [left, right] = &mut self.now;
        for (left, right) in left.iter_mut().zip(right) {
            *left = left.max(*right);
        }
    }

    /// Steps of 6 dB, predicted over time and bands: section 4.3.2.1.
    pub(super) fn decode_coarse(
        &mut self,
        range: &mut RangeDecoder<'_>,
        frame: &Frame,
        is_intra: bool,
    ) {
        let model = &ENERGY_MODELS[frame.log_blocks][usize::from(is_intra)];
        let (prediction, leak) = if is_intra {
            (0.0, ENERGY_LEAK[4])
        } else {
            (
                ENERGY_PREDICTION[frame.log_blocks],
                ENERGY_LEAK[frame.log_blocks],
            )
        };
        let mut below = [0.0; 2];
        for band in frame.bands.clone() {
            let at = 2 * band.min(BANDS - 1);
            for (energies, below) in self.now[..frame.channels].iter_mut().zip(&mut below) {
                let step = coarse_step(range, model[at], model[at + 1]) as f32;
                let predicted = prediction * energies[band].max(PREDICTION_FLOOR);
                energies[band] = predicted + *below + step;
                *below = *below + step - leak * step;
            }
        }
    }

    /// Fractions of a step: section 4.3.2.2.
    pub(super) fn decode_fine(
        &mut self,
        range: &mut RangeDecoder<'_>,
        frame: &Frame,
        allocation: &Allocation,
    ) {
        for band in frame.bands.clone() {
            let bits = allocation.fine_bits[band];
            if bits <= 0 {
                continue;
            }
            for energies in &mut self.now[..frame.channels] {
                let fraction = range.raw(bits as u32) as f32 + 0.5;
                energies[band] += fraction / (1 << bits) as f32 - 0.5;
            }
        }
    }

    /// What bits are left make the energies one bit finer, the bands of first priority first.
    pub(super) fn decode_final(
        &mut self,
        range: &mut RangeDecoder<'_>,
        frame: &Frame,
        allocation: &Allocation,
    ) {
        let channels = frame.channels as i32;
        let mut bits_left = 8 * range.len() as i32 - range.tell();
        for is_second in [false, true] {
            for band in frame.bands.clone() {
                let bits = allocation.fine_bits[band];
                if bits_left < channels {
                    break;
                }
                if bits >= MAX_FINE_BITS || allocation.is_fine_enough[band] != is_second {
                    continue;
                }
                for energies in &mut self.now[..frame.channels] {
                    energies[band] += (range.raw(1) as f32 - 0.5) / (2 << bits) as f32;
                }
                bits_left -= channels;
            }
        }
    }

    pub(super) fn silence(&mut self, channels: usize) {
        self.now[..channels].fill([SILENCE; BANDS]);
    }

    /// Remembers the energies of a frame that was decoded after `losses` lost ones.
    pub(super) fn finish(&mut self, frame: &Frame, losses: u32) {
        if frame.channels == 1 {
            self.now[1] = self.now[0];
        }
        if frame.is_transient {
            for (before, now) in self
                .before
                .iter_mut()
                .flatten()
                .zip(self.now.as_flattened())
            {
                *before = before.min(*now);
            }
        } else {
            self.long_before = self.before;
            self.before = self.now;
            self.raise_background(frame, losses);
        }
        for band in (0..frame.bands.start).chain(frame.bands.end..BANDS) {
            for channel in 0..2 {
                self.now[channel][band] = 0.0;
                self.before[channel][band] = SILENCE;
                self.long_before[channel][band] = SILENCE;
            }
        }
    }

    fn raise_background(&mut self, frame: &Frame, losses: u32) {
        let rise = if losses < LONG_LOSS {
            (1 << frame.log_blocks) as f32 * 0.001
        } else {
            1.0
        };
        for (background, now) in self
            .background
            .iter_mut()
            .flatten()
            .zip(self.now.as_flattened())
        {
            *background = (*background + rise).min(*now);
        }
    }

    /// Lets the energies of a lost frame fall by `decay`, down to the background.
    pub(super) fn decay(&mut self, channels: usize, bands: std::ops::Range<usize>, decay: f32) {
        for (now, background) in self.now.iter_mut().zip(&self.background).take(channels) {
            for band in bands.clone() {
                now[band] = background[band].max(now[band] - decay);
            }
        }
    }
}

/// One step, coded the more simply the fewer bits are left.
fn coarse_step(range: &mut RangeDecoder<'_>, probability: u8, decay: u8) -> i32 {
    match 8 * range.len() as i32 - range.tell() {
        15.. => laplace(range, u32::from(probability) << 7, u32::from(decay) << 6),
        2..15 => {
            let symbol = range.symbol(&SMALL_ENERGY, 2) as i32;
            symbol >> 1 ^ -(symbol & 1)
        }
        1 => -i32::from(range.bit(1)),
        _ => -1,
    }
}

/// A number of Laplace's distribution: 0 has `zero` of 32768, and further ones fall by `decay / 16384`
/// down to a floor of one each.
fn laplace(range: &mut RangeDecoder<'_>, zero: u32, decay: u32) -> i32 {
    const TOTAL: u32 = 1 << 15;
    const FLOOR: u32 = 1;
    /// Numbers of either sign that keep the floor for sure.
    const FLOORED: u32 = 16;
    let at = range.decode_bits(15);
    let (mut low, mut share, mut value) = (0, zero, 0);
    if at >= zero {
        low = zero;
        share = (((TOTAL - 2 * FLOOR * FLOORED - zero) * (16384 - decay)) >> 15) + FLOOR;
        value = 1;
        while share > FLOOR && at >= low + 2 * share {
            low += 2 * share;
            share = (((2 * share - 2 * FLOOR) * decay) >> 15) + FLOOR;
            value += 1;
        }
        if share <= FLOOR {
            let further = (at - low) / (2 * FLOOR);
            value += further as i32;
            low += 2 * further * FLOOR;
        }
        if at < low + share {
            value = -value;
        } else {
            low += share;
        }
    }
    range.update(low, (low + share).min(TOTAL), TOTAL);
    value
}
