//! Drivers, through the service manager.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use postern_engine::objects::Filter;
use postern_protocol::{CALLOUTS, DEVICE_NAME, DRIVER_PROVIDER};
use uuid::Uuid;
use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_INVALID_IMAGE_HASH, ERROR_SERVICE_CANNOT_ACCEPT_CTRL, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NOT_ACTIVE,
};
use windows_sys::Win32::System::Services::{ChangeServiceConfigW, SERVICE_NO_CHANGE};

use super::{Address, error, holders, system, wide};
use crate::cli::session;
use crate::commands::driver::{Model, image_bytes};
use crate::device::Device;
use crate::driver::{Checked, Driver, Stopping, Unload, Unloaded, Violation};
use crate::failure::{Failure, Result};
use crate::output::counted;
use crate::state::State;

pub use system::test_signing;

/// How often a driver that stops is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Starts a driver: the image in a file, or the Postern driver of that model. A service that somebody else has made is started as
/// it is.
pub fn load(address: &Address, service: String, image: Option<&Path>, model: Model) -> Result<Driver> {
    let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
    let what = match image {
        Some(path) => format!("{}: cannot load {service}", path.display()),
        None => format!("cannot load {service}"),
    };
    let access = ServiceAccess::START
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::QUERY_CONFIG
        | ServiceAccess::CHANGE_CONFIG
        | ServiceAccess::DELETE;
    let started = match open(&manager, &service, access)? {
        Some(found) => {
            match state(&service, &found)? {
                ServiceState::Stopped => {}
                ServiceState::StopPending => {
                    return Err(Failure::new(format!("{what}: it is stopping, and waits for handles to be closed"))
                        .help(format!("`postern driver status {service}` shows who holds them")));
                }
                _ => return Err(Failure::new(format!("{what}: a driver of this name is loaded already"))),
            }
            if is_ours(&service, &found) {
                // Windows was restarted, or this program was ended, since it made the service.
                let image = Image::find(image, model)?;
                found.change_config(&info(&service, &image.path)).map_err(|error| failure(&what, error))?;
                join_group(&what, &found)?;
            } else if let Some(path) = image {
                same_image(&service, &found, path)?;
            }
            start(&what, &found)?
        }
        None => {
            let image = Image::find(image, model)?;
            let made = manager
                .create_service(&info(&service, &image.path), access)
                .map_err(|error| failure(&what, error))
                .inspect_err(|_| image.forget())?;
            join_group(&what, &made).and_then(|()| start(&what, &made)).inspect_err(|_| {
                // The reason is the error.
                let _ = made.delete();
                image.forget();
            })?
        }
    };
    let driver = find(address, &service)?
        .ok_or_else(|| Failure::new(format!("{what}: it was started, and has stopped since")))?;
    Ok(Driver { load_milliseconds: Some(started.as_secs_f64() * 1e3), ..driver })
}

/// Returns how long it took; the service manager waits for the driver's entry point.
fn start(what: &str, service: &Service) -> Result<Duration> {
    let begun = Instant::now();
    service.start::<&OsStr>(&[]).map_err(|error| {
        let unsigned = code(&error) == Some(ERROR_INVALID_IMAGE_HASH);
        let failure = failure(what, error);
        match test_signing() {
            Some(true) if unsigned => failure.help(
                "test signing is on, so the image has no signature at all, or is not the one that was signed: sign it \
                 (`signtool sign /fd sha256`) and load it with --image FILE",
            ),
            _ => failure,
        }
    })?;
    Ok(begun.elapsed())
}

/// An image that exists.
struct Image {
    path: PathBuf,
    /// Whether it was written just now.
    written: bool,
}

