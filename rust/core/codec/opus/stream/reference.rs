//! What the tests compare with: libopus 1.3.1, as the crate `unsafe-libopus` has it in Rust and as
//! the system's C library; and streams from its encoder.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use unsafe_libopus as unsafe_c;

type Create = unsafe extern "C" fn(i32, c_int, *mut c_int) -> *mut c_void;
type Decode = unsafe extern "C" fn(*mut c_void, *const u8, i32, *mut f32, c_int, c_int) -> c_int;
type Destroy = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The system's libopus.
fn library() -> *mut c_void {
    const NOW: c_int = 2;
    // SAFETY: the name is a C string.
    let library = unsafe { dlopen(c"libopus.so.0".as_ptr(), NOW) };
    assert!(!library.is_null(), "libopus.so.0 is not installed");
    library
}

fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the library is loaded, and the name a C string.
    let symbol = unsafe { dlsym(library(), name.as_ptr()) };
    assert!(!symbol.is_null());
    symbol
}

enum Kind {
    Translated(*mut unsafe_c::OpusDecoder),
    Native(*mut c_void, Decode),
}

/// A decoder to 48 kHz.
pub(crate) struct Reference {
    kind: Kind,
    channels: usize,
}

impl Reference {
    /// The C library, or its translation.
    pub(crate) fn new(channels: usize, is_native: bool) -> Self {
        if is_native {
            Self::native(channels)
        } else {
            Self::translated(channels)
        }
    }

    fn translated(channels: usize) -> Self {
        // SAFETY: it takes no error pointer where that is null.
        let state =
            unsafe { unsafe_c::opus_decoder_create(48_000, channels as i32, ptr::null_mut()) };
        let kind = Kind::Translated(state);
        Self { kind, channels }
    }

    fn native(channels: usize) -> Self {
        // SAFETY: these are the functions' types in opus.h.
        let (create, decode): (Create, Decode) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Create>(symbol(c"opus_decoder_create")),
                std::mem::transmute::<*mut c_void, Decode>(symbol(c"opus_decode_float")),
            )
        };
        // SAFETY: as above.
        let state = unsafe { create(48_000, channels as c_int, ptr::null_mut()) };
        let kind = Kind::Native(state, decode);
        Self { kind, channels }
    }

    /// Decodes a packet of one frame; no bytes are a lost frame.
    pub(crate) fn decode(&mut self, packet: &[u8], pcm: &mut [f32]) -> bool {
        let room = (pcm.len() / self.channels) as c_int;
        let (bytes, size) = (packet.as_ptr(), packet.len() as c_int);
        // SAFETY: the state is live, and `packet` and `pcm` hold what is said of them.
        let written = unsafe {
            match self.kind {
                Kind::Translated(state) => {
                    unsafe_c::opus_decode_float(state, bytes, size, pcm.as_mut_ptr(), room, 0)
                }
                Kind::Native(state, decode) => {
                    decode(state, bytes, size, pcm.as_mut_ptr(), room, 0)
                }
            }
        };
        written == room
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: created by the function that belongs to this one, and destroyed once.
        unsafe {
            match self.kind {
                Kind::Translated(state) => unsafe_c::opus_decoder_destroy(state),
                Kind::Native(state, _) => {
                    let destroy = symbol(c"opus_decoder_destroy");
                    std::mem::transmute::<*mut c_void, Destroy>(destroy)(state);
                }
            }
        }
    }
}

/// How the encoder encodes; `None` leaves it to the encoder.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Option<i32>,
    pub(crate) bandwidth: Option<i32>,
    pub(crate) coded: Option<i32>,
    pub(crate) bitrate: i32,
    pub(crate) dtx: bool,
    /// Redundant copies for so many percent lost.
    pub(crate) loss: i32,
    pub(crate) complexity: i32,
    pub(crate) milliseconds: usize,
    pub(crate) packets: usize,
}

/// The encoder's request that fixes the mode, which is not in its public header.
const SET_FORCE_MODE: i32 = 11_002;
pub(crate) const SILK: i32 = 1_000;
pub(crate) const HYBRID: i32 = 1_001;
pub(crate) const CELT: i32 = 1_002;
const AUTO: i32 = -1_000;

/// A frame: its packet's first byte, and its bytes.
pub(crate) type Frame = (u8, Vec<u8>);

/// Encodes noise and speech of `seed` to frames, with each of `parts` in turn.
pub(crate) fn encode(channels: usize, seed: u64, parts: &[Settings]) -> Vec<Frame> {
    let mut signal = Signal::new(seed, channels);
    let mut frames = Vec::new();
    // SAFETY: the encoder is live, and buffers hold what is said of them.
    unsafe {
        let encoder = unsafe_c::opus_encoder_create(
            48_000,
            channels as i32,
            unsafe_c::OPUS_APPLICATION_VOIP,
            ptr::null_mut(),
        );
        for part in parts {
            set(encoder, part);
            for _ in 0..part.packets {
                let samples = 48 * part.milliseconds;
                let pcm = signal.next(samples);
                let mut packet = vec![0; 4_000];
                let size = unsafe_c::opus_encode_float(
                    encoder,
                    pcm.as_ptr(),
                    samples as i32,
                    packet.as_mut_ptr(),
                    packet.len() as i32,
                );
                packet.truncate(size as usize);
                frames.extend(split(&packet));
            }
        }
        unsafe_c::opus_encoder_destroy(encoder);
    }
    frames
}

