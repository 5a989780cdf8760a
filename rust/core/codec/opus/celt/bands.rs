//! The shapes of all bands of a frame: RFC 6716, section 4.3.4.

use super::haar::Mask;
use super::pvq::Spread;
use super::shape::{Fold, ShapeDecoder, Shapes};
use super::tables::{BANDS, EIGHTHS, MAX_FRAME, MAX_WIDTH};
use super::{Frame, PerBand};
use crate::codec::opus::range::RangeDecoder;

/// Eighths of a bit that one band gets, at most.
const MAX_BAND_BITS: i32 = 16383;

/// Spectra that later bands are folded from, scaled by the root of their width.
#[derive(Clone)]
pub(super) struct Folded {
    channels: [Vec<f32>; 2],
    /// Room for one band.
    changed: Vec<f32>,
}

impl Folded {
    pub(super) fn new() -> Self {
        Self {
            channels: [vec![0.0; MAX_FRAME], vec![0.0; MAX_FRAME]],
            changed: vec![0.0; MAX_WIDTH],
        }
    }
}

/// How far one is when all bands are decoded one by one.
struct Progress {
    balance: i32,
    /// End of the bands that may be folded from, 0 where there are none yet.
    fold_end: usize,
    may_move_fold: bool,
    is_dual: bool,
}

impl Shapes<'_> {
    /// Decodes into unit norm by band. Returns which blocks got any pulses, by channel and band.
    pub(super) fn decode(
        &self,
        range: &mut RangeDecoder<'_>,
        seed: &mut u32,
        folded: &mut Folded,
        spectra: &mut [Vec<f32>; 2],
    ) -> [PerBand<Mask>; 2] {
        let mut masks = [[0; BANDS]; 2];
        let mut progress = Progress {
            balance: self.allocation.balance,
            fold_end: 0,
            may_move_fold: true,
            is_dual: self.allocation.is_dual,
        };
        let mut decoder = ShapeDecoder::new(range, *seed, self);
        for band in self.frame.bands.clone() {
            self.decode_band(
                band,
                &mut decoder,
                &mut progress,
                folded,
                spectra,
                &mut masks,
            );
        }
        *seed = decoder.seed;
        masks
    }

    fn decode_band(
        &self,
        band: usize,
        decoder: &mut ShapeDecoder<'_, '_>,
        progress: &mut Progress,
        folded: &mut Folded,
        spectra: &mut [Vec<f32>; 2],
        masks: &mut [PerBand<Mask>; 2],
    ) {
        let frame = self.frame;
        let bins = frame.bin(band)..frame.bin(band + 1);
        let tell = decoder.range.tell_eighths();
        if band != frame.bands.start {
            progress.balance -= tell;
        }
        let total = ((decoder.range.len() as i32 * 8) << EIGHTHS) - self.allocation.anti_collapse;
        decoder.band = band;
        decoder.remaining = total - tell - 1;
        decoder.resolution = self.resolutions[band];
        let bits = self.band_bits(band, decoder.remaining, progress.balance);
        self.move_fold(band, bins.len(), progress);
        if band == frame.bands.start + 1 {
            self.widen_first(folded, progress.is_dual);
        }
        let from = self.fold_start(band, bins.len(), progress.fold_end);
        let fills = match from {
            Some(from) => self.filled(band, from, bins.len(), progress.fold_end, masks),
            None => [(1 << frame.blocks()) - 1; 2],
        };
        if progress.is_dual && band == self.allocation.intensity {
            progress.is_dual = false;
            let [left, right] = &mut folded.channels;
            for (left, right) in left[..bins.start - self.first_bin()].iter_mut().zip(right) {
                *left = 0.5 * (*left + *right);
            }
        }
        let to = (band + 1 != frame.bands.end).then(|| bins.start - self.first_bin());
        let [left, right] = &mut folded.channels;
        let changed = &mut folded.changed[..];
        let [x, y] = spectra;
        let (x, y) = (&mut x[bins.clone()], &mut y[bins.clone()]);
        let found = if progress.is_dual {
            [
                decoder.band(
                    x,
                    bits / 2,
                    &mut Fold::new(left, changed, from, to),
                    1.0,
                    fills[0],
                ),
                decoder.band(
                    y,
                    bits / 2,
                    &mut Fold::new(right, changed, from, to),
                    1.0,
                    fills[1],
                ),
            ]
        } else if frame.channels == 2 {
            [decoder.stereo(
                x,
                y,
                bits,
                &mut Fold::new(left, changed, from, to),
                fills[0] | fills[1],
            ); 2]
        } else {
            [decoder.band(
                x,
                bits,
                &mut Fold::new(left, changed, from, to),
                1.0,
                fills[0],
            ); 2]
        };
        masks[0][band] = found[0];
        masks[1][band] = found[1];
        progress.balance += self.allocation.shape_bits[band] + tell;
        progress.may_move_fold = bits > (bins.len() as i32) << EIGHTHS;
    }

    /// First bin of the frame.
    fn first_bin(&self) -> usize {
        self.frame.bin(self.frame.bands.start)
    }

    /// What is left over by earlier bands goes to the next three.
    fn band_bits(&self, band: usize, remaining: i32, balance: i32) -> i32 {
        let coded_end = self.allocation.coded_end;
        if band >= coded_end {
            return 0;
        }
        let share = balance / (coded_end - band).min(3) as i32;
        (self.allocation.shape_bits[band] + share)
            .min(remaining + 1)
            .clamp(0, MAX_BAND_BITS)
    }

    /// A band is folded from the last bands that had bits enough.
    fn move_fold(&self, band: usize, bins: usize, progress: &mut Progress) {
        let is_filled =
            self.frame.bin(band) >= bins + self.first_bin() || band == self.frame.bands.start + 1;
        if is_filled && (progress.may_move_fold || progress.fold_end == 0) {
            progress.fold_end = band;
        }
    }

    /// The second band of a hybrid frame is wider than the first: part of the first is repeated.
    fn widen_first(&self, folded: &mut Folded, is_dual: bool) {
        let start = self.frame.bands.start;
        let first = self.frame.bin(start + 1) - self.frame.bin(start);
        let second = self.frame.bin(start + 2) - self.frame.bin(start + 1);
        for norm in folded.channels.iter_mut().take(1 + usize::from(is_dual)) {
            norm.copy_within(2 * first - second..first, first);
        }
    }

    /// Where a band is folded from, counted from the first bin of the frame.
    fn fold_start(&self, band: usize, bins: usize, fold_end: usize) -> Option<usize> {
        let may_fold = self.spread != Spread::Aggressive
            || self.frame.blocks() > 1
            || self.resolutions[band] < 0;
        (fold_end != 0 && may_fold).then(|| {
            self.frame
                .bin(fold_end)
                .saturating_sub(self.first_bin() + bins)
        })
    }

    /// Blocks that have any pulses in the bands that one is folded from.
    fn filled(
        &self,
        band: usize,
        from: usize,
        bins: usize,
        fold_end: usize,
        masks: &[PerBand<Mask>; 2],
    ) -> [Mask; 2] {
        let from = from + self.first_bin();
        let below = |band: &usize| self.frame.bin(*band) <= from;
        let first = (0..fold_end).rev().find(below).unwrap_or(0);
        let above = |band: &usize| self.frame.bin(*band) >= from + bins;
        let end = (fold_end..band).find(above).unwrap_or(band.max(fold_end));
        let any = |masks: &PerBand<Mask>| masks[first..end].iter().fold(0, |any, mask| any | mask);
        let (left, right) = (any(&masks[0]), any(&masks[1]));
        [left, right]
    }
}

