//! One Opus stream: how SILK and CELT share its frames, and how they take turns.
//!
//! RFC 6716, sections 3.1 and 4.5; what those leave open is done as libopus 1.3.1 does it.

use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

use super::celt::Celt;
use super::range::RangeDecoder;
use super::silk::Silk;

/// Samples of 2.5 ms, in which one signal fades into another, and of what is decoded for that.
const FADE: usize = 120;
const JOINT: usize = 2 * FADE;
/// The shortest frame that SILK makes up, and the longest that either layer does.
const SHORTEST_SILK: usize = 480;
const LONGEST_LOST: usize = 960;
/// The first band of CELT's part of a hybrid frame.
const HYBRID_START: usize = 17;
/// All bands.
const ALL_BANDS: usize = 21;
/// A CELT frame of silence.
const SILENCE: [u8; 2] = [0xFF, 0xFF];

/// A frame whose bits do not end where it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Damaged;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Silk,
    Hybrid,
    Celt,
}

/// What the first byte of a packet says: section 3.1.
#[derive(Clone, Copy, Debug)]
struct Toc {
    mode: Mode,
    /// SILK's rate.
    khz: usize,
    /// After the last of CELT's bands.
    end: usize,
    channels: usize,
}

impl Toc {
    fn new(byte: u8) -> Self {
        let config = byte >> 3;
        let mode = match config {
            0..12 => Mode::Silk,
            12..16 => Mode::Hybrid,
            _ => Mode::Celt,
        };
        let (khz, end) = match config {
            0..4 => (8, 13),
            4..8 => (12, 17),
            8..12 => (16, 17),
            12..14 => (16, 19),
            14..16 => (16, ALL_BANDS),
            16..20 => (0, 13),
            20..24 => (0, 17),
            24..28 => (0, 19),
            _ => (0, ALL_BANDS),
        };
        Self {
            mode,
            khz,
            end,
            channels: if byte & 4 == 0 { 1 } else { 2 },
        }
    }
}

/// A frame of CELT that bridges a change of mode: section 4.5.1.
#[derive(Clone, Copy, Debug)]
struct Redundancy<'a> {
    /// It begins the frame, after one of CELT; else it ends it, before one.
    comes_first: bool,
    data: &'a [u8],
}

/// A decoder to mono or stereo at 48 kHz.
pub(crate) struct Stream {
    channels: usize,
    silk: Silk,
    celt: Celt,
    /// The last frame's mode, and whether it ended with a redundant frame.
    previous: Option<Mode>,
    was_bridged: bool,
    /// Channels and end of the bands of the last packet.
    coded: usize,
    end: usize,
    /// How much of the new signal each sample of a fade has.
    fade: [f32; FADE],
    /// The signal that is faded from or to.
    joint: [f32; 2 * JOINT],
    /// A frame or a part of one was made up.
    pub(super) has_made_up: bool,
    /// CELT went on from what was before.
    #[cfg(test)]
    has_extrapolated: bool,
}

