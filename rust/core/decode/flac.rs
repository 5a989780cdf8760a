//! Native FLAC to planes, with silence for damage, or with the MD5 of its header compared.

use std::ops::Range;

use super::damage::Damage;
use crate::codec::flac::frame::Frame;
use crate::codec::flac::output::{Checksum, Output};
use crate::container::flac::{Flac, Stream};
use crate::error::{Error, Result};
use crate::signal::mix::Mix;

/// Samples reserved at most on the header's word, of all planes together: three minutes of mono.
const MAX_RESERVED: u64 = 8 << 20;

impl Flac<'_> {
    /// Decodes samples `range`, cut at the end of the recording.
    pub(crate) fn decode(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let wanted = range.start.min(range.end)..range.end;
        let mut output = self.output(wanted.clone(), mix)?;
        if wanted.is_empty() {
            return Ok(output.into_planes());
        }
        self.seek(wanted.start)?;
        while self.position < wanted.end {
            match self.next_frame(wanted.end) {
                Ok(Some(frame)) => self.put(&frame, &wanted, &mut output)?,
                Ok(None) => break,
                Err(error) => {
                    damage.meet(error)?;
                    if !self.pass_damage(&wanted, &mut output, damage)? {
                        break;
                    }
                }
            }
        }
        Ok(output.into_planes())
    }

    /// Appends what is wanted of the frame that was decoded.
    fn put(&self, frame: &Frame, wanted: &Range<u64>, output: &mut Output) -> Result<()> {
        let length = frame.header.block_size;
        let begin = self.position - u64::from(length);
        output.set_depth(self.stream.info.bits);
        output.push(&self.decoder.block(), inside(wanted, begin, length))
    }

    /// Moves after damage, and puts silence for what it costs; whether the stream goes on.
    fn pass_damage(
        &mut self,
        wanted: &Range<u64>,
        output: &mut Output,
        damage: &mut Damage,
    ) -> Result<bool> {
        let place = |sample: u64| sample.clamp(wanted.start, wanted.end);
        let begin = self.position;
        if !self.resync()? {
            let end = self.declared().map_or(begin, |frames| frames.max(begin));
            damage.cut_short(place(begin)..place(end), self.at)?;
            return Ok(false);
        }
        let missing = place(begin)..place(self.position);
        if missing.is_empty() && begin < wanted.start {
            damage.forget();
        } else {
            damage.fill(missing, self.at, |frames| output.push_silence(frames))?;
        }
        Ok(true)
    }

    /// The same; all of the recording is decoded, and the MD5 of each stream compared with its header's, if
    /// that has one.
    pub(crate) fn decode_verified(&mut self, range: Range<u64>, mix: Mix) -> Result<Vec<Vec<f32>>> {
        let wanted = range.start.min(range.end)..range.end;
        let mut output = self.output(wanted.clone(), mix)?;
        let (mut stream, mut checksum) = (self.stream, Checksum::new(&self.info));
        let mut is_right = false;
        while let Some(frame) = self.next_frame(u64::MAX)? {
            let begin = self.position - u64::from(frame.header.block_size);
            // What follows the samples that the header counts, or begins anew, is often not in its checksum.
            let begins = self.numbers.is_some_and(|numbers| numbers.begin() == begin);
            if begins || Some(begin) == stream.end() {
                is_right |= checksum.is(&stream.info.md5);
            }
            if self.stream.at != stream.at {
                self.check_md5(&stream, is_right)?;
                stream = self.stream;
                (checksum, is_right) = (Checksum::new(&stream.info), false);
            }
            checksum.push(&self.decoder.block(), frame.header.block_size as usize);
            self.put(&frame, &wanted, &mut output)?;
        }
        self.check_md5(&stream, is_right || checksum.is(&stream.info.md5))?;
        Ok(output.into_planes())
    }

    fn check_md5(&self, stream: &Stream, is_right: bool) -> Result<()> {
        if is_right || stream.info.md5 == [0; 16] {
            return Ok(());
        }
        let reason = "the MD5 of the samples differs from the one in the FLAC header";
        Err(Error::corrupt(reason)
            .with_source(self.name.clone())
            .at_byte(stream.at))
    }

    fn output(&self, wanted: Range<u64>, mix: Mix) -> Result<Output> {
        let planes = mix.planes(self.info.channels as usize);
        let most = MAX_RESERVED / planes as u64;
        let told = |sample: u64| sample.min(self.info.frames);
        let room = told(wanted.end) - told(wanted.start);
        Output::with_capacity(&self.info, mix, room.min(most) as usize)
    }
}

/// The samples of a frame of `length` that begins at sample `begin` and are wanted.
fn inside(wanted: &Range<u64>, begin: u64, length: u32) -> Range<usize> {
    let length = u64::from(length);
    let place = |sample: u64| sample.saturating_sub(begin).min(length) as usize;
    place(wanted.start)..place(wanted.end)
}
