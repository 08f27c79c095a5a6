//! The work of a replay, spread over threads.
//!
//! Each thread reads the whole capture and takes the packets of its share of the address pairs. A flow, its fragments and its
//! ICMP errors thus stay in one thread and in order, and the result does not depend on the number of threads.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::locality::Locality;
use super::orient::{Orientation, Oriented};
use super::{Direction, Progress};
use crate::capture::{self, CaptureError, Packet, Skipped, decode};

/// What was decided about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Judgement {
    /// Run-time id of the layer that decided.
    pub layer: u16,
    pub filter: Option<u64>,
    pub permitted: bool,
    /// Whether the packet began a flow.
    pub new_flow: bool,
}

/// Puts one thread's packets before the filter engine.
pub trait Judge {
    fn judge(&mut self, packet: &Oriented<'_>) -> Judgement;
}

/// A flow, as its first packet tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFlow {
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub direction: Direction,
    pub judgement: Judgement,
}

/// What a replay counted.
#[derive(Debug, Default)]
pub struct Counts {
    pub frames: u64,
    pub flows: u64,
    pub judgements: BTreeMap<Judgement, u64>,
    pub skipped: BTreeMap<Skipped, u64>,
    pub new_flows: Vec<NewFlow>,
    pub damage: Option<CaptureError>,
}

/// How often progress is told.
const TELL: Duration = Duration::from_millis(250);
/// How many packets a thread takes between two looks at the others.
const BATCH: u64 = 4096;

/// Replays the capture. `judge` makes what a thread needs for one repetition; `tell` hears of the progress, and can end it.
pub fn run<J: Judge>(
    path: &Path,
    locality: &Locality,
    threads: usize,
    repeat: u32,
    list_flows: bool,
    judge: impl Fn() -> J + Sync,
    mut tell: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(Counts, Duration), CaptureError> {
    let done = AtomicU64::new(0);
    let cancelled = AtomicBool::new(false);
    let begun = Instant::now();
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let share = Share { index: index as u64, of: threads as u64 };
                let (done, cancelled, judge) = (&done, &cancelled, &judge);
                scope.spawn(move || {
                    let mut counts = Counts::default();
                    for round in 0..repeat {
                        if cancelled.load(Ordering::Relaxed) {
                            break;
                        }
                        let mut worker = Worker {
                            share,
                            orientation: Orientation::new(locality),
                            judge: judge(),
                            counts: &mut counts,
                            last: None,
                            tally: HashMap::new(),
                            list_flows: list_flows && round == 0,
                        };
                        let ended = worker.round(path, done, cancelled);
                        worker.settle();
                        match ended {
                            Ok(()) => {}
                            Err(error) if error.is_partial() => counts.damage = Some(error),
                            Err(error) => return Err(error),
                        }
                    }
                    Ok((counts, begun.elapsed()))
                })
            })
            .collect();
        let mut told = begun;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(2));
            if told.elapsed() >= TELL {
                told = Instant::now();
                let progress =
                    Progress { packets: done.load(Ordering::Relaxed), seconds: begun.elapsed().as_secs_f64() };
                if tell(progress).is_break() {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
        }
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let mut total = Counts::default();
    let mut longest = Duration::ZERO;
    for result in results {
        let (counts, elapsed) = result?;
        total.add(counts);
        longest = longest.max(elapsed);
    }
    Ok((total, longest))
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.frames += other.frames;
        self.flows += other.flows;
        for (judgement, count) in other.judgements {
            *self.judgements.entry(judgement).or_default() += count;
        }
        for (reason, count) in other.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
        self.new_flows.extend(other.new_flows);
        self.damage = self.damage.take().or(other.damage);
    }
}

/// Which packets a thread takes.
#[derive(Debug, Clone, Copy)]
struct Share {
    index: u64,
    of: u64,
}

impl Share {
    #[inline]
    fn has(self, packet: &Packet<'_>) -> bool {
        self.of == 1 || mix(packet.source).wrapping_add(mix(packet.destination)) % self.of == self.index
    }
}

/// Scatters addresses; the sum of two does not depend on their order.
#[inline]
fn mix(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(23)
        }
    };
    let mixed = (bits ^ bits >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

struct Worker<'a, J> {
    share: Share,
    orientation: Orientation<'a>,
    judge: J,
    counts: &'a mut Counts,
    /// The judgement of the packets just before, and their number: most packets are judged as the one before.
    last: Option<(Judgement, u64)>,
    tally: HashMap<Judgement, u64>,
    list_flows: bool,
}

impl<J: Judge> Worker<'_, J> {
    fn round(&mut self, path: &Path, done: &AtomicU64, cancelled: &AtomicBool) -> Result<(), CaptureError> {
        let mut batch = 0;
        let result = capture::read(path, |frame| {
            let mine = match decode(&frame) {
                Ok(packet) => {
                    self.share.has(&packet) && {
                        self.packet(&packet);
                        true
                    }
                }
                // What has no addresses is the first thread's to count.
                Err(reason) => {
                    self.share.index == 0 && {
                        *self.counts.skipped.entry(reason).or_default() += 1;
                        true
                    }
                }
            };
            if mine {
                self.counts.frames += 1;
                batch += 1;
                if batch == BATCH {
                    done.fetch_add(batch, Ordering::Relaxed);
                    batch = 0;
                    if cancelled.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        });
        done.fetch_add(batch, Ordering::Relaxed);
        result
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        let Some(oriented) = self.orientation.orient(packet) else {
            *self.counts.skipped.entry(Skipped::NotLocal).or_default() += 1;
            return;
        };
        let judgement = self.judge.judge(&oriented);
        if judgement.new_flow {
            self.counts.flows += 1;
            if self.list_flows {
                let Oriented { direction, local, remote, .. } = oriented;
                self.counts.new_flows.push(NewFlow { protocol: packet.protocol, local, remote, direction, judgement });
            }
        }
        let judgement = Judgement { new_flow: false, ..judgement };
        match &mut self.last {
            Some((last, count)) if *last == judgement => *count += 1,
            last => {
                if let Some((judgement, count)) = last.replace((judgement, 1)) {
                    *self.tally.entry(judgement).or_default() += count;
                }
            }
        }
    }

    fn settle(&mut self) {
        for (judgement, count) in self.tally.drain().chain(self.last.take()) {
            *self.counts.judgements.entry(judgement).or_default() += count;
        }
    }
}
