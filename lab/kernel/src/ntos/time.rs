//! Time, timers and deferred procedure calls.
//!
//! One thread a lab expires timers and runs DPCs, at `DISPATCH_LEVEL`, one after the other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::call::{CallContext, call_image};
use crate::clock::TICK;
use crate::condition::{Condition, Until};
use crate::export::{self, Export, exports};
use crate::image;
use crate::irql::require_irql;
use crate::kernel::{Kernel, lock};
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, DispatcherHeader, KDpc, KTimer, ListEntry};
use crate::ntos::dispatch::{bad_parameter, header};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::schedule;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    KeInitializeTimer,
    KeInitializeTimerEx,
    KeSetTimer,
    KeSetTimerEx,
    KeSetCoalescableTimer,
    KeCancelTimer,
    KeReadStateTimer,
    KeInitializeDpc,
    KeInitializeThreadedDpc,
    KeInsertQueueDpc,
    KeRemoveQueueDpc,
    KeFlushQueuedDpcs,
    KeSetImportanceDpc,
    KeSetTargetProcessorDpc,
    KeSetTargetProcessorDpcEx,
    bare KeQuerySystemTimePrecise,
    bare KeQuerySystemTime,
    bare KeQueryPerformanceCounter,
    bare KeQueryInterruptTime,
    bare KeQueryInterruptTimePrecise,
    bare KeQueryUnbiasedInterruptTime,
    bare KeQueryTickCount,
    bare KeQueryTimeIncrement,
    KeStallExecutionProcessor,
    ExSystemTimeToLocalTime,
    ExLocalTimeToSystemTime,
    RtlTimeToTimeFields,
    RtlTimeFieldsToTime,
    ExAllocateTimer,
    ExSetTimer,
    ExCancelTimer,
    ExDeleteTimer,
];

/// A due time as kernel functions take it: negative is relative, positive a system time.
pub(crate) fn instant_of(due: i64) -> Instant {
    let clock = &thread::current().clock;
    let ahead = if due < 0 { due.unsigned_abs() } else { (due as u64).saturating_sub(clock.system_time()) };
    // A wait beyond a hundred years is a wait forever.
    clock.now() + Duration::from_nanos(ahead.min(1 << 55).saturating_mul(100))
}

#[derive(Clone, Copy)]
struct Armed {
    timer: Ptr<KTimer>,
    period: Duration,
    /// The DPC's routine when the timer was armed.
    routine: u64,
    /// Who armed it.
    caller: u64,
    image: u64,
}

#[derive(Clone, Copy)]
struct QueuedDpc {
    dpc: Ptr<KDpc>,
    routine: u64,
    caller: u64,
    image: u64,
}

#[derive(Default)]
struct Queue {
    /// By due time and order of arming.
    armed: BTreeMap<(Instant, u64), Armed>,
    by_timer: HashMap<u64, (Instant, u64)>,
    dpcs: VecDeque<QueuedDpc>,
    /// The DPC or timer being served, by address.
    running: Option<u64>,
    /// The timer whose memory is being looked at; cancelling it waits for that.
    expiring: Option<u64>,
    served: u64,
    /// The last DPC of each image, as a count of `served`, that no flush has waited for.
    unflushed: HashMap<u64, u64>,
    order: u64,
    thread: bool,
    ended: bool,
}

#[derive(Default)]
pub(crate) struct Timers {
    queue: Mutex<Queue>,
    changed: Condition,
}

/// A timer or DPC that a driver left queued.
pub(crate) struct LeftQueued {
    pub what: &'static str,
    pub address: u64,
    pub routine: u64,
    pub caller: u64,
}

impl Timers {
    /// Ends the thread.
    pub fn end(&self) {
        lock(&self.queue).ended = true;
        self.changed.notify_all();
    }

    pub fn wake_all(&self) {
        let _queue = lock(&self.queue);
        self.changed.notify_all();
    }

    fn start(&self, queue: &mut Queue) {
        if queue.thread || queue.ended {
            return;
        }
        queue.thread = true;
        let kernel = thread::current().share();
        thread::spawn(&kernel.clone(), "lab timers", move || serve(&kernel)).expect("the system refuses a thread");
    }

    fn arm(&self, due: Instant, armed: Armed) -> bool {
        let mut queue = lock(&self.queue);
        let was = queue.disarm(armed.timer.address());
        queue.insert(due, armed);
        self.start(&mut queue);
        self.changed.notify_all();
        was
    }

