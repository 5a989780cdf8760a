//! One `raw_data_block`, passed over without decoding it: what extensions does it carry?
//!
//! Syntax: ISO/IEC 14496-3, section 4.4.2. Only the LC profile: prediction, gain control and coupling
//! end it.

use super::bands;
use super::bits::Bits;
use super::codebooks::{SCALE_FACTORS, SPECTRUM};

const ZERO: u32 = 0;
const RESERVED: u32 = 12;
const NOISE: u32 = 13;
const EIGHT_SHORT: u32 = 2;
/// As many as there can be bands: empty ones would be without a number.
const MAX_SECTIONS: usize = 8 * 64;

/// Whether the block has spectral band replication in it; `None` where it is damaged or not of the
/// LC profile.
pub(super) fn has_sbr(block: &[u8], sample_rate: u32) -> Option<bool> {
    const EXT_SBR_DATA: [u32; 2] = [13, 14];
    let mut bits = Bits::new(block);
    loop {
        match bits.read(3)? {
            0 | 3 => {
                bits.skip(4)?;
                Channel::new(sample_rate).skip(&mut bits, None)?;
            }
            1 => skip_pair(&mut bits, sample_rate)?,
            4 => skip_data(&mut bits)?,
            6 => {
                let bytes = fill_length(&mut bits)?;
                if bytes > 0 && EXT_SBR_DATA.contains(&bits.peek(4)) {
                    return Some(true);
                }
                bits.skip(8 * bytes)?;
            }
            7 => return Some(false),
            _ => return None,
        }
    }
}

fn skip_data(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?;
    let is_aligned = bits.flag()?;
    let mut bytes = bits.read(8)?;
    if bytes == 255 {
        bytes += bits.read(8)?;
    }
    if is_aligned {
        bits.align()?;
    }
    bits.skip(8 * bytes as usize)
}

fn fill_length(bits: &mut Bits<'_>) -> Option<usize> {
    match bits.read(4)? {
        15 => Some(14 + bits.read(8)? as usize),
        short => Some(short as usize),
    }
}

fn skip_pair(bits: &mut Bits<'_>, sample_rate: u32) -> Option<()> {
    bits.skip(4)?;
    let common = bits.flag()?;
    let mut windows = None;
    if common {
        let shared = Windows::read(bits)?;
        match bits.read(2)? {
            1 => bits.skip(shared.groups.len() * shared.bands)?,
            3 => return None,
            _ => {}
        }
        windows = Some(shared);
    }
    for _ in 0..2 {
        Channel::new(sample_rate).skip(bits, windows.clone())?;
    }
    Some(())
}

/// `ics_info`.
#[derive(Clone)]
struct Windows {
    is_short: bool,
    /// Bands of scale factors in use.
    bands: usize,
    /// Windows in each group.
    groups: Vec<usize>,
}

impl Windows {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let is_reserved = bits.flag()?;
        let is_short = bits.read(2)? == EIGHT_SHORT;
        bits.skip(1)?;
        if is_reserved {
            return None;
        }
        if !is_short {
            let bands = bits.read(6)? as usize;
            let is_predicted = bits.flag()?;
            let groups = vec![1];
            return (!is_predicted).then_some(Self {
                is_short,
                bands,
                groups,
            });
        }
        let bands = bits.read(4)? as usize;
        let mut groups = vec![1];
        for _ in 1..8 {
            match (bits.flag()?, groups.last_mut()) {
                (true, Some(last)) => *last += 1,
                _ => groups.push(1),
            }
        }
        Some(Self {
            is_short,
            bands,
            groups,
        })
    }
}

/// Bands in a row that share a code book.
struct Section {
    book: u32,
    /// Windows of the group that it is in.
    windows: usize,
    begin: usize,
    end: usize,
}

/// `individual_channel_stream`.
struct Channel {
    sample_rate: u32,
}

impl Channel {
    fn new(sample_rate: u32) -> Self {
        Self { sample_rate }
    }

    fn skip(&self, bits: &mut Bits<'_>, shared: Option<Windows>) -> Option<()> {
        bits.skip(8)?;
        let windows = match shared {
            Some(windows) => windows,
            None => Windows::read(bits)?,
        };
        let sections = read_sections(bits, &windows)?;
        skip_scale_factors(bits, &sections)?;
        if bits.flag()? {
            let pulses = 1 + bits.read(2)? as usize;
            bits.skip(6 + 9 * pulses)?;
        }
        if bits.flag()? {
            skip_noise_shaping(bits, windows.is_short)?;
        }
        let has_gain_control = bits.flag()?;
        (!has_gain_control).then_some(())?;
        self.skip_spectrum(bits, &windows, &sections)
    }

