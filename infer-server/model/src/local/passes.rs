//! Several prompts at once: what they begin with is taken from what is kept, their items share passes, and replicas share them.

use std::borrow::Cow;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::Thread;
use std::time::Duration;

use rayon::ThreadPool;

use super::llama::{Llama, Part, Past};
use super::lora::Adapter;
use super::prefixes::{Prefixes, common};
use super::{LocalModel, Replica, log_probabilities};
use crate::error::ModelError;
use crate::{LabelLogProbs, Prompt};

/// The most tokens of a pass: weights are unpacked once per pass. Items of 30 tokens took .102, .088, .079, .076 and .080 s
/// of one core's time each in passes of up to 32, 64, 128, 256 and 512 tokens (the file of `cargo xtask bench model`).
pub(super) const PASS_TOKENS: usize = 256;
/// The most scores of attention in a pass and layer, 256 MiB of f32: long prefixes make passes shorter.
const PASS_SCORES: usize = 64 << 20;
/// The most tokens of several items that attend as one: each row's scores with the others are computed for nothing.
const PART_TOKENS: usize = 64;
/// From so many tokens spared on, a pass more is worth it: one of few tokens takes as long as one of some thirty.
const WORTH_A_PASS: usize = 64;

/// How often it is asked whether answers still matter while replicas compute: less often than they have passes.
const WATCH: Duration = Duration::from_millis(10);

/// A prompt under way.
struct Question<'p> {
    prompt: &'p Prompt,
    /// How many tokens of all its items are computed once, with the prefix.
    shared: usize,
    /// The prefix, and those tokens.
    prefix: Vec<u32>,
    past: Past,
    rows: LabelLogProbs,
    /// Why it is not answered.
    error: Option<ModelError>,
}

impl<'p> Question<'p> {
    fn new(prompt: &'p Prompt) -> Self {
        let shared = shared(&prompt.items);
        let begin = prompt.items.first().map_or(&[][..], |item| &item[..shared]);
        let prefix = [&prompt.prefix[..], begin].concat();
        Self { prompt, shared, prefix, past: Past::default(), rows: Vec::new(), error: None }
    }

    fn item(&self, item: usize) -> &'p [u32] {
        &self.prompt.items[item][self.shared..]
    }
}

/// How many first tokens of all items are worth a pass of their own. Each item keeps one at least.
fn shared(items: &[Vec<u32>]) -> usize {
    let Some((first, others)) = items.split_first() else { return 0 };
    let shortest = items.iter().map(Vec::len).min().unwrap_or(0);
    let alike = others.iter().map(|item| common(first, item)).min().unwrap_or(0).min(shortest.saturating_sub(1));
    if alike * others.len() >= WORTH_A_PASS { alike } else { 0 }
}

