//! Flags whose names, values and descriptions stand in tables: closed lists, and the fields of a recipe.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;

use accel_core::closed::{self, Closed};
use accel_core::error::Error;
use accel_core::import::{FORMATS, Format};
use accel_core::policy::{POLICIES, PolicySpec};
use accel_core::recipe::Recipe;
use accel_core::recipe::fields::{Domain, FIELDS, Field, FieldInfo, Part};
use accel_core::scenarios::SCENARIOS;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use accel_files::parallel::Capacity;
use accel_files::parquet;

/// Reads a value, and knows the names to choose from.
#[derive(Clone)]
pub(crate) struct Named<T> {
    pub(crate) read: fn(&str) -> anyhow::Result<T>,
    pub(crate) names: fn() -> Vec<&'static str>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        (self.read)(&text).map_err(|error| refusal(command, error))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = (self.names)();
        (!names.is_empty()).then(|| Box::new(names.into_iter().map(PossibleValue::new)) as Box<_>)
    }
}

/// Our own message: it names what is wrong and the cure.
fn refusal(command: &Command, error: impl Display) -> clap::Error {
    clap::Error::raw(ErrorKind::InvalidValue, format!("{error}\n")).with_cmd(command)
}

/// A value of a closed list.
pub(crate) fn one_of<T: Closed + Send + Sync>() -> Named<T> {
    Named {
        read: |name| Ok(closed::from_name(T::FIELD, name)?),
        names: || T::ALL.iter().map(|value| value.name()).collect(),
    }
}

/// A format that is read.
pub(crate) fn format() -> Named<Format> {
    Named {
        read: |name| {
            if closed::same_name(name, parquet::NAME) {
                anyhow::bail!("Parquet files are detected by their content: leave the format out");
            }
            Ok(Format::from_name(name)?)
        },
        names: || FORMATS.iter().map(|row| row.name).collect(),
    }
}

/// Policies, in the order given.
#[derive(Debug, Clone)]
pub(crate) struct Policies(pub(crate) Vec<PolicySpec>);

/// A policy, such as `lru` or `slru(segments=2)`.
pub(crate) fn policy() -> Named<PolicySpec> {
    Named { read: |name| Ok(PolicySpec::parse(name)?), names: || POLICIES.iter().map(|row| row.name).collect() }
}

/// A list of policies, or all.
pub(crate) fn policies() -> Named<Policies> {
    Named {
        read: |names| Ok(Policies(PolicySpec::parse_list(names)?)),
        names: || POLICIES.iter().map(|row| row.name).chain(["all"]).collect(),
    }
}

/// The name of a scenario.
pub(crate) fn scenario() -> Named<String> {
    Named {
        read: |name| Ok(accel_core::scenarios::find(name)?.name.to_owned()),
        names: || SCENARIOS.iter().map(|row| row.name).collect(),
    }
}

/// A capacity.
pub(crate) fn capacity() -> Named<Capacity> {
    Named { read: |text| Ok(text.parse::<Capacity>()?), names: Vec::new }
}

/// Rows of the table of fields that a command has flags for.
pub(crate) trait Rows {
    /// Whether `row` is one of them.
    fn has(row: &FieldInfo) -> bool;
}

/// The fields of workloads, how much of them is run, and the seed.
#[derive(Debug, Default)]
pub(crate) struct OfWorkload;

impl Rows for OfWorkload {
    fn has(row: &FieldInfo) -> bool {
        matches!(row.part, Part::Model | Part::Synthetic | Part::Experiment) || row.field == Field::Accesses
    }
}

/// The fields of a model at work that say which operators it has: not how they are cut into tiles.
#[derive(Debug, Default)]
pub(crate) struct OfModel;

impl Rows for OfModel {
    fn has(row: &FieldInfo) -> bool {
        let cuts = matches!(row.field, Field::Tiling | Field::Tile | Field::Dataflow | Field::RoutingLog);
        row.part == Part::Model && !row.flag.is_empty() && !cuts
    }
}

/// The fields of fast memory, beside its capacity.
#[derive(Debug, Default)]
pub(crate) struct OfMemory;

impl Rows for OfMemory {
    fn has(row: &FieldInfo) -> bool {
        row.part == Part::Memory && row.field != Field::Capacity
    }
}

/// The fields of a device.
#[derive(Debug, Default)]
pub(crate) struct OfDevice;

impl Rows for OfDevice {
    fn has(row: &FieldInfo) -> bool {
        row.part == Part::Device
    }
}

/// The fields of a trace file.
#[derive(Debug, Default)]
pub(crate) struct OfFile;

