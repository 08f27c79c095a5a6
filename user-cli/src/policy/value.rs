//! Values of conditions, as the layer's field needs them.

use std::net::Ipv6Addr;

use postern_engine::layers::{DataType, Field, FieldType};
use postern_engine::objects::{ConditionValue, MatchType};

use super::words::Numbers;
use crate::filter::address::Addresses;
use crate::filter::{app_id, sid};

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
            None => sid::parse(text).map(|sid| ConditionValue::SecurityDescriptor(sid::descriptor(&sid))),
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
