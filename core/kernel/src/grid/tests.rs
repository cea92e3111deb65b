//! Against a run of every thread by itself, whose addresses are put together warp by warp afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::warp::LANES;
use super::*;
use crate::naive::{Watch, run};
use crate::nest::{Access, Element, Kernel};
use crate::source::{Fusion, Source};

fn read(code: &str, defines: &[(&str, i64)]) -> Kernel {
    let defines = defines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let source = Source {
        code,
        function: None,
        defines: &defines,
        shapes: &[],
        element: Element::F32,
        probability: 0.5,
        fusion: Fusion::None,
        backward: false,
    };
    crate::c::read(&source).unwrap_or_else(|error| panic!("{code}\n{error}"))
}

/// The accesses of one thread, in order.
#[derive(Default)]
struct Thread(Vec<(At, usize, bool, i64)>);

impl Watch for Thread {
    fn access(&mut self, array: usize, element: i64, access: &Access) {
        self.0.push((access.at, array, access.write, element));
    }
}

/// An access of the source: where it stands, its array, and whether it stores.
type Place = (At, usize, bool);

/// Requests, sectors and wavefronts of shared memory by access. The n-th time that lanes of a warp come to an access,
/// they come there together: so it is where no lane skips a round that others take.
fn brute(kernel: &Kernel) -> BTreeMap<Place, (f64, f64, f64)> {
    let (program, grid) = (&kernel.program, kernel.grid.as_ref().unwrap());
    let values = program.values();
    let extents = |axes: &[Axis]| axes.iter().map(|axis| axis.extent.value(&values).unwrap()).collect::<Vec<_>>();
    let (blocks, threads) = (extents(&grid.blocks), extents(&grid.threads));
    let mut found = BTreeMap::new();
    for block in 0..blocks.iter().product::<i64>() {
        let count = threads.iter().product::<i64>();
        for warp in 0..(count as usize).div_ceil(LANES) {
            let mut together: BTreeMap<(Place, usize), Vec<(usize, i64)>> = BTreeMap::new();
            for lane in 0..LANES {
                let thread = (warp * LANES + lane) as i64;
                if thread >= count {
                    continue;
                }
                let mut own = program.clone();
                own.body = grid.body.clone();
                for (axes, extents, mut number) in [(&grid.blocks, &blocks, block), (&grid.threads, &threads, thread)] {
                    for (axis, extent) in axes.iter().zip(extents).rev() {
                        own.symbols[axis.symbol.0 as usize].value = Some(number % extent);
                        number /= extent;
                    }
                }
                let mut seen = Thread::default();
                run(&own, &mut seen);
                let mut times: BTreeMap<Place, usize> = BTreeMap::new();
                for (at, array, write, element) in seen.0 {
                    let time = times.entry((at, array, write)).or_default();
                    together.entry(((at, array, write), *time)).or_default().push((lane, element));
                    *time += 1;
                }
            }
            for (((at, array, write), _), elements) in together {
                let bytes = program.arrays[array].element.bytes() as i64;
                let sum = found.entry((at, array, write)).or_insert((0.0, 0.0, 0.0));
                sum.0 += 1.0;
                if grid.shared.contains(&array) {
                    let words: BTreeSet<i64> = elements.iter().map(|(_, element)| element * bytes / 4).collect();
                    let most = (0..32).map(|bank| words.iter().filter(|word| **word % 32 == bank).count()).max();
                    sum.2 += most.unwrap() as f64;
                } else {
                    let sectors: BTreeSet<i64> = elements.iter().map(|(_, element)| element * bytes / 32).collect();
                    sum.1 += sectors.len() as f64;
                }
            }
        }
    }
    found
}

const TRANSPOSE: &str = "#define TILE 32
__global__ void transpose(const float *in, float *out, int n) {
  __shared__ float tile[TILE][TILE + PAD];
  int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
  for (int j = 0; j < TILE; j += 8) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * n + x];
  __syncthreads();
  x = blockIdx.y * TILE + threadIdx.x;
  y = blockIdx.x * TILE + threadIdx.y;
  for (int j = 0; j < TILE; j += 8) out[(y + j) * n + x] = tile[threadIdx.x][threadIdx.y + j];
}
void host() { dim3 block(32, 8); transpose<<<dim3(n / 32, n / 32), block>>>(a, b, n); }";

const SGEMM: &str = "__global__ void sgemm(int M, int N, int K, const float *A, const float *B, float *C) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x;
  const int y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < M && y < N) {
    float tmp = 0.0f;
    for (int i = 0; i < K; ++i) tmp += A[x * K + i] * B[i * N + y];
    C[x * N + y] = tmp;
  }
}";

