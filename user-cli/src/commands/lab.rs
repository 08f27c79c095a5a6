//! `postern lab`.

use clap::{Args, Subcommand};
use comfy_table::Cell;
use serde::Serialize;

use super::driver::describe_violations;
use crate::cli::Context;
use crate::driver::Violation;
use crate::failure::{Exit, Failure, Result};
use crate::lab::client::Client;
use crate::lab::host::{Bfe, Settings};
use crate::lab::message::{Fault, Occurrences, Request};
use crate::lab::status::{Status, Stopped};
use crate::lab::{daemon, server};
use crate::output::{counted, lines, table, time};
use crate::status;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a lab in the background and waits until it is ready
    #[command(after_help = "Examples:
  postern lab start
  postern lab start --lab night-run
  postern lab start --bfe stopped      # drivers start before the base filtering engine
  postern lab start --store lab.json   # persistent and boot-time objects are kept there for the next start")]
    Start {
        #[command(flatten)]
        settings: Settings,
        /// Stay in the foreground, and end with Ctrl-C
        #[arg(long)]
        foreground: bool,
    },
    /// Unloads all drivers and ends the lab
    Stop,
    /// Tells whether the lab runs, and what is in it
    Status,
    /// Starts or stops the base filtering engine, as a system does when it comes up or goes down
    Bfe { state: Bfe },
    /// Makes a kernel function fail
    #[command(after_help = "Examples:
  postern lab inject --function FwpsCalloutUnregisterById0 --status STATUS_DEVICE_BUSY --times 3
  postern lab inject --function ExAllocatePool2 --status STATUS_INSUFFICIENT_RESOURCES --at 5")]
    Inject(Inject),
    /// Lets each kernel call of a driver fail, once with each status that it may return; in labs of its own
    #[command(after_help = super::faults::EXAMPLES)]
    Faults(super::faults::Arguments),
    /// Reports what a driver registers, calls, ignores and leaves behind, and what is wrong with it; in labs of its own
    #[command(after_help = super::audit::EXAMPLES)]
    Audit(super::audit::Arguments),
    /// Shows what drivers printed
    Log,
    /// Shows what drivers did wrong; exit code 5 if there is anything
    Violations,
    /// Is the lab
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        settings: Settings,
        #[arg(long)]
        background: bool,
    },
}

#[derive(Debug, Args)]
pub struct Inject {
    /// The imported function, as FwpsCalloutUnregisterById0
    #[arg(long)]
    function: String,
    /// What it returns: the name of an NTSTATUS, or its number (0x...)
    #[arg(long, value_parser = status::parse)]
    status: u32,
    /// How many of the next calls fail
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Only the N-th call from now on fails
    #[arg(long, value_name = "N", conflicts_with = "times", value_parser = clap::value_parser!(u32).range(1..))]
    at: Option<u32>,
}

pub fn run(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Start { settings, foreground: false } => start(context, &settings),
        Command::Start { settings, foreground: true } => match server::serve(&context.address, &settings)? {},
        Command::Serve { settings, background } => {
            if background {
                // A session of its own: the terminal's signals and its end are no concern of the lab.
                rustix::process::setsid().map_err(|error| Failure::new(format!("setsid: {error}")))?;
            }
            match server::serve(&context.address, &settings)? {}
        }
        Command::Stop => stop(context),
        Command::Status => show_status(context),
        Command::Bfe { state } => set_bfe(context, state == Bfe::Running),
        Command::Inject(inject) => inject.run(context),
        Command::Audit(arguments) => super::audit::run(context, &arguments),
        Command::Faults(arguments) => super::faults::run(context, &arguments),
        Command::Log => {
            let log: Vec<String> = context.client()?.call(&Request::Log)?;
            context.output.print(&log, |log| log.join("\n"))?;
            Ok(Exit::Success)
        }
        Command::Violations => {
            let violations: Vec<Violation> = context.client()?.call(&Request::Violations)?;
            context.output.print(&violations, |violations| match &violations[..] {
                [] => "none".to_owned(),
                some => describe_violations(some),
            })?;
            Ok(if violations.is_empty() { Exit::Success } else { Exit::LeftBehind })
        }
    }
}

