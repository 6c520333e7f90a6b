//! The steps before a provider is chosen, a file each: who calls, what arrives, what is asked, what needs none.

pub mod admit;
pub mod authenticate;
pub mod decode;
pub mod receive;
pub mod understand;
pub mod warmup;
