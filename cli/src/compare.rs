//! `accel compare`: two answers of `accel simulate --json` side by side.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::source::read_file;
use crate::table::{numbers, print_json};

/// Say where two answers of accel simulate --json differ, in the recipe and in the figures of each policy.
///
/// The exit status is 0 where they are equal, 1 where they differ, and 2 where they cannot be compared.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The answer to compare with.
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The answer that is compared.
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A value that differs, by its place as a JSON pointer; none where one answer has no such place.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    field: String,
    a: Option<Value>,
    b: Option<Value>,
    /// Numbers: B less A, and that as a share of A, where A is not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

/// What differs between two runs of the same policy in the same capacity.
#[derive(Debug, PartialEq, Serialize)]
struct RunDifference {
    policy: String,
    capacity_bytes: u64,
    figures: Vec<Difference>,
}

/// A run by its policy and its capacity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct RunName {
    policy: String,
    capacity_bytes: u64,
}

/// The answer as JSON.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    equal: bool,
    /// Fields of the recipe.
    recipe: Vec<Difference>,
    /// All else that is no run: the trace, what counts time, the bounds.
    other: Vec<Difference>,
    /// Runs that both have and that differ.
    runs: Vec<RunDifference>,
    /// Runs that only one of them has.
    only_a: Vec<RunName>,
    only_b: Vec<RunName>,
}

impl Compare {
    /// Prints the differences; whether there are none.
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<bool> {
        let answer = compare(&read(&self.before)?, &read(&self.after)?)?;
        match self.json {
            true => print_json(&answer, out)?,
            false => print(&answer, out)?,
        }
        Ok(answer.equal)
    }
}

/// What `path` holds, if it is an answer.
fn read(path: &Path) -> anyhow::Result<Value> {
    let shown = path.display();
    let value: Value = serde_json::from_slice(&read_file(path)?).with_context(|| format!("{shown} is not JSON"))?;
    if !value["runs"].is_array() {
        bail!("{shown} has no runs: it is no answer of accel simulate --json. Print one, and compare that");
    }
    Ok(value)
}

fn compare(a: &Value, b: &Value) -> anyhow::Result<Answer> {
    let recipe = differences(a.get("recipe"), b.get("recipe"));
    let rest = |answer: &Value| match answer {
        Value::Object(fields) => {
            let rest = fields.iter().filter(|(key, _)| *key != "recipe" && *key != "runs");
            Value::Object(rest.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        _ => Value::Null,
    };
    let other = differences(Some(&rest(a)), Some(&rest(b)));
    let (of_a, of_b) = (runs(a)?, runs(b)?);
    let mut different = Vec::new();
    for (name, run) in &of_a {
        let Some(same) = of_b.get(name) else { continue };
        let figures = differences(Some(run), Some(same));
        if !figures.is_empty() {
            let RunName { policy, capacity_bytes } = name.clone();
            different.push(RunDifference { policy, capacity_bytes, figures });
        }
    }
    let only = |these: &BTreeMap<RunName, &Value>, those: &BTreeMap<RunName, &Value>| -> Vec<RunName> {
        these.keys().filter(|name| !those.contains_key(name)).cloned().collect()
    };
    let (only_a, only_b) = (only(&of_a, &of_b), only(&of_b, &of_a));
    let equal = [recipe.is_empty(), other.is_empty(), different.is_empty(), only_a.is_empty(), only_b.is_empty()];
    Ok(Answer { equal: equal.iter().all(|none| *none), recipe, other, runs: different, only_a, only_b })
}

/// The runs of an answer by policy and capacity.
fn runs(answer: &Value) -> anyhow::Result<BTreeMap<RunName, &Value>> {
    let all = answer["runs"].as_array().into_iter().flatten();
    let named = all.map(|run| {
        let (policy, capacity) = (run["policy"].as_str(), run["capacity_bytes"].as_u64());
        let (policy, capacity_bytes) = policy.zip(capacity).context("a run without policy or capacity_bytes")?;
        Ok((RunName { policy: policy.to_owned(), capacity_bytes }, run))
    });
    named.collect()
}

/// The places at which two values differ.
fn differences(a: Option<&Value>, b: Option<&Value>) -> Vec<Difference> {
    let flat = |value: Option<&Value>| {
        let mut leaves = BTreeMap::new();
        if let Some(value) = value {
            flatten(value, String::new(), &mut leaves);
        }
        leaves
    };
    let (a, b) = (flat(a), flat(b));
    let mut fields: Vec<&String> = a.keys().chain(b.keys()).collect();
    fields.sort_unstable();
    fields.dedup();
    let difference = |field: &String| {
        let (a, b) = (a.get(field), b.get(field));
        let numbers = a.and_then(Value::as_f64).zip(b.and_then(Value::as_f64));
        let difference = numbers.map(|(a, b)| b - a);
        let share = numbers.filter(|(a, _)| *a != 0.0).map(|(a, b)| (b - a) / a);
        (a != b).then(|| Difference { field: field.clone(), a: a.cloned(), b: b.cloned(), difference, share })
    };
    fields.into_iter().filter_map(difference).collect()
}

/// The values that hold no others, by their places.
fn flatten(value: &Value, place: String, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| flatten(value, format!("{place}/{key}"), leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, value)| flatten(value, format!("{place}/{i}"), leaves));
        }
        _ => drop(leaves.insert(place, value.clone())),
    }
}

