//! How many bits each band gets: RFC 6716, section 4.3.3. Bits are eighths of bits throughout.

use super::tables::{ALLOCATIONS, BANDS, CAPS, EDGES, EIGHTHS, LOG_WIDTHS, QUALITIES, TRIM, width};
use super::{Frame, PerBand};
use crate::codec::opus::range::RangeDecoder;

/// One bit.
const BIT: i32 = 1 << EIGHTHS;
/// Steps between two rows of the table, as `log2`.
const INTERPOLATION: u32 = 6;
/// Fine energy gets the fewer bits, the larger this is.
const FINE_OFFSET: i32 = 21;
/// Bits of a fine energy, at most.
const MAX_FINE_BITS: i32 = 8;
/// Tilt of the allocation that is none.
const FLAT_TRIM: usize = 5;
/// `log2` of 1 to 24, in eighths and rounded up: what the band where intensity stereo begins takes.
const LOG2: [i32; 24] = [
    0, 8, 13, 16, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31, 32, 32, 33, 34, 34, 35, 36, 36, 37, 37,
];

/// Bits by band, and what was decoded along with them.
pub(super) struct Allocation {
    /// For the shape, in eighths.
    pub(super) shape_bits: PerBand<i32>,
    /// For the fine energy of each channel, in whole bits.
    pub(super) fine_bits: PerBand<i32>,
    /// Whether the band is second when bits are left.
    pub(super) is_fine_enough: PerBand<bool>,
    /// End of the bands whose shape is coded at all.
    pub(super) coded_end: usize,
    /// First band of intensity stereo.
    pub(super) intensity: usize,
    /// Whether the channels below are coded one by one.
    pub(super) is_dual: bool,
    /// Left by the last band.
    pub(super) balance: i32,
    /// Bits for the flag after the shapes.
    pub(super) anti_collapse: i32,
}

/// Decodes the allocation of a frame.
pub(super) fn decode(range: &mut RangeDecoder<'_>, frame: &Frame) -> Allocation {
    let mut plan = Plan::new(frame);
    let left = plan.decode_boosts(range);
    let trim = if range.tell_eighths() + 6 * BIT <= left {
        range.symbol(&TRIM, 7)
    } else {
        FLAT_TRIM
    };
    let total = ((range.len() as i32 * 8) << EIGHTHS) - range.tell_eighths() - 1;
    let log_blocks = frame.log_blocks as i32;
    let has_flag = frame.is_transient && log_blocks >= 2 && total >= (log_blocks + 2) * BIT;
    let reserved = if has_flag { BIT } else { 0 };
    plan.tilt(trim as i32);
    Allocation {
        anti_collapse: reserved,
        ..plan.allocate(range, total - reserved)
    }
}

/// An allocation in the making.
struct Plan<'f> {
    frame: &'f Frame,
    channels: i32,
    caps: PerBand<i32>,
    boosts: PerBand<i32>,
    /// Below, a band gets no shape.
    thresholds: PerBand<i32>,
    tilts: PerBand<i32>,
}

/// Bits that are put aside for flags.
struct Reserves {
    skip: i32,
    intensity: i32,
    dual: i32,
}

impl<'f> Plan<'f> {
    fn new(frame: &'f Frame) -> Self {
        let channels = frame.channels as i32;
        let mut plan = Self {
            frame,
            channels,
            caps: [0; BANDS],
            boosts: [0; BANDS],
            thresholds: [0; BANDS],
            tilts: [0; BANDS],
        };
        let caps = &CAPS[2 * frame.log_blocks + frame.channels - 1];
        for (band, cap) in caps.iter().enumerate() {
            let bins = plan.bins(band);
            plan.caps[band] = ((i32::from(*cap) + 64) * channels * bins) >> 2;
            plan.thresholds[band] = (channels * BIT).max((3 * bins * BIT) >> 4);
        }
        plan
    }

