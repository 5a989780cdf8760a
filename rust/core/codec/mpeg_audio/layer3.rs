//! Frames of Layer III: ISO/IEC 11172-3, sections 2.4.2.7 and 2.4.3.4; 13818-3, section 2.4.3.2.

use super::grid::{SLOTS, SUBBANDS, Spectrum};
use super::header::{Header, too_short};
use super::huffman;
use super::hybrid::Hybrid;
use super::requantize::Coded;
use super::side_info::{Granule, SideInfo};
use super::stereo;
use super::synthesis::Synthesis;
use super::{Plane, scale_factors};
use crate::codec::bits::Bits;
use crate::codec::packet::damaged;
use crate::error::Result;

/// Bytes of earlier frames that `main_data_begin` reaches at most.
const RESERVOIR: usize = 511;
const SILENCE: Spectrum = [[0.0; SUBBANDS]; SLOTS];
/// Quarters of an octave: by how much the sum and the difference of channels are too loud, and two
/// channels for their mean.
const HALF_OCTAVE: i32 = -2;
const OCTAVE: i32 = -4;

/// What is left of earlier frames, but for the filters.
#[derive(Clone)]
pub(super) struct Layer3 {
    /// Main data of earlier frames and of the present one.
    main: Vec<u8>,
    /// By granule and channel.
    coded: [[Coded; 2]; 2],
    spectra: [Spectrum; 2],
}

impl Default for Layer3 {
    fn default() -> Self {
        Self {
            main: Vec::new(),
            coded: Default::default(),
            spectra: [SILENCE; 2],
        }
    }
}

/// The filters of one plane.
#[derive(Clone, Default)]
pub(super) struct Filters {
    pub(super) hybrid: Hybrid,
    pub(super) synthesis: Synthesis,
}

impl Layer3 {
    /// Forgets the frames before.
    pub(super) fn reset(&mut self) {
        self.main.clear();
    }

    /// Decodes a frame whose header and checksum are passed, to one plane, the mean of the channels,
    /// or to one for each of them.
    ///
    /// An error leaves the planes as they were. What later frames take from this one is its main data,
    /// whatever became of it: their samples do not depend on where decoding began.
    #[inline(always)]
    pub(super) fn decode<const FUSED: bool>(
        &mut self,
        header: Header,
        frame: &[u8],
        planes: &mut [Plane],
    ) -> Result<()> {
        let parts = frame.split_at_checked(header.side_info_bytes());
        let (side_info, main) = parts.ok_or_else(too_short)?;
        let spent = self.main.len().saturating_sub(RESERVOIR);
        self.main.drain(..spent);
        let kept = self.main.len();
        self.main.extend_from_slice(main);
        let info = SideInfo::read(header, side_info)?;
        let is_mean = planes.len() < header.channels();
        self.read_main(header, &info, kept, is_mean)?;
        for granule in 0..header.granules() {
            match is_mean {
                true => self.filter_mean::<FUSED>(header, granule, &mut planes[0]),
                false => self.filter::<FUSED>(header, granule, planes),
            }
        }
        Ok(())
    }

    /// Scale factors and lines of all granules.
    #[inline(always)]
    fn read_main(
        &mut self,
        header: Header,
        info: &SideInfo,
        kept: usize,
        is_mean: bool,
    ) -> Result<()> {
        // Negative where earlier frames are not there.
        let mut begin = 8 * (kept as i64 - info.main_data_begin as i64);
        let available = 8 * self.main.len() as i64;
        for granule in 0..header.granules() {
            let is_side_spare = is_mean && has_plain_mid_side(header, &info.granules[granule]);
            // As in other decoders, a granule without its beginning is silence.
            let is_there = begin >= 0;
            for channel in 0..header.channels() {
                let bits = info.granules[granule][channel].bits as i64;
                let end = begin + bits;
                if is_there && end > available {
                    return Err(damaged("a granule is longer than the frame's data"));
                }
                let place = (granule, channel);
                if is_there {
                    let has_lines = !(channel == 1 && is_side_spare);
                    let range = begin as usize..end as usize;
                    self.read_coded(header, info, place, range, has_lines)?;
                } else {
                    let coded = &mut self.coded[granule][channel];
                    coded.granule = info.granules[granule][channel];
                    (coded.factors, coded.end) = ([0; 39], 0);
                }
                begin = end;
            }
        }
        Ok(())
    }

