//! The size of the L1 cache, by which kernels divide what they read again and again.

use std::sync::LazyLock;

/// The size that is assumed where the processor does not state one, in bytes.
const USUAL: usize = 32 << 10;

/// The size of a core's L1 data cache in bytes, within what the tests cover.
pub(in crate::cpu) fn l1() -> usize {
    static SIZE: LazyLock<usize> = LazyLock::new(|| stated().unwrap_or(USUAL).clamp(USUAL / 2, 4 * USUAL));
    *SIZE
}

/// The size that the processor states.
#[cfg(target_arch = "x86_64")]
fn stated() -> Option<usize> {
    use raw_cpuid::CacheType::{Data, Unified};
    let mut caches = raw_cpuid::CpuId::new().get_cache_parameters()?;
    let l1 = caches.find(|cache| cache.level() == 1 && matches!(cache.cache_type(), Data | Unified))?;
    Some(l1.associativity() * l1.physical_line_partitions() * l1.coherency_line_size() * l1.sets())
}

#[cfg(not(target_arch = "x86_64"))]
fn stated() -> Option<usize> {
    None
}
