//! An experiment from JSON: `cargo run -p accel-core --example recipe [FILE]`; without a file, `recipe.json` beside this.
//!
//! The same recipe is what the page, the command line and the server exchange; it gives the same numbers everywhere.

use std::error::Error;

use accel_core::progress::Unattended;
use accel_core::recipe::Recipe;
use accel_core::run::run;

fn main() -> Result<(), Box<dyn Error>> {
    let (name, json) = match std::env::args().nth(1) {
        Some(file) => (file.clone(), std::fs::read(file)?),
        None => ("recipe.json".to_owned(), include_bytes!("recipe.json").to_vec()),
    };
    let recipe = Recipe::from_json(&name, &json)?;
    let outcome = run(&recipe, &mut Unattended)?;
    println!("{:<8} {:>8} {:>8} {:>10} {:>11}", "policy", "hits", "misses", "hit ratio", "gap closed");
    for report in &outcome.runs {
        let title = report.policy.info().title;
        let gap = report.gap_closed.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        println!("{title:<8} {:>8} {:>8} {:>8.1} % {gap:>11}", report.hits, report.misses, 100.0 * report.hit_ratio());
    }
    if let Some(bounds) = &outcome.bounds {
        println!("no schedule has fewer than {} misses; one has {}", bounds.misses.lower, bounds.misses.upper);
    }
    // In words, and as a link that opens the same experiment on the page.
    outcome.explanation.iter().for_each(|line| println!("{line}"));
    println!("#{}", recipe.to_fragment()?);
    Ok(())
}