const KERNELS: [(&str, &[(&str, i64)]); 7] = [
    ("__global__ void f(float *a, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) a[i] += 1; }", &[("n", 1000)]),
    ("__global__ void f(double *a, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; a[3 * i + 1] = 2; }", &[("n", 300)]),
    ("__global__ void f(__half *a, int n) { for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) a[i] = a[i] * a[i]; }", &[("n", 3000), ("gridDim_x", 3), ("blockDim_x", 96)]),
    (SGEMM, &[("M", 40), ("N", 24), ("K", 5)]),
    (TRANSPOSE, &[("n", 96), ("PAD", 0)]),
    (TRANSPOSE, &[("n", 96), ("PAD", 1)]),
    ("__global__ void f(const float *x, float *y) { __shared__ float s[256]; int t = threadIdx.x; s[t] = x[blockIdx.x * 256 + t]; __syncthreads();
      for (int w = 128; w > 0; w >>= 1) { if (t < w) s[t] += s[t + w]; __syncthreads(); } if (t == 0) y[blockIdx.x] = s[0]; }", &[("gridDim_x", 3), ("blockDim_x", 256)]),
];

#[test]
fn warps_ask_for_what_their_threads_ask_for() {
    for (code, defines) in KERNELS {
        let kernel = read(code, defines);
        let grid = kernel.grid.as_ref().unwrap();
        let size = |axes: &[Axis]| {
            axes.iter().map(|axis| axis.extent.value(&kernel.program.values()).unwrap() as u64).product()
        };
        let look = warp::look(&kernel.program, grid, size(&grid.blocks), size(&grid.threads));
        assert!(look.exact, "{code}");
        let own: BTreeMap<_, _> = look
            .accesses
            .iter()
            .map(|seen| {
                let shared = if seen.shared { seen.wavefronts } else { 0.0 };
                ((seen.at, seen.array, seen.write), (seen.requests, seen.sectors, shared))
            })
            .collect();
        assert_eq!(own, brute(&kernel), "{code}");
    }
}

#[test]
fn blocks_touch_the_same_elements_in_lockstep() {
    #[derive(Default)]
    struct Elements(BTreeMap<(usize, i64, bool), u32>);
    impl Watch for Elements {
        fn access(&mut self, array: usize, element: i64, access: &Access) {
            *self.0.entry((array, element, access.write)).or_default() += 1;
        }
    }
    for (code, defines) in KERNELS {
        let kernel = read(code, defines);
        let grid = kernel.grid.as_ref().unwrap();
        let (mut one, mut together) = (Elements::default(), Elements::default());
        run(&kernel.program, &mut one);
        run(&lockstep(&kernel.program, grid), &mut together);
        one.0.retain(|(array, ..), _| !grid.shared.contains(array));
        assert_eq!(one.0, together.0, "{code}");
    }
}

#[test]
fn what_the_guides_say_of_their_examples() {
    // CUDA C++ Best Practices Guide, 10.2.3: a column of a 32 x 32 tile of floats is a 32-way conflict, which one more
    // column removes.
    for (pad, ways) in [(0, 32.0), (1, 1.0)] {
        let kernel = read(TRANSPOSE, &[("n", 64), ("PAD", pad)]);
        let counts = crate::count::count(&kernel.program).unwrap();
        let grid = kernel.grid.as_ref().unwrap();
        let facts = facts(&kernel.program, grid, "h100-sxm", None, counts.flops.count, counts.mem_bytes.count);
        let most = facts.report.accesses.iter().filter_map(|own| own.bank_conflict_ways).fold(0.0, f64::max);
        assert_eq!(most, ways);
        assert_eq!((facts.report.grid, facts.report.block), ([2, 2, 1], [32, 8, 1]));
        assert_eq!(facts.report.coalescing, Some(1.0));
        assert_eq!(facts.report.shared.unwrap().bytes_per_block, 32 * (32 + pad as u64) * 4);
    }
    // Ibid., 10.2.1.3: with a stride of two, half of what moves is used.
    let code = "__global__ void f(float *a) { a[2 * (blockIdx.x * 256 + threadIdx.x)] = 1; }";
    let kernel = read(code, &[("gridDim_x", 4), ("blockDim_x", 256)]);
    let look = warp::look(&kernel.program, kernel.grid.as_ref().unwrap(), 4, 256);
    assert_eq!(look.accesses[0].sectors / look.accesses[0].requests, 8.0);
    assert_eq!(look.accesses[0].distinct / (32.0 * look.accesses[0].sectors), 0.5);
}

#[test]
fn samples_come_near_what_all_warps_do() {
    let (n, k) = (256, 600);
    let kernel = read(SGEMM, &[("M", n), ("N", n), ("K", k)]);
    let look = warp::look(&kernel.program, kernel.grid.as_ref().unwrap(), 256, 256);
    let sum: f64 = look.accesses.iter().map(|own| own.sectors).sum();
    assert!(!look.exact && look.method.contains("sample"), "{}", look.method);
    // A warp is 16 values of x and 2 of y: 16 rows of A and one sector of B in each round, and 16 rows of C.
    let warps = n * n / 32;
    assert_eq!(sum, (warps * (k * 17 + 16)) as f64);
}
