//! Holds the gateway's own counters against what the load generator saw: a measured gateway that books
//! nothing would be fast for the wrong reason.

use crate::child::Child;
use crate::load::answered;
use crate::wire::{BUFFER_BYTES, Fault, Wire};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Waits until the gateway has booked this many requests and output tokens; an error when it books others.
pub async fn hold(gateway: &Child, requests: u64, output_tokens: u64) -> Result<()> {
    let address = gateway.ops_address.context("the gateway did not name its ops address")?;
    let until = Instant::now() + PATIENCE;
    loop {
        let page = metrics(address).await?;
        let booked = (sum(&page, "cch_requests_total{"), sum(&page, "cch_tokens_total{class=\"output\"}"));
        if booked == (requests, output_tokens) {
            return Ok(());
        }
        // A request is booked just after its last byte is sent.
        if Instant::now() > until {
            bail!("booked {booked:?} requests and output tokens instead of {:?}", (requests, output_tokens));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn metrics(address: SocketAddr) -> Result<String> {
    let mut wire = Wire::new(TcpStream::connect(address).await?, BUFFER_BYTES)?;
    wire.send(b"GET /metrics HTTP/1.1\r\nhost: ops\r\n\r\n").await?;
    let (_, framing) = wire.head(answered).await?.ok_or(Fault::Cut)?;
    let mut page = Vec::new();
    wire.body(framing, |piece| {
        page.extend_from_slice(piece);
        Ok(())
    })
    .await?;
    Ok(String::from_utf8(page)?)
}

/// The sum of all series that begin so.
fn sum(page: &str, series: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

const PATIENCE: Duration = Duration::from_secs(10);
