//! Loads, uses and unloads a driver image under Wine, through its service manager and the driver's device, and asks the filter engine what
//! the driver has left. `cargo xtask test --wine` starts it.
//!
//! The arguments are the image, and how many rounds. The last line says how many checks passed and failed, the one before how many
//! stays of the driver ended: each must have left a complete receipt in the log.
//!
//! With other arguments it makes what happens around `postern.exe` while its output is compared with the lab's:
//!
//! - `connect PROTOCOL LOCAL REMOTE SECONDS HELD` and `accept ...`: a connection after so many seconds, which is held open for as many more;
//! - `bfe running`, `bfe stopped`: the base filtering engine starts or stops.

#[cfg(windows)]
mod around;
#[cfg(windows)]
mod checks;
#[cfg(windows)]
mod device;
#[cfg(windows)]
mod driver;
#[cfg(windows)]
mod engine;
#[cfg(windows)]
mod service;

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    if let Some(event) = around::Event::parse(std::env::args().skip(1)) {
        return match event.happen() {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(rounds)) = (arguments.next(), arguments.next().and_then(|rounds| rounds.parse().ok()))
    else {
        eprintln!("usage: scenario <image> <rounds>");
        return std::process::ExitCode::FAILURE;
    };
    checks::run(&image, rounds)
}

#[cfg(not(windows))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("this is a program for Wine: `cargo xtask test --wine` builds and starts it")
}
