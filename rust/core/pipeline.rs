//! From a source to samples at the rate that was asked for; one clip, or a batch on threads.

use std::ops::Range;

use crate::bytes::source::Source;
use crate::decode::Choice;
use crate::decode::Decoder;
use crate::decode::damage::{Damage, Gap};
use crate::decode::reader::Place;
use crate::error::{Error, ErrorKind, Result};
pub use crate::guard::guarded;
use crate::pool;
use crate::signal::mix::{Mix, first_nonfinite};
use crate::signal::plane;
use crate::signal::resample::{Quality, Resampler, resampled_frames};

/// What to make of a source.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Rate of the result in Hz; `None` keeps the native one.
    pub sample_rate: Option<u32>,
    /// The mean of the channels, all of them, or one.
    pub mix: Mix,
    /// Where to begin, in seconds.
    pub offset: f64,
    /// How much to take, in seconds; `None`: to the end.
    pub duration: Option<f64>,
    /// Let NaN and infinite samples through.
    pub allow_nonfinite: bool,
    /// Decode all of it, whatever the range, and compare the checksum where the format carries one.
    pub verify: bool,
    /// Go on after damage, with silence for what is missing, and list the gaps.
    pub conceal: bool,
    /// Make what is careless in the file an error too, not a remark.
    pub strict: bool,
    /// How well to resample.
    pub quality: Quality,
    /// Which decoder makes the samples.
    pub decoder: Choice,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            sample_rate: None,
            mix: Mix::Mean,
            offset: 0.0,
            duration: None,
            allow_nonfinite: false,
            verify: false,
            conceal: false,
            strict: false,
            quality: Quality::default(),
            decoder: Choice::default(),
        }
    }
}

/// Decoded samples.
#[derive(Debug, Default)]
pub struct Clip {
    /// One plane per channel that is kept, or one for the mean, all of one length.
    pub planes: Vec<Vec<f32>>,
    /// Rate of the planes in Hz.
    pub sample_rate: u32,
    /// Rate of the source in Hz.
    pub native_rate: u32,
    /// What damage has cost, in samples of the planes from their start; empty unless it is concealed.
    pub gaps: Vec<Gap>,
}

/// Decodes one clip.
///
/// # Errors
/// One error that names the source and says what is wrong where; decoder panics become one too.
pub fn load(source: Source<'_>, request: &Request) -> Result<Clip> {
    let name = source.name().to_owned();
    let mut clip =
        guarded(|| load_unguarded(source, request)).map_err(|error| error.with_source(&name))?;
    for gap in &mut clip.gaps {
        gap.error.name_source(&name);
    }
    Ok(clip)
}

fn load_unguarded(source: Source<'_>, request: &Request) -> Result<Clip> {
    check_request(request)?;
    let mut decoder = Decoder::open_with(source.strict(request.strict), request.decoder)?;
    let native_rate = decoder.sample_rate();
    let sample_rate = request.sample_rate.unwrap_or(native_rate);
    let wanted = sample_range(request, sample_rate);
    let start = wanted.start;
    let mut damage = Damage::new(request.conceal);
    let made = if sample_rate == native_rate {
        decoded(&mut decoder, wanted.clone(), request, &mut damage)
    } else {
        converted(
            &mut decoder,
            wanted.clone(),
            request,
            sample_rate,
            &mut damage,
        )
    };
    let (planes, places) = match made {
        Err(_) if decoder.has_met_rate() && request.sample_rate.is_some() => {
            damage = Damage::new(request.conceal);
            joined(&mut decoder, wanted, request, sample_rate, &mut damage)?
        }
        planes => (planes?, vec![Place::first(native_rate)]),
    };
    let mut gaps = gaps_from(start, damage.into_gaps(), &places, sample_rate);
    if planes.first().is_none_or(Vec::is_empty) && !gaps.is_empty() {
        return Err(gaps.swap_remove(0).error);
    }
    Ok(Clip {
        planes,
        sample_rate,
        native_rate,
        gaps,
    })
}

/// Gaps in samples of the result, which begins at its sample `start`; its parts begin at `places`.
fn gaps_from(start: u64, mut gaps: Vec<Gap>, places: &[Place], sample_rate: u32) -> Vec<Gap> {
    for gap in &mut gaps {
        let samples = Place::samples(places, &gap.frames, sample_rate);
        gap.frames = samples.start.saturating_sub(start)..samples.end.saturating_sub(start);
    }
    gaps
}

fn check_request(request: &Request) -> Result<()> {
    let seconds_ok = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    if !seconds_ok(request.offset) {
        return Err(Error::invalid(format!(
            "offset must be at least 0 seconds, not {}",
            request.offset
        )));
    }
    if request.verify && request.conceal {
        return Err(Error::invalid(
            "verify and conceal exclude each other: pass one",
        ));
    }
    if request.decoder == Choice::Both && request.conceal {
        return Err(Error::invalid(
            r#"decoder="both" does not conceal damage: pass "native" or "symphonia""#,
        ));
    }
    match request.duration.filter(|duration| !seconds_ok(*duration)) {
        Some(duration) => Err(Error::invalid(format!(
            "duration must be at least 0 seconds, not {duration}"
        ))),
        None => Ok(()),
    }
}

