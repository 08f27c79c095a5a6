//! The process that is a lab: a thread for each client.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use postern_engine::{Call, SessionId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use serde::Serialize;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::address::{Address, is_trusted};
use super::host::{Host, Settings};
use super::message::{Greeting, Hex, Refusal, Reply, Request, VERSION};
use crate::driver::{Unload, Unloaded};
use crate::failure::{Failure, Result};
use crate::output::counted;

/// The line on standard output that tells that clients may come.
pub const READY: &str = "ready";

/// Runs a lab in this process. Returns only if it cannot.
pub fn serve(address: &Address, settings: &Settings) -> Result<std::convert::Infallible> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::new(format!("{}: {what}: {error}", address.socket.display()))
            .help("name another place with --lab PATH or XDG_RUNTIME_DIR")
    };
    // Nobody else may come near what this process makes.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    address.create_directory()?;
    let lock = File::create(address.lock()).map_err(|error| failed("cannot make the lock file", error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(already_runs(address)),
        Err(TryLockError::Error(error)) => return Err(failed("cannot lock", error)),
    }
    // Whoever left this socket behind does not hold the lock any more.
    match fs::symlink_metadata(&address.socket) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("cannot look at it", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Failure::new(format!("{} is there and is no socket", address.socket.display()))
                .help("name another place with --lab PATH"));
        }
        Ok(_) => fs::remove_file(&address.socket).map_err(|error| failed("cannot replace", error))?,
    }
    let listener = UnixListener::bind(&address.socket).map_err(|error| failed("cannot listen", error))?;
    fs::set_permissions(&address.socket, fs::Permissions::from_mode(0o600))
        .map_err(|error| failed("cannot keep others out", error))?;
    let host = Arc::new(Host::start(settings)?);
    end_on_signals(address.clone(), Arc::clone(&host))?;
    eprintln!("{} lab {} runs as process {}", now(), address.name, std::process::id());
    crate::output::write(READY)?;

    loop {
        match listener.accept() {
            Ok((stream, _)) if is_trusted(&stream) => {
                let (address, host) = (address.clone(), Arc::clone(&host));
                let client = move || {
                    if let Err(error) = Client::new(&address, &host).serve(stream) {
                        eprintln!("{} a client's connection broke: {error}", now());
                    }
                };
                if let Err(error) = thread::Builder::new().name("client".into()).spawn(client) {
                    eprintln!("{} no thread for a client: {error}", now());
                }
            }
            Ok(_) => eprintln!("{} refused another user's client", now()),
            Err(error) => {
                eprintln!("{} cannot accept a client: {error}", now());
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

pub fn already_runs(address: &Address) -> Failure {
    Failure::new(format!("the lab {} already runs", address.name))
        .help("use it as it is, end it with `postern lab stop`, or start another with --lab NAME")
}

fn end_on_signals(address: Address, host: Arc<Host>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("{} ends on signal {signal}", now());
            host.unload_all();
            end(&address);
        }
    });
    Ok(())
}

/// Ends the process, which releases the lock. The lock file stays: another process may hold it open to lock it next.
fn end(address: &Address) -> ! {
    let _ = fs::remove_file(&address.socket);
    std::process::exit(0)
}

fn now() -> impl std::fmt::Display {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// One connection, and what was opened through it.
struct Client<'a> {
    address: &'a Address,
    host: &'a Host,
    process_id: u32,
    sessions: HashMap<u64, SessionId>,
    next_session: u64,
    handles: BTreeSet<u64>,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        for (_, session) in self.sessions.drain() {
            self.host.session_close(session);
        }
        while let Some(handle) = self.handles.pop_first() {
            self.close(handle);
        }
    }
}

