//! One channel: from its samples to all of its bands.

use super::super::qmf::{Analysis, BANDS, Bands, LOW_BANDS, Output, PAST, Row};
use super::Replication;
use super::adjust::{self, Energies, Sines};
use super::assemble::{self, Memory, TAIL};
use super::bands::{MOST_BANDS, MOST_NOISE_BANDS};
use super::generate::{self, OFFSET};

/// What one channel keeps from packet to packet.
#[derive(Clone)]
pub(in super::super) struct Voice {
    analysis: Analysis,
    /// The last samples of the low bands.
    past: Box<Bands<[f32; PAST], LOW_BANDS>>,
    /// What of the high bands lies after the end of the packet, and how much of it.
    tail: Box<Bands<[f32; TAIL], BANDS>>,
    late: usize,
    /// The first high band, and the end of the last.
    edges: [usize; 2],
    chirps: [f32; MOST_NOISE_BANDS],
    sines: Sines,
    memory: Box<Memory>,
}

/// Room for what lives no longer than a call, and its results.
pub(in super::super) struct Moment {
    /// Low bands, from before the packet on.
    pub(in super::super) low: Bands<Row, LOW_BANDS>,
    high: Bands<Row, BANDS>,
    /// All bands.
    pub(in super::super) output: Bands<Output, BANDS>,
}

impl Moment {
    pub(in super::super) fn new() -> Box<Self> {
        Box::new(Self {
            low: Bands::new(),
            high: Bands::new(),
            output: Bands::new(),
        })
    }
}

/// Where there is no high band: nothing is cut off.
const NO_HIGH: [usize; 2] = [LOW_BANDS, LOW_BANDS];

impl Voice {
    pub(in super::super) fn new() -> Self {
        Self {
            analysis: Analysis::new(),
            past: Box::new(Bands::new()),
            tail: Box::new(Bands::new()),
            late: 0,
            edges: NO_HIGH,
            chirps: [0.0; MOST_NOISE_BANDS],
            sines: [false; MOST_BANDS],
            memory: Box::new(Memory::new()),
        }
    }

    /// The end of the highest band that is heard.
    pub(in super::super) fn end(&self) -> usize {
        self.edges[1]
    }

    /// Makes all bands of channel `index` of an element from its `samples`; `slot` is the number of the first sample of
    /// a band in the stream.
    #[inline(always)]
    pub(in super::super) fn run(
        &mut self,
        samples: &[f32],
        replication: &Replication,
        (index, energies, slot): (usize, Option<&Energies>, u32),
        moment: &mut Moment,
    ) {
        let slots = samples.len() / LOW_BANDS;
        self.split(samples, slots, &mut moment.low);
        let edges = match (&replication.header, energies) {
            (Some((_, tables)), Some(_)) => [tables.first, tables.first + tables.count],
            _ => NO_HIGH,
        };
        let before = std::mem::replace(&mut self.edges, edges);
        // What the bank gave before the packet counts up to where low bands ended then, unless all does again.
        let hidden = if energies.is_some() {
            before[0]
        } else {
            LOW_BANDS
        };
        for band in hidden..LOW_BANDS {
            moment.low.re[band][..PAST].fill(0.0);
            moment.low.im[band][..PAST].fill(0.0);
        }
        let late = std::mem::take(&mut self.late);
        self.replay(late, before, moment);
        if let Some(energies) = energies {
            self.replicate(replication, (index, energies, slot), slots, moment);
        } else {
            self.chirps = [0.0; MOST_NOISE_BANDS];
            self.sines = [false; MOST_BANDS];
            self.memory.clear();
        }
        self.gather(late, slots, energies.is_some(), moment);
    }

    fn split(&mut self, samples: &[f32], slots: usize, low: &mut Bands<Row, LOW_BANDS>) {
        self.analysis.run(samples, low);
        let Bands { re, im } = low;
        for (rows, past) in [(re, &mut self.past.re), (im, &mut self.past.im)] {
            for (row, past) in rows.iter_mut().zip(past) {
                row[..PAST].copy_from_slice(past);
                past.copy_from_slice(&row[slots..slots + PAST]);
            }
        }
    }

    /// What the packet before left for the begin of this one.
    fn replay(&self, late: usize, [first, end]: [usize; 2], moment: &mut Moment) {
        for band in 0..BANDS {
            let (re, im) = (&mut moment.output.re[band], &mut moment.output.im[band]);
            let (from_re, from_im) = match band {
                low if low < first => {
                    (&moment.low.re[low][OFFSET..], &moment.low.im[low][OFFSET..])
                }
                high if high < end => (&self.tail.re[high][..], &self.tail.im[high][..]),
                _ => {
                    re[..late].fill(0.0);
                    im[..late].fill(0.0);
                    continue;
                }
            };
            re[..late].copy_from_slice(&from_re[..late]);
            im[..late].copy_from_slice(&from_im[..late]);
        }
    }

    #[inline(always)]
    fn replicate(
        &mut self,
        replication: &Replication,
        (index, energies, slot): (usize, &Energies, u32),
        slots: usize,
        moment: &mut Moment,
    ) {
        let (Some((header, tables)), Some(channel)) =
            (&replication.header, replication.channels.get(index))
        else {
            return;
        };
        if replication.has_changed {
            self.memory.clear();
        }
        generate::update_chirps(
            &mut self.chirps,
            &channel.filtering,
            &channel.last_filtering,
        );
        let samples = 2 * channel.grid.begin()..2 * channel.grid.end();
        let (low, high) = (&moment.low, &mut moment.high);
        generate::copy_up(low, high, tables, &self.chirps, slots + PAST, samples);
        let head = (header, tables);
        let gains = adjust::gains(high, head, channel, energies, &mut self.sines);
        let place = (slot, header.smooths);
        assemble::assemble(high, tables, channel, &gains, &mut self.memory, place);
        self.late = (2 * channel.grid.end()).saturating_sub(slots);
        for band in tables.first..tables.first + tables.count {
            let from = OFFSET + slots..OFFSET + slots + self.late;
            self.tail.re[band][..self.late].copy_from_slice(&moment.high.re[band][from.clone()]);
            self.tail.im[band][..self.late].copy_from_slice(&moment.high.im[band][from]);
        }
    }

    /// Puts low bands and high ones together, from sample `late` on.
    fn gather(&self, late: usize, slots: usize, has_high: bool, moment: &mut Moment) {
        let rows = late + OFFSET..slots + OFFSET;
        let [first, end] = self.edges;
        for band in 0..BANDS {
            let (re, im) = (&mut moment.output.re[band], &mut moment.output.im[band]);
            let (re, im) = (&mut re[late..], &mut im[late..]);
            let (from_re, from_im) = match band {
                low if low < first => (&moment.low.re[low], &moment.low.im[low]),
                high if high < end && has_high => (&moment.high.re[high], &moment.high.im[high]),
                _ => {
                    re.fill(0.0);
                    im.fill(0.0);
                    continue;
                }
            };
            let count = rows.len();
            re[..count].copy_from_slice(&from_re[rows.clone()]);
            im[..count].copy_from_slice(&from_im[rows.clone()]);
            re[count..].fill(0.0);
            im[count..].fill(0.0);
        }
    }
}
