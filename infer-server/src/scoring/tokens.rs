//! A request as tokens: what its items share once, and each item behind it, as query and item read as one text would be.
//!
//! Remote engines read the two as one text, and tokens may reach over the place where they meet: a line break and the
//! spaces after it are one token in some vocabularies. Where an item has such a token, the query's last word goes into
//! the items, so that no token reaches over what is shared.

use accel_model::{ModelError, Tokenize};

use super::{Asked, Limits, ScoreError, ScoreRequest, cache, queue};

/// The longest end of a query that goes into items where its last word or line is that near, in bytes.
const NEAR: usize = 256;
/// How many places farther away are tried: most end a token.
const TRIES: usize = 16;

/// A query in two parts: no token of any text that begins with it reaches over the place between them.
struct Query {
    /// The tokens of the whole.
    whole: Vec<u32>,
    /// The tokens of the first part.
    head: Vec<u32>,
    /// The second part, and its tokens.
    end: String,
    end_tokens: Vec<u32>,
    /// The second part is all of it.
    start: bool,
}

impl Query {
    fn new(tokenizer: &dyn Tokenize, text: &str) -> Result<Self, ModelError> {
        let whole = tokenizer.encode(text, true)?;
        for at in places(text) {
            let (head, end) = text.split_at(at);
            let (head, end_tokens) = (tokenizer.encode(head, true)?, tokenizer.encode(end, false)?);
            if whole.strip_prefix(&head[..]) == Some(&end_tokens[..]) {
                return Ok(Self { whole, head, end: end.to_owned(), end_tokens, start: false });
            }
        }
        Ok(Self { end_tokens: whole.clone(), whole, head: Vec::new(), end: text.to_owned(), start: true })
    }
}

/// Where a query may be parted, the best place first: before the last word and its space or at the last line with text,
/// where one is near; else between any two characters farther away.
fn places(text: &str) -> impl Iterator<Item = usize> {
    let ends = text.trim_end().len();
    let near = ends.saturating_sub(NEAR);
    let mut words = text[..ends].match_indices(' ').map(|(at, _)| at);
    let word = words.rfind(|at| !text[..*at].ends_with(char::is_whitespace));
    let mut lines = text[..ends].match_indices('\n').map(|(at, _)| at + 1);
    let line = lines.rfind(|at| !text[*at..].starts_with(char::is_whitespace));
    let natural = word.max(line).filter(|at| *at > near);
    let anywhere = (1..near).rev().filter(|at| text.is_char_boundary(*at)).take(TRIES);
    natural.into_iter().chain(anywhere).filter(|at| *at > 0)
}

/// Turns a request into tokens, and refuses too many of them.
pub(super) fn tokenise(
    loaded: &queue::Loaded,
    asked: &Asked,
    contents: Vec<cache::Digest>,
    limits: &Limits,
) -> Result<queue::Work, ScoreError> {
    let (tokenizer, context_length) = (&*loaded.tokenizer, loaded.info.context_length);
    let ScoreRequest { query: text, labels: names, .. } = &asked.request;
    let query = Query::new(tokenizer, text)?;
    let mut tokens = query.whole.len();
    let (mut joined, mut apart) = (Vec::with_capacity(contents.len()), true);
    for (i, item) in asked.items().enumerate() {
        let all = tokenizer.encode(&format!("{}{item}", query.end), query.start)?;
        let own = all.strip_prefix(&query.end_tokens[..]).filter(|own| !own.is_empty());
        if all.is_empty() || text.is_empty() && own.is_none() {
            return Err(ScoreError::request(asked.place(i), "it has no tokens", "Give it a text, or leave it out"));
        }
        // The label needs no place: it is predicted, not read.
        let length = query.head.len() + all.len();
        if length > context_length {
            let problem =
                format!("query and {} have {length} tokens, and the model reads {context_length}", asked.place(i));
            return Err(ScoreError::too_large(problem, "Shorten the query or the item"));
        }
        tokens += own.map_or(all.len(), <[u32]>::len);
        if tokens > limits.tokens {
            let problem = format!("more than {} tokens, which is the limit", limits.tokens);
            return Err(ScoreError::too_large(problem, "Send fewer or shorter items, or raise --max-tokens"));
        }
        apart &= own.is_some();
        joined.push(all);
    }
    let (prefix, shared) = if apart { (query.whole, query.end_tokens.len()) } else { (query.head, 0) };
    let of_items = joined.into_iter().zip(contents);
    let items: Vec<_> =
        of_items.map(|(all, content)| queue::Item { tokens: all[shared..].to_vec(), content }).collect();
    let tokens = prefix.len() + items.iter().map(|item| item.tokens.len()).sum::<usize>();
    let mut labels: Option<Vec<u32>> = None;
    for (_, item) in asked.endings() {
        // The query's end stands for all of it: tokens do not reach over the place where it begins.
        let here = tokenizer.label_tokens(&format!("{}{item}", query.end), names)?;
        if labels.as_ref().is_some_and(|labels| *labels != here) {
            let problem = format!("after {item:?} their tokens are other ones than after the items before it");
            return Err(ScoreError::request("labels", problem, "Let all items end alike, such as with \": \""));
        }
        labels = Some(here);
    }
    let labels = labels.unwrap_or_default();
    Ok(queue::Work { prefix, labels, items, tokens, made_for: loaded.identity })
}
