//! Files that hold neither a trace nor the shapes of a model, and are often taken for one that does: what each is, and what
//! to give instead.

use super::json::outer_keys;
use crate::error::{Error, Place};

/// How a file is known.
enum Sign {
    /// By its first bytes, after blanks.
    Start(&'static [u8]),
    /// By bytes at a place.
    At(usize, &'static [u8]),
    /// An object of JSON with all of these keys.
    Keys(&'static [&'static str]),
    /// By the beginnings of lines, of which it has all.
    Lines(&'static [&'static str]),
}

impl Sign {
    fn fits(&self, head: &[u8], keys: &[&[u8]]) -> bool {
        match self {
            Self::Start(start) => head.trim_ascii_start().starts_with(start),
            Self::At(at, bytes) => head.get(*at..).is_some_and(|rest| rest.starts_with(bytes)),
            Self::Keys(wanted) => wanted.iter().all(|key| keys.contains(&key.as_bytes())),
            Self::Lines(starts) => {
                let has =
                    |start: &str| head.split(|byte| *byte == b'\n').any(|line| line.starts_with(start.as_bytes()));
                starts.iter().all(|start| has(start))
            }
        }
    }
}

const CONFIG: &str = "Give the model's config.json, which stands beside it";
const WEIGHTS: &str = "Save the weights as safetensors (safetensors.torch.save_file), or give the model's config.json";

/// The signs of each kind of file, what it is, and the cure; the surest signs first.
static STRANGERS: &[(&[Sign], &str, &str)] = &[
    (
        &[Sign::Start(b"version https://git-lfs.github.com/spec/")],
        "it is a Git LFS pointer: a few lines that stand for the file itself",
        "Fetch the file itself (git lfs pull, or download it from its page)",
    ),
    (
        &[Sign::Start(b"<!DOCTYPE html"), Sign::Start(b"<!doctype html"), Sign::Start(b"<html")],
        "it is a web page",
        "Download the file itself: on the hub, the address has /resolve/ where its page has /blob/",
    ),
    (&[Sign::Start(b"<?xml"), Sign::Start(b"<net ")], "it is an XML file", "Export the model as ONNX"),
    (
        &[Sign::Keys(&["error"]), Sign::Start(b"Repository not found"), Sign::Start(b"Entry not found")],
        "it is the answer of a server that did not give the file",
        "Fetch the file again, with a token where it is not public",
    ),
    (
        &[Sign::Keys(&["peft_type"])],
        "it is the configuration of a PEFT adapter, which changes another model",
        "Give the config.json of the model that its base_model_name_or_path names",
    ),
    (
        &[
            Sign::Keys(&["zero_optimization"]),
            Sign::Keys(&["train_micro_batch_size_per_gpu"]),
            Sign::Keys(&["train_batch_size"]),
        ],
        "it is a DeepSpeed configuration: it says how a model is trained, not what it is",
        "Give the config.json of the model that it trains",
    ),
    (
        &[Sign::Keys(&["_class_name"]), Sign::Keys(&["_diffusers_version"])],
        "it is a configuration of diffusers, of a class that is not read",
        "Give the config.json of its unet or transformer, export the model as ONNX, or record an execution trace of it (torch.profiler.ExecutionTraceObserver)",
    ),
    (
        &[
            Sign::Keys(&["tensor_model_parallel_size"]),
            Sign::Keys(&["ffn_hidden_size", "num_layers"]),
            Sign::Lines(&["tensor_model_parallel_size:"]),
            Sign::Lines(&["ffn_hidden_size:", "num_layers:"]),
            Sign::Start(b"--tensor-model-parallel-size"),
            Sign::Start(b"--num-layers"),
        ],
        "it is a Megatron configuration, which is not read",
        "Convert the checkpoint to Hugging Face's layout and give the config.json of that",
    ),
    (
        &[Sign::Keys(&["dim", "n_layers", "n_heads"])],
        "it is a params.json of Meta's or Mistral's own layout",
        "Give the config.json of the same model in Hugging Face's layout",
    ),
    (
        &[Sign::Keys(&["architecture", "pretrained_cfg"]), Sign::Keys(&["model_cfg", "preprocess_cfg"])],
        "it is a configuration of timm or open_clip, which is not read",
        "Export the model as ONNX",
    ),
    (
        &[
            Sign::Keys(&["tokenizer_class"]),
            Sign::Keys(&["added_tokens", "model"]),
            Sign::Keys(&["added_tokens", "pre_tokenizer"]),
            Sign::Keys(&["bos_token", "eos_token"]),
        ],
        "it is the tokenizer of a model",
        CONFIG,
    ),
    (
        &[
            Sign::Keys(&["image_processor_type"]),
            Sign::Keys(&["feature_extractor_type"]),
            Sign::Keys(&["processor_class"]),
        ],
        "it is the configuration of a model's preprocessor",
        CONFIG,
    ),
    (
        &[Sign::Keys(&["eos_token_id", "transformers_version"]), Sign::Keys(&["temperature", "top_p"])],
        "it is a generation_config.json: it says how tokens are chosen",
        CONFIG,
    ),
    (&[Sign::Keys(&["log_history"])], "it is the state of a trainer", CONFIG),
    (&[Sign::Keys(&["nbformat"])], "it is a notebook", "Give the file that it opens"),
    (
        &[Sign::At(0, b"\x93NUMPY")],
        "it is a NumPy array",
        "Save requests as CSV with the columns time, obj_id and obj_size",
    ),
    (&[Sign::At(0, b"\x89HDF\r\n\x1a\n")], "it is an HDF5 file (Keras weights)", "Export the model as ONNX (tf2onnx)"),
    (&[Sign::At(4, b"TFL3")], "it is a TensorFlow Lite model", "Export the model as ONNX (tf2onnx)"),
    (
        &[Sign::At(0, b"SQLite format 3\0")],
        "it is a database (nsys exports such)",
        "Record an execution trace of PyTorch (torch.profiler.ExecutionTraceObserver)",
    ),
    (&[Sign::At(0, b"\x80\x02"), Sign::At(0, b"\x80\x04"), Sign::At(0, b"\x80\x05")], "it is a Python pickle", WEIGHTS),
    (&[Sign::At(0, b"%PDF")], "it is a PDF document", "Give the data that it describes"),
    (
        &[Sign::At(0, b"\x89PNG"), Sign::At(0, b"\xff\xd8\xff"), Sign::At(0, b"GIF8")],
        "it is a picture",
        "Give the data",
    ),
    (&[Sign::At(0, b"\x7fELF"), Sign::At(0, b"MZ")], "it is a program", "Give what it reads or writes"),
];

