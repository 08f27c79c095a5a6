//! Which program a path names in the lab.

/// The NT path of the program at a Windows path, as `FwpmGetAppIdFromFileName0` finds it: lower case, with the volume device
/// in place of the drive letter.
///
/// Which volume a letter stands for is known to the machine alone. In the lab, C: is `\device\harddiskvolume3`, as on a disk
/// that Windows set up by itself (after the EFI and the recovery volume), and the letters after it follow.
pub fn nt_path(path: &str) -> Result<String, String> {
    let path = path.replace('/', "\\");
    let lower = path.to_lowercase();
    if lower == "system" {
        // The kernel's own traffic carries this name as it is.
        return Ok("System".to_owned());
    }
    if lower.starts_with(r"\device\") {
        return Ok(lower);
    }
    let path = lower.strip_prefix(r"\\?\").unwrap_or(&lower);
    match path.as_bytes() {
        [letter @ b'c'..=b'z', b':', b'\\', _, ..] => {
            Ok(format!(r"\device\harddiskvolume{}{}", 3 + letter - b'c', &path[2..]))
        }
        _ => Err(format!(
            r"'{path}' is no full path of a program: write C:\Windows\System32\curl.exe, \Device\HarddiskVolume3\..., or System"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_lower_case_nt_path() {
        let expected = r"\device\harddiskvolume3\windows\system32\svchost.exe";
        for path in [r"C:\Windows\System32\svchost.exe", "c:/windows/system32/SVCHOST.EXE", expected] {
            assert_eq!(nt_path(path).unwrap(), expected);
        }
        assert_eq!(nt_path(r"D:\x.exe").unwrap(), r"\device\harddiskvolume4\x.exe");
        assert_eq!(nt_path("system").unwrap(), "System");
    }

    #[test]
    fn a_path_that_names_no_program_is_refused() {
        for path in ["curl.exe", r"\curl.exe", r"C:\", r"\\server\share\x.exe"] {
            assert!(nt_path(path).is_err(), "{path}");
        }
    }
}
