//! The traffic that never stops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::filter::protocol::Protocol;
use crate::lab::host::Host;
use crate::replay::Connection;

/// What the filters of [`FILTERS`] do with a connection, by its remote port.
const HELD_CONNECT: u16 = 2000;
const HELD_ACCEPT: u16 = 2001;
const BLOCKED: u16 = 2002;
const DROPPED: u16 = 2003;
const REJECTED: u16 = 2004;
const OTHER: u16 = 443;

/// Filters that ask each of the driver's callouts. Time runs out as soon as it can.
pub const FILTERS: [&str; 8] = [
    "--layer connect --action callout-inspect",
    "--layer connect --action callout-hold --hold-for 1 --remote-port 2000",
    "--layer accept --action callout-hold --hold-for 1 --otherwise permit --remote-port 2001",
    "--layer connect --action callout-block --remote-port 2002",
    "--layer outbound-transport --action callout-block --remote-port 2003",
    "--layer accept --action callout-block --reject --protocol tcp --remote-port 2004",
    "--layer accept --action callout-permit",
    "--layer inbound-transport --action callout-inspect",
];

/// Each of so many connections in a row has its place in [`kind`].
const CYCLE: u64 = 64;

/// The remote port of a connection, and whether it comes in.
fn kind(number: u64) -> (u16, bool) {
    match number % CYCLE {
        0 => (HELD_CONNECT, false),
        1 => (HELD_ACCEPT, true),
        2 => (BLOCKED, false),
        3 => (DROPPED, false),
        4 => (REJECTED, true),
        other => (OTHER, other.is_multiple_of(7)),
    }
}

/// How the threads send traffic.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Pace {
    /// With pauses, and [`FLOWS`] to twice as many flows alive in each thread.
    Steady,
    /// As fast as they can until [`MANY_FLOWS`] are alive in each, then with pauses too.
    Flood,
}

pub const FLOWS: u64 = 256;
const MANY_FLOWS: u64 = 10_000;
/// After so many connections as are in a cycle. It leaves the other threads of the lab something of the processors.
const PAUSE: Duration = Duration::from_micros(500);

/// What the threads that send traffic are told, and tell.
pub struct Crowd {
    /// Connections that each has made.
    made: Vec<AtomicU64>,
    flood: AtomicBool,
    stop: AtomicBool,
}

impl Crowd {
    pub fn new(threads: u16) -> Crowd {
        Crowd {
            made: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            flood: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// Connections that all have made.
    pub fn connections(&self) -> u64 {
        self.made.iter().map(|made| made.load(Ordering::Relaxed)).sum()
    }

    pub fn set_pace(&self, pace: Pace) {
        self.flood.store(matches!(pace, Pace::Flood), Ordering::Relaxed);
    }

    /// Waits until each thread has made so many connections more.
    pub fn wait_for(&self, connections: u64) {
        const AT_MOST: Duration = Duration::from_secs(10);
        let begun = Instant::now();
        let goals: Vec<u64> = self.made.iter().map(|made| made.load(Ordering::Relaxed) + connections).collect();
        let there = || self.made.iter().zip(&goals).all(|(made, goal)| made.load(Ordering::Relaxed) >= *goal);
        while !there() && begun.elapsed() < AT_MOST {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// One thread's connections: in both directions, of both IP versions, to ports that the filters tell apart.
    pub fn run(&self, host: &Host, thread: u16) {
        // The older flows end when there are enough of the newer ones: some are alive at any time.
        let (mut newer, mut older) = (host.traffic(), host.traffic());
        let (mut number, mut alive, mut older_alive) = (0u64, 0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let (port, inbound) = kind(number);
            let (local, remote): (IpAddr, IpAddr) = match number / CYCLE % 2 {
                0 => (Ipv4Addr::new(192, 168, 0, 2).into(), Ipv4Addr::new(192, 0, 2, thread as u8).into()),
                _ => (
                    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
                    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, thread).into(),
                ),
            };
            let connection = Connection {
                protocol: if number.is_multiple_of(3) { Protocol::UDP.0 } else { Protocol::TCP.0 },
                local: SocketAddr::new(local, 1024 + (number % 60_000) as u16),
                remote: SocketAddr::new(remote, port),
                app: None,
            };
            newer.begin(&connection, inbound);
            number += 1;
            alive += 1;
            self.made[usize::from(thread)].store(number, Ordering::Relaxed);
            let flood = self.flood.load(Ordering::Relaxed);
            if alive >= if flood { MANY_FLOWS } else { FLOWS } {
                older.end_flows();
                std::mem::swap(&mut newer, &mut older);
                older_alive = std::mem::take(&mut alive);
            }
            if number.is_multiple_of(CYCLE) && (!flood || older_alive >= MANY_FLOWS) {
                std::thread::sleep(PAUSE);
            }
        }
    }
}
