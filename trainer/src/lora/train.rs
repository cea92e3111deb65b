//! Learns an adapter: from a file of questions, over a model that stays as it is; goes on where it was interrupted.

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::time::Instant;

use accel_core::score::prompt::VERSION;
use accel_model::DeviceKind;
use accel_model::local::learn::{About, Learner, LoraSettings, Loss};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};

use super::batches::{Reader, batch};
use super::open;
use crate::questions::{self, DataSet, Split};

/// What is learned and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LoraArgs {
    /// The model: a GGUF file of Llama architecture
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// The folder of the adapter, and of what is needed to go on after an interruption
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Questions, as `questions` makes them; without, they are made into the folder
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// An adapter to begin with
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Steps in all
    #[arg(long, default_value_t = 400)]
    pub steps: u64,
    /// Questions of a step
    #[arg(long, default_value_t = 16)]
    pub batch: usize,
    /// The highest rate of AdamW; it rises to that in the first twentieth and then falls to nothing
    #[arg(long, default_value_t = 1e-3)]
    pub rate: f64,
    /// Seed of the first values, the order and what is left out
    #[arg(long, default_value_t = 5)]
    pub seed: u64,
    /// Where to compute
    #[arg(long, default_value_t)]
    pub device: DeviceKind,
}

/// Rank, alpha and dropout of LoRA's adapters for language models (Hu et al., 2021, and PEFT's examples).
const RANK: usize = 8;
const ALPHA: f64 = 16.0;
const DROPOUT: f64 = 0.1;
/// Steps between two checkpoints: what is computed again after an interruption.
const KEEP_EVERY: u64 = 5;
/// Steps that a line of progress tells of.
const TELL_EVERY: u64 = 10;

/// The rate of a step: a line up to the highest, then half a cosine down to nothing.
fn rate(args: &LoraArgs, step: u64) -> f64 {
    let warm = (args.steps / 20).max(1) as f64;
    let at = (step + 1) as f64;
    let left = ((at - warm) / (args.steps as f64 - warm).max(1.0)).clamp(0.0, 1.0);
    args.rate * (at / warm).min(1.0) * 0.5 * (1.0 + (std::f64::consts::PI * left).cos())
}

/// Learns, and tells `out` how it goes.
///
/// # Errors
/// What is wrong with the model, the questions or a checkpoint, with the cure; nothing written before is lost.
pub fn train(args: &LoraArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::ensure!(args.steps > 0 && args.batch > 0, "--steps and --batch are numbers from 1");
    let shown = args.out.display();
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {shown}: name another folder"))?;
    let path = args.data.clone().unwrap_or_else(|| args.out.join("questions.jsonl"));
    if args.data.is_none() && !path.exists() {
        writeln!(out, "making questions")?;
        questions::write(&path, out)?;
    }
    let data = DataSet::read(&path)?;
    let rows = data.of(Split::Training);
    let settings = LoraSettings { rank: RANK, alpha: ALPHA, dropout: DROPOUT, seed: args.seed };
    let mut learner = Learner::new(open(&args.model, args.adapter.clone(), args.device)?, settings)?;
    let tokenizer = learner.tokenizer();
    let reader = Reader::new(&tokenizer)?;
    let about = about(args, &data)?;
    let checkpoint = args.out.join("checkpoint.safetensors");
    if checkpoint.exists() {
        learner.resume(&checkpoint, &about)?;
        writeln!(out, "going on after step {}", learner.steps())?;
        write_adapter(args, &data, &learner)?;
    }
    writeln!(out, "{} questions to learn from, {} numbers are learned", rows.len(), learner.parameters())?;
    let bar = ProgressBar::new(args.steps);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} step {pos}/{len} {eta:>4} left  {msg}") {
        bar.set_style(style);
    }
    let (terminal, began, first) = (std::io::stderr().is_terminal(), Instant::now(), learner.steps());
    let mut lately: Vec<Loss> = Vec::new();
    while learner.steps() < args.steps {
        let step = learner.steps();
        let rows = batch(&rows, args.batch, args.seed, step);
        let prompt = reader.prompt(rows.iter().map(|row| row.question.as_str()))?;
        let wanted: Vec<Vec<f32>> = rows.iter().map(|row| row.shares()).collect();
        lately.push(learner.learn(&prompt, &wanted, rate(args, step))?);
        let done = step + 1;
        if done.is_multiple_of(KEEP_EVERY) || done == args.steps {
            learner.keep(&checkpoint, &about)?;
            write_adapter(args, &data, &learner)?;
        }
        let mean = |of: fn(&Loss) -> f64| lately.iter().map(of).sum::<f64>() / lately.len() as f64;
        let told = format!("loss {:.3}, among digits {:.3}", mean(|loss| loss.all), mean(|loss| loss.labels));
        bar.set_message(told.clone());
        bar.set_position(done);
        if done.is_multiple_of(TELL_EVERY) || done == args.steps {
            if !terminal {
                let each = began.elapsed().as_secs_f64() / (done - first) as f64;
                writeln!(out, "step {done} of {}: {told}, {each:.1} s a step", args.steps)?;
            }
            lately.clear();
        }
    }
    bar.finish_and_clear();
    writeln!(out, "the adapter is in {shown}; measure it with `accel-trainer lora-measure --adapter {shown}`")?;
    Ok(())
}

