//! Against Hugging Face transformers, PEFT, SentencePiece and llama.cpp: what they say of the tiny models in
//! `tests/fixtures/mistral`, which `tests/fixtures/mistral.py` made.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Seek as _, SeekFrom, Write as _};

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Tensor, safetensors};
use candle_transformers::models::quantized_llama::ModelWeights;
use serde::Deserialize;
use tempfile::TempDir;

use super::llama::{Part, Past};
use super::passes::PASS_TOKENS;
use super::prefixes::MOST;
use super::*;

#[derive(Deserialize)]
pub(super) struct Expected {
    tokens: HashMap<String, Vec<Tokens>>,
    pub(super) prefix: Vec<u32>,
    items: Vec<Vec<u32>>,
    pub(super) labels: Vec<u32>,
    window: usize,
    pub(super) logits: Vec<Vec<f32>>,
    logits_in_window: Vec<Vec<f32>>,
    pub(super) adapters: HashMap<String, Vec<Vec<f32>>>,
    log_probabilities_by_llama_cpp: HashMap<String, Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct Tokens {
    text: String,
    start: Vec<u32>,
    inside: Vec<u32>,
}

impl Expected {
    pub(super) fn read() -> Self {
        serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap()
    }

    /// Asks for the whole vocabulary.
    pub(super) fn prompt(&self) -> Prompt {
        let labels = (0..self.logits[0].len() as u32).collect();
        Prompt { prefix: self.prefix.clone(), items: self.items.clone(), labels }
    }
}

pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/mistral").join(name)
}

pub(super) fn load(path: &Path) -> LocalModel {
    LocalModel::load(path, &LoadOptions::default()).unwrap()
}

fn refusal(path: &Path, options: &LoadOptions) -> String {
    LocalModel::load(path, options).unwrap_err().to_string()
}

fn never() -> bool {
    false
}

pub(super) fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.iter().map(Vec::len).collect::<Vec<_>>(), b.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.fold(0.0, |most, (a, b)| if (a - b).abs() <= most { most } else { (a - b).abs() })
}

pub(super) fn logits(model: &LocalModel, expected: &Expected) -> Vec<Vec<f32>> {
    let adapter = model.adapter.as_ref();
    let prefix = [Part { past: &Past::default(), items: vec![&expected.prefix[..]] }];
    let past = &model.llama.extend(&prefix, adapter).unwrap()[0];
    let items = expected.items.iter().map(Vec::as_slice).collect();
    model.llama.logits(&[Part { past, items }], adapter).unwrap().to_vec2().unwrap()
}

/// The float model's file with other metadata or weights.
pub(super) fn rewritten(
    dir: &TempDir,
    edit: impl FnOnce(&mut HashMap<String, Value>, &mut HashMap<String, QTensor>),
) -> PathBuf {
    rewritten_of("f32.gguf", dir, edit)
}

fn rewritten_of(
    name: &str,
    dir: &TempDir,
    edit: impl FnOnce(&mut HashMap<String, Value>, &mut HashMap<String, QTensor>),
) -> PathBuf {
    let bytes = fs::read(fixture(name)).unwrap();
    let mut reader = Cursor::new(&bytes);
    let mut content = Content::read(&mut reader).unwrap();
    let mut weights: HashMap<String, QTensor> = content
        .tensor_infos
        .keys()
        .map(|name| (name.clone(), content.tensor(&mut reader, name, &Device::Cpu).unwrap()))
        .collect();
    edit(&mut content.metadata, &mut weights);
    let metadata: Vec<_> = content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let weights: Vec<_> = weights.iter().map(|(name, weight)| (name.as_str(), weight)).collect();
    let path = dir.path().join("model.gguf");
    let mut file = fs::File::create(&path).unwrap();
    gguf_file::write(&mut file, &metadata, &weights).unwrap();
    path
}

#[test]
fn logits_are_those_of_transformers() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let difference = largest_difference(&logits(&model, &expected), &expected.logits);
    println!("largest difference of logits from transformers: {difference:e}");
    assert!(difference < 1e-4, "{difference}");
    let spread = expected.logits.iter().flatten().fold(0f32, |most, logit| most.max(logit.abs()));
    assert!(spread > 2.0, "the fixture's answers differ: {spread}");

    let rows = model.score(&expected.prompt(), &never).unwrap();
    let labels: Vec<u32> = expected.prompt().labels;
    let by_hand: Vec<_> = expected.logits.iter().map(|row| log_probabilities(row, &labels).unwrap()).collect();
    assert!(largest_difference(&rows, &by_hand) < 1e-4);
    let sum: f32 = rows[0].iter().map(|log| log.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
}

#[test]
fn logits_are_those_of_candle_transformers() {
    let expected = Expected::read();
    let mut file = fs::File::open(fixture("f32.gguf")).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut theirs = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let ours = logits(&load(&fixture("f32.gguf")), &expected);
    for (item, ours) in expected.items.iter().zip(ours) {
        let tokens = [&expected.prefix[..], item].concat();
        let tokens = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let theirs = theirs.forward(&tokens, 0).unwrap().to_vec2::<f32>().unwrap();
        assert!(largest_difference(&theirs, &[ours]) < 1e-4);
    }
}

