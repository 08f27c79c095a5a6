//! Generic tables, remove locks, device queues and packets.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::call::{CallContext, call_image};
use crate::export::{Export, exports};
use crate::image;
use crate::irql::{self, require_irql};
use crate::kernel::lock;
use crate::nt::{DISPATCH_LEVEL, DeviceObject, Irp, NtStatus, PASSIVE_LEVEL};
use crate::ntos::dispatch::bad_parameter;
use crate::ptr::{Ptr, field};
use crate::report;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    RtlInitializeGenericTable,
    RtlInsertElementGenericTable,
    RtlDeleteElementGenericTable,
    RtlLookupElementGenericTable,
    RtlEnumerateGenericTable,
    RtlEnumerateGenericTableWithoutSplaying,
    RtlGetElementGenericTable,
    RtlNumberGenericTableElements,
    RtlIsGenericTableEmpty,
    RtlInitializeGenericTableAvl,
    RtlInsertElementGenericTableAvl,
    RtlDeleteElementGenericTableAvl,
    RtlLookupElementGenericTableAvl,
    RtlEnumerateGenericTableAvl,
    RtlEnumerateGenericTableWithoutSplayingAvl,
    RtlGetElementGenericTableAvl,
    RtlNumberGenericTableElementsAvl,
    RtlIsGenericTableEmptyAvl,
    IoInitializeRemoveLockEx,
    IoAcquireRemoveLockEx,
    IoReleaseRemoveLockEx,
    IoReleaseRemoveLockAndWaitEx,
    KeInitializeDeviceQueue,
    KeInsertDeviceQueue,
    KeRemoveDeviceQueue,
    IoStartPacket,
    IoStartNextPacket,
];

/// Where the two kinds of table keep what the lab uses. The order of elements is kept by the lab; drivers
/// see the tables only through these functions.
struct Layout {
    size: usize,
    count: usize,
    /// Compare, allocate and free routines, then the context.
    routines: usize,
    /// The header in front of each element.
    header: usize,
}

/// `RTL_GENERIC_TABLE`.
const SPLAY: Layout = Layout { size: 0x48, count: 0x24, routines: 0x28, header: 0x28 };
/// `RTL_AVL_TABLE`.
const AVL: Layout = Layout { size: 0x68, count: 0x2c, routines: 0x48, header: 0x20 };

/// Elements of each table in order, by the addresses of their nodes.
#[derive(Default)]
pub(crate) struct Tables(Mutex<HashMap<u64, Entries>>);

#[derive(Default)]
struct Entries {
    nodes: Vec<u64>,
    /// The next element of an enumeration with restart.
    next: usize,
}

fn entries<R>(table: Ptr<u8>, body: impl FnOnce(&mut Entries) -> R) -> R {
    body(lock(&thread::current().tables.0).entry(table.address()).or_default())
}

fn routine(table: Ptr<u8>, layout: &Layout, index: usize) -> u64 {
    table.at(layout.routines + 8 * index).cast::<u64>().read()
}

fn call(what: &'static str, function: u64, arguments: (Ptr<u8>, u64, u64)) -> u64 {
    let context = CallContext { what, object: "a generic table", at: "" };
    // SAFETY: the driver gave this routine to the table for exactly this call.
    match unsafe { call_image(&context, irql::current(), function as *const (), arguments) } {
        Ok(value) => value,
        Err(_) => {
            report::leave_if_stopped();
            0
        }
    }
}

fn initialise(table: Ptr<u8>, layout: &Layout, routines: [u64; 4]) {
    table.copy_from(&vec![0u8; layout.size]);
    table.at(layout.routines).cast::<u64>().copy_from(&routines);
    entries(table, |entries| *entries = Entries::default());
}

