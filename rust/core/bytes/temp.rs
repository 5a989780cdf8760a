//! Files under names of their own that become what they are to be by a rename, or disappear.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

const SUFFIX: &str = ".tmp";
/// Elsewhere a writer that is alive has long finished by then.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// A running process of the same number is the writer itself for so long; later it is a namesake.
const NAMESAKE_AGE: Duration = Duration::from_secs(24 * 3600);

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written; dropped before its rename, it is deleted.
pub(crate) struct Temp {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temp {
    /// Of the name `.<machine>-<process>-<random>.tmp`, with `.<prefix>` in front of it if there is one.
    pub(crate) fn create(folder: &Path, prefix: &str) -> Result<Self> {
        let dot = if prefix.is_empty() { "" } else { "." };
        let path = folder.join(format!("{dot}{prefix}{}", unique_name()));
        // `create_new`: a name that is taken is an error, never another writer's file.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io("create a temporary file", e))?;
        Ok(Self {
            path,
            file,
            renamed: false,
        })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Now, by the clock that stamps the files of this file system; it need not be this machine's.
    pub(crate) fn written_at(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|found| found.modified()).ok()
    }

    /// Gives the file its name. With `fsync` nothing of that can be lost any more when this returns: neither
    /// the content, which has to be on the disk before the name is, nor the name, nor the folder's.
    /// Stopped work has no results: what it has made is deleted.
    pub(crate) fn rename_to(mut self, path: &Path, fsync: bool) -> Result<()> {
        crate::interrupt::check_now()?;
        if fsync {
            self.file
                .sync_all()
                .map_err(|e| Error::io("sync the new file", e))?;
        }
        fs::rename(&self.path, path).map_err(|e| Error::io("rename the new file", e))?;
        self.renamed = true;
        // Shard and root: either may be new.
        let folders = path.ancestors().skip(1).take(if fsync { 2 } else { 0 });
        for folder in folders {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|e| Error::io("sync the folder", e))?;
        }
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `.<machine>-<process>-<random>.tmp`: unique without asking anybody.
pub(crate) fn unique_name() -> String {
    let random = RandomState::new().hash_one(COUNTER.fetch_add(1, Relaxed));
    format!(
        ".{}-{}-{random:016x}{SUFFIX}",
        machine(),
        std::process::id()
    )
}

/// Names this boot and this process namespace, within which a process number means one process.
/// `0` where the system does not tell.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if boot.is_empty() || space.as_os_str().is_empty() {
        return "0".to_owned();
    }
    let name = format!("{}{}", boot.trim(), space.display());
    format!("{:08x}", crc32fast::hash(name.as_bytes()))
}

/// The machine and the process that a temporary file's name tells, if it is one.
fn author(name: &str) -> Option<(&str, u32)> {
    let mut parts = name.strip_prefix('.')?.strip_suffix(SUFFIX)?.splitn(3, '-');
    let (machine, process, random) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    (hex(machine) && random.len() == 16 && hex(random)).then_some(())?;
    Some((machine, process.parse().ok()?))
}

/// Whether `name` is one that `unique_name` makes.
pub(crate) fn is_temp(name: &str) -> bool {
    author(name).is_some()
}

/// Whether the writer of a temporary file is gone.
///
/// Where its process number means something here, that tells, whatever the clocks say; otherwise the
/// distance of its stamp from a stamp made just now on the same file system. A writer that is
/// misjudged finds its file missing and writes it once more.
pub(crate) fn is_orphan(name: &str, stamp: Option<SystemTime>, now: Option<SystemTime>) -> bool {
    let Some((author_machine, process)) = author(name) else {
        return false;
    };
    let here = machine();
    let known = here != "0" && author_machine == here;
    let alive = known && Path::new(&format!("/proc/{process}")).exists();
    if known && !alive {
        return true;
    }
    let limit = if alive { NAMESAKE_AGE } else { ORPHAN_AGE };
    distance(stamp, now).is_some_and(|apart| apart > limit)
}

fn distance(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<Duration> {
    let (one, other) = (one?, other?);
    Some(
        one.duration_since(other)
            .unwrap_or_else(|later| later.duration()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(machine: &str, process: u32) -> String {
        format!(".{machine}-{process}-0123456789abcdef.tmp")
    }

    #[test]
    fn a_process_that_runs_here_keeps_its_file() {
        let now = Some(SystemTime::now());
        let name = named(&machine(), std::process::id());
        let two_hours_off = now.map(|now| now + 2 * ORPHAN_AGE);
        assert!(!is_orphan(&name, now, now));
        assert_eq!(is_orphan(&name, two_hours_off, now), machine() == "0");
        assert!(is_orphan(&name, now.map(|now| now + 2 * NAMESAKE_AGE), now));
    }

    #[test]
    fn a_process_that_is_gone_does_not() {
        // Process numbers end far below this one.
        let name = named(&machine(), u32::MAX);
        let now = Some(SystemTime::now());
        assert_eq!(is_orphan(&name, now, now), machine() != "0");
    }

    #[test]
    fn elsewhere_the_distance_in_time_tells() {
        let (name, now) = (named("0123abcd", 1), SystemTime::now());
        for (seconds, orphan) in [(0, false), (3599, false), (3601, true)] {
            let apart = Duration::from_secs(seconds);
            for stamp in [now - apart, now + apart] {
                assert_eq!(is_orphan(&name, Some(stamp), Some(now)), orphan);
            }
        }
        assert!(!is_orphan(&name, None, Some(now)));
    }

    #[test]
    fn only_names_of_ours_are_judged() {
        assert!(is_temp(&unique_name()) && unique_name() != unique_name());
        for name in [
            ".x.tmp",
            "a-1-0123456789abcdef.tmp",
            ".a-1-0123.tmp",
            ".a-b-c.tmp",
            ".tmp",
        ] {
            assert!(!is_temp(name), "{name}");
        }
    }
}
