//! FLAC frames out of another container (Ogg, Matroska, MP4) behind symphonia's interface of decoders.

use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels, GenericAudioBufferRef,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Result as SymphoniaResult, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

use super::Fault;
use super::frame::FrameDecoder;
use super::info::StreamInfo;
use super::output::Output;
use crate::error::{Error, Result};

/// The most samples that a frame has.
const MAX_BLOCK: usize = 65_536;

const INFO: CodecInfo = CodecInfo {
    short_name: "flac",
    long_name: "Free Lossless Audio Codec",
    profiles: &[],
};

/// One frame a packet.
pub(crate) struct PacketDecoder {
    params: AudioCodecParameters,
    info: StreamInfo,
    frames: FrameDecoder,
    block: AudioBuffer<f32>,
}

impl PacketDecoder {
    /// A decoder for the track that `params` describe: STREAMINFO is its codec's own header.
    ///
    /// # Errors
    /// A broken header.
    pub(crate) fn new(params: &AudioCodecParameters) -> Result<Self> {
        let header = params.extra_data.as_deref().and_then(<[u8]>::first_chunk);
        let info = header.and_then(StreamInfo::parse);
        let info = info
            .ok_or_else(|| Error::corrupt("FLAC without its header"))?
            .check()?;
        let layout = Channels::Discrete(info.channels as u16);
        Ok(Self {
            params: params.clone(),
            frames: FrameDecoder::new(&info),
            block: AudioBuffer::new(AudioSpec::new(info.sample_rate, layout), MAX_BLOCK),
            info,
        })
    }

    fn fill(&mut self, length: usize) {
        let mut output = Output::new(&self.info, false, length);
        output.push(&self.frames.block(), 0..length);
        self.block.render_silence(Some(length));
        for (index, samples) in output.into_planes().iter().enumerate() {
            if let Some(plane) = self.block.plane_mut(index) {
                plane.copy_from_slice(samples);
            }
        }
    }
}

impl AudioDecoder for PacketDecoder {
    fn reset(&mut self) {}

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> SymphoniaResult<GenericAudioBufferRef<'_>> {
        self.block.clear();
        match self.frames.decode(packet.data) {
            Ok(frame) => self.fill(frame.header.block_size as usize),
            Err(Fault::Short) => return decode_error("a FLAC frame ends too early"),
            Err(Fault::Damaged(reason)) => return decode_error(reason),
            Err(Fault::Changed { .. }) => {
                return unsupported_error("FLAC that changes its format in mid-stream");
            }
        }
        Ok(self.block.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.block.as_generic_audio_buffer_ref()
    }
}
