//! The numbers of a frame, and the bits that they come in.

/// Bits of the log-area ratios.
const RATIO_BITS: [u32; 8] = [6, 6, 5, 5, 4, 4, 3, 3];

/// A frame as it is transmitted.
#[derive(Default)]
pub(super) struct Frame {
    /// Log-area ratios of the short-term filter.
    pub(super) ratios: [u8; 8],
    pub(super) parts: [Part; 4],
}

/// A quarter of a frame.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) lag: u8,
    pub(super) gain: u8,
    /// The first of every third sample that has a pulse.
    pub(super) grid: u8,
    pub(super) largest: u8,
    pub(super) pulses: [u8; 13],
}

impl Frame {
    pub(super) fn read(mut bits: impl FnMut(u32) -> u8) -> Self {
        let mut frame = Self::default();
        for (ratio, count) in frame.ratios.iter_mut().zip(RATIO_BITS) {
            *ratio = bits(count);
        }
        for part in &mut frame.parts {
            (part.lag, part.gain, part.grid) = (bits(7), bits(2), bits(2));
            part.largest = bits(6);
            part.pulses.fill_with(|| bits(3));
        }
        frame
    }
}

/// Up to eight bits at a time, the most significant first; zeros after the end.
pub(super) struct MostFirst<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> MostFirst<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    #[inline(always)]
    pub(super) fn read(&mut self, count: u32) -> u8 {
        let [first, second] = pair(self.bytes, self.at / 8);
        let word = u16::from_be_bytes([first, second]) << (self.at % 8);
        self.at += count as usize;
        (word >> (16 - count)) as u8
    }
}

/// The same, the least significant first.
pub(super) struct LeastFirst<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> LeastFirst<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline(always)]
    pub(super) fn read(&mut self, count: u32) -> u8 {
        let [first, second] = pair(self.bytes, self.at / 8);
        let word = u16::from_le_bytes([first, second]) >> (self.at % 8);
        self.at += count as usize;
        (word & ((1 << count) - 1)) as u8
    }
}

#[inline(always)]
fn pair(bytes: &[u8], at: usize) -> [u8; 2] {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    [byte(at), byte(at + 1)]
}
