//! Operations that span several lines, because they hold others: reductions, whose region is one operation, and loops
//! whose counter says when they end.

use std::collections::BTreeMap;

use super::{REDUCTIONS, lists, operands, variable};
use crate::nest::At;
use crate::source::refuse;
use accel_ground::error::Error;

/// What a line of the text stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    /// An operation on one line.
    Operation(String),
    /// Python.
    Python(String),
}

/// A loop that is being read.
struct Loop {
    /// What the names of its results are, those of what it carries in its own order.
    results: Vec<String>,
    /// What is carried, by the names that the loop gives it.
    carried: Vec<String>,
    /// Which of them counts, and what it is behind the loop.
    counter: usize,
    end: i64,
}

/// The lines of `code`, each with the loops around it.
pub(super) fn lines(code: &str) -> Result<Vec<(usize, Line)>, Error> {
    let all: Vec<&str> = code.lines().map(|line| line.split(" loc(").next().unwrap_or(line).trim()).collect();
    let mut out: Vec<(usize, Line)> = Vec::with_capacity(all.len());
    let mut loops: Vec<Loop> = Vec::new();
    let mut numbers = BTreeMap::new();
    let nothing = || Line::Python(String::new());
    while let Some(line) = all.get(out.len()).copied() {
        let (at, depth) = (At { line: out.len() as u32 + 1, column: 1 }, loops.len());
        numbers.extend(constant(line));
        if line.starts_with('%') && is(line, "reduce") && !line.contains(" applies ") {
            let rest = all.get(out.len()..).unwrap_or_default();
            let (text, taken) = reduction(rest, at)?;
            out.push((depth, Line::Operation(text)));
            out.extend((1..taken).map(|_| (depth, nothing())));
        } else if line.starts_with('%') && is(line, "while") {
            let rest = all.get(out.len()..).unwrap_or_default();
            let (own, header, taken) = counted(rest, &numbers, at)?;
            out.push((depth, Line::Python(header.0)));
            out.extend((2..taken).map(|_| (depth, nothing())));
            out.push((depth, Line::Python(header.1)));
            loops.push(own);
        } else if let Some(own) = loops.last() {
            if line.starts_with("stablehlo.return") || line.starts_with("\"stablehlo.return\"") {
                let values = operands(line.split(" : ").next().unwrap_or(line));
                let kept = (own.carried.iter().zip(&values).enumerate()).filter(|(place, _)| *place != own.counter);
                let (names, values): (Vec<&str>, Vec<&str>) =
                    kept.map(|(_, (name, value))| (name.as_str(), value.as_str())).unzip();
                out.push((depth, Line::Python(assignment(&names, &values))));
            } else if line.starts_with('}') {
                let values: Vec<String> = (own.carried.iter().enumerate())
                    .map(|(place, name)| if place == own.counter { own.end.to_string() } else { name.clone() })
                    .collect();
                let names: Vec<&str> = own.results.iter().map(String::as_str).collect();
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                out.push((depth - 1, Line::Python(assignment(&names, &values))));
                loops.pop();
            } else {
                out.push((depth, Line::Operation(line.to_owned())));
            }
        } else {
            out.push((0, Line::Operation(line.to_owned())));
        }
    }
    match loops.is_empty() {
        true => Ok(out),
        false => {
            let at = At { line: all.len() as u32, column: 1 };
            Err(refuse(at, "a loop of StableHLO does not close", "Give the whole text"))
        }
    }
}

fn assignment(names: &[&str], values: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("{} = {}", names.join(", "), values.join(", ")) }
}

/// Whether the operation of a line is that one.
fn is(line: &str, name: &str) -> bool {
    let operation = line.split_once('=').map_or("", |(_, operation)| operation.trim().trim_start_matches('"'));
    ["stablehlo.", "mhlo."].iter().any(|dialect| {
        let rest = operation.strip_prefix(dialect).and_then(|operation| operation.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(['(', '"', ' ']))
    })
}

