//! The driver's stay in the kernel: one way in, and one way out.
//!
//! Everything acquired is entered into the ledger before the next thing is tried. A start that fails and an unload are
//! the same walk back through it, from different places.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use fwps::sys::{GUID, NTSTATUS, STATUS_FWP_CALLOUT_NOT_FOUND};
use fwps::{bfe, callout};
use postern_core::ledger::{Counts, Full, Ledger};
use postern_core::receipt::{Account, Receipt};
use postern_core::{Status, unregister};
use postern_protocol::CALLOUTS;
use postern_protocol::callout::COUNT;
use wdk_sys::{DEVICE_OBJECT, STATUS_INSUFFICIENT_RESOURCES};

use crate::flows::FLOWS;
use crate::hold::OPERATIONS;
use crate::injection::{HANDLES, Injection, PACKETS};
use crate::log::failed;
use crate::shared::{self, CALLOUT_IDS, Lanes, Tally};
use crate::timer::{StartedTimer, TIMERS};
use crate::unregister::FilterEngine;
use crate::work_item::{self, WorkItem};
use crate::worker::{StartedWorker, THREADS};
use crate::{applications, classify, events, flows, hold, policy, trace, work};

/// Answers a parked request: its input, its output buffer. `None`: there is nothing to answer yet.
pub type AnswerParked<'a> = dyn FnMut(&[u8], &mut [u8]) -> Option<Result<usize, NTSTATUS>> + 'a;

/// What a driver model's shell has acquired and must release, and the requests that it has parked.
pub trait Shell {
    /// Releases it. IRQL: PASSIVE_LEVEL.
    fn release(&mut self);

    /// Goes once through the parked requests, oldest first. `answer` is given a request's input and its output buffer, at DISPATCH_LEVEL
    /// at most; what it answers, the request is completed with. A request for which it has no answer stays where it is. IRQL:
    /// PASSIVE_LEVEL.
    fn serve_parked(answer: &mut AnswerParked<'_>);
}

/// Room for what [`Stay::start`] acquires, and for eight things of the shell.
const CAPACITY: usize = COUNT + 32;

/// Everything that the driver holds.
pub struct Stay<S> {
    ledger: Ledger<Acquired<S>, CAPACITY>,
}

enum Acquired<S> {
    /// The log's ETW provider. First in, so that everything can be logged, the receipt too.
    Trace,
    Shell(S),
    #[expect(dead_code, reason = "freed when the entry is struck off")]
    Lanes(Lanes),
    /// Freed when the entry is struck off, like the two below.
    Applications(applications::Memory),
    Events(events::Memory),
    FlowTable(flows::Memory),
    /// For attempts to unregister on a system thread.
    #[expect(dead_code, reason = "freed when the entry is struck off")]
    UnregisterWork(WorkItem),
    /// Follows BFE.
    #[expect(dead_code, reason = "freed when the entry is struck off")]
    BfeWork(WorkItem),
    /// Answers parked requests, and takes the verdicts of held operations whose time is up.
    #[expect(dead_code, reason = "ended when the entry is struck off")]
    Worker(StartedWorker),
    /// Wakes the worker when the next operation's time is up.
    #[expect(dead_code, reason = "stopped when the entry is struck off")]
    Timer(StartedTimer),
    Injection(Injection),
    EngineSession,
    BfeSubscription(bfe::Subscription),
    /// That no callout of ours is registered, which is looked at once more on the way out: before anything goes that a callout uses.
    NoCallouts,
    Callout(Registered),
    /// The contexts that flows carry.
    Flows,
    /// The operations that wait for a verdict.
    Held,
    Filters,
    Gate,
}

impl<S: Shell> Stay<S> {
    /// A stay that has not begun.
    #[expect(clippy::new_without_default, reason = "an image has one, in a static")]
    pub const fn new() -> Self {
        Stay { ledger: Ledger::new() }
    }

    /// Begins the stay, before anything is acquired. IRQL: PASSIVE_LEVEL.
    pub fn begin(&mut self) -> Result<(), NTSTATUS> {
        trace::register();
        self.enter(Acquired::Trace)
    }

    /// Enters something of the shell's. IRQL: PASSIVE_LEVEL.
    pub fn hold(&mut self, acquired: S) -> Result<(), NTSTATUS> {
        self.enter(Acquired::Shell(acquired))
    }

