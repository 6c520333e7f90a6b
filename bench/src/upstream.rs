//! The upstream all proxies stand in front of: as little work per request as a server can do, all replies
//! made before the first request.

use crate::bodies::{REPLY_FIELD, Reply, events};
use crate::wire::{BUFFER_BYTES, Fault, Framing, MAX_FIELDS, Parsed, Wire};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Serves every connection until the process ends.
pub async fn serve(listener: TcpListener, slow_event: Duration) {
    let replies = Arc::new(Replies::new(slow_event));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let replies = replies.clone();
        tokio::spawn(async move {
            // A connection that breaks is seen, and counted as an error, by the load generator.
            if let Ok(wire) = Wire::new(stream, BUFFER_BYTES) {
                let _ = connection(wire, &replies).await;
            }
        });
    }
}

/// The replies as they go over the wire.
struct Replies {
    json: Vec<u8>,
    events: Vec<Vec<u8>>,
    burst: Vec<u8>,
    slow_event: Duration,
}

impl Replies {
    fn new(slow_event: Duration) -> Self {
        let body = Reply::Json.body();
        let mut json = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        json.extend_from_slice(&body);

        let mut events: Vec<Vec<u8>> =
            events().iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()).collect();
        if let Some(first) = events.first_mut() {
            first.splice(0..0, STREAM_HEAD.iter().copied());
        }
        if let Some(last) = events.last_mut() {
            last.extend_from_slice(b"0\r\n\r\n");
        }
        Self { json, burst: events.concat(), events, slow_event }
    }
}

async fn connection(mut wire: Wire, replies: &Replies) -> Result<(), Fault> {
    while let Some((reply, framing)) = wire.head(asked).await? {
        wire.body(framing, |_| Ok(())).await?;
        match reply {
            Reply::Json => wire.send(&replies.json).await?,
            Reply::Burst => wire.send(&replies.burst).await?,
            Reply::Events => {
                for event in &replies.events {
                    wire.send(event).await?;
                }
            }
            Reply::Slow => return slow(wire, replies).await,
        }
    }
    Ok(())
}

/// A stream that has begun and goes on, one event at a time, until nobody takes it any more.
async fn slow(mut wire: Wire, replies: &Replies) -> Result<(), Fault> {
    let (opening, rest) = replies.events.split_at(OPENING_EVENTS);
    wire.send(&opening.concat()).await?;
    let mut tick = tokio::time::interval(replies.slow_event);
    tick.tick().await;
    loop {
        tick.tick().await;
        // Deltas only: the stream has no end of its own.
        wire.send(rest.first().map_or(&[][..], Vec::as_slice)).await?;
    }
}

fn asked(bytes: &[u8]) -> Parsed<(Reply, Framing)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
    let field = head.headers.iter().find(|f| f.name.eq_ignore_ascii_case(REPLY_FIELD));
    let reply = field.and_then(|f| Reply::parse(f.value)).ok_or(Fault::UnknownReply)?;
    Ok(Some((length, (reply, Framing::of(head.headers)))))
}

/// Events that a slow stream begins with: enough for the gateway to see content and open its gate.
pub const OPENING_EVENTS: usize = 3;
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
cache-control: no-cache\r\nrequest-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";
