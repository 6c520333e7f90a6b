//! Measures the gateway beside bare Pingora and nginx, all in front of the same upstream, on the same bodies,
//! in alternating rounds on one machine.
//!
//! ```text
//!  load generator (this process) ─► bare Pingora ┐
//!                                 ─► nginx       ├─► upstream      each a process of its own
//!                                 ─► gateway     ┘
//!                                 ─► direct ────────►
//! ```
//! `load` sends and checks, `upstream` answers, `bare` `nginx` `hub` are the proxies, `child` runs them and
//! reads their `/proc`; `rounds` and `streams` are the two kinds of measurement, `report` holds the figures
//! against the bars. Nothing here asserts: a missed bar is a line of the report. A wrong reply is an error.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times of a measurement are far below 2^52"
)]

pub mod bare;
pub mod bodies;
mod books;
pub mod child;
pub mod hub;
pub mod load;
pub mod nginx;
pub mod report;
pub mod rounds;
pub mod stats;
pub mod streams;
mod subjects;
pub mod upstream;
mod wire;

pub use subjects::Subject;

use anyhow::Result;
use bodies::Case;
use load::Span;
use report::Report;
use std::path::PathBuf;
use streams::StreamsSetup;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This program, for the roles.
    pub program: PathBuf,
    /// nginx, if the machine has it.
    pub nginx: Option<PathBuf>,
    /// Rounds of each case.
    pub rounds: usize,
    /// The length of one run.
    pub span: Span,
    /// Cases with a throughput.
    pub cases: Vec<Case>,
    /// Connections, one value after the other.
    pub concurrency: Vec<usize>,
    /// The case of open streams.
    pub streams: StreamsSetup,
}

/// Runs it all. `progress` is told what is being measured.
pub async fn run(setup: &Setup, mut progress: impl FnMut(&str)) -> Result<Report> {
    child::raise_file_limit()?;
    let measured =
        if setup.cases.is_empty() { Vec::new() } else { rounds::run(setup, &mut progress).await? };
    let memory =
        if setup.streams.rounds == 0 { Vec::new() } else { streams::run(setup, &mut progress).await? };
    Ok(Report { measured, memory, open_streams: setup.streams.open })
}
