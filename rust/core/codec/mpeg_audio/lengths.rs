//! What a packet decodes to by its header, and how far back its samples reach.

use crate::codec::params::Params;

/// ISO/IEC 11172-3 and 13818-3: version and layer in the second byte of the header.
pub(crate) fn packet_frames(data: &[u8]) -> Option<u64> {
    let second = *data.get(1)?;
    let is_mpeg1 = second & 0b0001_1000 == 0b0001_1000;
    match (second >> 1) & 0b11 {
        0b11 => Some(384),
        0b10 => Some(1152),
        0b01 if is_mpeg1 => Some(1152),
        0b01 => Some(576),
        _ => None,
    }
}

/// The bit reservoir reaches back 511 bytes in MPEG 1 and 255 in MPEG 2, which is many packets where
/// they are short: at the lowest bit rate, and after header, checksum and side information. The
/// overlap of the filter banks, two granules, lies after that; a packet more is to spare.
pub(crate) fn layer3_preroll_frames(params: &Params) -> u64 {
    let hz = u64::from(params.sample_rate.max(1));
    let is_stereo = params.channels != Some(1);
    let (frames, reach, bits, side_info) = match (hz >= 32_000, is_stereo) {
        (true, true) => (1152, 511, 32_000, 32),
        (true, false) => (1152, 511, 32_000, 17),
        (false, true) => (576, 255, 8_000, 17),
        (false, false) => (576, 255, 8_000, 9),
    };
    let main_data = (frames / 8 * bits / hz).saturating_sub(4 + 2 + side_info);
    (reach / main_data.max(1) + 4) * frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_version_and_layer() {
        for (second, frames) in [
            (0xFB, 1152),
            (0xF3, 576),
            (0xE3, 576),
            (0xFD, 1152),
            (0xFF, 384),
        ] {
            assert_eq!(packet_frames(&[0xFF, second]), Some(frames));
        }
        assert_eq!(packet_frames(&[0xFF, 0xE9]), None);
    }
}
