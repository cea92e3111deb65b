//! A model that scores: the same on the command line as on the server.

use accel_core::policy::PolicyKind;
use accel_core::recipe::Recipe;
use accel_core::recipe::Workload;
use accel_tests::{accel, serve_model, tiny_model};
use serde_json::Value;

/// `accel simulate --scorer` waits for the model to load, asks it, and gets the numbers that the server itself gets.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_server_agree() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve_model(tiny_model(folder.path()).unwrap(), Vec::new()).await.unwrap();
    let recipe = Recipe {
        workload: Workload::Synthetic(Default::default()),
        memory: Default::default(),
        policies: vec![PolicyKind::Lru.into(), PolicyKind::Ml.into(), PolicyKind::MlReuse.into()],
        ..Recipe::default()
    };
    let file = folder.path().join("recipe.json");
    std::fs::write(&file, recipe.to_json().unwrap()).unwrap();
    let (file, url) = (file.to_str().unwrap().to_owned(), server.clone());
    let run = move |scorer: Option<&str>| {
        let scorer = scorer.map(|url| vec!["--scorer", url]).unwrap_or_default();
        let arguments = ["simulate", "--recipe", &file, "--no-bounds", "--json"].into_iter().chain(scorer);
        serde_json::from_str::<Value>(&accel(arguments).unwrap()).unwrap()
    };
    let (asked, built_in) = tokio::task::spawn_blocking(move || (run(Some(&url)), run(None))).await.unwrap();
    assert_eq!((&asked["scorer"], &built_in["scorer"]), (&"local".into(), &"embedded".into()));
    assert_eq!(asked["runs"][0], built_in["runs"][0], "LRU reads no scores");
    assert_ne!(asked["runs"][1], built_in["runs"][1]);

    let answer = post(&format!("{server}/v1/run"), recipe.to_json().unwrap()).await;
    assert_eq!(answer["scorer"], "local");
    for (here, there) in asked["runs"].as_array().unwrap().iter().zip(answer["runs"].as_array().unwrap()) {
        for key in ["hits", "misses", "miss_bytes", "evictions", "total_latency_ms"] {
            assert_eq!(here[key], there[key], "{key}");
        }
    }
}

async fn post(url: &str, body: String) -> Value {
    let url = url.to_owned();
    let text = tokio::task::spawn_blocking(move || {
        let mut answer = ureq::post(&url).header("content-type", "application/json").send(&body).unwrap();
        answer.body_mut().read_to_string().unwrap()
    });
    serde_json::from_str(&text.await.unwrap()).unwrap()
}