    /// One channel of a granule, from the bits `range` of the main data. Where lines are not wanted the
    /// scale factors are read still: later granules take them over, and damage is an error either way.
    #[inline(always)]
    fn read_coded(
        &mut self,
        header: Header,
        info: &SideInfo,
        (granule, channel): (usize, usize),
        range: std::ops::Range<usize>,
        has_lines: bool,
    ) -> Result<()> {
        let bits = &mut Bits::new(&self.main);
        bits.at = range.start;
        let (before, after) = self.coded.split_at_mut(granule);
        let coded = &mut after[0][channel];
        coded.granule = info.granules[granule][channel];
        coded.factors = if header.is_mpeg1() {
            let before = before.first().map(|before| &before[channel].factors);
            let before = before.map(|factors| (factors, info.shared[channel]));
            scale_factors::read_mpeg1(bits, &coded.granule, before)
        } else {
            let is_intensity = channel == 1 && header.has_intensity();
            let (factors, has_preemphasis) =
                scale_factors::read_mpeg2(bits, &coded.granule, is_intensity);
            coded.granule.has_preemphasis = has_preemphasis;
            factors
        };
        if bits.at > range.end {
            return Err(damaged("a granule is shorter than its scale factors"));
        }
        coded.end = match has_lines {
            true => huffman::read(bits, range.end, &coded.granule, &mut coded.lines),
            false => 0,
        };
        Ok(())
    }

    /// One granule, each channel by itself.
    #[inline(always)]
    fn filter<const FUSED: bool>(&mut self, header: Header, granule: usize, planes: &mut [Plane]) {
        let subbands = self.spectra(header, granule);
        for (channel, plane) in planes.iter_mut().enumerate() {
            let coded = &self.coded[granule][channel].granule;
            let spectrum = &mut self.spectra[channel];
            plane
                .filters
                .hybrid
                .add::<FUSED>(coded, spectrum, subbands[channel]);
            plane.synthesize::<FUSED>();
        }
    }

    /// One granule, both channels mixed as early as their windows allow: all that follows is linear.
    #[inline(always)]
    fn filter_mean<const FUSED: bool>(
        &mut self,
        header: Header,
        granule: usize,
        plane: &mut Plane,
    ) {
        let rate_index = header.rate_index();
        let [left, right] = &self.coded[granule];
        let is_alike = left.granule.is_alike(&right.granule);
        if is_alike && !header.has_intensity() {
            let spectrum = &mut self.spectra[0];
            *spectrum = SILENCE;
            let mut subbands;
            if header.has_mid_side() {
                // ((m + s) / √2 + (m - s) / √2) / 2: the difference takes no part.
                subbands = left.add_to(spectrum, rate_index, HALF_OCTAVE);
            } else {
                subbands = left.add_to(spectrum, rate_index, OCTAVE);
                subbands = subbands.max(right.add_to(spectrum, rate_index, OCTAVE));
            }
            let granule = &left.granule;
            plane
                .filters
                .hybrid
                .add::<FUSED>(granule, spectrum, subbands);
        } else {
            self.add_halves::<FUSED>(header, granule, plane);
        }
        plane.synthesize::<FUSED>();
    }

    /// Half of each channel, each through its own windows.
    #[inline(never)]
    fn add_halves<const FUSED: bool>(&mut self, header: Header, granule: usize, plane: &mut Plane) {
        let subbands = self.spectra(header, granule);
        let coded = self.coded[granule].iter().zip(subbands);
        for (spectrum, (coded, subbands)) in self.spectra.iter_mut().zip(coded) {
            for line in spectrum.as_flattened_mut() {
                *line *= 0.5;
            }
            let hybrid = &mut plane.filters.hybrid;
            hybrid.add::<FUSED>(&coded.granule, spectrum, subbands);
        }
    }

    /// Makes the spectra of all channels; tells how many of their lowest subbands have lines.
    #[inline(always)]
    fn spectra(&mut self, header: Header, granule: usize) -> [usize; 2] {
        let rate_index = header.rate_index();
        let coded = &self.coded[granule];
        let is_plain = header.has_mid_side() && !header.has_intensity();
        let quarters = if is_plain { HALF_OCTAVE } else { 0 };
        let mut subbands = [0; 2];
        for channel in 0..header.channels() {
            let spectrum = &mut self.spectra[channel];
            *spectrum = SILENCE;
            subbands[channel] = coded[channel].add_to(spectrum, rate_index, quarters);
        }
        if header.has_intensity() {
            stereo::intensity(header, coded, &mut self.spectra);
        } else if is_plain {
            stereo::mid_side(&mut self.spectra);
        }
        if header.has_mid_side() || header.has_intensity() {
            subbands = [subbands[0].max(subbands[1]); 2];
        }
        subbands
    }
}

/// Whether the second channel is the difference, and nothing to the mean.
fn has_plain_mid_side(header: Header, [mid, side]: &[Granule; 2]) -> bool {
    header.has_mid_side() && !header.has_intensity() && mid.is_alike(side)
}
