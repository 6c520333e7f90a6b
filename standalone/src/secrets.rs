//! Secrets that a first start makes for itself: kept in the data directory, readable by its owner alone.

use anyhow::{Context, Result};
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A secret from its file, made on first use: `bytes` bytes of chance in hex. True when it is new.
pub fn load_or_make(path: &Path, bytes: usize) -> Result<(String, bool)> {
    match fs::read_to_string(path) {
        Ok(text) => Ok((text.trim().to_owned(), false)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make(path, bytes).map(|text| (text, true))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn make(path: &Path, bytes: usize) -> Result<String> {
    let mut chance = vec![0; bytes];
    OsRng.try_fill_bytes(&mut chance).context("the system gives no random bytes")?;
    let text: String = chance.iter().map(|b| format!("{b:02x}")).collect();
    // Never overwrites: two first starts at once must not each seal under their own key.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    writeln!(file, "{text}")
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let (first, is_new) = load_or_make(&path, 32).unwrap();
        assert!(is_new);
        assert_eq!(first.len(), 64);
        assert_eq!(load_or_make(&path, 32).unwrap(), (first, false));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
