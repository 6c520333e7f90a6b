//! A decoded copy of an encoded answer, for reading along: the seat still gets the bytes as they came.

use std::io::{self, ErrorKind, Write};

/// Undoes one content encoding, piece by piece.
pub enum Sidecar {
    /// `gzip`.
    Gzip(Box<flate2::write::MultiGzDecoder<Room>>),
    /// `deflate` (zlib).
    Deflate(Box<flate2::write::ZlibDecoder<Room>>),
    /// `br`.
    Brotli(Box<brotli::DecompressorWriter<Room>>),
    /// `zstd`.
    Zstd(Box<zstd::stream::write::Decoder<'static, Room>>),
    /// An encoding we cannot undo: nothing is read along.
    Blind,
}

impl Sidecar {
    /// For a `Content-Encoding` value; `None` when the bytes are plain.
    #[must_use]
    pub fn new(encoding: &str) -> Option<Self> {
        Some(match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => return None,
            "gzip" | "x-gzip" => Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Room::default()))),
            "deflate" => Self::Deflate(Box::new(flate2::write::ZlibDecoder::new(Room::default()))),
            "br" => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Room::default(), 16 * 1024))),
            "zstd" => zstd::stream::write::Decoder::new(Room::default())
                .map_or(Self::Blind, |d| Self::Zstd(Box::new(d))),
            _ => Self::Blind,
        })
    }

    /// Takes a piece, returns what came out. Broken bytes blind it, and those that become more than [`PIECE_BOUND`]: the seat's client will
    /// find out itself.
    pub fn decode(&mut self, piece: &[u8]) -> Vec<u8> {
        let written = match self {
            Self::Gzip(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Deflate(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Brotli(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Zstd(d) => d.write_all(piece).and_then(|()| d.flush()),
            Self::Blind => Ok(()),
        };
        let out = match self {
            Self::Gzip(d) => d.get_mut().take(),
            Self::Deflate(d) => d.get_mut().take(),
            Self::Brotli(d) => d.get_mut().take(),
            Self::Zstd(d) => d.get_mut().take(),
            Self::Blind => Vec::new(),
        };
        if written.is_err() {
            *self = Self::Blind;
        }
        out
    }
}

/// What came out of a piece, up to a bound: a few kilobytes may become gigabytes.
#[derive(Default)]
pub struct Room(Vec<u8>);

impl Room {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > PIECE_BOUND {
            return Err(ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Some hundred times what is read of a connection at once: more than any text becomes.
const PIECE_BOUND: usize = 16 << 20;

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
    fn a_bomb_blinds_it_at_the_bound() {
        let zeros = vec![0; 4 * PIECE_BOUND];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeros).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&zeros).unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 4, 20).write_all(&zeros).unwrap();
        let bombs = [
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("br", br),
            ("zstd", zstd::encode_all(&zeros[..], 1).unwrap()),
        ];
        for (encoding, bomb) in bombs {
            let mut sidecar = Sidecar::new(encoding).unwrap();
            assert!(sidecar.decode(&bomb).len() <= PIECE_BOUND, "{encoding}");
            assert!(matches!(sidecar, Sidecar::Blind), "{encoding}");
            assert!(sidecar.decode(b"more").is_empty(), "{encoding}");
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
