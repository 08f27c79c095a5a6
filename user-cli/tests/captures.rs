//! Reading captures, the whole way from a file.

#[allow(dead_code)]
mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use common::capture;
use postern_cli::capture::{CaptureError, Skipped, decode, read};

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pcap").join(file)
}

/// Packets, fragments, and what was skipped.
fn count(path: &Path) -> Result<(usize, usize, Vec<Skipped>), CaptureError> {
    let (mut packets, mut fragments, mut skipped) = (0, 0, Vec::new());
    read(path, |frame| {
        match decode(&frame) {
            Ok(packet) => {
                packets += 1;
                fragments += usize::from(packet.fragment.is_some());
            }
            Err(reason) => skipped.push(reason),
        }
        ControlFlow::Continue(())
    })?;
    Ok((packets, fragments, skipped))
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[test]
fn the_committed_captures_are_those_that_the_generator_makes() {
    let frames = capture::frames();
    for (file, bytes) in [("mixed.pcap", capture::pcap(&frames)), ("mixed.pcapng", capture::pcapng(&frames))] {
        if std::env::var_os("POSTERN_WRITE_CAPTURES").is_some() {
            std::fs::write(data(file), &bytes).unwrap();
        }
        assert!(std::fs::read(data(file)).unwrap() == bytes, "{file} is not what the generator makes");
    }
}

#[test]
fn both_formats_hold_the_same_packets() {
    let pcap = count(&data("mixed.pcap")).unwrap();
    assert_eq!(pcap, (capture::frames().len() - 1, 2, vec![Skipped::NotIp]));
    assert_eq!(count(&data("mixed.pcapng")).unwrap(), pcap);
}

#[test]
fn captures_of_others_are_read_whole() {
    assert_eq!(count(&data("icmp6-rfc8335.pcap")).unwrap(), (6, 0, vec![]));
    assert_eq!(count(&data("vrrp-v4v6.pcap")).unwrap(), (165, 0, vec![]));
    let (packets, fragments, skipped) = count(&data("afs-udp-frag.pcap")).unwrap();
    assert_eq!((packets, fragments, skipped), (601, 200, vec![]));
}

#[test]
fn a_capture_that_was_cut_off_names_packet_and_byte() {
    let whole = capture::pcap(&capture::frames());
    let (_directory, path) = written("cut.pcap", &whole[..whole.len() - 1]);
    let last = whole.len() - 16 - capture::frames().last().unwrap().len();
    match count(&path) {
        Err(CaptureError::Truncated { packet, offset, .. }) => {
            assert_eq!((packet as usize, offset), (capture::frames().len(), last));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_capture_is_told_by_its_first_bytes() {
    for (bytes, part) in [
        (&b"<?xml version"[..], "3c 3f 78 6d"),
        (&[0x1f, 0x8b, 8, 0, 0, 0], "gzip"),
        (&[], "is empty"),
        (&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "inside its header"),
        (&[0xd4, 0xc3], "inside its header"),
        (&capture::pcapng(&[])[..20], "inside its header"),
    ] {
        let (_directory, path) = written("file", bytes);
        let message = count(&path).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[test]
fn a_damaged_file_header_is_no_damaged_packet() {
    let mut bytes = capture::pcapng(&capture::frames());
    bytes[4..8].fill(7);
    let (_directory, path) = written("damaged.pcapng", &bytes);
    let error = count(&path).unwrap_err();
    assert!(matches!(error, CaptureError::BadHeader { .. }) && !error.is_partial(), "{error}");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(count(&path), Err(CaptureError::NotAFile { .. })));
}

#[test]
fn a_length_that_no_packet_has_is_damage() {
    let mut bytes = capture::pcap(&capture::frames());
    bytes.resize(bytes.len() + (1 << 20), 0);
    // The second packet's captured length.
    let second = 24 + 16 + capture::frames()[0].len();
    bytes[second + 8..second + 12].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    let (_directory, path) = written("damaged.pcap", &bytes);
    let message = count(&path).unwrap_err().to_string();
    assert!(message.contains("packet 2, at byte") && message.contains("longer than any packet"), "{message}");
}

#[test]
fn packets_longer_than_the_first_buffer_are_read() {
    let mut frame = capture::frames()[1].clone();
    frame.resize(1 << 20, 0);
    let (_directory, path) = written("long.pcap", &capture::pcap(&[frame.clone(), frame]));
    assert_eq!(count(&path).unwrap().0, 2);
}
