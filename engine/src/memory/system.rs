//! The memory that Linux grants this process, read from `/proc` and the control group file systems.
//!
//! A missing or malformed file counts as no limit, since other systems have no such files.

use std::fs;
use std::path::{Path, PathBuf};

/// One part in this many of the available memory of the machine or control group is kept in reserve: estimates do not
/// include stacks, the allocator's own pages and small values.
const RESERVE: u64 = 16;

/// The memory that this process holds, and its bounds, in bytes.
pub(super) struct Memory {
    /// Private resident memory of the process.
    pub held: u64,
    /// Memory that the machine can still provide without swapping.
    machine: u64,
    /// The bound enforced by the system: the smallest remaining room in a control group or below a resource limit.
    enforced: u64,
}

impl Memory {
    /// The bytes that may still be allocated if the process may hold `configured` bytes, or, if that is `None`, if the
    /// machine is the bound.
    pub fn available(&self, configured: Option<u64>) -> u64 {
        let wanted = match configured {
            Some(limit) => limit.saturating_sub(self.held),
            None => self.machine,
        };
        // No single allocation can be larger.
        wanted.min(self.enforced).min(isize::MAX as u64)
    }
}

/// The memory of this process, with `/proc` and the control groups below `root`.
pub(super) fn memory(root: &Path) -> Memory {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let status = read("proc/self/status");
    let held = kilobytes(&status, "RssAnon:").or_else(|| kilobytes(&status, "VmRSS:")).unwrap_or(0);
    let machine = kilobytes(&read("proc/meminfo"), "MemAvailable:").map_or(u64::MAX, less_reserve);
    let limits = read("proc/self/limits");
    let below = |name, used| room(soft_limit(&limits, name), kilobytes(&status, used));
    let enforced = below("Max address space", "VmSize:")
        .min(below("Max data size", "VmData:"))
        .min(control_groups(root, &read("proc/self/mountinfo"), &read("proc/self/cgroup")));
    Memory { held, machine, enforced }
}

/// The largest resident memory of this process so far.
pub(super) fn peak(root: &Path) -> Option<u64> {
    kilobytes(&fs::read_to_string(root.join("proc/self/status")).ok()?, "VmHWM:")
}

fn less_reserve(bytes: u64) -> u64 {
    bytes - bytes / RESERVE
}

/// The remainder of `limit` after `used`.
fn room(limit: Option<u64>, used: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| less_reserve(limit.saturating_sub(used.unwrap_or(0))))
}

/// The value of line `name` in a table such as `/proc/meminfo`, which uses units of 1024 bytes.
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let rest = table.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// The soft limit `name` in `/proc/self/limits`; `None` if it is unlimited.
fn soft_limit(table: &str, name: &str) -> Option<u64> {
    let rest = table.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The smallest room in this process's control groups and their ancestors. `mounts` is `/proc/self/mountinfo`,
/// `groups` is `/proc/self/cgroup`.
fn control_groups(root: &Path, mounts: &str, groups: &str) -> u64 {
    let mut least = u64::MAX;
    for mount in mounts.lines() {
        let Some(mount) = Mount::of_memory(mount) else { continue };
        let Some(group) = groups.lines().find_map(|line| mount.version.group(line)) else { continue };
        // In a container, the mount shows part of the hierarchy, or the group's path starts outside it.
        let inner = Path::new(group).strip_prefix(mount.subtree).unwrap_or(Path::new(""));
        let top = root.join(mount.point.trim_start_matches('/'));
        for ancestor in inner.ancestors() {
            least = least.min(mount.version.room(&top.join(ancestor)));
        }
    }
    least
}

/// A mounted control group hierarchy that accounts for memory.
struct Mount<'a> {
    version: Version,
    /// The group that is mounted at `point`.
    subtree: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// Parses a line of `mountinfo`: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … - TYPE SOURCE OPTIONS`.
    fn of_memory(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let version = match (system.next()?, system.nth(1)?) {
            ("cgroup2", _) => Version::V2,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3);
        Some(Self { version, subtree: mount.next()?, point: mount.next()? })
    }
}

