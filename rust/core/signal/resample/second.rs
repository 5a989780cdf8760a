//! The second resampler, rubato's, to compare with: whole signals, one plane at a time.
//!
//! rubato's `Fft` cuts the signal into blocks that are whole at both rates, and its delay is a whole number of samples
//! only where the blocks are even at both.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _, Sample, WindowFunction};

use super::{Quality, gcd, resampled_frames};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::room;
use crate::interrupt;

/// Appends `plane` at another rate: `ceil(frames * to / from)` samples, aligned to the sample.
///
/// # Errors
/// [`ErrorKind::Limit`] where memory cannot hold them.
pub(super) fn convert(
    plane: &[f32],
    rates: (u32, u32),
    quality: Quality,
    samples: &mut Vec<f32>,
) -> Result<()> {
    match quality {
        Quality::Fast | Quality::High => run::<f32>(plane, rates, quality, samples, |s| s, |s| s),
        Quality::Best => run::<f64>(plane, rates, quality, samples, f64::from, |s| s as f32),
    }
}

/// Input samples of a block: an even multiple of the reduced rate, and so that the lower rate has enough of them for
/// a filter as steep as `quality` asks.
fn block((from, to): (u32, u32), quality: Quality) -> usize {
    let divisor = gcd(from, to);
    let (from, lower) = ((from / divisor) as usize, (from.min(to) / divisor) as usize);
    let least: usize = match quality {
        Quality::Fast => 512,
        Quality::High => 2048,
        Quality::Best => 8192,
    };
    from * least.div_ceil(lower).next_power_of_two().max(2)
}

fn run<T: Sample>(
    plane: &[f32],
    (from, to): (u32, u32),
    quality: Quality,
    samples: &mut Vec<f32>,
    wide: impl Fn(f32) -> T,
    narrow: impl Fn(T) -> f32,
) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidArgument, format!("rubato: {error}"))
    };
    let (size, window) = (block((from, to), quality), WindowFunction::BlackmanHarris2);
    let (rate, target) = (from as usize, to as usize);
    let mut fft = Fft::<T>::new_custom(rate, target, size, 1, 1, window, FixedSync::Input)
        .map_err(|error| failed(&error))?;
    let made = resampled_frames(plane.len() as u64, from, to) as usize;
    let (mut skip, mut left) = (fft.output_delay(), made);
    let zero = wide(0.0);
    let (mut input, mut output) = (Vec::new(), Vec::new());
    room::resize(&mut input, fft.input_frames_max(), zero)?;
    room::resize(&mut output, fft.output_frames_max(), zero)?;
    let mut rest = plane;
    while left > 0 {
        interrupt::check()?;
        let (piece, after) = rest.split_at(fft.input_frames_next().min(rest.len()));
        rest = after;
        for (place, sample) in input.iter_mut().zip(piece) {
            *place = wide(*sample);
        }
        let indexing = Indexing {
            partial_len: Some(piece.len()),
            ..Indexing::default()
        };
        let (most_in, most_out) = (input.len(), output.len());
        let from = SequentialSlice::new(&input, 1, most_in).map_err(|error| failed(&error))?;
        let mut into =
            SequentialSlice::new_mut(&mut output, 1, most_out).map_err(|error| failed(&error))?;
        let (_, count) = fft
            .process_into_buffer(&from, &mut into, Some(&indexing))
            .map_err(|error| failed(&error))?;
        let fresh = output.get(skip.min(count)..count).unwrap_or_default();
        skip -= skip.min(count);
        let taken = fresh.len().min(left);
        samples.extend(fresh.iter().take(taken).map(|sample| narrow(*sample)));
        left -= taken;
    }
    Ok(())
}