#[test]
fn packed_one_by_one_and_without_a_prefix_are_the_same() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let packed = model.score(&expected.prompt(), &never).unwrap();
    for (item, packed) in expected.items.iter().zip(&packed) {
        let alone = Prompt { items: vec![item.clone()], ..expected.prompt() };
        let whole = [&expected.prefix[..], item].concat();
        let whole = Prompt { prefix: Vec::new(), items: vec![whole], ..expected.prompt() };
        for prompt in [alone, whole] {
            let rows = model.score(&prompt, &never).unwrap();
            let difference = largest_difference(&rows, std::slice::from_ref(packed));
            assert!(difference < 1e-4, "{difference}");
        }
    }
}

/// A prefix and an item longer than a pass go through in parts.
#[test]
fn long_prompts_go_through_in_parts() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let long: Vec<u32> = (0..400).map(|i| 3 + (i * 7919) % 400).collect();
    let labels = expected.labels.clone();
    let mut ask = |prefix: &[u32], items: &[&[u32]]| {
        let items = items.iter().map(|item| item.to_vec()).collect();
        model.score(&Prompt { prefix: prefix.to_vec(), items, labels: labels.clone() }, &never).unwrap()
    };
    assert!(long.len() > PASS_TOKENS);
    let whole = ask(&[], &[&long, &long[..7], &long]);
    assert!(largest_difference(&whole[..1], &whole[2..]) < 1e-6);
    for cut in [1, 100, 399] {
        let parts = ask(&long[..cut], &[&long[cut..]]);
        let difference = largest_difference(&whole[..1], &parts);
        assert!(difference < 1e-4, "{difference}");
    }
    // Behind a kept prefix that is longer, and of one that goes on differently.
    let short = ask(&long[..50], &[&long[50..60]]);
    let other = ask(&[&long[..40], &[5, 6, 7][..]].concat(), &[&long[50..60]]);
    let mut fresh = load(&fixture("f32.gguf"));
    for (prefix, kept) in [(long[..50].to_vec(), short), ([&long[..40], &[5, 6, 7][..]].concat(), other)] {
        let prompt = Prompt { prefix, items: vec![long[50..60].to_vec()], labels: expected.labels.clone() };
        assert!(largest_difference(&fresh.score(&prompt, &never).unwrap(), &kept) < 1e-4);
        fresh.forget();
    }
}

#[test]
fn prefixes_are_kept_up_to_a_number() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    for first in 0..MOST as u32 + 3 {
        let prompt = Prompt { prefix: vec![first, 9], items: expected.items.clone(), labels: vec![1] };
        model.score(&prompt, &never).unwrap();
    }
    let kept = model.replicas[0].prefixes.kept();
    assert_eq!((kept.len(), kept[0]), (MOST, &[MOST as u32 + 2, 9][..]));
}

/// The longest beginning in common counts, and what begins another is not kept beside it.
#[test]
fn a_prefix_goes_on_from_the_longest_beginning_that_is_kept() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let tokens: Vec<u32> = (0..60).map(|i| 3 + (i * 7919) % 400).collect();
    let config = model.llama.config.clone();
    let forked = [&tokens[..40], &[5, 6, 7][..]].concat();
    for (prefix, known) in
        [(&tokens[..50], 0), (&forked[..], 40), (&tokens[..], 50), (&tokens[..30], 30), (&forked[1..], 0)]
    {
        assert_eq!(model.replicas[0].prefixes.longest(prefix).unwrap().tokens, known);
        let prompt = Prompt { prefix: prefix.to_vec(), items: expected.items.clone(), labels: vec![1, 2] };
        let behind = model.score(&prompt, &never).unwrap();
        let alone = load(&fixture("f32.gguf")).score(&prompt, &never).unwrap();
        assert!(largest_difference(&behind, &alone) < 1e-5);
        let past = model.replicas[0].prefixes.longest(prefix).unwrap();
        assert_eq!(past.tokens, prefix.len());
        model.replicas[0].prefixes.keep(prefix, &past, &config);
    }
    assert_eq!(model.replicas[0].prefixes.kept(), [&forked[1..], &tokens, &forked]);
}

/// candle's threads are those of the process, so that several replicas are asked for where one computes: `load` of
/// `infer-server` asks them.
#[test]
fn replicas_need_one_thread_each() {
    let options = LoadOptions { replicas: NonZeroUsize::new(2), ..LoadOptions::default() };
    match LocalModel::load(&fixture("f32.gguf"), &options) {
        Err(error) => assert!(error.to_string().contains("RAYON_NUM_THREADS=1"), "{error}"),
        // A machine of one core.
        Ok(model) => assert_eq!(model.replicas.len(), 2),
    }
}