impl LocalModel {
    /// Asks for the items of all prompts, in passes that they share, behind what is kept of their beginnings; replicas take
    /// about as many tokens each. `cancelled` is asked before each pass whether the prompt at a place still matters.
    ///
    /// # Errors
    /// For each prompt, what is wrong with it, an answer that is not finite, or that it was cancelled.
    pub fn score_together(
        &mut self,
        prompts: &[Prompt],
        cancelled: &dyn Fn(usize) -> bool,
    ) -> Vec<Result<LabelLogProbs, ModelError>> {
        let mut answers: Vec<_> = prompts.iter().map(|prompt| self.check(prompt).map(|()| Vec::new())).collect();
        let sound = (0..prompts.len()).filter(|place| answers[*place].is_ok()).collect();
        let shares = shares(prompts, sound, self.replicas.len());
        let (llama, adapter) = (&self.llama, self.adapter.as_ref());
        let ask = |replica: &mut Replica, share: &Share, cancelled: &dyn Fn(usize) -> bool| {
            let cancelled = |part: usize| cancelled(share[part].0);
            let parts: Vec<Cow<'_, Prompt>> =
                share.iter().map(|(place, items)| part(&prompts[*place], items)).collect();
            Asker { llama, adapter, prefixes: &mut replica.prefixes }.ask(&parts, &cancelled)
        };
        let done: Vec<_> = match &mut self.replicas[..] {
            [only] => shares.iter().map(|share| ask(only, share, cancelled)).collect(),
            replicas => {
                let gone: Vec<AtomicBool> = prompts.iter().map(|_| AtomicBool::new(false)).collect();
                let (asking, is_gone) = (std::thread::current(), |place: usize| gone[place].load(Relaxed));
                let computing = AtomicUsize::new(replicas.len());
                std::thread::scope(|scope| {
                    let (ask, is_gone, computing) = (&ask, &is_gone, &computing);
                    let mut threads = Vec::new();
                    for (replica, share) in replicas.iter_mut().zip(&shares) {
                        let asking = asking.clone();
                        threads.push(scope.spawn(move || {
                            let end = Ended(computing, asking);
                            let pool = replica.pool.clone();
                            let rows = in_pool(pool.as_deref(), || ask(replica, share, is_gone));
                            drop(end);
                            rows
                        }));
                    }
                    // Whether an answer matters is asked here: elsewhere it need not be safe.
                    while computing.load(Acquire) > 0 {
                        for (place, gone) in gone.iter().enumerate() {
                            gone.store(cancelled(place), Relaxed);
                        }
                        std::thread::park_timeout(WATCH);
                    }
                    threads
                        .into_iter()
                        .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                        .collect()
                })
            }
        };
        // The parts of a prompt are in order of its items.
        for ((place, items), rows) in shares.iter().zip(done).flat_map(|(share, rows)| share.iter().zip(rows)) {
            match (&mut answers[*place], rows) {
                (Ok(all), Ok(rows)) => all.extend(rows),
                (answer @ Ok(_), Err(ModelError::NotFinite { item })) => {
                    *answer = Err(ModelError::NotFinite { item: items.start + item });
                }
                (answer @ Ok(_), Err(error)) => *answer = Err(error),
                (Err(_), _) => {}
            }
        }
        answers
    }
}

/// Tells the thread that waits when a replica has done, by an answer or a panic.
struct Ended<'a>(&'a AtomicUsize, Thread);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
        self.1.unpark();
    }
}

/// Runs `work` where candle finds this pool in the place of the one that all share.
fn in_pool<T: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// Prompts by their places, and which items of each.
type Share = Vec<(usize, Range<usize>)>;

/// Divides prompts among so many, about as many tokens of items each, in order.
fn shares(prompts: &[Prompt], places: Vec<usize>, count: usize) -> Vec<Share> {
    let tokens: usize = places.iter().flat_map(|place| &prompts[*place].items).map(Vec::len).sum();
    let (mut shares, mut taken) = (vec![Share::new(); count], 0);
    for place in places {
        for (item, length) in prompts[place].items.iter().map(Vec::len).enumerate() {
            let share = &mut shares[(taken * count / tokens.max(1)).min(count - 1)];
            taken += length;
            match share.last_mut() {
                Some((last, items)) if *last == place => items.end = item + 1,
                _ => share.push((place, item..item + 1)),
            }
        }
    }
    shares
}

/// Some items of a prompt.
fn part<'p>(prompt: &'p Prompt, items: &Range<usize>) -> Cow<'p, Prompt> {
    if items.len() == prompt.items.len() {
        return Cow::Borrowed(prompt);
    }
    let items = prompt.items[items.clone()].to_vec();
    Cow::Owned(Prompt { prefix: prompt.prefix.clone(), items, labels: prompt.labels.clone() })
}

/// What answers on a thread: the weights and the adapter of all, and what one replica keeps.
struct Asker<'m> {
    llama: &'m Llama,
    adapter: Option<&'m Adapter>,
    prefixes: &'m mut Prefixes,
}

