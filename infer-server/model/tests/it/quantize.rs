//! `quantize` against transformers, bitsandbytes and llama.cpp (`tests/fixtures/checkpoints.py` made what is expected),
//! and what it refuses.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use accel_model::quantize::{Args, Summary, Type, run};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/checkpoints").join(name)
}

fn expected(name: &str) -> Json {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

/// A copy of a fixture that a test may spoil.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn quantize(input: &Path, kind: Type) -> (tempfile::TempDir, PathBuf, Summary) {
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("model.gguf");
    let summary = run(&Args { input: input.to_owned(), output: output.clone(), kind, force: false }).unwrap();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "something was left beside the output");
    (out, output, summary)
}

/// The message of a refusal, after which nothing is left of the output.
fn refusal(input: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("model.gguf");
    let error = run(&Args { input: input.to_owned(), output, kind: Type::Q8_0, force: false }).unwrap_err();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "something was left of a refused output");
    error.to_string()
}

/// Changes a key of `config.json`; `null` takes it away.
fn set(dir: &Path, file: &str, key: &str, value: Json) {
    let path = dir.join(file);
    let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

fn plain(value: &Value) -> Json {
    match value {
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::F32(v) => json!(f64::from(*v)),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(v),
        Value::Array(v) => v.iter().map(plain).collect(),
        other => panic!("unexpected {other:?}"),
    }
}

fn floats(tensor: &QTensor) -> Vec<f32> {
    tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_as_llama_cpp(input: &str, facts: &str) {
    let (_out, path, _) = quantize(&fixture(input), Type::F32);
    let mut file = File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let facts = expected(facts);
    for (key, expected) in facts["metadata"].as_object().unwrap() {
        let value = content.metadata.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        assert_eq!(plain(value), *expected, "{key}");
    }
    let tensors = facts["tensors"].as_object().unwrap();
    assert_eq!(content.tensor_infos.len(), tensors.len());
    for (name, expected) in tensors {
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        assert_eq!(json!(tensor.shape().dims()), expected["shape"], "{name}");
        let bytes: Vec<u8> = floats(&tensor).iter().flat_map(|v| v.to_le_bytes()).collect();
        let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(json!(sha256), expected["sha256"], "{name}");
    }
}

#[test]
fn a_sharded_mistral_becomes_what_llama_cpp_makes_of_it() {
    assert_as_llama_cpp("mistral", "mistral.json");
}

#[test]
fn an_nf4_mistral_becomes_what_bitsandbytes_dequantises() {
    assert_as_llama_cpp("mistral_nf4", "mistral_nf4.json");
}

#[test]
fn a_llama_with_tied_embeddings_and_a_bpe_over_bytes_becomes_what_llama_cpp_makes_of_it() {
    assert_as_llama_cpp("llama3", "llama3.json");
}

#[test]
fn tokenizer_json_says_what_tokenizer_model_does() {
    let dir = copy("mistral");
    let read = |dir: &Path| {
        let (_out, path, summary) = quantize(dir, Type::F32);
        assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
        let content = Content::read(&mut File::open(path).unwrap()).unwrap();
        let get = |key: &str| plain(&content.metadata[&format!("tokenizer.ggml.{key}")]);
        let scores: Vec<f64> = get("scores").as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        let same =
            ["model", "tokens", "token_type", "bos_token_id", "eos_token_id", "unknown_token_id", "add_space_prefix"];
        (same.map(get), get("add_bos_token"), scores)
    };
    let (model, model_bos, model_scores) = read(dir.path());
    fs::remove_file(dir.path().join("tokenizer.model")).unwrap();
    let (json, json_bos, json_scores) = read(dir.path());
    assert_eq!(model, json);
    // This tokenizer.json adds none, and says so; SentencePiece's own file does not say.
    assert_eq!((model_bos, json_bos), (json!(true), json!(false)));
    // Merges come by score: only their order matters, from the longest pieces (259 bytes and controls before them) on.
    let merged: Vec<usize> = (259..380).filter(|id| json_scores[*id] > -1000.0).collect();
    assert!(merged.len() > 50);
    for pair in merged.windows(2) {
        assert!(model_scores[pair[0]] > model_scores[pair[1]]);
        assert!(json_scores[pair[0]] > json_scores[pair[1]]);
    }
}

#[test]
fn a_tokenizer_json_whose_merges_are_not_sentencepieces_is_warned_of() {
    let dir = copy("mistral");
    fs::remove_file(dir.path().join("tokenizer.model")).unwrap();
    let path = dir.path().join("tokenizer.json");
    let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    let joined: Vec<String> =
        merges.iter().map(|m| format!("{}{}", m[0].as_str().unwrap(), m[1].as_str().unwrap())).collect();
    let twice = (1..joined.len()).find(|at| joined[..*at].contains(&joined[*at])).unwrap();
    merges.remove(twice);
    fs::write(&path, json.to_string()).unwrap();
    let (_out, _, summary) = quantize(dir.path(), Type::F32);
    assert!(summary.warnings.iter().any(|w| w.contains("lists only some of the pairs")), "{:?}", summary.warnings);
}

/// A checkpoint in f32 of the given shape, with the tokenizer of the fixture.
struct Made {
    layers: usize,
    width: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Made {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let Self { layers, width, inner, heads, kv_heads, head_dim } = *self;
        let mut shapes = BTreeMap::from([
            ("model.embed_tokens.weight".to_owned(), vec![384, width]),
            ("model.norm.weight".to_owned(), vec![width]),
            ("lm_head.weight".to_owned(), vec![384, width]),
        ]);
        for layer in 0..layers {
            for (name, shape) in [
                ("input_layernorm", vec![width]),
                ("post_attention_layernorm", vec![width]),
                ("self_attn.q_proj", vec![heads * head_dim, width]),
                ("self_attn.k_proj", vec![kv_heads * head_dim, width]),
                ("self_attn.v_proj", vec![kv_heads * head_dim, width]),
                ("self_attn.o_proj", vec![width, heads * head_dim]),
                ("mlp.gate_proj", vec![inner, width]),
                ("mlp.up_proj", vec![inner, width]),
                ("mlp.down_proj", vec![width, inner]),
            ] {
                shapes.insert(format!("model.layers.{layer}.{name}.weight"), shape);
            }
        }
        shapes
    }

    fn write(&self, change: impl Fn(&str, &mut Vec<f32>)) -> tempfile::TempDir {
        let dir = copy("mistral");
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".safetensors") {
                fs::remove_file(path).unwrap();
            }
        }
        for (key, value) in [
            ("num_hidden_layers", self.layers),
            ("hidden_size", self.width),
            ("intermediate_size", self.inner),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
        ] {
            set(dir.path(), "config.json", key, json!(value));
        }
        let mut state = 7u32;
        let mut data = BTreeMap::new();
        for (name, shape) in self.shapes() {
            let mut values: Vec<f32> = (0..shape.iter().product())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (f64::from(state >> 8) / f64::from(1 << 24) - 0.5) as f32
                })
                .collect();
            change(&name, &mut values);
            data.insert(name, (shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()));
        }
        let views = data.iter().map(|(n, (s, d))| (n, TensorView::new(Dtype::F32, s.clone(), d).unwrap()));
        safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
        dir
    }
}