/// Prompts of all kinds at once: with one prefix and with others, with items that begin alike, long ones, and wrong ones.
#[test]
fn prompts_asked_together_are_answered_as_alone() {
    let expected = Expected::read();
    let long: Vec<u32> = (0..400).map(|i| 3 + (i * 7919) % 400).collect();
    let labels = expected.labels.clone();
    let prompt = |prefix: &[u32], items: &[&[u32]]| {
        let items = items.iter().map(|item| item.to_vec()).collect();
        Prompt { prefix: prefix.to_vec(), items, labels: labels.clone() }
    };
    // 6 items that begin with 30 tokens alike are computed behind these.
    let alike: Vec<Vec<u32>> = (0..6).map(|i| [&long[100..130], &[7 + i, 9][..]].concat()).collect();
    let alike: Vec<&[u32]> = alike.iter().map(Vec::as_slice).collect();
    let own: Vec<Prompt> = (0..20).map(|i| prompt(&[1, 30 + i, 9], &[&long[i as usize..i as usize + 25]])).collect();
    let mut prompts = vec![
        prompt(&expected.prefix, &[&long[..5], &long[..9]]),
        prompt(&[], &[&long[3..8]]),
        prompt(&expected.prefix, &alike),
        prompt(&long[..300], &[&long[300..], &long[320..330]]),
        prompt(&long[..290], &[&long[..3]]),
        prompt(&[1], &[&long]),
    ];
    prompts.extend(own);
    let mut together = load(&fixture("f32.gguf"));
    for round in 0..2 {
        let answers = together.score_together(&prompts, &|_| false);
        assert_eq!(answers.len(), prompts.len());
        for (place, (answer, prompt)) in answers.into_iter().zip(&prompts).enumerate() {
            let alone = load(&fixture("f32.gguf")).score(prompt, &never).unwrap();
            let difference = largest_difference(&answer.unwrap(), &alone);
            assert!(difference < 1e-5, "prompt {place}, round {round}: {difference}");
        }
        // Behind what the first round kept, in another order.
        prompts.reverse();
    }

    // What is wrong with one is its own affair.
    let wrong = [prompt(&[1], &[&[]]), prompts[0].clone(), prompt(&[1 << 20], &[&[5]]), prompts[1].clone()];
    let mut answers = together.score_together(&wrong, &|place| place == 3).into_iter();
    assert!(matches!(answers.next(), Some(Err(ModelError::Prompt { .. }))));
    let alone = load(&fixture("f32.gguf")).score(&wrong[1], &never).unwrap();
    assert!(largest_difference(&answers.next().unwrap().unwrap(), &alone) < 1e-5);
    assert!(matches!(answers.next(), Some(Err(ModelError::Prompt { .. }))));
    assert!(matches!(answers.next(), Some(Err(ModelError::Cancelled))));
    assert!(together.score_together(&[], &|_| false).is_empty());
}

#[test]
fn a_sliding_window_is_that_of_transformers() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let path = rewritten(&dir, |metadata, _| {
        metadata.insert("llama.attention.sliding_window".into(), Value::U32(expected.window as u32));
    });
    let mut model = load(&path);
    assert_eq!(model.llama.config.window, Some(expected.window));
    let difference = largest_difference(&logits(&model, &expected), &expected.logits_in_window);
    assert!(difference < 1e-4, "{difference}");
    assert!(largest_difference(&expected.logits, &expected.logits_in_window) > 0.1);
    // In parts, and without a prefix.
    let packed = model.score(&expected.prompt(), &never).unwrap();
    let wholes = expected.items.iter().map(|item| [&expected.prefix[..], item].concat()).collect();
    let whole = Prompt { prefix: Vec::new(), items: wholes, ..expected.prompt() };
    assert!(largest_difference(&packed, &model.score(&whole, &never).unwrap()) < 1e-4);
}

#[test]
fn adapters_are_those_of_peft() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let plain = model.score(&expected.prompt(), &never).unwrap();
    for (name, logits_of_peft) in &expected.adapters {
        model.set_adapter(Some(&fixture(name))).unwrap();
        assert_eq!(model.info().adapter.as_ref(), Some(name));
        let difference = largest_difference(&logits(&model, &expected), logits_of_peft);
        println!("{name}: largest difference of logits from PEFT: {difference:e}");
        assert!(difference < 1e-4, "{name}: {difference}");
        assert!(largest_difference(logits_of_peft, &expected.logits) > 0.1, "{name} changes the answers");
        // The kept prefix went with the old adapter.
        let rows = model.score(&expected.prompt(), &never).unwrap();
        let labels = expected.prompt().labels;
        let by_hand: Vec<_> = logits_of_peft.iter().map(|row| log_probabilities(row, &labels).unwrap()).collect();
        assert!(largest_difference(&rows, &by_hand) < 1e-4, "{name}");
    }
    model.set_adapter(None).unwrap();
    assert_eq!(model.score(&expected.prompt(), &never).unwrap(), plain);
    let options = LoadOptions { adapter: Some(fixture("plain")), ..LoadOptions::default() };
    let model = LocalModel::load(&fixture("f32.gguf"), &options).unwrap();
    assert!(largest_difference(&logits(&model, &expected), &expected.adapters["plain"]) < 1e-4);
}

