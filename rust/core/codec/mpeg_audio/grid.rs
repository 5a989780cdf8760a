//! How the lines of a granule lie: in the order of the bit stream, and by subband.

/// Lines of one channel of a granule.
pub(super) const LINES: usize = 576;
/// Quantized lines.
pub(super) type Lines = [i16; LINES];

/// Subbands of the filter bank.
pub(super) const SUBBANDS: usize = 32;
/// Lines of each subband.
pub(super) const SLOTS: usize = 18;

/// Lines by place in the subband, then by subband, so that all subbands pass a filter at once.
pub(super) type Spectrum = [[f32; SUBBANDS]; SLOTS];
