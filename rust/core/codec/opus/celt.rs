//! CELT, the layer of Opus that codes music: an MDCT whose bands have an energy and a shape each.
//! RFC 6716, section 4.3, at 48 kHz and with libopus's choices where the specification leaves any.

mod allocation;
mod bands;
mod energy;
mod haar;
mod mdct;
mod plc;
mod postfilter;
mod pvq;
mod shape;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bands::{AntiCollapse, Folded};
use energy::Energies;
use haar::Mask;
use mdct::{Mdct, OVERLAP};
use plc::{Extrapolation, HISTORY, Prediction};
use postfilter::Comb;
use pvq::Spread;
use shape::Shapes;
use tables::{BANDS, EDGES, ENERGY_MEANS, MAX_FRAME, MAX_LOG_BLOCKS, SHORT_BLOCK};

use super::range::RangeDecoder;

/// Samples of each channel are kept in so many, to be moved to the front now and then.
const ROOM: usize = HISTORY + 4 * MAX_FRAME + OVERLAP;
/// The decoder's scale: libopus computes with samples of 16 bits.
const FULL_SCALE: f32 = 32768.0;
/// Pole of the filter that undoes the encoder's pre-emphasis.
const DE_EMPHASIS: f32 = 0.850_006_1;
/// Keeps the filter off numbers so small that they are slow.
const VERY_SMALL: f32 = 1e-30;
/// `log2` of the largest amplitude of a band.
const MAX_ENERGY: f32 = 32.0;
/// Lost frames in a row that are extrapolated by their pitch.
const MAX_EXTRAPOLATED: u32 = 5;
/// A number for each band.
type PerBand<T> = [T; BANDS];

/// What holds for one frame.
#[derive(Clone, Debug)]
struct Frame {
    /// Channels coded.
    channels: usize,
    bands: Range<usize>,
    /// `log2` of the short blocks that are as long as the frame.
    log_blocks: usize,
    /// Whether it is coded in short blocks.
    is_transient: bool,
}

impl Frame {
    /// None where no frame has so many samples.
    fn new(channels: usize, bands: Range<usize>, samples: usize) -> Option<Self> {
        let log_blocks = (0..=MAX_LOG_BLOCKS).find(|log| SHORT_BLOCK << log == samples)?;
        Some(Self {
            channels: channels.clamp(1, 2),
            bands: bands.start..bands.end.min(BANDS),
            log_blocks,
            is_transient: false,
        })
    }

    /// Samples of one channel.
    fn samples(&self) -> usize {
        SHORT_BLOCK << self.log_blocks
    }

    /// Blocks that it is coded in.
    fn blocks(&self) -> usize {
        if self.is_transient {
            1 << self.log_blocks
        } else {
            1
        }
    }

    /// First bin of a band.
    fn bin(&self, band: usize) -> usize {
        EDGES[band] << self.log_blocks
    }
}

/// CELT's layer of one stream, for `channels` (1 or 2) output channels at 48 kHz.
pub(crate) struct Celt {
    channels: usize,
    /// Of the noise.
    seed: u32,
    energies: Energies,
    /// Filters of the last frame's end and of the one before it.
    comb: Comb,
    old_comb: Comb,
    loss: Loss,
    /// Samples of each channel before de-emphasis: the last [`HISTORY`], and half an overlap to come.
    history: [Vec<f32>; 2],
    /// Where the history begins in them.
    at: usize,
    /// What the de-emphasis adds to the next sample.
    emphasis: [f32; 2],
    spectra: [Vec<f32>; 2],
    folded: Folded,
    mdct: Mdct,
}

/// How the stream fared of late.
#[derive(Clone)]
struct Loss {
    /// Frames lost in a row.
    count: u32,
    /// Whether the history is too young to have a pitch.
    is_recent: bool,
    pitch: usize,
    predictions: [Prediction; 2],
}

impl Loss {
    fn new() -> Self {
        Self {
            count: 0,
            is_recent: true,
            pitch: 0,
            predictions: [Prediction::default(); 2],
        }
    }
}

impl Celt {
    pub(crate) fn new(channels: usize) -> Self {
        let room = || vec![0.0; ROOM];
        let spectrum = || vec![0.0; MAX_FRAME];
        Self {
            channels: channels.clamp(1, 2),
            seed: 0,
            energies: Energies::new(),
            comb: Comb::default(),
            old_comb: Comb::default(),
            loss: Loss::new(),
            history: [room(), room()],
            at: 0,
            emphasis: [0.0; 2],
            spectra: [spectrum(), spectrum()],
            folded: Folded::new(),
            mdct: Mdct::new(),
        }
    }

