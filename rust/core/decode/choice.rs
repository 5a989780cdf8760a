//! Which decoder makes the samples.

use std::str::FromStr;

use crate::codec::Library;
use crate::error::{Error, Result};

/// Which decoder makes the samples of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Choice {
    /// This crate's own codecs.
    #[default]
    Native,
    /// Those of the crate symphonia, on the packets, the trimming and the seeking of this crate.
    Symphonia,
    /// Each of them, and [`ErrorKind::Disagree`](crate::ErrorKind::Disagree) where their samples part; the samples
    /// are the native ones.
    Both,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Native, Self::Symphonia, Self::Both];

    /// As Python and the command line know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Symphonia => "symphonia",
            Self::Both => "both",
        }
    }

    /// Whose samples are given.
    pub(super) fn library(self) -> Library {
        match self {
            Self::Native | Self::Both => Library::Native,
            Self::Symphonia => Library::Symphonia,
        }
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let reason =
                format!(r#"decoder must be "native", "symphonia" or "both", not {name:?}"#);
            Error::invalid(reason)
        })
    }
}
