//! The bytes around an entry's payload, rendered from its label, shape and checksum.

use super::Dtype;
use crate::error::{Error, ErrorKind, Result};

/// As many dimensions as NumPy 1 had; it also bounds the framing.
pub(super) const MAX_DIMS: usize = 32;
/// The longest label, in bytes of JSON.
const MAX_LABEL: usize = 1024;
/// Where the payload starts in the file is a multiple of this.
const ALIGNMENT: usize = 64;
const META_NAME: &str = "meta.json";
const LOCAL_HEADER_BYTES: usize = 30;

/// What an entry says about itself, and what a reader insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// The array's name: `numpy.load(path)[name]`.
    pub array: &'a str,
    /// The whole identity of what is stored.
    pub key: &'a str,
    /// The version of the code that made the array.
    pub pipeline: &'a str,
    /// What its elements are stored as.
    pub dtype: Dtype,
}

impl Label<'_> {
    /// The JSON up to the shape: the part that a reader knows before it reads.
    fn opening(&self) -> String {
        let Self {
            array,
            key,
            pipeline,
            dtype,
        } = self;
        let descr = dtype.descr();
        format!(
            "{{\"format\":1,\"key\":\"{key}\",\"pipeline\":\"{pipeline}\",\"array\":\"{array}\",\
             \"dtype\":\"{descr}\",\"shape\":["
        )
    }

    /// The label that a file's head tells of itself; whoever learns it compares what follows from it.
    pub(super) fn learn(head: &[u8]) -> Option<Label<'_>> {
        let json = head.get(LOCAL_HEADER_BYTES + META_NAME.len()..)?;
        let text = json.split(|byte| !(b' '..=b'~').contains(byte)).next()?;
        let rest = str::from_utf8(text).ok()?;
        let rest = rest.strip_prefix("{\"format\":1,\"key\":\"")?;
        let (key, rest) = rest.split_once("\",\"pipeline\":\"")?;
        let (pipeline, rest) = rest.split_once("\",\"array\":\"")?;
        let (array, rest) = rest.split_once("\",\"dtype\":\"")?;
        let (descr, _) = rest.split_once("\",\"shape\":[")?;
        let dtype = Dtype::of_descr(descr)?;
        Some(Label {
            array,
            key,
            pipeline,
            dtype,
        })
    }

    /// Refuses what would need escapes in JSON or in a ZIP name.
    pub(super) fn check(&self) -> Result<()> {
        let plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\' | b'/');
        let all = [self.array, self.key, self.pipeline];
        if all.iter().any(|text| !text.bytes().all(plain)) || self.opening().len() > MAX_LABEL {
            return Err(Error::invalid(
                "a label must be at most 1 KiB of printable ASCII without quotes and slashes",
            ));
        }
        Ok(())
    }
}

/// What a reader must learn from the file; all else follows.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) shape: Vec<usize>,
    pub(super) crc: u32,
}

/// The bytes around the payload.
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

/// One file inside the ZIP.
struct Member {
    name: String,
    crc: u32,
    size: u32,
    offset: u32,
}

impl Facts {
    fn json_end(&self) -> String {
        format!("{}],\"crc32\":\"{:08x}\"}}", join(&self.shape), self.crc)
    }

    /// Finds shape and checksum after the expected opening; the caller compares the rest.
    pub(super) fn learn(head: &[u8], label: &Label) -> Option<Self> {
        let json = head.get(LOCAL_HEADER_BYTES + META_NAME.len()..)?;
        let rest = json.strip_prefix(label.opening().as_bytes())?;
        let end = rest.iter().position(|&byte| byte == b']')?;
        let (shape, rest) = rest.split_at_checked(end)?;
        let digits = rest.strip_prefix(b"],\"crc32\":\"")?.get(..8)?;
        let crc = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        Some(Self {
            shape: split(str::from_utf8(shape).ok()?)?,
            crc,
        })
    }
}

