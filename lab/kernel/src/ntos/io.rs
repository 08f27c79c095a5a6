//! The I/O manager: device objects, symbolic links, IRPs, and the files that the lab opens on devices.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::call::{CallContext, call_image, call_unbalanced};
use crate::condition::{Condition, Until};
use crate::driver::Driver;
use crate::export::{self, Export, exports};
use crate::image;
use crate::inject;
use crate::irql::{self, require_irql};
use crate::kernel::{Kernel, lock};
use crate::nt::{
    APC_LEVEL, DISPATCH_LEVEL, DeviceObject, DriverObject, FileObject, IoStackLocation, IoStatusBlock, Irp,
    MULTIPLE_IRP_COMPLETE_REQUESTS, Mdl, NtStatus, OwnedUnicode, PASSIVE_LEVEL, UnicodeString, zeroed,
};
use crate::ntos::dispatch::bad_parameter;
use crate::ntos::security::{READ_AND_WRITE, Security, User};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    IoCreateDevice,
    IoCreateDeviceSecure,
    WdmlibIoCreateDeviceSecure,
    IoDeleteDevice,
    IoCreateSymbolicLink,
    IoCreateUnprotectedSymbolicLink,
    IoDeleteSymbolicLink,
    IofCompleteRequest,
    IoCompleteRequest,
    IofCallDriver,
    IoCallDriver,
    IoAllocateIrp,
    IoFreeIrp,
    IoInitializeIrp,
    IoReuseIrp,
    IoSizeOfIrpEx,
    IoBuildDeviceIoControlRequest,
    IoCancelIrp,
    IoAcquireCancelSpinLock,
    IoReleaseCancelSpinLock,
    IoGetDeviceObjectPointer,
    IoGetRequestorProcess,
    IoGetRequestorProcessId,
    IoIs32bitProcess,
    IoIsOperationSynchronous,
    IoIsSystemThread,
    IoGetTopLevelIrp,
    IoSetTopLevelIrp,
    IoGetStackLimits,
    IoRegisterShutdownNotification,
    IoUnregisterShutdownNotification,
    IoValidateDeviceIoControlAccess,
    IoGetAttachedDevice,
    IoGetAttachedDeviceReference,
    IoGetRelatedDeviceObject,
    IoCsqInitialize,
    IoCsqInitializeEx,
    IoCsqInsertIrp,
    IoCsqInsertIrpEx,
    IoCsqRemoveIrp,
    IoCsqRemoveNextIrp,
];

pub(crate) const IRP_MJ_CREATE: u8 = 0x00;
pub(crate) const IRP_MJ_CLOSE: u8 = 0x02;
pub(crate) const IRP_MJ_READ: u8 = 0x03;
pub(crate) const IRP_MJ_WRITE: u8 = 0x04;
pub(crate) const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
pub(crate) const IRP_MJ_SHUTDOWN: u8 = 0x10;
pub(crate) const IRP_MJ_CLEANUP: u8 = 0x12;

fn major_name(major: u8) -> &'static str {
    match major {
        IRP_MJ_CREATE => "the IRP_MJ_CREATE routine",
        IRP_MJ_CLOSE => "the IRP_MJ_CLOSE routine",
        IRP_MJ_READ => "the IRP_MJ_READ routine",
        IRP_MJ_WRITE => "the IRP_MJ_WRITE routine",
        IRP_MJ_DEVICE_CONTROL => "the IRP_MJ_DEVICE_CONTROL routine",
        IRP_MJ_SHUTDOWN => "the IRP_MJ_SHUTDOWN routine",
        IRP_MJ_CLEANUP => "the IRP_MJ_CLEANUP routine",
        _ => "a dispatch routine",
    }
}

/// `DEVICE_OBJECT.Flags`.
pub(crate) const DO_BUFFERED_IO: u32 = 0x4;
pub(crate) const DO_EXCLUSIVE: u32 = 0x8;
pub(crate) const DO_DIRECT_IO: u32 = 0x10;
pub(crate) const DO_DEVICE_HAS_NAME: u32 = 0x40;
pub(crate) const DO_DEVICE_INITIALIZING: u32 = 0x80;

/// `DEVICE_OBJECT.Characteristics`: the device's security descriptor is that of every path below its name.
pub(crate) const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;

/// `IO_STACK_LOCATION.Control`.
const SL_PENDING_RETURNED: u8 = 0x01;
const SL_INVOKE_ON_CANCEL: u8 = 0x20;
const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
const SL_INVOKE_ON_ERROR: u8 = 0x80;

struct Device {
    name: Option<String>,
    driver: Weak<Driver>,
    security: Security,
    image: u64,
    caller: u64,
    handles: u32,
    references: i64,
    deleted: bool,
}

struct Link {
    target: String,
    image: u64,
    caller: u64,
}

struct PendingIrp {
    /// Who allocated it: the lab, or the image with this number.
    image: u64,
    caller: u64,
    /// The lab's own request that it carries.
    request: Option<u64>,
    done: Option<Done>,
    /// Calls of its cancel routine that the lab is in, which look at the IRP: it goes when they are over.
    cancelling: u32,
    /// A driver's own request: what its completion signals and fills in, and frees.
    associated: Option<Associated>,
}

/// How an IRP was completed.
#[derive(Clone, Copy)]
struct Done {
    status: IoStatusBlock,
    /// Whether the driver that it was sent to had marked it pending.
    pending: bool,
}

/// A request of the lab's own. Its IRP goes when it is completed, as the I/O manager may free it from then on: whoever touches it
/// afterwards uses freed memory.
#[derive(Clone, Copy)]
struct OwnRequest {
    irp: Ptr<Irp>,
    number: u64,
}

#[derive(Clone, Copy)]
struct Associated {
    event: u64,
    status_block: Ptr<IoStatusBlock>,
    output: Ptr<u8>,
    output_length: u32,
    buffered: bool,
}

#[derive(Default)]
struct State {
    devices: HashMap<u64, Device>,
    /// By lower-case path below the DOS device directory.
    links: BTreeMap<String, Link>,
    irps: HashMap<u64, PendingIrp>,
    /// How the lab's own requests were completed, by their numbers, until somebody asks.
    completed: HashMap<u64, Done>,
    requests: u64,
    shutdown: Vec<(u64, u64)>,
    autonames: u32,
}

#[derive(Default)]
pub(crate) struct IoManager {
    state: Mutex<State>,
    changed: Condition,
    /// The cancel spin lock.
    cancel_lock: Box<u64>,
}

