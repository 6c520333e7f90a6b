use super::*;
use proptest::prelude::*;

/// A frame that owns its bytes; the pieces of a skipped event joined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Event { raw: Vec<u8>, name: String, data: String },
    Unfinished { raw: Vec<u8>, name: String, data: String },
    Skipped(Vec<u8>),
}

fn collect(frames: &mut Vec<Owned>, frame: Frame<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let owned = match frame {
        Frame::Event(e) => Owned::Event { raw: e.raw.to_vec(), name: text(e.name), data: text(&e.data) },
        Frame::Unfinished(e) => {
            Owned::Unfinished { raw: e.raw.to_vec(), name: text(e.name), data: text(&e.data) }
        }
        Frame::Skipped { raw, is_first: true } => Owned::Skipped(raw.to_vec()),
        Frame::Skipped { raw, is_first: false } => {
            let Some(Owned::Skipped(bytes)) = frames.last_mut() else {
                panic!("a skipped event starts with its first frame");
            };
            bytes.extend_from_slice(raw);
            return;
        }
    };
    frames.push(owned);
}

fn read_chunks<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
    let mut reader = SseReader::with_limit(limit);
    let mut frames = Vec::new();
    for chunk in chunks {
        reader.push(chunk, |frame| collect(&mut frames, frame));
        assert!(reader.kept() <= limit);
    }
    reader.end(|frame| collect(&mut frames, frame));
    assert!(!reader.is_mid_event());
    frames
}

fn read(stream: &str) -> Vec<(String, String)> {
    read_chunks(MAX_EVENT_BYTES, [stream.as_bytes()])
        .into_iter()
        .map(|frame| match frame {
            Owned::Event { name, data, .. } | Owned::Unfinished { name, data, .. } => (name, data),
            Owned::Skipped(_) => panic!("nothing is that large here"),
        })
        .collect()
}

fn pair(name: &str, data: &str) -> (String, String) {
    (name.to_owned(), data.to_owned())
}

#[test]
fn every_line_ending_ends_a_line() {
    let expected = vec![pair("a", "1\n2"), pair("", "3")];
    for end in ["\n", "\r\n", "\r"] {
        let stream = ["event: a", "data: 1", "data: 2", "", "data:3", "", ""].join(end);
        let stream = stream.strip_suffix(end).unwrap();
        assert_eq!(read(stream), expected, "{end:?}");
    }
}

#[test]
fn fields_are_read_as_the_standard_says() {
    assert_eq!(read("\u{feff}data: x\n\n"), [pair("", "x")]);
    assert_eq!(read("data:  two spaces\n\n"), [pair("", " two spaces")]);
    assert_eq!(read("data\ndata\n\n"), [pair("", "\n")]);
    assert_eq!(read("event: a\nevent: b\nid: 7\nretry: 1\nDATA: no\n\n"), [pair("b", "")]);
    assert_eq!(read("data: a: b\n\n"), [pair("", "a: b")]);
    assert_eq!(read("event\ndata: x\n\n"), [pair("", "x")]);
}

#[test]
fn comments_and_empty_lines_are_events_without_data() {
    assert_eq!(read(": ping\n\n"), [pair("", "")]);
    assert_eq!(read("\n\n"), [pair("", ""), pair("", "")]);
    assert_eq!(read("\r\n\r\n"), [pair("", ""), pair("", "")]);
    assert_eq!(read(": hello\ndata: x\n\n"), [pair("", "x")]);
}

#[test]
fn the_end_of_the_bytes_hands_out_an_unfinished_event() {
    let frames = read_chunks(100, [&b"data: a\n\ndata: [DONE]"[..]]);
    assert!(matches!(&frames[1], Owned::Unfinished { data, .. } if data == "[DONE]"));
    let frames = read_chunks(100, [&b"data: a\r\n\r"[..]]);
    assert!(matches!(&frames[..], [Owned::Event { raw, .. }] if raw == b"data: a\r\n\r"));
}

#[test]
fn an_event_is_handed_out_with_its_last_byte() {
    for stream in [&b"data: a\n\n"[..], b"data: a\r\n\r\n", b"data: a\r\r"] {
        let mut reader = SseReader::new();
        let (last, before) = stream.split_last().unwrap();
        reader.push(before, |frame| panic!("too early: {frame:?}"));
        let mut count = 0;
        reader.push(&[*last], |_| count += 1);
        assert_eq!((count, reader.kept()), (1, 0), "{:?}", String::from_utf8_lossy(stream));
    }
}

#[test]
fn an_event_over_the_limit_passes_unread_and_the_next_one_is_read() {
    let frames = read_chunks(10, [&b"data: 0123456789"[..], b"more\n", b"\ndata: x\n\n"]);
    assert_eq!(frames[0], Owned::Skipped(b"data: 0123456789more\n\n".to_vec()));
    assert!(matches!(&frames[1], Owned::Event { data, .. } if data == "x"));
}

/// Pieces that make line ends, fields and blank lines meet at every boundary.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("\r\n\r\n"),
        Just(":"),
        Just(" "),
        Just("data"),
        Just("data: "),
        Just("data:"),
        Just("event: "),
        Just(": c"),
        Just("{\"a\":1}"),
        Just("\u{feff}"),
        Just("é"),
        Just("id"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

fn split<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.sort_unstable();
    let mut chunks = Vec::new();
    let mut from = 0;
    for cut in cuts {
        chunks.push(&stream[from..cut]);
        from = cut;
    }
    chunks.push(&stream[from..]);
    chunks
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        stream in stream(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        limit in prop_oneof![Just(MAX_EVENT_BYTES), 1_usize..30],
    ) {
        let whole = read_chunks(limit, [&stream[..]]);
        prop_assert_eq!(&whole, &read_chunks(limit, split(&stream, &cuts)));
        prop_assert_eq!(&whole, &read_chunks(limit, stream.chunks(1)));
    }

    #[test]
    fn the_frames_are_the_stream(stream in stream(), limit in prop_oneof![Just(MAX_EVENT_BYTES), 1_usize..30]) {
        let mut raw = Vec::new();
        for frame in read_chunks(limit, [&stream[..]]) {
            match frame {
                Owned::Event { raw: bytes, .. } | Owned::Unfinished { raw: bytes, .. } | Owned::Skipped(bytes) => {
                    raw.extend_from_slice(&bytes);
                }
            }
        }
        prop_assert_eq!(raw, stream);
    }

    #[test]
    fn no_bytes_make_it_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10)) {
        read_chunks(16, chunks.iter().map(Vec::as_slice));
    }
}
