//! Builds the driver; asks the lab; compares what the lab and Wine say.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod command {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;

    use anyhow::{Context, Result};
    use clap::{Parser, Subcommand};
    use postern_lab::exported_names;
    use postern_opinion::{Answers, Document, compare, driver, imports, in_lab, review};

    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Subcommand)]
    enum Command {
        /// Build the driver in a folder; prints where it is
        Build { folder: PathBuf },
        /// Run the driver in the lab, and print what it says
        Ask { image: PathBuf },
        /// Compare what the driver says in the lab with what it has said under Wine, against docs/windows-truth.md
        Compare {
            image: PathBuf,
            /// What Wine has printed
            log: PathBuf,
        },
    }

    pub fn main() -> Result<ExitCode> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("two folders below the root")?;
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        match Arguments::parse().command {
            Command::Build { folder } => println!("{}", driver(root, &folder)?.display()),
            Command::Ask { image } => {
                for (call, result) in in_lab(&read(&image)?)?.0.values().flat_map(|tried| &tried.calls) {
                    println!("{call} -> {result}");
                }
            }
            Command::Compare { image, log } => {
                let image = read(&image)?;
                let lab = in_lab(&image)?;
                let wine = Answers::parse(&String::from_utf8_lossy(&read(&log)?))?;
                let page = root.join("docs/windows-truth.md");
                let document = Document::parse(&String::from_utf8_lossy(&read(&page)?))?;
                let mut complaints = review(&lab, &imports(&image)?, &document, &exported_names("ntoskrnl.exe"));
                complaints.extend(compare(&lab, &wine, &document));
                for complaint in &complaints {
                    eprintln!("{complaint}");
                }
                let calls: usize = lab.0.values().map(|tried| tried.calls.len()).sum();
                let of_both = lab.0.iter().filter_map(|(function, tried)| Some((tried, wine.0.get(function)?)));
                let common =
                    of_both.flat_map(|(lab, wine)| lab.calls.iter().filter(|(call, _)| wine.result_of(call).is_some()));
                println!(
                    "{calls} calls of {} functions in the lab, {} of them under Wine too: {} differences are on the page",
                    lab.0.len(),
                    common.count(),
                    document.differences.len(),
                );
                if !complaints.is_empty() {
                    eprintln!("complaints: {}; bring docs/windows-truth.md up to date, or the lab", complaints.len());
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> anyhow::Result<std::process::ExitCode> {
    command::main()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() {
    eprintln!("the lab runs on x86-64 Linux only");
}