    /// Acquires all that the driver needs, and starts judging traffic. What was acquired before a failure is held; the
    /// caller leaves. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    ///
    /// `device` is a device object of this driver that the shell has entered. Nobody else starts or leaves.
    pub unsafe fn start(&mut self, device: *mut DEVICE_OBJECT) -> Result<(), NTSTATUS> {
        let lanes = Lanes::install().map_err(|status| failed("allocating the gate", status))?;
        self.enter(Acquired::Lanes(lanes))?;
        let applications =
            applications::Memory::allocate().map_err(|status| failed("allocating the programs", status))?;
        self.enter(Acquired::Applications(applications))?;
        let events = events::Memory::allocate().map_err(|status| failed("allocating the events", status))?;
        self.enter(Acquired::Events(events))?;
        self.enter(Acquired::FlowTable(flows::Memory::new()))?;
        // SAFETY: the device stands below the work item in the ledger.
        let unregister_work =
            unsafe { WorkItem::allocate(device) }.map_err(|status| failed("allocating a work item", status))?;
        let unregister_context = unregister_work.as_context();
        self.enter(Acquired::UnregisterWork(unregister_work))?;
        // SAFETY: as above.
        let bfe_work =
            unsafe { WorkItem::allocate(device) }.map_err(|status| failed("allocating a work item", status))?;
        let bfe_context = bfe_work.as_context();
        self.enter(Acquired::BfeWork(bfe_work))?;
        // SAFETY: the system calls DriverEntry once.
        let worker = unsafe { work::start(S::serve_parked) }.map_err(|status| failed("starting the worker", status))?;
        self.enter(Acquired::Worker(worker))?;
        // SAFETY: the system calls DriverEntry once.
        let timer = unsafe { hold::TIMER.start() };
        self.enter(Acquired::Timer(timer))?;
        // SAFETY: what uses the policy starts below.
        unsafe { policy::prepare() };
        self.enter(Acquired::EngineSession)?;
        self.subscribe(device, bfe_context)?;
        let injection = Injection::start()?;
        self.enter(Acquired::Injection(injection))?;
        self.enter(Acquired::NoCallouts)?;
        for index in 0..COUNT {
            self.register(device, index, unregister_context)?;
        }
        log!("registered {COUNT} callouts");
        self.enter(Acquired::Flows)?;
        self.enter(Acquired::Held)?;
        self.enter(Acquired::Filters)?;
        shared::gate().open();
        self.enter(Acquired::Gate)?;
        // With the gate open no change of BFE's state is missed any more, so this look at it is not too early.
        policy::follow_bfe()
    }

    fn subscribe(&mut self, device: *mut DEVICE_OBJECT, bfe_context: *mut c_void) -> Result<(), NTSTATUS> {
        // SAFETY: the device and the work item behind the context stand below the subscription in the ledger.
        let subscription = unsafe { bfe::Subscription::new(device.cast(), policy::bfe_changed, bfe_context) }
            .map_err(|status| failed("subscribing to BFE's state", status))?;
        shared::SUBSCRIPTIONS.begin();
        self.enter(Acquired::BfeSubscription(subscription))
    }

    fn register(&mut self, device: *mut DEVICE_OBJECT, index: usize, work_item: *mut c_void) -> Result<(), NTSTATUS> {
        // SAFETY: the device stands below the callout in the ledger, the functions are this image's, and what they use are its
        // statics and the lanes. The ledger's walk unregisters the callout before it releases any of them.
        let id = unsafe { callout::register(device.cast(), &classify::registration(index)) }.inspect_err(|status| {
            let callout = CALLOUTS[index];
            let (role, layer) = (callout.role.name(), callout.layer.name());
            log!("registering callout {role} {layer} failed with {}", Status(*status));
        })?;
        shared::CALLOUTS.begin();
        CALLOUT_IDS[index].store(id, Ordering::Relaxed);
        self.enter(Acquired::Callout(Registered { index, id, work_item }))
    }

    /// Enters what was acquired. If the ledger had no room the thing would be released at once.
    fn enter(&mut self, acquired: Acquired<S>) -> Result<(), NTSTATUS> {
        self.ledger.push(acquired).map_err(|Full(mut acquired)| {
            release(&mut acquired, None);
            STATUS_INSUFFICIENT_RESOURCES
        })
    }

