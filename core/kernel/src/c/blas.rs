//! Calls of BLAS: `cblas_sgemm` and `cblas_dgemm`.

use std::collections::BTreeSet;

use lang_c::ast::*;
use lang_c::span::Node;

use super::lower::{CLowering, Round};
use super::value::{INTEGER, NumberKind};
use super::view::Pointee;
use super::walk::name;
use crate::expr::Expr;
use crate::nest::{At, Element, Library, Loop, Node as Step, Work};
use crate::source::refuse;
use accel_ground::error::Error;

/// A matrix as BLAS sees it.
struct Matrix {
    view: Pointee,
    rows: Expr,
    columns: Expr,
    /// Elements from one row to the next, or from one column to the next.
    stride: Expr,
    /// Whether the elements of a column lie one behind another, rather than those of a row.
    by_columns: bool,
}

impl<'a> CLowering<'a> {
    /// The product `C = alpha op(A) op(B) + beta C`; nothing if `function` is another.
    pub(super) fn blas(
        &mut self,
        function: &str,
        call: &'a CallExpression,
        at: At,
    ) -> Result<Option<NumberKind>, Error> {
        let element = match function {
            "cblas_sgemm" => Element::F32,
            "cblas_dgemm" => Element::F64,
            _ => return Ok(None),
        };
        let [order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc] = call.arguments.as_slice() else {
            let problem = format!("{function} takes 14 arguments, not {}", call.arguments.len());
            return Err(refuse(at, problem, "Give the order, whether to transpose, M, N, K and the operands"));
        };
        let columns_first = self.choice_of(order, ["CblasRowMajor", "CblasColMajor"])?;
        let transposed_a = self.choice_of(trans_a, ["CblasNoTrans", "CblasTrans"])?;
        let transposed_b = self.choice_of(trans_b, ["CblasNoTrans", "CblasTrans"])?;
        let (m, n, k) = (self.extent_of(m)?, self.extent_of(n)?, self.extent_of(k)?);
        self.value(alpha)?;
        self.value(beta)?;
        let mut matrix = |view, rows: &Expr, columns: &Expr, stride, transposed: bool| {
            let stride = self.extent_of(stride)?;
            let view = self.place(view, 1)?;
            let (rows, columns) = (rows.clone(), columns.clone());
            Ok::<_, Error>(Matrix { view, rows, columns, stride, by_columns: columns_first != transposed })
        };
        let operands = [
            (matrix(a, &m, &k, lda, transposed_a)?, false),
            (matrix(b, &k, &n, ldb, transposed_b)?, false),
            (matrix(c, &m, &n, ldc, false)?, true),
        ];
        self.flush(at);
        let mut sweep = Vec::new();
        for (operand, write) in operands {
            sweep.push(self.sweep(operand, write, at)?);
        }
        let name = function.trim_start_matches("cblas_").to_owned();
        self.out.push(Step::Library(Library { name, batch: Expr::Const(1), m, n, k, element, sweep, at }));
        Ok(Some(INTEGER))
    }

    /// Whether an argument is the second of two constants.
    fn choice_of(&self, argument: &Node<Expression>, choices: [&str; 2]) -> Result<bool, Error> {
        match name(argument) {
            Some(name) if name == choices[0] => Ok(false),
            Some(name) if name == choices[1] => Ok(true),
            _ => {
                let cure = format!("Write {} or {}", choices[0], choices[1]);
                Err(refuse(self.at(argument), "this argument is not known", cure))
            }
        }
    }

    fn extent_of(&mut self, argument: &'a Node<Expression>) -> Result<Expr, Error> {
        let at = self.at(argument);
        let known = self.integer(argument, true)?;
        known.ok_or_else(|| refuse(at, "this extent is decided by data", "Use parameters and constants"))
    }

    /// Loops that touch each element of a matrix once.
    fn sweep(&mut self, matrix: Matrix, write: bool, at: At) -> Result<Step, Error> {
        let Matrix { view, rows, columns, stride, by_columns } = matrix;
        let (outer, inner) = if by_columns { (columns, rows) } else { (rows, columns) };
        let mut round = |upper: &Expr| {
            let var = self.builder.variable("element");
            self.loops.push(Round {
                var,
                lower: Expr::Const(0),
                upper: upper.clone(),
                step: Expr::Const(1),
                ascending: true,
                assigned: BTreeSet::new(),
                written: BTreeSet::new(),
                commented: false,
                own: None,
                leaves: None,
            });
            var
        };
        let (line, element) = (round(&outer), round(&inner));
        let index = Expr::from(line).times(stride).plus(element);
        let before = std::mem::take(&mut self.work);
        self.access(view.at(Some(index)), write, at)?;
        let work = Work { at, ..std::mem::replace(&mut self.work, before) };
        self.loops.truncate(self.loops.len().saturating_sub(2));
        let around = |var, upper, body| {
            Step::Loop(Loop { var, lower: Expr::Const(0), upper, step: Expr::Const(1), body: vec![body], at })
        };
        Ok(around(line, outer, around(element, inner, Step::Work(work))))
    }
}
