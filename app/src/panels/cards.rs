//! Five figures, each beside the best that is possible.

use accel_core::curve::Curves;
use accel_core::explain::best_policy;
use accel_core::policy::{Knows, PolicyKind};
use accel_core::run::Outcome;
use accel_core::units::format_bytes;
use accel_ui::built::{Build, Built};
use leptos::prelude::*;

use super::metrics::milliseconds;

/// A figure, what it is of, and how far it is from the best, where that is known: a share of the bar, from 0 to 1.
struct Card {
    title: &'static str,
    figure: String,
    about: String,
    share: Option<f64>,
}

/// The figures of an outcome.
pub(super) fn cards(outcome: &Outcome, curves: Option<&Curves>) -> Option<Built> {
    let best = best_policy(&outcome.runs)?;
    let title = best.policy.title();
    let bounds = outcome.bounds.as_ref();
    let ratio = |least: f64, value: f64| (value > 0.0).then(|| (least / value).clamp(0.0, 1.0));

    let (per, of) = match outcome.decoded_tokens {
        Some(tokens) => (best.miss_bytes / tokens.max(1), "DRAM traffic per token"),
        None => (best.miss_bytes / best.accesses.max(1), "DRAM traffic per access"),
    };
    let traffic = Card {
        title: of,
        figure: format_bytes(per),
        about: format!("{title}; {} in all", format_bytes(best.miss_bytes)),
        share: bounds.and_then(|bounds| ratio(bounds.miss_bytes.lower as f64, best.miss_bytes as f64)),
    };

    let timed = outcome.runs.iter().filter(|run| run.policy.info().knows != Knows::Future);
    let timed = timed.filter_map(|run| Some((run, run.time_ms()?))).min_by(|a, b| a.1.total_cmp(&b.1));
    let time = timed.map(|(run, total_ms)| {
        let tokens = run.physical.as_ref().and_then(|timed| timed.tokens.as_ref());
        let least = bounds.and_then(|bounds| bounds.time_ms.as_ref()).and_then(|time| ratio(time.lower, total_ms));
        let title = run.policy.title();
        match tokens.and_then(|tokens| tokens.ms_per_token.zip(tokens.tokens_per_s)) {
            Some((ms, rate)) => Card {
                title: "Time per token",
                figure: milliseconds(ms),
                about: format!("{title}; {rate:.1} tokens/s"),
                share: least,
            },
            None => Card { title: "Time", figure: milliseconds(total_ms), about: title, share: least },
        }
    });

    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let online = outcome.runs.iter().filter(|run| run.policy.info().knows != Knows::Future);
    let hits = online.max_by(|a, b| a.hit_ratio().total_cmp(&b.hit_ratio())).map(|run| {
        let lru = outcome.runs.iter().find(|run| run.policy == PolicyKind::Lru);
        let lru = lru.map_or(String::new(), |lru| format!("; LRU {}", percent(lru.hit_ratio())));
        Card {
            title: "Hit rate",
            figure: percent(run.hit_ratio()),
            about: format!("{}{lru}", run.policy.title()),
            share: Some(run.hit_ratio()),
        }
    });

    let enough = curves.map(|curves| {
        let smallest = curves.curves.iter().filter(|curve| curve.policy.info().knows != Knows::Future);
        let smallest = smallest.filter_map(|curve| {
            let of_most = curve.smallest.iter().find(|smallest| (smallest.share_of_hits - 0.9).abs() < 1e-9)?;
            Some((of_most.capacity_bytes?, curve.policy.title()))
        });
        let (figure, about) = match smallest.min() {
            Some((capacity, title)) => (format_bytes(capacity), title),
            None => ("more than was tried".into(), "of all policies".into()),
        };
        Card { title: "Memory for 90 % of the hits", figure, about, share: None }
    });
    let enough = enough.or_else(|| {
        let about = "whatever the policy".into();
        let figure = format_bytes(bounds?.half_of_hits_bytes);
        Some(Card { title: "Half of the hits need", figure, about, share: None })
    });

    let distance = bounds.map(|bounds| {
        let least = bounds.miss_bytes.lower;
        let above = best.miss_bytes.saturating_sub(least) as f64 / least.max(1) as f64;
        Card {
            title: "Above the proven bound",
            figure: percent(above),
            about: format!("no policy needs less than {}", format_bytes(least)),
            share: ratio(least as f64, best.miss_bytes as f64),
        }
    });

    let cards = [Some(traffic), time, hits, enough, distance].into_iter().flatten().map(|card| {
        let bar = card.share.map(|share| {
            let width = format!("{:.1}%", 100.0 * share);
            view! {
                <div class="share" aria-hidden="true">
                    <i style:width=width></i>
                </div>
            }
        });
        view! {
            <div class="card">
                <dt>{card.title}</dt>
                <dd>
                    <b>{card.figure}</b>
                    {bar}
                    <small>{card.about}</small>
                </dd>
            </div>
        }
    });
    Some(
        view! {
            <dl class="cards" id="cards">
                {cards.collect_view()}
            </dl>
        }
        .built(),
    )
}
