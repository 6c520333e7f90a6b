//! The way out: connections to providers, direct or through a proxy, with TLS where the provider speaks it.
//!
//! [`Dialer::dial`] does all of it under one deadline: name, TCP, TLS to the proxy, the proxy's handshake, TLS to the
//! provider. Both halves use it, so that a test of a provider goes the way that requests go. Knows nothing of HTTP
//! exchanges, pools and configurations. Everything a proxy says is read up to a bound. Passwords are in no error.

mod connect;
mod dial;
mod names;
mod socks;
mod trust;

pub use dial::{Connection, DialError, Dialer, Io};
pub use names::Addresses;
pub use trust::{CA_FILE_ALLOWED, TrustError, check_authorities, parse_ca_file};
