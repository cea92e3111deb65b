# Arrays moved.


def embedding(input: "i64[B, T]", weight: "[V, D]", padding_idx=None, **options):
    "F.{}(x > y, y)"
    return _take_rows(weight, input)


def embedding_bag(input: "i64[B, T]", weight: "[V, D]", mode="mean", per_sample_weights=None, **options):
    "F.{}(x > y, y)"
    rows = _take_rows(weight, input)
    if per_sample_weights is not None:
        rows = rows * expand_dims(per_sample_weights, -1)
    return sum(rows, axis=-2) if mode == "sum" else max(rows, axis=-2) if mode == "max" else mean(rows, axis=-2)


def index_select(input, dim, index: "i64[N]"):
    "torch.{}(x, 0, x[0] > 0)"
    return swapaxes(_take_rows(swapaxes(input, 0, dim), index), 0, dim)


def take(a, indices, axis=None):
    "np.{}(x, x[0] > 0, axis=0)"
    if axis is None:
        return _take_rows(ravel(a), indices)
    return moveaxis(_take_rows(moveaxis(a, axis, 0), indices), 0, axis)


def gather(input, dim, index):
    "torch.{}(x, 1, x > y)"
    return _picked_along(input, dim, _same_rank(index, input))


def take_along_axis(arr, indices, axis=0):
    "np.{}(x, x > y, axis=1)"
    return _picked_along(arr, axis, _same_rank(indices, arr))


def scatter(input, dim, index, src):
    "torch.{}(x, 1, x > y, y)"
    result = copy(input)
    _put_along(result, dim, _same_rank(index, input), src, False)
    return result


def scatter_(input, dim, index, src, **options):
    "x.{}(1, x > y, y)"
    _put_along(input, dim, _same_rank(index, input), src, False)
    return input


def scatter_add(input, dim, index, src):
    "torch.{}(x, 1, x > y, y)"
    result = copy(input)
    _put_along(result, dim, _same_rank(index, input), _same_rank(src, input), True)
    return result


def scatter_add_(input, dim, index, src):
    "x.{}(1, x > y, y)"
    _put_along(input, dim, _same_rank(index, input), _same_rank(src, input), True)
    return input


def scatter_reduce(input, dim, index, src, reduce="sum", include_self=True):
    "torch.{}(x, 1, x > y, y)"
    return scatter_add(input, dim, index, src)


def scatter_reduce_(input, dim, index, src, reduce="sum", include_self=True):
    "x.{}(1, x > y, y)"
    return scatter_add_(input, dim, index, src)


take_along_dim = take_along_axis


def index_copy_(input, dim, index: "i64[N]", source):
    "x.{}(0, x[0] > 0, y)"
    moveaxis(input, dim, 0)[index] = moveaxis(source, dim, 0)
    return input


def index_put_(input, indices, values, accumulate=False):
    "x.{}((x[0] > 0,), y)"
    index = indices[0]
    if accumulate:
        input[index] += values
    else:
        input[index] = values
    return input


def index_add(input, dim, index: "i64[N]", source):
    "torch.{}(x, 0, x[0] > 0, y)"
    result = copy(input)
    result[index] += source
    return result


def index_add_(input, dim, index: "i64[N]", source):
    "x.{}(0, x[0] > 0, y)"
    input[index] += source
    return input


def bincount(x: "i64[N]", weights=None, minlength=256):
    "np.{}(x[0] > 0, minlength=8)"
    counts = zeros(minlength)
    counts[x] += 1
    return counts


def repeat(x, *sizes):
    "x.{}(2, 1)"
    return copy(_tiled(x, sizes[0] if isinstance(sizes[0], tuple) else sizes))


def tile(x, reps):
    "np.{}(x, (2, 1))"
    return copy(_tiled(x, reps if isinstance(reps, tuple) else (reps,)))


def repeat_interleave(input, repeats, dim=None):
    "torch.{}(x, 2, dim=0)"
    along = dim % ndim(input)
    middle = expand_dims(input, along + 1)
    shape = input.shape[:along + 1] + (repeats,) + input.shape[along + 1:]
    return reshape(copy(broadcast_to(middle, shape)),
                   input.shape[:along] + (input.shape[along] * repeats,) + input.shape[along + 1:])


