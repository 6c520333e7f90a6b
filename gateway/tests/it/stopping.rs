//! A stop misses nobody.

use crate::harness::{Hub, PATIENCE, claude, message, upstream_with};
use shared::testing::client_secret;
use simulator::Script;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Soak 26027: seven requests that came within the three milliseconds of a stop were cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_accepted_in_the_moment_of_a_stop_is_waited_for() {
    for _ in 0..20 {
        let upstream = upstream_with(Script { first_byte_delay_ms: 30, ..Script::default() }).await;
        let hub = Hub::start(vec![claude(1, &upstream.base_url())]).await;
        let (address, usage) = (hub.handle.address, hub.usage.clone());
        let seats: Vec<_> = (0..24).map(|_| tokio::spawn(async move { seat(address).await })).collect();
        let mut stop = std::pin::pin!(timeout(PATIENCE, hub.handle.stop()));
        let mut booked = 0;
        // The books, so that the stop does not wait for them.
        let book = || {
            let waiting = usage.waiting();
            usage.discard(waiting);
            waiting
        };
        loop {
            tokio::select! {
                biased;
                ended = &mut stop => break ended.expect("a stop in time"),
                () = tokio::task::yield_now() => booked += book(),
            }
        }
        booked += book();
        // Nothing that a provider has heard of is under way any more.
        assert_eq!(booked, upstream.served().len());
        let mut answered = 0;
        for seat in seats {
            answered += usize::from(seat.await.unwrap().starts_with("HTTP/1.1 200"));
        }
        assert_eq!(answered, booked);
    }
}

/// What it was told; nothing where it came too late.
async fn seat(address: std::net::SocketAddr) -> String {
    let body = message(false);
    let ask = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: hub\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        client_secret(1),
        body.len(),
    );
    let mut told = String::new();
    let Ok(mut socket) = TcpStream::connect(address).await else { return told };
    let talk = async {
        socket.write_all(ask.as_bytes()).await?;
        socket.read_to_string(&mut told).await
    };
    let _ = timeout(PATIENCE, talk).await.expect("an answer in time");
    told
}
