//! Who may open the device.

use postern_lab::{NtStatus, User};

use crate::support::*;

#[test]
fn nobody_but_system_and_administrators_opens_the_device_or_a_path_below_it() {
    let lab = lab_with_driver();
    for path in [postern_protocol::DEVICE_PATH.to_owned(), format!(r"{}\x", postern_protocol::DEVICE_PATH)] {
        for user in [User::System, User::Administrator] {
            assert!(lab.open_as(user, &path).is_ok(), "{user:?} cannot open {path}");
        }
        assert_eq!(lab.open_as(User::Ordinary, &path).err(), Some(NtStatus::ACCESS_DENIED), "{path}");
    }
    unload(&lab);
}