    /// As if nothing had been decoded.
    pub(crate) fn reset(&mut self) {
        self.seed = 0;
        self.energies = Energies::new();
        self.comb = Comb::default();
        self.old_comb = Comb::default();
        self.loss = Loss::new();
        self.history
            .iter_mut()
            .for_each(|history| history.fill(0.0));
        self.emphasis = [0.0; 2];
    }

    /// Remembers noise at full scale.
    pub(crate) fn disturb(&mut self, seed: i32) {
        let mut seed = seed as u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed as i32 >> 16) as f32
        };
        let history = self.history.iter_mut().flatten();
        history
            .chain(&mut self.emphasis)
            .for_each(|state| *state = noise());
        // Of logarithms to base 2.
        let energies = [&mut self.energies.before, &mut self.energies.now];
        let energies = energies.into_iter().flatten().flatten();
        energies.for_each(|energy| *energy += noise() / 4096.0);
    }

    /// Decodes one frame of `pcm.len() / channels` samples: 120, 240, 480 or 960, of full scale 1.
    ///
    /// `range` reads the frame, which SILK may have begun. `bands` are 0.. or 17.., and `stream_channels`
    /// what is coded: it is mixed up or down. Interleaved samples are written, or added where
    /// `accumulate`. A frame of one byte or none counts as lost.
    pub(crate) fn decode(
        &mut self,
        range: &mut RangeDecoder<'_>,
        stream_channels: usize,
        bands: Range<usize>,
        pcm: &mut [f32],
        accumulate: bool,
    ) {
        if range.len() <= 1 {
            return self.conceal(stream_channels, bands, pcm, accumulate);
        }
        let samples = pcm.len() / self.channels;
        let Some(mut frame) = Frame::new(stream_channels, bands, samples) else {
            return;
        };
        self.loss.is_recent = self.loss.count != 0;
        let comb = self.decode_spectra(range, &mut frame);
        self.advance(samples);
        self.synthesise(&frame);
        self.filter(&frame, comb);
        self.energies.finish(&frame, self.loss.count);
        self.seed = range.state();
        self.loss.count = 0;
        self.output(pcm, accumulate);
    }

    /// Makes one frame up for a lost one, as libopus does: by the pitch of what came before for the first
    /// few where the bands begin at 0, of noise otherwise.
    pub(crate) fn conceal(
        &mut self,
        _stream_channels: usize,
        bands: Range<usize>,
        pcm: &mut [f32],
        accumulate: bool,
    ) {
        let samples = pcm.len() / self.channels;
        let Some(frame) = Frame::new(self.channels, bands, samples) else {
            return;
        };
        let loss = &self.loss;
        // The first frame may have been lost where the bands began elsewhere.
        let has_pitch = loss.count == 0 || loss.pitch != 0;
        let is_short = loss.count < MAX_EXTRAPOLATED && !loss.is_recent;
        let is_noise = !is_short || !has_pitch || frame.bands.start != 0;
        if is_noise {
            self.make_noise(&frame);
            self.advance(samples);
            self.synthesise(&frame);
        } else {
            self.extrapolate(samples);
            self.advance(samples);
        }
        self.loss.count = self.loss.count.saturating_add(1);
        self.output(pcm, accumulate);
    }

    /// Everything that the frame's bits say, to spectra of amplitudes. Returns the filter.
    fn decode_spectra(&mut self, range: &mut RangeDecoder<'_>, frame: &mut Frame) -> Comb {
        if frame.channels == 1 {
            self.energies.merge_channels();
        }
        let has = |range: &RangeDecoder<'_>, bits| range.tell() + bits <= 8 * range.len() as i32;
        let is_silent = !has(range, 1) || (range.tell() == 1 && range.bit(15));
        if is_silent {
            range.skip_rest();
        }
        let mut comb = Comb::default();
        if frame.bands.start == 0 && has(range, 16) && range.bit(1) {
            comb = Comb::decode(range);
        }
        frame.is_transient = frame.log_blocks > 0 && has(range, 3) && range.bit(3);
        let is_intra = has(range, 3) && range.bit(3);
        self.energies.decode_coarse(range, frame, is_intra);
        let resolutions = decode_resolutions(range, frame);
        let spread = match has(range, 4) {
            true => Spread::from_symbol(range.symbol(&tables::SPREAD, 5)),
            false => Spread::Normal,
        };
        let allocation = allocation::decode(range, frame);
        self.energies.decode_fine(range, frame, &allocation);
        let shapes = Shapes {
            frame,
            allocation: &allocation,
            resolutions: &resolutions,
            spread,
            may_invert: self.channels == 2,
        };
        let (seed, folded) = (&mut self.seed, &mut self.folded);
        let masks = shapes.decode(range, seed, folded, &mut self.spectra);
        let is_filled = allocation.anti_collapse > 0 && range.raw(1) != 0;
        self.energies.decode_final(range, frame, &allocation);
        if is_filled {
            self.fill_collapsed(frame, &allocation.shape_bits, &masks);
        }
        if is_silent {
            self.energies.silence(frame.channels);
            let spectra = self.spectra[..frame.channels].iter_mut();
            spectra.for_each(|spectrum| spectrum.fill(0.0));
        } else {
            self.scale(frame);
        }
        comb
    }

    fn fill_collapsed(&mut self, frame: &Frame, bits: &PerBand<i32>, masks: &[PerBand<Mask>; 2]) {
        let filling = AntiCollapse {
            frame,
            shape_bits: bits,
            energies: &self.energies,
            masks,
        };
        filling.fill(self.seed, &mut self.spectra);
    }

    /// From unit norm to the bands' energies, with nothing above and below them.
    fn scale(&mut self, frame: &Frame) {
        let energies = self.energies.now.iter().take(frame.channels);
        for (spectrum, energies) in self.spectra.iter_mut().zip(energies) {
            for band in frame.bands.clone() {
                let energy = (energies[band] + ENERGY_MEANS[band]).min(MAX_ENERGY);
                let amplitude = f64::from(energy).exp2() as f32;
                for value in &mut spectrum[frame.bin(band)..frame.bin(band + 1)] {
                    *value *= amplitude;
                }
            }
            spectrum[..frame.bin(frame.bands.start)].fill(0.0);
            spectrum[frame.bin(frame.bands.end)..frame.samples()].fill(0.0);
        }
    }

    /// Noise as loud as the bands were, and softer from frame to frame.
    fn make_noise(&mut self, frame: &Frame) {
        let decay = if self.loss.count == 0 { 1.5 } else { 0.5 };
        self.energies
            .decay(frame.channels, frame.bands.clone(), decay);
        for spectrum in self.spectra.iter_mut().take(frame.channels) {
            for band in frame.bands.clone() {
                let shape = &mut spectrum[frame.bin(band)..frame.bin(band + 1)];
                for value in shape.iter_mut() {
                    self.seed = shape::next_random(self.seed);
                    *value = (self.seed as i32 >> 20) as f32;
                }
                shape::normalise(shape, 1.0);
            }
        }
        self.scale(frame);
    }

    fn extrapolate(&mut self, samples: usize) {
        let at = self.at;
        let is_first = self.loss.count == 0;
        if is_first {
            let channels = self.history.iter().take(self.channels);
            self.loss.pitch = plc::find_pitch(channels.map(|history| &history[at..at + HISTORY]));
        }
        let predictions = self.loss.predictions.iter_mut();
        for (history, prediction) in self.history.iter_mut().take(self.channels).zip(predictions) {
            let history = &mut history[at..];
            if is_first {
                *prediction = plc::predict(history);
            }
            let extrapolation = Extrapolation {
                pitch: self.loss.pitch,
                prediction,
                fade: if is_first { 1.0 } else { 0.8 },
                comb: &self.comb,
            };
            extrapolation.extend(history, samples);
        }
    }

    /// Lets the history end `samples` later, where there is room for another frame and an overlap.
    fn advance(&mut self, samples: usize) {
        self.at += samples;
        if self.at + HISTORY + MAX_FRAME + OVERLAP > ROOM {
            let kept = self.at..self.at + HISTORY + OVERLAP;
            for history in self.history.iter_mut().take(self.channels) {
                history.copy_within(kept.clone(), 0);
            }
            self.at = 0;
        }
    }

    /// From spectra to the last samples of the history.
    fn synthesise(&mut self, frame: &Frame) {
        let samples = frame.samples();
        let start = self.at + HISTORY - samples;
        if frame.channels == 2 && self.channels == 1 {
            let [left, right] = &mut self.spectra;
            for (left, right) in left[..samples].iter_mut().zip(right) {
                *left = 0.5 * *left + 0.5 * *right;
            }
        }
        let new = start + OVERLAP / 2..start + OVERLAP / 2 + samples;
        let coded = self.channels.min(frame.channels);
        for (history, spectrum) in self.history.iter_mut().zip(&self.spectra).take(coded) {
            let output = &mut history[new.clone()];
            self.mdct
                .invert(&spectrum[..samples], frame.blocks(), output);
        }
        if coded < self.channels {
            let [left, right] = &mut self.history;
            right[new.clone()].copy_from_slice(&left[new]);
        }
        for history in self.history.iter_mut().take(self.channels) {
            for seam in (start..start + samples).step_by(samples / frame.blocks()) {
                mdct::overlap(&mut history[seam..seam + OVERLAP]);
            }
        }
    }

    /// The filter changes over the first short block, and again over the second.
    fn filter(&mut self, frame: &Frame, comb: Comb) {
        let samples = frame.samples();
        let start = self.at + HISTORY - samples;
        for history in self.history.iter_mut().take(self.channels) {
            postfilter::filter(history, start, SHORT_BLOCK, &self.old_comb, &self.comb);
            if frame.log_blocks > 0 {
                let (start, samples) = (start + SHORT_BLOCK, samples - SHORT_BLOCK);
                postfilter::filter(history, start, samples, &self.comb, &comb);
            }
        }
        self.old_comb = if frame.log_blocks > 0 {
            comb
        } else {
            self.comb
        };
        self.comb = comb;
    }

    /// The last samples of the history, de-emphasised.
    fn output(&mut self, pcm: &mut [f32], accumulate: bool) {
        match (self.channels, accumulate) {
            (1, false) => self.de_emphasise::<1>(pcm, |output, sample| *output = sample),
            (1, true) => self.de_emphasise::<1>(pcm, |output, sample| *output += sample),
            (_, false) => self.de_emphasise::<2>(pcm, |output, sample| *output = sample),
            (_, true) => self.de_emphasise::<2>(pcm, |output, sample| *output += sample),
        }
    }

    fn de_emphasise<const CHANNELS: usize>(
        &mut self,
        pcm: &mut [f32],
        put: impl Fn(&mut f32, f32),
    ) {
        let samples = pcm.len() / CHANNELS;
        let start = self.at + HISTORY - samples;
        let history: [&[f32]; CHANNELS] =
            std::array::from_fn(|channel| &self.history[channel][start..start + samples]);
        let mut carry = [0.0; CHANNELS];
        carry.copy_from_slice(&self.emphasis[..CHANNELS]);
        for (at, outputs) in pcm.chunks_exact_mut(CHANNELS).enumerate() {
            for channel in 0..CHANNELS {
                let sample = history[channel][at] + VERY_SMALL + carry[channel];
                carry[channel] = DE_EMPHASIS * sample;
                put(&mut outputs[channel], sample * (1.0 / FULL_SCALE));
            }
        }
        self.emphasis[..CHANNELS].copy_from_slice(&carry);
    }
}

/// Changes of each band's resolution in time: section 4.3.1.
fn decode_resolutions(range: &mut RangeDecoder<'_>, frame: &Frame) -> PerBand<i32> {
    let mut budget = 8 * range.len() as i32;
    let mut cost = if frame.is_transient { 2 } else { 4 };
    let is_selectable = frame.log_blocks > 0 && range.tell() + cost < budget;
    budget -= i32::from(is_selectable);
    let mut changes = [false; BANDS];
    let mut change = false;
    let mut has_changed = false;
    for band in frame.bands.clone() {
        if range.tell() + cost <= budget {
            change ^= range.bit(cost as u32);
            has_changed |= change;
        }
        changes[band] = change;
        cost = if frame.is_transient { 4 } else { 5 };
    }
    let table = &tables::TIME_FREQUENCY[frame.log_blocks][4 * usize::from(frame.is_transient)..];
    let differs = table[usize::from(has_changed)] != table[2 + usize::from(has_changed)];
    let select = is_selectable && differs && range.bit(1);
    changes.map(|change| i32::from(table[2 * usize::from(select) + usize::from(change)]))
}
