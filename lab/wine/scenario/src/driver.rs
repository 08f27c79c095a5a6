//! The driver, through its device.

use anyhow::{Context, Result, bail};
use postern_protocol::callout::{COUNT, Callout};
use postern_protocol::ioctl::{
    self, ListHeader, ListRequest, StatisticsEntry, Version, WATCH_FROM_NOW, WatchHeader, WatchRequest,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::device::{Device, Parked};

pub struct Driver(Device);

impl Driver {
    pub fn open() -> Result<Driver> {
        Ok(Driver(Device::open(postern_protocol::DEVICE_PATH)?))
    }

    pub fn check_version(&self) -> Result<()> {
        let answer = self.0.control(ioctl::GET_VERSION, &[], size_of::<Version>())?;
        let version = Version::read_from_bytes(&answer).ok().context("no version")?;
        if version.protocol == postern_protocol::VERSION { Ok(()) } else { bail!("{version:?} is another version") }
    }

    fn statistics(&self) -> Result<Vec<StatisticsEntry>> {
        let request = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
        let answer = self.0.control(ioctl::GET_STATISTICS, request.as_bytes(), 8192)?;
        let (header, entries) = ListHeader::read_from_prefix(&answer).ok().context("no list")?;
        if header.count as usize != COUNT {
            bail!("{} callouts, not {COUNT}", header.count);
        }
        entries
            .chunks_exact(header.entry_size as usize)
            .map(|entry| StatisticsEntry::read_from_bytes(entry).ok().context("an entry of another size"))
            .collect()
    }

    /// How often a callout has done what its role says.
    pub fn acted(&self, callout: Callout) -> Result<u64> {
        let entries = self.statistics()?;
        Ok(entries.get(callout.index()).context("no such callout")?.acted)
    }

    /// How many flows the driver counts now, up to as many as fit into one answer.
    pub fn flows(&self) -> Result<u32> {
        let request = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
        let answer = self.0.control(ioctl::LIST_FLOWS, request.as_bytes(), 65536)?;
        let (header, _) = ListHeader::read_from_prefix(&answer).ok().context("no list")?;
        Ok(header.count)
    }

    /// A request for events that have not happened.
    pub fn watch(&self) -> Result<Parked> {
        let mut request = WatchRequest { protocol: postern_protocol::VERSION, reserved: 0, from: WATCH_FROM_NOW };
        let answer = self.0.control(ioctl::WATCH, request.as_bytes(), 4096)?;
        let (header, _) = WatchHeader::read_from_prefix(&answer).ok().context("no answer")?;
        request.from = header.next;
        Parked::ask(postern_protocol::DEVICE_PATH, ioctl::WATCH, request.as_bytes(), 4096)
    }

    /// How often any callout has.
    pub fn classified(&self) -> Result<u64> {
        Ok(self.statistics()?.iter().map(|entry| entry.acted).sum())
    }
}
