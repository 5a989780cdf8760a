//! One Opus stream, decoded by libopus 1.3.1 as the crate `unsafe-libopus` has it in Rust.
//!
//! The one fault of that translation is refused here: its comfort noise, which every concealed SILK
//! frame gets, is a constant at full scale (`silk_CNG` clamps to 0x8000 where C has -0x8000). SILK is
//! concealed for frames left out (DTX) and where a stream goes from SILK to CELT without the redundant
//! frame that joins them.
//!
//! Tried before: `opus-decoder` 0.1.1, all safe Rust, takes some hundred times as long, refuses
//! packets above 1500 bytes, splits those of several streams at the wrong places and joins SILK to CELT
//! with silence; `opus-rs` 0.1.40 is wrong in frames of 2.5 ms.

use std::ptr::{self, NonNull};

use unsafe_libopus::{
    OPUS_OK, OpusDecoder, opus_decode_float, opus_decoder_create, opus_decoder_destroy,
    opus_decoder_init,
};

use crate::error::{Error, Result};

/// Why a frame is not decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The decoder refuses its bits.
    Damaged,
    /// A part of it would come from SILK's concealment.
    Concealed,
}

/// Modes, as the decoder numbers them.
const CELT_ONLY: i32 = 1002;

/// The head of the decoder's state, whose fields the crate keeps to itself.
#[repr(C)]
struct State {
    offsets: [i32; 2],
    channels: i32,
    sample_rate: i32,
    silk_control: [i32; 6],
    gain: i32,
    arch: i32,
    stream_channels: i32,
    bandwidth: i32,
    mode: i32,
    prev_mode: i32,
    frame_size: i32,
    prev_redundancy: i32,
    last_packet_duration: i32,
    soft_clip: [f32; 2],
    range: u32,
}

// The crate is pinned to one version; another layout does not compile, or fails in `Stream::new`.
const _: () = assert!(size_of::<State>() == size_of::<OpusDecoder>());

/// A decoder of mono or stereo.
pub(crate) struct Stream {
    decoder: NonNull<OpusDecoder>,
    channels: usize,
}

// SAFETY: the state is one allocation that nothing else points to, and is changed through `&mut`.
unsafe impl Send for Stream {}
// SAFETY: as above; nothing changes through `&`.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(sample_rate: u32, channels: usize) -> Result<Self> {
        // SAFETY: it checks both arguments and takes no error pointer where that is null.
        let decoder =
            unsafe { opus_decoder_create(sample_rate as i32, channels as i32, ptr::null_mut()) };
        let decoder =
            NonNull::new(decoder).ok_or_else(|| Error::unsupported("Opus of such channels"))?;
        let stream = Self { decoder, channels };
        let state = stream.state();
        if state.channels != channels as i32 || state.sample_rate != sample_rate as i32 {
            return Err(Error::unsupported("another libopus than expected"));
        }
        Ok(stream)
    }

    fn state(&self) -> &State {
        // SAFETY: a live allocation that begins with an `OpusDecoder`, of which `State` is the layout.
        unsafe { self.decoder.cast::<State>().as_ref() }
    }

    /// Decodes a packet of one frame to interleaved samples, which fill `pcm`.
    pub(crate) fn decode(
        &mut self,
        packet: &[u8],
        pcm: &mut [f32],
    ) -> std::result::Result<(), Refusal> {
        let (Some(toc), Ok(bytes)) = (packet.first(), i32::try_from(packet.len())) else {
            return Err(Refusal::Damaged);
        };
        let (state, is_celt) = (self.state(), toc & 0x80 != 0);
        let was_silk = state.prev_mode != 0 && state.prev_mode != CELT_ONLY;
        let is_left_out = packet.len() <= 2;
        if was_silk && (is_left_out || (is_celt && state.prev_redundancy == 0)) {
            return Err(Refusal::Concealed);
        }
        let room = pcm.len() / self.channels;
        // SAFETY: `packet` and `pcm` hold what is said of them; packets are read only.
        let written = unsafe {
            opus_decode_float(
                self.decoder.as_ptr(),
                packet.as_ptr(),
                bytes,
                pcm.as_mut_ptr(),
                room as i32,
                0,
            )
        };
        if usize::try_from(written) == Ok(room) {
            Ok(())
        } else {
            Err(Refusal::Damaged)
        }
    }

    /// As if nothing had been decoded.
    pub(crate) fn reset(&mut self) {
        let (rate, channels) = (self.state().sample_rate, self.channels as i32);
        // SAFETY: the allocation is one for so many channels.
        let code = unsafe { opus_decoder_init(self.decoder.as_ptr(), rate, channels) };
        debug_assert_eq!(code, OPUS_OK);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created by `opus_decoder_create`, and destroyed once.
        unsafe { opus_decoder_destroy(self.decoder.as_ptr()) };
    }
}
