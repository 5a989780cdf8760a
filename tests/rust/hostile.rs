//! Every flipped bit and every cut of a small file of each kind: samples or one error, in time and memory.
//!
//! All of them are read in memory; some also by path and as streams, which must come to the same.
//! `OSSICLE_HOSTILE=mp3` takes only the files with that in their names, and `OSSICLE_MUTATIONS=100000` makes
//! so many files of heavier damage instead of a few, each read by every way; `OSSICLE_FILES` names a folder
//! whose files are damaged so, too. With `OSSICLE_ONE_IN=17` one flip and one cut in so many is tried; an odd
//! number comes to every bit of a byte.
//!
//! `tests/data/hostile/README.md` says how the files were made; `regressions/` beside them holds what
//! the fuzz targets have found, which is run as it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ossicle::pipeline::guarded;
use ossicle::resample::Quality;
use ossicle::{AudioInfo, Choice, Clip, Decoder, Error, Mix, Request, Result, Source, load};

use super::heap;

/// What one call may take; a slower one is tried again, since the machine has other work.
const LONGEST_CALL: Duration = Duration::from_secs(1);
/// A call that takes longer is a hang, which only the end of the process can stop.
const HANG: Duration = Duration::from_secs(60);
/// Memory of one call: this, twice the input, and three times the samples.
const SPARE_BYTES: usize = 64 << 20;
/// How many faults are printed, of each kind in each file.
const SHOWN: usize = 3;
/// Of flips and cuts one in so many is read by every way.
const SAMPLED: u64 = 48;
/// Files of heavier damage, where the environment does not ask for another number.
const MUTATIONS: usize = 600;
/// Places in other people's code that are known to panic on damage, by the file and why it stays.
const KNOWN_PANICS: [(&str, &str); 0] = [];

/// Where a panic came from: the hook keeps it for the call in which it is caught.
mod panics {
    use super::{Cell, RefCell};

    thread_local! {
        static WATCHED: Cell<bool> = const { Cell::new(false) };
        static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    pub(super) fn install() {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match WATCHED.get() {
            true => PLACE.set(Some(panic.to_string().replace('\n', " "))),
            false => default(panic),
        }));
    }

    /// The result of `work`, and the last panic in it.
    pub(super) fn watch<T>(work: impl FnOnce() -> T) -> (T, Option<String>) {
        PLACE.set(None);
        WATCHED.set(true);
        let result = work();
        WATCHED.set(false);
        (result, PLACE.take())
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    /// Bits are counted from the highest of the first byte.
    Flip {
        bit: usize,
    },
    Cut {
        length: usize,
    },
    /// Some of everything.
    Mutation {
        seed: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "as it is"),
            Self::Flip { bit } => write!(f, "byte {} bit {} flipped", bit / 8, bit % 8),
            Self::Cut { length } => write!(f, "cut to {length} bytes"),
            Self::Mutation { seed } => write!(f, "mutation {seed}"),
        }
    }
}

impl Change {
    fn all(length: usize) -> Vec<Self> {
        let flips = (0..8 * length).map(|bit| Self::Flip { bit });
        let cuts = (0..length).map(|length| Self::Cut { length });
        flips.chain(cuts).collect()
    }

    fn apply(self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        match self {
            Self::None => {}
            Self::Flip { bit } => changed[bit / 8] ^= 0x80 >> (bit % 8),
            Self::Cut { length } => changed.truncate(length),
            Self::Mutation { seed } => mutate(&mut changed, Random(seed)),
        }
        changed
    }

    /// Whether this one is read by every way.
    fn is_sampled(self) -> bool {
        let number = match self {
            Self::None | Self::Mutation { .. } => return true,
            Self::Flip { bit } => bit,
            Self::Cut { length } => length,
        };
        Random(number as u64).next().is_multiple_of(SAMPLED)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// One to eight changes: most of them near the beginning, where headers are.
fn mutate(bytes: &mut Vec<u8>, mut random: Random) {
    for _ in 0..=random.below(8) {
        let reach = [64, 512, bytes.len()][random.below(3)].min(bytes.len());
        let at = random.below(reach);
        let end = (at + 1 + random.below(64)).min(bytes.len());
        match random.below(7) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at..end].fill([0, 0x7F, 0xFF][random.below(3)]),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.extend_from_within(at..end),
            5 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes[at..end].rotate_left(1),
        }
    }
}

