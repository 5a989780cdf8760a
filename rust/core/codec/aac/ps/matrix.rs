//! What both signals are mixed by, for all that the parameters can say: ISO/IEC 14496-3, section 8.6.4.6.2.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_PI_2, PI, SQRT_2};
use std::sync::LazyLock;

/// Of the first signal to left and right, and of the second.
pub(super) type Matrix = [f32; 4];

/// Steps of intensity to either side of the middle, of coarse steps and of fine ones.
const COARSE: i32 = 7;
const FINE: i32 = 15;

/// By the intensity, coarse and then fine, and by the coherence.
type Table = [[Matrix; 8]; (2 * COARSE + 1 + 2 * FINE + 1) as usize];

struct Tables {
    /// Mixing of the kinds `Ra` and `Rb`.
    plain: Table,
    turned: Table,
    /// By three phases, the oldest first.
    phases: [[f32; 2]; 512],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    plain: table(plain),
    turned: table(turned),
    phases: std::array::from_fn(phase),
});

pub(super) fn matrix(is_fine: bool, turns: bool, intensity: i8, coherence: i8) -> Matrix {
    let place = match is_fine {
        false => i32::from(intensity) + COARSE,
        true => i32::from(intensity) + 2 * COARSE + 1 + FINE,
    };
    let table = if turns { &TABLES.turned } else { &TABLES.plain };
    let row = table.get(place as usize).unwrap_or(&table[COARSE as usize]);
    row[(coherence & 7) as usize]
}

/// The cosine and the sine of the phase `history & 7`, smoothed with the two before it.
pub(super) fn smooth_phase(history: usize) -> [f32; 2] {
    TABLES.phases[history & 511]
}

fn table(of: fn(f32, usize) -> Matrix) -> Table {
    // Table 8.25 and 8.26, in decibels.
    const COARSE_STEPS: [f32; 7] = [2.0, 4.0, 7.0, 10.0, 14.0, 18.0, 25.0];
    const FINE_STEPS: [f32; 15] = [
        2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 19.0, 22.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0,
    ];
    let ratio = |steps: &[f32], step: i32| {
        let decibels = match step {
            0 => 0.0,
            step => steps[step.unsigned_abs() as usize - 1] * step.signum() as f32,
        };
        10.0f32.powf(decibels / 20.0)
    };
    let coarse = (-COARSE..=COARSE).map(|step| ratio(&COARSE_STEPS, step));
    let fine = (-FINE..=FINE).map(|step| ratio(&FINE_STEPS, step));
    let ratios: Vec<f32> = coarse.chain(fine).collect();
    std::array::from_fn(|row| std::array::from_fn(|coherence| of(ratios[row], coherence)))
}

fn plain(ratio: f32, coherence: usize) -> Matrix {
    /// The arcs of table 8.28's coherences.
    const ANGLES: [f32; 8] = [
        0.0,
        0.356_855_27,
        0.571_334_66,
        0.926_144_7,
        1.194_326_3,
        FRAC_PI_2,
        2.200_617,
        PI,
    ];
    let first = SQRT_2 / (1.0 + ratio * ratio).sqrt();
    let second = ratio * first;
    let alpha = 0.5 * ANGLES[coherence];
    let beta = alpha * (first - second) * FRAC_1_SQRT_2;
    [
        second * (beta + alpha).cos(),
        first * (beta - alpha).cos(),
        second * (beta + alpha).sin(),
        first * (beta - alpha).sin(),
    ]
}

fn turned(ratio: f32, coherence: usize) -> Matrix {
    const COHERENCES: [f32; 8] = [1.0, 0.937, 0.841_18, 0.600_92, 0.367_64, 0.0, -0.589, -1.0];
    let rho = COHERENCES[coherence].max(0.05);
    let mut alpha = 0.5 * (2.0 * ratio * rho).atan2(ratio * ratio - 1.0);
    if alpha < 0.0 {
        alpha += FRAC_PI_2;
    }
    let sum = ratio + 1.0 / ratio;
    let mu = (1.0 + (4.0 * rho * rho - 4.0) / (sum * sum))
        .max(0.0)
        .sqrt();
    let gamma = ((1.0 - mu) / (1.0 + mu)).max(0.0).sqrt().atan();
    [
        SQRT_2 * alpha.cos() * gamma.cos(),
        SQRT_2 * alpha.sin() * gamma.cos(),
        -SQRT_2 * alpha.sin() * gamma.sin(),
        SQRT_2 * alpha.cos() * gamma.sin(),
    ]
}

fn phase(history: usize) -> [f32; 2] {
    let part = |shift: usize, weight: f64| {
        let angle = f64::from(PI) / 4.0 * (history >> shift & 7) as f64;
        [weight * angle.cos(), weight * angle.sin()]
    };
    let parts = [part(6, 0.25), part(3, 0.5), part(0, 1.0)];
    let [re, im] = [0, 1].map(|n| parts.iter().map(|part| part[n]).sum::<f64>());
    let length = (re * re + im * im).sqrt();
    [(re / length) as f32, (im / length) as f32]
}
