//! Asking before hours of work, rather than after them, whether a file can be written.

use super::{target, temporary, unwritable};
use crate::Result;
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes on the disk that are set aside until it is dropped.
#[derive(Debug)]
pub struct Reservation(#[expect(dead_code, reason = "held, not read")] NamedTempFile);

/// Whether [`super::write()`] can write `path` now: a file is created in its directory, and removed.
///
/// # Errors
/// An [`crate::Error::File`] that says why not: the directory is missing, may not be written or is on read-only media, or
/// `path` is something else than a file.
pub fn check(path: impl AsRef<Path>) -> Result<()> {
    reserve(path, 0).map(drop)
}

/// Sets `bytes` aside in the directory of `path`. Reservations that are held at the same time add up, so that several
/// outputs can be checked together; they are to be dropped before the files are written.
///
/// # Errors
/// As [`check`], and where the disk has no room for that many bytes, or a limit on the size of files forbids them.
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

/// Gives `file`, which is empty, `bytes` bytes on the disk.
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
    // Bytes that are written are there.
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
    fn more_than_any_disk_holds_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let message = reserve(directory.path().join("model"), 1 << 61).unwrap_err().to_string();
        assert!(message.contains("model") && message.contains("cannot be written"), "{message}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
