//! Recordings whose rate changes on the way: each part is resampled by itself, and the results joined.
//!
//! They are rare, and where a sample of the result comes from only what lies before it tells: they are decoded
//! from their beginning, whatever the range.

use std::ops::Range;

use super::CodecReader;
use super::pass::Pass;
use crate::decode::damage::Damage;
use crate::error::Result;
use crate::signal::mix::{Mix, Mixer};
use crate::signal::plane;
use crate::signal::resample::{self, Quality, Stream};

/// Where a part begins, in its recording and in what is made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// In frames of the recording.
    pub(crate) frame: u64,
    /// In Hz.
    pub(crate) rate: u32,
    /// In samples of the result at its own rate.
    pub(crate) sample: u64,
}

impl Place {
    /// Where a recording begins that has one rate.
    pub(crate) fn first(rate: u32) -> Self {
        Self {
            frame: 0,
            rate,
            sample: 0,
        }
    }

    /// Where `frames` of a recording are in what is made of it at `rate` Hz, whose parts begin at `places`.
    pub(crate) fn samples(places: &[Self], frames: &Range<u64>, rate: u32) -> Range<u64> {
        let placed = |frame: u64| {
            let place = places.iter().rfind(|place| place.frame <= frame);
            let place = place.or(places.first()).copied().unwrap_or(Self::first(1));
            let scaled = u128::from(frame.saturating_sub(place.frame)) * u128::from(rate);
            (place.sample, scaled, u128::from(place.rate))
        };
        let (sample, scaled, native) = placed(frames.start);
        let start = sample + (scaled / native) as u64;
        let (sample, scaled, native) = placed(frames.end);
        start..sample + scaled.div_ceil(native) as u64
    }
}

/// What has been made of the parts so far.
struct Joined {
    rate: u32,
    quality: Quality,
    wanted: Range<u64>,
    places: Vec<Place>,
    stream: Option<Stream>,
    /// Samples that were made, wanted or not.
    made: u64,
    /// Samples of the result on either side of its place that a frame has a share in, at most.
    reach: u64,
    planes: Vec<Vec<f32>>,
}

impl Joined {
    /// Resamples planes of one length that begin at `frame` of the recording and have `rate` Hz.
    fn push(&mut self, planes: &[Vec<f32>], rate: u32, frame: u64) -> Result<()> {
        if self.places.last().is_none_or(|place| place.rate != rate) {
            self.turn(rate, frame, planes.len())?;
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let samples = stream.push(&planes.concat())?;
        self.keep(&samples)
    }

    /// Ends the part at hand, and begins another.
    fn turn(&mut self, rate: u32, frame: u64, planes: usize) -> Result<()> {
        self.finish()?;
        self.stream = Some(Stream::new(rate, self.rate, self.quality, planes)?);
        self.reach = self
            .reach
            .max(resample::reach(rate, self.rate, self.quality));
        self.planes.resize_with(planes, Vec::new);
        let sample = self.made;
        self.places.push(Place {
            frame,
            rate,
            sample,
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(mut stream) = self.stream.take() {
            self.keep(&stream.flush()?)?;
        }
        Ok(())
    }

    /// Keeps what is wanted of the next samples, plane after plane.
    fn keep(&mut self, samples: &[f32]) -> Result<()> {
        let count = samples.len() / self.planes.len().max(1);
        let place = |sample: u64| sample.saturating_sub(self.made).min(count as u64) as usize;
        let kept = place(self.wanted.start)..place(self.wanted.end);
        plane::reserve(&mut self.planes, kept.len())?;
        for (plane, samples) in self.planes.iter_mut().zip(samples.chunks(count.max(1))) {
            plane.extend_from_slice(samples.get(kept.clone()).unwrap_or_default());
        }
        self.made += count as u64;
        Ok(())
    }

    /// The samples of the result that frames `part` of the recording have a share in.
    fn reached(&self, part: &Range<u64>) -> Range<u64> {
        let Range { start, end } = Place::samples(&self.places, part, self.rate);
        start.saturating_sub(self.reach)..end.saturating_add(self.reach)
    }

    fn is_done(&self) -> bool {
        self.made >= self.wanted.end
    }
}

impl CodecReader<'_> {
    /// Samples `wanted` of all parts at `rate` Hz, and where the parts begin.
    ///
    /// A part of n frames at r Hz gives `ceil(n * rate / r)` samples.
    ///
    /// # Errors
    /// As for [`CodecReader::decode`], and where channels change that are not mixed.
    pub(crate) fn decode_parts(
        &mut self,
        wanted: Range<u64>,
        (rate, quality): (u32, Quality),
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<(Vec<Vec<f32>>, Vec<Place>)> {
        self.rewind(mix)?;
        let mut joined = Joined {
            rate,
            quality,
            wanted,
            places: Vec::new(),
            stream: None,
            made: 0,
            reach: 0,
            planes: Vec::new(),
        };
        let end = self.demuxer.track().frames.unwrap_or(u64::MAX);
        let mut pass = Pass::new(0..end);
        let mut mixer = Mixer::new(self.channels.first.unwrap_or(0), mix, 0)?;
        while !joined.is_done() && !pass.is_done() && self.step(&mut pass, &mut mixer, damage)? {
            let planes = mixer.take_planes();
            let frames = planes.first().map_or(0, Vec::len) as u64;
            if frames > 0 {
                let begin = (pass.position.max(0) as u64).saturating_sub(frames);
                joined.push(&planes, self.rate_here(), begin)?;
            }
        }
        joined.finish()?;
        self.noise = self.noise.iter().map(|part| joined.reached(part)).collect();
        Ok((joined.planes, joined.places))
    }

    /// Moves to the first packet, and lets those that follow be of any rate.
    fn rewind(&mut self, mix: Mix) -> Result<()> {
        self.takes_any_rate = true;
        self.noise.clear();
        self.restart_at(i64::MIN)?;
        self.set_mix(mix);
        Ok(())
    }
}
