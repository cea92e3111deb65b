//! Many devices that share a model, as text: `tensor=8,pipeline=2,zero=3`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::Cuts;
use crate::check::check_range;
use crate::closed;
use crate::error::Error;

closed! {
    /// What the forward pass of training keeps for the backward pass; the rest is computed again.
    #[derive(Default)]
    pub enum Recompute("recompute", "activation recomputation") {
        /// Everything, the scores of attention too.
        None = "none",
        /// All but the scores of attention (Korthikanti et al. 2022, section 5), as FlashAttention does anyway.
        #[default]
        Selective = "selective",
        /// What comes into each layer.
        Full = "full",
    }
}

/// How devices share a model, and what each of them need not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel {
    /// Devices that share each matrix, 1..=1024.
    pub tensor: u64,
    /// Devices that have a run of layers each, 1..=1024.
    pub pipeline: u64,
    /// Devices that have experts of each layer, 1..=1024, out of those that share matrices or work on other batches.
    pub expert: u64,
    /// Devices that work on other batches, 1..=65536; where absent, as many as the experts need.
    pub data: Option<u64>,
    /// Devices that have a part of each sequence, 1..=1024.
    pub context: u64,
    /// What devices that work on other batches share in training, 0..=3: nothing, the states of the optimizer, the
    /// gradients too, the weights too (Rajbhandari et al. 2020, ZeRO, section 5).
    pub zero: u64,
    /// What is computed again in training.
    pub recompute: Recompute,
    /// Whether the states of the optimizer lie elsewhere (Ren et al. 2021, ZeRO-Offload).
    pub offload: bool,
}

impl Default for Parallel {
    fn default() -> Self {
        Self {
            tensor: 1,
            pipeline: 1,
            expert: 1,
            data: None,
            context: 1,
            zero: 0,
            recompute: Recompute::Selective,
            offload: false,
        }
    }
}

impl Parallel {
    /// Devices that work on other batches.
    pub fn replicas(&self) -> u64 {
        self.data.unwrap_or_else(|| (self.expert / self.tensor.max(1)).max(1))
    }

    /// All devices.
    pub fn devices(&self) -> u64 {
        self.tensor * self.pipeline * self.context * self.replicas()
    }

    /// Devices that hold the same experts.
    pub(crate) fn same_experts(&self) -> u64 {
        if self.expert == 1 { self.replicas() } else { (self.tensor * self.replicas() / self.expert).max(1) }
    }

    /// In how many parts the model is cut.
    pub(crate) fn cuts(&self) -> Cuts {
        Cuts { tensor: self.tensor, pipeline: self.pipeline, expert: self.expert }
    }

    /// Fails on the first value that is out of range, or that the others contradict.
    pub fn check(&self) -> Result<(), Error> {
        for (name, value) in
            [("tensor", self.tensor), ("pipeline", self.pipeline), ("expert", self.expert), ("context", self.context)]
        {
            check_range(name, value, 1..=1024)?;
        }
        check_range("data", self.replicas(), 1..=65_536)?;
        check_range("zero", self.zero, 0..=3)?;
        let group = self.tensor * self.replicas();
        if !group.is_multiple_of(self.expert) {
            let problem = format!("the {group} devices of tensor and data do not fall into groups of {}", self.expert);
            return Err(Error::field("expert", self.expert, problem, "Choose data so that they do, or leave it out"));
        }
        Ok(())
    }
}

impl Display for Parallel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = Self::default();
        let mut parts = Vec::new();
        let numbers = [
            ("tensor", self.tensor),
            ("pipeline", self.pipeline),
            ("expert", self.expert),
            ("data", self.data.unwrap_or(1)),
            ("context", self.context),
        ];
        let given = numbers.into_iter().filter(|(name, value)| *value != 1 || (*name == "data" && self.data.is_some()));
        parts.extend(given.map(|(name, value)| format!("{name}={value}")));
        if self.zero != plain.zero {
            parts.push(format!("zero={}", self.zero));
        }
        if self.recompute != plain.recompute {
            parts.push(format!("recompute={}", self.recompute.name()));
        }
        if self.offload {
            parts.push("offload=optimizer".into());
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Parallel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        for part in text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            let bad = |problem: &str| {
                let cure = "Write such as tensor=8,pipeline=2,expert=8,data=4,context=2,zero=3,recompute=full,offload=optimizer";
                Error::field("parallel", format!("\"{part}\""), problem, cure)
            };
            let (name, value) = part.split_once('=').ok_or_else(|| bad("there is no = in it"))?;
            let number = || value.parse::<u64>().map_err(|_| bad("not a whole number"));
            match name {
                "tensor" => all.tensor = number()?,
                "pipeline" => all.pipeline = number()?,
                "expert" => all.expert = number()?,
                "data" => all.data = Some(number()?),
                "context" => all.context = number()?,
                "zero" => all.zero = number()?,
                "recompute" => all.recompute = closed::from_name("recompute", value)?,
                "offload" if value == "optimizer" => all.offload = true,
                "offload" if value == "none" => all.offload = false,
                _ => return Err(bad("no such way to share a model")),
            }
        }
        all.check()?;
        Ok(all)
    }
}

impl Serialize for Parallel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Parallel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "",
            "tensor=8",
            "pipeline=2,expert=8,data=16,zero=3",
            "tensor=2,context=4,recompute=full,offload=optimizer",
        ] {
            let parallel: Parallel = text.parse().unwrap();
            assert_eq!(parallel.to_string(), text);
        }
        let experts: Parallel = "expert=8".parse().unwrap();
        assert_eq!((experts.devices(), experts.same_experts()), (8, 1));
        for (text, wanted) in [
            ("tensor", "there is no ="),
            ("tensor=x", "not a whole number"),
            ("tensor=0", "tensor is 0"),
            ("width=2", "no such way"),
            ("zero=4", "zero is 4"),
            ("expert=3,data=2", "do not fall into groups of 3"),
            ("offload=weights", "no such way"),
        ] {
            let error = text.parse::<Parallel>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
