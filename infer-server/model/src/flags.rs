//! Flags whose values come from a closed list.

use accel_ground::closed::{self, Closed};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Reads a value of a closed list by its name or another name in use; a refusal and the help list the names.
pub fn one_of<T: Closed + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let values = T::ALL.iter().map(|value| {
        let named = PossibleValue::new(value.name()).aliases(value.aliases());
        if value.title() == value.name() { named } else { named.help(value.title()) }
    });
    PossibleValuesParser::new(values).try_map(|name| closed::from_name::<T>(T::FIELD, &name))
}
