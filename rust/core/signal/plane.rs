//! Long planes of samples: memory in large pages, and stores that go around the cache.
//!
//! Two minutes of samples are 20 MB. A new page of 4 KiB costs more to get than to fill, and a plane that
//! does not fit the cache anyway is read into it for nothing before it is written.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::guard::room;

/// So many samples are written around the cache. Shorter planes are still in it when they are used.
#[cfg(target_arch = "x86_64")]
const STREAMED: usize = 2 << 20;
/// So many bytes and more are worth large pages, as in NumPy.
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 4 << 20;
/// So many bytes and more are mostly fresh from the system; below, the allocator has them from before.
#[cfg(target_os = "linux")]
const FRESH_BYTES: usize = 128 << 10;

/// Samples of one plane at most: a day at 48 kHz. What is longer is read range by range.
const MAX_SAMPLES: u64 = 1 << 32;

/// `count` empty planes, each with room for `capacity` samples.
///
/// # Errors
/// As for [`reserve`].
pub(crate) fn with_capacity(count: usize, capacity: usize) -> Result<Vec<Vec<f32>>> {
    let mut planes = Vec::new();
    room::resize(&mut planes, count, Vec::new())?;
    reserve(&mut planes, capacity)?;
    planes.iter().for_each(prepare);
    Ok(planes)
}

/// Makes room for `more` samples in each of `planes`, which are of one length.
///
/// # Errors
/// [`ErrorKind::Limit`] where memory cannot hold them, or a plane gets longer than any may be.
#[inline]
pub(crate) fn reserve(planes: &mut [Vec<f32>], more: usize) -> Result<()> {
    let longest = planes.first().map_or(0, Vec::len) as u64;
    if longest.saturating_add(more as u64) > MAX_SAMPLES {
        return Err(too_long());
    }
    room::reserve_each(planes, more)
}

/// Appends `more` samples of silence to each of `planes`.
///
/// # Errors
/// As for [`reserve`].
pub(crate) fn push_silence(planes: &mut [Vec<f32>], more: usize) -> Result<()> {
    reserve(planes, more)?;
    for plane in planes {
        plane.resize(plane.len() + more, 0.0);
    }
    Ok(())
}

#[cold]
fn too_long() -> Error {
    let reason = format!("the clip has more than {MAX_SAMPLES} samples: read it in ranges");
    Error::new(ErrorKind::Limit, reason)
}

/// Keeps samples `range` alone, cut at the end.
pub(crate) fn slice(plane: &mut Vec<f32>, range: &Range<u64>) {
    let place = |sample: u64| sample.min(plane.len() as u64) as usize;
    let (start, end) = (place(range.start), place(range.end));
    plane.truncate(end.max(start));
    plane.drain(..start);
}

/// Gets the pages of a new plane that will be filled: large ones, or all at once, for half of what it costs
/// one by one.
#[cfg(target_os = "linux")]
pub(crate) fn prepare(plane: &Vec<f32>) {
    const PAGE: usize = 4096;
    let bytes = 4 * plane.capacity();
    let advice = match bytes {
        0..FRESH_BYTES => return,
        FRESH_BYTES..LARGE_BYTES => libc::MADV_POPULATE_WRITE,
        LARGE_BYTES.. => libc::MADV_HUGEPAGE,
    };
    let skip = plane.as_ptr().cast::<u8>().align_offset(PAGE);
    let length = bytes.saturating_sub(skip) / PAGE * PAGE;
    // SAFETY: the range lies inside of an allocation of our own, and neither advice changes any content.
    // Where the system does not take it (populating: Linux before 5.14) nothing is lost.
    unsafe {
        let start = plane.as_ptr().cast_mut().cast::<u8>().add(skip);
        libc::madvise(start.cast(), length, advice);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prepare(_: &Vec<f32>) {}

/// Full scale of 16 bits, halved for the mean of two: both are powers of two, the mean is exact.
const HALF_SCALE: f32 = 0.5 / 32_768.0;

/// Appends the means of frames of two little-endian 16-bit samples, for which there is room.
pub(crate) fn extend_means16(plane: &mut Vec<f32>, mut frames: &[[u8; 4]]) {
    #[cfg(target_arch = "x86_64")]
    if plane.capacity() >= STREAMED {
        let head = plane.spare_capacity_mut().as_ptr().align_offset(16);
        let (before, rest) = frames.split_at(head.min(frames.len()));
        plane.extend(before.iter().map(mean16));
        frames = stream_means16(plane, rest);
    }
    plane.extend(frames.iter().map(mean16));
}

/// A frame is one word, whose halves are shifted out of it.
fn mean16(frame: &[u8; 4]) -> f32 {
    let word = i32::from_le_bytes(*frame);
    ((word << 16 >> 16) + (word >> 16)) as f32 * HALF_SCALE
}

/// The same around the cache, by fours, for a plane that goes on at a multiple of 16 bytes; gives what is left.
#[cfg(target_arch = "x86_64")]
fn stream_means16<'f>(plane: &mut Vec<f32>, frames: &'f [[u8; 4]]) -> &'f [[u8; 4]] {
    use std::arch::x86_64::{
        _mm_cvtepi32_ps, _mm_loadu_si128, _mm_madd_epi16, _mm_mul_ps, _mm_set1_epi16, _mm_set1_ps,
        _mm_sfence, _mm_stream_ps,
    };

    let (fours, rest) = frames.as_chunks::<4>();
    plane.reserve(frames.len());
    let spare = plane.spare_capacity_mut();
    if !spare.as_ptr().cast::<u128>().is_aligned() {
        return frames;
    }
    let places = spare.as_chunks_mut::<4>().0.iter_mut();
    // SAFETY: SSE2 belongs to the architecture. Each load is of the 16 bytes of four frames, and each store to
    // four samples of the plane at a multiple of 16 bytes; there was room for all of them, so that
    // each of the samples that the plane gains is written. The fence orders these stores before whatever tells
    // another thread of them.
    unsafe {
        let (ones, scale) = (_mm_set1_epi16(1), _mm_set1_ps(HALF_SCALE));
        for (place, four) in places.zip(fours) {
            let sums = _mm_madd_epi16(_mm_loadu_si128(four.as_ptr().cast()), ones);
            let means = _mm_mul_ps(_mm_cvtepi32_ps(sums), scale);
            _mm_stream_ps(place.as_mut_ptr().cast(), means);
        }
        _mm_sfence();
        plane.set_len(plane.len() + 4 * fours.len());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_long_plane_gets_the_means_of_the_samples(
            pieces in prop::collection::vec(prop::collection::vec(any::<[i16; 2]>(), 0..70), 0..12),
        ) {
            let (mut long, mut short, mut expected) = (Vec::with_capacity(2 << 20), Vec::new(), Vec::new());
            for piece in &pieces {
                let frames: Vec<[u8; 4]> = piece
                    .iter()
                    .map(|[left, right]| {
                        let ([a, b], [c, d]) = (left.to_le_bytes(), right.to_le_bytes());
                        [a, b, c, d]
                    })
                    .collect();
                extend_means16(&mut long, &frames);
                extend_means16(&mut short, &frames);
                let float = |sample: i16| f32::from(sample) / 32_768.0;
                expected.extend(piece.iter().map(|[left, right]| (float(*left) + float(*right)) * 0.5));
            }
            prop_assert_eq!(&long, &expected);
            prop_assert_eq!(&short, &expected);
        }
    }
}
