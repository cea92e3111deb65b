//! Logs of requests to language models as they were published: how long each prompt and each answer was, and when it came.
//!
//! - *Azure* (Azure/AzurePublicDataset, AzureLLMInferenceDataset2023 and 2024): CSV with the columns `TIMESTAMP` (a date),
//!   `ContextTokens`, `GeneratedTokens`.
//! - *BurstGPT* (HPMLL/BurstGPT): CSV with `Timestamp` (seconds), `Request tokens`, `Response tokens` among others. An
//!   answer of no tokens is a request that failed.
//! - *Mooncake* (kvcache-ai/Mooncake, FAST25-release): lines of JSON with `timestamp` (ms), `input_length`, `output_length`.
//!   Alibaba's logs (alibaba-edu/qwen-bailian-usagetraces-anon) are the same with `chat_id`, and count seconds.
//!
//! Columns are found by name, in any order; other logs with such columns (Vidur's `num_prefill_tokens`, ...) are read
//! alike. What becomes of a log are [`Requests`] of a model's run. What prompts share is known where lines name their blocks
//! (`hash_ids`): of the trees that these make, the beginning that most prompts share counts.

use std::collections::{BTreeMap, BTreeSet};

use super::archive;
use super::cache_csv::delimiter;
use super::input::{Input, strip_mark};
use super::mooncake::{BLOCK_TOKENS, holds};
use super::text::{Lines, Rows, json_problem, parse_line, shorten};
use crate::error::{Error, Place};
use crate::progress::Progress;
use crate::workload::requests::{MOST_REQUESTS, MOST_TOKENS, Request, Requests};

/// Names of columns and keys, in lower case without blanks and marks.
const TIME: [&str; 6] = ["timestamp", "arrivedat", "arrivaltime", "arrivaltimestamp", "arrival", "time"];
const PROMPT: [&str; 8] = [
    "contexttokens",
    "requesttokens",
    "inputlength",
    "inputtokens",
    "prompttokens",
    "numprefilltokens",
    "promptlength",
    "inputlen",
];
const ANSWER: [&str; 8] = [
    "generatedtokens",
    "responsetokens",
    "outputlength",
    "outputtokens",
    "completiontokens",
    "numdecodetokens",
    "generationlength",
    "outputlen",
];
const CURE: &str = "Give a log with the columns TIMESTAMP,ContextTokens,GeneratedTokens (Azure), Timestamp,Request tokens,\
                    Response tokens (BurstGPT), or lines such as {\"timestamp\":0,\"input_length\":655,\"output_length\":52}";

/// Which requests of a log are taken, and how their times count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// How many requests are passed over at the start.
    pub skip: u64,
    /// How many are taken after that.
    pub most: u64,
    /// How long a step of the server takes, which turns times into the steps before which requests come. Without it, all
    /// requests wait from the start.
    pub step_ms: Option<f64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { skip: 0, most: MOST_REQUESTS, step_ms: None }
    }
}

