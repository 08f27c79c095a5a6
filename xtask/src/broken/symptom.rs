//! How it shows that a build is broken, in one line.

/// Longest symptom, in characters.
const LONGEST: usize = 160;

/// Of a program that failed: the first test that failed, and the first thing that was said of it.
pub fn of_failure(output: &str, errors: &str) -> String {
    let said = violation(errors).or_else(|| panic_message(errors)).unwrap_or_else(|| last_line(errors));
    match failed_test(output).or_else(|| running_test(output)) {
        Some(test) => tidy(&format!("{test}: {said}")),
        None => tidy(&said),
    }
}

/// Of a program that did not end.
pub fn of_hang(output: &str) -> String {
    tidy(&format!("{}: hangs", running_test(output).unwrap_or("it")))
}

/// Of a build that failed: the compiler's first error.
pub fn of_build(errors: &str) -> String {
    let lines = || errors.lines().map(str::trim);
    let error = lines().find(|line| line.starts_with("error[")).or(lines().find(|line| line.starts_with("error")));
    tidy(error.unwrap_or("error: the build failed"))
}

fn failed_test(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" FAILED")?.split(" ...").next())
}

/// The test that was begun and has not ended.
fn running_test(output: &str) -> Option<&str> {
    let (name, rest) = output.lines().last()?.strip_prefix("test ")?.split_once(" ...")?;
    (!rest.ends_with("ok")).then_some(name)
}

/// The first violation that the lab reports, in words or as a structure.
fn violation(errors: &str) -> Option<String> {
    const KINDS: [&str; 8] = ["irql", "spin lock", "pool", "stack", "leak", "late call", "contract", "bug check"];
    errors.lines().map(str::trim).find_map(|line| {
        if let Some(what) = line.strip_prefix("what: \"") {
            return Some(what.trim_end_matches("\",").replace("\\\"", "\""));
        }
        KINDS.iter().any(|kind| line.strip_prefix(kind).is_some_and(|rest| rest.starts_with(": "))).then(|| line.into())
    })
}

/// The first message of a thread that panicked.
fn panic_message(errors: &str) -> Option<String> {
    let mut lines = errors.lines().skip_while(|line| !(line.starts_with("thread '") && line.contains(" panicked at ")));
    lines.next()?;
    let mut lines = lines.filter(|line| !line.trim().is_empty());
    let message = lines.next()?;
    // The values that an assertion has compared are in the lines below it.
    let values = lines.take_while(|line| line.starts_with("  left: ") || line.starts_with(" right: "));
    Some(values.fold(message.to_owned(), |message, value| message + ", " + value.trim()))
}

fn last_line(errors: &str) -> String {
    errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed without a word").to_owned()
}

/// Makes a line that is the same each time, and that a table can hold: addresses go, and what is too long is cut.
fn tidy(line: &str) -> String {
    let mut tidied = String::new();
    let mut rest = line.trim();
    while let Some(at) = rest.find("0x") {
        let (before, number) = rest.split_at(at);
        let digits = number[2..].chars().take_while(|c| c.is_ascii_hexdigit()).count();
        tidied += before;
        // A status is eight digits and the same each time.
        tidied += if digits == 8 { &number[..2 + digits] } else { "0x…" };
        rest = &number[2 + digits..];
    }
    tidied += rest;
    let tidied = tidied.replace('|', "\\|").replace('`', "'");
    match tidied.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &tidied[..end]),
        None => tidied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_test_and_the_first_violation() {
        let output = "running 2 tests\ntest a::good ... ok\ntest a::bad ... FAILED\n";
        let errors = "thread 'main' (7) panicked at tests/x.rs:1:2:\n[\n    Violation {\n        kind: LateCall,\n        \
                      what: \"called \\\"x\\\" at 0xfffff80012345678\",\n    },\n]\n";
        assert_eq!(of_failure(output, errors), "a::bad: called \"x\" at 0x…");
    }

    #[test]
    fn without_a_violation_the_message_of_the_panic_tells() {
        let errors = "noise\nthread 'main' (7) panicked at tests/x.rs:1:2:\nassertion failed: 1 | 2\nnote: more\n";
        assert_eq!(of_failure("test a::bad ... FAILED\n", errors), "a::bad: assertion failed: 1 \\| 2");
        let errors =
            "thread 'main' (7) panicked at tests/x.rs:1:2:\nassertion failed: no\n  left: 1\n right: 2\nnote: more\n";
        assert_eq!(of_failure("", errors), "assertion failed: no, left: 1, right: 2");
    }

    #[test]
    fn a_test_that_hangs_or_dies_is_named() {
        let output = "test a::good ... ok\ntest a::slow ... ";
        assert_eq!(of_hang(output), "a::slow: hangs");
        assert_eq!(of_failure(output, "bug check: 0x0000007F\n"), "a::slow: bug check: 0x0000007F");
    }
}
