//! How documents look in Redis and on disk: JSON, large ones packed with zstd.
//!
//! Old and new run side by side: unknown fields are ignored, missing ones have defaults. A schema number above
//! the reader's own says that ignoring is not enough: the reader refuses the document and keeps what it has.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a document cannot be read.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The packing is broken, or more than [`MAX_UNPACKED`] comes out.
    #[error("not packed as expected")]
    Packing(#[source] std::io::Error),
    /// It is not the document it should be.
    #[error("not the expected document")]
    Json(#[from] serde_json::Error),
    /// A later release wrote it, and this one would misunderstand it.
    #[error("schema {found} is newer than {known}")]
    TooNew {
        /// The document's.
        found: u32,
        /// The newest known here.
        known: u32,
    },
}

/// JSON, packed.
pub fn pack<T: Serialize>(document: &T) -> std::io::Result<Vec<u8>> {
    let json = serde_json::to_vec(document)?;
    zstd::bulk::compress(&json, LEVEL)
}

/// Reads a packed document.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let json = zstd::stream::Decoder::new(bytes).and_then(|decoder| {
        let mut json = Vec::new();
        let mut bounded = std::io::Read::take(decoder, MAX_UNPACKED);
        std::io::Read::read_to_end(&mut bounded, &mut json).map(|_| json)
    });
    Ok(serde_json::from_slice(&json.map_err(DecodeError::Packing)?)?)
}

/// Refuses a document that a later release wrote for readers of its own.
pub fn check_schema(found: u32, known: u32) -> Result<(), DecodeError> {
    if found > known { Err(DecodeError::TooNew { found, known }) } else { Ok(()) }
}

/// zstd's default: a catalogue of two thousand prices packs in a few milliseconds.
const LEVEL: i32 = 3;
/// No configuration comes near; a broken length must not take the memory.
const MAX_UNPACKED: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::snapshot::Snapshot;
    use crate::testing::{provider, snapshot};

    #[test]
    fn a_packed_document_comes_back() {
        let document = snapshot((0..50).map(provider).collect());
        let packed = pack(&document).unwrap();
        assert!(packed.len() < serde_json::to_vec(&document).unwrap().len() / 2);
        assert_eq!(unpack::<Snapshot>(&packed).unwrap(), document);
        assert!(matches!(unpack::<Snapshot>(&packed[..packed.len() - 3]), Err(DecodeError::Packing(_))));
        assert!(matches!(unpack::<Snapshot>(&pack(&7).unwrap()), Err(DecodeError::Json(_))));
        assert!(check_schema(2, 1).is_err() && check_schema(1, 2).is_ok());
    }
}
