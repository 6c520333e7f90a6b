//! The gateway as a process part: real Pingora, real sockets, a simulated upstream with scripted faults.

mod bad_input;
mod client_gone;
mod failover;
mod fidelity;
mod harness;
