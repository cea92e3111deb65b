//! From a request to a report.

use std::collections::{BTreeMap, BTreeSet};

use super::cache::Misses;
use super::cost::{self, Cost, Target};
use super::count::{self, Counts};
use super::nest::{Grid, Kernel, Program};
use super::report::{Count, DEFAULT_DEVICE, DEFAULT_GPU, Features, Language, OptLevel, Report, Request};
use super::share::Part;
use super::source::{self, Fusion, INPUT, Shape, Source};
use super::{c, cache, foreign, grid, python, share, stablehlo};
use accel_ground::device::DeviceRef;
use accel_ground::error::{Error, Place};
use accel_ground::progress::{Flow, Progress};

/// Parameters are at most this far from zero.
const MOST: i64 = 1 << 40;
/// The definition of that name says how many registers a thread of a grid has.
const REGISTERS: &str = "registers_per_thread";
/// With less work than this, a sample finds nothing.
const LEAST_BUDGET: u64 = 1_000_000;
/// Counting takes a sixth of the budget at most in evaluations of terms, but so many at least: exact counts come first.
const EVALUATIONS_SHARE: u64 = 6;
const LEAST_EVALUATIONS: u64 = 2_000_000;
/// An evaluation takes as long as so many lines touched: 51 ns (20 million in 1.03 s, "conditions on products" of
/// `benches/answers.rs` on one core of an AMD EPYC) beside 10.
const EVALUATION_LINES: u64 = 5;
/// What counting leaves of the budget to caches at least: a part of so many.
const LEAST_LEFT: u64 = 4;
/// More definitions or shapes than a kernel has.
const MOST_DEFINITIONS: usize = 1024;

