//! What headers of their own say about the next member: PAX records, GNU's long names.
//!
//! POSIX.1-2017, `pax`, "pax Extended Header"; GNU tar manual, "Storing Sparse Files" and "Extensions".
//! Their payloads have no checksum. They are therefore read strictly: what is not understood is refused.

use std::borrow::Cow;

use super::header::Header;
use crate::error::{Error, ErrorKind, Result};

/// Names are short; what declares more than this is refused before it is read.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// The first size that twelve octal digits with their terminator cannot say.
const OVERFLOW: u64 = 1 << 33;

/// Collected from the headers in front of a member.
#[derive(Default)]
pub(super) struct Extended {
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: bool,
}

#[derive(Default)]
struct Records {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Takes the payload of an `x` header.
    pub(super) fn add_records(&mut self, payload: &[u8]) -> Result<()> {
        let records = Records::parse(payload)?;
        only_one(self.records.replace(records).is_none(), "extended headers")
    }

    /// Takes the payload of an `L` header.
    pub(super) fn add_long_name(&mut self, payload: &[u8]) -> Result<()> {
        let end = payload
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let name = payload.get(..end).unwrap_or_default().to_vec();
        only_one(self.long_name.replace(name).is_none(), "long names")
    }

    /// Notes a `K` header; only links have a use for it, and they are refused.
    pub(super) fn add_long_link(&mut self) -> Result<()> {
        let is_first = !std::mem::replace(&mut self.long_link, true);
        only_one(is_first, "long link names")
    }

    /// Whether nothing waits for its member.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_none() && self.long_name.is_none() && !self.long_link
    }

    /// Bytes of the member's payload. Two headers that disagree leave it open where the next one is.
    pub(super) fn size(&self, header: &Header<'_>) -> Result<u64> {
        let plain = header.size()?;
        match self.records.as_ref().and_then(|records| records.size) {
            None => Ok(plain),
            Some(size) if size == plain => Ok(size),
            // What writers put where the number does not fit.
            Some(size) if size >= OVERFLOW && (plain == 0 || plain == OVERFLOW - 1) => Ok(size),
            Some(size) => Err(Error::corrupt(format!(
                "two headers disagree on the size: {size} and {plain} bytes"
            ))),
        }
    }

    /// The member's name, where it is one that a shard may hold.
    pub(super) fn name(&self, header: &Header<'_>) -> Result<String> {
        if let (Some(one), Some(other)) = (self.path(), &self.long_name)
            && one != other
        {
            return Err(Error::corrupt("two headers disagree on the member's name"));
        }
        checked(self.name_or(header).into_owned())
    }

    /// The member's name as it stands there.
    pub(super) fn name_or<'s>(&'s self, header: &'s Header<'_>) -> Cow<'s, [u8]> {
        match self.path().or(self.long_name.as_ref()) {
            Some(name) => Cow::Borrowed(name),
            None => header.name(),
        }
    }

    fn path(&self) -> Option<&Vec<u8>> {
        self.records.as_ref()?.path.as_ref()
    }
}

impl Records {
    fn parse(mut rest: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        // Some writers fill up with NULs.
        while rest.iter().any(|byte| *byte != 0) {
            let (keyword, value, behind) = record(rest)
                .ok_or_else(|| Error::corrupt("a record of the extended header is malformed"))?;
            records.take(keyword, value)?;
            rest = behind;
        }
        Ok(records)
    }

    fn take(&mut self, keyword: &[u8], value: &[u8]) -> Result<()> {
        match keyword {
            b"path" => only_one(self.path.replace(value.to_vec()).is_none(), "paths"),
            b"size" => {
                let size = decimal(value).ok_or_else(|| {
                    Error::corrupt("the size in the extended header is not a number")
                })?;
                only_one(self.size.replace(size).is_none(), "sizes")
            }
            _ => ignorable(keyword),
        }
    }
}

/// A global header may carry comments and times, but no name or size for everything after it.
pub(super) fn check_global(payload: &[u8]) -> Result<()> {
    let records = Records::parse(payload)?;
    match (records.path, records.size) {
        (None, None) => Ok(()),
        _ => Err(Error::unsupported("a global header has a path or a size")),
    }
}

