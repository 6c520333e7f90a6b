//! What became of an answer that had begun, as the log says it in `error`.

/// Why the seat did not get a whole answer, though it was promised one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The seat left. What it had asked for may have been served to its end all the same.
    ClientClosed,
    /// The provider's connection broke.
    UpstreamCut,
    /// The provider fell silent.
    UpstreamTimedOut,
    /// The provider told an error: in its stream, or where the seat's stream had begun already.
    UpstreamError,
    /// The provider's head cannot be sent on.
    HeadUnusable,
    /// The provider answered as a whole where events were asked for and promised.
    AnswerWithoutStream,
}

impl Breach {
    /// The stable word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::UpstreamCut => "upstream_cut",
            Self::UpstreamTimedOut => "upstream_timed_out",
            Self::UpstreamError => "upstream_error",
            Self::HeadUnusable => "head_unusable",
            Self::AnswerWithoutStream => "answer_without_stream",
        }
    }
}

/// The status in the log of a request whose seat left before it saw a head.
pub const CLIENT_CLOSED: u16 = 499;
