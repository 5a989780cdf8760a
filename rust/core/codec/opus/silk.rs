//! SILK, the speech layer of Opus: RFC 6716, section 4.2.
//!
//! Decoding, concealment and resampling give the same 16-bit samples as libopus 1.3.1 does.

mod channel;
mod codebooks;
mod comfort;
mod excitation;
mod fixed;
mod gains;
mod indices;
mod lpc;
mod lsf;
mod resampler;
mod stereo;
mod synthesis;
mod tables;

use self::channel::{Channel, MAX_FRAMES};
use self::excitation::MAX_FRAME;
use self::indices::{Coding, Layout};
use self::stereo::{Framed, Stereo, Weights, read_mid_only, read_weights};
use crate::codec::opus::range::RangeDecoder;

/// The output's rate.
const OUTPUT_KHZ: usize = 48;
/// The most samples of a resampled frame of 20 ms.
const MAX_OUTPUT: usize = 20 * OUTPUT_KHZ;
/// From 16 bits to 1 at full scale.
const SAMPLE_SCALE: f32 = 1.0 / 32_768.0;

/// A decoder of mono or stereo output.
#[derive(Clone, Debug)]
pub(crate) struct Silk {
    channels: usize,
    /// Channels of the last packet, and its rate in kHz.
    coded: usize,
    khz: usize,
    states: [Channel; 2],
    stereo: Stereo,
    was_mid_only: bool,
}

/// The rate, channels and length of a packet.
#[derive(Clone, Copy, Debug)]
struct Packet {
    coded: usize,
    layout: Layout,
    frames: usize,
}