/// How a file comes in, other than in memory.
#[derive(Clone, Copy, Debug)]
enum Way {
    Path,
    Stream,
    /// A stream that gives less than it is asked for.
    ShortReads,
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

impl Way {
    const ALL: [Self; 3] = [Self::Path, Self::Stream, Self::ShortReads];

    /// `bytes`, which also lie at `path`.
    fn open<'a>(self, bytes: &'a [u8], path: &Path) -> Result<Source<'a>> {
        let cursor = Cursor::new(bytes);
        match self {
            Self::Path => Source::open(path),
            Self::Stream => Source::from_stream("test", Box::new(cursor)),
            Self::ShortReads => Source::from_stream("test", Box::new(Trickle(cursor))),
        }
    }
}

/// A file, and what it gives undamaged.
struct Sample {
    name: String,
    bytes: Vec<u8>,
    planes: Vec<Vec<f32>>,
}

impl Sample {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let planes = load_as(&bytes, &WHOLE).map_or(Vec::new(), |clip| clip.planes);
        Self {
            name,
            bytes,
            planes,
        }
    }

    /// Checksums cover all of the file that decides about samples.
    fn is_checked(&self) -> bool {
        let checked = [".flac", ".oga", ".ogg", ".opus"];
        checked.iter().any(|suffix| self.name.ends_with(suffix))
    }
}

const WHOLE: Request = Request {
    sample_rate: None,
    mix: Mix::All,
    offset: 0.0,
    duration: None,
    allow_nonfinite: true,
    verify: false,
    conceal: false,
    strict: false,
    quality: Quality::High,
    decoder: Choice::Native,
};
const CONCEALED: Request = Request {
    conceal: true,
    ..WHOLE
};
const RANGE: Request = Request {
    sample_rate: Some(16_000),
    mix: Mix::Mean,
    offset: 0.01,
    duration: Some(0.02),
    ..WHOLE
};

fn load_as(bytes: &[u8], request: &Request) -> Result<Clip> {
    load(Source::from_bytes("test", bytes), request)
}

fn info_of(bytes: &[u8]) -> Result<AudioInfo> {
    guarded(|| Decoder::open(Source::from_bytes("test", bytes))?.info())
}

/// One fault: its kind, by which faults are counted, and the particulars.
type Fault = (&'static str, String);

/// Runs one call and checks what holds for each: no panic, time, memory, the error's place.
fn checked<T>(
    bytes: &[u8],
    faults: &mut Vec<Fault>,
    samples: impl Fn(&T) -> usize,
    call: impl Fn() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let ((result, panic), peak) = heap::peak_of(|| panics::watch(&call));
    let known = |place: &String| KNOWN_PANICS.iter().any(|(file, _)| place.contains(file));
    if let Some(place) = panic.filter(|place| !known(place)) {
        faults.push(("panic", place));
    }
    if start.elapsed() > LONGEST_CALL && (0..3).all(|_| took(&call) > LONGEST_CALL) {
        faults.push(("slow", format!("took {:?}", start.elapsed())));
    }
    let count = result.as_ref().map_or(0, samples);
    if peak > SPARE_BYTES + 2 * bytes.len() + 3 * 4 * count {
        faults.push(("memory", format!("{peak} bytes for {count} samples")));
    }
    if let Err(error) = &result {
        let length = bytes.len() as u64;
        if error.byte_offset().is_some_and(|at| at > length) {
            faults.push(("place", format!("byte of {error} is not in the file")));
        }
    }
    result
}

fn took<T>(call: impl Fn() -> T) -> Duration {
    let (start, worked) = (Instant::now(), processor_time());
    let _ = call();
    match (worked, processor_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => start.elapsed(),
    }
}

/// What this thread has had of a processor, where the system tells: other work does not count.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn sample_count(clip: &Clip) -> usize {
    clip.planes.iter().map(Vec::len).sum()
}

fn same(left: &[Vec<f32>], right: &[Vec<f32>]) -> bool {
    let bits = |planes: &[Vec<f32>]| -> Vec<Vec<u32>> {
        let plane = |plane: &Vec<f32>| plane.iter().map(|sample| sample.to_bits()).collect();
        planes.iter().map(plane).collect()
    };
    left == right || bits(left) == bits(right)
}

