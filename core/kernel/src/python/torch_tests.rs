//! Modules of PyTorch, against what PyTorch counts.

use std::collections::BTreeMap;

use super::read;
use crate::Kernel;
use crate::count::count;
use crate::nest::{Element, Library, Node, Program};
use crate::source::{Fusion, Shape, Source};
use accel_ground::error::Error;

/// Reads `code`; `said` has shapes, and `N=8`.
pub(super) fn kernel(
    code: &str,
    function: Option<&str>,
    said: &[&str],
    fusion: Fusion,
    backward: bool,
) -> Result<Kernel, Error> {
    let (defines, shapes): (Vec<&str>, Vec<&str>) = said.iter().partition(|text| text.contains('='));
    let define =
        |text: &&str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap())).unwrap();
    let defines: BTreeMap<String, i64> = defines.iter().map(define).collect();
    let shapes: Vec<Shape> = shapes.iter().map(|text| Shape::parse(text).unwrap()).collect();
    let (element, probability) = (Element::F32, 0.5);
    read(&Source { code, function, defines: &defines, shapes: &shapes, element, probability, fusion, backward })
}

/// The libraries that a program calls, and how often each.
fn libraries(program: &Program) -> Vec<(Library, i64)> {
    fn walk(body: &[Node], times: i64, values: &[i64], found: &mut Vec<(Library, i64)>) {
        for node in body {
            match node {
                Node::Loop(l) => {
                    let span = l.upper.value(values).unwrap() - l.lower.value(values).unwrap();
                    walk(&l.body, times * span.max(0), values, found);
                }
                Node::Branch(branch) => walk(&branch.then, times, values, found),
                Node::Library(library) => found.push((library.clone(), times)),
                Node::Work(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    walk(&program.body, 1, &program.values(), &mut found);
    found
}

/// FLOPs of matrix products and convolutions.
pub(super) fn product_flops(program: &Program) -> i64 {
    let values = program.values();
    let one = |(library, times): &(Library, i64)| {
        let parts = [&library.batch, &library.m, &library.n, &library.k];
        2 * times * parts.iter().map(|part| part.value(&values).unwrap()).product::<i64>()
    };
    libraries(program).iter().map(one).sum()
}

/// What `kernel_torch.py` counted.
#[derive(serde::Deserialize)]
struct Counted {
    file: String,
    forward: i64,
    backward: i64,
}

const SOURCES: [(&str, &str); 7] = [
    ("functions.py", include_str!("../../../../tests/fixtures/kernel_torch/functions.py")),
    ("gpt.py", include_str!("../../../../tests/fixtures/kernel_torch/gpt.py")),
    ("llama.py", include_str!("../../../../tests/fixtures/kernel_torch/llama.py")),
    ("mamba.py", include_str!("../../../../tests/fixtures/kernel_torch/mamba.py")),
    ("resnet.py", include_str!("../../../../tests/fixtures/kernel_torch/resnet.py")),
    ("unet.py", include_str!("../../../../tests/fixtures/kernel_torch/unet.py")),
    ("vit.py", include_str!("../../../../tests/fixtures/kernel_torch/vit.py")),
];

#[test]
fn products_have_the_flops_that_pytorch_counts() {
    let counts: Vec<Counted> =
        serde_json::from_str(include_str!("../../../../tests/fixtures/kernel_torch/flops.json")).unwrap();
    assert_eq!(counts.len(), SOURCES.len());
    let mut wrong = Vec::new();
    for counted in counts {
        let (_, code) = SOURCES.iter().find(|(file, _)| *file == counted.file).unwrap();
        for fusion in [Fusion::None, Fusion::Statement, Fusion::Function] {
            match kernel(code, None, &[], fusion, false) {
                Ok(kernel) => {
                    // A product with a vector is a loop here, and a call of `bmm` in PyTorch.
                    let looped = if counted.file == "mamba.py" { 32768 } else { 0 };
                    let found = product_flops(&kernel.program) + looped;
                    // Kernels of attention leave half the scores out where they are causal.
                    let fewer = fusion != Fusion::None && counted.file == "gpt.py" && found < counted.forward;
                    if found != counted.forward && !fewer {
                        let calls: Vec<String> = libraries(&kernel.program)
                            .iter()
                            .map(|(l, times)| format!("{} line {} x{times}", l.name, l.at.line))
                            .collect();
                        wrong.push(format!(
                            "{} {fusion:?}: {found}, not {}: {}",
                            counted.file,
                            counted.forward,
                            calls.join(", ")
                        ));
                    }
                }
                Err(error) => {
                    wrong.push(format!("{} {fusion:?}: {error}", counted.file));
                    break;
                }
            }
        }
        let trained = kernel(code, None, &[], Fusion::None, true).map(|kernel| product_flops(&kernel.program));
        // PyTorch 2.15 counts the gradient of the filters of a grouped convolution as that of one without groups: the
        // FLOPs of one such product, and the groups. A product with a vector is a loop here.
        let (grouped, groups, looped) = match counted.file.as_str() {
            "functions.py" => (18_432, 4, 0),
            "mamba.py" => (19_456, 64, 3 * 32_768),
            _ => (0, 1, 0),
        };
        let expected = counted.backward - grouped * (groups - 1) - looped;
        if trained != Ok(expected) {
            wrong.push(format!("{} backward: {trained:?}, not {expected}", counted.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// FLOPs, loads and stores of all that is done, library calls included as `count` has them.
pub(super) fn totals(code: &str, said: &[&str], fusion: Fusion) -> [f64; 3] {
    let kernel = kernel(code, None, said, fusion, false).unwrap_or_else(|error| panic!("{code}\n{error}"));
    let counts = count(&kernel.program).unwrap();
    [&counts.flops, &counts.load_ops, &counts.store_ops].map(|quantity| quantity.count.value())
}

const MLP: &str = "
import torch.nn as nn
import torch.nn.functional as F
class MLP(nn.Module):
    def __init__(self, d=16, h=32):
        super().__init__()
        self.fc1 = nn.Linear(d, h)
        self.fc2 = nn.Linear(h, d, bias=False)
    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))
";

#[test]
fn sizes_come_from_defaults_calls_and_what_is_said() {
    let flops = |b: f64, d: f64, h: f64| 4.0 * b * d * h + 2.0 * b * h;
    let case = |more: &str, said: &[&str]| totals(&format!("{MLP}{more}"), said, Fusion::None)[0];
    assert_eq!(case("", &["x: f32[8, 16]"]), flops(8.0, 16.0, 32.0));
    assert_eq!(case("", &["x: f32[8, 20]", "d=20"]), flops(8.0, 20.0, 32.0));
    assert_eq!(case("model = MLP(12, 24)\nx = torch.randn(4, 12)\ny = model(x)\n", &[]), flops(4.0, 12.0, 24.0));
    assert_eq!(case("model = MLP(12, 24)\nmodel(torch.randn(4, 12))\n", &["x: f32[9, 12]"]), flops(9.0, 12.0, 24.0));
    assert_eq!(case("model = MLP(12)\n", &["x: f32[2, 3, 12]"]), flops(6.0, 12.0, 32.0));
    let main = "if __name__ == '__main__':\n    net = MLP(8, 8)\n    print(net(torch.ones(3, 8)))\n";
    assert_eq!(case(main, &[]), flops(3.0, 8.0, 8.0));
}

#[test]
fn what_to_look_at_is_chosen_or_asked() {
    let helper = format!("{MLP}def start(w):\n    return w * 0.02\n");
    let read = |code: &str, name: Option<&str>| {
        kernel(code, name, &["x: f32[4, 16]"], Fusion::None, false)
            .map(|kernel| kernel.function.unwrap())
            .map_err(|error| error.to_string())
    };
    assert!(read(&helper, None).unwrap_err().contains("start, MLP"));
    assert_eq!(read(&helper, Some("MLP")).unwrap(), "MLP.forward");
    assert_eq!(read(&helper, Some("MLP.forward")).unwrap(), "MLP.forward");
    assert_eq!(read(&helper, Some("start")).unwrap(), "start");
    assert!(read(&helper, Some("Mlp")).unwrap_err().contains("it has start, MLP"));
    assert_eq!(read(&format!("{helper}net = MLP()\nnet(x)\n"), None).unwrap(), "net");
    // A class that another uses is not asked about.
    let two = format!(
        "{MLP}class Net(nn.Module):\n    def __init__(self):\n        self.mlp = MLP()\n    def forward(self, x):\n        return self.mlp(x)\n"
    );
    assert_eq!(read(&two, None).unwrap(), "Net.forward");
}

#[test]
fn functions_count_what_they_are_made_of() {
    let cases: &[(&str, &[&str], f64)] = &[
        // Products, scale, softmax.
        ("F.scaled_dot_product_attention(x, x, x)", &["x: f32[1, 2, 8, 16]"], 8192.0 + 6.0 * 128.0),
        // Two means, a difference, a square, a root, a quotient for each of 8 groups of 32.
        ("F.group_norm(x, 4)", &["x: f32[2, 8, 4, 4]"], 5.0 * 256.0 + 4.0 * 8.0),
        ("F.rms_norm(x, (8,))", &["x: f32[4, 8]"], 3.0 * 32.0 + 3.0 * 4.0),
        ("F.batch_norm(x, m, m)", &["x: f32[2, 8, 4, 4]", "m: f32[8]"], 2.0 * 256.0 + 2.0 * 8.0),
        ("F.max_pool2d(x, 2)", &["x: f32[1, 1, 8, 8]"], 64.0),
        ("F.adaptive_avg_pool2d(x, 1)", &["x: f32[2, 3, 4, 4]"], 96.0 + 6.0),
        // Log-softmax, then a mean.
        ("F.cross_entropy(x, m)", &["x: f32[4, 8]", "m: i64[4]"], 5.0 * 32.0 + 4.0 + 4.0 + 1.0),
        ("F.mse_loss(x, m)", &["x: f32[4, 8]", "m: f32[4, 8]"], 3.0 * 32.0 + 1.0),
        ("x.add_(m).mul_(2)", &["x: f32[4, 8]", "m: f32[4, 8]"], 64.0),
        ("x.masked_fill(m > 0, -1e9)", &["x: f32[4, 8]", "m: f32[4, 8]"], 0.0),
        ("torch.addmm(m, x, x)", &["x: f32[4, 4]", "m: f32[4, 4]"], 128.0 + 16.0),
        ("x.chunk(2, dim=-1)[0] * 2", &["x: f32[4, 8]"], 16.0),
        ("x.scatter_add(0, m, x)", &["x: f32[4, 8]", "m: i64[4, 8]"], 32.0),
        ("F.conv_transpose2d(x, m, stride=2)", &["x: f32[1, 4, 5, 5]", "m: f32[4, 3, 2, 2]"], 2.0 * 25.0 * 4.0 * 12.0),
        ("F.interpolate(x, scale_factor=2)", &["x: f32[1, 1, 4, 4]"], 0.0),
        ("np.einsum('...c,cd->...d', x, m)", &["x: f32[2, 3, 4]", "m: f32[4, 5]"], 2.0 * 6.0 * 20.0),
        ("np.einsum('ii->', x)", &["x: f32[7, 7]"], 7.0),
        // The third factor is multiplied into the first, the smaller, before the product.
        (
            "np.einsum('bgk,bkd,bk->bgd', x, m, s)",
            &["x: f32[4, 256, 256]", "m: f32[4, 256, 1024]", "s: f32[4, 256]"],
            2.0 * 268_435_456.0 + 262_144.0,
        ),
        ("np.einsum('ij,jk,kl->il', x, m, s)", &["x: f32[2, 9]", "m: f32[9, 8]", "s: f32[8, 3]"], 2.0 * (144.0 + 48.0)),
        ("jax.vmap(lambda r: jnp.dot(r, m))(x)", &["x: f32[8, 16]", "m: f32[16, 4]"], 1024.0),
        ("jax.vmap(lambda r: jnp.sum(r * m))(x)", &["x: f32[8, 16]", "m: f32[16]"], 256.0),
        ("lax.fori_loop(0, 100, lambda i, v: v * 2 + 1, x)", &["x: f32[10]"], 2000.0),
        ("lax.scan(lambda c, r: (c + r, c * 2.0), m, x)", &["x: f32[16, 4]", "m: f32[4]"], 128.0),
        ("x.at[0].add(m)", &["x: f32[4, 8]", "m: f32[8]"], 8.0),
        ("lax.dot_general(x, m, (((2,), (1,)), ((0,), (0,))))", &["x: f32[3, 4, 5]", "m: f32[3, 5, 6]"], 720.0),
        ("lax.conv(x, m, (1, 1), 'SAME')", &["x: f32[1, 3, 8, 8]", "m: f32[4, 3, 3, 3]"], 2.0 * 64.0 * 108.0),
        ("[[sum(a * b for a, b in zip(r, c)) for c in zip(*m)] for r in x]", &["x: f32[3, 4]", "m: f32[4, 5]"], 120.0),
        ("torch.ops.aten.mm.default(x, m)", &["x: f32[3, 4]", "m: f32[4, 5]"], 120.0),
    ];
    for (call, said, flops) in cases {
        let names = ["x", "m", "s"].into_iter().filter(|name| said.iter().any(|shape| shape.starts_with(name)));
        let code = format!("def f({}):\n    return {call}\n", names.collect::<Vec<_>>().join(", "));
        assert_eq!(totals(&code, said, Fusion::None)[0], *flops, "{call}");
        for fusion in [Fusion::Statement, Fusion::Function] {
            let found = totals(&code, said, fusion)[0];
            assert!(found <= *flops && found >= 0.9 * *flops, "{call} {fusion:?}: {found}");
        }
    }
}

#[test]
fn norms_and_softmax_are_one_pass_where_libraries_fuse_them() {
    for call in
        ["F.softmax(x, -1)", "F.log_softmax(x, dim=1)", "F.layer_norm(x, (64,), w, w)", "F.rms_norm(x, (64,), w)"]
    {
        let code = format!("def f(x, w):\n    return {call}\n");
        let said = ["x: f32[32, 64]", "w: f32[64]"];
        let fused = kernel(&code, None, &said, Fusion::Statement, false).unwrap();
        let [nest] = fused.program.body.as_slice() else { panic!("{call}: {:?}", fused.program.body.len()) };
        assert!(matches!(nest, Node::Loop(_)), "{call}");
        // What lies in memory is what goes in and comes out: rows in between are as long as one row.
        let values = fused.program.values();
        let whole = |array: &&crate::nest::Array| {
            array.dims.iter().map(|dim| dim.value(&values).unwrap()).product::<i64>() > 64
        };
        assert_eq!(fused.program.arrays.iter().filter(whole).count(), 2, "{call}");
        assert_eq!(totals(&code, &said, Fusion::Statement)[0], totals(&code, &said, Fusion::None)[0], "{call}");
    }
    // Known statistics: what comes in, what goes out, one kernel.
    let code = "def f(x, m, v, w, b):\n    return F.batch_norm(x, m, v, w, b)\n";
    let said = ["x: f32[2, 8, 4, 4]", "m: f32[8]", "v: f32[8]", "w: f32[8]", "b: f32[8]"];
    let fused = kernel(code, None, &said, Fusion::Statement, false).unwrap();
    let [Node::Loop(_)] = fused.program.body.as_slice() else { panic!("{:?}", fused.program.body.len()) };
    // A root for each channel; a difference, a quotient, a product and a sum for each element; one of them is stored.
    for fusion in [Fusion::None, Fusion::Statement, Fusion::Function] {
        let [flops, _, stores] = totals(code, &said, fusion);
        assert_eq!(flops, 4.0 * 256.0 + 2.0 * 8.0, "{fusion:?}");
        assert!(stores <= 256.0 + 8.0, "{fusion:?}: {stores}");
    }
    // Attention keeps no scores.
    let code = "def f(q, k, v):\n    return F.scaled_dot_product_attention(q, k, v)\n";
    let said = ["q: f32[1, 2, 64, 8]", "k: f32[1, 2, 64, 8]", "v: f32[1, 2, 64, 8]"];
    let fused = kernel(code, None, &said, Fusion::Statement, false).unwrap();
    assert_eq!(fused.program.arrays.len(), 4);
}

#[test]
fn gradients_cost_what_their_kernels_do() {
    // What is added to the forward pass: FLOPs, loads, stores.
    let cases: &[(&str, &[&str], [f64; 3])] = &[
        // Two products for each, which need no add; nothing for what is passed on.
        ("x @ m", &["x: f32[4, 5]", "m: f32[5, 6]"], [480.0, 480.0, 50.0]),
        // The gradient is loaded, and stored for both operands; a product takes both operands too.
        ("x + m", &["x: f32[4, 8]", "m: f32[4, 8]"], [0.0, 32.0, 64.0]),
        ("x * m", &["x: f32[4, 8]", "m: f32[4, 8]"], [64.0, 96.0, 64.0]),
        // The gradient of a bias is a sum over rows.
        ("x + m", &["x: f32[4, 8]", "m: f32[8]"], [32.0, 64.0, 64.0]),
        ("torch.relu(x)", &["x: f32[4, 8]"], [0.0, 64.0, 32.0]),
        ("x[m]", &["x: f32[9, 8]", "m: i64[4]"], [32.0, 96.0, 32.0]),
        ("x.sum()", &["x: f32[4, 8]"], [0.0, 0.0, 32.0]),
        // Counted like products of matrices, whose results have 36 x 27 and 27 x 4 elements.
        ("F.conv2d(x, m)", &["x: f32[1, 3, 8, 8]", "m: f32[4, 3, 3, 3]"], [2.0 * 7776.0, 2.0 * 7776.0, 1080.0]),
    ];
    for (call, said, added) in cases {
        let names = ["x", "m"].into_iter().filter(|name| said.iter().any(|shape| shape.starts_with(name)));
        let code = format!("def f({}):\n    return {call}\n", names.collect::<Vec<_>>().join(", "));
        let counts = |backward| count(&kernel(&code, None, said, Fusion::None, backward).unwrap().program).unwrap();
        let (forward, both) = (counts(false), counts(true));
        let difference = |of: fn(&crate::count::Counts) -> f64| of(&both) - of(&forward);
        let found = [
            difference(|counts| counts.flops.count.value()),
            difference(|counts| counts.load_ops.count.value()),
            difference(|counts| counts.store_ops.count.value()),
        ];
        assert_eq!(found, *added, "{call}");
    }
    let loops = "def f(x):\n    for i in range(3):\n        x = x * 2.0\n    return x\n";
    let error = kernel(loops, None, &["x: f32[4]"], Fusion::None, true).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("gradient"), "{error}");
    let none = kernel("def f(x):\n    for i in range(4):\n        x[i] = 1.0\n", None, &[], Fusion::None, true);
    assert_eq!(none.unwrap_err().field_name(), Some("backward"));
}

#[test]
fn loops_with_counters_end_where_their_counters_say() {
    for (test, step, stores) in
        [("i < n", "i += 1", 10.0), ("n > i", "i = i + 1", 10.0), ("i <= n", "i += 3", 4.0), ("i != n", "i += 1", 10.0)]
    {
        let code = format!("def f(x, n):\n    i = 0\n    while {test}:\n        x[i] = 1.0\n        {step}\n");
        assert_eq!(totals(&code, &["x: f32[100]", "n=10"], Fusion::None)[2], stores, "{test}");
    }
    let halves = "def f(x, n):\n    i = n\n    while i > 0:\n        x[i - 1] = 1.0\n        i //= 2\n";
    assert_eq!(totals(halves, &["x: f32[100]", "n=64"], Fusion::None)[2], 7.0);
    let after = "def f(x, n):\n    i = 0\n    while i < n:\n        i += 4\n    x[i] = 1.0\n";
    let read = kernel(after, None, &["x: f32[100]", "n=10"], Fusion::None, false).unwrap();
    assert!(read.program.body.iter().any(|node| matches!(node, Node::Work(work) if work.accesses.len() == 1)));
}

#[test]
fn graphs_of_torch_export_are_read() {
    let code = "
class GraphModule(torch.nn.Module):
    def forward(self, p_weight: \"f32[8, 4]\", p_bias: \"f32[8]\", x: \"f32[2, 4]\"):
        # No stacktrace found for following nodes
        t: \"f32[4, 8]\" = torch.ops.aten.t.default(p_weight);  p_weight = None
        addmm: \"f32[2, 8]\" = torch.ops.aten.addmm.default(p_bias, x, t);  p_bias = x = t = None
        relu: \"f32[2, 8]\" = torch.ops.aten.relu.default(addmm);  addmm = None
        return (relu,)
";
    assert_eq!(totals(code, &[], Fusion::None)[0], 128.0 + 16.0 + 16.0);
}

/// Recurrent modules as `torch.nn` documents them: for each step, layer and direction a product with the inputs and one
/// with the state before, of as many gates.
#[test]
fn recurrent_modules_give_outputs_and_last_states() {
    let (t, b, c, h) = (20, 4, 8, 16);
    let source = |made: &str, body: &str| {
        format!("import torch\nimport torch.nn as nn\n\nrnn = {made}\n\ndef f(x, s, r):\n    {body}\n")
    };
    let flops = |made: &str, body: &str, shape: &str| {
        let (s, r) = ("s: f32[1, 4, 16]", "r: f32[1, 4, 16]");
        let kernel = kernel(&source(made, body), None, &[shape, s, r], Fusion::None, false);
        product_flops(&kernel.unwrap_or_else(|e| panic!("{made}, {body}: {e}")).program)
    };
    let one = |gates: i64, inputs: i64, states: i64| 2 * t * b * gates * h * (inputs + states);
    let (usual, turned) = ("x: f32[20, 4, 8]", "x: f32[4, 20, 8]");
    for (made, body, shape, wanted) in [
        ("nn.LSTM(8, 16)", "out, (hn, cn) = rnn(x)\n    return out[-1] + hn[0] + cn[0]", usual, one(4, c, h)),
        ("nn.LSTM(8, 16, batch_first=True)", "out, (hn, cn) = rnn(x)\n    return out, hn, cn", turned, one(4, c, h)),
        ("nn.LSTM(8, 16)", "out, (hn, cn) = rnn(x, (s, r))\n    return out", usual, one(4, c, h)),
        (
            "nn.LSTM(8, 16, num_layers=2)",
            "out, (hn, cn) = rnn(x)\n    return out + hn[1]",
            usual,
            one(4, c, h) + one(4, h, h),
        ),
        (
            "nn.LSTM(8, 16, 2, bidirectional=True, dropout=0.1)",
            "out, (hn, cn) = rnn(x)\n    return out[:, :, 31] + hn[3, :, 0]",
            usual,
            2 * (one(4, c, h) + one(4, 2 * h, h)),
        ),
        // States of 4, which a product of their own makes of 16.
        (
            "nn.LSTM(8, 16, proj_size=4)",
            "out, (hn, cn) = rnn(x)\n    return out[0] + hn[0], cn[0, 0, 15]",
            usual,
            one(4, c, 4) + 2 * t * b * h * 4,
        ),
        ("nn.GRU(8, 16)", "out, hn = rnn(x)\n    return out[-1] + hn[0]", usual, one(3, c, h)),
        ("nn.GRU(8, 16)", "out, hn = rnn(x, s)\n    return out", usual, one(3, c, h)),
        ("nn.RNN(8, 16, nonlinearity='relu')", "out, hn = rnn(x)\n    return out", usual, one(1, c, h)),
        ("nn.RNN(8, 16, bias=False)", "return rnn(x)[0]", usual, one(1, c, h)),
        // One sequence alone.
        ("nn.LSTM(8, 16)", "out, _ = rnn(x)\n    return out[0, 0]", "x: f32[20, 8]", one(4, c, h) / b),
    ] {
        assert_eq!(flops(made, body, shape), wanted, "{made}, {body}");
    }
}

/// FLOPs, loads and stores of a function of 1000 elements, each as a multiple of the elements.
fn each(code: &str, fusion: Fusion) -> [f64; 3] {
    totals(code, &["x: f32[1000]", "y: f32[1000]"], fusion).map(|total| total / 1000.0)
}

/// A compiler of graphs stores what is returned and nothing else, and loads each operand of a pass once.
#[test]
fn functions_that_are_compiled_as_a_whole_are_passes() {
    let body = "def f(x, y):\n    a = x * 2.0\n    b = a + y\n    c = torch.relu(b) * a\n    return c - b\n";
    // Five operations; alone they load 2 + 1 + 1 + 2 + 2 operands of 1000 elements and one for `a`.
    let plain = format!("import torch\n{body}");
    assert_eq!(each(&plain, Fusion::None), [5.0, 8.0, 5.0]);
    for decorated in [
        "import torch\n@torch.compile\n",
        "import torch\n@torch.compile(dynamic=True)\n",
        "import torch\nimport jax\n@jax.jit\n",
        "import torch\nfrom jax import jit\n@jit\n",
        "import torch, jax\nfrom functools import partial\n@partial(jax.jit, static_argnums=0)\n",
    ] {
        let code = format!("{decorated}{body}");
        assert_eq!(each(&code, Fusion::None), [5.0, 8.0, 5.0], "{decorated}: as it is written");
        for fusion in [Fusion::Statement, Fusion::Function] {
            assert_eq!(each(&code, fusion), [5.0, 2.0, 1.0], "{decorated}");
        }
    }
    // Where something else compiles it, and through functions that it calls.
    let called = "import torch\ndef g(a):\n    return a + a * a\ndef f(x, y):\n    z = g(x * y)\n    return g(z)\n";
    for compiled in ["h = torch.compile(f)\nh(torch.ones(1000), torch.ones(1000))\n", "torch.compile(f)(x, y)\n"] {
        assert_eq!(each(&format!("{called}{compiled}"), Fusion::Statement), [5.0, 2.0, 1.0], "{compiled}");
    }
    let module = "import torch\nimport torch.nn as nn\nclass Net(nn.Module):\n    def forward(self, x, y):\n        a = x * y\n        return a + torch.relu(a)\n";
    assert_eq!(each(module, Fusion::Statement), [3.0, 4.0, 2.0]);
    let made = format!("{module}net = torch.compile(Net())\nnet(torch.ones(1000), torch.ones(1000))\n");
    assert_eq!(each(&made, Fusion::Statement), [3.0, 2.0, 1.0]);
    // Numba compiles loops, not graphs.
    let numba = format!("import torch\nfrom numba import jit\n@jit\n{body}");
    assert_eq!(each(&numba, Fusion::Statement), each(&plain, Fusion::Statement));
    // Only what is compiled is: around it each statement is a pass.
    let part = "import torch\n@torch.compile\ndef g(x):\n    a = x * 2.0\n    return a + 1.0\ndef f(x, y):\n    z = g(x)\n    w = z * y\n    return w + z\n";
    assert_eq!(each(part, Fusion::Statement), [4.0, 1.0 + 2.0 + 2.0, 3.0]);
}

/// Sums, products and loops end a pass: what several of them need is computed in each, and what nothing needs in none.
#[test]
fn what_compiled_functions_need_twice_is_computed_twice() {
    let code = |body: &str| format!("import jax.numpy as jnp\nimport jax\n@jax.jit\ndef f(x, y):\n{body}");
    // The sum loads x, and the product with it loads x and computes `a` again.
    let sum = code("    a = x * 2.0\n    return a * a.sum()\n");
    assert_eq!(each(&sum, Fusion::Statement), [1.0 + 1.0 + 2.0, 2.0, 1.0]);
    let two = code("    a = x * 2.0\n    return a + y, a - y\n");
    assert_eq!(each(&two, Fusion::Statement), [4.0, 4.0, 2.0]);
    let unused = code("    a = x * 2.0\n    b = a + y\n    return a\n");
    assert_eq!(each(&unused, Fusion::Statement), [1.0, 1.0, 1.0]);
    let same = code("    a = x * 2.0\n    a += y\n    b: jnp.ndarray = a * a\n    return jnp.exp(b) + b\n");
    assert_eq!(each(&same, Fusion::Statement), [5.0, 2.0, 1.0]);
    // A condition ends a pass of what it reads; what it does not read, and nothing else does, is not done.
    let arms = code(
        "    a = x * 2.0\n    b = y * 3.0\n    if x[0] > 0:\n        c = a + 1.0\n    else:\n        c = a - 1.0\n    return c\n",
    );
    assert_eq!(each(&arms, Fusion::Statement)[0], 2.0);
    // A matrix product reads what stands in memory; once it stands there, others read it too.
    let product = code("    a = x.reshape(10, 100) * 2.0\n    return a @ a.T, a + 1.0\n");
    let stores = each(&product, Fusion::Statement)[2];
    assert!((stores - (1.0 + 0.1 + 1.0)).abs() < 1e-9, "{stores}");
}

/// einops names axes: what it makes is what reshapes, transpositions and reductions make.
#[test]
fn einops_is_reshapes_and_reductions() {
    let code = |call: &str| format!("from einops import rearrange, reduce, repeat\ndef f(x):\n    return {call}\n");
    for (call, plain, shape) in [
        (
            "rearrange(x, 'b n (h d) -> b h n d', h=8) * 2.0",
            "x.reshape(4, 6, 8, 2).transpose(1, 2) * 2.0",
            "x: f32[4, 6, 16]",
        ),
        (
            "rearrange(x, 'b h n d -> b n (h d)') * 2.0",
            "x.transpose(1, 2).reshape(4, 3, 10) * 2.0",
            "x: f32[4, 2, 3, 5]",
        ),
        (
            "rearrange(x, 'b ... -> b (...)' if False else 'b ... d -> b d ...') * 2.0",
            "x.permute(0, 3, 1, 2) * 2.0",
            "x: f32[4, 2, 3, 5]",
        ),
        ("rearrange(x, 'b 1 d -> d b') * 2.0", "x.squeeze(1).t() * 2.0", "x: f32[4, 1, 5]"),
        ("rearrange(x, 'b d -> b 1 d ()') * 2.0", "x[:, None, :, None] * 2.0", "x: f32[4, 5]"),
        (
            "rearrange(x, 'b c (h p) (w q) -> b (h w) (p q c)', p=2, q=2) * 2.0",
            "x.reshape(2, 3, 4, 2, 4, 2).permute(0, 2, 4, 3, 5, 1).reshape(2, 16, 12) * 2.0",
            "x: f32[2, 3, 8, 8]",
        ),
        ("repeat(x, 'b d -> b n d', n=3) * 2.0", "x[:, None].expand(4, 3, 5) * 2.0", "x: f32[4, 5]"),
        (
            "reduce(x, 'b c (h p) (w q) -> b c h w', 'max', p=2, q=2)",
            "x.reshape(2, 3, 4, 2, 4, 2).permute(0, 1, 2, 4, 3, 5).amax((4, 5))",
            "x: f32[2, 3, 8, 8]",
        ),
        ("reduce(x, 'b n d -> b d', 'mean')", "x.transpose(1, 2).mean(2)", "x: f32[4, 6, 5]"),
        ("reduce(x, 'b n -> ', 'sum')", "x.sum()", "x: f32[4, 6]"),
    ] {
        let shapes = [shape];
        assert_eq!(totals(&code(call), &shapes, Fusion::None), totals(&code(plain), &shapes, Fusion::None), "{call}");
    }
    let patches = "import torch.nn as nn\nfrom einops.layers.torch import Rearrange\nnet = nn.Sequential(Rearrange('b c (h p) (w q) -> b (h w) (p q c)', p=4, q=4), nn.Linear(48, 8))\ndef f(x):\n    return net(x)\n";
    let read = kernel(patches, None, &["x: f32[2, 3, 8, 8]"], Fusion::None, false).unwrap();
    assert_eq!(product_flops(&read.program), 2 * 2 * 4 * 48 * 8);
    for (call, says) in [
        ("rearrange(x, 'b (h w) -> b h w')", "how long h and w are is not known. Give one of them: h=4"),
        ("rearrange(x, 'b (h w) -> b h w', h=5)", "16 elements are no multiple of 5"),
        ("rearrange(x, 'b n -> b')", "has not the same axes on both sides"),
        ("rearrange(x, 'b b -> b b')", "names b twice"),
        ("rearrange(x, 'b n d -> b d n')", "begins with 3 axes, and the array has 2"),
        ("rearrange(x, 'b (n -> b n')", "do not close"),
        ("rearrange(x, 'b n -> n b', k=3)", "the pattern has no axis k"),
        ("repeat(x, 'b n -> b n c')", "how long c is is not known. Give it: c=4"),
        ("reduce(x, 'b n -> b', 'median')", "Give one of 'mean', 'sum', 'max', 'min', 'prod'"),
    ] {
        let error = kernel(&code(call), None, &["x: f32[4, 16]"], Fusion::None, false).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains(says), "{call}: {error}");
    }
}

/// Control flow of JAX: a loop whose state alone says when it ends, and one of two functions.
#[test]
fn control_flow_of_jax_is_read() {
    let head = "import jax.numpy as jnp\nfrom jax import lax\n";
    let counted = format!(
        "{head}def f(x):\n    def test(s):\n        return s[0] < 10\n    def body(s):\n        i, v = s\n        return i + 1, v * 2.0\n    return lax.while_loop(test, body, (0, x))[1]\n"
    );
    assert_eq!(totals(&counted, &["x: f32[100]"], Fusion::None), [1000.0, 1000.0, 1000.0]);
    let said = format!(
        "{head}def f(x):\n    return lax.while_loop(lambda v: v.sum() > 1.0, lambda v: v * 0.5, x)  # trips: 20\n"
    );
    // A sum to ask, and a product.
    assert_eq!(totals(&said, &["x: f32[100]"], Fusion::None), [20.0 * 200.0, 20.0 * 200.0, 20.0 * 100.0]);
    let error =
        kernel(&said.replace("trips", "-"), None, &["x: f32[100]"], Fusion::None, false).unwrap_err().to_string();
    assert!(error.contains("line 4") && error.contains("trips: N"), "{error}");
    let one = format!(
        "{head}def f(x):\n    return lax.cond(x[0] > 0.0, lambda a: a * 2.0, lambda a: a * 2.0 + a, x)  # probability: 0.25\n"
    );
    assert_eq!(totals(&one, &["x: f32[100]"], Fusion::None)[0], 0.25 * 100.0 + 0.75 * 200.0);
}
