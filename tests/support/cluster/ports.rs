//! Free ports of 127.0.0.1 for programs that cannot choose their own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// Ports that were free a moment ago, all different. Whoever uses them must be ready to be
/// beaten to one, and try again with others.
pub(super) fn free<const N: usize>() -> io::Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(local(0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Whether nobody listens on `port`.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind(local(port)).is_ok()
}

pub(super) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
