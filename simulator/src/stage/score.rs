//! From a tape and a script to the steps of a performance: what is sent when, and how it ends. Pure.

use crate::script::{Cut, ErrorEvent, Hang, PingOnly, Script};
use crate::vendor::{Event, Kind, Tape};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::time::Duration;

/// One thing to do with the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these bytes; then so many events have been sent.
    Send { bytes: Bytes, events: usize },
    /// Wait.
    Pause(Duration),
    /// Let what was sent leave as a write of its own.
    Yield,
    /// Let everything that was sent leave.
    Settle,
    /// Send pings, for ever or for a time.
    Pings { every: Duration, for_time: Option<Duration> },
    /// Never do anything again.
    Hang,
    /// Break the stream off.
    Cut,
    /// Break the connection half-way through these bytes.
    CutInside(Bytes),
}

/// Writes the steps of a performance.
pub(crate) fn compose(tape: &Tape, script: &Script) -> Vec<Step> {
    if !needs_direction(script) {
        return vec![Step::Send { bytes: tape.bytes.clone(), events: tape.events.len() }];
    }
    let mut steps = Vec::new();
    if script.first_event_delay_ms > 0 {
        steps.push(Step::Pause(millis(script.first_event_delay_ms)));
    }
    let stop = Stop::of(script, tape);
    let from = script.ping_only.map_or(0, |pings| ping(&mut steps, pings, tape, &stop));
    send(&mut steps, tape, from..stop.after, script.spacing_ms);
    stop.act(&mut steps, tape);
    match script.drip {
        Some(size) => drip(steps, size.get(), script.drip_every_ms),
        None => steps,
    }
}

/// The tape with an error in place of what would have followed. `wire` makes the error from the number of
/// events before it.
pub(crate) fn with_error(tape: &Tape, place: ErrorEvent, wire: impl FnOnce(usize) -> String) -> Tape {
    let opening = tape.events.iter().take_while(|event| event.kind == Kind::Opening).count();
    let kept = match place {
        ErrorEvent::BeforeContent => opening,
        ErrorEvent::AfterContent(count) => {
            let content = tape.events.iter().enumerate().filter(|(_, event)| event.kind == Kind::Content);
            // More than there is: after the last of it.
            content.take(count as usize).last().map_or(opening, |(index, _)| index + 1)
        }
    };
    let mut bytes = tape.span(0, kept).to_vec();
    let mut events = tape.events[..kept].to_vec();
    bytes.extend_from_slice(wire(kept).as_bytes());
    let told = events.last().and_then(|event| event.told);
    events.push(Event { end: bytes.len(), kind: Kind::Structure, told });
    Tape { bytes: bytes.into(), events: events.into() }
}

/// The tape compressed, every event flushed so that it can be read when it arrives.
pub(crate) fn gzipped(tape: &Tape) -> std::io::Result<Tape> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut events = tape.events.to_vec();
    for (index, event) in events.iter_mut().enumerate() {
        encoder.write_all(&tape.span(index, index + 1))?;
        encoder.flush()?;
        event.end = encoder.get_ref().len();
    }
    let bytes = encoder.finish()?;
    if let Some(last) = events.last_mut() {
        last.end = bytes.len();
    }
    Ok(Tape { bytes: bytes.into(), events: events.into() })
}

fn needs_direction(script: &Script) -> bool {
    script.first_event_delay_ms > 0
        || script.spacing_ms > 0
        || script.drip.is_some()
        || script.ping_only.is_some()
        || script.cut.is_some()
        || script.hang.is_some()
}

/// Where the sending stops and what happens then.
struct Stop {
    after: usize,
    end: End,
}

enum End {
    Done,
    Hang,
    Cut,
    /// Inside the event that would come next.
    CutInside,
    /// The tape is one event: its first half is sent before the end.
    Half(Step),
    /// So many bytes are sent, then it is cut.
    Bytes(usize),
}