/// The two control group interfaces: <https://docs.kernel.org/admin-guide/cgroup-v2.html> and
/// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>.
#[derive(Clone, Copy)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The group in a line of `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`, if it belongs to this hierarchy.
    fn group(self, line: &str) -> Option<&str> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let own = match self {
            Self::V1 => controllers.split(',').any(|name| name == "memory"),
            Self::V2 => controllers.is_empty(),
        };
        own.then_some(path)
    }

    /// The room in the group at `folder`. Inactive file pages are reclaimed on demand, so they count as room.
    fn room(self, folder: &Path) -> u64 {
        let (limit, usage, inactive) = match self {
            Self::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
            Self::V2 => ("memory.max", "memory.current", "inactive_file "),
        };
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let inactive =
            statistics.lines().find_map(|l| l.strip_prefix(inactive)?.trim().parse().ok()).unwrap_or(0);
        let used = number(folder.join(usage)).map(|used| used.saturating_sub(inactive));
        room(number(folder.join(limit)), used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with `files`, in place of a system's root.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn available(files: &[(&str, &str)], configured: Option<u64>) -> u64 {
        memory(system(files).path()).available(configured)
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal: 4000 kB\nMemAvailable:       1600 kB\n");
    const STATUS: (&str, &str) =
        ("proc/self/status", "VmSize:  1000 kB\nVmRSS: 300 kB\nRssAnon:\t 200 kB\nVmData: 500 kB\n");

    #[test]
    fn missing_or_malformed_files_set_no_limit() {
        assert_eq!(available(&[], None), isize::MAX as u64);
        assert_eq!(available(&[], Some(1000)), 1000);
        assert_eq!(available(&[("proc/meminfo", "MemAvailable: lots\n")], None), isize::MAX as u64);
    }

    #[test]
    fn the_machine_is_the_limit_if_no_other_is_set() {
        assert_eq!(available(&[MEMINFO, STATUS], None), 1500 * 1024);
        // The caller's limit includes held memory, and may be above or below the machine's memory.
        assert_eq!(available(&[MEMINFO, STATUS], Some(201 * 1024)), 1024);
        assert_eq!(available(&[MEMINFO, STATUS], Some(100)), 0);
        assert_eq!(available(&[MEMINFO, STATUS], Some(1 << 40)), (1 << 40) - 200 * 1024);
    }

    #[test]
    fn the_peak_is_that_of_the_process() {
        let status = ("proc/self/status", "VmPeak: 900 kB\nVmHWM:\t 700 kB\nVmRSS: 300 kB\n");
        assert_eq!(peak(system(&[status]).path()), Some(700 * 1024));
        assert_eq!((peak(system(&[STATUS]).path()), peak(system(&[]).path())), (None, None));
    }

    #[test]
    fn resource_limits_apply_despite_a_larger_configured_limit() {
        let limits = |text| ("proc/self/limits", text);
        let address_space = limits("Limit  Soft Limit\nMax address space    2662400   unlimited   bytes\n");
        assert_eq!(available(&[STATUS, address_space], Some(1 << 40)), 1500 * 1024);
        let data =
            limits("Max data size   675840  unlimited bytes\nMax address space  unlimited unlimited bytes\n");
        assert_eq!(available(&[STATUS, data], None), 150 * 1024);
    }

    #[test]
    fn the_tightest_of_nested_groups_is_the_limit() {
        let files = [
            (
                "proc/self/mountinfo",
                "35 31 0:32 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n",
            ),
            ("proc/self/cgroup", "0::/service/job\n"),
            ("sys/fs/cgroup/service/job/memory.max", "max\n"),
            ("sys/fs/cgroup/service/job/memory.current", "1000\n"),
            ("sys/fs/cgroup/service/memory.max", "33600\n"),
            ("sys/fs/cgroup/service/memory.current", "2600\n"),
            ("sys/fs/cgroup/service/memory.stat", "anon 5\ninactive_file 1000\nactive_file 7\n"),
        ];
        assert_eq!(available(&files, None), 32_000 - 2000);
    }

    #[test]
    fn version_1_groups_are_read_at_the_memory_mount() {
        let files = [
            (
                "proc/self/mountinfo",
                "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n",
            ),
            ("proc/self/cgroup", "4:memory:/docker/abc/inner\n1:cpu:/\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "16000"),
        ];
        assert_eq!(available(&files, None), 15_000);
        // A path that starts outside the container: the mount shows the container's group.
        let outside = [
            files[0],
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3200"),
        ];
        assert_eq!(available(&outside, None), 3000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_holds_memory_and_has_some_left() {
        let memory = memory(Path::new("/"));
        assert!(memory.held > 0 && memory.machine < u64::MAX);
        assert!(memory.available(None) > 1 << 20);
    }
}
