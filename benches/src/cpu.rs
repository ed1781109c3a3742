//! Processor time of processes and threads, and memory.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// Clock ticks a second in /proc, on every Linux (`sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system seconds that a process has used so far. `None` when it is gone.
pub(crate) fn seconds(pid: u32) -> Option<f64> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // proc_pid_stat(5): utime and stime are the 14th and 15th of all fields, and three are gone.
    let ticks: f64 = [11, 12].iter().filter_map(|&i| fields.get(i)?.parse::<f64>().ok()).sum();
    Some(ticks / TICKS_PER_SECOND)
}

/// Resident memory of a process in KiB. `None` when it is gone.
pub(crate) fn rss_kib(pid: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Seconds that the present threads of a process have run so far, to the nanosecond. `None` when it is gone.
pub(crate) fn present_threads_seconds(pid: u32) -> Option<f64> {
    let threads = read_dir(format!("/proc/{pid}/task")).ok()?;
    // A thread may end while the folder is read.
    Some(threads.flatten().filter_map(|thread| scheduled(&thread.path())).sum())
}

/// Seconds that the calling thread has run so far, to the nanosecond.
pub(crate) fn this_thread_seconds() -> Option<f64> {
    scheduled(Path::new("/proc/thread-self"))
}

/// The first figure of `schedstat` is the time on a processor in nanoseconds (the kernel's sched-stats.rst).
fn scheduled(thread: &Path) -> Option<f64> {
    let schedstat = read_to_string(thread.join("schedstat")).ok()?;
    let nanoseconds: f64 = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
