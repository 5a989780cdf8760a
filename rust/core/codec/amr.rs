//! AMR-NB and AMR-WB, the codecs of mobile phones: 3GPP TS 26.071 and 26.171 ff.
//!
//! Decoded with the whole numbers of the reference decoders, so that every sample is theirs. Frames depend on all that
//! came before them, and so ranges are decoded from the beginning on.

mod fixed;
pub(crate) mod frame;
mod narrow;
mod silence;
mod wide;

use self::frame::{Band, Header, frames};
use super::packet::{Block, PacketDecoder, damaged, not_here};
use super::params::{Codec, Params};
use crate::error::Result;

/// Frames of one packet at most: of a second are 50.
const MOST_FRAMES: usize = 1 << 12;

/// The decoder of one of them.
enum Either {
    Narrow(Box<narrow::Decoder>),
    Wide(Box<wide::Decoder>),
}

impl Either {
    fn new(band: Band) -> Self {
        match band {
            Band::Narrow => Self::Narrow(Box::default()),
            Band::Wide => Self::Wide(Box::default()),
        }
    }

    fn push(&mut self, header: Header, bits: &[u8], plane: &mut Vec<f32>) {
        let scaled = |sample: i16| f32::from(sample) / 32768.0;
        let (kind, is_good) = (header.kind, header.is_good);
        match self {
            Self::Narrow(decoder) => plane.extend(decoder.decode(kind, is_good, bits).map(scaled)),
            Self::Wide(decoder) => plane.extend(decoder.decode(kind, is_good, bits).map(scaled)),
        }
    }
}

/// A decoder of packets of one or several frames.
pub(crate) struct Decoder {
    band: Band,
    either: Either,
    planes: [Vec<f32>; 1],
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// When it is none of AMR.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let band = band(params).ok_or_else(|| not_here(params.codec.name()))?;
        Ok(Self {
            band,
            either: Either::new(band),
            planes: [Vec::new()],
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let [plane] = &mut self.planes;
        plane.clear();
        if let Err(error) = count(self.band, packet) {
            self.reset();
            return Err(error);
        }
        let [plane] = &mut self.planes;
        for (header, bits) in frames(self.band, packet).flatten() {
            self.either.push(header, bits, plane);
        }
        Ok(Block {
            sample_rate: self.band.sample_rate(),
            channels: 1,
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.either = Either::new(self.band);
    }

    fn channels(&self) -> Option<usize> {
        Some(1)
    }
}

/// Frames in `packet`.
fn count(band: Band, packet: &[u8]) -> Result<usize> {
    let mut count = 0;
    for frame in frames(band, packet) {
        if frame.is_none() {
            let name = band.name();
            return Err(damaged(format!(
                "frame {count} of the {name} packet is none, or cut short"
            )));
        }
        count += 1;
        if count > MOST_FRAMES {
            return Err(damaged(format!(
                "an AMR packet of more than {MOST_FRAMES} frames"
            )));
        }
    }
    Ok(count)
}

/// Samples in the packet `data`.
pub(crate) fn packet_frames(params: &Params, data: &[u8]) -> Option<u64> {
    let band = band(params)?;
    Some(count(band, data).ok()? as u64 * band.frame_samples())
}

/// What a stream of either codec is: one channel, whatever a container says.
pub(crate) fn params(band: Band) -> Params {
    let codec = match band {
        Band::Narrow => Codec::AmrNb,
        Band::Wide => Codec::AmrWb,
    };
    Params::new(codec, band.sample_rate(), Some(1))
}

fn band(params: &Params) -> Option<Band> {
    match params.codec {
        Codec::AmrNb => Some(Band::Narrow),
        Codec::AmrWb => Some(Band::Wide),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames of any type and quality, whose bits are chance.
    fn frames_of(band: Band) -> impl Strategy<Value = Vec<Vec<u8>>> {
        let types = match band {
            Band::Narrow => prop::sample::select(vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 15]),
            Band::Wide => prop::sample::select(vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 14, 15]),
        };
        let frame = (
            types,
            prop::bool::weighted(0.9),
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
        );
        let frame = frame.prop_map(move |(kind, is_good, first, second)| {
            let byte = kind << 3 | u8::from(is_good) << 2;
            let length = Header::parse(band, byte).unwrap().length();
            let bits = first.into_iter().chain(second);
            [byte].into_iter().chain(bits).take(length).collect()
        });
        prop::collection::vec(frame, 1..60)
    }

    fn decoded(decoder: &mut Decoder, packets: &[Vec<u8>]) -> Vec<f32> {
        let of = |packet: &Vec<u8>| decoder.decode(packet).unwrap().planes[0].clone();
        packets.iter().flat_map(of).collect()
    }

    fn check(band: Band, packets: &[Vec<u8>]) {
        let mut decoder = Decoder::new(&params(band)).unwrap();
        let whole = decoded(&mut decoder, packets);
        assert_eq!(
            whole.len() as u64,
            band.frame_samples() * packets.len() as u64
        );
        decoder.reset();
        assert_eq!(decoded(&mut decoder, packets), whole);
        // All frames in one packet come to the same.
        decoder.reset();
        let packet = packets.concat();
        assert_eq!(
            packet_frames(&params(band), &packet),
            Some(whole.len() as u64)
        );
        assert_eq!(decoder.decode(&packet).unwrap().planes[0], whole);
        let cut = &packet[..packet.len() - 1];
        let last = packets.last().unwrap().len();
        assert_eq!(decoder.decode(cut).is_ok(), last == 1);
    }

    proptest! {
        #[test]
        fn any_bits_of_the_narrow_band_are_speech(packets in frames_of(Band::Narrow)) {
            check(Band::Narrow, &packets);
        }

        #[test]
        fn any_bits_of_the_wide_band_are_speech(packets in frames_of(Band::Wide)) {
            check(Band::Wide, &packets);
        }
    }

    #[test]
    fn reserved_types_are_refused() {
        for (band, kinds) in [(Band::Narrow, 9..15), (Band::Wide, 10..14)] {
            let mut decoder = Decoder::new(&params(band)).unwrap();
            for kind in kinds {
                assert!(decoder.decode(&[kind << 3 | 4; 62]).is_err());
            }
        }
    }
}