    fn skip_spectrum(
        &self,
        bits: &mut Bits<'_>,
        windows: &Windows,
        sections: &[Section],
    ) -> Option<()> {
        let begins = match windows.is_short {
            true => bands::short(self.sample_rate),
            false => bands::long(self.sample_rate),
        };
        for section in sections {
            let begin = usize::from(*begins.get(section.begin)?);
            let end = usize::from(*begins.get(section.end)?);
            // Books 0, 13, 14 and 15 have no spectrum.
            let Some(book) = (section.book as usize)
                .checked_sub(1)
                .and_then(|n| SPECTRUM.get(n))
            else {
                continue;
            };
            let codes = section.windows * (end - begin) / book.dimension;
            (0..codes).try_for_each(|_| book.skip(bits))?;
        }
        Some(())
    }
}

fn read_sections(bits: &mut Bits<'_>, windows: &Windows) -> Option<Vec<Section>> {
    let length_bits = if windows.is_short { 3 } else { 5 };
    let escape = (1 << length_bits) - 1;
    let mut sections = Vec::new();
    for group in &windows.groups {
        let mut begin = 0;
        while begin < windows.bands {
            let book = bits.read(4)?;
            let mut end = begin;
            loop {
                let length = bits.read(length_bits)?;
                end += length as usize;
                if length < escape {
                    break;
                }
            }
            if book == RESERVED || end > windows.bands || sections.len() == MAX_SECTIONS {
                return None;
            }
            sections.push(Section {
                book,
                windows: *group,
                begin,
                end,
            });
            begin = end;
        }
    }
    Some(sections)
}

fn skip_scale_factors(bits: &mut Bits<'_>, sections: &[Section]) -> Option<()> {
    let mut had_noise = false;
    for section in sections.iter().filter(|section| section.book != ZERO) {
        for _ in section.begin..section.end {
            if section.book == NOISE && !std::mem::replace(&mut had_noise, true) {
                bits.skip(9)?;
            } else {
                SCALE_FACTORS.skip(bits)?;
            }
        }
    }
    Some(())
}

/// `tns_data`.
fn skip_noise_shaping(bits: &mut Bits<'_>, is_short: bool) -> Option<()> {
    let (windows, filter_bits, length_bits, order_bits) = match is_short {
        true => (8, 1, 4, 3),
        false => (1, 2, 6, 5),
    };
    for _ in 0..windows {
        let filters = bits.read(filter_bits)?;
        let resolution = if filters > 0 { 3 + bits.read(1)? } else { 0 };
        for _ in 0..filters {
            bits.skip(length_bits)?;
            let order = bits.read(order_bits)?;
            if order > 0 {
                bits.skip(1)?;
                let is_compressed = bits.read(1)?;
                bits.skip((order * (resolution - is_compressed)) as usize)?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::pack;
    use super::*;
    use proptest::prelude::*;

    /// A mono frame of silence, and what comes in front of its end.
    fn silence(then: &[(u32, usize)]) -> Vec<u8> {
        let channel = [
            (0, 3),
            (0, 4),
            (100, 8),
            (0, 1),
            (0, 2),
            (0, 1),
            (0, 6),
            (0, 1),
            (0, 3),
        ];
        pack(&[&channel, then, &[(7, 3)]].concat())
    }

    #[test]
    fn band_replication_is_found_among_other_extensions() {
        assert_eq!(has_sbr(&silence(&[]), 24_000), Some(false));
        let fill = [(6, 3), (2, 4), (0, 16)];
        assert_eq!(has_sbr(&silence(&fill), 24_000), Some(false));
        for kind in [13, 14] {
            let sbr = [
                (6, 3),
                (15, 4),
                (2, 8),
                (kind, 4),
                (0, 4),
                (0, 24),
                (0, 24),
                (0, 24),
                (0, 24),
                (0, 24),
            ];
            assert_eq!(has_sbr(&silence(&sbr), 24_000), Some(true));
            assert_eq!(
                has_sbr(&silence(&[&fill[..], &sbr].concat()), 24_000),
                Some(true)
            );
        }
        // The bytes of a data element are not looked at.
        let data = [(4, 3), (0, 4), (0, 1), (2, 8), (0xDDDD, 16)];
        assert_eq!(has_sbr(&silence(&data), 24_000), Some(false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            block in prop::collection::vec(any::<u8>(), 0..300),
            rate in prop::sample::select(super::super::SAMPLE_RATES.to_vec()),
        ) {
            let _ = has_sbr(&block, rate);
        }
    }
}
