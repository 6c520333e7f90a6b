//! What runs beside the API: publishing the configuration, booking usage, cleaning the request log up, forgetting
//! journals.
//!
//! A job exposes one step; its loop adds only waiting, so that tests step instead of sleeping.

pub mod clean;
pub mod consume;
pub mod journals;
pub mod reconcile;
