//! A connection to a lab.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;

use super::address::{Address, is_trusted};
use super::message::{Greeting, Refusal, Reply, Request, VERSION};
use crate::failure::{Exit, Failure, Result};
use crate::status;

/// A connection to a running lab.
pub struct Client {
    stream: RefCell<BufReader<UnixStream>>,
    cancelled: Arc<Mutex<bool>>,
}

/// Ends what a client waits for early, from any thread.
pub struct Canceller {
    stream: UnixStream,
    cancelled: Arc<Mutex<bool>>,
}

impl Canceller {
    /// The request in progress, and every cancellable one after it, ends with [`status::CANCELLED`].
    pub fn cancel(&self) {
        // While this is locked no request is sent, so that it is cancelled or never sent.
        let mut cancelled = locked(&self.cancelled);
        if !std::mem::replace(&mut *cancelled, true) {
            // Without a connection there is nothing to cancel, and whoever waits finds that out.
            let _ = message(&Request::Cancel).map(|line| (&self.stream).write_all(&line));
        }
    }
}

fn locked(cancelled: &Mutex<bool>) -> MutexGuard<'_, bool> {
    cancelled.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(request: &Request) -> Result<Vec<u8>, CallError> {
    let mut line = serde_json::to_vec(request).map_err(|error| broken(&error))?;
    line.push(b'\n');
    Ok(line)
}

/// Why a request brought no answer.
#[derive(Debug, Clone)]
pub enum CallError {
    Refused(Refusal),
    Broken(Failure),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        match error {
            CallError::Refused(Refusal::Engine(error)) => {
                Failure::new(format!("{} ({:#010x})", error.name(), error.win32()))
            }
            CallError::Refused(Refusal::Status(status)) => Failure::new(status::describe(status)),
            CallError::Refused(Refusal::Lab(failure)) => failure,
            CallError::Broken(failure) => failure,
        }
    }
}

impl Client {
    /// Connects to a lab that must be running.
    pub fn connect(address: &Address) -> Result<Client> {
        Client::try_connect(address)?.ok_or_else(|| Failure {
            exit: Exit::NoLab,
            ..Failure::new(format!("no lab is running at {}", address.socket.display()))
                .help(format!("start one with `{}`", address.start_command()))
        })
    }

    /// Connects to a lab, if one is running.
    pub fn try_connect(address: &Address) -> Result<Option<Client>> {
        let stream = match UnixStream::connect(&address.socket) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(Failure::new(format!("{}: {error}", address.socket.display()))),
        };
        if !is_trusted(&stream) {
            return Err(Failure::new(format!("{}: the lab there is another user's", address.socket.display()))
                .help("name another one with --lab"));
        }
        let client = Client { stream: RefCell::new(BufReader::new(stream)), cancelled: Arc::default() };
        let greeting: Greeting = client.read().map_err(|error| match error {
            CallError::Broken(failure) => failure,
            CallError::Refused(_) => Failure::new("the lab did not greet"),
        })?;
        if greeting.postern_lab != VERSION {
            return Err(Failure::new(format!(
                "the lab at {} speaks version {} of the protocol, this program version {VERSION}",
                address.socket.display(),
                greeting.postern_lab
            ))
            .help("stop it with the program that started it, then start it again"));
        }
        Ok(Some(client))
    }

    /// Asks and waits for the answer.
    pub fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CallError> {
        self.call_with_progress(request, |()| {})
    }

    /// Asks, hands what the lab tells meanwhile to `progress`, and waits for the answer.
    pub fn call_with_progress<P: DeserializeOwned, T: DeserializeOwned>(
        &self,
        request: &Request,
        progress: impl FnMut(P),
    ) -> Result<T, CallError> {
        self.send(request)?;
        self.answer(progress)
    }

    /// Asks and waits for the answer, unless a [`Canceller`] ends it.
    pub fn call_cancellable<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CallError> {
        {
            let cancelled = locked(&self.cancelled);
            if *cancelled {
                return Err(CallError::Refused(Refusal::Status(status::CANCELLED)));
            }
            self.send(request)?;
        }
        self.answer(|()| {})
    }

    /// Whether a [`Canceller`] has been used.
    pub fn is_cancelled(&self) -> bool {
        *locked(&self.cancelled)
    }

    pub fn canceller(&self) -> Result<Canceller> {
        let stream = self.stream.borrow().get_ref().try_clone();
        let stream = stream.map_err(|error| Failure::new(format!("the connection to the lab: {error}")))?;
        Ok(Canceller { stream, cancelled: Arc::clone(&self.cancelled) })
    }

    fn send(&self, request: &Request) -> Result<(), CallError> {
        let line = message(request)?;
        self.stream.borrow_mut().get_mut().write_all(&line).map_err(|error| broken(&error))
    }

    fn answer<P: DeserializeOwned, T: DeserializeOwned>(&self, mut progress: impl FnMut(P)) -> Result<T, CallError> {
        loop {
            match self.read()? {
                Reply::Progress(value) => progress(serde_json::from_value(value).map_err(|error| broken(&error))?),
                Reply::Done(value) => return serde_json::from_value(value).map_err(|error| broken(&error)),
                Reply::Refused(refusal) => return Err(CallError::Refused(refusal)),
            }
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        let mut line = String::new();
        match self.stream.borrow_mut().read_line(&mut line) {
            Ok(0) => Err(broken(&"it closed the connection")),
            Ok(_) => serde_json::from_str(&line).map_err(|error| broken(&error)),
            Err(error) => Err(broken(&error)),
        }
    }
}

fn broken(reason: &dyn std::fmt::Display) -> CallError {
    CallError::Broken(
        Failure::new(format!("the connection to the lab broke: {reason}"))
            .help("`postern lab status` tells whether it still runs, and where its log is"),
    )
}
