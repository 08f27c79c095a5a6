//! The driver's device: the I/O control requests of `postern_protocol`.

use postern_protocol::DEVICE_PATH;
use postern_protocol::ioctl::{
    CalloutEntry, GET_STATISTICS, GET_VERSION, LIST_CALLOUTS, ListHeader, ListRequest, StatisticsEntry, Version,
};
use serde::Serialize;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::failure::{Failure, Result};
use crate::lab::client::Client;
use crate::lab::message::{Hex, Request};

/// What one callout of the driver has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalloutStatistics {
    pub layer: String,
    pub role: String,
    /// Run-time id; zero while it is not registered.
    pub id: u32,
    pub acted: u64,
    pub passed_over: u64,
}

/// Room for the whole list at once; the driver may send less.
const OUTPUT: usize = 4096;

/// The driver's version.
pub fn version(client: &Client) -> Result<String> {
    let output = control(client, GET_VERSION, &[], size_of::<Version>())?;
    let version = Version::read_from_bytes(&output).map_err(|_| malformed("its version"))?;
    Ok(format!("{}.{}.{}", version.driver_major, version.driver_minor, version.driver_patch))
}

/// What each callout has done since the driver was loaded.
pub fn statistics(client: &Client) -> Result<Vec<CalloutStatistics>> {
    let callouts: Vec<CalloutEntry> = list(client, LIST_CALLOUTS)?;
    let statistics: Vec<StatisticsEntry> = list(client, GET_STATISTICS)?;
    Ok(statistics
        .iter()
        .filter_map(|entry| {
            let listed = callouts.get(entry.callout as usize)?;
            let callout = listed.callout()?;
            Some(CalloutStatistics {
                layer: callout.layer.name().to_owned(),
                role: callout.role.name().to_owned(),
                id: listed.id,
                acted: entry.acted,
                passed_over: entry.passed_over,
            })
        })
        .collect())
}

fn list<T: FromBytes + IntoBytes + Immutable + KnownLayout>(client: &Client, code: u32) -> Result<Vec<T>> {
    let mut entries = Vec::new();
    loop {
        let request = ListRequest { protocol: postern_protocol::VERSION, first: entries.len() as u32 };
        let output = control(client, code, request.as_bytes(), OUTPUT)?;
        let (header, rest) = ListHeader::read_from_prefix(&output).map_err(|_| malformed("a list"))?;
        let size = header.entry_size as usize;
        if size < size_of::<T>() || rest.len() < size.saturating_mul(header.count as usize) {
            return Err(malformed("a list"));
        }
        for entry in rest.chunks_exact(size).take(header.count as usize) {
            let (entry, _) = T::read_from_prefix(entry).map_err(|_| malformed("a list"))?;
            entries.push(entry);
        }
        if header.count == 0 || entries.len() >= header.total as usize {
            return Ok(entries);
        }
    }
}

fn control(client: &Client, code: u32, input: &[u8], output_length: usize) -> Result<Vec<u8>> {
    let request =
        Request::DeviceControl { device: DEVICE_PATH.to_owned(), code, input: Hex(input.to_vec()), output_length };
    let Hex(output) = client.call(&request).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{DEVICE_PATH}: {}", failure.message), ..failure }
    })?;
    Ok(output)
}

fn malformed(what: &str) -> Failure {
    Failure::new(format!(
        "{DEVICE_PATH}: the driver's answer is no {}",
        what.trim_start_matches("its ").trim_start_matches("a ")
    ))
    .help("driver and program must be of the same version")
}
