//! One layer of `Content-Encoding` off a request body, never beyond a bound.

use bytes::Bytes;
use std::io::Read;
use thiserror::Error;

/// An encoding we can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `deflate`: zlib, or raw as some clients send it.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// Why a body does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are not what the encoding says, or end early.
    #[error("broken")]
    Broken,
    /// More than the bound comes out.
    #[error("too large")]
    TooLarge,
    /// There is no memory for what comes out.
    #[error("no room")]
    NoRoom,
}

/// Reads a `Content-Encoding` value. `Ok(None)` = as is; `Err` = unknown or several.
pub fn encoding(value: &str) -> Result<Option<Encoding>, ()> {
    match value.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "deflate" => Ok(Some(Encoding::Deflate)),
        "br" => Ok(Some(Encoding::Brotli)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        _ => Err(()),
    }
}

/// Decodes a whole body to at most `bound` bytes. CPU-bound: call off the IO threads when it is large.
/// `has_room` is asked before the result grows to so many bytes in all.
pub fn decode(
    encoding: Encoding,
    body: &[u8],
    bound: usize,
    mut has_room: impl FnMut(usize) -> bool,
) -> Result<Bytes, DecodeError> {
    let room = &mut has_room;
    match encoding {
        Encoding::Gzip => read_all(flate2::read::MultiGzDecoder::new(body), bound, room),
        Encoding::Deflate => match read_all(flate2::read::ZlibDecoder::new(body), bound, room) {
            Err(DecodeError::Broken) => read_all(flate2::read::DeflateDecoder::new(body), bound, room),
            done => done,
        },
        Encoding::Brotli => read_all(brotli::Decompressor::new(body, 16 * 1024), bound, room),
        Encoding::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(body).map_err(|_| DecodeError::Broken)?;
            read_all(decoder, bound, room)
        }
    }
}

fn read_all(
    mut decoder: impl Read,
    bound: usize,
    has_room: &mut impl FnMut(usize) -> bool,
) -> Result<Bytes, DecodeError> {
    let mut out = Vec::new();
    loop {
        let step = STEP.min(bound + 1 - out.len());
        if !has_room(out.len() + step) {
            return Err(DecodeError::NoRoom);
        }
        let limit = u64::try_from(step).unwrap_or(u64::MAX);
        let read = decoder.by_ref().take(limit).read_to_end(&mut out).map_err(|_| DecodeError::Broken)?;
        if out.len() > bound {
            return Err(DecodeError::TooLarge);
        }
        if read < step {
            return Ok(out.into());
        }
    }
}

/// Decoded bytes per question for room.
const STEP: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use std::io::Write;

    fn encoded(text: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(text).unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 4, 20).write_all(text).unwrap();
        vec![
            (Encoding::Gzip, gzip.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
            (Encoding::Brotli, br),
            (Encoding::Zstd, zstd::encode_all(text, 1).unwrap()),
        ]
    }

    #[test]
    fn each_encoding_comes_off() {
        let text = br#"{"model":"claude","messages":[]}"#.repeat(100);
        for (encoding, body) in encoded(&text) {
            assert_eq!(decode(encoding, &body, text.len(), |_| true).unwrap(), text, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        for (encoding, body) in encoded(&vec![b' '; 1 << 20]) {
            let bomb = |bound, room| decode(encoding, &body, bound, |bytes| bytes <= room);
            assert_eq!(bomb(1 << 16, usize::MAX), Err(DecodeError::TooLarge), "{encoding:?}");
            assert_eq!(bomb(1 << 21, 1 << 19), Err(DecodeError::NoRoom), "{encoding:?}");
        }
    }

    #[test]
    fn a_cut_body_is_broken_not_short() {
        for (encoding, body) in encoded(&br#"{"a":1}"#.repeat(100)) {
            let cut = &body[..body.len() / 2];
            assert_eq!(decode(encoding, cut, 1 << 20, |_| true), Err(DecodeError::Broken), "{encoding:?}");
        }
    }

    #[test]
    fn one_known_layer_is_taken() {
        assert_eq!(encoding("GZIP"), Ok(Some(Encoding::Gzip)));
        assert_eq!(encoding("identity"), Ok(None));
        assert_eq!(encoding("gzip, br"), Err(()));
        assert_eq!(encoding("compress"), Err(()));
    }
}
