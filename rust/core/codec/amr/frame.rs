//! Frames as they are stored: RFC 4867, section 5.3, and 3GPP TS 26.101 and 26.201.

/// Which of the two codecs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Band {
    /// AMR-NB, of 8 kHz.
    Narrow,
    /// AMR-WB, of 16 kHz.
    Wide,
}

/// Bytes of the longest frame, its header with it.
pub(crate) const LONGEST: usize = 61;

impl Band {
    /// FFmpeg's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Narrow => "amr_nb",
            Self::Wide => "amr_wb",
        }
    }

    /// In Hz.
    pub(crate) fn sample_rate(self) -> u32 {
        match self {
            Self::Narrow => 8_000,
            Self::Wide => 16_000,
        }
    }

    /// Samples of every frame: 20 ms.
    pub(crate) fn frame_samples(self) -> u64 {
        u64::from(self.sample_rate() / 50)
    }

    /// Bytes of a frame's bits by its type; `None` for types that are reserved, or of other codecs.
    fn bytes(self, kind: u8) -> Option<usize> {
        const NARROW: [usize; 9] = [12, 13, 15, 17, 19, 20, 26, 31, 5];
        const WIDE: [usize; 10] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5];
        match (self, kind) {
            (_, 15) | (Self::Wide, 14) => Some(0),
            (Self::Narrow, kind) => NARROW.get(usize::from(kind)).copied(),
            (Self::Wide, kind) => WIDE.get(usize::from(kind)).copied(),
        }
    }
}

/// The byte that a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    /// The type: a rate, silence, or nothing.
    pub(super) kind: u8,
    /// Whether the bits have no errors that the sender knows of.
    pub(super) is_good: bool,
    /// Bytes of the bits that follow.
    bytes: usize,
    /// Bits that are to be 0.
    padding: u8,
}

impl Header {
    /// `None` for a type that is none.
    pub(crate) fn parse(band: Band, byte: u8) -> Option<Self> {
        let kind = byte >> 3 & 15;
        Some(Self {
            kind,
            is_good: byte & 4 != 0,
            bytes: band.bytes(kind)?,
            padding: byte & 0x83,
        })
    }

    /// Bytes of the whole frame.
    pub(crate) fn length(self) -> usize {
        1 + self.bytes
    }

    /// Bits that are to be 0, in their places.
    pub(crate) fn padding(self) -> u8 {
        self.padding
    }
}

/// The frames that a packet has end to end: each with its bits, or `None` and no more where one is none, or is cut
/// short.
pub(crate) fn frames(band: Band, packet: &[u8]) -> impl Iterator<Item = Option<(Header, &[u8])>> {
    let mut rest = Some(packet);
    std::iter::from_fn(move || {
        let (byte, behind) = rest.take()?.split_first()?;
        let frame = Header::parse(band, *byte).and_then(|header| {
            let (bits, behind) = behind.split_at_checked(header.bytes)?;
            rest = Some(behind);
            Some((header, bits))
        });
        Some(frame)
    })
}

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Speech,
    /// Speech with errors.
    BadSpeech,
    /// The first frame of a silence, which tells nothing of it.
    SilenceFirst,
    /// A description of silence.
    SilenceUpdate,
    /// One with errors.
    BadSilence,
    /// Speech that was lost, as AMR-WB tells it.
    LostSpeech,
    Nothing,
}

impl Kind {
    pub(super) fn is_silence(self) -> bool {
        matches!(
            self,
            Self::SilenceFirst | Self::SilenceUpdate | Self::BadSilence
        )
    }
}
