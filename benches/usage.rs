//! What processes used, as the kernel counts it (proc(5)).

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::client::Target;

/// A process whose use is counted.
#[derive(Debug, Clone, Copy)]
pub struct Pid(pub u32);

/// Processor time of all who take part: what is left of the machine's speed is shared among them.
#[derive(Debug, Clone)]
pub struct Cpu {
    pub client: Duration,
    pub origin: Duration,
    /// Of each process between them.
    pub processes: Vec<(&'static str, Duration)>,
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

/// One tick of the kernel's clock for processes: 100 a second on every architecture Linux is used on today.
const TICK: Duration = Duration::from_millis(10);

impl Pid {
    /// User and system time of all its threads.
    pub fn cpu(self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.0);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name in parentheses may hold anything; the fields behind it are numbers.
        let (_, fields) = text.rsplit_once(')').context(path)?;
        let ticks = |at: usize| -> Option<u32> { fields.split_whitespace().nth(at)?.parse().ok() };
        let (user, system) = (ticks(11), ticks(12));
        let ticks = user
            .zip(system)
            .map(|(user, system)| user + system)
            .context("utime and stime of /proc/<pid>/stat")?;
        Ok(TICK * ticks)
    }

    pub fn descriptors(self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.0);
        let entries = std::fs::read_dir(&path).with_context(|| path.clone())?;
        Ok(entries.count())
    }

    pub fn memory(self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.0);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let kib = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        Ok(Memory {
            now: kib("VmRSS:").context("VmRSS")? * 1024,
            peak: kib("VmHWM:").context("VmHWM")? * 1024,
        })
    }
}

impl Memory {
    pub fn now_mib(self) -> f64 {
        self.now as f64 / f64::from(1 << 20)
    }

    pub fn peak_mib(self) -> f64 {
        self.peak as f64 / f64::from(1 << 20)
    }
}

impl Cpu {
    /// What was used until now.
    pub fn now(target: &Target) -> Result<Self> {
        let processes = target.processes.iter();
        Ok(Self {
            client: Pid(std::process::id()).cpu()?,
            origin: target.origin.cpu()?,
            processes: processes
                .map(|(role, pid)| Ok((*role, pid.cpu()?)))
                .collect::<Result<_>>()?,
        })
    }

    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.client = self.client.saturating_sub(earlier.client);
        self.origin = self.origin.saturating_sub(earlier.origin);
        for ((_, now), (_, then)) in self.processes.iter_mut().zip(&earlier.processes) {
            *now = now.saturating_sub(*then);
        }
        self
    }

    /// Of what lies between client and origin.
    pub fn between(&self) -> Duration {
        self.processes.iter().map(|(_, used)| *used).sum()
    }

    pub fn total(&self) -> Duration {
        self.client + self.origin + self.between()
    }
}

/// Waits until those whose processor time is `used` have next to nothing to do any more, or for half a minute.
pub async fn settle(used: impl Fn() -> Result<Duration>) -> Result<()> {
    let mut before = used()?;
    for _ in 0..PATIENCE {
        sleep(PAUSE).await;
        let now = used()?;
        if now.saturating_sub(before) <= IDLE {
            break;
        }
        before = now;
    }
    Ok(())
}

const PAUSE: Duration = Duration::from_millis(500);
/// In a [`PAUSE`].
const IDLE: Duration = Duration::from_millis(20);
const PATIENCE: usize = 60;

#[cfg(test)]
mod tests {
    use super::Pid;

    #[test]
    fn reads_this_process() {
        let this = Pid(std::process::id());
        let memory = this.memory().unwrap();
        assert!(memory.peak >= memory.now && memory.now > 0);
        this.cpu().unwrap();
    }
}