/// All that is asked of one damaged file; `scratch` is a place for it.
fn run(sample: &Sample, change: Change, scratch: &Path) -> Vec<Fault> {
    let bytes = change.apply(&sample.bytes);
    let mut faults = Vec::new();
    let info = checked(&bytes, &mut faults, |_| 0, || info_of(&bytes));
    let mut loaded = |request: &Request| {
        checked(&bytes, &mut faults, sample_count, || {
            load_as(&bytes, request)
        })
    };
    let whole = loaded(&WHOLE);
    let concealed = loaded(&CONCEALED);
    let range = loaded(&RANGE);
    faults.extend(info_fault(&info, &whole));
    if change.is_sampled() {
        std::fs::write(scratch, &bytes).unwrap();
        let in_memory = [(&WHOLE, &whole), (&CONCEALED, &concealed), (&RANGE, &range)];
        for way in Way::ALL {
            way_faults(way, &bytes, scratch, &info, in_memory, &mut faults);
        }
    }
    if matches!(change, Change::Mutation { .. }) {
        return faults;
    }
    let told = info.as_ref().map_or(0, |info| info.frames as usize);
    let frames = [told, sample.planes.first().map_or(0, Vec::len)];
    faults.extend(conceal_fault(&whole, &concealed, frames));
    if sample.is_checked() && is_cut_between_streams(sample, change) {
        faults.extend(beginning_fault(sample, &whole));
    } else if sample.is_checked() {
        faults.extend(sample_fault(sample, &whole, &concealed));
    }
    faults
}

/// Every way comes to what memory does.
fn way_faults(
    way: Way,
    bytes: &[u8],
    path: &Path,
    info: &Result<AudioInfo>,
    in_memory: [(&Request, &Result<Clip>); 3],
    faults: &mut Vec<Fault>,
) {
    let call = || guarded(|| Decoder::open(way.open(bytes, path)?)?.info());
    let told = checked(bytes, faults, |_| 0, call);
    let differs = match (&told, info) {
        (Ok(told), Ok(info)) => told != info,
        (told, info) => failure(told) != failure(info),
    };
    if differs {
        let fault = format!("{way:?}: info {told:?}, in memory {info:?}");
        faults.push(("way", fault));
    }
    for (request, wanted) in in_memory {
        let call = || load(way.open(bytes, path)?, request);
        let given = checked(bytes, faults, sample_count, call);
        let differs = match (&given, wanted) {
            (Ok(given), Ok(wanted)) => !same(&given.planes, &wanted.planes),
            (given, wanted) => failure(given) != failure(wanted),
        };
        if differs {
            let (given, wanted) = (failure(&given), failure(wanted));
            let fault = format!("{way:?}: {given:?}, in memory {wanted:?} (None: samples)");
            faults.push(("way", fault));
        }
    }
}

fn failure<T>(result: &Result<T>) -> Option<(&str, Option<u64>)> {
    result.as_ref().err().map(text)
}

/// Whether a file was cut where a stream may end: between two pages of Ogg, whose end no page tells then (a remark),
/// or before the mark of the next FLAC stream is whole.
fn is_cut_between_streams(sample: &Sample, change: Change) -> bool {
    let Change::Cut { length } = change else {
        return false;
    };
    let is_mark = |at: usize| at > 0 && sample.bytes[at..].starts_with(b"fLaC");
    sample.bytes[length..].starts_with(b"OggS\0")
        || (length.saturating_sub(7)..=length).any(is_mark)
}

/// `info` tells what `load` gives.
fn info_fault(info: &Result<AudioInfo>, whole: &Result<Clip>) -> Option<Fault> {
    let (Ok(info), Ok(whole)) = (info, whole) else {
        return None;
    };
    let told = (info.frames, info.channels as usize, info.sample_rate);
    let frames = whole.planes.first().map_or(0, Vec::len) as u64;
    let given = (frames, whole.planes.len(), whole.native_rate);
    let wrong = || format!("(frames, channels, rate): info {told:?}, load {given:?}");
    (told != given).then(|| ("info", wrong()))
}

