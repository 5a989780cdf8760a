//! Blocks and their lacing: RFC 9559, sections 10.1 to 10.3.

use super::ebml::vint;

/// Why a block cannot be taken apart.
const BROKEN: &str = "the Matroska block is broken";
/// Bytes of a block's head without sizes: the track, the time stamp and the flags.
pub(super) const PLAIN_BYTES: usize = 8 + 3;
/// Bytes of the longest head that is read: 255 packets of more than 100 KiB.
pub(super) const LACED_BYTES: usize = 1 << 17;

/// What stands in front of a block's packets.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub(super) track: u64,
    /// Ticks after the cluster's time stamp.
    pub(super) time: i16,
    /// Where the first packet begins, in bytes of the block.
    pub(super) bytes: usize,
    /// The length of each packet.
    pub(super) sizes: Vec<u64>,
}

impl Head {
    /// Reads the head of a block of `size` bytes, which begins with `bytes`, no more than those.
    pub(super) fn parse(bytes: &[u8], size: u64) -> Result<Self, &'static str> {
        let (track, number_bytes) = vint(bytes).ok_or(BROKEN)?;
        let fixed = bytes.get(number_bytes..number_bytes + 3).ok_or(BROKEN)?;
        let &[high, low, flags] = fixed else {
            return Err(BROKEN);
        };
        let rest = bytes.get(number_bytes + 3..).ok_or(BROKEN)?;
        let lacing = flags >> 1 & 3;
        let (told, behind) = match lacing {
            0 => (Vec::new(), rest),
            _ => {
                let (count, rest) = rest.split_first().ok_or(BROKEN)?;
                match lacing {
                    1 => xiph_sizes(rest, *count),
                    3 => ebml_sizes(rest, *count),
                    _ => fixed_sizes(rest, *count, size - (bytes.len() - rest.len()) as u64),
                }
                .ok_or(BROKEN)?
            }
        };
        let head_bytes = bytes.len() - behind.len();
        let packets = size.checked_sub(head_bytes as u64).ok_or(BROKEN)?;
        let last = told
            .iter()
            .try_fold(packets, |left, size| left.checked_sub(*size));
        let mut sizes = told;
        sizes.push(last.ok_or(BROKEN)?);
        Ok(Self {
            track,
            time: i16::from_be_bytes([high, low]),
            bytes: head_bytes,
            sizes,
        })
    }
}

/// Whether several packets share the block that begins with `bytes`.
pub(super) fn is_laced(bytes: &[u8]) -> bool {
    let flags = vint(bytes).and_then(|(_, length)| bytes.get(length + 2));
    flags.is_some_and(|flags| flags & 6 != 0)
}

/// A size in 255s and what is left, and what follows.
pub(super) fn xiph_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 255).count();
    let last = usize::from(*bytes.get(full)?);
    Some((255 * full + last, bytes.get(full + 1..)?))
}

/// The sizes of all packets but the last, of which there are `count`.
fn xiph_sizes(mut bytes: &[u8], count: u8) -> Option<(Vec<u64>, &[u8])> {
    let mut sizes = Vec::new();
    for _ in 0..count {
        let (size, behind) = xiph_size(bytes)?;
        sizes.push(size as u64);
        bytes = behind;
    }
    Some((sizes, bytes))
}

/// The first size, and what each other one is more than the one before.
fn ebml_sizes(mut bytes: &[u8], count: u8) -> Option<(Vec<u64>, &[u8])> {
    let mut sizes: Vec<u64> = Vec::new();
    for _ in 0..count {
        let (value, length) = vint(bytes)?;
        bytes = bytes.get(length..)?;
        let size = match sizes.last() {
            None => value,
            Some(before) => {
                let bias = (1i64 << (7 * length - 1)) - 1;
                before.checked_add_signed(value as i64 - bias)?
            }
        };
        sizes.push(size);
    }
    Some((sizes, bytes))
}

/// All of one size, in a block that has `size` bytes left for them.
fn fixed_sizes(bytes: &[u8], count: u8, size: u64) -> Option<(Vec<u64>, &[u8])> {
    let packets = u64::from(count) + 1;
    let each = size / packets;
    (each * packets == size).then(|| (vec![each; usize::from(count)], bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block as the RFC lays it out; `None` where the lacing cannot say the sizes.
    fn block(lacing: u8, sizes: &[u64]) -> Option<Vec<u8>> {
        let mut bytes = vec![0x81, 0xFF, 0xFE, lacing << 1];
        if lacing > 0 {
            bytes.push(sizes.len() as u8 - 1);
        }
        let told = &sizes[..sizes.len() - 1];
        match lacing {
            0 if !told.is_empty() => return None,
            1 => told.iter().for_each(|size| {
                bytes.extend(vec![255; (*size / 255) as usize]);
                bytes.push((size % 255) as u8);
            }),
            2 if told.iter().any(|size| size != &sizes[told.len()]) => return None,
            3 => {
                let mut before = None;
                for size in told {
                    // Two bytes hold 14 bits.
                    let value = match before.replace(*size) {
                        None => *size as i64,
                        Some(before) => *size as i64 - before as i64 + 8191,
                    };
                    bytes.extend((0x4000 | value as u16).to_be_bytes());
                }
            }
            _ => {}
        }
        bytes.extend(vec![0; sizes.iter().sum::<u64>() as usize]);
        Some(bytes)
    }

    proptest! {
        #[test]
        fn laced_blocks_are_taken_apart(
            lacing in 0u8..4,
            sizes in prop_oneof![
                prop::collection::vec(0u64..3000, 1..9),
                (0u64..700, 1usize..9).prop_map(|(size, count)| vec![size; count]),
            ],
        ) {
            if let Some(bytes) = block(lacing, &sizes) {
                let head = Head::parse(&bytes, bytes.len() as u64);
                let packets = sizes.iter().sum::<u64>() as usize;
                let expected = Head { track: 1, time: -2, bytes: bytes.len() - packets, sizes };
                prop_assert_eq!(head, Ok(expected));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(head) = Head::parse(&bytes, bytes.len() as u64) {
                prop_assert_eq!(
                    head.sizes.iter().sum::<u64>() + head.bytes as u64,
                    bytes.len() as u64
                );
            }
        }
    }
}