/// Probabilities in the whole vocabulary, and among the labels alone as scores use them.
fn distributions(rows: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let both = |row: &Vec<f32>| {
        let whole: Vec<f32> = row.iter().map(|log| log.exp()).collect();
        let mass: f32 = whole.iter().sum();
        let among: Vec<f32> = whole.iter().map(|p| p / mass).collect();
        [whole, among].concat()
    };
    rows.iter().map(both).collect()
}

#[test]
fn quantised_answers_are_near_those_of_llama_cpp() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let prompt = Prompt { labels: expected.labels.clone(), ..expected.prompt() };
    for (name, theirs) in &expected.log_probabilities_by_llama_cpp {
        let file = format!("{name}.gguf");
        let mut model = load(&fixture(&file));
        let ours = model.score(&prompt, &never).unwrap();
        let path = rewritten_of(&file, &dir, |_, weights| {
            for weight in weights.values_mut() {
                *weight = QTensor::quantize(&weight.dequantize(&Device::Cpu).unwrap(), GgmlDType::F32).unwrap();
            }
        });
        let floats = load(&path).score(&prompt, &never).unwrap();
        let [ours_d, theirs_d, floats_d] = [&ours, theirs, &floats].map(|rows| distributions(rows));
        let difference = largest_difference(&ours_d, &theirs_d);
        let (of_ours, of_theirs) = (largest_difference(&ours_d, &floats_d), largest_difference(&theirs_d, &floats_d));
        println!("{name}: differ from llama.cpp by {difference:e}; from floats {of_ours:e}, llama.cpp {of_theirs:e}");
        assert!(difference < 0.02 && of_ours < 0.02, "{name}: {difference} {of_ours}");
        // Several rows and a single one take other kernels.
        model.warm_up().unwrap();
        let alone = Prompt { items: prompt.items[1..2].to_vec(), ..prompt.clone() };
        let alone = model.score(&alone, &never).unwrap();
        assert!(largest_difference(&alone, &ours[1..2]) < 1e-4, "{name}");
    }
}

/// Rows of 64 become Q8_0, which keeps what four and five bits say; its kernels take activations in eight bits.
#[test]
fn slow_types_run_after_requantising() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let prompt = expected.prompt();
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q5_1] {
        let mut answers = [dtype, GgmlDType::F32].map(|last| {
            let path = rewritten(&dir, |_, weights| {
                for weight in weights.values_mut().filter(|weight| weight.rank() == 2) {
                    let slow = QTensor::quantize(&weight.dequantize(&Device::Cpu).unwrap(), dtype).unwrap();
                    *weight = QTensor::quantize(&slow.dequantize(&Device::Cpu).unwrap(), last).unwrap();
                }
            });
            load(&path).score(&prompt, &never).unwrap()
        });
        for row in answers.iter_mut().flatten() {
            row.iter_mut().for_each(|log| *log = log.exp());
        }
        let difference = largest_difference(&answers[0], &answers[1]);
        println!("{dtype:?}: probabilities differ from those of its own numbers by {difference:e}");
        assert!(difference < 0.05, "{dtype:?}: {difference}");
    }
}

#[test]
fn half_floats_run() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    for (dtype, most) in [(GgmlDType::F16, 0.02), (GgmlDType::BF16, 0.2)] {
        let path = rewritten(&dir, |_, weights| {
            for weight in weights.values_mut().filter(|weight| weight.rank() == 2) {
                *weight = QTensor::quantize(&weight.dequantize(&Device::Cpu).unwrap(), dtype).unwrap();
            }
        });
        let difference = largest_difference(&logits(&load(&path), &expected), &expected.logits);
        assert!(difference < most, "{dtype:?}: {difference}");
    }
}

#[test]
fn tokens_are_those_of_sentencepiece_and_hugging_face() {
    let expected = Expected::read();
    let byte_level = ["llama-bpe", "qwen2", "smollm"].map(|name| (name, format!("{name}.gguf")));
    for (name, file) in byte_level.into_iter().chain([("spm", "f32.gguf".to_owned())]) {
        let gguf = Gguf::open(&fixture(&file)).unwrap();
        let tokenizer = TextTokenizer::of(&gguf, None, 4096).unwrap();
        for row in &expected.tokens[name] {
            assert_eq!(tokenizer.encode(&row.text, true).unwrap(), row.start, "{name} {:?}", row.text);
            assert_eq!(tokenizer.encode(&row.text, false).unwrap(), row.inside, "{name} {:?}", row.text);
        }
    }
}

#[test]
fn control_tokens_in_a_text_stay_text() {
    let tokenizer = load(&fixture("f32.gguf")).tokenizer();
    for text in ["<s>", "</s>", "<unk>", "<0x41>"] {
        let tokens = tokenizer.encode(text, false).unwrap();
        assert!(tokens.len() > 1 && tokens.iter().all(|token| *token > 2), "{text}: {tokens:?}");
    }
}