/// `%c = stablehlo.constant dense<10> : tensor<i32>`
fn constant(line: &str) -> Option<(String, i64)> {
    let (name, operation) = line.split_once('=')?;
    let text = operation.trim().strip_prefix("stablehlo.constant")?.trim().strip_prefix("dense<")?;
    Some((variable(name.trim().strip_prefix('%')?), text.split('>').next()?.parse().ok()?))
}

/// A reduction with a region as one with its operation beside it, and how many lines it takes.
fn reduction(lines: &[&str], at: At) -> Result<(String, usize), Error> {
    let first = lines.first().copied().unwrap_or_default();
    let unknown =
        |problem: &str| refuse(at, problem, "Reduce by one operation: add, multiply, maximum, minimum, and, or");
    let closes = |line: &str| line == "}" || line.starts_with("})");
    let last = lines.iter().position(|line| closes(line)).ok_or_else(|| unknown("this region does not close"))?;
    let inside = lines.get(1..last).unwrap_or_default();
    let mut applied = inside.iter().filter_map(|line| {
        let operation = line.split_once('=').filter(|_| line.starts_with('%'))?.1.trim().trim_start_matches('"');
        Some(operation.split([' ', '(', '"']).next().unwrap_or(operation))
    });
    let (Some(operation), None) = (applied.next(), applied.next()) else {
        return Err(unknown("this reduction applies several operations"));
    };
    let short = operation.strip_prefix("stablehlo.").or_else(|| operation.strip_prefix("mhlo.")).unwrap_or(operation);
    if !REDUCTIONS.iter().any(|(own, _)| *own == short) {
        return Err(unknown(&format!("a reduction by `{operation}` is not read")));
    }
    let (target, body) = first.split_once('=').unwrap_or((first, ""));
    let values = operands(body.split(" across ").next().unwrap_or(body));
    if values.len() != 2 {
        return Err(unknown("this reduction is of several arrays"));
    }
    let end = lines.get(last).copied().unwrap_or_default();
    let whole = if first.contains("dimensions") { first } else { end };
    let axes = dimensions(whole).ok_or_else(|| unknown("the dimensions of this reduction are not read"))?;
    let types = whole.rsplit_once(" : ").map_or("", |(_, types)| types);
    let text = format!(
        "{} = stablehlo.reduce(%{} init: %{}) applies stablehlo.{short} across dimensions = [{}] : {types}",
        target.trim(),
        values.first().map_or("", String::as_str),
        values.get(1).map_or("", String::as_str),
        axes.join(", ")
    );
    Ok((text, last + 1))
}

/// `dimensions = [1]`, `dimensions = array<i64: 1>`, `dimensions = dense<1> : tensor<1xi64>`
fn dimensions(text: &str) -> Option<Vec<String>> {
    let rest = text.split_once("dimensions")?.1.trim_start().strip_prefix('=')?.trim_start();
    if rest.starts_with('[') {
        return lists(rest).next();
    }
    let inside = match rest.strip_prefix("array<i64") {
        Some(inside) => inside.trim_start_matches(':'),
        None => rest.strip_prefix("dense<")?,
    };
    let inside = inside.split('>').next()?.trim().trim_matches(['[', ']']);
    Some(inside.split(',').map(|axis| axis.trim().to_owned()).filter(|axis| !axis.is_empty()).collect())
}