impl Image {
    /// The image in a file, or the Postern driver of that model, which is written to the system's folder of drivers.
    fn find(image: Option<&Path>, model: Model) -> Result<Image> {
        let bytes = image_bytes(image, model)?;
        if let Some(path) = image {
            let path = std::path::absolute(path)
                .map_err(|error| error::io_failure(format!("cannot find the image {}", path.display()), &error))?;
            return Ok(Image { path, written: false });
        }
        let path = carried_path(model);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(Image { path, written: false });
        }
        fs::write(&path, bytes)
            .map_err(|error| error::io_failure(format!("cannot write the image {}", path.display()), &error))?;
        Ok(Image { path, written: true })
    }

    fn forget(&self) {
        if self.written {
            // It is in nobody's way, and the next load writes it anew.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn carried_path(model: Model) -> PathBuf {
    let windows = std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from);
    windows.join(r"System32\drivers").join(model.carried().0)
}

/// What people see of a service that this program has made: so it is known again.
fn display_name(service: &str) -> String {
    format!("{service} (made by `postern driver load`)")
}

fn info(service: &str, image: &Path) -> ServiceInfo {
    ServiceInfo {
        name: service.into(),
        display_name: display_name(service).into(),
        service_type: ServiceType::KERNEL_DRIVER,
        start_type: ServiceStartType::OnDemand,
        error_control: ServiceErrorControl::Normal,
        executable_path: image.to_owned(),
        launch_arguments: Vec::new(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    }
}

/// Puts a service into the load order group that callout drivers are in by their INF files. Windows starts a driver on demand
/// whatever its group; Wine runs the drivers of a group in one process, where they reach each other.
fn join_group(what: &str, service: &Service) -> Result<()> {
    let group = wide("NDIS");
    // SAFETY: The service is open, the name ends with a NUL, and all that is null stays as it is.
    let changed = unsafe {
        ChangeServiceConfigW(
            service.raw_handle(),
            SERVICE_NO_CHANGE,
            SERVICE_NO_CHANGE,
            SERVICE_NO_CHANGE,
            null(),
            group.as_ptr(),
            null_mut(),
            null(),
            null(),
            null(),
            null(),
        )
    };
    if changed == 0 {
        return Err(error::io_failure(what, &std::io::Error::last_os_error()));
    }
    Ok(())
}

fn is_ours(service: &str, found: &Service) -> bool {
    found.query_config().is_ok_and(|config| config.display_name == *display_name(service))
}

/// Whoever has made a service, with an installer for instance, has chosen its image.
fn same_image(service: &str, found: &Service, image: &Path) -> Result<()> {
    let asked = std::path::absolute(image).unwrap_or_else(|_| image.to_owned());
    let has = plain(&image_path(service, found)?);
    if has.eq_ignore_ascii_case(&plain(&asked.to_string_lossy())) {
        return Ok(());
    }
    Err(Failure::new(format!("cannot load {service}: there is a service of this name, whose image is {has}"))
        .help(format!("delete it with `sc delete {service}`, or give another --name")))
}

fn image_path(service: &str, found: &Service) -> Result<String> {
    let config = found.query_config().map_err(|error| failure(&format!("cannot read the service {service}"), error))?;
    Ok(config.executable_path.to_string_lossy().into_owned())
}

/// A path as people write it, of one as the kernel or the service manager writes it.
fn plain(path: &str) -> String {
    path.strip_prefix(r"\??\").unwrap_or(path).to_owned()
}

/// Unloads a driver. If it must wait for handles to be closed, it says so to `waiting`, and with `wait` waits. A service that
/// [`load`] has made is deleted, with the image that it has written.
pub fn unload(address: &Address, service: String, wait: bool, mut waiting: impl FnMut(Stopping)) -> Result<Unload> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let what = format!("cannot unload {service}");
    let access =
        ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG | ServiceAccess::DELETE;
    let not_loaded = || {
        Failure::new(format!("{what}: no driver of this name is loaded"))
            .help("`sc query type= driver` lists the drivers that are")
    };
    let found = open(&manager, &service, access)?.ok_or_else(not_loaded)?;
    let postern = is_postern(&service);
    let registrations = registrations(address, &service);
    let begun = Instant::now();
    match state(&service, &found)? {
        ServiceState::Stopped => {
            remove(&service, &found)?;
            return Err(not_loaded());
        }
        // Asked to before.
        ServiceState::StopPending => {}
        _ => {
            found.stop().map_err(|error| failure(&what, error))?;
        }
    }
    let mut told: Option<Stopping> = None;
    while !has_stopped(&what, &service, &found)? {
        let stopping = Stopping {
            service: service.clone(),
            holders: if postern { holders::of_device(DEVICE_NAME) } else { Vec::new() },
            open_handles: open_handles(),
        };
        if !wait {
            return Ok(Unload::Waits(stopping));
        }
        if told.as_ref() != Some(&stopping) {
            waiting(stopping.clone());
            told = Some(stopping);
        }
        std::thread::sleep(LOOK);
    }
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    remove(&service, &found)?;
    let (checked, violations) =
        if postern { look_for_leftovers(address, &service) } else { (Checked::Nothing, Vec::new()) };
    Ok(Unload::Done(Unloaded {
        registrations: registrations.map(|registrations| registrations.len()),
        service,
        milliseconds,
        receipt: Vec::new(),
        checked,
        violations,
    }))
}

/// What is said when no holder is found.
fn open_handles() -> Vec<String> {
    vec![
        "by programs that could not be found; Process Explorer's \"Find Handle\" finds them by the device's name"
            .to_owned(),
    ]
}

/// Whether a driver that was asked to stop has. The service manager looks again when it is asked again: a driver whose last handle
/// was closed may be shown as stopping until then.
fn has_stopped(what: &str, service: &str, found: &Service) -> Result<bool> {
    if state(service, found)? == ServiceState::Stopped {
        return Ok(true);
    }
    match found.stop() {
        Ok(status) => Ok(status.current_state == ServiceState::Stopped),
        Err(error) => match code(&error) {
            Some(ERROR_SERVICE_NOT_ACTIVE) => Ok(true),
            Some(ERROR_SERVICE_CANNOT_ACCEPT_CTRL) => Ok(false),
            _ => Err(failure(what, error)),
        },
    }
}

/// Deletes a service that this program has made, and the image that it has written.
fn remove(service: &str, found: &Service) -> Result<()> {
    if !is_ours(service, found) {
        return Ok(());
    }
    let image = PathBuf::from(plain(&image_path(service, found)?));
    found.delete().map_err(|error| failure(&format!("cannot delete the service {service}"), error))?;
    for model in [Model::Kmdf, Model::Wdm] {
        let carried = carried_path(model);
        if image.as_os_str().eq_ignore_ascii_case(carried.as_os_str()) {
            fs::remove_file(&carried)
                .map_err(|error| error::io_failure(format!("cannot delete the image {}", carried.display()), &error))?;
        }
    }
    Ok(())
}

/// What a Postern driver that has gone should have taken with it, as far as the filter engine shows it.
fn look_for_leftovers(address: &Address, service: &str) -> (Checked, Vec<Violation>) {
    let state = super::open_engine(address, session(false)).and_then(|engine| Ok(State::read(&*engine)?));
    let Ok(state) = state else { return (Checked::Nothing, Vec::new()) };
    let ours = Some(Uuid::from_u128(DRIVER_PROVIDER));
    let registered = state
        .callouts
        .iter()
        .filter(|callout| callout.registered && CALLOUTS.iter().any(|known| known.key() == callout.key.as_u128()));
    let mut left: Vec<String> =
        registered.map(|callout| format!("callout {} is still registered", callout.display.name)).collect();
    let objects = [
        ("provider", state.providers.iter().filter(|provider| Some(provider.key) == ours).count()),
        ("sublayer", state.sublayers.iter().filter(|sublayer| sublayer.provider == ours).count()),
        ("callout object", state.callouts.iter().filter(|callout| callout.provider == ours).count()),
        ("filter", state.filters.iter().filter(|filter: &&Filter| filter.provider == ours).count()),
    ];
    for (object, count) in objects {
        if count != 0 {
            left.push(format!("{} of the driver's own provider", counted(count as u64, object)));
        }
    }
    let violation = |what| Violation {
        kind: "left behind".to_owned(),
        driver: Some(service.to_owned()),
        what,
        place: None,
        doing: Vec::new(),
        remedy: "restart Windows before the driver is loaded again, and report this".to_owned(),
        times: 1,
    };
    (Checked::FilterEngine, left.into_iter().map(violation).collect())
}

/// The driver of a service, if it is loaded.
pub fn find(address: &Address, service: &str) -> Result<Option<Driver>> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let Some(found) = open(&manager, service, ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG)? else {
        return Ok(None);
    };
    let state = state(service, &found)?;
    if state == ServiceState::Stopped {
        return Ok(None);
    }
    let unload_pending = state == ServiceState::StopPending;
    let image = image_path(service, &found)?;
    let file_name = image.rsplit(['\\', '/']).next().unwrap_or(&image);
    let (base, size) = match system::module(file_name) {
        Some((base, size)) => (base, Some(size)),
        None => (None, None),
    };
    let holders = if is_postern(service) { holders::of_device(DEVICE_NAME) } else { Vec::new() };
    Ok(Some(Driver {
        service: service.to_owned(),
        base,
        size,
        registrations: if unload_pending { None } else { registrations(address, service) },
        open_handles: if unload_pending { open_handles() } else { Vec::new() },
        holders,
        unload_pending,
        load_milliseconds: None,
        image: Some(image),
    }))
}

