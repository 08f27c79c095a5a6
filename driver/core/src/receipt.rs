//! The receipt: counted proof that the driver has left.

use core::fmt;

/// Something that the driver begins and must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub what: &'static str,
    /// What beginning it is called.
    pub begun_as: &'static str,
    pub begun: u64,
    /// What ending it is called.
    pub ended_as: &'static str,
    pub ended: u64,
}

impl Account {
    pub const fn is_settled(&self) -> bool {
        self.begun == self.ended
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_settled() { '=' } else { '!' };
        write!(f, "{}: {} {} {sign} {} {}", self.what, self.begun, self.begun_as, self.ended, self.ended_as)
    }
}

/// The first line of a receipt with every account settled.
pub const COMPLETE: &str = "receipt: complete";
/// The first line of any other receipt.
pub const INCOMPLETE: &str = "receipt: INCOMPLETE";

/// Begins the lines, before the receipt, that say what was in flight when the driver began to leave: `in flight: flows: 12`.
pub const IN_FLIGHT: &str = "in flight: ";

/// All accounts of one stay.
#[derive(Debug, Clone, Copy)]
pub struct Receipt<'a>(pub &'a [Account]);

impl Receipt<'_> {
    pub fn is_complete(&self) -> bool {
        self.0.iter().all(Account::is_settled)
    }

    /// Hands the lines of the receipt to `print`, one at a time: the debugger's log takes short lines only.
    pub fn print(&self, mut print: impl FnMut(fmt::Arguments<'_>)) {
        print(format_args!("{}", if self.is_complete() { COMPLETE } else { INCOMPLETE }));
        for account in self.0 {
            print(format_args!("receipt: {account}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn lines(accounts: &[Account]) -> Vec<String> {
        let mut lines = Vec::new();
        Receipt(accounts).print(|line| lines.push(line.to_string()));
        lines
    }

    const SETTLED: Account =
        Account { what: "callouts", begun_as: "registered", begun: 32, ended_as: "unregistered", ended: 32 };

    #[test]
    fn a_receipt_with_all_accounts_settled_is_complete() {
        assert_eq!(lines(&[SETTLED]), [COMPLETE, "receipt: callouts: 32 registered = 32 unregistered"]);
    }

    #[test]
    fn one_open_account_makes_it_incomplete() {
        let open = Account { ended: 31, ..SETTLED };
        assert_eq!(
            lines(&[SETTLED, open]),
            [
                INCOMPLETE,
                "receipt: callouts: 32 registered = 32 unregistered",
                "receipt: callouts: 32 registered ! 31 unregistered",
            ]
        );
    }
}
