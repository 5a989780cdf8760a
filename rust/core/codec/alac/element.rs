//! One element of a packet: a channel, or a pair of them.

use super::config::Config;
use super::predict::Predictor;
use super::rice::Residuals;
use crate::codec::flac::bits::Bits;
use crate::codec::packet::damaged;
use crate::error::Result;

/// The mode of a predictor that runs over differences.
const DOUBLE: u64 = 15;

/// The fields in front of an element's samples.
struct Head {
    frames: usize,
    /// Low bits of each sample that stand by themselves.
    low_bits: u32,
    is_plain: bool,
}

impl Head {
    fn read(bits: &mut Bits<'_>, config: &Config) -> Result<Self> {
        // Which element of its kind it is says nothing.
        bits.read(4);
        if bits.read(12) != 0 {
            return Err(damaged("an element's unused bits are not zero"));
        }
        let tells_frames = bits.read(1) == 1;
        let low_bits = 8 * bits.read(2) as u32;
        let is_plain = bits.read(1) == 1;
        let frames = if tells_frames {
            bits.read(32)
        } else {
            config.frames.into()
        };
        if frames > config.frames.into() {
            return Err(damaged("a packet has more frames than the header allows"));
        }
        Ok(Self {
            frames: frames as usize,
            low_bits,
            is_plain,
        })
    }
}

/// How the two channels of a pair were mixed.
struct Mixing {
    shift: u32,
    weight: i32,
}

/// Decodes the element after its kind into integers of the stream's depth, one plane or two; gives
/// its frames.
pub(super) fn decode(
    bits: &mut Bits<'_>,
    config: &Config,
    planes: &mut [Vec<i32>],
) -> Result<usize> {
    let head = Head::read(bits, config)?;
    for plane in planes.iter_mut() {
        plane.resize(head.frames, 0);
    }
    if head.is_plain {
        plain(bits, config.bits, planes);
    } else {
        coded(bits, config, &head, planes)?;
    }
    match bits.check() {
        Ok(()) => Ok(head.frames),
        Err(_) => Err(damaged("a packet ends too early")),
    }
}

/// Samples as they are, frame by frame.
fn plain(bits: &mut Bits<'_>, depth: u32, planes: &mut [Vec<i32>]) {
    let mut local = *bits;
    let mut next = || local.read_signed(depth) as i32;
    match planes {
        [one] => one.iter_mut().for_each(|sample| *sample = next()),
        [first, second] => first
            .iter_mut()
            .zip(second)
            .for_each(|(first, second)| (*first, *second) = (next(), next())),
        _ => {}
    }
    *bits = local;
}

fn coded(bits: &mut Bits<'_>, config: &Config, head: &Head, planes: &mut [Vec<i32>]) -> Result<()> {
    let low_bits = head.low_bits;
    // Of a pair one channel may be a difference.
    let depth = config.bits.saturating_sub(low_bits) + planes.len() as u32 - 1;
    if low_bits > 16 || low_bits >= config.bits || depth > 32 {
        return Err(damaged("an element has samples of an impossible depth"));
    }
    let mixing = Mixing {
        shift: bits.read(8) as u32,
        weight: bits.read_signed(8) as i32,
    };
    if mixing.weight != 0 && (mixing.shift > 31 || planes.len() == 1) {
        return Err(damaged("channels are mixed in an impossible way"));
    }
    let mut predictors = [None; 2];
    for slot in predictors.iter_mut().take(planes.len()) {
        *slot = Some(predictor(bits, depth)?);
    }
    let mut low = *bits;
    skip(
        bits,
        head.frames as u64 * u64::from(low_bits) * planes.len() as u64,
    );
    for (plane, (predictor, pace)) in planes.iter_mut().zip(predictors.into_iter().flatten()) {
        if config.most_bits == 0 {
            return Err(damaged("an element's codes have no parameters"));
        }
        let mut residuals = Residuals::new(*bits, config, pace, depth, head.frames);
        predictor.run(&mut residuals, plane);
        if residuals.is_overrun() {
            return Err(damaged("a run of zeros is longer than its packet"));
        }
        *bits = residuals.bits;
    }
    if let [first, second] = planes {
        mixing.undo(first, second);
    }
    append(&mut low, low_bits, planes);
    Ok(())
}

/// One channel's predictor, and the pace of its codes.
fn predictor(bits: &mut Bits<'_>, depth: u32) -> Result<(Predictor, u32)> {
    let mode = bits.read(4);
    if mode != 0 && mode != DOUBLE {
        return Err(damaged("a predictor has an unknown mode"));
    }
    let shift = bits.read(4) as u32;
    let pace = bits.read(3) as u32;
    let order = bits.read(5) as usize;
    let mut coefficients = [0; 32];
    // The newest sample's comes first.
    for coefficient in coefficients.iter_mut().take(order).rev() {
        *coefficient = bits.read_signed(16) as i32;
    }
    let predictor = Predictor {
        coefficients,
        order,
        shift,
        depth,
        is_double: mode == DOUBLE,
    };
    Ok((predictor, pace))
}

fn skip(bits: &mut Bits<'_>, mut count: u64) {
    let mut local = *bits;
    while count > 0 && local.check().is_ok() {
        let step = count.min(56);
        local.read(step as u32);
        count -= step;
    }
    *bits = local;
}

impl Mixing {
    /// To left and right.
    fn undo(&self, first: &mut [i32], second: &mut [i32]) {
        if self.weight == 0 {
            return;
        }
        for (first, second) in first.iter_mut().zip(second) {
            let part = second.wrapping_mul(self.weight) >> (self.shift & 31);
            let left = first.wrapping_add(*second).wrapping_sub(part);
            (*first, *second) = (left, left.wrapping_sub(*second));
        }
    }
}

/// Appends the bits that stand by themselves, frame by frame.
fn append(low: &mut Bits<'_>, low_bits: u32, planes: &mut [Vec<i32>]) {
    if low_bits == 0 {
        return;
    }
    let mut local = *low;
    let mut whole = |high: i32| high << low_bits | local.read(low_bits) as i32;
    match planes {
        [one] => one.iter_mut().for_each(|sample| *sample = whole(*sample)),
        [first, second] => first
            .iter_mut()
            .zip(second)
            .for_each(|(first, second)| (*first, *second) = (whole(*first), whole(*second))),
        _ => {}
    }
}