/// The service of the Postern driver, if it waits for its handles to be closed.
pub fn stopping(_: &Address) -> Result<Option<String>> {
    let service = postern_protocol::SERVICE_NAME;
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let Some(found) = open(&manager, service, ServiceAccess::QUERY_STATUS)? else { return Ok(None) };
    Ok((state(service, &found)? == ServiceState::StopPending).then(|| service.to_owned()))
}

/// Whether a service is that of a Postern driver: its image is called as one.
pub fn is_postern(service: &str) -> bool {
    let image = manager(ServiceManagerAccess::CONNECT)
        .and_then(|manager| open(&manager, service, ServiceAccess::QUERY_CONFIG))
        .and_then(|found| found.map(|found| image_path(service, &found)).transpose());
    let Ok(Some(image)) = image else { return false };
    let name = image.rsplit(['\\', '/']).next().unwrap_or(&image);
    postern_image::IMAGES.iter().any(|(postern, _)| postern.eq_ignore_ascii_case(name))
}

/// The callouts that a Postern driver has registered, if it tells.
fn registrations(address: &Address, service: &str) -> Option<Vec<String>> {
    if !is_postern(service) {
        return None;
    }
    let device = Device::try_open(address, "postern driver").ok()?.ok()?;
    let statistics = device.statistics().ok()?;
    let registered = statistics.iter().filter(|callout| callout.id != 0);
    Some(registered.map(|callout| format!("callout {} {} at {}", callout.id, callout.role, callout.layer)).collect())
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access)
        .map_err(|error| failure("cannot talk to the service manager", error))
}

fn open(manager: &ServiceManager, service: &str, access: ServiceAccess) -> Result<Option<Service>> {
    match manager.open_service(service, access) {
        Ok(found) => Ok(Some(found)),
        Err(error) if code(&error) == Some(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(failure(&format!("cannot open the service {service}"), error)),
    }
}

fn state(service: &str, found: &Service) -> Result<ServiceState> {
    let status = found.query_status();
    Ok(status.map_err(|error| failure(&format!("cannot ask for the state of {service}"), error))?.current_state)
}

fn code(error: &windows_service::Error) -> Option<u32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error().map(|code| code as u32),
        _ => None,
    }
}

fn failure(what: &str, error: windows_service::Error) -> Failure {
    match error {
        windows_service::Error::Winapi(error) => error::io_failure(what, &error),
        other => Failure::new(format!("{what}: {other}")),
    }
}
