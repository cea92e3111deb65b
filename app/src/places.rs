//! The addresses of the page: `#r=…` is an experiment in the Lab, `#trace&r=…` its trace, `#compare&r=…&with=…` two of
//! them, `#k=…` a kernel.

use accel_core::error::Error;
use accel_core::recipe::{FRAGMENT, Recipe};

use crate::view::Tab;

/// What an address says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) tab: Tab,
    pub(crate) recipe: Option<Recipe>,
    /// The recipe to compare with, as JSON.
    pub(crate) other: Option<String>,
}

/// What comes before the recipe to compare with.
const WITH: &str = "with=";

impl Place {
    /// What `fragment`, which has no `#`, says.
    ///
    /// # Errors
    ///
    /// Where a recipe in it cannot be read.
    pub(crate) fn of(fragment: &str) -> Result<Self, Error> {
        let mut place = Self { tab: Tab::of(fragment), recipe: None, other: None };
        if place.tab == Tab::Kernel {
            return Ok(place);
        }
        for part in fragment.split('&') {
            if part.starts_with(FRAGMENT) {
                place.recipe = Some(Recipe::from_fragment(part)?);
            } else if let Some(with) = part.strip_prefix(WITH) {
                place.other = Some(Recipe::from_fragment(&format!("{FRAGMENT}{with}"))?.to_json()?);
            }
        }
        Ok(place)
    }
}

/// The address of `recipe` in `tab`; beside `other`, where two are compared.
///
/// # Errors
///
/// Where a recipe cannot be written.
pub(crate) fn fragment(tab: Tab, recipe: &Recipe, other: Option<&str>) -> Result<String, Error> {
    let mut fragment = match tab.name() {
        "" => recipe.to_fragment()?,
        name => format!("{name}&{}", recipe.to_fragment()?),
    };
    if let Some(other) = other.filter(|_| tab == Tab::Compare) {
        let other = Recipe::from_json("recipe", other.as_bytes())?.to_fragment()?;
        fragment.push('&');
        fragment.push_str(WITH);
        fragment.push_str(other.strip_prefix(FRAGMENT).unwrap_or(&other));
    }
    Ok(fragment)
}
