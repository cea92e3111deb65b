//! Which experts the tokens of a pass go to.

use super::spans::Span;
use crate::error::{Error, Place};
use crate::workload::config::Transformer;
use crate::workload::dtype::product;
use crate::workload::model_run::ModelRun;
use crate::workload::plan::MAX_TILES;
use crate::workload::routing::{ExpertLog, Router};

/// The most choices of experts that a run draws.
const MOST_CHOICES: u64 = 200_000_000;

/// What decides which experts a token is sent to.
pub(crate) enum ExpertChoice<'a> {
    None,
    Drawn(Box<Router>),
    /// A log, the tokens of it that are used up, and the experts that each token is sent to.
    Log(&'a dyn ExpertLog, u64, u64),
}

impl<'a> ExpertChoice<'a> {
    pub(crate) fn new(
        run: &ModelRun,
        model: &Transformer,
        seed: u64,
        log: Option<&'a dyn ExpertLog>,
    ) -> Result<Self, Error> {
        let Some(experts) = &model.experts else { return Ok(Self::None) };
        let layers = model.model.layers().count() as u64;
        if layers * experts.num_experts > MAX_TILES as u64 {
            return Err(Error::TooLarge {
                problem: format!("{layers} layers of {} experts are more than {MAX_TILES} tiles", experts.num_experts),
                cure: "Check num_experts and the layers in the configuration".into(),
            });
        }
        if let Some(log) = log {
            return Ok(Self::Log(log, 0, experts.num_experts_per_tok));
        }
        let tokens: u64 = run.requests_of(model).iter().map(|r| r.prompt_tokens + r.decode_tokens).sum();
        let choices = product(&[tokens, layers, experts.num_experts_per_tok, run.steps])?;
        if choices > MOST_CHOICES {
            return Err(Error::TooLarge {
                problem: format!("tokens are sent to experts {choices} times; at most {MOST_CHOICES} times are drawn"),
                cure: "Choose fewer tokens or a smaller batch".into(),
            });
        }
        let (all, each) = (experts.num_experts, experts.num_experts_per_tok);
        Ok(Self::Drawn(Box::new(Router::new(&run.routing, seed, layers as usize, all, each))))
    }
}

/// Tokens that each expert of a layer gets.
pub(super) fn route(
    experts: &mut ExpertChoice<'_>,
    layer: usize,
    count: usize,
    spans: &[Span],
) -> Result<Vec<u64>, Error> {
    let mut loads = vec![0; count];
    let tokens = spans.iter().flat_map(|span| span.positions.clone().map(|_| span.request));
    match experts {
        ExpertChoice::None => return Err(Error::Internal("experts without anyone to choose them".into())),
        ExpertChoice::Drawn(router) => {
            for request in tokens {
                router.route(layer, request).iter().for_each(|expert| loads[usize::from(*expert)] += 1);
            }
        }
        ExpertChoice::Log(log, used, each) => {
            for (token, _) in (*used..).zip(tokens) {
                let chosen = log.experts(token, layer as u32)?;
                if chosen.len() as u64 != *each {
                    let problem = format!(
                        "token {token} goes to {} experts in layer {layer}, and the model sends it to {each}",
                        chosen.len()
                    );
                    let cure = "Give the log of this model, or the model of this log";
                    return Err(Error::input("the routing log", Place::Item(token), problem, cure));
                }
                for expert in chosen {
                    let load = loads.get_mut(usize::from(*expert)).ok_or_else(|| {
                        let problem =
                            format!("token {token} goes to expert {expert} of layer {layer}, which has {count}");
                        let cure = "Give the log of this model, or the model of this log";
                        Error::input("the routing log", Place::Item(token), problem, cure)
                    })?;
                    *load += 1;
                }
            }
        }
    }
    Ok(loads)
}

/// Rows of the buffers of an expert with `tokens` tokens: the next number with at most three binary digits in front, as
/// kernels for groups of matrices pad theirs. Without it, every load that chance makes would have buffers of its own.
pub(super) fn padded(tokens: u64) -> u64 {
    tokens.next_multiple_of(1 << (u64::BITS - tokens.leading_zeros()).saturating_sub(3))
}
