//! Who makes eviction scores: a scorer by name, or a server's model.

use std::time::{Duration, Instant};

use accel_core::progress::Progress;
use accel_core::recipe::Recipe;
use accel_core::recipe::fields::Field;
use accel_core::run::{Details, Plan};
use accel_core::score::Scores;
use accel_core::score::ask::{Asking, refusal};
use accel_core::trace::Trace;
use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use crate::progress::Bar;

/// Who scores.
#[derive(Debug, Default, Args)]
pub(crate) struct ScorerArgs {
    /// Who makes the scores that ml and ml-reuse read: embedded (the trained network, if left out), history, heuristic, or
    /// the model of an infer-server, such as http://127.0.0.1:8000 (its key in ACCEL_API_KEY; accel simulate only).
    #[arg(long, value_name = "NAME|URL")]
    scorer: Option<String>,
}

/// How long to wait for one answer: twice what a server takes at most by default.
const ANSWER_TAKES: Duration = Duration::from_secs(240);
/// How long a busy or loading server is asked again without an answer in between.
const PATIENCE: Duration = Duration::from_secs(600);

impl ScorerArgs {
    /// The server, where one is named.
    fn server(&self) -> Option<&str> {
        self.scorer.as_deref().filter(|scorer| scorer.contains("://"))
    }

    /// Writes the scorer that is named into `recipe`, whose policies must read scores.
    pub(crate) fn apply(&self, recipe: &mut Recipe) -> anyhow::Result<()> {
        let Some(scorer) = &self.scorer else { return Ok(()) };
        if !recipe.reads_scores() {
            bail!(
                "--scorer {scorer}: no policy of this run reads scores. Add ml or ml-reuse to --policy, or leave it out"
            );
        }
        match self.server() {
            Some(_) => Ok(()),
            None => Ok(Field::Scorer.info().set(recipe, scorer)?),
        }
    }

    /// The same for a command that asks no server.
    pub(crate) fn apply_named(&self, recipe: &mut Recipe) -> anyhow::Result<()> {
        if let Some(server) = self.server() {
            bail!("--scorer {server}: only accel simulate asks a server. Name embedded, history or heuristic");
        }
        self.apply(recipe)
    }

    /// The plan of `recipe`, with scores of the server where one is named, whose price is added to `price`.
    pub(crate) fn plan(
        &self,
        recipe: &Recipe,
        file: Option<Trace>,
        details: Details,
        price: &mut Option<Price>,
    ) -> anyhow::Result<Plan> {
        let Some(server) = self.server() else { return Ok(Plan::new(recipe, file, None, details)?) };
        recipe.check()?;
        let trace = recipe.trace(file)?;
        let scores = ask(server, &trace, &mut Bar::new(), price.get_or_insert_default())?;
        Ok(Plan::new(recipe, Some(trace), Some(scores), details)?)
    }
}

/// What a server's scores cost.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Price {
    /// Different questions that it was asked.
    pub(crate) questions: u64,
    /// Seconds until all were answered.
    pub(crate) seconds: f64,
}

fn ask(server: &str, trace: &Trace, bar: &mut Bar, price: &mut Price) -> anyhow::Result<Scores> {
    let url = format!("{}/v1/score", server.trim_end_matches('/'));
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_TAKES));
    let agent = ureq::Agent::new_with_config(config.build());
    let key = std::env::var("ACCEL_API_KEY").ok();
    let mut asking = Asking::of(trace);
    let began = Instant::now();
    let mut waited_since = began;
    while let Some(body) = asking.body()? {
        let (done, total) = asking.progress();
        bar.report(done, total, "asking");
        let mut request = agent.post(&url).header("content-type", "application/json");
        if let Some(key) = &key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let cure = || format!("cannot ask {url}. Start a server with a model there: infer-server --model FILE");
        let mut answer = request.send(&body).with_context(cure)?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
        let text = answer.body_mut().read_to_vec().with_context(cure)?;
        match (status, retry_after) {
            (200, _) => {
                asking.take(server, &text)?;
                waited_since = Instant::now();
            }
            // Busy, or still loading its model.
            (429 | 503, Some(seconds)) if waited_since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_secs(u64::min(seconds, 30)));
            }
            _ => return Err(refusal(server, status, &text).into()),
        }
    }
    price.questions += asking.progress().1;
    price.seconds += began.elapsed().as_secs_f64();
    Ok(asking.finish()?)
}
