//! Help texts, suggestions and completions: how a user finds a command and its options.

use crate::support::command::{finished, lopper, text};
use std::fs;
use std::process::Command;

/// The commands that the general help lists.
fn commands() -> Vec<String> {
    let help = lopper(&["--help"]).succeeded().out;
    let list = help.split("Commands:").nth(1).unwrap().lines().skip(1).take_while(|line| !line.is_empty());
    // A long description goes on in a line that is indented further.
    let names =
        list.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(String::from).collect();
    assert!(names.len() > 18, "{names:?}");
    names
}

#[test]
fn every_command_has_a_help_text_within_100_columns() {
    for command in commands().iter().filter(|command| *command != "help") {
        for option in ["-h", "--help"] {
            let help = lopper(&[command, option]).succeeded().out;
            assert!(help.contains(&format!("Usage: lopper {command}")), "{help}");
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "lopper {command} {option}: {line}");
            }
        }
    }
}

#[test]
fn a_misspelled_command_or_option_is_suggested() {
    for (args, suggestion) in
        [(&["prone"][..], "prune"), (&["sumary", "vgg8_bn"], "summary"), (&["demo", "--quik"], "--quick")]
    {
        let run = lopper(args);
        assert_eq!(run.status, Some(2), "{args:?}");
        assert!(run.err.contains("similar") && run.err.contains(suggestion), "{args:?}: {}", run.err);
    }
}

/// Each script names every command and its options, and bash reads its own without a complaint.
#[test]
fn completions_name_every_command() {
    let commands = commands();
    for shell in ["bash", "zsh", "fish"] {
        let script = lopper(&["completions", shell]).succeeded().out;
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("learning-rate") && script.contains("max-memory"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("lopper.bash");
    fs::write(&script, lopper(&["completions", "bash"]).succeeded().out).unwrap();
    let parsed = finished(Command::new("bash").arg("-n").arg(&script).output().expect("bash"));
    assert_eq!((parsed.status, parsed.err.as_str()), (Some(0), ""));
    // Completing in a shell, as its user would.
    let complete = format!(
        "source {} && COMP_WORDS=(lopper pru) COMP_CWORD=1 && _lopper lopper pru lopper && echo \"${{COMPREPLY[@]}}\"",
        text(&script)
    );
    let found = finished(Command::new("bash").args(["-c", &complete]).output().expect("bash"));
    assert_eq!(found.out.trim(), "prune", "{}", found.err);
    lopper(&["completions", "tcsh"]).refused(&["tcsh", "bash"]);
}