/// Concealment changes nothing where there is no damage. Where there is, its first gap is the error
/// without it, or one after that: damage in front of the recording, or in less than a frame at its
/// end, costs no frame: then as many as `frames` are there, which the header or the whole file tells.
fn conceal_fault(
    whole: &Result<Clip>,
    concealed: &Result<Clip>,
    frames: [usize; 2],
) -> Option<Fault> {
    let wrong = match (whole, concealed) {
        (Ok(_), Ok(clip)) if !clip.gaps.is_empty() => {
            format!("{} only with concealment", clip.gaps[0].error)
        }
        (Ok(whole), Ok(clip)) if !same(&whole.planes, &clip.planes) => "other samples".to_owned(),
        (Ok(_), Err(error)) => format!("{error} only with concealment"),
        (Err(error), Ok(clip)) => match clip.gaps.first() {
            Some(gap) if text(&gap.error) == text(error) => return gap_fault(clip),
            Some(gap) if error.byte_offset() <= gap.error.byte_offset() => return gap_fault(clip),
            Some(gap) => format!("first gap {}, without concealment {error}", gap.error),
            None if frames.contains(&clip.planes.first().map_or(0, Vec::len)) => return None,
            None => format!("no gap for {error}"),
        },
        // After the first damage there may be some that cannot be concealed.
        _ => return None,
    };
    Some(("conceal", wrong))
}

/// An error without its source, which gaps do not name.
fn text(error: &Error) -> (&str, Option<u64>) {
    (error.reason(), error.byte_offset())
}

/// Gaps lie end to end, and are silent.
fn gap_fault(clip: &Clip) -> Option<Fault> {
    let mut end = 0;
    for gap in &clip.gaps {
        let frames = gap.frames.start as usize..gap.frames.end as usize;
        let silent = |plane: &Vec<f32>| {
            let inside = plane.iter().take(frames.end).skip(frames.start);
            inside.into_iter().all(|sample| *sample == 0.0)
        };
        if frames.start < end || frames.end < frames.start {
            return Some(("gaps", format!("{frames:?} behind {end}")));
        }
        if !clip.planes.iter().all(silent) {
            return Some(("gaps", format!("{frames:?} is not silent")));
        }
        end = frames.end;
    }
    None
}

/// What is left of a file that was cut between two pages or streams is its beginning.
fn beginning_fault(sample: &Sample, whole: &Result<Clip>) -> Option<Fault> {
    let clip = whole.as_ref().ok()?;
    let is_beginning = |(part, whole): (&Vec<f32>, &Vec<f32>)| whole.starts_with(part);
    let mut planes = clip.planes.iter().zip(&sample.planes);
    let reason = "other samples than those of the beginning".to_owned();
    (!planes.all(is_beginning)).then_some(("samples", reason))
}

/// Where there are checksums, damage gives an error or the same samples, never other ones.
fn sample_fault(sample: &Sample, whole: &Result<Clip>, concealed: &Result<Clip>) -> Option<Fault> {
    match (whole, concealed) {
        (Ok(clip), _) if !same(&clip.planes, &sample.planes) => {
            let given = clip.planes.first().map_or(0, Vec::len);
            let wanted = sample.planes.first().map_or(0, Vec::len);
            let reason = format!("{given} samples of {wanted}, or others, and no error");
            Some(("samples", reason))
        }
        // A link whose header declares another length moves the links after it.
        (Err(_), Ok(clip)) if sample.name.contains("flac") && !sample.name.contains("chained") => {
            outside_fault(sample, clip)
        }
        _ => None,
    }
}

/// Outside of gaps each sample is what it was.
fn outside_fault(sample: &Sample, clip: &Clip) -> Option<Fault> {
    let gone = |frame: usize| {
        clip.gaps
            .iter()
            .any(|gap| gap.frames.contains(&(frame as u64)))
    };
    for (plane, whole) in clip.planes.iter().zip(&sample.planes) {
        let differs = |(frame, value): (usize, &f32)| {
            !gone(frame) && whole.get(frame).is_none_or(|wanted| wanted != value)
        };
        if let Some(frame) = plane.iter().enumerate().position(differs) {
            return Some((
                "samples",
                format!("frame {frame} outside of gaps is another"),
            ));
        }
    }
    None
}

