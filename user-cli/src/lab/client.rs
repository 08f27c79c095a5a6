//! A connection to a lab.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;

use super::address::{Address, is_trusted};
use super::message::{Greeting, Refusal, Reply, Request, VERSION};
use crate::failure::{Exit, Failure, Result};
use crate::status;

/// A connection to a running lab.
pub struct Client {
    stream: RefCell<BufReader<UnixStream>>,
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
        let client = Client { stream: RefCell::new(BufReader::new(stream)) };
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
        mut progress: impl FnMut(P),
    ) -> Result<T, CallError> {
        let mut line = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        line.push(b'\n');
        self.stream.borrow_mut().get_mut().write_all(&line).map_err(|error| broken(&error))?;
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
