//! What headers of AAC declare: `AudioSpecificConfig` of MP4 and Matroska, and the fields of ADTS.
//!
//! Format: ISO/IEC 14496-3, sections 1.6.2.1 and 1.A.2.2.

use super::Fault;
use super::layout::Layout;
use crate::codec::bits::Bits;
use crate::codec::params::Params;
use crate::error::{Error, Result};

const AAC_LC: u32 = 2;
const SBR: u32 = 5;
const PS: u32 = 29;

/// Samples per second by index: ISO/IEC 14496-3, table 1.18.
pub(crate) const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Whether a stream is HE-AAC, by its header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Replicated {
    No,
    Yes,
    /// Only the packets tell.
    Unknown,
}

/// A stream of AAC-LC, or of HE-AAC, that can be decoded here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AacConfig {
    /// Of what AAC-LC makes, in Hz; replication doubles it.
    pub(super) core_rate: u32,
    /// The elements of a packet and their channels; only the packets tell where there is none.
    pub(super) layout: Option<Layout>,
    /// Frames in a packet, of AAC-LC.
    pub(super) frame_length: u32,
    pub(crate) replicated: Replicated,
    /// Whether replication leaves the rate as it is.
    pub(super) is_half: bool,
    /// Whether one channel may become two: wherever nothing says that it does not, as packets may tell at any time.
    pub(super) may_be_stereo: bool,
    /// Whether the header says that another coder's stream is at the core, which LC never has.
    pub(crate) depends_on_core: bool,
}

/// What an `AudioSpecificConfig` declares, decoded here or not.
#[derive(Clone, Debug, Default, PartialEq)]
struct Declared {
    object_type: u32,
    sample_rate: u32,
    channel_configuration: u32,
    /// What a program in the header tells of the channels.
    program: Option<Layout>,
    frame_length: u32,
    sbr: Option<bool>,
    ps: Option<bool>,
    /// Whether the rate after replication is no higher than before.
    is_half: bool,
    /// A flag that makes no sense of LC.
    depends_on_core: bool,
}

impl AacConfig {
    /// What a track says: by its header, or by its rate and channels alone.
    ///
    /// # Errors
    /// As for [`check`].
    pub(crate) fn of_params(params: &Params) -> Result<Self> {
        let config = match (params.header.as_slice(), params.sample_rate) {
            ([], 0) => {
                let reason = "the AAC header (AudioSpecificConfig) is missing";
                return Err(Error::corrupt(reason));
            }
            ([], rate) => {
                let core_rate = rate >> u32::from(params.is_replicated);
                Self::of(core_rate, params.channels.unwrap_or(0))
            }
            (header, _) => check(header)?,
        };
        let config = match params.is_replicated {
            true => config.shown_replicated(),
            false => config,
        };
        // Digital radio has them. No decoder at hand reads them, to compare with.
        if config.replicated == Replicated::Yes && config.frame_length == 960 {
            return Err(unsupported("HE-AAC with frames of 960 samples"));
        }
        Ok(config)
    }

    /// A stream of which no more is known; of 0 channels where only the packets tell.
    pub(super) fn of(sample_rate: u32, channels: usize) -> Self {
        let configuration = match channels {
            7 => 11,
            8 => 7,
            fewer => fewer as u32,
        };
        Self {
            core_rate: sample_rate,
            layout: Layout::of(configuration),
            frame_length: 1024,
            replicated: Replicated::Unknown,
            is_half: false,
            may_be_stereo: true,
            depends_on_core: false,
        }
    }

    /// The same where packets show what the header keeps to itself.
    pub(crate) fn shown_replicated(mut self) -> Self {
        self.replicated = Replicated::Yes;
        self
    }

    /// Whether the rate is twice that of AAC-LC.
    pub(crate) fn is_doubled(&self) -> bool {
        self.replicated == Replicated::Yes && !self.is_half
    }