impl Silk {
    /// A decoder to so many channels, 1 or 2.
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            channels,
            coded: 0,
            khz: 0,
            states: [Channel::new(), Channel::new()],
            stereo: Stereo::default(),
            was_mid_only: false,
        }
    }

    /// Forgets the signal, as where the stream comes back from CELT.
    pub(crate) fn reset(&mut self) {
        self.states = [Channel::new(), Channel::new()];
        self.stereo = Stereo::default();
        self.was_mid_only = false;
    }

    /// Remembers noise at full scale, as of another signal at the same rate.
    pub(crate) fn disturb(&mut self, mut seed: i32) {
        for state in &mut self.states {
            state.disturb(&mut seed);
        }
        self.stereo.disturb(&mut seed);
    }

    /// Decodes a frame of 10, 20, 40 or 60 ms, coded at 8, 12 or 16 `khz` and with 1 or 2 channels,
    /// to interleaved samples at 48 kHz that fill `pcm`.
    pub(crate) fn decode(
        &mut self,
        range: &mut RangeDecoder<'_>,
        khz: usize,
        coded: usize,
        pcm: &mut [f32],
    ) {
        self.khz = khz;
        let packet = self.packet(coded, pcm.len() / self.channels);
        let collapses = self.begin(packet);
        self.read_flags(range, packet);
        self.skip_redundant(range, packet);
        for (at, pcm) in pcm.chunks_mut(MAX_OUTPUT * self.channels).enumerate() {
            self.decode_frame(range, packet, at, collapses && at == 0, pcm);
        }
    }

    /// Makes up to 20 ms that are lost, in which nothing changes but the signal.
    pub(crate) fn conceal(&mut self, pcm: &mut [f32]) {
        let packet = self.packet(self.coded, pcm.len() / self.channels);
        self.begin(packet);
        let weights = self.stereo.weights();
        let has_side = packet.coded == 2 && !self.was_mid_only;
        if packet.coded == 2 && self.was_mid_only {
            self.states[1].forget();
        }
        let length = packet.layout.frame();
        let mut signals = [[0; 2 + MAX_FRAME]; 2];
        for (at, signal) in signals.iter_mut().enumerate() {
            if at == 0 || has_side {
                self.states[at].conceal(&mut signal[2..][..length]);
            }
        }
        for state in &mut self.states[..packet.coded] {
            state.forget_gain();
        }
        self.output(packet, weights, signals, false, pcm);
    }

    /// The last frame was made up.
    #[cfg(test)]
    pub(crate) fn is_concealed(&self) -> bool {
        self.states[0].losses > 0
    }

    fn packet(&self, coded: usize, samples: usize) -> Packet {
        let milliseconds = samples / OUTPUT_KHZ;
        Packet {
            coded,
            layout: Layout {
                khz: self.khz,
                subframes: if milliseconds <= 10 { 2 } else { 4 },
            },
            frames: milliseconds.div_ceil(20).clamp(1, MAX_FRAMES),
        }
    }

    /// Prepares the channels; whether stereo becomes mono at one rate.
    fn begin(&mut self, packet: Packet) -> bool {
        if packet.coded > self.coded {
            self.states[1] = Channel::new();
        }
        let is_same_rate = self.states[0].layout.khz == packet.layout.khz;
        for state in &mut self.states[..packet.coded] {
            state.set_layout(packet.layout);
        }
        if self.channels == 2 && packet.coded == 2 && self.coded == 1 {
            self.stereo.forget_side();
            self.states[1].resampler = self.states[0].resampler.clone();
        }
        let collapses = packet.coded == 1 && self.coded == 2 && is_same_rate;
        self.coded = packet.coded;
        collapses
    }

    /// Which frames have voice activity, and redundant copies: sections 4.2.3 and 4.2.4.
    fn read_flags(&mut self, range: &mut RangeDecoder<'_>, packet: Packet) {
        let states = &mut self.states[..packet.coded];
        for state in states.iter_mut() {
            let flags = state.active[..packet.frames].iter_mut();
            flags.for_each(|is_active| *is_active = range.bit(1));
            state.redundant = [range.bit(1), false, false];
        }
        for state in states {
            if state.redundant[0] && packet.frames > 1 {
                let table: &[u8] = match packet.frames {
                    2 => &tables::LBRR_FLAGS_40_MS,
                    _ => &tables::LBRR_FLAGS_60_MS,
                };
                let flags = range.symbol(table, 8) + 1;
                state.redundant = [0, 1, 2].map(|at| flags >> at & 1 == 1);
            }
        }
    }

    /// Reads over the redundant copies, which are for when an earlier packet is lost: section 4.2.5.
    fn skip_redundant(&mut self, range: &mut RangeDecoder<'_>, packet: Packet) {
        for at in 0..packet.frames {
            for channel in 0..packet.coded {
                if !self.states[channel].redundant[at] {
                    continue;
                }
                if packet.coded == 2 && channel == 0 {
                    read_weights(range);
                    if !self.states[1].redundant[at] {
                        read_mid_only(range);
                    }
                }
                let state = &mut self.states[channel];
                let coding = if at > 0 && state.redundant[at - 1] {
                    Coding::Conditional
                } else {
                    Coding::Independent
                };
                state.skip(range, coding);
            }
        }
    }

    fn decode_frame(
        &mut self,
        range: &mut RangeDecoder<'_>,
        packet: Packet,
        at: usize,
        collapses: bool,
        pcm: &mut [f32],
    ) {
        let (mut weights, mut is_mid_only) = ([0; 2], false);
        if packet.coded == 2 {
            weights = read_weights(range);
            is_mid_only = !self.states[1].active[at] && read_mid_only(range);
            if self.was_mid_only && !is_mid_only {
                self.states[1].forget();
            }
        }
        let length = packet.layout.frame();
        let mut signals = [[0; 2 + MAX_FRAME]; 2];
        for (channel, signal) in signals[..packet.coded].iter_mut().enumerate() {
            if channel == 1 && is_mid_only {
                continue;
            }
            let coding = match at {
                0 => Coding::Independent,
                _ if channel == 1 && self.was_mid_only => Coding::Unscaled,
                _ => Coding::Conditional,
            };
            self.states[channel].decode(range, at, coding, &mut signal[2..][..length]);
        }
        self.was_mid_only = is_mid_only;
        self.output(packet, weights, signals, collapses, pcm);
    }

    /// Makes left and right of mid and side, and resamples them.
    fn output(
        &mut self,
        packet: Packet,
        weights: Weights,
        mut signals: [Framed; 2],
        collapses: bool,
        pcm: &mut [f32],
    ) {
        let length = packet.layout.frame();
        let [mid, side] = &mut signals;
        if self.channels == 2 && packet.coded == 2 {
            self.stereo
                .separate(mid, side, weights, packet.layout.khz, length);
        } else {
            self.stereo.join_mid(mid, length);
            *side = *mid;
        }
        let mut resampled = [0; MAX_OUTPUT];
        let resampled = &mut resampled[..length / packet.layout.khz * OUTPUT_KHZ];
        for (channel, signal) in signals[..self.channels].iter().enumerate() {
            // The right channel of mono is the left one, and its filter stands still.
            if channel == 0 || packet.coded == 2 || collapses {
                self.states[channel]
                    .resampler
                    .process(&signal[1..=length], resampled);
            }
            interleave(resampled, channel, self.channels, pcm);
        }
    }
}

/// Puts one channel of samples in its place as floats.
fn interleave(samples: &[i16], channel: usize, channels: usize, pcm: &mut [f32]) {
    let float = |sample: &i16| f32::from(*sample) * SAMPLE_SCALE;
    if channels == 1 {
        let pairs = pcm.iter_mut().zip(samples);
        pairs.for_each(|(to, from)| *to = float(from));
    } else {
        let pairs = pcm.as_chunks_mut::<2>().0.iter_mut().zip(samples);
        pairs.for_each(|(to, from)| to[channel] = float(from));
    }
}
