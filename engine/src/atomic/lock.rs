//! One run at a time: a file that is locked for as long as somebody writes what it stands for.

use super::{target, temporary, unwritable};
use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Held until it is dropped, or its process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Locked until it is closed.
    _file: File,
}

/// Locks the file `path`, which is made if need be and removed when the lock is dropped; nothing where another process
/// has locked it.
///
/// # Errors
/// An [`Error::File`] where it cannot be made or locked. A file system that knows no locks gives one to everybody.
pub fn lock(path: impl AsRef<Path>) -> Result<Option<Lock>> {
    let path = path.as_ref();
    target(path)?;
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|e| unwritable(path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems know no locks: better unprotected than not at all.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => {
                return Err(Error::file(path, format!("cannot be locked: {e}")));
            }
        }
        // Its holder may have removed it between the two calls; then the next one would lock another file.
        if temporary::is_linked(&file).map_err(|e| unwritable(path, &e))? {
            return Ok(Some(Lock { path: path.to_path_buf(), _file: file }));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: whoever opens it meanwhile finds it removed, and makes another.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock(&path).unwrap().expect("free");
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        fs::write(&path, "").unwrap(); // what a killed process leaves behind
        assert!(lock(&path).unwrap().is_some());
    }

    #[test]
    fn threads_that_lock_and_unlock_never_hold_it_together() {
        let directory = tempfile::tempdir().unwrap();
        let (path, holders) = (directory.path().join("lock"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(held) = lock(&path).unwrap() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(held);
                        }
                    }
                });
            }
        });
    }
}
