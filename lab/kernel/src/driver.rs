//! Loading and unloading drivers, as the I/O manager does, and looking at what they leave behind.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::call::{CallContext, call_on_own_stack};
use crate::image::{self, Image, ImageError};
use crate::inside;
use crate::kernel::{Kernel, lock};
use crate::nt::{DriverExtension, DriverObject, NtStatus, OwnedUnicode, PASSIVE_LEVEL, Plain, zeroed};
use crate::ntos::{io, object, pool};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind, Violation};
use crate::schedule;
use crate::thread;

/// How long an unloaded driver's work items may run on before they are reported.
const GRACE: Duration = Duration::from_secs(5);

/// A loaded driver.
pub(crate) struct Driver {
    name: String,
    pub object: Ptr<DriverObject>,
    image: Mutex<Option<Image>>,
    number: u64,
    base: u64,
    size: u32,
    registry_path: OwnedUnicode,
    /// What the driver object's own names point to.
    _names: [OwnedUnicode; 2],
    state: AtomicU8,
    /// Set while an unload waits for the last handle.
    pending: AtomicBool,
}

const LOADING: u8 = 0;
const RUNNING: u8 = 1;
const UNLOADING: u8 = 2;

/// What is known of a loaded driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverInfo {
    pub service: String,
    /// Where the image is mapped, and its size in bytes.
    pub base: u64,
    pub size: u32,
    /// An unload was asked for and waits for handles to be closed.
    pub unload_pending: bool,
    /// What it has registered with the filter engine.
    pub registrations: Vec<String>,
    pub open_handles: Vec<String>,
}

/// Why a driver could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the service name {0:?} is empty, or contains a slash or backslash")]
    Name(String),
    #[error("a driver is loaded as {0} already; unload it first, or load under another name")]
    AlreadyLoaded(String),
    #[error("{0}")]
    Image(#[from] ImageError),
    #[error("DriverEntry failed with {status}{}", list(.report))]
    DriverEntry {
        status: NtStatus,
        /// What the failed driver left behind, and the log of its `DriverEntry`.
        report: Box<UnloadReport>,
    },
    #[error("the lab has stopped at a bug check: {0}")]
    Stopped(String),
}

fn list(report: &UnloadReport) -> String {
    report.leaks.iter().map(|leak| format!("; left behind: {leak}")).collect()
}

/// Why a driver could not be unloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnloadError {
    #[error("no driver is loaded as {0}")]
    NotLoaded(String),
    #[error(
        "{0} has no DriverUnload, so it cannot be unloaded before the system stops (STATUS_INVALID_DEVICE_REQUEST)"
    )]
    NoUnloadRoutine(String),
    #[error("{service} unloads when its last handle is closed: {}", .handles.join(", "))]
    Pending { service: String, handles: Vec<String> },
    #[error("the lab has stopped at a bug check: {0}")]
    Stopped(String),
}

/// What an unload, or a failed `DriverEntry`, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnloadReport {
    pub service: String,
    /// What the driver printed meanwhile.
    pub log: Vec<String>,
    /// From the call of `DriverUnload` to the image's end.
    pub duration: Duration,
    /// What the driver had registered with the filter engine before.
    pub registrations: Vec<String>,
    /// Everything it left behind, a line each.
    pub leaks: Vec<String>,
    /// Violations during the unload, the leaks among them.
    pub violations: Vec<Violation>,
}

impl UnloadReport {
    /// Nothing left behind and no violation.
    pub fn is_clean(&self) -> bool {
        self.leaks.is_empty() && self.violations.is_empty()
    }
}

impl Driver {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its image; what the driver acquires is accounted to it.
    pub fn image_number(&self) -> u64 {
        self.number
    }

    pub fn is_unloading(&self) -> bool {
        self.state.load(Ordering::Acquire) == UNLOADING || self.pending.load(Ordering::Acquire)
    }

    fn info(&self) -> DriverInfo {
        let kernel = thread::current();
        DriverInfo {
            service: self.name.clone(),
            base: self.base,
            size: self.size,
            unload_pending: self.pending.load(Ordering::Acquire),
            registrations: kernel.fwp.registrations(self.number),
            open_handles: kernel.io.open_handles(self.number),
        }
    }
}

/// The loaded drivers.
#[derive(Default)]
pub(crate) struct Drivers(Mutex<Vec<Arc<Driver>>>);