#[test]
fn a_tokenizer_json_takes_the_place_of_the_files() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let json = fixture("tokenizer.json");
    let named = LoadOptions { tokenizer: Some(json.clone()), ..LoadOptions::default() };
    let model = LocalModel::load(&fixture("f32.gguf"), &named).unwrap();
    for row in &expected.tokens["spm"] {
        assert_eq!(model.tokenizer().encode(&row.text, true).unwrap(), row.start, "{:?}", row.text);
        assert_eq!(model.tokenizer().encode(&row.text, false).unwrap(), row.inside, "{:?}", row.text);
    }
    // Beside a file that has none.
    let path = rewritten(&dir, |metadata, _| metadata.retain(|key, _| !key.starts_with("tokenizer.")));
    let missing = refusal(&path, &LoadOptions::default());
    assert!(missing.contains("no tokenizer.json lies beside it") && missing.contains("--tokenizer"), "{missing}");
    fs::copy(&json, dir.path().join("tokenizer.json")).unwrap();
    let text = "tensor Q_3 of 16 MB";
    let model = load(&path);
    assert_eq!(model.tokenizer().encode(text, true).unwrap(), {
        load(&fixture("f32.gguf")).tokenizer().encode(text, true).unwrap()
    });
}

#[test]
fn labels_are_one_token_each_and_differ() {
    let expected = Expected::read();
    let tokenizer = load(&fixture("f32.gguf")).tokenizer();
    let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    assert_eq!(tokenizer.label_tokens("the tensor\nanswer: ", &digits).unwrap(), expected.labels);
    let refused = |labels: &[&str]| {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        tokenizer.label_tokens("answer:", &labels).unwrap_err().to_string()
    };
    assert!(refused(&["10"]).contains("label \"10\": it is 2 tokens after the prompt"));
    assert!(refused(&["1", "1"]).contains("it is the same token as \"1\""));
    assert!(refused(&[""]).contains("it is 0 tokens"));
    let merges = tokenizer.label_tokens("the tens", &["or".into()]).unwrap_err().to_string();
    assert!(merges.contains("changes the tokens before it"), "{merges}");
}

#[test]
fn a_prompt_of_ten_megabytes_is_refused_before_it_is_read() {
    let mut model = load(&fixture("f32.gguf"));
    let text = "tensor ".repeat(10 << 20 >> 3);
    let refused = model.tokenizer().encode(&text, true).unwrap_err();
    assert!(matches!(refused, ModelError::TooLong { limit: 512, .. }), "{refused}");
    let tokens = vec![5; 10 << 20];
    let refused = model.score(&Prompt { prefix: tokens, items: vec![vec![1]], labels: vec![1] }, &never);
    assert!(matches!(refused, Err(ModelError::TooLong { limit: 512, .. })));
}

#[test]
fn prompts_that_cannot_be_asked_are_refused() {
    let mut model = load(&fixture("f32.gguf"));
    let mut refused = |prefix: &[u32], items: &[&[u32]], labels: &[u32]| {
        let items = items.iter().map(|item| item.to_vec()).collect();
        let prompt = Prompt { prefix: prefix.to_vec(), items, labels: labels.to_vec() };
        model.score(&prompt, &never).unwrap_err().to_string()
    };
    assert!(refused(&[1], &[&[2], &[]], &[3]).starts_with("item 1: it has no tokens"));
    assert!(refused(&[1], &[&[99_999]], &[3]).starts_with("items: token 99999"));
    assert!(refused(&[99_999], &[&[2]], &[3]).starts_with("prefix: token 99999"));
    assert!(refused(&[1], &[&[2]], &[99_999]).starts_with("labels: token 99999"));
    let nothing = Prompt { prefix: vec![1], items: Vec::new(), labels: vec![1] };
    assert_eq!(model.score(&nothing, &never).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn a_question_is_cancelled_between_passes() {
    let expected = Expected::read();
    let mut model = load(&fixture("f32.gguf"));
    let asked = Cell::new(0);
    let cancelled = || asked.replace(asked.get() + 1) == 3;
    // What items begin with alike is computed once: these have passes of their own.
    let items = (0..9).map(|item| vec![5 + item; 200]).collect();
    let prompt = Prompt { prefix: expected.prefix.clone(), items, labels: vec![1] };
    assert!(matches!(model.score(&prompt, &cancelled), Err(ModelError::Cancelled)));
    assert_eq!(asked.get(), 4);
    assert_eq!(model.score(&prompt, &never).unwrap().len(), 9);
}

#[test]
fn weights_that_are_not_numbers_are_an_error() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let path = rewritten(&dir, |_, weights| {
        let nan = Tensor::full(f32::NAN, (96, 64), &Device::Cpu).unwrap();
        weights.insert("blk.1.ffn_up.weight".into(), QTensor::quantize(&nan, GgmlDType::F32).unwrap());
    });
    let mut model = load(&path);
    let refused = model.score(&expected.prompt(), &never).unwrap_err();
    assert!(matches!(refused, ModelError::NotFinite { item: 0 }), "{refused}");
}

#[test]
fn damaged_files_are_refused_with_the_place() {
    let dir = TempDir::new().unwrap();
    let none = dir.path().join("none.gguf");
    assert!(refusal(&none, &LoadOptions::default()).contains("none.gguf: cannot be read"));
    let whole = fs::read(fixture("f32.gguf")).unwrap();
    let path = dir.path().join("damaged.gguf");
    let damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        refusal(&path, &LoadOptions::default())
    };
    assert!(damaged(b"").contains("is not a GGUF file"));
    assert!(damaged(b"PK\x03\x04").contains("is not a GGUF file"));
    for length in [4, 20, 24, 1000, 20_000] {
        let message = damaged(&whole[..length]);
        assert!(message.contains("cut off") || message.contains("byte"), "{length}: {message}");
    }
    let message = damaged(&whole[..whole.len() - 100]);
    assert!(message.contains("and the file has") && message.contains("cut off"), "{message}");
    // Counts that no file has.
    for at in [8, 16] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(damaged(&bytes).contains("more than fit into a header"));
    }
    // Any byte of the header may be anything: read or refused, never a panic.
    let mut state = 1u32;
    for at in (0..2000).chain((2000..30_000).step_by(97)) {
        let mut bytes = whole.clone();
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes[at] ^= (state >> 24) as u8 | 1;
        fs::write(&path, &bytes).unwrap();
        let _ = LocalModel::load(&path, &LoadOptions::default());
    }
}

