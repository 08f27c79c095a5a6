//! The built images, in the lab: how each starts, judges traffic, answers requests and leaves. The same tests run over both; a test's
//! name tells the image.
#![allow(clippy::duplicate_mod, reason = "the tests are those of each image")]

#[path = "."]
mod kmdf {
    pub const IMAGE: &[u8] = postern_image::POSTERN_SYS;

    mod leaving;
    mod requests;
    mod starting;
    mod support;
    mod verdicts;
}

#[path = "."]
mod wdm {
    pub const IMAGE: &[u8] = postern_image::POSTERN_WDM_SYS;

    mod leaving;
    mod requests;
    mod starting;
    mod support;
    mod verdicts;
}