impl Drivers {
    pub fn by_object(&self, object: u64) -> Option<Arc<Driver>> {
        lock(&self.0).iter().find(|driver| driver.object.address() == object).cloned()
    }

    fn by_name(&self, name: &str) -> Option<Arc<Driver>> {
        lock(&self.0).iter().find(|driver| driver.name.eq_ignore_ascii_case(name)).cloned()
    }

    pub fn number_of(&self, service: &str) -> Option<u64> {
        self.by_name(service).map(|driver| driver.number)
    }

    pub fn all(&self) -> Vec<DriverInfo> {
        let drivers = lock(&self.0).clone();
        drivers.iter().map(|driver| driver.info()).collect()
    }

    fn remove(&self, driver: &Driver) {
        lock(&self.0).retain(|one| one.number != driver.number);
    }
}

/// The system's memory for an object of type `T`.
fn system<T: Plain>(kernel: &Kernel, tag: &[u8; 4]) -> Ptr<T> {
    let object: Ptr<T> = kernel.pool.allocate_system(size_of::<T>(), tag).cast();
    object.write(zeroed());
    object
}

/// Loads `file` as the driver of `service` and calls its `DriverEntry`.
pub(crate) fn load(kernel: &Arc<Kernel>, service: &str, file: &[u8]) -> Result<DriverInfo, LoadError> {
    if service.is_empty() || service.contains(['\\', '/', '\0']) {
        return Err(LoadError::Name(service.into()));
    }
    if kernel.stopped() {
        return Err(LoadError::Stopped(kernel.reports.last()));
    }
    let _one_at_a_time = lock(&kernel.loading);
    if kernel.drivers.by_name(service).is_some() {
        return Err(LoadError::AlreadyLoaded(service.into()));
    }
    let image = Image::load(service, file, &kernel.clock, kernel.imports_anything)?;
    let entry = image.entry_point();
    let driver = create(kernel, service, image);
    lock(&kernel.drivers.0).push(driver.clone());

    let log_from = kernel.reports.log_position();
    let violations_from = kernel.reports.occurred();
    let started = kernel.clock.elapsed();
    let object_name = format!("driver {service}");
    let context = CallContext { what: "DriverEntry", object: &object_name, at: "" };
    // SAFETY: the entry point of a driver image, called as the system calls it.
    let entered =
        unsafe { call_on_own_stack(&context, PASSIVE_LEVEL, entry, (driver.object, driver.registry_path.pointer())) };
    let Ok(status) = entered else { return Err(LoadError::Stopped(kernel.reports.last())) };
    let status = NtStatus(status as u32 as i32);
    if status.is_success() {
        kernel.io.finish_initializing(&driver);
        driver.state.store(RUNNING, Ordering::Release);
        return Ok(driver.info());
    }
    driver.state.store(UNLOADING, Ordering::Release);
    let mut report = release(kernel, &driver, "DriverEntry failed");
    report.duration = kernel.clock.elapsed() - started;
    report.log = kernel.reports.log_since(log_from);
    report.violations = kernel.reports.since(violations_from);
    Err(LoadError::DriverEntry { status, report: Box::new(report) })
}

/// Makes the driver object of an image.
fn create(kernel: &Arc<Kernel>, service: &str, image: Image) -> Arc<Driver> {
    const DRIVER_TYPE: i16 = 4;
    let object: Ptr<DriverObject> = system(kernel, b"Driv");
    let extension: Ptr<DriverExtension> = system(kernel, b"DrvE");
    let registry_path = OwnedUnicode::new(&format!(r"\Registry\Machine\System\CurrentControlSet\Services\{service}"));
    let driver_name = OwnedUnicode::new(&format!(r"\Driver\{service}"));
    object.write(DriverObject {
        Type: DRIVER_TYPE,
        Size: size_of::<DriverObject>() as i16,
        DriverStart: image.base(),
        DriverSize: image.size(),
        DriverExtension: extension,
        DriverName: driver_name.value(),
        DriverInit: image.entry_point() as u64,
        MajorFunction: [io::invalid_device_request as *const () as u64; 28],
        ..zeroed()
    });
    let service_key = OwnedUnicode::new(service);
    extension.write(DriverExtension {
        DriverObject: object,
        AddDevice: 0,
        Count: 0,
        ServiceKeyName: service_key.value(),
    });
    kernel.registry.create_service(service);
    let (number, base, size) = (image.number(), image.base(), image.size());
    Arc::new(Driver {
        name: service.to_string(),
        object,
        image: Mutex::new(Some(image)),
        number,
        base,
        size,
        registry_path,
        _names: [driver_name, service_key],
        state: AtomicU8::new(LOADING),
        pending: AtomicBool::new(false),
    })
}