/// The position of an element equal to `wanted`, or where it would be.
fn find(table: Ptr<u8>, layout: &Layout, wanted: u64) -> Result<usize, usize> {
    const LESS: u32 = 0;
    const GREATER: u32 = 1;
    let compare = routine(table, layout, 0);
    let nodes = entries(table, |entries| entries.nodes.clone());
    let (mut low, mut high) = (0, nodes.len());
    while low < high {
        let middle = (low + high) / 2;
        match call("CompareRoutine", compare, (table, wanted, nodes[middle] + layout.header as u64)) as u32 {
            LESS => high = middle,
            GREATER => low = middle + 1,
            _ => return Ok(middle),
        }
    }
    Err(low)
}

fn insert(table: Ptr<u8>, layout: &Layout, element: Ptr<u8>, size: u32, new: Ptr<u8>) -> u64 {
    let at = match find(table, layout, element.address()) {
        Ok(index) => {
            new.write_optional(0);
            return entries(table, |entries| entries.nodes[index]) + layout.header as u64;
        }
        Err(at) => at,
    };
    let node = call("AllocateRoutine", routine(table, layout, 1), (table, u64::from(size) + layout.header as u64, 0));
    if node == 0 {
        new.write_optional(0);
        return 0;
    }
    let memory = Ptr::<u8>::from_address(node);
    memory.copy_from(&vec![0u8; layout.header]);
    memory.at(layout.header).copy_from(&element.to_vec(size as usize));
    let count = entries(table, |entries| {
        entries.nodes.insert(at, node);
        entries.nodes.len()
    });
    table.at(layout.count).cast::<u32>().write(count as u32);
    new.write_optional(1);
    node + layout.header as u64
}

fn delete(table: Ptr<u8>, layout: &Layout, element: u64) -> u8 {
    let Ok(index) = find(table, layout, element) else { return 0 };
    let (node, count) = entries(table, |entries| {
        let node = entries.nodes.remove(index);
        if entries.next > index {
            entries.next -= 1;
        }
        (node, entries.nodes.len())
    });
    table.at(layout.count).cast::<u32>().write(count as u32);
    if count == 0 {
        lock(&thread::current().tables.0).remove(&table.address());
    }
    call("FreeRoutine", routine(table, layout, 2), (table, node, 0));
    1
}

fn lookup(table: Ptr<u8>, layout: &Layout, element: u64) -> u64 {
    find(table, layout, element)
        .map_or(0, |index| entries(table, |entries| entries.nodes[index]) + layout.header as u64)
}

fn element(table: Ptr<u8>, layout: &Layout, index: usize) -> u64 {
    entries(table, |entries| entries.nodes.get(index).copied()).map_or(0, |node| node + layout.header as u64)
}

fn enumerate(table: Ptr<u8>, layout: &Layout, restart: u8) -> u64 {
    let index = entries(table, |entries| {
        if restart != 0 {
            entries.next = 0;
        }
        entries.next += 1;
        entries.next - 1
    });
    element(table, layout, index)
}

/// Enumerates with the place kept by the caller: null to begin, else the element returned last.
fn enumerate_from(table: Ptr<u8>, layout: &Layout, key: Ptr<u64>) -> u64 {
    let last = key.read();
    let index =
        entries(table, |entries| entries.nodes.iter().position(|node| *node == last).map_or(0, |index| index + 1));
    let found = element(table, layout, index);
    if found != 0 {
        key.write(found - layout.header as u64);
    }
    found
}

fn count(table: Ptr<u8>, layout: &Layout) -> u32 {
    table.at(layout.count).cast::<u32>().read()
}

extern "win64" fn RtlInitializeGenericTable(table: Ptr<u8>, compare: u64, allocate: u64, free: u64, context: u64) {
    initialise(table, &SPLAY, [compare, allocate, free, context]);
}

extern "win64" fn RtlInsertElementGenericTable(table: Ptr<u8>, element: Ptr<u8>, size: u32, new: Ptr<u8>) -> u64 {
    insert(table, &SPLAY, element, size, new)
}

extern "win64" fn RtlDeleteElementGenericTable(table: Ptr<u8>, element: u64) -> u8 {
    delete(table, &SPLAY, element)
}

extern "win64" fn RtlLookupElementGenericTable(table: Ptr<u8>, element: u64) -> u64 {
    lookup(table, &SPLAY, element)
}

