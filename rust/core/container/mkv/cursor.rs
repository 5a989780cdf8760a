//! The packets of a segment in order, as they lie in clusters and blocks: RFC 9559, section 5.1.3.

use std::collections::VecDeque;

use super::block::{self, Head};
use super::ebml::{self, CLUSTER, CRC_32, Element, SEGMENT, VOID, each_child};
use crate::bytes::window::Window;
use crate::error::{Error, Result};

pub(super) const EBML: u32 = 0x1A45_DFA3;
pub(super) const SEEK_HEAD: u32 = 0x114D_9B74;
pub(super) const INFO: u32 = 0x1549_A966;
pub(super) const TRACKS: u32 = 0x1654_AE6B;
pub(super) const CUES: u32 = 0x1C53_BB6B;
const ATTACHMENTS: u32 = 0x1941_A469;
const CHAPTERS: u32 = 0x1043_A770;
const TAGS: u32 = 0x1254_C367;
const TIMESTAMP: u32 = 0xE7;
const SILENT_TRACKS: u32 = 0x5854;
const POSITION: u32 = 0xA7;
const PREV_SIZE: u32 = 0xAB;
const ENCRYPTED_BLOCK: u32 = 0xAF;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const DISCARD_PADDING: u32 = 0x75A2;

/// Whether a segment holds elements with this identifier, aside from clusters.
pub(super) fn is_top_level(id: u32) -> bool {
    matches!(
        id,
        SEEK_HEAD | INFO | TRACKS | CUES | ATTACHMENTS | CHAPTERS | TAGS | VOID | CRC_32
    )
}

/// Bytes looked at ahead where clusters are passed over.
const GLANCE_BYTES: u64 = 64;
/// Bytes of a cluster's identifier.
const MARK_BYTES: usize = 4;
/// Bytes looked at per search for a cluster.
const SEARCH_BYTES: u64 = 64 * 1024;

/// One packet of the track, not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Its bytes in the file.
    pub(super) at: u64,
    pub(super) size: usize,
    /// In ticks, of the first packet of a block.
    pub(super) time: Option<i64>,
    /// Nanoseconds of padding at its end.
    pub(super) padding_ns: u64,
}

pub(super) struct Cursor<'a> {
    pub(super) window: Window<'a>,
    pub(super) segment: Element,
    /// Where the first cluster begins, or the segment ends.
    pub(super) first: u64,
    /// The numbers of all tracks, and of the one that is read.
    numbers: Vec<u64>,
    track: u64,
    /// Where the next element begins.
    pub(super) at: u64,
    cluster: Option<Cluster>,
    frames: VecDeque<Frame>,
    pub(super) has_ended: bool,
    /// The cluster that was entered, while its checksum is not compared.
    unchecked: Option<Element>,
}

#[derive(Clone, Copy)]
struct Cluster {
    end: u64,
    time: Option<u64>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(
        window: Window<'a>,
        segment: Element,
        first: u64,
        numbers: Vec<u64>,
        track: u64,
    ) -> Self {
        Self {
            window,
            segment,
            first,
            numbers,
            track,
            at: first,
            cluster: None,
            frames: VecDeque::new(),
            has_ended: false,
            unchecked: None,
        }
    }

    /// Goes on with the first cluster of another segment.
    pub(super) fn enter_segment(
        &mut self,
        segment: Element,
        first: u64,
        numbers: Vec<u64>,
        track: u64,
    ) {
        (self.segment, self.first) = (segment, first);
        (self.numbers, self.track) = (numbers, track);
        self.go_to(first);
    }

    /// Goes on with the element at `at`, which the segment holds.
    pub(super) fn go_to(&mut self, at: u64) {
        self.at = at;
        self.cluster = None;
        self.frames.clear();
        self.has_ended = false;
        self.unchecked = None;
    }