/// Unloads a driver as `ZwUnloadDriver` does: with handles open, it is deferred to the last close.
pub(crate) fn unload(kernel: &Arc<Kernel>, service: &str) -> Result<UnloadReport, UnloadError> {
    if kernel.stopped() {
        return Err(UnloadError::Stopped(kernel.reports.last()));
    }
    let _one_at_a_time = lock(&kernel.loading);
    let driver = kernel.drivers.by_name(service).ok_or_else(|| UnloadError::NotLoaded(service.into()))?;
    if field!(driver.object, DriverUnload).read() == 0 {
        return Err(UnloadError::NoUnloadRoutine(service.into()));
    }
    driver.pending.store(true, Ordering::Release);
    let handles = kernel.io.open_handles(driver.number);
    if !handles.is_empty() {
        return Err(UnloadError::Pending { service: service.into(), handles });
    }
    run_unload(kernel, &driver)
}

/// Runs a deferred unload when the last handle to a driver's devices is closed.
pub(crate) fn last_handle_closed(kernel: &Arc<Kernel>, driver: &Arc<Driver>) {
    if !driver.pending.load(Ordering::Acquire) || !kernel.io.open_handles(driver.number).is_empty() {
        return;
    }
    let _one_at_a_time = lock(&kernel.loading);
    if let Ok(report) = run_unload(kernel, driver) {
        *lock(&kernel.last_unload) = Some(report);
    }
}

fn run_unload(kernel: &Arc<Kernel>, driver: &Arc<Driver>) -> Result<UnloadReport, UnloadError> {
    if driver.state.swap(UNLOADING, Ordering::AcqRel) == UNLOADING {
        return Err(UnloadError::NotLoaded(driver.name.clone()));
    }
    let log_from = kernel.reports.log_position();
    let violations_from = kernel.reports.occurred();
    let registrations = kernel.fwp.registrations(driver.number);
    let started = kernel.clock.elapsed();
    let object_name = format!("driver {}", driver.name);
    schedule::unloading();
    let context = CallContext { what: "DriverUnload", object: &object_name, at: "" };
    let routine = field!(driver.object, DriverUnload).read() as *const ();
    // SAFETY: the routine that the driver set for exactly this call.
    let unloaded = unsafe { call_on_own_stack(&context, PASSIVE_LEVEL, routine, (driver.object,)) };
    if unloaded.is_err() {
        return Err(UnloadError::Stopped(kernel.reports.last()));
    }
    let mut report = release(kernel, driver, "unload");
    report.registrations = registrations;
    report.duration = kernel.clock.elapsed() - started;
    report.log = kernel.reports.log_since(log_from);
    report.violations = kernel.reports.since(violations_from);
    Ok(report)
}