/// The part of a link's name that tells links apart, if it is in the DOS device directory.
fn dos_name(path: &str) -> Option<String> {
    let lower = path.to_lowercase();
    [r"\??\", r"\dosdevices\global\", r"\dosdevices\", r"\global??\", r"\\.\", r"\\?\"]
        .iter()
        .find_map(|directory| lower.strip_prefix(directory).map(str::to_string))
}

impl IoManager {
    fn cancel_lock(&self) -> Ptr<u64> {
        Ptr::new(core::ptr::from_ref(&*self.cancel_lock).cast_mut())
    }

    pub fn wake_all(&self) {
        let _state = lock(&self.state);
        self.changed.notify_all();
    }

    /// Adds to the reference count of a device or file object; `None` if it is neither.
    pub fn reference_object(&self, object: u64, by: i64) -> Option<i64> {
        let mut state = lock(&self.state);
        let device = state.devices.get_mut(&object)?;
        device.references += by;
        let now = device.references;
        let gone = device.deleted && device.references <= 0 && device.handles == 0;
        if gone {
            state.devices.remove(&object);
        }
        drop(state);
        if gone {
            thread::current().pool.free_system(Ptr::from_address(object));
        }
        self.changed.notify_all();
        Some(now)
    }

    /// Creates a device object for a driver.
    pub fn create_device(&self, new: NewDevice<'_>) -> Result<Ptr<DeviceObject>, NtStatus> {
        let kernel = thread::current();
        let mut state = lock(&self.state);
        let mut name = new.name.map(str::to_string);
        const AUTOGENERATED: u32 = 0x80;
        if name.is_none() && new.characteristics & AUTOGENERATED != 0 {
            state.autonames += 1;
            name = Some(format!(r"\Device\{:08x}", state.autonames));
        }
        if let Some(name) = &name {
            if !name.starts_with('\\') {
                return Err(NtStatus::OBJECT_PATH_SYNTAX_BAD);
            }
            if state.devices.values().any(|device| {
                !device.deleted && device.name.as_deref().is_some_and(|other| other.eq_ignore_ascii_case(name))
            }) {
                return Err(NtStatus::OBJECT_NAME_COLLISION);
            }
        }
        let size = size_of::<DeviceObject>().next_multiple_of(16) + new.extension as usize;
        let device: Ptr<DeviceObject> = kernel.pool.allocate_system(size, b"Devi").cast();
        const DEVICE_TYPE: i16 = 3;
        let first = field!(new.driver.object, DeviceObject);
        device.write(DeviceObject {
            Type: DEVICE_TYPE,
            Size: size as u16,
            DriverObject: new.driver.object,
            NextDevice: first.read(),
            Flags: DO_DEVICE_INITIALIZING
                | if name.is_some() { DO_DEVICE_HAS_NAME } else { 0 }
                | if new.exclusive { DO_EXCLUSIVE } else { 0 },
            Characteristics: new.characteristics,
            DeviceExtension: if new.extension == 0 {
                Ptr::NULL
            } else {
                device.byte_at(size_of::<DeviceObject>().next_multiple_of(16))
            },
            DeviceType: new.device_type,
            StackSize: 1,
            ..zeroed()
        });
        first.write(device);
        let caller = thread::page().caller.get();
        state.devices.insert(
            device.address(),
            Device {
                name,
                driver: Arc::downgrade(new.driver),
                security: new.security.unwrap_or_else(Security::of_devices),
                image: new.driver.image_number(),
                caller,
                handles: 0,
                references: 0,
                deleted: false,
            },
        );
        Ok(device)
    }

    /// Deletes a device object; its memory goes when nobody refers to it any more.
    pub fn delete_device(&self, device: Ptr<DeviceObject>) -> bool {
        let mut state = lock(&self.state);
        let Some(entry) = state.devices.get_mut(&device.address()).filter(|entry| !entry.deleted) else {
            return false;
        };
        entry.deleted = true;
        entry.name = None;
        let gone = entry.references <= 0 && entry.handles == 0;
        if gone {
            state.devices.remove(&device.address());
        }
        drop(state);
        unlink(device);
        if gone {
            thread::current().pool.free_system(device.cast());
        }
        self.changed.notify_all();
        true
    }

    pub fn device_name(&self, device: u64) -> Option<String> {
        lock(&self.state).devices.get(&device)?.name.clone()
    }

    pub fn add_link(&self, link: &str, target: &str, image: u64) -> NtStatus {
        let Some(name) = dos_name(link) else { return NtStatus::OBJECT_PATH_NOT_FOUND };
        let caller = thread::page().caller.get();
        let mut state = lock(&self.state);
        if state.links.contains_key(&name) {
            return NtStatus::OBJECT_NAME_COLLISION;
        }
        state.links.insert(name, Link { target: target.to_string(), image, caller });
        NtStatus::SUCCESS
    }

    pub fn remove_link(&self, link: &str) -> NtStatus {
        let removed = dos_name(link).and_then(|name| lock(&self.state).links.remove(&name));
        if removed.is_some() { NtStatus::SUCCESS } else { NtStatus::OBJECT_NAME_NOT_FOUND }
    }

    /// The device that a path names, and what follows the device's name.
    fn resolve(&self, path: &str) -> Result<(u64, String), NtStatus> {
        let state = lock(&self.state);
        let mut path = path.to_string();
        if let Some(name) = dos_name(&path) {
            let split = name.find('\\').unwrap_or(name.len());
            let link = state.links.get(&name[..split]).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
            let rest = &path[path.len() - (name.len() - split)..];
            path = format!("{}{rest}", link.target);
        }
        state
            .devices
            .iter()
            .filter(|(_, device)| !device.deleted)
            .find_map(|(address, device)| {
                let name = device.name.as_deref()?;
                let head = path.get(..name.len())?;
                let rest = &path[name.len()..];
                (head.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with('\\')))
                    .then(|| (*address, rest.to_string()))
            })
            .ok_or(NtStatus::NO_SUCH_DEVICE)
    }

    /// Paths of a driver's devices, as programs open them: by their symbolic links.
    pub fn paths(&self, image: u64) -> Vec<String> {
        let state = lock(&self.state);
        let of_image = |target: &str| {
            state.devices.values().any(|device| {
                device.image == image
                    && !device.deleted
                    && device.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(target))
            })
        };
        let links = state.links.iter().filter(|(_, link)| of_image(&link.target));
        links.map(|(name, _)| format!(r"\\.\{name}")).collect()
    }

    /// Handles open on a driver's devices.
    pub fn open_handles(&self, image: u64) -> Vec<String> {
        let state = lock(&self.state);
        state
            .devices
            .values()
            .filter(|device| device.image == image && device.handles != 0)
            .map(|device| {
                let plural = if device.handles == 1 { "" } else { "s" };
                let name = device.name.as_deref().unwrap_or("an unnamed device");
                format!("{} open handle{plural} to {name}", device.handles)
            })
            .collect()
    }

    /// Waits until nothing but handles refers to a driver's devices.
    pub fn wait_for_references(&self, image: u64, at_most: Duration) {
        let clock = &thread::current().clock;
        let deadline = clock.now() + at_most;
        let mut state = lock(&self.state);
        while state.devices.values().any(|device| device.image == image && device.references > 0)
            && clock.now() < deadline
            && !thread::page().stopped()
        {
            state = self.changed.wait(&self.state, state, Until::Grace(deadline), "references to devices");
        }
    }

    /// Clears `DO_DEVICE_INITIALIZING` of a driver's devices, as the I/O manager does after `DriverEntry`.
    pub fn finish_initializing(&self, driver: &Driver) {
        let mut device = field!(driver.object, DeviceObject).read();
        while !device.is_null() {
            let flags = field!(device, Flags);
            flags.write(flags.read() & !DO_DEVICE_INITIALIZING);
            device = field!(device, NextDevice).read();
        }
    }

    /// Devices, links, IRPs and registrations that an image left behind; all of it is taken away.
    pub fn take_owned_by(&self, image: u64) -> Vec<String> {
        let at = |address: u64| image::place(address).map_or_else(String::new, |place| format!(", created at {place}"));
        let mut left = Vec::new();
        let mut state = lock(&self.state);
        let devices: Vec<u64> =
            state.devices.iter().filter(|(_, one)| one.image == image).map(|(address, _)| *address).collect();
        for address in &devices {
            if let Some(device) = state.devices.remove(address) {
                if device.deleted {
                    left.push(format!(
                        "device object {address:#x} was deleted but is still referenced {} time(s)",
                        device.references
                    ));
                } else {
                    let name = device.name.unwrap_or_else(|| "without a name".into());
                    left.push(format!("device object {address:#x} ({name}) was not deleted{}", at(device.caller)));
                }
            }
        }
        state.links.retain(|name, link| {
            let owned = link.image == image;
            if owned {
                left.push(format!(r"symbolic link \??\{name} was not deleted{}", at(link.caller)));
            }
            !owned
        });
        let irps: Vec<u64> =
            state.irps.iter().filter(|(_, irp)| irp.image == image).map(|(address, _)| *address).collect();
        for address in &irps {
            if let Some(irp) = state.irps.remove(address) {
                left.push(format!("IRP {address:#x} was not freed{}", at(irp.caller)));
            }
        }
        state.shutdown.retain(|(device, owner)| {
            if *owner == image {
                left.push(format!("shutdown notification of device {device:#x} was not unregistered"));
            }
            *owner != image
        });
        drop(state);
        for address in devices.iter().chain(&irps) {
            thread::current().pool.free_system(Ptr::from_address(*address));
        }
        left
    }

    /// Allocates an IRP for a device stack.
    fn allocate_irp(&self, stack: i8, image: u64) -> Ptr<Irp> {
        self.allocate(stack, image, None)
    }

    fn allocate(&self, stack: i8, image: u64, request: Option<u64>) -> Ptr<Irp> {
        let kernel = thread::current();
        let size = size_of::<Irp>() + size_of::<IoStackLocation>() * stack.max(1) as usize;
        let irp: Ptr<Irp> = kernel.pool.allocate_system(size, b"Irp ").cast();
        initialise_irp(irp, size as u16, stack);
        let caller = thread::page().caller.get();
        let entry = PendingIrp { image, caller, request, done: None, cancelling: 0, associated: None };
        lock(&self.state).irps.insert(irp.address(), entry);
        irp
    }

    fn free_irp(&self, irp: Ptr<Irp>) -> bool {
        let known = lock(&self.state).irps.remove(&irp.address()).is_some();
        if known {
            thread::current().pool.free_system(irp.cast());
        }
        known
    }

    /// Begins a request of the lab's own.
    fn request(&self, stack: i8) -> OwnRequest {
        let number = {
            let mut state = lock(&self.state);
            state.requests += 1;
            state.requests
        };
        OwnRequest { irp: self.allocate(stack, 0, Some(number)), number }
    }

    /// Frees a request, whether it was completed or not.
    fn free_request(&self, request: OwnRequest) {
        let mut state = lock(&self.state);
        if state.completed.remove(&request.number).is_none() {
            drop(state);
            self.free_irp(request.irp);
        }
    }

    /// How a request was completed, if it was, and whether the driver has marked it pending.
    fn outcome(&self, request: OwnRequest, stack: Ptr<IoStackLocation>) -> (Option<IoStatusBlock>, bool) {
        // Under the lock, without which the IRP might go meanwhile.
        let state = lock(&self.state);
        match state.completed.get(&request.number) {
            Some(done) => (Some(done.status), done.pending),
            None => (None, field!(stack, Control).read() & SL_PENDING_RETURNED != 0),
        }
    }

    fn wait_for(&self, request: OwnRequest, deadline: Option<Instant>) -> Option<IoStatusBlock> {
        let mut state = lock(&self.state);
        loop {
            if let Some(done) = state.completed.get(&request.number) {
                return Some(done.status);
            }
            let now = thread::current().clock.now();
            if thread::page().stopped() || deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            let until = deadline.map_or(Until::Notified, Until::Time);
            state = self.changed.wait(&self.state, state, until, "a request to be completed");
        }
    }

    /// Cancels a request that was not completed yet.
    fn cancel(&self, request: OwnRequest) {
        let key = request.irp.address();
        match lock(&self.state).irps.get_mut(&key) {
            Some(entry) if entry.request == Some(request.number) => entry.cancelling += 1,
            _ => return,
        }
        cancel(request.irp);
        let mut state = lock(&self.state);
        if let Some(entry) = state.irps.get_mut(&key) {
            entry.cancelling -= 1;
            if let Some(done) = entry.done {
                self.conclude(&mut state, request, done);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Notes how a request was completed, and frees its IRP, unless somebody is about to look at it.
    fn conclude(&self, state: &mut State, request: OwnRequest, done: Done) {
        let key = request.irp.address();
        let Some(entry) = state.irps.get_mut(&key) else { return };
        if entry.cancelling != 0 {
            entry.done = Some(done);
            return;
        }
        state.irps.remove(&key);
        state.completed.insert(request.number, done);
        thread::current().pool.free_system(request.irp.cast());
    }
}

/// What `IoCreateDevice` is told.
pub(crate) struct NewDevice<'a> {
    pub driver: &'a Arc<Driver>,
    pub extension: u32,
    pub name: Option<&'a str>,
    pub device_type: u32,
    pub characteristics: u32,
    pub exclusive: bool,
    /// Who may open it, if that was said.
    pub security: Option<Security>,
}

/// Takes a device off its driver's list.
fn unlink(device: Ptr<DeviceObject>) {
    let driver = field!(device, DriverObject).read();
    let mut at = field!(driver, DeviceObject);
    loop {
        let next = at.read();
        if next.is_null() {
            return;
        }
        if next == device {
            at.write(field!(device, NextDevice).read());
            return;
        }
        at = field!(next, NextDevice);
    }
}

fn initialise_irp(irp: Ptr<Irp>, size: u16, stack: i8) {
    const IRP_TYPE: i16 = 6;
    let first: Ptr<IoStackLocation> = irp.byte_at(size_of::<Irp>());
    irp.write(Irp {
        Type: IRP_TYPE,
        Size: size,
        StackCount: stack,
        CurrentLocation: stack + 1,
        CurrentStackLocation: first.at(stack as usize),
        ..zeroed()
    });
}

fn origin() -> u64 {
    image::number_at(thread::page().caller.get()).unwrap_or(0)
}

extern "win64" fn IoCreateDevice(
    driver: Ptr<DriverObject>,
    extension: u32,
    name: Ptr<UnicodeString>,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    out: Ptr<Ptr<DeviceObject>>,
) -> NtStatus {
    require_irql(APC_LEVEL);
    create_device(driver, extension, name, device_type, characteristics, exclusive, None, out)
}

#[expect(clippy::too_many_arguments, reason = "those of the function that it stands for")]
fn create_device(
    driver: Ptr<DriverObject>,
    extension: u32,
    name: Ptr<UnicodeString>,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    security: Option<Security>,
    out: Ptr<Ptr<DeviceObject>>,
) -> NtStatus {
    if let Some(status) = inject::faulted() {
        return status;
    }
    let kernel = thread::current();
    let Some(owner) = kernel.drivers.by_object(driver.address()) else {
        bad_parameter("a driver object that is not one", "pass the driver object that DriverEntry was given");
        return NtStatus::INVALID_PARAMETER;
    };
    let name = name.non_null().map(|name| name.read().text());
    let created = kernel.io.create_device(NewDevice {
        driver: &owner,
        extension,
        name: name.as_deref(),
        device_type,
        characteristics,
        exclusive: exclusive != 0,
        security,
    });
    match created {
        Ok(device) => {
            out.write(device);
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

extern "win64" fn IoCreateDeviceSecure(
    driver: Ptr<DriverObject>,
    extension: u32,
    name: Ptr<UnicodeString>,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    sddl: Ptr<UnicodeString>,
    _class: u64,
    out: Ptr<Ptr<DeviceObject>>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let Some(security) = sddl.non_null().and_then(|sddl| Security::parse(&sddl.read().text())) else {
        bad_parameter("a security descriptor string that is not SDDL", "pass for example D:P(A;;GA;;;SY)(A;;GA;;;BA)");
        return NtStatus::INVALID_SECURITY_DESCR;
    };
    const AUTOGENERATED: u32 = 0x80;
    if name.is_null() && characteristics & AUTOGENERATED == 0 {
        bad_parameter("no device name", "a device with a security descriptor needs a name");
        return NtStatus::INVALID_PARAMETER;
    }
    create_device(driver, extension, name, device_type, characteristics, exclusive, Some(security), out)
}

extern "win64" fn WdmlibIoCreateDeviceSecure(
    driver: Ptr<DriverObject>,
    extension: u32,
    name: Ptr<UnicodeString>,
    device_type: u32,
    characteristics: u32,
    exclusive: u8,
    sddl: Ptr<UnicodeString>,
    class: u64,
    out: Ptr<Ptr<DeviceObject>>,
) -> NtStatus {
    IoCreateDeviceSecure(driver, extension, name, device_type, characteristics, exclusive, sddl, class, out)
}

extern "win64" fn IoDeleteDevice(device: Ptr<DeviceObject>) {
    require_irql(APC_LEVEL);
    if !thread::current().io.delete_device(device) {
        bad_parameter(
            &format!("{:#x}, which is not a device object that exists", device.address()),
            "delete each device once",
        );
    }
}

extern "win64" fn IoCreateSymbolicLink(link: Ptr<UnicodeString>, target: Ptr<UnicodeString>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let (link, target) = (link.read().text(), target.read().text());
    thread::current().io.add_link(&link, &target, origin())
}

extern "win64" fn IoCreateUnprotectedSymbolicLink(link: Ptr<UnicodeString>, target: Ptr<UnicodeString>) -> NtStatus {
    IoCreateSymbolicLink(link, target)
}

extern "win64" fn IoDeleteSymbolicLink(link: Ptr<UnicodeString>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let name = link.read().text();
    let status = thread::current().io.remove_link(&name);
    if !status.is_success() {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("IoDeleteSymbolicLink for {name}, which does not exist"),
            remedy: "delete each link once, by the name that it was created with".into(),
        });
    }
    status
}

/// The dispatch routine of every major function that a driver does not set.
pub(crate) extern "win64" fn invalid_device_request(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    field!(irp, IoStatus).write(IoStatusBlock { Status: NtStatus::INVALID_DEVICE_REQUEST, Information: 0 });
    complete(irp);
    NtStatus::INVALID_DEVICE_REQUEST
}

extern "win64" fn IofCompleteRequest(irp: Ptr<Irp>, _boost: i8) {
    require_irql(DISPATCH_LEVEL);
    complete(irp);
}

extern "win64" fn IoCompleteRequest(irp: Ptr<Irp>, boost: i8) {
    IofCompleteRequest(irp, boost);
}

/// Completes an IRP: calls the completion routines upwards, then tells whoever waits for it.
pub(crate) fn complete(irp: Ptr<Irp>) {
    let kernel = thread::current();
    let state = lock(&kernel.io.state).irps.get(&irp.address()).map(|irp| irp.done.is_some());
    if state != Some(false) {
        report::bugcheck(
            MULTIPLE_IRP_COMPLETE_REQUESTS,
            [irp.address(), 0, 0, 0],
            &format!(
                "{} completed {:#x}, which is no IRP in progress: completed twice, or freed",
                export::current_name(),
                irp.address()
            ),
        );
    }
    let value = irp.read();
    if value.IoStatus.Status == NtStatus::PENDING {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "an IRP was completed with STATUS_PENDING".into(),
            remedy: "set IoStatus.Status to the final status before completing".into(),
        });
    }
    if value.CancelRoutine != 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "an IRP was completed with its cancel routine still set".into(),
            remedy: "call IoSetCancelRoutine(Irp, NULL) and act on its result before completing".into(),
        });
        field!(irp, CancelRoutine).write(0);
    }
    let mut location = value.CurrentLocation;
    while location <= value.StackCount {
        let stack = field!(irp, CurrentStackLocation).read();
        let here = stack.read();
        location += 1;
        field!(irp, CurrentLocation).write(location);
        field!(irp, CurrentStackLocation).write(stack.at(1));
        field!(irp, PendingReturned).write(here.Control & SL_PENDING_RETURNED);
        let status = field!(irp, IoStatus).read().Status;
        let cancelled = field!(irp, Cancel).read() != 0;
        let wanted = (status.is_success() && here.Control & SL_INVOKE_ON_SUCCESS != 0)
            || (!status.is_success() && here.Control & SL_INVOKE_ON_ERROR != 0)
            || (cancelled && here.Control & SL_INVOKE_ON_CANCEL != 0);
        if here.CompletionRoutine != 0 && wanted {
            let above = if location <= value.StackCount { field!(stack.at(1), DeviceObject).read() } else { Ptr::NULL };
            let context = CallContext { what: "IoCompletion routine", object: "an IRP", at: "" };
            let routine = here.CompletionRoutine as *const ();
            // SAFETY: the driver set this routine for exactly this call.
            let result = unsafe { call_image(&context, irql::current(), routine, (above, irp, here.Context)) };
            match result {
                Err(_) => {
                    report::leave_if_stopped();
                    return;
                }
                Ok(status) if NtStatus(status as u32 as i32) == NtStatus::MORE_PROCESSING_REQUIRED => return,
                Ok(_) => {}
            }
        }
    }
    finish(irp);
}