impl<'a> Client<'a> {
    fn new(address: &'a Address, host: &'a Host) -> Client<'a> {
        let (sessions, handles) = (HashMap::new(), BTreeSet::new());
        Client { address, host, process_id: 0, sessions, next_session: 1, handles }
    }

    fn close(&self, handle: u64) {
        if let Some(unloaded) = self.host.device_close(handle) {
            tell_unloaded(&unloaded);
        }
    }

    fn serve(&mut self, mut stream: UnixStream) -> std::io::Result<()> {
        self.process_id = rustix::net::sockopt::socket_peercred(&stream)?.pid.as_raw_nonzero().get() as u32;
        send(&mut stream, &Greeting { postern_lab: VERSION })?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let reply = match serde_json::from_str::<Request>(&line) {
                Ok(Request::Stop) => {
                    let stopped = self.host.unload_all();
                    send(&mut stream, &Reply::Done(serde_json::to_value(stopped)?))?;
                    eprintln!("{} ends on request", now());
                    end(self.address);
                }
                // The request that it was sent for has ended by itself.
                Ok(Request::Cancel) => continue,
                Ok(request) => match self.handle(request, &mut stream, &mut lines) {
                    Ok(value) => Reply::Done(value),
                    Err(refusal) => Reply::Refused(refusal),
                },
                Err(error) => Reply::Refused(Failure::new(format!("no request: {error}")).into()),
            };
            send(&mut stream, &reply)?;
        }
    }

    fn handle(
        &mut self,
        request: Request,
        stream: &mut UnixStream,
        lines: &mut BufReader<UnixStream>,
    ) -> Result<Value, Refusal> {
        match request {
            Request::Status => value(self.host.status(self.address)),
            // Dealt with before.
            Request::Stop | Request::Cancel => value(()),
            Request::EngineOpen(session) => {
                let session = self.host.session_open(session)?;
                let handle = self.next_session;
                self.next_session += 1;
                self.sessions.insert(handle, session);
                value(handle)
            }
            Request::Engine { session, call } => {
                let closes = matches!(call, Call::Close);
                let Some(id) = self.sessions.get(&session).copied() else {
                    return Err(Failure::new(format!("there is no session {session}")).into());
                };
                let result = self.host.engine(id, call);
                if closes && result.is_ok() {
                    self.sessions.remove(&session);
                }
                result
            }
            Request::StateLoad { objects, replace } => value(self.host.load_state(objects, replace)?),
            Request::DriverLoad { service, image: Hex(image) } => {
                let result = self.host.load(&service, &image);
                match &result {
                    Ok(driver) => eprintln!("{} loaded {service} at {:#x}", now(), driver.base.unwrap_or_default()),
                    Err(_) => eprintln!("{} could not load {service}", now()),
                }
                value(result?)
            }
            Request::DriverUnload { service, wait } => {
                let mut unload = self.host.unload_and_watch(&service)?;
                match &unload {
                    Unload::Done(unloaded) => tell_unloaded(unloaded),
                    Unload::Waits(_) => eprintln!("{} {service} unloads when its last handle is closed", now()),
                }
                if wait && matches!(unload, Unload::Waits(_)) {
                    let mut told = None;
                    unload = self.host.wait_for_unload(&service, |stopping| {
                        if told.as_ref() == Some(stopping) || stopping.open_handles.is_empty() {
                            return go_on(!gives_up(lines));
                        }
                        told = Some(stopping.clone());
                        go_on(progress(stream, stopping) && !gives_up(lines))
                    })?;
                }
                value(unload)
            }
            Request::DeviceOpen { device, command } => {
                let opened = self.host.device_open(&device, self.process_id, command)?;
                self.handles.insert(opened.handle);
                value(opened)
            }
            Request::DeviceClose { handle } => {
                if self.handles.remove(&handle) {
                    self.close(handle);
                }
                value(())
            }
            Request::DeviceControl { handle, code, input: Hex(input), output_length } => {
                if !self.handles.contains(&handle) {
                    return Err(Failure::new(format!("there is no handle {handle}")).into());
                }
                value(Hex(self.host.device_control(handle, code, &input, output_length, || gives_up(lines))?))
            }
            Request::Replay(replay) => value(self.host.replay(&replay, |told| go_on(progress(stream, &told)))?),
            Request::Connect(attempt) => value(self.host.connect(&attempt, |stage| {
                go_on(stage.is_none_or(|stage| progress(stream, &stage)) && !gives_up(lines))
            })?),
            Request::Inject(fault) => value(self.host.inject(fault)?),
            Request::SetBfeRunning(running) => {
                self.host.set_bfe_running(running);
                value(())
            }
            Request::Log => value(self.host.log()),
            Request::Violations => value(self.host.violations()),
        }
    }
}

fn tell_unloaded(unloaded: &Unloaded) {
    eprintln!("{} unloaded {}, {}", now(), unloaded.service, counted(unloaded.violations.len() as u64, "violation"));
}

/// Tells a client how far its request has come; false if it is gone, and nobody wants the rest.
fn progress(stream: &mut UnixStream, told: &impl Serialize) -> bool {
    serde_json::to_value(told)
        .map_err(std::io::Error::from)
        .and_then(|value| send(stream, &Reply::Progress(value)))
        .is_ok()
}

fn go_on(on: bool) -> ControlFlow<()> {
    if on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Whether a client does not want its request in progress any more: it has said so, or has gone.
fn gives_up(lines: &mut BufReader<UnixStream>) -> bool {
    if lines.buffer().is_empty() {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut [PollFd::new(lines.get_ref(), PollFlags::IN)], Some(&at_once)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return false,
            _ => {}
        }
    }
    // Nothing but `Cancel` may come now, or the end. Whoever reads on will see the end again.
    let _ = lines.read_line(&mut String::new());
    true
}

fn value(of: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(of)
        .map_err(|error| Failure::new(format!("the answer cannot be written as JSON: {error}")).into())
}

fn send(stream: &mut UnixStream, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}
