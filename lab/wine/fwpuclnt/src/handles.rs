//! Handles that the program holds.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::windows::io::AsRawHandle;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use postern_engine::net_events::NetEvent;
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::{SessionId, layers::Layer};
use postern_wine_protocol::{ASK, Answer, Call, LONGEST_ANSWER, PATH, Request};
use serde::de::DeserializeOwned;
use windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;
use windows_sys::Win32::System::IO::DeviceIoControl;

use crate::error::Error;
use crate::fwp::give::Given;
use crate::kernel::lock;
use crate::net_events::Subscription;

/// What the program holds and has not freed.
pub static GIVEN: LazyLock<Given> = LazyLock::new(Given::default);

static HANDLES: Mutex<BTreeMap<u64, Handle>> = Mutex::new(BTreeMap::new());

enum Handle {
    Client(Arc<Client>),
    Enumeration(Enumeration),
    /// With the engine handle that it was made with.
    Subscription(u64, Subscription),
}

/// The objects that are still to be returned.
pub enum Enumeration {
    Providers(std::vec::IntoIter<Provider>),
    ProviderContexts(std::vec::IntoIter<ProviderContext>),
    Sublayers(std::vec::IntoIter<Sublayer>),
    Callouts(std::vec::IntoIter<Callout>),
    Filters(std::vec::IntoIter<Filter>),
    Layers(std::vec::IntoIter<&'static Layer>),
    Sessions(std::vec::IntoIter<Session>),
    NetEvents(std::vec::IntoIter<NetEvent>),
}

/// An open session, with an open file of its own: should the program die, the system closes it, and the session ends.
pub struct Client {
    device: File,
    session: SessionId,
}

impl Client {
    pub fn open(session: Session) -> Result<Client, Error> {
        let device = OpenOptions::new().read(true).write(true).open(PATH).map_err(|error| match error.kind() {
            // `fwpkclnt.sys` has not been started.
            ErrorKind::NotFound => Error::NO_ENGINE,
            _ => error.into(),
        })?;
        let session = ask(&device, &Request::Open(session))?;
        Ok(Client { device, session })
    }

    pub fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        ask(&self.device, &Request::Call(self.session, call))
    }
}

fn ask<T: DeserializeOwned>(device: &File, request: &Request) -> Result<T, Error> {
    let request = serde_json::to_vec(request)?;
    let mut answer = vec![0u8; LONGEST_ANSWER];
    let mut length = 0;
    // SAFETY: the buffers have the lengths that are stated, and outlive the call.
    let done = unsafe {
        DeviceIoControl(
            device.as_raw_handle(),
            ASK,
            request.as_ptr().cast(),
            request.len() as u32,
            answer.as_mut_ptr().cast(),
            answer.len() as u32,
            &mut length,
            core::ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    answer.truncate(length as usize);
    Ok(serde_json::from_slice::<Answer<T>>(&answer)??)
}

fn add(handle: Handle) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let value = NEXT.fetch_add(1, Ordering::Relaxed) << 4;
    lock(&HANDLES).insert(value, handle);
    value
}

pub fn add_client(client: Client) -> u64 {
    add(Handle::Client(Arc::new(client)))
}

pub fn add_enumeration(enumeration: Enumeration) -> u64 {
    add(Handle::Enumeration(enumeration))
}

pub fn add_subscription(engine_handle: u64, subscription: Subscription) -> u64 {
    add(Handle::Subscription(engine_handle, subscription))
}

/// The session behind an engine handle.
pub fn client(handle: u64) -> Result<Arc<Client>, Error> {
    match lock(&HANDLES).get(&handle) {
        Some(Handle::Client(client)) => Ok(client.clone()),
        _ => Err(Error(ERROR_INVALID_HANDLE)),
    }
}

/// What `take` takes of an enumeration.
pub fn take<T>(handle: u64, take: impl FnOnce(&mut Enumeration) -> Option<T>) -> Result<T, Error> {
    match lock(&HANDLES).get_mut(&handle) {
        Some(Handle::Enumeration(enumeration)) => take(enumeration).ok_or(Error(ERROR_INVALID_HANDLE)),
        _ => Err(Error(ERROR_INVALID_HANDLE)),
    }
}

/// With the session's subscriptions.
pub fn remove_client(handle: u64) {
    lock(&HANDLES).remove(&handle);
    let of_client = |_: &u64, known: &mut Handle| matches!(known, Handle::Subscription(of, _) if *of == handle);
    let ended: Vec<Handle> = lock(&HANDLES).extract_if(.., of_client).map(|(_, subscription)| subscription).collect();
    for handle in ended {
        if let Handle::Subscription(_, subscription) = handle {
            subscription.end();
        }
    }
}

pub fn take_subscription(handle: u64) -> Result<Subscription, Error> {
    let mut handles = lock(&HANDLES);
    match handles.remove(&handle) {
        Some(Handle::Subscription(_, subscription)) => Ok(subscription),
        Some(other) => {
            handles.insert(handle, other);
            Err(Error(ERROR_INVALID_HANDLE))
        }
        None => Err(Error(ERROR_INVALID_HANDLE)),
    }
}

pub fn remove_enumeration(handle: u64) -> Result<(), Error> {
    let mut handles = lock(&HANDLES);
    match handles.get(&handle) {
        Some(Handle::Enumeration(_)) => {
            handles.remove(&handle);
            Ok(())
        }
        _ => Err(Error(ERROR_INVALID_HANDLE)),
    }
}