/// A loop whose counter starts at a constant, is compared with one, and grows by one: the loop, what stands in the place
/// of its first line and of the one that opens its body, and how many lines those and its condition take.
fn counted(lines: &[&str], numbers: &BTreeMap<String, i64>, at: At) -> Result<(Loop, (String, String), usize), Error> {
    let unknown = |problem: &str| {
        let cure = "Let it count from a constant by a constant up to a constant, as `lax.scan` and `lax.fori_loop` do";
        refuse(at, problem, cure)
    };
    let first = lines.first().copied().unwrap_or_default();
    let (target, operation) = first.split_once('=').unwrap_or((first, ""));
    let body = operation.split_once("while(").map(|(_, body)| body.split(')').next().unwrap_or(body));
    let pairs: Vec<(String, String)> = (body.unwrap_or_default().split(','))
        .filter_map(|pair| {
            let (own, value) = pair.split_once('=')?;
            Some((variable(own.trim().strip_prefix('%')?), variable(value.trim().strip_prefix('%')?)))
        })
        .collect();
    let opens = lines.iter().position(|line| line.starts_with("} do {"));
    let opens = opens.filter(|_| !pairs.is_empty());
    let opens = opens.ok_or_else(|| unknown("this form of a loop of StableHLO is not read"))?;
    let condition = lines.get(1..opens).unwrap_or_default();
    let inside = lines.get(opens + 1..).unwrap_or_default();
    let with = |lines: &[&str]| -> BTreeMap<String, i64> {
        numbers.clone().into_iter().chain(lines.iter().filter_map(|line| constant(line))).collect()
    };
    let place = |name: &String| pairs.iter().position(|(own, _)| own == name);
    let known = with(condition);
    let compared = condition.iter().find(|line| is(line, "compare")).and_then(|line| {
        let rest = line.split_once("compare")?.1.trim();
        let mut sides = operands(rest.split(" : ").next()?).into_iter();
        let (left, right) = (sides.next()?, sides.next()?);
        match (rest.get(..2)?, place(&left), place(&right)) {
            ("LT", Some(counter), None) => Some((counter, *known.get(&right)?)),
            ("LE", Some(counter), None) => Some((counter, known.get(&right)?.checked_add(1)?)),
            ("GT", None, Some(counter)) => Some((counter, *known.get(&left)?)),
            ("GE", None, Some(counter)) => Some((counter, known.get(&left)?.checked_add(1)?)),
            _ => None,
        }
    });
    let (counter, bound) = compared.ok_or_else(|| unknown("when this loop ends is not known"))?;
    let (name, start) = pairs.get(counter).cloned().unwrap_or_default();
    let start = *numbers.get(&start).ok_or_else(|| unknown("where the counter of this loop starts is not known"))?;
    // The body ends where as many braces have closed as were opened.
    let mut open = 1_i64;
    let ends = inside.iter().position(|line| {
        open += line.matches('{').count() as i64 - line.matches('}').count() as i64;
        open <= 0
    });
    let inside = inside.get(..ends.unwrap_or(inside.len())).unwrap_or_default();
    let known = with(inside);
    let returned = inside.iter().rev().find(|line| line.contains("stablehlo.return"));
    let next = returned.and_then(|line| operands(line.split(" : ").next()?).get(counter).cloned());
    let step = next.and_then(|next| {
        let is_next = |line: &&&str| {
            line.split_once('=').is_some_and(|(own, _)| variable(own.trim().trim_start_matches('%')) == next)
        };
        let line = inside.iter().filter(|line| is(line, "add")).find(is_next)?;
        let sides = operands(line.split_once("add")?.1.split(" : ").next()?);
        match sides.as_slice() {
            [left, right] if *left == name => known.get(right).copied(),
            [left, right] if *right == name => known.get(left).copied(),
            _ => None,
        }
    });
    let step = step.filter(|step| *step > 0).ok_or_else(|| unknown("by how much this loop counts is not known"))?;
    let (span, stride) = ((i128::from(bound) - i128::from(start)).max(0), i128::from(step));
    let rounds = (span + stride - 1) / stride;
    let end = i64::try_from(i128::from(start) + rounds * stride);
    let end = end.map_err(|_| unknown("this loop counts beyond 64 bits"))?;
    let own = operands(target).into_iter().next().unwrap_or_default();
    let results = match pairs.len() {
        1 if !target.contains(':') => vec![own],
        several => (0..several).map(|number| format!("{own}_{number}")).collect(),
    };
    let kept = pairs.iter().enumerate().filter(|(place, _)| *place != counter);
    let (names, values): (Vec<&str>, Vec<&str>) = kept.map(|(_, (own, value))| (own.as_str(), value.as_str())).unzip();
    let header = (assignment(&names, &values), format!("for {name} in range({start}, {bound}, {step}):"));
    let carried = pairs.into_iter().map(|(own, _)| own).collect();
    Ok((Loop { results, carried, counter, end }, header, opens + 1))
}
