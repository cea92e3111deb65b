//! What the schema of an operator says of its arguments.

use super::names::base;

/// What a schema says of each argument.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) arguments: Vec<Argument>,
    pub(super) changes: bool,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Argument {
    pub(super) changed: bool,
    /// Changed without being read: the place of the result.
    pub(super) result: bool,
    pub(super) weight: bool,
    pub(super) statistic: bool,
}

impl Schema {
    /// `aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)`
    pub(super) fn parse(text: &str) -> Self {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let name = base(name);
        let holds_parameters = ["linear", "conv", "norm", "embedding", "prelu", "bilinear", "lstm", "gru", "rnn"]
            .iter()
            .any(|part| name.contains(part));
        let mut schema = Self::default();
        let (mut depth, mut start, mut keywords) = (0u32, 0, false);
        for (at, byte) in rest.bytes().enumerate() {
            let ends = depth == 0 && (byte == b',' || byte == b')');
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !ends {
                continue;
            }
            let argument = rest.get(start..at).unwrap_or_default().trim();
            start = at + 1;
            if argument == "*" {
                keywords = true;
            } else if !argument.is_empty() {
                let declared = argument.split('=').next().unwrap_or_default().trim();
                let (kind, called) = declared.rsplit_once(' ').unwrap_or((declared, ""));
                let changed = kind.contains('!');
                schema.changes |= changed;
                schema.arguments.push(Argument {
                    changed,
                    result: changed && keywords,
                    weight: holds_parameters
                        && kind.starts_with("Tensor")
                        && matches!(
                            called,
                            "weight" | "weights" | "bias" | "params" | "dev_weights" | "uvm_weights" | "host_weights"
                        ),
                    statistic: matches!(called, "running_mean" | "running_var"),
                });
            }
            if byte == b')' {
                break;
            }
        }
        schema
    }
}
