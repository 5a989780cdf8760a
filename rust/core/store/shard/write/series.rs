//! Many shards under numbered names, or one.

use std::fs;
use std::path::{Path, PathBuf};

use super::output::{check_free, collect, folder_of};
use super::plan::{Planned, check_plain, plan};
use super::{Options, Writer, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::guarded;

/// More digits than any number of shards has.
const MAX_WIDTH: usize = 18;

/// When the next shard begins: before the sample that would be too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Bytes of a shard's file, headers and padding too. One sample may be larger.
    pub max_bytes: Option<u64>,
    /// Samples of a shard.
    pub max_samples: Option<u64>,
}

/// Writes samples to one shard or, where the path has a field like `%06d`, to numbered ones.
///
/// A sample lies in one shard. Without a sample there is no shard. Dropped before [`Series::finish`], the
/// shard that is not whole leaves nothing after.
pub struct Series {
    names: Names,
    split: Split,
    options: Options,
    open: Option<Writer>,
    written: Vec<Written>,
    /// After an error of the file system samples are missing: no more are taken.
    is_lost: bool,
}

impl Series {
    /// Nothing is written yet, but that it can be is checked, as far as that is known.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a field that is not understood, for a split
    /// without a field, and for limits of 0; [`Io`](crate::ErrorKind::Io) where such shards lie in the folder
    /// already and `options` do not allow to replace them.
    pub fn new(path: &Path, split: Split, options: Options) -> Result<Self> {
        let named = |error: Error| error.with_source(path.display().to_string());
        // The process may change its folder between two shards.
        let whole = std::path::absolute(path).map_err(|e| named(Error::io("name a shard", e)))?;
        let names = Names::parse(&whole).map_err(named)?;
        names.check_split(split).map_err(named)?;
        names.check_free(options.overwrite)?;
        Ok(Self {
            names,
            split,
            options,
            open: None,
            written: Vec::new(),
            is_lost: false,
        })
    }

    /// Appends a sample, to the next shard where it would be too much for this one.
    ///
    /// Its members are given by extension, and lie together in this order.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a sample that would not be read back
    /// as it is written: the shard goes on without it. [`Io`](crate::ErrorKind::Io) where it cannot be
    /// written: the shard is lost, and no more samples are taken.
    pub fn write(&mut self, key: &str, members: &[(&str, &[u8])]) -> Result<()> {
        check_plain(key, members).map_err(|error| error.with_source(self.names.shown()))?;
        self.write_as_read(key, members)
    }

    /// [`Series::write`] of a sample that stays with the one before, in whose shard is what it points to.
    ///
    /// # Errors
    /// As of [`Series::write`].
    pub fn write_beside(&mut self, key: &str, members: &[(&str, &[u8])]) -> Result<()> {
        let split = std::mem::take(&mut self.split);
        let written = self.write(key, members);
        self.split = split;
        written
    }

    /// [`Series::write`] of a sample as a reader gives it, careless names among them.
    pub(in super::super) fn write_as_read(
        &mut self,
        key: &str,
        members: &[(&str, &[u8])],
    ) -> Result<()> {
        self.check_lost()?;
        let members = plan(key, members).map_err(|error| error.with_source(self.names.shown()))?;
        if let Some(open) = &self.open {
            match self.is_too_much(open, &members) {
                true => self.cut()?,
                false => open.check(key)?,
            }
        }
        self.put(key, &members).inspect_err(|_| self.lose())
    }

    /// Ends the last shard, gives it its name, and writes its index.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where writing fails, or where a shard has come to lie at the path.
    pub fn finish(&mut self) -> Result<()> {
        self.check_lost()?;
        self.cut()
    }

    /// Gives up the shard that is not whole; those before it stay.
    pub fn discard(&mut self) {
        self.open = None;
    }

    /// The shards that are whole.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    fn is_too_much(&self, open: &Writer, members: &[Planned<'_>]) -> bool {
        let Split {
            max_bytes,
            max_samples,
        } = self.split;
        max_samples.is_some_and(|most| open.samples() >= most)
            || max_bytes.is_some_and(|most| open.size_with(members) > most)
    }

    fn put(&mut self, key: &str, members: &[Planned<'_>]) -> Result<()> {
        if self.open.is_none() {
            let path = self.names.path(self.written.len());
            let writer = Writer::create(&path, self.options)?;
            if self.written.is_empty() {
                let stamp = writer.output.stamp();
                collect(self.names.folder(), |name| self.names.is_one(name), stamp);
            }
            self.open = Some(writer);
        }
        match &mut self.open {
            // A fault of a decoder's, asked for the index, must not leave half a sample after.
            Some(writer) => guarded(|| writer.put(key, members)),
            None => Ok(()),
        }
    }

    fn cut(&mut self) -> Result<()> {
        let Some(writer) = self.open.take() else {
            return Ok(());
        };
        let written = writer.finish().inspect_err(|_| self.lose())?;
        self.written.push(written);
        Ok(())
    }

    fn lose(&mut self) {
        self.open = None;
        self.is_lost = true;
    }

    fn check_lost(&self) -> Result<()> {
        match self.is_lost {
            false => Ok(()),
            true => Err(Error::invalid(
                "an error has discarded a shard before: no more can be written",
            )
            .with_source(self.names.shown())),
        }
    }
}

