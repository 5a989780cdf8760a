//! The one error type of the crate: what went wrong, in which file, which member, at which byte.

use std::fmt;
use std::io;

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong; the Python layer has one exception class for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes could not be read or written.
    Io,
    /// A container, codec or profile that is not decoded here.
    Unsupported,
    /// The codec refused a packet.
    Decode,
    /// The file's structure is broken: cut short, lying lengths, failed checksums.
    Corrupt,
    /// A decoded sample is NaN or infinite.
    NonFinite,
    /// Two decoders make different samples of the same bytes: see [`Choice`](crate::decode::Choice).
    Disagree,
    /// A budget (memory, work) was used up.
    Limit,
    /// The caller asked for something that makes no sense.
    InvalidArgument,
    /// The caller wanted no more: see [`interrupt`](crate::interrupt). It says nothing about the input.
    Interrupted,
}

/// What errors call a source: a file, or a member of a shard and where that begins in it.
#[derive(Clone, Debug)]
pub struct Name {
    source: String,
    member: Option<String>,
    start: u64,
}

impl Name {
    /// The member of the shard `source` whose payload begins at byte `start`: bytes of errors, which are
    /// counted from there, are told as the shard's.
    pub fn of_member(source: impl Into<String>, member: impl Into<String>, start: u64) -> Self {
        Self {
            source: source.into(),
            member: Some(member.into()),
            start,
        }
    }
}

impl<S: Into<String>> From<S> for Name {
    fn from(source: S) -> Self {
        Self {
            source: source.into(),
            member: None,
            start: 0,
        }
    }
}

impl From<&Name> for Name {
    fn from(name: &Name) -> Self {
        name.clone()
    }
}

/// One failure, with everything that is known about where it happened.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    reason: String,
    name: Option<Box<Name>>,
    member: Option<String>,
    byte_offset: Option<u64>,
    sample_index: Option<u64>,
    io: Option<io::Error>,
}

impl Error {
    /// A failure of `kind` whose place is not known yet.
    pub fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            name: None,
            member: None,
            byte_offset: None,
            sample_index: None,
            io: None,
        }
    }

    /// An operating-system failure; `doing` completes "cannot ...".
    pub fn io(doing: &str, error: io::Error) -> Self {
        let mut new = Self::new(ErrorKind::Io, format!("cannot {doing}: {error}"));
        new.io = Some(error);
        new
    }

    /// Shorthand for an [`ErrorKind::Unsupported`] failure.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, reason)
    }

    /// Shorthand for an [`ErrorKind::Corrupt`] failure.
    pub fn corrupt(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, reason)
    }

    /// Shorthand for an [`ErrorKind::InvalidArgument`] failure.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, reason)
    }

    /// Names the file, unless a deeper layer already has.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Name>) -> Self {
        self.name_source(source);
        self
    }

    /// [`Error::with_source`] in place.
    pub fn name_source(&mut self, source: impl Into<Name>) {
        self.name.get_or_insert_with(|| Box::new(source.into()));
    }

    /// Names the member of a shard, unless a deeper layer already has.
    #[must_use]
    pub fn with_member(mut self, member: impl Into<String>) -> Self {
        self.member.get_or_insert_with(|| member.into());
        self
    }

    /// Names the byte, unless a deeper layer already has.
    #[must_use]
    pub fn at_byte(mut self, offset: u64) -> Self {
        self.byte_offset.get_or_insert(offset);
        self
    }

    /// Names another byte, which follows from the one that it names.
    #[must_use]
    pub(crate) fn move_byte(mut self, place: impl FnOnce(u64) -> u64) -> Self {
        self.byte_offset = self.byte_offset.map(place);
        self
    }

    /// Names the sample (counted in frames, at the rate of the file).
    #[must_use]
    pub fn at_sample(mut self, index: u64) -> Self {
        self.sample_index.get_or_insert(index);
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the bytes are damaged, rather than absent, refused or of another kind.
    pub fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::Decode | ErrorKind::Corrupt)
    }

    /// What was wrong, without where.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The file, as the caller named it.
    pub fn source_name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| name.source.as_str())
    }

    /// The member of a shard.
    pub fn member(&self) -> Option<&str> {
        let named = self.name.as_ref().and_then(|name| name.member.as_deref());
        self.member.as_deref().or(named)
    }

    /// Where in the file, in bytes from its start; for a member of a shard, in the shard.
    pub fn byte_offset(&self) -> Option<u64> {
        let start = self.name.as_ref().map_or(0, |name| name.start);
        self.byte_offset.map(|byte| byte.saturating_add(start))
    }

    /// Which frame of the decoded signal.
    pub fn sample_index(&self) -> Option<u64> {
        self.sample_index
    }

    /// The operating system's error number.
    pub fn os_error(&self) -> Option<i32> {
        self.io.as_ref().and_then(io::Error::raw_os_error)
    }

    /// The underlying I/O error.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.io.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source_name() {
            write!(f, "{source}")?;
            if let Some(member) = self.member() {
                write!(f, " [{member}]")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.reason)?;
        if let Some(offset) = self.byte_offset() {
            write!(f, " (byte {offset})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io.as_ref().map(|error| error as _)
    }
}
