//! vLLM's `/v1/completions` with token ids, and `/tokenize`. Ray Serve LLM serves the same.
//!
//! The labels' log probabilities are asked for by id (`logprob_token_ids`, shares of the whole vocabulary). An engine that
//! does not know the field refuses or ignores it; then the answer is limited to the labels (`allowed_token_ids`), and what
//! the other tokens would have taken may be unknown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Client, label_tokens, row_of};
use crate::scoring::{Row, ScoreError};

/// Prompts of one call: vLLM batches them itself, and answers to all of them at once.
const PROMPTS: usize = 32;

/// What an engine was found to understand.
#[derive(Debug, Default)]
pub struct Dialect {
    without_ids: AtomicBool,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Completions {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct LogProbs {
    top_logprobs: Vec<Option<HashMap<String, f32>>>,
}

pub(super) async fn rows(client: &Client, asked: &Asked, wanted: &[usize]) -> Result<Vec<Row>, ScoreError> {
    let labels = label_tokens(client, asked, |text| tokenize(client, text)).await?;
    let (query, items) = (&asked.request.query, asked.items().collect::<Vec<_>>());
    let prompts = client.each(wanted, |item| tokenize(client, format!("{query}{}", items[item]))).await?;
    let calls: Vec<usize> = (0..prompts.len().div_ceil(PROMPTS)).collect();
    let rows = client.each(&calls, |call| {
        let prompts = &prompts[call * PROMPTS..prompts.len().min((call + 1) * PROMPTS)];
        complete(client, prompts, &labels, asked)
    });
    Ok(rows.await?.concat())
}

async fn tokenize(client: &Client, text: String) -> Result<Vec<u32>, ScoreError> {
    let body = json!({ "model": client.model(), "prompt": text, "add_special_tokens": true });
    Ok(client.post::<Tokens>("tokenize", &body).await?.tokens)
}

async fn complete(
    client: &Client,
    prompts: &[Vec<u32>],
    labels: &[u32],
    asked: &Asked,
) -> Result<Vec<Row>, ScoreError> {
    let missing = |label: usize| {
        let name = &asked.request.labels[label];
        let cure = "Raise --max-logprobs of the engine, or ask a version that knows logprob_token_ids";
        client.fault("v1/completions", format!("the answer leaves out the label {name:?}. {cure}"))
    };
    if !client.vllm.without_ids.load(Ordering::Relaxed) {
        let answer = call(client, prompts, labels, "logprob_token_ids").await?;
        match answer {
            Ok(answer) => {
                if let Ok(rows) = read(client, &answer, prompts.len(), labels)? {
                    return Ok(rows);
                }
            }
            Err((status, complaint)) if !complaint.contains("logprob_token_ids") => {
                return Err(client.fault("v1/completions", format!("{status}: {complaint}")));
            }
            Err(_) => {}
        }
        tracing::warn!("the engine does not know logprob_token_ids: asking with allowed_token_ids from now on");
        client.vllm.without_ids.store(true, Ordering::Relaxed);
    }
    match call(client, prompts, labels, "allowed_token_ids").await? {
        Ok(answer) => read(client, &answer, prompts.len(), labels)?.map_err(missing),
        Err((status, complaint)) => Err(client.fault("v1/completions", format!("{status}: {complaint}"))),
    }
}

type Refused = (StatusCode, String);

async fn call(
    client: &Client,
    prompts: &[Vec<u32>],
    labels: &[u32],
    field: &str,
) -> Result<Result<Completions, Refused>, ScoreError> {
    let mut body = json!({
        "model": client.model(),
        "prompt": prompts,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": labels.len(),
        "return_tokens_as_token_ids": true,
    });
    body[field] = Value::from(labels);
    client.try_post("v1/completions", &body).await
}

/// The rows in the order of the prompts, or the label that one of them leaves out.
fn read(
    client: &Client,
    answer: &Completions,
    prompts: usize,
    labels: &[u32],
) -> Result<Result<Vec<Row>, usize>, ScoreError> {
    let fault = |problem: String| client.fault("v1/completions", problem);
    if answer.choices.len() != prompts {
        return Err(fault(format!("{} choices for {prompts} prompts", answer.choices.len())));
    }
    let mut rows: Vec<Option<Row>> = vec![None; prompts];
    for choice in &answer.choices {
        let first = choice.logprobs.as_ref().and_then(|l| l.top_logprobs.first()?.as_ref());
        let top = first.ok_or_else(|| fault("a choice without top_logprobs".into()))?;
        let row = row_of(labels, true, |label| top.get(&format!("token_id:{label}")).copied());
        let mut row = match row {
            Ok(row) => row,
            Err(label) => return Ok(Err(label)),
        };
        // An engine that limits its answer to the labels before it takes the logarithm gives shares of the labels alone.
        let mass: f32 = row.log_probs.iter().map(|p| p.exp()).sum();
        row.of_vocabulary = !client.vllm.without_ids.load(Ordering::Relaxed) || mass < 0.999;
        let place = rows.get_mut(choice.index).filter(|place| place.is_none());
        *place.ok_or_else(|| fault(format!("a choice with the index {}", choice.index)))? = Some(row);
    }
    Ok(Ok(rows.into_iter().flatten().collect()))
}