#[test]
fn models_that_are_not_built_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let with = |key: &str, value: Value| {
        let path = rewritten(&dir, |metadata, _| {
            metadata.insert(key.into(), value);
        });
        refusal(&path, &LoadOptions::default())
    };
    assert!(with("general.architecture", Value::String("mamba".into())).contains("the architecture is mamba"));
    assert!(with("llama.expert_count", Value::U32(8)).contains("mixture of experts"));
    assert!(with("llama.rope.scaling.type", Value::String("su".into())).contains("rope scaling su"));
    let text = |text: &str| Value::String(text.into());
    assert!(with("general.type", text("adapter")).contains("it holds no model but \"adapter\""));
    // Metadata that would change what is computed are built or refused.
    for (key, value) in [
        ("llama.attention.scale", Value::F32(0.1)),
        ("llama.logit_scale", Value::F32(2.0)),
        ("llama.residual_scale", Value::F32(2.0)),
        ("llama.embedding_scale", Value::F32(2.0)),
        ("llama.attn_logit_softcapping", Value::F32(50.0)),
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.use_parallel_residual", Value::Bool(true)),
        ("llama.a_key_of_tomorrow", Value::U32(0)),
        ("llama.rope.scaling.yarn_ext_factor", Value::F32(1.0)),
    ] {
        let message = with(key, value);
        assert!(message.contains(key) && message.contains("which "), "{message}");
    }
    let lists = |kv_heads: [u32; 2]| Value::Array(kv_heads.map(Value::U32).to_vec());
    assert!(with("llama.attention.head_count_kv", lists([2, 1])).contains("its layers differ in their heads"));
    assert!(with("tokenizer.ggml.bos_token_id", Value::U32(416)).contains("bos_token_id is 416, and there are 416"));
    assert!(with("llama.attention.head_count_kv", Value::U32(3)).contains("4 heads of 16 cannot share 3"));
    assert!(with("llama.attention.head_count", Value::U32(0)).contains("llama.attention.head_count is 0"));
    assert!(with("llama.embedding_length", Value::U32(128)).contains("rope.dimension_count is 16 and heads have 32"));
    let metadata = [("llama.embedding_length", 128), ("llama.rope.dimension_count", 32)];
    let wide = rewritten(&dir, |all, _| all.extend(metadata.map(|(key, n)| (key.into(), Value::U32(n)))));
    let wide = refusal(&wide, &LoadOptions::default());
    assert!(
        wide.contains("token_embd.weight has the shape [416, 64], and the metadata asks for [tokens, 128]"),
        "{wide}"
    );
    assert!(
        with("llama.feed_forward_length", Value::U32(128)).contains("blk.0.ffn_gate.weight has the shape [96, 64]")
    );
    assert!(with("llama.block_count", Value::U32(3)).contains("blk.2.attn_norm.weight is missing"));
    assert!(with("llama.block_count", Value::U32(1)).contains("weights and 12 are known"));
    assert!(with("llama.block_count", Value::String("2".into())).contains("not a whole number"));
    assert!(with("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN)).contains("not a positive number"));
    assert!(with("tokenizer.ggml.model", Value::String("t5".into())).contains("the kind t5 is not built"));
    assert!(with("tokenizer.ggml.scores", Value::Array(vec![])).contains("416 tokens, 0 scores"));
    let gpt2 = rewritten(&dir, |metadata, _| {
        metadata.insert("tokenizer.ggml.model".into(), Value::String("gpt2".into()));
        metadata.insert("tokenizer.ggml.pre".into(), Value::String("kimi-k2".into()));
    });
    assert!(refusal(&gpt2, &LoadOptions::default()).contains("the pre-tokenizer kimi-k2 is not built"));
    let json = LoadOptions { tokenizer: Some(fixture("expected.json")), ..LoadOptions::default() };
    assert!(refusal(&fixture("f32.gguf"), &json).contains("tokenizer of"));
    let threads = LoadOptions { threads: Some(1000), ..LoadOptions::default() };
    assert!(refusal(&fixture("f32.gguf"), &threads).contains("RAYON_NUM_THREADS=1000"));
    #[cfg(not(feature = "cuda"))]
    {
        let cuda = LoadOptions { device: DeviceKind::Cuda, ..LoadOptions::default() };
        assert!(refusal(&fixture("f32.gguf"), &cuda).contains("--features cuda"));
    }
}

#[test]
fn metadata_that_change_nothing_are_read() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let path = rewritten(&dir, |metadata, _| {
        let lists = ["llama.attention.head_count", "llama.attention.head_count_kv", "llama.feed_forward_length"];
        for key in lists {
            let value = metadata[key].clone();
            metadata.insert(key.into(), Value::Array(vec![value; 2]));
        }
        metadata.remove("tokenizer.ggml.token_type");
        metadata.insert("llama.expert_count".into(), Value::U32(0));
        metadata.insert("llama.attention.causal".into(), Value::Bool(true));
        metadata.insert("llama.rope.scaling.type".into(), Value::String("none".into()));
        metadata.insert("llama.rope.scaling.factor".into(), Value::F32(4.0));
    });
    let model = load(&path);
    assert!(largest_difference(&logits(&model, &expected), &expected.logits) < 1e-4);
    for row in &expected.tokens["spm"] {
        assert_eq!(model.tokenizer().encode(&row.text, true).unwrap(), row.start, "{:?}", row.text);
    }
}

