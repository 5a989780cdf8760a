//! Recordings that an edit list puts together: parts of what the packets hold and pauses, one after the other.

use std::ops::Range;

use super::{CodecReader, note_noise};
use crate::container::demuxer::Part;
use crate::decode::damage::Damage;
use crate::error::Result;
use crate::signal::mix::Mix;
use crate::signal::plane;

impl CodecReader<'_> {
    /// Decodes frames `range` of the recording, each part of it by itself.
    pub(super) fn decode_presentation(
        &mut self,
        range: &Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let parts = self.demuxer.track().parts.clone();
        // Nothing of it, for as many planes as there are.
        let mut planes = self.decode_media(0..0, mix, damage)?;
        self.noise.clear();
        let mut begin = 0u64;
        for part in &parts {
            let end = begin.saturating_add(part.frames());
            let inside = range.start.max(begin)..range.end.min(end);
            if !inside.is_empty() {
                self.decode_part(part, begin, &inside, &mut planes, mix, damage)?;
            }
            begin = end;
        }
        Ok(planes)
    }

    /// Appends frames `inside` of the recording, which lie in the part that begins at frame `begin`.
    fn decode_part(
        &mut self,
        part: &Part,
        begin: u64,
        inside: &Range<u64>,
        planes: &mut [Vec<f32>],
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<()> {
        let frames = (inside.end - inside.start) as usize;
        let Part::Media(media) = part else {
            return plane::push_silence(planes, frames);
        };
        let start = media.start + (inside.start - begin);
        let mut own = damage.of_a_part();
        let noise = std::mem::take(&mut self.noise);
        self.restart_at(i64::MIN)?;
        let decoded = self.decode_media(start..start + frames as u64, mix, &mut own)?;
        damage.append(own, start, inside.start);
        self.append_noise(noise, start, inside);
        // Concealed damage at the end of the part: what follows keeps its place.
        let lacking = frames - decoded.first().map_or(0, Vec::len).min(frames);
        plane::reserve(planes, frames)?;
        for (plane, decoded) in planes.iter_mut().zip(&decoded) {
            plane.extend_from_slice(decoded);
        }
        plane::push_silence(planes, lacking)
    }

    /// Puts the noise that was met in a part, whose frame `start` is the first of `inside` in the recording, after the
    /// `noise` of those before it.
    fn append_noise(&mut self, noise: Vec<Range<u64>>, start: u64, inside: &Range<u64>) {
        let place = |frame: u64| (frame.saturating_sub(start) + inside.start).min(inside.end);
        for part in std::mem::replace(&mut self.noise, noise) {
            let placed = place(part.start)..place(part.end);
            if !placed.is_empty() {
                note_noise(&mut self.noise, placed);
            }
        }
    }
}
