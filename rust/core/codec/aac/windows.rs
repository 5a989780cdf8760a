//! The windows of a frame and their groups: `ics_info`, ISO/IEC 14496-3, section 4.4.2.1.

use super::Fault;
use super::bands::Bands;
use crate::codec::bits::Bits;

/// Bands of scale factors in all groups: 51 of a long window, 15 of each of eight short ones.
pub(super) const MAX_BANDS: usize = 8 * SHORT_BANDS;
/// Room for the bands of a group of short windows.
const SHORT_BANDS: usize = 16;

/// The sequences of windows, table 4.128.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Sequence {
    #[default]
    Long,
    Start,
    Short,
    Stop,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    pub(super) sequence: Sequence,
    /// Whether the falling half has the shape of Kaiser and Bessel; a sine otherwise.
    pub(super) is_kaiser: bool,
    /// Bands of scale factors in use.
    pub(super) bands: usize,
    /// Windows in each group.
    groups: [u8; 8],
    group_count: usize,
}

impl Windows {
    pub(super) fn read(bits: &mut Bits<'_>, bands: &Bands) -> Result<Self, Fault> {
        if bits.need_flag()? {
            return Err(Fault::Damaged("an AAC packet has a reserved bit set"));
        }
        let sequence = match bits.need(2)? {
            0 => Sequence::Long,
            1 => Sequence::Start,
            2 => Sequence::Short,
            _ => Sequence::Stop,
        };
        let mut windows = Self {
            sequence,
            is_kaiser: bits.need_flag()?,
            bands: bits.need(if sequence == Sequence::Short { 4 } else { 6 })? as usize,
            groups: [1; 8],
            group_count: 1,
        };
        if windows.is_short() {
            windows.read_groups(bits)?;
        } else if bits.need_flag()? {
            return Err(Fault::Damaged("an AAC-LC packet has prediction"));
        }
        if windows.bands >= bands.of(windows.is_short()).len() {
            return Err(Fault::Damaged("an AAC packet has too many bands"));
        }
        Ok(windows)
    }

    /// One long window with so many bands.
    #[cfg(test)]
    pub(super) fn whole(bands: usize) -> Self {
        Self {
            bands,
            groups: [1; 8],
            group_count: 1,
            ..Self::default()
        }
    }

    fn read_groups(&mut self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        for _ in 1..8 {
            if bits.need_flag()? {
                self.groups[self.group_count - 1] += 1;
            } else {
                self.group_count += 1;
            }
        }
        Ok(())
    }

    pub(super) fn is_short(&self) -> bool {
        self.sequence == Sequence::Short
    }

    /// Groups, each with the place of its first band, of its first window, and its windows.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group> + use<> {
        let groups = self.groups;
        let mut window = 0;
        (0..self.group_count).map(move |index| {
            let first = window;
            window += usize::from(groups[index]);
            Group {
                first_band: index * SHORT_BANDS,
                windows: first..window,
            }
        })
    }
}

/// Windows that share their scale factors.
pub(super) struct Group {
    /// Where its bands stand among those of all groups.
    pub(super) first_band: usize,
    pub(super) windows: std::ops::Range<usize>,
}
