//! The framework under stand-in drivers: functions of this file, called as an image's are.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::call::{CallContext, call_image};
use crate::driver::{self, Driver};
use crate::export;
use crate::kmdf::names::NAMES;
use crate::nt::{NtStatus, OwnedUnicode};
use crate::ptr::{Ptr, field};
use crate::{Config, Fault, File, Kind, Lab, Occurrences};

type Function = extern "win64" fn(u64, u64, u64, u64, u64, u64, u64, u64) -> u64;

thread_local! {
    static TABLE: Cell<u64> = const { Cell::new(0) };
    static GLOBALS: Cell<u64> = const { Cell::new(0) };
}

/// Calls a function of the table with the driver's globals, as drivers do.
fn wdf(name: &str, arguments: &[u64]) -> u64 {
    let index = NAMES.iter().position(|known| *known == name).expect("a function of the framework");
    let address = Ptr::<u64>::from_address(TABLE.get()).at(index).read();
    // SAFETY: the convention lets a caller pass more arguments than the function takes.
    let function: Function = unsafe { core::mem::transmute(address) };
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    function(GLOBALS.get(), at(0), at(1), at(2), at(3), at(4), at(5), at(6))
}

fn status(value: u64) -> NtStatus {
    NtStatus(value as u32 as i32)
}

fn at<T>(value: &T) -> u64 {
    core::ptr::from_ref(value) as u64
}

fn out(value: &mut u64) -> u64 {
    core::ptr::from_mut(value) as u64
}

struct StandIn {
    lab: Lab,
    driver: Arc<Driver>,
    table: Box<u64>,
    path: OwnedUnicode,
}

const CONTEXT: CallContext<'static> = CallContext { what: "DriverEntry", object: "driver standin", at: "" };

extern "win64" fn run(body: *mut &mut dyn FnMut()) {
    // SAFETY: `StandIn::inside` passes its own closure and waits for this to return.
    let body = unsafe { &mut **body };
    body();
}

/// `WDF_BIND_INFO` with this many functions.
fn bind_info(count: u32, table: u64, component: &[u16]) -> [u64; 6] {
    [0x30, component.as_ptr() as u64, 1 | 15 << 32, u64::from(count) << 32, table, 0]
}

fn component() -> Vec<u16> {
    "KmdfLibrary\0".encode_utf16().collect()
}

impl StandIn {
    fn start() -> StandIn {
        let lab = Lab::start(Config { special_pool: 1 << 20, ..Config::default() });
        let driver = driver::stand_in(&lab.kernel, "standin");
        let path = OwnedUnicode::new(r"\Registry\Machine\System\CurrentControlSet\Services\standin");
        let stand_in = StandIn { lab, driver, table: Box::new(0), path };
        let bound = stand_in.bind(&bind_info(444, at(&*stand_in.table), &component()));
        assert_eq!(bound, NtStatus::SUCCESS);
        TABLE.set(*stand_in.table);
        stand_in
    }

    fn bind(&self, info: &[u64]) -> NtStatus {
        let mut globals = 0;
        let bind = export::all().find("WDFLDR.SYS", "WdfVersionBind").unwrap();
        let status = self.import(
            bind,
            &[self.driver.object.address(), self.path.pointer().address(), info.as_ptr() as u64, out(&mut globals)],
        );
        GLOBALS.set(globals);
        status
    }

    fn import(&self, address: u64, arguments: &[u64]) -> NtStatus {
        // SAFETY: an import of the lab; see `wdf`.
        let function: Function = unsafe { core::mem::transmute(address) };
        let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
        let result = self.inside(|| function(argument(0), argument(1), argument(2), argument(3), 0, 0, 0, 0));
        status(result.expect("no bug check"))
    }

