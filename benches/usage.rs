//! What processes used, as the kernel counts it (proc(5)).

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::tunnel::Pids;

/// A process whose use is counted.
#[derive(Debug, Clone, Copy)]
pub struct Pid(pub u32);

/// Processor time of all who take part: what is left of the machine's speed is shared among them.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    pub client: Duration,
    pub origin: Duration,
    pub server: Duration,
    pub agent: Duration,
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

impl Cpu {
    /// What was used until now.
    pub fn now(pids: Pids) -> Result<Self> {
        Ok(Self {
            client: Pid(std::process::id()).cpu()?,
            origin: pids.origin.cpu()?,
            server: pids.server.cpu()?,
            agent: pids.agent.cpu()?,
        })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            client: self.client.saturating_sub(earlier.client),
            origin: self.origin.saturating_sub(earlier.origin),
            server: self.server.saturating_sub(earlier.server),
            agent: self.agent.saturating_sub(earlier.agent),
        }
    }

    /// Of server and agent.
    pub fn tunnel(self) -> Duration {
        self.server + self.agent
    }

    pub fn total(self) -> Duration {
        self.client + self.origin + self.tunnel()
    }
}

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