/// Samples `round(offset * rate)` and `round(duration * rate)` on, halves to even as in Python.
fn sample_range(request: &Request, sample_rate: u32) -> Range<u64> {
    let samples = |seconds: f64| (seconds * f64::from(sample_rate)).round_ties_even() as u64;
    let start = samples(request.offset);
    let end = request
        .duration
        .map_or(u64::MAX, |duration| start.saturating_add(samples(duration)));
    start..end
}

fn decoded(
    decoder: &mut Decoder<'_>,
    range: Range<u64>,
    request: &Request,
    damage: &mut Damage,
) -> Result<Vec<Vec<f32>>> {
    let start = range.start;
    let is_checked = !request.allow_nonfinite && !decoder.is_finite();
    let planes = if request.verify {
        decoder.decode_verified(range, request.mix)?
    } else {
        decoder.decode_through(range, request.mix, damage)?
    };
    match is_checked.then(|| first_nonfinite(&planes)).flatten() {
        Some(index) => {
            let at = start + index as u64;
            let reason = format!("sample {at} is not a finite number");
            Err(Error::new(ErrorKind::NonFinite, reason).at_sample(at))
        }
        None => Ok(planes),
    }
}

fn converted(
    decoder: &mut Decoder<'_>,
    wanted: Range<u64>,
    request: &Request,
    sample_rate: u32,
    damage: &mut Damage,
) -> Result<Vec<Vec<f32>>> {
    let native_rate = decoder.sample_rate();
    let mut resampler = Resampler::checkout(native_rate, sample_rate, request.quality)?;
    let window = resampler.input_window(wanted.clone());
    let planes = decoded(decoder, window.clone(), request, damage)?;
    let got = planes.first().map_or(0, Vec::len) as u64;
    // Less than the window means that the signal ended inside it: then its length is known.
    let total = resampled_frames(window.start + got, native_rate, sample_rate);
    let end = if got < window.end - window.start {
        wanted.end.min(total)
    } else {
        wanted.end
    };
    let wanted = wanted.start.min(end)..end;
    let convert = |plane: &Vec<f32>| match wanted.is_empty() || got == 0 {
        true => Ok(Vec::new()),
        false => resampler.process(plane, wanted.clone()),
    };
    let planes = planes.iter().map(convert).collect();
    resampler.give_back();
    planes
}

/// Samples `wanted` of a recording whose rate changes, each part resampled by itself, and where these begin.
fn joined(
    decoder: &mut Decoder<'_>,
    wanted: Range<u64>,
    request: &Request,
    sample_rate: u32,
    damage: &mut Damage,
) -> Result<(Vec<Vec<f32>>, Vec<Place>)> {
    let to = (sample_rate, request.quality);
    if !request.verify {
        return decoder.decode_parts(wanted, to, request.mix, damage);
    }
    let (mut planes, places) = decoder.decode_parts(0..u64::MAX, to, request.mix, damage)?;
    planes
        .iter_mut()
        .for_each(|plane| plane::slice(plane, &wanted));
    Ok((planes, places))
}

/// What was put into a row of a batch.
#[derive(Debug, Default)]
pub struct Row {
    /// Samples; the rest of the row is zeros.
    pub length: usize,
    /// Rate of the source in Hz.
    pub native_rate: u32,
    /// As in [`Clip`].
    pub gaps: Vec<Gap>,
}

/// Decodes one clip to one plane into `row`, with zeros after it.
///
/// # Errors
/// As for [`load`], and when the clip is longer than the row; then the row is all zeros.
pub fn load_into(source: Source<'_>, request: &Request, row: &mut [f32]) -> Result<Row> {
    let name = source.name().to_owned();
    let loaded = load(source, request).and_then(|clip| {
        let plane = clip.planes.first().map_or(&[][..], Vec::as_slice);
        let room = row.len();
        let too_long = || {
            let length = plane.len();
            let reason =
                format!("the clip has {length} samples, and its row of out has room for {room}");
            Error::invalid(reason).with_source(name)
        };
        let place = row.get_mut(..plane.len()).ok_or_else(too_long)?;
        place.copy_from_slice(plane);
        Ok(Row {
            length: plane.len(),
            native_rate: clip.native_rate,
            gaps: clip.gaps,
        })
    });
    let length = loaded.as_ref().map_or(0, |loaded| loaded.length);
    row[length..].fill(0.0);
    loaded
}

/// Copies `planes` into the `rows` of one array, each of `width` samples, on up to `threads` threads.
///
/// What lies after a plane is left as it is; a plane is freed as soon as it is copied.
pub fn stack(planes: Vec<Vec<f32>>, rows: &mut [f32], width: usize, threads: usize) {
    let pairs = rows.chunks_exact_mut(width.max(1)).zip(planes);
    let copy = |(row, plane): (&mut [f32], Vec<f32>)| {
        row[..plane.len()].copy_from_slice(&plane);
        Ok(())
    };
    pool::each(pairs.collect(), threads, copy);
}

/// Decodes many clips on up to `threads` threads, in order, each with a result of its own.
pub fn load_batch(items: Vec<(Result<Source<'_>>, Request)>, threads: usize) -> Vec<Result<Clip>> {
    let weight =
        |(source, _): &(Result<Source<'_>>, Request)| source.as_ref().map_or(0, Source::len);
    pool::each_heaviest_first(items, threads, weight, |(source, request)| {
        load(source?, &request)
    })
}
