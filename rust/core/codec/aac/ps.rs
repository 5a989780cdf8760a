//! Parametric stereo, which makes two channels of one: ISO/IEC 14496-3, section 8.6.4. With it HE-AAC is of version 2.

pub(super) mod codebooks;
mod decorrelate;
mod hybrid;
mod matrix;
mod mix;
mod spread;
mod stereo;

use std::sync::LazyLock;

use super::Fault;
use super::codes::Book;
use crate::codec::bits::Bits;
pub(super) use stereo::Stereo;

/// Envelopes of a packet at most, with one that is added to reach its end.
const MOST_ENVELOPES: usize = 5;
/// Bands of parameters at most.
const MOST_BANDS: usize = 34;
/// Packets that tell nothing until what was told is forgotten.
const FORGOTTEN_AFTER: u32 = 8;
/// Samples of a band in a packet.
const SLOTS: usize = 32;

struct Books {
    /// By the fineness of the steps; over frequency, and over time.
    intensity: [[Book; 2]; 2],
    coherence: [Book; 2],
    phase: [Book; 2],
    overall: [Book; 2],
}

static BOOKS: LazyLock<Books> = LazyLock::new(|| {
    use codebooks as books;
    let pair = |frequency, time| [Book::new(frequency), Book::new(time)];
    Books {
        intensity: [
            pair(&books::INTENSITY, &books::INTENSITY_TIME),
            pair(&books::INTENSITY_FINE, &books::INTENSITY_FINE_TIME),
        ],
        coherence: pair(&books::COHERENCE, &books::COHERENCE_TIME),
        phase: pair(&books::PHASE, &books::PHASE_TIME),
        overall: pair(&books::OVERALL, &books::OVERALL_TIME),
    }
});

/// Indices of one kind of parameter, by envelopes and bands.
#[derive(Clone)]
struct Track {
    values: [[i8; MOST_BANDS]; MOST_ENVELOPES],
    /// Whether all that the values build upon was heard.
    is_known: bool,
}

/// What the stream has told.
#[derive(Clone)]
pub(super) struct Parameters {
    mode: Option<Mode>,
    envelopes: usize,
    /// The last sample of each envelope.
    borders: [usize; MOST_ENVELOPES],
    intensity: Track,
    coherence: Track,
    phase: Track,
    overall: Track,
    has_phases: bool,
    /// Whether there are 34 bands, and not 20.
    is_fine: bool,
    /// Whether the packet at hand told anything, and how many before it did not.
    is_new: bool,
    missing: u32,
}

/// `ps_data`'s header.
#[derive(Clone, Copy, Default)]
struct Mode {
    intensity: Option<usize>,
    coherence: Option<usize>,
    has_extension: bool,
    /// The last that were told, which count where there are none now.
    last_intensity: usize,
    last_coherence: usize,
}

impl Mode {
    const BANDS: [usize; 3] = [10, 20, 34];
    const PHASE_BANDS: [usize; 3] = [5, 11, 17];

    fn read(bits: &mut Bits<'_>, last: Option<Self>) -> Result<Self, Fault> {
        let mut read = || -> Result<Option<usize>, Fault> {
            if !bits.need_flag()? {
                return Ok(None);
            }
            match bits.need(3)? as usize {
                mode @ 0..6 => Ok(Some(mode)),
                _ => Err(Fault::Damaged("a PS header has a reserved mode")),
            }
        };
        let (intensity, coherence) = (read()?, read()?);
        let last = last.unwrap_or_default();
        Ok(Self {
            intensity,
            coherence,
            has_extension: bits.need_flag()?,
            last_intensity: intensity.unwrap_or(last.last_intensity),
            last_coherence: coherence.unwrap_or(last.last_coherence),
        })
    }

    fn intensity_bands(&self) -> usize {
        Self::BANDS[self.last_intensity % 3]
    }

    fn coherence_bands(&self) -> usize {
        Self::BANDS[self.last_coherence % 3]
    }

    fn phase_bands(&self) -> usize {
        Self::PHASE_BANDS[self.last_intensity % 3]
    }

    fn has_fine_steps(&self) -> bool {
        self.last_intensity > 2
    }

    /// Whether mixing is of the kind that turns both channels (`Rb`).
    fn turns(&self) -> bool {
        self.last_coherence > 2
    }
}

