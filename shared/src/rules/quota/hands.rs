//! When a dead process's journal is in the hands of the node that has adopted it, as its beat says
//! ([`NodeBeat::journals`](crate::contract::node::NodeBeat::journals)): all that it says is told or declared, so accounts may be opened.

use super::telling::{Governed, Telling};
use std::sync::Arc;

/// Under which epoch of the store, and to whom, all of a journal was told or declared.
#[derive(Clone, Debug, Default)]
pub struct Hands(Option<(u64, Arc<Governed>)>);

impl Hands {
    /// All of it was, under this epoch, to those who are governed so.
    pub fn take(&mut self, epoch: u64, governed: Arc<Governed>) {
        self.0 = Some((epoch, governed));
    }

    /// Is it still so under this epoch, for those who are governed now?
    #[must_use]
    pub fn hold(&self, epoch: u64, governed: &Arc<Governed>) -> bool {
        let taken = self.0.as_ref().filter(|(of, _)| *of == epoch);
        taken.is_some_and(|(_, by)| Arc::ptr_eq(by, governed) || by == governed)
    }
}

/// How much of a journal there is, and how much of it was told.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// How far it is told.
    pub telling: &'a Telling,
    /// The last number that matters.
    pub last: u64,
}

impl Extent<'_> {
    fn is_read(&self) -> bool {
        self.telling.is_read(self.last)
    }
}

/// Was all of a dead process's journal looked at, and of our `own` the requests that were cut with it, which have ended there? What was
/// not told of them is to be declared then. Nothing need be read where nobody is governed.
#[must_use]
pub fn may_take(governed: &Governed, dead: Extent<'_>, own: Extent<'_>) -> bool {
    governed.is_empty() || (dead.is_read() && own.is_read())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::rules::quota::AccountId;

    fn governed(generation: u32) -> Arc<Governed> {
        Arc::new([(AccountId::User(UserId(1)), generation)].into_iter().collect())
    }

    #[test]
    fn a_journal_is_in_hands_under_the_epoch_and_for_those_it_was_declared_to() {
        let mut hands = Hands::default();
        assert!(!hands.hold(1, &governed(1)));
        hands.take(1, governed(1));
        assert!(hands.hold(1, &governed(1)));
        assert!(!hands.hold(2, &governed(1)), "the store has lost it");
        assert!(!hands.hold(1, &governed(2)), "opened anew");
    }

    #[test]
    fn it_may_be_taken_when_all_of_it_and_all_that_was_cut_with_it_was_looked_at() {
        let (three, five) = (Telling::from(3), Telling::from(5));
        let at = |telling, last| Extent { telling, last };
        assert!(may_take(&governed(1), at(&three, 3), at(&five, 5)));
        assert!(!may_take(&governed(1), at(&three, 4), at(&five, 5)));
        assert!(!may_take(&governed(1), at(&three, 3), at(&five, 6)));
        assert!(may_take(&Governed::default(), at(&three, 4), at(&five, 6)), "nobody is told");
    }
}
