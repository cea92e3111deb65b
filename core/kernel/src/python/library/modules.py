

# Modules of torch.nn: their constructors name the parameters, and `forward` says what they do.


class Module:
    pass


class Identity(Module):
    "nn.{}()"

    def __init__(self, *args, **options):
        pass

    def forward(self, input):
        return input


class Linear(Module):
    "nn.{}(4, 8)"

    def __init__(self, in_features, out_features, bias=True, **options):
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty((out_features, in_features))
        self.bias = empty(out_features) if bias else None

    def forward(self, input):
        return linear(input, self.weight, self.bias)


LazyLinear = Linear


class Dense(Module):
    "nn.{}(8)"

    def __init__(self, features, use_bias=True, **options):
        self.features = features
        self.use_bias = use_bias

    def forward(self, input):
        weight = empty((self.features, input.shape[-1]), dtype=input.dtype)
        return linear(input, weight, empty(self.features, dtype=input.dtype) if self.use_bias else None)


class Optimizer(Module):
    "torch.optim.{}(())"

    def __init__(self, params, *args, **options):
        self.param_groups = ()


SGD = Adam = AdamW = Adadelta = Adagrad = RMSprop = Optimizer


class Bilinear(Module):
    "nn.{}(4, 4, 8)"

    def __init__(self, in1_features, in2_features, out_features, bias=True):
        self.weight = empty((out_features, in1_features, in2_features))
        self.bias = empty(out_features) if bias else None

    def forward(self, input1, input2):
        return bilinear(input1, input2, self.weight, self.bias)


class _ConvNd(Module):
    def make(self, axes, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias):
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.weight = empty((out_channels, in_channels // groups) + _pooled_sizes(kernel_size, None, axes))
        self.bias = empty(out_channels) if bias else None

    def transposed(self, axes, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias,
                   dilation):
        self.make(axes, out_channels, in_channels, kernel_size, stride, padding, dilation, groups, False)
        self.bias = empty(out_channels) if bias else None
        self.output_padding = output_padding


class Conv1d(_ConvNd):
    "nn.{}(4, 8, 3)"

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        self.make(1, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def forward(self, input: "[B, C, L]"):
        return conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_ConvNd):
    "nn.{}(4, 8, 3)"

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        self.make(2, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def forward(self, input: "[B, C, H, W]"):
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv3d(_ConvNd):
    "nn.{}(4, 8, 3)"

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        self.make(3, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def forward(self, input: "[B, C, D, H, W]"):
        return conv3d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ConvTranspose1d(_ConvNd):
    "nn.{}(4, 8, 3)"

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1):
        self.transposed(1, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias,
                        dilation)

    def forward(self, input: "[B, C, L]"):
        return conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                                self.groups, self.dilation)


class ConvTranspose2d(_ConvNd):
    "nn.{}(4, 8, 3)"

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1):
        self.transposed(2, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias,
                        dilation)

    def forward(self, input: "[B, C, H, W]"):
        return conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                                self.groups, self.dilation)


class Embedding(Module):
    "nn.{}(16, 8)"

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, **options):
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = empty((num_embeddings, embedding_dim))

    def forward(self, input: "i64[B, T]"):
        return embedding(input, self.weight)


class Embed(Embedding):
    "nn.{}(16, 8)"

    def __init__(self, num_embeddings, features, **options):
        self.weight = empty((num_embeddings, features))


class EmbeddingBag(Module):
    "nn.{}(16, 8)"

    def __init__(self, num_embeddings, embedding_dim, max_norm=None, norm_type=2.0, scale_grad_by_freq=False,
                 mode="mean", **options):
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.mode = mode
        self.weight = empty((num_embeddings, embedding_dim))

    def forward(self, input: "i64[B, T]", offsets=None, per_sample_weights=None):
        return embedding_bag(input, self.weight, mode=self.mode, per_sample_weights=per_sample_weights)