impl Frame {
    pub(super) fn render(label: &Label, facts: &Facts) -> Result<Self> {
        let npy = npy_header(&facts.shape, label.dtype);
        let payload = payload_bytes(&facts.shape, label.dtype)?;
        let array_name = format!("{}.npy", label.array);
        let mut json = label.opening() + &facts.json_end();
        let fixed = 2 * LOCAL_HEADER_BYTES + META_NAME.len() + array_name.len();
        // White space after the object is still JSON, and puts the payload on its boundary.
        let padding = (fixed + json.len()).next_multiple_of(ALIGNMENT) - fixed;
        json = format!("{json:padding$}");

        let meta = Member::new(META_NAME, crc32fast::hash(json.as_bytes()), json.len(), 0)?;
        let array_at = LOCAL_HEADER_BYTES + META_NAME.len() + json.len();
        let array = Member::new(&array_name, facts.crc, npy.len() + payload, array_at)?;
        let head = [meta.local(), json.into_bytes(), array.local(), npy].concat();
        let directory = [meta.central(), array.central()].concat();
        let end = end_record(directory.len(), head.len() + payload)?;
        Ok(Self {
            head,
            tail: [directory, end].concat(),
        })
    }
}

impl Member {
    fn new(name: &str, crc: u32, size: usize, offset: usize) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            crc,
            size: zip_size(size)?,
            offset: zip_size(offset)?,
        })
    }

    /// The fields that both headers share, from "version needed" to "extra length".
    fn shared(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(26);
        // Version 2.0, no flags, stored, midnight of 1980-01-01: equal arrays make equal files.
        [20_u16, 0, 0, 0, 0x21]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        [self.crc, self.size, self.size]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn local(&self) -> Vec<u8> {
        [
            b"PK\x03\x04",
            self.shared().as_slice(),
            self.name.as_bytes(),
        ]
        .concat()
    }

    fn central(&self) -> Vec<u8> {
        let offset = self.offset.to_le_bytes();
        // Made by version 2.0; no comment, disk 0, no attributes.
        [
            b"PK\x01\x02\x14\0",
            self.shared().as_slice(),
            &[0; 10],
            &offset,
            self.name.as_bytes(),
        ]
        .concat()
    }
}

/// The `.npy` header (magic, version 1.0, length, dict), padded to the boundary as NEP 1 asks.
pub(super) fn npy_header(shape: &[usize], dtype: Dtype) -> Vec<u8> {
    let comma = if shape.len() == 1 { "," } else { "" };
    let dims = join(shape).replace(',', ", ") + comma;
    let descr = dtype.descr();
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let total = (10 + dict.len() + 1).next_multiple_of(ALIGNMENT);
    let text = format!("{dict:width$}\n", width = total - 11);
    [
        b"\x93NUMPY\x01\x00",
        ((total - 10) as u16).to_le_bytes().as_slice(),
        text.as_bytes(),
    ]
    .concat()
}

fn end_record(directory_bytes: usize, directory_at: usize) -> Result<Vec<u8>> {
    let size = zip_size(directory_bytes)?.to_le_bytes();
    let offset = zip_size(directory_at)?.to_le_bytes();
    // Disk 0 of one, two members here and in all, no comment.
    Ok([
        b"PK\x05\x06\0\0\0\0\x02\0\x02\0".as_slice(),
        &size,
        &offset,
        &[0, 0],
    ]
    .concat())
}

/// ZIP without its 64-bit extension counts in 32 bits; half a day of 16 kHz fits.
fn zip_size(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| {
        Error::new(
            ErrorKind::Limit,
            "the array does not fit into an entry, which holds less than 4 GiB",
        )
    })
}

pub(super) fn payload_bytes(shape: &[usize], dtype: Dtype) -> Result<usize> {
    let product = shape
        .iter()
        .try_fold(dtype.bytes(), |product, &n| product.checked_mul(n));
    let bytes = product.filter(|&bytes| u32::try_from(bytes).is_ok());
    bytes.ok_or_else(|| {
        Error::new(
            ErrorKind::Limit,
            "the array does not fit into an entry, which holds less than 4 GiB",
        )
    })
}

fn join(shape: &[usize]) -> String {
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn split(text: &str) -> Option<Vec<usize>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let dims: Option<Vec<usize>> = text.split(',').map(|dim| dim.parse().ok()).collect();
    dims.filter(|dims| dims.len() <= MAX_DIMS)
}
