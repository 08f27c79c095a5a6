//! `cargo xtask test --page`: the page of `postern explain`, in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use crate::{cargo, python, say, setup};

/// From PyPI: drives the browser, and finds what people would have trouble with.
const PACKAGES: &[&str] = &["playwright==1.65.2", "axe-playwright-python==0.1.8"];
const BROWSER: &str = "chromium-headless-shell";

/// What is asked of the filters of a real machine: one page each for what is permitted, blocked, and left to callouts.
const QUESTIONS: &[(&str, &str, &[&str])] = &[
    ("permitted", "keploy.wfpstate.xml", &["connect", "--protocol", "tcp", "--remote", "192.0.2.7:443"]),
    (
        "blocked",
        "keploy.wfpstate.xml",
        &["accept", "--protocol", "tcp", "--remote", "203.0.113.9:50000", "--local", "192.168.1.2:80"],
    ),
    ("depends", "le_voile-a.filters.xml", &["connect", "--protocol", "udp", "--remote", "[2001:db8::7]:53"]),
];

pub fn test(root: &Path) -> Result<()> {
    setup::setup(root)?;
    let environment = python::environment(root, "page", PACKAGES)?;
    xwdk::install_programs(root, &[(BROWSER, BROWSER)], &mut say)?;
    cargo(root, &["build", "--package", "postern-cli"])?;

    let folder = root.join("target/page/shots");
    fs::create_dir_all(&folder)?;
    let mut pages = Vec::new();
    for (name, dump, question) in QUESTIONS {
        let state = unpacked(root, &folder, dump)?;
        let page = folder.join(format!("{name}.html"));
        python::run(
            Command::new(root.join("target/debug/postern"))
                .arg("explain")
                .args(*question)
                .args(["--state".as_ref(), state.as_os_str(), "--html".as_ref(), page.as_os_str()])
                .stdout(std::process::Stdio::null()),
        )?;
        pages.push(page);
    }
    say("the pages, light and dark, wide and narrow");
    check(root, &environment, &folder, "all", &pages)?;

    say("a page with mistakes, which must be found");
    let text = fs::read_to_string(&pages[0])?;
    for (mistake, from, to) in [
        ("script", "</body>", "<script>console.log('here')</script></body>"),
        ("contrast", "--muted: #515c6e", "--muted: #b9c2d0"),
        ("overflow", "</main>", "<div style=\"width:2000px\">wide</div></main>"),
        ("network", "</main>", "<img alt=\"\" src=\"http://localhost:9/x.png\"></main>"),
    ] {
        ensure!(text.contains(from), "the page has no {from}: the mistake cannot be made");
        let page = folder.join(format!("mistake-{mistake}.html"));
        fs::write(&page, text.replace(from, to))?;
        ensure!(check(root, &environment, &folder, "one", &[page]).is_err(), "the {mistake} was not found");
    }
    say(&format!("the pages have passed; screenshots are in {}", folder.display()));
    Ok(())
}

fn check(root: &Path, environment: &Path, folder: &Path, sights: &str, pages: &[PathBuf]) -> Result<()> {
    let browser = xwdk::program(root, BROWSER)?;
    let mut check = Command::new(environment.join("bin/python"));
    check.arg(root.join("xtask/src/page/check.py")).arg(browser.get_program()).arg(folder).arg(sights).args(pages);
    for (name, value) in browser.get_envs() {
        check.env(name, value.unwrap_or_default());
    }
    python::run(&mut check)
}

fn unpacked(root: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let packed = root.join("tests/data/wfp-state").join(format!("{name}.gz"));
    let file = fs::File::open(&packed).with_context(|| format!("cannot open {}", packed.display()))?;
    let unpacked = folder.join(name);
    std::io::copy(&mut GzDecoder::new(file), &mut fs::File::create(&unpacked)?)?;
    Ok(unpacked)
}
