//! Timers, DPCs and work items.

#![allow(non_snake_case, reason = "functions and fields have the names of wdftimer.h, wdfdpc.h and wdfworkitem.h")]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kmdf::attributes::{self, Attributes, Checked, Rules};
use crate::kmdf::client::{self, Client, Globals};
use crate::kmdf::device::Device;
use crate::kmdf::lock::{CallbackLock, synchronized};
use crate::kmdf::object::{self, Body, New, Object, Ref, Typed, find, find_quiet};
use crate::kmdf::queue::Queue;
use crate::kmdf::report::{WDF_VERIFIER_FATAL_ERROR, broken, fatal, required};
use crate::kmdf::status;
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, KDpc, KTimer, NtStatus, PASSIVE_LEVEL};
use crate::ntos::time;
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfTimerCreate,
    WdfTimerStart,
    WdfTimerStop,
    WdfTimerGetParentObject,
    WdfDpcCreate,
    WdfDpcEnqueue,
    WdfDpcCancel,
    WdfDpcGetParentObject,
    WdfDpcWdmGetDpc,
    WdfWorkItemCreate,
    WdfWorkItemEnqueue,
    WdfWorkItemGetParentObject,
    WdfWorkItemFlush,
];

/// The parent of a timer, DPC or work item, and the lock that its callback shares with it.
struct Owner {
    parent: Arc<Object>,
    lock: Option<Arc<CallbackLock>>,
    passive: bool,
}

/// Checks the parent as the framework does: with automatic serialization it must be a device or below one.
fn owner(checked: &Checked, serialise: bool) -> Result<Owner, NtStatus> {
    let Some(parent) = checked.parent.clone() else { return Err(status::WDF_PARENT_NOT_SPECIFIED) };
    let queue = parent.nearest::<Queue>();
    let device = parent.nearest::<Device>();
    if serialise && device.is_none() {
        return Err(NtStatus::INVALID_DEVICE_REQUEST);
    }
    let lock = queue
        .and_then(|queue| queue.object.callback_lock.clone())
        .or_else(|| device.and_then(|device| device.object.callback_lock.clone()))
        .filter(|_| serialise);
    Ok(Owner { lock, passive: parent.passive_callbacks, parent })
}

fn create<B: Typed>(client: &Arc<Client>, checked: &Checked, owner: Owner, passive: bool, body: B) -> Ref<B> {
    New {
        client: client.clone(),
        parent: Some(owner.parent),
        callback_lock: owner.lock,
        passive_callbacks: passive,
        contexts: checked.contexts(),
        body,
    }
    .create()
}

/// `WDF_TIMER_CONFIG`.
#[repr(C)]
#[derive(Clone, Copy)]
struct TimerConfig {
    Size: u32,
    EvtTimerFunc: u64,
    Period: u32,
    AutomaticSerialization: u8,
    TolerableDelay: u32,
    Padding: u32,
    UseHighResolutionTimer: u8,
}

const _: () = assert!(size_of::<TimerConfig>() == 0x28);

/// Sizes of the structure in KMDF 1.7, in 1.9 and 1.11, and since 1.13.
const TIMER_CONFIG_SIZES: [u32; 3] = [0x18, 0x20, 0x28];

/// `WDFTIMER`: a kernel timer and its DPC.
struct Timer {
    callback: u64,
    period: u32,
    timer: Ptr<KTimer>,
    dpc: Ptr<KDpc>,
    /// The thread that is in the callback.
    running: AtomicU64,
}

impl Body for Timer {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn begin_delete(&self, _object: &Arc<Object>) {
        self.stop();
        if irql::current() == PASSIVE_LEVEL {
            self.wait();
        }
    }

    fn is_passive(&self) -> bool {
        true
    }

    fn destroy(&self) {
        wdm::free(self.timer.cast());
        wdm::free(self.dpc.cast());
    }
}

impl Typed for Timer {
    const TYPE: &'static str = "WDFTIMER";
}

impl Timer {
    fn stop(&self) -> bool {
        let armed = time::KeCancelTimer(self.timer) != 0;
        time::KeRemoveQueueDpc(self.dpc) != 0 || armed
    }

