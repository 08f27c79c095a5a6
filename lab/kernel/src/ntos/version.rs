//! Which version of Windows this is, and questions about it.

use core::cmp::Ordering;

use crate::export::{Export, exports};
use crate::nt::NtStatus;
use crate::ptr::Ptr;

pub(crate) const EXPORTS: &[Export] =
    exports![RtlGetVersion, RtlVerifyVersionInfo, VerSetConditionMask, RtlIsNtDdiVersionAvailable,];

/// The lab says that it is Windows 10 22H2.
pub(crate) const VERSION: [u32; 3] = [10, 0, 19045];

/// `RTL_OSVERSIONINFOW` is 276 bytes; the extended form has 8 more. Windows fills in the former whatever the
/// size says, and shipped drivers rely on it.
extern "win64" fn RtlGetVersion(information: Ptr<u32>) -> NtStatus {
    const EXTENDED: u32 = 284;
    let [major, minor, build] = VERSION;
    information.at(1).copy_from(&[major, minor, build, VER_PLATFORM_WIN32_NT]);
    information.at(5).cast::<u16>().copy_from(&[0; 128]);
    if information.read_unaligned() == EXTENDED {
        information.cast::<u8>().at(276).copy_from(&[0, 0, 0, 0, 0, 0, VER_NT_WORKSTATION, 0]);
    }
    NtStatus::SUCCESS
}

const VER_PLATFORM_WIN32_NT: u32 = 2;
const VER_NT_WORKSTATION: u8 = 1;

/// Parts of a version, as the bits of a type mask ask for them, and as a condition mask has three bits for each.
const MINOR: u32 = 0;
const MAJOR: u32 = 1;
const BUILD: u32 = 2;
const PLATFORM: u32 = 3;
const SERVICE_PACK_MINOR: u32 = 4;
const SERVICE_PACK_MAJOR: u32 = 5;
const SUITE: u32 = 6;
const PRODUCT_TYPE: u32 = 7;

/// Whether ours is to theirs as a condition has it; `None` if it is no condition for numbers.
fn holds(condition: u64, ordering: Ordering) -> Option<bool> {
    Some(match condition {
        1 => ordering.is_eq(),
        2 => ordering.is_gt(),
        3 => ordering.is_ge(),
        4 => ordering.is_lt(),
        5 => ordering.is_le(),
        _ => return None,
    })
}

/// "RtlVerifyVersionInfo routine". Major and minor version, and those of the service pack, are one number: the lower are compared
/// only where the higher are equal.
extern "win64" fn RtlVerifyVersionInfo(information: Ptr<u32>, mask: u32, conditions: u64) -> NtStatus {
    const VER_AND: u64 = 6;
    const VER_OR: u64 = 7;
    let asked = |part: u32| mask >> part & 1 != 0;
    let condition = |part: u32| conditions >> (3 * part) & 7;
    if mask == 0 || conditions == 0 {
        return NtStatus::INVALID_PARAMETER;
    }
    let number = |index: usize| information.at(index).read_unaligned();
    let half = |at: usize| u32::from(information.cast::<u8>().at(at).cast::<u16>().read_unaligned());
    let product = || u32::from(information.cast::<u8>().at(282).read());
    let [major, minor, build] = VERSION;

    let mut verdicts = Vec::new();
    if asked(PRODUCT_TYPE) {
        verdicts.push(holds(condition(PRODUCT_TYPE), u32::from(VER_NT_WORKSTATION).cmp(&product())));
    }
    if asked(SUITE) {
        // This system has none of the suites.
        verdicts.push(match condition(SUITE) {
            VER_AND | VER_OR => Some(half(280) == 0),
            _ => None,
        });
    }
    if asked(PLATFORM) {
        verdicts.push(holds(condition(PLATFORM), VER_PLATFORM_WIN32_NT.cmp(&number(4))));
    }
    if asked(BUILD) {
        verdicts.push(holds(condition(BUILD), build.cmp(&number(3))));
    }
    let one_number: [(u32, u32, &dyn Fn() -> u32); 4] = [
        (MAJOR, major, &|| number(1)),
        (MINOR, minor, &|| number(2)),
        (SERVICE_PACK_MAJOR, 0, &|| half(276)),
        (SERVICE_PACK_MINOR, 0, &|| half(278)),
    ];
    let parts: Vec<_> = one_number.into_iter().filter(|(part, ..)| asked(*part)).collect();
    if let Some((first, ..)) = parts.first() {
        let ordering = parts.iter().fold(Ordering::Equal, |so_far, (_, ours, theirs)| so_far.then(ours.cmp(&theirs())));
        verdicts.push(holds(condition(*first), ordering));
    }
    match verdicts.into_iter().find(|verdict| *verdict != Some(true)) {
        None => NtStatus::SUCCESS,
        Some(Some(_)) => NtStatus::REVISION_MISMATCH,
        Some(None) => NtStatus::INVALID_PARAMETER,
    }
}

/// Sets the condition of one part; of several bits the highest counts.
extern "win64" fn VerSetConditionMask(mask: u64, kind: u32, condition: u8) -> u64 {
    match (kind & 0xff).checked_ilog2() {
        Some(part) => mask | u64::from(condition & 7) << (3 * part),
        None => mask,
    }
}

extern "win64" fn RtlIsNtDdiVersionAvailable(version: u32) -> u8 {
    const NTDDI_WIN10_22H2: u32 = 0x0A00_000D;
    u8::from(version <= NTDDI_WIN10_22H2)
}