/// The last step of completion.
fn finish(irp: Ptr<Irp>) {
    let kernel = thread::current();
    let status = field!(irp, IoStatus).read();
    let done = Done { status, pending: field!(irp, PendingReturned).read() != 0 };
    let mut state = lock(&kernel.io.state);
    let Some(entry) = state.irps.get_mut(&irp.address()) else { return };
    let associated = entry.associated;
    match entry.request {
        Some(number) => kernel.io.conclude(&mut state, OwnRequest { irp, number }, done),
        None => entry.done = Some(done),
    }
    drop(state);
    kernel.io.changed.notify_all();
    let Some(associated) = associated else { return };
    if associated.buffered && !associated.output.is_null() {
        let length = (status.Information as usize).min(associated.output_length as usize);
        let bytes = field!(irp, SystemBuffer).read().to_vec(length);
        associated.output.copy_from(&bytes);
    }
    let buffer = field!(irp, SystemBuffer).read();
    if !buffer.is_null() {
        kernel.pool.free_system(buffer);
    }
    associated.status_block.write_optional(status);
    if associated.event != 0 {
        let event = Ptr::<crate::nt::KEvent>::from_address(associated.event);
        let held = kernel.dispatcher.lock();
        field!(event, Header.SignalState).write(1);
        drop(held);
        kernel.dispatcher.signal();
    }
    kernel.io.free_irp(irp);
}

