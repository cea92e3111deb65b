//! Requests that a server runs: whole prompts or chunks of them, token by token or by guesses of a draft model.

use super::Passes;
use super::spans::{Prefix, Span, count, tokens};
use crate::error::Error;
use crate::order;
use crate::trace::Decoding;
use crate::workload::plan::Step;
use crate::workload::requests::Request;
use crate::workload::serving::Draft;

/// A request that decodes.
struct Run {
    request: usize,
    /// Tokens decoded so far.
    tokens: u64,
    /// Positions whose keys and values the draft model has, behind the prompt.
    drafted: u64,
    /// The part of a token that passes before have given beyond whole ones.
    rest: f64,
}

impl Run {
    fn new(request: usize) -> Self {
        Self { request, tokens: 0, drafted: 0, rest: 0.0 }
    }
}

impl Passes<'_> {
    /// Serves requests as they come: at most `together` at once, new ones before the next token of the others.
    pub(crate) fn serve(
        &mut self,
        requests: &[Request],
        together: u64,
        mut draft: Option<(&mut Passes<'_>, &Draft)>,
    ) -> Result<(), Error> {
        let two = self.stacks.len() > 1;
        let kept = |r: &Request| r.decode_tokens + if two { 0 } else { r.prompt_tokens };
        self.lengths = requests.iter().map(kept).collect();
        self.prefix = Prefix::new(requests, self.block_positions);
        if let Some((draft, _)) = &mut draft {
            draft.lengths.clone_from(&self.lengths);
            draft.prefix = Prefix::new(requests, draft.block_positions);
        }
        // Those that come together keep their order.
        let waiting = order::by_key(requests.iter().map(|request| request.arrival));
        let mut waiting = waiting.into_iter().map(|index| index as usize).peekable();
        let mut prefilled = false;
        let mut decoding: Option<Decoding> = None;
        let mut first_token = 0;
        // Running requests, and the tokens decoded so far.
        let mut running: Vec<Run> = Vec::new();
        let mut now = 0;
        loop {
            let mut new = Vec::new();
            while (running.len() + new.len()) < together as usize
                && let Some(request) = waiting.next_if(|i| requests[*i].arrival <= now)
            {
                new.push(request);
            }
            if !new.is_empty() {
                if !std::mem::replace(&mut prefilled, true) {
                    self.planner.mark("prefill");
                }
                if let Some((draft, _)) = &mut draft {
                    self.drafting(draft, |draft| draft.prefill(requests, &new))?;
                }
                self.prefill(requests, &new)?;
                // A prompt ends with the scores of the first token; behind an encoder, the first step makes them.
                if decoding.is_none() && first_token == 0 && !two {
                    first_token = self.planner.accesses();
                }
                for request in new {
                    match requests[request].decode_tokens {
                        0 => self.release(request, &mut draft),
                        _ => running.push(Run::new(request)),
                    }
                }
            }
            if running.is_empty() {
                match waiting.peek() {
                    None => {
                        let none = Decoding { first_token, start: first_token, steps: 0, tokens: 0 };
                        if decoding.is_some() || first_token > 0 {
                            self.planner.decodes(decoding.unwrap_or(none));
                        }
                        return Ok(());
                    }
                    Some(next) => now = now.max(requests[*next].arrival),
                }
                continue;
            }
            if decoding.is_none() {
                self.planner.mark("decode");
            }
            let start = self.planner.accesses();
            let given = match &mut draft {
                None => {
                    self.decode(requests, &running)?;
                    vec![1; running.len()]
                }
                Some((draft, how)) => self.guess(requests, &mut running, (draft, how))?,
            };
            let so_far = decoding.get_or_insert_with(|| {
                let first_token = if first_token > 0 { first_token } else { self.planner.accesses() };
                Decoding { first_token, start, steps: 0, tokens: 0 }
            });
            so_far.steps += 1;
            so_far.tokens += given.iter().sum::<u64>();
            running.iter_mut().zip(given).for_each(|(run, tokens)| run.tokens += tokens);
            let ended = |run: &Run| run.tokens >= requests[run.request].decode_tokens;
            running.iter().filter(|run| ended(run)).for_each(|run| self.release(run.request, &mut draft));
            running.retain(|run| !ended(run));
            now += 1;
        }
    }

    fn prefill(&mut self, requests: &[Request], new: &[usize]) -> Result<(), Error> {
        let mut step = Step::default();
        let mut span = |i: &usize| Span { request: *i, positions: self.prefix.keep(*i)..requests[*i].prompt_tokens };
        let spans: Vec<Span> = new.iter().map(&mut span).collect();
        let start = self.embed(&mut step, &spans)?;
        let hidden = self.stack(&mut step, 0, start, &spans, None)?;
        if self.stacks.len() == 1 {
            self.answer(&mut step, 0, hidden, &spans);
        } else {
            self.keep_encoded(&mut step, hidden, &spans)?;
        }
        self.planner.run(&step)
    }

    fn decode(&mut self, requests: &[Request], running: &[Run]) -> Result<(), Error> {
        let mut step = Step::default();
        let last = self.stacks.len() - 1;
        let before = |i: usize| if last == 0 { requests[i].prompt_tokens } else { 0 };
        let spans: Vec<Span> = running
            .iter()
            .map(|Run { request, tokens, .. }| {
                let position = before(*request) + tokens;
                Span { request: *request, positions: position..position + 1 }
            })
            .collect();
        let start = self.embed(&mut step, &spans)?;
        let hidden = self.stack(&mut step, last, start, &spans, None)?;
        self.answer(&mut step, last, hidden, &spans);
        self.planner.run(&step)
    }

    /// Lets the draft model work on the plan of this one.
    fn drafting<R>(&mut self, draft: &mut Passes<'_>, work: impl FnOnce(&mut Passes<'_>) -> R) -> R {
        std::mem::swap(self.planner, draft.planner);
        draft.planner.names_begin(DRAFT);
        let done = work(draft);
        draft.planner.names_begin("");
        std::mem::swap(self.planner, draft.planner);
        done
    }

    /// One pass over `spans`, with scores for each of their tokens or for the last of each.
    fn pass(&mut self, spans: &[Span], answered: u64) -> Result<(), Error> {
        let mut step = Step::default();
        let start = self.embed(&mut step, spans)?;
        let hidden = self.stack(&mut step, 0, start, spans, None)?;
        // A chunk in the middle of a prompt asks for no token.
        if answered > 0 || self.parallel.pipeline > 1 {
            self.answers(&mut step, 0, hidden, (tokens(spans), answered.max(1)));
        }
        self.planner.run(&step)
    }

    /// The draft model guesses tokens one by one, and one pass over all of them checks them; how many each request gets. Their
    /// number is the expected one, whose fractions are kept for the passes to come.
    fn guess(
        &mut self,
        requests: &[Request],
        running: &mut [Run],
        (draft, how): (&mut Passes<'_>, &Draft),
    ) -> Result<Vec<u64>, Error> {
        // No more than the request still wants, the token of the checking pass itself included.
        let guesses = |run: &Run| how.guess.min(requests[run.request].decode_tokens - run.tokens - 1);
        let most = running.iter().map(guesses).max().unwrap_or(0);
        for guess in 0..most {
            let span = |run: &Run| {
                let (prompt, position) = (requests[run.request].prompt_tokens, run.tokens + guess);
                // The first guess reads what the draft model has not seen.
                let first = if guess == 0 { run.drafted.min(position) } else { position };
                Span { request: run.request, positions: prompt + first..prompt + position + 1 }
            };
            let spans: Vec<Span> = running.iter().filter(|run| guesses(run) > guess).map(span).collect();
            let answered = spans.len() as u64;
            self.drafting(draft, |draft| draft.pass(&spans, answered))?;
        }
        let span = |run: &Run| {
            let position = requests[run.request].prompt_tokens + run.tokens;
            Span { request: run.request, positions: position..position + guesses(run) + 1 }
        };
        let spans: Vec<Span> = running.iter().map(span).collect();
        self.pass(&spans, spans.iter().map(count).sum())?;
        let given = running.iter_mut().map(|run| {
            let guessed = guesses(run);
            let expected = how.tokens(guessed) + run.rest;
            let tokens = (expected as u64).clamp(1, guessed + 1);
            run.rest = (expected - tokens as f64).clamp(0.0, 1.0);
            // Guesses that were not accepted are written over.
            run.drafted = run.tokens + tokens.min(guessed);
            tokens
        });
        Ok(given.collect())
    }

    /// Serves requests in steps of at most `most` tokens: one of each that decodes, then those of prompts in their order.
    pub(crate) fn serve_in_chunks(&mut self, requests: &[Request], together: u64, most: u64) -> Result<(), Error> {
        self.lengths = requests.iter().map(|request| request.prompt_tokens + request.decode_tokens).collect();
        self.prefix = Prefix::new(requests, self.block_positions);
        let waiting = order::by_key(requests.iter().map(|request| request.arrival));
        let mut waiting = waiting.into_iter().map(|index| index as usize).peekable();
        // Prompts that are not read to their ends, and requests that decode.
        let (mut reading, mut running): (Vec<Span>, Vec<Run>) = (Vec::new(), Vec::new());
        let (mut prefilled, mut decoding, mut first_token, mut now) = (false, None::<Decoding>, 0, 0);
        loop {
            while (running.len() + reading.len()) < together as usize
                && let Some(request) = waiting.next_if(|i| requests[*i].arrival <= now)
            {
                let start = self.prefix.keep(request);
                reading.push(Span { request, positions: start..requests[request].prompt_tokens });
            }
            if running.is_empty() && reading.is_empty() {
                match waiting.peek() {
                    None => break,
                    Some(next) => now = now.max(requests[*next].arrival),
                }
                continue;
            }
            if !reading.is_empty() && !std::mem::replace(&mut prefilled, true) {
                self.planner.mark("prefill");
            }
            if !running.is_empty() && decoding.is_none() {
                self.planner.mark("decode");
            }
            let decoded = running.len() as u64;
            let position = |run: &Run| requests[run.request].prompt_tokens + run.tokens;
            let span = |run: &Run| Span { request: run.request, positions: position(run)..position(run) + 1 };
            let mut spans: Vec<Span> = running.iter().map(span).collect();
            let mut left = most.saturating_sub(decoded).max(1);
            let mut ended = Vec::new();
            for prompt in &mut reading {
                let end = prompt.positions.end.min(prompt.positions.start + left);
                left -= end - prompt.positions.start;
                if end > prompt.positions.start {
                    spans.push(Span { request: prompt.request, positions: prompt.positions.start..end });
                }
                prompt.positions.start = end;
                if prompt.positions.is_empty() {
                    ended.push(prompt.request);
                }
            }
            let start = self.planner.accesses();
            self.pass(&spans, decoded + ended.len() as u64)?;
            if first_token == 0 && !ended.is_empty() {
                first_token = self.planner.accesses();
            }
            if decoded > 0 {
                let none = Decoding { first_token, start, steps: 0, tokens: 0 };
                let so_far = decoding.get_or_insert(none);
                so_far.steps += 1;
                so_far.tokens += decoded;
            }
            running.iter_mut().for_each(|run| run.tokens += 1);
            reading.retain(|prompt| !prompt.positions.is_empty());
            running.extend(ended.into_iter().map(Run::new));
            let ended = |run: &Run| run.tokens >= requests[run.request].decode_tokens;
            running.iter().filter(|run| ended(run)).for_each(|run| self.release(run.request, &mut None));
            running.retain(|run| !ended(run));
            now += 1;
        }
        self.planner.decodes(decoding.unwrap_or(Decoding { first_token, start: first_token, steps: 0, tokens: 0 }));
        Ok(())
    }

    /// Gives the blocks of a finished request to those that come, where blocks are used again.
    fn release(&mut self, request: usize, draft: &mut Option<(&mut Passes<'_>, &Draft)>) {
        if let Some((draft, _)) = draft {
            draft.release(request, &mut None);
        }
        if !self.reuse {
            return;
        }
        for layer in self.stacks.iter_mut().flat_map(|stack| &mut stack.layers) {
            for cache in &mut layer.caches {
                if let Some(own) = cache.own.get_mut(request) {
                    // The first block is the first to be taken again.
                    cache.free.extend(own.drain(..).rev());
                }
            }
            let parts: Vec<usize> =
                layer.states.keys().filter(|(_, of)| *of == request).map(|(part, _)| *part).collect();
            for part in parts {
                if let Some(state) = layer.states.remove(&(part, request)) {
                    layer.free_states.entry(part).or_default().push(state);
                }
            }
        }
    }
}

/// What the names of the draft model's tensors begin with.
pub(in crate::workload::model_run) const DRAFT: &str = "draft.";
