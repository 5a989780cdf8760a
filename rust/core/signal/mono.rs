//! The mono rule: the mean of all channels, summed in their order in `f32`, as NumPy's `mean(axis=...)` does for up
//! to seven channels. It is taken before anything is resampled.
//!
//! Transforms are linear: Vorbis and Layer III of MPEG take the mean of spectra, which saves the transforms of the
//! other channels.

/// The mean of two samples.
#[inline(always)]
pub(crate) fn of_pair(left: f32, right: f32) -> f32 {
    (left + right) * 0.5
}

/// The mean of the samples of one frame, one a channel.
#[inline(always)]
pub(crate) fn of_frame(samples: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = samples.len() as f32;
    samples.fold(0.0, |sum, sample| sum + sample) / count
}

/// Appends the means of planes of `length` samples each, of which there is at least one. A plane is added at a time:
/// such loops vectorise.
pub(crate) fn extend<'s, S: Copy + 's>(
    mean: &mut Vec<f32>,
    planes: impl ExactSizeIterator<Item = &'s [S]>,
    length: usize,
    sample: impl Fn(S) -> f32,
) {
    let (count, begin) = (planes.len() as f32, mean.len());
    mean.resize(begin + length, 0.0);
    let sums = mean.get_mut(begin..).unwrap_or_default();
    for plane in planes {
        let both = sums.iter_mut().zip(plane);
        both.for_each(|(sum, value)| *sum += sample(*value));
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_three_ways_give_the_same_bits(
            planes in (1usize..9, 0usize..40).prop_flat_map(|(count, length)| {
                prop::collection::vec(prop::collection::vec(-1f32..1.0, length), count)
            }),
        ) {
            let length = planes[0].len();
            let frame = |at: usize| of_frame(planes.iter().map(|plane| plane[at]));
            let expected: Vec<f32> = (0..length).map(frame).collect();
            let mut mean = vec![7.0];
            extend(&mut mean, planes.iter().map(Vec::as_slice), length, |sample| sample);
            prop_assert_eq!(&mean[1..], &expected);
            if let [left, right] = planes.as_slice() {
                let pairs = left.iter().zip(right).map(|(left, right)| of_pair(*left, *right));
                prop_assert_eq!(pairs.collect::<Vec<f32>>(), expected);
            }
        }
    }
}