fn print(answer: &Answer, out: &mut dyn Write) -> anyhow::Result<()> {
    let shown = |value: &Option<Value>| match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let row = |difference: &Difference| {
        [
            difference.field.clone(),
            shown(&difference.a),
            shown(&difference.b),
            difference.difference.map_or_else(|| "-".to_owned(), |difference| difference.to_string()),
            difference.share.map_or_else(|| "-".to_owned(), |share| format!("{:+.3}", 100.0 * share)),
        ]
    };
    let mut table = |title: &str, differences: &[Difference]| -> anyhow::Result<()> {
        if !differences.is_empty() {
            writeln!(out, "{}", numbers([title, "A", "B", "B - A", "%"], differences.iter().map(row)))?;
        }
        Ok(())
    };
    table("recipe", &answer.recipe)?;
    table("answer", &answer.other)?;
    for run in &answer.runs {
        table(&format!("{} in {} bytes", run.policy, run.capacity_bytes), &run.figures)?;
    }
    for (which, names) in [("A", &answer.only_a), ("B", &answer.only_b)] {
        for RunName { policy, capacity_bytes } in names {
            writeln!(out, "Only {which} has {policy} in {capacity_bytes} bytes.")?;
        }
    }
    writeln!(out, "The answers {}.", if answer.equal { "are equal" } else { "differ" })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_told_by_its_place() {
        let a = json!({"recipe": {"seed": 1}, "trace": {"accesses": 3}, "runs": [
            {"policy": "lru", "capacity_bytes": 8, "misses": 4, "why": null},
            {"policy": "fifo", "capacity_bytes": 8, "misses": 4},
        ]});
        assert!(compare(&a, &a).unwrap().equal);
        let b = json!({"recipe": {"seed": 2, "bounds": false}, "trace": {"accesses": 3}, "runs": [
            {"policy": "arc", "capacity_bytes": 8, "misses": 4},
            {"policy": "lru", "capacity_bytes": 8, "misses": 5, "why": null},
        ]});
        let answer = compare(&a, &b).unwrap();
        assert!(!answer.equal && answer.other.is_empty());
        let fields: Vec<&str> = answer.recipe.iter().map(|difference| difference.field.as_str()).collect();
        assert_eq!(fields, ["/bounds", "/seed"]);
        let misses = &answer.runs[0].figures[0];
        assert_eq!((misses.field.as_str(), misses.difference, misses.share), ("/misses", Some(1.0), Some(0.25)));
        assert_eq!((answer.only_a[0].policy.as_str(), answer.only_b[0].policy.as_str()), ("fifo", "arc"));
        assert!(compare(&a, &json!({"runs": [{}]})).is_err());
    }
}
