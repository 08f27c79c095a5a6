//! `postern driver`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use comfy_table::Cell;
use serde::Serialize;

use crate::cli::Context;
use crate::device::{CalloutStatistics, Device};
use crate::driver::{Checked, Driver, Holder, Stopping, Unload, Unloaded, Violation};
use crate::failure::{Exit, Failure, Result};
use crate::output::{count, counted, lines, table};
use crate::system;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Loads a driver
    #[command(after_help = "Examples:
  postern driver load
  postern driver load --model wdm
  postern driver load --image build/other.sys --name other")]
    Load {
        /// Driver image [default: the Postern driver that this program carries]
        #[arg(long, value_name = "FILE", conflicts_with = "model")]
        image: Option<PathBuf>,
        /// Driver model of the Postern driver that this program carries
        #[arg(long, value_name = "MODEL", default_value = "kmdf")]
        model: Model,
        /// Name of the driver's service [default: the file's name]
        #[arg(long, value_name = "SERVICE")]
        name: Option<String>,
    },
    /// Unloads a driver and shows its receipt; exit code 5 if it left anything behind
    #[command(after_help = "Examples:
  postern driver unload
  postern driver unload other
  postern driver unload --no-wait

While handles to the driver's devices are open, the system does not call its unload function, and lets nobody open another. The
command says who holds them and waits for the last one; Ctrl-C ends the waiting, not the unload. With --no-wait it ends at once
with exit code 6; the next `postern driver unload` waits again, or shows the receipt.")]
    Unload {
        /// Name of the driver's service
        #[arg(default_value = postern_protocol::SERVICE_NAME)]
        name: String,
        /// Do not wait for handles to be closed
        #[arg(long)]
        no_wait: bool,
    },
    /// Tells whether a driver is loaded, and what its callouts have done
    Status {
        /// Name of the driver's service
        #[arg(default_value = postern_protocol::SERVICE_NAME)]
        name: String,
    },
}

/// Both drivers do the same.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Model {
    /// postern.sys
    Kmdf,
    /// postern_wdm.sys
    Wdm,
}

impl Model {
    /// The image that this program carries: its file's name, and its bytes.
    pub fn carried(self) -> (&'static str, &'static [u8]) {
        match self {
            Model::Kmdf => postern_image::IMAGES[0],
            Model::Wdm => postern_image::IMAGES[1],
        }
    }
}

pub fn run(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Load { image, model, name } => load(context, image, model, name),
        Command::Unload { name, no_wait } => unload(context, name, no_wait),
        Command::Status { name } => status(context, &name),
    }
}

fn load(context: &Context, image: Option<PathBuf>, model: Model, name: Option<String>) -> Result<Exit> {
    let service = name.unwrap_or_else(|| service_name(image.as_deref()));
    let driver = system::driver::load(&context.address, service, image.as_deref(), model)?;
    context.output.print(&driver, |driver| {
        let mut text = format!("loaded {}", driver.service);
        if let (Some(base), Some(size)) = (driver.base, driver.size) {
            text += &format!(" at {base:#x}, {} bytes", count(size));
        }
        if let Some(registrations) = &driver.registrations {
            text += &format!(", {}", counted(registrations.len() as u64, "callout"));
        }
        text + &format!(", in {:.2} ms", driver.load_milliseconds.unwrap_or_default())
    })?;
    Ok(Exit::Success)
}

/// A device or a pipe may never end.
const LARGEST_IMAGE: u64 = 256 << 20;

/// The bytes of an image: the Postern driver of that model, which this program carries, unless a file is named.
pub fn image_bytes(image: Option<&Path>, model: Model) -> Result<Vec<u8>> {
    match image {
        Some(path) => {
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|file| file.take(LARGEST_IMAGE + 1).read_to_end(&mut bytes))
                .map_err(|error| Failure::new(format!("cannot read the image {}: {error}", path.display())))?;
            if bytes.len() as u64 > LARGEST_IMAGE {
                return Err(Failure::new(format!("{} is longer than any driver image", path.display()))
                    .help("give a whole x64 kernel driver image"));
            }
            Ok(bytes)
        }
        None => Ok(model.carried().1.to_vec()),
    }
}

/// The name of the service that an image becomes, if no other is given.
pub fn service_name(image: Option<&Path>) -> String {
    match image.and_then(Path::file_stem) {
        Some(stem) => stem.to_string_lossy().into_owned(),
        None => postern_protocol::SERVICE_NAME.to_owned(),
    }
}

fn unload(context: &Context, service: String, no_wait: bool) -> Result<Exit> {
    let unload = system::driver::unload(&context.address, service, !no_wait, |stopping: Stopping| {
        eprint!("{}", describe_stopping(&stopping));
    })?;
    match unload {
        Unload::Done(unloaded) => {
            context.output.print(&unloaded, describe_unloaded)?;
            Ok(if unloaded.is_clean() { Exit::Success } else { Exit::LeftBehind })
        }
        Unload::Waits(stopping) => {
            context.output.print(&stopping, describe_stopping)?;
            Ok(Exit::Waiting)
        }
    }
}

/// Who keeps a driver from being unloaded.
fn describe_stopping(stopping: &Stopping) -> String {
    let holders = describe_holders(&stopping.holders, &stopping.open_handles);
    if holders.is_empty() {
        return format!("{} has no open handle any more, and unloads\n", stopping.service);
    }
    format!("{} unloads when its last handle is closed\n{holders}", stopping.service)
}

