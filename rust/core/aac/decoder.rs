//! The decoder of AAC-LC behind symphonia's interface of decoders.

use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels, GenericAudioBufferRef,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Result as SymphoniaResult, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

use super::block::Blocks;
use super::filterbank::{Filterbank, Overlap, Scratch};
use super::{AacConfig, Fault, LATE_REPLICATION};
use crate::error::{Error, Result};

const INFO: CodecInfo = CodecInfo {
    short_name: "aac",
    long_name: "Advanced Audio Coding",
    profiles: &[],
};

/// One `raw_data_block` a packet.
pub(crate) struct Decoder {
    params: AudioCodecParameters,
    sample_rate: u32,
    blocks: Blocks,
    filterbank: &'static Filterbank,
    scratch: Scratch,
    /// One of each channel: all that goes from packet to packet.
    overlaps: Vec<Overlap>,
    /// Whether any packet could be decoded.
    has_begun: bool,
    buffer: AudioBuffer<f32>,
}

impl Decoder {
    /// A decoder for the track that `params` describe, with an `AudioSpecificConfig` or without.
    ///
    /// # Errors
    /// As [`check`](super::check) has them.
    pub(crate) fn new(params: &AudioCodecParameters) -> Result<Self> {
        let config = match (params.extra_data.as_deref(), params.sample_rate) {
            (Some(config), _) => super::check(config)?,
            (None, Some(rate)) => {
                AacConfig::of(rate, params.channels.as_ref().map_or(0, Channels::count))
            }
            (None, None) => return Err(Error::corrupt("AAC without its header")),
        };
        let filterbank = Filterbank::of(config.frame_length as usize);
        let mut decoder = Self {
            params: params.clone(),
            sample_rate: config.sample_rate,
            blocks: Blocks::new(&config),
            filterbank,
            scratch: filterbank.scratch(),
            overlaps: Vec::new(),
            has_begun: false,
            buffer: AudioBuffer::new(AudioSpec::new(config.sample_rate, Channels::Discrete(1)), 0),
        };
        if let Some(count) = config.channels() {
            decoder.params.channels = Some(Channels::Discrete(count as u16));
        }
        decoder.make_room();
        Ok(decoder)
    }

    /// Makes room for the channels that the blocks have.
    fn make_room(&mut self) {
        let count = self.blocks.channels.len();
        if count == self.overlaps.len() {
            return;
        }
        let spec = AudioSpec::new(self.sample_rate, Channels::Discrete(count as u16));
        self.overlaps = vec![Overlap::new(); count];
        self.buffer = AudioBuffer::new(spec, self.blocks.bands.frame_length);
    }

    fn decode(&mut self, packet: &[u8]) -> std::result::Result<(), Fault> {
        self.blocks.read(packet)?;
        for channel in &mut self.blocks.channels {
            channel.shaping.apply(&mut channel.spectrum)?;
        }
        self.make_room();
        let length = self.blocks.bands.frame_length;
        self.buffer.clear();
        self.buffer.render_uninit(Some(length));
        let channels = self.blocks.channels.iter().zip(&mut self.overlaps);
        for (plane, (channel, overlap)) in channels.enumerate() {
            if let Some(output) = self.buffer.plane_mut(plane) {
                let spectrum = &channel.spectrum[..length];
                let scratch = &mut self.scratch;
                self.filterbank
                    .synthesize(&channel.windows, spectrum, overlap, scratch, output);
            }
        }
        Ok(())
    }
}

impl AudioDecoder for Decoder {
    fn reset(&mut self) {
        self.overlaps.fill(Overlap::new());
    }

    fn codec_info(&self) -> &CodecInfo {
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> SymphoniaResult<GenericAudioBufferRef<'_>> {
        if let Err(fault) = self.decode(packet.data) {
            // What follows must not depend on what came before the damage: a range may begin at it.
            self.reset();
            self.buffer.clear();
            return match fault {
                Fault::REPLICATED => unsupported_error(LATE_REPLICATION),
                // In a stream that could be decoded so far, it is damage that looks so.
                Fault::Unsupported(what) if !self.has_begun => unsupported_error(what),
                Fault::Unsupported(reason) | Fault::Damaged(reason) => decode_error(reason),
            };
        }
        self.has_begun = true;
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}
