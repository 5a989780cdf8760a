//! What encoders write into a frame of their own in front of the audio: Xing, LAME and VBRI headers.
//!
//! Formats: "MPEG Audio Frame Header" by Konrad Windszus (Xing, VBRI) and "MP3 Info Tag revision 1" by
//! Gabriel Bouvigne (LAME). What is trimmed and when is what FFmpeg does.

use super::header::Header;

/// Samples that a decoder is late, beside what the encoder says of itself.
const DECODER_DELAY: u64 = 528 + 1;
/// Bits of the CRC of LAME's tag: x^16 + x^15 + x^2 + 1, the lowest bit first.
const CRC: u16 = 0xA001;

/// Bytes of its frame that FFmpeg's checksum is of.
const LAVF_COVERS: usize = 190;

/// The contents of such a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Info {
    /// Frames of audio, this one not counted.
    pub(super) packets: Option<u64>,
    /// Bytes from this frame on, it included.
    pub(super) bytes: Option<u64>,
    /// Samples to cut at the start.
    pub(super) delay: u64,
    /// Samples to cut at the end.
    pub(super) padding: u64,
    /// Whether a checksum says that these numbers are what the encoder wrote.
    pub(super) is_sure: bool,
}

impl Info {
    /// Reads what stands in the first frame; `None` where that is audio.
    pub(super) fn read(header: Header, frame: &[u8]) -> Option<Self> {
        if header.layer() != 3 {
            return None;
        }
        let xing = || read_xing(frame, 4 + header.side_info_bytes());
        xing().or_else(|| read_vbri(frame.get(4 + 32..)?))
    }
}

fn read_xing(frame: &[u8], at: usize) -> Option<Info> {
    let mut fields = Fields { frame, at };
    if !matches!(fields.take(4)?, b"Xing" | b"Info") {
        return None;
    }
    let flags = fields.number(4)?;
    let mut optional = |bit: u32, bytes| match flags >> bit & 1 {
        1 => fields.number(bytes).map(Some),
        _ => Some(None),
    };
    let mut info = Info {
        packets: optional(0, 4)?.filter(|packets| *packets > 0),
        bytes: optional(1, 4)?.filter(|bytes| *bytes > 0),
        ..Info::default()
    };
    if flags >> 2 & 1 == 1 {
        fields.take(100)?;
    }
    if flags >> 3 & 1 == 1 {
        fields.take(4)?;
    }
    info.read_lame(fields);
    Some(info)
}

fn read_vbri(tag: &[u8]) -> Option<Info> {
    let mut fields = Fields { frame: tag, at: 0 };
    if fields.take(4)? != b"VBRI" || fields.number(2)? != 1 {
        return None;
    }
    // A delay that nobody cuts, and the quality.
    fields.take(4)?;
    let (bytes, packets) = (fields.number(4)?, fields.number(4)?);
    Some(Info {
        packets: Some(packets).filter(|packets| *packets > 0),
        bytes: Some(bytes).filter(|bytes| *bytes > 0),
        ..Info::default()
    })
}

impl Info {
    /// LAME's extension of the Xing header, which other encoders write too.
    fn read_lame(&mut self, mut fields: Fields<'_>) -> Option<()> {
        let encoder = fields.take(9)?;
        let is_known = [b"LAME", b"Lavf", b"Lavc"]
            .iter()
            .any(|name| encoder.starts_with(*name));
        if !is_known {
            return None;
        }
        fields.take(12)?;
        let trim = fields.number(3)?;
        self.delay = (trim >> 12) + DECODER_DELAY;
        self.padding = (trim & 0xFFF).saturating_sub(DECODER_DELAY);
        fields.take(10)?;
        let (before, stored) = (fields.frame.get(..fields.at)?, fields.number(2)?);
        // LAME covers what stands before the checksum. FFmpeg always covers 190 bytes, which is the
        // same for MPEG 1 in stereo; elsewhere zeros stand for the checksum and after the frame.
        let mut covered = [0; LAVF_COVERS];
        covered
            .iter_mut()
            .zip(fields.frame)
            .for_each(|(to, from)| *to = *from);
        covered
            .iter_mut()
            .skip(before.len())
            .take(2)
            .for_each(|byte| *byte = 0);
        let of_lavf = crc(&covered);
        self.is_sure = [crc(before), of_lavf].contains(&(stored as u16));
        Some(())
    }
}

fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ ((crc & 1) * CRC)
        })
    })
}

/// Fields end to end.
struct Fields<'f> {
    frame: &'f [u8],
    at: usize,
}

impl<'f> Fields<'f> {
    fn take(&mut self, bytes: usize) -> Option<&'f [u8]> {
        let field = self.frame.get(self.at..self.at + bytes)?;
        self.at += bytes;
        Some(field)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let field = self.take(bytes)?;
        Some(
            field
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_16_arc() {
        // Its check value in the catalogues of CRCs.
        assert_eq!(crc(b"123456789"), 0xBB3D);
    }
}