    /// Waits for a callback that has begun, unless this thread is in it.
    fn wait(&self) {
        let me = thread::current_thread().address();
        if self.running.load(Ordering::Acquire) == me {
            return;
        }
        let kernel = thread::current();
        kernel.timers.wait_until_idle(self.timer.address());
        kernel.timers.wait_until_idle(self.dpc.address());
        wdm::wait_until(None, || (self.running.load(Ordering::Acquire) == 0).then_some(()));
    }
}

extern "win64" fn WdfTimerCreate(
    globals: Ptr<Globals>,
    config: Ptr<TimerConfig>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(config, "Config");
    required(attributes, "Attributes");
    required(out, "Timer").write(0);
    require_irql(DISPATCH_LEVEL);
    let size = field!(config, Size).read();
    if !TIMER_CONFIG_SIZES.contains(&size) {
        return NtStatus::INFO_LENGTH_MISMATCH;
    }
    let (callback, period) = (field!(config, EvtTimerFunc).read(), field!(config, Period).read());
    let serialise = field!(config, AutomaticSerialization).read() != 0;
    if callback == 0 || period > i32::MAX as u32 {
        return NtStatus::INVALID_PARAMETER;
    }
    let rules = Rules { levels_allowed: true, ..Rules::default() };
    let both = attributes::check(attributes, rules)
        .and_then(|checked| owner(&checked, serialise).map(|owner| (checked, owner)));
    let (checked, owner) = match both {
        Ok(both) => both,
        Err(status) => return status,
    };
    let passive = checked.passive_callbacks(serialise && owner.passive);
    if serialise && owner.passive && !passive {
        return status::WDF_INCOMPATIBLE_EXECUTION_LEVEL;
    }
    if passive && period != 0 {
        broken(
            "WdfTimerCreate was asked for a periodic timer at PASSIVE_LEVEL".into(),
            "start a passive timer again in its callback",
        );
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let (timer, dpc) = (wdm::allocate(size_of::<KTimer>()).cast(), wdm::allocate(size_of::<KDpc>()).cast());
    let body = Timer { callback, period, timer, dpc, running: AtomicU64::new(0) };
    let created = create(&client, &checked, owner, passive, body);
    time::KeInitializeTimerEx(timer, 0);
    time::KeInitializeDpc(dpc, timer_expired as *const () as u64, created.handle());
    out.write(created.handle());
    NtStatus::SUCCESS
}

/// `KDEFERRED_ROUTINE` of timers.
extern "win64" fn timer_expired(_dpc: u64, handle: u64, _argument1: u64, _argument2: u64) {
    let Some(timer) = find_quiet::<Timer>(handle) else { return };
    if timer.object.passive_callbacks {
        wdm::queue_work(handle, timer_expired_passive, timer.object.client.image);
    } else {
        run_timer(&timer);
    }
}

extern "win64" fn timer_expired_passive(handle: u64) {
    if let Some(timer) = find_quiet::<Timer>(handle) {
        run_timer(&timer);
    }
}

fn run_timer(timer: &Ref<Timer>) {
    if timer.object.is_deleting() {
        return;
    }
    timer.running.store(thread::current_thread().address(), Ordering::Release);
    synchronized(&timer.object, || {
        timer.object.client.call("EvtTimerFunc", "", irql::current(), timer.callback, (timer.handle(),))
    });
    timer.running.store(0, Ordering::Release);
    thread::current().kmdf.wake_all();
}

extern "win64" fn WdfTimerStart(_globals: Ptr<Globals>, timer: u64, due: i64) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let timer = find::<Timer>(timer);
    if timer.object.is_deleting() {
        broken(
            format!("WdfTimerStart was called for {}, which is being deleted", timer.object.describe()),
            "start no timer in or after its own deletion",
        );
        return 0;
    }
    time::KeSetTimerEx(timer.timer, due, timer.period as i32, timer.dpc)
}

