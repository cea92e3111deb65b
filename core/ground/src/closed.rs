//! Closed lists: enums whose values have names, and the one rule by which a name is found.
//!
//! [`closed!`](crate::closed!) declares such an enum: each variant with its documentation, its name and, where they
//! differ, the title that people read and other names in use. Policies and formats have tables of their own, which
//! implement [`Closed`] as well. JSON holds the name; where a name is read, in JSON as on the command line, case, `-`
//! and `_` do not matter.

use std::fmt;
use std::marker::PhantomData;

use serde::de::Visitor;
use serde::{Deserialize as _, Deserializer};

use crate::error::Error;

/// An enum whose values have names.
pub trait Closed: Copy + 'static {
    /// The field that holds such a value, as errors name it.
    const FIELD: &'static str;
    /// What such a value is called in errors.
    const WHAT: &'static str;
    /// Every value, in the order in which it is shown.
    const ALL: &'static [Self];

    /// The name in JSON and on the command line.
    fn name(self) -> &'static str;

    /// The name that people read.
    fn title(self) -> &'static str {
        self.name()
    }

    /// Other names that are understood.
    fn aliases(self) -> &'static [&'static str] {
        &[]
    }
}

/// The value of that name; the error names `field` and the names to choose from.
pub fn from_name<T: Closed>(field: &str, name: &str) -> Result<T, Error> {
    find(name).ok_or_else(|| no_such(field, name, T::WHAT, &names_of::<T>))
}

/// The value of that name, if there is one.
pub fn find<T: Closed>(name: &str) -> Option<T> {
    place_of(name, &names_of::<T>).and_then(|place| T::ALL.get(place).copied())
}