    /// Compares the checksum of the cluster that is read, for which all of its bytes are read. After a
    /// wrong one its packets go on: most are whole.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.unchecked.take() {
            Some(cluster) if cluster.end <= self.window.len() => {
                ebml::check_sum(&mut self.window, &cluster)
            }
            _ => Ok(()),
        }
    }

    /// The track's next packet; after damage it goes on with the next cluster.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if self.has_ended {
                return Ok(None);
            }
            if let Err(error) = self.step() {
                let error = error.at_byte(self.at);
                self.find_cluster();
                return Err(error);
            }
        }
    }

    fn step(&mut self) -> Result<()> {
        let end = self.cluster.map_or(self.segment.end, |cluster| cluster.end);
        let ahead = end.saturating_sub(self.at);
        let Some(element) = ebml::element(&mut self.window, self.at, end, ahead)? else {
            self.has_ended = self.cluster.take().is_none();
            return Ok(());
        };
        match element.id {
            CLUSTER => {
                self.enter(&element);
                return Ok(());
            }
            // Another file follows.
            EBML | SEGMENT => {
                self.has_ended = true;
                return Ok(());
            }
            VOID | CRC_32 if !element.open => {}
            id if is_top_level(id) && !element.open => self.cluster = None,
            _ if self.cluster.is_some() && !element.open => self.read(&element)?,
            _ => return Err(Error::corrupt("the Matroska element is unknown")),
        }
        self.at = element.end;
        Ok(())
    }

    fn enter(&mut self, cluster: &Element) {
        self.unchecked = Some(*cluster);
        self.cluster = Some(Cluster {
            end: cluster.end,
            time: None,
        });
        self.at = cluster.body;
    }

    /// Reads what a cluster holds.
    fn read(&mut self, element: &Element) -> Result<()> {
        match element.id {
            TIMESTAMP => {
                let time = ebml::unsigned(&mut self.window, element)?;
                if let Some(cluster) = &mut self.cluster {
                    cluster.time = Some(time);
                }
                Ok(())
            }
            SIMPLE_BLOCK => self.read_block(element, 0),
            BLOCK_GROUP => self.read_group(element),
            SILENT_TRACKS | POSITION | PREV_SIZE | ENCRYPTED_BLOCK => Ok(()),
            _ => Err(Error::corrupt(
                "the element does not belong in a Matroska cluster",
            )),
        }
    }

    fn read_group(&mut self, group: &Element) -> Result<()> {
        let (mut block, mut padding) = (None, 0);
        each_child(&mut self.window, group, |window, child| {
            match child.id {
                BLOCK => block = Some(*child),
                // Below zero it would cut in front, where the codec's delay tells more.
                DISCARD_PADDING => padding = ebml::signed(window, child)?.max(0) as u64,
                _ => {}
            }
            Ok(())
        })?;
        match block {
            Some(block) => self.read_block(&block, padding),
            None => Err(Error::corrupt("a Matroska group has no block")),
        }
    }

    fn read_block(&mut self, block: &Element, padding_ns: u64) -> Result<()> {
        let size = block.end - block.body;
        let most = |bytes: usize| size.min(bytes as u64) as usize;
        let mut bytes = self.window.at(block.body, most(block::PLAIN_BYTES), size)?;
        if block::is_laced(bytes) {
            let head_bytes = most(block::LACED_BYTES);
            bytes = self.window.at(block.body, head_bytes, size)?;
        }
        let bytes = bytes.get(..most(block::LACED_BYTES)).unwrap_or(bytes);
        let head = Head::parse(bytes, size).map_err(Error::corrupt)?;
        if !self.numbers.contains(&head.track) {
            return Err(Error::corrupt(
                "a Matroska block belongs to an unknown track",
            ));
        }
        if head.track == self.track {
            self.take_packets(block, &head, padding_ns);
        }
        Ok(())
    }

    fn take_packets(&mut self, block: &Element, head: &Head, padding_ns: u64) {
        let cluster_time = self.cluster.and_then(|cluster| cluster.time);
        let mut time = cluster_time.map(|time| {
            i64::try_from(time)
                .unwrap_or(i64::MAX)
                .saturating_add(i64::from(head.time))
        });
        let mut at = block.body + head.bytes as u64;
        for size in &head.sizes {
            self.frames.push_back(Frame {
                at,
                size: *size as usize,
                time: time.take(),
                padding_ns: 0,
            });
            at += size;
        }
        if let Some(last) = self.frames.back_mut() {
            last.padding_ns = padding_ns;
        }
    }

    /// Goes to the next cluster after what could not be read.
    fn find_cluster(&mut self) {
        let mut at = self.at.saturating_add(1);
        self.go_to(at);
        let end = self.segment.end.min(self.window.len());
        // After a segment whose size is open another file may follow, whose clusters are its own.
        let marks = [Some(CLUSTER), self.segment.open.then_some(EBML)];
        let marks = marks.map(|mark| mark.map(u32::to_be_bytes));
        let is_mark = |four: &[u8]| marks.iter().flatten().any(|mark| mark == four);
        while at < end {
            // What cannot be read holds none.
            let Ok(bytes) = self.window.at(at, MARK_BYTES, SEARCH_BYTES) else {
                break;
            };
            let most = bytes.len().min(SEARCH_BYTES as usize);
            let bytes = bytes.get(..most).unwrap_or_default();
            if let Some(found) = bytes.windows(MARK_BYTES).position(is_mark) {
                self.at = at + found as u64;
                return;
            }
            at += (most.saturating_sub(MARK_BYTES - 1)).max(1) as u64;
        }
        self.has_ended = true;
    }

    /// The byte and the time of each cluster, by passing from one to the next; those in front of one
    /// whose size is open, and of damage.
    pub(super) fn pass_over(&mut self) -> Vec<(u64, u64)> {
        let (mut clusters, mut at) = (Vec::new(), self.first);
        let end = self.segment.end;
        while let Ok(Some(element)) = ebml::element(&mut self.window, at, end, GLANCE_BYTES) {
            if element.open || element.id == EBML {
                break;
            }
            if element.id == CLUSTER {
                match self.time_of(&element) {
                    Some(time) => clusters.push((time, element.start)),
                    None => break,
                }
            }
            at = element.end;
        }
        clusters
    }

    /// The time stamp of a cluster, in front of its blocks.
    fn time_of(&mut self, cluster: &Element) -> Option<u64> {
        let (mut at, window) = (cluster.body, &mut self.window);
        while let Ok(Some(child)) = ebml::element(window, at, cluster.end, GLANCE_BYTES) {
            match child.id {
                TIMESTAMP => return ebml::unsigned(window, &child).ok(),
                CRC_32 | VOID | POSITION | PREV_SIZE => at = child.end,
                _ => break,
            }
        }
        None
    }
}
