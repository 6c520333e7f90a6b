//! An id made of what a conversation begins with, for clients that name none.
//!
//! Hashed are the plain values (texts, numbers, true, false, null) of the first message, in their order; when that is a
//! system prompt, which all conversations of a tool share, those of the second as well. Not hashed is what clients
//! change about a message while the conversation goes on: `cache_control`, which moves to the newest message, and
//! whether a text stands by itself or as `{"type": "text", "text": …}`, which only the latter can carry.
//!
//! The hash need not withstand an attacker: an id counts within one key, and who makes two conversations of theirs look alike
//! only sends them to one provider.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// The id of a conversation whose first message is at `first` in `body`, which is valid JSON.
pub(super) fn id(body: &[u8], first: Range<usize>) -> Option<String> {
    let mut leaves = Leaves { hash: Xxh3::new(), left: HASHED_BYTES, is_system: false };
    leaves.read(body.get(first.clone())?);
    if leaves.is_system {
        let rest = body.get(first.end..)?.trim_ascii_start();
        // The end of the list, when the system prompt is all there is.
        if let Some(second) = rest.strip_prefix(b",") {
            leaves.read(second);
        }
    }
    Some(format!("content:{:016x}", leaves.hash.digest()))
}

struct Leaves {
    hash: Xxh3,
    /// Bytes of text that are still hashed.
    left: usize,
    /// The message last read is a system prompt.
    is_system: bool,
}

impl Leaves {
    /// Adds the values of the message that this begins with. It ends early where enough is hashed.
    fn read(&mut self, json: &[u8]) {
        self.is_system = false;
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let _ = Leaf { leaves: self, key: Key::Message }.deserialize(&mut deserializer);
    }

    fn add(&mut self, kind: u8, bytes: &[u8]) -> bool {
        // The whole length, so that long texts with the same beginning differ.
        self.hash.update(&[kind]);
        self.hash.update(&(bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes.get(..self.left).unwrap_or(bytes));
        let is_enough = bytes.len() >= self.left;
        self.left = self.left.saturating_sub(bytes.len());
        is_enough
    }

    fn take<E: Error>(&mut self, kind: u8, bytes: &[u8]) -> Result<(), E> {
        // An error is how a reading is ended.
        if self.add(kind, bytes) { Err(E::custom("enough")) } else { Ok(()) }
    }
}

/// What a value stands under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// None: it is the message itself.
    Message,
    /// The message's `role`.
    Role,
    CacheControl,
    Type,
    Other,
}

struct Leaf<'a> {
    leaves: &'a mut Leaves,
    key: Key,
}

impl<'de> DeserializeSeed<'de> for Leaf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.key {
            Key::Type if text == "text" => return Ok(()),
            Key::Role => self.leaves.is_system = matches!(text, "system" | "developer"),
            Key::Message | Key::CacheControl | Key::Type | Key::Other => {}
        }
        self.leaves.take(b's', text.as_bytes())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaves.take(b'n', &[])
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaves.take(b'b', &[u8::from(value)])
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.leaves.take(b'u', &value.to_be_bytes())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.leaves.take(b'i', &value.to_be_bytes())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.leaves.take(b'f', &value.to_bits().to_be_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Leaf { leaves: self.leaves, key: Key::Other })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let is_message = self.key == Key::Message;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::CacheControl => drop(map.next_value::<IgnoredAny>()?),
                Key::Role if !is_message => {
                    map.next_value_seed(Leaf { leaves: self.leaves, key: Key::Other })?;
                }
                key => map.next_value_seed(Leaf { leaves: self.leaves, key })?,
            }
        }
        Ok(())
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "cache_control" => Key::CacheControl,
            "role" => Key::Role,
            "type" => Key::Type,
            _ => Key::Other,
        })
    }
}

/// More text than this is not read: a first message may hold pictures.
const HASHED_BYTES: usize = 256 << 10;
