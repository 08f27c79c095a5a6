//! The driver images that the build script of this package made.