impl Stop {
    fn of(script: &Script, tape: &Tape) -> Self {
        let all = tape.events.len();
        let most = all.saturating_sub(1);
        let within = |events: u32| (events as usize).min(most);
        let is_whole = all <= 1;
        let (after, end) = match (script.cut, script.hang) {
            (Some(Cut::MidStream(_)), _) if is_whole => (0, End::Half(Step::Cut)),
            (Some(Cut::MidStream(events)), _) => (within(events), End::Cut),
            (Some(Cut::AfterBytes(bytes)), _) => (0, End::Bytes(bytes as usize)),
            (Some(Cut::MidChunk(events)), _) => (within(events), End::CutInside),
            (Some(Cut::BeforeHead | Cut::AfterHead), _) => (0, End::Cut),
            (None, Some(Hang::MidStream(_))) if is_whole => (0, End::Half(Step::Hang)),
            (None, Some(Hang::MidStream(events))) => (within(events), End::Hang),
            (None, Some(Hang::BeforeHead | Hang::AfterHead)) => (0, End::Hang),
            (None, None) => (all, End::Done),
        };
        Self { after, end }
    }

    fn act(self, steps: &mut Vec<Step>, tape: &Tape) {
        match self.end {
            End::Done => {}
            End::Hang => steps.push(Step::Hang),
            End::Cut => steps.extend([Step::Settle, Step::Cut]),
            End::CutInside => {
                steps.extend([Step::Settle, Step::CutInside(tape.span(self.after, self.after + 1))]);
            }
            End::Half(end) => {
                let half = tape.bytes.slice(..tape.bytes.len() / 2);
                steps.extend([Step::Send { bytes: half, events: 0 }, Step::Settle, end]);
            }
            End::Bytes(bytes) => {
                let bytes = tape.bytes.slice(..bytes.min(tape.bytes.len().saturating_sub(1)));
                let events = tape.events.iter().take_while(|event| event.end <= bytes.len()).count();
                steps.extend([Step::Send { bytes, events }, Step::Settle, Step::Cut]);
            }
        }
    }
}

/// Puts the pings before the first event, or after those that are to come first; returns the number of events sent.
fn ping(steps: &mut Vec<Step>, pings: PingOnly, tape: &Tape, stop: &Stop) -> usize {
    let opening = tape.events.iter().take_while(|event| event.kind == Kind::Opening).count();
    let opening = if pings.after_opening { opening } else { 0 };
    let sent = opening.max(pings.after_events as usize).min(stop.after);
    send(steps, tape, 0..sent, 0);
    // Pings without a pause between them would starve the runtime.
    let every = millis(pings.every_ms.max(1));
    steps.push(Step::Pings { every, for_time: pings.for_ms.map(millis) });
    sent
}

fn send(steps: &mut Vec<Step>, tape: &Tape, events: std::ops::Range<usize>, spacing_ms: u64) {
    if events.is_empty() {
        return;
    }
    if spacing_ms == 0 {
        steps.push(Step::Send { bytes: tape.span(events.start, events.end), events: events.end });
        return;
    }
    for event in events {
        if event > 0 {
            steps.push(Step::Pause(millis(spacing_ms)));
        }
        steps.push(Step::Send { bytes: tape.span(event, event + 1), events: event + 1 });
    }
}

