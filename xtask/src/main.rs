//! Everything a contributor runs: `cargo xtask <command>`.

mod ansible;
mod bench;
mod broken;
mod build;
mod demo;
mod inf;
mod loom;
mod package;
mod page;
mod python;
mod sanitize;
mod setup;
mod test;
mod wine;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use xwdk::Driver;

/// Builds, tests and shows Postern.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build the driver images; does nothing where nothing is missing
    Setup,
    /// Build everything; the last lines say where the driver images and the CLI are
    Build {
        /// Instead: build postern.exe, for x86_64-pc-windows-gnu; installs mingw's compiler where it is missing
        #[arg(long)]
        windows: bool,
    },
    /// Measure what a classify, a packet, a load and an unload cost; prints a table
    Bench,
    /// Show what Postern does: driver, filters, real traffic, state, and an unload while traffic flows
    Demo,
    /// Check formatting and lints, and run every test
    Test(test::Arguments),
    /// Run the models of the driver's brain in every interleaving of their threads
    Loom,
    /// Run the tests of the portable crates under ThreadSanitizer, AddressSanitizer and Miri
    Sanitize(sanitize::Arguments),
    /// Break the driver on purpose, in every way of the catalogue, and see who catches it; writes docs/broken-builds.md
    Broken(broken::Arguments),
    /// Check INF files against the rules of Microsoft's pages; fails if there is a finding
    Inf(inf::Arguments),
    /// Make a folder and a zip with images, symbols, INF files, scripts and licences, the images signed with a test certificate
    Package(package::Arguments),
    /// Check the signatures of a package's images
    VerifyPackage(package::VerifyArguments),
    /// Check that the drivers' sources compile against the headers of a real WDK
    CheckWdk {
        /// The WDK's content root: the folder that has `Include/10.0.*/km` and `Include/wdf`
        #[arg(env = "WDKContentRoot")]
        wdk: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let root = root();
    let result = match Arguments::parse().command {
        Task::Setup => setup::setup(&root),
        Task::Build { windows: false } => build::build(&root).map(|products| products.print()),
        Task::Build { windows: true } => build::windows(&root).map(|cli| println!("cli: {}", cli.display())),
        Task::Bench => bench::bench(&root),
        Task::Demo => demo::demo(&root),
        Task::Test(arguments) => test::test(&root, &arguments),
        Task::Loom => loom::loom(&root),
        Task::Sanitize(arguments) => sanitize::sanitize(&root, &arguments),
        Task::Broken(arguments) => broken::broken(&root, &arguments),
        Task::Inf(arguments) => inf::inf(&root, &arguments),
        Task::Package(arguments) => package::package(&root, &arguments),
        Task::VerifyPackage(arguments) => package::verify(&root, &arguments),
        Task::CheckWdk { wdk } => check_wdk(&root, wdk),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check_wdk(root: &Path, wdk: Option<PathBuf>) -> Result<()> {
    let wdk = wdk.context(
        "say which WDK: `cargo xtask check-wdk FOLDER`, or WDKContentRoot=FOLDER, where FOLDER has Include/10.0.*/km. xwdk/README.md says \
         where headers are to be had without Windows",
    )?;
    setup::setup(root)?;
    for driver in Driver::all(root) {
        driver.check_against(&wdk)?;
        say(&format!("the sources of {} compile against the headers of {}", driver.image_name(), wdk.display()));
    }
    Ok(())
}

/// The checkout that this program belongs to: the one that cargo runs it in, as one may be copied together with its target folder.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Says what is done, and why.
fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs cargo at `root`, showing its output.
fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    say(&format!("cargo {}", arguments.join(" ")));
    let status = Command::new("cargo").args(arguments).current_dir(root).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
