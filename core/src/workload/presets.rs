//! Published models by name. Each holds the keys of its own `config.json` that decide sizes, at the source named.

use super::config::{CNN, MLP, MOE, ModelConfig, TRANSFORMER};
use crate::error::Error;

/// A published model.
#[derive(Debug)]
pub struct Preset {
    /// The name in recipes and on the command line.
    pub name: &'static str,
    /// The name people read.
    pub title: &'static str,
    /// Its type, in the prototype's words.
    pub family: &'static str,
    /// Where the numbers come from.
    pub source: &'static str,
    /// The keys of its configuration.
    json: &'static str,
}

impl Preset {
    /// Its configuration.
    pub fn config(&self) -> Result<ModelConfig, Error> {
        ModelConfig::from_json(self.name, self.json.as_bytes())
    }
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "mistral-7b",
        title: "Mistral-7B",
        family: TRANSFORMER,
        source: "mistralai/Mistral-7B-Instruct-v0.2 config.json",
        json: r#"{"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
            "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"max_position_embeddings":32768,
            "torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "llama-2-7b",
        title: "Llama-2-7B",
        family: TRANSFORMER,
        source: "meta-llama/Llama-2-7b-hf config.json",
        json: r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,
            "num_attention_heads":32,"vocab_size":32000,"max_position_embeddings":4096,"torch_dtype":"float16"}"#,
    },
    Preset {
        name: "llama-3-8b",
        title: "Llama-3-8B",
        family: TRANSFORMER,
        source: "meta-llama/Meta-Llama-3-8B config.json",
        json: r#"{"model_type":"llama","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
            "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":8192,
            "torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "llama-3.2-1b",
        title: "Llama-3.2-1B",
        family: TRANSFORMER,
        source: "meta-llama/Llama-3.2-1B config.json",
        json: r#"{"model_type":"llama","hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":16,
            "num_attention_heads":32,"num_key_value_heads":8,"head_dim":64,"vocab_size":128256,
            "max_position_embeddings":131072,"tie_word_embeddings":true,"torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "qwen2.5-7b",
        title: "Qwen2.5-7B",
        family: TRANSFORMER,
        source: "Qwen/Qwen2.5-7B config.json",
        json: r#"{"model_type":"qwen2","hidden_size":3584,"intermediate_size":18944,"num_hidden_layers":28,
            "num_attention_heads":28,"num_key_value_heads":4,"vocab_size":152064,"max_position_embeddings":131072,
            "torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "qwen3-8b",
        title: "Qwen3-8B",
        family: TRANSFORMER,
        source: "Qwen/Qwen3-8B config.json",
        json: r#"{"model_type":"qwen3","hidden_size":4096,"intermediate_size":12288,"num_hidden_layers":36,
            "num_attention_heads":32,"num_key_value_heads":8,"head_dim":128,"vocab_size":151936,
            "max_position_embeddings":40960,"torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "gemma-2b",
        title: "Gemma-2B",
        family: TRANSFORMER,
        source: "google/gemma-2b config.json",
        json: r#"{"model_type":"gemma","hidden_size":2048,"intermediate_size":16384,"num_hidden_layers":18,
            "num_attention_heads":8,"num_key_value_heads":1,"head_dim":256,"vocab_size":256000,
            "max_position_embeddings":8192,"torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "gemma-2-9b",
        title: "Gemma-2-9B",
        family: TRANSFORMER,
        source: "google/gemma-2-9b config.json",
        json: r#"{"model_type":"gemma2","hidden_size":3584,"intermediate_size":14336,"num_hidden_layers":42,
            "num_attention_heads":16,"num_key_value_heads":8,"head_dim":256,"vocab_size":256000,
            "max_position_embeddings":8192,"sliding_window":4096,"torch_dtype":"float32"}"#,
    },
    Preset {
        name: "gpt2-large",
        title: "GPT-2-large",
        family: TRANSFORMER,
        source: "openai-community/gpt2-large config.json",
        json: r#"{"model_type":"gpt2","n_embd":1280,"n_layer":36,"n_head":20,"n_positions":1024,"vocab_size":50257}"#,
    },
    Preset {
        name: "opt-6.7b",
        title: "OPT-6.7B",
        family: TRANSFORMER,
        source: "facebook/opt-6.7b config.json",
        json: r#"{"model_type":"opt","hidden_size":4096,"ffn_dim":16384,"num_hidden_layers":32,
            "num_attention_heads":32,"vocab_size":50272,"max_position_embeddings":2048,"word_embed_proj_dim":4096,
            "do_layer_norm_before":true,"torch_dtype":"float16"}"#,
    },
    Preset {
        name: "bert-base",
        title: "BERT-base",
        family: TRANSFORMER,
        source: "google-bert/bert-base-uncased config.json",
        json: r#"{"model_type":"bert","hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,
            "num_attention_heads":12,"vocab_size":30522,"max_position_embeddings":512,"type_vocab_size":2}"#,
    },
    Preset {
        name: "t5-base",
        title: "T5-base",
        family: TRANSFORMER,
        source: "google-t5/t5-base config.json",
        json: r#"{"model_type":"t5","d_model":768,"d_ff":3072,"d_kv":64,"num_heads":12,"num_layers":12,
            "vocab_size":32128}"#,
    },
    Preset {
        name: "vit-b-16",
        title: "ViT-B/16",
        family: TRANSFORMER,
        source: "google/vit-base-patch16-224 config.json",
        json: r#"{"model_type":"vit","hidden_size":768,"intermediate_size":3072,"num_hidden_layers":12,
            "num_attention_heads":12,"image_size":224,"patch_size":16,"num_channels":3,"num_labels":1000}"#,
    },
    Preset {
        name: "mixtral-8x7b",
        title: "Mixtral-8x7B",
        family: MOE,
        source: "mistralai/Mixtral-8x7B-Instruct-v0.1 config.json",
        json: r#"{"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
            "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"max_position_embeddings":32768,
            "num_local_experts":8,"num_experts_per_tok":2,"torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "qwen3-30b-a3b",
        title: "Qwen3-30B-A3B",
        family: MOE,
        source: "Qwen/Qwen3-30B-A3B config.json",
        json: r#"{"model_type":"qwen3_moe","hidden_size":2048,"intermediate_size":6144,"num_hidden_layers":48,
            "num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,"vocab_size":151936,
            "max_position_embeddings":40960,"num_experts":128,"num_experts_per_tok":8,"moe_intermediate_size":768,
            "torch_dtype":"bfloat16"}"#,
    },
    Preset {
        name: "switch-base-8",
        title: "Switch-base-8",
        family: MOE,
        source: "google/switch-base-8 config.json",
        json: r#"{"model_type":"switch_transformers","d_model":768,"d_ff":3072,"d_kv":64,"num_heads":12,
            "num_layers":12,"num_decoder_layers":12,"vocab_size":32128,"num_experts":8,
            "num_sparse_encoder_layers":6,"num_sparse_decoder_layers":6}"#,
    },
    Preset {
        name: "resnet-18",
        title: "ResNet-18",
        family: CNN,
        source: "microsoft/resnet-18 config.json",
        json: r#"{"model_type":"resnet","layer_type":"basic","depths":[2,2,2,2],"hidden_sizes":[64,128,256,512],
            "embedding_size":64,"num_labels":1000}"#,
    },
    Preset {
        name: "resnet-50",
        title: "ResNet-50",
        family: CNN,
        source: "microsoft/resnet-50 config.json",
        json: r#"{"model_type":"resnet","layer_type":"bottleneck","depths":[3,4,6,3],
            "hidden_sizes":[256,512,1024,2048],"embedding_size":64,"num_labels":1000}"#,
    },
    Preset {
        name: "vgg-16",
        title: "VGG-16",
        family: CNN,
        source: "Simonyan and Zisserman 2015, table 1, configuration D",
        json: r#"{"model_type":"cnn","image_size":224,"num_channels":3,"layers":[
            {"conv":{"filters":64,"size":3,"padding":1}},{"conv":{"filters":64,"size":3,"padding":1}},
            {"pool":{"size":2,"stride":2}},
            {"conv":{"filters":128,"size":3,"padding":1}},{"conv":{"filters":128,"size":3,"padding":1}},
            {"pool":{"size":2,"stride":2}},
            {"conv":{"filters":256,"size":3,"padding":1}},{"conv":{"filters":256,"size":3,"padding":1}},
            {"conv":{"filters":256,"size":3,"padding":1}},{"pool":{"size":2,"stride":2}},
            {"conv":{"filters":512,"size":3,"padding":1}},{"conv":{"filters":512,"size":3,"padding":1}},
            {"conv":{"filters":512,"size":3,"padding":1}},{"pool":{"size":2,"stride":2}},
            {"conv":{"filters":512,"size":3,"padding":1}},{"conv":{"filters":512,"size":3,"padding":1}},
            {"conv":{"filters":512,"size":3,"padding":1}},{"pool":{"size":2,"stride":2}},
            {"linear":4096},{"linear":4096},{"linear":1000}]}"#,
    },
    Preset {
        name: "alexnet",
        title: "AlexNet",
        family: CNN,
        source: "Krizhevsky 2014 (One weird trick), as in torchvision's alexnet",
        json: r#"{"model_type":"cnn","image_size":224,"num_channels":3,"layers":[
            {"conv":{"filters":64,"size":11,"stride":4,"padding":2}},{"pool":{"size":3,"stride":2}},
            {"conv":{"filters":192,"size":5,"padding":2}},{"pool":{"size":3,"stride":2}},
            {"conv":{"filters":384,"size":3,"padding":1}},{"conv":{"filters":256,"size":3,"padding":1}},
            {"conv":{"filters":256,"size":3,"padding":1}},{"pool":{"size":3,"stride":2}},
            {"linear":4096},{"linear":4096},{"linear":1000}]}"#,
    },
    Preset {
        name: "lenet-300-100",
        title: "LeNet-300-100",
        family: MLP,
        source: "LeCun et al. 1998, section III.C.4: 784-300-100-10",
        json: r#"{"model_type":"mlp","layers":[784,300,100,10]}"#,
    },
    Preset {
        name: "dlrm-top-mlp",
        title: "DLRM top MLP",
        family: MLP,
        source: "MLPerf DLRM on Criteo Terabyte (Naumov et al. 2019): 479-1024-1024-512-256-1",
        json: r#"{"model_type":"mlp","layers":[479,1024,1024,512,256,1]}"#,
    },
];