fn drip(steps: Vec<Step>, size: usize, every_ms: u64) -> Vec<Step> {
    let between = if every_ms > 0 { Step::Pause(millis(every_ms)) } else { Step::Yield };
    let mut dripped = Vec::new();
    let mut sent = 0;
    for step in steps {
        let Step::Send { mut bytes, events } = step else {
            dripped.push(step);
            continue;
        };
        while bytes.len() > size {
            dripped.extend([Step::Send { bytes: bytes.split_to(size), events: sent }, between.clone()]);
        }
        dripped.extend([Step::Send { bytes, events }, between.clone()]);
        sent = events;
    }
    // Nothing is to follow the last byte: a body whose length is known is not asked for more.
    dripped.pop_if(|last| *last == between);
    dripped
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    /// `o` opens, `c1` and `c2` are content, `e` ends.
    fn tape() -> Tape {
        let event = |end, kind| Event { end, kind, told: None };
        let events = [
            event(1, Kind::Opening),
            event(3, Kind::Content),
            event(5, Kind::Content),
            event(6, Kind::Structure),
        ];
        Tape { bytes: Bytes::from_static(b"oc1c2e"), events: events.into() }
    }

    fn sent(steps: &[Step]) -> String {
        let bytes = steps.iter().filter_map(|step| match step {
            Step::Send { bytes, .. } => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            _ => None,
        });
        bytes.collect()
    }

    #[test]
    fn without_direction_everything_is_one_write() {
        let steps = compose(&tape(), &Script::default());
        assert_eq!(steps, [Step::Send { bytes: Bytes::from_static(b"oc1c2e"), events: 4 }]);
    }

    #[test]
    fn a_cut_stream_never_gets_its_last_event() {
        let steps = compose(&tape(), &Script::cutting(Cut::MidStream(99)));
        assert_eq!(sent(&steps), "oc1c2");
        assert_eq!(steps.last(), Some(&Step::Cut));
        assert_eq!(sent(&compose(&tape(), &Script::cutting(Cut::MidStream(2)))), "oc1");
        let bytes = compose(&tape(), &Script::cutting(Cut::AfterBytes(4)));
        assert_eq!(bytes[0], Step::Send { bytes: Bytes::from_static(b"oc1c"), events: 2 });
        assert_eq!(sent(&compose(&tape(), &Script::cutting(Cut::AfterBytes(99)))), "oc1c2");
        let inside = compose(&tape(), &Script::cutting(Cut::MidChunk(1)));
        assert_eq!(inside.last(), Some(&Step::CutInside(Bytes::from_static(b"c1"))));
    }

    #[test]
    fn a_whole_answer_is_cut_or_hangs_half_way() {
        let whole = Tape::whole("123456");
        assert_eq!(sent(&compose(&whole, &Script::cutting(Cut::MidStream(0)))), "123");
        let hung = compose(&whole, &Script::hanging(Hang::MidStream(0)));
        assert_eq!((sent(&hung).as_str(), hung.last()), ("123", Some(&Step::Hang)));
    }

    #[test]
    fn an_error_takes_the_place_of_what_would_have_followed() {
        let at = |place| {
            let tape = with_error(&tape(), place, |before| format!("!{before}"));
            String::from_utf8(tape.bytes.to_vec()).unwrap()
        };
        assert_eq!(at(ErrorEvent::BeforeContent), "o!1");
        assert_eq!(at(ErrorEvent::AfterContent(0)), "o!1");
        assert_eq!(at(ErrorEvent::AfterContent(1)), "oc1!2");
        assert_eq!(at(ErrorEvent::AfterContent(9)), "oc1c2!3");
    }

    #[test]
    fn dripping_changes_no_byte_and_counts_events_only_when_whole() {
        let script = Script { drip: NonZeroUsize::new(1), spacing_ms: 1, ..Script::default() };
        let steps = compose(&tape(), &script);
        assert_eq!(sent(&steps), "oc1c2e");
        let counts = steps.iter().filter_map(|step| match step {
            Step::Send { events, .. } => Some(*events),
            _ => None,
        });
        assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn a_slow_drip_waits_between_its_pieces() {
        let script = Script { drip: NonZeroUsize::new(4), drip_every_ms: 7, ..Script::default() };
        let steps = compose(&tape(), &script);
        assert_eq!(sent(&steps), "oc1c2e");
        assert_eq!(steps[1], Step::Pause(Duration::from_millis(7)));
        assert!(matches!(steps.last(), Some(Step::Send { .. })));
    }

    #[test]
    fn pings_come_before_everything_or_after_the_opening() {
        let pings = PingOnly { for_ms: Some(9), ..PingOnly::default() };
        let first = compose(&tape(), &Script { ping_only: Some(pings), ..Script::default() });
        assert!(matches!(first[0], Step::Pings { .. }));
        let pings = PingOnly { after_opening: true, ..pings };
        let later = compose(&tape(), &Script { ping_only: Some(pings), ..Script::default() });
        assert_eq!(sent(&later[..1]), "o");
        assert!(matches!(later[1], Step::Pings { .. }));
        assert_eq!(sent(&later), "oc1c2e");
        let pings = PingOnly { after_events: 2, ..pings };
        let between = compose(&tape(), &Script { ping_only: Some(pings), ..Script::default() });
        assert_eq!((sent(&between[..1]).as_str(), sent(&between).as_str()), ("oc1", "oc1c2e"));
        assert!(matches!(between[1], Step::Pings { .. }));
    }

    #[test]
    fn every_prefix_of_a_gzipped_tape_reads_as_its_events() {
        let gz = gzipped(&tape()).unwrap();
        for (count, event) in gz.events.iter().enumerate() {
            let mut plain = Vec::new();
            let mut decoder = flate2::write::GzDecoder::new(&mut plain);
            decoder.write_all(&gz.bytes[..event.end]).unwrap();
            decoder.flush().unwrap();
            drop(decoder);
            assert_eq!(plain, tape().span(0, count + 1));
        }
    }
}