    /// Runs `body` as code of the driver's. `None` if a bug check ended it.
    fn inside<R>(&self, body: impl FnOnce() -> R) -> Option<R> {
        let mut result = None;
        let mut body = Some(body);
        // A panic does not unwind through the image's call.
        let mut once = || result = body.take().map(|body| catch_unwind(AssertUnwindSafe(body)));
        let mut dynamic: &mut dyn FnMut() = &mut once;
        // SAFETY: `run` takes a pointer to a closure, which outlives the call.
        let called = self
            .lab
            .enter(|| unsafe { call_image(&CONTEXT, 0, run as *const (), (core::ptr::from_mut(&mut dynamic),)) });
        let result = if called.is_ok() { result } else { None };
        result.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// `WdfDriverCreate` for a non-PnP driver.
    fn create_driver(&self, unload: u64, attributes: u64) -> u64 {
        let (status, handle) = self.try_create_driver(&[0x20, 0, unload, 1], attributes);
        assert_eq!(status, NtStatus::SUCCESS);
        handle
    }

    fn try_create_driver(&self, config: &[u64; 4], attributes: u64) -> (NtStatus, u64) {
        let mut handle = 0;
        let arguments =
            [self.driver.object.address(), self.path.pointer().address(), attributes, at(config), out(&mut handle)];
        let result = self.inside(|| wdf("WdfDriverCreate", &arguments)).expect("no bug check");
        (status(result), handle)
    }

    /// A control device named and linked `Stand`, with a default queue of this configuration.
    fn create_device(&self, driver: u64, queue: &QueueConfig, files: Option<&[u64; 5]>) -> (u64, u64) {
        self.inside(|| {
            let init = init(driver);
            let name = OwnedUnicode::new(r"\Device\Stand");
            assert_eq!(status(wdf("WdfDeviceInitAssignName", &[init, name.pointer().address()])), NtStatus::SUCCESS);
            if let Some(files) = files {
                wdf("WdfDeviceInitSetFileObjectConfig", &[init, at(files), 0]);
            }
            let (mut init, mut device, mut handle) = (init, 0, 0);
            assert_eq!(status(wdf("WdfDeviceCreate", &[out(&mut init), 0, out(&mut device)])), NtStatus::SUCCESS);
            assert_eq!(init, 0, "the structure is the framework's now");
            assert_eq!(
                status(wdf("WdfIoQueueCreate", &[device, at(&queue.0), 0, out(&mut handle)])),
                NtStatus::SUCCESS
            );
            assert_eq!(link(device), NtStatus::SUCCESS);
            wdf("WdfControlFinishInitializing", &[device]);
            (device, handle)
        })
        .expect("no bug check")
    }

    fn open(&self) -> Result<File, NtStatus> {
        self.lab.open(r"\\.\Stand")
    }

    fn unload(&self) {
        self.run_unload();
        self.unbind();
    }

    /// Calls `DRIVER_OBJECT.DriverUnload`, as the I/O manager or the entry stub does.
    fn run_unload(&self) {
        let routine = field!(self.driver.object, DriverUnload).read();
        // SAFETY: an unload routine that the framework or the test set.
        let function: Function = unsafe { core::mem::transmute(routine) };
        self.inside(|| function(self.driver.object.address(), 0, 0, 0, 0, 0, 0, 0)).expect("no bug check");
    }

    fn unbind(&self) {
        let unbind = export::all().find("wdfldr.sys", "WdfVersionUnbind").unwrap();
        self.import(unbind, &[0, 0, GLOBALS.get()]);
    }

    fn left_behind(&self) -> Vec<String> {
        self.lab.enter(|| self.lab.kernel.kmdf.left_behind(0))
    }

    fn texts(&self) -> Vec<String> {
        self.lab.violations().iter().map(ToString::to_string).collect()
    }

    fn no_violations(&self) {
        assert_eq!(self.texts(), [""; 0]);
    }

    fn one_violation(&self, text: &str) {
        let texts = self.texts();
        assert!(texts.len() == 1 && texts[0].contains(text), "{texts:#?}");
    }
}

fn init(driver: u64) -> u64 {
    let sddl = OwnedUnicode::new("D:P(A;;GA;;;SY)(A;;GA;;;BA)");
    let init = wdf("WdfControlDeviceInitAllocate", &[driver, sddl.pointer().address()]);
    assert_ne!(init, 0);
    init
}

fn link(device: u64) -> NtStatus {
    let link = OwnedUnicode::new(r"\DosDevices\Stand");
    status(wdf("WdfDeviceCreateSymbolicLink", &[device, link.pointer().address()]))
}

/// `WDF_IO_QUEUE_CONFIG` of a default queue.
struct QueueConfig([u64; 12]);

const SEQUENTIAL: u64 = 1;
const PARALLEL: u64 = 2;
const MANUAL: u64 = 3;

fn queue(dispatch: u64, device_control: u64) -> QueueConfig {
    let default = 1 << 40;
    QueueConfig([0x60 | dispatch << 32, default, 0, 0, 0, device_control, 0, 0, 0, 0, 0, 0])
}

fn address(function: *const ()) -> u64 {
    function as u64
}

/// `WDF_OBJECT_ATTRIBUTES` that inherit everything.
fn attributes(cleanup: u64, destroy: u64, parent: u64, type_info: u64) -> [u64; 7] {
    [0x38, cleanup, destroy, 1 | 1 << 32, parent, 0, type_info]
}

/// `WDF_OBJECT_CONTEXT_TYPE_INFO`.
fn type_info(size: u64) -> Box<[u64; 5]> {
    let mut info = Box::new([0x28, c"Context".as_ptr() as u64, size, 0, 0]);
    info[3] = at(&*info);
    info
}

const ECHO: u32 = 0x22_2000;

/// Answers with the input, backwards.
extern "win64" fn echo(_queue: u64, request: u64, output: u64, input: u64, _code: u32) {
    let (mut from, mut to) = (0, 0);
    let got = status(wdf("WdfRequestRetrieveInputBuffer", &[request, input, out(&mut from), 0]));
    let put = status(wdf("WdfRequestRetrieveOutputBuffer", &[request, output.max(input), out(&mut to), 0]));
    let failed = [got, put].into_iter().find(|status| *status != NtStatus::SUCCESS);
    if let Some(failed) = failed {
        wdf("WdfRequestCompleteWithInformation", &[request, failed.0 as u64, 0]);
        return;
    }
    // SAFETY: the framework vouches for the length it was asked for.
    unsafe { core::slice::from_raw_parts_mut(to as *mut u8, input as usize) }.reverse();
    wdf("WdfRequestCompleteWithInformation", &[request, 0, input]);
}

extern "win64" fn nothing(_driver: u64) {}

#[test]
fn a_control_device_answers_and_goes_with_its_driver() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.create_device(driver, &queue(PARALLEL, address(echo as *const ())), None);
    let file = stand_in.open().unwrap();
    assert_eq!(file.device_io_control(ECHO, b"abc", 8).unwrap(), b"cba");
    assert_eq!(file.device_io_control(ECHO, b"abc", 2), Err(NtStatus::BUFFER_TOO_SMALL));
    assert_eq!(file.device_io_control(ECHO, b"", 8), Err(NtStatus::BUFFER_TOO_SMALL));
    drop(file);
    stand_in.unload();
    assert_eq!(stand_in.open().unwrap_err(), NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(stand_in.left_behind(), [""; 0]);
    stand_in.no_violations();
}

#[test]
fn binding_takes_released_table_sizes_only() {
    let stand_in = StandIn::start();
    let (component, other): (Vec<u16>, Vec<u16>) = (component(), "Other\0".encode_utf16().collect());
    let mut table = vec![0u64; 458];
    let copied = bind_info(396, table.as_mut_ptr() as u64, &component);
    assert_eq!(stand_in.bind(&copied), NtStatus::SUCCESS);
    assert!(table[..396].iter().all(|address| *address != 0), "a 1.9 driver gets a copy");
    assert_eq!(table[396..], [0; 62], "and no more than it has room for");
    stand_in.unbind();
    assert_eq!(stand_in.bind(&bind_info(395, table.as_mut_ptr() as u64, &component)), NtStatus::INVALID_PARAMETER);
    assert_eq!(stand_in.bind(&bind_info(396, table.as_mut_ptr() as u64, &other)), NtStatus::NOT_FOUND);
    let mut short = copied;
    short[0] = 0x28;
    assert_eq!(stand_in.bind(&short), NtStatus::INFO_LENGTH_MISMATCH);
    assert_eq!(stand_in.texts().len(), 3);
}

#[test]
fn a_function_that_is_not_there_is_named_with_its_index() {
    let stand_in = StandIn::start();
    assert!(stand_in.inside(|| wdf("WdfDmaTransactionCreate", &[])).is_none());
    stand_in.one_violation("WdfDmaTransactionCreate (index 98 of the KMDF function table)");
    assert!(stand_in.lab.stopped());
}

#[test]
fn driver_configurations_are_checked() {
    let stand_in = StandIn::start();
    let create = |config: [u64; 4]| stand_in.try_create_driver(&config, 0).0;
    assert_eq!(create([0x28, 0, 0, 1]), NtStatus::INFO_LENGTH_MISMATCH);
    assert_eq!(create([0x20, 0, 0, 0x40]), NtStatus::INVALID_PARAMETER);
    assert_eq!(create([0x20, address(nothing as *const ()), 0, 1]), NtStatus::INVALID_PARAMETER);
    assert_eq!(create([0x20, 0, 0, 1]), NtStatus::SUCCESS);
    assert_eq!(field!(stand_in.driver.object, DriverUnload).read(), 0, "it cannot be unloaded");
    assert_eq!(create([0x20, 0, 0, 1]), NtStatus::DRIVER_INTERNAL_ERROR);
}

#[test]
fn device_rules_are_kept() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.inside(|| {
        let (mut unnamed, mut device) = (init(driver), 0);
        let created = status(wdf("WdfDeviceCreate", &[out(&mut unnamed), 0, out(&mut device)]));
        assert_eq!(created, NtStatus::INVALID_SECURITY_DESCR);
        wdf("WdfDeviceInitFree", &[unnamed]);
    });
    let (device, _) = stand_in.create_device(driver, &queue(PARALLEL, address(echo as *const ())), None);
    stand_in.inside(|| {
        assert_eq!(link(device), NtStatus::INVALID_DEVICE_REQUEST);
        let (config, mut handle) = (queue(PARALLEL, address(echo as *const ())), 0);
        let late = status(wdf("WdfIoQueueCreate", &[device, at(&config.0), 0, out(&mut handle)]));
        assert_eq!(late, NtStatus::INVALID_DEVICE_STATE);
        let no_default = QueueConfig([0x60 | PARALLEL << 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let silent = status(wdf("WdfIoQueueCreate", &[device, at(&no_default.0), 0, out(&mut handle)]));
        assert_eq!(silent, crate::kmdf::status::WDF_NO_CALLBACK);
        let mut short = no_default.0;
        short[0] = 0x44 | MANUAL << 32;
        let mismatch = status(wdf("WdfIoQueueCreate", &[device, at(&short), 0, out(&mut handle)]));
        assert_eq!(mismatch, NtStatus::INFO_LENGTH_MISMATCH);
    });
}

#[test]
fn a_device_does_not_open_before_it_is_finished() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.inside(|| {
        let name = OwnedUnicode::new(r"\Device\Stand");
        let (mut init, mut device) = (init(driver), 0);
        wdf("WdfDeviceInitAssignName", &[init, name.pointer().address()]);
        wdf("WdfDeviceCreate", &[out(&mut init), 0, out(&mut device)]);
        assert_eq!(link(device), NtStatus::SUCCESS);
    });
    assert!(stand_in.open().is_err());
    // The I/O manager lets it through when DriverEntry returns; the framework does not.
    stand_in.lab.enter(|| stand_in.lab.kernel.io.finish_initializing(&stand_in.driver));
    assert!(stand_in.open().is_err());
    stand_in.one_violation("before WdfControlFinishInitializing");
}

#[test]
fn every_function_that_can_fail_can_be_told_to() {
    let stand_in = StandIn::start();
    let fail = |function: &str| {
        let (function, status) = (function.into(), NtStatus::INSUFFICIENT_RESOURCES);
        stand_in.lab.inject_fault(Fault { function, status, occurrences: Occurrences::Nth(1) });
    };
    fail("WdfDriverCreate");
    assert_eq!(stand_in.try_create_driver(&[0x20, 0, 0, 1], 0).0, NtStatus::INSUFFICIENT_RESOURCES);
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    fail("WdfControlDeviceInitAllocate");
    let sddl = OwnedUnicode::new("D:P(A;;GA;;;SY)");
    let init = stand_in.inside(|| wdf("WdfControlDeviceInitAllocate", &[driver, sddl.pointer().address()]));
    assert_eq!(init, Some(0));
    stand_in.no_violations();
}

static CALLS: Mutex<Vec<(&str, u64)>> = Mutex::new(Vec::new());

extern "win64" fn note_unload(driver: u64) {
    CALLS.lock().unwrap().push(("unload", driver));
}
extern "win64" fn note_cleanup(object: u64) {
    CALLS.lock().unwrap().push(("cleanup", object));
}
extern "win64" fn note_destroy(object: u64) {
    CALLS.lock().unwrap().push(("destroy", object));
}

#[test]
fn unload_calls_the_driver_first_and_then_deletes_children_before_parents() {
    let stand_in = StandIn::start();
    let (cleanup, destroy) = (address(note_cleanup as *const ()), address(note_destroy as *const ()));
    let driver = stand_in.create_driver(address(note_unload as *const ()), at(&attributes(cleanup, destroy, 0, 0)));
    let (mut parent, mut child) = (0, 0);
    stand_in.inside(|| {
        wdf("WdfObjectCreate", &[at(&attributes(cleanup, destroy, 0, 0)), out(&mut parent)]);
        wdf("WdfObjectCreate", &[at(&attributes(cleanup, destroy, parent, 0)), out(&mut child)]);
    });
    stand_in.run_unload();
    let expected = [
        ("unload", driver),
        ("cleanup", child),
        ("cleanup", parent),
        ("cleanup", driver),
        ("destroy", child),
        ("destroy", parent),
        ("destroy", driver),
    ];
    assert_eq!(*CALLS.lock().unwrap(), expected);
    stand_in.unbind();
    stand_in.no_violations();
}

static UNLOADS: AtomicU32 = AtomicU32::new(0);

extern "win64" fn count_unload(_driver: u64) {
    UNLOADS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_failed_driver_entry_deletes_the_tree_without_unload() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(count_unload as *const ()), 0);
    stand_in.create_device(driver, &queue(PARALLEL, address(echo as *const ())), None);
    stand_in.unbind();
    assert_eq!(UNLOADS.load(Ordering::Relaxed), 0);
    assert_eq!(stand_in.open().unwrap_err(), NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(stand_in.left_behind(), [""; 0]);
    stand_in.no_violations();
}

#[test]
fn a_replaced_unload_routine_is_noticed() {
    let stand_in = StandIn::start();
    stand_in.create_driver(address(nothing as *const ()), 0);
    field!(stand_in.driver.object, DriverUnload).write(address(nothing as *const ()));
    stand_in.unload();
    stand_in.one_violation("has replaced DRIVER_OBJECT.DriverUnload");
}

#[test]
fn references_that_are_kept_and_structures_that_are_not_freed_are_leaks() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.inside(|| {
        let mut lock = 0;
        wdf("WdfSpinLockCreate", &[0, out(&mut lock)]);
        wdf("WdfObjectReferenceActual", &[lock]);
        wdf("WdfObjectReferenceActual", &[lock]);
        wdf("WdfObjectDereferenceActual", &[lock]);
        init(driver);
    });
    stand_in.unload();
    let left = stand_in.left_behind();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("WDFSPINLOCK") && left[0].contains("1 reference(s)"), "{left:?}");
    assert!(left[1].starts_with("WDFDEVICE_INIT"), "{left:?}");
}

