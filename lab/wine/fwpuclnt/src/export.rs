/// The lab's records name the function that returned something; a program's are not kept.
pub fn current_name() -> &'static str {
    ""
}