/// Whether `head` begins like such a log.
pub fn matches(head: &[u8]) -> bool {
    let head = strip_mark(head).trim_ascii_start();
    if head.starts_with(b"{") {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let keys: Vec<String> =
            super::json::outer_keys(line).into_iter().map(|key| plain(&String::from_utf8_lossy(key))).collect();
        return [&PROMPT[..], &ANSWER].iter().all(|names| keys.iter().any(|key| names.contains(&key.as_str())));
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let names: Vec<String> = line.split(char::from(delimiter(head))).map(plain).collect();
    [&PROMPT[..], &ANSWER].iter().all(|wanted| names.iter().any(|name| wanted.contains(&name.as_str())))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// One request of a log.
struct Logged {
    /// When it came, in milliseconds; none where no time is known.
    ms: Option<f64>,
    prompt: u64,
    answer: u64,
    /// The blocks of its prompt; a number stands for a block and all before it.
    blocks: Vec<u64>,
}

/// What is taken of a log.
struct Taken {
    selection: Selection,
    logged: Vec<Logged>,
    seen: u64,
    empty: u64,
    long: u64,
    unanswered: u64,
}

impl Taken {
    fn push(&mut self, request: Logged) {
        self.seen += 1;
        if self.seen <= self.selection.skip || self.logged.len() as u64 >= self.selection.most {
            return;
        }
        if request.prompt == 0 {
            self.empty += 1;
        } else if request.prompt > MOST_TOKENS || request.answer > MOST_TOKENS {
            self.long += 1;
        } else {
            self.unanswered += u64::from(request.answer == 0);
            self.logged.push(request);
        }
    }
}

/// Reads a log; what the user should know of it comes along.
pub fn read(
    input: &Input<'_>,
    selection: Selection,
    progress: &mut dyn Progress,
) -> Result<(Requests, Vec<String>), Error> {
    if !(1..=MOST_REQUESTS).contains(&selection.most) {
        let cure = format!("Choose 1 to {MOST_REQUESTS}");
        return Err(Error::field("requests", selection.most, "a run has fewer requests", cure));
    }
    if let Some(step) = selection.step_ms.filter(|step| !(step.is_finite() && *step > 0.0)) {
        return Err(Error::field("request_step_ms", step, "a step takes time", "Write a number of milliseconds"));
    }
    let opened = archive::open(input, None, &|file| matches(&file.head()), progress)?;
    let input = &opened.input();
    input.check()?;
    let mut taken = Taken { selection, logged: Vec::new(), seen: 0, empty: 0, long: 0, unanswered: 0 };
    let head = input.head();
    if !matches(&head) {
        let problem = "it is no log of requests to a language model: it does not say how long prompts and answers are";
        return Err(Error::input(input.name, Place::Whole, problem, CURE));
    }
    if strip_mark(&head).trim_ascii_start().starts_with(b"{") {
        lines(input, &mut taken, progress)?;
    } else {
        table(input, &mut taken, progress)?;
    }
    finish(input, taken)
}

fn finish(input: &Input<'_>, taken: Taken) -> Result<(Requests, Vec<String>), Error> {
    let Taken { selection, logged, seen, empty, long, unanswered } = taken;
    if logged.is_empty() {
        let problem = format!("none of its {seen} requests can be taken");
        let cure = "Take others of them, or give another log";
        return Err(Error::input(input.name, Place::Whole, problem, cure));
    }
    let mut notes = Vec::new();
    let count = logged.len() as u64;
    if count < seen {
        notes.push(format!(
            "{count} of the {seen} requests of the log are taken, from number {} on",
            selection.skip + 1
        ));
    }
    for (count, text) in [
        (empty, "requests have no prompt: left out".to_owned()),
        (long, format!("requests have more than {MOST_TOKENS} tokens: left out")),
        (unanswered, "requests have an answer of no tokens: their prompt alone is read".to_owned()),
    ] {
        if count > 0 {
            notes.push(format!("{count} {text}"));
        }
    }
    let start = logged.iter().filter_map(|request| request.ms).fold(f64::INFINITY, f64::min);
    let untimed = logged.iter().filter(|request| request.ms.is_none()).count();
    match selection.step_ms {
        None if untimed == 0 => {
            notes.push(
                "the times of the log do not count: all requests wait from the start (a length of a step of the \
                        server turns times into steps)"
                    .to_owned(),
            );
        }
        Some(_) if untimed > 0 => {
            notes.push(format!("{untimed} requests have no time that is read: they wait from the start"))
        }
        _ => {}
    }
    let arrival = |request: &Logged| match (request.ms, selection.step_ms) {
        (Some(ms), Some(step)) => ((ms - start) / step).floor().clamp(0.0, (1u64 << 32) as f64) as u64,
        _ => 0,
    };
    let shared = shared(&logged, &mut notes);
    let requests = logged.iter().zip(shared).map(|(request, shared_tokens)| Request {
        prompt_tokens: request.prompt,
        shared_tokens,
        decode_tokens: request.answer,
        arrival: arrival(request),
    });
    Ok((Requests(requests.collect()), notes))
}

/// Tokens at the beginning of each prompt that it has in common with the beginning that most prompts share.
fn shared(logged: &[Logged], notes: &mut Vec<String>) -> Vec<u64> {
    let mut shared = vec![0; logged.len()];
    let named = |request: &&Logged| !request.blocks.is_empty();
    let Some(first) = logged.iter().find(named) else { return shared };
    let fits = |size: u64, request: &Logged| holds(request.blocks.len() as u64, size, request.prompt);
    let size = BLOCK_TOKENS.into_iter().find(|size| fits(*size, first));
    let Some(size) = size.filter(|size| logged.iter().filter(named).all(|request| fits(*size, request))) else {
        notes.push("hash_ids do not count: they are not one for each block of a prompt, all of one size".to_owned());
        return shared;
    };
    let mut chain: Vec<u64> = Vec::new();
    let mut group: Vec<usize> = (0..logged.len()).collect();
    loop {
        // Who goes on with which block; the one that most go on with, and of several the first.
        let mut next: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for at in group {
            if let Some(block) = logged[at].blocks.get(chain.len()) {
                next.entry(*block).or_default().push(at);
            }
        }
        let most = next.into_iter().max_by_key(|(block, all)| (all.len(), std::cmp::Reverse(*block)));
        let Some((block, all)) = most.filter(|(_, all)| all.len() > 1) else { break };
        chain.push(block);
        for at in &all {
            // The last token of a prompt is read in any case.
            shared[*at] = (chain.len() as u64 * size).min(logged[*at].prompt - 1);
        }
        group = all;
    }
    let (mut seen, mut known, mut common, mut counted) = (BTreeSet::new(), 0u64, 0u64, 0u64);
    for (request, own) in logged.iter().zip(&shared) {
        let again = request.blocks.iter().take_while(|block| seen.contains(*block)).count() as u64;
        known += (again * size).min(request.prompt);
        counted += common.min(*own);
        common = common.max(*own);
        seen.extend(request.blocks.iter().copied());
    }
    if known > 0 {
        let beyond = known.saturating_sub(counted);
        notes.push(format!(
            "prompts repeat {known} tokens of those before them: {counted} of the beginning that most share are read once and \
             kept once, and {beyond} of others count as if they were new"
        ));
    }
    shared
}

fn lines(input: &Input<'_>, taken: &mut Taken, progress: &mut dyn Progress) -> Result<(), Error> {
    let mut lines = Lines::new(*input, input.text(progress)?);
    while let Some((line, text)) = lines.next()? {
        let bad = |place: Place, problem: String| Error::input(input.name, place, problem, CURE);
        let keys: serde_json::Map<String, serde_json::Value> =
            parse_line(text).map_err(|e| bad(Place::LineColumn(line, e.column() as u64), json_problem(&e)))?;
        let find = |names: &[&str]| {
            let mut found = keys.iter().filter(|(key, _)| names.contains(&plain(key).as_str()));
            found.next().map(|(_, value)| value)
        };
        let tokens = |names: &[&str]| {
            let value = find(names).and_then(whole);
            value.ok_or_else(|| bad(Place::Line(line), format!("{} is missing, or is no whole number", names[2])))
        };
        let unit = if keys.contains_key("chat_id") { 1000.0 } else { 1.0 };
        let ms = match find(&TIME) {
            Some(serde_json::Value::String(text)) => date_ms(text),
            Some(value) => value.as_f64().map(|time| time * unit),
            None => None,
        };
        let blocks = keys.get("hash_ids").and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let blocks = blocks.iter().filter_map(serde_json::Value::as_u64).collect();
        taken.push(Logged { ms, prompt: tokens(&PROMPT)?, answer: tokens(&ANSWER)?, blocks });
    }
    Ok(())
}

/// A number of tokens, which pandas writes as 12.0 where others are missing.
fn whole(value: &serde_json::Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64))
}

