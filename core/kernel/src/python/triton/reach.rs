//! How far indices reach.

use crate::expr::Expr;

/// The largest that an index can be, each variable between its ends.
pub(super) fn upper(index: &Expr, low: &[i64], high: &[i64]) -> Option<i64> {
    let (a, b) = ends(index, low, high)?;
    Some(a.max(b))
}

fn ends(index: &Expr, low: &[i64], high: &[i64]) -> Option<(i64, i64)> {
    let both = |a, b| Some((ends(a, low, high)?, ends(b, low, high)?));
    Some(match index {
        Expr::Const(value) => (*value, *value),
        Expr::Symbol(symbol) => (*low.get(symbol.0 as usize)?, *high.get(symbol.0 as usize)?),
        Expr::Add(a, b) => {
            let (a, b) = both(a, b)?;
            (a.0.checked_add(b.0)?, a.1.checked_add(b.1)?)
        }
        Expr::Mul(a, b) => {
            let (a, b) = both(a, b)?;
            let all = [a.0.checked_mul(b.0)?, a.0.checked_mul(b.1)?, a.1.checked_mul(b.0)?, a.1.checked_mul(b.1)?];
            (all.into_iter().min()?, all.into_iter().max()?)
        }
        Expr::Div(a, b, _) => {
            let (a, b) = both(a, b)?;
            if b.0 < 1 {
                // Whatever divides it, no quotient of integers is larger.
                let most = a.0.checked_abs()?.max(a.1.checked_abs()?);
                return Some((-most, most));
            }
            (a.0.min(a.0 / b.1), a.1.max(a.1 / b.0).min(a.1.max(0)))
        }
        Expr::Rem(_, b, _) => (0, ends(b, low, high)?.1.checked_sub(1)?.max(0)),
        Expr::Min(a, b) => {
            let (a, b) = both(a, b)?;
            (a.0.min(b.0), a.1.min(b.1))
        }
        Expr::Max(a, b) => {
            let (a, b) = both(a, b)?;
            (a.0.max(b.0), a.1.max(b.1))
        }
        Expr::Power(..) | Expr::Digits(..) => return None,
    })
}
