//! Reads the frames of a capture file, whichever of the two formats it has.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// Buffer to start with; it grows for a longer packet.
const BUFFER: usize = 1 << 18;
/// No packet is longer. A length above it means that the file is damaged.
const LONGEST_BLOCK: usize = 1 << 26;

const TOO_LONG: &str = "says that it is longer than any packet can be";

/// A frame as it was captured.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Number in the file, from 1.
    pub number: u64,
    /// Link type (`LINKTYPE_*`, tcpdump.org).
    pub link_type: i32,
    /// What the capture says of the direction, if it does.
    pub direction: Option<LinkDirection>,
    pub data: &'a [u8],
}

/// Direction of a frame as the capturing host saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkDirection {
    Inbound,
    Outbound,
}

/// Why a capture could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("cannot open {path}: {source}")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{path} is a pipe or a device: a capture is read more than once, so it must be a file")]
    NotAFile { path: PathBuf },
    #[error("{path} is empty")]
    Empty { path: PathBuf },
    #[error("{path} is no capture file: it begins with {begins}, which is neither pcap nor pcapng")]
    NotACapture { path: PathBuf, begins: String },
    #[error("{path} ends inside its header")]
    TruncatedHeader { path: PathBuf },
    #[error("{path} is damaged: its file header is not what its format prescribes")]
    BadHeader { path: PathBuf },
    #[error("{path} ends inside packet {packet}, which begins at byte {offset}: the file was cut off")]
    Truncated { path: PathBuf, packet: u64, offset: usize },
    #[error("{path} is damaged: packet {packet}, at byte {offset}, {detail}")]
    Damaged { path: PathBuf, packet: u64, offset: usize, detail: String },
    #[error("cannot read {path} at byte {offset}")]
    Read { path: PathBuf, offset: usize },
}

impl CaptureError {
    /// Whether the packets before the error are worth having.
    pub fn is_partial(&self) -> bool {
        matches!(self, CaptureError::Truncated { .. } | CaptureError::Damaged { .. })
    }
}

