//! What stands in front of a payload: a ustar header, and PAX records where it has no room.
//!
//! POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Extended Header". The same member gives the
//! same bytes: time, owner and group are 0, and names of owners are empty, since every machine has its
//! own idea of whom a name stands for. Python's `tarfile` writes these bytes too, given such members.

/// Headers, and payloads with their padding, are whole blocks.
pub(super) const BLOCK: usize = 512;
/// The largest size that eleven octal digits can say.
const MAX_SIZE: u64 = (1 << 33) - 1;
const MAX_NAME: usize = 100;
const MAX_PREFIX: usize = 155;

/// The headers of a file of `size` bytes.
pub(super) fn head(name: &str, size: u64) -> Vec<u8> {
    let place = place(name);
    let mut records = Vec::new();
    if place.is_none() {
        records.extend(record("path", name));
    }
    if size > MAX_SIZE {
        records.extend(record("size", &size.to_string()));
    }
    let mut head = Vec::with_capacity(3 * BLOCK + records.len());
    if !records.is_empty() {
        let length = records.len() as u64;
        head.extend(block(b"", b"././@PaxHeader", b'x', 0, length));
        head.extend(&records);
        head.resize(head.len().next_multiple_of(BLOCK), 0);
    }
    let plain = if size > MAX_SIZE { 0 } else { size };
    let (prefix, short) = place.unwrap_or_default();
    match short {
        "" => head.extend(block(b"", &stand_in(name), b'0', 0o644, plain)),
        _ => head.extend(block(
            prefix.as_bytes(),
            short.as_bytes(),
            b'0',
            0o644,
            plain,
        )),
    }
    head
}

/// Prefix and name of the header's two fields, between which stands a slash; `None` for what does not
/// fit, or is not ASCII, which is all that the standard knows there.
fn place(name: &str) -> Option<(&str, &str)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= MAX_NAME {
        return Some(("", name));
    }
    let split = |(at, _)| Some((name.get(..at)?, name.get(at + 1..)?));
    let mut splits = name.match_indices('/').filter_map(split);
    splits.find(|(prefix, short)| {
        (1..=MAX_PREFIX).contains(&prefix.len()) && (1..=MAX_NAME).contains(&short.len())
    })
}

/// What readers see that do not know PAX.
fn stand_in(name: &str) -> Vec<u8> {
    let letters = name.chars().take(MAX_NAME);
    letters
        .map(|letter| {
            if letter.is_ascii() {
                letter as u8
            } else {
                b'?'
            }
        })
        .collect()
}

/// `length keyword=value\n`, where the length counts its own digits too.
fn record(keyword: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {keyword}={value}\n");
    let mut length = rest.len();
    while rest.len() + digits(length) != length {
        length = rest.len() + digits(length);
    }
    format!("{length}{rest}").into_bytes()
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// One header, with its checksum.
fn block(prefix: &[u8], name: &[u8], kind: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0, name);
    put(&mut block, 100, format!("{mode:07o}").as_bytes());
    put(&mut block, 108, b"0000000");
    put(&mut block, 116, b"0000000");
    put(&mut block, 124, format!("{size:011o}").as_bytes());
    put(&mut block, 136, b"00000000000");
    put(&mut block, 148, b"        ");
    put(&mut block, 156, &[kind]);
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, format!("{sum:06o}\0").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, field: &[u8]) {
    block
        .iter_mut()
        .skip(at)
        .zip(field)
        .for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::store::shard::extended::Extended;
    use crate::store::shard::header::{Header, Kind};

    #[test]
    fn the_length_of_a_record_counts_its_digits() {
        for length in (1..2000).chain(99_980..100_020) {
            let record = record("path", &"n".repeat(length));
            let text = std::str::from_utf8(&record).unwrap_or_default();
            let (said, _) = text.split_once(' ').unwrap_or_default();
            assert_eq!(said.parse(), Ok(record.len()));
        }
    }

    #[test]
    fn a_name_is_split_where_both_parts_fit() {
        let (long, full) = ("d".repeat(155), "n".repeat(100));
        for (name, expected) in [
            (full.clone(), Some(("", full.as_str()))),
            (format!("{long}/{full}"), Some((&*long, &*full))),
            (format!("{long}d/{full}"), None),
            (format!("{long}/{full}n"), None),
            (format!("{full}n"), None),
            ("ü".to_owned(), None),
        ] {
            assert_eq!(place(&name), expected, "{name}");
        }
        let deep = format!("a/b/{}", "c".repeat(98));
        assert_eq!(place(&deep), Some(("a", &deep[2..])));
    }

    #[test]
    fn the_reader_reads_what_a_header_has_no_room_for() -> Result<()> {
        let long = format!("{}/é.wav", "d".repeat(200));
        for (name, size) in [("a.wav", 10 << 30), (&*long, 3), (&*long, MAX_SIZE + 1)] {
            let head = head(name, size);
            let (blocks, rest) = head.as_chunks();
            assert!(rest.is_empty());
            let about = Header::new(&blocks[0])?;
            assert_eq!(about.kind(), Kind::Extended);
            let mut extended = Extended::default();
            extended.add_records(&head[BLOCK..][..about.size()? as usize])?;
            let own = Header::new(&blocks[blocks.len() - 1])?;
            assert_eq!(own.kind(), Kind::File);
            assert_eq!(extended.size(&own)?, size);
            assert_eq!(extended.name(&own)?, name);
        }
        Ok(())
    }

    #[test]
    fn sizes_from_8_gib_on_are_records() {
        assert_eq!(head("a.wav", MAX_SIZE).len(), BLOCK);
        let large = head("a.wav", MAX_SIZE + 1);
        assert_eq!(large.len(), 3 * BLOCK);
        assert!(large[BLOCK..].starts_with(b"19 size=8589934592\n\0"));
        assert!(large[2 * BLOCK + 124..].starts_with(b"00000000000\0"));
    }
}