/// What the kernel of `request` does and costs.
///
/// ```
/// use accel_kernel::{predict, report::Request};
/// use accel_ground::progress::Unattended;
///
/// let code = "for (int i = 0; i < N; i++) y[i] += a * x[i];".to_owned();
/// let request = Request { code, defines: [("N".to_owned(), 1000)].into(), ..Request::default() };
/// let report = predict(&request, &mut Unattended)?;
/// assert_eq!(report.features.flops.value(), 2000.0);
/// # Ok::<(), accel_ground::error::Error>(())
/// ```
pub fn predict(request: &Request, progress: &mut dyn Progress) -> Result<Report, Error> {
    source::check_length(&request.code)?;
    check(request)?;
    // Said before the source is read.
    request.device.as_ref().map(DeviceRef::device).transpose()?;
    let shapes: Vec<Shape> = request.shapes.iter().map(|text| Shape::parse(text)).collect::<Result<_, _>>()?;
    let mut assumptions = Assumptions::default();
    let language = match request.language {
        // The extension of its files is that of other dialects, too.
        Some(Language::Stablehlo) if !foreign::is_stablehlo(&request.code) => {
            foreign::check(&request.code)?;
            Language::Stablehlo
        }
        Some(language) => language,
        None if foreign::is_stablehlo(&request.code) => Language::Stablehlo,
        None => {
            foreign::check(&request.code)?;
            detect(&request.code)?
        }
    };
    if request.language.is_none() {
        assumptions.extend([format!("read as {}, inferred from the code", language.title())]);
    }
    let read = |fusion| read(request, &shapes, language, fusion);
    // Features are those of the code as written; time is that of the code as compiled.
    let written = read(Fusion::None)?;
    let named = |name: &str| DeviceRef::Known(name.to_owned());
    let device = request.device.clone().unwrap_or_else(|| {
        if written.grid.is_none() {
            return named(DEFAULT_DEVICE);
        }
        assumptions.extend([format!(
            "nobody names a device: kernels on a grid are written for GPUs, and this is {DEFAULT_GPU}"
        )]);
        named(DEFAULT_GPU)
    });
    let mut target = Target::of(request, &device)?;
    let most_evaluations = (request.budget / EVALUATIONS_SHARE).max(LEAST_EVALUATIONS);
    let mut evaluations = most_evaluations;
    let counts = count::count_within(&written.program, &mut evaluations)?;
    // C has no operations on whole arrays: it need not be read again.
    let fusion = if language == Language::C { Fusion::None } else { fusion(request.opt_level) };
    let compiled = if fusion == Fusion::None { None } else { Some(read(fusion)?) };
    let compiled = compiled.filter(|compiled| compiled.program != written.program);
    let compiled = compiled.map(|kernel| kernel.program);
    // Blocks meet memory with all their threads together.
    let compiled = written.grid.as_ref().map(|own| grid::lockstep(&written.program, own)).or(compiled);
    let fused = compiled
        .map(|program| Ok::<_, Error>((count::count_within(&program, &mut evaluations)?, program)))
        .transpose()?;
    assumptions.extend(&written.program.assumptions);
    assumptions.extend(&counts.assumptions);
    if let Some((counts, program)) = &fused {
        assumptions.extend(&program.assumptions);
        assumptions.extend(&counts.assumptions);
        let fused = if written.grid.is_some() {
            "caches, time, energy and lines are those of blocks one after the other, whose threads take each statement together"
        } else {
            "features and closed forms are those of the code as written; caches, time, energy and lines are those \
                     of the fused passes"
        };
        assumptions.extend([fused]);
    }
    let (run, program) = fused.as_ref().map_or((&counts, &written.program), |(counts, program)| (counts, program));
    if progress.report(0, 1, "caches") == Flow::Cancel {
        return Err(Error::Cancelled);
    }
    let spent = (most_evaluations - evaluations).saturating_mul(EVALUATION_LINES);
    let budget = request.budget.saturating_sub(spent).max(request.budget / LEAST_LEFT);
    let misses = misses(program, &target, (request, budget), progress)?;
    let facts = written.grid.as_ref().map(|own| {
        let registers = request.defines.get(REGISTERS).copied();
        grid::facts(&written.program, own, target.name(), registers, counts.flops.count, counts.mem_bytes.count)
    });
    if let Some(facts) = &facts {
        if facts.report.occupancy.is_none() {
            assumptions.extend([format!(
                "a kernel on a grid: how many of its blocks {} holds at once is not known; GPUs such as h100-sxm are",
                target.name()
            )]);
        }
        let tensor = written.grid.as_ref().map(|own| own.tensor_lines.clone()).unwrap_or_default();
        target.grid(facts.widened, facts.uneven, tensor);
    }
    let mut cost = cost::cost(program, run, &misses, &target, request.opt_level);
    if request.cores > 1 {
        on_cores(&mut cost, program, &target, (request, budget), &mut evaluations, progress)?;
    }
    assumptions.extend(&target.assumptions);
    assumptions.extend(&cost.assumptions);
    if cost.ms.iter().chain(&cost.joules).any(|figure| !figure.is_finite()) {
        let problem = "the kernel's cost exceeds the range of 64-bit floating-point numbers".to_owned();
        return Err(Error::TooLarge { problem, cure: "Choose smaller parameters".into() });
    }
    let [low, latency_ms, high] = cost.ms;
    let [low_j, high_j] = cost.joules;
    Ok(Report {
        latency_ms,
        latency_range_ms: [low, high],
        energy_j: f64::midpoint(low_j, high_j),
        energy_range_j: [low_j, high_j],
        features: features(&counts, written.grid.as_ref()),
        feature_importance: cost.feature_importance,
        levels: cost.levels,
        closed_forms: closed_forms(&counts, written.grid.as_ref()),
        assumptions: assumptions.all,
        function: written.function,
        language,
        device: target.name().to_owned(),
        opt_level: request.opt_level,
        parameters: parameters(&written.program),
        bottleneck: cost.bottleneck,
        parts: cost.parts,
        roofline: cost.roofline,
        lines: cost.lines,
        operators: cost.operators,
        advice: cost.advice,
        grid: facts.map(|facts| facts.report),
    })
}

