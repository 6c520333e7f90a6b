//! Google's Gemini API, also as the Code Assist endpoint wraps it (`{"response": …}`).

pub mod error;
pub mod request;
pub mod response;
pub mod usage;
