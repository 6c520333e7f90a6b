//! A start that needs the database takes what it is given: nobody there yet, or gone again between two steps.

use super::{StartError, WhenAway};
use crate::error::Error;
use crate::repo::db;
use std::time::Duration;

/// What a start does while the database is away.
pub(super) struct Patience {
    when_away: WhenAway,
    retry: Duration,
    is_told: bool,
}

impl Patience {
    pub(super) fn new(when_away: WhenAway) -> Self {
        Self { when_away, retry: RETRY, is_told: false }
    }

    /// Does what needs the database, now or when it is there. May do it more than once.
    pub(super) async fn with<T>(
        &mut self,
        work: impl AsyncFn() -> Result<T, StartError>,
    ) -> Result<T, StartError> {
        loop {
            match work().await {
                Err(error) if self.when_away == WhenAway::Wait && error.may_pass() => {
                    if !self.is_told {
                        tracing::warn!(%error, "waiting for the database; going on when it is there");
                    }
                    self.is_told = true;
                    tokio::time::sleep(self.retry).await;
                }
                done => {
                    if std::mem::take(&mut self.is_told) && done.is_ok() {
                        tracing::info!("the database is there");
                    }
                    return done;
                }
            }
        }
    }
}

impl StartError {
    /// True for what may pass without a hand: the database is away. What is wrong will be wrong again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Database(error) => error.may_pass(),
            Self::Prices(error) | Self::ErrorRules(error) | Self::Settings(error) => match error {
                Error::Database(error) => db::may_pass(error),
                Error::Deadline => true,
                _ => false,
            },
            Self::Bind { .. }
            | Self::BindOps { .. }
            | Self::Authorities(_)
            | Self::OtherHubKey
            | Self::Thread(_)
            | Self::Metrics(_)
            | Self::Ended => false,
        }
    }
}

const RETRY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::db::OpenError;
    use sea_orm::{DbErr, RuntimeErr};
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn patient() -> Patience {
        Patience { when_away: WhenAway::Wait, retry: Duration::ZERO, is_told: false }
    }

    fn away() -> DbErr {
        let gone = sea_orm::SqlxError::Io(io::ErrorKind::NotFound.into());
        DbErr::Conn(RuntimeErr::SqlxError(Arc::new(gone)))
    }

    #[tokio::test]
    async fn a_database_that_goes_between_two_steps_is_waited_for() {
        for gone in [
            || StartError::Settings(Error::Database(away())),
            || StartError::Prices(Error::Deadline),
            || StartError::ErrorRules(Error::Database(away())),
            || StartError::Database(OpenError::from(away())),
        ] {
            let tries = AtomicU32::new(0);
            let work = async || if tries.fetch_add(1, Ordering::Relaxed) < 3 { Err(gone()) } else { Ok(7) };
            assert!(matches!(patient().with(work).await, Ok(7)));
            assert_eq!(tries.load(Ordering::Relaxed), 4);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_ends_the_start_and_so_does_everything_where_nobody_waits() {
        let wrong = async || Err::<(), _>(StartError::Settings(Error::Broken));
        assert!(patient().with(wrong).await.is_err());
        let gone = async || Err::<(), _>(StartError::Settings(Error::Database(away())));
        assert!(Patience::new(WhenAway::Fail).with(gone).await.is_err());
    }
}