fn table(input: &Input<'_>, taken: &mut Taken, progress: &mut dyn Progress) -> Result<(), Error> {
    let separator = delimiter(strip_mark(&input.head()));
    let mut rows = Rows::new(*input, input.text(progress)?, separator);
    let names: Vec<String> = rows.next()?.map(|row| row.fields().map(plain).collect()).unwrap_or_default();
    let find = |wanted: &[&str]| wanted.iter().find_map(|name| names.iter().position(|other| other == name));
    let (time, prompt, answer) = (find(&TIME), find(&PROMPT), find(&ANSWER));
    let (Some(prompt), Some(answer)) = (prompt, answer) else {
        return Err(Error::input(input.name, Place::Line(1), "the line names no columns of tokens", CURE));
    };
    while let Some(row) = rows.next()? {
        let tokens = |at: usize| {
            let field = row.field(at);
            let number = field.parse().ok().or_else(|| field.parse().ok().and_then(|n: f64| whole(&n.into())));
            number.ok_or_else(|| {
                let problem = format!("the tokens in column {} are \"{}\"", at + 1, shorten(field));
                Error::input(input.name, Place::Line(row.line), problem, "Write a whole number, zero or more")
            })
        };
        let ms = time.and_then(|at| {
            let field = row.field(at);
            // Numbers count seconds.
            field
                .parse()
                .ok()
                .filter(|time: &f64| time.is_finite())
                .map(|time| time * 1000.0)
                .or_else(|| date_ms(field))
        });
        taken.push(Logged { ms, prompt: tokens(prompt)?, answer: tokens(answer)?, blocks: Vec::new() });
    }
    Ok(())
}

