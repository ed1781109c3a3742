//! Processor time of another process.

use std::fs::read_to_string;

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