    /// Bins of a band in one channel.
    fn bins(&self, band: usize) -> i32 {
        (width(band) << self.frame.log_blocks) as i32
    }

    /// Boosts of single bands. Returns the bits of the frame less those.
    fn decode_boosts(&mut self, range: &mut RangeDecoder<'_>) -> i32 {
        let mut total = (range.len() as i32 * 8) << EIGHTHS;
        let mut first_cost = 6;
        for band in self.frame.bands.clone() {
            let bins = self.channels * self.bins(band);
            let step = (bins << EIGHTHS).min(bins.max(6 * BIT));
            let mut cost = first_cost;
            let mut boost = 0;
            while range.tell_eighths() + (cost << EIGHTHS) < total && boost < self.caps[band] {
                if !range.bit(cost as u32) {
                    break;
                }
                boost += step;
                total -= step;
                cost = 1;
            }
            self.boosts[band] = boost;
            if boost > 0 {
                first_cost = (first_cost - 1).max(2);
            }
        }
        total
    }

    fn tilt(&mut self, trim: i32) {
        let log_blocks = self.frame.log_blocks as i32;
        let slope = trim - FLAT_TRIM as i32 - log_blocks;
        for band in self.frame.bands.clone() {
            let above = (self.frame.bands.end - band - 1) as i32;
            let weight = self.channels * width(band) as i32 * slope * above;
            self.tilts[band] = (weight << (self.frame.log_blocks as u32 + EIGHTHS)) >> 6;
            if self.bins(band) == 1 {
                self.tilts[band] -= self.channels * BIT;
            }
        }
    }

    /// Bits of a band by a row of the table, tilted.
    fn row_bits(&self, row: usize, band: usize) -> i32 {
        let share = i32::from(ALLOCATIONS[row][band]);
        let bits = ((self.channels * width(band) as i32 * share) << self.frame.log_blocks) >> 2;
        if bits > 0 {
            (bits + self.tilts[band]).max(0)
        } else {
            0
        }
    }

    /// Cuts what `wanted` gives each band to what it can use. Returns the sum.
    fn cut(&self, wanted: impl Fn(usize) -> i32, mut take: impl FnMut(usize, i32)) -> i32 {
        let floor = self.channels * BIT;
        let mut is_coded = false;
        let mut sum = 0;
        for band in self.frame.bands.clone().rev() {
            let bits = wanted(band);
            is_coded |= bits >= self.thresholds[band];
            let bits = if is_coded {
                bits.min(self.caps[band])
            } else if bits >= floor {
                floor
            } else {
                0
            };
            take(band, bits);
            sum += bits;
        }
        sum
    }

    fn allocate(&self, range: &mut RangeDecoder<'_>, total: i32) -> Allocation {
        let mut total = total.max(0);
        let reserves = self.reserve(&mut total);
        let row = self.best_row(total);
        let (low, more) = self.around(row);
        let step = self.best_step(&low, &more, total);
        let mut bits = [0; BANDS];
        let wanted = |band: usize| low[band] + ((step * more[band]) >> INTERPOLATION);
        let sum = self.cut(wanted, |band, taken| bits[band] = taken);
        self.share_rest(range, bits, sum, total, reserves)
    }

    fn reserve(&self, total: &mut i32) -> Reserves {
        let mut take = |bits: i32| {
            let taken = if *total >= bits { bits } else { 0 };
            *total -= taken;
            taken
        };
        let skip = take(BIT);
        let mut intensity = 0;
        let mut dual = 0;
        if self.channels == 2 {
            intensity = take(LOG2[self.frame.bands.len()]);
            if intensity > 0 {
                dual = take(BIT);
            }
        }
        Reserves {
            skip,
            intensity,
            dual,
        }
    }

