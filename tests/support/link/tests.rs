//! Packets and connections through a real link.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use socket2::SockRef;

use super::{Conditions, Counts, FAR, FAR_MOVED, Fate, Line, Link, NEAR, Traffic};

const PATIENCE: Duration = Duration::from_secs(30);
/// IPv4 and UDP headers.
const HEADERS: usize = 28;

/// A UDP socket on each side: near, far.
fn sockets(link: &Link) -> Result<(UdpSocket, UdpSocket)> {
    let near = link.near().enter(|| UdpSocket::bind((NEAR, 0)))?;
    let far = link.far().enter(|| UdpSocket::bind(("0.0.0.0", 0)))?;
    near.set_read_timeout(Some(PATIENCE))?;
    far.set_read_timeout(Some(PATIENCE))?;
    Ok((near, far))
}

fn wait_for(link: &Link, wanted: impl Fn(Counts) -> bool) -> Result<Counts> {
    let begin = Instant::now();
    loop {
        let there = link.counts().there;
        if wanted(there) {
            return Ok(there);
        }
        ensure!(begin.elapsed() < PATIENCE, "{there:?}");
        thread::yield_now();
    }
}

#[test]
fn an_echo_takes_the_delay_both_ways() -> Result<()> {
    if Link::is_to_be_skipped("an_echo_takes_the_delay_both_ways") {
        return Ok(());
    }
    let link = Link::start(&Conditions {
        delay: Duration::from_millis(40),
        ..Conditions::default()
    })?;
    let (near, far) = sockets(&link)?;
    let begin = Instant::now();
    near.send_to(b"ping", (FAR, far.local_addr()?.port()))?;
    let mut packet = [0; 64];
    let (length, from) = far.recv_from(&mut packet)?;
    far.send_to(&packet[..length], from)?;
    let (length, from) = near.recv_from(&mut packet)?;
    ensure!(&packet[..length] == b"ping" && from.ip() == FAR);
    let taken = begin.elapsed();
    // How much longer it may take depends on what else the machine does.
    ensure!(taken >= Duration::from_millis(80), "{taken:?}");
    Ok(())
}

#[test]
fn a_seed_decides_which_packets_arrive() -> Result<()> {
    if Link::is_to_be_skipped("a_seed_decides_which_packets_arrive") {
        return Ok(());
    }
    let conditions = Conditions {
        loss: 0.05,
        duplicate: 0.02,
        seed: 42,
        ..Conditions::default()
    };
    let link = Link::start(&conditions)?;
    let (near, far) = sockets(&link)?;
    let mut line = Line::new(&conditions);
    let mut expected = Vec::new();
    let mut received = Vec::new();
    for number in 0_u32..2000 {
        near.send_to(&number.to_be_bytes(), (FAR, far.local_addr()?.port()))?;
        let fate = line.take(Duration::ZERO, HEADERS + 4);
        let copies = match fate {
            Fate::Arrives { again, .. } => 1 + usize::from(again.is_some()),
            _ => 0,
        };
        for _ in 0..copies {
            expected.push(number);
            let mut packet = [0; 4];
            ensure!(far.recv(&mut packet)? == 4);
            received.push(u32::from_be_bytes(packet));
        }
    }
    ensure!(received == expected, "other packets arrived");
    let counts = wait_for(&link, |there| there.carried + there.lost == 2000)?;
    ensure!(
        counts.carried + counts.duplicated == expected.len() as u64,
        "{counts:?}"
    );
    ensure!(counts.lost > 50, "{counts:?}");
    Ok(())
}

#[test]
fn a_connection_survives_loss_and_is_as_fast_as_the_rate() -> Result<()> {
    if Link::is_to_be_skipped("a_connection_survives_loss_and_is_as_fast_as_the_rate") {
        return Ok(());
    }
    const LENGTH: usize = 2_000_000;
    let link = Link::start(&Conditions {
        delay: Duration::from_millis(1),
        loss: 0.005,
        reorder: 0.01,
        rate: Some(100_000_000),
        ..Conditions::default()
    })?;
    let listener = link.far().enter(|| TcpListener::bind((FAR, 0)))?;
    let address = listener.local_addr()?;
    let sent: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let begin = Instant::now();
    let sender = thread::spawn({
        let sent = sent.clone();
        move || listener.accept()?.0.write_all(&sent)
    });
    let mut received = Vec::new();
    let mut stream = link.near().enter(|| TcpStream::connect(address))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_to_end(&mut received)?;
    sender.join().expect("the sender does not panic")?;
    ensure!(received == sent, "{} bytes arrived", received.len());
    // 2 MB are 16 Mbit: 160 ms at 100 Mbit/s.
    ensure!(begin.elapsed() >= Duration::from_millis(160));
    ensure!(link.counts().back.lost > 0, "{:?}", link.counts());
    Ok(())
}

#[test]
fn both_ends_of_a_connection_use_the_congestion_control_that_was_set() -> Result<()> {
    if Link::is_to_be_skipped("both_ends_of_a_connection_use_the_congestion_control_that_was_set") {
        return Ok(());
    }
    let link = Link::start(&Conditions::default())?;
    for algorithm in ["cubic", "reno"] {
        link.set_congestion(algorithm)?;
        let listener = link.far().enter(|| TcpListener::bind((FAR, 0)))?;
        let address = listener.local_addr()?;
        let near = link.near().enter(|| TcpStream::connect(address))?;
        let (far, _) = listener.accept()?;
        for end in [near, far] {
            let used = SockRef::from(&end).tcp_congestion()?;
            ensure!(used.starts_with(algorithm.as_bytes()), "{used:?}");
        }
    }
    Ok(())
}

#[test]
fn blackouts_swallow_and_end() -> Result<()> {
    if Link::is_to_be_skipped("blackouts_swallow_and_end") {
        return Ok(());
    }
    let link = Link::start(&Conditions::default())?;
    let (near, far) = sockets(&link)?;
    let far_port = far.local_addr()?.port();
    link.pass(Traffic::NoUdp);
    near.send_to(b"swallowed", (FAR, far_port))?;
    wait_for(&link, |there| there.blocked == 1)?;
    let listener = link.far().enter(|| TcpListener::bind((FAR, 0)))?;
    let address = listener.local_addr()?;
    link.near().enter(|| TcpStream::connect(address))?;
    link.pass(Traffic::Nothing);
    near.send_to(b"swallowed", (FAR, far_port))?;
    wait_for(&link, |there| there.blocked >= 2)?;
    link.pass(Traffic::Everything);
    near.send_to(b"arrives", (FAR, far_port))?;
    let mut packet = [0; 64];
    let length = far.recv(&mut packet)?;
    ensure!(&packet[..length] == b"arrives");
    Ok(())
}

#[test]
fn the_far_host_moves() -> Result<()> {
    if Link::is_to_be_skipped("the_far_host_moves") {
        return Ok(());
    }
    let link = Link::start(&Conditions::default())?;
    let (near, far) = sockets(&link)?;
    let port = near.local_addr()?.port();
    let mut packet = [0; 64];
    for address in [FAR, FAR_MOVED] {
        far.send_to(b"from here", (NEAR, port))?;
        ensure!(near.recv_from(&mut packet)?.1.ip() == address);
        if address == FAR {
            link.move_far()?;
        }
    }
    Ok(())
}
