//! What the fuzz targets share: the invariants of a load, and streams with checksums made right.
//!
//! A target takes whole files, so that the committed ones serve as seeds, and puts the container's magic
//! in its place. Time is bounded by libFuzzer's `-timeout`.

#[path = "../../tests/rust/heap.rs"]
mod heap;
mod seal;

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use ossicle::pipeline::guarded;
use ossicle::{Clip, Damage, Decoder, Error, Mix, Request, Result, Source, load};

pub use seal::{he_aac_stream, opus_stream, sealed_flac, sealed_ogg};

/// Memory of one call: this, twice the input, and three times the samples.
const SPARE_BYTES: usize = 64 << 20;

/// A magic: bytes and where they stand.
pub type Magic<'a> = &'a [(usize, &'a [u8])];

/// `bytes` with one of `magics` in its place; the last byte says which.
pub fn stamped(bytes: &[u8], magics: &[Magic<'_>]) -> Vec<u8> {
    let mut stream = bytes.to_vec();
    let which = bytes
        .last()
        .map_or(0, |last| usize::from(*last) % magics.len());
    for (at, magic) in magics[which] {
        if let Some(place) = stream.get_mut(*at..at + magic.len()) {
            place.copy_from_slice(magic);
        }
    }
    stream
}

/// Samples or an error in each way to read `bytes`, in memory and as streams, and all ways agree.
///
/// # Panics
/// Where they do not; libFuzzer takes any panic for a fault, one that is caught further up too.
pub fn check(bytes: &[u8]) {
    let source = || Source::from_bytes("fuzzed", bytes);
    let info = guarded(|| Decoder::open(source())?.info());
    let whole = loaded(source(), false);
    let concealed = loaded(source(), true);
    let resampled = bounded(source(), &resampled_request(bytes));
    for error in [
        info.as_ref().err(),
        whole.as_ref().err(),
        resampled.as_ref().err(),
    ] {
        let within = |error: &Error| {
            error
                .byte_offset()
                .is_none_or(|at| at <= bytes.len() as u64)
        };
        assert!(error.is_none_or(within), "{error:?} is not in the file");
    }
    check_concealed(&whole, &concealed);
    check_streams(bytes, &whole);
    let (Ok(whole), Ok(info)) = (whole, info) else {
        return;
    };
    assert_eq!(info.frames, frames(&whole), "info tells another length");
    assert_eq!(info.channels as usize, whole.planes.len());
    check_range(source(), &whole, info.bits_per_sample.is_some(), bytes);
}

fn loaded(source: Source<'_>, conceal: bool) -> Result<Clip> {
    let request = Request {
        mix: Mix::All,
        allow_nonfinite: true,
        conceal,
        ..Request::default()
    };
    bounded(source, &request)
}

/// Loads within the memory that is allowed for it.
fn bounded(source: Source<'_>, request: &Request) -> Result<Clip> {
    let input = source.len() as usize;
    let (result, peak) = heap::peak_of(|| load(source, request));
    let planes = result.as_ref().map_or(&[][..], |clip| &clip.planes);
    let samples: usize = planes.iter().map(Vec::len).sum();
    let most = SPARE_BYTES + 2 * input + 12 * samples;
    assert!(peak <= most, "{peak} bytes for {samples} samples");
    result
}

/// A range that the bytes choose, so that fuzzing can move it.
fn resampled_request(bytes: &[u8]) -> Request {
    Request {
        sample_rate: Some(16_000),
        offset: f64::from(choice(bytes, 0)) / 256.0,
        duration: Some(f64::from(choice(bytes, 1)) / 256.0),
        ..Request::default()
    }
}

fn choice(bytes: &[u8], index: usize) -> u8 {
    bytes.iter().rev().nth(index).copied().unwrap_or(0)
}

fn frames(clip: &Clip) -> u64 {
    clip.planes.first().map_or(0, Vec::len) as u64
}

/// Concealment gives the same without damage, and as its first gap the error with it, or a later one.
fn check_concealed(whole: &Result<Clip>, concealed: &Result<Clip>) {
    match (whole, concealed) {
        (Ok(whole), Ok(clip)) => {
            assert!(clip.gaps.is_empty(), "a gap where there is no error");
            assert!(bits(&whole.planes) == bits(&clip.planes), "other samples");
        }
        (Ok(_), Err(error)) => panic!("{error} only with concealment"),
        (Err(error), Ok(clip)) => {
            // Damage that costs no frame, in front of the recording, leaves none.
            let gap = clip.gaps.first().map(|gap| text(&gap.error));
            let behind = gap.is_none_or(|gap| gap.1 >= error.byte_offset());
            assert!(
                behind || gap == Some(text(error)),
                "{gap:?} instead of {error}"
            );
        }
        // After the first damage there may be some that cannot be concealed.
        (Err(_), Err(_)) => {}
    }
}

/// A stream, also one that gives less than it is asked for, and a file come to what memory does.
fn check_streams(bytes: &[u8], whole: &Result<Clip>) {
    let cursor = || Cursor::new(bytes);
    let mut ways = vec![
        Source::from_stream("stream", Box::new(cursor())),
        Source::from_stream("trickle", Box::new(Trickle(cursor()))),
    ];
    // Writing takes longer than reading.
    if choice(bytes, 4).is_multiple_of(16) {
        let path = std::env::temp_dir().join(format!("ossicle-fuzz-{}", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary folder can be written to");
        ways.push(Source::open(&path));
    }
    for source in ways {
        let clip = loaded(source.expect("it can be opened"), false);
        match (&clip, whole) {
            (Ok(clip), Ok(whole)) => assert!(bits(&clip.planes) == bits(&whole.planes)),
            (Err(error), Err(wanted)) => assert_eq!(text(error), text(wanted)),
            (given, wanted) => panic!("{given:?}, in memory {wanted:?}"),
        }
    }
}

struct Trickle<'a>(Cursor<&'a [u8]>);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = 1 + self.0.position() as usize * 7 % 911;
        let count = most.min(buffer.len());
        self.0.read(&mut buffer[..count])
    }
}

impl Seek for Trickle<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn text(error: &Error) -> (&str, Option<u64>) {
    (error.reason(), error.byte_offset())
}

/// A range is as long as the slice of the whole, and equals it where the codec is lossless.
fn check_range(source: Source<'_>, whole: &Clip, lossless: bool, bytes: &[u8]) {
    let total = frames(whole);
    let begin = total * u64::from(choice(bytes, 2)) / 255;
    let end = (begin + 1 + u64::from(choice(bytes, 3))).min(total);
    let part =
        guarded(|| Decoder::open(source)?.decode_through(begin..end, Mix::All, &mut Damage::raise()));
    let part = part.unwrap_or_else(|error| panic!("{begin}..{end} of {total}: {error}"));
    let slice: Vec<_> = whole
        .planes
        .iter()
        .map(|plane| &plane[begin as usize..end as usize])
        .collect();
    assert!(
        part.iter()
            .zip(&slice)
            .all(|(part, slice)| part.len() == slice.len()),
        "{begin}..{end} of {total} is of another length"
    );
    let equal = bits(&part) == bits(&slice);
    assert!(
        equal || !lossless,
        "{begin}..{end} of {total} is not the slice of the whole"
    );
}

/// NaN equals itself here.
fn bits(planes: &[impl AsRef<[f32]>]) -> Vec<Vec<u32>> {
    let plane = |plane: &[f32]| plane.iter().map(|sample| sample.to_bits()).collect();
    planes
        .iter()
        .map(|samples| plane(samples.as_ref()))
        .collect()
}
