//! What a process is told by signals.

use std::io;
use tokio::signal::unix::{self, SignalKind, signal};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in good order.
    Stop,
    /// SIGQUIT: hand over to a new process.
    HandOver,
}

/// Signals since this was made. Make it before anything starts: a signal during the start must not be lost.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
}

impl Signals {
    /// Listens. Needs a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.quit.recv() => Signal::HandOver,
        }
    }

    /// The next one that asks for a stop.
    pub async fn stop(&mut self) {
        while self.next().await != Signal::Stop {}
    }

    /// Ctrl-C alone: who asks twice does not want to wait.
    pub async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}
