//! One channel of all bands to two.

use super::super::qmf::{BANDS, Bands, LOW_BANDS, Output, Row};
use super::Parameters;
use super::decorrelate::{Decorrelator, Shape};
use super::hybrid::{self, Hybrid, Subbands};
use super::mix::Mixer;

/// What goes from packet to packet, and room.
pub(in super::super) struct Stereo {
    hybrid: Hybrid,
    decorrelator: Decorrelator,
    mixer: Mixer,
    first: Box<Subbands>,
    second: Box<Subbands>,
    /// The right channel; the left one takes the place of both.
    pub(in super::super) right: Box<Bands<Output, BANDS>>,
}

impl Stereo {
    pub(in super::super) fn new() -> Self {
        Self {
            hybrid: Hybrid::new(),
            decorrelator: Decorrelator::new(),
            mixer: Mixer::new(),
            first: Box::new(Subbands::new()),
            second: Box::new(Subbands::new()),
            right: Box::new(Bands::new()),
        }
    }

    /// Forgets all that came before.
    pub(in super::super) fn reset(&mut self) {
        self.hybrid = Hybrid::new();
        self.decorrelator = Decorrelator::new();
        self.mixer = Mixer::new();
    }

    /// Makes left of `bands` in its place, and [`right`](Self::right); bands from `top` on are silent. `low` has the low
    /// bands, the packet's end in it from sample `after` on.
    #[inline(always)]
    pub(in super::super) fn run(
        &mut self,
        parameters: &Parameters,
        bands: &mut Bands<Output, BANDS>,
        (low, after, top): (&Bands<Row, LOW_BANDS>, usize, usize),
    ) {
        if !parameters.is_on() {
            self.right.clone_from_bands(bands);
            return;
        }
        let is_fine = parameters.is_fine;
        let top = top + Shape::of(is_fine).subbands - BANDS;
        self.hybrid
            .split(bands, (low, after), is_fine, &mut self.first);
        self.decorrelator
            .run(&self.first, &mut self.second, is_fine, top);
        self.mixer
            .run(parameters, &mut self.first, &mut self.second);
        hybrid::join(&self.first, is_fine, bands);
        hybrid::join(&self.second, is_fine, &mut self.right);
    }
}
