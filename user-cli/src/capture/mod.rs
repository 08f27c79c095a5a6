//! Packets from capture files: pcap and pcapng.

mod packet;
mod reader;

pub use packet::{Fragment, Packet, Skipped, Transport, decode};
pub use reader::{CaptureError, Frame, LinkDirection, read};
