//! `postern lab audit`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use comfy_table::Cell;
use postern_audit::{Faults, Finding, Report, Severity};
use postern_engine::layers;
use postern_faults::scenario::{Request as DeviceRequest, Subject};
use postern_faults::sweep::Case;
use postern_lab::Parameter;
use uuid::Uuid;

use super::driver::{Model, image_bytes, service_name};
use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};
use crate::output::{ProgressLine, count, counted, lines, table};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Driver image [default: the Postern driver that this program carries]
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    image: Option<PathBuf>,
    /// Driver model of the Postern driver that this program carries
    #[arg(long, value_name = "MODEL", default_value = "kmdf")]
    model: Model,
    /// Which kernel calls of the driver fail, one at a time
    #[arg(long, value_name = "WHICH", default_value = "all", conflicts_with = "case")]
    faults: Which,
    /// Only this fault, and nothing else beyond the plain run
    #[arg(long, value_name = "FUNCTION:N:STATUS", value_parser = str::parse::<Case>)]
    case: Option<Case>,
    /// A callout that the driver registers and leaves it to a program to add, and its layer; may be given again
    #[arg(long = "callout", value_name = "KEY=LAYER", value_parser = parse_callout)]
    callouts: Vec<(Uuid, Uuid)>,
    /// A value that the driver finds in its service's Parameters key; may be given again
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, Parameter)>,
    /// An I/O control request for the driver's device: code, then input and output buffer in hexadecimal; may be given again
    #[arg(long = "request", value_name = "CODE[:INPUT[:OUTPUT]]", value_parser = parse_request)]
    requests: Vec<DeviceRequest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// None
    None,
    /// The first and the last call of each place in the image, with every status
    Sample,
    /// Every call, with every status
    All,
}

pub const EXAMPLES: &str = "Examples:
  postern lab audit --image build/other.sys
  postern lab audit --image build/other.sys --faults none --json
  postern lab audit --image build/other.sys --case FwpsCalloutUnregisterById0:1:STATUS_DEVICE_BUSY
  postern lab audit --image inspect.sys --parameter RemoteAddressToInspect=192.0.2.1
  postern lab audit --image other.sys --request 0x222000:01000000
  postern lab audit --image monitor.sys --callout {b3241f1d-7cd2-4e7a-8721-2e97d07702e5}=FWPM_LAYER_STREAM_V4

The driver is loaded, gets traffic and requests, and is unloaded with flows alive, again and again, each time in a lab of its own: as it is;
with the base filtering engine stopping and starting; with slow work items; with callouts that stay busy; with traffic that comes at
each call of its unload; and with each of its kernel calls failing, once with each status. The report has what the driver is, what it
registers, at which IRQLs it calls what, which statuses it ignores, in which order it leaves, and a numbered list of what is wrong.
Exit code 5 if there is anything wrong.";

fn parse_callout(text: &str) -> Result<(Uuid, Uuid), String> {
    let (key, layer) = text.split_once('=').ok_or_else(|| format!("'{text}' is no callout: write KEY=LAYER"))?;
    let key = Uuid::try_parse(key).map_err(|error| format!("'{key}' is no key of a callout: {error}"))?;
    let name = layer.strip_prefix("FWPM_LAYER_").unwrap_or(layer);
    let layer = layers::by_name(name).ok_or_else(|| format!("there is no layer {layer}"))?;
    Ok((key, layer.key))
}

fn parse_request(text: &str) -> Result<DeviceRequest, String> {
    let mut parts = text.split(':');
    let code = parts.next().unwrap_or_default();
    let digits = code.strip_prefix("0x").unwrap_or(code);
    let code = u32::from_str_radix(digits, 16).map_err(|_| format!("'{code}' is no code: write it as 0x0012E486"))?;
    let mut buffer = || parse_bytes(parts.next().unwrap_or_default());
    Ok(DeviceRequest { code, input: buffer()?, output: buffer()? })
}

fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    let no_bytes = || format!("'{text}' are no bytes: write two hexadecimal digits for each");
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .filter(|digits: &Vec<u8>| digits.len().is_multiple_of(2))
        .ok_or_else(no_bytes)?;
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A number is a `REG_DWORD`, anything else a `REG_SZ`.
fn parse_parameter(text: &str) -> Result<(String, Parameter), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is no value: write NAME=VALUE"))?;
    let number = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    };
    Ok((name.to_owned(), number.map_or_else(|| Parameter::Text(value.to_owned()), Parameter::Number)))
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<Exit> {
    let subject = Subject {
        service: service_name(arguments.image.as_deref()),
        image: image_bytes(arguments.image.as_deref(), arguments.model)?.into(),
        callouts: arguments.callouts.clone(),
        parameters: arguments.parameters.clone(),
        requests: arguments.requests.clone(),
    };
    let faults = match (&arguments.case, arguments.faults) {
        (Some(case), _) => Faults::Only(case.clone()),
        (None, Which::None) => Faults::None,
        (None, Which::Sample) => Faults::Sample,
        (None, Which::All) => Faults::All,
    };
    let mut line = ProgressLine::default();
    let report = postern_audit::audit(&subject, &faults, &mut |done, of| {
        line.show(|| format!("trial {done} of {of}"));
    });
    line.end();
    if let Some(broken) = &report.image.broken {
        let file = arguments.image.as_ref().map_or(String::new(), |path| format!("{}: ", path.display()));
        return Err(Failure::new(format!("{file}{broken}")).help("give a whole x64 kernel driver image"));
    }
    context.output.print(&report, |report| describe(report, arguments))?;
    Ok(if report.findings.is_empty() { Exit::Success } else { Exit::LeftBehind })
}

