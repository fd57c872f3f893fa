//! A blob's bytes: from a byte on, over any failure, over several connections, within bounds.

pub(super) mod appetite;
pub(super) mod assembly;
pub(super) mod chunk;
pub(super) mod location;
pub(super) mod pace;
pub(super) mod parallel;
pub(super) mod pieces;
pub(super) mod ranges;
pub(super) mod segment;
pub(super) mod source;
pub(super) mod stream;
pub(super) mod throttle;
pub(super) mod window;
