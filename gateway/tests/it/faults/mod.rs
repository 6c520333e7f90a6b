//! Faults of providers as a matrix (what a seat sees, what the chain says, what breakers and cool-downs do, what is
//! billed), random ones, and silence.
//!
//! `docs/FAULTS.md` is the matrix for people: `UPDATE_FAULTS=1 cargo test -p gateway faults` writes it.

mod asks;
mod document;
mod random;
mod rows;
mod seen;
mod silence;
mod stage;
mod table;

use seen::Mode;
use shared::protocol::Dialect;

async fn plays_as_declared(dialect: Dialect, mode: Mode) {
    let differences = stage::differences(dialect, mode, &rows::all()).await;
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

macro_rules! cells {
    ($($name:ident: $dialect:ident, $mode:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            plays_as_declared(Dialect::$dialect, Mode::$mode).await;
        })*
    };
}

cells! {
    each_fault_of_an_anthropic_stream_is_as_declared: Anthropic, Stream;
    each_fault_of_an_anthropic_answer_is_as_declared: Anthropic, Whole;
    each_fault_of_a_chat_stream_is_as_declared: OpenaiChat, Stream;
    each_fault_of_a_chat_answer_is_as_declared: OpenaiChat, Whole;
    each_fault_of_a_responses_stream_is_as_declared: OpenaiResponses, Stream;
    each_fault_of_a_responses_answer_is_as_declared: OpenaiResponses, Whole;
    each_fault_of_a_gemini_stream_is_as_declared: Gemini, Stream;
    each_fault_of_a_gemini_answer_is_as_declared: Gemini, Whole;
}