    fn insert(&self, queued: QueuedDpc) {
        let mut queue = lock(&self.queue);
        queue.dpcs.push_back(queued);
        self.start(&mut queue);
        self.changed.notify_all();
    }

    /// Timers and DPCs of an image, or in memory that is going away; taken off the queue.
    pub fn take_where(&self, mut is_it: impl FnMut(u64, u64) -> bool) -> Vec<LeftQueued> {
        let mut queue = lock(&self.queue);
        let mut left = Vec::new();
        let timers: Vec<u64> = queue
            .armed
            .values()
            .filter(|armed| is_it(armed.timer.address(), armed.image))
            .map(|armed| armed.timer.address())
            .collect();
        for timer in timers {
            if let Some(key) = queue.by_timer.remove(&timer)
                && let Some(armed) = queue.armed.remove(&key)
            {
                let Armed { routine, caller, .. } = armed;
                left.push(LeftQueued { what: "timer", address: timer, routine, caller });
            }
        }
        queue.dpcs.retain(|queued| {
            let goes = is_it(queued.dpc.address(), queued.image);
            if goes {
                let QueuedDpc { dpc, routine, caller, .. } = *queued;
                left.push(LeftQueued { what: "DPC", address: dpc.address(), routine, caller });
            }
            !goes
        });
        left
    }

    /// Whether any timer or DPC lies in a range of memory.
    pub fn any_in(&self, range: core::ops::Range<u64>) -> Option<(&'static str, u64)> {
        let queue = lock(&self.queue);
        if queue.by_timer.is_empty() && queue.dpcs.is_empty() {
            return None;
        }
        let timer = queue.by_timer.keys().find(|timer| range.contains(timer)).map(|timer| ("an armed timer", *timer));
        timer.or_else(|| {
            queue
                .dpcs
                .iter()
                .find(|queued| range.contains(&queued.dpc.address()))
                .map(|queued| ("a queued DPC", queued.dpc.address()))
        })
    }

    /// Whether no timer is due, and no DPC queued or running.
    pub fn is_idle(&self, now: Instant) -> bool {
        let queue = lock(&self.queue);
        let due = queue.armed.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        !due && queue.dpcs.is_empty() && queue.running.is_none()
    }

    /// Has the thread look at the time again.
    pub fn look_again(&self) {
        let queue = lock(&self.queue);
        self.changed.notify_all();
        drop(queue);
    }

    /// Waits until every DPC queued before the call has returned.
    pub fn flush(&self) {
        let mut queue = lock(&self.queue);
        let until = queue.served + queue.dpcs.len() as u64 + u64::from(queue.running.is_some());
        while queue.served < until && !queue.ended && !thread::page().stopped() {
            queue = self.changed.wait(&self.queue, queue, Until::Notified, "DPCs to return");
        }
        queue.unflushed.retain(|_, served| *served > until);
    }

    /// Whether a DPC of the image has run whose last instructions nobody has waited for; forgets it.
    pub fn take_unflushed(&self, image: u64) -> bool {
        lock(&self.queue).unflushed.remove(&image).is_some()
    }

    /// Waits until the DPC or timer at `address` is not being served.
    pub fn wait_until_idle(&self, address: u64) {
        let mut queue = lock(&self.queue);
        while queue.running == Some(address) && !thread::page().stopped() {
            queue = self.changed.wait(&self.queue, queue, Until::Notified, "a DPC or timer to return");
        }
    }

    /// Has a timer that is set expire before whoever wants to cancel it does: it is too late for that, and the DPC is queued.
    fn expire_now(&self, timer: Ptr<KTimer>) -> bool {
        let armed = {
            let mut queue = lock(&self.queue);
            let Some(key) = queue.by_timer.get(&timer.address()).copied() else { return false };
            let Some(armed) = queue.armed.get(&key).copied() else { return false };
            if armed.period != Duration::ZERO || armed.routine == 0 {
                return false;
            }
            let clock = &thread::current().clock;
            clock.advance(key.0.saturating_duration_since(clock.now()));
            queue.disarm(timer.address());
            armed
        };
        let Armed { routine, caller, image, .. } = armed;
        self.insert(QueuedDpc { dpc: Ptr::from_address(expire(timer)), routine, caller, image });
        true
    }

