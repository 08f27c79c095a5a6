//! A pointer that came from a driver.

use core::fmt;
use core::marker::PhantomData;

/// An address that an image handed to the lab, or that the lab handed to an image.
///
/// The type carries the argument for every access made through it: the kernel's contract obliges the
/// driver to pass memory that is valid for the function it calls. A driver that breaks it faults inside
/// the lab's function, and that fault is caught, attributed to the call and turned into a bug check (see
/// `fault.rs`), just as a bad pointer handed to Windows ends in one.
#[repr(transparent)]
pub struct Ptr<T>(*mut T, PhantomData<*mut T>);

impl<T> Clone for Ptr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Ptr<T> {}
impl<T> PartialEq for Ptr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Ptr<T> {}
impl<T> fmt::Debug for Ptr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address())
    }
}

// SAFETY: it is an address; what may be done with it is the driver's contract, not the thread's.
unsafe impl<T> Send for Ptr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Ptr<T> {}

impl<T> Ptr<T> {
    pub const NULL: Self = Ptr(core::ptr::null_mut(), PhantomData);

    pub const fn new(pointer: *mut T) -> Self {
        Ptr(pointer, PhantomData)
    }

    pub fn from_address(address: u64) -> Self {
        Ptr::new(address as *mut T)
    }

    pub fn address(self) -> u64 {
        self.0 as u64
    }

    pub fn as_mut_ptr(self) -> *mut T {
        self.0
    }

    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub fn non_null(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    pub fn cast<U>(self) -> Ptr<U> {
        Ptr::new(self.0.cast())
    }

    /// Element `index` of the array that this points to.
    pub fn at(self, index: usize) -> Self {
        Ptr::new(self.0.wrapping_add(index))
    }

    /// `bytes` further, as another type.
    pub fn byte_at<U>(self, bytes: usize) -> Ptr<U> {
        Ptr::new(self.0.wrapping_byte_add(bytes).cast())
    }

    pub fn read(self) -> T
    where
        T: Copy,
    {
        // SAFETY: the type's argument. Volatile: the driver's threads write it too, and a fault must
        // happen here.
        unsafe { self.0.read_volatile() }
    }

    pub fn write(self, value: T)
    where
        T: Copy,
    {
        // SAFETY: as for `read`.
        unsafe { self.0.write_volatile(value) }
    }

    /// Writes unless the pointer is null, for optional out-parameters.
    pub fn write_optional(self, value: T)
    where
        T: Copy,
    {
        if !self.is_null() {
            self.write(value);
        }
    }

    /// The value in place, for atomics.
    pub fn as_ref<'a>(self) -> &'a T {
        // SAFETY: the type's argument; used for atomics and the lab's own objects only.
        unsafe { &*self.0 }
    }

    /// Copies `count` elements out.
    pub fn to_vec(self, count: usize) -> Vec<T>
    where
        T: Copy,
    {
        (0..count).map(|index| self.at(index).read_unaligned()).collect()
    }

    pub fn read_unaligned(self) -> T
    where
        T: Copy,
    {
        // SAFETY: as for `read`.
        unsafe { self.0.read_unaligned() }
    }

    pub fn copy_from(self, values: &[T])
    where
        T: Copy,
    {
        for (index, value) in values.iter().enumerate() {
            // SAFETY: as for `write`.
            unsafe { self.at(index).0.write_unaligned(*value) }
        }
    }
}

/// The address of a field of a structure in the driver's memory: `field!(irp, IoStatus)`.
macro_rules! field {
    ($pointer:expr, $($name:tt).+) => {{
        let pointer = $pointer.as_mut_ptr();
        // SAFETY: computes an address; the access is made, and argued for, by `Ptr`.
        $crate::ptr::Ptr::new(unsafe { &raw mut (*pointer).$($name).+ })
    }};
}
pub(crate) use field;
