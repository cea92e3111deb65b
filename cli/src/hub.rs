//! Models and weights by the name that a hub gives them: what is read of them is fetched, and kept for the next time.

use accel_core::import::Format;
use accel_model::fetch::{self, Args, ENDPOINT, FetchError, HubName, Kept, Url};
use anyhow::Context as _;

/// The address of the hub, as its own tools know it.
const HUB: &str = "HF_ENDPOINT";
/// The folder of what was fetched, where it is not the user's own.
const FOLDER: &str = "ACCEL_HUB_CACHE";

/// The `config.json` of a model.
pub(crate) fn config(name: &HubName) -> anyhow::Result<Vec<u8>> {
    fetched(name, |args| async move { fetch::small(&args).await })
}

/// The header of a file of weights.
pub(crate) fn header(name: &HubName) -> anyhow::Result<Vec<u8>> {
    fetched(name, |args| async move { fetch::header(&args, Format::bytes_to_read).await })
}

fn fetched<F>(name: &HubName, fetch: impl FnOnce(Args) -> F) -> anyhow::Result<Vec<u8>>
where
    F: Future<Output = Result<Kept, FetchError>>,
{
    let endpoint = std::env::var(HUB).unwrap_or_else(|_| ENDPOINT.to_owned());
    let endpoint: Url = endpoint.parse().with_context(|| format!("{HUB} is \"{endpoint}\", which is no address"))?;
    let folder = std::env::var_os(FOLDER);
    let args = name.args(&endpoint, folder.as_ref().map(AsRef::as_ref));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot use the network")?;
    let kept = runtime.block_on(fetch(args))?;
    if let Some(problem) = kept.unasked {
        eprintln!("warning: {}: the hub cannot be asked ({problem}): what was fetched before is used", name.repo);
    }
    Ok(kept.bytes)
}
