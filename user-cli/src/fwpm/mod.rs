//! The structures of the filter engine's management functions (fwpmtypes.h, fwptypes.h), made of our objects and read into them.

pub mod compose;
pub mod parse;

#[cfg(test)]
mod tests;