#[test]
fn contexts_are_found_by_type_and_lead_back_to_their_object() {
    let stand_in = StandIn::start();
    stand_in.create_driver(address(nothing as *const ()), 0);
    let (first, second, third) = (type_info(24), type_info(8), type_info(8));
    stand_in.inside(|| {
        let (mut object, mut added) = (0, 0);
        wdf("WdfObjectCreate", &[at(&attributes(0, 0, 0, at(&*first))), out(&mut object)]);
        let context = wdf("WdfObjectGetTypedContextWorker", &[object, at(&*first)]);
        // SAFETY: a context of three words, zeroed.
        assert_eq!(unsafe { *(context as *const [u64; 3]) }, [0; 3]);
        assert_eq!(wdf("WdfObjectContextGetObject", &[context]), object);
        let attributes = attributes(0, 0, 0, at(&*second));
        let allocate =
            |added: &mut u64| status(wdf("WdfObjectAllocateContext", &[object, at(&attributes), out(added)]));
        assert_eq!(allocate(&mut added), NtStatus::SUCCESS);
        let once = added;
        assert_eq!(allocate(&mut added), NtStatus::OBJECT_NAME_EXISTS);
        assert_eq!(added, once);
        assert_eq!(wdf("WdfObjectGetTypedContextWorker", &[object, at(&*second)]), once);
        assert_eq!(wdf("WdfObjectGetTypedContextWorker", &[object, at(&*third)]), 0);
    });
    stand_in.unload();
    stand_in.no_violations();
}