class LayerNorm(Module):
    "nn.{}(4)"

    def __init__(self, normalized_shape=None, eps=1e-5, elementwise_affine=True, bias=True, **options):
        self.eps = eps
        # Flax finds the shape in what it is given.
        self.normalized_shape = None if normalized_shape is None else (
            normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,))
        known = elementwise_affine and normalized_shape is not None
        self.weight = empty(self.normalized_shape) if known else None
        self.bias = empty(self.normalized_shape) if known and bias else None

    def forward(self, input):
        if self.normalized_shape is None:
            width = input.shape[-1]
            return layer_norm(input, (width,), empty(width, dtype=input.dtype), empty(width, dtype=input.dtype))
        return layer_norm(input, self.normalized_shape, self.weight, self.bias)


class RMSNorm(Module):
    "nn.{}(4)"

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, **options):
        self.normalized_shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
        self.weight = empty(self.normalized_shape) if elementwise_affine else None

    def forward(self, input):
        return rms_norm(input, self.normalized_shape, self.weight)


class _BatchNormNd(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, **options):
        self.weight = empty(num_features) if affine else None
        self.bias = empty(num_features) if affine else None
        self.running_mean = empty(num_features) if track_running_stats else None
        self.running_var = empty(num_features) if track_running_stats else None


class BatchNorm1d(_BatchNormNd):
    "nn.{}(4)"

    def forward(self, input):
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.training)


class BatchNorm2d(_BatchNormNd):
    "nn.{}(4)"

    def forward(self, input: "[B, C, H, W]"):
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.training)


class BatchNorm3d(_BatchNormNd):
    "nn.{}(4)"

    def forward(self, input: "[B, C, D, H, W]"):
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, self.training)


SyncBatchNorm = BatchNorm2d


class InstanceNorm2d(Module):
    "nn.{}(4)"

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False):
        self.weight = empty(num_features) if affine else None
        self.bias = empty(num_features) if affine else None

    def forward(self, input: "[B, C, H, W]"):
        return instance_norm(input, None, None, self.weight, self.bias)


class GroupNorm(Module):
    "nn.{}(2, 4)"

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, **options):
        self.num_groups = num_groups
        self.weight = empty(num_channels) if affine else None
        self.bias = empty(num_channels) if affine else None

    def forward(self, input: "[B, C, H, W]"):
        return group_norm(input, self.num_groups, self.weight, self.bias)


class Dropout(Module):
    "nn.{}(0.1)"

    def __init__(self, p=0.5, inplace=False):
        self.p = p

    def forward(self, input):
        return dropout(input, self.p, self.training)


Dropout1d = Dropout2d = Dropout3d = AlphaDropout = Dropout


class DropPath(Module):
    "{}(0.1)"

    def __init__(self, drop_prob=0.0, scale_by_keep=True):
        self.drop_prob = drop_prob

    def forward(self, x):
        return x


StochasticDepth = DropPath


class Sequential(Module):
    "nn.{}(nn.ReLU())"

    def __init__(self, *layers):
        self.layers = _named_modules_of(self, layers)

    def append(self, layer):
        self.layers = self.layers + (layer,)

    def forward(self, input):
        for layer in self.layers:
            input = layer(input)
        return input


class _Activation(Module):
    def __init__(self, *args, **options):
        self.args = args


class ReLU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return relu(input)


class ReLU6(_Activation):
    "nn.{}()"

    def forward(self, input):
        return relu6(input)


class LeakyReLU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return leaky_relu(input)


class PReLU(Module):
    "nn.{}()"

    def __init__(self, num_parameters=1, init=0.25):
        self.weight = empty(num_parameters)

    def forward(self, input):
        return prelu(input, self.weight)


class ELU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return elu(input)


class SELU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return selu(input)


class GELU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return gelu(input)


class SiLU(_Activation):
    "nn.{}()"

    def forward(self, input):
        return silu(input)


Swish = SiLU


class Mish(_Activation):
    "nn.{}()"

    def forward(self, input):
        return mish(input)


