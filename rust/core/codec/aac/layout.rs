//! Which elements a packet has, and which channels they hold: ISO/IEC 14496-3, sections 1.6.3.5 and
//! 4.5.1.2.
//!
//! Channels come out in the order of WAV, as FFmpeg gives them: sorted by their speakers' bits.

use super::Fault;
use crate::codec::bits::Bits;

const SINGLE: u32 = 0;
const PAIR: u32 = 1;
const LOW: u32 = 3;

/// Speakers by their bits in WAV's mask of channels.
mod speaker {
    pub(super) const FRONT: [u32; 2] = [0, 1];
    pub(super) const CENTER: u32 = 2;
    pub(super) const LOW: u32 = 3;
    pub(super) const BACK: [u32; 2] = [4, 5];
    pub(super) const NEAR_CENTER: [u32; 2] = [6, 7];
    pub(super) const BACK_CENTER: u32 = 8;
    pub(super) const SIDE: [u32; 2] = [9, 10];
    pub(super) const TOP_FRONT: [u32; 2] = [12, 14];
}

/// An element that packets have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element {
    /// `id_syn_ele`: of one channel, of two, or of low frequencies.
    kind: u32,
    /// `element_instance_tag`, where a program tells.
    tag: Option<u32>,
    /// The channels that it gives, by their places in the output.
    pub(super) planes: [usize; 2],
}

/// The elements of every packet of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(super) elements: Vec<Element>,
    pub(super) channels: usize,
}

impl Layout {
    /// The layout of `channelConfiguration`, table 1.19; none where a program tells it or it is not
    /// known here. Of 7, FFmpeg takes the second pair for side channels, as its encoder and others do.
    pub(super) fn of(configuration: u32) -> Option<Self> {
        use speaker::{BACK, BACK_CENTER, CENTER, FRONT, LOW as DEEP, SIDE, TOP_FRONT};
        let center = (SINGLE, vec![CENTER]);
        let low = (LOW, vec![DEEP]);
        let behind = (SINGLE, vec![BACK_CENTER]);
        let pair = |speakers: [u32; 2]| (PAIR, speakers.to_vec());
        let speakers = match configuration {
            1 => vec![center],
            2 => vec![pair(FRONT)],
            3 => vec![center, pair(FRONT)],
            4 => vec![center, pair(FRONT), behind],
            5 => vec![center, pair(FRONT), pair(BACK)],
            6 => vec![center, pair(FRONT), pair(BACK), low],
            7 | 12 => vec![center, pair(FRONT), pair(SIDE), pair(BACK), low],
            11 => vec![center, pair(FRONT), pair(BACK), behind, low],
            14 => vec![center, pair(FRONT), pair(BACK), low, pair(TOP_FRONT)],
            _ => return None,
        };
        let elements = speakers.into_iter().map(|(kind, list)| (kind, None, list));
        Self::sorted(elements.collect())
    }

    /// Reads a `program_config_element` after its kind, section 4.4.1.1; none where a comment is cut
    /// or the speakers are unusual.
    pub(super) fn read_program(bits: &mut Bits<'_>) -> Result<Self, Fault> {
        bits.skip(4 + 2 + 4)?;
        let [front, side, back] = [bits.need(4)?, bits.need(4)?, bits.need(4)?];
        let (low, data, coupled) = (bits.need(2)?, bits.need(3)?, bits.need(4)?);
        for mixdown_bits in [4, 4, 3] {
            if bits.need_flag()? {
                bits.skip(mixdown_bits)?;
            }
        }
        let mut read = |count: u32| -> Result<Vec<(u32, u32)>, Fault> {
            let pair = |bits: &mut Bits<'_>| Ok((bits.need(1)?, bits.need(4)?));
            (0..count).map(|_| pair(bits)).collect()
        };
        let groups = [read(front)?, read(side)?, read(back)?];
        let deep = (0..low)
            .map(|_| bits.need(4))
            .collect::<Result<Vec<_>, _>>()?;
        bits.skip((4 * data + 5 * coupled) as usize)?;
        bits.align()?;
        let comment = bits.need(8)? as usize;
        bits.skip(8 * comment)?;
        if coupled > 0 {
            return Err(Fault::COUPLED);
        }
        Self::of_program(&groups, &deep).ok_or(Fault::Unsupported(
            "AAC with a program config of these channels",
        ))
    }

