//! The directory of one journal: its lock and its segments, readable by their owner alone.
//!
//! ```text
//!  DATA_DIR/journal/<journal id>/lock          held for as long as the process lives
//!                                00000001.seg
//! ```

use shared::ids::JournalId;
use shared::journal::Disk;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The directory of the journal of this process, made before anybody is let in, and again where somebody took it away.
pub struct Directory {
    root: Option<PathBuf>,
    id: JournalId,
    lock: Option<File>,
    current: Option<(u64, Arc<File>)>,
    /// Segments that were written to since the last sync, but for the current one.
    unsynced: Vec<Arc<File>>,
    has_new_segment: bool,
}

/// What is to be synced.
pub struct Unsynced {
    /// The newest segment.
    pub newest: u64,
    files: Vec<Arc<File>>,
    directory: Option<PathBuf>,
}

impl Unsynced {
    /// Waits until the disk itself has it.
    pub fn sync(&self) -> io::Result<()> {
        for file in &self.files {
            file.sync_data()?;
        }
        if let Some(path) = &self.directory {
            File::open(path)?.sync_all()?;
        }
        match self.files.last() {
            // Taken away under us: nobody would find what is written there.
            Some(newest) if newest.metadata()?.nlink() == 0 => Err(io::ErrorKind::NotFound.into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Directory {
    /// A directory of this name.
    pub fn new(root: Option<&Path>, id: JournalId) -> Self {
        Self {
            root: root.map(Path::to_owned),
            id,
            lock: None,
            current: None,
            unsynced: Vec::new(),
            has_new_segment: false,
        }
    }

    fn path(&self) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("")).join(self.id.to_string())
    }

    /// Where a segment is.
    pub fn segment(&self, number: u64) -> PathBuf {
        segment(&self.path(), number)
    }

    /// What was written since this was last asked.
    pub fn take_unsynced(&mut self) -> Option<Unsynced> {
        let (newest, current) = self.current.clone()?;
        let mut files = std::mem::take(&mut self.unsynced);
        files.push(current);
        let has_new_segment = std::mem::take(&mut self.has_new_segment);
        Some(Unsynced { newest, files, directory: has_new_segment.then(|| self.path()) })
    }

    /// Takes it from the disk, with all that is in it.
    pub fn remove(&mut self) -> io::Result<()> {
        self.current = None;
        match self.lock.take() {
            Some(_lock) => remove(&self.path()),
            None => Ok(()),
        }
    }

    /// True when there is no segment: not yet, or not any more.
    pub fn is_empty(&self) -> bool {
        self.current.is_none()
    }

    /// True while it is there, as far as is known.
    pub fn is_claimed(&self) -> bool {
        self.lock.is_some()
    }

    /// Makes it, if it is not there: whoever finds it after this process gives back what was held for it, though nothing was
    /// written.
    pub fn claim(&mut self) -> io::Result<()> {
        if self.lock.is_none() { self.make() } else { Ok(()) }
    }

    /// Nobody sees the directory before it is locked: it is made under another name.
    fn make(&mut self) -> io::Result<()> {
        let Some(root) = &self.root else { return Err(io::ErrorKind::Unsupported.into()) };
        let unnamed = root.join(format!("{UNNAMED}{}", self.id));
        DirBuilder::new().recursive(true).mode(0o700).create(&unnamed)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(unnamed.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::ResourceBusy.into(),
        })?;
        fs::rename(&unnamed, self.path())?;
        // First: whoever could lock it now would take this process for dead.
        self.lock = Some(lock);
        File::open(root)?.sync_all()
    }
}

impl Disk for Directory {
    fn create(&mut self, number: u64, head: &[u8]) -> io::Result<()> {
        self.claim()?;
        let path = self.segment(number);
        let file = match open_new(&path) {
            // Somebody took the directory away: a new one gets its name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.lock = None;
                self.make()?;
                open_new(&path)
            }
            opened => opened,
        }?;
        if let Err(error) = (&file).write_all(head) {
            // Where it stays, it says nothing that is not elsewhere.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let before = self.current.replace((number, Arc::new(file)));
        self.unsynced.extend(before.map(|(_, file)| file));
        self.has_new_segment = true;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.current {
            Some((_, file)) => (&**file).write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A directory that nobody writes to any more, locked.
pub struct Abandoned {
    /// Whose it was.
    pub id: JournalId,
    path: PathBuf,
    _lock: File,
}

/// A directory that has no name yet is being made, and not adopted between its lock's file and its lock: its process would be taken for
/// dead as long as it lives. Of one that died over it nothing was written and nothing is held.
fn sweep(unnamed: &Path) {
    let age = fs::metadata(unnamed).and_then(|it| it.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age > MADE_WITHIN) {
        // What cannot be taken away is tried again with the next look.
        let _ = fs::remove_file(unnamed.join(LOCK));
        let _ = fs::remove_dir(unnamed);
    }
}

impl Abandoned {
    /// All that can be locked, and the names of all that are there. Those of living processes, this one's among them, cannot.
    pub fn all(root: &Path) -> io::Result<(Vec<Self>, Vec<JournalId>)> {
        let (mut all, mut there) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(root)? {
            let (path, name) = {
                let entry = entry?;
                (entry.path(), entry.file_name())
            };
            let name = name.to_str().unwrap_or_default();
            if let Some(name) = name.strip_prefix(UNNAMED) {
                if name.parse::<JournalId>().is_ok() {
                    sweep(&path);
                }
                continue;
            }
            let Ok(id) = name.parse() else { continue };
            let lock = match File::open(path.join(LOCK)) {
                Ok(lock) => lock,
                Err(error) => {
                    // Whoever took it away died just before the end. One that is not empty stays.
                    let is_gone = fs::remove_dir(&path).is_ok() || error.kind() == io::ErrorKind::NotFound;
                    there.extend((!is_gone).then_some(id));
                    continue;
                }
            };
            there.push(id);
            // Whoever had the lock before may have taken the directory away, and a new one has got its name by now.
            if lock.try_lock().is_ok() && path.join(LOCK).exists() {
                all.push(Self { id, path, _lock: lock });
            }
        }
        all.sort_by_key(|abandoned| abandoned.id);
        there.sort_unstable();
        Ok((all, there))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of its segments, the oldest first.
    pub fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                numbers.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where a segment is.
    pub fn segment(&self, number: u64) -> PathBuf {
        segment(&self.path, number)
    }

    /// Takes it from the disk, with all that is in it.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// The lock goes last: without it nobody would ever adopt what is still there.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            fs::remove_file(path)?;
        }
    }
    fs::remove_dir_all(directory)
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Where a segment of a journal is.
pub fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.{EXTENSION}"))
}

const LOCK: &str = "lock";
const EXTENSION: &str = "seg";
/// What the name of a directory begins with that is not locked yet.
const UNNAMED: &str = ".new-";
/// A directory is made in microseconds, unless the disk does not answer.
const MADE_WITHIN: Duration = Duration::from_secs(600);