/// Finds what a driver left behind, takes it away, and makes its image inaccessible.
fn release(kernel: &Arc<Kernel>, driver: &Arc<Driver>, after: &str) -> UnloadReport {
    let number = driver.number;
    // A work item holds its device, and with it the image, until its routine has returned.
    kernel.workers.wait_for_io_items(number, GRACE);
    kernel.io.wait_for_references(number, Duration::from_millis(200));
    let mut leaks: Vec<(Kind, String)> = Vec::new();
    let mut leak = |lines: Vec<String>| leaks.extend(lines.into_iter().map(|line| (Kind::Leak, line)));
    leak(kernel.fwp.left_behind(number));
    let inside = inside::inside(kernel, number);
    let own: Vec<u64> = kernel.objects.threads_of(number).iter().map(|thread| thread.object()).collect();
    leak(object::reap_threads(number, &inside));
    let late = inside.iter().filter(|inside| !own.contains(&inside.object));
    leaks.extend(late.map(|inside| (Kind::LateCall, inside.to_string())));
    let mut leak = |lines: Vec<String>| leaks.extend(lines.into_iter().map(|line| (Kind::Leak, line)));
    // Before memory is taken away: a thread that is still in there would use it.
    if let Some(image) = &*lock(&driver.image) {
        image.retire();
    }
    leak(kernel.kmdf.left_behind(number));
    leak(
        kernel
            .timers
            .take_where(|address, image| image == number || image::number_at(address) == Some(number))
            .iter()
            .map(|left| {
                format!(
                    "{} {:#x} is still queued: its routine {} would be called after unload{}",
                    left.what,
                    left.address,
                    place(left.routine),
                    queued_at(left.caller)
                )
            })
            .collect(),
    );
    if kernel.timers.take_unflushed(number) {
        leak(vec![
            "a DPC has run, and nothing has waited for its last instructions: KeFlushQueuedDpcs was not called after it".into(),
        ]);
    }
    leak(kernel.workers.take_owned_by(number, |routine| inside.iter().any(|inside| inside.function == routine)));
    leak(kernel.io.take_owned_by(number));
    leak(kernel.objects.take_owned_by(number));
    leak(kernel.etw.take_owned_by(number));
    leak(kernel.registrations.take_owned_by(number));
    kernel.extensions.free_of(driver.object.address());
    crate::ntos::table::forget(number);
    leak(
        kernel
            .lookasides
            .owned_by(number)
            .iter()
            .map(|(list, tag)| format!("lookaside list {list:#x} with tag {} was not deleted", pool::tag_name(*tag)))
            .collect(),
    );
    kernel.lookasides.reclaim(number);
    leak(
        kernel
            .resources
            .take_owned_by(number)
            .iter()
            .map(|resource| format!("ERESOURCE {resource:#x} was not deleted"))
            .collect(),
    );
    leak(pool_leaks(kernel, number));
    kernel.pool.reclaim(number);
    for (kind, line) in &leaks {
        report::violation_of(
            &driver.name,
            Finding {
                kind: *kind,
                what: format!("after {after} of {}: {line}", driver.name),
                remedy: "release everything that DriverEntry and the driver's work acquired, in reverse order".into(),
            },
        );
    }
    kernel.drivers.remove(driver);
    drop(lock(&driver.image).take());
    schedule::unloaded();
    let extension = field!(driver.object, DriverExtension).read();
    kernel.pool.free_system(extension.cast());
    kernel.pool.free_system(driver.object.cast());
    UnloadReport {
        service: driver.name.clone(),
        leaks: leaks.into_iter().map(|(_, line)| line).collect(),
        ..UnloadReport::default()
    }
}

fn place(address: u64) -> String {
    image::place(address).map_or_else(|| format!("{address:#x}"), |place| place.to_string())
}

fn queued_at(caller: u64) -> String {
    image::place(caller).map_or_else(String::new, |place| format!(" (queued at {place})"))
}

/// Leaked pool, one line for each tag and call.
fn pool_leaks(kernel: &Kernel, number: u64) -> Vec<String> {
    let mut sites: Vec<(u32, u64, usize, usize)> = Vec::new();
    for allocation in kernel.pool.owned_by(number) {
        match sites.iter_mut().find(|site| site.0 == allocation.tag && site.1 == allocation.caller) {
            Some(site) => {
                site.2 += 1;
                site.3 += allocation.size;
            }
            None => sites.push((allocation.tag, allocation.caller, 1, allocation.size)),
        }
    }
    sites
        .into_iter()
        .map(|(tag, caller, count, bytes)| {
            format!(
                "pool: {count} allocation(s), {bytes} bytes, tag {}, allocated at {}",
                pool::tag_name(tag),
                place(caller)
            )
        })
        .collect()
}

/// A driver whose functions are the test's own.
#[cfg(test)]
pub(crate) fn stand_in(kernel: &Arc<Kernel>, service: &str) -> Arc<Driver> {
    let object: Ptr<DriverObject> = system(kernel, b"Driv");
    let extension: Ptr<DriverExtension> = system(kernel, b"DrvE");
    field!(object, DriverExtension).write(extension);
    field!(object, MajorFunction).write([io::invalid_device_request as *const () as u64; 28]);
    kernel.registry.create_service(service);
    let registry_path = OwnedUnicode::new(&format!(r"\Registry\Machine\System\CurrentControlSet\Services\{service}"));
    let driver = Arc::new(Driver {
        name: service.to_string(),
        object,
        image: Mutex::new(None),
        number: crate::kernel::next_number(),
        base: 0,
        size: 0,
        registry_path,
        _names: [OwnedUnicode::new(service), OwnedUnicode::new(service)],
        state: AtomicU8::new(RUNNING),
        pending: AtomicBool::new(false),
    });
    lock(&kernel.drivers.0).push(driver.clone());
    driver
}
