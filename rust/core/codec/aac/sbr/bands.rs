//! Tables of bands: ISO/IEC 14496-3, sections 4.6.18.3.2 and 4.6.18.6.3.

use super::super::Fault;
use super::header::{Header, Spectrum};

/// Bands of the filter bank that can be replicated at most.
pub(super) const MOST_BANDS: usize = 48;
/// Bands of noise at most.
pub(super) const MOST_NOISE_BANDS: usize = 5;

/// A run of bands that is copied upwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Patch {
    pub(super) from: usize,
    pub(super) count: usize,
}

/// Edges of bands, in bands of the filter bank.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tables {
    /// The first band of the master table: what lies below is copied.
    pub(super) source_end: usize,
    /// The first band that is replicated.
    pub(super) first: usize,
    /// How many are.
    pub(super) count: usize,
    /// Of envelopes of fine resolution, and of coarse.
    pub(super) fine: Vec<usize>,
    pub(super) coarse: Vec<usize>,
    pub(super) noise: Vec<usize>,
    pub(super) limiter: Vec<usize>,
    pub(super) patches: Vec<Patch>,
}

const INVALID: Fault = Fault::Damaged("an SBR header has bands that cannot be");

impl Tables {
    /// The tables for output of `rate` Hz.
    pub(super) fn new(rate: u32, header: &Header) -> Result<Self, Fault> {
        let spectrum = &header.spectrum;
        let (start, stop) = limits(rate, spectrum)?;
        let master = master(start, stop, spectrum)?;
        let fine = master.get(spectrum.crossover..).unwrap_or_default();
        let (Some(&first), Some(&end)) = (fine.first(), fine.last()) else {
            return Err(INVALID);
        };
        if first > 32 || end > 64 || end <= first || fine.len() > MOST_BANDS + 1 {
            return Err(INVALID);
        }
        let coarse = halve(fine);
        let noise = noise_bands(&coarse, stop, spectrum.noise_bands)?;
        let patches = patches(rate, &master, (start, first), end)?;
        let mut tables = Self {
            source_end: start,
            first,
            count: end - first,
            fine: fine.to_vec(),
            coarse,
            noise,
            limiter: Vec::new(),
            patches,
        };
        tables.set_limiter(header.limiter_bands);
        Ok(tables)
    }

    pub(super) fn edges(&self, is_fine: bool) -> &[usize] {
        if is_fine { &self.fine } else { &self.coarse }
    }

    /// Section 4.6.18.3.2.3.
    pub(super) fn set_limiter(&mut self, code: u32) {
        const PER_OCTAVE: [f32; 4] = [0.0, 1.2, 2.0, 3.0];
        let per_octave = PER_OCTAVE[(code & 3) as usize];
        if code == 0 {
            self.limiter = vec![self.first, self.first + self.count];
            return;
        }
        let mut borders = vec![self.first];
        borders.extend(self.patches.iter().scan(self.first, |edge, patch| {
            *edge += patch.count;
            Some(*edge)
        }));
        // Where the last patch was too short and was left out, there is nothing but noise up to the end.
        if let Some(last) = borders.last_mut() {
            *last = self.first + self.count;
        }
        let inner = borders.get(1..borders.len() - 1).unwrap_or_default();
        let mut edges = [&self.coarse[..], inner].concat();
        edges.sort_unstable();
        self.limiter = thin(&edges, &borders, (0.49f32 / per_octave).exp2());
    }
}

/// Drops edges that are too near to one another, of patches last.
fn thin(edges: &[usize], borders: &[usize], ratio: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::with_capacity(edges.len());
    for &edge in edges {
        let Some(last) = kept.last_mut() else {
            kept.push(edge);
            continue;
        };
        let is_border = |edge| borders.contains(&edge);
        if edge as f32 >= *last as f32 * ratio {
            kept.push(edge);
        } else if edge == *last || !is_border(edge) {
        } else if !is_border(*last) {
            *last = edge;
        } else {
            kept.push(edge);
        }
    }
    kept
}

