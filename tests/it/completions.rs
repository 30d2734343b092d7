//! What shells and `man` are told is what the program can do.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::support::gate::BINARY;
use super::support::{output, run};

/// The commands that `farmgate --help` lists.
fn commands() -> BTreeSet<String> {
    let help = run(Command::new(BINARY).arg("--help"));
    let list = help.split_once("Commands:").expect("a list of commands").1;
    let names = list.lines().skip(1).take_while(|line| !line.is_empty());
    let names: BTreeSet<_> =
        names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.contains("run") && names.contains("completions"), "{names:?}");
    names
}

#[test]
fn bash_completes_every_command_and_its_options() {
    let script = run(Command::new(BINARY).args(["completions", "bash"]));
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _farmgate farmgate \"${{COMP_WORDS[{at}]}}\" x; \
             echo \"${{COMPREPLY[@]}}\""
        );
        run(Command::new("bash").args(["-c", &ask]))
    };
    let first = complete("farmgate ''", 1);
    for command in commands() {
        assert!(first.split_whitespace().any(|word| word == command), "{command} in {first}");
    }
    assert_eq!(complete("farmgate status --js", 2).trim(), "--json");
}

#[test]
fn there_is_a_script_for_each_shell_and_a_word_for_others() {
    for (shell, sign) in [("zsh", "#compdef farmgate"), ("fish", "complete -c farmgate")] {
        assert!(run(Command::new(BINARY).args(["completions", shell])).contains(sign), "{shell}");
    }
    let refused = output(Command::new(BINARY).args(["completions", "tcsh"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("possible values"));
}

#[test]
fn every_command_has_a_manual_page_and_the_first_one_names_them_all() {
    let folder = tempfile::tempdir().expect("a folder");
    run(Command::new(BINARY).args(["man", "--folder"]).arg(folder.path()));
    let first = run(Command::new(BINARY).arg("man"));
    assert!(first.contains(".TH farmgate 1"), "{first}");
    for command in commands() {
        let escaped = command.replace('-', "\\-");
        assert!(first.contains(&format!("farmgate\\-{escaped}(1)")), "{command} in {first}");
        // `help` is clap's own and explains itself.
        let page = folder.path().join(format!("farmgate-{command}.1"));
        assert!(command == "help" || page.is_file(), "{}", page.display());
    }
    assert!(folder.path().join("farmgate-admin-issue.1").is_file());
    let configuration = fs::read_to_string(folder.path().join("farmgate.toml.5")).expect("a page");
    assert!(configuration.contains("timeouts.backend_restart"), "{configuration}");
    assert!(configuration.contains(r#"[default: "5s"]"#), "{configuration}");
}

#[test]
fn a_folder_that_cannot_be_is_a_failure_with_its_name() {
    let output = output(Command::new(BINARY).args(["man", "--folder", "/dev/null/man"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/null/man"));
}