/// A line for each client that holds a handle; for others what the system knows of their handles.
fn describe_holders(holders: &[Holder], open_handles: &[String]) -> String {
    if holders.is_empty() {
        return open_handles.iter().map(|handles| format!("  held: {handles}\n")).collect();
    }
    let line = |holder: &Holder| {
        let mut line = format!("  held by {} (process {})", holder.command, holder.process_id);
        if let Some(since) = &holder.since {
            line += &format!(" since {since}");
        }
        if let Some(parked) = holder.parked {
            line += &format!(", {} in the driver", counted(parked as u64, "request"));
        }
        line + "\n"
    };
    holders.iter().map(line).collect()
}

/// The receipt, and what the lab found.
pub fn describe_unloaded(unloaded: &Unloaded) -> String {
    let mut text = String::new();
    for line in &unloaded.receipt {
        text += &format!("  {line}\n");
    }
    text += &format!("unloaded {} in {:.2} ms", unloaded.service, unloaded.milliseconds);
    if let Some(registrations) = unloaded.registrations {
        text += &format!(", {} before", counted(registrations as u64, "callout"));
    }
    match &unloaded.violations[..] {
        [] if !unloaded.is_clean() => text + ": its own receipt is not complete\n",
        [] => {
            text + match unloaded.checked {
                Checked::Lab => ": nothing left behind, no late call\n",
                Checked::FilterEngine => ": nothing left behind in the filter engine\n",
                Checked::Nothing => "\n",
            }
        }
        some => {
            let who = if unloaded.checked == Checked::Lab { "the lab" } else { "the filter engine" };
            text + &format!(": {who} found {}\n", some.len()) + &describe_violations(some)
        }
    }
}

/// What drivers did wrong, one after the other.
pub fn describe_violations(violations: &[Violation]) -> String {
    let mut text = String::new();
    for violation in violations {
        text += &match &violation.driver {
            Some(driver) => format!("{driver}: {}: {}\n", violation.kind, violation.what),
            None => format!("{}: {}\n", violation.kind, violation.what),
        };
        if let Some(place) = &violation.place {
            text += &format!("  at {place}\n");
        }
        for doing in &violation.doing {
            text += &format!("  during {doing}\n");
        }
        if violation.times > 1 {
            text += &format!("  {} times\n", count(violation.times));
        }
        if !violation.remedy.is_empty() {
            text += &format!("  to mend: {}\n", violation.remedy);
        }
    }
    text
}

#[derive(Serialize)]
struct Shown {
    /// Of one that is not loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    loaded: bool,
    /// `running`, or `stopping`: waits for its handles to be closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(flatten)]
    driver: Option<Driver>,
    /// Of the Postern driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Whether Windows starts drivers with a test signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    test_signing: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    callouts: Vec<CalloutStatistics>,
}

fn status(context: &Context, service: &str) -> Result<Exit> {
    let driver = system::driver::find(&context.address, service)?;
    // Whatever its service is called: the device tells whose it is. While the driver stops nobody can open it.
    let device = match driver {
        Some(_) => Device::try_open(&context.address, "postern driver status")?.ok(),
        None => None,
    };
    let device = device.filter(|device| device.is_of(service));
    let shown = Shown {
        service: driver.is_none().then(|| service.to_owned()),
        loaded: driver.is_some(),
        state: driver.as_ref().map(|driver| if driver.unload_pending { "stopping" } else { "running" }),
        driver,
        version: device.as_ref().map(Device::version).transpose()?,
        test_signing: system::driver::test_signing(),
        callouts: device.as_ref().map(Device::statistics).transpose()?.unwrap_or_default(),
    };
    context.output.print(&shown, |shown| {
        let signing = match shown.test_signing {
            Some(true) => "test signing is on: drivers with a test signature start\n",
            Some(false) => "test signing is off: only drivers that Microsoft has signed start\n",
            None => "",
        };
        let Some(driver) = &shown.driver else {
            return format!("driver {service} is not loaded: load it with `postern driver load`\n{signing}");
        };
        let mut text = format!("driver {service} is loaded");
        if let Some(base) = driver.base {
            text += &format!(" at {base:#x}");
        }
        if let Some(version) = &shown.version {
            text += &format!(", version {version}");
        }
        text += if driver.unload_pending { ", stopping: waits for handles\n" } else { "\n" };
        if let Some(image) = &driver.image {
            text += &format!("image {image}\n");
        }
        text += signing;
        text += &describe_holders(&driver.holders, &driver.open_handles);
        if shown.callouts.is_empty() {
            return text;
        }
        // One that is not registered is worth a row, too.
        let idle = |callout: &CalloutStatistics| callout.id != 0 && callout.acted == 0 && callout.passed_over == 0;
        let (idle, busy): (Vec<_>, Vec<_>) = shown.callouts.iter().partition(|callout| idle(callout));
        let rows = busy.into_iter().map(|callout| {
            [
                Cell::new(&callout.layer),
                Cell::new(&callout.role),
                Cell::new(if callout.id == 0 { "not registered".to_owned() } else { callout.id.to_string() }),
                Cell::new(count(callout.acted)),
                Cell::new(count(callout.passed_over)),
            ]
        });
        let table = table(["layer", "callout", "id", "acted", "passed over"], rows);
        if table.row_count() > 0 {
            text += &format!("\n{}", lines(&table));
        }
        text + &format!("\n{} of {} without traffic", idle.len(), counted(shown.callouts.len() as u64, "callout"))
    })?;
    Ok(if shown.loaded { Exit::Success } else { Exit::Failed })
}
