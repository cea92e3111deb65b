//! What policies and scorers are worth at every point of the table: measured, compared, and written down.

pub mod compare;
pub mod gaps;
pub mod measure;
mod plots;
mod report;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use accel_core::policy::POLICIES;
use accel_core::score::embedded::TRAINED;
use anyhow::{Context as _, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::points::{Point, SEED, points};
use measure::{Measured, measure};

/// Counts the changes of what is measured, and of policies: results of another version are measured again.
pub const VERSION: u32 = 1;

/// What is measured, and where it is put.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only points whose name holds this, such as a family; nothing is written unless --out is given.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// The folder of evaluation.md and evaluation/; docs where absent.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The file that keeps the results of finished points; beside the build outputs where absent.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Measure everything again, whatever is kept.
    #[arg(long)]
    pub fresh: bool,
    /// Points measured at once; as many as there are processors where absent. No result depends on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// A line of the file that is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// What the result depends on, hashed.
    hash: String,
    measured: Measured,
}

/// What the result of a point depends on: its row, the network, the policies, and the version of all else.
fn hash(point: &Point) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{VERSION} {} {SEED} {point:?}", env!("CARGO_PKG_VERSION")));
    hash.update(TRAINED);
    POLICIES.iter().for_each(|policy| hash.update(policy.name));
    hex(&hash.finalize())
}

/// The first 16 digits.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The results that a file keeps, by hash; a line that was cut off is none.
fn kept(path: &Path) -> anyhow::Result<BTreeMap<String, Measured>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Kept>(line).ok());
    Ok(lines.map(|kept| (kept.hash, kept.measured)).collect())
}

/// The file where none is named: in the folder of the build outputs, which the program lies two folders below.
fn beside_the_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("the program does not know where it is; give --keep FILE")?;
    let folder = program.ancestors().nth(2).context("the program lies in no folder; give --keep FILE")?;
    Ok(folder.join("eval.jsonl"))
}

/// Measures what is missing of `points`, and returns all, in their order.
fn measured(points: &[Point], options: &Options) -> anyhow::Result<Vec<Measured>> {
    let path = options.keep.clone().map_or_else(beside_the_program, Ok)?;
    let mut found = if options.fresh { BTreeMap::new() } else { kept(&path)? };
    let keep = match options.fresh {
        true => fs::File::create(&path),
        false => fs::File::options().create(true).append(true).open(&path),
    };
    let keep = Mutex::new(keep.with_context(|| format!("cannot write {}", path.display()))?);
    let missing: Vec<&Point> = points.iter().filter(|point| !found.contains_key(&hash(point))).collect();
    println!("{} points, of which {} are in {}", points.len(), points.len() - missing.len(), path.display());
    // The largest first, so that no thread ends long after the others.
    let sizes = on_all(options.threads, missing.len(), |at| {
        let point = missing[at];
        Ok(point.row.trace(point.place.capacity_bytes)?.accesses().len() as u64)
    })?;
    let mut order: Vec<(u64, &Point)> = sizes.into_iter().zip(missing.iter().copied()).collect();
    order.sort_by_key(|(accesses, _)| std::cmp::Reverse(*accesses));
    let bar = ProgressBar::new(order.iter().map(|(accesses, _)| accesses).sum());
    bar.set_style(ProgressStyle::with_template("{msg:>8} {wide_bar} {percent:>3} % {eta}")?);
    let start = Instant::now();
    let done = on_all(options.threads, order.len(), |at| {
        let (accesses, point) = order[at];
        let began = Instant::now();
        let measured = measure(point).with_context(|| point.name())?;
        let kept = Kept { hash: hash(point), measured };
        let line = serde_json::to_string(&kept)?;
        let mut file = keep.lock().map_err(|_| anyhow!("another thread failed"))?;
        // At once, so that whatever stops the program loses no finished point; on a line of its own, whatever was cut off.
        file.write_all(format!("\n{line}").as_bytes()).context("cannot keep a result")?;
        bar.inc(accesses);
        let left = bar.eta().as_secs();
        let left =
            if bar.position() < bar.length().unwrap_or_default() { format!(", {left} s left") } else { String::new() };
        bar.suspend(|| println!("{}: {:.1} s{left}", point.name(), began.elapsed().as_secs_f64()));
        Ok(kept)
    })?;
    bar.finish_and_clear();
    println!("{} points measured in {:.0} s", done.len(), start.elapsed().as_secs_f64());
    found.extend(done.into_iter().map(|kept| (kept.hash, kept.measured)));
    let of = |point: &Point| found.get(&hash(point)).cloned().with_context(|| format!("no result of {}", point.name()));
    points.iter().map(of).collect()
}

