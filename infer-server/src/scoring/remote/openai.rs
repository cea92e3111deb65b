//! `/v1/completions` as OpenAI wrote it: log probabilities of the likeliest tokens by their text. llama-cpp-python's server
//! speaks it (started with `--logits_all true`).
//!
//! A label found there is a token that follows the prompt as it is, so there is no boundary to check. Two tokens may have
//! the same text, such as a digit and its byte; then an engine that makes a map of them keeps the unlikelier one, and
//! answers with fewer texts than it was asked for. The one to believe is the likelier (in any trained model, the digit), which
//! is found by asking for fewer. Engines that answer by token id ([`super::vllm`], [`super::llama_cpp`]) have no such doubt.

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
    let mut found: Vec<Option<f32>> = vec![None; labels.len()];
    // How many tokens were looked at, and how many of them had the text of an earlier one.
    let (mut seen, mut collapsed) = (0, 0);
    let mut limit = String::new();
    for most in TOP {
        let answer = match top(client, prompt, most).await? {
            Ok(answer) => answer,
            // Engines have a limit of their own.
            Err(complaint) if most > TOP[0] => {
                limit = format!(", and the engine gives no more than that ({complaint})");
                break;
            }
            Err(complaint) => return Err(client.fault(PATH, complaint)),
        };
        let mut asked = vec![(most, answer)];
        while let Some((most, answer)) = asked.last() {
            let fresh = |(label, found): (&String, &Option<f32>)| found.is_none() && answer.contains_key(label);
            let twins = most.saturating_sub(answer.len());
            // Labels that come with texts of two tokens, among which they may be.
            if twins > collapsed && most - seen > 1 && labels.iter().zip(&found).any(fresh) {
                let fewer = (seen + most) / 2;
                let answer = top(client, prompt, fewer).await?.map_err(|complaint| client.fault(PATH, complaint))?;
                asked.push((fewer, answer));
                continue;
            }
            for (label, found) in labels.iter().zip(&mut found) {
                *found = found.or_else(|| answer.get(label).copied());
            }
            (seen, collapsed) = (*most, twins);
            asked.pop();
        }
        if let Ok(row) = row_of(&found, true, |found| *found) {
            return Ok(row);
        }
    }
    let left_out = found.iter().position(Option::is_none).unwrap_or_default();
    let problem = format!("the label {:?} is not among the likeliest tokens{limit}", labels[left_out]);
    Err(client.fault(PATH, problem))
}

const PATH: &str = "v1/completions";

/// The likeliest `most` tokens after `prompt`, or what the engine has against it.
async fn top(client: &Client, prompt: &str, most: usize) -> Result<Result<HashMap<String, f32>, String>, ScoreError> {
    let body = json!({
        "model": client.model(), "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": most,
    });
    let answer: Completions = match client.try_post(PATH, &body).await? {
        Ok(answer) => answer,
        Err((status, complaint)) => return Ok(Err(format!("{status}: {complaint}"))),
    };
    let first =
        answer.choices.into_iter().next().and_then(|choice| choice.logprobs?.top_logprobs.into_iter().next()?);
    let no_probs = "no log probabilities. llama-cpp-python's server gives them when started with --logits_all true";
    first.map(Ok).ok_or_else(|| client.fault(PATH, no_probs))
}