class Sigmoid(_Activation):
    "nn.{}()"

    def forward(self, input):
        return sigmoid(input)


class Tanh(_Activation):
    "nn.{}()"

    def forward(self, input):
        return tanh(input)


class Hardswish(_Activation):
    "nn.{}()"

    def forward(self, input):
        return hardswish(input)


class Hardsigmoid(_Activation):
    "nn.{}()"

    def forward(self, input):
        return hardsigmoid(input)


class Hardtanh(_Activation):
    "nn.{}()"

    def forward(self, input):
        return hardtanh(input)


class Softplus(_Activation):
    "nn.{}()"

    def forward(self, input):
        return softplus(input)


class Softmax(Module):
    "nn.{}(dim=-1)"

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, input):
        return softmax(input, self.dim)


class LogSoftmax(Module):
    "nn.{}(dim=-1)"

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, input):
        return log_softmax(input, self.dim)


class GLU(Module):
    "nn.{}()"

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, input):
        return glu(input, self.dim)


class Flatten(Module):
    "nn.{}()"

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input):
        return flatten(input, self.start_dim, self.end_dim)


class Unflatten(Module):
    "nn.{}(1, (2, 2))"

    def __init__(self, dim, unflattened_size):
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input):
        return unflatten(input, self.dim, self.unflattened_size)


class _Pool(Module):
    def __init__(self, kernel_size, stride=None, padding=0, *args, ceil_mode=False, **options):
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.ceil_mode = ceil_mode


class MaxPool1d(_Pool):
    "nn.{}(2)"

    def forward(self, input: "[B, C, L]"):
        return max_pool1d(input, self.kernel_size, self.stride, self.padding, 1, self.ceil_mode)


class MaxPool2d(_Pool):
    "nn.{}(2)"

    def forward(self, input: "[B, C, H, W]"):
        return max_pool2d(input, self.kernel_size, self.stride, self.padding, 1, self.ceil_mode)


class AvgPool1d(_Pool):
    "nn.{}(2)"

    def forward(self, input: "[B, C, L]"):
        return avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode)


class AvgPool2d(_Pool):
    "nn.{}(2)"

    def forward(self, input: "[B, C, H, W]"):
        return avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode)


class _AdaptivePool(Module):
    def __init__(self, output_size, **options):
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptivePool):
    "nn.{}(1)"

    def forward(self, input: "[B, C, L]"):
        return adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    "nn.{}(1)"

    def forward(self, input: "[B, C, H, W]"):
        return adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool2d(_AdaptivePool):
    "nn.{}(1)"

    def forward(self, input: "[B, C, H, W]"):
        return adaptive_max_pool2d(input, self.output_size)


class Upsample(Module):
    "nn.{}(scale_factor=2)"

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None):
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode

    def forward(self, input: "[B, C, H, W]"):
        return interpolate(input, self.size, self.scale_factor, self.mode)


class Rearrange(Module):
    "nn.{}('a b -> b a')"

    def __init__(self, pattern, **sizes):
        self.pattern = pattern
        self.sizes = sizes

    def forward(self, tensor):
        return rearrange(tensor, self.pattern, self.sizes)


class Reduce(Module):
    "nn.{}('a b -> a', 'max')"

    def __init__(self, pattern, reduction, **sizes):
        self.pattern = pattern
        self.reduction = reduction
        self.sizes = sizes

    def forward(self, tensor):
        return reduce(tensor, self.pattern, self.reduction, self.sizes)


class PixelShuffle(Module):
    "nn.{}(2)"

    def __init__(self, upscale_factor):
        self.upscale_factor = upscale_factor

    def forward(self, input: "[B, C, H, W]"):
        return pixel_shuffle(input, self.upscale_factor)


class ZeroPad2d(Module):
    "nn.{}(1)"

    def __init__(self, padding):
        self.padding = padding if isinstance(padding, tuple) else (padding,) * 4

    def forward(self, input: "[B, C, H, W]"):
        left, right, top, bottom = self.padding
        return pad(input, ((0, 0), (0, 0), (top, bottom), (left, right)))


