//! Net events: options, the recent ones, subscriptions.
//!
//! Two versions of the structures: that of mingw-w64's headers (Windows 7), and the one that our programs use (Windows 10).

use core::ffi::c_void;
use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fwps::sys::{FWP_UINT32, FWP_VALUE0, FWP_VALUE0_0};
use postern_engine::FwpError;
use postern_engine::net_events::{EngineOption, NetEvent, NetEvents};
use postern_wine_protocol::Call;
use windows_sys::Win32::Foundation::{ERROR_NOT_SUPPORTED, FILETIME};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FWP_IP_VERSION, FWP_IP_VERSION_V4, FWP_IP_VERSION_V6, FWPM_NET_EVENT_CLASSIFY_DROP2,
    FWPM_NET_EVENT_ENUM_TEMPLATE0, FWPM_NET_EVENT_FLAG_APP_ID_SET, FWPM_NET_EVENT_FLAG_IP_PROTOCOL_SET,
    FWPM_NET_EVENT_FLAG_IP_VERSION_SET, FWPM_NET_EVENT_FLAG_LOCAL_ADDR_SET, FWPM_NET_EVENT_FLAG_LOCAL_PORT_SET,
    FWPM_NET_EVENT_FLAG_PACKAGE_ID_SET, FWPM_NET_EVENT_FLAG_REAUTH_REASON_SET, FWPM_NET_EVENT_FLAG_REMOTE_ADDR_SET,
    FWPM_NET_EVENT_FLAG_REMOTE_PORT_SET, FWPM_NET_EVENT_FLAG_SCOPE_ID_SET, FWPM_NET_EVENT_FLAG_USER_ID_SET,
    FWPM_NET_EVENT_HEADER1, FWPM_NET_EVENT_HEADER3, FWPM_NET_EVENT_SUBSCRIPTION0, FWPM_NET_EVENT1, FWPM_NET_EVENT3,
};

use crate::error::{Error, code};
use crate::fwp::give::Arena;
use crate::handles::{self, Client, GIVEN};
use crate::ptr::Ptr;

// As measured over the WDK's headers.
const _: () = assert!(size_of::<FWPM_NET_EVENT_HEADER1>() == 144 && size_of::<FWPM_NET_EVENT_HEADER3>() == 136);
const _: () = assert!(size_of::<FWPM_NET_EVENT_CLASSIFY_DROP2>() == 56);

fn option(number: u32) -> Result<EngineOption, Error> {
    let known = [EngineOption::CollectNetEvents, EngineOption::NetEventMatchAnyKeywords];
    Ok(known.into_iter().find(|known| *known as u32 == number).ok_or(FwpError::InvalidEnumerator)?)
}

