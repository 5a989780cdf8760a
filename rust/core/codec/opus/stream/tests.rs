use proptest::prelude::*;

use super::Stream;
use super::reference::{CELT, HYBRID, Reference, SILK, Settings, encode};

/// Samples of a frame, by its packet's first byte: RFC 6716, section 3.1.
fn frame_size(toc: u8) -> usize {
    match toc >> 3 {
        config @ 0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        config @ 12..16 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// Both decoders.
struct Comparison {
    channels: usize,
    stream: Stream,
    reference: Reference,
    is_native: bool,
}

impl Comparison {
    /// With the C library, or its translation.
    fn new(channels: usize, is_native: bool) -> Self {
        Self {
            channels,
            stream: Stream::new(channels),
            reference: Reference::new(channels, is_native),
            is_native,
        }
    }

    /// Decodes a frame with both.
    fn frame(&mut self, toc: u8, frame: &[u8]) -> Result<(), TestCaseError> {
        let mut ours = vec![0.0; frame_size(toc) * self.channels];
        let mut theirs = ours.clone();
        let result = self.stream.decode(toc, frame, &mut ours);
        let packet = [&[toc & !3], frame].concat();
        let accepted = self.reference.decode(&packet, &mut theirs);
        if self.is_incomparable() {
            *self = Self::new(self.channels, self.is_native);
            return Ok(());
        }
        prop_assert_eq!(result.is_ok(), accepted, "toc {:#x}", toc);
        compare(&ours, &theirs, toc)
    }

    /// CELT's extrapolation follows rounding errors far: the C library and its translation differ by
    /// more than we do. The translation's comfort noise is at full scale.
    fn is_incomparable(&self) -> bool {
        self.stream.has_extrapolated || (!self.is_native && self.stream.silk.is_concealed())
    }
}

/// SILK alone gives 16-bit samples, which must be the same; where CELT is part, errors are far below
/// what can be heard.
fn compare(ours: &[f32], theirs: &[f32], toc: u8) -> Result<(), TestCaseError> {
    // Louder floats have no bits for less than that.
    let is_16_bit = |value: &f32| value.abs() <= 1.0 && (value * 32_768.0).fract() == 0.0;
    let is_exact = theirs.iter().all(is_16_bit);
    let loudest = theirs
        .iter()
        .fold(1f32, |most, value| most.max(value.abs()));
    let bound = if is_exact { 0.0 } else { 1e-5 * loudest };
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let error = (ours - theirs).abs();
        prop_assert!(
            error <= bound,
            "sample {at}: {ours} for {theirs}, toc {toc:#x}"
        );
    }
    Ok(())
}

fn settings(mode: Option<i32>) -> impl Strategy<Value = Settings> {
    // The encoder makes hybrid frames of any above wideband, whatever the mode asked for.
    let bandwidths = match mode {
        Some(SILK) => (1101..1104i32).prop_map(Some).boxed(),
        Some(HYBRID) => (1104..1106i32).prop_map(Some).boxed(),
        _ => prop::option::of(1101..1106i32).boxed(),
    };
    (
        bandwidths,
        prop::option::of(1..3i32),
        8_000..60_000i32,
        any::<bool>(),
        prop_oneof![Just(0), 1..40],
        0..11i32,
        prop::sample::select(vec![10usize, 20, 40, 60]),
        1..20usize,
    )
        .prop_map(
            move |(bandwidth, coded, bitrate, dtx, loss, complexity, milliseconds, packets)| {
                Settings {
                    mode,
                    bandwidth,
                    coded,
                    bitrate,
                    dtx,
                    loss,
                    complexity,
                    milliseconds,
                    packets,
                }
            },
        )
}

fn any_settings() -> impl Strategy<Value = Settings> {
    prop_oneof![
        settings(Some(SILK)),
        settings(Some(HYBRID)),
        settings(Some(CELT)),
        settings(None)
    ]
}

fn garbage(configs: std::ops::Range<u8>) -> impl Strategy<Value = (u8, Vec<u8>)> {
    let sizes = prop_oneof![8 => 2..200usize, 2 => 200..1276usize, 1 => 0..2usize];
    let bytes = sizes.prop_flat_map(|size| {
        prop_oneof![
            prop::collection::vec(any::<u8>(), size),
            // Runs of one bit lead to the ends of the tables.
            prop::collection::vec(prop::sample::select(vec![0u8, 255, 1, 254, 128]), size),
        ]
    });
    (configs, any::<bool>(), bytes)
        .prop_map(|(config, stereo, bytes)| (config << 3 | u8::from(stereo) << 2, bytes))
}

fn configs() -> impl Strategy<Value = std::ops::Range<u8>> {
    prop_oneof![Just(0..12u8), Just(0..16), Just(0..32), Just(12..16)]
}

fn run(mut both: Comparison, frames: &[(u8, Vec<u8>)], lost: &[bool]) -> Result<(), TestCaseError> {
    for (at, (toc, frame)) in frames.iter().enumerate() {
        let is_lost = lost.get(at % lost.len().max(1)).copied().unwrap_or(false);
        both.frame(*toc, if is_lost { &[] } else { frame })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn speech_is_that_of_libopus(
        channels in 1..3usize,
        seed: u64,
        parts in prop::collection::vec(settings(Some(SILK)), 1..4),
    ) {
        run(Comparison::new(channels, false), &encode(channels, seed, &parts), &[])?;
    }

    #[test]
    #[ignore = "needs the C library libopus.so.0"]
    fn lost_speech_is_that_of_the_c_library(
        channels in 1..3usize,
        seed: u64,
        parts in prop::collection::vec(settings(Some(SILK)), 1..4),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
    ) {
        run(Comparison::new(channels, true), &encode(channels, seed, &parts), &lost)?;
    }

    #[test]
    fn changing_modes_are_those_of_libopus(
        channels in 1..3usize,
        seed: u64,
        parts in prop::collection::vec(any_settings(), 1..5),
    ) {
        run(Comparison::new(channels, false), &encode(channels, seed, &parts), &[])?;
    }

    #[test]
    #[ignore = "needs the C library libopus.so.0"]
    fn lost_frames_are_those_of_the_c_library(
        channels in 1..3usize,
        seed: u64,
        parts in prop::collection::vec(any_settings(), 1..5),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
    ) {
        run(Comparison::new(channels, true), &encode(channels, seed, &parts), &lost)?;
    }

    #[test]
    fn garbage_is_that_of_libopus(
        channels in 1..3usize,
        frames in configs().prop_flat_map(|configs| prop::collection::vec(garbage(configs), 1..20)),
    ) {
        run(Comparison::new(channels, false), &frames, &[])?;
    }

    #[test]
    #[ignore = "needs the C library libopus.so.0"]
    fn garbage_is_that_of_the_c_library(
        channels in 1..3usize,
        frames in configs().prop_flat_map(|configs| prop::collection::vec(garbage(configs), 1..20)),
    ) {
        run(Comparison::new(channels, true), &frames, &[])?;
    }
}