fn only_one(is_first: bool, what: &str) -> Result<()> {
    match is_first {
        true => Ok(()),
        false => Err(Error::corrupt(format!("a member has two {what}"))),
    }
}

/// Keyword, value and what follows of `length keyword=value\n`; the length counts all of it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(bytes.get(..digits)?)?).ok()?;
    let body = bytes.get(digits + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (keyword, value) = body.split_at_checked(equals)?;
    (!keyword.is_empty()).then_some((keyword, value.get(1..)?, bytes.get(length..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // Nineteen digits fit 63 bits or are found out by the checks.
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Passes over what changes neither name nor content. A keyword that POSIX does not know has a vendor's
/// name and a dot in it; any other is a damaged `path` or `size`.
fn ignorable(keyword: &[u8]) -> Result<()> {
    const KNOWN: [&[u8]; 10] = [
        b"atime",
        b"charset",
        b"comment",
        b"ctime",
        b"gid",
        b"gname",
        b"hdrcharset",
        b"linkpath",
        b"mtime",
        b"uid",
    ];
    let shown = String::from_utf8_lossy(keyword.get(..80).unwrap_or(keyword)).into_owned();
    if shown.starts_with("GNU.sparse.") || shown == "SCHILY.realsize" {
        return Err(Error::unsupported("the member is a sparse file"));
    }
    if shown.starts_with("GNU.volume.") {
        return Err(Error::unsupported("the member began in another archive"));
    }
    if KNOWN.contains(&keyword) || keyword == b"uname" || shown.contains('.') {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the extended header has an unknown record {shown:?}"
    )))
}

fn checked(name: Vec<u8>) -> Result<String> {
    if name.contains(&0) {
        return Err(Error::corrupt("the member's name contains a NUL"));
    }
    let name = String::from_utf8(name)
        .map_err(|_| Error::unsupported("the member's name is not UTF-8"))?;
    match refusal(&name) {
        None => Ok(name),
        Some(reason) => Err(Error::new(ErrorKind::Unsupported, reason).with_member(name)),
    }
}

/// Why no shard may hold a member of this name.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a member has no name");
    }
    if name.contains('\0') {
        return Some("the member's name contains a NUL");
    }
    if name.starts_with('/') {
        return Some("the member's name is an absolute path");
    }
    // Two dots are rare; the look for them is what opening by an index spends on a name.
    let has_dots = || name.as_bytes().windows(2).any(|pair| pair == b"..");
    let leads_out = has_dots() && name.split('/').any(|part| part == "..");
    leads_out.then_some("the member's name leads out of its folder (..)")
}

/// Whether the name has characters in it that terminals and line-wise lists take for something else. They
/// are read, as GNU tar and webdataset read them, but not written.
pub(super) fn has_control(name: &str) -> bool {
    name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let parse = |payload: &[u8]| {
            let found = Records::parse(payload).ok()?;
            Some((found.path.map(|path| path.len()), found.size))
        };
        assert_eq!(
            parse(b"14 path=a.wav\n12 size=123\n"),
            Some((Some(5), Some(123)))
        );
        assert_eq!(parse(b"14 path=a.wav\n\0\0\0"), Some((Some(5), None)));
        assert_eq!(parse(b"10 path=a\n13 SCHILY.x=\n"), Some((Some(1), None)));
        assert_eq!(parse(b"13 comment=a=\n"), None);
        for malformed in [
            &b"14 path=a.wav\n12 size=123"[..],
            b"15 path=a.wav\n12 size=123\n",
            b"13 path=a.wav\n",
            b"99999999999999999999 path=a.wav\n",
            b"0 path=a.wav\n",
            b" path=a.wav\n",
            b"-4 path=a.wav\n",
            b"6 =a.\n",
            b"14 qath=a.wav\n",
            b"10 size=\n",
            b"12 size=-12\n",
            b"12 size=123\n12 size=124\n",
        ] {
            assert_eq!(parse(malformed), None, "{malformed:?}");
        }
    }
}
