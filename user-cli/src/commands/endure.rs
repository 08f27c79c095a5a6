pub use crate::commands::completions::Arguments;
pub fn run(_: &crate::cli::Context, _: Arguments) -> crate::failure::Result<crate::failure::Exit> {
    Ok(crate::failure::Exit::Success)
}