/// Calls the dispatch routine of a device's driver.
fn call_dispatch(device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> Result<NtStatus, crate::call::Stopped> {
    let kernel = thread::current();
    let location = field!(irp, CurrentLocation).read() - 1;
    if location <= 0 {
        report::bugcheck(
            0x35,
            [irp.address(), 0, 0, 0],
            "NO_MORE_IRP_STACK_LOCATIONS: an IRP was sent further than it has stack locations",
        );
    }
    let stack = field!(irp, CurrentStackLocation).read().at(usize::MAX);
    field!(irp, CurrentLocation).write(location);
    field!(irp, CurrentStackLocation).write(stack);
    field!(stack, DeviceObject).write(device);
    let major = field!(stack, MajorFunction).read();
    let driver = field!(device, DriverObject).read();
    let routine = field!(driver, MajorFunction).read()[usize::from(major).min(27)];
    let object = kernel.io.device_name(device.address()).unwrap_or_else(|| "an unnamed device".into());
    let context = CallContext { what: major_name(major), object: &object, at: "" };
    // SAFETY: the driver registered this routine for exactly this call.
    let status = unsafe { call_image(&context, irql::current(), routine as *const (), (device, irp)) }?;
    Ok(NtStatus(status as u32 as i32))
}

extern "win64" fn IofCallDriver(device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    match call_dispatch(device, irp) {
        Ok(status) => status,
        Err(_) => {
            report::leave_if_stopped();
            NtStatus::UNSUCCESSFUL
        }
    }
}

extern "win64" fn IoCallDriver(device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    IofCallDriver(device, irp)
}

extern "win64" fn IoAllocateIrp(stack: i8, _quota: u8) -> Ptr<Irp> {
    require_irql(DISPATCH_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    thread::current().io.allocate_irp(stack, origin())
}

extern "win64" fn IoFreeIrp(irp: Ptr<Irp>) {
    require_irql(DISPATCH_LEVEL);
    if !thread::current().io.free_irp(irp) {
        bad_parameter(&format!("{:#x}, which is not an IRP", irp.address()), "free each IRP once");
    }
}

extern "win64" fn IoInitializeIrp(irp: Ptr<Irp>, size: u16, stack: i8) {
    initialise_irp(irp, size, stack);
}

extern "win64" fn IoReuseIrp(irp: Ptr<Irp>, status: NtStatus) {
    let value = irp.read();
    initialise_irp(irp, value.Size, value.StackCount);
    field!(irp, IoStatus.Status).write(status);
    if let Some(entry) = lock(&thread::current().io.state).irps.get_mut(&irp.address()) {
        entry.done = None;
    }
}

extern "win64" fn IoSizeOfIrpEx(_device: u64, stack: i8) -> u16 {
    (size_of::<Irp>() + size_of::<IoStackLocation>() * stack.max(0) as usize) as u16
}

extern "win64" fn IoBuildDeviceIoControlRequest(
    code: u32,
    device: Ptr<DeviceObject>,
    input: Ptr<u8>,
    input_length: u32,
    output: Ptr<u8>,
    output_length: u32,
    internal: u8,
    event: u64,
    status_block: Ptr<IoStatusBlock>,
) -> Ptr<Irp> {
    require_irql(PASSIVE_LEVEL);
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    let kernel = thread::current();
    let data = input.to_vec(if input.is_null() { 0 } else { input_length as usize });
    let irp = kernel.io.allocate_irp(field!(device, StackSize).read().max(1), origin());
    let buffered = code & 3 == METHOD_BUFFERED;
    if buffered && input_length.max(output_length) != 0 {
        let buffer = kernel.pool.allocate_system(input_length.max(output_length) as usize, b"IoSB");
        buffer.copy_from(&data);
        field!(irp, SystemBuffer).write(buffer);
    }
    field!(irp, UserBuffer).write(output);
    let stack = field!(irp, CurrentStackLocation).read().at(usize::MAX);
    stack.write(IoStackLocation {
        MajorFunction: if internal != 0 { 0x0f } else { IRP_MJ_DEVICE_CONTROL },
        OutputBufferLength: u64::from(output_length),
        InputBufferLength: u64::from(input_length),
        IoControlCode: u64::from(code),
        Type3InputBuffer: if buffered { Ptr::NULL } else { input },
        ..zeroed()
    });
    if let Some(entry) = lock(&kernel.io.state).irps.get_mut(&irp.address()) {
        entry.associated = Some(Associated { event, status_block, output, output_length, buffered });
    }
    irp
}

extern "win64" fn IoAcquireCancelSpinLock(old: Ptr<u8>) {
    require_irql(DISPATCH_LEVEL);
    old.write(acquire_cancel_lock());
}

pub(crate) fn acquire_cancel_lock() -> u8 {
    crate::ntos::spin::KeAcquireSpinLockRaiseToDpc(thread::current().io.cancel_lock().cast())
}

pub(crate) extern "win64" fn IoReleaseCancelSpinLock(old: u8) {
    crate::ntos::spin::KeReleaseSpinLock(thread::current().io.cancel_lock().cast(), old);
}

extern "win64" fn IoCancelIrp(irp: Ptr<Irp>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    u8::from(cancel(irp))
}

/// Cancels an IRP: marks it, and calls its cancel routine if it has one.
fn cancel(irp: Ptr<Irp>) -> bool {
    let old = acquire_cancel_lock();
    field!(irp, Cancel).write(1);
    let cell = field!(irp, CancelRoutine).as_mut_ptr();
    // SAFETY: an aligned word of the IRP; drivers exchange it atomically as well.
    let cell = unsafe { core::sync::atomic::AtomicU64::from_ptr(cell) };
    let routine = cell.swap(0, core::sync::atomic::Ordering::AcqRel);
    if routine == 0 {
        crate::ntos::spin::KeReleaseSpinLock(thread::current().io.cancel_lock().cast(), old);
        return false;
    }
    field!(irp, CancelIrql).write(old);
    let stack = field!(irp, CurrentStackLocation).read();
    let device = field!(stack, DeviceObject).read();
    let context = CallContext { what: "Cancel routine", object: "an IRP", at: "" };
    let locks = thread::page().spin_locks.get();
    // SAFETY: the driver set this routine for exactly this call. It releases the cancel spin lock.
    let result = unsafe { call_unbalanced(&context, DISPATCH_LEVEL, routine as *const (), (device, irp)) };
    if result.is_err() {
        report::leave_if_stopped();
        return true;
    }
    let page = thread::page();
    if page.spin_locks.get() == locks {
        report::violation_in(
            &context,
            Finding {
                kind: Kind::SpinLock,
                what: "a cancel routine returned without releasing the cancel spin lock".into(),
                remedy: "call IoReleaseCancelSpinLock(Irp->CancelIrql) in the cancel routine".into(),
            },
        );
        crate::ntos::spin::KeReleaseSpinLock(thread::current().io.cancel_lock().cast(), old);
    }
    page.irql.set(old);
    true
}

extern "win64" fn IoGetDeviceObjectPointer(
    name: Ptr<UnicodeString>,
    _access: u32,
    file: Ptr<u64>,
    device: Ptr<u64>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let kernel = thread::current();
    match kernel.io.resolve(&name.read().text()) {
        Err(NtStatus::NO_SUCH_DEVICE) => NtStatus::OBJECT_NAME_NOT_FOUND,
        Err(status) => status,
        Ok((found, _)) => {
            kernel.io.reference_object(found, 1);
            // The lab has no file system stack in between: the device stands for its file object too.
            file.write(found);
            device.write(found);
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn IoGetRequestorProcess(_irp: Ptr<Irp>) -> u64 {
    crate::ntos::object::process().address()
}

extern "win64" fn IoGetRequestorProcessId(_irp: Ptr<Irp>) -> u32 {
    std::process::id()
}

extern "win64" fn IoIs32bitProcess(_irp: Ptr<Irp>) -> u8 {
    0
}

extern "win64" fn IoIsOperationSynchronous(_irp: Ptr<Irp>) -> u8 {
    1
}

extern "win64" fn IoIsSystemThread(_thread: u64) -> u8 {
    1
}

extern "win64" fn IoGetTopLevelIrp() -> u64 {
    0
}

extern "win64" fn IoSetTopLevelIrp(_irp: u64) {}

extern "win64" fn IoGetStackLimits(low: Ptr<u64>, high: Ptr<u64>) {
    // A kernel stack is 24 KiB; the lab's are larger, so the lower limit is a safe one below the caller.
    let here = low.address() & !0xfff;
    // SAFETY: an import is called from within a call into an image, whose frame is linked meanwhile.
    let frame = unsafe { &*thread::page().innermost() };
    low.write(here - 0x4000);
    high.write(frame.stack.next_multiple_of(0x1000));
}

extern "win64" fn IoRegisterShutdownNotification(device: u64) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    lock(&thread::current().io.state).shutdown.push((device, origin()));
    NtStatus::SUCCESS
}

extern "win64" fn IoUnregisterShutdownNotification(device: u64) {
    require_irql(PASSIVE_LEVEL);
    lock(&thread::current().io.state).shutdown.retain(|(registered, _)| *registered != device);
}

extern "win64" fn IoValidateDeviceIoControlAccess(_irp: Ptr<Irp>, _access: u32) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn IoGetAttachedDevice(device: u64) -> u64 {
    device
}

extern "win64" fn IoGetAttachedDeviceReference(device: u64) -> u64 {
    thread::current().io.reference_object(device, 1);
    device
}

extern "win64" fn IoGetRelatedDeviceObject(file: Ptr<FileObject>) -> Ptr<DeviceObject> {
    field!(file, DeviceObject).read()
}

// Cancel-safe IRP queues.

/// `IO_CSQ`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Csq {
    Type: u32,
    InsertIrp: u64,
    RemoveIrp: u64,
    PeekNextIrp: u64,
    AcquireLock: u64,
    ReleaseLock: u64,
    CompleteCanceledIrp: u64,
    ReservePointer: u64,
}

/// `IO_CSQ_IRP_CONTEXT`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CsqContext {
    Type: u32,
    Irp: Ptr<Irp>,
    Csq: Ptr<Csq>,
}

const _: () = assert!(size_of::<Csq>() == 0x40 && size_of::<CsqContext>() == 0x18);

const CSQ_IRP_CONTEXT: u32 = 1;
const CSQ: u32 = 2;
const CSQ_EX: u32 = 3;

fn initialise_csq(csq: Ptr<Csq>, kind: u32, routines: [u64; 6]) -> NtStatus {
    let [InsertIrp, RemoveIrp, PeekNextIrp, AcquireLock, ReleaseLock, CompleteCanceledIrp] = routines;
    if routines.contains(&0) {
        bad_parameter("a routine that is null", "pass all six routines of the queue");
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    csq.write(Csq {
        Type: kind,
        InsertIrp,
        RemoveIrp,
        PeekNextIrp,
        AcquireLock,
        ReleaseLock,
        CompleteCanceledIrp,
        ReservePointer: 0,
    });
    NtStatus::SUCCESS
}

extern "win64" fn IoCsqInitialize(
    csq: Ptr<Csq>,
    insert: u64,
    remove: u64,
    peek: u64,
    acquire: u64,
    release: u64,
    complete: u64,
) -> NtStatus {
    initialise_csq(csq, CSQ, [insert, remove, peek, acquire, release, complete])
}

extern "win64" fn IoCsqInitializeEx(
    csq: Ptr<Csq>,
    insert: u64,
    remove: u64,
    peek: u64,
    acquire: u64,
    release: u64,
    complete: u64,
) -> NtStatus {
    initialise_csq(csq, CSQ_EX, [insert, remove, peek, acquire, release, complete])
}

/// Calls one of the queue's routines; they change the IRQL by their purpose.
fn csq_call(what: &'static str, routine: u64, arguments: (Ptr<Csq>, u64, u64)) -> u64 {
    let context = CallContext { what, object: "a cancel-safe queue", at: "" };
    // SAFETY: the driver registered this routine for exactly this call.
    match unsafe { call_unbalanced(&context, irql::current(), routine as *const (), arguments) } {
        Ok(value) => value,
        Err(_) => {
            report::leave_if_stopped();
            0
        }
    }
}

fn csq_lock(csq: Ptr<Csq>) -> u8 {
    let mut old = 0u8;
    csq_call("CsqAcquireLock", field!(csq, AcquireLock).read(), (csq, (&raw mut old) as u64, 0));
    if csq_held(csq).swap(1, core::sync::atomic::Ordering::AcqRel) != 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: "CsqAcquireLock of a cancel-safe queue returned while another thread held the queue's lock".into(),
            remedy: "take a lock in CsqAcquireLock and release it in CsqReleaseLock".into(),
        });
    }
    old
}

