//! `accel list`: what has a name.

use std::io::Write;

use accel_core::units::format_count;
use accel_files::list::{What, json};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use crate::flags::one_of;
use crate::table::print_json;

/// Lists what has a name.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list; everything if left out.
    #[arg(value_name = "WHAT", value_parser = one_of::<What>())]
    what: Vec<What>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let what = if self.what.is_empty() { &What::ALL[..] } else { &self.what };
        if self.json {
            return print_json(&json(what)?, out);
        }
        print(what, out)
    }
}

/// `accel models`, as it was before there were more lists.
pub(crate) fn models(out: &mut dyn Write) -> anyhow::Result<()> {
    print(&[What::Models, What::Scenarios, What::Profiles], out)
}

fn print(lists: &[What], out: &mut dyn Write) -> anyhow::Result<()> {
    for (i, what) in lists.iter().enumerate() {
        let (columns, rows) = what.rows()?;
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(columns.iter().map(|column| column.replace('_', " ")));
        for (at, column) in table.column_iter_mut().enumerate() {
            if rows.iter().any(|row| row.get(at).is_some_and(Value::is_number)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.add_rows(rows.iter().map(|row| row.iter().map(shown)));
        let space = if i == 0 { "" } else { "\n" };
        writeln!(out, "{space}{}:\n{}", what.title(), table.trim_fmt())?;
    }
    Ok(())
}

/// A value as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), format_count),
        other => other.to_string(),
    }
}
