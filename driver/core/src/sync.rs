//! The atomics that this crate is built on: the processor's, or loom's, which try out every order in which threads may meet
//! (`RUSTFLAGS="--cfg loom"`, `tests/interleavings`).

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// `N` atomics of value zero.
#[cfg(not(loom))]
pub(crate) const fn zeros<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}
#[cfg(loom)]
pub(crate) fn zeros<const N: usize>() -> [AtomicU64; N] {
    core::array::from_fn(|_| AtomicU64::new(0))
}

/// A function that is `const`, except under loom, whose atomics must be made while a model runs.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $visibility const fn $name($($argument: $type),*) -> $result $body

        #[cfg(loom)]
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) -> $result $body
    };
}
pub(crate) use const_unless_loom;

/// What freeing memory is to loom: an access that no other may be concurrent with.
#[cfg(loom)]
pub trait Retire {
    fn retire(&mut self);
}

#[cfg(loom)]
impl Retire for AtomicU64 {
    fn retire(&mut self) {
        self.with_mut(|_| ());
    }
}

#[cfg(loom)]
impl<T: Retire> Retire for [T] {
    fn retire(&mut self) {
        self.iter_mut().for_each(T::retire);
    }
}
