//! `einops`: the same elements under the names of their axes: `rearrange(x, 'b n (h d) -> b h n d', h=8)`.

use std::collections::BTreeMap;

use super::args::Args;
use super::defined::Callable;
use super::lower::PythonLowering;
use super::value::{Value, View};
use crate::expr::Expr;
use crate::nest::At;
use crate::source::refuse;
use accel_ground::error::Error;

/// What reads such patterns.
const FUNCTIONS: [&str; 3] = ["rearrange", "repeat", "reduce"];
/// Reductions by the name that a pattern goes with, and the functions that they are.
const REDUCTIONS: [(&str, &str); 5] =
    [("mean", "mean"), ("sum", "sum"), ("max", "amax"), ("min", "amin"), ("prod", "prod")];
/// What stands for all axes without a name.
const ELLIPSIS: &str = "...";

/// An axis of one side of a pattern: those that it is made of, the outermost first.
type Group = Vec<String>;

/// The sides of a pattern.
struct Pattern {
    left: Vec<Group>,
    right: Vec<Group>,
}

impl Pattern {
    /// Reads a pattern for an array of `rank` axes.
    fn parse(text: &str, rank: usize) -> Result<Self, String> {
        let (left, right) = text.split_once("->").ok_or_else(|| format!("'{text}' has no `->`"))?;
        let (left, right) = (side(left)?, side(right)?);
        let named = left.iter().filter(|group| !is_open(group)).count();
        let open = left.len() - named;
        if open > 1 || (open == 0 && named != rank) || named > rank {
            return Err(format!("'{text}' begins with {named} axes, and the array has {rank}"));
        }
        let more: Vec<Group> = (0..rank - named).map(|own| vec![format!("{ELLIPSIS}{own}")]).collect();
        let opened = |side: Vec<Group>| -> Vec<Group> {
            side.into_iter().flat_map(|group| if is_open(&group) { more.clone() } else { vec![group] }).collect()
        };
        let pattern = Self { left: opened(left), right: opened(right) };
        let mut seen: Vec<&String> = pattern.left.iter().flatten().filter(|axis| *axis != "1").collect();
        seen.sort_unstable();
        match seen.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("'{text}' names {} twice", pair[0])),
            None => Ok(pattern),
        }
    }
}

/// Whether a group stands for all axes without a name.
fn is_open(group: &Group) -> bool {
    group.len() == 1 && group.first().is_some_and(|axis| axis == ELLIPSIS)
}

/// One side of a pattern.
fn side(text: &str) -> Result<Vec<Group>, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace(ELLIPSIS, " ... ");
    let (mut groups, mut inside): (Vec<Group>, Option<Group>) = (Vec::new(), None);
    for word in spaced.split_whitespace() {
        match (word, inside.take()) {
            ("(", None) => inside = Some(Group::new()),
            (")", Some(group)) => groups.push(group),
            ("(" | ")", _) => return Err(format!("the brackets of '{}' do not close", text.trim())),
            (axis, group) if axis == "1" || axis == ELLIPSIS || is_name(axis) => match group {
                Some(mut group) if axis != ELLIPSIS => {
                    group.push(axis.to_owned());
                    inside = Some(group);
                }
                Some(_) => return Err("`...` in brackets is not read".to_owned()),
                None => groups.push(vec![axis.to_owned()]),
            },
            (other, _) => return Err(format!("`{other}` is no name of an axis")),
        }
    }
    if inside.is_some() { Err(format!("the brackets of '{}' do not close", text.trim())) } else { Ok(groups) }
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && text.starts_with(|c: char| !c.is_ascii_digit())
}

impl<'a> PythonLowering<'a> {
    /// Whether a call is one of einops': its second argument is a pattern.
    pub(super) fn is_einops(args: &Args<'a>) -> bool {
        let patterned = matches!(args.get(1, &["pattern"]), Some(Value::Text(text)) if text.contains("->"));
        FUNCTIONS.contains(&args.name.trim_start_matches('_')) && patterned
    }