ReflectionPad2d = ReplicationPad2d = ZeroPad2d


class MultiheadAttention(Module):
    "nn.{}(4, 2)"

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
                 vdim=None, batch_first=False, **options):
        self.num_heads = num_heads
        self.batch_first = batch_first
        self.q_proj = Linear(embed_dim, embed_dim, bias)
        self.k_proj = Linear(embed_dim if kdim is None else kdim, embed_dim, bias)
        self.v_proj = Linear(embed_dim if vdim is None else vdim, embed_dim, bias)
        self.out_proj = Linear(embed_dim, embed_dim, bias)

    def forward(self, query: "[B, T, C]", key: "[B, S, C]", value: "[B, S, C]", key_padding_mask=None,
                need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False):
        if not self.batch_first:
            query = swapaxes(query, 0, 1)
            key = swapaxes(key, 0, 1)
            value = swapaxes(value, 0, 1)
        q = self.heads(self.q_proj(query))
        k = self.heads(self.k_proj(key))
        v = self.heads(self.v_proj(value))
        out = swapaxes(scaled_dot_product_attention(q, k, v, attn_mask, 0.0, is_causal), 1, 2)
        b, t, h, d = out.shape
        out = self.out_proj(reshape(out, (b, t, h * d)))
        if not self.batch_first:
            out = swapaxes(out, 0, 1)
        return out, None

    def heads(self, x):
        b, t, c = x.shape
        return swapaxes(reshape(x, (b, t, self.num_heads, c // self.num_heads)), 1, 2)


class TransformerEncoderLayer(Module):
    "nn.{}(4, 2)"

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, **options):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model)
        self.norm2 = LayerNorm(d_model)
        self.norm_first = norm_first
        self.activation = activation

    def forward(self, src: "[B, T, C]", src_mask=None, src_key_padding_mask=None, is_causal=False):
        if self.norm_first:
            src = src + self.attend(self.norm1(src), src_mask, is_causal)
            return src + self.feed(self.norm2(src))
        src = self.norm1(src + self.attend(src, src_mask, is_causal))
        return self.norm2(src + self.feed(src))

    def attend(self, x, mask, is_causal):
        return self.self_attn(x, x, x, attn_mask=mask, is_causal=is_causal)[0]

    def feed(self, x):
        hidden = self.linear1(x)
        return self.linear2(gelu(hidden) if self.activation == "gelu" else relu(hidden))


class TransformerEncoder(Module):
    "nn.{}(nn.TransformerEncoderLayer(4, 2), 2)"

    def __init__(self, encoder_layer, num_layers, norm=None, **options):
        self.layers = (encoder_layer,) * num_layers
        self.norm = norm

    def forward(self, src: "[B, T, C]", mask=None, src_key_padding_mask=None, is_causal=False):
        for layer in self.layers:
            src = layer(src, mask)
        return src if self.norm is None else self.norm(src)


class _Loss(Module):
    def __init__(self, weight=None, reduction="mean", **options):
        self.reduction = reduction


class MSELoss(_Loss):
    "nn.{}()"

    def forward(self, input, target):
        return mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    "nn.{}()"

    def forward(self, input, target):
        return l1_loss(input, target, self.reduction)


class CrossEntropyLoss(_Loss):
    "nn.{}()"

    def forward(self, input: "[N, C]", target: "i64[N]"):
        return cross_entropy(input, target, reduction=self.reduction)


class NLLLoss(_Loss):
    "nn.{}()"

    def forward(self, input: "[N, C]", target: "i64[N]"):
        return nll_loss(input, target, reduction=self.reduction)


class BCELoss(_Loss):
    "nn.{}()"

    def forward(self, input, target):
        return binary_cross_entropy(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    "nn.{}()"

    def forward(self, input, target):
        return binary_cross_entropy_with_logits(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    "nn.{}()"

    def forward(self, input, target):
        return smooth_l1_loss(input, target, self.reduction)
