//! Decoded numbers to samples: what each type of samples makes of them.

use super::header::Kind;
use crate::codec::flac::Fault;
use crate::codec::sample::{S16, a_law, mu_law};

/// Bit shifts that the codes of mu-law have an order for.
const MAX_MU_LAW_SHIFT: u32 = 12;
const MU_LAW_MINUS_ZERO: u8 = 0x7F;

/// How numbers become samples.
pub(super) struct Values {
    kind: Kind,
    shift: u32,
    /// The samples of mu-law's and A-law's codes, by the number and 129: of each number that there is.
    table: Vec<f32>,
}

impl Values {
    pub(super) fn new(kind: Kind) -> Self {
        let mut values = Self {
            kind,
            shift: 0,
            table: Vec::new(),
        };
        values.set_shift(0);
        values
    }

    pub(super) fn takes_shift(&self, shift: u32) -> bool {
        let is_mu_law = matches!(self.kind, Kind::MuLawOne | Kind::MuLawTwo);
        !is_mu_law || shift <= MAX_MU_LAW_SHIFT
    }

    pub(super) fn set_shift(&mut self, shift: u32) {
        self.shift = shift;
        let codes = || mu_law_order(shift).map(|code| f32::from(mu_law(code)) * S16);
        self.table = match self.kind {
            Kind::MuLawOne => codes().to_vec(),
            Kind::MuLawTwo => {
                // Its own number for the negative zero moves those below it by one.
                let (below, above) = (codes(), codes());
                let minus_zero = f32::from(mu_law(MU_LAW_MINUS_ZERO)) * S16;
                let below = below.into_iter().take(128);
                let above = above.into_iter().skip(128);
                below.chain([minus_zero]).chain(above).collect()
            }
            _ => Vec::new(),
        };
    }

    /// The samples of `numbers` in place of what `plane` held.
    pub(super) fn write(&self, numbers: &[i32], plane: &mut Vec<f32>) -> Result<(), Fault> {
        plane.clear();
        let shift = self.shift;
        let shifted = move |number: &i32| number.wrapping_shl(shift);
        let clamped = move |number: &i32, least: i32, most: i32| shifted(number).clamp(least, most);
        let numbers = numbers.iter();
        match self.kind {
            Kind::Signed16 => {
                plane.extend(numbers.map(|n| clamped(n, -32_768, 32_767) as f32 * S16));
            }
            Kind::Unsigned16 => {
                let sample = |n: &i32| (clamped(n, 0, 65_535) - 32_768) as f32 * S16;
                plane.extend(numbers.map(sample));
            }
            Kind::Signed8 => plane.extend(numbers.map(|n| clamped(n, -128, 127) as f32 / 128.0)),
            Kind::Unsigned8 => {
                let sample = |n: &i32| (clamped(n, 0, 255) - 128) as f32 / 128.0;
                plane.extend(numbers.map(sample));
            }
            Kind::MuLawValues => plane.extend(numbers.map(|n| mu_law_near(thirteen(shifted(n))))),
            Kind::ALawValues => plane.extend(numbers.map(|n| a_law_near(thirteen(shifted(n))))),
            Kind::ALawCodes => plane.extend(numbers.map(|n| a_law_code(shifted(n)))),
            Kind::MuLawOne | Kind::MuLawTwo => return self.look_up(numbers.as_slice(), plane),
        }
        Ok(())
    }

    fn look_up(&self, numbers: &[i32], plane: &mut Vec<f32>) -> Result<(), Fault> {
        // The last 128 are those of 0 and more.
        let below = self.table.len() as i32 - 128;
        for number in numbers {
            let place = usize::try_from(number.saturating_add(below)).ok();
            let sample = place.and_then(|place| self.table.get(place));
            let reason = "a number in the Shorten stream is no code of mu-law";
            plane.push(*sample.ok_or(Fault::Damaged(reason))?);
        }
        Ok(())
    }
}

/// The codes of mu-law in the order of their numbers, of -128 first.
///
/// After a shift those codes come first, on both sides of zero, at which the linear values reach another multiple of
/// the shifted step: only they occur then. All others follow.
fn mu_law_order(shift: u32) -> [u8; 256] {
    let is_step = |code: u8| code == 0 || step(code, shift) != step(code - 1, shift);
    let minus_steps = |code: u8| code > 0 && (is_step(code) || code == 127);
    let sorted = |is_first: &dyn Fn(u8) -> bool| -> Vec<u8> {
        let (first, rest): (Vec<u8>, Vec<u8>) = (0..128).partition(|code| is_first(*code));
        first.into_iter().chain(rest).collect()
    };
    let (minus, plus) = (sorted(&minus_steps), sorted(&is_step));
    let minus = minus.into_iter().rev().map(|code| 127 - code);
    let all = minus.chain(plus.into_iter().map(|code| 255 - code));
    let mut order = [0; 256];
    order.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    order
}

