//! Files of Python as people write them: what stands around the function that is looked at, and how it is written.

use super::torch_tests::{kernel, product_flops, totals};
use crate::nest::Element;
use crate::source::Fusion;

/// FLOPs of products of a source that says everything itself.
fn products(code: &str) -> i64 {
    let read = kernel(code, None, &[], Fusion::None, false).unwrap_or_else(|error| panic!("{code}\n{error}"));
    product_flops(&read.program)
}

/// What a source does in all: FLOPs, loads, stores.
fn all(code: &str) -> [f64; 3] {
    totals(code, &[], Fusion::None)
}

fn refused(code: &str) -> String {
    kernel(code, None, &[], Fusion::None, false).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn statements_of_the_file_give_what_its_call_needs() {
    // Six rows, four of them from the keyword: 2 * 6 * 6 * 8.
    let joined = "
import torch
def f(x, past=None):
    if past is not None:
        x = torch.cat((past, x), dim=0)
    return x @ x.T
sizes = (4, 8)
rows = torch.randn(*sizes)
past, other = rows, None
y = f(torch.randn(2, 8), past=past)
";
    assert_eq!(products(joined), 2 * 6 * 6 * 8);
    // What a function of the file makes, and what starred arguments hold.
    let made = "
import torch
def weights(sizes):
    return [torch.randn(m, n) for m, n in zip(sizes[:-1], sizes[1:])]
def forward(x, first, *rest):
    x = x @ first
    for w in rest:
        x = x @ w
    return x
params = weights([16, 8, 4, 2])
y = forward(torch.randn(32, 16), *params)
";
    assert_eq!(products(made), 2 * 32 * (16 * 8 + 8 * 4 + 4 * 2));
    // The call around another is what is looked at; the one inside makes its argument.
    let nested = "
import torch, torch.nn as nn
class Turn(nn.Module):
    def forward(self, p):
        return p[:, None].float() * torch.arange(0, 8)[None]
class Layer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.q = nn.Linear(d, d, bias=False)
    def forward(self, x, angles, **kwargs):
        return self.q(x) * angles.cos()
turn = Turn()
layer = Layer(8)
y = layer(torch.randn(4, 8), turn(torch.arange(4)))
";
    let read = kernel(nested, None, &[], Fusion::None, false).unwrap();
    assert_eq!((read.function.as_deref(), product_flops(&read.program)), (Some("layer"), 2 * 4 * 8 * 8));
    // Mapped, partial and anonymous functions that the file makes and calls.
    let mapped = "
import jax, jax.numpy as jnp
def one(w, x):
    return jnp.dot(w, x)
batched = jax.vmap(one, in_axes=(None, 0))
y = batched(jnp.ones((8, 16)), jnp.ones((64, 16)))
";
    assert_eq!(all(mapped)[0], f64::from(2 * 8 * 16 * 64));
}

#[test]
fn what_else_the_file_calls_is_said_and_found_by_name() {
    let code = "
import torch, torch.nn as nn
class Net(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.fc = nn.Linear(d, d, bias=False)
    def forward(self, x):
        return self.fc(x)
small = Net(4)
large = Net(8)
y = small(torch.randn(2, 4))
z = large(torch.randn(2, 8))
";
    let last = kernel(code, None, &[], Fusion::None, false).unwrap();
    assert_eq!((last.function.as_deref(), product_flops(&last.program)), (Some("large"), 2 * 2 * 8 * 8));
    assert!(last.program.assumptions.iter().any(|text| text.contains("calls small as well")));
    let named = kernel(code, Some("small"), &[], Fusion::None, false).unwrap();
    assert_eq!(product_flops(&named.program), 2 * 2 * 4 * 4);
}

#[test]
fn defaults_of_integers_are_used() {
    let code = "import torch\ndef anchors(h: int = 16, w: int = 8):\n    return torch.zeros(h, w)\na = anchors()\n";
    assert_eq!(all(code), [0.0, 0.0, 128.0]);
    assert_eq!(totals(code, &["h=2"], Fusion::None), [0.0, 0.0, 16.0]);
}

#[test]
fn methods_of_the_classes_behind_are_done() {
    let direct = "import torch, torch.nn as nn\nm = nn.GroupNorm(8, 32)\ndef f(x):\n    return m(x)\ny = f(torch.randn(2, 32, 8, 8))\n";
    let own = "
import torch
import torch.nn as nn
class Norm(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x.float()).type(x.dtype)
m = Norm(8, 32)
y = m(torch.randn(2, 32, 8, 8))
";
    assert!(all(own)[0] > 0.0);
    assert_eq!(all(own), all(direct));
    // `nn.Sequential` made by `super`, and a base named by its module though the class has its name.
    let sequential = "
import torch, torch.nn as nn
class Block(nn.Sequential):
    def __init__(self, i, o):
        super(Block, self).__init__(nn.Linear(i, o, bias=False), nn.ReLU())
m = Block(8, 4)
y = m(torch.randn(2, 8))
";
    assert_eq!(products(sequential), 2 * 2 * 8 * 4);
    let adapted = "
import torch, torch.nn as nn, torch.nn.functional as F
class Adapter():
    def __init__(self, r: int):
        self.r = r
class Linear(nn.Linear, Adapter):
    def __init__(self, i, o, r=0, **options):
        nn.Linear.__init__(self, i, o, **options)
        Adapter.__init__(self, r=r)
        self.a = nn.Parameter(self.weight.new_zeros((r, i)))
        self.b = nn.Parameter(self.weight.new_zeros((o, r)))
    def forward(self, x):
        return F.linear(x, self.weight) + x @ self.a.transpose(0, 1) @ self.b.transpose(0, 1)
m = Linear(16, 32, r=4, bias=False)
y = m(torch.randn(8, 16))
";
    assert_eq!(products(adapted), 2 * 8 * (16 * 32 + 16 * 4 + 4 * 32));
}

#[test]
fn layers_stand_in_the_order_in_which_they_are_named() {
    let code = "
import torch, torch.nn as nn
from collections import OrderedDict
m = nn.Sequential(OrderedDict([('z', nn.Linear(4, 8, bias=False)), ('a', nn.Linear(8, 2, bias=False))]))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = {'wide': 6, 'narrow': 3}
        self.m = m
        self.heads = nn.ModuleDict({name: nn.Linear(2, size, bias=False) for name, size in sizes.items()})
    def forward(self, x):
        h = self.m[1:](self.m[0](x))
        return {name: head(h) for name, head in self.heads.items()}
net = Net()
y = net(torch.randn(5, 4))
";
    assert_eq!(products(code), 2 * 5 * (4 * 8 + 8 * 2 + 2 * 6 + 2 * 3));
}

#[test]
fn lists_are_made_and_taken_apart() {
    let code = "
import torch
def f(x, params):
    q, k, v = map(lambda t: t.reshape(4, 2, -1).transpose(0, 1), x.chunk(3, dim=-1))
    *hidden, last = params
    for w in hidden:
        v = v @ w
    pairs = [(i, j) for i in range(3) for j in range(i)]
    total = sum(torch.roll(last, i, 0) for i, j in pairs if j == 0)
    shape = (*q.shape[:-1], -1)
    return (q @ k.mT @ v).reshape(shape), total
y = f(torch.randn(4, 24), [torch.randn(4, 4), torch.randn(3)])
";
    // Two products of [2, 4, 4] matrices with one, and one with the parameters.
    assert_eq!(products(code), 3 * 2 * 2 * 4 * 4 * 4);
}

#[test]
fn arrays_of_integers_choose_along_any_axes() {
    // An index of each array and an element are loaded, and a result stored.
    let pairs = "import torch\ndef f(s, t):\n    return s[torch.arange(8), t]\ny = f(torch.randn(8, 5), torch.randint(0, 5, (8,)))\n";
    let row = "import torch\ndef f():\n    return torch.arange(8)\n";
    assert_eq!(all(pairs)[1..], [8.0 * 3.0, 8.0 + all(row)[2]]);
    let later = "import torch\ndef f(cache, i, k):\n    cache[:, :, i] = k\n    return cache\ny = f(torch.randn(2, 3, 16, 4), torch.tensor([7]), torch.randn(2, 3, 1, 4))\n";
    assert_eq!(all(later), [0.0, 24.0 + 1.0, 24.0]);
    let mask = "import torch\ndef f(x):\n    return x[x > 0]\ny = f(torch.randn(4, 4))\n";
    assert!(refused(mask).contains("how many elements a mask takes"), "{}", refused(mask));
    // Where the largest stands is an integer, so it can choose.
    let nearest = "import numpy as np\ndef f(d):\n    return d[np.arange(6), np.argmin(d, axis=1)]\ny = f(np.random.rand(6, 3))\n";
    assert_eq!(all(nearest)[0], 0.0);
}

#[test]
fn images_are_cut_into_columns_and_padded_from_the_last_axis() {
    let code = "
import torch, torch.nn.functional as F
def f(x, w):
    return w @ F.unfold(x, kernel_size=3, padding=1)
y = f(torch.randn(2, 8, 16, 16), torch.randn(12, 72))
";
    assert_eq!(products(code), 2 * 2 * 12 * 72 * 256);
    let windows =
        "import torch\ndef f(x):\n    return x.unfold(-1, 16, 8) @ torch.ones(16, 3)\ny = f(torch.randn(4, 128))\n";
    assert_eq!(products(windows), 2 * 4 * 15 * 16 * 3);
    let padded = "import torch\nimport torch.nn.functional as F\ndef f(x):\n    return F.pad(x, [1, 2, 0, 3])\ny = f(torch.randn(2, 4, 5))\n";
    // A store for each element of [2, 7, 8], and a load and a store for each of [2, 4, 5].
    assert_eq!(all(padded), [0.0, 40.0, 112.0 + 40.0]);
    let both =
        "import torch\ndef f(x):\n    return torch.roll(x, shifts=(-1, 2), dims=(0, 1))\ny = f(torch.randn(4, 6))\n";
    assert_eq!(all(both), [0.0, 48.0, 48.0]);
}

#[test]
fn flax_and_jax_are_read_as_they_are_written() {
    let dense = "
import jax, jax.numpy as jnp
import flax.linen as nn
class Block(nn.Module):
    dim: int = 8
    def setup(self):
        self.up = nn.Dense(4 * self.dim)
        self.down = nn.Dense(self.dim, use_bias=False)
        self.norm = nn.LayerNorm()
    def __call__(self, x):
        return x + self.down(nn.gelu(self.up(self.norm(x))))
block = Block()
y = block(jnp.ones((2, 8)))
";
    assert_eq!(products(dense), 2 * 2 * (8 * 32 + 32 * 8));
    let cache = "
import jax.numpy as jnp
from jax import lax
def f(cache, k, at):
    return lax.dynamic_update_slice(cache, k, (0, at))
y = f(jnp.zeros((4, 16)), jnp.ones((4, 2)), 3)
";
    // A copy, and the part that is new.
    assert_eq!(all(cache), [0.0, 64.0 + 8.0, 64.0 + 8.0]);
    let gradient = "import jax\ndef f(x):\n    return (x * x).sum()\ndef g(x):\n    return jax.grad(f)(x)\n";
    assert!(refused(gradient).contains("--backward"), "{}", refused(gradient));
}

#[test]
fn what_a_compiler_of_graphs_changes_is_said_once() {
    let code = "import torch\n@torch.compile\ndef f(x):\n    return x * 2.0 + 1.0\ny = f(torch.randn(64))\n";
    for (fusion, said) in [(Fusion::None, "@compile changes nothing here"), (Fusion::Function, "compiled as a whole")] {
        let read = kernel(code, None, &[], fusion, false).unwrap();
        let about: Vec<&String> = read.program.assumptions.iter().filter(|text| text.contains("compile")).collect();
        assert!(matches!(about.as_slice(), [only] if only.contains(said)), "{about:?}");
    }
}

#[test]
fn the_host_says_what_a_kernel_of_triton_is_launched_with() {
    let code = "
import torch
import triton
import triton.language as tl

@triton.jit
def row_sums(X, OUT, stride, n, BLOCK: tl.constexpr, KIND: tl.constexpr):
    row = tl.program_id(0)
    X += row * stride
    cols = tl.arange(0, BLOCK)
    x = tl.load(X + cols, mask=cols < n, other=0.0)
    if KIND == \"squares\":
        x = x * x
    tl.store(OUT + row, tl.sum(x, axis=0))

def sums(x, kind=\"plain\"):
    rows, cols = x.shape
    out = torch.empty(rows, device=x.device)
    grid = lambda meta: (triton.cdiv(rows * meta['BLOCK'], meta['BLOCK']),)
    row_sums[grid](x, out, x.stride(0), cols, BLOCK=triton.next_power_of_2(cols), KIND=kind)
    return out

size = 1 << 5
x = torch.randn(size, 100, dtype=torch.float16)
y = sums(x)
";
    let read = kernel(code, None, &[], Fusion::None, false).unwrap();
    let counts = crate::count::count(&read.program).unwrap();
    // 32 rows of 100 elements in tiles of 128, which are added up whole.
    assert_eq!(counts.load_ops.count.value(), 3200.0);
    assert_eq!((counts.store_ops.count.value(), counts.flops.count.value()), (32.0, 32.0 * 128.0));
    let of = |name: &str| read.program.arrays.iter().find(|array| array.name == name).map(|array| array.element);
    assert_eq!((of("X"), of("OUT")), (Some(Element::F16), Some(Element::F32)));
    let other = code.replace("kind=\"plain\"", "kind=\"squares\"");
    let read = kernel(&other, None, &[], Fusion::None, false).unwrap();
    assert_eq!(crate::count::count(&read.program).unwrap().flops.count.value(), 2.0 * 32.0 * 128.0);
}

#[test]
fn block_pointers_and_gathers_of_triton_are_followed() {
    let code = "
import torch
import triton
import triton.language as tl

@triton.jit
def mm(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    pm = tl.program_id(0)
    pn = tl.program_id(1)
    at = tl.make_block_ptr(base=a, shape=(M, K), strides=(K, 1), offsets=(pm * BM, 0), block_shape=(BM, BK), order=(1, 0))
    bt = tl.make_block_ptr(base=b, shape=(K, N), strides=(N, 1), offsets=(0, pn * BN), block_shape=(BK, BN), order=(1, 0))
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        acc = tl.dot(tl.load(at), tl.load(bt), acc)
        at = tl.advance(at, (0, BK))
        bt = tl.advance(bt, (BK, 0))
    ct = tl.make_block_ptr(base=c, shape=(M, N), strides=(N, 1), offsets=(pm * BM, pn * BN), block_shape=(BM, BN), order=(1, 0))
    tl.store(ct, acc)

a = torch.randn(64, 48)
b = torch.randn(48, 32)
c = torch.empty(64, 32)
mm[(4, 2)](a, b, c, 64, 32, 48, BM=16, BN=16, BK=16)
";
    let read = kernel(code, None, &[], Fusion::None, false).unwrap();
    let counts = crate::count::count(&read.program).unwrap();
    assert_eq!(counts.flops.count.value(), f64::from(2 * 64 * 32 * 48));
    // Each program loads 16 rows and 16 columns of 48.
    assert_eq!((counts.load_ops.count.value(), counts.store_ops.count.value()), (8.0 * 2.0 * 768.0, 2048.0));
    let gather = "
import torch
import triton
import triton.language as tl

@triton.jit
def rows(table, idx, out, dim: tl.constexpr, BM: tl.constexpr):
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    c = tl.arange(0, dim)
    ids = tl.load(idx + r)
    e = tl.load(table + ids[:, None] * dim + c[None, :])
    tl.store(out + r[:, None] * dim + c[None, :], e)

rows[(4,)](torch.randn(1000, 64), torch.randint(0, 1000, (32,)), torch.empty(32, 64), 64, BM=8)
";
    let read = kernel(gather, None, &[], Fusion::None, false).unwrap();
    let counts = crate::count::count(&read.program).unwrap();
    assert_eq!((counts.load_ops.count.value(), counts.store_ops.count.value()), (32.0 + 2048.0, 2048.0));
    assert!(read.program.assumptions.iter().any(|text| text.contains("table") && text.contains("decided by data")));
}
