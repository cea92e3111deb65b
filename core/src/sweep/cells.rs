//! The experiments of a sweep, and which of them share a trace.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Sweep;
use super::key::{Digest, Key};
use crate::error::Error;
use crate::policy::PolicySpec;
use crate::recipe::Recipe;
use crate::units::format_count;

/// Cells of a sweep, at most (ours: a table of some hundred megabytes, and weeks of work).
pub const MOST_CELLS: u64 = 1_000_000;

/// The pointer to a recipe as a whole (RFC 6901).
pub(super) const WHOLE: &str = "";

/// A field that varies, and its values.
type Varied = (String, Vec<Value>);

/// All experiments of a sweep. None of them is held: each is made when it is asked for.
#[derive(Debug, Clone)]
pub struct Cells {
    recipe: Value,
    /// The first varies slowest.
    axes: Vec<Vec<Varied>>,
    len: u64,
}

impl Sweep {
    /// The experiments, once every axis names a field of the recipe and gives values that it can take.
    pub fn cells(&self) -> Result<Cells, Error> {
        if self.recipe.get("curve").is_some() {
            let cure = "Leave it out, and vary /memory/capacity_bytes";
            return Err(Error::field("recipe.curve", "given", "a sweep runs no curves: its axes do", cure));
        }
        let axes: Vec<Vec<Varied>> = self.axes.iter().map(super::Axis::values).collect::<Result<_, _>>()?;
        let fields: Vec<&str> = axes.iter().flatten().map(|(pointer, _)| pointer.as_str()).collect();
        for (i, pointer) in fields.iter().enumerate() {
            let inside = |other: &&&str| other.strip_prefix(pointer).is_some_and(|rest| rest.starts_with('/'));
            let (problem, cure) = match fields[..i].iter().find(|other| *other == pointer || inside(other)) {
                Some(other) if other == pointer => {
                    ("two axes have this pointer".to_owned(), "Put all values into one".to_owned())
                }
                Some(other) => {
                    (format!("it replaces {other}, which another axis varies"), format!("Put {pointer} first"))
                }
                None => continue,
            };
            return Err(Error::field(format!("axis {pointer}"), "given", problem, cure));
        }
        let sizes = axes.iter().map(|axis| axis.first().map_or(0, |(_, values)| values.len() as u64));
        let len = sizes.clone().try_fold(1, u64::checked_mul).unwrap_or(u64::MAX);
        if len > MOST_CELLS {
            let factors = sizes.map(format_count).collect::<Vec<_>>().join(" x ");
            let problem = format!("{factors} cells are more than {}", format_count(MOST_CELLS));
            return Err(Error::field("axes", "given", problem, "Give fewer values, or make several sweeps"));
        }
        let cells = Cells { recipe: self.recipe.clone(), axes, len };
        cells.check()?;
        Ok(cells)
    }
}

/// What is left to do of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Todo {
    /// Its number.
    pub cell: u64,
    /// The policies that have no row yet, and their keys.
    pub policies: Vec<(PolicySpec, Key)>,
}

/// Cells of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What is left to do of them, at least one.
    pub cells: Vec<Todo>,
    /// Those whose recipe cannot be read, with their keys.
    pub broken: Vec<(u64, Key)>,
}

/// A part of a sweep, for one machine of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, counted from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { number: 1, of: 1 }
    }
}

impl std::str::FromStr for Shard {
    type Err = Error;

    /// Reads `2/8`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(Error::field(
                "shard",
                text,
                "it is no part of a whole",
                "Write I/N with I from 1 to N, such as 2/8",
            )),
        }
    }
}

/// What decides on the trace of a cell, as a digest.
type TraceKey = Key;

impl Cells {
    /// An experiment for each of `recipes`, which vary in whatever they differ. One that cannot be read is a row that says so.
    pub fn of_recipes(recipes: Vec<Value>) -> Self {
        let len = recipes.len() as u64;
        Self { recipe: Value::Null, axes: vec![vec![(WHOLE.to_owned(), recipes)]], len }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none: never, for each axis has a value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fields that vary and the values of each, over all cells.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.axes.iter().flatten().map(|(pointer, values)| (pointer.as_str(), values.as_slice()))
    }

