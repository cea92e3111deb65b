//! llama.cpp's `llama-server`: `/completion` with `n_probs`, and `/tokenize`.

use serde::Deserialize;
use serde_json::json;

use super::{Asked, Client, label_tokens, row_of};
use crate::scoring::{Row, ScoreError};

/// How many of the likeliest tokens are asked for at first; where a label is not among them, [`FURTHER`].
const FIRST: usize = 64;
/// How many are asked for then: some 100 KB of answer, and at last more than most vocabularies have.
const FURTHER: [usize; 2] = [2048, 262_144];
/// Added to a label's logit so that it is the token that is said: more than any two logits differ by.
const SAID: f64 = 1000.0;

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<u32>,
}

/// Without probabilities where the token that is said is a piece of a character: its text waits for the rest.
#[derive(Deserialize)]
struct Completion {
    content: String,
    #[serde(default)]
    completion_probabilities: Vec<Position>,
}

/// One position: `top_logprobs` since December 2024, `probs` before.
#[derive(Deserialize)]
struct Position {
    top_logprobs: Option<Vec<Top>>,
    probs: Option<Vec<Older>>,
}

#[derive(Deserialize)]
struct Top {
    id: u32,
    logprob: f32,
}

#[derive(Deserialize)]
struct Older {
    tok_str: String,
    prob: f32,
}

pub(super) async fn rows(client: &Client, asked: &Asked, wanted: &[usize]) -> Result<Vec<Row>, ScoreError> {
    let labels = &label_tokens(client, asked, |text| tokenize(client, text)).await?;
    let (query, items) = (&asked.request.query, asked.items().collect::<Vec<_>>());
    client
        .each(wanted, |item| {
            let text = format!("{query}{}", items[item]);
            async move { complete(client, &tokenize(client, text).await?, labels, asked).await }
        })
        .await
}

/// Query and item as one text: alone, an item would get the space that begins a text. Names of control tokens in it are text.
async fn tokenize(client: &Client, text: String) -> Result<Vec<u32>, ScoreError> {
    let body = json!({ "content": text, "add_special": true, "parse_special": false });
    Ok(client.post::<Tokens>("tokenize", &body).await?.tokens)
}

async fn complete(client: &Client, prompt: &[u32], labels: &[u32], asked: &Asked) -> Result<Row, ScoreError> {
    let names = &asked.request.labels;
    let mut left_out = 0;
    for most in [FIRST].into_iter().chain(FURTHER) {
        // A temperature below zero gives the probabilities of a plain softmax, whatever the samplers of the engine.
        let mut body = json!({
            "prompt": prompt, "n_predict": 1, "n_probs": most, "temperature": -1, "cache_prompt": true,
        });
        let mut answer: Completion = client.post("completion", &body).await?;
        let piece = answer.completion_probabilities.is_empty();
        if piece {
            // A label is no piece; the log probabilities are those before the bias.
            body["logit_bias"] = json!([[labels.first(), SAID]]);
            answer = client.post("completion", &body).await?;
        }
        let position = answer.completion_probabilities.first();
        let position = position.ok_or_else(|| {
            client.fault("completion", format!("no completion_probabilities with {:?}", answer.content))
        })?;
        let row = match (&position.top_logprobs, &position.probs) {
            (Some(top), _) => row_of(labels, true, |label| Some(top.iter().find(|t| t.id == *label)?.logprob)),
            // Its probabilities are those after the bias.
            (None, Some(_)) if piece => {
                let cure = "Take a llama-server of December 2024 or later";
                let problem = "no probabilities where the likeliest token is a piece of a character";
                return Err(client.fault("completion", format!("{problem}. {cure}")));
            }
            // The older form has texts only, and zero for what it rounds away.
            (None, Some(probs)) => {
                row_of(names, true, |name| Some(probs.iter().find(|p| p.tok_str == **name)?.prob.ln()))
            }
            (None, None) => return Err(client.fault("completion", "neither top_logprobs nor probs")),
        };
        match row {
            Ok(row) => return Ok(row),
            Err(label) => left_out = label,
        }
    }
    let problem = format!("the label {:?} is not among the tokens of the answer", names[left_out]);
    Err(client.fault("completion", problem))
}