    /// The last row that needs no more than `total`, 0 where even the first does.
    fn best_row(&self, total: i32) -> usize {
        let (mut low, mut high) = (1, QUALITIES - 1);
        while low <= high {
            let middle = (low + high) / 2;
            let wanted = |band| self.row_bits(middle, band) + self.boosts[band];
            if self.cut(wanted, |_, _| ()) > total {
                high = middle - 1;
            } else {
                low = middle + 1;
            }
        }
        low - 1
    }

    /// Bits by a row, and what the row after it has more.
    fn around(&self, row: usize) -> (PerBand<i32>, PerBand<i32>) {
        let (mut low, mut more) = ([0; BANDS], [0; BANDS]);
        for band in self.frame.bands.clone() {
            low[band] = self.row_bits(row, band);
            if row > 0 {
                low[band] += self.boosts[band];
            }
            let high = if row + 1 < QUALITIES {
                self.row_bits(row + 1, band)
            } else {
                self.last_row_bits(band)
            };
            more[band] = (high + self.boosts[band] - low[band]).max(0);
        }
        (low, more)
    }

    /// After the last row comes all that a band can use.
    fn last_row_bits(&self, band: usize) -> i32 {
        if self.caps[band] > 0 {
            (self.caps[band] + self.tilts[band]).max(0)
        } else {
            0
        }
    }

    /// How far one may go from one row to the next.
    fn best_step(&self, low: &PerBand<i32>, more: &PerBand<i32>, total: i32) -> i32 {
        let (mut from, mut to) = (0, 1 << INTERPOLATION);
        for _ in 0..INTERPOLATION {
            let middle = (from + to) / 2;
            let wanted = |band: usize| low[band] + ((middle * more[band]) >> INTERPOLATION);
            if self.cut(wanted, |_, _| ()) > total {
                to = middle;
            } else {
                from = middle;
            }
        }
        from
    }

    /// First band that may not be skipped: the last one boosted.
    fn skip_start(&self) -> usize {
        let mut bands = self.frame.bands.clone().rev();
        bands
            .find(|band| self.boosts[*band] > 0)
            .unwrap_or(self.frame.bands.start)
    }

    fn share_rest(
        &self,
        range: &mut RangeDecoder<'_>,
        mut bits: PerBand<i32>,
        mut sum: i32,
        mut total: i32,
        mut reserves: Reserves,
    ) -> Allocation {
        let start = self.frame.bands.start;
        let skip_start = self.skip_start();
        let mut end = self.frame.bands.end;
        loop {
            let band = end - 1;
            if band <= skip_start {
                total += reserves.skip;
                break;
            }
            let mut band_bits = bits[band] + self.extra(total - sum, start, end);
            if band_bits >= self.thresholds[band].max((self.channels + 1) * BIT) {
                if range.bit(1) {
                    break;
                }
                sum += BIT;
                band_bits -= BIT;
            }
            sum -= bits[band] + reserves.intensity;
            if reserves.intensity > 0 {
                reserves.intensity = LOG2[band - start];
            }
            sum += reserves.intensity;
            bits[band] = if band_bits >= self.channels * BIT {
                self.channels * BIT
            } else {
                0
            };
            sum += bits[band];
            end = band;
        }
        let intensity = if reserves.intensity > 0 {
            start + range.uniform((end + 1 - start) as u32) as usize
        } else {
            0
        };
        if intensity <= start {
            total += reserves.dual;
            reserves.dual = 0;
        }
        let is_dual = reserves.dual > 0 && range.bit(1);
        self.spread(&mut bits, end, total - sum);
        let mut allocation = Allocation {
            shape_bits: bits,
            fine_bits: [0; BANDS],
            is_fine_enough: [false; BANDS],
            coded_end: end,
            intensity,
            is_dual,
            balance: 0,
            anti_collapse: 0,
        };
        self.split_fine(&mut allocation);
        allocation
    }