/// The old key, the new one without a type and the new one with it say the same.
#[test]
fn linear_scaling_has_three_ways_to_be_said() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let with = |entries: &[(&str, Value)]| {
        let path = rewritten(&dir, |metadata, _| {
            metadata.extend(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        });
        logits(&load(&path), &expected)
    };
    let factor = ("llama.rope.scaling.factor", Value::F32(4.0));
    let said = with(&[factor.clone(), ("llama.rope.scaling.type", Value::String("linear".into()))]);
    assert!(largest_difference(&said, &expected.logits) > 0.1);
    assert_eq!(with(&[factor]), said);
    assert_eq!(with(&[("llama.rope.scale_linear", Value::F32(4.0))]), said);
}

/// As `gguf-split` of llama.cpp does it: each part says which it is, the first has the metadata.
#[test]
fn a_model_in_several_files_is_one() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let bytes = fs::read(fixture("f32.gguf")).unwrap();
    let mut reader = Cursor::new(&bytes);
    let content = Content::read(&mut reader).unwrap();
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let write = |number: u16, told: u16, file: &str| {
        let mut metadata = if number == 0 { content.metadata.clone() } else { HashMap::new() };
        metadata.insert("split.no".into(), Value::U16(told));
        metadata.insert("split.count".into(), Value::U16(3));
        metadata.insert("split.tensors.count".into(), Value::I32(names.len() as i32));
        let mut reader = Cursor::new(&bytes);
        let mine = names.iter().skip(usize::from(number)).step_by(3);
        let weights: Vec<_> =
            mine.map(|name| (name.as_str(), content.tensor(&mut reader, name, &Device::Cpu).unwrap())).collect();
        let weights: Vec<_> = weights.iter().map(|(name, weight)| (*name, weight)).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let path = dir.path().join(file);
        gguf_file::write(&mut fs::File::create(&path).unwrap(), &metadata, &weights).unwrap();
        path
    };
    let first = write(0, 0, "m-00001-of-00003.gguf");
    let second = write(1, 1, "m-00002-of-00003.gguf");
    let missing = refusal(&first, &LoadOptions::default());
    assert!(missing.contains("m-00003-of-00003.gguf: cannot be read"), "{missing}");
    write(2, 2, "m-00003-of-00003.gguf");
    let model = load(&first);
    assert!(largest_difference(&logits(&model, &expected), &expected.logits) < 1e-4);
    assert_eq!(model.info().parameters, load(&fixture("f32.gguf")).info().parameters);
    let further = ["m-00002-of-00003.gguf", "m-00003-of-00003.gguf"].map(|file| dir.path().join(file));
    assert_eq!((model.info().file, model.info().further_files), (first.clone(), further.to_vec()));
    let not_first = refusal(&second, &LoadOptions::default());
    assert!(not_first.contains("part 2 of 3") && not_first.contains("m-00001-of-00003.gguf"), "{not_first}");
    let renamed = dir.path().join("model.gguf");
    fs::copy(&first, &renamed).unwrap();
    let renamed = refusal(&renamed, &LoadOptions::default());
    assert!(renamed.contains("part 1 of 3") && renamed.contains("-00001-of-00003.gguf"), "{renamed}");
    write(2, 1, "m-00003-of-00003.gguf");
    let wrong = refusal(&first, &LoadOptions::default());
    assert!(wrong.contains("does not say that it is part 3"), "{wrong}");
    write(1, 2, "m-00003-of-00003.gguf");
    assert!(refusal(&first, &LoadOptions::default()).contains("is in two of its parts"));
}