extern "win64" fn RtlEnumerateGenericTable(table: Ptr<u8>, restart: u8) -> u64 {
    enumerate(table, &SPLAY, restart)
}

extern "win64" fn RtlEnumerateGenericTableWithoutSplaying(table: Ptr<u8>, key: Ptr<u64>) -> u64 {
    enumerate_from(table, &SPLAY, key)
}

extern "win64" fn RtlGetElementGenericTable(table: Ptr<u8>, index: u32) -> u64 {
    element(table, &SPLAY, index as usize)
}

extern "win64" fn RtlNumberGenericTableElements(table: Ptr<u8>) -> u32 {
    count(table, &SPLAY)
}

extern "win64" fn RtlIsGenericTableEmpty(table: Ptr<u8>) -> u8 {
    u8::from(count(table, &SPLAY) == 0)
}

extern "win64" fn RtlInitializeGenericTableAvl(table: Ptr<u8>, compare: u64, allocate: u64, free: u64, context: u64) {
    initialise(table, &AVL, [compare, allocate, free, context]);
}

extern "win64" fn RtlInsertElementGenericTableAvl(table: Ptr<u8>, element: Ptr<u8>, size: u32, new: Ptr<u8>) -> u64 {
    insert(table, &AVL, element, size, new)
}

extern "win64" fn RtlDeleteElementGenericTableAvl(table: Ptr<u8>, element: u64) -> u8 {
    delete(table, &AVL, element)
}

extern "win64" fn RtlLookupElementGenericTableAvl(table: Ptr<u8>, element: u64) -> u64 {
    lookup(table, &AVL, element)
}

extern "win64" fn RtlEnumerateGenericTableAvl(table: Ptr<u8>, restart: u8) -> u64 {
    enumerate(table, &AVL, restart)
}

extern "win64" fn RtlEnumerateGenericTableWithoutSplayingAvl(table: Ptr<u8>, key: Ptr<u64>) -> u64 {
    enumerate_from(table, &AVL, key)
}

extern "win64" fn RtlGetElementGenericTableAvl(table: Ptr<u8>, index: u32) -> u64 {
    element(table, &AVL, index as usize)
}

extern "win64" fn RtlNumberGenericTableElementsAvl(table: Ptr<u8>) -> u32 {
    count(table, &AVL)
}

extern "win64" fn RtlIsGenericTableEmptyAvl(table: Ptr<u8>) -> u8 {
    u8::from(count(table, &AVL) == 0)
}

/// `IO_REMOVE_LOCK`'s common block: removed, then the count.
#[repr(C)]
#[derive(Clone, Copy)]
struct RemoveLock {
    Removed: u8,
    IoCount: i32,
}

extern "win64" fn IoInitializeRemoveLockEx(remove: Ptr<RemoveLock>, _tag: u32, _minutes: u32, _high: u32, _size: u32) {
    require_irql(PASSIVE_LEVEL);
    remove.write(RemoveLock { Removed: 0, IoCount: 1 });
}

extern "win64" fn IoAcquireRemoveLockEx(
    remove: Ptr<RemoveLock>,
    _tag: u64,
    _file: u64,
    _line: u32,
    _size: u32,
) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let _ = remove.read();
    let kernel = thread::current();
    let _held = kernel.dispatcher.lock();
    let value = remove.read();
    if value.Removed != 0 {
        return NtStatus::DELETE_PENDING;
    }
    field!(remove, IoCount).write(value.IoCount + 1);
    NtStatus::SUCCESS
}

extern "win64" fn IoReleaseRemoveLockEx(remove: Ptr<RemoveLock>, _tag: u64, _size: u32) {
    require_irql(DISPATCH_LEVEL);
    let _ = remove.read();
    let dispatcher = &thread::current().dispatcher;
    let held = dispatcher.lock();
    let left = field!(remove, IoCount).read() - 1;
    field!(remove, IoCount).write(left);
    drop(held);
    if left < 0 {
        bad_parameter("a remove lock that is not held", "release it once for each acquisition");
    }
    dispatcher.signal();
}