/// Hands every frame of the file to `visit`, in order, until it breaks.
pub fn read(path: &Path, mut visit: impl FnMut(Frame<'_>) -> ControlFlow<()>) -> Result<(), CaptureError> {
    let open = |source| CaptureError::Open { path: path.into(), source };
    let found = std::fs::metadata(path).map_err(open)?;
    if found.is_dir() {
        return Err(open(std::io::ErrorKind::IsADirectory.into()));
    }
    // Before it is opened: opening a pipe waits for its writer.
    if !found.is_file() {
        return Err(CaptureError::NotAFile { path: path.into() });
    }
    let mut file = File::open(path).map_err(open)?;
    recognise(path, &mut file)?;

    let mut reader = create_reader(BUFFER, file).map_err(|error| match error {
        PcapError::Incomplete(_) | PcapError::Eof => CaptureError::TruncatedHeader { path: path.into() },
        PcapError::ReadError => CaptureError::Read { path: path.into(), offset: 0 },
        _ if found.len() < SECTION_HEADER => CaptureError::TruncatedHeader { path: path.into() },
        _ => CaptureError::BadHeader { path: path.into() },
    })?;
    let mut capacity = BUFFER;
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut big_endian = false;
    let mut legacy = false;
    let mut number = 0;
    loop {
        let offset = reader.consumed();
        let damaged = |detail: &str| CaptureError::Damaged {
            path: path.into(),
            packet: number + 1,
            offset,
            detail: detail.to_owned(),
        };
        match reader.next() {
            Ok((length, block)) => {
                let frame = match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        big_endian = header.is_bigendian();
                        legacy = true;
                        // The upper bits tell the length of the frame check sequence.
                        interfaces = vec![Interface { link_type: header.network.0 & 0x03ff_ffff, snaplen: 0 }];
                        None
                    }
                    PcapBlockOwned::Legacy(packet) => Some((0, None, packet.data)),
                    PcapBlockOwned::NG(Block::SectionHeader(ref section)) => {
                        big_endian = section.big_endian();
                        interfaces.clear();
                        None
                    }
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        interfaces
                            .push(Interface { link_type: interface.linktype.0, snaplen: interface.snaplen as usize });
                        None
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(ref packet)) => {
                        let end = packet.data.len().min(packet.caplen as usize);
                        let direction =
                            packet.options.iter().find(|option| option.code.0 == EPB_FLAGS).and_then(|option| {
                                match option.value().get(if big_endian { 3 } else { 0 })? & 3 {
                                    1 => Some(LinkDirection::Inbound),
                                    2 => Some(LinkDirection::Outbound),
                                    _ => None,
                                }
                            });
                        Some((packet.if_id as usize, direction, &packet.data[..end]))
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(ref packet)) => {
                        let snaplen = match interfaces.first() {
                            Some(Interface { snaplen, .. }) if *snaplen > 0 => *snaplen,
                            _ => usize::MAX,
                        };
                        let end = packet.data.len().min(packet.origlen as usize).min(snaplen);
                        Some((0, None, &packet.data[..end]))
                    }
                    PcapBlockOwned::NG(_) => None,
                };
                if let Some((interface, direction, data)) = frame {
                    let Some(interface) = interfaces.get(interface) else {
                        return Err(damaged("names an interface that the file does not describe"));
                    };
                    number += 1;
                    let frame = Frame { number, link_type: interface.link_type, direction, data };
                    if visit(frame).is_break() {
                        return Ok(());
                    }
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|_| CaptureError::Read { path: path.into(), offset })?;
            }
            Err(PcapError::BufferTooSmall) => {
                capacity *= 2;
                if capacity > LONGEST_BLOCK || !reader.grow(capacity) {
                    return Err(damaged(TOO_LONG));
                }
                reader.refill().map_err(|_| CaptureError::Read { path: path.into(), offset })?;
            }
            Err(PcapError::UnexpectedEof) => {
                // Where a record tells its length: after the time in pcap, after the type in pcapng.
                let at = if legacy { 8 } else { 4 };
                let length =
                    reader.data().get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|bytes| match big_endian {
                        true => u32::from_be_bytes(*bytes),
                        false => u32::from_le_bytes(*bytes),
                    });
                if length.is_some_and(|length| length as usize > LONGEST_BLOCK) {
                    return Err(damaged(TOO_LONG));
                }
                return Err(CaptureError::Truncated { path: path.into(), packet: number + 1, offset });
            }
            Err(PcapError::ReadError) => return Err(CaptureError::Read { path: path.into(), offset }),
            Err(_) => return Err(damaged("is not what its format prescribes")),
        }
    }
}

/// Option `epb_flags` of an enhanced packet block.
const EPB_FLAGS: u16 = 2;

struct Interface {
    link_type: i32,
    /// Zero: no limit.
    snaplen: usize,
}

/// What files of either format and byte order begin with.
const MAGIC: [[u8; 4]; 6] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];
/// The shortest section header of pcapng.
const SECTION_HEADER: u64 = 28;

/// Tells a file that is no capture at all from a damaged one.
fn recognise(path: &Path, file: &mut File) -> Result<(), CaptureError> {
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match file.read(&mut magic[have..]) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(CaptureError::Read { path: path.into(), offset: have }),
        }
    }
    if have == 0 {
        return Err(CaptureError::Empty { path: path.into() });
    }
    if have < magic.len() && MAGIC.iter().any(|known| known.starts_with(&magic[..have])) {
        return Err(CaptureError::TruncatedHeader { path: path.into() });
    }
    if !MAGIC.contains(&magic) {
        let begins = match magic[..have] {
            [0x1f, 0x8b, ..] => "a gzip header (unpack it first)".to_owned(),
            [0x28, 0xb5, 0x2f, 0xfd] => "a zstd header (unpack it first)".to_owned(),
            ref bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
        };
        return Err(CaptureError::NotACapture { path: path.into(), begins });
    }
    file.seek(SeekFrom::Start(0)).map_err(|_| CaptureError::Read { path: path.into(), offset: 0 })?;
    Ok(())
}
