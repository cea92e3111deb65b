//! Kernels to begin with.

/// A kernel, and what is said about it.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) code: &'static str,
    pub(crate) defines: &'static str,
    pub(crate) shapes: &'static str,
    pub(crate) levels: &'static str,
}

const PLAIN: Example = Example { name: "", title: "", code: "", defines: "", shapes: "", levels: "" };

/// The first is shown at the first visit.
pub(crate) const EXAMPLES: [Example; 7] = [
    Example { name: "matmul", title: "Python: a @ b", code: "def matmul(a, b):\n    return a @ b\n", ..PLAIN },
    Example {
        name: "softmax",
        title: "NumPy: softmax of attention scores",
        code: "import numpy as np\n\ndef attention(q, k, v):\n    scores = q @ k.T / 8.0\n    scores = np.exp(scores - np.max(scores, axis=-1, keepdims=True))\n    weights = scores / np.sum(scores, axis=-1, keepdims=True)\n    return weights @ v\n",
        shapes: "q: f32[S, 64]; k: f32[S, 64]; v: f32[S, 64]",
        defines: "S=1024",
        ..PLAIN
    },
    Example {
        name: "stencil",
        title: "Python loops: five-point stencil",
        code: "def jacobi(steps, n, a, b):\n    for t in range(steps):\n        for i in range(1, n - 1):\n            for j in range(1, n - 1):\n                b[i, j] = 0.2 * (a[i, j] + a[i, j - 1] + a[i, j + 1] + a[i + 1, j] + a[i - 1, j])\n        for i in range(1, n - 1):\n            for j in range(1, n - 1):\n                a[i, j] = 0.2 * (b[i, j] + b[i, j - 1] + b[i, j + 1] + b[i + 1, j] + b[i - 1, j])\n",
        shapes: "a: f64[n, n]; b: f64[n, n]",
        defines: "n=1000, steps=100",
        ..PLAIN
    },
    Example {
        name: "gemm",
        title: "C: matrix product, as written",
        code: "for (int i = 0; i < D; i++) {\n  for (int j = 0; j < D; j++)\n    C[i][j] *= beta;\n  for (int k = 0; k < D; k++)\n    for (int j = 0; j < D; j++)\n      C[i][j] += alpha * A[i][k] * B[k][j];\n}\n",
        shapes: "A: f32[D, D]; B: f32[D, D]; C: f32[D, D]",
        defines: "D=1024",
        levels: "L1=32KiB, L2=512KiB",
    },
    Example {
        name: "tiled",
        title: "C: matrix product in tiles",
        code: "for (int ii = 0; ii < N; ii += T)\n  for (int kk = 0; kk < N; kk += T)\n    for (int jj = 0; jj < N; jj += T)\n      for (int i = ii; i < ii + T; i++)\n        for (int k = kk; k < kk + T; k++)\n          for (int j = jj; j < jj + T; j++)\n            C[i][j] += A[i][k] * B[k][j];\n",
        shapes: "A: f32[N, N]; B: f32[N, N]; C: f32[N, N]",
        defines: "N=256, T=32",
        levels: "L1=32KiB, L2=512KiB",
    },
    Example {
        name: "cholesky",
        title: "C: Cholesky factorisation",
        code: "void cholesky(int n, double A[n][n]) {\n  for (int i = 0; i < n; i++) {\n    for (int j = 0; j < i; j++) {\n      for (int k = 0; k < j; k++)\n        A[i][j] -= A[i][k] * A[j][k];\n      A[i][j] /= A[j][j];\n    }\n    for (int k = 0; k < i; k++)\n      A[i][i] -= A[i][k] * A[i][k];\n    A[i][i] = sqrt(A[i][i]);\n  }\n}\n",
        defines: "n=400",
        ..PLAIN
    },
    Example {
        name: "threshold",
        title: "C: a condition on data",
        code: "float sum_positive(int n, const float *x) {\n  float sum = 0;\n  for (int i = 0; i < n; i++) {\n    if (x[i] > 0) /* probability: 0.3 */\n      sum += x[i];\n  }\n  return sum;\n}\n",
        shapes: "x: f32[n]",
        defines: "n=1000000",
        ..PLAIN
    },
];