/// Name and other names of the value at a place of a list; none behind its end.
fn names_of<T: Closed>(place: usize) -> Option<(&'static str, &'static [&'static str])> {
    T::ALL.get(place).map(|value| (value.name(), value.aliases()))
}

/// [`names_of`] one list.
type NamesOf<'a> = &'a dyn Fn(usize) -> Option<(&'static str, &'static [&'static str])>;

/// Where in a list a name is found. The same code for every list: the page has some twenty.
fn place_of(name: &str, names_of: NamesOf<'_>) -> Option<usize> {
    let named = |(_, (own, aliases)): &(usize, (&str, &[&str]))| {
        same_name(own, name) || aliases.iter().any(|alias| same_name(alias, name))
    };
    (0..).map_while(|place| Some((place, names_of(place)?))).find(named).map(|(place, _)| place)
}

fn no_such(field: &str, name: &str, what: &str, names_of: NamesOf<'_>) -> Error {
    let names: Vec<&str> = (0..).map_while(|place| Some(names_of(place)?.0)).collect();
    let cure = format!("Choose one of {}", names.join(", "));
    Error::field(field, format!("\"{name}\""), format!("no such {what}"), cure)
}

/// The names of `values`, separated by commas.
pub fn names<T: Closed>(values: &[T]) -> String {
    values.iter().map(|value| value.name()).collect::<Vec<_>>().join(", ")
}

/// Whether two names are the same but for case, `-` and `_`, and for space around them.
pub fn same_name(one: &str, other: &str) -> bool {
    one == other || plain(one).eq(plain(other))
}

/// The characters of a name that matter.
fn plain(name: &str) -> impl Iterator<Item = u8> {
    name.trim().bytes().filter(|byte| !matches!(byte, b'-' | b'_')).map(|byte| byte.to_ascii_lowercase())
}

/// Reads a value by its name, or in a format that is not for people by its place in the list.
pub fn deserialize<'de, T: Closed, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Name<T>(PhantomData<T>);
    impl<T: Closed> Visitor<'_> for Name<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the name of a {}", T::WHAT)
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<T, E> {
            from_name(T::FIELD, name).map_err(E::custom)
        }
    }
    if deserializer.is_human_readable() {
        return deserializer.deserialize_str(Name(PhantomData));
    }
    let place = u8::deserialize(deserializer)?;
    let unknown = || serde::de::Error::custom(format!("no {} has number {place}", T::WHAT));
    T::ALL.get(usize::from(place)).copied().ok_or_else(unknown)
}

/// Implements for a [`Closed`] enum what follows from its names: they are how it is written, read and shown.
#[macro_export]
macro_rules! by_name {
    ($vis:vis $type:ident) => {
        impl $type {
            /// The value of that name: case, `-` and `_` do not matter.
            $vis fn from_name(name: &str) -> Result<Self, $crate::error::Error> {
                $crate::closed::from_name(<Self as $crate::closed::Closed>::FIELD, name)
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad($crate::closed::Closed::name(*self))
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::from_name(name)
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str($crate::closed::Closed::name(*self))
                } else {
                    serializer.serialize_u8(*self as u8)
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::closed::deserialize(deserializer)
            }
        }
    };
}

/// Declares an enum whose values have names: the field that holds one and what it is called, as errors name them, and
/// for each variant its name, where it differs the title, and other names in use.
///
/// ```
/// accel_ground::closed! {
///     /// How a tensor is stored.
///     #[derive(Default)]
///     pub enum Storage("storage", "way of storing") {
///         /// Row by row.
///         #[default]
///         RowMajor = "row_major" titled "row by row" or "c",
///         /// Column by column.
///         ColumnMajor = "column_major" titled "column by column" or "f" or "fortran",
///     }
/// }
/// assert_eq!(Storage::from_name("Row-Major"), Ok(Storage::RowMajor));
/// assert_eq!(Storage::from_name("F").map(Storage::title), Ok("column by column"));
/// let error = Storage::from_name("rows").unwrap_err().to_string();
/// assert_eq!(error, "storage is \"rows\": no such way of storing. Choose one of row_major, column_major");
/// ```
#[macro_export]
macro_rules! closed {
    (
        $(#[$meta:meta])*
        $vis:vis enum $type:ident($field:literal, $what:literal) {
            $($(#[$of_variant:meta])* $variant:ident = $name:literal $(titled $title:literal)? $(or $alias:literal)*,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $type {
            $($(#[$of_variant])* $variant,)*
        }

        impl $type {
            /// Every value, in the order in which it is shown.
            $vis const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in JSON and on the command line.
            $vis fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The name that people read.
            $vis fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => [$($title,)? $name][0],)*
                }
            }
        }

        impl $crate::closed::Closed for $type {
            const FIELD: &'static str = $field;
            const WHAT: &'static str = $what;
            const ALL: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn title(self) -> &'static str {
                self.title()
            }

            fn aliases(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &[$($alias),*],)*
                }
            }
        }

        $crate::by_name!($vis $type);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    closed! {
        /// A list of two.
        enum Two("two", "half") {
            /// The first.
            FirstHalf = "first_half" titled "first half" or "1st",
            /// The second.
            SecondHalf = "second-half",
        }
    }

    #[test]
    fn case_and_dashes_do_not_matter() {
        for name in ["first_half", "First-Half", " FIRSTHALF ", "1ST"] {
            assert_eq!(Two::from_name(name), Ok(Two::FirstHalf), "{name}");
            assert_eq!(name.parse(), Ok(Two::FirstHalf));
            assert_eq!(serde_json::from_str::<Two>(&format!("\"{name}\"")).unwrap(), Two::FirstHalf);
        }
        assert_eq!([Two::FirstHalf.title(), Two::SecondHalf.title()], ["first half", "second-half"]);
        assert_eq!(serde_json::to_string(&Two::ALL).unwrap(), "[\"first_half\",\"second-half\"]");
        assert_eq!(format!("{:>12}", Two::FirstHalf), "  first_half");
    }

    #[test]
    fn what_is_not_in_the_list_is_refused_with_the_list() {
        for name in ["third", "", "first", "first half"] {
            let error = Two::from_name(name).unwrap_err();
            assert_eq!(error.field_name(), Some("two"));
            assert_eq!(
                error.to_string(),
                format!("two is \"{name}\": no such half. Choose one of first_half, second-half")
            );
            assert!(
                serde_json::from_str::<Two>(&format!("\"{name}\"")).unwrap_err().to_string().contains("no such half")
            );
        }
        assert_eq!(from_name::<Two>("other", "x").unwrap_err().field_name(), Some("other"));
    }
}
