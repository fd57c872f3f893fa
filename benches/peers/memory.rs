//! Memory that a run gets as a machine of one's own would give it.
//!
//! Under a hypervisor that takes back what its guests have free (free page reporting, a balloon), the first
//! touch of a page is an exit to the host. Of a pull that writes files it made two processor seconds of one,
//! at times, depending on nothing but what was free before.

use std::fs;

/// How much a run may touch for the first time, in bytes (4 GiB): blobs and files in the page cache.
const TOUCHED: u64 = 4 << 30;

/// Has the host give as much memory as a run needs, and lets go of it for the run to take.
pub(crate) fn fetch() {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = available.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let half = kibibytes.unwrap_or_default() / 2 * 1024;
    let bytes = usize::try_from(TOUCHED.min(half)).unwrap_or_default();
    // Not zeros, which nobody would touch.
    drop(std::hint::black_box(vec![1u8; bytes]));
}
