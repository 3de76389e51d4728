//! CPU and memory of a process, as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::Context as _;
use tokio::time::Instant;

/// Ticks of `/proc/<pid>/stat` per second (`USER_HZ`, the same on every Linux that Rust runs on).
const TICKS_PER_SECOND: f64 = 100.0;

/// A moment: the time, and the CPU time of this process so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    at: Instant,
    cpu_s: f64,
}

/// What lies between two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub(super) wall: Duration,
    pub(super) cpu_s: f64,
}

// === impl Reading ===

impl Reading {
    pub(super) fn now() -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), cpu_s: cpu_s()? })
    }

    /// The time before this moment; the CPU time is that of the moment.
    pub(super) fn before(self, by: Duration) -> Self {
        Self { at: self.at - by, ..self }
    }

    pub(super) fn until(&self, end: &Self) -> Spent {
        Spent { wall: end.at - self.at, cpu_s: end.cpu_s - self.cpu_s }
    }
}

/// User and system time of this process, in seconds.
fn cpu_s() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no command in stat")?.1.split(' ').collect();
    let ticks = |index: usize| -> anyhow::Result<f64> { Ok(fields.get(index).context("stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// A line of `/proc/self/status` in MiB: `VmHWM` is the peak of resident memory, `VmRSS` what it is now.
pub(super) fn memory_mib(field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// CPU seconds by thread, those of a kind together: which part of the process the time goes to.
pub(super) fn threads() -> anyhow::Result<Vec<(String, f64)>> {
    let mut seconds = std::collections::BTreeMap::<String, f64>::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at: its share is missing.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let fields: Vec<&str> = tail.split(' ').collect();
        let ticks: f64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<f64>().ok()).sum();
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | ':')).to_owned();
        *seconds.entry(kind).or_default() += ticks / TICKS_PER_SECOND;
    }
    Ok(seconds.into_iter().filter(|(_, seconds)| *seconds >= 0.05).collect())
}