impl Track {
    fn new(is_known: bool) -> Self {
        Self {
            values: [[0; MOST_BANDS]; MOST_ENVELOPES],
            is_known,
        }
    }

    /// Reads `count` envelopes of `bands` bands. `last` is the last envelope of the packet before.
    fn read(
        &mut self,
        bits: &mut Bits<'_>,
        books: &[Book; 2],
        (count, bands): (usize, usize),
        last: usize,
        checked: impl Fn(i32) -> Option<i32>,
    ) -> Result<(), Fault> {
        let mut before = self.values[last];
        for envelope in 0..count {
            self.read_envelope(bits, books, bands, (envelope, &mut before), &checked)?;
        }
        Ok(())
    }

    fn read_envelope(
        &mut self,
        bits: &mut Bits<'_>,
        [frequency, time]: &[Book; 2],
        bands: usize,
        (envelope, before): (usize, &mut [i8; MOST_BANDS]),
        checked: &impl Fn(i32) -> Option<i32>,
    ) -> Result<(), Fault> {
        let is_over_time = bits.need_flag()?;
        self.is_known |= !is_over_time && envelope == 0;
        let mut value = 0;
        for band in before.iter_mut().take(bands) {
            value = match is_over_time {
                true => i32::from(*band) + time.read(bits),
                false => value + frequency.read(bits),
            };
            value = match checked(value) {
                Some(value) => value,
                None if !self.is_known => 0,
                None => return Err(Fault::Damaged("a PS payload has an impossible value")),
            };
            *band = value as i8;
        }
        self.values[envelope] = *before;
        Ok(())
    }

    fn clear(&mut self) {
        self.values = [[0; MOST_BANDS]; MOST_ENVELOPES];
        self.is_known = true;
    }
}

impl Parameters {
    pub(super) fn new() -> Self {
        Self {
            mode: None,
            envelopes: 0,
            borders: [0; MOST_ENVELOPES],
            intensity: Track::new(true),
            coherence: Track::new(true),
            phase: Track::new(true),
            overall: Track::new(true),
            has_phases: false,
            is_fine: false,
            is_new: false,
            missing: 0,
        }
    }

