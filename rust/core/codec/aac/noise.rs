//! Noise in place of coefficients: ISO/IEC 14496-3, section 4.6.13.

use super::bands::Bands;
use super::channel::{Channel, NOISE, for_each_band};

/// Where the noise of a packet comes from: its own bytes, so that a packet sounds the same wherever
/// decoding began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noise {
    seed: u32,
}

impl Noise {
    /// The noise of `packet`: the hash of Fowler, Noll and Vo over its first bytes, and its length.
    pub(super) fn of(packet: &[u8]) -> Self {
        let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        let seed = packet.iter().take(64).fold(0x811C_9DC5, hash);
        Self {
            seed: seed ^ packet.len() as u32,
        }
    }

    /// Fills the bands of noise of the channel of this number. Where `is_shared` says so of a band, the
    /// noise is that of the channel before, the other one of a pair.
    pub(super) fn fill(
        self,
        channel: &mut Channel,
        number: usize,
        bands: &Bands,
        is_shared: impl Fn(usize) -> bool,
    ) {
        let Channel {
            windows,
            books,
            scales,
            spectrum,
            ..
        } = channel;
        // Nothing in it fails.
        let _ = for_each_band(windows, bands, |place, range| {
            if books[place] == NOISE {
                let number = number - usize::from(is_shared(place));
                let seed = self.band(number, range.start);
                if let Some(band) = spectrum.get_mut(range) {
                    fill(band, seed, scales[place]);
                }
            }
            Ok(())
        });
    }

    /// A seed for the coefficients from `begin` on of a channel.
    fn band(self, channel: usize, begin: usize) -> u32 {
        let mixed = self.seed ^ (channel << 10 | begin) as u32;
        let mixed = (mixed ^ mixed >> 16).wrapping_mul(0x85EB_CA6B);
        let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xC2B2_AE35);
        mixed ^ mixed >> 16
    }
}

/// Random numbers whose squares have the sum `amplitude * amplitude`.
fn fill(band: &mut [f32], mut state: u32, amplitude: f32) {
    for value in band.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = (state as i32) as f32 / (1u32 << 31) as f32;
    }
    let energy: f32 = band.iter().map(|value| value * value).sum();
    let scale = amplitude / energy.sqrt().max(f32::MIN_POSITIVE);
    for value in band {
        *value *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::super::windows::{MAX_BANDS, Windows};
    use super::*;
    use proptest::prelude::*;

    /// A channel of one long window, all of its bands noise of this amplitude.
    fn noisy(amplitude: f32) -> Channel {
        let mut channel = Channel::new();
        channel.windows = Windows::whole(40);
        channel.books = [NOISE; MAX_BANDS];
        channel.scales = [amplitude; MAX_BANDS];
        channel
    }

    #[test]
    fn bands_that_share_their_noise_differ_in_level_only() {
        let bands = Bands::new(44_100, 1024);
        let noise = Noise::of(b"a packet");
        let (mut left, mut right) = (noisy(2.0), noisy(6.0));
        noise.fill(&mut left, 4, &bands, |_| false);
        noise.fill(&mut right, 5, &bands, |band| band % 2 == 0);
        for band in 0..40 {
            let [begin, end] = [0, 1].map(|n| usize::from(bands.of(false)[band + n]));
            let pairs = left.spectrum[begin..end]
                .iter()
                .zip(&right.spectrum[begin..end]);
            let is_same = pairs.clone().all(|(l, r)| (3.0 * l - r).abs() < 1e-4);
            assert_eq!(is_same, band % 2 == 0);
            let energy: f32 = pairs.map(|(_, r)| r * r).sum();
            assert!((energy - 36.0).abs() < 1e-3);
        }
    }

    proptest! {
        #[test]
        fn noise_has_its_energy_and_no_mean(packet in prop::collection::vec(any::<u8>(), 1..90), width in 1usize..33) {
            let noise = Noise::of(&packet);
            let mut band = vec![0.0; 4 * width];
            fill(&mut band, noise.band(1, 64), 300.0);
            let energy: f32 = band.iter().map(|value| value * value).sum();
            prop_assert!((energy / 90_000.0 - 1.0).abs() < 1e-4);
            let mut again = vec![0.0; 4 * width];
            fill(&mut again, Noise::of(&packet).band(1, 64), 300.0);
            prop_assert_eq!(&band, &again);
            fill(&mut again, noise.band(0, 64), 300.0);
            prop_assert_ne!(&band, &again);
        }
    }
}
