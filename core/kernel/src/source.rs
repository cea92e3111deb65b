//! What a front end reads: source code, and what the user says about it.

use std::collections::BTreeMap;

use super::nest::{At, Element};
use accel_ground::error::{Error, Place};

/// What errors about source code call it.
pub const INPUT: &str = "kernel source";
/// Longer sources are refused.
pub const MAX_BYTES: usize = 1 << 20;
/// Deeper nesting of parentheses, blocks, loops or calls is refused.
pub const MAX_DEPTH: usize = 64;

/// Source code, and what the user says about it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The code.
    pub code: &'a str,
    /// The function to look at; the one that no other calls, if there is only one such.
    pub function: Option<&'a str>,
    /// Values of parameters.
    pub defines: &'a BTreeMap<String, i64>,
    /// Shapes of arrays.
    pub shapes: &'a [Shape],
    /// The type of elements where nobody says.
    pub element: Element,
    /// How often a condition on data holds where the source has no comment such as `probability: 0.3`.
    pub probability: f64,
    /// How much of chained array operations is done in one pass.
    pub fusion: Fusion,
    /// Whether gradients are computed too, for modules and functions of arrays in Python.
    pub backward: bool,
}

/// How much of chained array operations is done in one pass, without intermediate arrays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fusion {
    /// Each operation by itself, as NumPy does it.
    #[default]
    None,
    /// Element-wise operations of one statement.
    Statement,
    /// Element-wise operations of neighbouring statements too.
    Function,
    /// All element-wise operations before what needs their result, as compilers of whole functions do it (XLA, Inductor):
    /// what several need is computed in each of them.
    Graph,
}

/// A shape that the user gives: `a: f32[M, K]`, `x: [1024]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The array's name.
    pub name: String,
    /// The type of its elements, if given.
    pub element: Option<Element>,
    /// Its extents, outermost first.
    pub dims: Vec<Extent>,
}

/// One extent of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// A number.
    Number(i64),
    /// A parameter.
    Name(String),
}

impl Shape {
    /// Reads `a: f32[M, K]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let cure = "Write it as `a: f32[M, K]` or `x: [1024]`; dimensions are names or positive numbers";
        let wrong = |problem: &str| Error::field("shape", format!("\"{text}\""), problem, cure);
        let (name, rest) = text.split_once(':').ok_or_else(|| wrong("there is no colon after a name"))?;
        let name = name.trim();
        if !is_name(name) {
            return Err(wrong("what stands before the colon is not a name"));
        }
        let (element, dims) = Self::parse_type(rest).map_err(|problem| wrong(&problem))?;
        Ok(Self { name: name.to_owned(), element, dims })
    }

    /// Reads what stands behind the colon: `f32[M, K]`, `[M, K]` or, for a scalar, `f32` or `f32[]`.
    pub fn parse_type(text: &str) -> Result<(Option<Element>, Vec<Extent>), String> {
        let text = text.trim();
        let (element, dims) = match text.split_once('[') {
            Some((element, dims)) => {
                (element.trim(), dims.trim_end().strip_suffix(']').ok_or("a closing bracket is missing")?.trim())
            }
            None => (text, ""),
        };
        let element = match element {
            "" => None,
            name => Some(Element::named(name).ok_or_else(|| format!("there is no type \"{name}\""))?),
        };
        if dims.is_empty() {
            return Ok((element, Vec::new()));
        }
        let extent = |dim: &str| {
            let dim = dim.trim();
            match dim.parse::<i64>() {
                Ok(number) if number > 0 => Ok(Extent::Number(number)),
                _ if is_name(dim) => Ok(Extent::Name(dim.to_owned())),
                _ => Err(format!("\"{dim}\" is no dimension")),
            }
        };
        Ok((element, dims.split(',').map(extent).collect::<Result<_, _>>()?))
    }
}

/// Whether `text` can name something in Python and C.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Something in the source that cannot be known or read.
pub fn refuse(at: At, problem: impl Into<String>, cure: impl Into<String>) -> Error {
    Error::input(INPUT, Place::LineColumn(at.line.into(), at.column.into()), problem, cure)
}

/// The place of the byte at `offset`.
pub fn place(code: &str, offset: usize) -> At {
    let before = code.get(..offset).unwrap_or(code);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    At { line: line as u32, column: column as u32 }
}

/// Refuses what is too long.
pub fn check_length(code: &str) -> Result<(), Error> {
    if code.len() <= MAX_BYTES {
        return Ok(());
    }
    let start = (0..=MAX_BYTES).rev().find(|at| code.is_char_boundary(*at)).unwrap_or_default();
    let problem = format!("the source has {} bytes; at most {MAX_BYTES} are read", code.len());
    Err(refuse(place(code, start), problem, "Give only the kernel and what it calls"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_refused() {
        let shape = Shape::parse("a: f32[M, 64]").unwrap();
        assert_eq!((shape.name.as_str(), shape.element), ("a", Some(Element::F32)));
        assert_eq!(shape.dims, [Extent::Name("M".into()), Extent::Number(64)]);
        assert_eq!(Shape::parse("x:[N]").unwrap().element, None);
        assert!(Shape::parse("s: f64").unwrap().dims.is_empty());
        for bad in
            ["a", "a f32[M]", "1a: f32[M]", "a: f99[M]", "a: f32[M", "a: f32[0]", "a: f32[-1]", "a: f32[M,,K]", ":"]
        {
            let error = Shape::parse(bad).unwrap_err();
            assert_eq!(error.field_name(), Some("shape"), "{bad}");
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        assert_eq!(place("ab\ncd", 4), At { line: 2, column: 2 });
        assert_eq!(place("é=1", 3), At { line: 1, column: 3 });
        assert_eq!(place("", 0), At { line: 1, column: 1 });
        let long = "x\n".repeat(MAX_BYTES);
        assert!(check_length(&long).unwrap_err().to_string().contains("line 524289"));
    }
}