#[test]
fn a_deleted_handle_is_known_by_its_type() {
    let stand_in = StandIn::start();
    stand_in.create_driver(address(nothing as *const ()), 0);
    let used = stand_in.inside(|| {
        let mut lock = 0;
        wdf("WdfWaitLockCreate", &[0, out(&mut lock)]);
        wdf("WdfObjectDelete", &[lock]);
        wdf("WdfWaitLockAcquire", &[lock, 0])
    });
    assert_eq!(used, None);
    stand_in.one_violation("a WDFWAITLOCK that WdfObjectDelete ended");
}

#[test]
fn a_handle_of_the_wrong_type_stops_the_lab() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    assert_eq!(stand_in.inside(|| wdf("WdfSpinLockAcquire", &[driver])), None);
    stand_in.one_violation("a WDFDRIVER, where it takes a WDFSPINLOCK");
    assert_eq!(stand_in.lab.violations()[0].kind, Kind::Bugcheck);
}

extern "win64" fn complete_twice(_queue: u64, request: u64, _output: u64, _input: u64, _code: u32) {
    wdf("WdfRequestComplete", &[request, 0]);
    wdf("WdfRequestComplete", &[request, 0]);
}

#[test]
fn a_request_completed_twice_stops_the_lab() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.create_device(driver, &queue(PARALLEL, address(complete_twice as *const ())), None);
    let file = stand_in.open().unwrap();
    let _ = file.device_io_control(ECHO, b"abc", 8);
    stand_in.one_violation("a WDFREQUEST that WdfRequestComplete ended");
    assert!(
        stand_in.texts()[0]
            .contains("during EvtIoDeviceControl of driver standin, called at I/O control code 0x00222000")
    );
}

