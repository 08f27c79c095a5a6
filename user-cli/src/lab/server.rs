//! The process that is a lab: a thread for each client.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;

use postern_engine::SessionId;
use rustix::fs::Mode;
use serde::Serialize;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::address::{Address, is_trusted};
use super::host::{Host, Settings};
use super::message::{Greeting, Hex, Refusal, Reply, Request, VERSION};
use crate::failure::{Failure, Result};

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

/// One connection, and the sessions that were opened through it.
struct Client<'a> {
    address: &'a Address,
    host: &'a Host,
    sessions: HashMap<u64, SessionId>,
    next_session: u64,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        for (_, session) in self.sessions.drain() {
            self.host.session_close(session);
        }
    }
}

impl<'a> Client<'a> {
    fn new(address: &'a Address, host: &'a Host) -> Client<'a> {
        Client { address, host, sessions: HashMap::new(), next_session: 1 }
    }

    fn serve(&mut self, mut stream: UnixStream) -> std::io::Result<()> {
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
                Ok(request) => match self.handle(request, &mut stream) {
                    Ok(value) => Reply::Done(value),
                    Err(refusal) => Reply::Refused(refusal),
                },
                Err(error) => Reply::Refused(Failure::new(format!("no request: {error}")).into()),
            };
            send(&mut stream, &reply)?;
        }
    }

    fn handle(&mut self, request: Request, stream: &mut UnixStream) -> Result<Value, Refusal> {
        match request {
            Request::Status => value(self.host.status(self.address)),
            // Answered before.
            Request::Stop => value(()),
            Request::EngineOpen(session) => {
                let session = self.host.session_open(session)?;
                let handle = self.next_session;
                self.next_session += 1;
                self.sessions.insert(handle, session);
                value(handle)
            }
            Request::Engine { session, call } => {
                let closes = matches!(call, super::message::EngineCall::Close);
                let Some(id) = self.sessions.get(&session).copied() else {
                    return Err(Failure::new(format!("there is no session {session}")).into());
                };
                let result = self.host.engine(id, call);
                if closes && result.is_ok() {
                    self.sessions.remove(&session);
                }
                result
            }
            Request::DriverLoad { service, image: Hex(image) } => {
                let result = self.host.load(&service, &image);
                match &result {
                    Ok(driver) => eprintln!("{} loaded {service} at {:#x}", now(), driver.base),
                    Err(_) => eprintln!("{} could not load {service}", now()),
                }
                value(result?)
            }
            Request::DriverUnload { service } => {
                let unloaded = self.host.unload_and_watch(&service)?;
                eprintln!("{} unloaded {service}, {} violations", now(), unloaded.violations.len());
                value(unloaded)
            }
            Request::DeviceControl { device, code, input: Hex(input), output_length } => {
                value(Hex(self.host.device_control(&device, code, &input, output_length)?))
            }
            Request::Replay(replay) => {
                let summary = self.host.replay(&replay, |progress| {
                    let told = serde_json::to_value(progress)
                        .map_err(std::io::Error::from)
                        .and_then(|value| send(stream, &Reply::Progress(value)));
                    // The client is gone: nobody wants the rest.
                    if told.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                value(summary)
            }
            Request::Connect(connection) => value(self.host.connect(&connection)?),
            Request::Accept(connection) => value(self.host.accept(&connection)?),
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

fn value(of: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(of)
        .map_err(|error| Failure::new(format!("the answer cannot be written as JSON: {error}")).into())
}

fn send(stream: &mut UnixStream, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}
