//! `docs/flags.md`, made from the definitions that `--help` is made from.
//!
//! `UPDATE_DOCS=1 cargo test --lib flags` writes it.

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::Cli;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flags.md");

const HEAD: &str = "\
# Flags

<!-- Made from the same definitions as --help: UPDATE_DOCS=1 cargo test --lib flags -->

`pullctl help COMMAND` tells the same with examples. `pullctl completion SHELL` prints a completion script for bash, elvish,
fish, powershell or zsh. A variable that is set to nothing counts as not set.
";

fn document() -> String {
    let mut definition = Cli::command();
    definition.build();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Every command\n\n");
    text.push_str(&table(definition.get_arguments().filter(|argument| is_told(argument))));
    sections(&definition, "pullctl", &mut text);
    text
}

/// Those of `parent`'s commands, and of theirs.
fn sections(parent: &Command, called: &str, text: &mut String) {
    for command in parent.get_subcommands().filter(|command| command.get_name() != "help") {
        let called = format!("{called} {}", command.get_name());
        if !command.has_subcommands() {
            text.push_str(&section(command, &called));
        }
        sections(command, &called, text);
    }
}

/// The section of `command`, which is called by `called`.
fn section(command: &Command, called: &str) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let names: Vec<String> = command
        .get_positionals()
        .map(|argument| {
            let name = argument.get_value_names().map_or("", |names| &names[0]).to_owned();
            let several = argument.get_num_args().is_some_and(|range| range.max_values() > 1);
            let name = if several { format!("{name}...") } else { name };
            if argument.is_required_set() { name } else { format!("[{name}]") }
        })
        .collect();
    let usage = [vec![called.to_owned()], names].concat().join(" ");
    let mut text = format!("\n## `{usage}`\n\n{about}");
    for alias in command.get_visible_aliases() {
        text.push_str(&format!("; also `pullctl {alias}`"));
    }
    text.push_str(".\n");
    for argument in command.get_positionals() {
        let name = argument.get_value_names().map_or("", |names| &names[0]);
        let (meaning, default) = meaning(argument);
        let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        text.push_str(&format!("\n`{name}`: {meaning}{default}.\n"));
    }
    let flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| is_told(argument) && !argument.is_global_set())
        .collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for flag in &flags {
        if !headings.contains(&flag.get_help_heading()) {
            headings.push(flag.get_help_heading());
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            text.push_str(&format!("\n### {heading} (`{}`)\n", command.get_name()));
        }
        let of_heading = flags.iter().filter(|flag| flag.get_help_heading() == heading);
        text.push('\n');
        text.push_str(&table(of_heading.copied()));
    }
    text
}

fn is_told(argument: &Arg) -> bool {
    !argument.is_positional() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn table<'a>(flags: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = "| flag | variable | meaning | default |\n|---|---|---|---|\n".to_owned();
    for flag in flags {
        let (meaning, default) = meaning(flag);
        let variable = flag.get_env().map(|name| format!("`{}` ", name.display()));
        let default = default.map(|default| format!("{default} ")).unwrap_or_default();
        let (name, variable) = (spelling(flag), variable.unwrap_or_default());
        text.push_str(&format!("| {name} | {variable}| {meaning} | {default}|\n"));
    }
    text
}

/// `-f`, `--file FILE`, in backquotes, with its other names.
fn spelling(flag: &Arg) -> String {
    let value = if flag.get_action().takes_values() {
        let names = flag.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!(" {name}")).collect()
    } else {
        String::new()
    };
    let mut names: Vec<String> =
        flag.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
    names.extend(flag.get_long().map(|long| format!("`--{long}{value}`")));
    let aliases = flag.get_visible_aliases().unwrap_or_default();
    names.extend(aliases.iter().map(|alias| format!("`--{alias}`")));
    names.join(", ")
}

/// What a flag does, with its values, and its default, which the help may tell in words.
fn meaning(argument: &Arg) -> (String, Option<String>) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace('|', "\\|");
    let (mut help, mut default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes_value)
        .map(|value| match value.get_help() {
            Some(help) => {
                format!("`{}` ({})", value.get_name(), help.to_string().trim_end_matches('.'))
            }
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        help.push_str(&format!(": {}", values.join(", ")));
    }
    if takes_value && let Some(value) = argument.get_default_values().first() {
        default = Some(value.display().to_string());
    }
    (help, default)
}

#[test]
fn the_flags_in_docs_are_those_of_the_help() {
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &made).unwrap();
    }
    let written = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(written == made, "docs/flags.md is out of date: UPDATE_DOCS=1 cargo test --lib flags");
}
