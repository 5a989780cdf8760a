//! What two decoders make of the same recording, side by side.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Samples that are compared by their level, where each decoder draws noise of its own.
const LEVEL_FRAMES: usize = 1024;
/// The means of channels are rounded in the order of the sum.
const MEAN_TOLERANCE: f32 = 1.0 / (1 << 22) as f32;
/// Two noises of one level differ by 1.4 times that; in short pieces of few bands by more. This much of the quieter of
/// the two is let pass.
const MOST_NOISE: f32 = 2.5;

/// What is known of the samples to be compared.
pub(super) struct Terms<'t> {
    /// By how much they may differ.
    pub(super) tolerance: f32,
    /// Whether they are the means of channels.
    pub(super) is_mean: bool,
    /// The first one's number in the recording.
    pub(super) start: u64,
    /// Parts of the recording in which each decoder draws noise of its own.
    pub(super) noise: &'t [Range<u64>],
}

/// The error of one decoder where the other has none; where both have one, ours.
pub(super) fn outcomes<T>(ours: Result<T>, theirs: Result<T>) -> Result<(T, T)> {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => Ok((ours, theirs)),
        (Err(ours), Err(_)) => Err(ours),
        (Ok(_), Err(theirs)) if theirs.is_damage() => Err(lone(
            &theirs,
            "symphonia ends in an error that the native decoder does not have",
        )),
        (Ok(_), Err(theirs)) => Err(theirs),
        (Err(ours), Ok(_)) if ours.is_damage() => Err(lone(
            &ours,
            "the native decoder ends in an error that symphonia does not have",
        )),
        (Err(ours), Ok(_)) => Err(ours),
    }
}

fn lone(error: &Error, what: &str) -> Error {
    let reason = format!("the decoders disagree: {what}: {}", error.reason());
    let new = Error::new(ErrorKind::Disagree, reason);
    match error.byte_offset() {
        Some(byte) => new.at_byte(byte),
        None => new,
    }
}

/// Refuses planes that part by more than `terms` allow, or in their lengths.
pub(super) fn samples(ours: &[Vec<f32>], theirs: &[Vec<f32>], terms: &Terms<'_>) -> Result<()> {
    let count = |planes: &[Vec<f32>]| planes.len();
    if count(ours) != count(theirs) {
        let reason = format!(
            "{} channels by the native decoder, {} by symphonia",
            count(ours),
            count(theirs)
        );
        return Err(disagree(terms.start, reason));
    }
    let parting = ours.iter().zip(theirs).filter_map(|(ours, theirs)| {
        let at = first_parting(ours, theirs, terms)?;
        Some((at, ours.get(at).copied(), theirs.get(at).copied()))
    });
    let Some((at, ours, theirs)) = parting.min_by_key(|(at, ..)| *at) else {
        return Ok(());
    };
    let told = |sample: Option<f32>| match sample {
        Some(sample) => format!("{sample:.6}"),
        None => "nothing".to_owned(),
    };
    let (ours, theirs) = (told(ours), told(theirs));
    Err(disagree(
        terms.start + at as u64,
        format!("{ours} by the native decoder, {theirs} by symphonia"),
    ))
}

fn disagree(at: u64, reason: String) -> Error {
    let reason = format!("the decoders disagree from sample {at} on: {reason}");
    Error::new(ErrorKind::Disagree, reason).at_sample(at)
}

/// The first sample at which two planes part.
fn first_parting(ours: &[f32], theirs: &[f32], terms: &Terms<'_>) -> Option<usize> {
    let tolerance = match terms.is_mean {
        true => terms.tolerance.max(MEAN_TOLERANCE),
        false => terms.tolerance,
    };
    let shorter = ours.len().min(theirs.len());
    let mut at = 0;
    // Pieces that are noisy, or not, as a whole.
    while at < shorter {
        let end = (at + LEVEL_FRAMES).min(shorter);
        let (ours, theirs) = (&ours[at..end], &theirs[at..end]);
        let found = match terms.has_noise(at..end) {
            true => levels_part(ours, theirs).then_some(0),
            false => ours
                .iter()
                .zip(theirs)
                .position(|(a, b)| part(*a, *b, tolerance)),
        };
        if let Some(inside) = found {
            return Some(at + inside);
        }
        at = end;
    }
    (ours.len() != theirs.len()).then_some(shorter)
}

/// Whether two samples differ by more than `tolerance`, which is of full scale or of the sample where that is louder.
fn part(a: f32, b: f32, tolerance: f32) -> bool {
    let is_same = a == b || (a.is_nan() && b.is_nan());
    let most = tolerance * a.abs().max(b.abs()).max(1.0);
    let off = (a - b).abs();
    !is_same && (off.is_nan() || off > most)
}

/// Whether two pieces with noise differ by more than their noise can.
fn levels_part(ours: &[f32], theirs: &[f32]) -> bool {
    let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|s| s * s).sum::<f32>();
    let (a, b) = (
        power(&mut ours.iter().copied()),
        power(&mut theirs.iter().copied()),
    );
    let off = power(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
    let quiet = 1e-8 * ours.len() as f32;
    off.sqrt() > MOST_NOISE * a.min(b).sqrt() + quiet.sqrt()
}