    /// Of what comes out, in Hz.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.core_rate << u32::from(self.is_doubled())
    }

    /// Frames in a packet, of what comes out.
    pub(crate) fn packet_frames(&self) -> u64 {
        u64::from(self.frame_length) << u32::from(self.is_doubled())
    }

    /// Frames in a packet, of AAC-LC.
    pub(crate) fn core_frames(&self) -> u64 {
        u64::from(self.frame_length)
    }

    /// Whether one channel becomes two.
    pub(super) fn is_stereo(&self, layout: &Layout) -> bool {
        self.replicated == Replicated::Yes && self.may_be_stereo && layout.channels == 1
    }

    /// Channels of what comes out, where the header tells.
    pub(crate) fn channels(&self) -> Option<usize> {
        let layout = self.layout.as_ref()?;
        Some(if self.is_stereo(layout) {
            2
        } else {
            layout.channels
        })
    }
}

/// The stream that `config`, an `AudioSpecificConfig`, declares.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for all but the LC profile, with the profile's name; [`Corrupt`](crate::ErrorKind::Corrupt) where it is cut or has a reserved rate.
pub(crate) fn check(config: &[u8]) -> Result<AacConfig> {
    match Declared::read(&mut Bits::new(config)) {
        Ok(declared) => declared.check(),
        Err(Fault::Unsupported(what)) => Err(unsupported(what)),
        Err(_) => Err(Error::corrupt("the AAC header is damaged or cut short")),
    }
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!(
        "{what} is not decoded here (of AAC, only LC and HE-AAC are)"
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
    fn read(bits: &mut Bits<'_>) -> std::result::Result<Self, Fault> {
        let object_type = read_object_type(bits)?;
        let mut declared = Self {
            object_type,
            sample_rate: read_rate(bits)?,
            channel_configuration: bits.need(4)?,
            ..Self::default()
        };
        if matches!(object_type, SBR | PS) {
            declared.sbr = Some(true);
            declared.ps = (object_type == PS).then_some(true);
            declared.is_half = read_rate(bits)? <= declared.sample_rate;
            declared.object_type = read_object_type(bits)?;
        }
        if declared.object_type == AAC_LC {
            let mut rest = *bits;
            declared.read_general(bits)?;
            if declared.program.is_some() {
                rest = *bits;
            }
            if declared.sbr.is_none() {
                declared.find_extension(&mut rest);
            }
        }
        Ok(declared)
    }

    /// `GASpecificConfig`.
    fn read_general(&mut self, bits: &mut Bits<'_>) -> std::result::Result<(), Fault> {
        self.frame_length = if bits.need_flag()? { 960 } else { 1024 };
        self.depends_on_core = bits.need_flag()?;
        if self.depends_on_core {
            // The delay of a core coder that LC never has: some writers set the flag and write no delay.
            let _ = bits.skip(14);
        }
        bits.skip(1)?;
        if self.channel_configuration == 0 {
            self.program = Some(Layout::read_program(bits)?);
        }
        Ok(())
    }

    /// The explicit signalling that older decoders take for padding, wherever it stands in `rest`: FFmpeg
    /// looks for it bit by bit, as the fields before it are not always what they should be.
    fn find_extension(&mut self, rest: &mut Bits<'_>) {
        const SYNC_SBR: u32 = 0x2B7;
        while rest.left() > 15 {
            if rest.peek(11) == SYNC_SBR {
                rest.at += 11;
                // Cut off, it says nothing.
                let _ = self.read_extension(rest);
                return;
            }
            rest.at += 1;
        }
    }

    /// What follows the sync word.
    fn read_extension(&mut self, bits: &mut Bits<'_>) -> std::result::Result<(), Fault> {
        const SYNC_PS: u32 = 0x548;
        if read_object_type(bits)? != SBR {
            return Ok(());
        }
        let sbr = bits.need_flag()?;
        if !sbr {
            self.sbr = Some(false);
            return Ok(());
        }
        let rate = read_rate(bits)?;
        self.is_half = rate <= self.sample_rate;
        // At the rate of the core only the packets tell.
        self.sbr = (rate != self.sample_rate).then_some(true);
        if bits.need(11)? == SYNC_PS {
            self.ps = Some(bits.need_flag()?);
        }
        Ok(())
    }

    fn check(self) -> Result<AacConfig> {
        if self.object_type != AAC_LC {
            return Err(unsupported(&profile_name(self.object_type)));
        }
        if self.sample_rate == 0 {
            return Err(Error::corrupt("the AAC header declares a rate of 0 Hz"));
        }
        let layout = self
            .program
            .or_else(|| Layout::of(self.channel_configuration));
        if layout.is_none() && self.channel_configuration > 0 {
            let number = self.channel_configuration;
            return Err(unsupported(&format!(
                "AAC in channel configuration {number}"
            )));
        }
        Ok(AacConfig {
            core_rate: self.sample_rate,
            layout,
            frame_length: self.frame_length,
            replicated: match self.sbr {
                Some(true) => Replicated::Yes,
                Some(false) => Replicated::No,
                None => Replicated::Unknown,
            },
            is_half: self.is_half,
            may_be_stereo: self.ps != Some(false),
            depends_on_core: self.depends_on_core,
        })
    }
}

fn read_object_type(bits: &mut Bits<'_>) -> std::result::Result<u32, Fault> {
    match bits.need(5)? {
        31 => Ok(32 + bits.need(6)?),
        small => Ok(small),
    }
}

fn read_rate(bits: &mut Bits<'_>) -> std::result::Result<u32, Fault> {
    match bits.need(4)? {
        15 => Ok(bits.need(24)?),
        index => SAMPLE_RATES
            .get(index as usize)
            .copied()
            .ok_or(Fault::Damaged("a reserved rate")),
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
pub(super) mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    /// Bytes of `(value, bits)` fields, zeros after.
    pub(in super::super) fn pack(fields: &[(u32, usize)]) -> Vec<u8> {
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
                assert_eq!(config.unwrap(), AacConfig::of(rate, channels as usize));
            }
        }
        let escape = check(&pack(&[(2, 5), (15, 4), (44_056, 24), (1, 4), (0, 3)])).unwrap();
        assert_eq!(escape.sample_rate(), 44_056);
        // The two bytes that every MP4 of 44.1 kHz stereo has.
        assert_eq!(check(&[0x12, 0x10]).unwrap().channels(), Some(2));
    }

    #[test]
    fn other_profiles_are_named() {
        assert!(refused(&[(31, 5), (10, 6), (3, 4), (2, 4), (0, 8)]).contains("xHE-AAC (USAC)"));
        for (object_type, name) in [
            (1, "AAC Main"),
            (3, "AAC SSR"),
            (4, "AAC LTP"),
            (23, "AAC-LD"),
        ] {
            assert!(refused(&[(object_type, 5), (3, 4), (2, 4), (0, 8)]).starts_with(name));
        }
        assert!(refused(&[(2, 5), (3, 4), (13, 4), (0, 3)]).contains("configuration 13"));
    }

    /// A program of a center channel, a pair, another after, and one of low frequencies.
    const PROGRAM: [(u32, usize); 15] = [
        (0, 4),
        (1, 2),
        (3, 4),
        (2, 4),
        (0, 4),
        (1, 4),
        (1, 2),
        (0, 3),
        (0, 4),
        (0, 3),
        (0, 5),
        (0x10, 5),
        (0x11, 5),
        (0, 4),
        (0, 4),
    ];

    #[test]
    fn channels_are_those_of_the_configuration_or_the_program() {
        for (configuration, channels) in [(3, 3), (6, 6), (7, 8), (11, 7), (12, 8), (14, 8)] {
            let config = check(&pack(&[(2, 5), (3, 4), (configuration, 4), (0, 3)])).unwrap();
            assert_eq!(config.channels(), Some(channels));
        }
        let head = [(2, 5), (3, 4), (0, 4), (0, 3)];
        // Fields of 70 bits after 16 end within a byte; a comment of no bytes follows.
        let program = [&head[..], &PROGRAM, &[(0, 8), (0, 8)]].concat();
        assert_eq!(check(&pack(&program)).unwrap().channels(), Some(6));
        let short = check(&pack(&[(2, 5), (3, 4), (2, 4), (1, 1), (0, 2)])).unwrap();
        assert_eq!(short.packet_frames(), 960);
        let replicated = pack(&[(5, 5), (7, 4), (2, 4), (4, 4), (2, 5), (1, 1), (0, 2)]);
        let params = Params {
            header: replicated,
            ..Params::new(crate::codec::params::Codec::Aac, 44_100, Some(2))
        };
        let error = AacConfig::of_params(&params).unwrap_err();
        assert!(error.reason().contains("960"), "{error}");
        assert!(check_adts(1, 4, 0).unwrap().channels().is_none());
    }

    #[test]
    fn the_signalling_behind_the_config_is_seen() {
        let of = |fields: &[(u32, usize)]| check(&pack(&[&LC_44K_STEREO, fields].concat()));
        let replicated = |fields: &[(u32, usize)]| of(fields).unwrap().replicated;
        let sbr = [(0x2B7, 11), (5, 5), (1, 1), (1, 4)];
        assert_eq!(of(&sbr).unwrap().sample_rate(), 88_200);
        // Of the stream's own rate; after a word of padding, and after a byte of foreign bytes.
        let same_rate = [(0x2B7, 11), (5, 5), (1, 1), (4, 4), (0, 8)];
        let shown = of(&same_rate).unwrap();
        assert_eq!(shown.replicated, Replicated::Unknown);
        assert_eq!(shown.shown_replicated().sample_rate(), 44_100);
        for padding in [(0, 5), (0, 32), (0xA5, 8)] {
            let late = [&[padding], &sbr[..], &[(0, 9)]].concat();
            assert_eq!(replicated(&late), Replicated::Yes);
        }
        let none = [(0x2B7, 11), (5, 5), (0, 1)];
        assert_eq!(replicated(&none), Replicated::No);
        assert_eq!(replicated(&[(0, 32)]), Replicated::Unknown);
    }

    /// One channel becomes two unless the header says that it does not: packets may tell of stereo at any time.
    #[test]
    fn he_aac_doubles_the_rate_and_one_channel() {
        let of = |fields: &[(u32, usize)]| check(&pack(fields)).unwrap();
        let version_1 = of(&[(5, 5), (7, 4), (2, 4), (4, 4), (2, 5), (0, 3)]);
        let version_2 = of(&[(29, 5), (7, 4), (1, 4), (4, 4), (2, 5), (0, 3)]);
        for config in [&version_1, &version_2] {
            assert_eq!((config.sample_rate(), config.channels()), (44_100, Some(2)));
            assert_eq!(config.packet_frames(), 2048);
        }
        let mono = [
            (2, 5),
            (7, 4),
            (1, 4),
            (0, 3),
            (0x2B7, 11),
            (5, 5),
            (1, 1),
            (4, 4),
        ];
        for (flag, channels) in [(0, 1), (1, 2)] {
            let config = of(&[&mono[..], &[(0x548, 11), (flag, 1)]].concat());
            assert_eq!(
                (config.sample_rate(), config.channels()),
                (44_100, Some(channels))
            );
        }
        // The rate stays where the header says so.
        let half = of(&[(5, 5), (4, 4), (2, 4), (4, 4), (2, 5), (0, 3)]);
        assert_eq!((half.sample_rate(), half.packet_frames()), (44_100, 1024));
    }

    /// A core coder that is not there: FFmpeg reads LC of 44.1 kHz in stereo from each of these.
    #[test]
    fn a_flag_of_a_core_coder_is_careless() {
        for config in [
            &[0x12, 0x12][..],
            &[0x12, 0x12, 0x56, 0xE5, 0x00],
            &[0x12, 0x12, 0x00, 0x04, 0x56, 0xE5, 0x00],
        ] {
            let config_read = check(config).unwrap();
            assert_eq!(
                (config_read.sample_rate(), config_read.channels()),
                (44_100, Some(2))
            );
            let is_plain = config_read.replicated == Replicated::No;
            assert_eq!(is_plain, config.len() > 2);
            assert!(config_read.depends_on_core);
        }
        let replicated = check(&[0x12, 0x12, 0x56, 0xE5, 0x98, 0x80]).unwrap();
        assert_eq!(replicated.replicated, Replicated::Yes);
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
                prop_assert!(config.sample_rate() > 0 && config.channels().is_none_or(|count| count > 0));
            }
        }
    }
}
