//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postern_engine::objects::Session;
use uuid::Uuid;

use crate::commands::{
    ask, changes, clean, completions, connect, diff, driver, endure, events, explain, export, filter, flows, import,
    lab, plan, replay, state, watch,
};
use crate::engine::FilterEngine;
use crate::failure::{Exit, Result};
use crate::output::{self, Output};
use crate::system::{self, Address};

/// Filters network traffic with the Windows Filtering Platform, and tries filters and drivers in a lab
#[derive(Debug, Parser)]
#[command(name = "postern", version, propagate_version = true, after_help = format!("{}\n\n{EXIT_CODES}", system::EXAMPLES))]
struct Cli {
    #[command(flatten)]
    system: system::Options,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts, stops and looks into a lab
    #[command(subcommand)]
    Lab(lab::Command),
    /// Loads and unloads drivers
    #[command(subcommand)]
    Driver(driver::Command),
    /// Adds, removes and lists filters
    #[command(subcommand)]
    Filter(filter::Command),
    /// Shows what a policy would change
    Plan(plan::PlanArguments),
    /// Puts a policy in force
    Apply(plan::ApplyArguments),
    /// Writes a policy of the filters that there are
    Export(export::Arguments),
    /// Makes a policy of other programs' rules
    Import(import::Arguments),
    /// Tells whether anything of a provider or of the driver is left
    VerifyClean(clean::VerifyArguments),
    /// Removes everything of a provider
    Clean(clean::Arguments),
    /// Replays a capture file as traffic
    Replay(replay::Arguments),
    /// Tries one outgoing connection
    Connect(connect::Arguments),
    /// Tries one incoming connection
    Accept(connect::Arguments),
    /// Tells why a connection or packet is permitted or blocked
    #[command(subcommand)]
    Explain(explain::Command),
    /// Shows the state of the filter engine, or loads a machine's into a lab
    State(state::Arguments),
    /// Shows what any program adds to the filter engine, and deletes from it
    Changes(changes::Arguments),
    /// Compares two states: files of netsh, or what there is now
    Diff(diff::Arguments),
    /// Lists the flows that the driver counts
    Flows(flows::Arguments),
    /// Shows what the driver's callouts decide, and flows as they come and go
    Watch(watch::Arguments),
    /// Shows what the filter engine drops, and permits, whoever's filters decide
    Events(events::Arguments),
    /// Asks what to do with operations that the driver holds
    Ask(ask::Arguments),
    /// Loads a driver, sends traffic, unloads it, again and again
    Endure(endure::Arguments),
    /// Prints a completion script for a shell
    Completions(completions::Arguments),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for connect and accept: permitted
  1  failed
  2  the command line is not valid
  3  no lab is running
  4  connect and accept: blocked
  5  a driver left something behind, was called late, or broke a contract
  6  not ended yet: an unload waits for handles, a connection for an answer
  7  plan: applying the policy would change something; diff: the states are different";

/// What every command gets.
pub struct Context {
    pub address: Address,
    pub output: Output,
}

impl Context {
    /// Opens a session with the filter engine.
    pub fn engine(&self, dynamic: bool) -> Result<Box<dyn FilterEngine>> {
        system::open_engine(&self.address, session(dynamic))
    }
}

/// What this program says of itself to the filter engine.
pub fn session(dynamic: bool) -> Session {
    let user = std::env::var("USER").unwrap_or_default();
    Session { key: Uuid::new_v4(), dynamic, ..Session::new("Postern CLI", std::process::id(), user) }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = if cli.json { Output::Json } else { Output::Human };
    match run(cli, output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            match output {
                Output::Human => eprintln!("error: {failure}"),
                Output::Json => {
                    let error = serde_json::json!({ "error": failure });
                    eprintln!("{}", output::json(&error).unwrap_or_else(|failure| failure.to_string()));
                }
            }
            failure.exit.into()
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<Exit> {
    let context = Context { address: cli.system.address()?, output };
    match cli.command {
        Command::Lab(command) => lab::run(&context, command),
        Command::Driver(command) => driver::run(&context, command),
        Command::Filter(command) => filter::run(&context, command),
        Command::Plan(arguments) => plan::plan(&context, arguments),
        Command::Apply(arguments) => plan::apply(&context, arguments),
        Command::Export(arguments) => export::run(&context, arguments),
        Command::Import(arguments) => import::run(&context, arguments),
        Command::VerifyClean(arguments) => clean::verify(&context, arguments),
        Command::Clean(arguments) => clean::clean(&context, arguments),
        Command::Replay(arguments) => replay::run(&context, arguments),
        Command::Connect(arguments) => connect::connect(&context, arguments),
        Command::Accept(arguments) => connect::accept(&context, arguments),
        Command::Explain(command) => explain::run(&context, command),
        Command::State(arguments) => state::run(&context, arguments),
        Command::Changes(arguments) => changes::run(&context, arguments),
        Command::Diff(arguments) => diff::run(&context, arguments),
        Command::Flows(arguments) => flows::run(&context, arguments),
        Command::Watch(arguments) => watch::run(&context, arguments),
        Command::Events(arguments) => events::run(&context, arguments),
        Command::Ask(arguments) => ask::run(&context, arguments),
        Command::Endure(arguments) => endure::run(&context, arguments),
        Command::Completions(arguments) => completions::run(arguments, <Cli as clap::CommandFactory>::command()),
    }
}
