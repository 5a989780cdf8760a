//! The elements of HE-AAC: from the samples of AAC-LC to those at the full rate.

use super::layout::Layout;
use super::ps::Stereo;
use super::qmf::{BANDS, Bands, Output, SLOTS, Synthesis};
use super::sbr::{Extent, Moment, OFFSET, Replication, Voice};
use super::{AacConfig, Fault};

/// One element, of one channel or two.
struct Element {
    replication: Replication,
    voices: Vec<Voice>,
    stereo: Option<Stereo>,
    /// The channels of AAC-LC, by their places.
    planes: [usize; 2],
}

/// All elements of a stream, and what of them comes out.
pub(super) struct Elements {
    elements: Vec<Element>,
    /// One of each channel that comes out.
    syntheses: Vec<Synthesis>,
    /// Room for the bands of one channel, and for the sum of all.
    moment: Box<Moment>,
    sum: Box<Bands<Output, BANDS>>,
    is_half: bool,
    is_mono: bool,
    pub(super) planes: Vec<Vec<f32>>,
}

impl Elements {
    pub(super) fn new(config: &AacConfig, layout: &Layout, is_mono: bool) -> Self {
        let is_stereo = config.is_stereo(layout);
        let element = |planes: [usize; 2]| {
            let count = if planes[0] == planes[1] { 1 } else { 2 };
            let length = config.frame_length as usize;
            Element {
                replication: Replication::new(2 * config.core_rate, length, count, is_stereo),
                voices: vec![Voice::new(); count],
                stereo: is_stereo.then(Stereo::new),
                planes,
            }
        };
        let channels = if is_stereo { 2 } else { layout.channels };
        let made = if is_mono { 1 } else { channels };
        Self {
            elements: layout
                .elements
                .iter()
                .map(|own| element(own.planes))
                .collect(),
            syntheses: vec![Synthesis::new(); made],
            moment: Moment::new(),
            sum: Box::new(Bands::new()),
            is_half: config.is_half,
            is_mono,
            planes: vec![vec![0.0; config.packet_frames() as usize]; made],
        }
    }

    /// Reads what `packet` tells of the elements.
    pub(super) fn read(&mut self, packet: &[u8], extents: &[Option<Extent>]) -> Result<(), Fault> {
        for (element, extent) in self.elements.iter_mut().zip(extents) {
            element.replication.read(packet, *extent)?;
            if let Some(stereo) = &mut element.replication.stereo {
                stereo.finish_packet();
            }
        }
        Ok(())
    }

    /// Forgets the samples of what came before, and what was told: all of it, or what a lost packet may have changed.
    pub(super) fn reset(&mut self, is_lost: bool, is_first: bool) {
        for element in &mut self.elements {
            element.voices.fill(Voice::new());
            if let Some(stereo) = &mut element.stereo {
                stereo.reset();
            }
            match is_lost {
                true => element.replication.lose(),
                false => element.replication.reset(is_first),
            }
        }
        self.syntheses.fill(Synthesis::new());
    }

    pub(super) fn is_settled(&self) -> bool {
        let mut elements = self.elements.iter();
        elements.all(|element| element.replication.is_settled())
    }

    /// Makes [`planes`](Self::planes) of the channels of AAC-LC; `slot` is the number of the packet's first sample of a
    /// band in the stream.
    #[inline(always)]
    pub(super) fn run(&mut self, core: &[Vec<f32>], slot: u32) {
        if self.is_mono {
            self.sum.re = [[0.0; SLOTS]; BANDS];
            self.sum.im = [[0.0; SLOTS]; BANDS];
        }
        let mut elements = std::mem::take(&mut self.elements);
        let mut count = 0;
        for element in &mut elements {
            count += self.run_element(element, core, slot);
        }
        self.elements = elements;
        if self.is_mono {
            let share = 1.0 / count.max(1) as f32;
            let rows = self.sum.re.as_flattened_mut().iter_mut();
            for sample in rows.chain(self.sum.im.as_flattened_mut()) {
                *sample *= share;
            }
            if let (Some(synthesis), Some(plane)) =
                (self.syntheses.first_mut(), self.planes.first_mut())
            {
                synthesize(synthesis, &self.sum, self.is_half, plane);
            }
        }
    }

    /// The channels of one element; tells how many.
    #[inline(always)]
    fn run_element(&mut self, element: &mut Element, core: &[Vec<f32>], slot: u32) -> usize {
        let energies = element.replication.energies();
        for (index, voice) in element.voices.iter_mut().enumerate() {
            let Some(samples) = core.get(element.planes[index]) else {
                continue;
            };
            let own = energies.as_ref().and_then(|all| all.get(index));
            let place = (index, own, slot);
            voice.run(samples, &element.replication, place, &mut self.moment);
            let stereo = element.stereo.as_mut();
            if let (Some(stereo), Some(parameters)) = (stereo, &element.replication.stereo) {
                let Moment { low, output, .. } = &mut *self.moment;
                let after = samples.len() / 32 + OFFSET;
                stereo.run(parameters, output, (low, after, voice.end()));
                self.emit(1, Some(&stereo.right));
                self.emit(0, None);
                return 2;
            }
            self.emit(element.planes[index], None);
        }
        element.voices.len()
    }

    /// Puts out the bands of a channel: those given, or those at hand.
    #[inline(always)]
    fn emit(&mut self, channel: usize, bands: Option<&Bands<Output, BANDS>>) {
        let bands = bands.unwrap_or(&self.moment.output);
        if self.is_mono {
            for (sum, bands) in [(&mut self.sum.re, &bands.re), (&mut self.sum.im, &bands.im)] {
                let pairs = sum.as_flattened_mut().iter_mut();
                for (sum, sample) in pairs.zip(bands.as_flattened()) {
                    *sum += sample;
                }
            }
        } else if let (Some(synthesis), Some(plane)) = (
            self.syntheses.get_mut(channel),
            self.planes.get_mut(channel),
        ) {
            synthesize(synthesis, bands, self.is_half, plane);
        }
    }
}

#[inline(always)]
fn synthesize(
    synthesis: &mut Synthesis,
    bands: &Bands<Output, BANDS>,
    is_half: bool,
    plane: &mut [f32],
) {
    match is_half {
        true => synthesis.run_half(bands, plane),
        false => synthesis.run(bands, plane),
    }
}
