# Statistics.


def norm(x, ord=None, axis=None, keepdims=False):
    "np.linalg.{}(x)"
    return sqrt(sum(square(x), axis=axis, keepdims=keepdims))


def var(x, axis=None, keepdims=False, **options):
    "np.{}(x, axis=0)"
    return mean(square(x - mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)


def var_mean(x, axis=None, keepdims=False, **options):
    "torch.{}(x, dim=0)"
    middle = mean(x, axis=axis, keepdims=True)
    return mean(square(x - middle), axis=axis, keepdims=keepdims), middle if keepdims else mean(x, axis=axis)


def std_mean(x, axis=None, keepdims=False, **options):
    "torch.{}(x, dim=0)"
    variance, middle = var_mean(x, axis=axis, keepdims=keepdims)
    return sqrt(variance), middle


def std(x, axis=None, keepdims=False, **options):
    "np.{}(x, axis=0)"
    return sqrt(var(x, axis=axis, keepdims=keepdims))


def logsumexp(x, axis=None, keepdims=False):
    "scipy.special.{}(x, axis=0)"
    most = max(x, axis=axis, keepdims=keepdims)
    return log(sum(exp(x - max(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)) + most


@fused("axis")
def softmax(x, axis=-1, **options):
    "F.{}(x, dim=1)"
    powers = exp(x - max(x, axis=_last(axis), keepdims=True))
    return powers / sum(powers, axis=_last(axis), keepdims=True)


@fused("axis")
def log_softmax(x, axis=-1, **options):
    "F.{}(x, dim=1)"
    shifted = x - max(x, axis=_last(axis), keepdims=True)
    return shifted - log(sum(exp(shifted), axis=_last(axis), keepdims=True))


@one_pass
def _deviation(variance, eps):
    "{}(x, 1.0)"
    return sqrt(variance + eps)


@fused("axes")
def _normalised(x, axes, weight, bias, eps):
    "{}(x, 1, None, None, 1e-5)"
    centred = x - mean(x, axis=axes, keepdims=True)
    result = centred / _deviation(mean(square(centred), axis=axes, keepdims=True), eps)
    if weight is not None:
        result = result * weight
    if bias is not None:
        result = result + bias
    return result


@fused("axes")
def _scaled(x, axes, weight, eps):
    "{}(x, 1, None, 1e-5)"
    result = x / _deviation(mean(square(x), axis=axes, keepdims=True), eps)
    if weight is not None:
        result = result * weight
    return result


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    "F.{}(x, (4,))"
    return _normalised(input, _last_axes(input, normalized_shape), weight, bias, eps)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    "F.{}(x, (4,))"
    return _scaled(input, _last_axes(input, normalized_shape), weight, 1e-6)


def _per_channel(x, rank):
    "{}(x[0], 3)"
    return None if x is None else reshape(x, (1, len(x)) + (1,) * (rank - 2))


@fused("axes")
def _by_channel(x, axes, mean, variance, weight, bias, eps):
    "{}(x, 1, y, y, None, None, 1e-5)"
    return _shifted_and_scaled(x, mean, _deviation(variance, eps), weight, bias)


@one_pass
def _shifted_and_scaled(x, mean, deviation, weight, bias):
    "{}(x, y, y, x, x)"
    if weight is None and bias is None:
        return (x - mean) / deviation
    if bias is None:
        return (x - mean) / deviation * weight
    if weight is None:
        return (x - mean) / deviation + bias
    return (x - mean) / deviation * weight + bias


def batch_norm(input, running_mean: "[C]" = None, running_var: "[C]" = None, weight: "[C]" = None, bias: "[C]" = None,
               training=False, momentum=0.1, eps=1e-5):
    "F.{}(x, x[0], x[0])"
    rank = ndim(input)
    if training or running_mean is None:
        axes = (0,) + tuple(range(2, rank))
        return _normalised(input, axes, _per_channel(weight, rank), _per_channel(bias, rank), eps)
    return _by_channel(
        input, (0,) + tuple(range(2, rank)), _per_channel(_same_extent(running_mean, input, 1), rank),
        _per_channel(_same_extent(running_var, input, 1), rank), _per_channel(weight, rank), _per_channel(bias, rank), eps)


def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True,
                  momentum=0.1, eps=1e-5):
    "F.{}(x[None])"
    rank = ndim(input)
    return _normalised(input, tuple(range(2, rank)), _per_channel(weight, rank), _per_channel(bias, rank), eps)


def group_norm(input: "[B, C, H, W]", num_groups, weight: "[C]" = None, bias: "[C]" = None, eps=1e-5):
    "F.{}(x[None], 2)"
    channels = input.shape[1]
    groups = reshape(input, (input.shape[0], num_groups, channels // num_groups) + input.shape[2:])
    rank = ndim(groups)
    if weight is not None:
        weight = reshape(_same_extent(weight, input, 1), (1, num_groups, channels // num_groups) + (1,) * (rank - 3))
    if bias is not None:
        bias = reshape(_same_extent(bias, input, 1), (1, num_groups, channels // num_groups) + (1,) * (rank - 3))
    return reshape(_normalised(groups, tuple(range(2, rank)), weight, bias, eps), input.shape)


def normalize(input, p=2.0, dim=1, eps=1e-12):
    "F.{}(x)"
    return input / maximum(norm(input, axis=dim, keepdims=True), eps)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    "F.{}(x, y)"
    return sum(x1 * x2, axis=dim) / (norm(x1, axis=dim) * norm(x2, axis=dim))


# Activations, as PyTorch documents them.


@one_pass
def _gelu_new(x):
    "{}(x)"
    return 0.5 * x * (1.0 + tanh(0.79788456 * (x + 0.044715 * x * x * x)))


@one_pass
def elu(input, alpha=1.0):
    "F.{}(x)"
    return maximum(input, 0.0) + minimum(expm1(input) * alpha, 0.0)


celu = elu


@one_pass
def selu(input):
    "F.{}(x)"
    return 1.0507 * (maximum(input, 0.0) + minimum(expm1(input) * 1.6733, 0.0))


@one_pass
def mish(input):
    "F.{}(x)"
    return input * tanh(log1p(exp(input)))


@one_pass
def relu6(input):
    "F.{}(x)"
    return minimum(maximum(input, 0.0), 6.0)


@one_pass
def hardtanh(input, min_val=-1.0, max_val=1.0):
    "F.{}(x)"
    return minimum(maximum(input, min_val), max_val)


@one_pass
def hardsigmoid(input):
    "F.{}(x)"
    return minimum(maximum(input + 3.0, 0.0), 6.0) * 0.16666667


@one_pass
def hardswish(input):
    "F.{}(x)"
    return input * minimum(maximum(input + 3.0, 0.0), 6.0) * 0.16666667


@one_pass
def softsign(input):
    "F.{}(x)"
    return input / (1.0 + abs(input))


@one_pass
def logsigmoid(input):
    "F.{}(x)"
    return -log1p(exp(-input))


log_sigmoid = logsigmoid


@one_pass
def prelu(input, weight: "[C]"):
    "F.{}(x, y[0])"
    return maximum(input, weight * input)


@one_pass
def threshold(input, threshold, value):
    "F.{}(x, 0.0, 1.0)"
    return where(input > threshold, input, value)


def glu(input, dim=-1):
    "F.{}(x)"
    a, b = chunk(input, 2, dim)
    return a * sigmoid(b)


# Element by element.


@one_pass
def masked_fill(input, mask, value):
    "x.{}(x > y, 0.0)"
    return where(mask, value, input)


@one_pass
def lerp(input, end, weight):
    "torch.{}(x, y, 0.5)"
    return input + weight * (end - input)


@one_pass
def addcmul(input, tensor1, tensor2, value=1):
    "torch.{}(x, x, y)"
    return input + value * tensor1 * tensor2


@one_pass
def addcdiv(input, tensor1, tensor2, value=1):
    "torch.{}(x, x, y)"
    return input + value * tensor1 / tensor2


def dropout(input, p=0.5, training=True, inplace=False):
    "F.{}(x, 0.1)"
    if not training:
        return input
    mask = _random_mask(input)
    return _kept(input, mask, 2.0)


dropout1d = dropout2d = dropout3d = alpha_dropout = feature_dropout = dropout


@one_pass
def _kept(input, mask, factor):
    "{}(x, x, 2.0)"
    return input * mask * factor


def _random_mask(x):
    "{}(x)"
    return rand(x.shape, dtype=bool)


# Losses.


def _reduced(x, reduction):
    "{}(x, 'mean')"
    if reduction == "mean":
        return mean(x)
    if reduction == "sum":
        return sum(x)
    return x


def mse_loss(input, target, reduction="mean"):
    "F.{}(x, y)"
    return _reduced(square(input - target), reduction)


def l1_loss(input, target, reduction="mean"):
    "F.{}(x, y)"
    return _reduced(abs(input - target), reduction)


@one_pass
def _huber(difference, beta):
    "{}(x, 1.0)"
    return where(difference < beta, 0.5 * square(difference), difference - 0.5 * beta)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    "F.{}(x, y)"
    return _reduced(_huber(abs(input - target), beta), reduction)


huber_loss = smooth_l1_loss


@one_pass
def _cross_entropy_of_truth(input, target):
    "{}(x, y)"
    return -(target * log(input) + (1.0 - target) * log(1.0 - input))


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    "F.{}(x, y)"
    return _reduced(_cross_entropy_of_truth(input, target), reduction)


@one_pass
def _cross_entropy_of_logits(input, target):
    "{}(x, y)"
    return maximum(input, 0.0) - input * target + log1p(exp(-abs(input)))


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    "F.{}(x, y)"
    return _reduced(_cross_entropy_of_logits(input, target), reduction)


def kl_div(input, target, reduction="mean", log_target=False):
    "F.{}(x, y)"
    return _reduced(target * (log(target) - input), reduction)


def nll_loss(input: "[N, C]", target: "i64[N]", weight=None, ignore_index=-100, reduction="mean"):
    "F.{}(x, y[0] > 0)"
    picked = _picked_along(input, 1, expand_dims(target, 1))
    return _reduced(negative(picked), reduction)


def cross_entropy(input: "[N, C]", target: "i64[N]", weight=None, ignore_index=-100, reduction="mean",
                  label_smoothing=0.0):
    "F.{}(x, y[0] > 0)"
    if ndim(target) == ndim(input):
        return _reduced(negative(sum(target * log_softmax(input, 1), axis=1)), reduction)
    return nll_loss(log_softmax(input, 1), target, reduction=reduction)


# Products.


def addmm(input, mat1, mat2, beta=1, alpha=1):
    "torch.{}(x, x, y)"
    return _with_sum(mat1 @ mat2, input, beta, alpha)


addmv = addmm


@one_pass
def _with_sum(product, input, beta, alpha):
    "{}(x, y, 1, 1)"
    if alpha != 1:
        product = product * alpha
    if beta != 1:
        input = input * beta
    return product + input


def baddbmm(input: "[B, M, N]", batch1: "[B, M, K]", batch2: "[B, K, N]", beta=1, alpha=1):
    "torch.{}(x[None], x[None], y[None])"
    return _with_sum(batch1 @ batch2, input, beta, alpha)


def addbmm(input: "[M, N]", batch1: "[B, M, K]", batch2: "[B, K, N]", beta=1, alpha=1):
    "torch.{}(x, x[None], y[None])"
    return _with_sum(sum(batch1 @ batch2, axis=0), input, beta, alpha)


def bilinear(input1, input2, weight: "[O, I, J]", bias: "[O]" = None):
    "F.{}(x, y, x[None])"
    result = einsum("ni,oij,nj->no", input1, weight, input2)
    return result if bias is None else result + bias


def scaled_dot_product_attention(query: "[B, H, T, D]", key: "[B, H, S, D]", value: "[B, H, S, D]", attn_mask=None,
                                 dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    "F.{}(x[None, None], x[None, None], y[None, None])"
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        heads = query.shape[:-3] + (key.shape[-3], repeats) + query.shape[-2:]
        query = reshape(query, heads)
        key = expand_dims(key, -3)
        value = expand_dims(value, -3)
        out = _attention(query, key, value, attn_mask, is_causal)
        return reshape(out, out.shape[:-4] + (out.shape[-4] * out.shape[-3],) + out.shape[-2:])
    return _attention(query, key, value, attn_mask, is_causal)


def _attention(query, key, value, attn_mask, is_causal):
    "{}(x[None, None], x[None, None], y[None, None], None, False)"
    if _fuses():
        return _flash_attention(query, key, value, attn_mask, is_causal)
    scores = _weighted(query @ swapaxes(key, -2, -1), attn_mask)
    return softmax(scores, -1) @ value


@one_pass
def _weighted(scores, mask):
    "{}(x, y)"
    scores = scores * 0.125
    return scores if mask is None else scores + mask


# Windows of images: pooling, and images of another size.


def _pooled_sizes(value, like, axes):
    "{}(2, None, 2)"
    chosen = like if value is None else value
    return chosen if isinstance(chosen, tuple) else (chosen,) * axes


def _max_pool(input, axes, kernel_size, stride, padding, dilation, ceil_mode):
    "{}(x[None, None], 2, 2, None, 0, 1, False)"
    return max(_windows(input, _pooled_sizes(kernel_size, None, axes), _pooled_sizes(stride, kernel_size, axes),
                       _pooled_sizes(padding, None, axes), _pooled_sizes(dilation, None, axes), ceil_mode),
               axis=tuple(range(-axes, 0)))


def _avg_pool(input, axes, kernel_size, stride, padding, ceil_mode):
    "{}(x[None, None], 2, 2, None, 0, False)"
    return mean(_windows(input, _pooled_sizes(kernel_size, None, axes), _pooled_sizes(stride, kernel_size, axes),
                        _pooled_sizes(padding, None, axes), (1,) * axes, ceil_mode),
                axis=tuple(range(-axes, 0)))


def max_pool1d(input: "[B, C, L]", kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    "F.{}(x[None], 2)"
    return _max_pool(input, 1, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(input: "[B, C, H, W]", kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    "F.{}(x[None, None], 2)"
    return _max_pool(input, 2, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(input: "[B, C, L]", kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    "F.{}(x[None], 2)"
    return _avg_pool(input, 1, kernel_size, stride, padding, ceil_mode)


def avg_pool2d(input: "[B, C, H, W]", kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    "F.{}(x[None, None], 2)"
    return _avg_pool(input, 2, kernel_size, stride, padding, ceil_mode)


def _adaptive_sizes(input, output_size, axes):
    "{}(x, 2, 2)"
    extents = input.shape[-axes:]
    given = _pooled_sizes(output_size, None, axes)
    outputs = tuple(own if size is None else size for own, size in zip(extents, given))
    strides = tuple(own // size for own, size in zip(extents, outputs))
    return tuple(own - (size - 1) * stride for own, size, stride in zip(extents, outputs, strides)), strides


def adaptive_avg_pool1d(input: "[B, C, L]", output_size):
    "F.{}(x[None], 2)"
    kernel, stride = _adaptive_sizes(input, output_size, 1)
    return _avg_pool(input, 1, kernel, stride, 0, False)


def adaptive_avg_pool2d(input: "[B, C, H, W]", output_size):
    "F.{}(x[None, None], 2)"
    kernel, stride = _adaptive_sizes(input, output_size, 2)
    return _avg_pool(input, 2, kernel, stride, 0, False)


def adaptive_max_pool2d(input: "[B, C, H, W]", output_size):
    "F.{}(x[None, None], 2)"
    kernel, stride = _adaptive_sizes(input, output_size, 2)
    return _max_pool(input, 2, kernel, stride, 0, 1, False)


def interpolate(input: "[B, C, H, W]", size=None, scale_factor=None, mode="nearest", align_corners=None, **options):
    "F.{}(x[None, None], scale_factor=2)"
    axes = ndim(input) - 2
    if size is None:
        factors = _pooled_sizes(scale_factor, None, axes)
        size = tuple(int(own * factor) for own, factor in zip(input.shape[2:], factors))
    image = _resampled(input, _pooled_sizes(size, None, axes))
    if mode == "bilinear":
        return (image * 0.25 + image * 0.25) + (image * 0.25 + image * 0.25)
    return copy(image)


upsample = interpolate


def pixel_shuffle(input: "[B, C, H, W]", upscale_factor):
    "F.{}(x.reshape(1, 4, 2, 2), 2)"
    b, c, h, w = input.shape
    r = upscale_factor
    return reshape(copy(permute(reshape(input, (b, c // (r * r), r, r, h, w)), (0, 1, 4, 2, 5, 3))),
                   (b, c // (r * r), h * r, w * r))