    /// Takes a timer off the queue. When this returns, the lab does not look at its memory any more.
    fn disarm(&self, timer: u64) -> bool {
        let mut queue = lock(&self.queue);
        let was = queue.disarm(timer);
        while queue.expiring == Some(timer) {
            queue = self.changed.wait(&self.queue, queue, Until::Notified, "a timer to expire");
        }
        was
    }
}

impl Queue {
    fn insert(&mut self, due: Instant, armed: Armed) {
        self.order += 1;
        let key = (due, self.order);
        self.by_timer.insert(armed.timer.address(), key);
        self.armed.insert(key, armed);
    }

    fn disarm(&mut self, timer: u64) -> bool {
        match self.by_timer.remove(&timer) {
            Some(key) => self.armed.remove(&key).is_some(),
            None => false,
        }
    }
}

enum Due {
    Timer(Armed),
    Dpc(QueuedDpc),
}

/// The thread that serves timers and DPCs.
fn serve(kernel: &Arc<Kernel>) {
    let timers = &kernel.timers;
    loop {
        let due = {
            let mut queue = lock(&timers.queue);
            loop {
                if queue.ended || kernel.stopped() {
                    queue.ended = true;
                    return;
                }
                if let Some(queued) = queue.dpcs.pop_front() {
                    queue.running = Some(queued.dpc.address());
                    break Due::Dpc(queued);
                }
                let first = queue.armed.first_key_value().map(|((at, _), _)| *at);
                let now = kernel.clock.now();
                if first.is_some_and(|at| at <= now)
                    && let Some((_, armed)) = queue.armed.pop_first()
                {
                    queue.by_timer.remove(&armed.timer.address());
                    // A periodic timer is armed again before its expiry is served, so that cancelling it at
                    // any moment ends it.
                    if !armed.period.is_zero() {
                        queue.insert(now + armed.period, armed);
                    }
                    queue.running = Some(armed.timer.address());
                    queue.expiring = queue.running;
                    break Due::Timer(armed);
                }
                let until = first.map_or(Until::Notified, Until::Time);
                queue = timers.changed.wait(&timers.queue, queue, until, "a timer or DPC");
            }
        };
        let routine = match due {
            Due::Timer(armed) => {
                serve_timer(&armed);
                armed.routine
            }
            Due::Dpc(queued) => {
                serve_dpc(&queued);
                queued.routine
            }
        };
        let mut queue = lock(&timers.queue);
        queue.served += 1;
        // The framework and the timers of the Ex functions have routines of the lab's, and waits of their own.
        if let Some(image) = image::number_at(routine) {
            let served = queue.served;
            queue.unflushed.insert(image, served);
        }
        queue.running = None;
        drop(queue);
        timers.changed.notify_all();
    }
}

fn by(caller: u64) -> String {
    image::place(caller).map_or_else(String::new, |place| format!(" by {place}"))
}

fn serve_timer(armed: &Armed) {
    let object = format!("timer {:#x}, armed{}", armed.timer.address(), by(armed.caller));
    let context = CallContext { what: "expiry", object: &object, at: "" };
    // The timer lies in the driver's memory: looking at it is a call, so that a fault is reported.
    // SAFETY: `expire` takes a timer and returns its DPC.
    let dpc = unsafe { call_image(&context, DISPATCH_LEVEL, expire as *const (), (armed.timer,)) };
    let timers = &thread::current().timers;
    lock(&timers.queue).expiring = None;
    timers.changed.notify_all();
    let Ok(dpc) = dpc else { return };
    if dpc != 0 {
        let Armed { routine, caller, image, .. } = *armed;
        serve_dpc(&QueuedDpc { dpc: Ptr::from_address(dpc), routine, caller, image });
    }
}

/// Signals a timer that is due.
extern "win64" fn expire(timer: Ptr<KTimer>) -> u64 {
    let dpc = field!(timer, Dpc).read();
    let dispatcher = &thread::current().dispatcher;
    let held = dispatcher.lock();
    field!(timer, Header.SignalState).write(1);
    drop(held);
    dispatcher.signal();
    dpc.address()
}