    /// What the last of the bands `start..end` gets of `left` bits.
    fn extra(&self, left: i32, start: usize, end: usize) -> i32 {
        let bins = (EDGES[end] - EDGES[start]) as i32;
        let per_bin = left / bins;
        let rest = left - bins * per_bin;
        let below = (EDGES[end - 1] - EDGES[start]) as i32;
        per_bin * width(end - 1) as i32 + (rest - below).max(0)
    }

    /// Spreads `left` bits evenly, the rest from the lowest band on.
    fn spread(&self, bits: &mut PerBand<i32>, end: usize, left: i32) {
        let bins = (EDGES[end] - EDGES[self.frame.bands.start]) as i32;
        let per_bin = left / bins;
        let mut rest = left - bins * per_bin;
        let start = self.frame.bands.start;
        for (bits, edges) in bits[start..end].iter_mut().zip(EDGES[start..].windows(2)) {
            let width = (edges[1] - edges[0]) as i32;
            let more = rest.min(width);
            *bits += per_bin * width + more;
            rest -= more;
        }
    }

    /// Divides the bits of each band between its energy and its shape.
    fn split_fine(&self, allocation: &mut Allocation) {
        let is_stereo = self.channels as u32 - 1;
        for band in self.frame.bands.start..allocation.coded_end {
            self.split_coded(allocation, band);
        }
        for band in allocation.coded_end..self.frame.bands.end {
            let fine = allocation.shape_bits[band] >> is_stereo >> EIGHTHS;
            allocation.fine_bits[band] = fine;
            allocation.shape_bits[band] = 0;
            allocation.is_fine_enough[band] = fine < 1;
        }
    }

    fn split_coded(&self, allocation: &mut Allocation, band: usize) {
        let is_stereo = self.channels as u32 - 1;
        let bits = allocation.shape_bits[band] + allocation.balance;
        let most = if self.bins(band) > 1 {
            self.caps[band]
        } else {
            self.channels * BIT
        };
        let mut excess = (bits - most).max(0);
        let bits = bits - excess;
        let (mut fine, mut is_enough) = (0, true);
        if self.bins(band) > 1 {
            (fine, is_enough) = self.fine(allocation, band, bits);
        }
        allocation.shape_bits[band] = bits - ((self.channels * fine) << EIGHTHS);
        if excess > 0 {
            let more = (excess >> (is_stereo + EIGHTHS)).min(MAX_FINE_BITS - fine);
            fine += more;
            let more_bits = (more * self.channels) << EIGHTHS;
            is_enough = more_bits >= excess - allocation.balance;
            excess -= more_bits;
        }
        allocation.fine_bits[band] = fine;
        allocation.is_fine_enough[band] = is_enough;
        allocation.balance = excess;
    }

    /// Bits of the fine energy where a band has `bits`, and whether they are enough.
    fn fine(&self, allocation: &Allocation, band: usize, bits: i32) -> (i32, bool) {
        let bins = self.bins(band);
        let has_angle =
            self.channels == 2 && bins > 2 && !allocation.is_dual && band < allocation.intensity;
        let freedom = self.channels * bins + i32::from(has_angle);
        let log = freedom * (LOG_WIDTHS[band] + ((self.frame.log_blocks as i32) << EIGHTHS));
        let mut offset = (log >> 1) - freedom * FINE_OFFSET;
        if bins == 2 {
            offset += (freedom << EIGHTHS) >> 2;
        }
        if bits + offset < (freedom * 2) << EIGHTHS {
            offset += log >> 2;
        } else if bits + offset < (freedom * 3) << EIGHTHS {
            offset += log >> 3;
        }
        let rounded = (bits + offset + (freedom << (EIGHTHS - 1))).max(0);
        let mut fine = (rounded / freedom) >> EIGHTHS;
        if self.channels * fine > bits >> EIGHTHS {
            fine = bits >> (self.channels as u32 - 1) >> EIGHTHS;
        }
        let fine = fine.min(MAX_FINE_BITS);
        (fine, fine * (freedom << EIGHTHS) >= bits + offset)
    }
}
