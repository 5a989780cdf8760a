//! Stored samples to planes: one loop, without a demuxer between file and array.

use std::cell::Cell;
use std::ops::Range;

use super::damage::Damage;
use crate::bytes::source::Source;
use crate::codec::gsm::{self, Packing};
use crate::codec::sample::S16;
use crate::container::pcm::{Coding, Pcm};
use crate::error::Result;
use crate::signal::mix::{Mix, Mixer};

/// Bytes per read: small enough for the cache, large enough to hide the system call.
const PIECE: u64 = 256 * 1024;

impl Pcm {
    /// Decodes frames `range`, cut at the end of the recording.
    ///
    /// # Errors
    /// When the source cannot be read, is shorter than promised, or a block of ADPCM is damaged.
    pub(crate) fn decode(
        &self,
        source: &mut Source<'_>,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let origin = self.recording.start;
        let wanted = self.recording.end.min(range.end.saturating_add(origin));
        let there = self.layout.frames(self.data.end - self.data.start);
        let last = wanted.min(there.max(origin));
        let first = last.min(range.start.saturating_add(origin));
        self.check_end().or_else(|error| damage.meet(error))?;
        // A part of a frame may be all that is missing.
        if last < wanted || (wanted == self.recording.end && self.check_end().is_err()) {
            damage.cut_short(last - origin..wanted - origin, self.data.end)?;
        }
        let channels = self.layout.channels as usize;
        let mut mixer = Mixer::new(channels, mix, (last - first) as usize)?;
        match self.layout.coding {
            Coding::Linear(sample, order) => {
                self.read(source, first..last, |_, bytes| {
                    sample.push(bytes, order, &mut mixer)
                })?;
            }
            Coding::Adpcm(kind) => {
                let per_block = self.layout.block_frames();
                let mut block = first / per_block;
                let mut decoded = Vec::new();
                self.read(source, block..last.div_ceil(per_block), |at, bytes| {
                    let size = self.layout.block_bytes as usize;
                    for (index, part) in bytes.chunks(size).enumerate() {
                        kind.decode(part, channels, &mut decoded)
                            .map_err(|error| error.at_byte(at + (index * size) as u64))?;
                        let begin = block * per_block;
                        let inside = |frame: u64| frame.saturating_sub(begin) as usize * channels;
                        let part = inside(first)..inside(last).min(decoded.len());
                        push_block(decoded.get(part).unwrap_or(&[]), &mut mixer)?;
                        block += 1;
                    }
                    Ok(())
                })?;
            }
            Coding::Gsm(packing) => {
                let range = first..last;
                self.decode_gsm(source, packing, range, &mut mixer, damage)?;
            }
        }
        Ok(mixer.into_planes())
    }

    /// Frames `wanted` of GSM, decoded from the first block on; a frame that is none is silent where one goes on.
    fn decode_gsm(
        &self,
        source: &mut Source<'_>,
        packing: Packing,
        wanted: Range<u64>,
        mixer: &mut Mixer,
        damage: &mut Damage,
    ) -> Result<()> {
        let per_block = self.layout.block_frames();
        let blocks = if wanted.is_empty() {
            0
        } else {
            wanted.end.div_ceil(per_block)
        };
        let (mut decoder, mut begin) = (gsm::Decoder::new(packing), 0);
        self.read(source, 0..blocks, |at, bytes| {
            let size = packing.block_bytes() as usize;
            for (index, block) in bytes.chunks_exact(size).enumerate() {
                let at = at + (index * size) as u64;
                let place = |frame: u64| frame.clamp(begin, begin + per_block);
                let inside = place(wanted.start)..place(wanted.end);
                match decoder.decode(block) {
                    Ok(samples) => {
                        let part = (inside.start - begin) as usize..(inside.end - begin) as usize;
                        push_block(samples.get(part).unwrap_or(&[]), mixer)?;
                    }
                    // What is not wanted has no gap.
                    Err(error) => {
                        damage.meet(error.at_byte(at))?;
                        let origin = self.recording.start;
                        let missing = inside.start - origin.min(inside.start)
                            ..inside.end - origin.min(inside.end);
                        match missing.is_empty() {
                            true => damage.forget(),
                            false => {
                                damage.fill(missing, at, |frames| mixer.push_silence(frames))?
                            }
                        }
                    }
                }
                begin += per_block;
            }
            Ok(())
        })
    }

    /// Hands blocks `blocks` to `take` in pieces, each with the byte where it lies.
    fn read(
        &self,
        source: &mut Source<'_>,
        blocks: Range<u64>,
        mut take: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let place = |block: u64| {
            let offset = block.saturating_mul(self.layout.block_bytes);
            self.data.start.saturating_add(offset).min(self.data.end)
        };
        let (mut at, last) = (place(blocks.start), place(blocks.end));
        let piece = PIECE.next_multiple_of(self.layout.block_bytes);
        let mut scratch = SCRATCH.take();
        let mut work = || {
            while at < last {
                let size = piece.min(last - at) as usize;
                take(at, source.piece_at(at, size, &mut scratch)?)?;
                at += size as u64;
            }
            Ok(())
        };
        let result = work();
        SCRATCH.set(scratch);
        result
    }
}

thread_local! {
    /// What [`Pcm::read`] reads into: for a short file new memory is dearer than reading.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn push_block(samples: &[i16], mixer: &mut Mixer) -> Result<()> {
    let sample = |b| f32::from(i16::from_ne_bytes(b)) * S16;
    mixer.push_interleaved(bytemuck::cast_slice(samples), sample)
}