impl Stream {
    /// A decoder to so many channels, 1 or 2.
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            channels,
            silk: Silk::new(channels),
            celt: Celt::new(channels),
            previous: None,
            was_bridged: false,
            coded: channels,
            end: ALL_BANDS,
            fade: std::array::from_fn(fade_in),
            joint: [0.0; 2 * JOINT],
            has_made_up: false,
            #[cfg(test)]
            has_extrapolated: false,
        }
    }

    /// As if nothing had been decoded.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.channels);
    }

    /// Remembers noise at full scale instead of the signal.
    pub(super) fn disturb(&mut self, seed: i32) {
        self.silk.disturb(seed);
        self.celt.disturb(seed);
    }

    /// Decodes a frame, given the packet's first byte, to interleaved samples that fill `pcm`: 2.5 to
    /// 60 ms, as that byte says. A frame of no bytes or one was left out and is made up.
    ///
    /// # Errors
    /// The frame is damaged; `pcm` holds what came of it.
    pub(crate) fn decode(&mut self, toc: u8, frame: &[u8], pcm: &mut [f32]) -> Result<(), Damaged> {
        let toc = Toc::new(toc);
        self.coded = toc.channels;
        if frame.len() <= 1 {
            self.lose(pcm);
            return Ok(());
        }
        let mut range = RangeDecoder::new(frame);
        let mut is_abrupt = match self.previous {
            Some(Mode::Celt) => toc.mode != Mode::Celt,
            Some(_) => toc.mode == Mode::Celt && !self.was_bridged,
            None => false,
        };
        if is_abrupt && toc.mode == Mode::Celt {
            self.conceal_joint(pcm.len());
        }
        let (mut length, mut redundancy) = (frame.len(), None);
        if toc.mode != Mode::Celt {
            if self.previous == Some(Mode::Celt) {
                self.silk.reset();
            }
            self.silk.decode(&mut range, toc.khz, toc.channels, pcm);
            (length, redundancy) = find_redundancy(&mut range, toc.mode, frame);
            is_abrupt &= redundancy.is_none();
            if is_abrupt {
                self.conceal_joint(pcm.len());
            }
        }
        self.end = toc.end;
        let first = redundancy.filter(|redundancy| redundancy.comes_first);
        if let Some(first) = first {
            self.decode_joint(first.data);
        }
        let result = self.decode_celt(&mut range, toc, length, first.is_some(), pcm);
        let last = redundancy.filter(|redundancy| !redundancy.comes_first);
        if let Some(last) = last {
            self.celt.reset();
            self.decode_joint(last.data);
            self.fade_to_joint(pcm);
        }
        if first.is_some() || is_abrupt {
            self.fade_from_joint(pcm);
        }
        self.previous = Some(toc.mode);
        self.was_bridged = last.is_some();
        result
    }

    /// CELT's part of a frame, which it adds to SILK's.
    fn decode_celt(
        &mut self,
        range: &mut RangeDecoder<'_>,
        toc: Toc,
        length: usize,
        is_bridged: bool,
        pcm: &mut [f32],
    ) -> Result<(), Damaged> {
        if toc.mode == Mode::Silk {
            if self.previous == Some(Mode::Hybrid) && !(is_bridged && self.was_bridged) {
                let mut silence = RangeDecoder::new(&SILENCE);
                let pcm = &mut pcm[..FADE * self.channels];
                self.celt
                    .decode(&mut silence, self.coded, 0..self.end, pcm, true);
            }
            return Ok(());
        }
        let is_other = self.previous.is_some_and(|previous| previous != toc.mode);
        if is_other && !self.was_bridged {
            self.celt.reset();
        }
        let (bands, adds) = (self.bands(toc.mode), toc.mode == Mode::Hybrid);
        if length <= 1 {
            self.has_made_up = true;
            self.celt.conceal(self.coded, bands, pcm, adds);
            return Ok(());
        }
        self.celt.decode(range, self.coded, bands, pcm, adds);
        if range.tell() > 8 * range.len() as i32 {
            return Err(Damaged);
        }
        Ok(())
    }

    fn bands(&self, mode: Mode) -> Range<usize> {
        if mode == Mode::Hybrid {
            HYBRID_START..self.end
        } else {
            0..self.end
        }
    }

    /// Makes up a frame as the last ones were.
    fn lose(&mut self, pcm: &mut [f32]) {
        self.has_made_up = true;
        let Some(mode) = self.previous else {
            pcm.fill(0.0);
            return;
        };
        for pcm in pcm.chunks_mut(LONGEST_LOST * self.channels) {
            self.conceal(mode, pcm);
        }
    }

    /// Makes up 20 ms at most.
    fn conceal(&mut self, mode: Mode, pcm: &mut [f32]) {
        if mode != Mode::Celt {
            self.conceal_silk(pcm);
        }
        if mode != Mode::Silk {
            let adds = mode == Mode::Hybrid;
            self.celt.conceal(self.coded, self.bands(mode), pcm, adds);
        }
        self.was_bridged = false;
        #[cfg(test)]
        (self.has_extrapolated |= mode == Mode::Celt);
    }

    fn conceal_silk(&mut self, pcm: &mut [f32]) {
        let shortest = SHORTEST_SILK * self.channels;
        if pcm.len() >= shortest {
            self.silk.conceal(pcm);
        } else {
            let mut longer = [0.0; 2 * SHORTEST_SILK];
            self.silk.conceal(&mut longer[..shortest]);
            pcm.copy_from_slice(&longer[..pcm.len()]);
        }
    }

    /// Makes up what the signal before would have gone on with, for a frame of `length` values.
    fn conceal_joint(&mut self, length: usize) {
        let Some(mode) = self.previous else { return };
        self.has_made_up = true;
        let mut joint = self.joint;
        self.conceal(mode, &mut joint[..length.min(JOINT * self.channels)]);
        self.joint = joint;
    }

    /// Decodes a redundant frame.
    fn decode_joint(&mut self, data: &[u8]) {
        let joint = &mut self.joint[..JOINT * self.channels];
        let mut range = RangeDecoder::new(data);
        self.celt
            .decode(&mut range, self.coded, 0..self.end, joint, false);
    }

    /// Fades the end of a frame into the redundant one.
    fn fade_to_joint(&self, pcm: &mut [f32]) {
        let length = FADE * self.channels;
        let end = pcm.len() - length;
        let new = &self.joint[length..];
        for (at, (pcm, new)) in pcm[end..].iter_mut().zip(new).enumerate() {
            *pcm = mix(*pcm, *new, self.fade[at / self.channels]);
        }
    }

    /// Fades from the joint to the beginning of a frame, as late as there is time.
    fn fade_from_joint(&self, pcm: &mut [f32]) {
        let length = FADE * self.channels;
        let start = if pcm.len() > length { length } else { 0 };
        pcm[..start].copy_from_slice(&self.joint[..start]);
        let old = &self.joint[start..start + length];
        for (at, (pcm, old)) in pcm[start..].iter_mut().zip(old).enumerate() {
            *pcm = mix(*old, *pcm, self.fade[at / self.channels]);
        }
    }
}

/// After SILK's part: the bytes that are not of a redundant frame, and that frame.
fn find_redundancy<'a>(
    range: &mut RangeDecoder<'_>,
    mode: Mode,
    frame: &'a [u8],
) -> (usize, Option<Redundancy<'a>>) {
    let is_hybrid = mode == Mode::Hybrid;
    let least_bits = if is_hybrid { 37 } else { 17 };
    if range.tell() + least_bits > 8 * frame.len() as i32 || (is_hybrid && !range.bit(12)) {
        return (frame.len(), None);
    }
    let comes_first = range.bit(1);
    let rest = if is_hybrid {
        frame.len() as i32 - (range.uniform(256) as i32 + 2)
    } else {
        (range.tell() + 7) >> 3
    };
    if rest * 8 < range.tell() {
        return (0, None);
    }
    let (kept, data) = frame.split_at(rest as usize);
    range.shorten(data.len());
    (kept.len(), Some(Redundancy { comes_first, data }))
}

/// The square of CELT's window: section 4.3.7.
fn fade_in(at: usize) -> f32 {
    let turn = FRAC_PI_2 * (at as f64 + 0.5) / FADE as f64;
    let window = (FRAC_PI_2 * turn.sin().powi(2)).sin() as f32;
    window * window
}

fn mix(old: f32, new: f32, weight: f32) -> f32 {
    weight * new + (1.0 - weight) * old
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
