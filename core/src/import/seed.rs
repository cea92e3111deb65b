//! Readers of single JSON values, as serde's seeds and visitors: what a reader does not name is refused.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Anything that the reader has a method for.
    Any,
    List,
    Object,
    Text,
}

/// Reads one value. A method for each form that it may have; without one, that form is an error that says what was
/// expected.
pub(super) trait ValueReader: Sized {
    /// What comes of it.
    type Value;
    /// What the value must be.
    const FORM: Form;
    /// The same in words, after "expected".
    const EXPECTED: &'static str;

    /// A list.
    fn list<'de, A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(unexpected::<Self, _>(Unexpected::Seq))
    }

    /// An object.
    fn object<'de, A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(unexpected::<Self, _>(Unexpected::Map))
    }

    /// A string.
    fn text<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Str(text)))
    }

    /// A whole number without a sign.
    fn unsigned<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Unsigned(number)))
    }

    /// A negative whole number.
    fn signed<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Signed(number)))
    }

    /// Any other number.
    fn float<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Float(number)))
    }

    /// `true` or `false`.
    fn boolean<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Bool(value)))
    }

    /// `null`.
    fn null<E: Error>(self) -> Result<Self::Value, E> {
        Err(unexpected::<Self, _>(Unexpected::Unit))
    }
}

fn unexpected<R: ValueReader, E: Error>(found: Unexpected<'_>) -> E {
    E::invalid_type(found, &R::EXPECTED as &dyn Expected)
}

/// Reads a value that may be anything: none where it is not of the form that the reader has.
pub(super) struct Loose<R>(pub(super) R);

impl<R: ValueReader> ValueReader for Loose<R> {
    type Value = Option<R::Value>;
    const FORM: Form = Form::Any;
    const EXPECTED: &'static str = R::EXPECTED;

    fn list<'de, A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        if matches!(R::FORM, Form::List) {
            return self.0.list(list).map(Some);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if matches!(R::FORM, Form::Object) {
            return self.0.object(map).map(Some);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn text<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if matches!(R::FORM, Form::Any | Form::Text) { self.0.text(text).map(Some) } else { Ok(None) }
    }

    fn unsigned<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        if matches!(R::FORM, Form::Any) { self.0.unsigned(number).map(Some) } else { Ok(None) }
    }

    fn signed<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        if matches!(R::FORM, Form::Any) { self.0.signed(number).map(Some) } else { Ok(None) }
    }

    fn float<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if matches!(R::FORM, Form::Any) { self.0.float(number).map(Some) } else { Ok(None) }
    }

    fn boolean<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn null<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A reader as serde takes it.
pub(super) struct Seed<R>(pub(super) R);

impl<'de, R: ValueReader> DeserializeSeed<'de> for Seed<R> {
    type Value = R::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Value, D::Error> {
        match R::FORM {
            Form::Any => deserializer.deserialize_any(self),
            Form::List => deserializer.deserialize_seq(self),
            Form::Object => deserializer.deserialize_map(self),
            Form::Text => deserializer.deserialize_str(self),
        }
    }
}

impl<'de, R: ValueReader> Visitor<'de> for Seed<R> {
    type Value = R::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(R::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<R::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<R::Value, A::Error> {
        self.0.object(object)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<R::Value, E> {
        self.0.text(text)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<R::Value, E> {
        self.0.unsigned(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<R::Value, E> {
        self.0.signed(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<R::Value, E> {
        self.0.float(number)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<R::Value, E> {
        self.0.boolean(value)
    }

    fn visit_unit<E: Error>(self) -> Result<R::Value, E> {
        self.0.null()
    }
}