/// Refuses a file that is known to be none of those that are read, by its first bytes.
pub(super) fn refuse(input: &str, head: &[u8]) -> Result<(), Error> {
    let keys = if head.trim_ascii_start().starts_with(b"{") { outer_keys(head) } else { Vec::new() };
    let known = |signs: &[Sign]| signs.iter().any(|sign| sign.fits(head, &keys));
    match STRANGERS.iter().find(|(signs, ..)| known(signs)) {
        Some((_, problem, cure)) => Err(Error::input(input, Place::Whole, *problem, *cure)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_what_they_are() {
        let refused = |head: &[u8]| refuse("x", head).map_err(|error| error.to_string());
        for (head, wanted) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4976698672\n"[..],
                "it is a Git LFS pointer",
            ),
            (b"\n<!DOCTYPE html>\n<html>", "it is a web page"),
            (b"{\"error\":\"Repository not found\"}", "it is the answer of a server"),
            (b"{\"peft_type\": \"LORA\", \"r\": 16}", "it is the configuration of a PEFT adapter"),
            (
                b"{\"fp16\": {\"enabled\": true}, \"zero_optimization\": {\"stage\": 3}}",
                "it is a DeepSpeed configuration",
            ),
            (b"{\"_class_name\": \"UNet2DConditionModel\"}", "it is a configuration of diffusers"),
            (b"# comment\ntensor_model_parallel_size: 8\n", "it is a Megatron configuration"),
            (b"{\"dim\": 4096, \"n_layers\": 32, \"n_heads\": 32}", "it is a params.json"),
            (
                b"{\"bos_token_id\": 1, \"eos_token_id\": 2, \"transformers_version\": \"5.0\"}",
                "it is a generation_config",
            ),
            (b"\x80\x02}q\x00", "it is a Python pickle"),
            (b"SQLite format 3\0\x10", "it is a database"),
        ] {
            let error = refused(head).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        // A key further inside says nothing, nor does a text that mentions one.
        for head in [&b"{\"a\": {\"peft_type\": 1}}"[..], b"peft_type: 1", b"", b"hello", b"[{\"error\": 1}]"] {
            assert_eq!(refused(head), Ok(()));
        }
    }
}
