//! `/v1/completions` as OpenAI wrote it: log probabilities of the likeliest tokens by their text. llama-cpp-python's server
//! speaks it (started with `--logits_all true`).
//!
//! A label found there is a token that follows the prompt as it is, so there is no boundary to check. Where two tokens
//! have the same text (a digit and its byte), the engine keeps the unlikelier one: no more tokens are asked for than it
//! takes to find the labels.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::json;

use super::{Asked, Client, row_of};
use crate::scoring::{Row, ScoreError};

/// How many of the likeliest tokens are asked for, one after the other until every label is among them.
const TOP: [usize; 4] = [64, 256, 1024, 4096];

#[derive(Deserialize)]
struct Completions {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct LogProbs {
    top_logprobs: Vec<Option<HashMap<String, f32>>>,
}

pub(super) async fn rows(client: &Client, asked: &Asked, wanted: &[usize]) -> Result<Vec<Row>, ScoreError> {
    let items: Vec<&str> = asked.items().collect();
    client
        .each(wanted, |item| {
            let prompt = format!("{}{}", asked.request.query, items[item]);
            async move { complete(client, &prompt, &asked.request.labels).await }
        })
        .await
}

async fn complete(client: &Client, prompt: &str, labels: &[String]) -> Result<Row, ScoreError> {
    let mut left_out = (0, String::new());
    for most in TOP {
        let body = json!({
            "model": client.model(), "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": most,
        });
        let answer: Completions = match client.try_post("v1/completions", &body).await? {
            Ok(answer) => answer,
            // Engines have a limit of their own.
            Err((status, complaint)) if most > TOP[0] => {
                left_out.1 = format!(", and the engine gives no more than that ({status}: {complaint})");
                break;
            }
            Err((status, complaint)) => return Err(client.fault("v1/completions", format!("{status}: {complaint}"))),
        };
        let first = answer.choices.first().and_then(|choice| choice.logprobs.as_ref()?.top_logprobs.first()?.as_ref());
        let no_probs = "no log probabilities. llama-cpp-python's server gives them when started with --logits_all true";
        let top = first.ok_or_else(|| client.fault("v1/completions", no_probs))?;
        match row_of(labels, true, |label| top.get(label).copied()) {
            Ok(row) => return Ok(row),
            Err(label) => left_out.0 = label,
        }
    }
    let (label, why) = left_out;
    let problem = format!("the label {:?} is not among the likeliest tokens{why}", labels[label]);
    Err(client.fault("v1/completions", problem))
}
