//! What the figures were taken on.

use std::fs::read_to_string;
use std::thread::available_parallelism;

/// Processor and number of cores.
pub(crate) fn describe() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let processors = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or("an unknown processor");
    format!("machine: {cores} cores of{model}")
}
