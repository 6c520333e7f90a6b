//! What runs beside the API: publishing the configuration and booking usage.
//!
//! A job exposes one step; its loop adds only waiting, so that tests step instead of sleeping.

pub mod consume;
pub mod reconcile;