extern "win64" fn WdfTimerStop(_globals: Ptr<Globals>, timer: u64, wait: u8) -> u8 {
    require_irql(if wait != 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
    let timer = find::<Timer>(timer);
    let stopped = timer.stop();
    if wait != 0 {
        if timer.running.load(Ordering::Acquire) == thread::current_thread().address() {
            fatal(
                WDF_VERIFIER_FATAL_ERROR,
                timer.handle(),
                "WdfTimerStop was told to wait in the timer's own callback, for whose end it would wait forever",
            );
        }
        timer.wait();
    }
    u8::from(stopped)
}

extern "win64" fn WdfTimerGetParentObject(_globals: Ptr<Globals>, timer: u64) -> u64 {
    find::<Timer>(timer).object.parent()
}

/// `WDF_DPC_CONFIG` and `WDF_WORKITEM_CONFIG`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CallbackConfig {
    Size: u32,
    Callback: u64,
    AutomaticSerialization: u8,
}

const _: () = assert!(size_of::<CallbackConfig>() == 0x18);

/// Reads a configuration; the structure has had one size only.
fn callback_config(config: Ptr<CallbackConfig>) -> Result<CallbackConfig, NtStatus> {
    if field!(config, Size).read() as usize != size_of::<CallbackConfig>() {
        return Err(NtStatus::INFO_LENGTH_MISMATCH);
    }
    let config = config.read();
    if config.Callback == 0 { Err(NtStatus::INVALID_PARAMETER) } else { Ok(config) }
}

/// What a DPC and a work item are created with: what is called, and whose it is.
fn callback_and_owner(
    config: Ptr<CallbackConfig>,
    attributes: Ptr<Attributes>,
) -> Result<(CallbackConfig, Checked, Owner), NtStatus> {
    let config = callback_config(config)?;
    let checked = attributes::check(attributes, Rules::default())?;
    let owner = owner(&checked, config.AutomaticSerialization != 0)?;
    Ok((config, checked, owner))
}

/// `WDFDPC`.
struct Dpc {
    callback: u64,
    dpc: Ptr<KDpc>,
    running: AtomicU64,
}

impl Body for Dpc {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn begin_delete(&self, _object: &Arc<Object>) {
        time::KeRemoveQueueDpc(self.dpc);
        if irql::current() == PASSIVE_LEVEL {
            self.wait();
        }
    }

    fn destroy(&self) {
        wdm::free(self.dpc.cast());
    }
}

impl Typed for Dpc {
    const TYPE: &'static str = "WDFDPC";
}

impl Dpc {
    fn wait(&self) {
        if self.running.load(Ordering::Acquire) != thread::current_thread().address() {
            thread::current().timers.wait_until_idle(self.dpc.address());
        }
    }
}