    /// Reads `rearrange`, `repeat` and `reduce`. All but the sums of `reduce` see the same elements in another way.
    pub(super) fn einops(&mut self, args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let Some(Value::Text(text)) = args.get(1, &["pattern"]) else {
            return Err(refuse(at, "the pattern of axes is not known", "Write it as a text: 'b n d -> b d n'"));
        };
        let text = text.clone();
        let named = text.split("->").next().map_or(0, |left| side(left).map_or(0, |left| left.len()));
        let operand = args.get(0, &["tensor"]).cloned().unwrap_or(Value::None);
        let view = self.view(operand, named.max(1), at)?;
        if !text.contains(ELLIPSIS) && named != view.dims.len() {
            self.want_rank(&view.dims, named);
        }
        let cure = "Write it as einops does: 'b n (h d) -> b h n d', and h=8 beside it";
        let pattern = Pattern::parse(&text, view.dims.len()).map_err(|problem| refuse(at, problem, cure))?;
        let mut sizes = self.sizes(args, &pattern)?;
        let view = self.taken_apart(&view, &pattern, &mut sizes, at)?;
        let axes: Vec<&String> = pattern.left.iter().flatten().filter(|axis| *axis != "1").collect();
        let wanted: Vec<&String> = pattern.right.iter().flatten().filter(|axis| *axis != "1").collect();
        let place = |axis: &String| axes.iter().position(|own| *own == axis);
        let lost: Vec<usize> = (0..axes.len()).filter(|own| !wanted.contains(&axes[*own])).collect();
        let new: Vec<&String> = wanted.iter().copied().filter(|axis| place(axis).is_none()).collect();
        let kind = args.name.trim_start_matches('_');
        if (kind != "reduce" && !lost.is_empty()) || (kind != "repeat" && !new.is_empty()) {
            return Err(refuse(at, format!("'{text}' has not the same axes on both sides"), cure));
        }
        let kept: Vec<usize> = wanted.iter().filter_map(|axis| place(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&lost).copied().collect();
        let mut view = view.permuted(&order);
        if kind == "reduce" {
            let reduced = self.reduced_axes(view, (kept.len(), lost.len()), args)?;
            if reduced.is_number() && pattern.right.is_empty() {
                return Ok(reduced);
            }
            view = self.element_or_view(reduced, at)?;
        }
        for (own, axis) in wanted.iter().enumerate().filter(|(_, axis)| place(axis).is_none()) {
            view = view.expanded(own);
            let Some(size) = sizes.get(axis.as_str()).cloned() else {
                return Err(refuse(at, format!("how long {axis} is is not known"), format!("Give it: {axis}=4")));
            };
            let mut dims = view.dims.clone();
            if let Some(dim) = dims.get_mut(own) {
                *dim = size;
            }
            view = Self::spread(&view, &dims);
        }
        let mut dims = view.dims.iter();
        let joined = |group: &Group| {
            let axes = group.iter().filter(|axis| *axis != "1");
            axes.filter_map(|_| dims.next()).cloned().fold(Expr::Const(1), Expr::times)
        };
        let whole: Vec<Expr> = pattern.right.iter().map(joined).collect();
        if pattern.right.iter().all(|group| group.len() == 1 && group.first().is_some_and(|axis| axis != "1")) {
            return Ok(Value::View(view));
        }
        let whole = whole.iter().map(|dim| self.tidy(dim, at)).collect::<Result<_, _>>()?;
        self.reshape(&view, whole, at)
    }

    /// How long the axes are that the call says.
    fn sizes(&mut self, args: &Args<'a>, pattern: &Pattern) -> Result<BTreeMap<String, Expr>, Error> {
        let mut given: Vec<(String, Value)> =
            args.names.iter().map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect();
        // What a layer keeps: `Rearrange('b (h p) -> b h p', p=16)`.
        for (value, _) in args.values.iter().skip(2) {
            if let Value::Object(object) = value {
                given.extend(self.objects.get(*object).map(|own| own.fields.clone()).unwrap_or_default());
            }
        }
        let mut sizes = BTreeMap::new();
        for (name, value) in given {
            if ["tensor", "pattern", "reduction"].contains(&name.as_str()) {
                continue;
            }
            if !pattern.left.iter().chain(&pattern.right).flatten().any(|axis| *axis == name) {
                return Err(refuse(args.at, format!("the pattern has no axis {name}"), "Name the axes of the pattern"));
            }
            let Some(size) = self.known_integer(value) else {
                return Err(refuse(args.at, format!("how long {name} is is not known"), "Give it as a number"));
            };
            sizes.insert(name, size);
        }
        Ok(sizes)
    }

    /// The array with an axis for each name on the left; what is not said of an axis follows from the others.
    fn taken_apart(
        &mut self,
        view: &View,
        pattern: &Pattern,
        sizes: &mut BTreeMap<String, Expr>,
        at: At,
    ) -> Result<View, Error> {
        let mut dims = Vec::new();
        for (group, dim) in pattern.left.iter().zip(view.dims.clone()) {
            let open: Vec<&String> =
                group.iter().filter(|axis| *axis != "1" && !sizes.contains_key(axis.as_str())).collect();
            let known = group.iter().filter_map(|axis| sizes.get(axis)).cloned().fold(Expr::Const(1), Expr::times);
            match open[..] {
                [] => {
                    let known = self.tidy(&known, at)?;
                    if !self.unify(&dim, &known) {
                        let problem = format!("({}) is not as long as that axis of the array", group.join(" "));
                        return Err(refuse(at, problem, "Give the array's shape, or other lengths"));
                    }
                }
                [only] => {
                    let length = self.tidy(&super::moving::exact(&dim, &known), at)?;
                    if let (Some(whole), Some(known)) = (self.number(&dim), self.number(&known))
                        && (known == 0 || whole % known != 0)
                    {
                        let problem = format!("{whole} elements are no multiple of {known}");
                        return Err(refuse(at, problem, "Give the array's shape, or other lengths"));
                    }
                    sizes.insert(only.clone(), length);
                }
                [one, other, ..] => {
                    let problem = format!("how long {one} and {other} are is not known");
                    return Err(refuse(at, problem, format!("Give one of them: {one}=4")));
                }
            }
            let axes = group.iter().filter(|axis| *axis != "1");
            dims.extend(axes.filter_map(|axis| sizes.get(axis)).cloned());
        }
        if pattern.left.iter().all(|group| group.len() == 1 && group.first().is_some_and(|axis| axis != "1")) {
            return Ok(view.clone());
        }
        let apart = self.reshape(view, dims, at)?;
        self.view(apart, 1, at)
    }

    /// What is left when the last axes are reduced.
    fn reduced_axes(&mut self, view: View, (kept, lost): (usize, usize), args: &Args<'a>) -> Result<Value, Error> {
        let at = args.at;
        let function = match args.get(2, &["reduction"]) {
            Some(Value::Text(name)) => REDUCTIONS.iter().find(|(own, _)| own == name).map(|(_, function)| *function),
            _ => None,
        };
        let Some(function) = function else {
            let names = REDUCTIONS.map(|(name, _)| format!("'{name}'")).join(", ");
            return Err(refuse(at, "how the axes are reduced is not known", format!("Give one of {names}")));
        };
        if lost == 0 {
            return Ok(Value::View(view));
        }
        let axes = (kept..kept + lost).map(|axis| Value::Int(Expr::Const(axis as i64))).collect();
        let function = self.function_value(Callable::Named(function));
        let values = vec![(Value::View(view), at), (Value::Tuple(axes), at)];
        self.invoke(&function, Args { values, ..Args::none("reduce", at) })
    }

    /// An array; a number as one without axes.
    fn element_or_view(&mut self, value: Value, at: At) -> Result<View, Error> {
        if !value.is_number() {
            return self.view(value, 1, at);
        }
        let view = self.allocate("reduced", self.source.element, &[], at)?;
        self.store(&view, value, at)?;
        Ok(view)
    }
}
