//! Runs Windows kernel images on a machine without Windows.
