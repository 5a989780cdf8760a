//! Long planes of samples: memory in large pages, and stores that go around the cache.
//!
//! Two minutes of samples are 20 MB. A new page of 4 KiB costs more to get than to fill, and a plane that
//! does not fit the cache anyway is read into it for nothing before it is written.
#![allow(unsafe_code)]

/// So many samples are written around the cache. Shorter planes are still in it when they are used.
const STREAMED: usize = 2 << 20;
/// So many bytes and more are worth large pages, as in NumPy.
#[cfg(target_os = "linux")]
const LARGE_BYTES: usize = 4 << 20;

/// An empty plane with room for `capacity` samples.
pub(crate) fn with_capacity(capacity: usize) -> Vec<f32> {
    let plane = Vec::with_capacity(capacity);
    advise_large_pages(&plane);
    plane
}

#[cfg(target_os = "linux")]
fn advise_large_pages(plane: &Vec<f32>) {
    const PAGE: usize = 4096;
    let bytes = 4 * plane.capacity();
    if bytes < LARGE_BYTES {
        return;
    }
    let skip = plane.as_ptr().cast::<u8>().align_offset(PAGE);
    let length = bytes.saturating_sub(skip) / PAGE * PAGE;
    // SAFETY: the range lies inside of an allocation of our own, and the advice changes no content.
    // Where the system does not take it nothing is lost.
    unsafe {
        let start = plane.as_ptr().cast_mut().cast::<u8>().add(skip);
        libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_large_pages(_: &Vec<f32>) {}

/// Appends `sample` of each item; around the cache where the plane is a long one.
#[inline]
pub(crate) fn extend<T>(plane: &mut Vec<f32>, items: &[T], sample: impl Fn(&T) -> f32 + Copy) {
    #[cfg(target_arch = "x86_64")]
    if plane.capacity() >= STREAMED {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { streamed_avx2(plane, items, sample) };
        }
        return streamed(plane, items, sample);
    }
    plane.extend(items.iter().map(sample));
}

/// Samples that are stored at a time.
#[cfg(target_arch = "x86_64")]
const BLOCK: usize = 8;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn streamed_avx2<T>(plane: &mut Vec<f32>, items: &[T], sample: impl Fn(&T) -> f32 + Copy) {
    streamed(plane, items, sample);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn streamed<T>(plane: &mut Vec<f32>, items: &[T], sample: impl Fn(&T) -> f32 + Copy) {
    use std::arch::x86_64::{_mm_loadu_ps, _mm_sfence, _mm_stream_ps};

    plane.reserve(items.len());
    let head = plane.spare_capacity_mut().as_ptr().align_offset(4 * BLOCK);
    let (head, body) = items.split_at(head.min(items.len()));
    plane.extend(head.iter().map(sample));
    let (blocks, tail) = body.as_chunks::<BLOCK>();
    let spare = plane.spare_capacity_mut().as_chunks_mut::<BLOCK>().0;
    for (place, block) in spare.iter_mut().zip(blocks) {
        let values: [f32; BLOCK] = std::array::from_fn(|index| sample(&block[index]));
        let place = place.as_mut_ptr().cast::<f32>();
        // SAFETY: both halves of `place` and `values` are four samples, those of `place` on a boundary
        // of 16 bytes: the head was as long as to get there, and if it was not there are no blocks.
        unsafe {
            _mm_stream_ps(place, _mm_loadu_ps(values.as_ptr()));
            _mm_stream_ps(place.add(4), _mm_loadu_ps(values.as_ptr().add(4)));
        }
    }
    // SAFETY: room for all items was reserved, and the loop has written each place of the blocks. The
    // fence orders these stores before whatever tells another thread of them.
    unsafe {
        _mm_sfence();
        plane.set_len(plane.len() + BLOCK * blocks.len());
    }
    plane.extend(tail.iter().map(sample));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_long_plane_gets_what_a_short_one_gets(
            pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..70), 0..12),
        ) {
            let sample = |item: &i16| f32::from(*item) * 0.5;
            let (mut long, mut short) = (with_capacity(STREAMED), Vec::new());
            for piece in &pieces {
                extend(&mut long, piece, sample);
                extend(&mut short, piece, sample);
            }
            prop_assert_eq!(&long, &short);
            #[cfg(target_arch = "x86_64")]
            {
                let mut scalar = Vec::new();
                pieces.iter().for_each(|piece| streamed(&mut scalar, piece, sample));
                prop_assert_eq!(&scalar, &short);
            }
        }
    }
}
