//! Where an access lies: what moves evenly with loops, what stays at bounds, and what data decide.

/// Which byte an access touches.
#[derive(Debug)]
pub(in crate::cache) enum Address {
    /// It moves evenly with each loop.
    Even(Even),
    /// The same, but for subscripts that stay at a bound instead of leaving it.
    Clamped(Clamped),
    /// The subscripts must be evaluated.
    Subscripts,
    /// Data decide: a random element.
    Data,
    /// Data decide a part of it: the row, the place in a row, or what is between.
    Row(Row),
}

/// A constant, and what each loop variable (a symbol) adds.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct Even {
    pub(super) constant: i64,
    pub(super) terms: Vec<(usize, i64)>,
}

/// An address with subscripts that are kept between bounds, as at the edges of an image.
#[derive(Debug)]
pub(in crate::cache) struct Clamped {
    /// What all other subscripts add up to.
    pub(in crate::cache) rest: Even,
    pub(in crate::cache) parts: Vec<Part>,
}

/// A place in a random row.
#[derive(Debug)]
pub(in crate::cache) struct Row {
    /// Where the first row is.
    pub(in crate::cache) start: Even,
    /// How many rows there are.
    pub(in crate::cache) rows: u64,
    /// Bytes of each.
    pub(in crate::cache) bytes: u64,
    /// How far in its row the first byte lies.
    pub(in crate::cache) within: Even,
    /// Whether all draws from the same rows come one after the other.
    pub(in crate::cache) by_turns: bool,
}

/// A subscript between bounds.
#[derive(Debug)]
pub(in crate::cache) struct Part {
    /// Bytes that one more of it adds.
    pub(in crate::cache) bytes: i64,
    pub(in crate::cache) of: Even,
    /// It is no smaller than the first, and no larger than the second.
    pub(in crate::cache) bounds: (i64, i64),
}

impl Even {
    pub(super) fn scaled(mut self, factor: i64) -> Option<Self> {
        self.constant = self.constant.checked_mul(factor)?;
        for (_, term) in &mut self.terms {
            *term = term.checked_mul(factor)?;
        }
        Some(self)
    }

    pub(super) fn plus(mut self, other: &Self) -> Option<Self> {
        self.constant = self.constant.checked_add(other.constant)?;
        for (symbol, term) in &other.terms {
            match self.terms.iter_mut().find(|(own, _)| own == symbol) {
                Some((_, own)) => *own = own.checked_add(*term)?,
                None => self.terms.push((*symbol, *term)),
            }
        }
        Some(self)
    }

    pub(super) fn constant(&self) -> Option<i64> {
        self.terms.iter().all(|(_, term)| *term == 0).then_some(self.constant)
    }

    /// What one more of `symbol` adds.
    pub(in crate::cache) fn by(&self, symbol: usize) -> i64 {
        self.terms.iter().find(|(own, _)| *own == symbol).map_or(0, |(_, term)| *term)
    }

    /// Takes `symbol` for a number.
    pub(super) fn fix(&mut self, symbol: usize, value: i64) {
        let added = self.by(symbol).wrapping_mul(value);
        self.terms.retain(|(own, _)| *own != symbol);
        self.constant = self.constant.wrapping_add(added);
    }

    /// Its value; sums that pass 64 bits on the way come back, because addresses lie within the arrays.
    pub(in crate::cache) fn value(&self, values: &[i64]) -> i64 {
        let term = |(symbol, term): &(usize, i64)| term.wrapping_mul(values.get(*symbol).copied().unwrap_or_default());
        self.terms.iter().fold(self.constant, |sum, t| sum.wrapping_add(term(t)))
    }
}

impl Clamped {
    pub(super) fn value(&self, values: &[i64]) -> i64 {
        let part = |part: &Part| {
            let (low, high) = part.bounds;
            part.bytes.wrapping_mul(part.of.value(values).max(low).min(high))
        };
        self.parts.iter().fold(self.rest.value(values), |sum, own| sum.wrapping_add(part(own)))
    }

    /// Whether a subscript between bounds hangs on `symbol`.
    pub(in crate::cache) fn bounds(&self, symbol: usize) -> bool {
        self.parts.iter().any(|part| part.of.by(symbol) != 0)
    }
}

impl Address {
    /// What one more of `symbol` adds, where that is the same everywhere.
    pub(in crate::cache) fn by(&self, symbol: usize) -> Option<i64> {
        match self {
            Self::Even(even) => Some(even.by(symbol)),
            Self::Clamped(clamped) => (!clamped.bounds(symbol)).then(|| clamped.rest.by(symbol)),
            Self::Subscripts | Self::Data | Self::Row(_) => None,
        }
    }

    /// The same where subscripts are within their bounds.
    pub(in crate::cache) fn by_within(&self, symbol: usize) -> Option<i64> {
        let Self::Clamped(clamped) = self else { return self.by(symbol) };
        let part = |part: &Part| part.of.by(symbol).checked_mul(part.bytes);
        clamped.parts.iter().try_fold(clamped.rest.by(symbol), |sum, own| sum.checked_add(part(own)?))
    }

    /// Takes `symbol` for a number.
    pub(super) fn fix(&mut self, symbol: usize, value: i64) {
        match self {
            Self::Even(even) => even.fix(symbol, value),
            Self::Clamped(clamped) => {
                clamped.rest.fix(symbol, value);
                clamped.parts.iter_mut().for_each(|part| part.of.fix(symbol, value));
            }
            Self::Row(row) => {
                row.start.fix(symbol, value);
                row.within.fix(symbol, value);
            }
            Self::Subscripts | Self::Data => {}
        }
    }
}