extern "win64" fn IoReleaseRemoveLockAndWaitEx(remove: Ptr<RemoveLock>, _tag: u64, _size: u32) {
    require_irql(PASSIVE_LEVEL);
    let dispatcher = &thread::current().dispatcher;
    let held = dispatcher.lock();
    let value = remove.read();
    remove.write(RemoveLock { Removed: 1, IoCount: value.IoCount - 2 });
    drop(held);
    dispatcher.wait(None, || (field!(remove, IoCount).read() <= 0).then_some(()));
}

/// `KDEVICE_QUEUE`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceQueue {
    Type: i16,
    Size: i16,
    DeviceListHead: [u64; 2],
    Lock: u64,
    Busy: u8,
}

/// Entries of device queues, by queue.
#[derive(Default)]
pub(crate) struct DeviceQueues(Mutex<HashMap<u64, std::collections::VecDeque<u64>>>);

extern "win64" fn KeInitializeDeviceQueue(queue: Ptr<DeviceQueue>) {
    const DEVICE_QUEUE_OBJECT: i16 = 20;
    let head = field!(queue, DeviceListHead).address();
    queue.write(DeviceQueue { Type: DEVICE_QUEUE_OBJECT, Size: 40, DeviceListHead: [head; 2], Lock: 0, Busy: 0 });
}

extern "win64" fn KeInsertDeviceQueue(queue: Ptr<DeviceQueue>, entry: u64) -> u8 {
    irql::require_irql_at_least(DISPATCH_LEVEL);
    let busy = field!(queue, Busy);
    let was = busy.read();
    let kernel = thread::current();
    let mut queues = lock(&kernel.device_queues.0);
    if was != 0 {
        queues.entry(queue.address()).or_default().push_back(entry);
    }
    drop(queues);
    busy.write(1);
    u8::from(was != 0)
}

extern "win64" fn KeRemoveDeviceQueue(queue: Ptr<DeviceQueue>) -> u64 {
    irql::require_irql_at_least(DISPATCH_LEVEL);
    let next = lock(&thread::current().device_queues.0).get_mut(&queue.address()).and_then(|queue| queue.pop_front());
    if next.is_none() {
        field!(queue, Busy).write(0);
    }
    next.unwrap_or(0)
}

fn start_io(device: Ptr<DeviceObject>, irp: u64) {
    field!(device, CurrentIrp).write(irp);
    let driver = field!(device, DriverObject).read();
    let routine = field!(driver, DriverStartIo).read();
    let context = CallContext { what: "StartIo routine", object: "a device", at: "" };
    // SAFETY: the driver set this routine for exactly this call.
    if unsafe { call_image(&context, DISPATCH_LEVEL, routine as *const (), (device, irp)) }.is_err() {
        report::leave_if_stopped();
    }
}

extern "win64" fn IoStartPacket(device: Ptr<DeviceObject>, irp: Ptr<Irp>, _key: u64, cancel: u64) {
    require_irql(DISPATCH_LEVEL);
    let old = irql::raise(DISPATCH_LEVEL);
    if cancel != 0 {
        field!(irp, CancelRoutine).write(cancel);
    }
    let queue = field!(device, DeviceQueue).cast::<DeviceQueue>();
    if KeInsertDeviceQueue(queue, irp.address()) == 0 {
        start_io(device, irp.address());
    }
    irql::lower(old);
}

extern "win64" fn IoStartNextPacket(device: Ptr<DeviceObject>, _cancelable: u8) {
    irql::require_irql_exactly(DISPATCH_LEVEL);
    let next = KeRemoveDeviceQueue(field!(device, DeviceQueue).cast());
    field!(device, CurrentIrp).write(next);
    if next != 0 {
        start_io(device, next);
    }
}

/// Forgets tables that an unloaded image had in its own data.
pub(crate) fn forget(number: u64) {
    let kernel = thread::current();
    lock(&kernel.tables.0).retain(|table, _| image::number_at(*table) != Some(number));
    lock(&kernel.device_queues.0).retain(|queue, _| image::number_at(*queue) != Some(number));
}