#[unsafe(no_mangle)]
extern "system" fn FwpmEngineGetOption0(engine_handle: u64, number: u32, value: Ptr<*mut FWP_VALUE0>) -> u32 {
    code((|| {
        if value.is_null() {
            return Err(FwpError::NullPointer.into());
        }
        let set: u32 = handles::client(engine_handle)?.call(Call::EngineOption(option(number)?))?;
        let whole = u64::from(set) as usize;
        let inner = FWP_VALUE0_0 { uint64: core::ptr::without_provenance_mut(whole) };
        value.write(GIVEN.give(|_| FWP_VALUE0 { r#type: FWP_UINT32, Anonymous: inner }));
        Ok(())
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmEngineSetOption0(engine_handle: u64, number: u32, value: Ptr<FWP_VALUE0>) -> u32 {
    code((|| {
        let value = value.non_null().ok_or(FwpError::NullPointer)?.read();
        if value.r#type != FWP_UINT32 {
            return Err(FwpError::TypeMismatch.into());
        }
        // SAFETY: the type tells which member it is.
        let value = unsafe { value.Anonymous.uint32 };
        handles::client(engine_handle)?.call(Call::EngineSetOption { option: option(number)?, value })
    })())
}

/// The time, as two numbers, that a template asks for.
pub fn template(template: Ptr<FWPM_NET_EVENT_ENUM_TEMPLATE0>) -> Result<Option<(u64, u64)>, Error> {
    let Some(template) = template.non_null().map(Ptr::read) else { return Ok(None) };
    without_conditions(&template)?;
    Ok(Some((ticks(template.startTime), ticks(template.endTime))))
}

/// The recent events; of a time without an end, if it ends at 0.
pub fn recent(client: &Client, time: Option<(u64, u64)>) -> Result<Vec<NetEvent>, Error> {
    let mut events: Vec<NetEvent> = client.call(Call::NetEvents)?;
    if let Some((start, end)) = time {
        events.retain(|event| event.time >= start && (event.time <= end || end == 0));
    }
    Ok(events)
}

fn without_conditions(template: &FWPM_NET_EVENT_ENUM_TEMPLATE0) -> Result<(), Error> {
    if template.numFilterConditions == 0 { Ok(()) } else { Err(Error(ERROR_NOT_SUPPORTED)) }
}

fn ticks(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// A program's subscription: a thread that asks the engine, and calls back.
pub struct Subscription {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Subscription {
    /// On return no callback runs, and none will.
    pub fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        // A callback that panicked has ended as well.
        let _ = self.thread.join();
    }
}

/// How often the engine is asked.
const AGAIN: Duration = Duration::from_millis(20);

fn subscribe(
    engine_handle: u64,
    subscription: Ptr<FWPM_NET_EVENT_SUBSCRIPTION0>,
    events_handle: Ptr<u64>,
    tell: Option<impl Fn(&NetEvent) + Send + 'static>,
) -> Result<(), Error> {
    let (Some(subscription), Some(events_handle), Some(tell)) =
        (subscription.non_null(), events_handle.non_null(), tell)
    else {
        return Err(FwpError::NullPointer.into());
    };
    if let Some(template) = Ptr::new(subscription.read().enumTemplate).non_null() {
        without_conditions(&template.read())?;
    }
    let client = handles::client(engine_handle)?;
    let number: u64 = client.call(Call::NetEventSubscribe)?;
    let ended = Arc::new(AtomicBool::new(false));
    let told_to_end = Arc::clone(&ended);
    let thread = std::thread::spawn(move || {
        while !told_to_end.load(Ordering::Relaxed) {
            let fetched: Result<NetEvents, Error> =
                client.call(Call::NetEventFetch { subscription: number, patience_ms: 0 });
            // It ends with the session, or the base filtering engine; nobody is told, as far as Windows' pages say.
            let Ok(fetched) = fetched else { return };
            if fetched.events.is_empty() {
                std::thread::sleep(AGAIN);
            }
            fetched.events.iter().take_while(|_| !told_to_end.load(Ordering::Relaxed)).for_each(&tell);
        }
        // If it fails, it has ended with its session.
        let _: Result<(), Error> = client.call(Call::NetEventUnsubscribe(number));
    });
    events_handle.write(handles::add_subscription(engine_handle, Subscription { ended, thread }));
    Ok(())
}

/// Where a program wants to be called back, and with what.
struct Callback<T>(extern "system" fn(*mut c_void, *const T), Ptr<c_void>);

impl<T> Callback<T> {
    fn call(&self, event: &T) {
        self.0(self.1.as_mut_ptr(), event);
    }
}

macro_rules! subscribing {
    ($name:ident, $event:ident, $make:ident) => {
        #[unsafe(no_mangle)]
        extern "system" fn $name(
            engine_handle: u64,
            subscription: Ptr<FWPM_NET_EVENT_SUBSCRIPTION0>,
            callback: Option<extern "system" fn(*mut c_void, *const $event)>,
            context: Ptr<c_void>,
            events_handle: Ptr<u64>,
        ) -> u32 {
            let tell = callback.map(|function| {
                let callback = Callback(function, context);
                move |event: &NetEvent| {
                    let mut arena = Arena::default();
                    callback.call(&$make(&mut arena, event));
                }
            });
            code(subscribe(engine_handle, subscription, events_handle, tell))
        }
    };
}
subscribing!(FwpmNetEventSubscribe0, FWPM_NET_EVENT1, event1);
subscribing!(FwpmNetEventSubscribe2, FWPM_NET_EVENT3, event3);

/// Waits for a callback that runs. NULL is no subscription, and no error.
#[unsafe(no_mangle)]
extern "system" fn FwpmNetEventUnsubscribe0(engine_handle: u64, events_handle: u64) -> u32 {
    code((|| {
        handles::client(engine_handle)?;
        if events_handle != 0 {
            handles::take_subscription(events_handle)?.end();
        }
        Ok(())
    })())
}

/// The members that all versions of the header have.
struct Common {
    time: FILETIME,
    flags: u32,
    version: FWP_IP_VERSION,
    local: [u8; 16],
    remote: [u8; 16],
    app: FWP_BYTE_BLOB,
    user: *mut u8,
    package: *mut u8,
    classify: *mut FWPM_NET_EVENT_CLASSIFY_DROP2,
}

fn common(arena: &mut Arena, event: &NetEvent) -> Common {
    let mut flags = 0;
    for (is_set, flag) in [
        (event.protocol.is_some(), FWPM_NET_EVENT_FLAG_IP_PROTOCOL_SET),
        (event.local_address.is_some(), FWPM_NET_EVENT_FLAG_LOCAL_ADDR_SET | FWPM_NET_EVENT_FLAG_IP_VERSION_SET),
        (event.remote_address.is_some(), FWPM_NET_EVENT_FLAG_REMOTE_ADDR_SET | FWPM_NET_EVENT_FLAG_IP_VERSION_SET),
        (event.local_port.is_some(), FWPM_NET_EVENT_FLAG_LOCAL_PORT_SET),
        (event.remote_port.is_some(), FWPM_NET_EVENT_FLAG_REMOTE_PORT_SET),
        (event.scope_id.is_some(), FWPM_NET_EVENT_FLAG_SCOPE_ID_SET),
        (event.app_id.is_some(), FWPM_NET_EVENT_FLAG_APP_ID_SET),
        (event.user.is_some(), FWPM_NET_EVENT_FLAG_USER_ID_SET),
        (event.package.is_some(), FWPM_NET_EVENT_FLAG_PACKAGE_ID_SET),
        (event.reauthorized, FWPM_NET_EVENT_FLAG_REAUTH_REASON_SET),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    let mut bytes = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) if !bytes.is_empty() => arena.put_all(bytes),
        _ => core::ptr::null_mut(),
    };
    let app =
        FWP_BYTE_BLOB { size: event.app_id.as_ref().map_or(0, Vec::len) as u32, data: bytes(event.app_id.as_deref()) };
    let (user, package) = (bytes(event.user.as_deref()), bytes(event.package.as_deref()));
    let any = event.local_address.or(event.remote_address);
    Common {
        time: FILETIME { dwLowDateTime: event.time as u32, dwHighDateTime: (event.time >> 32) as u32 },
        flags,
        version: if any.is_some_and(|address| address.is_ipv6()) { FWP_IP_VERSION_V6 } else { FWP_IP_VERSION_V4 },
        local: address(event.local_address),
        remote: address(event.remote_address),
        app,
        user,
        package,
        classify: event.classify.as_ref().map_or(core::ptr::null_mut(), |classify| {
            arena.put_all(&[FWPM_NET_EVENT_CLASSIFY_DROP2 {
                filterId: classify.filter_id,
                layerId: classify.layer,
                reauthReason: classify.reauthorize_reason,
                originalProfile: classify.original_profile,
                currentProfile: classify.current_profile,
                msFwpDirection: classify.direction,
                isLoopback: classify.loopback.into(),
                ..Default::default()
            }])
        }),
    }
}

/// One of version 4 is a number in the first four bytes.
fn address(address: Option<IpAddr>) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        Some(IpAddr::V4(address)) => bytes[..4].copy_from_slice(&address.to_bits().to_ne_bytes()),
        Some(IpAddr::V6(address)) => bytes = address.octets(),
        None => {}
    }
    bytes
}

macro_rules! make {
    ($arena:ident, $event:ident, $whole:ident($($member:ident = $value:ident),*)) => {{
        let common = common($arena, $event);
        let mut made = $whole::default();
        made.r#type = $event.kind.0 as i32;
        // Each member is a pointer; that of a permit has the same members, but for the last.
        made.Anonymous.classifyDrop = common.classify.cast();
        let header = &mut made.header;
        header.timeStamp = common.time;
        header.flags = common.flags;
        header.ipVersion = common.version;
        header.ipProtocol = $event.protocol.unwrap_or(0);
        header.Anonymous1.localAddrV6.byteArray16 = common.local;
        header.Anonymous2.remoteAddrV6.byteArray16 = common.remote;
        header.localPort = $event.local_port.unwrap_or(0);
        header.remotePort = $event.remote_port.unwrap_or(0);
        header.scopeId = $event.scope_id.unwrap_or(0);
        header.appId = common.app;
        header.userId = common.user.cast();
        $(header.$member = common.$value.cast();)*
        made
    }};
}

pub fn event1(arena: &mut Arena, event: &NetEvent) -> FWPM_NET_EVENT1 {
    make!(arena, event, FWPM_NET_EVENT1())
}

pub fn event3(arena: &mut Arena, event: &NetEvent) -> FWPM_NET_EVENT3 {
    make!(arena, event, FWPM_NET_EVENT3(packageSid = package))
}
