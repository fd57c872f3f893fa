//! A TCP proxy before a server that breaks connections off in the middle of what clients send, which no
//! server does by configuration.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A proxy on loopback. Its threads end with the test process.
pub(crate) struct Cutter {
    authority: String,
    cuts: Arc<AtomicU32>,
}

impl Cutter {
    /// One before `target` that breaks connections off, `times` in all, after so many bytes of a
    /// client.
    pub(crate) fn start(target: &str, after: u64, times: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let authority = listener.local_addr().expect("it is bound").to_string();
        let left = Arc::new(AtomicU32::new(times));
        let cuts = Arc::new(AtomicU32::new(0));
        let (target, counted) = (target.to_owned(), Arc::clone(&cuts));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, left) = (target.clone(), Arc::clone(&left));
                let cuts = Arc::clone(&counted);
                // An error is one end's doing.
                std::thread::spawn(move || carry(client, &target, after, &left, &cuts));
            }
        });
        Self { authority, cuts }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// How often it has cut.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::Relaxed)
    }
}

fn carry(
    mut client: TcpStream,
    target: &str,
    after: u64,
    left: &AtomicU32,
    cuts: &AtomicU32,
) -> io::Result<()> {
    let mut server = TcpStream::connect(target)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    let (mut carried, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return server.shutdown(Shutdown::Both);
        }
        carried += count as u64;
        if carried > after {
            let one = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            if one.is_ok() {
                cuts.fetch_add(1, Ordering::Relaxed);
                client.shutdown(Shutdown::Both)?;
                return server.shutdown(Shutdown::Both);
            }
        }
        server.write_all(&buffer[..count])?;
    }
}
