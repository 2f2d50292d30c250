//! A network namespace: a host of its own as far as addresses, ports and routes go.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMetric, RouteScope};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use tokio::runtime;

/// A network namespace; it is gone when nobody and nothing uses it any more.
#[derive(Debug, Clone)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// A new one, in which nothing but the loopback is up.
    pub(super) fn new() -> Result<Self> {
        // A thread of its own, since the namespace is a thread's, and this one is to stay where it is.
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context(
                "a network namespace can not be made: run this as root, or under `unshare --user --map-root-user`",
            )?;
            block_on(async || loopback_up(&netlink()?).await)?;
            File::open("/proc/thread-self/ns/net").context("the thread's network namespace")
        });
        let file = made.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(Self {
            file: Arc::new(file),
        })
    }

    /// Runs `task` in here, on a thread of its own, and waits for it. Sockets and processes that it makes stay in here.
    pub fn enter<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("a namespace of our own");
                task()
            });
            entered.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs what `task` makes in here, on a runtime of its own, and waits for it.
    pub fn block_on<T: Send>(&self, task: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        self.enter(|| block_on(task))
    }

    /// A command that runs the one behind it in here, and becomes it. Good for as long as this process lives.
    pub fn command(&self) -> Vec<String> {
        let (process, file) = (std::process::id(), self.file.as_raw_fd());
        let namespace = format!("--net=/proc/{process}/fd/{file}");
        ["nsenter", &namespace, "--"].map(str::to_owned).to_vec()
    }

    /// What TCP does on the way to that host when packets are lost. As a property of the route, since only some
    /// algorithms may be the default of a namespace.
    pub(super) fn set_congestion(&self, device: &str, to: Ipv4Addr, algorithm: &str) -> Result<()> {
        self.block_on(async || {
            let handle = netlink()?;
            let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, 32)
                .output_interface(index(&handle, device).await?)
                .scope(RouteScope::Link)
                .build();
            let congestion = vec![RouteMetric::CcAlgo(algorithm.to_owned())];
            route.attributes.push(RouteAttribute::Metrics(congestion));
            let add = handle.route().add(route).replace().execute().await;
            add.with_context(|| format!("a route with the congestion control {algorithm}"))
        })
    }

    pub(super) fn replace_address(
        &self,
        device: &str,
        old: Ipv4Addr,
        new: Ipv4Addr,
        prefix: u8,
    ) -> Result<()> {
        // Otherwise the first address of a network takes the others with it.
        self.enter(|| fs::write(PROMOTE, "1")).context(PROMOTE)?;
        self.block_on(async || {
            let handle = netlink()?;
            let index = index(&handle, device).await?;
            let add = handle.address().add(index, new.into(), prefix);
            add.execute().await.context("adding an address")?;
            let known = handle.address().get().set_address_filter(old.into());
            let known: Vec<_> = known.execute().try_collect().await?;
            for message in known {
                let delete = handle.address().del(message).execute();
                delete.await.context("removing an address")?;
            }
            Ok(())
        })
    }
}

fn block_on<T>(task: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(task())
}

/// A connection to the kernel, for the namespace of the calling thread. Its task ends with the runtime.
fn netlink() -> Result<Handle> {
    let (connection, handle, _) = new_connection().context("netlink")?;
    tokio::spawn(connection);
    Ok(handle)
}

async fn loopback_up(handle: &Handle) -> Result<()> {
    let index = index(handle, "lo").await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    let set = handle.link().set(up).execute().await;
    set.context("setting the loopback up")
}

async fn index(handle: &Handle, device: &str) -> Result<u32> {
    let found = handle.link().get().match_name(device.to_owned()).execute();
    let link = found.try_collect::<Vec<_>>().await?.into_iter().next();
    let link = link.with_context(|| format!("no device {device}"))?;
    Ok(link.header.index)
}

const PROMOTE: &str = "/proc/sys/net/ipv4/conf/all/promote_secondaries";