impl Asker<'_> {
    fn ask(
        mut self,
        prompts: &[Cow<'_, Prompt>],
        cancelled: &dyn Fn(usize) -> bool,
    ) -> Vec<Result<LabelLogProbs, ModelError>> {
        let mut questions: Vec<_> = prompts.iter().map(|prompt| Question::new(prompt)).collect();
        let fault = self.begin(&mut questions, cancelled).and_then(|()| self.answer(&mut questions, cancelled)).err();
        let fault = fault.map(|fault| match fault {
            ModelError::Internal(problem) => problem,
            other => other.to_string(),
        });
        questions
            .into_iter()
            .map(|question| match (question.error, &fault) {
                (Some(error), _) => Err(error),
                (None, Some(fault)) => Err(ModelError::Internal(fault.clone())),
                (None, None) => Ok(question.rows),
            })
            .collect()
    }

    /// The most tokens of a pass in which the last sees `columns` tokens.
    fn pass_tokens(&self, columns: usize) -> usize {
        (PASS_SCORES / self.llama.config.heads / columns.max(1)).clamp(1, PASS_TOKENS)
    }

    /// The past with `tokens` behind it, in as many passes as they need.
    fn extend(&self, mut past: Past, tokens: &[u32], cancelled: impl Fn() -> bool) -> Result<Past, ModelError> {
        let most = self.pass_tokens(past.tokens + tokens.len());
        for tokens in tokens.chunks(most) {
            if cancelled() {
                return Err(ModelError::Cancelled);
            }
            let parts = [Part { past: &past, items: vec![tokens] }];
            past = self.llama.extend(&parts, self.adapter)?.pop().unwrap_or_default();
        }
        Ok(past)
    }

    /// Computes what the questions begin with, as far as it is not kept: the short ones together.
    fn begin(&mut self, questions: &mut [Question<'_>], cancelled: &dyn Fn(usize) -> bool) -> Result<(), ModelError> {
        let mut left: Vec<usize> = (0..questions.len()).collect();
        while !left.is_empty() {
            let (mut now, mut later): (Vec<(usize, Past)>, Vec<usize>) = Default::default();
            let (mut tokens, mut columns) = (0, 0);
            for place in left {
                let question = &mut questions[place];
                if question.error.is_none() && cancelled(place) {
                    question.error = Some(ModelError::Cancelled);
                }
                if question.error.is_some() {
                    continue;
                }
                let past = self.prefixes.longest(&question.prefix)?;
                let rest = question.prefix.len() - past.tokens;
                if rest == 0 {
                    question.past = past;
                    continue;
                }
                // What another one computes now is kept then.
                let prefix = &questions[place].prefix;
                let known = |(other, _): &(usize, Past)| {
                    let shared = common(&questions[*other].prefix, prefix);
                    shared == prefix.len() || shared >= past.tokens + WORTH_A_PASS
                };
                let (all, longest) = (tokens + rest, columns.max(prefix.len()));
                if now.iter().any(known) || (!now.is_empty() && all > self.pass_tokens(longest)) {
                    later.push(place);
                    continue;
                }
                (tokens, columns) = (all, longest);
                now.push((place, past));
            }
            match &now[..] {
                [] => {}
                // A long one takes several passes.
                [(place, past)] => {
                    let question = &mut questions[*place];
                    match self.extend(past.clone(), &question.prefix[past.tokens..], || cancelled(*place)) {
                        Ok(past) => question.past = past,
                        Err(error @ ModelError::Cancelled) => question.error = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                short => {
                    let rest = |(place, past): &(usize, Past)| &questions[*place].prefix[past.tokens..];
                    let parts: Vec<Part<'_>> =
                        short.iter().map(|it| Part { past: &it.1, items: vec![rest(it)] }).collect();
                    let pasts = self.llama.extend(&parts, self.adapter)?;
                    for ((place, _), past) in short.iter().zip(pasts) {
                        questions[*place].past = past;
                    }
                }
            }
            for (place, _) in &now {
                let question = &questions[*place];
                if question.error.is_none() {
                    self.prefixes.keep(&question.prefix, &question.past, &self.llama.config);
                }
            }
            left = later;
        }
        Ok(())
    }

    /// Asks for the items, as many in a pass as fit.
    fn answer(&self, questions: &mut [Question<'_>], cancelled: &dyn Fn(usize) -> bool) -> Result<(), ModelError> {
        let items = |(place, question): (usize, &Question<'_>)| {
            (0..question.prompt.items.len()).map(move |item| (place, item)).collect::<Vec<_>>()
        };
        let mut left: Vec<(usize, usize)> = questions.iter().enumerate().flat_map(items).collect();
        loop {
            for (place, question) in questions.iter_mut().enumerate() {
                if question.error.is_none() && question.rows.len() < question.prompt.items.len() && cancelled(place) {
                    question.error = Some(ModelError::Cancelled);
                }
            }
            left.retain(|(place, _)| questions[*place].error.is_none());
            let Some(&(first, item)) = left.first() else { return Ok(()) };
            let (mut tokens, mut columns) = (0, 0);
            let fitting = left.iter().take_while(|(place, item)| {
                let length = questions[*place].item(*item).len();
                tokens += length;
                columns = columns.max(questions[*place].past.tokens + length);
                tokens <= self.pass_tokens(columns)
            });
            let count = fitting.count();
            let logits = if count == 0 {
                // A long item goes through like a prefix, but for its last tokens.
                let (past, item) = (&questions[first].past, questions[first].item(item));
                let (head, tail) = item.split_at(item.len() - self.pass_tokens(past.tokens + item.len()));
                match self.extend(past.clone(), head, || cancelled(first)) {
                    Ok(past) => self.llama.logits(&[Part { past: &past, items: vec![tail] }], self.adapter)?,
                    Err(ModelError::Cancelled) => continue,
                    Err(error) => return Err(error),
                }
            } else {
                let mut parts: Vec<Part<'_>> = Vec::new();
                let (mut last, mut tokens) = (None, 0);
                for (place, item) in &left[..count] {
                    let (question, item) = (&questions[*place], questions[*place].item(*item));
                    tokens += item.len();
                    match parts.last_mut().filter(|_| last == Some(place) && tokens <= PART_TOKENS) {
                        Some(part) => part.items.push(item),
                        None => {
                            tokens = item.len();
                            parts.push(Part { past: &question.past, items: vec![item] });
                        }
                    }
                    last = Some(place);
                }
                self.llama.logits(&parts, self.adapter)?
            };
            for ((place, item), logits) in left.drain(..count.max(1)).zip(logits.to_vec2::<f32>()?) {
                let question = &mut questions[place];
                match log_probabilities(&logits, &question.prompt.labels) {
                    Some(row) => question.rows.push(row),
                    None => question.error = question.error.take().or(Some(ModelError::NotFinite { item })),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(items: &[usize]) -> Prompt {
        let items = items.iter().map(|length| vec![1; *length]).collect();
        Prompt { prefix: vec![2; 3], items, labels: vec![0] }
    }

    #[test]
    fn shares_have_about_as_many_tokens_and_keep_the_order() {
        let prompts = [prompt(&[10; 6]), prompt(&[5]), prompt(&[]), prompt(&[20, 1, 14])];
        let places = vec![0, 2, 3];
        assert_eq!(shares(&prompts, places.clone(), 1), [vec![(0, 0..6), (3, 0..3)]]);
        assert_eq!(shares(&prompts, places.clone(), 2), [vec![(0, 0..5)], vec![(0, 5..6), (3, 0..3)]]);
        // More than there are items: some have nothing to do.
        let all = shares(&prompts, places, 40);
        assert_eq!(all.iter().flatten().map(|(_, items)| items.len()).sum::<usize>(), 9);
        assert!(shares(&[], Vec::new(), 3).iter().all(Vec::is_empty));
        assert_eq!(part(&prompts[3], &(1..3)).items.len(), 2);
    }

    #[test]
    fn items_share_what_is_worth_a_pass() {
        let alike =
            |length: u32, count: u32| (0..count).map(|item| [vec![7; length as usize], vec![item]].concat()).collect();
        let of = |items: Vec<Vec<u32>>| shared(&items);
        assert_eq!(of(alike(30, 10)), 30);
        assert_eq!(of(alike(30, 2)), 0, "a pass more spares 30 tokens");
        assert_eq!(of(vec![vec![5; 100]; 3]), 99, "each keeps a token");
        assert_eq!((of(alike(200, 1)), of(Vec::new())), (0, 0));
    }
}
