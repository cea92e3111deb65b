//! The one error type: every error names the input, the place in it, and the cure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something could not be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// A field of a recipe or request holds a value that is not allowed.
    #[error("{field} is {value}: {problem}. {cure}")]
    Field {
        /// The field, as written in the recipe (`memory.capacity_bytes`).
        field: String,
        /// The value as it was given.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        cure: String,
    },
    /// A file or pasted text that cannot be read.
    #[error("{input}, {place}: {problem}. {cure}")]
    Input {
        /// The file's name, or what the text was meant to be.
        input: String,
        /// Where in it.
        place: Place,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        cure: String,
    },
    /// The experiment is larger than this build computes.
    #[error("{problem}. {cure}")]
    TooLarge {
        /// Which quantity passes which limit.
        problem: String,
        /// How to make it smaller.
        cure: String,
    },
    /// The caller's [`Progress`](crate::progress::Progress) asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A broken promise inside the program.
    #[error("internal error: {0}. Please report it with the recipe")]
    Internal(String),
}

impl Error {
    /// A field with a value that is not allowed.
    pub fn field(
        field: impl Into<String>,
        value: impl fmt::Display,
        problem: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self::Field { field: field.into(), value: value.to_string(), problem: problem.into(), cure: cure.into() }
    }

    /// A file or text that cannot be read at `place`.
    pub fn input(input: impl Into<String>, place: Place, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Input { input: input.into(), place, problem: problem.into(), cure: cure.into() }
    }

    /// The same fault, of the field `name`.
    pub fn of_field(self, name: &str) -> Self {
        match self {
            Self::Field { value, problem, cure, .. } => Self::field(name, value, problem, cure),
            other => other,
        }
    }

    /// The field that is wrong, for a form that shows the message beside it.
    pub fn field_name(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            _ => None,
        }
    }
}

/// A place in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The input as a whole.
    Whole,
    /// A line of a text, counted from 1.
    Line(u64),
    /// A line and a column, both counted from 1.
    LineColumn(u64, u64),
    /// A byte offset, counted from 0.
    Byte(u64),
    /// A key of a JSON object.
    Key(String),
    /// An element of a list, counted from 0.
    Item(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "whole input"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::LineColumn(line, column) => write!(f, "line {line}, column {column}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::Key(key) => write!(f, "key `{key}`"),
            Self::Item(item) => write!(f, "record {item}"),
        }
    }
}
