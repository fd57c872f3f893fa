//! A network between loopback's two ends: connections take a while to open, bytes take a while to
//! arrive, and some connections are starved. Copies bytes and knows no HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::traffic::Traffic;

/// Most bytes read at once.
const PIECE: usize = 128 * 1024;

/// Pieces on their way at a time, in one direction of a connection: 16 MiB, enough for
/// 300 MB/s over 50 ms.
const IN_FLIGHT: usize = 128;

/// Socket buffers of a starved connection, in bytes, so that few bytes count as served which the
/// client never saw.
const STARVED_BUFFER: u32 = 32 * 1024;

/// How often a starved connection gets its share.
const STARVED_TICK: Duration = Duration::from_millis(50);

/// What the network does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Time for a request and the begin of its answer together; opening a connection takes as long.
    pub(crate) round_trip: Duration,
    pub(crate) starved: Option<Starved>,
}

/// One connection in `of`, the `nth`, gets just `bytes_per_second`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Starved {
    pub(crate) nth: u64,
    pub(crate) of: u64,
    pub(crate) bytes_per_second: u64,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    /// Connections since the last [`Link::begin`], which starvation goes by.
    ordinal: AtomicU64,
    bytes: AtomicU64,
}

/// A listener whose connections lead to one upstream address.
pub(crate) struct Link {
    authority: String,
    counters: Arc<Counters>,
    /// Ends the connections when dropped.
    _runtime: Runtime,
}

impl Link {
    /// Opens a link to `upstream`.
    pub(crate) fn open(upstream: &str, shape: Shape) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime starts");
        let upstream: SocketAddr = upstream.parse().expect("an address and a port");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let authority = listener.local_addr().expect("it is bound").to_string();
        let counters = Arc::new(Counters::default());
        runtime.spawn(accept(listener, upstream, shape, Arc::clone(&counters)));
        Self { authority, counters, _runtime: runtime }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Counts connections for starvation from the first one again, so that each client meets the
    /// same network.
    pub(crate) fn begin(&self) {
        self.counters.ordinal.store(0, Ordering::Relaxed);
    }

    /// Connections and bytes so far, headers included; requests are the business of the server.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.counters.connections.load(Ordering::Relaxed),
            requests: 0,
            bytes: self.counters.bytes.load(Ordering::Relaxed),
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    shape: Shape,
    counters: Arc<Counters>,
) {
    while let Ok((client, _)) = listener.accept().await {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        let ordinal = counters.ordinal.fetch_add(1, Ordering::Relaxed) + 1;
        let starved = shape.starved.filter(|starved| ordinal % starved.of == starved.nth);
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            // A client or server that goes away ends its connection, nothing else.
            let _ = connect(client, upstream, shape.round_trip, starved, counters).await;
        });
    }
}

async fn connect(
    client: TcpStream,
    upstream: SocketAddr,
    round_trip: Duration,
    starved: Option<Starved>,
    counters: Arc<Counters>,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if starved.is_some() {
        socket.set_recv_buffer_size(STARVED_BUFFER)?;
    }
    let server = socket.connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = Direction { delay: round_trip / 2, opening: round_trip, starved: None, bytes: None };
    let down = Direction {
        delay: round_trip / 2,
        opening: Duration::ZERO,
        starved,
        bytes: Some(counters),
    };
    // The direction that ends first takes the other one with it: HTTP does without half-open
    // connections.
    tokio::select! {
        ended = up.carry(from_client, to_server) => ended,
        ended = down.carry(from_server, to_client) => ended,
    }
}

/// One direction of a connection.
struct Direction {
    delay: Duration,
    /// The handshake, which the first bytes wait for.
    opening: Duration,
    starved: Option<Starved>,
    bytes: Option<Arc<Counters>>,
}

impl Direction {
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let Self { delay, opening, starved, bytes } = self;
        let capacity = if starved.is_some() { 1 } else { IN_FLIGHT };
        let piece = starved.map_or(PIECE, Starved::share);
        let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(capacity);
        let opened = Instant::now() + opening;
        let reads = async move {
            loop {
                let mut buffer = Vec::with_capacity(piece);
                if (&mut from).take(piece as u64).read_buf(&mut buffer).await? == 0 {
                    return io::Result::Ok(());
                }
                let due = Instant::now().max(opened) + delay;
                if sender.send((due, buffer)).await.is_err() {
                    return Ok(());
                }
            }
        };
        let writes = async move {
            while let Some((due, buffer)) = receiver.recv().await {
                sleep_until(due).await;
                if starved.is_some() {
                    sleep(STARVED_TICK).await;
                }
                to.write_all(&buffer).await?;
                if let Some(counters) = &bytes {
                    counters.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
                }
            }
            to.shutdown().await
        };
        let (read, written) = tokio::join!(reads, writes);
        read.and(written)
    }
}

impl Starved {
    /// Bytes a tick.
    fn share(self) -> usize {
        let ticks_per_second = 1_000 / STARVED_TICK.as_millis() as u64;
        (self.bytes_per_second / ticks_per_second) as usize
    }
}