static KEPT: AtomicU64 = AtomicU64::new(0);

extern "win64" fn keep(_queue: u64, request: u64, _output: u64, _input: u64, _code: u32) {
    KEPT.store(request, Ordering::Relaxed);
}

#[test]
fn a_request_that_is_never_completed_is_reported_when_its_device_goes() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    let (device, _) = stand_in.create_device(driver, &queue(PARALLEL, address(keep as *const ())), None);
    let file = stand_in.open().unwrap();
    let pending = file.begin_device_io_control(ECHO, b"abc", 8).unwrap();
    stand_in.inside(|| wdf("WdfObjectDelete", &[device]));
    stand_in.no_violations();
    stand_in.unload();
    stand_in.one_violation("was never completed");
    assert_eq!(pending.wait(), Err(NtStatus::CANCELLED));
}

#[test]
fn more_information_than_the_buffer_has_is_reported() {
    extern "win64" fn boast(_queue: u64, request: u64, _output: u64, _input: u64, _code: u32) {
        wdf("WdfRequestCompleteWithInformation", &[request, 0, 100]);
    }
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.create_device(driver, &queue(PARALLEL, address(boast as *const ())), None);
    let file = stand_in.open().unwrap();
    assert_eq!(file.device_io_control(ECHO, b"", 8).unwrap().len(), 8);
    stand_in.one_violation("Information 100, but its buffer has 8 bytes");
}

