//! What operators are told of budgets: what asks came to, and how this node stands with the store.

use super::{Answer, Budgets};
use shared::money::NanoUsd;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an ask came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was let in from what this node had put aside ahead.
    Drawn,
    /// The store let it in.
    Admitted,
    /// A limit stood against it.
    Refused,
    /// This node let it in without the store.
    Alone,
    /// Without the store, this node's share was used up.
    UsedUp,
    /// Without the store, nobody could say.
    Unreachable,
}

impl Came {
    const ALL: [Self; 6] =
        [Self::Drawn, Self::Admitted, Self::Refused, Self::Alone, Self::UsedUp, Self::Unreachable];

    fn label(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Alone => "alone",
            Self::UsedUp => "used_up",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What is said to the store on account of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// May it go on?
    Admit,
    /// So much was spent.
    Settle,
    /// It came to nothing.
    Release,
    /// What was put aside ahead goes back.
    GiveBack,
}

impl Word {
    const ALL: [Self; 4] = [Self::Admit, Self::Settle, Self::Release, Self::GiveBack];

    fn label(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::GiveBack => "give_back",
        }
    }
}

impl From<&Answer> for Came {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Admitted { hold, .. } if hold.at().is_some() => Self::Admitted,
            Answer::Admitted { .. } => Self::Alone,
            Answer::Refused(_) => Self::Refused,
            Answer::UsedUp(_) => Self::UsedUp,
            Answer::Unreachable => Self::Unreachable,
        }
    }
}

/// How often asks came to what, and what was said to the store, since the process started.
#[derive(Debug, Default)]
pub struct Tally {
    asks: [AtomicU64; Came::ALL.len()],
    calls: [AtomicU64; Word::ALL.len()],
}

impl Tally {
    /// Counts an ask.
    pub fn count(&self, came: Came) {
        for (counted, count) in Came::ALL.into_iter().zip(&self.asks) {
            if counted == came {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a call to the store.
    pub fn say(&self, word: Word) {
        for (counted, count) in Word::ALL.into_iter().zip(&self.calls) {
            if counted == word {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Asks so far by what they came to.
    pub asks: [(&'static str, u64); Came::ALL.len()],
    /// Calls of the store so far by what was said.
    pub calls: [(&'static str, u64); Word::ALL.len()],
    /// The store answered when it was last asked.
    pub does_store_answer: bool,
    /// Holds of what is under way.
    pub holds: u64,
    /// How much money that is.
    pub held: NanoUsd,
    /// What was put aside ahead of requests, and is free.
    pub escrowed: NanoUsd,
    /// Records of which some budget was not told yet.
    pub untold: u64,
}

impl Budgets {
    /// How it stands now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (holds, held) = self.under_way();
        let mut asks = Came::ALL.map(|came| (came.label(), 0));
        for ((_, asks), count) in asks.iter_mut().zip(&self.tally.asks) {
            *asks = count.load(Ordering::Relaxed);
        }
        let mut calls = Word::ALL.map(|word| (word.label(), 0));
        for ((_, calls), count) in calls.iter_mut().zip(&self.tally.calls) {
            *calls = count.load(Ordering::Relaxed);
        }
        let does_store_answer = !*self.epochs.is_away.borrow();
        let (escrowed, untold) = (self.escrowed(), self.tellings.untold());
        Figures { asks, calls, does_store_answer, holds, held, escrowed, untold }
    }

    /// What is put aside ahead of requests here, and free.
    #[must_use]
    pub fn escrowed(&self) -> NanoUsd {
        self.local().free()
    }

    /// What is put aside for what is under way here: how many holds, and how much money.
    #[must_use]
    pub fn under_way(&self) -> (u64, NanoUsd) {
        self.local().held()
    }
}
