//! A second opinion on the lab's kernel: a driver calls the functions of `ntoskrnl.exe` that the lab has, and says what each call came
//! to. The same image runs in the lab and under Wine, and where the two differ, the tables of `docs/windows-truth.md` have to say so, and
//! who is right.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod answers;
mod document;
mod judgement;

pub use answers::{Answers, Tried, driver, imports, in_lab};
pub use document::{Difference, Document};
pub use judgement::{compare, review};