impl Terms<'_> {
    /// Whether any of the samples `inside`, counted from the first, are of a part with noise.
    fn has_noise(&self, inside: Range<usize>) -> bool {
        let (start, end) = (
            self.start + inside.start as u64,
            self.start + inside.end as u64,
        );
        self.noise
            .iter()
            .any(|part| part.start < end && start < part.end)
    }
}

#[cfg(all(test, feature = "symphonia"))]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::slice::from_ref;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::planted::{self, Bug};
    use crate::{Choice, Clip, Mix, Request, Source, load};

    fn file(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    }

    fn decoded(bytes: &[u8], decoder: Choice, mono: bool) -> Result<Clip> {
        let request = Request {
            decoder,
            mix: Mix::of_packets(mono),
            ..Request::default()
        };
        load(Source::from_bytes("test", bytes), &request)
    }

    /// The first sample that a planted bug changes by more than `tolerance`.
    fn first_wrong(bytes: &[u8], bug: Bug, mono: bool, tolerance: f32) -> Option<usize> {
        let right = decoded(bytes, Choice::Native, mono).unwrap();
        let wrong = planted::with(bug, || decoded(bytes, Choice::Native, mono)).unwrap();
        let planes = right.planes.iter().zip(&wrong.planes);
        let first =
            planes.filter_map(|(a, b)| a.iter().zip(b).position(|(a, b)| part(*a, *b, tolerance)));
        first.min()
    }

    #[test]
    fn a_planted_bug_is_found_at_its_first_sample() {
        for (name, bug) in [
            ("bare.mp3", Bug::MidSide),
            ("stereo.flac", Bug::FlacOutput),
            ("flac.mka", Bug::FlacOutput),
            ("alaw.wav", Bug::ALaw),
        ] {
            let bytes = file(name);
            for mono in [true, false] {
                let sound = decoded(&bytes, Choice::Both, mono).unwrap();
                let native = decoded(&bytes, Choice::Native, mono).unwrap();
                assert_eq!(sound.planes, native.planes, "{name}");
                let tolerance = if bug == Bug::MidSide { 2e-5 } else { 0.0 };
                let first = first_wrong(&bytes, bug, mono, tolerance).map(|at| at as u64);
                // The mean of two channels is made without their difference.
                assert_eq!(first.is_none(), mono && bug == Bug::MidSide, "{name}");
                let found = planted::with(bug, || decoded(&bytes, Choice::Both, mono)).err();
                let told = found
                    .as_ref()
                    .map(|error| (error.kind(), error.source_name()));
                assert_eq!(
                    told,
                    first.map(|_| (ErrorKind::Disagree, Some("test"))),
                    "{name}"
                );
                assert_eq!(
                    found.and_then(|error| error.sample_index()),
                    first,
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn verification_compares_all_of_a_recording() {
        let bytes = file("stereo.flac");
        let request = Request {
            decoder: Choice::Both,
            verify: true,
            duration: Some(0.0),
            ..Request::default()
        };
        let verified = || load(Source::from_bytes("test", &bytes), &request);
        assert!(verified().is_ok());
        let error = planted::with(Bug::FlacOutput, verified).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disagree);
    }

    const NO_NOISE: Terms<'_> = Terms {
        tolerance: 0.01,
        is_mean: false,
        start: 100,
        noise: &[],
    };

    proptest! {
        #[test]
        fn the_first_sample_beyond_the_tolerance_is_told(
            plane in prop::collection::vec(-1.0f32..1.0, 1..3_000),
            at in any::<prop::sample::Index>(),
            off in prop_oneof![0.011f32..2.0, -2.0f32..-0.011],
            slack in -0.009f32..0.009,
        ) {
            let at = at.index(plane.len());
            let mut other: Vec<f32> = plane.iter().map(|sample| sample + slack).collect();
            prop_assert!(samples(from_ref(&plane), from_ref(&other), &NO_NOISE).is_ok());
            other[at] = plane[at] + off * 2.0;
            let error = samples(&[plane], &[other], &NO_NOISE).unwrap_err();
            prop_assert_eq!(error.sample_index(), Some(100 + at as u64));
        }

        #[test]
        fn noise_may_differ_and_no_more(
            seed in 1u32.., at in 0usize..3, gain in prop_oneof![3.0f32..9.0, Just(0.0f32)],
        ) {
            let noise = |seed: u32| -> Vec<f32> {
                let bits = |n: u32| seed.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 8;
                (1..=3 * LEVEL_FRAMES as u32).map(|n| bits(n * n) as f32 / (1 << 23) as f32 - 1.0).collect()
            };
            let (ours, mut theirs) = (noise(seed), noise(seed.rotate_left(9) ^ 5));
            let whole = 0..u64::MAX;
            let terms = Terms { noise: from_ref(&whole), start: 0, ..NO_NOISE };
            prop_assert!(samples(from_ref(&ours), from_ref(&theirs), &terms).is_ok());
            let piece = &mut theirs[at * LEVEL_FRAMES..(at + 1) * LEVEL_FRAMES];
            piece.iter_mut().for_each(|sample| *sample = *sample * gain + 2.0 * (gain == 0.0) as u8 as f32);
            prop_assert!(samples(&[ours], &[theirs], &terms).is_err());
        }
    }
}