static SEQUENCE: Mutex<Vec<u64>> = Mutex::new(Vec::new());

#[test]
fn a_sequential_queue_gives_one_request_at_a_time() {
    extern "win64" fn note(_queue: u64, request: u64, _output: u64, _input: u64, _code: u32) {
        SEQUENCE.lock().unwrap().push(request);
    }
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.create_device(driver, &queue(SEQUENTIAL, address(note as *const ())), None);
    let file = stand_in.open().unwrap();
    let pending: Vec<_> = (0..3).map(|_| file.begin_device_io_control(ECHO, b"", 0).unwrap()).collect();
    for expected in 1..=3 {
        let seen = SEQUENCE.lock().unwrap().clone();
        assert_eq!(seen.len(), expected);
        stand_in.inside(|| wdf("WdfRequestComplete", &[seen[expected - 1], 0]));
    }
    for one in pending {
        assert_eq!(one.wait(), Ok(Vec::new()));
    }
    stand_in.no_violations();
}

fn retrieve(queue: u64) -> Result<u64, NtStatus> {
    let mut request = 0;
    match status(wdf("WdfIoQueueRetrieveNextRequest", &[queue, out(&mut request)])) {
        NtStatus::SUCCESS => Ok(request),
        failed => Err(failed),
    }
}

fn manual() -> (StandIn, u64, File) {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    let (_, queue) = stand_in.create_device(driver, &queue(MANUAL, 0), None);
    let file = stand_in.open().unwrap();
    (stand_in, queue, file)
}

#[test]
fn a_manual_queue_waits_until_it_is_asked() {
    let (stand_in, queue, file) = manual();
    let pending = file.begin_device_io_control(ECHO, b"", 0).unwrap();
    stand_in.inside(|| {
        let request = retrieve(queue).unwrap();
        assert_eq!(retrieve(queue), Err(NtStatus::NO_MORE_ENTRIES));
        assert_eq!(status(wdf("WdfRequestRequeue", &[request])), NtStatus::SUCCESS);
        assert_eq!(retrieve(queue), Ok(request), "it went back to the head");
        wdf("WdfIoQueueStop", &[queue]);
        assert_eq!(retrieve(queue), Err(crate::kmdf::status::WDF_PAUSED));
        wdf("WdfRequestComplete", &[request, 0]);
    });
    assert_eq!(pending.wait(), Ok(Vec::new()));
    stand_in.no_violations();
}

