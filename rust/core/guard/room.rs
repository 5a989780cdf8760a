//! Room in memory for what a file decides the size of.
//!
//! An allocation that fails ends the process, and one that succeeds may end it later: Linux promises more memory
//! than there is. So whatever grows on a file's word asks here first, and a refusal is an error of that file.
//! From 64 MiB on a growth is compared with the memory that the system and the process's control groups have
//! left, and some address space always stays free for what is small.

use memmap2::MmapMut;

use crate::error::{Error, ErrorKind, Result};

/// Growth by so many bytes and more is compared with the memory that is left: asking costs far less than filling.
const ASKED_FROM: usize = 64 << 20;
/// Growth by so many bytes and more leaves [`SPARE_BYTES`]: below, a refusal is unlikely.
const SPARED_FROM: usize = 1 << 20;
/// Address space that stays free for small allocations, which nobody checks (`ulimit -v`).
const SPARE_BYTES: usize = 16 << 20;

/// Makes room for `more` items; most calls find it there.
///
/// # Errors
/// [`ErrorKind::Limit`] where memory cannot hold them.
#[inline]
pub(crate) fn reserve<T>(items: &mut Vec<T>, more: usize) -> Result<()> {
    reserve_each(std::slice::from_mut(items), more)
}

/// Makes room for `more` items in each of `all`.
///
/// # Errors
/// As for [`reserve`].
#[inline]
pub(crate) fn reserve_each<T>(all: &mut [Vec<T>], more: usize) -> Result<()> {
    let count = all.len();
    for items in all {
        if items.capacity() - items.len() < more {
            grow(items, more, count)?;
        }
    }
    Ok(())
}

/// [`Vec::resize`], where memory may be short.
///
/// # Errors
/// As for [`reserve`].
pub(crate) fn resize<T: Clone>(items: &mut Vec<T>, length: usize, value: T) -> Result<()> {
    reserve(items, length.saturating_sub(items.len()))?;
    items.resize(length, value);
    Ok(())
}

/// Whether `bytes` more can be had, as far as the system tells.
///
/// # Errors
/// [`ErrorKind::Limit`] where they cannot.
pub fn check(bytes: usize) -> Result<()> {
    let is_little = bytes < ASKED_FROM;
    if is_little || (isize::try_from(bytes).is_ok() && bytes as u64 <= available::bytes()) {
        return Ok(());
    }
    Err(refusal(bytes))
}

/// By as much again as there is, as [`Vec`] grows; where memory is short, by less.
#[cold]
fn grow<T>(items: &mut Vec<T>, more: usize, shares: usize) -> Result<()> {
    let bytes = |count: usize| count.saturating_mul(size_of::<T>().saturating_mul(shares));
    let refused = || refusal(bytes(more));
    let mut count = more.max(items.capacity());
    if bytes(count) >= ASKED_FROM {
        let left = usize::try_from(available::bytes()).unwrap_or(usize::MAX);
        if bytes(more) > left {
            return Err(refused());
        }
        count = more.max(count.min(left / 2 / bytes(1).max(1)));
    }
    while !has_grown(items, count) {
        if count == more {
            return Err(refused());
        }
        count = more.max(count / 2);
    }
    Ok(())
}

/// Whether the allocator gives room for `count` more and has some left for others.
fn has_grown<T>(items: &mut Vec<T>, count: usize) -> bool {
    let spares = count.saturating_mul(size_of::<T>()) >= SPARED_FROM;
    // Past the allocator, which goes by what was freed when it chooses where to take memory from.
    items.try_reserve_exact(count).is_ok() && (!spares || MmapMut::map_anon(SPARE_BYTES).is_ok())
}

/// The error of what needs `bytes` more than there are.
pub fn refusal(bytes: usize) -> Error {
    let size = bytes.div_ceil(1 << 20);
    let reason = format!("{size} MiB more memory is needed than is available");
    Error::new(ErrorKind::Limit, reason)
}

/// What the system has left.
#[cfg(target_os = "linux")]
mod available {
    use std::fs::read_to_string;
    use std::path::Path;

    /// Bytes that can still be had without swapping; `u64::MAX` where nobody tells.
    pub(super) fn bytes() -> u64 {
        let system = read_to_string("/proc/meminfo").unwrap_or_default();
        let system = field(&system, "MemAvailable:").map(|kib| kib << 10);
        let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let groups = groups.lines().filter_map(of_group);
        groups.chain(system).min().unwrap_or(u64::MAX)
    }

    /// What the control group of a line of `/proc/self/cgroup`, and those around it, leave.
    fn of_group(line: &str) -> Option<u64> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, names) = match controllers {
            "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"]),
            "memory" => (
                "/sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
            ),
            _ => return None,
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let all = group.ancestors().take_while(|at| at.starts_with(root));
        all.filter_map(|at| left(at, names)).min()
    }

    /// The group's limit less what it uses; pages of files can be had back.
    fn left(group: &Path, [limit, usage]: [&str; 2]) -> Option<u64> {
        let number = |name: &str| -> Option<u64> {
            let text = read_to_string(group.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let (limit, used) = (number(limit)?, number(usage)?);
        let facts = read_to_string(group.join("memory.stat")).unwrap_or_default();
        let files = ["inactive_file", "active_file"].map(|name| field(&facts, name).unwrap_or(0));
        Some(limit.saturating_sub(used.saturating_sub(files.iter().sum())))
    }

    /// The number after `name` at the start of a line.
    fn field(text: &str, name: &str) -> Option<u64> {
        let mut lines = text.lines().map(str::split_ascii_whitespace);
        lines.find_map(|mut words| {
            (words.next() == Some(name))
                .then(|| words.next()?.parse().ok())
                .flatten()
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod available {
    pub(super) fn bytes() -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_no_memory_holds_is_refused_and_what_is_there_stays() {
        let mut items = vec![1_u32, 2, 3];
        for more in [1 << 44, usize::MAX / 4, usize::MAX] {
            let error = reserve(&mut items, more).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
        }
        assert_eq!(items, [1, 2, 3]);
    }

    #[test]
    fn room_for_many_is_refused_as_one() {
        // One of them would fit.
        let mut planes = vec![Vec::<f32>::new(); 1 << 14];
        let error = reserve_each(&mut planes, 64 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
    }

    #[test]
    fn room_doubles_as_it_grows() {
        let (mut items, mut moves) = (Vec::new(), 0);
        for item in 0..1_u32 << 16 {
            let before = items.capacity();
            reserve(&mut items, 1).unwrap();
            moves += u32::from(items.capacity() != before);
            items.push(item);
        }
        assert!(moves <= 17, "{moves}");
        resize(&mut items, 1 << 17, 7).unwrap();
        assert_eq!((items.len(), items.last()), (1 << 17, Some(&7)));
    }

    #[test]
    fn the_system_has_some_memory_left() {
        assert!(available::bytes() > 0);
        check(1 << 50).unwrap_or(());
        check(1 << 20).unwrap();
    }
}
