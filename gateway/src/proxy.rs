//! Pingora's HTTP server, mapped to the pipeline: takes a connection, reads a head, serves one request, and again
//! for as long as the connection is kept. Decides nothing.
//!
//! Design B of `reference/pingora.md`: the pipeline does the whole exchange through our own connector. Pingora's
//! proxy cannot replay a body above 64 KiB, read a stream on after its client left, or fail over on an error
//! event, so nothing of it was left in use. Without it, and with a task of our own for each connection, a
//! request costs less and an open stream takes half the memory.

use crate::hub::{Hub, Load};
use crate::pipeline;
use crate::wire::Wire;
use async_trait::async_trait;
use pingora::ErrorType::InvalidHTTPHeader;
use pingora::apps::{HttpPersistentSettings, ServerApp};
use pingora::prelude::timeout;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The Pingora application behind the seats' listener, which is plain HTTP/1.
pub struct Proxy {
    hub: Arc<Hub>,
    tasks: TaskTracker,
    is_draining: watch::Receiver<bool>,
    /// Pingora keeps the application for as long as it accepts, and with each connection until that is a task here. Who waits for
    /// the tasks waits for these, too: else a stop would miss what was accepted in the same moment.
    _accepting: TaskTrackerToken,
}

impl Proxy {
    /// An application on shared parts; its connections are tasks of `tasks`.
    #[must_use]
    pub fn new(hub: Arc<Hub>, tasks: TaskTracker, is_draining: watch::Receiver<bool>) -> Self {
        let _accepting = tasks.token();
        Self { hub, tasks, is_draining, _accepting }
    }
}

#[async_trait]
impl ServerApp for Proxy {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // Pingora's task has room for a TLS handshake, and would keep it for as long as the connection lives.
        let ends = Ends { is_closed: shutdown.clone(), is_draining: self.is_draining.clone() };
        self.tasks.spawn(connection(self.hub.clone(), stream, ends));
        None
    }
}

/// What ends a connection from our side.
struct Ends {
    /// The listener is closed: whoever waits for a request goes.
    is_closed: ShutdownWatch,
    /// The node is on its way out: the next answer is the connection's last.
    is_draining: watch::Receiver<bool>,
}

/// Serves a connection to its end.
async fn connection(hub: Arc<Hub>, stream: Stream, ends: Ends) {
    // Boxed, like all parts of a connection's life: its task then keeps no more than the current one needs.
    let mut session = Box::new(ServerSession::new_http1(Box::new(Wire::new(stream))));
    session.set_keepalive(Some(KEPT_SECS));
    // Without this a client that sends its next request early is cut off.
    session.set_pipelining_enabled(true);
    // Whoever has just come gets an answer, also when the listener was closed behind him.
    let mut patience = FIRST_HEAD;
    while Box::pin(has_request(&hub, &mut session, ends.is_closed.clone(), patience)).await {
        patience = Duration::ZERO;
        let running = Load::enter(&hub);
        if *ends.is_draining.borrow() || *ends.is_closed.borrow() {
            session.set_keepalive(None);
        }
        let is_here = Box::pin(pipeline::serve(&hub, &mut session)).await;
        // Answered and in the books: whatever the connection still waits for is no request in flight. A stop waits for
        // connections, and so for the last byte all the same.
        drop(running);
        if !is_here {
            // Whoever stopped reading had a minute for it: what was not taken is not offered again.
            return session.shutdown().await;
        }
        let kept = HttpPersistentSettings::for_session(&session);
        let reusable = timeout(END_DEADLINE, Box::pin((*session).finish())).await;
        let Ok(Ok(Some(reusable))) = reusable else { return };
        let (stream, next_request) = reusable.into_parts();
        *session = ServerSession::new_http1(stream);
        kept.apply_to_session(&mut session);
        if let Some(bytes) = next_request {
            session.set_pipelined_prefix(bytes);
        }
    }
}

/// Reads the next head. False: there is none, or it was answered as unreadable.
async fn has_request(
    hub: &Hub,
    session: &mut ServerSession,
    mut is_closed: ShutdownWatch,
    patience: Duration,
) -> bool {
    let closed = async {
        let closed = is_closed.wait_for(|is_closed| *is_closed).await.map(|_| ());
        if closed.is_ok() {
            sleep(patience).await;
        }
        closed
    };
    let read = tokio::select! {
        biased; // A request that is already there is served.
        read = session.read_request() => read,
        // An idle connection must not outlive its listener. An error means that nobody will stop it.
        Ok(()) = closed => return false,
    };
    match read {
        Ok(has_request) => has_request,
        Err(error) => {
            if *error.etype() == InvalidHTTPHeader {
                let _ = timeout(END_DEADLINE, pipeline::refuse_unreadable(hub, session)).await;
            }
            session.shutdown().await;
            false
        }
    }
}

/// How long a connection may idle between two requests, in seconds.
const KEPT_SECS: u64 = 60;
/// A client that does not take the end of its answer for this long is gone.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection that was accepted may take for its first head after the listener was closed.
const FIRST_HEAD: Duration = Duration::from_secs(2);
