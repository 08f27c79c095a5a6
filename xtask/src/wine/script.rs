//! The same commands of `postern`, in the lab and under Wine: they must say the same, line by line.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::distinct::Distinct;
use super::installed::Wine;

/// One thing after the other, between `driver load` and `driver unload`, whose own lines tell of addresses and times.
enum Step {
    /// A command, whose lines are compared.
    Says(&'static str),
    /// A command that says what a connection brings about, which is made a little later.
    SaysOf(&'static str, Connection),
    /// A command whose JSON has other fields here and there.
    Tells(&'static str),
    Traffic(Connection),
    BaseFilteringEngine(&'static str),
}
use Step::{BaseFilteringEngine, Says, SaysOf, Tells, Traffic};

/// `connect` or `accept`, protocol, local and remote end.
struct Connection(&'static str, &'static str, &'static str, &'static str);

/// What is asked before there is a filter engine.
const TOO_EARLY: &str = "filter list";

/// How long a connection stays open, in seconds.
const OPEN: u32 = 2;

const SCRIPT: [Step; 34] = [
    Says(r#"filter add --layer connect --action block --protocol udp --remote 131.151.1.146 --name "no file server""#),
    Says(
        r#"filter add --layer accept --action callout-block --protocol tcp --local-port 3389 --name "no remote desktop""#,
    ),
    Says("filter add --layer connect --action callout-hold --hold-for 30 --remote-port 22"),
    Says("filter add --layer connect --action permit --remote 2001:db8::/32 --remote-port 1-1024 --weight 7"),
    Says("filter add --layer accept --action callout-block --reject --protocol tcp --local-port 3390 --family v4"),
    Says("filter list"),
    Says("filter list --json"),
    Says("state --format xml"),
    Says("filter remove 1"),
    Says("filter remove 65553"),
    Says("filter list"),
    Says("filter add --layer nowhere --action block"),
    Says("flows"),
    Says("--json flows"),
    Tells("driver status --json"),
    Tells("--json driver status nobody"),
    Says("events options"),
    Says("events options --keywords classify-allow,inbound-mcast"),
    SaysOf("events --count 1 --for 30s", Connection("connect", "udp", "192.168.0.2:50000", "131.151.1.146:7000")),
    Traffic(Connection("accept", "tcp", "192.168.0.2:3390", "203.0.113.9:50000")),
    Traffic(Connection("connect", "tcp", "[fd00::2]:50000", "[2001:db8::1]:443")),
    Says("events --recent"),
    Says("events --recent --json"),
    SaysOf(
        "watch --verdicts --count 2 --for 30s",
        Connection("accept", "tcp", "192.168.0.2:3389", "203.0.113.9:50001"),
    ),
    SaysOf(
        "ask --once --answer permit --timeout 30s",
        Connection("connect", "tcp", "192.168.0.2:50001", "192.0.2.7:22"),
    ),
    Says("ask 77 --answer block"),
    Says("events options --collect off --keywords none"),
    Says("events"),
    Says("events options --collect on"),
    BaseFilteringEngine("stopped"),
    Says("filter list"),
    Says("events --recent"),
    BaseFilteringEngine("running"),
    Says("filter list"),
];

/// How lines begin whose rest is another each time.
const CHANGING: [&str; 6] = ["\"key\": ", "<filterKey>", "<sessionKey>", "<timeStamp>", "<processId>", "<username"];

/// Stands before each command's output.
const MARK: &str = "-----";

/// What a person sees who runs the script in a fresh lab with the driver.
pub fn in_lab(root: &Path, postern: &Path) -> Result<String> {
    let socket = root.join("target/wine/lab");
    let run = |line: &str| -> Result<String> {
        // The shell takes the quotes as Windows' does.
        let output = Command::new("sh")
            .args(["-c", &format!("\"$0\" {line} 2>&1")])
            .arg(postern)
            .env("POSTERN_LAB", &socket)
            .output()
            .with_context(|| format!("cannot run {}", postern.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let connect = |Connection(kind, protocol, local, remote): &Connection| {
        run(&format!(
            "{kind} --protocol {protocol} --local {local} --remote {remote} --timeout {OPEN}s --keep-open {OPEN}s"
        ))
    };
    let step = |step: &Step| -> Result<String> {
        Ok(match step {
            Says(line) | Tells(line) => format!("{MARK} {line}\n{}", run(line)?),
            SaysOf(line, connection) => std::thread::scope(|scope| -> Result<String> {
                let connected = scope.spawn(|| {
                    std::thread::sleep(Duration::from_secs(1));
                    connect(connection)
                });
                let said = run(line)?;
                connected.join().map_err(|_| anyhow!("the connection's thread panicked"))??;
                Ok(format!("{MARK} {line}\n{said}"))
            })?,
            Traffic(connection) => connect(connection).map(|_| String::new())?,
            BaseFilteringEngine(state) => {
                run(&format!("lab bfe {state}"))?;
                std::thread::sleep(Duration::from_secs(1));
                String::new()
            }
        })
    };
    // One of a run that was ended early.
    run("lab stop")?;
    run("lab start --bfe stopped")?;
    let too_early = step(&Says(TOO_EARLY))?;
    run("lab bfe running")?;
    run("driver load")?;
    let said = SCRIPT.iter().map(step).collect::<Result<String>>().map(|said| too_early + &said);
    run("driver unload")?;
    run("lab stop")?;
    said
}

/// The same under Wine, with `postern.exe` and the modules in place.
pub fn under_wine(wine: &Wine, prefix: &Path) -> Result<String> {
    let says = |line: &str| format!("echo {MARK} {line}\r\nC:\\postern.exe {line} 2>&1\r\n");
    let mut batch = format!("@echo off\r\n{}", says(TOO_EARLY));
    batch += "sc create fwpkclnt type= kernel start= demand group= NDIS binPath= C:\\windows\\system32\\drivers\\fwpkclnt.sys >nul\r\n\
              ping -n 3 127.0.0.1 >nul\r\n\
              net start fwpkclnt >nul\r\n\
              C:\\postern.exe driver load >nul\r\n";
    // There is no `sleep`; each ping but the first takes a second.
    let wait = |seconds: u32| format!("ping -n {} 127.0.0.1 >nul\r\n", seconds + 1);
    let connect = |Connection(kind, protocol, local, remote): &Connection, after: u32| {
        format!("C:\\scenario.exe {kind} {protocol} {local} {remote} {after} {OPEN}\r\n")
    };
    for step in &SCRIPT {
        batch += &match step {
            Says(line) | Tells(line) => says(line),
            // Programs take longer to start here.
            SaysOf(line, connection) => {
                format!("start /b {}{}{}", connect(connection, 4), says(line), wait(OPEN + 1))
            }
            Traffic(connection) => connect(connection, 0),
            BaseFilteringEngine(state) => format!("C:\\scenario.exe bfe {state}\r\n{}", wait(1)),
        };
    }
    batch += "C:\\postern.exe driver unload >nul\r\n";
    let file = prefix.join("drive_c/script.bat");
    fs::write(&file, batch).with_context(|| format!("cannot write {}", file.display()))?;
    let output = wine.command("wine", &["cmd", "/c", r"C:\script.bat"]).output().context("cannot run wine")?;
    Ok(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

/// Compares line by line.
pub fn compare(lab: &str, wine: &str) -> Result<usize> {
    let (lab, wine) = (lines(lab)?, lines(wine)?);
    let length = lab.len().max(wine.len());
    let different: Vec<String> = (0..length)
        .filter(|line| lab.get(*line) != wine.get(*line))
        .map(|line| {
            let said = |all: &[String]| all.get(line).map_or("(nothing)".to_owned(), |text| format!("{text:?}"));
            format!("line {}:\n  in the lab: {}\n  under Wine: {}", line + 1, said(&lab), said(&wine))
        })
        .collect();
    if !different.is_empty() {
        bail!("postern says something else under Wine than in the lab:\n{}", different.join("\n"));
    }
    Ok(length)
}

fn lines(said: &str) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for part in said.split(MARK) {
        let (command, said) = part.split_once('\n').unwrap_or((part, ""));
        kept.push(command.to_owned());
        if SCRIPT.iter().any(|step| matches!(step, Tells(line) if *line == command.trim())) {
            // That it is one JSON value, and no object in it has a key twice.
            let told = serde_json::from_str::<Distinct>(said);
            told.with_context(|| format!("`postern {}` printed {said}", command.trim()))?;
        } else {
            kept.extend(said.lines().map(line));
        }
    }
    Ok(kept)
}

/// A line without what is another each time.
fn line(line: &str) -> String {
    let begins = CHANGING.into_iter().find(|begins| line.trim_start().starts_with(begins));
    if let Some(begins) = begins {
        return format!("{begins}...");
    }
    if let Some((_, event)) = line.strip_prefix("{\"time\":\"").and_then(|event| event.split_once('"')) {
        return format!("{{\"time\":...{event}");
    }
    // The program's name is in its usage, and the way to start the base filtering engine in its help.
    let line = line.replace("postern.exe", "postern").replace("sc start BFE", "postern lab bfe running");
    let time = line.get(..TIME.len()).filter(|time| time.replace(|digit: char| digit.is_ascii_digit(), "0") == TIME);
    match time {
        Some(_) => format!("(time){}", &line[TIME.len()..]),
        None => line,
    }
}

/// What an event's time looks like.
const TIME: &str = "00:00:00.000Z";