#[test]
fn waiting_requests_are_cancelled_by_their_sender_by_purging_and_by_closing() {
    let (stand_in, queue, file) = manual();
    let begin = || file.begin_device_io_control(ECHO, b"", 0).unwrap();
    let cancelled = begin();
    cancelled.cancel();
    assert_eq!(cancelled.wait(), Err(NtStatus::CANCELLED));
    let purged = begin();
    stand_in.inside(|| wdf("WdfIoQueuePurgeSynchronously", &[queue]));
    assert_eq!(purged.wait(), Err(NtStatus::CANCELLED));
    assert_eq!(begin().wait(), Err(NtStatus::INVALID_DEVICE_STATE), "a purged queue accepts none");
    stand_in.inside(|| wdf("WdfIoQueueStart", &[queue]));
    let closed = begin();
    drop(file);
    assert_eq!(closed.wait(), Err(NtStatus::CANCELLED));
    stand_in.no_violations();
}

extern "win64" fn cancel_now(request: u64) {
    wdf("WdfRequestComplete", &[request, NtStatus::CANCELLED.0 as u64]);
}

#[test]
fn a_request_marked_cancelable_is_cancelled_through_the_driver() {
    let (stand_in, queue, file) = manual();
    let pending = file.begin_device_io_control(ECHO, b"", 0).unwrap();
    let callback = address(cancel_now as *const ());
    stand_in.inside(|| {
        let request = retrieve(queue).unwrap();
        assert_eq!(status(wdf("WdfRequestMarkCancelableEx", &[request, callback])), NtStatus::SUCCESS);
        assert_eq!(status(wdf("WdfRequestUnmarkCancelable", &[request])), NtStatus::SUCCESS);
        assert_eq!(status(wdf("WdfRequestMarkCancelableEx", &[request, callback])), NtStatus::SUCCESS);
    });
    pending.cancel();
    assert_eq!(pending.wait(), Err(NtStatus::CANCELLED));
    let pending = file.begin_device_io_control(ECHO, b"", 0).unwrap();
    stand_in.inside(|| {
        let request = retrieve(queue).unwrap();
        pending.cancel();
        assert_eq!(wdf("WdfRequestIsCanceled", &[request]) as u8, 1);
        assert_eq!(status(wdf("WdfRequestMarkCancelableEx", &[request, callback])), NtStatus::CANCELLED);
        wdf("WdfRequestComplete", &[request, NtStatus::CANCELLED.0 as u64]);
    });
    assert_eq!(pending.wait(), Err(NtStatus::CANCELLED));
    stand_in.no_violations();
}

#[test]
fn a_request_completed_while_cancelable_is_reported() {
    let (stand_in, queue, file) = manual();
    let pending = file.begin_device_io_control(ECHO, b"", 0).unwrap();
    stand_in.inside(|| {
        let request = retrieve(queue).unwrap();
        wdf("WdfRequestMarkCancelable", &[request, address(cancel_now as *const ())]);
        wdf("WdfRequestComplete", &[request, 0]);
    });
    assert_eq!(pending.wait(), Ok(Vec::new()));
    stand_in.one_violation("still marked cancelable");
}

static FILES: Mutex<Vec<&str>> = Mutex::new(Vec::new());
static FILE: AtomicU64 = AtomicU64::new(0);

#[test]
fn files_are_created_cleaned_up_and_closed_by_the_driver() {
    extern "win64" fn create(_device: u64, request: u64, file: u64) {
        FILES.lock().unwrap().push("create");
        FILE.store(file, Ordering::Relaxed);
        assert_eq!(wdf("WdfRequestGetFileObject", &[request]), file);
        wdf("WdfRequestComplete", &[request, 0]);
    }
    extern "win64" fn cleanup(_file: u64) {
        FILES.lock().unwrap().push("cleanup");
    }
    extern "win64" fn close(_file: u64) {
        FILES.lock().unwrap().push("close");
    }
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    let files =
        [0x28, address(create as *const ()), address(close as *const ()), address(cleanup as *const ()), 2 | 2 << 32];
    stand_in.create_device(driver, &queue(PARALLEL, address(echo as *const ())), Some(&files));
    drop(stand_in.open().unwrap());
    assert_eq!(*FILES.lock().unwrap(), ["create", "cleanup", "close"]);
    let gone = stand_in.lab.kernel.kmdf.handles.get(FILE.load(Ordering::Relaxed)).is_none();
    assert!(gone, "a closed file's object is deleted");
    stand_in.unload();
    assert_eq!(stand_in.left_behind(), [""; 0]);
    stand_in.no_violations();
}

#[test]
fn functions_called_at_the_wrong_level_are_reported() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.inside(|| {
        let mut lock = 0;
        wdf("WdfSpinLockCreate", &[0, out(&mut lock)]);
        wdf("WdfSpinLockAcquire", &[lock]);
        let sddl = OwnedUnicode::new("D:P(A;;GA;;;SY)");
        assert_eq!(wdf("WdfControlDeviceInitAllocate", &[driver, sddl.pointer().address()]), 0);
        wdf("WdfSpinLockRelease", &[lock]);
    });
    stand_in.one_violation("WdfControlDeviceInitAllocate was called at DISPATCH_LEVEL");
}