    /// Releases everything, and returns when nothing in the system can call into this image any more.
    /// IRQL: PASSIVE_LEVEL.
    pub fn leave(&mut self) {
        // Both count from when the image was loaded: after a start that failed there may be another before it goes.
        let Counts { acquired, mut released } = self.ledger.counts();
        self.ledger.unwind(|entry| {
            released += 1;
            release(entry, Some(Walk { acquired, released }));
        });
    }
}

/// A registered callout.
struct Registered {
    index: usize,
    id: u32,
    /// The work item for attempts on a system thread, as a context; it stands below the callout in the ledger.
    work_item: *mut c_void,
}

impl Registered {
    fn unregister(&self) {
        // SAFETY: the context is a work item's, which lives until the walk has passed this callout.
        let work_item = unsafe { WorkItem::from_context(self.work_item) };
        unregister::until_gone(&mut FilterEngine { work_item: &work_item }, self.id);
        CALLOUT_IDS[self.index].store(0, Ordering::Relaxed);
        shared::CALLOUTS.end();
    }
}

/// How far the walk through the ledger has come, the entry at hand included.
struct Walk {
    acquired: u64,
    released: u64,
}

fn release<S: Shell>(acquired: &mut Acquired<S>, walk: Option<Walk>) {
    match acquired {
        Acquired::Gate => shared::gate().close_and_wait(|| work_item::pause(1)),
        Acquired::Filters => policy::delete_filters(),
        Acquired::Held => hold::complete_all(),
        Acquired::Flows => flows::leave(),
        Acquired::Callout(callout) => callout.unregister(),
        Acquired::BfeSubscription(subscription) => {
            while let Err(status) = subscription.unsubscribe() {
                log!("ending the subscription to BFE's state failed with {}: again", Status(status));
                work_item::pause(100);
            }
            shared::SUBSCRIPTIONS.end();
        }
        Acquired::EngineSession => policy::close_session(),
        Acquired::BfeWork(_) => work_item::wait_until_done(),
        // Whoever queues this item waits for it.
        Acquired::UnregisterWork(_) => {}
        Acquired::Lanes(_) | Acquired::Applications(_) | Acquired::Events(_) | Acquired::FlowTable(_) => {}
        Acquired::Worker(_) | Acquired::Timer(_) => {}
        Acquired::Injection(injection) => injection.stop(),
        Acquired::Shell(shell) => shell.release(),
        Acquired::NoCallouts => look_once_more(),
        Acquired::Trace => {
            if let Some(walk) = walk {
                print_receipt(&walk);
            }
            trace::unregister();
        }
    }
}

/// Asks the engine for each of our callouts by key, which nothing before relied on, until it knows none of them.
///
/// The call that asks would unregister another image's callout of the same key. There is none: another Postern driver registers only
/// after it has created a device of our device's name, and that stands below this in the ledger.
fn look_once_more() {
    for callout in CALLOUTS {
        let key = GUID::from_u128(callout.key());
        loop {
            match callout::unregister_by_key(&key) {
                STATUS_FWP_CALLOUT_NOT_FOUND => break,
                status => {
                    let (role, layer) = (callout.role.name(), callout.layer.name());
                    log!("callout {role} {layer} was still there after all were unregistered: {}", Status(status));
                    work_item::pause(1);
                }
            }
        }
    }
}

fn print_receipt(walk: &Walk) {
    let account = |what, begun_as, tally: &Tally, ended_as| Account {
        what,
        begun_as,
        begun: tally.begun.load(Ordering::Acquire),
        ended_as,
        ended: tally.ended.load(Ordering::Acquire),
    };
    let flows = FLOWS.counts();
    let accounts = [
        account("callouts", "registered", &shared::CALLOUTS, "unregistered"),
        account("calls", "entered", &shared::CALLS, "left"),
        account("filters", "added", &shared::FILTERS, "deleted"),
        Account {
            what: "flow contexts",
            begun_as: "associated",
            begun: flows.associated,
            ended_as: "deleted",
            ended: flows.deleted,
        },
        Account { what: "flows", begun_as: "begun", begun: flows.begun, ended_as: "ended", ended: flows.ended },
        account("sessions", "opened", &shared::SESSIONS, "closed"),
        account("subscriptions", "made", &shared::SUBSCRIPTIONS, "ended"),
        account("work", "queued", &shared::WORK, "done"),
        account("work items", "allocated", &shared::WORK_ITEMS, "freed"),
        account("threads", "started", &THREADS, "ended"),
        account("timers", "started", &TIMERS, "stopped"),
        account("operations", "pended", &OPERATIONS, "completed"),
        account("injection handles", "created", &HANDLES, "destroyed"),
        account("packets", "injected", &PACKETS, "completed"),
        account("requests", "parked", &shared::PARKED, "completed"),
        account("memory", "allocated", &shared::ALLOCATIONS, "freed"),
        Account {
            what: "ledger",
            begun_as: "acquired",
            begun: walk.acquired,
            ended_as: "released",
            ended: walk.released,
        },
    ];
    Receipt(&accounts).print(|line| log!("{line}"));
}
