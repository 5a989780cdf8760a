//! How much room a stream's headers may ask for.

use super::Fault;

/// Values of all code books together: libvorbis's own books have a tenth of them.
const MOST_VALUES: usize = 1 << 20;

/// How much more room the headers may ask for.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MOST_VALUES)
    }

    /// Room for so many entries of so many values.
    pub(super) fn take(&mut self, entries: usize, dimensions: usize) -> Result<(), Fault> {
        let left = self
            .0
            .checked_sub(entries.saturating_mul(dimensions.max(1)));
        self.0 = left.ok_or(Fault("the code books are too large"))?;
        Ok(())
    }
}
