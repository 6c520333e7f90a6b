//! A simulated upstream: Anthropic, OpenAI chat and responses, Gemini, with scripted faults.
//!
//! It answers what the vendors' own SDKs take for the real thing, or misbehaves as a [`Script`] says, down to
//! the socket. It keeps its own count of what it served ([`Served`]), so that a ledger can be held against it.
//! It knows nothing of the gateway, decides nothing by chance, and answers the same request with the same bytes
//! but for the ids.
//!
//! A script comes, in this order, from the request's `x-sim-script` header (JSON) or from the listener
//! ([`Simulator::set_script`], [`Simulator::set_sequence`]). A request's `x-sim-id` header is kept with its
//! record.
//!
//! ```
//! # async fn demo() -> std::io::Result<()> {
//! use simulator::{Script, Simulator, SimulatorConfig};
//! let upstream = Simulator::start(SimulatorConfig::default()).await?;
//! upstream.set_sequence([Script::failing(529), Script::default()]);
//! // … send two requests to upstream.base_url() …
//! assert!(upstream.served().iter().all(|served| served.answer.ended.is_over()));
//! # Ok(()) }
//! ```

mod control;
mod refuser;
mod script;
mod served;
mod simulator;
mod stage;
mod tls;
mod usage;
mod vendor;

pub use refuser::Refuser;
pub use script::{
    Cut, ErrorEvent, ErrorWords, FakeSuccess, Hang, PingOnly, RetryHint, Script, ScriptError, ToolCall,
};
pub use served::{AnswerFacts, ConnectionFacts, Ending, RequestFacts, Served, Totals};
pub use simulator::{Simulator, SimulatorConfig};
pub use stage::{Dialect, Endpoint};
pub use usage::Usage;
