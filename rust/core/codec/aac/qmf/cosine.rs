//! The cosine transform of 64 points (DCT-IV) of eight signals at once, by a complex transform of 32 points.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::lanes::{Complex, Lanes};

pub(super) const POINTS: usize = 64;
const HALF: usize = POINTS / 2;

struct Plan {
    /// Before and after the complex transform.
    twiddles: [[f32; 2]; HALF],
    /// The powers of the 32nd root of one that the first stage needs, and of the 8th.
    first: [[[f32; 2]; 3]; 8],
    second: [[[f32; 2]; 3]; 2],
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let turn = |part: f64| {
        let angle = -2.0 * PI * part;
        [angle.cos() as f32, angle.sin() as f32]
    };
    let powers =
        |n: usize, of: usize| std::array::from_fn(|k| turn((n * (k + 1)) as f64 / of as f64));
    Plan {
        twiddles: std::array::from_fn(|n| turn((8 * n + 1) as f64 / (16 * POINTS) as f64)),
        first: std::array::from_fn(|n| powers(n, 32)),
        second: std::array::from_fn(|n| powers(n, 8)),
    }
});

/// Replaces `x[n]` by the sum of `x[k] * cos(PI / 64 * (n + 1/2) * (k + 1/2))`.
#[inline(always)]
pub(super) fn transform(x: &mut [Lanes; POINTS]) {
    let plan = &*PLAN;
    let mut z = [Complex::default(); HALF];
    for n in 0..HALF {
        let input = Complex {
            re: x[2 * n],
            im: x[POINTS - 1 - 2 * n],
        };
        z[n] = input.times(plan.twiddles[n]);
    }
    fourier(&mut z, plan);
    for n in 0..HALF {
        // Where the transform leaves frequency `n`.
        let place = 8 * (n & 3) + 2 * (n >> 2 & 3) + (n >> 4);
        let output = z[place].times(plan.twiddles[n]);
        x[2 * n] = output.re;
        x[POINTS - 1 - 2 * n] = Lanes::default() - output.im;
    }
}

/// By fours, fours and twos; the results are out of order.
#[inline(always)]
fn fourier(z: &mut [Complex; HALF], plan: &Plan) {
    for n in 0..8 {
        by_four(z, n, 8, &plan.first[n]);
    }
    for group in 0..4 {
        for n in 0..2 {
            by_four(z, 8 * group + n, 2, &plan.second[n]);
        }
    }
    for pair in z.as_chunks_mut::<2>().0 {
        *pair = [pair[0] + pair[1], pair[0] - pair[1]];
    }
}

#[inline(always)]
fn by_four(z: &mut [Complex; HALF], at: usize, step: usize, turns: &[[f32; 2]; 3]) {
    let [a, b, c, d] = [z[at], z[at + step], z[at + 2 * step], z[at + 3 * step]];
    let (even, odd) = (a + c, b + d);
    let (difference, turned) = (a - c, (b - d).turned());
    z[at] = even + odd;
    z[at + step] = (difference + turned).times(turns[0]);
    z[at + 2 * step] = (even - odd).times(turns[1]);
    z[at + 3 * step] = (difference - turned).times(turns[2]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_cosines() {
        let signal = |lane: usize, k: usize| ((k * k + 7 * lane * k + lane) % 23) as f32 - 11.0;
        let mut x = std::array::from_fn(|k| Lanes(std::array::from_fn(|lane| signal(lane, k))));
        transform(&mut x);
        for (n, lanes) in x.iter().enumerate() {
            for (lane, ours) in lanes.0.iter().enumerate() {
                let angle = |k: usize| PI / 64.0 * (n as f64 + 0.5) * (k as f64 + 0.5);
                let sum = |sum: f64, k: usize| sum + f64::from(signal(lane, k)) * angle(k).cos();
                let exact = (0..POINTS).fold(0.0, sum);
                assert!((f64::from(*ours) - exact).abs() < 1e-3);
            }
        }
    }
}
