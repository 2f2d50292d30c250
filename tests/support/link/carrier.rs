//! A thread that carries packets from one TUN device to another, when and if the line says so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, poll};
use tun_rs::SyncDevice;

use super::line::{Conditions, Fate, Line};

/// What a link lets pass; the rest vanishes without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Everything,
    /// All but UDP.
    NoUdp,
    Nothing,
}

/// Packets of one direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Sent on, or on their way; a duplicate counts once.
    pub carried: u64,
    /// Bytes of these.
    pub bytes: u64,
    pub lost: u64,
    /// Found no room in the buffer.
    pub overflowed: u64,
    pub duplicated: u64,
    pub held_back: u64,
    /// Did not pass because of [`Traffic`].
    pub blocked: u64,
}

/// What a direction is told, and tells.
#[derive(Debug)]
pub(super) struct Control {
    state: Mutex<State>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    line: Line,
    traffic: Traffic,
    counts: Counts,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Carrier {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

struct Carrying {
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    control: Arc<Control>,
    began: Instant,
    /// When, in which order, what.
    waiting: BinaryHeap<Reverse<(Duration, u64, Vec<u8>)>>,
    taken: u64,
}

impl Control {
    pub(super) fn new(conditions: &Conditions) -> Self {
        Self {
            state: Mutex::new(State {
                line: Line::new(conditions),
                traffic: Traffic::Everything,
                counts: Counts::default(),
            }),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, conditions: &Conditions) {
        self.state().line.set(conditions);
    }

    pub(super) fn pass(&self, traffic: Traffic) {
        self.state().traffic = traffic;
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Carrier {
    pub(super) fn start(
        from: &Arc<SyncDevice>,
        to: &Arc<SyncDevice>,
        control: &Arc<Control>,
    ) -> Result<Self> {
        let mut carrying = Carrying {
            from: Arc::clone(from),
            to: Arc::clone(to),
            control: Arc::clone(control),
            began: Instant::now(),
            waiting: BinaryHeap::new(),
            taken: 0,
        };
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || carrying.run())
            .context("starting a thread")?;
        Ok(Self {
            control: Arc::clone(control),
            thread: Some(thread),
        })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.control.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the link's thread panicked"
            );
        }
    }
}

impl Carrying {
    fn run(&mut self) {
        let mut packet = vec![0; PACKET];
        while !self.control.stopped.load(Ordering::Relaxed) {
            self.read(&mut packet);
            self.write();
            self.wait();
        }
    }

    /// Takes all packets that are there.
    fn read(&mut self, packet: &mut [u8]) {
        let now = self.began.elapsed();
        let mut state = self.control.state();
        for _ in 0..BATCH {
            // An error says that there is none, or that the device is going away.
            let Ok(length) = self.from.recv(packet) else {
                break;
            };
            let packet = &packet[..length];
            let Some(protocol) = protocol(packet) else {
                continue;
            };
            if !state.traffic.passes(protocol) {
                state.counts.blocked += 1;
                continue;
            }
            let fate = state.line.take(now, length);
            state.counts.add(fate, length);
            if let Fate::Arrives { at, again, .. } = fate {
                for at in [Some(at), again].into_iter().flatten() {
                    self.taken += 1;
                    self.waiting
                        .push(Reverse((at, self.taken, packet.to_vec())));
                }
            }
        }
    }

    /// Hands over the packets that are due.
    fn write(&mut self) {
        let now = self.began.elapsed();
        while let Some(Reverse((at, ..))) = self.waiting.peek()
            && *at <= now
        {
            if let Some(Reverse((.., packet))) = self.waiting.pop() {
                // What the other host can not take is lost, as in any network.
                let _ = self.to.send(&packet);
            }
        }
    }

    /// Until there is something to do. While packets are on their way that is after a moment, since to wake for each of
    /// them would cost more than to carry it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread is its own, and time is what it waits for"
    )]
    fn wait(&self) {
        match self.waiting.peek() {
            Some(Reverse((at, ..))) => {
                thread::sleep(at.saturating_sub(self.began.elapsed()).min(TICK));
            }
            None => {
                let mut device = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
                // What went wrong will be seen by the next read.
                let _ = poll(&mut device, LOOK_UP);
            }
        }
    }
}

impl Traffic {
    fn passes(self, protocol: u8) -> bool {
        match self {
            Self::Everything => true,
            Self::NoUdp => protocol != UDP,
            Self::Nothing => false,
        }
    }
}

impl Counts {
    fn add(&mut self, fate: Fate, length: usize) {
        match fate {
            Fate::Overflows => self.overflowed += 1,
            Fate::Lost => self.lost += 1,
            Fate::Arrives {
                again, held_back, ..
            } => {
                self.carried += 1;
                self.bytes += length as u64;
                self.duplicated += u64::from(again.is_some());
                self.held_back += u64::from(held_back);
            }
        }
    }
}

/// The protocol that an IPv4 packet carries. Others are not carried: hosts send them on their own account (router
/// solicitations), which would disturb the counts.
fn protocol(packet: &[u8]) -> Option<u8> {
    let version = packet.first()? >> 4;
    packet.get(9).copied().filter(|_| version == 4)
}

const UDP: u8 = 17;
/// The longest packet.
const PACKET: usize = 65_536;
/// Packets that are read before those that are due are written.
const BATCH: usize = 256;
/// How late a packet may be seen, or handed over.
const TICK: Duration = Duration::from_micros(100);
/// How often an idle carrier sees whether it is to end, in milliseconds.
const LOOK_UP: u8 = 50;