/// Whether a queue's lock is held, in the member that is the system's.
fn csq_held<'a>(csq: Ptr<Csq>) -> &'a core::sync::atomic::AtomicU64 {
    field!(csq, ReservePointer).cast::<core::sync::atomic::AtomicU64>().as_ref()
}

fn csq_unlock(csq: Ptr<Csq>, old: u8) {
    csq_held(csq).store(0, core::sync::atomic::Ordering::Release);
    csq_call("CsqReleaseLock", field!(csq, ReleaseLock).read(), (csq, u64::from(old), 0));
}

extern "win64" fn IoCsqInsertIrp(csq: Ptr<Csq>, irp: Ptr<Irp>, context: Ptr<CsqContext>) {
    insert(csq, irp, context, 0);
}

extern "win64" fn IoCsqInsertIrpEx(
    csq: Ptr<Csq>,
    irp: Ptr<Irp>,
    context: Ptr<CsqContext>,
    insert_context: u64,
) -> NtStatus {
    insert(csq, irp, context, insert_context)
}

fn cancel_cell<'a>(irp: Ptr<Irp>) -> &'a core::sync::atomic::AtomicU64 {
    field!(irp, CancelRoutine).cast::<core::sync::atomic::AtomicU64>().as_ref()
}

fn insert(csq: Ptr<Csq>, irp: Ptr<Irp>, context: Ptr<CsqContext>, insert_context: u64) -> NtStatus {
    use core::sync::atomic::Ordering;
    let slot = field!(irp, DriverContext).cast::<u64>().at(3);
    if context.is_null() {
        slot.write(csq.address());
    } else {
        context.write(CsqContext { Type: CSQ_IRP_CONTEXT, Irp: irp, Csq: csq });
        slot.write(context.address());
    }
    let value = csq.read();
    let old = csq_lock(csq);
    let stack = field!(irp, CurrentStackLocation).read();
    let control = field!(stack, Control);
    control.write(control.read() | SL_PENDING_RETURNED);
    let arguments = (csq, irp.address(), if value.Type == CSQ_EX { insert_context } else { 0 });
    let status = NtStatus(csq_call("CsqInsertIrp", value.InsertIrp, arguments) as u32 as i32);
    if value.Type == CSQ_EX && !status.is_success() {
        slot.write(0);
        csq_unlock(csq, old);
        return status;
    }
    cancel_cell(irp).store(csq_cancel as *const () as u64, Ordering::Release);
    if field!(irp, Cancel).read() != 0 && cancel_cell(irp).swap(0, Ordering::AcqRel) != 0 {
        csq_call("CsqRemoveIrp", value.RemoveIrp, (csq, irp.address(), 0));
        slot.write(0);
        csq_unlock(csq, old);
        csq_call("CsqCompleteCanceledIrp", value.CompleteCanceledIrp, (csq, irp.address(), 0));
        return NtStatus::SUCCESS;
    }
    csq_unlock(csq, old);
    NtStatus::SUCCESS
}

