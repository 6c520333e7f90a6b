//! How a record looks in a segment. All numbers little-endian.
//!
//! ```text
//!  length of the record (4) │ CRC-32 of all that follows (4) │ kind (1) │ number (8) │ request id (16) │ record
//! ```
//! What is torn, zeroed or overwritten does not check, and ends the segment there.

use crate::ids::RequestId;
use bytes::Bytes;
use crc32fast::Hasher;

/// Bytes before the record.
pub(super) const HEAD: usize = 33;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To be booked if nothing more is heard.
    Begin,
    /// To be booked.
    End,
    /// All up to its number is in the books: what is missing below was not lost.
    Floor,
    /// What a later release knows.
    Other,
}

/// A record that waits for its place: it is made ready before the journal is locked.
pub struct Draft(Vec<u8>);

impl Draft {
    /// A draft of what is written here.
    pub fn written<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.resize(HEAD, 0);
        write(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A draft of a record that is written already.
    #[must_use]
    pub fn of_bytes(record: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + record.len());
        bytes.resize(HEAD, 0);
        bytes.extend_from_slice(record);
        Self(bytes)
    }

    /// Bytes of the frame it will be.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn seal(self, kind: Kind, id: RequestId, seq: u64) -> Bytes {
        let Self(mut bytes) = self;
        let length = u32::try_from(bytes.len() - HEAD).unwrap_or(u32::MAX);
        bytes[8] = match kind {
            Kind::Begin => BEGIN,
            Kind::End => END,
            Kind::Floor => FLOOR,
            Kind::Other => 0,
        };
        bytes[9..17].copy_from_slice(&seq.to_le_bytes());
        bytes[17..HEAD].copy_from_slice(&id.to_bytes());
        let check = crc(&bytes[8..]);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        match kind {
            // Kept for as long as the request runs: not much more than it needs.
            Kind::Begin if bytes.capacity() - bytes.len() > SPARE_BYTES => bytes.into_boxed_slice().into(),
            Kind::Begin | Kind::End | Kind::Floor | Kind::Other => bytes.into(),
        }
    }
}

/// A frame in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub kind: Kind,
    pub seq: u64,
    pub id: RequestId,
    pub record: &'a [u8],
}

/// The frames of a segment, up to its end or to the first one that does not check.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes of the frames read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let (head, rest) = self.bytes.get(self.at..)?.split_first_chunk::<HEAD>()?;
        let length = usize::try_from(u32::from_le_bytes([head[0], head[1], head[2], head[3]])).ok()?;
        let record = rest.get(..length)?;
        let check = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if crc(&self.bytes[self.at + 8..self.at + HEAD + length]) != check {
            return None;
        }
        let (mut seq, mut id) = ([0; 8], [0; 16]);
        seq.copy_from_slice(&head[9..17]);
        id.copy_from_slice(&head[17..]);
        let kind = match head[8] {
            BEGIN => Kind::Begin,
            END => Kind::End,
            FLOOR => Kind::Floor,
            _ => Kind::Other,
        };
        self.at += HEAD + length;
        Some(Frame { kind, seq: u64::from_le_bytes(seq), id: RequestId::from_bytes(id), record })
    }
}

/// Says that all up to this number is in the books.
pub(super) fn floor(seq: u64) -> Bytes {
    Draft(vec![0; HEAD]).seal(Kind::Floor, RequestId::from_bytes([0; 16]), seq)
}

/// The ends of a segment from this number on, with their numbers.
pub fn ends(segment: &[u8], from: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let ends = Frames::of(segment).filter(move |frame| frame.kind == Kind::End && frame.seq >= from);
    ends.map(|frame| (frame.seq, frame.record))
}

fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finalize()
}

const BEGIN: u8 = 1;
const END: u8 = 2;
const FLOOR: u8 = 3;
/// Most records are smaller, and not by much: what is kept for a while is memory that is touched.
const USUAL_BYTES: usize = 384;
/// What a begin may keep without need: to move it costs more.
const SPARE_BYTES: usize = 192;