const SMALL: Made = Made { layers: 1, width: 32, inner: 64, heads: 2, kv_heads: 1, head_dim: 32 };

#[test]
fn q4_k_takes_the_types_of_q4_k_m_and_quantises_what_f32_holds() {
    let made = Made { layers: 4, width: 256, inner: 512, heads: 4, kv_heads: 2, head_dim: 96 };
    let dir = made.write(|_, _| {});
    let open = |kind| {
        let (out, path, summary) = quantize(dir.path(), kind);
        let mut file = File::open(path).unwrap();
        let content = Content::read(&mut file).unwrap();
        (out, file, content, summary)
    };
    let (_out, mut exact, exact_content, _) = open(Type::F32);
    let (_out, mut file, content, summary) = open(Type::Q4K);
    let dtype = |name: &str| content.tensor_infos[name].ggml_dtype;
    assert_eq!(dtype("token_embd.weight"), GgmlDType::Q4K);
    assert_eq!(dtype("output.weight"), GgmlDType::Q6K);
    assert_eq!(dtype("output_norm.weight"), GgmlDType::F32);
    for layer in 0..4 {
        // Of four layers the first eighth has none, the last begins at 3, and 2 is the third.
        let more = if layer >= 2 { GgmlDType::Q6K } else { GgmlDType::Q4K };
        for (name, expected) in [
            ("attn_q", GgmlDType::Q4K),
            ("attn_k", GgmlDType::Q4K),
            ("attn_v", more),
            // Rows of 4 x 96 = 384 do not divide into blocks of 256.
            ("attn_output", GgmlDType::Q8_0),
            ("ffn_gate", GgmlDType::Q4K),
            ("ffn_up", GgmlDType::Q4K),
            ("ffn_down", more),
            ("attn_norm", GgmlDType::F32),
            ("ffn_norm", GgmlDType::F32),
        ] {
            assert_eq!(dtype(&format!("blk.{layer}.{name}.weight")), expected, "{layer} {name}");
        }
    }
    assert_eq!(summary.warnings.len(), 1, "{:?}", summary.warnings);
    assert!(
        summary.warnings[0].contains("blk.0.attn_output.weight and 3 others: rows of 384"),
        "{:?}",
        summary.warnings
    );
    for (name, info) in &content.tensor_infos {
        let source = exact_content.tensor(&mut exact, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        let expected = QTensor::quantize(&source, info.ggml_dtype).unwrap();
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        assert_eq!(tensor.data().unwrap(), expected.data().unwrap(), "{name}");
    }
    for (kind, dtype, file_type) in
        [(Type::Q8_0, GgmlDType::Q8_0, 7), (Type::Q6K, GgmlDType::Q6K, 18), (Type::F16, GgmlDType::F16, 1)]
    {
        let (_out, _, content, _) = open(kind);
        assert_eq!(content.tensor_infos["blk.0.ffn_up.weight"].ggml_dtype, dtype);
        assert_eq!(content.tensor_infos["blk.0.ffn_norm.weight"].ggml_dtype, GgmlDType::F32);
        assert_eq!(plain(&content.metadata["general.file_type"]), json!(file_type));
    }
}

#[test]
fn a_file_larger_than_a_part_is_the_same() {
    // More elements than are read at a time in one tensor, and heads that must not be cut.
    let made = Made { layers: 1, width: 1024, inner: 32, heads: 52, kv_heads: 1, head_dim: 80 };
    let dir = made.write(|_, _| {});
    let (_out, path, _) = quantize(dir.path(), Type::F32);
    let mut file = File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let permuted = content.tensor(&mut file, "blk.0.attn_q.weight", &Device::Cpu).unwrap();
    let permuted = permuted.dequantize(&Device::Cpu).unwrap();
    let bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
    let source = Tensor::from_raw_buffer(view.data(), candle_core::DType::F32, view.shape(), &Device::Cpu).unwrap();
    // The converter's own words: reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2).
    let expected =
        source.reshape((52, 2, 40, 1024)).unwrap().transpose(1, 2).unwrap().reshape((52 * 80, 1024)).unwrap();
    let difference = (permuted - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(difference, 0.0);
}

#[test]
fn a_sliding_window_is_written_for_the_reader_to_see() {
    let dir = copy("mistral");
    set(dir.path(), "config.json", "sliding_window", json!(128));
    set(dir.path(), "config.json", "rope_parameters", Json::Null);
    set(dir.path(), "config.json", "rope_theta", json!(5e5));
    let (_out, path, _) = quantize(dir.path(), Type::Q8_0);
    let content = Content::read(&mut File::open(path).unwrap()).unwrap();
    assert_eq!(plain(&content.metadata["llama.attention.sliding_window"]), json!(128));
    assert_eq!(plain(&content.metadata["llama.rope.freq_base"]), json!(5e5));
}

#[test]
fn an_output_that_is_there_is_only_replaced_when_told() {
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("model.gguf");
    fs::write(&output, "mine").unwrap();
    let mut args = Args { input: fixture("mistral"), output: output.clone(), kind: Type::Q8_0, force: false };
    let message = run(&args).unwrap_err().to_string();
    assert!(message.contains("it is there already") && message.contains("--force"), "{message}");
    assert_eq!(fs::read(&output).unwrap(), b"mine");
    args.force = true;
    // What a run that was killed left behind.
    fs::write(out.path().join(".model.gguf.part"), vec![1; 1 << 21]).unwrap();
    let summary = run(&args).unwrap();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "something was left beside the output");
    Content::read(&mut File::open(&output).unwrap()).unwrap();
    assert_eq!(fs::metadata(&output).unwrap().len(), summary.file_bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let theirs = out.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&output), mode(&theirs), "the file is not as other new files");
    }
    args.output = out.path().join("missing/model.gguf");
    assert!(run(&args).unwrap_err().to_string().contains("in a folder that is there"));
}

