//! A channel that is listened to, on a connection of its own: subscribed to anew whenever that comes back.

use crate::link::text;
use fred::clients::Client;
use fred::interfaces::{EventInterface, PubsubInterface};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

/// What comes of a channel.
pub(crate) enum Heard {
    /// This; empty when it is no text.
    Said(String),
    /// What was said just now, or before a connection came (back), may have been missed.
    Missed,
}

/// Passes on what is said, until the client is closed.
pub(crate) async fn listen(client: Client, channel: String, hear: impl Fn(Heard) + Send) {
    let mut connections = client.reconnect_rx();
    let mut messages = client.message_rx();
    let mut is_subscribed = false;
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => is_subscribed = false,
            },
            message = messages.recv() => match message {
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(_)) => hear(Heard::Missed),
                Ok(message) => hear(Heard::Said(text(&message.value).unwrap_or_default())),
            },
            () = tokio::time::sleep(SUBSCRIBE_RETRY), if !is_subscribed => {}
        }
        if !is_subscribed {
            let subscribing = timeout(DEADLINE, client.subscribe(channel.clone())).await;
            is_subscribed = matches!(subscribing, Ok(Ok(())));
            if is_subscribed {
                // From here on nothing is; what was told before may have been.
                hear(Heard::Missed);
            }
        }
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
const SUBSCRIBE_RETRY: Duration = Duration::from_secs(1);