/// Fills the blocks of transients that got no pulses with noise as loud as the frames before:
/// section 4.3.5.
pub(super) struct AntiCollapse<'a> {
    pub(super) frame: &'a Frame,
    pub(super) shape_bits: &'a PerBand<i32>,
    pub(super) energies: &'a super::energy::Energies,
    pub(super) masks: &'a [PerBand<Mask>; 2],
}

impl AntiCollapse<'_> {
    pub(super) fn fill(&self, mut seed: u32, spectra: &mut [Vec<f32>; 2]) {
        for band in self.frame.bands.clone() {
            let spectra = spectra.iter_mut().take(self.frame.channels);
            for (channel, spectrum) in spectra.enumerate() {
                let bins = self.frame.bin(band)..self.frame.bin(band + 1);
                seed = self.fill_band(seed, &mut spectrum[bins], channel, band);
            }
        }
    }

    fn fill_band(&self, mut seed: u32, shape: &mut [f32], channel: usize, band: usize) -> u32 {
        let blocks = self.frame.blocks();
        let mask = self.masks[channel][band];
        if mask == (1 << blocks) - 1 {
            return seed;
        }
        let level = self.level(shape.len(), channel, band);
        for block in (0..blocks).filter(|block| mask & 1 << block == 0) {
            for value in shape[block..].iter_mut().step_by(blocks) {
                seed = super::shape::next_random(seed);
                *value = if seed & 0x8000 != 0 { level } else { -level };
            }
        }
        super::shape::normalise(shape, 1.0);
        seed
    }

    /// Amplitude of the noise.
    fn level(&self, bins: usize, channel: usize, band: usize) -> f32 {
        let log_blocks = self.frame.log_blocks;
        let width = (bins >> log_blocks) as i32;
        let depth = ((1 + self.shape_bits[band]) / width) >> log_blocks;
        let most = 0.5 * (-0.125 * depth as f32).exp2();
        let of = |energies: &[PerBand<f32>; 2]| match self.frame.channels {
            1 => energies[0][band].max(energies[1][band]),
            _ => energies[channel][band],
        };
        let before = of(&self.energies.before).min(of(&self.energies.long_before));
        let fall = (self.energies.now[channel][band] - before).max(0.0);
        let longest = if log_blocks == 3 {
            std::f32::consts::SQRT_2
        } else {
            1.0
        };
        (2.0 * (-fall).exp2() * longest).min(most) / (bins as f32).sqrt()
    }
}