/// Faults by file and kind: how many, and the first of them.
type Report = BTreeMap<(String, &'static str), (usize, Vec<String>)>;

/// What a thread is busy with, and since when.
type Busy = Mutex<Option<(Instant, usize, Change)>>;

/// Runs all of `changes`, each the number of a sample and what is done to it, on all processors.
fn run_all(samples: &[Sample], changes: &[(usize, Change)]) -> Report {
    panics::install();
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let busy: Vec<Busy> = (0..threads).map(|_| Mutex::new(None)).collect();
    let folder = tempfile::tempdir().unwrap();
    let work = |thread: usize, busy: &Busy| {
        let scratch = folder.path().join(thread.to_string());
        while let Some(&(index, change)) = changes.get(next.fetch_add(1, Ordering::Relaxed)) {
            *busy.lock().unwrap() = Some((Instant::now(), index, change));
            for (kind, fault) in run(&samples[index], change, &scratch) {
                let mut report = report.lock().unwrap();
                let entry = report
                    .entry((samples[index].name.clone(), kind))
                    .or_default();
                entry.0 += 1;
                if entry.1.len() < SHOWN {
                    entry.1.push(format!("{change}: {fault}"));
                }
            }
        }
        *busy.lock().unwrap() = None;
    };
    std::thread::scope(|scope| {
        let started = busy.iter().enumerate();
        let started = started.map(|(thread, busy)| scope.spawn(move || work(thread, busy)));
        let started: Vec<_> = started.collect();
        while started.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            stop_hangs(samples, &busy);
        }
    });
    report.into_inner().unwrap()
}

fn stop_hangs(samples: &[Sample], busy: &[Busy]) {
    for busy in busy {
        if let Some((since, index, change)) = *busy.lock().unwrap()
            && since.elapsed() > HANG
        {
            eprintln!("hang: {} {change}", samples[index].name);
            std::process::exit(101);
        }
    }
}

fn fail_with(report: &Report) {
    let line = |((file, kind), (count, first)): (&(String, &str), &(usize, Vec<String>))| {
        format!("{file}: {kind} x {count}\n    {}", first.join("\n    "))
    };
    let lines: Vec<_> = report.iter().map(line).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/hostile")
        .join(folder);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && path.extension().is_some_and(|suffix| suffix != "md"));
    paths.sort();
    paths
}

#[test]
fn every_flipped_bit_and_every_cut_is_survived() {
    let samples = chosen(&files(""));
    let changes = samples.iter().enumerate().flat_map(|(index, sample)| {
        let changes = Change::all(sample.bytes.len());
        changes.into_iter().map(move |change| (index, change))
    });
    let one_in = std::env::var("OSSICLE_ONE_IN").map_or(1, |number| number.parse().unwrap());
    let changes: Vec<_> = changes.step_by(one_in).collect();
    fail_with(&run_all(&samples, &changes));
}

/// The samples that the environment lets through.
fn chosen(paths: &[PathBuf]) -> Vec<Sample> {
    let only = std::env::var("OSSICLE_HOSTILE").unwrap_or_default();
    let samples = paths.iter().map(|path| Sample::read(path));
    samples
        .filter(|sample| sample.name.contains(&only))
        .collect()
}

#[test]
fn heavier_damage_is_survived_by_every_way_in() {
    let asked = std::env::var("OSSICLE_MUTATIONS").ok();
    let count = asked.map_or(MUTATIONS, |count| count.parse().unwrap());
    let more = std::env::var("OSSICLE_FILES").map_or(Vec::new(), |folder| files(&folder));
    let samples = chosen(&[files(""), files("regressions"), more].concat());
    let mutation = |index: usize| {
        let seed = index as u64;
        (index % samples.len().max(1), Change::Mutation { seed })
    };
    let changes: Vec<_> = (0..count).map(mutation).collect();
    fail_with(&run_all(&samples, &changes));
}

#[test]
fn the_files_are_decoded_as_they_are() {
    for path in files("") {
        let bytes = std::fs::read(&path).unwrap();
        let clip = load_as(&bytes, &WHOLE);
        assert!(
            clip.is_ok_and(|clip| sample_count(&clip) > 100),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_fuzzing_found_is_survived() {
    let samples: Vec<_> = files("regressions")
        .iter()
        .map(|path| Sample::read(path))
        .collect();
    let changes: Vec<_> = (0..samples.len())
        .map(|index| (index, Change::None))
        .collect();
    fail_with(&run_all(&samples, &changes));
}
