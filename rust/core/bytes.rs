//! Where bytes come from and go to.

pub(crate) mod map;
pub mod raw;
pub mod source;
pub(crate) mod temp;
pub(crate) mod window;
