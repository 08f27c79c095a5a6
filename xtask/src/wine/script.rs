//! The same commands of `postern`, in the lab and under Wine: they must say the same, line by line.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::installed::Wine;

/// What is said by these is compared. Between `driver load` and `driver unload`, whose own lines tell of addresses and times.
const SCRIPT: [&str; 13] = [
    r#"filter add --layer connect --action block --protocol udp --remote 131.151.1.146 --name "no file server""#,
    r#"filter add --layer accept --action callout-block --protocol tcp --local-port 3389 --name "no remote desktop""#,
    "filter add --layer connect --action callout-hold --hold-for 5 --remote-port 22",
    "filter add --layer connect --action permit --remote 2001:db8::/32 --remote-port 1-1024 --weight 7",
    "filter list",
    "filter list --json",
    "state --format xml",
    "filter remove 1",
    "filter remove 65553",
    "filter list",
    "filter add --layer nowhere --action block",
    "flows",
    "--json flows",
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
    // One of a run that was ended early.
    run("lab stop")?;
    run("lab start")?;
    run("driver load")?;
    let said = SCRIPT.iter().map(|line| Ok(format!("{MARK} {line}\n{}", run(line)?))).collect::<Result<String>>();
    run("driver unload")?;
    run("lab stop")?;
    said
}

/// The same under Wine, with `postern.exe` and the modules in place.
pub fn under_wine(wine: &Wine, prefix: &Path) -> Result<String> {
    let mut batch = String::from(
        "@echo off\r\n\
         sc create fwpkclnt type= kernel start= demand group= NDIS binPath= C:\\windows\\system32\\drivers\\fwpkclnt.sys >nul\r\n\
         ping -n 3 127.0.0.1 >nul\r\n\
         net start fwpkclnt >nul\r\n\
         C:\\postern.exe driver load >nul\r\n",
    );
    for line in SCRIPT {
        batch += &format!("echo {MARK} {line}\r\nC:\\postern.exe {line} 2>&1\r\n");
    }
    batch += "C:\\postern.exe driver unload >nul\r\n";
    let file = prefix.join("drive_c/script.bat");
    fs::write(&file, batch).with_context(|| format!("cannot write {}", file.display()))?;
    let output = wine.command("wine", &["cmd", "/c", r"C:\script.bat"]).output().context("cannot run wine")?;
    Ok(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

/// Compares line by line.
pub fn compare(lab: &str, wine: &str) -> Result<usize> {
    let (lab, wine) = (lines(lab), lines(wine));
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

fn lines(said: &str) -> Vec<String> {
    let kept = |line: &str| {
        let begins = CHANGING.into_iter().find(|begins| line.trim_start().starts_with(begins));
        // The program's name is in its usage.
        begins.map_or_else(|| line.replace("postern.exe", "postern"), |begins| format!("{begins}..."))
    };
    said.lines().map(kept).collect()
}