/// The misses in each cache of `target`, found with at most so much work.
fn misses(
    program: &Program,
    target: &Target,
    (request, budget): (&Request, u64),
    progress: &mut dyn Progress,
) -> Result<Vec<Misses>, Error> {
    let capacities: Vec<u64> = target.levels.iter().map(|level| level.capacity_bytes).collect();
    let found = cache::misses_within(program, target.line_bytes, &capacities, budget, progress)?;
    Ok(match request.warm {
        true => found.into_iter().map(|level| level.warm(target.line_bytes)).collect(),
        false => found,
    })
}

/// Puts the time of several cores in the place of that of one: that of the busiest.
fn on_cores(
    cost: &mut Cost,
    program: &Program,
    target: &Target,
    (request, budget): (&Request, u64),
    evaluations: &mut u64,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let target = target.with_cores(request.cores);
    let parts: &[Part] = if share::is_uneven(program) { &[Part::First, Part::Last] } else { &[Part::First] };
    let mut busiest: Option<Cost> = None;
    for part in parts {
        let Some(own) = share::shared(program, request.cores, *part) else {
            let problem = "no loop of the source is marked as parallel";
            let cure = "Write `#pragma omp parallel for` before it in C, `prange` in numba, or leave cores out";
            return Err(Error::field("cores", request.cores, problem, cure));
        };
        let counts = count::count_within(&own, evaluations)?;
        let misses = misses(&own, &target, (request, budget), progress)?;
        let own = cost::cost(&own, &counts, &misses, &target, request.opt_level);
        if busiest.as_ref().is_none_or(|busiest| busiest.ms[1] < own.ms[1]) {
            busiest = Some(own);
        }
    }
    if let Some(busiest) = busiest {
        cost.take_time(busiest, share::begun(program));
    }
    cost.assumptions.push(format!(
        "each of the {} cores takes as many rounds of a shared loop as any, one behind the other; it has caches of its own, \
         and its part of the last one and of the memory below; counts, caches, lines and energy are those of all together",
        request.cores
    ));
    Ok(())
}

fn read(request: &Request, shapes: &[Shape], language: Language, fusion: Fusion) -> Result<Kernel, Error> {
    let source = Source {
        code: &request.code,
        function: request.function.as_deref(),
        defines: &request.defines,
        shapes,
        element: request.element,
        probability: request.probability,
        fusion,
        backward: request.backward,
    };
    match language {
        Language::C => c::read(&source),
        Language::Python => python::read(&source),
        Language::Stablehlo => stablehlo::read(&source),
    }
}

/// All that is assumed, each once.
#[derive(Default)]
struct Assumptions {
    all: Vec<String>,
    known: BTreeSet<String>,
}

impl Assumptions {
    fn extend(&mut self, more: impl IntoIterator<Item = impl Into<String>>) {
        for assumption in more.into_iter().map(Into::into) {
            if self.known.insert(assumption.clone()) {
                self.all.push(assumption);
            }
        }
    }
}

/// How much of chained array operations is done in one pass.
fn fusion(opt_level: OptLevel) -> Fusion {
    match opt_level {
        OptLevel::O0 | OptLevel::O1 => Fusion::None,
        OptLevel::O2 => Fusion::Statement,
        OptLevel::O3 => Fusion::Function,
    }
}