fn serve_dpc(queued: &QueuedDpc) {
    let object = format!("DPC {:#x}, queued{}", queued.dpc.address(), by(queued.caller));
    let context = CallContext { what: "DeferredRoutine", object: &object, at: "" };
    // SAFETY: `deliver` takes a DPC object.
    let _ = unsafe { call_image(&context, DISPATCH_LEVEL, deliver as *const (), (queued.dpc,)) };
}

/// Takes a DPC object off the queue and calls its routine.
extern "win64" fn deliver(dpc: Ptr<KDpc>) {
    let object = dpc.read();
    field!(dpc, DpcData).write(0);
    let name = format!("DPC {:#x}", dpc.address());
    let context = CallContext { what: "DeferredRoutine", object: &name, at: "" };
    let arguments = (dpc, object.DeferredContext, object.SystemArgument1, object.SystemArgument2);
    let routine = object.DeferredRoutine as *const ();
    // SAFETY: the driver registered this routine for exactly this call.
    if unsafe { call_image(&context, DISPATCH_LEVEL, routine, arguments) }.is_err() {
        report::leave_if_stopped();
    }
}

/// `DISPATCHER_HEADER.Type`: 8 notification timer, 9 synchronization timer.
pub(crate) extern "win64" fn KeInitializeTimerEx(timer: Ptr<KTimer>, kind: u32) {
    require_irql(DISPATCH_LEVEL);
    if !timer.is_null() && thread::current().timers.any_in(timer.address()..timer.address() + 1).is_some() {
        bad_parameter("a timer that is armed", "cancel it before initialising it again");
    }
    let at = timer.cast::<DispatcherHeader>();
    timer.write(KTimer {
        Header: header(8 + kind.min(1) as u8, 16, 0, at),
        DueTime: 0,
        TimerListEntry: ListEntry { Flink: Ptr::NULL, Blink: Ptr::NULL },
        Dpc: Ptr::NULL,
        Processor: 0,
        TimerType: 0,
        Period: 0,
    });
}

extern "win64" fn KeInitializeTimer(timer: Ptr<KTimer>) {
    KeInitializeTimerEx(timer, 0);
}

pub(crate) extern "win64" fn KeSetTimerEx(timer: Ptr<KTimer>, due: i64, period: i32, dpc: Ptr<KDpc>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let kind = field!(timer, Header.Type).read();
    if !matches!(kind, 8 | 9) {
        bad_parameter("a timer that is not initialised", "call KeInitializeTimer first");
        return 0;
    }
    let kernel = thread::current();
    field!(timer, Dpc).write(dpc);
    field!(timer, Period).write(period.max(0) as u32);
    field!(timer, Header.SignalState).write(0);
    let caller = thread::page().caller.get();
    let armed = Armed {
        timer,
        period: Duration::from_millis(period.max(0) as u64),
        routine: if dpc.is_null() { 0 } else { field!(dpc, DeferredRoutine).read() },
        caller,
        image: image::number_at(caller).unwrap_or(0),
    };
    u8::from(kernel.timers.arm(instant_of(due), armed))
}

extern "win64" fn KeSetTimer(timer: Ptr<KTimer>, due: i64, dpc: Ptr<KDpc>) -> u8 {
    KeSetTimerEx(timer, due, 0, dpc)
}

extern "win64" fn KeSetCoalescableTimer(timer: Ptr<KTimer>, due: i64, period: u32, _delay: u32, dpc: Ptr<KDpc>) -> u8 {
    KeSetTimerEx(timer, due, period as i32, dpc)
}

pub(crate) extern "win64" fn KeCancelTimer(timer: Ptr<KTimer>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let _ = timer.read();
    let kernel = thread::current();
    if kernel.clock.is_scheduled() && kernel.clock.elapsed().as_micros() % 2 == 1 && kernel.timers.expire_now(timer) {
        return 0;
    }
    u8::from(kernel.timers.disarm(timer.address()))
}

extern "win64" fn KeReadStateTimer(timer: Ptr<KTimer>) -> u8 {
    u8::from(field!(timer, Header.SignalState).read() != 0)
}

pub(crate) extern "win64" fn KeInitializeDpc(dpc: Ptr<KDpc>, routine: u64, context: u64) {
    const DPC_OBJECT: u8 = 19;
    dpc.write(KDpc {
        Type: DPC_OBJECT,
        Importance: 1,
        Number: 0,
        DpcListEntry: 0,
        ProcessorHistory: 0,
        DeferredRoutine: routine,
        DeferredContext: context,
        SystemArgument1: 0,
        SystemArgument2: 0,
        DpcData: 0,
    });
}