extern "win64" fn WdfDpcCreate(
    globals: Ptr<Globals>,
    config: Ptr<CallbackConfig>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(config, "Config");
    required(attributes, "Attributes");
    required(out, "Dpc").write(0);
    require_irql(DISPATCH_LEVEL);
    let (config, checked, owner) = match callback_and_owner(config, attributes) {
        Ok(all) => all,
        Err(status) => return status,
    };
    if config.AutomaticSerialization != 0 && owner.passive {
        return status::WDF_INCOMPATIBLE_EXECUTION_LEVEL;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let dpc = wdm::allocate(size_of::<KDpc>()).cast();
    let body = Dpc { callback: config.Callback, dpc, running: AtomicU64::new(0) };
    let created = create(&client, &checked, owner, false, body);
    time::KeInitializeDpc(dpc, dpc_runs as *const () as u64, created.handle());
    out.write(created.handle());
    NtStatus::SUCCESS
}

/// `KDEFERRED_ROUTINE` of DPC objects.
extern "win64" fn dpc_runs(_dpc: u64, handle: u64, _argument1: u64, _argument2: u64) {
    let Some(dpc) = find_quiet::<Dpc>(handle) else { return };
    dpc.running.store(thread::current_thread().address(), Ordering::Release);
    synchronized(&dpc.object, || {
        dpc.object.client.call("EvtDpcFunc", "", irql::current(), dpc.callback, (dpc.handle(),))
    });
    dpc.running.store(0, Ordering::Release);
}

extern "win64" fn WdfDpcEnqueue(_globals: Ptr<Globals>, dpc: u64) -> u8 {
    time::KeInsertQueueDpc(find::<Dpc>(dpc).dpc, 0, 0)
}

extern "win64" fn WdfDpcCancel(_globals: Ptr<Globals>, dpc: u64, wait: u8) -> u8 {
    require_irql(if wait != 0 { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
    let dpc = find::<Dpc>(dpc);
    let cancelled = time::KeRemoveQueueDpc(dpc.dpc);
    if wait != 0 {
        dpc.wait();
    }
    cancelled
}

extern "win64" fn WdfDpcGetParentObject(_globals: Ptr<Globals>, dpc: u64) -> u64 {
    find::<Dpc>(dpc).object.parent()
}

extern "win64" fn WdfDpcWdmGetDpc(_globals: Ptr<Globals>, dpc: u64) -> Ptr<KDpc> {
    find::<Dpc>(dpc).dpc
}

/// `WDFWORKITEM`.
struct WorkItem {
    callback: u64,
    queued: AtomicBool,
    running: AtomicU64,
}

impl Body for WorkItem {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn begin_delete(&self, object: &Arc<Object>) {
        // A work item may delete itself in its callback.
        if self.running.load(Ordering::Acquire) != thread::current_thread().address() {
            wdm::wait_for_work(object.handle);
        }
    }

    fn is_passive(&self) -> bool {
        true
    }
}

impl Typed for WorkItem {
    const TYPE: &'static str = "WDFWORKITEM";
}

extern "win64" fn WdfWorkItemCreate(
    globals: Ptr<Globals>,
    config: Ptr<CallbackConfig>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(config, "Config");
    required(attributes, "Attributes");
    required(out, "WorkItem").write(0);
    require_irql(DISPATCH_LEVEL);
    let (config, checked, owner) = match callback_and_owner(config, attributes) {
        Ok(all) => all,
        Err(status) => return status,
    };
    if config.AutomaticSerialization != 0 && owner.lock.is_some() && !owner.passive {
        return status::WDF_INCOMPATIBLE_EXECUTION_LEVEL;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let body = WorkItem { callback: config.Callback, queued: AtomicBool::new(false), running: AtomicU64::new(0) };
    out.write(create(&client, &checked, owner, true, body).handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfWorkItemEnqueue(_globals: Ptr<Globals>, item: u64) {
    require_irql(DISPATCH_LEVEL);
    let item = find::<WorkItem>(item);
    if item.object.is_deleting() {
        broken(
            format!("WdfWorkItemEnqueue was called for {}, which is being deleted", item.object.describe()),
            "queue no work item in or after its own deletion",
        );
        return;
    }
    if !item.queued.swap(true, Ordering::AcqRel) {
        wdm::queue_work(item.handle(), work_item_runs, item.object.client.image);
    }
}

extern "win64" fn work_item_runs(handle: u64) {
    let Some(item) = find_quiet::<WorkItem>(handle) else { return };
    item.running.store(thread::current_thread().address(), Ordering::Release);
    item.queued.store(false, Ordering::Release);
    synchronized(&item.object, || {
        item.object.client.call("EvtWorkItemFunc", "", PASSIVE_LEVEL, item.callback, (handle,))
    });
    item.running.store(0, Ordering::Release);
}

extern "win64" fn WdfWorkItemGetParentObject(_globals: Ptr<Globals>, item: u64) -> u64 {
    find::<WorkItem>(item).object.parent()
}

extern "win64" fn WdfWorkItemFlush(_globals: Ptr<Globals>, item: u64) {
    require_irql(PASSIVE_LEVEL);
    let item = find::<WorkItem>(item);
    if item.running.load(Ordering::Acquire) == thread::current_thread().address() {
        fatal(
            WDF_VERIFIER_FATAL_ERROR,
            item.handle(),
            &format!(
                "{} was called in the work item's own callback, for whose end it would wait forever",
                export::current_name()
            ),
        );
    }
    wdm::wait_for_work(item.handle());
    debug_assert!(object::any(item.handle()).handle == item.handle());
}
