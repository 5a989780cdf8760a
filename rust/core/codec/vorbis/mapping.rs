//! Mappings: which floor and residue each channel has, and which channels are coupled. Sections 4.2.4
//! and 4.3.5.

use super::Fault;
use super::bits::{Bits, bit_length};

#[derive(Debug)]
pub(super) struct Mapping {
    /// Magnitude and angle.
    pub(super) couplings: Vec<[usize; 2]>,
    /// By channel.
    pub(super) submap_of: Vec<usize>,
    pub(super) submaps: Vec<Submap>,
}

#[derive(Debug)]
pub(super) struct Submap {
    pub(super) floor: usize,
    pub(super) residue: usize,
}

impl Mapping {
    pub(super) fn parse(
        bits: &mut Bits<'_>,
        channels: usize,
        floors: usize,
        residues: usize,
    ) -> Result<Self, Fault> {
        if bits.need(16)? != 0 {
            return Err(Fault("a mapping has an unknown type"));
        }
        let count = if bits.flag()? { bits.need(4)? + 1 } else { 1 };
        let steps = if bits.flag()? { bits.need(8)? + 1 } else { 0 };
        let couplings = (0..steps).map(|_| coupling(bits, channels));
        let couplings = couplings.collect::<Result<_, Fault>>()?;
        if bits.need(2)? != 0 {
            return Err(Fault("a mapping has bits that are reserved"));
        }
        let width = if count > 1 { 4 } else { 0 };
        let submap_of = (0..channels).map(|_| match bits.need(width)? {
            submap if submap < count => Ok(submap as usize),
            _ => Err(Fault("a channel is in no submap")),
        });
        let submap_of = submap_of.collect::<Result<_, Fault>>()?;
        let submaps = (0..count).map(|_| Submap::parse(bits, floors, residues));
        Ok(Self {
            couplings,
            submap_of,
            submaps: submaps.collect::<Result<_, Fault>>()?,
        })
    }

    /// The floor of a channel.
    pub(super) fn floor_of(&self, channel: usize) -> usize {
        let submap = self.submap_of.get(channel);
        submap
            .and_then(|submap| self.submaps.get(*submap))
            .map_or(0, |submap| submap.floor)
    }
}

impl Submap {
    fn parse(bits: &mut Bits<'_>, floors: usize, residues: usize) -> Result<Self, Fault> {
        bits.need(8)?;
        let (floor, residue) = (bits.need(8)? as usize, bits.need(8)? as usize);
        if floor >= floors || residue >= residues {
            return Err(Fault("a submap has a missing floor or residue"));
        }
        Ok(Self { floor, residue })
    }
}

fn coupling(bits: &mut Bits<'_>, channels: usize) -> Result<[usize; 2], Fault> {
    let width = bit_length(channels as u32 - 1);
    let (magnitude, angle) = (bits.need(width)? as usize, bits.need(width)? as usize);
    if magnitude == angle || magnitude.max(angle) >= channels {
        return Err(Fault("a channel is coupled with a missing channel"));
    }
    Ok([magnitude, angle])
}

/// From magnitudes and angles to two channels.
pub(super) fn decouple(magnitudes: &mut [f32], angles: &mut [f32]) {
    for (magnitude, angle) in magnitudes.iter_mut().zip(angles) {
        let outward = if *magnitude > 0.0 { *angle } else { -*angle };
        let (lower, upper) = (*magnitude - outward, *magnitude + outward);
        let is_positive = *angle > 0.0;
        (*magnitude, *angle) = (
            if is_positive { *magnitude } else { upper },
            if is_positive { lower } else { *magnitude },
        );
    }
}