/// The cancel routine of queued IRPs.
extern "win64" fn csq_cancel(_device: u64, irp: Ptr<Irp>) {
    IoReleaseCancelSpinLock(field!(irp, CancelIrql).read());
    let slot = field!(irp, DriverContext).cast::<u64>().at(3);
    let found = slot.read();
    let kind = Ptr::<u32>::from_address(found).read();
    let csq = if kind == CSQ_IRP_CONTEXT {
        let context = Ptr::<CsqContext>::from_address(found);
        field!(context, Irp).write(Ptr::NULL);
        field!(context, Csq).read()
    } else {
        Ptr::from_address(found)
    };
    let value = csq.read();
    let old = csq_lock(csq);
    csq_call("CsqRemoveIrp", value.RemoveIrp, (csq, irp.address(), 0));
    slot.write(0);
    csq_unlock(csq, old);
    csq_call("CsqCompleteCanceledIrp", value.CompleteCanceledIrp, (csq, irp.address(), 0));
}

/// Takes an IRP off its queue unless its cancellation has begun.
fn take(csq: Ptr<Csq>, irp: Ptr<Irp>) -> bool {
    use core::sync::atomic::Ordering;
    if cancel_cell(irp).swap(0, Ordering::AcqRel) == 0 {
        return false;
    }
    csq_call("CsqRemoveIrp", field!(csq, RemoveIrp).read(), (csq, irp.address(), 0));
    let slot = field!(irp, DriverContext).cast::<u64>().at(3);
    let found = slot.read();
    if Ptr::<u32>::from_address(found).read() == CSQ_IRP_CONTEXT {
        field!(Ptr::<CsqContext>::from_address(found), Irp).write(Ptr::NULL);
    }
    slot.write(0);
    true
}

extern "win64" fn IoCsqRemoveIrp(csq: Ptr<Csq>, context: Ptr<CsqContext>) -> Ptr<Irp> {
    let old = csq_lock(csq);
    let irp = field!(context, Irp).read();
    let taken = !irp.is_null() && take(csq, irp);
    csq_unlock(csq, old);
    if taken { irp } else { Ptr::NULL }
}

extern "win64" fn IoCsqRemoveNextIrp(csq: Ptr<Csq>, peek_context: u64) -> Ptr<Irp> {
    let value = csq.read();
    let old = csq_lock(csq);
    let mut irp = Ptr::<Irp>::NULL;
    loop {
        irp = Ptr::from_address(csq_call("CsqPeekNextIrp", value.PeekNextIrp, (csq, irp.address(), peek_context)));
        if irp.is_null() || take(csq, irp) {
            break;
        }
    }
    csq_unlock(csq, old);
    irp
}

// What the lab's users do with devices.

const METHOD_BUFFERED: u32 = 0;
const METHOD_NEITHER: u32 = 3;

/// A handle to a device, as `CreateFile` gives one. Dropping it sends `IRP_MJ_CLEANUP`, and `IRP_MJ_CLOSE`
/// once nothing it began is in progress.
pub struct File {
    inner: Arc<OpenFile>,
}

struct OpenFile {
    kernel: Arc<Kernel>,
    device: Ptr<DeviceObject>,
    file: Ptr<FileObject>,
    _name: OwnedUnicode,
    closed: bool,
}

