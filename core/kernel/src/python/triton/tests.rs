//! Against what each program of the grid does, counted from its tiles.

use std::collections::BTreeMap;

use crate::grid::lockstep;
use crate::naive::{Watch, run};
use crate::nest::{Access, Element, Kernel, Work};
use crate::source::{Fusion, Source};
use accel_ground::error::Error;

fn read(code: &str, defines: &[(&str, i64)]) -> Result<Kernel, Error> {
    let defines = defines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    crate::python::read(&Source {
        code,
        function: None,
        defines: &defines,
        shapes: &[],
        element: Element::F32,
        probability: 0.5,
        fusion: Fusion::None,
        backward: false,
    })
}

/// How often each element is loaded and stored, by the array's name.
#[derive(Default)]
struct Touches {
    elements: BTreeMap<(usize, i64, bool), i64>,
    flops: u64,
}

impl Watch for Touches {
    fn work(&mut self, work: &Work) {
        self.flops += work.flops.total();
    }

    fn access(&mut self, array: usize, element: i64, access: &Access) {
        *self.elements.entry((array, element, access.write)).or_default() += 1;
    }
}

fn touches(kernel: &Kernel) -> (BTreeMap<(String, i64, bool), i64>, u64) {
    let (mut alone, mut together) = (Touches::default(), Touches::default());
    run(&kernel.program, &mut alone);
    run(&lockstep(&kernel.program, kernel.grid.as_ref().unwrap()), &mut together);
    assert_eq!(alone.elements, together.elements);
    let name = |array: usize| kernel.program.arrays[array].name.clone();
    (
        alone.elements.into_iter().map(|((array, i, write), times)| ((name(array), i, write), times)).collect(),
        alone.flops,
    )
}

const ADD: &str = "import triton
import triton.language as tl
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    pid = tl.program_id(axis=0)
    offs = pid * BLOCK + tl.arange(0, BLOCK)
    mask = offs < n
    x = tl.load(x_ptr + offs, mask=mask)
    y = tl.load(y_ptr + offs, mask=mask)
    tl.store(out_ptr + offs, x + y, mask=mask)
";

#[test]
fn tiles_touch_what_their_mask_leaves() {
    let kernel = read(ADD, &[("n", 1000), ("BLOCK", 128)]).unwrap();
    let (elements, flops) = touches(&kernel);
    let expected = ["x_ptr", "y_ptr", "out_ptr"]
        .into_iter()
        .flat_map(|name| (0..1000).map(move |i| ((name.to_owned(), i, name == "out_ptr"), 1)))
        .collect();
    assert_eq!(elements, expected);
    // Eight programs compute whole tiles.
    assert_eq!(flops, 8 * 128);
    let launched = format!("{ADD}\nadd_kernel[(triton.cdiv(n, 256),)](x, y, out, 700, BLOCK=256)\n");
    let (elements, flops) = touches(&read(&launched, &[]).unwrap());
    assert_eq!((elements.len(), flops), (3 * 700, 3 * 256));
}

/// As in Triton's tutorial on matrix products.
const MATMUL: &str = "import triton
import triton.language as tl
@triton.jit
def matmul_kernel(a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
                  BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr):
    pid = tl.program_id(axis=0)
    num_pid_m = tl.cdiv(M, BLOCK_M)
    num_pid_n = tl.cdiv(N, BLOCK_N)
    num_pid_in_group = GROUP_M * num_pid_n
    group_id = pid // num_pid_in_group
    first_pid_m = group_id * GROUP_M
    group_size_m = min(num_pid_m - first_pid_m, GROUP_M)
    pid_m = first_pid_m + ((pid % num_pid_in_group) % group_size_m)
    pid_n = (pid % num_pid_in_group) // group_size_m
    offs_am = (pid_m * BLOCK_M + tl.arange(0, BLOCK_M)) % M
    offs_bn = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (offs_am[:, None] * stride_am + offs_k[None, :] * stride_ak)
    b_ptrs = b_ptr + (offs_k[:, None] * stride_bk + offs_bn[None, :] * stride_bn)
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=offs_k[None, :] < K - k * BLOCK_K, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_K, other=0.0)
        accumulator = tl.dot(a, b, accumulator)
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk
    offs_cm = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_cn = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride_cm * offs_cm[:, None] + stride_cn * offs_cn[None, :]
    tl.store(c_ptrs, accumulator, mask=(offs_cm[:, None] < M) & (offs_cn[None, :] < N))

def matmul(a, b):
    grid = lambda META: (triton.cdiv(M, META['BLOCK_M']) * triton.cdiv(N, META['BLOCK_N']), )
    matmul_kernel[grid](a, b, c, M, N, K, a.stride(0), a.stride(1), b.stride(0), b.stride(1), c.stride(0), c.stride(1),
                        BLOCK_M=8, BLOCK_N=4, BLOCK_K=4, GROUP_M=2)
";

#[test]
fn a_product_of_tiles_reads_each_operand_as_often_as_the_other_has_tiles() {
    let (m, n, k) = (24, 12, 10);
    let defines = [("M", m), ("N", n), ("K", k), ("stride_am", k), ("stride_bk", n), ("stride_cm", n)];
    let kernel = read(MATMUL, &defines).unwrap();
    let (elements, flops) = touches(&kernel);
    let mut expected = BTreeMap::new();
    expected.extend((0..m * k).map(|i| (("a_ptr".to_owned(), i, false), n / 4)));
    expected.extend((0..k * n).map(|i| (("b_ptr".to_owned(), i, false), m / 8)));
    expected.extend((0..m * n).map(|i| (("c_ptr".to_owned(), i, true), 1)));
    assert_eq!(elements, expected);
    // Tiles of 4 along K are computed whole: three of them hold 10.
    assert_eq!(flops, (2 * m * n * 12) as u64);
    let grid = kernel.grid.unwrap();
    assert_eq!(grid.threads_per_block, Some(128));
    assert_eq!(grid.tensor_lines.into_iter().collect::<Vec<_>>(), [24]);
}

#[test]
fn threads_of_numba_touch_their_elements() {
    let code = "from numba import cuda
@cuda.jit
def add(x, y, out):
    i = cuda.grid(1)
    if i < x.size:
        out[i] = x[i] + y[i]
";
    let kernel = read(code, &[("x_size", 500), ("blockDim_x", 64)]).unwrap();
    let (elements, flops) = touches(&kernel);
    assert_eq!((elements.len(), flops), (1500, 500));
    assert!(elements.values().all(|times| *times == 1));
}

#[test]
fn what_is_not_known_is_refused_where_it_stands() {
    let kernel = |body: &str| format!("import triton\n@triton.jit\ndef f(x_ptr, n, BLOCK):\n{body}");
    for (body, words) in [
        ("    while n > 0:\n        n -= 1\n", "this statement of a kernel is not read"),
        ("    for i in items:\n        pass\n", "not a range"),
        ("    y = tl.histogram(n, 3)\n", "what histogram does"),
        ("    y = tl.load(n * 2)\n", "where this points"),
        ("    y = [a for a in n]\n", "this expression"),
    ] {
        let error = read(&kernel(body), &[]).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("line "), "{body}: {error}");
    }
}
