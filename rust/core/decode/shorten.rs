//! Shorten to planes: from the first bit on, for nothing in the stream tells what came before.

use std::ops::Range;

use super::damage::Damage;
use crate::container::shorten::Shorten;
use crate::error::Result;
use crate::info::AudioInfo;
use crate::signal::mix::{Mix, Mixer};

/// Samples reserved at most on a header's word, of all planes together.
const MAX_RESERVED: u64 = 8 << 20;

impl Shorten<'_> {
    /// What the headers say, and the samples counted.
    ///
    /// # Errors
    /// Damage anywhere.
    pub(crate) fn info(mut self) -> Result<AudioInfo> {
        self.restart();
        while self.next_block()?.is_some() {}
        Ok(AudioInfo {
            sample_rate: self.facts.sample_rate,
            channels: self.channels() as u32,
            frames: self.position,
            container: self.facts.container.into(),
            codec: "shorten".into(),
            bits_per_sample: Some(self.bits()),
            remarks: Vec::new(),
        })
    }

    /// Decodes samples `range`, cut at the end of the recording.
    ///
    /// # Errors
    /// Damage in front of the range's end.
    pub(crate) fn decode(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let channels = self.channels();
        let planes = mix.planes(channels) as u64;
        let most = self.facts.frames.unwrap_or(0).min(MAX_RESERVED / planes);
        let room = range.end.saturating_sub(range.start).min(most);
        let mut mixer = Mixer::new(channels, mix, room as usize)?;
        self.restart();
        while self.position < range.end && range.start < range.end {
            let begin = self.position;
            match self.next_block() {
                Ok(Some(frames)) => {
                    let inside = |at: u64| at.saturating_sub(begin).min(frames as u64) as usize;
                    let wanted = inside(range.start)..inside(range.end);
                    mixer.push_block(channels, self.planes(), wanted)?;
                }
                Ok(None) => break,
                Err(error) => {
                    damage.meet(error)?;
                    self.cut(begin, &range, damage)?;
                    break;
                }
            }
        }
        Ok(mixer.into_planes())
    }

    /// All from sample `begin` on is lost: what follows depends on it.
    fn cut(&self, begin: u64, range: &Range<u64>, damage: &mut Damage) -> Result<()> {
        let declared = self.facts.frames.unwrap_or(0).max(begin);
        let place = |sample: u64| sample.clamp(range.start, range.end);
        damage.cut_short(place(begin)..place(declared), self.at())
    }
}
