//! What AAC says of itself: the profile, and whether spectral band replication doubles its rate.
//!
//! Format: ISO/IEC 14496-3, sections 1.6.2.1 (`AudioSpecificConfig`) and 4.4 (`raw_data_block`).
//! Symphonia decodes the LC profile in mono or stereo; of HE-AAC it would give half of the rate.

mod bands;
mod bits;
mod block;
mod codebooks;

use crate::error::{Error, Result};
use bits::Bits;

const AAC_LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;

/// Samples per second by index: ISO/IEC 14496-3, table 1.18.
const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
/// Channels by configuration: ISO/IEC 14496-3, table 1.19; 0 where it is reserved or told elsewhere.
const CHANNELS: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0];

/// An AAC-LC stream that can be decoded here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AacConfig {
    /// In Hz.
    pub(crate) sample_rate: u32,
    /// 1 or 2.
    pub(crate) channels: u32,
    /// Frames in a packet.
    pub(crate) frame_length: u32,
    /// Whether the header says that there is no spectral band replication. If not, only the packets
    /// tell whether the stream is HE-AAC.
    pub(crate) is_plain: bool,
}

/// What an `AudioSpecificConfig` declares, decoded here or not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Declared {
    object_type: u32,
    sample_rate: u32,
    channel_configuration: u32,
    frame_length: u32,
    sbr: Option<bool>,
    ps: bool,
}

/// The stream that `config`, an `AudioSpecificConfig`, declares.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for all but the LC profile in mono or stereo, with
/// the profile's name; [`Corrupt`](crate::ErrorKind::Corrupt) where it is cut or has a reserved rate.
pub(crate) fn check(config: &[u8]) -> Result<AacConfig> {
    let declared = Declared::read(&mut Bits::new(config))
        .ok_or_else(|| Error::corrupt("the AAC header is damaged or cut short"))?;
    declared.check()
}

/// Whether `packet`, a `raw_data_block` of the stream, says that the stream is HE-AAC: its header alone
/// does not, where spectral band replication was added to an LC stream. `None` where it is damaged.
pub(crate) fn has_sbr(config: &AacConfig, packet: &[u8]) -> Option<bool> {
    if config.is_plain {
        return Some(false);
    }
    block::has_sbr(packet, config.sample_rate)
}

/// The error for a stream in which [`has_sbr`] is so.
pub(crate) fn he_aac() -> Error {
    unsupported("HE-AAC (SBR)")
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} is not decoded here (of AAC, the LC profile in mono or stereo is)"
    ))
}

/// [`check`] for the fields of an ADTS header, ISO/IEC 14496-3, section 1.A.2.2.
///
/// # Errors
/// As for [`check`].
pub(crate) fn check_adts(
    profile: u32,
    rate_index: u32,
    channel_configuration: u32,
) -> Result<AacConfig> {
    let sample_rate = SAMPLE_RATES.get(rate_index as usize).copied();
    let declared = Declared {
        object_type: profile + 1,
        sample_rate: sample_rate
            .ok_or_else(|| Error::corrupt("the AAC header has a rate that is reserved"))?,
        channel_configuration,
        frame_length: 1024,
        ..Declared::default()
    };
    declared.check()
}

impl Declared {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let object_type = read_object_type(bits)?;
        let mut declared = Self {
            object_type,
            sample_rate: read_rate(bits)?,
            channel_configuration: bits.read(4)?,
            ..Self::default()
        };
        if matches!(object_type, SBR | PS) {
            declared.sbr = Some(true);
            declared.ps = object_type == PS;
            read_rate(bits)?;
            declared.object_type = read_object_type(bits)?;
        }
        if declared.object_type == AAC_LC {
            declared.read_general(bits)?;
            if declared.sbr.is_none() {
                declared.read_extension(bits);
            }
        }
        Some(declared)
    }

    /// `GASpecificConfig`.
    fn read_general(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.frame_length = if bits.flag()? { 960 } else { 1024 };
        let depends_on_core = bits.flag()?;
        if depends_on_core {
            bits.skip(14)?;
        }
        bits.skip(1)
    }

    /// The explicit signalling that older decoders take for padding.
    fn read_extension(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        const SYNC_SBR: u32 = 0x2B7;
        const SYNC_PS: u32 = 0x548;
        if self.channel_configuration == 0 || bits.read(11)? != SYNC_SBR {
            return None;
        }
        if read_object_type(bits)? != SBR {
            return None;
        }
        let sbr = bits.flag()?;
        self.sbr = Some(sbr);
        if sbr {
            read_rate(bits)?;
            self.ps = bits.read(11)? == SYNC_PS && bits.flag()?;
        }
        Some(())
    }

    fn check(self) -> Result<AacConfig> {
        let channels = CHANNELS.get(self.channel_configuration as usize).copied();
        let channels = channels.unwrap_or(0);
        if self.ps {
            return Err(unsupported("HE-AAC v2 (PS)"));
        }
        if self.sbr == Some(true) {
            return Err(he_aac());
        }
        if self.object_type != AAC_LC {
            return Err(unsupported(&profile_name(self.object_type)));
        }
        if self.sample_rate == 0 {
            return Err(Error::corrupt("the AAC header declares a rate of 0 Hz"));
        }
        if channels == 0 {
            return Err(unsupported("AAC with channels in a program config element"));
        }
        if channels > 2 {
            return Err(unsupported(&format!("AAC of {channels} channels")));
        }
        if self.frame_length != 1024 {
            let what = format!("AAC in frames of {} samples", self.frame_length);
            return Err(unsupported(&what));
        }
        Ok(AacConfig {
            sample_rate: self.sample_rate,
            channels,
            frame_length: self.frame_length,
            is_plain: self.sbr == Some(false),
        })
    }
}

