//! A model file with the exact shapes of Mistral-7B cut to two layers, random weights and the types of Q4_K_M; made once.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;
use rand::rngs::ChaCha8Rng;
use rand::{Rng as _, SeedableRng as _};

/// `config.json` of mistralai/Mistral-7B-Instruct-v0.2, but for the layers.
const HIDDEN: usize = 4096;
const FEED_FORWARD: usize = 14_336;
const KV: usize = 1024;
pub(crate) const VOCABULARY: usize = 32_000;
const LAYERS: usize = 2;

/// The file in a folder, made unless it is there.
pub(crate) fn model_file(folder: &Path) -> PathBuf {
    let path = folder.join("mistral-7b-2-layers-q4_k_m.gguf");
    if path.is_file() {
        return path;
    }
    println!("making {}", path.display());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut add = |name: String, dtype, rows, columns| tensors.push((name, random(&mut rng, dtype, rows, columns)));
    add("token_embd.weight".into(), GgmlDType::Q4K, VOCABULARY, HIDDEN);
    add("output.weight".into(), GgmlDType::Q6K, VOCABULARY, HIDDEN);
    add("output_norm.weight".into(), GgmlDType::F32, 1, HIDDEN);
    for layer in 0..LAYERS {
        // Q4_K_M gives half of the layers six bits in these two.
        let more = if layer % 2 == 0 { GgmlDType::Q4K } else { GgmlDType::Q6K };
        for (name, dtype, rows, columns) in [
            ("attn_q", GgmlDType::Q4K, HIDDEN, HIDDEN),
            ("attn_k", GgmlDType::Q4K, KV, HIDDEN),
            ("attn_v", more, KV, HIDDEN),
            ("attn_output", GgmlDType::Q4K, HIDDEN, HIDDEN),
            ("ffn_gate", GgmlDType::Q4K, FEED_FORWARD, HIDDEN),
            ("ffn_up", GgmlDType::Q4K, FEED_FORWARD, HIDDEN),
            ("ffn_down", more, HIDDEN, FEED_FORWARD),
            ("attn_norm", GgmlDType::F32, 1, HIDDEN),
            ("ffn_norm", GgmlDType::F32, 1, HIDDEN),
        ] {
            add(format!("blk.{layer}.{name}.weight"), dtype, rows, columns);
        }
    }
    let metadata = metadata();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let part = path.with_extension("part");
    gguf_file::write(&mut fs::File::create(&part).unwrap(), &metadata, &tensors).unwrap();
    fs::rename(part, &path).unwrap();
    path
}

/// Blocks of random numbers around 0 whose deviation keeps activations as large as they are.
fn random(rng: &mut ChaCha8Rng, dtype: GgmlDType, rows: usize, columns: usize) -> QTensor {
    if dtype == GgmlDType::F32 {
        let ones: Vec<u8> = std::iter::repeat_n(1f32.to_le_bytes(), columns).flatten().collect();
        return QTensor::new(QStorage::from_data(Cow::Owned(ones), &Device::Cpu, dtype).unwrap(), columns).unwrap();
    }
    let deviation = (columns as f32).powf(-0.5);
    let mut data = vec![0u8; rows * columns / dtype.block_size() * dtype.type_size()];
    rng.fill_bytes(&mut data);
    for block in data.chunks_exact_mut(dtype.type_size()) {
        match dtype {
            // q is uniform in 0..16, of deviation 4.61 around 7.5. All sub-blocks have the scale 8 and the minimum 8.
            GgmlDType::Q4K => {
                let scale = deviation / 4.61 / 8.0;
                block[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
                block[2..4].copy_from_slice(&f16::from_f32(7.5 * scale).to_le_bytes());
                block[4..12].fill(8);
                block[12..16].fill(0x88);
            }
            // q is uniform in -32..32, of deviation 18.5.
            GgmlDType::Q6K => {
                block[192..208].fill(1);
                block[208..].copy_from_slice(&f16::from_f32(deviation / 18.5).to_le_bytes());
            }
            other => panic!("{other:?} is not made"),
        }
    }
    QTensor::new(QStorage::from_data(Cow::Owned(data), &Device::Cpu, dtype).unwrap(), (rows, columns)).unwrap()
}

fn metadata() -> Vec<(&'static str, Value)> {
    let number = |n: usize| Value::U32(n as u32);
    let list = |value: &dyn Fn(usize) -> Value| Value::Array((0..VOCABULARY).map(value).collect());
    vec![
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("Mistral-7B cut to 2 layers, random".into())),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(32_768)),
        ("llama.embedding_length", number(HIDDEN)),
        ("llama.feed_forward_length", number(FEED_FORWARD)),
        ("llama.attention.head_count", number(32)),
        ("llama.attention.head_count_kv", number(8)),
        ("llama.rope.dimension_count", number(128)),
        ("llama.rope.freq_base", Value::F32(1e6)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.tokens", list(&|id| Value::String(token(id)))),
        ("tokenizer.ggml.scores", list(&|id| Value::F32(-(id as f32)))),
        (
            "tokenizer.ggml.token_type",
            list(&|id| {
                Value::I32(if id < 1 {
                    2
                } else if id < 3 {
                    3
                } else if id < 259 {
                    6
                } else {
                    1
                })
            }),
        ),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
    ]
}

fn token(id: usize) -> String {
    match id {
        0 => "<unk>".into(),
        1 => "<s>".into(),
        2 => "</s>".into(),
        3..259 => format!("<0x{:02X}>", id - 3),
        _ => format!("t{id}"),
    }
}