/// The adapter as it is, and its card.
fn write_adapter(args: &LoraArgs, data: &DataSet, learner: &Learner) -> anyhow::Result<()> {
    learner.save(&args.out, true)?;
    let path = args.out.join("README.md");
    std::fs::write(&path, card(args, data, learner)).with_context(|| format!("cannot write {}", path.display()))
}

/// What must be the same for a run to go on.
fn about(args: &LoraArgs, data: &DataSet) -> anyhow::Result<About> {
    let digest = Sha256::digest(data.text()?.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(About::from([
        ("questions (SHA-256)".into(), digest),
        ("--steps".into(), args.steps.to_string()),
        ("--batch".into(), args.batch.to_string()),
        ("--rate".into(), args.rate.to_string()),
        ("--seed".into(), args.seed.to_string()),
    ]))
}

/// The card of the adapter.
fn card(args: &LoraArgs, data: &DataSet, learner: &Learner) -> String {
    let sources: Vec<String> =
        data.card.sources.iter().map(|source| format!("{} of seed {}", source.split, source.seed)).collect();
    let (base, steps, batch, done) = (learner.info().name, args.steps, args.batch, learner.steps());
    format!(
        "---\nlibrary_name: peft\nbase_model: {base}\n---\n\n# An adapter that tells when a tensor is used again\n\n\
         | | |\n| --- | --- |\n\
         | Base model | {base}, as it lies in its GGUF file |\n\
         | Task | the digit of question version {VERSION}: a next use within 4^digit accesses |\n\
         | Data | {questions} questions of workloads of random shapes: {sources}. No published model is among them |\n\
         | Labels | how often each digit was the answer in the trace's own future; those cut off by its end are left out |\n\
         | Loss | cross-entropy of these shares over the whole vocabulary: that among digits, and minus log of their mass |\n\
         | Adapter | LoRA, rank {RANK}, alpha {ALPHA}, dropout {DROPOUT}, on q, k, v, o, gate, up and down; {parameters} numbers, half precision |\n\
         | Training | AdamW without decay, {done} of {steps} steps of {batch} questions, rate {rate} after a twentieth of warm-up, half a cosine down, gradients clipped to 1, seed {seed} |\n\
         | Reproduce | `cargo run --release -p accel-trainer -- lora --model FILE.gguf --out DIR --steps {steps} --batch {batch} --rate {rate} --seed {seed}` |\n",
        questions = data.of(Split::Training).len(),
        sources = sources.join(", "),
        parameters = learner.parameters(),
        rate = args.rate,
        seed = args.seed,
    )
}