fn read_object_type(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.read(5)? {
        31 => Some(32 + bits.read(6)?),
        small => Some(small),
    }
}

fn read_rate(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.read(4)? {
        15 => bits.read(24),
        index => SAMPLE_RATES.get(index as usize).copied(),
    }
}

/// ISO/IEC 14496-3, table 1.17.
fn profile_name(object_type: u32) -> String {
    let name = match object_type {
        1 => "AAC Main",
        3 => "AAC SSR",
        4 => "AAC LTP",
        6 => "AAC Scalable",
        7 => "TwinVQ",
        8 => "CELP",
        9 => "HVXC",
        17 => "AAC LC with error resilience",
        19 => "AAC LTP with error resilience",
        20 => "AAC Scalable with error resilience",
        22 => "BSAC",
        23 => "AAC-LD",
        30 => "MPEG Surround",
        32..=34 => "MPEG audio in an AAC header",
        36 => "MPEG-4 ALS",
        37 | 38 => "MPEG-4 SLS",
        39 => "AAC-ELD",
        42 => "xHE-AAC (USAC)",
        other => return format!("MPEG-4 audio of object type {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    /// Bytes of `(value, bits)` fields, zeros behind.
    pub(super) fn pack(fields: &[(u32, usize)]) -> Vec<u8> {
        let bits: Vec<u8> = fields
            .iter()
            .flat_map(|(value, count)| (0..*count).rev().map(move |bit| (value >> bit & 1) as u8))
            .collect();
        let byte = |bits: &[u8]| (0..8).fold(0, |b, n| b << 1 | bits.get(n).unwrap_or(&0));
        bits.chunks(8).map(byte).collect()
    }

    fn refused(fields: &[(u32, usize)]) -> String {
        let error = check(&pack(fields)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        error.reason().to_owned()
    }

    const LC_44K_STEREO: [(u32, usize); 6] = [(2, 5), (4, 4), (2, 4), (0, 1), (0, 1), (0, 1)];

    #[test]
    fn the_low_complexity_profile_is_taken() {
        for (index, rate) in SAMPLE_RATES.into_iter().enumerate() {
            for channels in 1..3 {
                let config = check(&pack(&[(2, 5), (index as u32, 4), (channels, 4), (0, 3)]));
                let expected = AacConfig {
                    sample_rate: rate,
                    channels,
                    frame_length: 1024,
                    is_plain: false,
                };
                assert_eq!(config.unwrap(), expected);
            }
        }
        let escape = check(&pack(&[(2, 5), (15, 4), (44_056, 24), (1, 4), (0, 3)])).unwrap();
        assert_eq!(escape.sample_rate, 44_056);
        // The two bytes that every MP4 of 44.1 kHz stereo has.
        assert_eq!(check(&[0x12, 0x10]).unwrap().channels, 2);
    }

    #[test]
    fn other_profiles_are_named() {
        assert!(
            refused(&[(5, 5), (7, 4), (2, 4), (4, 4), (2, 5), (0, 3)]).starts_with("HE-AAC (SBR)")
        );
        assert!(
            refused(&[(29, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)]).starts_with("HE-AAC v2")
        );
        assert!(refused(&[(31, 5), (10, 6), (3, 4), (2, 4), (0, 8)]).contains("xHE-AAC (USAC)"));
        for (object_type, name) in [
            (1, "AAC Main"),
            (3, "AAC SSR"),
            (4, "AAC LTP"),
            (23, "AAC-LD"),
        ] {
            assert!(refused(&[(object_type, 5), (3, 4), (2, 4), (0, 8)]).starts_with(name));
        }
        assert!(refused(&[(2, 5), (3, 4), (6, 4), (0, 3)]).contains("6 channels"));
        assert!(refused(&[(2, 5), (3, 4), (0, 4), (0, 3)]).contains("program config"));
        assert!(refused(&[(2, 5), (3, 4), (2, 4), (1, 1), (0, 2)]).contains("960"));
    }

    #[test]
    fn the_signalling_behind_the_config_is_seen() {
        let with = |fields: &[(u32, usize)]| [&LC_44K_STEREO, fields].concat();
        let sbr = [(0x2B7, 11), (5, 5), (1, 1), (3, 4)];
        assert!(refused(&with(&sbr)).starts_with("HE-AAC (SBR)"));
        let ps = [&sbr[..], &[(0x548, 11), (1, 1)]].concat();
        assert!(refused(&with(&ps)).starts_with("HE-AAC v2"));
        let none = [(0x2B7, 11), (5, 5), (0, 1)];
        assert!(check(&pack(&with(&none))).unwrap().is_plain);
        assert!(!check(&pack(&with(&[(0, 32)]))).unwrap().is_plain);
    }

    #[test]
    fn a_cut_config_is_damage() {
        for (config, reason) in [
            (&[][..], "cut"),
            (&[0x12], "cut"),
            (&[0x16, 0x90], "damaged"),
        ] {
            let error = check(config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.reason().contains(reason));
        }
        assert!(check(&pack(&[(2, 5), (15, 4), (0, 24), (1, 4), (0, 3)])).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(config in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(config) = check(&config) {
                prop_assert!(config.sample_rate > 0 && matches!(config.channels, 1 | 2));
            }
        }
    }
}