/// A request in progress. Dropping it cancels the request and waits for its end.
pub struct PendingIo {
    file: Arc<OpenFile>,
    request: OwnRequest,
    /// What the lab has allocated for it, if anything: a system buffer, and an MDL of the data.
    buffer: Ptr<u8>,
    mdl: Ptr<Mdl>,
    output: Vec<u8>,
    input: Vec<u8>,
    method: u32,
    finished: bool,
}

impl File {
    pub(crate) fn open(kernel: &Arc<Kernel>, user: User, path: &str) -> Result<File, NtStatus> {
        thread::enter(kernel, || {
            let (address, rest) = kernel.io.resolve(path)?;
            let device = Ptr::<DeviceObject>::from_address(address);
            {
                let mut state = lock(&kernel.io.state);
                let entry = state.devices.get_mut(&address).ok_or(NtStatus::NO_SUCH_DEVICE)?;
                if entry.driver.upgrade().is_none_or(|driver| driver.is_unloading()) {
                    return Err(NtStatus::NO_SUCH_DEVICE);
                }
                // A path below the device's name is the driver's own business, if it does not say otherwise.
                let checked = rest.is_empty() || field!(device, Characteristics).read() & FILE_DEVICE_SECURE_OPEN != 0;
                if checked && !entry.security.grants(user, READ_AND_WRITE) {
                    return Err(NtStatus::ACCESS_DENIED);
                }
                let flags = field!(device, Flags).read();
                if flags & DO_DEVICE_INITIALIZING != 0 {
                    return Err(NtStatus::NO_SUCH_DEVICE);
                }
                if flags & DO_EXCLUSIVE != 0 && entry.handles != 0 {
                    return Err(NtStatus::ACCESS_DENIED);
                }
                entry.handles += 1;
                field!(device, ReferenceCount).write(entry.handles as i32);
            }
            let file: Ptr<FileObject> = kernel.pool.allocate_system(size_of::<FileObject>(), b"File").cast();
            const FILE_TYPE: i16 = 5;
            let name = OwnedUnicode::new(&rest);
            file.write(FileObject {
                Type: FILE_TYPE,
                Size: size_of::<FileObject>() as i16,
                DeviceObject: device,
                ReadAccess: 1,
                WriteAccess: 1,
                FileName: if rest.is_empty() { UnicodeString::EMPTY } else { name.value() },
                ..zeroed()
            });
            let mut open = OpenFile { kernel: kernel.clone(), device, file, _name: name, closed: true };
            let security = SecurityContext::new();
            let status = open.simple_request(IRP_MJ_CREATE, |stack| {
                field!(stack, OutputBufferLength).write(core::ptr::from_ref(&security) as u64);
            });
            if status.is_success() {
                open.closed = false;
                Ok(File { inner: Arc::new(open) })
            } else {
                Err(status)
            }
        })
    }

    /// The service of the driver whose device it is.
    pub fn service(&self) -> Option<String> {
        let state = lock(&self.inner.kernel.io.state);
        let driver = state.devices.get(&self.inner.device.address())?.driver.upgrade()?;
        Some(driver.name().to_owned())
    }

    /// Sends a device control request and waits for its end; returns what it put out.
    pub fn device_io_control(&self, code: u32, input: &[u8], output_length: usize) -> Result<Vec<u8>, NtStatus> {
        self.begin_device_io_control(code, input, output_length)?.wait()
    }

    /// Sends a device control request without waiting for its end.
    pub fn begin_device_io_control(
        &self,
        code: u32,
        input: &[u8],
        output_length: usize,
    ) -> Result<PendingIo, NtStatus> {
        self.begin_device_io_control_on(code, input, vec![0; output_length])
    }

    /// Sends a device control request whose output buffer the driver also reads, as one of a direct method may be.
    pub fn begin_device_io_control_on(&self, code: u32, input: &[u8], output: Vec<u8>) -> Result<PendingIo, NtStatus> {
        let method = code & 3;
        self.inner.begin(method, input.to_vec(), output, |stack, input, output_length| {
            stack.write(IoStackLocation {
                MajorFunction: IRP_MJ_DEVICE_CONTROL,
                OutputBufferLength: output_length,
                InputBufferLength: input.1,
                IoControlCode: u64::from(code),
                Type3InputBuffer: if method == METHOD_NEITHER { input.0 } else { Ptr::NULL },
                ..zeroed()
            });
        })
    }

    fn transfer_method(&self) -> u32 {
        let flags = thread::enter(&self.inner.kernel, || field!(self.inner.device, Flags).read());
        if flags & DO_BUFFERED_IO != 0 {
            METHOD_BUFFERED
        } else if flags & DO_DIRECT_IO != 0 {
            METHOD_OUT_DIRECT
        } else {
            METHOD_NEITHER
        }
    }

    /// Reads up to `length` bytes with `IRP_MJ_READ`.
    pub fn read(&self, length: usize) -> Result<Vec<u8>, NtStatus> {
        let method = self.transfer_method();
        let pending = self.inner.begin(method, Vec::new(), vec![0; length], |stack, _, length| {
            stack.write(IoStackLocation { MajorFunction: IRP_MJ_READ, OutputBufferLength: length, ..zeroed() });
        })?;
        pending.wait()
    }

    /// Writes with `IRP_MJ_WRITE`; returns how many bytes were taken.
    pub fn write(&self, data: &[u8]) -> Result<u64, NtStatus> {
        let method = match self.transfer_method() {
            METHOD_OUT_DIRECT => METHOD_IN_DIRECT_WHOLE,
            other => other,
        };
        let length = data.len() as u64;
        let mut pending = self.inner.begin(method, data.to_vec(), Vec::new(), |stack, _, _| {
            stack.write(IoStackLocation { MajorFunction: IRP_MJ_WRITE, OutputBufferLength: length, ..zeroed() });
        })?;
        pending
            .finish(None)
            .map(|(status, _)| status)
            .and_then(|status| if status.Status.is_success() { Ok(status.Information) } else { Err(status.Status) })
    }
}

const METHOD_OUT_DIRECT: u32 = 2;
/// A write with direct I/O: the data itself is described by the MDL.
const METHOD_IN_DIRECT_WHOLE: u32 = 4;

/// `IO_SECURITY_CONTEXT` with `ACCESS_STATE` left out: what a create request carries.
#[repr(C)]
struct SecurityContext {
    security_qos: u64,
    access_state: u64,
    desired_access: u32,
    full_create_options: u32,
}

impl SecurityContext {
    fn new() -> Self {
        const GENERIC_READ_WRITE: u32 = 0xC000_0000;
        SecurityContext { security_qos: 0, access_state: 0, desired_access: GENERIC_READ_WRITE, full_create_options: 0 }
    }
}

impl OpenFile {
    /// Sends a request without buffers and waits for its end.
    fn simple_request(&self, major: u8, fill: impl FnOnce(Ptr<IoStackLocation>)) -> NtStatus {
        let io = &self.kernel.io;
        let request = io.request(field!(self.device, StackSize).read());
        let irp = request.irp;
        field!(irp, OriginalFileObject).write(self.file);
        field!(irp, RequestorMode).write(1);
        field!(irp, Thread).write(thread::current_thread().address());
        let stack = field!(irp, CurrentStackLocation).read().at(usize::MAX);
        stack.write(IoStackLocation { MajorFunction: major, FileObject: self.file, ..zeroed() });
        fill(stack);
        let status = match self.send(request) {
            Ok(()) => io.wait_for(request, None).map_or(NtStatus::UNSUCCESSFUL, |done| done.Status),
            Err(status) => status,
        };
        io.free_request(request);
        status
    }

