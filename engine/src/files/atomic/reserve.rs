//! Checks before hours of work, rather than after them, that a file can be written.

use super::{target, temporary, unwritable};
use crate::Result;
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::NamedTempFile;

/// Disk space, reserved until the value is dropped.
#[derive(Debug)]
pub struct Reservation(#[expect(dead_code, reason = "held, not read")] NamedTempFile);

/// Checks that [`super::write()`] can write `path` now, by creating and removing a file in its directory.
///
/// # Errors
/// [`crate::Error::File`], with the reason, if the directory is missing, not writable or on read-only media, or if
/// `path` is not a regular file.
pub fn check(path: impl AsRef<Path>) -> Result<()> {
    reserve(path, 0).map(drop)
}

/// Reserves `bytes` in the directory of `path`. Reservations held at the same time add up, so that several outputs can
/// be checked together. Drop them before writing the files.
///
/// # Errors
/// The errors of [`check`]; [`crate::Error::File`] if the disk has too little space or a file size limit is exceeded.
pub fn reserve(path: impl AsRef<Path>, bytes: u64) -> Result<Reservation> {
    let path = path.as_ref();
    let (directory, name) = target(path)?;
    temporary::remove_abandoned(directory);
    let reserved = temporary::create(directory, name).and_then(|file| {
        allocate(file.as_file(), bytes)?;
        Ok(Reservation(file))
    });
    reserved.map_err(|e| unwritable(path, &e))
}

/// Allocates `bytes` bytes on disk for `file`, which is empty.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        loop {
            match fallocate(file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::OPNOTSUPP) => break,
                Err(e) => return Err(e.into()),
            }
        }
    }
    // The fallback: writing the bytes allocates them.
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut &*file)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model");
        let held = [reserve(&path, 1 << 20).unwrap(), reserve(&path, 1 << 20).unwrap()];
        let sizes =
            std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
        assert_eq!(sizes.collect::<Vec<_>>(), [1 << 20; 2]);
        drop(held);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_reservation_beyond_the_disk_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let message = reserve(directory.path().join("model"), 1 << 61).unwrap_err().to_string();
        assert!(message.contains("model") && message.contains("cannot be written"), "{message}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