/// Which multiple of a shifted step the magnitude `code` reaches, 0 to 127 from silence on.
fn step(code: u8, shift: u32) -> u32 {
    let magnitude = ((2 * u32::from(code & 15) + 33) << (code >> 4)) - 32;
    magnitude >> (shift + 1)
}

/// Values of companded samples have 13 bits, of which shifts leave 16.
fn thirteen(number: i32) -> i32 {
    number.wrapping_shl(3).clamp(-32_768, 32_767)
}

/// The sample of the mu-law code for `value`: ITU-T G.711, cut towards zero.
fn mu_law_near(value: i32) -> f32 {
    const BIAS: i32 = 0x84;
    let size = value.abs().min(32_635) + BIAS;
    let segment = size.ilog2().saturating_sub(7);
    let step = (size >> (segment + 3)) & 15;
    let code = !((segment as u8) << 4 | step as u8) & 0x7F;
    let sign = if value < 0 { 0 } else { 0x80 };
    f32::from(mu_law(code | sign)) * S16
}

/// The sample of the A-law code for `value`.
fn a_law_near(value: i32) -> f32 {
    let size = if value < 0 { -value - 1 } else { value }.min(32_767);
    let segment = size.max(1).ilog2().saturating_sub(7);
    let shift = segment.max(1) + 3;
    let code = (segment as u8) << 4 | (size >> shift & 15) as u8;
    let sign = if value < 0 { 0 } else { 0x80 };
    f32::from(a_law((code | sign) ^ 0x55)) * S16
}

/// The sample of an A-law code by its number in the order of values.
fn a_law_code(number: i32) -> f32 {
    let code = match number {
        ..0 => 127i32.wrapping_sub(number) ^ 0xD5,
        _ => number.wrapping_add(128) ^ 0x55,
    };
    f32::from(a_law(code as u8)) * S16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_after_a_shift_have_the_order_of_the_format() {
        // Numbers from -8 to 7, as the author's tables have them.
        let rows: [(u32, [u8; 16]); 6] = [
            (
                0,
                [
                    119, 120, 121, 122, 123, 124, 125, 126, 255, 254, 253, 252, 251, 250, 249, 248,
                ],
            ),
            (
                1,
                [
                    111, 113, 115, 117, 119, 121, 123, 125, 255, 253, 251, 249, 247, 245, 243, 241,
                ],
            ),
            (
                5,
                [
                    62, 65, 69, 73, 77, 83, 91, 103, 255, 231, 219, 211, 205, 201, 197, 193,
                ],
            ),
            (
                7,
                [
                    31, 35, 39, 43, 47, 54, 62, 77, 255, 205, 190, 182, 175, 171, 167, 163,
                ],
            ),
            (
                9,
                [
                    0, 3, 7, 11, 15, 23, 31, 47, 255, 175, 159, 151, 143, 139, 135, 131,
                ],
            ),
            (
                12,
                [
                    121, 122, 123, 124, 125, 126, 127, 0, 255, 254, 253, 252, 251, 250, 249, 248,
                ],
            ),
        ];
        for (shift, row) in rows {
            assert_eq!(
                mu_law_order(shift).get(120..136),
                Some(row.as_slice()),
                "{shift}"
            );
        }
        for shift in 0..=MAX_MU_LAW_SHIFT {
            let mut order = mu_law_order(shift);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..=255), "{shift}");
        }
    }

    #[test]
    fn values_of_13_bits_come_back_to_their_codes() {
        for code in 0..=255 {
            let (mu, a) = (i32::from(mu_law(code)), i32::from(a_law(code)));
            // The zeros of mu-law are one value.
            assert_eq!(mu_law_near(thirteen(mu >> 3)), mu as f32 * S16, "{code}");
            assert_eq!(a_law_near(thirteen(a >> 3)), a as f32 * S16, "{code}");
        }
        let codes: std::collections::BTreeSet<i32> = (-128..128)
            .map(|number| (a_law_code(number) * 32_768.0) as i32)
            .collect();
        assert_eq!(codes.len(), 256);
        assert!((-128..127).all(|number| a_law_code(number) < a_law_code(number + 1)));
    }
}
