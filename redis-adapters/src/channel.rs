//! A channel that is listened to, on a connection of its own: subscribed to anew whenever that comes back.

use crate::link::text;
use fred::clients::Client;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::Value;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
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
            is_subscribed = subscribe(&client, &channel).await;
            if is_subscribed {
                // From here on nothing is; what was told before may have been.
                hear(Heard::Missed);
            }
        }
    }
}

/// True when the server listens for us from now on.
async fn subscribe(client: &Client, channel: &str) -> bool {
    let subscribing = async {
        // fred takes a subscription for made as soon as it is sent. Whatever is answered next was asked behind it.
        let (sent, answered) = tokio::join!(client.subscribe(channel.to_owned()), client.ping::<Value>(None));
        sent.is_ok() && answered.is_ok()
    };
    timeout(DEADLINE, subscribing).await.unwrap_or(false)
}

/// For who only has to know that there is something to read: whatever is heard is an announcement, and so is whatever may have been
/// missed.
pub(crate) fn counted(announced: watch::Sender<u64>) -> impl Fn(Heard) + Send {
    move |heard| match heard {
        Heard::Said(_) | Heard::Missed => announced.send_modify(|count| *count += 1),
    }
}

const DEADLINE: Duration = Duration::from_millis(500);
const SUBSCRIBE_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_announced_while_nothing_can_be_subscribed_to() {
        // Nobody has ever connected it.
        let client = Client::default();
        let announced = watch::Sender::new(0);
        let listening = listen(client, "channel".to_owned(), counted(announced.clone()));
        assert!(timeout(Duration::from_secs(60), listening).await.is_err(), "it goes on");
        assert_eq!(*announced.borrow(), 0);
    }
}
