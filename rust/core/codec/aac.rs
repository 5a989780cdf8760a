//! AAC of the LC profile, and HE-AAC, which adds spectral band replication and parametric stereo to it.
//!
//! Format: ISO/IEC 14496-3, section 4.4 (`raw_data_block`); [`config`] has what headers declare.

mod bands;
mod block;
mod channel;
mod codebooks;
mod codes;
mod config;
mod decoder;
mod element;
mod filterbank;
mod huffman;
mod layout;
mod noise;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod oracle;
mod pair;
mod ps;
mod pulse;
mod qmf;
mod sbr;
mod simd;
mod tns;
mod windows;

use crate::codec::bits::Short;

pub(crate) use config::{AacConfig, Replicated, SAMPLE_RATES, check, check_adts};
pub(crate) use decoder::Decoder;

/// Packets within which HE-AAC shows what its header keeps to itself.
pub(crate) const PACKETS_SHOWING_SBR: u32 = 2;

/// Why a packet cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Damaged(&'static str),
    Unsupported(&'static str),
}

const LATE_REPLICATION: &str = "HE-AAC (SBR), which the stream does not begin with";

impl From<Short> for Fault {
    fn from(_: Short) -> Self {
        Self::Damaged("an AAC packet ends too early")
    }
}

impl Fault {
    const CHANGED: Self = Self::Damaged("an AAC packet has other channels than the stream");
    const COUPLED: Self = Self::Unsupported("AAC with coupling channels");
    const REPLICATED: Self = Self::Unsupported(LATE_REPLICATION);
}

/// Whether `packet`, a `raw_data_block` of the stream, says that the stream is HE-AAC: its header alone
/// does not, where spectral band replication was added to an LC stream. `None` where it is damaged.
pub(crate) fn has_sbr(config: &AacConfig, packet: &[u8]) -> Option<bool> {
    match config.replicated {
        Replicated::No => return Some(false),
        Replicated::Yes => return Some(true),
        Replicated::Unknown => {}
    }
    match block::Blocks::new(config).read(packet) {
        Ok(()) => Some(false),
        Err(Fault::REPLICATED) => Some(true),
        Err(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::config::tests::pack;
    use super::*;

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
        let config = AacConfig::of(24_000, 1);
        let has_sbr = |then: &[(u32, usize)]| has_sbr(&config, &silence(then));
        assert_eq!(has_sbr(&[]), Some(false));
        let fill = [(6, 3), (2, 4), (0, 16)];
        assert_eq!(has_sbr(&fill), Some(false));
        for kind in [13, 14] {
            let mut sbr = vec![(6, 3), (15, 4), (2, 8), (kind, 4), (0, 4)];
            sbr.resize(10, (0, 24));
            assert_eq!(has_sbr(&sbr), Some(true));
            assert_eq!(has_sbr(&[&fill[..], &sbr].concat()), Some(true));
        }
        // The bytes of a data element are not looked at.
        let data = [(4, 3), (0, 4), (0, 1), (2, 8), (0xDDDD, 16)];
        assert_eq!(has_sbr(&data), Some(false));
        assert_eq!(has_sbr(&[(2, 3), (0, 32)]), None);
    }
}