/// The names of the shards: what stands before and after the number.
struct Names {
    given: PathBuf,
    field: Option<Field>,
}

struct Field {
    before: String,
    width: usize,
    behind: String,
}

impl Names {
    /// A field in the last part of the path: `%d`, or `%06d` for six digits and more.
    fn parse(path: &Path) -> Result<Self> {
        let given = path.to_owned();
        let Some(name) = path.file_name() else {
            return Err(Error::invalid("the path has no file name"));
        };
        let Some(name) = name.to_str() else {
            return Ok(Self { given, field: None });
        };
        let mut fields = name.match_indices('%').filter_map(|(at, _)| {
            let (before, field) = name.split_at_checked(at)?;
            let rest = field.trim_start_matches('%');
            let digits = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
            let behind = digits.strip_prefix('d')?;
            let spec = rest.get(..rest.len() - digits.len())?;
            (field.len() == rest.len() + 1).then_some((before, spec, behind))
        });
        let field = fields.next();
        if fields.next().is_some() {
            return Err(Error::invalid(
                "the path has more than one field for the shard's number",
            ));
        }
        let field = field.map(|(before, spec, behind)| {
            Ok(Field {
                before: before.to_owned(),
                width: width(spec)?,
                behind: behind.to_owned(),
            })
        });
        let field = field.transpose()?;
        Ok(Self { given, field })
    }

    fn check_split(&self, split: Split) -> Result<()> {
        if [split.max_bytes, split.max_samples].contains(&Some(0)) {
            return Err(Error::invalid(
                "max_bytes and max_samples must be at least 1",
            ));
        }
        if self.field.is_none() && split != Split::default() {
            return Err(Error::invalid(
                "max_bytes and max_samples make several shards: the path needs a field for \
                 their number, as in train-%06d.tar",
            ));
        }
        Ok(())
    }

    /// New shards beside old ones of other numbers would be read together.
    fn check_free(&self, overwrite: bool) -> Result<()> {
        if self.field.is_none() {
            return check_free(&self.given, overwrite);
        }
        if overwrite {
            return Ok(());
        }
        let found = fs::read_dir(self.folder()).map_err(|error| {
            Error::io("list the folder", error).with_source(self.folder().display().to_string())
        })?;
        let names = found.flatten().map(|entry| entry.file_name());
        let taken = names
            .filter(|name| name.to_str().is_some_and(|name| self.is_one(name)))
            .min();
        match taken {
            None => Ok(()),
            Some(name) => check_free(&self.given.with_file_name(name), overwrite),
        }
    }

    fn path(&self, number: usize) -> PathBuf {
        match &self.field {
            None => self.given.clone(),
            Some(Field {
                before,
                width,
                behind,
            }) => self
                .given
                .with_file_name(format!("{before}{number:0width$}{behind}")),
        }
    }

    /// Whether a file of this name is one of the shards.
    fn is_one(&self, name: &str) -> bool {
        let Some(field) = &self.field else {
            return self.given.file_name().is_some_and(|own| own == name);
        };
        let number = name.strip_prefix(field.before.as_str());
        let number = number.and_then(|rest| rest.strip_suffix(field.behind.as_str()));
        number.is_some_and(|digits| {
            digits.len() >= field.width.max(1) && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    }

    fn folder(&self) -> &Path {
        folder_of(&self.given)
    }

    fn shown(&self) -> String {
        self.given.display().to_string()
    }
}

fn width(spec: &str) -> Result<usize> {
    let width = spec.parse().unwrap_or(0);
    match spec.is_empty() || (spec.starts_with('0') && width <= MAX_WIDTH) {
        true => Ok(width),
        false => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("the field %{spec}d is not supported: use %d or, with leading zeros, %06d"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(pattern: &str, number: usize) -> Option<String> {
        let names = Names::parse(Path::new(pattern)).ok()?;
        Some(names.path(number).display().to_string())
    }

    #[test]
    fn a_field_is_the_number_of_the_shard() {
        for (pattern, expected) in [
            ("a/b-%06d.tar", Some("a/b-000012.tar")),
            ("%d.tar", Some("12.tar")),
            ("%01d", Some("12")),
            ("a%03dz", Some("a012z")),
            ("%%03d.tar", Some("%012.tar")),
            ("100%.tar", Some("100%.tar")),
            ("100%x%5.tar", Some("100%x%5.tar")),
            ("%05d/a.tar", Some("%05d/a.tar")),
            ("%6d.tar", None),
            ("%099d.tar", None),
            ("%d-%d.tar", None),
            ("..", None),
        ] {
            assert_eq!(path(pattern, 12).as_deref(), expected, "{pattern}");
        }
        assert_eq!(path("%02d", 12345).as_deref(), Some("12345"));
    }

    #[test]
    fn its_own_shards_are_known_by_their_names() {
        let Ok(names) = Names::parse(Path::new("x/a-%03d.tar")) else {
            return;
        };
        for (name, is_one) in [
            ("a-000.tar", true),
            ("a-1234.tar", true),
            ("a-12.tar", false),
            ("a-.tar", false),
            ("a-0x0.tar", false),
            ("b-000.tar", false),
            (".a-000.tar", false),
            ("a-000.tar.index.parquet", false),
        ] {
            assert_eq!(names.is_one(name), is_one, "{name}");
        }
    }
}
