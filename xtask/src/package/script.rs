//! The script of the package, read by a PowerShell grammar: nothing here runs it.

use std::collections::BTreeSet;
use std::fs;

use tree_sitter::{Node, Parser, Tree};

use crate::root;

/// Commands that Windows PowerShell 5.1 has and the script uses.
const COMMANDS: &[&str] = &[
    "Add-Type",
    "Copy-Item",
    "Export-Certificate",
    "ForEach-Object",
    "Get-AuthenticodeSignature",
    "Get-CimInstance",
    "Get-Command",
    "Get-Content",
    "Get-FileHash",
    "Get-ItemProperty",
    "Join-Path",
    "New-SelfSignedCertificate",
    "Out-Null",
    "Out-String",
    "Remove-Item",
    "Set-StrictMode",
    "Start-Process",
    "Start-Sleep",
    "Test-Path",
    "Where-Object",
    "Write-Verbose",
    "Write-Warning",
];

/// Variables that PowerShell sets.
const AUTOMATIC: &[&str] = &["$_", "$env:", "$false", "$lastexitcode", "$null", "$pscmdlet", "$psscriptroot", "$true"];

fn script() -> String {
    fs::read_to_string(root().join("inf/Invoke-Postern.ps1")).unwrap()
}

fn parse(script: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(script, None).unwrap()
}

/// Calls `visit` with each node of a tree.
fn walk<'t>(node: Node<'t>, visit: &mut impl FnMut(Node<'t>)) {
    visit(node);
    for index in 0..node.child_count() {
        walk(node.child(index).unwrap(), visit);
    }
}

/// Where a script is not PowerShell: lines, and what is there.
fn errors(script: &str) -> Vec<String> {
    let tree = parse(script);
    let mut errors = Vec::new();
    walk(tree.root_node(), &mut |node| {
        if node.is_error() || node.is_missing() {
            let line = node.start_position().row + 1;
            errors.push(format!("{line}: {}", script[node.byte_range()].lines().next().unwrap_or_default()));
        }
    });
    errors
}

/// The texts of all nodes of a kind, in lower case: PowerShell's names have no case.
fn texts(script: &str, kind: &str) -> BTreeSet<String> {
    let tree = parse(script);
    let mut texts = BTreeSet::new();
    walk(tree.root_node(), &mut |node| {
        if node.kind() == kind {
            texts.insert(script[node.byte_range()].to_ascii_lowercase());
        }
    });
    texts
}

/// Commands that neither the script nor PowerShell has.
fn unknown_commands(script: &str) -> Vec<String> {
    let mut known = texts(script, "function_name");
    known.extend(COMMANDS.iter().map(|command| command.to_ascii_lowercase()));
    texts(script, "command_name").into_iter().filter(|command| !known.contains(command)).collect()
}

/// Variables that nothing sets.
fn unknown_variables(script: &str) -> Vec<String> {
    let tree = parse(script);
    let mut set = BTreeSet::new();
    walk(tree.root_node(), &mut |node| {
        let parent = |kind: &str| node.parent().is_some_and(|parent| parent.kind() == kind);
        let is_set = match node.kind() {
            // Not the variables in its attributes and its default.
            "variable" if parent("script_parameter") => true,
            // `foreach ($x in ...)`: the first variable is the loop's.
            "variable" if parent("foreach_statement") => node.prev_named_sibling().is_none(),
            "left_assignment_expression" => true,
            _ => false,
        };
        if is_set {
            set.insert(script[node.byte_range()].to_ascii_lowercase());
        }
    });
    texts(script, "variable")
        .into_iter()
        // `@arguments` hands over the values of `$arguments`.
        .map(|name| name.replacen('@', "$", 1))
        .filter(|name| !set.contains(name) && !AUTOMATIC.iter().any(|known| name.starts_with(known)))
        .collect()
}

#[test]
fn the_script_is_powershell() {
    assert_eq!(errors(&script()), Vec::<String>::new());
}

#[test]
fn each_command_and_each_variable_of_the_script_exists() {
    assert_eq!(unknown_commands(&script()), Vec::<String>::new());
    assert_eq!(unknown_variables(&script()), Vec::<String>::new());
}

#[test]
fn a_broken_script_is_found_to_be_broken() {
    let script = script();
    for (from, to) in [
        ("function Stop-Driver {", "function Stop-Driver "),
        ("switch ($step) {", "switch $step {"),
        ("'Load' { Start-Driver }", "'Load' { Start-Driver "),
        ("param([int] $Code, [string] $Message)", "param([int] $Code [string] $Message)"),
        ("$problems.Count -gt 0", "$problems.Count -gt"),
    ] {
        assert!(script.contains(from), "{from}");
        assert_ne!(errors(&script.replacen(from, to, 1)), Vec::<String>::new(), "{from} -> {to}");
    }
}

#[test]
fn a_misspelled_command_or_variable_is_found() {
    let script = script();
    assert_eq!(unknown_commands(&script.replacen("Assert-Signature\n", "Assert-Signatur\n", 2)), ["assert-signatur"]);
    assert_eq!(unknown_commands(&script.replacen("Copy-Item", "Copy-File", 1)), ["copy-file"]);
    assert_eq!(unknown_variables(&script.replacen("$objects -eq 0", "$object -eq 0", 1)), ["$object"]);
}