impl Rows for OfFile {
    fn has(row: &FieldInfo) -> bool {
        row.part == Part::File
    }
}

/// Which of the accesses that are run are counted, and how.
#[derive(Debug, Default)]
pub(crate) struct OfMeasure;

impl Rows for OfMeasure {
    fn has(row: &FieldInfo) -> bool {
        row.part == Part::Measure && row.field != Field::Accesses
    }
}

/// What a curve has in place of a capacity.
#[derive(Debug, Default)]
pub(crate) struct OfCurve;

impl Rows for OfCurve {
    fn has(row: &FieldInfo) -> bool {
        row.part == Part::Curve || row.field == Field::Sample || OfMemory::has(row)
    }
}

/// The flags of these rows that were given, with their texts.
#[derive(Debug, Default)]
pub(crate) struct Flags<R> {
    given: Vec<(&'static str, String)>,
    rows: PhantomData<R>,
}

impl<R: Rows> Flags<R> {
    /// One row for each flag: two fields may share it.
    fn rows() -> impl Iterator<Item = &'static FieldInfo> {
        let first =
            |row: &&FieldInfo| FIELDS.iter().find(|other| other.flag == row.flag).map(|other| other.id) == Some(row.id);
        FIELDS.iter().filter(|row| R::has(row)).filter(first)
    }

    /// The text that was given for `field`.
    pub(crate) fn text(&self, field: Field) -> Option<&str> {
        let flag = field.info().flag;
        self.given.iter().find(|(given, _)| *given == flag).map(|(_, text)| text.as_str())
    }

    /// The flags that were given, with their texts.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given.iter().map(|(flag, text)| (*flag, text.as_str()))
    }

    /// Writes what was given for the fields of `part` into `recipe`.
    pub(crate) fn apply(&self, part: Part, recipe: &mut Recipe) -> Result<(), Error> {
        part.fields().filter(|row| R::has(row)).try_for_each(|row| match self.text(row.field) {
            Some(text) if is_meant(row, text) => row.set(recipe, text),
            _ => Ok(()),
        })
    }
}

impl<R: Rows> Args for Flags<R> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::rows().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: Rows> FromArgMatches for Flags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &'static FieldInfo| Some((row.flag, matches.get_one::<String>(row.flag)?.clone()));
        Ok(Self { given: Self::rows().filter_map(given).collect(), rows: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Whether `text` is meant for the field of `row`, and not for another that has the same flag: a number of requests is no
/// list of them.
pub(crate) fn is_meant(row: &FieldInfo, text: &str) -> bool {
    let mut others = FIELDS.iter().filter(|other| other.flag == row.flag && other.id != row.id);
    row.check(text).is_ok() || !others.any(|other| other.check(text).is_ok())
}

/// The flag of a field.
fn flag(row: &'static FieldInfo) -> Arg {
    let flag = Arg::new(row.flag).long(row.flag).value_name(row.value_name).value_parser(Text(row));
    // Without a full stop, like all others.
    let flag = flag.help(row.field.help().trim_end_matches('.'));
    let flag = if row.value_name.is_empty() {
        flag.action(ArgAction::Set).num_args(0).default_missing_value("yes")
    } else {
        flag
    };
    let flag = match row.value {
        // Refused by name rather than taken for flags.
        Domain::Number(_) => flag.allow_negative_numbers(true),
        Domain::Size => flag.allow_hyphen_values(true),
        Domain::Choice(_) | Domain::Tuned(_) | Domain::Text => flag,
    };
    match row.part {
        Part::File => flag.requires("trace"),
        Part::Device => flag.requires("device"),
        _ => flag,
    }
}

/// Takes a text that the field can hold.
#[derive(Clone, Copy)]
struct Text(&'static FieldInfo);

impl TypedValueParser for Text {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let Self(row) = self;
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        let mut sharing = FIELDS.iter().filter(|other| other.flag == row.flag);
        if !sharing.any(|other| other.check(&text).is_ok()) {
            row.check(&text).map_err(|error| refusal(command, error))?;
        }
        if text.trim().is_empty() {
            let error = Error::field(row.name, "empty", "there is no value", "Give one, or leave the flag out");
            return Err(refusal(command, error));
        }
        Ok(text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        match self.0.value {
            // A flag that takes no value.
            Domain::Choice(_) if self.0.value_name.is_empty() => None,
            Domain::Choice(choices) | Domain::Tuned(choices) => {
                Some(Box::new(choices().into_iter().map(|choice| PossibleValue::new(choice.name))))
            }
            Domain::Number(_) | Domain::Size | Domain::Text => None,
        }
    }
}
