//! What an operator asks of the books from a shell, beside the process that serves them: do they agree, and make the
//! roll-ups again. Knows nothing of gateways but how their journals look; these are read without being locked or changed.

use crate::config::DatabaseUrl;
use crate::repo::db::{Db, OpenError};
use crate::service::ledger_check::{Rebuilt, check, check_records, rebuild};
use clap::{Args, Subcommand};
use sea_orm::DbErr;
use shared::contract::usage::UsageRecord;
use shared::journal::ends;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A task on the books.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Look after the ledger.
    #[command(subcommand)]
    Ledger(LedgerTask),
    /// Look after the sums by hour and day that statistics are made of.
    #[command(subcommand)]
    Rollups(RollupsTask),
}

/// What is done with the ledger.
#[derive(Debug, Clone, Subcommand)]
pub enum LedgerTask {
    /// Compare it with the request log, the roll-ups and journals: a line for each difference, status 1 if there is one.
    Check(Check),
}

/// With what it is compared.
#[derive(Debug, Clone, Default, Args)]
pub struct Check {
    /// A directory of usage journals (DATA_DIR/journal of a gateway); what has ended there is to be in the ledger. May be
    /// given several times.
    #[arg(long = "journal", value_name = "DIR")]
    journals: Vec<PathBuf>,
}

/// What is done with the roll-ups.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum RollupsTask {
    /// Make them again from the ledger and the request log.
    Rebuild,
}

/// Why a task did not succeed.
#[derive(Debug, Error)]
pub enum TaskError {
    /// The database cannot be opened as it is.
    #[error("the database")]
    Open(#[from] OpenError),
    /// The database does not answer, or refuses.
    #[error("the database")]
    Database(#[from] DbErr),
    /// A journal cannot be read.
    #[error("{}", path.display())]
    Journal {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The books do not agree.
    #[error("{0} differences")]
    Differences(u64),
}

/// Does it and tells what it finds. Migrates nothing: the database is as its process left it.
pub async fn run(task: &Task, database: &DatabaseUrl, mut say: impl FnMut(&str)) -> Result<(), TaskError> {
    let db = Db::open(database, CONNECTIONS, false).await?;
    match task {
        Task::Ledger(LedgerTask::Check(Check { journals })) => {
            let mut found = check(&db, |difference| say(&difference.to_string())).await?;
            for directory in journals {
                found += check_journals(&db, directory, &mut say).await?;
            }
            if found > 0 {
                return Err(TaskError::Differences(found));
            }
            say("the books agree");
        }
        Task::Rollups(RollupsTask::Rebuild) => {
            let Rebuilt { hours, changed, days, changed_days } = rebuild(&db).await?;
            say(&format!("{hours} hours looked at, {changed} made again"));
            say(&format!("{days} days looked at, {changed_days} made again"));
        }
    }
    Ok(())
}

async fn check_journals(db: &Db, directory: &Path, say: &mut impl FnMut(&str)) -> Result<u64, TaskError> {
    let (mut found, mut looked_at) = (0, 0);
    for path in segments(directory).map_err(|source| unreadable(directory, source))? {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // In the books meanwhile, and taken away by its gateway.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(unreadable(&path, source)),
        };
        let mut records = Vec::new();
        for (seq, record) in ends(&bytes, 0) {
            looked_at += 1;
            match UsageRecord::from_bytes(record) {
                Some(record) => records.push(record),
                None => {
                    say(&format!("{}: record {seq} is none that this release can read", path.display()));
                    found += 1;
                }
            }
        }
        found += check_records(db, records, |difference| say(&difference.to_string())).await?;
    }
    say(&format!("{}: {looked_at} records looked at", directory.display()));
    Ok(found)
}

fn unreadable(path: &Path, source: io::Error) -> TaskError {
    TaskError::Journal { path: path.to_owned(), source }
}

/// All segments of a tree, in order.
fn segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut segments, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = open.pop() {
        let entries = match std::fs::read_dir(&next) {
            // Taken away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && next != directory => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "seg") {
                segments.push(path);
            }
        }
    }
    segments.sort();
    Ok(segments)
}

/// One to look in, one for what is looked up meanwhile.
const CONNECTIONS: u32 = 2;
