//! What every processor must agree on, and the tables.

use super::*;
use proptest::prelude::*;

fn features(level: Level, wave: &[f32], padded: usize) -> Vec<u32> {
    let frames = LogMel::frames(padded);
    let mut out = vec![0.0; 80 * frames];
    let rows = Rows {
        out: &mut out,
        stride: frames,
        frames,
    };
    let signal = Padded::new(wave, padded);
    LogMel::new(80)
        .expect("80 bands")
        .features(level, signal, rows)
        .expect("nobody stops it");
    out.into_iter().map(f32::to_bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn processors_agree_to_the_last_bit(
        wave in prop::collection::vec(-1.0f32..1.0, 0..6000),
        scale in prop::sample::select(vec![1.0f32, 1e-5, 1e4]),
        padded in 160usize..8000,
    ) {
        let wave: Vec<f32> = wave.into_iter().map(|sample| sample * scale).collect();
        let expected = features(Level::Baseline, &wave, padded);
        for level in Level::all() {
            prop_assert!(features(level, &wave, padded) == expected, "{:?}", level);
        }
    }

    #[test]
    fn logarithms_are_those_of_the_standard_library(exponent in -10.0f64..80.0) {
        let value = 10f64.powf(exponent);
        let error = f64::from(log::log10(value)) - value.log10();
        let rounding = f64::from(f32::EPSILON) / 2.0 * exponent.abs().max(1e-2);
        prop_assert!(error.abs() < rounding + 1e-9, "{}", error);
    }
}

#[test]
fn logarithms_are_right_where_the_factor_changes() {
    for exponent in -33..100 {
        let seam = 2f64.powi(exponent) * std::f64::consts::FRAC_1_SQRT_2;
        for value in [seam.next_down(), seam, seam.next_up(), 2f64.powi(exponent)] {
            assert_eq!(log::log10(value), value.log10() as f32);
        }
    }
}

#[test]
fn nothing_finite_is_taken_for_infinite() {
    let largest = f64::from(f32::MAX) * N_FFT as f64;
    assert!(log::log10(largest * largest) < NONFINITE);
    for value in [f64::INFINITY, f64::NAN, -f64::NAN] {
        assert!(log::log10(value) > NONFINITE);
    }
}
