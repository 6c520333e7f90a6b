//! How a try ends that has no answer, and what that means.

use super::answer::Answer;
use super::{Job, fault};
use crate::settle::Spent;
use shared::rules::classify::{
    AttemptEnd, ConnectFailure, CutPhase, ErrorFacts, FakeKind, TimerPhase, Verdict, classify,
};

/// A try without an answer.
pub struct Failed {
    /// What it means.
    pub verdict: Verdict,
    /// How long the upstream asked to wait.
    pub retry_after_secs: Option<u64>,
    /// What it took all the same.
    pub spent: Spent,
    status: Option<u16>,
    reply: Option<Box<Answer>>,
}

impl Failed {
    /// The upstream's status, when it was one of an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The upstream's refusal, for the seat.
    #[must_use]
    pub fn into_answer(self) -> Option<Answer> {
        self.reply.map(|reply| *reply)
    }
}

/// An end that is no answer, before it is judged.
pub struct End {
    /// What happened.
    pub how: How,
    /// How long the upstream asked to wait, beside what its error says.
    pub retry_after_secs: Option<u64>,
    /// What it took all the same.
    pub spent: Spent,
    /// What the upstream said, for a seat that is to read it.
    pub reply: Option<Box<Answer>>,
}

/// What happened, as [`AttemptEnd`] wants to know it.
pub enum How {
    /// No connection.
    Connect(ConnectFailure),
    /// A timer was over.
    TimedOut(TimerPhase),
    /// The connection was cut.
    Cut(CutPhase),
    /// A status that is no success.
    Status(u16, ErrorFacts),
    /// A success that is none.
    Fake(FakeKind, ErrorFacts),
    /// An error in a stream, before anything real.
    StreamError(ErrorFacts),
    /// The fault is here.
    Ours(&'static str),
}

impl End {
    /// Nothing else is known of it.
    pub fn of(how: How) -> Self {
        Self { how, retry_after_secs: None, spent: Spent::unknown(), reply: None }
    }

    /// What it means.
    pub fn judge(self, job: &Job<'_>) -> Failed {
        let end = match &self.how {
            How::Connect(why) => AttemptEnd::ConnectFailed(*why),
            How::TimedOut(phase) => AttemptEnd::TimedOut(*phase),
            How::Cut(phase) => AttemptEnd::Cut(*phase),
            How::Status(code, facts) => AttemptEnd::Status { code: *code, facts },
            How::Fake(kind, facts) => AttemptEnd::FakeSuccess { kind: *kind, facts },
            How::StreamError(facts) => AttemptEnd::StreamError { facts },
            How::Ours(label) => AttemptEnd::Ours(label),
        };
        let verdict = classify(&end, Some(job.asked.model.as_str()));
        let (status, facts) = match &self.how {
            How::Status(code, facts) => (Some(*code), Some(facts)),
            How::Fake(_, facts) | How::StreamError(facts) => (None, Some(facts)),
            How::Connect(_) | How::TimedOut(_) | How::Cut(_) | How::Ours(_) => (None, None),
        };
        let told = facts.and_then(ErrorFacts::retry_after_secs);
        let reply = facts
            .zip(self.reply)
            .and_then(|(facts, reply)| fault::shown(job, &verdict, facts, status, reply));
        Failed { verdict, retry_after_secs: told.or(self.retry_after_secs), spent: self.spent, status, reply }
    }
}
