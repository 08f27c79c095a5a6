//! The driver, through its device.

use anyhow::{Context, Result, bail};
use postern_protocol::callout::{COUNT, Callout};
use postern_protocol::ioctl::{self, ListHeader, ListRequest, StatisticsEntry, Version};
use zerocopy::{FromBytes, IntoBytes};

use crate::device::Device;

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

    /// How often any callout has.
    pub fn classified(&self) -> Result<u64> {
        Ok(self.statistics()?.iter().map(|entry| entry.acted).sum())
    }
}
