//! The Kernel-Mode Driver Framework.

#[derive(Default)]
pub(crate) struct Kmdf {}

impl Kmdf {
    pub fn left_behind(&self, _image: u64) -> Vec<String> {
        Vec::new()
    }
}
