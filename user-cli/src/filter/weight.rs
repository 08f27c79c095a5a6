//! Filter weights as they are written on the command line.

use postern_engine::objects::Weight;

/// `auto`, a range from 0 to 15, or an exact 64-bit weight in hexadecimal.
pub fn parse(text: &str) -> Result<Weight, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(Weight::Auto);
    }
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16)
            .map(Weight::Exact)
            .map_err(|_| format!("'{text}' is no 64-bit weight: write 0x and up to 16 hexadecimal digits"));
    }
    match text.parse::<u64>() {
        Ok(range @ 0..=15) => Ok(Weight::Range(range as u8)),
        Ok(weight) => Err(format!("a weight range is 0 to 15; write {weight:#x} if you mean the exact 64-bit weight")),
        Err(_) => Err(format!("'{text}' is no weight: write auto, a range from 0 to 15, or 0x... for an exact weight")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_number_is_a_range_and_a_hexadecimal_one_is_exact() {
        assert_eq!(parse("auto"), Ok(Weight::Auto));
        assert_eq!(parse("15"), Ok(Weight::Range(15)));
        assert_eq!(parse("0xf"), Ok(Weight::Exact(15)));
        assert!(parse("16").unwrap_err().contains("write 0x10"));
        assert!(parse("heavy").is_err());
        assert!(parse("0x10000000000000000").is_err());
    }
}
