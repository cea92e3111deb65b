//! `accel models`: what can be named without a file.

use std::io::Write;

use accel_core::scenarios::SCENARIOS;
use accel_core::units::format_count;
use accel_core::validate::profile::PROFILES;
use accel_core::workload::presets::PRESETS;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Lists models, scenarios and reference profiles.
#[derive(Debug, Args)]
pub(crate) struct Models {}

impl Models {
    pub(crate) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["model", "type", "parameters", "format", "source"]);
        for preset in PRESETS {
            let config = preset.config()?;
            let parameters = format_count(config.parameters());
            table.add_row([preset.name, preset.family, &parameters, config.dtype().name(), preset.source]);
        }
        writeln!(out, "Models, for --model:\n{}\n", table.trim_fmt())?;
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["scenario", "question"]);
        for scenario in SCENARIOS {
            table.add_row([scenario.name, scenario.question]);
        }
        writeln!(out, "Scenarios, for --scenario:\n{}\n", table.trim_fmt())?;
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header(["profile", "title", "source"]);
        for profile in PROFILES {
            table.add_row([profile.name, profile.title, profile.source]);
        }
        writeln!(out, "Reference profiles, for trace validate --reference:\n{}", table.trim_fmt())?;
        Ok(())
    }
}