#[test]
fn configurations_that_a_llama_gguf_cannot_say_are_refused_by_name() {
    for (key, value, expected) in [
        ("architectures", json!(["MixtralForCausalLM"]), "MixtralForCausalLM"),
        ("architectures", json!([]), "not named"),
        ("hidden_act", json!("gelu"), "gelu"),
        ("attention_bias", json!(true), "biases"),
        ("rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e6}), "yarn"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "linear"),
        ("quantization_config", json!({"quant_method": "gptq", "bits": 4}), "gptq"),
        ("quantization_config", json!({"quant_method": "awq", "bits": 4}), "awq"),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true}), "LLM.int8"),
        ("num_key_value_heads", json!(3), "3"),
        ("num_attention_heads", json!(0), "out of range"),
        ("num_hidden_layers", json!(4_000_000_000u32), "out of range"),
        ("head_dim", json!(15), "15"),
        ("hidden_size", json!("wide"), "config.json"),
        ("vocab_size", json!(400), "[384, 64]"),
        ("num_hidden_layers", json!(3), "model.layers.2.input_layernorm.weight"),
        ("num_hidden_layers", json!(1), "model.layers.1.input_layernorm.weight"),
    ] {
        let dir = copy("mistral");
        set(dir.path(), "config.json", key, value.clone());
        let message = refusal(dir.path());
        assert!(message.contains(expected), "{key} = {value}: {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(refusal(empty.path()).contains("config.json"));
    let dir = copy("mistral");
    fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(refusal(dir.path()).contains("line 1"));
}

#[test]
fn files_that_are_missing_or_broken_are_named() {
    let shard = "model-00002-of-00003.safetensors";
    let dir = copy("mistral");
    fs::remove_file(dir.path().join(shard)).unwrap();
    let message = refusal(dir.path());
    assert!(message.contains(shard) && message.contains("missing"), "{message}");

    let whole = fs::read(fixture("mistral").join(shard)).unwrap();
    let cut = |bytes: &[u8]| {
        fs::write(dir.path().join(shard), bytes).unwrap();
        refusal(dir.path())
    };
    for (bytes, expected) in [
        (&whole[..whole.len() - 1], "promises"),
        (&whole[..100], "no safetensors"),
        (&whole[..3], "cannot be read"),
        (&[255; 64][..], "no safetensors"),
        (b"\x10\0\0\0\0\0\0\0{not json at all", ""),
        (&[][..], "cannot be read"),
    ] {
        let message = cut(bytes);
        assert!(message.contains(shard) && message.contains(expected), "{message}");
    }
    fs::write(dir.path().join(shard), &whole).unwrap();
    let other = "model-00003-of-00003.safetensors";
    fs::copy(dir.path().join(shard), dir.path().join(other)).unwrap();
    assert!(refusal(dir.path()).contains("the tensor is not in"));

    let dir = copy("mistral");
    for name in ["tokenizer.model", "tokenizer.json"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(refusal(dir.path()).contains("there is no tokenizer"));
    fs::write(dir.path().join("tokenizer.model"), "version https://git-lfs").unwrap();
    assert!(refusal(dir.path()).contains("tokenizer.model"));
    fs::write(dir.path().join("tokenizer.model"), "").unwrap();
    assert!(refusal(dir.path()).contains("no tokens"));
    fs::remove_file(dir.path().join("tokenizer.model")).unwrap();
    for (json, expected) in [
        (json!({"model": {"type": "WordPiece"}}), "no BPE"),
        (json!({"model": {"type": "BPE", "vocab": []}}), "model.vocab"),
        (json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]}}), "model.merges"),
        (json!({"model": {"type": "BPE", "vocab": {"a": 0}}}), "byte_fallback"),
        (json!({"model": {"type": "BPE", "vocab": {"a": 4_000_000_000u32}, "byte_fallback": true}}), "far beyond"),
        (
            json!({"model": {"type": "BPE", "vocab": {"a": 0}}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\w"}}, {"type": "ByteLevel", "use_regex": false}]}}),
            "not known",
        ),
    ] {
        fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(expected), "{message}");
    }

    let dir = copy("llama3");
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert!(refusal(dir.path()).contains("no model.safetensors"));
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    assert!(refusal(dir.path()).contains("safe_serialization"));
}