    /// Gives speakers to the elements of a program, in the order that FFmpeg does.
    fn of_program(groups: &[Vec<(u32, u32)>; 3], low: &[u32]) -> Option<Self> {
        use speaker::{BACK, BACK_CENTER, CENTER, FRONT, NEAR_CENTER, SIDE};
        let count = |group: &[(u32, u32)]| group.iter().map(|(kind, _)| 1 + kind).sum::<u32>();
        let [front, side, back] = [0, 1, 2].map(|n| count(&groups[n]));
        let front = match front {
            0 => vec![],
            1 => vec![CENTER],
            2 => FRONT.to_vec(),
            3 => [&[CENTER][..], &FRONT].concat(),
            4 => [NEAR_CENTER, FRONT].concat(),
            5 => [&[CENTER][..], &NEAR_CENTER, &FRONT].concat(),
            _ => return None,
        };
        let (side, back) = match (side, back) {
            (0, 4..) => (vec![], [&SIDE[..], &rear(back - 2)?].concat()),
            (0, _) => (vec![], rear(back)?),
            (2, _) => (SIDE.to_vec(), rear(back)?),
            _ => return None,
        };
        let mut elements = Vec::new();
        for (group, speakers) in groups.iter().zip([front, side, back]) {
            let mut speakers = speakers.into_iter();
            for (kind, tag) in group {
                let taken = speakers.by_ref().take(1 + *kind as usize).collect();
                elements.push((*kind, Some(*tag), taken));
            }
        }
        match low {
            [] => {}
            [tag] => elements.push((LOW, Some(*tag), vec![speaker::LOW])),
            _ => return None,
        }
        return Self::sorted(elements);

        fn rear(count: u32) -> Option<Vec<u32>> {
            match count {
                0 => Some(vec![]),
                1 => Some(vec![BACK_CENTER]),
                2 => Some(BACK.to_vec()),
                3 => Some([&BACK[..], &[BACK_CENTER]].concat()),
                _ => None,
            }
        }
    }

    /// The elements with their channels' places, none where two have one speaker.
    fn sorted(elements: Vec<(u32, Option<u32>, Vec<u32>)>) -> Option<Self> {
        let mut speakers: Vec<u32> = elements
            .iter()
            .flat_map(|element| &element.2)
            .copied()
            .collect();
        speakers.sort_unstable();
        let channels = speakers.len();
        let place = |speaker: &u32| speakers.binary_search(speaker).unwrap_or_default();
        let elements = elements.iter().map(|(kind, tag, speakers)| Element {
            kind: *kind,
            tag: *tag,
            planes: match speakers.as_slice() {
                [first, second] => [place(first), place(second)],
                [first, ..] => [place(first); 2],
                [] => [0; 2],
            },
        });
        let is_whole = channels > 0 && speakers.windows(2).all(|two| two[0] != two[1]);
        is_whole.then(|| Self {
            elements: elements.collect(),
            channels,
        })
    }

    /// The element of this kind and tag, the first that `seen` has no bit of.
    pub(super) fn find(&self, kind: u32, tag: u32, seen: u32) -> Option<usize> {
        self.elements
            .iter()
            .enumerate()
            .position(|(index, element)| {
                let is_meant = element.tag.is_none_or(|own| own == tag);
                element.kind == kind && is_meant && seen >> index & 1 == 0
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(layout: &Layout) -> Vec<[usize; 2]> {
        layout
            .elements
            .iter()
            .map(|element| element.planes)
            .collect()
    }

    #[test]
    fn every_configuration_gives_each_channel_once() {
        for (configuration, channels) in [1, 2, 3, 4, 5, 6, 8].into_iter().enumerate() {
            let layout = Layout::of(configuration as u32 + 1).unwrap_or_default();
            let mut all: Vec<usize> = planes(&layout).concat();
            all.sort_unstable();
            all.dedup();
            assert!(all.into_iter().eq(0..channels));
        }
        assert_eq!(
            Layout::of(6).map(|layout| planes(&layout)),
            Some(vec![[2, 2], [0, 1], [4, 5], [3, 3]])
        );
    }

    #[test]
    fn a_program_of_the_usual_elements_is_the_configuration() {
        let six = Layout::of_program(&[vec![(0, 0), (1, 0)], vec![], vec![(1, 1)]], &[0]);
        assert_eq!(
            six.map(|layout| planes(&layout)),
            Layout::of(6).map(|layout| planes(&layout))
        );
        let eight = [vec![(0, 0), (1, 0)], vec![(1, 1)], vec![(1, 2)]];
        let eight = Layout::of_program(&eight, &[0]);
        assert_eq!(
            eight.map(|layout| planes(&layout)),
            Layout::of(7).map(|layout| planes(&layout))
        );
        assert!(Layout::of_program(&[vec![], vec![(0, 0)], vec![]], &[]).is_none());
        assert!(Layout::of_program(&[vec![], vec![], vec![]], &[]).is_none());
    }
}