    /// Forgets all; `is_first` says that nothing comes before.
    pub(super) fn reset(&mut self, is_first: bool) {
        *self = Self::new();
        for track in [
            &mut self.intensity,
            &mut self.coherence,
            &mut self.phase,
            &mut self.overall,
        ] {
            track.is_known = is_first;
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let tracks = [&self.intensity, &self.coherence, &self.phase, &self.overall];
        let is_told = self.mode.is_some() && tracks.iter().all(|track| track.is_known);
        is_told || self.missing >= FORGOTTEN_AFTER
    }

    /// `ps_data`, which ends before the bit `end`.
    pub(super) fn read(&mut self, bits: &mut Bits<'_>, end: usize) -> Result<(), Fault> {
        if bits.need_flag()? {
            self.mode = Some(Mode::read(bits, self.mode)?);
        }
        let Some(mode) = self.mode else {
            // Nothing can be made of it.
            bits.at = end;
            return Ok(());
        };
        let last = self.envelopes.saturating_sub(1);
        let count = self.read_borders(bits)?;
        self.read_tracks(bits, &mode, count, last)?;
        if mode.has_extension {
            self.read_extensions(bits, &mode, count, last)?;
        }
        if !self.has_phases {
            self.phase.clear();
            self.overall.clear();
        }
        self.reach_end(count, last);
        if mode.intensity.is_some() || mode.coherence.is_some() {
            self.is_fine = [mode.intensity, mode.coherence]
                .iter()
                .any(|mode| mode.is_some_and(|mode| mode % 3 == 2));
        }
        self.is_new = true;
        match bits.at > end {
            true => Err(Fault::Damaged("a PS payload ends too early")),
            false => Ok(()),
        }
    }

    /// The envelopes that are told, which may end before the packet does.
    fn read_borders(&mut self, bits: &mut Bits<'_>) -> Result<usize, Fault> {
        let is_free = bits.need_flag()?;
        let code = bits.need(2)? as usize;
        if !is_free {
            let count = [0, 1, 2, 4][code];
            for (n, border) in self.borders.iter_mut().enumerate().take(count) {
                *border = (n + 1) * SLOTS / count - 1;
            }
            return Ok(count);
        }
        let count = code + 1;
        for border in self.borders.iter_mut().take(count) {
            *border = bits.need(5)? as usize;
        }
        match self.borders[..count].is_sorted() {
            true => Ok(count),
            false => Err(Fault::Damaged("envelopes of a PS payload go backwards")),
        }
    }

    fn read_tracks(
        &mut self,
        bits: &mut Bits<'_>,
        mode: &Mode,
        count: usize,
        last: usize,
    ) -> Result<(), Fault> {
        if mode.intensity.is_some() {
            let is_fine = mode.has_fine_steps();
            let most = if is_fine { 15 } else { 7 };
            let books = &BOOKS.intensity[usize::from(is_fine)];
            let shape = (count, mode.intensity_bands());
            self.intensity.read(bits, books, shape, last, |value| {
                (-most..=most).contains(&value).then_some(value)
            })?;
        } else {
            self.intensity.clear();
        }
        if mode.coherence.is_some() {
            let shape = (count, mode.coherence_bands());
            self.coherence
                .read(bits, &BOOKS.coherence, shape, last, |value| {
                    (0..8).contains(&value).then_some(value)
                })
        } else {
            self.coherence.clear();
            Ok(())
        }
    }

    /// `ps_extension`: differences of phase, and what is not known.
    fn read_extensions(
        &mut self,
        bits: &mut Bits<'_>,
        mode: &Mode,
        count: usize,
        last: usize,
    ) -> Result<(), Fault> {
        let mut bytes = bits.need(4)? as usize;
        if bytes == 15 {
            bytes += bits.need(8)? as usize;
        }
        let end = bits.at + 8 * bytes;
        while bits.at + 7 < end {
            if bits.need(2)? > 0 {
                continue;
            }
            self.has_phases = bits.need_flag()?;
            if self.has_phases {
                self.read_phases(bits, (count, mode.phase_bands()), last)?;
            }
            bits.skip(1)?;
        }
        match bits.at > end {
            true => Err(Fault::Damaged("a PS extension ends too early")),
            false => {
                bits.at = end;
                Ok(())
            }
        }
    }

    /// Envelope by envelope, both kinds take turns.
    fn read_phases(
        &mut self,
        bits: &mut Bits<'_>,
        (count, bands): (usize, usize),
        last: usize,
    ) -> Result<(), Fault> {
        let mut before = [self.phase.values[last], self.overall.values[last]];
        let [phase, overall] = &mut before;
        for envelope in 0..count {
            let turn = |value: i32| Some(value & 7);
            let places = [(envelope, &mut *phase), (envelope, &mut *overall)];
            let [first, second] = places;
            self.phase
                .read_envelope(bits, &BOOKS.phase, bands, first, &turn)?;
            self.overall
                .read_envelope(bits, &BOOKS.overall, bands, second, &turn)?;
        }
        Ok(())
    }

    /// Adds an envelope where those that were told do not reach the end: it is like the last.
    fn reach_end(&mut self, count: usize, last: usize) {
        self.envelopes = count;
        if count > 0 && self.borders[count - 1] >= SLOTS - 1 {
            return;
        }
        let from = count.checked_sub(1).unwrap_or(last);
        for track in [
            &mut self.intensity,
            &mut self.coherence,
            &mut self.phase,
            &mut self.overall,
        ] {
            track.values[count] = track.values[from];
        }
        self.borders[count] = SLOTS - 1;
        self.envelopes = count + 1;
    }

    /// Ends the reading of a packet. For one that told nothing what was told last counts, all through, but not for ever.
    pub(super) fn finish_packet(&mut self) {
        if std::mem::replace(&mut self.is_new, false) {
            self.missing = 0;
            return;
        }
        self.missing = self.missing.saturating_add(1);
        if self.missing == FORGOTTEN_AFTER {
            let missing = self.missing;
            self.reset(true);
            self.missing = missing;
        } else if self.envelopes > 0 {
            let last = self.envelopes - 1;
            self.reach_end(0, last);
        }
    }

    fn is_on(&self) -> bool {
        self.is_settled() && self.envelopes > 0
    }
}