#[test]
fn weights_that_are_not_read_are_refused_by_name() {
    let write = |rows: &[(&str, Dtype, Vec<usize>, Vec<u8>)]| {
        let dir = SMALL.write(|_, _| {});
        let path = dir.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let replaced: Vec<&str> = rows.iter().map(|row| row.0).collect();
        let mut views: Vec<(String, TensorView<'_>)> = whole
            .tensors()
            .into_iter()
            .filter(|(name, _)| {
                let stem = name.trim_end_matches(".weight");
                !replaced.contains(&name.as_str()) && !replaced.iter().any(|r| *r == format!("{stem}.qweight"))
            })
            .collect();
        for (name, dtype, shape, data) in rows {
            views.push(((*name).to_owned(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        }
        safetensors::serialize_to_file(views, None, &path).unwrap();
        refusal(dir.path())
    };
    let q = "model.layers.0.self_attn.q_proj";
    let (weight, scb, qweight) = (format!("{q}.weight"), format!("{q}.SCB"), format!("{q}.qweight"));
    let eight_bit =
        write(&[(&weight, Dtype::I8, vec![64, 32], vec![0; 2048]), (&scb, Dtype::F32, vec![64], vec![0; 256])]);
    assert!(eight_bit.contains("LLM.int8") && eight_bit.contains(&weight), "{eight_bit}");
    let gptq = write(&[(&qweight, Dtype::I32, vec![4, 64], vec![0; 1024])]);
    assert!(gptq.contains("GPTQ or AWQ"), "{gptq}");
    let integer = write(&[(&weight, Dtype::I64, vec![64, 32], vec![0; 16384])]);
    assert!(integer.contains("its type is I64"), "{integer}");
    let extra = write(&[(&format!("{q}.lora_A.weight"), Dtype::F32, vec![2, 2], vec![0; 16])]);
    assert!(extra.contains("no such tensor") && extra.contains("lora_A"), "{extra}");
    let bias = write(&[(&format!("{q}.bias"), Dtype::F32, vec![64], vec![0; 256])]);
    assert!(bias.contains("no such tensor"), "{bias}");
    let state = format!("{weight}.quant_state.bitsandbytes__nf4");
    let lost = write(&[
        (&weight, Dtype::U8, vec![1024, 1], vec![0; 1024]),
        (&state, Dtype::U8, vec![65], br#"{"blocksize": 64, "dtype": "float16", "shape": [64, 32]}         "#.to_vec()),
    ]);
    assert!(lost.contains("absmax"), "{lost}");

    for bad in [f32::NAN, f32::INFINITY] {
        let dir = SMALL.write(|name, values| {
            if name == weight {
                values[5] = bad;
            }
        });
        let message = refusal(dir.path());
        assert!(message.contains(&weight) && message.contains("a weight is"), "{message}");
    }
}

#[test]
fn broken_bytes_are_refused_or_read_but_never_a_panic() {
    let mut state = 11u32;
    let mut below = |most: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * most as u64) >> 32) as usize
    };
    for name in ["mistral_nf4", "llama3"] {
        let dir = copy(name);
        let out = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixture(name)).unwrap() {
            let (original, file) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
            let whole = fs::read(original).unwrap();
            for _ in 0..12 {
                let mut bytes = whole.clone();
                for _ in 0..=below(3) {
                    // Headers stand in front, and matter most.
                    let front = if below(4) == 0 { usize::MAX } else { 4000 };
                    let at = below(bytes.len().min(front));
                    match below(3) {
                        0 => bytes[at] = below(256) as u8,
                        1 => bytes[at] ^= 1 << below(8),
                        _ => bytes.truncate(at.max(1)),
                    }
                }
                fs::write(dir.path().join(&file), bytes).unwrap();
                let output = out.path().join("model.gguf");
                let args = Args { input: dir.path().to_owned(), output, kind: Type::Q8_0, force: true };
                if let Err(error) = run(&args) {
                    let message = error.to_string();
                    assert!(!message.contains("internal error"), "{message}");
                }
            }
            fs::write(dir.path().join(&file), whole).unwrap();
        }
    }
}
