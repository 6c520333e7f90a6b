//! A decoded copy of an encoded answer, for reading along: the seat still gets the bytes as they came.

use std::io::Write;

/// Undoes one content encoding, piece by piece.
pub enum Sidecar {
    /// `gzip`.
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    /// `deflate` (zlib).
    Deflate(Box<flate2::write::ZlibDecoder<Vec<u8>>>),
    /// `br`.
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    /// `zstd`.
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
    /// An encoding we cannot undo: nothing is read along.
    Blind,
}

impl Sidecar {
    /// For a `Content-Encoding` value; `None` when the bytes are plain.
    #[must_use]
    pub fn new(encoding: &str) -> Option<Self> {
        Some(match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => return None,
            "gzip" | "x-gzip" => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            "deflate" => Self::Deflate(Box::new(flate2::write::ZlibDecoder::new(Vec::new()))),
            "br" => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 16 * 1024))),
            "zstd" => {
                zstd::stream::write::Decoder::new(Vec::new()).map_or(Self::Blind, |d| Self::Zstd(Box::new(d)))
            }
            _ => Self::Blind,
        })
    }

    /// Takes a piece, returns what came out. Broken bytes blind it: the seat's client will find out itself.
    pub fn decode(&mut self, piece: &[u8]) -> Vec<u8> {
        let written = match self {
            Self::Gzip(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Deflate(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Brotli(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Zstd(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Blind => Ok(()),
        };
        let out = match self {
            Self::Gzip(d) => std::mem::take(d.get_mut()),
            Self::Deflate(d) => std::mem::take(d.get_mut()),
            Self::Brotli(d) => std::mem::take(d.get_mut()),
            Self::Zstd(d) => std::mem::take(d.get_mut()),
            Self::Blind => Vec::new(),
        };
        if written.is_err() {
            *self = Self::Blind;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gzip_stream_is_readable_event_by_event() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut sidecar = Sidecar::new("gzip").unwrap();
        for event in ["event: a\n\n", "event: b\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let piece = std::mem::take(encoder.get_mut());
            assert_eq!(sidecar.decode(&piece), event.as_bytes());
        }
    }

    #[test]
    fn broken_bytes_blind_it_without_harm() {
        let mut sidecar = Sidecar::new("gzip").unwrap();
        assert!(sidecar.decode(b"not gzip at all").is_empty());
        assert!(matches!(sidecar, Sidecar::Blind));
        assert!(Sidecar::new("identity").is_none());
    }
}
