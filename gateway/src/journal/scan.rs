//! What is in the root of all journals, for the beat: which root it is, and which journals are there. Who opens budgets goes by
//! that: a journal that nobody has, and that is not there any more, is in the books.

use rand::random;
use shared::ids::{JournalId, unique_id};
use shared::time::UnixMillis;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use tempfile::NamedTempFile;

/// A look at the root that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Which root that is; `None` when it cannot be written or read.
    pub root: Option<String>,
    /// The journals whose directories are there.
    pub there: Vec<JournalId>,
    /// When it began.
    pub at: UnixMillis,
}

/// The name of a root: made by whoever comes first, and kept there. Blocks.
pub fn identity(root: &Path, now: UnixMillis) -> Option<String> {
    let path = root.join(IDENTITY);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.ok(),
    }
    let make = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let mut file = NamedTempFile::with_prefix_in(".new-", root)?;
        file.write_all(unique_id(now, &random()).as_bytes())?;
        file.as_file().sync_all()?;
        // Somebody else may have been faster: then it is theirs.
        let _ = file.persist_noclobber(&path);
        Ok(())
    };
    make().ok()?;
    fs::read_to_string(&path).ok()
}

/// No journal has this name.
const IDENTITY: &str = "root";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_processes_know_a_root_by_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("journal");
        let look = || identity(&root, UnixMillis(1)).unwrap();
        let names: BTreeSet<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(look)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(names.len(), 1);
        assert_eq!(names.first(), Some(&look()));
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1, "nothing else stays");
    }

    #[test]
    fn a_root_that_cannot_be_made_has_no_name() {
        let file = NamedTempFile::new().unwrap();
        assert_eq!(identity(&file.path().join("journal"), UnixMillis(1)), None);
    }
}