extern "win64" fn KeInitializeThreadedDpc(dpc: Ptr<KDpc>, routine: u64, context: u64) {
    KeInitializeDpc(dpc, routine, context);
}

pub(crate) extern "win64" fn KeInsertQueueDpc(dpc: Ptr<KDpc>, argument1: u64, argument2: u64) -> u8 {
    if field!(dpc, Type).read() != 19 {
        bad_parameter("a DPC that is not initialised", "call KeInitializeDpc first");
        return 0;
    }
    let data = field!(dpc, DpcData).as_mut_ptr();
    // SAFETY: an aligned word of the driver's object, which its contract makes valid; atomic because DPCs
    // are queued from many threads.
    let queued = unsafe { core::sync::atomic::AtomicU64::from_ptr(data) };
    if queued
        .compare_exchange(0, 1, core::sync::atomic::Ordering::AcqRel, core::sync::atomic::Ordering::Relaxed)
        .is_err()
    {
        return 0;
    }
    field!(dpc, SystemArgument1).write(argument1);
    field!(dpc, SystemArgument2).write(argument2);
    let caller = thread::page().caller.get();
    let image = image::number_at(caller).unwrap_or(0);
    let routine = field!(dpc, DeferredRoutine).read();
    thread::current().timers.insert(QueuedDpc { dpc, routine, caller, image });
    1
}

pub(crate) extern "win64" fn KeRemoveQueueDpc(dpc: Ptr<KDpc>) -> u8 {
    let _ = dpc.read();
    let left = thread::current().timers.take_where(|address, _| address == dpc.address());
    let removed = left.iter().any(|one| one.what == "DPC");
    if removed {
        field!(dpc, DpcData).write(0);
    }
    u8::from(removed)
}

extern "win64" fn KeFlushQueuedDpcs() {
    require_irql(0);
    thread::current().timers.flush();
    report::leave_if_stopped();
}

extern "win64" fn KeSetImportanceDpc(dpc: Ptr<KDpc>, importance: u32) {
    field!(dpc, Importance).write(importance as u8);
}

extern "win64" fn KeSetTargetProcessorDpc(dpc: Ptr<KDpc>, number: i8) {
    field!(dpc, Number).write(number as u16);
}

extern "win64" fn KeSetTargetProcessorDpcEx(dpc: Ptr<KDpc>, number: Ptr<[u8; 4]>) -> i32 {
    field!(dpc, Number).write(u16::from(number.read()[2]));
    0
}

extern "win64" fn KeQuerySystemTimePrecise(time: Ptr<i64>) {
    time.write(thread::current().clock.system_time() as i64);
}

extern "win64" fn KeQuerySystemTime(time: Ptr<i64>) {
    time.write(thread::current().clock.system_time() as i64);
}

extern "win64" fn KeQueryPerformanceCounter(frequency: Ptr<i64>) -> i64 {
    frequency.write_optional(10_000_000);
    thread::current().clock.interrupt_time() as i64
}

extern "win64" fn KeQueryInterruptTime() -> u64 {
    thread::current().clock.interrupt_time()
}

extern "win64" fn KeQueryInterruptTimePrecise(counter: Ptr<u64>) -> u64 {
    let now = thread::current().clock.interrupt_time();
    counter.write_optional(now);
    now
}

extern "win64" fn KeQueryUnbiasedInterruptTime() -> u64 {
    thread::current().clock.interrupt_time()
}

extern "win64" fn KeQueryTickCount(count: Ptr<u64>) {
    count.write(thread::current().clock.ticks());
}

extern "win64" fn KeQueryTimeIncrement() -> u32 {
    TICK as u32
}

extern "win64" fn KeStallExecutionProcessor(microseconds: u32) {
    let time = Duration::from_micros(u64::from(microseconds));
    if schedule::sleep(time, Until::Time) {
        return;
    }
    let until = Instant::now() + time;
    while Instant::now() < until {
        core::hint::spin_loop();
    }
}

// The lab's local time is UTC.

extern "win64" fn ExSystemTimeToLocalTime(system: Ptr<i64>, local: Ptr<i64>) {
    local.write(system.read());
}

extern "win64" fn ExLocalTimeToSystemTime(local: Ptr<i64>, system: Ptr<i64>) {
    system.write(local.read());
}