/// The first band of the master table and the end of its last.
fn limits(rate: u32, spectrum: &Spectrum) -> Result<(usize, usize), Fault> {
    let offsets: [i32; 16] = match rate {
        16_000 => [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
        22_050 => [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13],
        24_000 => [-5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16],
        32_000 => [-6, -4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16],
        44_100 | 48_000 | 64_000 => [-4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20],
        88_200 | 96_000 | 128_000 | 176_400 | 192_000 => {
            [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20, 24]
        }
        _ => return Err(Fault::Unsupported("HE-AAC (SBR) at this sample rate")),
    };
    let (base, most) = match rate {
        ..32_000 => (3_000, 48),
        32_000 => (4_000, 48),
        44_100 => (4_000, 35),
        48_000..64_000 => (4_000, 32),
        _ => (5_000, 32),
    };
    let band = |hertz: u32| (hertz + rate / 2) / rate;
    let start = band(base << 7) as i32 + offsets[spectrum.start & 15];
    let start = usize::try_from(start).map_err(|_| INVALID)?;
    let stop = match spectrum.stop {
        15 => 3 * start,
        14 => 2 * start,
        steps => {
            let lowest = band(base << 8) as usize;
            let mut widths = widths(lowest, 64, 13);
            widths.sort_unstable();
            lowest + widths.iter().take(steps).sum::<usize>()
        }
    };
    let stop = stop.min(64);
    match start > 0 && stop > start && stop - start <= most {
        true => Ok((start, stop)),
        false => Err(INVALID),
    }
}

/// Widths of `count` bands, each wider than the one before by the same ratio.
fn widths(start: usize, stop: usize, count: usize) -> Vec<usize> {
    let ratio = (stop as f32 / start as f32).powf(1.0 / count as f32);
    let (mut edge, mut before) = (start as f32, start);
    let mut widths: Vec<usize> = (1..count)
        .map(|_| {
            edge *= ratio;
            let rounded = edge.round_ties_even() as usize;
            let width = rounded.saturating_sub(before);
            before = rounded;
            width
        })
        .collect();
    widths.push(stop.saturating_sub(before));
    widths
}

/// Section 4.6.18.3.2.1.
fn master(start: usize, stop: usize, spectrum: &Spectrum) -> Result<Vec<usize>, Fault> {
    let widths = match spectrum.scale {
        0 => linear(stop - start, spectrum.is_altered),
        scale => logarithmic(start, stop, 7 - scale, spectrum.is_altered)?,
    };
    if widths.is_empty() || widths.len() > MOST_BANDS || spectrum.crossover >= widths.len() {
        return Err(INVALID);
    }
    let edges = widths.iter().scan(start, |edge, width| {
        *edge += width;
        Some(*edge)
    });
    Ok(std::iter::once(start).chain(edges).collect())
}

fn linear(span: usize, is_wide: bool) -> Vec<usize> {
    let width = 1 + usize::from(is_wide);
    let count = match is_wide {
        true => (span + 2) / 4 * 2,
        false => span / 2 * 2,
    };
    let mut widths = vec![width; count];
    match (count * width) as i64 - span as i64 {
        over @ 1.. => {
            for width in widths.iter_mut().take(over.min(2) as usize) {
                *width -= 1;
            }
        }
        0 => {}
        _ => {
            if let Some(last) = widths.last_mut() {
                *last += 1;
            }
        }
    }
    widths
}

/// One region of an octave, and a second above it, whose bands are no narrower.
fn logarithmic(
    start: usize,
    stop: usize,
    half_per_octave: u32,
    is_warped: bool,
) -> Result<Vec<usize>, Fault> {
    let has_two = 49 * stop > 110 * start;
    let middle = if has_two { 2 * start } else { stop };
    let octaves = |from: usize, to: usize| (to as f32 / from as f32).log2();
    let count = |octaves: f32| 2 * (half_per_octave as f32 * octaves).round_ties_even() as usize;
    let mut lower = region(start, middle, count(octaves(start, middle)));
    if has_two {
        let warp = if is_warped { 1.0 / 1.3 } else { 1.0 };
        let mut upper = region(middle, stop, count(warp * octaves(middle, stop)));
        let widest = lower.last().copied().unwrap_or(0);
        if let [narrowest, .., last] = upper.as_mut_slice()
            && *narrowest < widest
        {
            let change = (widest - *narrowest).min(last.saturating_sub(*narrowest) / 2);
            *narrowest += change;
            *last -= change;
        }
        upper.sort_unstable();
        lower.append(&mut upper);
    }
    match lower.contains(&0) {
        true => Err(INVALID),
        false => Ok(lower),
    }
}

fn region(start: usize, stop: usize, count: usize) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let mut widths = widths(start, stop, count);
    widths.sort_unstable();
    widths
}

/// Every second edge, from the last on, and the first.
fn halve(fine: &[usize]) -> Vec<usize> {
    let bands = fine.len() - 1;
    let odd = bands % 2;
    let rest = (1..=bands.div_ceil(2)).map(|band| fine[2 * band - odd]);
    std::iter::once(fine[0]).chain(rest).collect()
}

fn noise_bands(coarse: &[usize], stop: usize, per_octave: u32) -> Result<Vec<usize>, Fault> {
    let octaves = (stop as f32 / coarse[0] as f32).log2();
    let count = (per_octave as f32 * octaves).round_ties_even().max(1.0) as usize;
    if count > MOST_NOISE_BANDS {
        return Err(INVALID);
    }
    let bands = coarse.len() - 1;
    let rest = (0..count).scan(0, |at, n| {
        *at += (bands - *at) / (count - n);
        Some(coarse[*at])
    });
    Ok(std::iter::once(coarse[0]).chain(rest).collect())
}

/// Section 4.6.18.6.3.
fn patches(
    rate: u32,
    master: &[usize],
    (start, first): (usize, usize),
    end: usize,
) -> Result<Vec<Patch>, Fault> {
    const MOST: usize = 6;
    let goal = ((1000 << 11) + rate / 2) / rate;
    let top = master.len() - 1;
    let mut highest = match (goal as usize) < end {
        true => master.iter().position(|edge| *edge >= goal as usize),
        false => None,
    }
    .unwrap_or(top);
    let mut patches = Vec::new();
    let (mut most, mut reached, mut before) = (start, first, None);
    loop {
        if before.replace((highest, most)) == Some((highest, most)) || patches.len() == MOST {
            return Err(INVALID);
        }
        let is_near = |edge: usize| edge + 1 + (edge + start) % 2 <= start + most;
        let edges = master.iter().take(highest + 1).rev();
        let edge = edges.copied().find(|edge| is_near(*edge));
        let edge = edge.ok_or(INVALID)?;
        let odd = (edge + start) % 2;
        let count = edge.saturating_sub(reached);
        if count > 0 {
            let from = (start - odd).checked_sub(count).ok_or(INVALID)?;
            patches.push(Patch { from, count });
            (reached, most) = (edge, edge);
        } else {
            most = first;
        }
        if master[highest] - edge < 3 {
            highest = top;
        }
        if edge == end {
            break;
        }
    }
    if patches.len() > 1 && patches.last().is_some_and(|patch| patch.count < 3) {
        patches.pop();
    }
    Ok(patches)
}