def chunk(input, chunks, dim=0):
    "torch.{}(x, 2)"
    return split(input, (input.shape[dim] + chunks - 1) // chunks, dim)


def array_split(ary, sections, axis=0):
    "np.{}(x, 2)"
    return chunk(ary, sections, axis)


def unbind(input, dim=0):
    "torch.{}(x)"
    return tuple(select(input, dim, i) for i in range(input.shape[dim]))


unstack = unbind


def select(input, dim, index):
    "torch.{}(x, 0, 1)"
    return moveaxis(input, dim, 0)[index]


def narrow(input, dim, start, length):
    "torch.{}(x, 0, 1, 2)"
    return moveaxis(moveaxis(input, dim, 0)[start:start + length], 0, dim)


def flatten(input, start_dim=0, end_dim=-1):
    "x.{}()"
    first = start_dim % ndim(input)
    last = end_dim % ndim(input)
    if first == 0 and last == ndim(input) - 1:
        return reshape(copy(input), (-1,))
    return reshape(input, input.shape[:first] + (-1,) + input.shape[last + 1:])


def unflatten(input, dim, sizes):
    "torch.{}(x, 0, (2, 2))"
    along = dim % ndim(input)
    return reshape(input, input.shape[:along] + tuple(sizes) + input.shape[along + 1:])


def meshgrid(*arrays, indexing="ij"):
    "np.{}(x[0], y[0])"
    rows = arrays[0] if isinstance(arrays[0], tuple) else arrays
    shape = tuple(len(row) for row in rows)
    made = tuple(copy(broadcast_to(reshape(row, (-1,) + (1,) * (len(rows) - 1 - i)), shape))
                 for i, row in enumerate(rows))
    return tuple(swapaxes(grid, 0, 1) for grid in made) if indexing == "xy" else made


def one_hot(input: "i64[N]", num_classes=128):
    "F.{}(x[0] > 0, 4)"
    result = zeros(input.shape + (num_classes,), dtype=int64)
    _put_along(result, -1, expand_dims(input, -1), 1, False)
    return result


def topk(input, k, dim=-1, largest=True, sorted=True):
    "torch.{}(x, 2)"
    return _chosen(input, k, dim)


def sort(input, dim=-1, descending=False, stable=False):
    "torch.{}(x)"
    return _ordered(input, dim), _ordered(input, dim, whole=True)


def argsort(input, dim=-1, descending=False, stable=False):
    "np.{}(x)"
    return _ordered(input, dim, whole=True)


def diff(a, n=1, axis=-1):
    "np.{}(x)"
    rows = moveaxis(a, axis, 0)
    return moveaxis(rows[1:] - rows[:-1], 0, axis)


def cross(a, b, axis=-1):
    "np.{}(x[:, :3], y[:, :3])"
    return a * b - b * a


def cdist(x1, x2, p=2.0):
    "torch.{}(x, y)"
    return sqrt(sum(square(expand_dims(x1, -2) - expand_dims(x2, -3)), axis=-1))


def kron(a, b):
    "np.{}(x, y)"
    rows, columns = a.shape
    more_rows, more_columns = b.shape
    products = expand_dims(expand_dims(a, 1), 3) * expand_dims(expand_dims(b, 1), 0)
    return reshape(products, (rows * more_rows, columns * more_columns))


def nan_to_num(x, *options, **more):
    "np.{}(x)"
    return where(isnan(x), 0.0, x)


def fill_diagonal_(input, value):
    "x.{}(0.0)"
    fill(diagonal(input), value)
    return input


def expand_as(input, other):
    "x.{}(y)"
    return broadcast_to(input, other.shape)


view_as = expand_as


def logaddexp(x, y):
    "np.{}(x, y)"
    return maximum(x, y) + log1p(exp(-abs(x - y)))


def median(x, axis=None, keepdims=False):
    "np.{}(x)"
    along = _last(axis)
    ordered = moveaxis(_ordered(x, along), along, 0)
    return ordered[ordered.shape[0] // 2], ordered[ordered.shape[0] // 2] > 0


def kthvalue(input, k, dim=-1):
    "torch.{}(x, 2)"
    ordered = moveaxis(_ordered(input, dim), dim, 0)
    return ordered[k - 1], ordered[k - 1] > 0


def matrix_transpose(x):
    "np.{}(x)"
    return swapaxes(x, -2, -1)


adjoint = matrix_transpose


# JAX.


def conv(lhs: "[B, C, H, W]", rhs: "[F, C, R, S]", window_strides, padding, **options):
    "lax.{}(x[None, None], y[None, None], (1, 1), 'SAME')"
    return conv2d(lhs, rhs, None, window_strides, padding if isinstance(padding, str) else padding[0][0])


def conv_general_dilated(lhs: "[B, C, H, W]", rhs: "[F, C, R, S]", window_strides, padding, lhs_dilation=None,
                         rhs_dilation=None, dimension_numbers=None, feature_group_count=1, batch_group_count=1):
    "lax.{}(x[None, None], y[None, None], (1, 1), 'VALID')"
    if dimension_numbers is not None:
        if dimension_numbers[0] == "NHWC":
            lhs = permute(lhs, (0, 3, 1, 2))
        if dimension_numbers[1] == "HWIO":
            rhs = permute(rhs, (3, 2, 0, 1))
        if dimension_numbers[1] == "OHWI":
            rhs = permute(rhs, (0, 3, 1, 2))
    out = conv2d(lhs, rhs, None, window_strides, padding if isinstance(padding, str) else padding[0][0],
                 (1, 1) if rhs_dilation is None else rhs_dilation, feature_group_count)
    if dimension_numbers is not None and dimension_numbers[2] == "NHWC":
        return permute(out, (0, 2, 3, 1))
    return out


def fori_loop(lower, upper, body_fun, init_val):
    "lax.{}(0, 4, lambda i, v: v * 2.0, x)"
    value = init_val
    for i in range(lower, upper):
        value = body_fun(i, value)
    return value


def while_loop(cond_fun, body_fun, init_val):
    "lax.{}(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 2.0), (0, x))"
    value = init_val
    while cond_fun(value):
        value = body_fun(value)
    return value


def cond(pred, true_fun, false_fun, *operands):
    "lax.{}(x[0, 0] > 0.0, lambda a: a * 2.0, lambda a: a + 1.0, x)"
    if pred:
        value = true_fun(*operands)
    else:
        value = false_fun(*operands)
    return value


def switch(index, branches, *operands):
    "lax.{}(1, [lambda a: a * 2.0, lambda a: a + 1.0], x)"
    if len(branches) == 1:
        return branches[0](*operands)
    return cond(index > 0, branches[0], lambda *rest: switch(index, branches[1:], *rest), *operands)


def PRNGKey(seed):
    "jax.random.{}(0)"
    return seed


key = PRNGKey


# Operators of PyTorch's graphs, where their arguments differ.


def native_layer_norm(input, normalized_shape, weight, bias, eps):
    "{}(x, (4,), None, None, 1e-5)"
    return layer_norm(input, normalized_shape, weight, bias), None, None


def convolution(input: "[B, C, H, W]", weight: "[F, C, R, S]", bias, stride, padding, dilation, transposed,
                output_padding, groups):
    "{}(x[None, None], y[None, None], None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1)"
    if transposed:
        return conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv2d(input, weight, bias, stride, padding, dilation, groups)


# What configurations and conditions ask.


def finfo(dtype=None):
    "np.{}(np.float32)"
    return dict(min=-3.4e38, max=3.4e38, eps=1.2e-7, tiny=1.2e-38)


iinfo = finfo


def field(default=None, default_factory=None, **options):
    "{}(default=1)"
    return default if default_factory is None else default_factory()


def is_available():
    "torch.cuda.{}()"
    return True


def device_count():
    "torch.cuda.{}()"
    return 1


# What hosts of kernels compute.


def cdiv(a, b):
    "{}(5, 2)"
    return (a + b - 1) // b


def next_power_of_2(n):
    "{}(5)"
    power = 1
    while power < n:
        power = power * 2
    return power


def is_contiguous(x, **options):
    "x.{}()"
    return True


# New arrays like others.


def new_zeros(self, *size, **options):
    "x.{}(2, 3)"
    return zeros(size[0] if isinstance(size[0], tuple) else size, dtype=self.dtype)


new_ones = new_full = new_zeros


def new_empty(self, *size, **options):
    "x.{}(2, 3)"
    return empty(size[0] if isinstance(size[0], tuple) else size, dtype=self.dtype)


def generate_square_subsequent_mask(sz, **options):
    "nn.Transformer.{}(4)"
    return triu(zeros((sz, sz)))


def tri(n, m=None, k=0, **options):
    "np.{}(4)"
    return ones((n, n if m is None else m))


def hanning(n):
    "np.{}(8)"
    return 0.5 - 0.5 * cos(arange(n) * 1.0)


hann_window = hamming = hamming_window = hanning


# Parts of arrays that JAX moves.


def dynamic_slice(operand, start_indices, slice_sizes):
    "lax.{}(x, (0, 1), (2, 2))"
    part = operand
    for along, size in enumerate(slice_sizes):
        part = narrow(part, along, 0, size)
    return copy(part)


def dynamic_slice_in_dim(operand, start_index, slice_size, axis=0):
    "lax.{}(x, 1, 2)"
    return copy(narrow(operand, axis, 0, slice_size))


def dynamic_index_in_dim(operand, index, axis=0, keepdims=True):
    "lax.{}(x, 1)"
    part = copy(narrow(operand, axis, 0, 1))
    return part if keepdims else squeeze(part, axis)


def dynamic_update_slice(operand, update, start_indices):
    "lax.{}(x, y, (0, 0))"
    result = copy(operand)
    part = result
    for along, size in enumerate(update.shape):
        part = narrow(part, along, 0, size)
    copyto(part, update)
    return result


def dynamic_update_slice_in_dim(operand, update, start_index, axis=0):
    "lax.{}(x, y, 0)"
    return dynamic_update_slice(operand, update, 0)


dynamic_update_index_in_dim = dynamic_update_slice_in_dim


def segment_sum(data, segment_ids: "i64[N]", num_segments=128, **options):
    "jax.ops.{}(x, x[0] > 0, num_segments=4)"
    result = zeros((num_segments,) + data.shape[1:], dtype=data.dtype)
    result[segment_ids] += data
    return result


segment_max = segment_min = segment_prod = segment_sum


def top_k(operand, k):
    "lax.{}(x, 2)"
    return _chosen(operand, k, -1)


def slice(start, stop=None, step=None):
    "{}(2)"
    return dict(start=None if stop is None else start, stop=start if stop is None else stop)


def multinomial(input, num_samples, replacement=False):
    "torch.{}(x, 1)"
    cumsum(input, axis=-1)
    return empty(input.shape[:-1] + (num_samples,), dtype=int)


def bucketize(input, boundaries: "[N]", **options):
    "torch.{}(x, y[0])"
    # Halving from the middle: each element reads boundaries, one for each halving.
    places = input > 0
    halves = len(boundaries)
    while halves > 1:
        _take_rows(boundaries, places)
        halves = halves // 2
    return empty(input.shape, dtype=int)


def searchsorted(sorted_sequence: "[N]", values, **options):
    "np.{}(x[0], y)"
    return bucketize(values, sorted_sequence)


digitize = bucketize


def unfold(input, dimension=None, size=None, step=1, kernel_size=None, dilation=1, padding=0, stride=1):
    "F.{}(x[None, None], 2)"
    if size is not None:
        along = dimension % ndim(input)
        return moveaxis(_windows(moveaxis(input, along, -1), (size,), (step,), (0,), (1,), False), -2, along)
    kernel = _pooled_sizes(dimension if kernel_size is None else kernel_size, None, 2)
    cut = _windows(input, kernel, _pooled_sizes(stride, None, 2), _pooled_sizes(padding, None, 2),
                   _pooled_sizes(dilation, None, 2), False)
    b, c, h, w, r, s = cut.shape
    return reshape(copy(permute(cut, (0, 1, 4, 5, 2, 3))), (b, c * r * s, h * w))


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    "F.{}(x[None], (1, 4), 1)"
    b, rows, columns = input.shape
    h, w = output_size
    kernel = _pooled_sizes(kernel_size, None, 2)
    r, s = kernel
    result = zeros((b, rows // (r * s), h, w), dtype=input.dtype)
    step = _pooled_sizes(stride, None, 2)
    edge = _pooled_sizes(padding, None, 2)
    apart = _pooled_sizes(dilation, None, 2)
    cut = _windows(result, kernel, step, edge, apart, False)
    parts = permute(reshape(input, (b, rows // (r * s), r, s, cut.shape[2], cut.shape[3])), (0, 1, 4, 5, 2, 3))
    cut += parts
    return result