static TICKS: AtomicU32 = AtomicU32::new(0);
static WORK: AtomicU32 = AtomicU32::new(0);

#[test]
fn timers_and_work_items_run_and_end_with_their_parent() {
    extern "win64" fn tick(_timer: u64) {
        assert_eq!(crate::irql::current(), 2);
        TICKS.fetch_add(1, Ordering::Relaxed);
    }
    extern "win64" fn work(_item: u64) {
        assert_eq!(crate::irql::current(), 0);
        std::thread::sleep(Duration::from_millis(5));
        WORK.fetch_add(1, Ordering::Relaxed);
    }
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    let (mut timer, mut item) = (0, 0);
    stand_in.inside(|| {
        let orphan = attributes(0, 0, 0, 0);
        let owned = attributes(0, 0, driver, 0);
        let config = [0x28, address(tick as *const ()), 1, 0, 0];
        let no_parent = status(wdf("WdfTimerCreate", &[at(&config), at(&orphan), out(&mut timer)]));
        assert_eq!(no_parent, crate::kmdf::status::WDF_PARENT_NOT_SPECIFIED);
        assert_eq!(status(wdf("WdfTimerCreate", &[at(&config), at(&owned), out(&mut timer)])), NtStatus::SUCCESS);
        let config = [0x18, address(work as *const ()), 0];
        assert_eq!(status(wdf("WdfWorkItemCreate", &[at(&config), at(&owned), out(&mut item)])), NtStatus::SUCCESS);
        wdf("WdfTimerStart", &[timer, -10_000i64 as u64]);
        wdf("WdfWorkItemEnqueue", &[item]);
        wdf("WdfWorkItemFlush", &[item]);
        assert_eq!(WORK.load(Ordering::Relaxed), 1);
    });
    while TICKS.load(Ordering::Relaxed) < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    stand_in.unload();
    let ticks = TICKS.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(TICKS.load(Ordering::Relaxed), ticks, "a periodic timer ends with its parent");
    stand_in.no_violations();
}

#[test]
fn memory_collections_strings_and_keys_hold_what_they_are_given() {
    let stand_in = StandIn::start();
    let driver = stand_in.create_driver(address(nothing as *const ()), 0);
    stand_in.inside(|| {
        let (mut memory, mut buffer, mut collection) = (0, 0, 0);
        wdf("WdfMemoryCreate", &[0, 0, 0, 4, out(&mut memory), out(&mut buffer)]);
        assert_eq!(status(wdf("WdfMemoryCopyFromBuffer", &[memory, 1, b"xyz".as_ptr() as u64, 3])), NtStatus::SUCCESS);
        // SAFETY: the object's four bytes.
        assert_eq!(unsafe { *(buffer as *const [u8; 4]) }, *b"\0xyz");
        let over = status(wdf("WdfMemoryCopyFromBuffer", &[memory, 2, b"xyz".as_ptr() as u64, 3]));
        assert_eq!(over, NtStatus::BUFFER_TOO_SMALL);
        wdf("WdfCollectionCreate", &[0, out(&mut collection)]);
        wdf("WdfCollectionAdd", &[collection, memory]);
        assert_eq!(wdf("WdfCollectionGetFirstItem", &[collection]), memory);
        wdf("WdfCollectionRemove", &[collection, memory]);
        assert_eq!(wdf("WdfCollectionGetCount", &[collection]) as u32, 0);
        let (mut key, mut value, name) = (0, 0u64, OwnedUnicode::new("Level"));
        let opened = wdf("WdfDriverOpenParametersRegistryKey", &[driver, 0x20019, 0, out(&mut key)]);
        assert_eq!(status(opened), NtStatus::SUCCESS);
        let query =
            |value: &mut u64| status(wdf("WdfRegistryQueryULong", &[key, name.pointer().address(), out(value)]));
        assert_eq!(query(&mut value), NtStatus::OBJECT_NAME_NOT_FOUND);
        wdf("WdfRegistryAssignULong", &[key, name.pointer().address(), 7]);
        assert_eq!((query(&mut value), value), (NtStatus::SUCCESS, 7));
        wdf("WdfRegistryClose", &[key]);
    });
    stand_in.unload();
    assert_eq!(stand_in.left_behind(), [""; 0]);
    stand_in.no_violations();
}
