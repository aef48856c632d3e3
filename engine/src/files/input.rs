//! The single entry point for reading files that the user names.
//!
//! A path can lead to anything: opening a pipe without a writer blocks, `/dev/zero` never ends, and opening some
//! devices has side effects. So a file is checked before it is opened, opened without blocking, checked again through
//! its descriptor (the path's target may have changed in between), and read up to a limit.

use crate::{Error, Result, memory};
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Maximum length of text files: recipes, plans, lists of images, tables of labels.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Flags that keep opening a pipe from blocking, and a terminal from becoming the controlling terminal.
#[cfg(unix)]
const FLAGS: i32 = rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::NOCTTY).bits() as i32;

/// Files of up to this many bytes are read without a memory check, which would take longer than reading them.
const SMALL: u64 = 4 << 20;

/// Opens the regular file at `path`, following symbolic links, and returns it with its length in bytes.
///
/// # Errors
/// [`Error::File`] if the file does not exist, is not readable, or is a directory, pipe, socket or device. The call
/// returns immediately: it does not wait for the other end of a pipe.
pub fn open(path: &Path) -> Result<(File, u64)> {
    let failed = |e: io::Error| Error::file(path, format!("cannot be read: {e}"));
    regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, FLAGS);
    let file = options.open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    regular(path, &metadata)?;
    Ok((file, metadata.len()))
}

/// Reads the regular file at `path`, of at most `limit` bytes.
///
/// # Errors
/// The errors of [`open`]; [`Error::File`] if the file is longer than `limit` or cannot be read; [`Error::Memory`] if
/// it is larger than the available memory.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    let too_long = || Error::file(path, format!("the file is longer than {limit} bytes"));
    if length > limit {
        return Err(too_long());
    }
    if length > SMALL {
        memory::require(format_args!("{}: its bytes", path.display()), length)?;
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(length as usize + 1)
        .map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
    // The length is not reliable: files in /proc report 0, and others grow while they are read.
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
}

/// Reads the regular text file at `path`, of at most [`MAX_TEXT_BYTES`].
///
/// # Errors
/// The errors of [`read`]; [`Error::File`] if the bytes are not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    String::from_utf8(read(path, MAX_TEXT_BYTES)?)
        .map_err(|e| Error::file(path, format!("not a text file: {}", e.utf8_error())))
}

/// Checks that `path` leads to a regular file; the error names the kind of file found.
fn regular(path: &Path, metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(Error::file(path, format!("expected a regular file, found {}", kind(metadata.file_type()))))
}

/// A name for the kind of file.
fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a directory" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(open(&path).unwrap().1, 4);
        assert_eq!(read(&path, 4).unwrap(), b"text");
        assert_eq!(read_to_string(&path).unwrap(), "text");
        let message = read(&path, 3).unwrap_err().to_string();
        assert!(message.ends_with("file: the file is longer than 3 bytes"), "{message}");
        std::fs::write(&path, [b'a', 0xFF]).unwrap();
        let message = read_to_string(&path).unwrap_err().to_string();
        assert!(message.contains("file: not a text file: ") && message.contains("index 1"), "{message}");
        let message = read(&directory.path().join("absent"), 3).unwrap_err().to_string();
        assert!(message.contains("absent: cannot be read: "), "{message}");
    }

    /// A sparse file that takes up no space but is longer than any machine's memory.
    #[test]
    fn a_length_beyond_the_memory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        // Some file systems do not support files of this size; then there is nothing to test.
        if File::create(&path).unwrap().set_len(1 << 42).is_err() {
            return;
        }
        let message = read(&path, u64::MAX).unwrap_err().to_string();
        assert!(message.contains("sparse") && message.contains("4.0 TiB"), "{message}");
    }

    /// A file that is not empty but reports a length of 0.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_in_proc_are_read_up_to_the_limit() {
        assert!(read_to_string(Path::new("/proc/self/status")).unwrap().contains("Pid:"));
        assert!(
            read(Path::new("/proc/self/status"), 10)
                .unwrap_err()
                .to_string()
                .contains("longer than 10 bytes")
        );
    }

    /// A symbolic link is treated like its target. The pipe has no writer: opening it the usual way would block
    /// forever.
    #[test]
    #[cfg(unix)]
    fn special_files_are_rejected_immediately() {
        let directory = tempfile::tempdir().unwrap();
        let [pipe, socket, link] = ["pipe", "socket", "link"].map(|name| directory.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let device = |name: &str| Path::new("/dev").join(name);
        for (path, found) in [
            (&pipe, "a named pipe"),
            (&link, "a named pipe"),
            (&socket, "a socket"),
            (&device("null"), "a device"),
            (&device("zero"), "a device"),
            (&directory.path().to_path_buf(), "a directory"),
        ] {
            let message = read(path, 10).unwrap_err().to_string();
            assert_eq!(message, format!("{}: expected a regular file, found {found}", path.display()));
        }
    }
}
