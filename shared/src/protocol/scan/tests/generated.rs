//! Bodies made up: every field in any order, written in every way JSON allows.

use proptest::prelude::*;
use std::fmt::Write as _;

/// A JSON value that may repeat keys.
#[derive(Clone, Debug)]
pub enum Node {
    /// A number or literal as written.
    Raw(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Decides how a value is written: blanks, escapes. Read round and round.
pub type Entropy = [u8; 32];

impl Node {
    /// JSON text.
    pub fn rendered(&self, entropy: &Entropy) -> String {
        let mut writer = Writer { out: String::new(), entropy, at: 0 };
        writer.blank();
        writer.node(self);
        writer.blank();
        writer.out
    }
}

/// The fields of a body that the scanner accepts: deciding ones at most once and of their type.
pub fn body_nodes() -> impl Strategy<Value = Vec<(String, Node)>> {
    let fields = [
        field("model", text()),
        field("stream", boolean()),
        field("max_tokens", integer()),
        field("max_completion_tokens", integer()),
        field("max_output_tokens", integer()),
        field("n", integer()),
        field("best_of", integer()),
        field("service_tier", text()),
        field("messages", any_node()),
        field("input", any_node()),
        field("contents", any_node()),
        field("previous_response_id", text()),
        field("background", boolean()),
        field("stream_options", map_of(vec![field("include_usage", boolean()), other()])),
        field(
            "generationConfig",
            map_of(vec![field("maxOutputTokens", integer()), field("candidate_count", integer()), other()]),
        ),
        field("metadata", map_of(vec![field("user_id", any_node()), field("user_id", text()), other()])),
        field("metadata", any_node()),
        field("prompt_cache_key", text()),
        field("prompt_cache_key", any_node()),
        field("store", boolean()),
        field("store", any_node()),
        other(),
        other(),
    ];
    let some = fields.into_iter().map(|field| prop::option::weighted(0.3, field)).collect::<Vec<_>>();
    some.prop_map(|fields| fields.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle()
}

/// The body with some bytes changed, added, taken out or cut off.
pub fn mutated(mut body: Vec<u8>, damages: &[(u8, u16, u8)]) -> Vec<u8> {
    for (kind, place, byte) in damages {
        let at = usize::from(*place) % (body.len() + 1);
        let likely = LIKELY[usize::from(*byte) % LIKELY.len()];
        match kind % 7 {
            0 if at < body.len() => body[at] ^= 1 << (byte % 8),
            1 if at < body.len() => body[at] = likely,
            2 => body.insert(at, likely),
            3 => body.insert(at, *byte),
            4 if at < body.len() => drop(body.remove(at)),
            5 => body.truncate(at),
            6 => {
                let piece = body[at..body.len().min(at + usize::from(byte % 16))].to_vec();
                body.splice(at..at, piece);
            }
            _ => {}
        }
    }
    body
}

const LIKELY: &[u8] = b"\"\\{}[]:,0123456789eE.+-tfnu/ \n\t\x00\x1f\x7f\xc3\xa9";

type Field = BoxedStrategy<(String, Node)>;

fn field(name: &'static str, value: impl Strategy<Value = Node> + 'static) -> Field {
    value.prop_map(move |node| (name.to_owned(), node)).boxed()
}

fn other() -> Field {
    ("(mode|messages_|N|é|)", any_node()).boxed()
}

fn text() -> impl Strategy<Value = Node> {
    prop_oneof![9 => any::<String>().prop_map(Node::Text), 1 => null()]
}

fn boolean() -> impl Strategy<Value = Node> {
    prop::sample::select(vec!["true", "false", "null"]).prop_map(|word| Node::Raw(word.to_owned()))
}

fn integer() -> impl Strategy<Value = Node> {
    prop_oneof![
        3 => any::<u64>().prop_map(|n| Node::Raw(n.to_string())),
        3 => (0_u64..100_000).prop_map(|n| Node::Raw(n.to_string())),
        1 => (0_u64..1000, 0_u8..9).prop_map(|(n, exponent)| Node::Raw(format!("{n}.0E{exponent}"))),
        1 => null(),
    ]
}

fn null() -> impl Strategy<Value = Node> {
    Just(Node::Raw("null".to_owned()))
}

fn map_of(fields: Vec<Field>) -> impl Strategy<Value = Node> {
    let some = fields.into_iter().map(prop::option::of).collect::<Vec<_>>();
    let fields = some.prop_map(|fields| fields.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle();
    prop_oneof![9 => fields.prop_map(Node::Map), 1 => null()]
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Node::Text),
        "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,8})?([eE][+-]?[0-9]{1,2})?".prop_map(Node::Raw),
        prop::sample::select(vec!["true", "false", "null"]).prop_map(|word| Node::Raw(word.to_owned())),
    ];
    leaf.prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Node::List),
            prop::collection::vec(("[a-c\"\\\\]{0,2}|model", inner), 0..4).prop_map(Node::Map),
        ]
    })
}

struct Writer<'a> {
    out: String,
    entropy: &'a Entropy,
    at: usize,
}

impl Writer<'_> {
    fn next(&mut self) -> u8 {
        self.at += 1;
        // The lap is added, so that a round of the same bytes does not write the same again.
        let lap = u8::try_from(self.at / self.entropy.len() % 251).unwrap_or_default();
        self.entropy[self.at % self.entropy.len()].wrapping_add(lap)
    }

    fn blank(&mut self) {
        let blank = ["", "", "", " ", "\n", "\t", "\r\n", "  "][usize::from(self.next() % 8)];
        self.out.push_str(blank);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Raw(raw) => self.out.push_str(raw),
            Node::Text(text) => self.text(text),
            Node::List(list) => self.members('[', ']', list, Self::node),
            Node::Map(map) => self.members('{', '}', map, |writer, (key, value)| {
                writer.text(key);
                writer.blank();
                writer.out.push(':');
                writer.blank();
                writer.node(value);
            }),
        }
    }

    fn members<T>(&mut self, open: char, close: char, members: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.out.push(open);
        self.blank();
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
                self.blank();
            }
            write(self, member);
            self.blank();
        }
        self.out.push(close);
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            let is_escaped = self.next().is_multiple_of(8) || c < ' ' || c == '"' || c == '\\';
            let short =
                "\"\\/bfnrt".chars().zip("\"\\/\u{8}\u{c}\n\r\t".chars()).find(|(_, meant)| *meant == c);
            match short {
                _ if !is_escaped => self.out.push(c),
                Some((letter, _)) if self.next().is_multiple_of(2) => self.out.extend(['\\', letter]),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = if self.next().is_multiple_of(2) {
                            write!(self.out, "\\u{unit:04x}")
                        } else {
                            write!(self.out, "\\u{unit:04X}")
                        };
                    }
                }
            }
        }
        self.out.push('"');
    }
}