/// The preset of that name; case does not matter.
pub fn find(name: &str) -> Result<&'static Preset, Error> {
    PRESETS.iter().find(|p| p.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names = PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        Error::field("model", format!("\"{name}\""), "no such preset", format!("Choose one of {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts that the models' authors or the libraries that ship them publish.
    #[test]
    fn presets_have_the_published_parameters() {
        for (name, published) in [
            ("mistral-7b", 7_241_732_096),
            ("llama-2-7b", 6_738_415_616),
            ("llama-3-8b", 8_030_261_248),
            ("llama-3.2-1b", 1_235_814_400),
            ("qwen2.5-7b", 7_615_616_512),
            ("qwen3-8b", 8_190_735_360),
            ("gemma-2b", 2_506_172_416),
            ("gemma-2-9b", 9_241_705_984),
            ("gpt2-large", 774_030_080),
            ("opt-6.7b", 6_658_473_984),
            ("bert-base", 109_482_240),
            ("t5-base", 222_903_552),
            ("vit-b-16", 86_567_656),
            ("mixtral-8x7b", 46_702_792_704),
            ("qwen3-30b-a3b", 30_532_122_624),
            ("switch-base-8", 619_339_008),
            ("resnet-18", 11_689_512),
            ("resnet-50", 25_557_032),
            ("vgg-16", 138_357_544),
            ("alexnet", 61_100_840),
            ("lenet-300-100", 266_610),
            ("dlrm-top-mlp", 2_197_505),
        ] {
            assert_eq!(find(name).unwrap().config().unwrap().parameters(), published, "{name}");
        }
    }

    #[test]
    fn presets_read_back_and_belong_to_their_family() {
        for preset in PRESETS {
            let config = preset.config().unwrap();
            assert_eq!(config.family(), preset.family, "{}", preset.name);
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(ModelConfig::from_json("again", json.as_bytes()).unwrap(), config, "{json}");
            assert_eq!(find(&preset.name.to_uppercase()).unwrap().name, preset.name);
        }
        assert!(find("gpt-9").unwrap_err().to_string().contains("Choose one of mistral-7b"));
    }
}
