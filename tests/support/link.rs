//! A network between two hosts of its own, as slow and as bad as wanted: for QUIC and TCP alike, since it carries IP packets.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use ci_tunnel_tests::link::{Conditions, FAR, Link};
//! # fn test() -> anyhow::Result<()> {
//! let link = Link::start(&Conditions {
//!     delay: Duration::from_millis(20),
//!     loss: 0.01,
//!     ..Conditions::default()
//! })?;
//! let socket = link.far().enter(|| std::net::TcpListener::bind((FAR, 0)))?;
//! link.near().enter(|| std::net::TcpStream::connect(socket.local_addr()?))?;
//! # Ok(()) }
//! ```
//!
//! Each host is a network namespace with a loopback and a TUN device; two threads read the packets of the one and write
//! them to the other, when and if [`Line`] says so. It needs no netem in the kernel, but root, or `unshare --user
//! --map-root-user`, and `/dev/net/tun`: see [`Link::is_to_be_skipped`].

mod carrier;
mod line;
mod namespace;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Write as _, stderr};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tun_rs::{DeviceBuilder, SyncDevice};

use self::carrier::{Carrier, Control};
pub use self::carrier::{Counts, Traffic};
pub use self::line::{Conditions, Fate, Line};
pub use self::namespace::Namespace;

/// The address of the near host.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The address of the far host.
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Another one, which the far host may move to.
pub const FAR_MOVED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);

/// Two hosts and what lies between them; all of it is gone when this is dropped.
#[derive(Debug)]
pub struct Link {
    near: Namespace,
    far: Namespace,
    there: Arc<Control>,
    back: Arc<Control>,
    _carriers: [Carrier; 2],
}

/// What both directions did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Both {
    /// From near to far.
    pub there: Counts,
    /// From far to near.
    pub back: Counts,
}

impl Link {
    /// A link with the same conditions in both directions.
    ///
    /// # Errors
    /// What [`Self::is_to_be_skipped`] looks for is missing, or it fails all the same.
    pub fn start(conditions: &Conditions) -> Result<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        let near_device = Arc::new(near.enter(|| device(NEAR))?);
        let far_device = Arc::new(far.enter(|| device(FAR))?);
        let (there, back) = (
            Arc::new(Control::new(conditions)),
            Arc::new(Control::new(&conditions.mirrored())),
        );
        let carriers = [
            Carrier::start(&near_device, &far_device, &there)?,
            Carrier::start(&far_device, &near_device, &back)?,
        ];
        Ok(Self {
            near,
            far,
            there,
            back,
            _carriers: carriers,
        })
    }

    /// Whether there can be no link on this machine and that is no failure, in CI neither; then `test` is said aloud to be
    /// skipped. Where a link is possible, a failure to make one is a failure.
    pub fn is_to_be_skipped(test: &str) -> bool {
        let Some(missing) = obstacle() else {
            return false;
        };
        // Not `eprintln`, which is shown for failed tests only.
        let _ = writeln!(stderr(), "SKIPPED {test}: {missing}");
        true
    }

    pub fn near(&self) -> &Namespace {
        &self.near
    }

    pub fn far(&self) -> &Namespace {
        &self.far
    }

    /// From now on these hold, in both directions; what is on its way arrives as before.
    pub fn set(&self, conditions: &Conditions) {
        self.there.set(conditions);
        self.back.set(&conditions.mirrored());
    }

    /// From now on only this passes.
    pub fn pass(&self, traffic: Traffic) {
        self.there.pass(traffic);
        self.back.pass(traffic);
    }

    /// Has TCP over the link use this congestion control from now on; that of the machine else.
    pub fn set_congestion(&self, algorithm: &str) -> Result<()> {
        self.near.set_congestion(DEVICE, FAR, algorithm)?;
        self.far.set_congestion(DEVICE, NEAR, algorithm)
    }

    /// Gives the far host [`FAR_MOVED`] in the place of [`FAR`].
    pub fn move_far(&self) -> Result<()> {
        self.far.replace_address(DEVICE, FAR, FAR_MOVED, PREFIX)
    }

    pub fn counts(&self) -> Both {
        Both {
            there: self.there.counts(),
            back: self.back.counts(),
        }
    }
}

/// What stands in the way of a link on this machine.
pub fn obstacle() -> Option<String> {
    let tun = File::options().read(true).write(true).open(TUN);
    if let Err(error) = tun {
        return Some(format!(
            "{TUN} can not be opened ({error}): `modprobe tun`, and give containers the device"
        ));
    }
    Namespace::new().err().map(|error| format!("{error:#}"))
}

/// A TUN device in the namespace of the calling thread.
fn device(address: Ipv4Addr) -> Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name(DEVICE)
        .ipv4(address, PREFIX, None)
        .mtu(MTU)
        .tx_queue_len(QUEUE)
        .build_sync()
        .context("making a TUN device")?;
    device.set_nonblocking(true)?;
    Ok(device)
}

const TUN: &str = "/dev/net/tun";
const DEVICE: &str = "link";
const PREFIX: u8 = 29;
const MTU: u16 = 1500;
/// The kernel's own queue must never be what drops a packet.
const QUEUE: u32 = 20_000;
