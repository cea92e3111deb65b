//! What the tree of the source says by itself, before anything is read.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprCall, ExprSubscript, Stmt, StmtIf};

/// What `a[i][j, k]` is a part of, how many subscripts it has, and whether all of them are single.
pub(super) fn subscripts(expr: &Expr) -> (&Expr, usize, bool) {
    match expr {
        Expr::Subscript(subscript) => subscripts_of(subscript),
        expr => (expr, 0, true),
    }
}

/// The same of what is known to be a subscript.
pub(super) fn subscripts_of(mut subscript: &ExprSubscript) -> (&Expr, usize, bool) {
    let (mut rank, mut single) = (0, true);
    loop {
        let parts = match &*subscript.slice {
            Expr::Tuple(tuple) => tuple.elts.as_slice(),
            part => std::slice::from_ref(part),
        };
        for part in parts {
            single &= !matches!(part, Expr::Slice(_) | Expr::NoneLiteral(_) | Expr::EllipsisLiteral(_));
            rank += usize::from(!matches!(part, Expr::NoneLiteral(_) | Expr::EllipsisLiteral(_)));
        }
        match &*subscript.value {
            Expr::Subscript(inner) => subscript = inner,
            base => return (base, rank, single),
        }
    }
}

/// A literal integer, with a sign perhaps.
pub(super) fn integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::NumberLiteral(number) => number.value.as_int()?.as_i64(),
        Expr::UnaryOp(op) if op.op == ruff_python_ast::UnaryOp::USub => integer(&op.operand)?.checked_neg(),
        _ => None,
    }
}

/// The first name of `a.b.c`.
pub(super) fn root(mut expr: &Expr) -> Option<&str> {
    loop {
        match expr {
            Expr::Attribute(attribute) => expr = &attribute.value,
            Expr::Name(name) => return Some(name.id.as_str()),
            _ => return None,
        }
    }
}

/// Collects names.
#[derive(Default)]
struct Names<'a>(BTreeSet<&'a str>);

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr {
            self.0.insert(name.id.as_str());
        }
        walk_expr(self, expr);
    }
}

/// The names that stand in a statement.
pub(super) fn names_read(stmt: &Stmt) -> BTreeSet<&str> {
    let mut names = Names::default();
    names.visit_stmt(stmt);
    names.0
}

/// The names that stand in a condition and its arms.
pub(super) fn names_read_by(branch: &StmtIf) -> BTreeSet<&str> {
    let mut names = Names::default();
    names.visit_expr(&branch.test);
    names.visit_body(&branch.body);
    for clause in &branch.elif_else_clauses {
        clause.test.iter().for_each(|test| names.visit_expr(test));
        names.visit_body(&clause.body);
    }
    names.0
}

/// The last name of what is called.
pub(super) fn call_name(call: &ExprCall) -> Option<&str> {
    last_name(&call.func)
}

/// The last name of `a.b.c`.
pub(super) fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

/// Whether a body returns, or raises if `raises`, at its own level or in a condition there.
pub(super) fn ends(body: &[Stmt], raises: bool) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::Return(_) => true,
        Stmt::Raise(_) => raises,
        Stmt::If(inner) => {
            ends(&inner.body, raises) || inner.elif_else_clauses.iter().any(|clause| ends(&clause.body, raises))
        }
        _ => false,
    })
}

/// Enough of some code to recognise it.
pub(super) fn clip(code: &str) -> String {
    let mut text: String = code.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if code.chars().nth(40).is_some() {
        text.push_str("...");
    }
    text
}

/// Names that a body assigns, those in inner loops and conditions included.
pub(super) fn assigned(body: &[Stmt]) -> BTreeSet<&str> {
    fn target<'t>(expr: &'t Expr, into: &mut BTreeSet<&'t str>) {
        match expr {
            Expr::Name(name) => {
                into.insert(name.id.as_str());
            }
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|part| target(part, into)),
            Expr::List(list) => list.elts.iter().for_each(|part| target(part, into)),
            _ => {}
        }
    }
    fn walk<'t>(body: &'t [Stmt], into: &mut BTreeSet<&'t str>) {
        for stmt in body {
            match stmt {
                Stmt::Assign(assign) => assign.targets.iter().for_each(|part| target(part, into)),
                Stmt::AugAssign(assign) => target(&assign.target, into),
                Stmt::AnnAssign(assign) => target(&assign.target, into),
                Stmt::For(f) => {
                    target(&f.target, into);
                    walk(&f.body, into);
                }
                Stmt::While(w) => walk(&w.body, into),
                Stmt::If(i) => {
                    walk(&i.body, into);
                    i.elif_else_clauses.iter().for_each(|clause| walk(&clause.body, into));
                }
                _ => {}
            }
        }
    }
    let mut names = BTreeSet::new();
    walk(body, &mut names);
    names
}
