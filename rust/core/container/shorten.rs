//! Shorten streams, in a file of their own (`.shn`) or in NIST SPHERE.

use super::pcm::Pcm;
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::flac::Fault;
use crate::codec::flac::bits::Bits;
use crate::codec::packet::damaged;
use crate::codec::shorten::header::{Header, MAGIC};
use crate::codec::shorten::{Decoder, Step};
use crate::error::{Error, Result};

/// Bytes that most commands fit in.
const NEED: usize = 4096;

/// What a container tells of its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// FFmpeg's short name.
    pub(crate) container: &'static str,
    /// Where the stream begins.
    pub(crate) at: u64,
    /// In Hz.
    pub(crate) sample_rate: u32,
    /// Channels and samples of each, where they are declared.
    pub(crate) channels: Option<u32>,
    pub(crate) frames: Option<u64>,
}

/// An opened stream, and how far it is decoded.
pub(crate) struct Shorten<'a> {
    window: Window<'a>,
    pub(crate) facts: Facts,
    header: Header,
    /// The first command.
    first: Place,
    place: Place,
    decoder: Decoder,
    /// Samples of each channel that are decoded.
    pub(crate) position: u64,
}

/// A bit of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    at: u64,
    bit: usize,
}

impl Place {
    fn after(self, bits: usize) -> Self {
        let bits = self.bit + bits;
        Self {
            at: self.at + bits as u64 / 8,
            bit: bits % 8,
        }
    }
}

/// Opens a file that is a stream and nothing else: the header of the file that was compressed tells the rate.
///
/// # Errors
/// When its head is cut short or damaged, or has no header of WAV, AIFF or AU in it.
pub(crate) fn open(source: Source<'_>) -> Result<Shorten<'_>> {
    let facts = Facts {
        container: "shn",
        at: 0,
        sample_rate: 0,
        channels: None,
        frames: None,
    };
    let mut shorten = Shorten::new(source, facts)?;
    let pcm = pcm_of(&shorten.header.foreign).ok_or_else(|| {
        let reason =
            "the Shorten stream has no WAV, AIFF or AU header in it that tells the sample rate";
        Error::unsupported(reason)
    })?;
    shorten.facts.sample_rate = pcm.sample_rate();
    shorten.facts.frames = Some(pcm.frames()).filter(|_| pcm.is_promised());
    Ok(shorten)
}

/// What the header of the file that was compressed says; its remarks are on a file that is not there.
fn pcm_of(header: &[u8]) -> Option<Pcm> {
    super::open_pcm(&mut Source::from_bytes("header", header)).ok()?
}

impl<'a> Shorten<'a> {
    /// The stream that `facts` tell of.
    ///
    /// # Errors
    /// When its head is cut short or damaged.
    pub(crate) fn new(source: Source<'a>, facts: Facts) -> Result<Self> {
        let mut window = Window::new(source);
        let (header, bits) = read_header(&mut window, facts.at)?;
        let first = Place {
            at: facts.at,
            bit: 0,
        }
        .after(bits);
        let channels = header.channels as u32;
        if facts.channels.is_some_and(|declared| declared != channels) {
            let reason = format!(
                "the header declares other than the {channels} channels of its Shorten stream"
            );
            window.remark(Error::corrupt(reason).at_byte(facts.at))?;
        }
        Ok(Self {
            window,
            facts,
            first,
            place: first,
            decoder: Decoder::new(&header),
            header,
            position: 0,
        })
    }

    pub(crate) fn channels(&self) -> usize {
        self.header.channels
    }

    /// Bits of one sample of what was compressed.
    pub(crate) fn bits(&self) -> u32 {
        self.header.kind.bits()
    }

    /// The byte that comes next.
    pub(crate) fn at(&self) -> u64 {
        self.place.at
    }

    /// The block that was decoded last.
    pub(crate) fn planes(&self) -> &[Vec<f32>] {
        self.decoder.planes()
    }

    /// Goes back to the first sample.
    pub(crate) fn restart(&mut self) {
        if self.position > 0 || self.place != self.first {
            self.decoder = Decoder::new(&self.header);
            (self.place, self.position) = (self.first, 0);
        }
    }

    /// Decodes the next block of all channels and gives its length; `None` at the end mark.
    ///
    /// # Errors
    /// Damage, and an end without its mark, with the byte.
    pub(crate) fn next_block(&mut self) -> Result<Option<usize>> {
        loop {
            match self.step()? {
                Step::Block => {
                    let frames = self.decoder.frames();
                    self.position += frames as u64;
                    return Ok(Some(frames));
                }
                Step::End => return self.check_count().map(|()| None),
                Step::Other => {}
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        let mut need = NEED;
        loop {
            let (at, rest) = (
                self.place.at,
                self.window.len().saturating_sub(self.place.at),
            );
            let bytes = self.window.at(at, need, rest)?;
            let mut bits = Bits::new(bytes);
            bits.read(self.place.bit as u32);
            let (stood, all) = (bits.place(), bytes.len());
            match self.decoder.step(&mut bits) {
                Ok(step) => {
                    self.place = self.place.after(bits.place() - stood);
                    return Ok(step);
                }
                Err(Fault::Short) if (all as u64) < rest => need = 2 * all.max(need),
                Err(fault) => return Err(error(fault, at, self.window.len())),
            }
        }
    }

    /// That there are as many samples as were declared; others are there all the same.
    fn check_count(&self) -> Result<()> {
        let declared = self.facts.frames.filter(|frames| *frames != self.position);
        let Some(declared) = declared else {
            return Ok(());
        };
        let position = self.position;
        let reason = format!(
            "the header declares {declared} samples and the Shorten stream has {position}: all of these are read"
        );
        self.window
            .remark(Error::corrupt(reason).at_byte(self.facts.at))
    }
}

fn read_header(window: &mut Window<'_>, at: u64) -> Result<(Header, usize)> {
    let mut need = NEED;
    loop {
        let (rest, len) = (window.len().saturating_sub(at), window.len());
        let bytes = window.at(at, need, rest)?;
        if !MAGIC.iter().zip(bytes).all(|(one, other)| one == other) {
            let reason = "the Shorten stream does not begin with its mark (ajkg)";
            return Err(Error::corrupt(reason).at_byte(at));
        }
        match Header::read(bytes).map_err(|error| error.at_byte(at))? {
            Ok(read) => return Ok(read),
            Err(Fault::Short) if (bytes.len() as u64) < rest => need = 2 * bytes.len().max(need),
            Err(fault) => return Err(error(fault, at, len)),
        }
    }
}

/// What is wrong with a command at byte `at` of `len`.
fn error(fault: Fault, at: u64, len: u64) -> Error {
    match fault {
        Fault::Damaged(reason) => damaged(reason).at_byte(at),
        _ => {
            let reason = "the Shorten stream is cut short: it ends without its end mark";
            Error::corrupt(reason).at_byte(len)
        }
    }
}