unsafe fn set(encoder: *mut unsafe_c::OpusEncoder, part: &Settings) {
    let requests = [
        (SET_FORCE_MODE, part.mode.unwrap_or(AUTO)),
        (
            unsafe_c::OPUS_SET_BANDWIDTH_REQUEST,
            part.bandwidth.unwrap_or(AUTO),
        ),
        (
            unsafe_c::OPUS_SET_FORCE_CHANNELS_REQUEST,
            part.coded.unwrap_or(AUTO),
        ),
        (unsafe_c::OPUS_SET_BITRATE_REQUEST, part.bitrate),
        (unsafe_c::OPUS_SET_DTX_REQUEST, i32::from(part.dtx)),
        (
            unsafe_c::OPUS_SET_INBAND_FEC_REQUEST,
            i32::from(part.loss > 0),
        ),
        (unsafe_c::OPUS_SET_PACKET_LOSS_PERC_REQUEST, part.loss),
        (unsafe_c::OPUS_SET_COMPLEXITY_REQUEST, part.complexity),
    ];
    for (request, value) in requests {
        // SAFETY: the requests take one number, and the encoder is live.
        unsafe { unsafe_c::opus_encoder_ctl_impl(encoder, request, unsafe_c::varargs!(value)) };
    }
}

/// The frames of a packet.
fn split(packet: &[u8]) -> Vec<Frame> {
    let (mut toc, mut frames, mut sizes) = (0, [ptr::null(); 48], [0i16; 48]);
    // SAFETY: the arrays have room for as many frames as a packet holds.
    let count = unsafe {
        unsafe_c::opus_packet_parse(
            packet.as_ptr(),
            packet.len() as i32,
            &mut toc,
            frames.as_mut_ptr(),
            sizes.as_mut_ptr(),
            ptr::null_mut(),
        )
    };
    (0..count.max(0) as usize)
        .map(|at| {
            // SAFETY: the frames lie in the packet.
            let bytes = unsafe { std::slice::from_raw_parts(frames[at], sizes[at] as usize) };
            (toc & !3, bytes.to_vec())
        })
        .collect()
}

/// Voiced pulses and hiss through moving resonances, with pauses: something like speech.
pub(crate) struct Signal {
    seed: u64,
    channels: usize,
    time: usize,
    phase: f32,
    pitch: f32,
    loudness: f32,
    voicing: f32,
    resonances: [([f32; 2], f32); 4],
    balance: f32,
}

impl Signal {
    pub(crate) fn new(seed: u64, channels: usize) -> Self {
        Self {
            seed: seed.wrapping_mul(2).wrapping_add(1),
            channels,
            time: 0,
            phase: 0.0,
            pitch: 120.0,
            loudness: 0.0,
            voicing: 1.0,
            resonances: [([0.0; 2], 500.0); 4],
            balance: 0.5,
        }
    }

    /// A number from 0 to 1.
    pub(crate) fn random(&mut self) -> f32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn next(&mut self, samples: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(samples * self.channels);
        for _ in 0..samples {
            if self.time.is_multiple_of(4_800) {
                self.change();
            }
            self.time += 1;
            self.phase += self.pitch / 48_000.0;
            let hiss = self.random() - 0.5;
            let pulse = if self.phase >= 1.0 { 20.0 } else { 0.0 };
            self.phase %= 1.0;
            let mut value = self.voicing * pulse + (1.0 - self.voicing) * hiss;
            for (memory, frequency) in &mut self.resonances {
                let turn = std::f32::consts::TAU * *frequency / 48_000.0;
                let next = 0.1 * value + 2.0 * 0.985 * turn.cos() * memory[0] - 0.97 * memory[1];
                *memory = [next, memory[0]];
                value = value * 0.3 + next;
            }
            let value = (self.loudness * value + 0.001 * hiss).clamp(-1.0, 1.0);
            out.push(value * (1.0 - self.balance));
            if self.channels == 2 {
                out.push(value * self.balance + 0.001 * self.random());
            }
        }
        out
    }

    /// Another sound each tenth of a second; a third of them are pauses.
    fn change(&mut self) {
        self.loudness = if self.random() < 0.35 {
            0.0
        } else {
            self.random()
        };
        self.voicing = if self.random() < 0.6 { 1.0 } else { 0.0 };
        self.pitch = 70.0 + 300.0 * self.random();
        if self.random() < 0.2 {
            self.balance = self.random();
        }
        for at in 0..4 {
            self.resonances[at].1 = 300.0 + 900.0 * at as f32 + 900.0 * self.random();
        }
    }
}