    /// The value of each field that varies, in cell number `cell`.
    pub fn values(&self, cell: u64) -> Vec<&Value> {
        self.at(&self.positions(cell)).into_iter().map(|(_, value)| value).collect()
    }

    /// The recipe of cell number `cell`.
    pub fn recipe(&self, cell: u64) -> Result<Recipe, Error> {
        self.read(&self.positions(cell))
    }

    /// The recipe of cell number `cell` as JSON, before anything is checked.
    fn json(&self, cell: u64) -> Result<Value, Error> {
        self.write(&self.positions(cell))
    }

    /// Which value of each axis cell number `cell` has.
    fn positions(&self, cell: u64) -> Vec<usize> {
        let mut rest = cell;
        let mut positions: Vec<usize> = Vec::with_capacity(self.axes.len());
        for axis in self.axes.iter().rev() {
            let values = axis.first().map_or(1, |(_, values)| values.len() as u64);
            positions.push((rest % values) as usize);
            rest /= values;
        }
        positions.reverse();
        positions
    }

    fn at(&self, positions: &[usize]) -> Vec<(&str, &Value)> {
        let pairs = self.axes.iter().zip(positions);
        let pairs = pairs.flat_map(|(axis, at)| axis.iter().map(move |(pointer, values)| (pointer, values.get(*at))));
        pairs.filter_map(|(pointer, value)| Some((pointer.as_str(), value?))).collect()
    }

    fn write(&self, positions: &[usize]) -> Result<Value, Error> {
        let mut recipe = self.recipe.clone();
        for (pointer, value) in self.at(positions) {
            set(&mut recipe, pointer, value)?;
        }
        Ok(recipe)
    }

    fn read(&self, positions: &[usize]) -> Result<Recipe, Error> {
        let recipe = self.write(positions)?;
        serde_json::from_value(recipe).map_err(|error| {
            let varied = self.at(positions).into_iter().filter(|(pointer, _)| *pointer != WHOLE);
            let varied = varied.map(|(pointer, value)| format!("{pointer} = {value}"));
            let varied: Vec<String> = varied.collect();
            let of = if varied.is_empty() { "the recipe".to_owned() } else { varied.join(", ") };
            Error::field("recipe", of, error.to_string(), "See `accel recipe` for the fields of a recipe")
        })
    }

    /// Reads the recipe with every value of every axis once, beside the first values of the others.
    fn check(&self) -> Result<(), Error> {
        let first = vec![0; self.axes.len()];
        if self.axes.is_empty() {
            return self.read(&first).map(|_| ());
        }
        for (i, axis) in self.axes.iter().enumerate() {
            for at in 0..axis.first().map_or(0, |(_, values)| values.len()) {
                let mut positions = first.clone();
                positions[i] = at;
                let Err(error) = serde_json::from_value::<Recipe>(self.write(&positions)?) else { continue };
                // The axis is to blame if the recipe is well without it; else all of it is shown.
                let (pointer, values) = (&axis[0].0, &axis[0].1);
                let shown = values.get(at).map_or(String::new(), Value::to_string);
                let cure = "See `accel recipe` for the fields of a recipe and what they hold";
                return Err(Error::field(format!("axis {pointer}"), shown, error.to_string(), cure));
            }
        }
        Ok(())
    }

    /// What there is to do, by trace. `digest` knows the files that recipes name.
    pub fn groups(&self, digest: &mut dyn FnMut(&str) -> Result<Digest, Error>) -> Result<Vec<Group>, Error> {
        let mut at: BTreeMap<TraceKey, usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut seen = BTreeSet::new();
        for cell in 0..self.len {
            let (trace, todo, broken) = match self.recipe(cell) {
                Ok(recipe) => {
                    let file = recipe.workload.file().map(&mut *digest).transpose()?;
                    let mut policies = Vec::new();
                    for policy in &recipe.policies {
                        let key = Key::of(&recipe, *policy, file)?;
                        // Two values of an axis may mean the same, such as a default and null.
                        if seen.insert(key) {
                            policies.push((*policy, key));
                        }
                    }
                    (of_trace(&recipe, file)?, Some(Todo { cell, policies }), None)
                }
                Err(_) => {
                    let text = self.json(cell)?.to_string();
                    let key = Key::of_text(&text, None);
                    (key, None, seen.insert(key).then_some((cell, key)))
                }
            };
            let group = *at.entry(trace).or_insert_with(|| {
                groups.push(Group { cells: Vec::new(), broken: Vec::new() });
                groups.len() - 1
            });
            groups[group].cells.extend(todo);
            groups[group].broken.extend(broken);
        }
        Ok(groups)
    }
}