#[test]
fn adapters_that_do_not_fit_are_refused_and_the_old_one_stays() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let mut model = load(&fixture("f32.gguf"));
    model.set_adapter(Some(&fixture("plain"))).unwrap();
    let before = model.score(&expected.prompt(), &never).unwrap();

    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("plain/adapter_config.json")).unwrap()).unwrap();
    let weights = safetensors::load(fixture("plain/adapter_model.safetensors"), &Device::Cpu).unwrap();
    let mut refused = |edit: &dyn Fn(&mut serde_json::Value, &mut HashMap<String, Tensor>)| {
        let (mut config, mut weights) = (config.clone(), weights.clone());
        edit(&mut config, &mut weights);
        fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        safetensors::save(&weights, dir.path().join("adapter_model.safetensors")).unwrap();
        model.set_adapter(Some(dir.path())).unwrap_err().to_string()
    };
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    assert!(refused(&|config, _| config["use_dora"] = true.into()).contains("use_dora is not built"));
    assert!(refused(&|config, _| config["modules_to_save"] = vec!["lm_head"].into()).contains("modules_to_save"));
    assert!(refused(&|config, _| config["init_lora_weights"] = "pissa".into()).contains("changed the model's weights"));
    assert!(refused(&|config, _| config["bias"] = "all".into()).contains("bias is \"all\""));
    assert!(refused(&|config, _| config["peft_type"] = "IA3".into()).contains("peft_type is IA3"));
    assert!(refused(&|config, _| config["r"] = 8.into()).contains("has the shape [4, 96], not (8, 96)"));
    assert!(refused(&|config, _| config["r"] = 0.into()).contains("is 0"));
    assert!(refused(&|config, _| config["layers_to_transform"] = 9.into()).contains("names layer 9"));
    assert!(refused(&|config, _| config["layers_to_transform"] = 0.into()).contains("not of the layers"));
    let pattern = serde_json::json!({ "(": 3 });
    assert!(refused(&|config, _| config["rank_pattern"] = pattern.clone()).contains("the pattern \"(\""));
    let missing = refused(&|_, weights| _ = weights.remove(&format!("{q}.lora_B.weight")));
    assert!(missing.contains("q_proj.lora_B.weight is missing"), "{missing}");
    let shape = refused(&|_, weights| {
        let wide = Tensor::zeros((128, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        weights.insert(format!("{q}.lora_B.weight"), wide);
    });
    assert!(shape.contains("q_proj.lora_B.weight has the shape [128, 4], not (64, 4)"), "{shape}");
    let moved = |to: &str| {
        let to = to.to_owned();
        move |_: &mut serde_json::Value, weights: &mut HashMap<String, Tensor>| {
            let a = weights.remove(&format!("{q}.lora_A.weight")).unwrap();
            weights.insert(to.clone(), a);
        }
    };
    let unknown = refused(&moved("base_model.model.lm_head.lora_A.weight"));
    assert!(unknown.contains("lm_head is no module"), "{unknown}");
    let layer = refused(&moved("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"));
    assert!(layer.contains("layers.7.self_attn.q_proj is no module"), "{layer}");
    let magnitude = refused(&moved(&format!("{q}.lora_magnitude_vector")));
    assert!(magnitude.contains("is not the A or B"), "{magnitude}");
    fs::write(dir.path().join("adapter_model.safetensors"), b"short").unwrap();
    assert!(model.set_adapter(Some(dir.path())).unwrap_err().to_string().contains("cannot be read"));
    assert!(model.set_adapter(Some(&fixture("none"))).unwrap_err().to_string().contains("adapter_config.json"));

    assert_eq!(model.info().adapter.as_deref(), Some("plain"));
    assert_eq!(model.score(&expected.prompt(), &never).unwrap(), before);
}

#[test]
fn what_is_loaded_is_told() {
    let info = load(&fixture("q4_k.gguf")).info();
    assert_eq!((info.name.as_str(), info.architecture.as_str(), info.layers), ("tiny mistral", "llama", 2));
    assert_eq!((info.vocabulary, info.context_length), (416, 512));
    assert!(info.quantization.starts_with("Q4_K+"), "{}", info.quantization);
    assert_eq!(info.file_bytes, fs::metadata(fixture("q4_k.gguf")).unwrap().len());
    assert_eq!(info.parameters, 2 * (6 * 256 * 256 - 2 * 256 * 128 + 256 * 256 + 2 * 256) + 417 * 256);
    assert!(serde_json::to_value(&info).unwrap()["device"] == "cpu");
}

/// The file is mapped: what is written over it later would show. Renaming another over it does not.
#[test]
fn a_file_replaced_by_renaming_leaves_the_loaded_model_as_it_is() {
    let (expected, dir) = (Expected::read(), TempDir::new().unwrap());
    let path = dir.path().join("model.gguf");
    fs::copy(fixture("q8_0.gguf"), &path).unwrap();
    let mut model = load(&path);
    let other = dir.path().join("other.gguf");
    let mut file = fs::File::create(&other).unwrap();
    file.seek(SeekFrom::Start(1 << 20)).unwrap();
    file.write_all(b"end").unwrap();
    fs::rename(&other, &path).unwrap();
    let prompt = Prompt { labels: expected.labels.clone(), ..expected.prompt() };
    let rows = model.score(&prompt, &never).unwrap();
    assert_eq!(rows, load(&fixture("q8_0.gguf")).score(&prompt, &never).unwrap());
}
