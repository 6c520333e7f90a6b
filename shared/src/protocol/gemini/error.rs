//! Placeholder.

use crate::protocol::error::{DialectError, StreamFault};

/// Keep-alive.
pub const KEEP_ALIVE: &[u8] = b": ping\n\n";

/// The body of one of our own errors.
#[must_use]
pub fn body(_err: &DialectError<'_>) -> Vec<u8> {
    Vec::new()
}

/// The bytes of an error event.
#[must_use]
pub fn stream_error(_fault: &StreamFault<'_>) -> Vec<u8> {
    Vec::new()
}
