//! How good scores are: each against how long it really took until the tensor was used again.

use std::sync::Arc;

use accel_core::run::after::{SCORE_BINS, Scatter};
use accel_core::units::format_count;
use accel_ui::built::{Build, Built};
use accel_ui::chart::{Chart, Colour, Failure, Frame, HPos, LABELS_AND_NAME, VPos, svg};
use accel_ui::over::{Over, Point};
use accel_ui::view::show_in;
use leptos::html::Div;
use leptos::prelude::*;

use super::axis::column_at;
use crate::app::App;
use crate::view::Tab;

/// A map for each scorer, that of the run first.
pub(super) fn scatter(app: App) -> Built {
    let place = NodeRef::<Div>::new();
    show_in(place, move || {
        let scatters = app.engine.scatters.get()?;
        Some((0..scatters.len()).map(|i| map(&scatters, i)).collect_view())
    });
    // Asked for when the tab is first looked at, and again after each run.
    Effect::new(move |_| {
        let wanted = app.view.tab.get() == Tab::Scores && app.engine.answer.with(Option::is_some);
        if wanted && app.engine.scatters.with_untracked(Option::is_none) {
            app.engine.ask_scatters();
        }
    });
    view! {
        <section class="panel" id="scatter">
            <h2>"Do the scores tell when a tensor is used again?"</h2>
            <p class="hint">
                "Every access by its score, from below, and by how long it really took until the next use, from left to right. A good scorer shows a rising line. The number is Spearman's rank correlation: 1 where a higher score always means a later use, 0 where it means nothing."
            </p>
            <div class="beside" node_ref=place></div>
        </section>
    }
    .built()
}

const HEIGHT: u32 = 240;

/// What the elements are called; there are three built-in scorers and the server's.
const IDS: [&str; 4] = ["scatter-0", "scatter-1", "scatter-2", "scatter-3"];

fn map(scatters: &Arc<Vec<Scatter>>, i: usize) -> Built {
    let scatter = &scatters[i];
    let columns = scatter.counts.first().map_or(0, Vec::len) + 1;
    let title = match scatter.rank_correlation {
        Some(correlation) => format!("{}: {correlation:.2}", scatter.scorer.title()),
        None => format!("{}: all scores alike", scatter.scorer.title()),
    };
    let (drawn, read, exported) = (Arc::clone(scatters), Arc::clone(scatters), Arc::clone(scatters));
    let over = Over {
        frame: Arc::new(frame),
        at: RwSignal::new(None),
        steps: (columns, SCORE_BINS),
        read: Arc::new(move |at| reading(&read[i], columns, at)),
        hint: "",
        brushed: None,
        picked: None,
        handle: None,
    };
    let chart =
        Chart::new(IDS[i.min(3)], "Scores against the true next use", Arc::new(move |width| draw(&drawn[i], width)))
            .over(over)
            .rows(Arc::new(move || rows(&exported[i])));
    view! {
        <div>
            <h3>{title}</h3>
            {chart.view()}
        </div>
    }
    .built()
}

fn frame(width: u32) -> Frame {
    Frame::new(width, HEIGHT, 40, LABELS_AND_NAME)
}

/// Accesses of a score in a column; the last column holds those that are not used again.
fn count(scatter: &Scatter, score: usize, column: usize) -> u64 {
    let row = &scatter.counts[score];
    row.get(column).copied().unwrap_or_else(|| scatter.never[score])
}

fn draw(scatter: &Scatter, width: u32) -> Result<String, Failure> {
    let columns = scatter.counts.first().map_or(0, Vec::len) + 1;
    let frame = frame(width);
    let most = (0..SCORE_BINS).flat_map(|score| (0..columns).map(move |column| (score, column)));
    let most = most.map(|(score, column)| count(scatter, score, column)).max().unwrap_or(0).max(1) as f64;
    svg(width, HEIGHT, &|canvas| {
        for score in 0..SCORE_BINS {
            for column in 0..columns {
                let accesses = count(scatter, score, column);
                if accesses > 0 {
                    // Counts span decades.
                    let shade = (1.0 + accesses as f64).ln() / (1.0 + most).ln();
                    let x = |column: usize| frame.x(column as f64 / columns as f64);
                    let y = |score: usize| frame.y(score as f64 / SCORE_BINS as f64);
                    let corners = [(x(column), y(score + 1)), (x(column + 1) - 1, y(score) - 1)];
                    canvas.rectangle(corners, Colour::FULL.faint(shade))?;
                }
            }
        }
        for (share, text) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
            canvas.text(text.into(), (frame.left - 6, frame.y(share)), HPos::Right, VPos::Center)?;
        }
        for column in (0..columns.saturating_sub(1)).step_by(4) {
            let at = (frame.x(column as f64 / columns as f64), frame.bottom + 4);
            canvas.text(format_count(1 << column), at, HPos::Left, VPos::Top)?;
        }
        canvas.text("never".into(), (frame.right, frame.bottom + 4), HPos::Right, VPos::Top)?;
        let middle = (frame.left + frame.right) / 2;
        canvas.text("accesses until the next use".into(), (middle, frame.bottom + 18), HPos::Center, VPos::Top)
    })
}

fn reading(scatter: &Scatter, columns: usize, at: Point) -> String {
    let (column, score) = (column_at(at.x, columns), SCORE_BINS - 1 - column_at(at.y, SCORE_BINS));
    let accesses = format_count(count(scatter, score, column));
    let bin = |score: usize| score as f64 / SCORE_BINS as f64;
    let scores = format!("{accesses} accesses scored {:.2} to {:.2}", bin(score), bin(score + 1));
    match column + 1 == columns {
        true => format!("{scores}: never used again"),
        false => {
            format!("{scores}: used again after {} to {}", format_count(1 << column), format_count((2 << column) - 1))
        }
    }
}

fn rows(scatter: &Scatter) -> Vec<Vec<String>> {
    let columns = scatter.counts.first().map_or(0, Vec::len) + 1;
    let head = ["score_from", "next_use_from", "accesses"].map(str::to_owned).to_vec();
    let cells = (0..SCORE_BINS).flat_map(|score| (0..columns).map(move |column| (score, column)));
    let row = |(score, column): (usize, usize)| {
        let next = if column + 1 == columns { String::new() } else { (1u64 << column).to_string() };
        vec![(score as f64 / SCORE_BINS as f64).to_string(), next, count(scatter, score, column).to_string()]
    };
    std::iter::once(head).chain(cells.map(row)).collect()
}