/// Fails on the first field that is out of range.
fn check(request: &Request) -> Result<(), Error> {
    if !(0.0..=1.0).contains(&request.probability) {
        let cure = "Choose a number from 0 to 1";
        return Err(Error::field("probability", request.probability, "no probability", cure));
    }
    if request.backward && request.language == Some(Language::C) {
        let problem = "C has no array operations, whose gradients are known";
        return Err(Error::field("backward", true, problem, "Leave it out, or give a module or a function in Python"));
    }
    if request.budget < LEAST_BUDGET {
        let cure = format!("Give {LEAST_BUDGET} or more, or leave it out");
        return Err(Error::field("budget", request.budget, "too little work to find anything", cure));
    }
    for (field, given) in [("defines", request.defines.len()), ("shapes", request.shapes.len())] {
        if given > MOST_DEFINITIONS {
            return Err(Error::field(field, given, "too many", format!("Give at most {MOST_DEFINITIONS}")));
        }
    }
    for (name, value) in &request.defines {
        if !source::is_name(name) {
            let cure = "Write letters, digits and underscores, such as N";
            return Err(Error::field("defines", format!("\"{name}\""), "no name of a parameter", cure));
        }
        if !(-MOST..=MOST).contains(value) {
            let cure = format!("Choose a number from -{MOST} to {MOST}");
            return Err(Error::field(format!("defines.{name}"), value, "out of range", cure));
        }
    }
    Ok(())
}

/// The language of `code`, inferred from how its lines begin and end.
fn detect(code: &str) -> Result<Language, Error> {
    let (mut c, mut python) = (0u32, 0u32);
    for line in code.lines().map(str::trim) {
        let starts = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        c += u32::from(
            line.ends_with([';', '{', '}']) || starts(&["//", "/*", "#include", "#define", "#pragma", "for("]),
        );
        python += u32::from(line.ends_with(':') || starts(&["def ", "import ", "from ", "return ", "@", "class "]));
        // Both end a return in their own way.
        python -= u32::from(starts(&["return "]) && line.ends_with(';'));
    }
    match c.cmp(&python) {
        std::cmp::Ordering::Greater => Ok(Language::C),
        std::cmp::Ordering::Less => Ok(Language::Python),
        // Neither has a mark: an assignment without a semicolon is Python.
        std::cmp::Ordering::Equal if c == 0 && code.contains(['=', '@', '(']) => Ok(Language::Python),
        std::cmp::Ordering::Equal => {
            let problem = "it is unclear whether this is C or Python";
            Err(Error::input(INPUT, Place::Whole, problem, "Say which: language c or python"))
        }
    }
}

fn features(counts: &Counts, grid: Option<&Grid>) -> Features {
    Features {
        // Loops over blocks and threads are the grid's, not the source's.
        num_loops: counts.num_loops - grid.map_or(0, Grid::loops),
        num_branches: counts.num_branches,
        load_ops: counts.load_ops.count,
        store_ops: counts.store_ops.count,
        flops: counts.flops.count,
        int_ops: counts.int_ops.count,
        mem_bytes: counts.mem_bytes.count,
    }
}

fn closed_forms(counts: &Counts, grid: Option<&Grid>) -> BTreeMap<String, String> {
    let quantities = [
        ("rounds", &counts.rounds),
        ("load_ops", &counts.load_ops),
        ("store_ops", &counts.store_ops),
        ("flops", &counts.flops),
        ("int_ops", &counts.int_ops),
        ("mem_bytes", &counts.mem_bytes),
    ];
    let loops = counts.num_loops - grid.map_or(0, Grid::loops);
    let fixed = [("num_loops", loops), ("num_branches", counts.num_branches)];
    let fixed = fixed.into_iter().map(|(name, count)| (name.to_owned(), count.to_string()));
    quantities.into_iter().map(|(name, quantity)| (name.to_owned(), quantity.form.clone())).chain(fixed).collect()
}

fn parameters(program: &Program) -> BTreeMap<String, i64> {
    program.symbols.iter().filter_map(|symbol| Some((symbol.name.clone(), symbol.value?))).collect()
}