impl Group {
    /// The keys of its rows, in the order of its cells.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let broken = self.broken.iter().map(|(_, key)| *key);
        self.cells.iter().flat_map(|todo| &todo.policies).map(|(_, key)| *key).chain(broken)
    }
}

/// What of `groups` is for `shard` and not done. Which shard a row belongs to does not depend on what is done.
pub fn left(groups: Vec<Group>, shard: Shard, is_done: &dyn Fn(Key) -> bool) -> Vec<Group> {
    undone(of_shard(groups, shard), is_done)
}

/// What of `groups` is for `shard`: whole groups where there are plenty, else cells.
fn of_shard(groups: Vec<Group>, shard: Shard) -> Vec<Group> {
    let Shard { number, of } = shard;
    let ours = |turn: usize| turn as u64 % of == number - 1;
    // Four to each: the largest of them then is a small part of the work.
    if groups.len() as u64 >= 4 * of {
        return groups.into_iter().enumerate().filter(|(turn, _)| ours(*turn)).map(|(_, group)| group).collect();
    }
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        ours(turn - 1)
    };
    let mut groups = groups;
    for group in &mut groups {
        group.cells.retain(|_| next());
        group.broken.retain(|_| next());
    }
    groups
}

/// What of `groups` is not done.
fn undone(mut groups: Vec<Group>, is_done: &dyn Fn(Key) -> bool) -> Vec<Group> {
    for group in &mut groups {
        for todo in &mut group.cells {
            todo.policies.retain(|(_, key)| !is_done(*key));
        }
        group.cells.retain(|todo| !todo.policies.is_empty());
        group.broken.retain(|(_, key)| !is_done(*key));
    }
    groups.retain(|group| !group.cells.is_empty() || !group.broken.is_empty());
    groups
}

/// What decides on the trace of `recipe`.
fn of_trace(recipe: &Recipe, file: Option<Digest>) -> Result<TraceKey, Error> {
    let follows = recipe.workload.follows_capacity();
    let decides = (
        &recipe.workload,
        recipe.seed,
        recipe.measure.requests,
        recipe.measure.ignore_size,
        recipe.measure.sample,
        follows.then_some(recipe.memory.capacity_bytes),
    );
    let text = serde_json::to_string(&decides).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Key::of_text(&text, file))
}

/// Whether what makes the trace of `one`, and what is run of it, is the same for `other`: the content of their files apart.
pub fn share_trace(one: &Recipe, other: &Recipe) -> Result<bool, Error> {
    Ok(of_trace(one, None)? == of_trace(other, None)?)
}

/// Writes `value` to the place in `json` to which `pointer` points; objects on the way are made.
fn set(json: &mut Value, pointer: &str, value: &Value) -> Result<(), Error> {
    let mut at = json;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        if at.is_null() {
            *at = super::nothing();
        }
        let here = match at {
            Value::Object(fields) => fields.entry(name.as_str()).or_insert(Value::Null),
            Value::Array(items) => {
                let len = items.len();
                let item = name.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                item.ok_or_else(|| {
                    let problem = format!("{name} is not the number of one of {len} items");
                    Error::field(format!("axis {pointer}"), name, problem, "Count items from 0, or vary the whole list")
                })?
            }
            other => {
                let problem = format!("the recipe has {other} where this axis looks for a field {name}");
                let cure = "Point to a field of the recipe, as `accel recipe` prints it";
                return Err(Error::field(format!("axis {pointer}"), "given", problem, cure));
            }
        };
        at = here;
    }
    *at = value.clone();
    Ok(())
}
