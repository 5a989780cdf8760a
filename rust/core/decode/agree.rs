//! What two decoders make of the same recording, side by side.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Samples that are compared by their level, where each decoder draws noise of its own.
const LEVEL_FRAMES: usize = 1024;
/// The means of channels are rounded in the order of the sum.
const MEAN_TOLERANCE: f32 = 1.0 / (1 << 22) as f32;
/// A difference that noise makes is at most the noise of one and of the other: this much of the louder of the two.
const MOST_NOISE: f32 = 1.5;

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
    // Not a number is never within anything.
    !is_same && !((a - b).abs() <= most)
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
    off.sqrt() > MOST_NOISE * a.max(b).sqrt() + quiet.sqrt()
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