    /// Sends an IRP and checks what the dispatch routine made of it.
    fn send(&self, request: OwnRequest) -> Result<(), NtStatus> {
        let irp = request.irp;
        let stack = field!(irp, CurrentStackLocation).read().at(usize::MAX);
        let major = field!(stack, MajorFunction).read();
        let returned = call_dispatch(self.device, irp).map_err(|_| NtStatus::UNSUCCESSFUL)?;
        let io = &self.kernel.io;
        let object = io.device_name(self.device.address()).unwrap_or_default();
        let context = CallContext { what: major_name(major), object: &object, at: "" };
        let (done, pending_marked) = io.outcome(request, stack);
        let finding = match done {
            _ if returned == NtStatus::PENDING && !pending_marked => Some((
                "returned STATUS_PENDING without marking the IRP pending",
                "call IoMarkIrpPending before returning STATUS_PENDING",
            )),
            _ if returned != NtStatus::PENDING && pending_marked => Some((
                "marked the IRP pending and did not return STATUS_PENDING",
                "return STATUS_PENDING after IoMarkIrpPending",
            )),
            None if returned != NtStatus::PENDING => Some((
                "returned without completing the IRP and without marking it pending",
                "call IoCompleteRequest, or IoMarkIrpPending and return STATUS_PENDING",
            )),
            Some(done) if returned != NtStatus::PENDING && done.Status != returned => Some((
                "returned another status than the one that the IRP was completed with",
                "return the status that IoStatus.Status was set to",
            )),
            _ => None,
        };
        if let Some((what, remedy)) = finding {
            report::violation_in(
                &context,
                Finding { kind: Kind::Contract, what: format!("{} {what}", context.what), remedy: remedy.into() },
            );
        }
        if done.is_none() && returned != NtStatus::PENDING && !pending_marked {
            return Err(returned);
        }
        Ok(())
    }

    fn begin(
        self: &Arc<Self>,
        method: u32,
        input: Vec<u8>,
        output: Vec<u8>,
        fill: impl FnOnce(Ptr<IoStackLocation>, (Ptr<u8>, u64), u64),
    ) -> Result<PendingIo, NtStatus> {
        let kernel = self.kernel.clone();
        thread::enter(&kernel, || {
            if kernel.stopped() {
                return Err(NtStatus::UNSUCCESSFUL);
            }
            let mut pending = PendingIo {
                file: self.clone(),
                request: kernel.io.request(field!(self.device, StackSize).read()),
                buffer: Ptr::NULL,
                mdl: Ptr::NULL,
                output,
                input,
                method,
                finished: false,
            };
            pending.prepare();
            let irp = pending.request.irp;
            field!(irp, OriginalFileObject).write(self.file);
            field!(irp, RequestorMode).write(1);
            field!(irp, Thread).write(thread::current_thread().address());
            let stack = field!(irp, CurrentStackLocation).read().at(usize::MAX);
            let user_input = (Ptr::new(pending.input.as_mut_ptr()), pending.input.len() as u64);
            fill(stack, user_input, pending.output.len() as u64);
            field!(stack, FileObject).write(self.file);
            match self.send(pending.request) {
                Ok(()) => Ok(pending),
                Err(status) => {
                    pending.release();
                    Err(status)
                }
            }
        })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let kernel = self.kernel.clone();
        thread::enter(&kernel, || {
            if !self.closed && !kernel.stopped() {
                self.simple_request(IRP_MJ_CLOSE, |_| {});
            }
            kernel.pool.free_system(self.file.cast());
            let mut state = lock(&kernel.io.state);
            let Some(entry) = state.devices.get_mut(&self.device.address()) else { return };
            entry.handles -= 1;
            let (handles, deleted, references) = (entry.handles, entry.deleted, entry.references);
            let driver = entry.driver.upgrade();
            let gone = handles == 0 && deleted && references <= 0;
            if gone {
                state.devices.remove(&self.device.address());
            } else {
                field!(self.device, ReferenceCount).write(handles as i32);
            }
            drop(state);
            if gone {
                kernel.pool.free_system(self.device.cast());
            }
            if handles == 0
                && let Some(driver) = driver
            {
                crate::driver::last_handle_closed(&kernel, &driver);
            }
        });
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let kernel = self.inner.kernel.clone();
        thread::enter(&kernel, || {
            if !kernel.stopped() {
                self.inner.simple_request(IRP_MJ_CLEANUP, |_| {});
            }
        });
    }
}

impl PendingIo {
    /// Sets the IRP's buffers up by its transfer method.
    fn prepare(&mut self) {
        let kernel = thread::current();
        let irp = self.request.irp;
        let output = Ptr::new(self.output.as_mut_ptr());
        field!(irp, UserBuffer).write(if self.output.is_empty() { Ptr::NULL } else { output });
        let longest = match self.method {
            METHOD_BUFFERED => self.input.len().max(self.output.len()),
            METHOD_IN_DIRECT_WHOLE | METHOD_NEITHER => 0,
            _ => self.input.len(),
        };
        if longest != 0 {
            self.buffer = kernel.pool.allocate_system(longest, b"IoSB");
            self.buffer.copy_from(&self.input);
            field!(irp, SystemBuffer).write(self.buffer);
        }
        let direct = match self.method {
            1 | METHOD_OUT_DIRECT => Some((output, self.output.len())),
            METHOD_IN_DIRECT_WHOLE => Some((Ptr::new(self.input.as_mut_ptr()), self.input.len())),
            _ => None,
        };
        if let Some((data, length)) = direct.filter(|(_, length)| *length != 0) {
            self.mdl = crate::ntos::memory::describe(data, length as u32);
            field!(irp, MdlAddress).write(self.mdl);
        }
    }

    /// Waits for the end of the request and returns what it put out.
    pub fn wait(mut self) -> Result<Vec<u8>, NtStatus> {
        let (status, output) = self.finish(None)?;
        if status.Status.is_success() || status.Status == NtStatus::BUFFER_OVERFLOW {
            Ok(output)
        } else {
            Err(status.Status)
        }
    }

    /// As [`PendingIo::wait`], for at most `time`; gives the request back when it has not ended.
    pub fn wait_for(mut self, time: Duration) -> Result<Result<Vec<u8>, NtStatus>, PendingIo> {
        match self.finish(Some(self.file.kernel.clock.now() + time)) {
            Ok((status, output)) if status.Status.is_success() => Ok(Ok(output)),
            Ok((status, _)) => Ok(Err(status.Status)),
            Err(NtStatus::TIMEOUT) => Err(self),
            Err(status) => Ok(Err(status)),
        }
    }

    /// Asks the driver to end the request early.
    pub fn cancel(&self) {
        let kernel = self.file.kernel.clone();
        thread::enter(&kernel, || {
            if !self.finished && !kernel.stopped() {
                kernel.io.cancel(self.request);
            }
        });
    }

    fn finish(&mut self, deadline: Option<Instant>) -> Result<(IoStatusBlock, Vec<u8>), NtStatus> {
        let kernel = self.file.kernel.clone();
        thread::enter(&kernel, || {
            let Some(status) = kernel.io.wait_for(self.request, deadline) else {
                return Err(if kernel.stopped() { NtStatus::UNSUCCESSFUL } else { NtStatus::TIMEOUT });
            };
            let mut output = core::mem::take(&mut self.output);
            let length = (status.Information as usize).min(output.len());
            if status.Information as usize > output.len() && self.method != METHOD_IN_DIRECT_WHOLE && !output.is_empty()
            {
                report::violation_of(
                    "",
                    Finding {
                        kind: Kind::Contract,
                        what: format!(
                            "a request was completed with Information {}, but its output buffer has {} bytes",
                            status.Information,
                            output.len()
                        ),
                        remedy: "set Information to no more than the output buffer's length".into(),
                    },
                );
            }
            if self.method == METHOD_BUFFERED && length != 0 {
                output[..length].copy_from_slice(&self.buffer.to_vec(length));
            }
            output.truncate(length);
            self.release();
            Ok((status, output))
        })
    }

    fn release(&mut self) {
        let kernel = thread::current();
        if !self.buffer.is_null() {
            kernel.pool.free_system(self.buffer);
        }
        if !self.mdl.is_null() {
            kernel.pool.free_system(self.mdl.cast());
        }
        kernel.io.free_request(self.request);
        self.finished = true;
    }
}

impl Drop for PendingIo {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.cancel();
        // The driver has the buffers until it completes the request.
        let _ = self.finish(None);
    }
}

impl core::fmt::Debug for File {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl core::fmt::Debug for PendingIo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PendingIo").finish_non_exhaustive()
    }
}
