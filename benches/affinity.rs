//! The processors that a run is held to: all its processes alike, as they inherit it from the one that starts them.

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Holds this process, and what it starts from now on, to the first `count` processors that it may use.
pub fn pin(count: usize) -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("asking which processors there are")?;
    let chosen: Vec<_> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .take(count)
        .collect();
    ensure!(
        chosen.len() == count,
        "{count} processors asked for, there are {}",
        chosen.len()
    );
    let mut set = CpuSet::new();
    for cpu in &chosen {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set).context("choosing processors")?;
    Ok(chosen)
}
