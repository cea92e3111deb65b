//! What has a name: models, policies, devices and the others, as lists.

use accel_core::closed;
use accel_core::import::Format;
use accel_core::memory::device::DEVICES;
use accel_core::policy::{POLICIES, Parameter, PolicyInfo};
use accel_core::scenarios::SCENARIOS;
use accel_core::validate::profile::PROFILES;
use accel_core::workload::config::{FAMILIES, Family};
use accel_core::workload::presets::PRESETS;
use serde_json::{Map, Value, json};

use crate::parquet;

closed! {
    /// What may be listed; its title says where the names go.
    pub enum What("list", "list") {
        /// Presets of models.
        Models = "models" titled "Models, for --model",
        /// Policies.
        Policies = "policies" titled "Policies, for --policy",
        /// What policies are tuned by.
        Parameters = "parameters" titled "Parameters of policies, as in --policy s3-fifo(small=0.2)",
        /// Known devices.
        Devices = "devices" titled "Devices, for --device",
        /// Formats of files.
        Formats = "formats" titled "Formats, for --format and trace convert --to",
        /// Families of models.
        Families = "families" titled "Families of models: the model_type of a config.json",
        /// Questions with their experiments.
        Scenarios = "scenarios" titled "Scenarios, for --scenario",
        /// What a trace may be compared with.
        Profiles = "profiles" titled "Reference profiles, for trace validate --reference",
    }
}

/// The columns of a list, and its rows.
pub type Rows = (&'static [&'static str], Vec<Vec<Value>>);

impl What {
    /// The list.
    pub fn rows(self) -> anyhow::Result<Rows> {
        Ok(match self {
            Self::Models => {
                let row = |preset: &accel_core::workload::presets::Preset| {
                    let config = preset.config()?;
                    let (name, family, source) = (preset.name, preset.family, preset.source);
                    Ok(vec![
                        json!(name),
                        json!(family),
                        json!(config.parameters()),
                        json!(config.dtype()),
                        json!(source),
                    ])
                };
                let rows = PRESETS.iter().map(row).collect::<anyhow::Result<_>>()?;
                (&["name", "type", "parameters", "dtype", "source"], rows)
            }
            Self::Policies => {
                let row = |row: &PolicyInfo| {
                    let pairs: Vec<String> =
                        row.parameters.iter().map(|it| format!("{}={}", it.name, it.default)).collect();
                    let parameters = (!pairs.is_empty()).then(|| pairs.join(","));
                    vec![json!(row.name), json!(row.title), json!(row.knows), json!(parameters), json!(row.about)]
                };
                (&["name", "title", "knows", "parameters", "about"], POLICIES.iter().map(row).collect())
            }
            Self::Parameters => {
                let of = |policy: &'static PolicyInfo| policy.parameters.iter().map(move |row| (policy, row));
                let row = |(policy, row): (&PolicyInfo, &Parameter)| {
                    let [least, most] = row.range;
                    let (name, whole, about) = (row.name, row.whole, row.about);
                    vec![
                        json!(policy.name),
                        json!(name),
                        json!(row.default),
                        json!(least),
                        json!(most),
                        json!(whole),
                        json!(about),
                    ]
                };
                let columns = &["policy", "name", "default", "least", "most", "whole", "about"];
                (columns, POLICIES.iter().flat_map(of).map(row).collect())
            }
            Self::Devices => {
                let row = |row: &accel_core::memory::device::DeviceInfo| {
                    let device = row.device();
                    vec![
                        json!(row.name),
                        json!(row.title),
                        json!(row.on_chip_bytes),
                        json!(device.on_chip_gb_s),
                        json!(device.dram_gb_s),
                        json!(device.tflops),
                        json!(row.source),
                    ]
                };
                let columns = &["name", "title", "on_chip_bytes", "on_chip_gb_s", "dram_gb_s", "tflops", "source"];
                (columns, DEVICES.iter().map(row).collect())
            }
            Self::Formats => {
                let row = |format: Format| {
                    let yields = if format.is_model() { "model" } else { "trace" };
                    vec![json!(format.name()), json!(format.info().title), json!(yields), json!(format.writable())]
                };
                // The command line has one format more than the page.
                let parquet = vec![json!(parquet::NAME), json!("Parquet"), json!("trace"), json!(true)];
                (&["name", "title", "yields", "written"], Format::all().map(row).chain([parquet]).collect())
            }
            Self::Families => {
                let row = |row: &Family| vec![json!(row.name), json!(row.title), json!(row.kind()), json!(row.about)];
                (&["name", "title", "kind", "about"], FAMILIES.iter().map(row).collect())
            }
            Self::Scenarios => {
                let rows = SCENARIOS.iter().map(|row| vec![json!(row.name), json!(row.question)]);
                (&["name", "question"], rows.collect())
            }
            Self::Profiles => {
                let rows = PROFILES.iter().map(|row| vec![json!(row.name), json!(row.title), json!(row.source)]);
                (&["name", "title", "source"], rows.collect())
            }
        })
    }
}

/// The lists by name, each as a list of objects.
pub fn json(lists: &[What]) -> anyhow::Result<Value> {
    let list = |what: &What| {
        let (columns, rows) = what.rows()?;
        let object = |row: Vec<Value>| columns.iter().map(|column| (*column).to_owned()).zip(row).collect();
        let rows = rows.into_iter().map(|row| Value::Object(object(row))).collect();
        Ok((what.name().to_owned(), Value::Array(rows)))
    };
    Ok(Value::Object(lists.iter().map(list).collect::<anyhow::Result<Map<_, _>>>()?))
}
