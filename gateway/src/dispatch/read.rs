//! Reading an answer: whole up to a bound, or piece by piece past the tap.

use super::sidecar::Sidecar;
use super::upstream::{Broken, Upstream, within};
use bytes::Bytes;
use shared::protocol::tap::{Passed, StreamTap};
use tokio::time::Instant;

/// Lets the tap see a piece. Encoded bytes reach the seat as they came, unless it wants them plain.
pub fn pass(tap: &mut StreamTap, sidecar: &mut Option<Sidecar>, piece: Bytes) -> Passed {
    match sidecar {
        None => tap.push(piece),
        Some(sidecar) if tap.wants_plain() => tap.push(sidecar.decode(&piece).into()),
        Some(sidecar) => {
            let seen = tap.observe(&sidecar.decode(&piece));
            Passed { bytes: piece, seen }
        }
    }
}

/// How far a body was read.
pub enum ReadEnd {
    /// To its end.
    Complete,
    /// Past the bound; there is more.
    Bound,
}

/// Reads a body into pieces, until its end or past `bound` bytes.
pub async fn read_up_to(
    upstream: &mut Upstream,
    pieces: &mut Vec<Bytes>,
    bound: usize,
    deadline: Option<Instant>,
) -> Result<ReadEnd, Broken> {
    let mut length = 0;
    loop {
        let Some(piece) = within(deadline, upstream.read()).await? else { return Ok(ReadEnd::Complete) };
        length += piece.len();
        pieces.push(piece);
        if length > bound {
            return Ok(ReadEnd::Bound);
        }
    }
}

/// The decoded bytes of a whole body; the beginning of what becomes more than [`PLAIN_BOUND`], which is no answer of a model.
pub fn plain(sidecar: &mut Option<Sidecar>, pieces: &[Bytes]) -> Bytes {
    match (sidecar, pieces) {
        (None, [only]) => only.clone(),
        (None, pieces) => pieces.concat().into(),
        (Some(sidecar), pieces) => {
            let mut plain = Vec::new();
            for piece in pieces {
                if plain.len() > PLAIN_BOUND {
                    break;
                }
                plain.append(&mut sidecar.decode(piece));
            }
            plain.into()
        }
    }
}

/// Twice what is held of a body as it came.
const PLAIN_BOUND: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_body_of_many_bombs_stops_at_the_bound() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let pieces = (0..40).map(|_| {
            // Less than what blinds, of each piece.
            gzip.write_all(&vec![0; 8 << 20]).unwrap();
            gzip.flush().unwrap();
            Bytes::from(std::mem::take(gzip.get_mut()))
        });
        let pieces: Vec<Bytes> = pieces.collect();
        let plain = plain(&mut Sidecar::new("gzip"), &pieces);
        assert_eq!(plain.len(), PLAIN_BOUND + (8 << 20));
    }
}