fn describe(report: &Report, arguments: &Arguments) -> String {
    let image = &report.image;
    let imports: usize = image.imports.values().map(Vec::len).sum();
    let mut text = format!(
        "{}: {}, {} bytes, {} of {}, {}\n",
        image.service,
        image.model,
        count(image.bytes as u64),
        counted(imports as u64, "import"),
        counted(image.imports.len() as u64, "module"),
        if image.symbols == 0 { "no symbols".to_owned() } else { counted(image.symbols as u64, "symbol") },
    );
    if !report.registered.is_empty() {
        let rows = report
            .registered
            .iter()
            .map(|one| [Cell::new(one.what), Cell::new(count(one.times as u64)), Cell::new(one.places.join(", "))]);
        text += &format!("\n{}", lines(&table(["it registers", "times", "at"], rows)));
    }
    if !report.callouts.is_empty() {
        let rows = report.callouts.iter().map(|one| {
            let flows = if one.flow_delete_fn { "yes" } else { "" };
            [Cell::new(one.layer.unwrap_or("(no callout object)")), Cell::new(flows), Cell::new(&one.name)]
        });
        text += &format!("\n{}", lines(&table(["layer", "flowDeleteFn", "callout"], rows)));
    }
    for device in &report.devices {
        text += &format!(
            "\ndevice {}: {}\n",
            device.path.as_deref().unwrap_or("without a symbolic link"),
            device.security.as_deref().unwrap_or("the system's default security descriptor"),
        );
    }
    if !report.calls.is_empty() {
        let words = |set: Vec<&str>| set.join(" ");
        let rows = report.calls.iter().map(|row| {
            let irqls: Vec<String> = row.irqls.iter().map(ToString::to_string).collect();
            [
                Cell::new(row.function),
                Cell::new(count(row.calls as u64)),
                Cell::new(irqls.join(",")),
                Cell::new(row.tried.len()),
                Cell::new(words(row.failed.iter().map(String::as_str).collect())),
                Cell::new(words(row.ignored.iter().copied().collect())),
            ]
        });
        let header = ["it calls", "times", "IRQL", "statuses tried", "failed by itself", "ignored"];
        text += &format!("\n{}", lines(&table(header, rows)));
    }
    if !report.unload.is_empty() {
        text += "\nit leaves in this order:\n";
        for step in &report.unload {
            let times = if step.times == 1 { String::new() } else { format!(" ({} times)", count(step.times as u64)) };
            text += &format!("  {}{times}\n", step.function);
        }
    }
    for note in &report.notes {
        text += &format!("\nnote: {note}\n");
    }
    for finding in &report.findings {
        text += &describe_finding(finding, arguments);
    }
    text + "\n" + &verdict(report)
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// So many lines of one kind are shown; JSON has them all.
const SHOWN: usize = 5;

fn describe_finding(finding: &Finding, arguments: &Arguments) -> String {
    let mut text =
        format!("\n{}. {} ({}): {}\n", finding.number, finding.rule, severity(finding.severity), finding.what);
    if let Some(place) = &finding.place {
        text += &format!("   at {place}\n");
    }
    for (what, all) in [("seen", &finding.seen), ("when", &finding.when)] {
        for line in all.iter().take(SHOWN) {
            text += &format!("   {what}: {line}\n");
        }
        if all.len() > SHOWN {
            text += &format!("   {what}: and {} more\n", all.len() - SHOWN);
        }
    }
    text += &format!("   why: {}\n", finding.why);
    if !finding.source.is_empty() {
        text += &format!("   source: \"{}\"\n", finding.source);
    }
    if let Some(case) = &finding.case {
        let image = match (&arguments.image, arguments.model) {
            (Some(path), _) => format!(" --image '{}'", path.display()),
            (None, Model::Wdm) => " --model wdm".to_owned(),
            (None, Model::Kmdf) => String::new(),
        };
        text += &format!("   again: postern lab audit{image} --case {case}\n");
    }
    text
}

fn verdict(report: &Report) -> String {
    let mut by_severity: BTreeMap<Severity, u64> = BTreeMap::new();
    for finding in &report.findings {
        *by_severity.entry(finding.severity).or_default() += 1;
    }
    let trials = counted(report.trials as u64, "trial");
    if by_severity.is_empty() {
        return format!("nothing wrong was found in {trials}\n");
    }
    let parts: Vec<String> =
        by_severity.iter().rev().map(|(of, number)| format!("{number} {}", severity(*of))).collect();
    format!("{} in {trials}: {}\n", counted(report.findings.len() as u64, "finding"), parts.join(", "))
}
