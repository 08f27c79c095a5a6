//! Values of conditions, as the layer's field needs them.

use std::net::{Ipv4Addr, Ipv6Addr};

use postern_engine::layers::{DataType, Field, FieldType};
use postern_engine::objects::{ConditionValue, MatchType};

use super::words::Numbers;
use crate::filter::address::Addresses;
use crate::filter::{app_id, sid};
use crate::output::hex;

/// What a text means at a field: one value, a network, or a range.
pub fn parse(field: &Field, words: &Numbers, text: &str) -> Result<(MatchType, ConditionValue), String> {
    if field.field_type == FieldType::IpAddress && matches!(field.data_type, DataType::Uint32 | DataType::ByteArray16) {
        let (match_type, value) = text.parse::<Addresses>()?.condition();
        return match (&value, field.data_type) {
            (ConditionValue::V4AddrMask { .. } | ConditionValue::Uint32(_), DataType::Uint32)
            | (ConditionValue::V6AddrMask { .. } | ConditionValue::ByteArray16(_), DataType::ByteArray16) => {
                Ok((match_type, value))
            }
            (ConditionValue::Range(ends), DataType::Uint32) if matches!(ends.0, ConditionValue::Uint32(_)) => {
                Ok((match_type, value))
            }
            (ConditionValue::Range(ends), DataType::ByteArray16)
                if matches!(ends.0, ConditionValue::ByteArray16(_)) =>
            {
                Ok((match_type, value))
            }
            _ => Err(format!("'{text}' is of the other IP version than the layer")),
        };
    }
    if let (DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64, Some((low, high))) =
        (field.data_type, text.split_once('-').filter(|(low, _)| words.parse(text).is_err() && !low.is_empty()))
    {
        let ends = (one(field, words, low.trim())?, one(field, words, high.trim())?);
        return Ok((MatchType::Range, ConditionValue::Range(Box::new(ends))));
    }
    Ok((MatchType::Equal, one(field, words, text)?))
}

/// One value at a field.
pub fn one(field: &Field, words: &Numbers, text: &str) -> Result<ConditionValue, String> {
    if field.field_type == FieldType::IpAddress
        && let (DataType::Uint32 | DataType::ByteArray16, Ok(address)) = (field.data_type, text.parse::<Addresses>())
    {
        return match address.condition().1 {
            value @ (ConditionValue::Uint32(_) | ConditionValue::V4AddrMask { .. })
                if field.data_type == DataType::Uint32 =>
            {
                Ok(value)
            }
            value @ (ConditionValue::ByteArray16(_) | ConditionValue::V6AddrMask { .. })
                if field.data_type == DataType::ByteArray16 =>
            {
                Ok(value)
            }
            _ => Err(format!("'{text}' is no address of the layer's IP version")),
        };
    }
    match field.data_type {
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => {
            let number = words.parse(text)?;
            let (value, most) = match field.data_type {
                DataType::Uint8 => (u8::try_from(number).ok().map(ConditionValue::Uint8), u64::from(u8::MAX)),
                DataType::Uint16 => (u16::try_from(number).ok().map(ConditionValue::Uint16), u64::from(u16::MAX)),
                DataType::Uint32 => (u32::try_from(number).ok().map(ConditionValue::Uint32), u64::from(u32::MAX)),
                _ => (Some(ConditionValue::Uint64(number)), u64::MAX),
            };
            value.ok_or_else(|| format!("{number} is too large: the field holds 0 to {most}"))
        }
        DataType::ByteBlob => match bytes(text) {
            Some(blob) => Ok(ConditionValue::ByteBlob(blob)),
            None => app_id::nt_path(text).map(|path| ConditionValue::ByteBlob(app_id::blob(&path))),
        },
        DataType::Sid => sid::parse(text).map(ConditionValue::Sid),
        DataType::TokenInformation | DataType::TokenAccessInformation => match bytes(text) {
            Some(descriptor) => Ok(ConditionValue::SecurityDescriptor(descriptor)),
            None => sid::descriptor(text).map(ConditionValue::SecurityDescriptor),
        },
        DataType::ByteArray6 => {
            let digits = text.replace(['-', ':'], "");
            let bytes = bytes(&format!("0x{digits}")).and_then(|bytes| bytes.try_into().ok());
            bytes.map(ConditionValue::ByteArray6).ok_or_else(|| {
                format!("'{text}' is no MAC address: write six bytes in hexadecimal, as in 00-15-5d-01-02-03")
            })
        }
        DataType::ByteArray16 => {
            let bytes = bytes(text).and_then(|bytes| bytes.try_into().ok());
            bytes
                .or_else(|| text.parse::<Ipv6Addr>().ok().map(|address| address.octets()))
                .map(ConditionValue::ByteArray16)
                .ok_or_else(|| format!("'{text}' is not 16 bytes: write 0x and 32 hexadecimal digits"))
        }
        DataType::UnicodeString => Ok(ConditionValue::UnicodeString(text.to_owned())),
        other => Err(format!("a field of type {other:?} cannot be asked for")),
    }
}

/// After `0x`, pairs of hexadecimal digits.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.strip_prefix("0x")?.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// The text that [`one`] reads a value from.
pub fn text(field: &Field, words: &Numbers, value: &ConditionValue) -> Option<String> {
    let address = field.field_type == FieldType::IpAddress;
    let number = |number: u64| match words.name(number) {
        Some(word) => word.to_owned(),
        None => number.to_string(),
    };
    let text = match value {
        ConditionValue::Uint32(bits) if address => Ipv4Addr::from(*bits).to_string(),
        ConditionValue::Uint8(n) => number(u64::from(*n)),
        ConditionValue::Uint16(n) => number(u64::from(*n)),
        ConditionValue::Uint32(n) => number(u64::from(*n)),
        ConditionValue::Uint64(n) => number(*n),
        ConditionValue::ByteArray16(bytes) if address => Ipv6Addr::from(*bytes).to_string(),
        ConditionValue::ByteBlob(blob) => {
            let path = app_id::text(blob).filter(|path| app_id::nt_path(path).as_ref() == Ok(path));
            path.unwrap_or_else(|| format!("0x{}", hex(blob)))
        }
        ConditionValue::ByteArray16(bytes) => format!("0x{}", hex(bytes)),
        ConditionValue::Sid(bytes) => sid::text(bytes)?,
        ConditionValue::SecurityDescriptor(bytes) => {
            sid::described(bytes).unwrap_or_else(|| format!("0x{}", hex(bytes)))
        }
        ConditionValue::UnicodeString(text) => text.clone(),
        ConditionValue::ByteArray6(bytes) => bytes.map(|byte| format!("{byte:02x}")).join("-"),
        ConditionValue::V4AddrMask { addr, mask } if mask.leading_ones() == mask.count_ones() => {
            format!("{}/{}", Ipv4Addr::from(addr & mask), mask.count_ones())
        }
        ConditionValue::V6AddrMask { addr, prefix } => {
            let mask = !u128::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
            format!("{}/{prefix}", Ipv6Addr::from(u128::from_be_bytes(*addr) & mask))
        }
        ConditionValue::V4AddrMask { .. } | ConditionValue::Range(_) | ConditionValue::Empty => return None,
    };
    Some(text)
}