fn start(context: &Context, settings: &Settings) -> Result<Exit> {
    #[derive(Serialize)]
    struct Started {
        lab: String,
        process_id: u32,
        socket: std::path::PathBuf,
        log: std::path::PathBuf,
    }
    let (process_id, log) = daemon::start(&context.address, settings)?;
    let address = &context.address;
    let started = Started { lab: address.name.clone(), process_id, socket: address.socket.clone(), log };
    context.output.print(&started, |started| {
        format!("lab {} runs as process {}, log {}", started.lab, started.process_id, started.log.display())
    })?;
    Ok(Exit::Success)
}

fn set_bfe(context: &Context, running: bool) -> Result<Exit> {
    #[derive(Serialize)]
    struct Now {
        bfe_running: bool,
    }
    context.client()?.call::<()>(&Request::SetBfeRunning(running))?;
    context.output.print(&Now { bfe_running: running }, |now| {
        format!("base filtering engine {}", if now.bfe_running { "running" } else { "stopped" })
    })?;
    Ok(Exit::Success)
}

fn stop(context: &Context) -> Result<Exit> {
    let stopped: Stopped = context.client()?.call(&Request::Stop)?;
    context.output.print(&stopped, |stopped| {
        let mut text = String::new();
        for unloaded in &stopped.unloaded {
            text += &super::driver::describe_unloaded(unloaded);
        }
        for refused in &stopped.refused {
            text += &format!("not unloaded: {refused}\n");
        }
        if stopped.filters != 0 {
            text += &format!("{} went with the lab\n", counted(stopped.filters as u64, "filter"));
        }
        text + &format!("lab {} has ended\n", context.address.name)
    })?;
    let clean = stopped.refused.is_empty() && stopped.unloaded.iter().all(|unloaded| unloaded.is_clean());
    Ok(if clean { Exit::Success } else { Exit::LeftBehind })
}

fn show_status(context: &Context) -> Result<Exit> {
    #[derive(Serialize)]
    struct Shown {
        running: bool,
        #[serde(flatten)]
        status: Option<Status>,
    }
    let status = match Client::try_connect(&context.address)? {
        Some(client) => Some(client.call::<Status>(&Request::Status)?),
        None => None,
    };
    let shown = Shown { running: status.is_some(), status };
    context.output.print(&shown, |shown| match &shown.status {
        None => {
            format!("lab {} does not run: start it with `{}`", context.address.name, context.address.start_command())
        }
        Some(status) => {
            let mut text = format!(
                "lab {} runs as process {} since {}{}\n",
                context.address.name,
                status.process_id,
                time(status.uptime_seconds as f64),
                if status.stopped { ", stopped by a bug check: `postern lab violations`" } else { "" },
            );
            if let Some(log) = &status.log {
                text += &format!("log {}\n", log.display());
            }
            text += &format!(
                "base filtering engine {}, {}, {}, {}\n",
                if status.bfe_running { "running" } else { "stopped" },
                counted(status.filters as u64, "filter"),
                counted(status.sessions as u64, "session"),
                counted(status.violations as u64, "violation"),
            );
            if status.drivers.is_empty() {
                return text + "no driver loaded\n";
            }
            let rows = status.drivers.iter().map(|driver| {
                [
                    Cell::new(&driver.service),
                    Cell::new(format!("{:#x}", driver.base.unwrap_or_default())),
                    Cell::new(format!("{:#x}", driver.size.unwrap_or_default())),
                ]
            });
            text + "\n" + &lines(&table(["driver", "base", "size"], rows))
        }
    })?;
    Ok(if shown.running { Exit::Success } else { Exit::NoLab })
}

impl Inject {
    fn run(self, context: &Context) -> Result<Exit> {
        let occurrences = self.at.map_or(Occurrences::Next(self.times), Occurrences::Nth);
        let fault = Fault { function: self.function, status: self.status, occurrences };
        context.client()?.call::<()>(&Request::Inject(fault.clone()))?;
        context.output.print(&fault, |fault| {
            let when = match fault.occurrences {
                Occurrences::Next(1) => "once".to_owned(),
                Occurrences::Next(times) => format!("{times} times"),
                Occurrences::Nth(at) => format!("at call {at} from now on"),
            };
            format!("{} will return {} {when}", fault.function, status::describe(fault.status))
        })?;
        Ok(Exit::Success)
    }
}