/// Runs `work` for 0 to `count` on many threads; the first failure ends it.
fn on_all<T: Send>(
    threads: Option<usize>,
    count: usize,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(done);
            }
            done.push((at, work(at).inspect_err(|_| next.store(count, Ordering::Relaxed))?));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<_>>| {
            thread.join().map_err(|_| anyhow!("a thread failed"))?
        };
        threads.into_iter().map(join).collect::<anyhow::Result<Vec<Vec<_>>>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Measures the points and writes the page, the plots and the table.
pub fn eval(options: &Options) -> anyhow::Result<()> {
    let wanted = |point: &Point| options.only.as_ref().is_none_or(|only| point.name().contains(only));
    let points: Vec<Point> = points().filter(wanted).collect();
    let only = options.only.as_deref().unwrap_or_default();
    anyhow::ensure!(!points.is_empty(), "no point's name holds \"{only}\": name a family, such as decode, or a model");
    let all = measured(&points, options)?;
    let out = match (&options.out, &options.only) {
        (Some(out), _) => out.as_path(),
        (None, None) => Path::new("docs"),
        (None, Some(_)) => {
            println!("{}", report::report(&all, "A part of all points."));
            return Ok(());
        }
    };
    write(&all, out)
}

/// Writes the page, the plots and the table into `out`.
fn write(all: &[Measured], out: &Path) -> anyhow::Result<()> {
    let made = format!(
        "Made by `cargo xtask eval`, which measures again what has changed and writes this page, its plots and its table: \
         results version {VERSION}, seed {SEED}, network {}.",
        hex(&Sha256::digest(TRAINED))
    );
    let folder = out.join("evaluation");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let put = |path: PathBuf, bytes: &[u8]| {
        println!("{}: {} bytes", path.display(), bytes.len());
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    put(out.join("evaluation.md"), report::report(all, &made).as_bytes())?;
    for (name, svg) in plots::all(all)? {
        put(folder.join(name), svg.as_bytes())?;
    }
    put(folder.join("points.parquet"), &table::write(all)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path, threads: usize) -> Options {
        let keep = Some(folder.join("kept.jsonl"));
        Options { only: None, out: None, keep, fresh: false, threads: Some(threads) }
    }

    /// The smallest of all.
    fn tiny() -> Vec<Point> {
        points().filter(|point| point.name().contains("decoder at inference")).collect()
    }

    fn files(all: &[Measured], out: &Path) -> Vec<Vec<u8>> {
        write(all, out).unwrap();
        let names = ["evaluation.md", "evaluation/families.svg", "evaluation/points.svg", "evaluation/points.parquet"];
        names.map(|name| fs::read(out.join(name)).unwrap()).into()
    }

    /// Stopped in the middle of a line, and gone on with more threads: the same bytes.
    #[test]
    fn a_run_that_was_stopped_goes_on_and_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let whole = measured(&tiny(), &options(folder.path(), 1)).unwrap();
        assert_eq!(whole.len(), 2);
        let path = folder.path().join("kept.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 100]).unwrap();
        assert_eq!(kept(&path).unwrap().len(), 1);
        let again = measured(&tiny(), &options(folder.path(), 3)).unwrap();
        assert_eq!(again, whole);
        assert_eq!(files(&whole, &folder.path().join("a")), files(&again, &folder.path().join("b")));
        // Nothing is left to measure.
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(measured(&tiny(), &options(folder.path(), 2)).unwrap(), whole);
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        let digest = hex(&Sha256::digest(serde_json::to_string(&whole).unwrap()));
        assert_eq!(
            digest, DIGEST,
            "results have changed: raise VERSION, run cargo xtask eval, and put this digest here"
        );
    }

    /// Of what is measured at [`tiny`], so that a change of it is told by [`VERSION`].
    const DIGEST: &str = "039594d9d3ef9564";

    #[test]
    fn a_result_depends_on_its_memory() {
        let all: Vec<Point> = points().collect();
        let hashes: std::collections::BTreeSet<String> = all.iter().map(hash).collect();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn no_point_is_an_error() {
        let options = Options { only: Some("no such point".into()), ..options(Path::new("."), 1) };
        assert!(eval(&options).unwrap_err().to_string().contains("no point's name holds"));
    }

    /// The README quotes the page, and the page is that of this version and network.
    #[test]
    fn the_readme_quotes_the_evaluation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let words = |name: &str| {
            let text = fs::read_to_string(root.join(name)).unwrap();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let page = words("docs/evaluation.md");
        let quote = page.split("On ").nth(1).unwrap().split(" ## ").next().unwrap();
        assert!(words("README.md").contains(quote), "the README does not say: On {quote}");
        let made = format!("results version {VERSION}, seed {SEED}, network {}", hex(&Sha256::digest(TRAINED)));
        assert!(page.contains(&made), "docs/evaluation.md is of another version: run cargo xtask eval");
    }
}
