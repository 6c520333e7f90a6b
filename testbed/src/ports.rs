//! Addresses that stay one's own over a restart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A free address to listen on again and again. Unlike one that the system gave out, it is none that the system gives to
/// somebody's outgoing connection while nobody listens there; and processes of tests take theirs from different places.
#[must_use]
pub fn lasting_address() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Below Linux's range for outgoing connections (`net.ipv4.ip_local_port_range`), above the well-known ones.
    let count = u32::from(END - BEGIN);
    let first = std::process::id().wrapping_mul(STEP);
    let mut ports = (0..count).map(|_| {
        let place = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % count;
        BEGIN + u16::try_from(place).unwrap()
    });
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    SocketAddr::from((Ipv4Addr::LOCALHOST, free.expect("a free port")))
}

const BEGIN: u16 = 12_000;
const END: u16 = 32_000;
/// Tests' processes have ids one after the other.
const STEP: u32 = 61;
