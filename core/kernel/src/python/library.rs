//! The library: functions and modules of PyTorch, NumPy, SciPy and JAX that are made of others, as Python.
//!
//! Each is written out in the functions of the `registry`, and read where it is called as functions of the source are.
//! Parameters have the names that their libraries give them; the first line of each function shows a call. An
//! annotation says how many axes an argument has. `@one_pass` marks what is one pass over its operands, `@fused("axis")`
//! what libraries do row by row without arrays in between: rows lie along the axes that the parameter of that name
//! gives.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ruff_python_ast::{Expr, ModModule, Stmt, StmtClassDef, StmtFunctionDef};

/// Its source.
pub(super) const CODE: &str = concat!(
    include_str!("library/functions.py"),
    "\n\n",
    include_str!("library/arrays.py"),
    include_str!("library/modules.py"),
    "\n\n",
    include_str!("library/recurrent.py")
);

/// What a name of the library stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Function(&'static StmtFunctionDef),
    Class(&'static StmtClassDef),
}

/// All of it by name.
pub(super) fn entries() -> &'static BTreeMap<&'static str, Entry> {
    static MODULE: OnceLock<ModModule> = OnceLock::new();
    static ENTRIES: OnceLock<BTreeMap<&'static str, Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let parsed = || ruff_python_parser::parse_module(CODE).map(|parsed| parsed.into_syntax());
        let empty =
            || ModModule { node_index: Default::default(), range: Default::default(), body: Default::default() };
        // A test reads every entry, so there is no error in it.
        let module = MODULE.get_or_init(|| parsed().unwrap_or_else(|_| empty()));
        let mut entries = BTreeMap::new();
        for stmt in &module.body {
            match stmt {
                Stmt::FunctionDef(function) => {
                    entries.insert(function.name.as_str(), Entry::Function(function));
                }
                Stmt::ClassDef(class) => {
                    entries.insert(class.name.as_str(), Entry::Class(class));
                }
                // `average = mean`: another name.
                Stmt::Assign(assign) => {
                    let Expr::Name(value) = &*assign.value else { continue };
                    let Some(found) = entries.get(value.id.as_str()).copied() else { continue };
                    let names = assign.targets.iter().filter_map(Expr::as_name_expr);
                    entries.extend(names.map(|name| (name.id.as_str(), found)));
                }
                _ => {}
            }
        }
        entries
    })
}
