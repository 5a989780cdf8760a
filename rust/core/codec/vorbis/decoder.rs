//! The decoder of packets: section 4.3.

use std::sync::Arc;

use super::bits::Bits;
use super::floor::{Curve, Gain};
use super::mapping::{Mapping, Submap, decouple};
use super::mdct::{Scratch, Tail, Transform};
use super::residue::{Classes, Kind};
use super::setup::{Mode, Setup};
use crate::codec::packet::{Block, PacketDecoder, damaged};
use crate::error::{Error, Result};

/// Decodes the packets of one stream.
pub(crate) struct Decoder {
    setup: Arc<Setup>,
    channels: Vec<Channel>,
    /// The mean of the spectra, where only that is wanted.
    mean: Option<Vec<f32>>,
    gain: Gain,
    /// Half of the block before; none in front of the first one.
    before: Option<usize>,
    /// By plane.
    tails: Vec<Tail>,
    planes: Vec<Vec<f32>>,
    room: Room,
}

/// What is known of a channel in one packet.
#[derive(Debug, Default)]
struct Channel {
    curve: Curve,
    /// Without a floor it is silent.
    has_floor: bool,
    /// A silent channel can be coupled with one that is not.
    has_residue: bool,
    spectrum: Vec<f32>,
}

/// Room for what lives no longer than a packet.
#[derive(Debug, Default)]
struct Room {
    scratch: Scratch,
    factors: Vec<f32>,
    interleaved: Vec<f32>,
    classes: Classes,
}

impl Decoder {
    /// A decoder for a stream with these headers, the first and the third of three.
    ///
    /// # Errors
    /// Headers that are broken.
    pub(crate) fn new(headers: &[u8]) -> Result<Self> {
        let setup = super::shared(headers)?;
        let count = setup.channels;
        Ok(Self {
            channels: (0..count).map(|_| Channel::default()).collect(),
            mean: None,
            gain: Gain::new(1.0),
            before: None,
            tails: vec![Tail::new(); count],
            planes: vec![Vec::new(); count],
            room: Room::default(),
            setup,
        })
    }

    /// Reads all floors: sections 4.3.2 and 4.3.3.
    fn read_floors(&mut self, setup: &Setup, mapping: &Mapping, bits: &mut Bits<'_>) {
        for (number, channel) in self.channels.iter_mut().enumerate() {
            let floor = setup.floors.get(mapping.floor_of(number));
            let read = floor.and_then(|floor| floor.read(bits, &setup.books, &mut channel.curve));
            channel.has_floor = read.is_some();
            channel.has_residue = channel.has_floor;
        }
        for [magnitude, angle] in &mapping.couplings {
            let has_residue = [magnitude, angle]
                .iter()
                .any(|n| self.channels[**n].has_residue);
            self.channels[*magnitude].has_residue = has_residue;
            self.channels[*angle].has_residue = has_residue;
        }
    }

    /// Reads the residues of a submap's channels: section 4.3.4. Where the packet ends, they do.
    fn read_residues(
        &mut self,
        setup: &Setup,
        mapping: &Mapping,
        (number, submap): (usize, &Submap),
        half: usize,
        bits: &mut Bits<'_>,
    ) {
        let Some(residue) = setup.residues.get(submap.residue) else {
            return;
        };
        let channels = self.channels.iter_mut().zip(&mapping.submap_of);
        let channels = channels.filter(|(_, submap)| **submap == number);
        let mut members: Vec<&mut Channel> = channels.map(|(channel, _)| channel).collect();
        for channel in &mut members {
            channel.spectrum.clear();
            channel.spectrum.resize(half, 0.0);
        }
        let classes = &mut self.room.classes;
        if residue.kind != Kind::Interleaved {
            let members = members.iter_mut().filter(|channel| channel.has_residue);
            let mut spectra: Vec<&mut [f32]> =
                members.map(|channel| &mut channel.spectrum[..]).collect();
            residue.read(bits, &setup.books, &mut spectra, classes);
        } else if members.iter().any(|channel| channel.has_residue) {
            let interleaved = &mut self.room.interleaved;
            interleaved.clear();
            interleaved.resize(members.len() * half, 0.0);
            residue.read(bits, &setup.books, &mut [&mut interleaved[..]], classes);
            deinterleave(interleaved, &mut members);
        }
    }

    fn decouple(&mut self, [magnitude, angle]: [usize; 2]) {
        if let Ok([magnitude, angle]) = self.channels.get_disjoint_mut([magnitude, angle])
            && magnitude.has_residue
        {
            decouple(&mut magnitude.spectrum, &mut angle.spectrum);
        }
    }

