//! Lock files, which keep two runs from writing the same output at once.

use super::{target, temporary, unwritable};
use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A lock, held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Locked until it is closed.
    _file: File,
}

/// Locks the file `path`, which is created if needed and removed when the lock is dropped. Returns `None` if another
/// process holds the lock.
///
/// # Errors
/// [`Error::File`] if the file cannot be created or locked. A file system without locks grants every request.
pub fn lock(path: impl AsRef<Path>) -> Result<Option<Lock>> {
    let path = path.as_ref();
    target(path)?;
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(|e| unwritable(path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems do not support locks: run unprotected rather than not at all.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => {
                return Err(Error::file(path, format!("cannot be locked: {e}")));
            }
        }
        // The previous holder may have removed the file between the two calls; the next process would then lock a new
        // file.
        if temporary::is_linked(&file).map_err(|e| unwritable(path, &e))? {
            return Ok(Some(Lock { path: path.to_path_buf(), _file: file }));
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file is still locked: a process that has opened it in the meantime finds it removed and creates a new
        // one.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_one_lock_is_held_at_a_time() {
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
    fn threads_never_hold_the_lock_together() {
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