/// Milliseconds since 1970 of a date such as `2023-11-16 18:15:46.6805900` or `2024-05-10T00:00:00.009930+00:00`; an offset
/// counts, and without one the date is in UTC.
fn date_ms(text: &str) -> Option<f64> {
    let (day, rest) = text.trim().split_at_checked(10)?;
    let clock = rest.strip_prefix([' ', 'T'])?;
    let mut date = day.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, offset) = match clock.find(['+', '-', 'Z']) {
        Some(at) => clock.split_at(at),
        None => (clock, ""),
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (parts.next()?.parse::<f64>().ok()?, parts.next()?.parse::<f64>().ok()?);
    let second = parts.next().map_or(Some(0.0), |part| part.trim().parse::<f64>().ok())?;
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
        Some(hours.parse::<f64>().ok()? * 60.0 + minutes.parse::<f64>().ok()?)
    };
    let ahead = match offset.split_at_checked(1) {
        Some(("+", rest)) => minutes(rest)?,
        Some(("-", rest)) => -minutes(rest)?,
        _ => 0.0,
    };
    let valid = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid || parts.next().is_some() {
        return None;
    }
    // Days since 1970 of the proleptic Gregorian calendar; years begin in March, so that a leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 1440) as f64 + hour * 60.0 + minute - ahead) * 60_000.0 + second * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Unattended;

    fn read_text(text: &str, selection: Selection) -> Result<(Requests, Vec<String>), Error> {
        read(&Input::new("log", text.as_bytes()), selection, &mut Unattended)
    }

    const STEPS: Selection = Selection { skip: 0, most: 100, step_ms: Some(100.0) };

    #[test]
    fn published_logs_are_requests() {
        for (text, wanted) in [
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n\
                 2023-11-16 18:15:47.0951030,396,109\n",
                "374+44, 396+109@4",
            ),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2024-05-10 23:59:59.950000+00:00,2162,5\r\n\
                 2024-05-11 00:00:00.250000+00:00,2399,6\r\n",
                "2162+5, 2399+6@3",
            ),
            (
                "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 5,ChatGPT,472,18,490,Conversation log\n5.5,GPT-4,1087,230,1317,API log\n",
                "472+18, 1087+230@5",
            ),
            (
                "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 10,7,1.5,GPT-4,12,3,15,API log\n",
                "12+3",
            ),
            (
                "{\"timestamp\": 27482, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n\
                 {\"timestamp\": 30535, \"input_length\": 6472, \"output_length\": 26, \"hash_ids\": [48, 49]}\n",
                "6955+52, 6472+26@30",
            ),
            (
                "{\"chat_id\": 159, \"parent_chat_id\": 55, \"timestamp\": 61.114, \"input_length\": 521, \
                 \"output_length\": 132, \"type\": \"text\", \"turn\": 2, \"hash_ids\": [1]}\n\
                 {\"chat_id\": 160, \"parent_chat_id\": -1, \"timestamp\": 62.0, \"input_length\": 5, \"output_length\": 1}\n",
                "521+132, 5+1@8",
            ),
            ("arrived_at;num_decode_tokens;num_prefill_tokens\n0;7;20\n0.25;8.0;30.0\n", "20+7, 30+8@2"),
        ] {
            assert!(matches(text.as_bytes()), "{text}");
            let (requests, notes) = read_text(text, STEPS).unwrap();
            assert_eq!(requests.text(), wanted, "{text}");
            assert_eq!(notes, [""; 0], "{text}");
        }
    }

    /// Blocks of 512 tokens: three prompts begin with block 1, of which two go on with block 2; two others are the same.
    #[test]
    fn the_beginning_that_most_prompts_share_counts() {
        let line = |tokens: u64, ids: &str| {
            format!("{{\"timestamp\":0,\"input_length\":{tokens},\"output_length\":1,\"hash_ids\":[{ids}]}}\n")
        };
        let log = [(1536, "1,2,3"), (1536, "1,2,4"), (1100, "1,5,6"), (600, "9,10"), (600, "9,10")];
        let log: String = log.iter().map(|(tokens, ids)| line(*tokens, ids)).collect();
        let (requests, notes) = read_text(&log, STEPS).unwrap();
        assert_eq!(requests.text(), "2x1024/1536+1, 512/1100+1, 2x600+1");
        // 1024 and 512 tokens again, and all of the last prompt.
        assert!(notes[0].starts_with("prompts repeat 2136 tokens of those before them: 1536 of"), "{notes:?}");
        assert!(notes[0].ends_with("and 600 of others count as if they were new"), "{notes:?}");
        let (requests, notes) = read_text(&(line(1536, "1,2,3") + &line(1536, "1,2")), STEPS).unwrap();
        assert!(requests.text() == "2x1536+1" && notes[0].starts_with("hash_ids do not count"), "{notes:?}");
        // A prompt that another begins with: its last token is read in any case.
        let (requests, _) = read_text(&(line(1024, "1,2") + &line(1024, "1,2")), STEPS).unwrap();
        assert_eq!(requests.text(), "2x1023/1024+1");
    }

    #[test]
    fn what_is_left_out_is_told() {
        let log = "Timestamp,Request tokens,Response tokens\n0,0,5\n1,10,0\n2,20,6\n3,999999,1\n4,30,7\n5,40,8\n";
        let (requests, notes) = read_text(log, Selection { skip: 1, most: 3, step_ms: None }).unwrap();
        assert_eq!(requests.text(), "10+0, 20+6, 30+7");
        assert_eq!(notes[0], "3 of the 6 requests of the log are taken, from number 2 on");
        assert_eq!(notes[1], "1 requests have more than 131072 tokens: left out");
        assert_eq!(notes[2], "1 requests have an answer of no tokens: their prompt alone is read");
        assert!(notes[3].starts_with("the times of the log do not count"), "{notes:?}");
        for (text, selection, wanted) in [
            ("a,b\n1,2\n", STEPS, "it is no log of requests to a language model"),
            (
                "Timestamp,Request tokens,Response tokens\n0,x,1\n",
                STEPS,
                "log, line 2: the tokens in column 2 are \"x\"",
            ),
            (
                "{\"input_length\":1,\"output_length\":2}\n{\"input_length\":1}\n",
                STEPS,
                "log, line 2: outputlength is missing",
            ),
            ("{\"input_length\":1,\"output_length\":2}\n{\"inp", STEPS, "log, line 2, column"),
            ("Timestamp,Request tokens,Response tokens\n0,0,1\n", STEPS, "none of its 1 requests can be taken"),
            (log, Selection { most: 0, ..STEPS }, "Choose 1 to 4096"),
            (log, Selection { step_ms: Some(0.0), ..STEPS }, "a step takes time"),
        ] {
            let error = read_text(text, selection).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    /// Against the days that `datetime` of Python counts.
    #[test]
    fn dates_are_milliseconds_since_1970() {
        for (text, wanted) in [
            ("1970-01-01 00:00:00", Some(0.0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000.0)),
            ("2024-05-10 00:00:00.009930+00:00", Some(1_715_299_200_009.93)),
            ("2023-11-16 18:15:46.5", Some(1_700_158_546_500.0)),
            ("2024-01-01 01:00:00+01:00", Some(1_704_067_200_000.0)),
            ("2023-12-31 20:30:00-03:30", Some(1_704_067_200_000.0)),
            ("2023-13-31 20:30:00", None),
            ("today", None),
            ("", None),
            ("2023-12-31", None),
        ] {
            let found = date_ms(text);
            assert_eq!(found.map(|ms| (ms * 100.0).round()), wanted.map(|ms| (ms * 100.0_f64).round()), "{text}");
        }
    }
}