    /// Multiplies the residues by the floors: section 4.3.6. The MDCT is linear, so that the mean can
    /// be taken in front of it.
    fn shape(&mut self, setup: &Setup, mapping: &Mapping, is_long: bool, half: usize) {
        let factors = &mut self.room.factors;
        factors.resize(half, 0.0);
        if let Some(mean) = &mut self.mean {
            mean.clear();
            mean.resize(half, 0.0);
        }
        for (number, channel) in self.channels.iter_mut().enumerate() {
            let Some(floor) = setup.floors.get(mapping.floor_of(number)) else {
                continue;
            };
            if !channel.has_floor {
                channel.spectrum.fill(0.0);
                continue;
            }
            floor.render(&channel.curve, is_long, &self.gain, factors);
            let values = channel.spectrum.iter_mut().zip(&*factors);
            match &mut self.mean {
                Some(mean) => {
                    for (mean, (value, factor)) in mean.iter_mut().zip(values) {
                        *mean += *value * factor;
                    }
                }
                None => values.for_each(|(value, factor)| *value *= factor),
            }
        }
    }

    /// From spectra to samples.
    fn synthesize(&mut self, half: usize) {
        let count = self
            .before
            .replace(half)
            .map_or(0, |before| (before + half) / 2);
        let transform = Transform::of(half);
        let spectra: &mut dyn Iterator<Item = &[f32]> = match &self.mean {
            Some(mean) => &mut std::iter::once(&mean[..]),
            None => &mut self.channels.iter().map(|channel| &channel.spectrum[..]),
        };
        for (at, (spectrum, tail)) in spectra.zip(&mut self.tails).enumerate() {
            let place = place_of(at, self.planes.len());
            if let Some(plane) = self.planes.get_mut(place) {
                plane.resize(count, 0.0);
                transform.synthesize(spectrum, tail, &mut self.room.scratch, plane);
            }
        }
    }
}

impl PacketDecoder for Decoder {
    /// Decodes one packet, to the samples between the middle of the block before and that of its own.
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let setup = Arc::clone(&self.setup);
        let mut bits = Bits::new(packet);
        let Some(mode) = mode(&setup, &mut bits) else {
            self.reset();
            return Err(damaged("a packet is not Vorbis audio"));
        };
        let Some(mapping) = setup.mappings.get(mode.mapping) else {
            return Err(Error::corrupt("a mode has a missing mapping"));
        };
        let half = setup.halves[usize::from(mode.is_long)];
        self.read_floors(&setup, mapping, &mut bits);
        for (number, submap) in mapping.submaps.iter().enumerate() {
            self.read_residues(&setup, mapping, (number, submap), half, &mut bits);
        }
        for coupling in mapping.couplings.iter().rev() {
            self.decouple(*coupling);
        }
        self.shape(&setup, mapping, mode.is_long, half);
        self.synthesize(half);
        Ok(Block {
            sample_rate: setup.sample_rate,
            channels: setup.channels,
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.before = None;
        self.tails.iter_mut().for_each(Vec::clear);
    }

    fn channels(&self) -> Option<usize> {
        Some(self.channels.len())
    }

    fn set_mono(&mut self, mono: bool) {
        let count = self.channels.len();
        let planes = if mono { 1 } else { count };
        self.mean = mono.then(Vec::new);
        self.gain = Gain::new(if mono { 1.0 / count as f32 } else { 1.0 });
        self.tails = vec![Tail::new(); planes];
        self.planes = vec![Vec::new(); planes];
        self.before = None;
    }
}

/// What a packet begins with: section 4.3.1.
fn mode<'s>(setup: &'s Setup, bits: &mut Bits<'_>) -> Option<&'s Mode> {
    if bits.read(1)? == 1 {
        return None;
    }
    let mode = setup.modes.get(bits.read(setup.mode_bits())? as usize)?;
    if mode.is_long {
        // The sizes of its neighbours, which these know themselves.
        bits.read(2)?;
    }
    Some(mode)
}

fn deinterleave(interleaved: &[f32], channels: &mut [&mut Channel]) {
    if let [left, right] = channels {
        let (pairs, _) = interleaved.as_chunks::<2>();
        let to = left.spectrum.iter_mut().zip(&mut right.spectrum);
        for ((left, right), pair) in to.zip(pairs) {
            (*left, *right) = (pair[0], pair[1]);
        }
        return;
    }
    let count = channels.len();
    for (number, channel) in channels.iter_mut().enumerate() {
        let values = interleaved.iter().skip(number).step_by(count);
        for (to, value) in channel.spectrum.iter_mut().zip(values) {
            *to = *value;
        }
    }
}

/// Where a channel stands in WAV's order: section 4.3.9.
fn place_of(channel: usize, count: usize) -> usize {
    let places: &[usize] = match count {
        3 => &[0, 2, 1],
        5 => &[0, 2, 1, 3, 4],
        6 => &[0, 2, 1, 4, 5, 3],
        // The centre in the back lies before the sides.
        7 => &[0, 2, 1, 5, 6, 4, 3],
        8 => &[0, 2, 1, 6, 7, 4, 5, 3],
        _ => &[],
    };
    places.get(channel).copied().unwrap_or(channel)
}