const DAY: i64 = 24 * 3600 * 10_000_000;

/// `TIME_FIELDS`: year, month, day, hour, minute, second, milliseconds, weekday.
extern "win64" fn RtlTimeToTimeFields(time: Ptr<i64>, fields: Ptr<[i16; 8]>) {
    let time = time.read();
    let (days, rest) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    // Days since 0000-03-01, by Howard Hinnant's civil-from-days.
    let z = days + 584_694;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let milliseconds = rest / 10_000;
    fields.write([
        year as i16,
        month as i16,
        day as i16,
        (milliseconds / 3_600_000) as i16,
        (milliseconds / 60_000 % 60) as i16,
        (milliseconds / 1000 % 60) as i16,
        (milliseconds % 1000) as i16,
        (days + 1).rem_euclid(7) as i16,
    ]);
}

extern "win64" fn RtlTimeFieldsToTime(fields: Ptr<[i16; 8]>, time: Ptr<i64>) -> u8 {
    let [year, month, day, hour, minute, second, milliseconds, _] = fields.read().map(i64::from);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_date = (1601..=30827).contains(&year) && (1..=12).contains(&month) && (1..=days_of_month).contains(&day);
    let is_time = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !is_date || !is_time || !(0..1000).contains(&milliseconds) {
        return 0;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 584_694;
    let in_day = ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds;
    time.write(days * DAY + in_day * 10_000);
    1
}

/// `EX_TIMER` of the lab: a kernel timer, its DPC and the driver's callback.
#[repr(C)]
#[derive(Clone, Copy)]
struct ExTimer {
    Timer: KTimer,
    Dpc: KDpc,
    Callback: u64,
    Context: u64,
    Period: i64,
}

extern "win64" fn ex_timer_dpc(_dpc: u64, timer: Ptr<ExTimer>, _argument1: u64, _argument2: u64) {
    let value = timer.read();
    if value.Callback == 0 {
        return;
    }
    let name = format!("timer {:#x}", timer.address());
    let context = CallContext { what: "ExTimerCallback", object: &name, at: "" };
    // SAFETY: the driver registered this callback for exactly this call.
    let result = unsafe { call_image(&context, DISPATCH_LEVEL, value.Callback as *const (), (timer, value.Context)) };
    if result.is_err() {
        report::leave_if_stopped();
    }
}

extern "win64" fn ExAllocateTimer(callback: u64, context: u64, attributes: u32) -> Ptr<ExTimer> {
    require_irql(DISPATCH_LEVEL);
    if crate::inject::faulted().is_some() {
        return Ptr::NULL;
    }
    let size = size_of::<ExTimer>();
    let timer: Ptr<ExTimer> = thread::current().pool.allocate(size, u32::from_le_bytes(*b"ExTm"), false, true).cast();
    KeInitializeTimerEx(timer.cast(), u32::from(attributes & 4 == 0));
    KeInitializeDpc(field!(timer, Dpc), ex_timer_dpc as *const () as u64, timer.address());
    field!(timer, Callback).write(callback);
    field!(timer, Context).write(context);
    timer
}

extern "win64" fn ExSetTimer(timer: Ptr<ExTimer>, due: i64, period: i64, _parameters: u64) -> u8 {
    require_irql(DISPATCH_LEVEL);
    KeSetTimerEx(timer.cast(), due, (period / 10_000) as i32, field!(timer, Dpc))
}

extern "win64" fn ExCancelTimer(timer: Ptr<ExTimer>, _parameters: u64) -> u8 {
    KeCancelTimer(timer.cast())
}

extern "win64" fn ExDeleteTimer(timer: Ptr<ExTimer>, cancel: u8, wait: u8, _parameters: u64) -> u8 {
    require_irql(if wait != 0 { APC_LEVEL } else { DISPATCH_LEVEL });
    let timers = &thread::current().timers;
    let was = timers.disarm(timer.address());
    if was && cancel == 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was called for an armed timer without Cancel", export::current_name()),
            remedy: "pass TRUE for Cancel, or cancel the timer first".into(),
        });
    }
    timers.wait_until_idle(timer.address());
    timers.wait_until_idle(timer.address() + size_of::<KTimer>() as u64);
    thread::current().pool.free_system(timer.cast());
    u8::from(was)
}
