//! The file of `--config`: options by their names, put behind the flags of the command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, Command};
use toml::Value;

/// The option that names the file.
const CONFIG: &str = "config";

/// The arguments with those of the file that they name, if they do and if `command` is what they start. What is given on
/// the command line or in the environment is left out of the file: the parser sees each option once, from whom it counts.
pub(crate) fn with_file(arguments: Vec<OsString>, command: &Command) -> anyhow::Result<Vec<OsString>> {
    let other = |first: &OsString| {
        let named = |name: &OsStr| command.get_subcommands().any(|sub| sub.get_name() == name) || name == "help";
        first != "serve" && named(first)
    };
    if arguments.get(1).is_some_and(other) {
        return Ok(arguments);
    }
    let Some(file) = named(&arguments, CONFIG).or_else(|| std::env::var_os("ACCEL_CONFIG")).map(PathBuf::from) else {
        return Ok(arguments);
    };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read --config {}", file.display()))?;
    let options: toml::Table =
        text.parse().with_context(|| format!("{} is no TOML. Write lines such as port = 8000", file.display()))?;
    let mut all = arguments.clone();
    for (name, value) in &options {
        let option = command.get_arguments().find(|option| option.get_long() == Some(name.as_str()) && name != CONFIG);
        let Some(option) = option.filter(|option| !matches!(option.get_action(), ArgAction::Help | ArgAction::Version))
        else {
            bail!("{}: {name} is no option. `infer-server --help` lists them", file.display());
        };
        let in_environment = option.get_env().is_some_and(|variable| std::env::var_os(variable).is_some());
        let words = words(&file, option, name, value)?;
        if !in_environment && !is_given(&arguments, name) {
            all.extend(words);
        }
    }
    Ok(all)
}

/// What follows `--name`, behind a space or `=`.
fn named(arguments: &[OsString], name: &str) -> Option<OsString> {
    let flag = format!("--{name}");
    arguments.iter().enumerate().find_map(|(at, argument)| match argument.to_str() {
        Some(text) if text == flag => arguments.get(at + 1).cloned(),
        Some(text) => text.strip_prefix(&flag)?.strip_prefix('=').map(OsString::from),
        None => None,
    })
}

fn is_given(arguments: &[OsString], name: &str) -> bool {
    let flag = format!("--{name}");
    let is = |text: &str| text.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    arguments.iter().any(|argument| argument.to_str().is_some_and(is))
}

/// An option of the file as it would be on the command line.
fn words(file: &Path, option: &Arg, name: &str, value: &Value) -> anyhow::Result<Vec<OsString>> {
    let word = |value: &Value| match value {
        Value::String(text) => Some(format!("--{name}={text}").into()),
        Value::Integer(number) => Some(format!("--{name}={number}").into()),
        _ => None,
    };
    let (words, wanted): (Option<Vec<OsString>>, _) = match (option.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(set)) => {
            (Some(set.then(|| format!("--{name}").into()).into_iter().collect()), "")
        }
        (ArgAction::SetTrue, _) => (None, "true or false"),
        (ArgAction::Append, Value::Array(values)) => (values.iter().map(word).collect(), "a list of texts"),
        (ArgAction::Append, _) => (None, "a list of texts"),
        (_, value) => (word(value).map(|word| vec![word]), "a text or a whole number"),
    };
    words.with_context(|| format!("{}: {name} = {value}. Give {wanted}", file.display()))
}