impl Count {
    /// As people write it: whole numbers with commas, others with a few digits.
    pub fn text(self) -> String {
        match self {
            Self::Whole(count) => accel_ground::units::format_count(count),
            Self::Real(count) if count.abs() < 1e6 => format!("{count:.1}"),
            Self::Real(count) => format!("{count:.4e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{BUDGET, Level};

    #[test]
    fn languages_are_told_apart() {
        let c = ["for (int i = 0; i < N; i++) x[i] = 0;", "void f(int n) {\n  return;\n}", "x[0] = 1;"];
        let python =
            ["def f(a, b): return a @ b", "def f(x):\n    return x", "c = a @ b", "for i in range(n):\n  x[i] = 0"];
        for code in c {
            assert_eq!(detect(code), Ok(Language::C), "{code}");
        }
        for code in python {
            assert_eq!(detect(code), Ok(Language::Python), "{code}");
        }
        assert!(detect("").unwrap_err().to_string().contains("unclear"));
    }

    #[test]
    fn without_a_device_grids_run_on_a_gpu() {
        let cuda = "__global__ void f(float *x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] *= 2; }";
        let plain = "for (int i = 0; i < n; i++) x[i] *= 2;";
        for (code, device, wanted) in [
            (cuda, None, DEFAULT_GPU),
            (plain, None, DEFAULT_DEVICE),
            (cuda, Some("epyc-7452"), "epyc-7452"),
            (plain, Some("l4"), "l4"),
        ] {
            let device = device.map(|name| DeviceRef::Known(name.to_owned()));
            let request = Request { code: code.to_owned(), device: device.clone(), ..Request::default() };
            let report = predict(&request, &mut accel_ground::progress::Unattended).unwrap();
            assert_eq!(report.device, wanted);
            let told = report.assumptions.iter().any(|own| own.starts_with("nobody names a device"));
            assert_eq!(told, device.is_none() && code == cuda);
        }
        let device = Some(DeviceRef::Known("abacus".to_owned()));
        let request = Request { code: "what is this".to_owned(), device, ..Request::default() };
        assert!(
            predict(&request, &mut accel_ground::progress::Unattended)
                .unwrap_err()
                .to_string()
                .contains("no such device")
        );
    }

    fn on(device: &str, code: &str, shapes: &[&str], opt_level: OptLevel) -> Report {
        let request = Request {
            code: code.to_owned(),
            shapes: shapes.iter().map(|shape| (*shape).to_owned()).collect(),
            device: Some(DeviceRef::Known(device.to_owned())),
            opt_level,
            ..Request::default()
        };
        predict(&request, &mut accel_ground::progress::Unattended).unwrap()
    }

    /// Measured by NeuSight's authors (sitar-lab/NeuSight): one pass over large arrays on two cards of the A100.
    #[test]
    fn passes_over_large_arrays_take_what_was_measured() {
        let cases = [
            (
                "a100-80-pcie",
                "def f(x):\n    return x * 0.37",
                &["x: f32[98304, 2048]"][..],
                0.973,
                2.0 * 805_306_368.0,
            ),
            (
                "a100-40-pcie",
                "def f(a, b):\n    return a + b",
                &["a: f32[16384, 8192]", "b: f32[16384, 8192]"],
                1.198,
                3.0 * 536_870_912.0,
            ),
        ];
        for (device, code, shapes, ms, bytes) in cases {
            let report = on(device, code, shapes, OptLevel::O2);
            let [low, high] = report.latency_range_ms;
            assert!(low <= ms && ms <= high, "{device}: {low} to {high}");
            assert!((report.latency_ms / ms - 1.0).abs() < 0.05, "{device}: {}", report.latency_ms);
            let level = report.levels.last().unwrap();
            let moved = level.bytes.value() + level.written_bytes.value();
            assert!((moved / bytes - 1.0).abs() < 0.01, "{device}: {moved} instead of {bytes}");
        }
    }

    #[test]
    fn operators_are_found_in_programs() {
        let ms = |code: &str, shapes: &[&str]| on("a100-80", code, shapes, OptLevel::O2).latency_ms;
        // One product of all rows, however they are written.
        let (x, w) = ("x: f32[8, 512, 1024]", "w: f32[4096, 1024]");
        let folded = ms("def f(x, w):\n    return F.linear(x, w)", &["x: f32[4096, 1024]", w]);
        let batched = ms("def f(x, w):\n    return F.linear(x, w)", &[x, w]);
        assert!((batched / folded - 1.0).abs() < 1e-9, "{batched} {folded}");
        // A sum of squares reads once; the bytes decide.
        let sum = on("a100-80", "def f(x):\n    return (x * x).sum(axis=1)", &["x: f32[65536, 4096]"], OptLevel::O2);
        let bytes = 65_536.0 * 4096.0 * 4.0;
        let least = bytes / 2039e9 * 1e3;
        assert!(least < sum.latency_ms && sum.latency_ms < 1.3 * least, "{} {least}", sum.latency_ms);
        // A product in loops meets its operands again and again: it is no operator.
        let code = "for (int i = 0; i < 1024; i++) for (int j = 0; j < 1024; j++) for (int k = 0; k < 1024; k++) \
                    C[i][j] += A[i][k] * B[k][j];";
        let loops = on("a100-80", code, &[], OptLevel::O2);
        let library = ms("def f(a, b):\n    return a @ b", &["a: f32[1024, 1024]", "b: f32[1024, 1024]"]);
        assert!(loops.latency_ms > 2.0 * library, "{} {library}", loops.latency_ms);
    }

    #[test]
    fn advice_prices_the_changes() {
        let code = "def f(x, w, b):\n    return np.maximum(F.linear(x, w) + b, 0.0)";
        let shapes = ["x: f32[4096, 1024]", "w: f32[1024, 1024]", "b: f32[1024]"];
        let report = on("a100-80", code, &shapes, OptLevel::O1);
        let classes: Vec<&str> = report.operators.iter().map(|own| own.class.as_str()).collect();
        assert_eq!(classes, ["product", "element-wise", "element-wise"]);
        let sum: f64 = report.operators.iter().map(|own| own.ms).sum();
        assert!((sum / report.latency_ms - 1.0).abs() < 1e-9, "{sum} {}", report.latency_ms);
        let factor = |change: &str| {
            let found = report.advice.iter().find(|advice| advice.change.contains(change));
            found.unwrap_or_else(|| panic!("{change}: {:?}", report.advice)).factor
        };
        // Products at 312 TFLOP/s in place of 19.5, and half the bytes.
        assert!((3.0..16.0).contains(&factor("bf16")) && factor("bf16") > factor("TF32"));
        // What is asked for is what it then takes.
        let half = shapes.map(|shape| shape.replace("f32", "bf16"));
        let half = on("a100-80", code, &half.each_ref().map(String::as_str), OptLevel::O1);
        let told = report.advice.iter().find(|advice| advice.change.starts_with("bf16")).unwrap().ms;
        assert!((half.latency_ms / told - 1.0).abs() < 1e-6, "{} {told}", half.latency_ms);
        assert!(
            half.advice.iter().any(|advice| advice.change.contains("element-wise 2 operations")),
            "{:?}",
            half.advice
        );
        let small = ["x: f32[16, 16]", "w: f32[16, 16]", "b: f32[16]"];
        assert!(on("epyc-7452", code, &small, OptLevel::O1).advice.is_empty());
    }

    #[test]
    fn operations_on_integers_are_counted() {
        let report =
            on("h100-sxm", "def f(a, b):\n    return a @ b", &["a: i8[256, 512]", "b: i8[512, 128]"], OptLevel::O2);
        assert_eq!(report.features.flops, Count::Whole(0));
        assert_eq!(report.features.int_ops, Count::Whole(2 * 256 * 512 * 128));
        let code = "def f(a, b):\n    return a + b";
        let sum = on("h100-sxm", code, &["a: i32[1000]", "b: i32[1000]"], OptLevel::O2);
        assert_eq!((sum.features.flops, sum.features.int_ops), (Count::Whole(0), Count::Whole(1000)));
        let floats = on("h100-sxm", code, &["a: f32[1000]", "b: f32[1000]"], OptLevel::O2);
        assert_eq!((floats.features.flops, floats.features.int_ops), (Count::Whole(1000), Count::Whole(0)));
        assert!(!serde_json::to_string(&floats.features).unwrap().contains("int_ops"));
    }

    /// Nothing of this moves evenly: a smaller budget gives an interval, around what a larger one finds exactly.
    #[test]
    fn what_the_budget_does_not_reach_is_bounded() {
        let code = "void f(double x[3000], double y[9000]) {\n  for (int i = 0; i < 600; i++)\n    \
                    for (int j = 0; j < 600; j++)\n      y[(i * j) % 9000] += x[(i * i + j) % 3000];\n}";
        let base = Request {
            code: code.to_owned(),
            levels: Some(vec![Level { name: "L1".into(), capacity_bytes: 32 << 10 }]),
            ..Request::default()
        };
        let found = |budget: u64| {
            let request = Request { budget, ..base.clone() };
            predict(&request, &mut accel_ground::progress::Unattended).unwrap().levels.remove(0)
        };
        let (exact, bounded) = (found(BUDGET), found(LEAST_BUDGET));
        assert!(exact.method.starts_with("exact"), "{}", exact.method);
        assert!(bounded.method.starts_with("sampled"), "{}", bounded.method);
        let [low, high] = bounded.capacity_misses_range.unwrap();
        let misses = exact.capacity_misses.value();
        assert!(low <= misses && misses <= high && low < high, "{misses} is not within {low} to {high}");
    }

    /// What has no closed form is counted round by round, within the budget.
    #[test]
    fn counting_keeps_to_the_budget() {
        let code = "void f(double x[4000][4000]) { for (int i = 0; i < 4000; i++) for (int j = 0; j < 4000; j++)\n\
                    if (i * j % 7 == 3 && i * i + j * j < 9000000) x[i][j] += 1; }";
        let request = Request { code: code.to_owned(), budget: LEAST_BUDGET, ..Request::default() };
        let error = predict(&request, &mut accel_ground::progress::Unattended).unwrap_err().to_string();
        assert!(error.contains(&format!("{LEAST_EVALUATIONS} evaluations")), "{error}");
        assert!(error.contains("a larger budget"), "{error}");
        // The default leaves what it always did.
        assert_eq!(BUDGET / EVALUATIONS_SHARE, count::MAX_EVALUATIONS);
    }

    #[test]
    fn requests_out_of_range_name_their_field() {
        let code = "x[0] = 1;".to_owned();
        let level = |name: &str, capacity_bytes| Level { name: name.into(), capacity_bytes };
        let base = Request { code, ..Request::default() };
        let cases = [
            (Request { probability: 1.5, ..base.clone() }, "probability"),
            (Request { probability: f64::NAN, ..base.clone() }, "probability"),
            (Request { budget: 1000, ..base.clone() }, "budget"),
            (Request { line_bytes: Some(48), ..base.clone() }, "line_bytes"),
            (Request { line_bytes: Some(8192), ..base.clone() }, "line_bytes"),
            (Request { levels: Some(Vec::new()), ..base.clone() }, "levels"),
            (Request { levels: Some(vec![level("L", 1 << 20); 9]), ..base.clone() }, "levels"),
            (Request { levels: Some(vec![level("L1", 32)]), ..base.clone() }, "levels[0].capacity_bytes"),
            (
                Request { levels: Some(vec![level("L1", 4096), level("L2", 2048)]), ..base.clone() },
                "levels[1].capacity_bytes",
            ),
            (Request { levels: Some(vec![level("", 4096)]), ..base.clone() }, "levels[0].name"),
            (Request { defines: [("N".into(), i64::MAX)].into(), ..base.clone() }, "defines.N"),
            (Request { defines: [("1N".into(), 1)].into(), ..base.clone() }, "defines"),
            (Request { shapes: vec!["a".into()], ..base.clone() }, "shape"),
        ];
        for (request, field) in cases {
            let error = predict(&request, &mut accel_ground::progress::Unattended).unwrap_err();
            assert_eq!(error.field_name(), Some(field), "{error}");
        }
    }
}
