//! Arguments of a call into an image.

use crate::ptr::Ptr;

/// A value that travels in one 64-bit argument slot.
pub trait Argument {
    fn slot(self) -> u64;
}

macro_rules! integer_arguments {
    ($($t:ty),*) => { $(impl Argument for $t { fn slot(self) -> u64 { self as u64 } })* };
}
integer_arguments!(u8, u16, u32, u64, usize, i32, i64);

impl<T> Argument for *const T {
    fn slot(self) -> u64 {
        self as u64
    }
}
impl<T> Argument for *mut T {
    fn slot(self) -> u64 {
        self as u64
    }
}
impl<T> Argument for Ptr<T> {
    fn slot(self) -> u64 {
        self.address()
    }
}

/// The arguments of one call: a tuple of up to ten [`Argument`]s.
pub trait Arguments {
    const COUNT: usize;
    fn slots(self) -> [u64; 10];
}

macro_rules! tuple_arguments {
    ($($count:literal: ($($name:ident),*);)*) => { $(
        impl<$($name: Argument),*> Arguments for ($($name,)*) {
            const COUNT: usize = $count;
            #[allow(non_snake_case, reason = "one name serves the type and its value")]
            #[inline(always)]
            fn slots(self) -> [u64; 10] {
                let ($($name,)*) = self;
                let values: [u64; $count] = [$($name.slot(),)*];
                let mut slots = [0; 10];
                slots[..$count].copy_from_slice(&values);
                slots
            }
        }
    )* };
}
tuple_arguments! {
    0: ();
    1: (A);
    2: (A, B);
    3: (A, B, C);
    4: (A, B, C, D);
    5: (A, B, C, D, E);
    6: (A, B, C, D, E, F);
    7: (A, B, C, D, E, F, G);
    8: (A, B, C, D, E, F, G, H);
    9: (A, B, C, D, E, F, G, H, I);
    10: (A, B, C, D, E, F, G, H, I, J);
}
