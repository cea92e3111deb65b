use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::table::{self, Values};
use super::*;
use crate::error::Error;
use crate::progress::Unattended;
use crate::recipe::Recipe;
use crate::recipe::fields::Field;
use crate::run::run;

fn sweep(value: Value) -> Sweep {
    serde_json::from_value(value).unwrap()
}

fn no_files(name: &str) -> Result<Digest, Error> {
    Err(Error::Internal(format!("{name} is no file here")))
}

fn groups(cells: &Cells, shard: Shard, done: &BTreeSet<Key>) -> Vec<Group> {
    left(cells.groups(&mut no_files).unwrap(), shard, &|key| done.contains(&key))
}

/// All rows of a part of a sweep, group by group.
fn rows_of(cells: &Cells, groups: &[Group]) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in groups {
        rows.extend(group.broken_rows(cells));
        let shared = Shared::recipe(cells, group).and_then(|recipe| Shared::new(&recipe, None, group.lru_runs()));
        for todo in &group.cells {
            rows.extend(todo.rows(cells, &shared, &mut Unattended).unwrap());
        }
    }
    rows
}

fn rows(sweep: &Sweep) -> Vec<Row> {
    let cells = sweep.cells().unwrap();
    rows_of(&cells, &groups(&cells, Shard::default(), &BTreeSet::new()))
}

fn random(axes: Value) -> Sweep {
    sweep(json!({
        "recipe": {
            "workload": {"synthetic": {"num_layers": 12}}, "policies": ["lru", "s3-fifo", "ml", "belady"], "bounds": false
        },
        "axes": axes
    }))
}

/// A row is what its recipe comes to when it is run by itself.
#[test]
fn a_row_is_what_its_recipe_answers() {
    let capacities = json!({"from": "16MB", "to": "1GB", "points": 9});
    let many = [
        random(json!([{"/memory/capacity_bytes": capacities}, {"/bounds": [false, true]}])),
        random(json!([{"/memory/capacity_bytes": ["64MB", 200_000_000]}, {"/seed": [1, 2]},
            {"/scorer": [null, "history"]}, {"/measure/warmup": [null, 0.25, 40]}])),
        random(json!([{"/memory/capacity_bytes": [100_000_000]}, {"/bounds": [true]},
            {"/memory/admission": ["always", "bypass", "adaptsize"], "/memory/watermark": [1.0, 0.8, 0.9]},
            {"/memory/pinned": [[], ["*/Q"]]}, {"/measure/interval": [null, 50]}])),
        sweep(json!({
            "recipe": {"workload": {"model": {"prompt_tokens": 8, "decode_tokens": 2}}, "policies": ["lru", "gdsf"]},
            "axes": [{"/workload/model/model": ["llama-3.2-1b", "alexnet"],
                "/workload/model/prompt_tokens": [8, null], "/workload/model/decode_tokens": [2, null]},
                {"/memory/capacity_bytes": ["64MB", "1GB"]}]
        })),
        sweep(json!({
            "recipe": {"workload": {"model": {"model": "llama-3.2-1b", "prompt_tokens": 8, "decode_tokens": 2,
                "tile_bytes": 4194304}}, "memory": {"cost": {"physical": {"device": "h100-sxm"}}}, "policies": ["lru"]},
            "axes": [{"/memory/cost/physical/device": ["h100-sxm", "reference"]},
                {"/memory/cost/physical/prefetch_depth": [0, 8]}, {"/memory/capacity_bytes": ["64MB", "1GB"]}]
        })),
    ];
    for sweep in many {
        let (rows, cells) = (rows(&sweep), sweep.cells().unwrap());
        assert!(rows.len() as u64 >= cells.len());
        for row in rows {
            let recipe = row.recipe.unwrap();
            let Ok(found) = row.found else {
                assert_eq!(run(&recipe, &mut Unattended).err(), row.found.err());
                continue;
            };
            let outcome = run(&recipe, &mut Unattended).unwrap();
            let report = crate::sim::Report { why: None, ..outcome.runs[0].clone() };
            assert_eq!(found.report, report, "{}", recipe.to_json().unwrap());
            assert_eq!(found.bounds, outcome.bounds);
            assert_eq!((found.trace, found.io_bound_bytes), (outcome.trace, outcome.io_bound_bytes));
            assert_eq!(found.scorer, report.policy.info().scored().then_some(outcome.scorer));
        }
    }
}

/// The numbers of a recipe do not change while the results version stays. Whoever changes them on purpose counts
/// [`RESULTS_VERSION`] up and writes the new digests here.
#[test]
fn numbers_change_with_the_results_version_only() {
    let digest = |sweep: Value| {
        let mut text = String::new();
        for row in rows(&self::sweep(sweep)) {
            let found = row.found.unwrap();
            text += &serde_json::to_string(&(found.report, found.bounds, found.trace)).unwrap();
        }
        Key::of_text(&text, None).to_string()
    };
    let all: Vec<String> = crate::policy::POLICIES.iter().map(|row| row.name.to_owned()).collect();
    let random = json!({"recipe": {"workload": {"synthetic": {}}, "policies": all},
        "axes": [{"/memory/capacity_bytes": ["64MB", "256MB"]}]});
    let model = json!({"recipe": {"workload": {"model": {"model": "llama-3.2-1b", "prompt_tokens": 16}},
        "policies": ["lru", "s3-fifo", "ml-reuse", "belady"]}, "axes": [{"/memory/capacity_bytes": ["256MB"]}]});
    let training = json!({"recipe": {"workload": {"model": {"model": "alexnet", "task": "training"}}, "bounds": false,
        "policies": ["lru", "arc"]}, "axes": [{"/memory/capacity_bytes": ["64MB"]}]});
    assert_eq!(RESULTS_VERSION, 1);
    assert_eq!(
        [digest(random), digest(model), digest(training)],
        ["fb47595f9f79809731b1843bbca43b7b", "4fa6637d0b864a880df031a5758e6806", "e0a93f8e9709d49a6e6fa768ffa6a543"]
    );
}

#[test]
fn keys_know_defaults_and_policies() {
    let key = |recipe: Value, policy: &str| {
        let recipe: Recipe = serde_json::from_value(recipe).unwrap();
        Key::of(&recipe, policy.parse().unwrap(), None).unwrap()
    };
    let plain = key(json!({"workload": {"synthetic": {}}}), "lru");
    // Defaults that are written, and policies beside this one, change nothing.
    let written =
        json!({"seed": 42, "policies": ["fifo"], "workload": {"synthetic": {"num_layers": 12}}, "bounds": true});
    assert_eq!(key(written, "lru"), plain);
    let others = [
        key(json!({"workload": {"synthetic": {}}, "seed": 43}), "lru"),
        key(json!({"workload": {"synthetic": {}}}), "fifo"),
        Key::of(&Recipe::default(), "lru".parse().unwrap(), None).unwrap(),
        Key::of(&Recipe::default(), "lru".parse().unwrap(), Some(Digest::of(b"a"))).unwrap(),
        Key::of(&Recipe::default(), "lru".parse().unwrap(), Some(Digest::of(b"b"))).unwrap(),
        plain,
    ];
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), 6);
    assert_eq!(Key::try_from(plain.to_string()), Ok(plain));
    for text in ["", "00", &"g".repeat(32), &"é".repeat(16)] {
        assert!(Key::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn shards_share_out_every_row_once() {
    let grids = [
        json!([{"/memory/capacity_bytes": {"from": "16MB", "to": "1GB", "points": 13}}]),
        json!([{"/seed": {"from": 1, "to": 20, "points": 20}}, {"/memory/capacity_bytes": ["64MB", "80MB"]}]),
    ];
    for axes in grids {
        let cells = random(axes).cells().unwrap();
        let whole = groups(&cells, Shard::default(), &BTreeSet::new());
        let keys = |groups: &[Group]| -> Vec<Key> { groups.iter().flat_map(Group::keys).collect() };
        let all: BTreeSet<Key> = keys(&whole).into_iter().collect();
        assert_eq!(all.len() as u64, 4 * cells.len());
        for of in [2, 3, 7, 50] {
            let parts: Vec<Vec<Key>> =
                (1..=of).map(|number| keys(&groups(&cells, Shard { number, of }, &BTreeSet::new()))).collect();
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), all.len());
            assert_eq!(parts.iter().flatten().copied().collect::<BTreeSet<_>>(), all);
            // What is done does not move what is left to another shard.
            let done: BTreeSet<Key> = all.iter().copied().step_by(3).collect();
            for (number, part) in (1..).zip(&parts) {
                let left = keys(&groups(&cells, Shard { number, of }, &done));
                assert_eq!(left, part.iter().copied().filter(|key| !done.contains(key)).collect::<Vec<_>>());
            }
        }
    }
    assert_eq!("2/8".parse::<Shard>(), Ok(Shard { number: 2, of: 8 }));
    for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/3", "1/3/5"] {
        assert!(text.parse::<Shard>().unwrap_err().to_string().contains("Write I/N"), "{text}");
    }
}

#[test]
fn ranges_are_steps_or_ratios() {
    let values = |range: Value, pointer: &str| {
        let axis: Axis = serde_json::from_value(json!({pointer: range})).unwrap();
        axis.values().map(|fields| fields[0].1.clone())
    };
    let range = |from: Value, to: Value, points: u64| json!({"from": from, "to": to, "points": points});
    assert_eq!(values(range(json!(1), json!(5), 5), "/seed").unwrap(), [1, 2, 3, 4, 5].map(Value::from));
    assert_eq!(values(range(json!(0.0), json!(1.0), 3), "/x").unwrap(), [0.0, 0.5, 1.0].map(Value::from));
    assert_eq!(values(range(json!(-2), json!(2), 3), "/x").unwrap(), [-2, 0, 2].map(Value::from));
    let sizes = values(range(json!("1KiB"), json!("1MiB"), 11), "/memory/capacity_bytes").unwrap();
    assert_eq!(sizes, (10..=20).map(|i| Value::from(1u64 << i)).collect::<Vec<_>>());
    let mut linear = range(json!("1KiB"), json!("4KiB"), 4);
    linear["scale"] = "linear".into();
    assert_eq!(values(linear, "/memory/capacity_bytes").unwrap(), [1024, 2048, 3072, 4096].map(Value::from));
    assert_eq!(values(range(json!(1), json!(u64::MAX), 2), "/seed").unwrap()[1], Value::from(u64::MAX));
}

#[test]
fn bad_sweeps_name_the_place_and_the_cure() {
    let error = |axes: Value| match serde_json::from_value::<Sweep>(json!({
        "recipe": {"workload": {"synthetic": {}}}, "axes": axes
    })) {
        Ok(sweep) => sweep.cells().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    for (axes, wanted) in [
        (json!([{"/memory/capacity": [1]}]), "axis /memory/capacity is 1: unknown field `capacity`, expected one of"),
        (json!([{"/memory/capacity_bytes": []}]), "axis /memory/capacity_bytes is []: the axis is empty"),
        (json!([{"/seed": [1, "one"]}]), "axis /seed is \"one\": invalid type: string \"one\", expected u64"),
        (json!([{"/seed": [1]}, {"/seed": [2]}]), "axis /seed is given: two axes have this pointer. Put all"),
        (json!([{"/memory/capacity_bytes": [1]}, {"/memory": [{}]}]), "it replaces /memory/capacity_bytes"),
        (json!([{"seed": [1]}]), "Write a JSON pointer into the recipe, such as /seed"),
        (json!([{"/seed/deep": [1]}, {"/seed": [1]}]), "Put all"),
        (json!([{"/workload/synthetic/batch_size/x": [1]}]), "invalid type: map"),
        (json!([{"/policies/7": ["lru"]}]), "invalid type: map"),
        (json!([{}]), "an axis varies nothing"),
        (json!([{"/seed": 3}]), "it is neither a list nor a range"),
        (json!([{"/seed": {"from": 1, "to": 3}}]), "missing field `points`"),
        (json!([{"/seed": {"from": 3, "to": 3, "points": 2}}]), "a range rises"),
        (json!([{"/seed": {"from": "a", "to": 3, "points": 2}}]), "an end of a range is no number"),
        (
            json!([{"/seed": {"from": 1, "to": 3, "points": 9}}]),
            "this value comes twice. Give each value once, or fewer",
        ),
        (json!([{"/seed": {"from": 0, "to": 3, "points": 2, "scale": "log"}}]), "equal ratios need numbers above 0"),
        (json!([{"/memory/capacity_bytes": ["many"]}]), "Write a size such as 64MB"),
        (json!([{"/seed": [1, 2], "/memory/capacity_bytes": [1, 2, 3]}]), "Give them as many values, or an axis each"),
        (json!([{"/seed": [7, 7]}]), "this value comes twice"),
    ] {
        let text = error(axes.clone());
        assert!(text.contains(wanted) || (wanted == "Put all" && text.contains("replaces")), "{axes}: {text}");
    }
    let thousand = json!({"from": 1, "to": 1000, "points": 1000});
    let huge = json!([{"/seed": thousand}, {"/workload/synthetic/num_layers": thousand},
        {"/workload/synthetic/batch_size": thousand}]);
    assert!(error(huge).contains("1,000 x 1,000 x 1,000 cells are more than 1,000,000. Give fewer values"));
    let twice =
        serde_json::from_str::<Sweep>(r#"{"recipe":{"workload":{"synthetic":{}}},"axes":[{"/seed":[1],"/seed":[2]}]}"#);
    assert!(twice.unwrap().cells().unwrap_err().to_string().contains("two axes have this pointer"));
    let curve = sweep(json!({"recipe": {"workload": {"synthetic": {}}, "curve": {}}}));
    assert!(curve.cells().unwrap_err().to_string().contains("a sweep runs no curves"));
}

/// What cannot be computed is a row that says why, and the others are there.
#[test]
fn a_cell_that_fails_is_a_row() {
    let rows = rows(&random(json!([{"/memory/capacity_bytes": [0, "64MB"]}, {"/measure/warmup": [null, 1_000_000]}])));
    let (well, failed): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.found.is_ok());
    assert_eq!((well.len(), failed.len()), (4, 12));
    let texts: BTreeSet<String> = failed.iter().map(|row| row.found.as_ref().unwrap_err().to_string()).collect();
    assert!(texts.iter().any(|text| text.contains("capacity_bytes is 0")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("none is left to count")), "{texts:?}");
    // A recipe that cannot be read, though each of its values can beside the first of the others.
    let mixed = sweep(json!({"recipe": {}, "axes": [
        {"/workload": [{"synthetic": {}}, {"file": {"name": "a"}}]}, {"/workload/synthetic/seq_length": [64]}
    ]}));
    let error = mixed.cells().unwrap_err().to_string();
    assert!(error.contains("axis /workload"), "{error}");
}

#[test]
fn columns_have_the_types_of_their_axes() {
    let sweep = random(json!([
        {"/memory/capacity_bytes": ["64MB", 0]}, {"/workload/synthetic/reuse_probability": [0.5, 1]},
        {"/workload/synthetic/model_type": ["CNN", "MLP"]}, {"/bounds": [false]}, {"/seed": [3]}
    ]));
    let (cells, rows) = (sweep.cells().unwrap(), rows(&sweep));
    let columns = table::columns(&cells, &rows).unwrap();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[..5], ["key", "reuse_probability", "model_type", "bounds", "policy"]);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let of = |name: &str| &columns.iter().find(|column| column.name == name).unwrap().values;
    assert!(matches!(of("reuse_probability"), Values::Number(x) if x.contains(&Some(1.0))));
    assert!(matches!(of("model_type"), Values::Text(x) if x.contains(&Some("MLP".into()))));
    assert!(matches!(of("bounds"), Values::Flag(x) if x.iter().all(|x| *x == Some(false))));
    assert!(matches!(of("seed"), Values::Whole(x) if x.iter().all(|x| *x == Some(3))));
    let (Values::Whole(misses), Values::Text(errors)) = (of("misses"), of("error")) else { panic!("other types") };
    assert!(misses.iter().zip(errors).all(|(misses, error)| misses.is_some() != error.is_some()));
    // Each row opens in the page.
    let Values::Text(links) = of("recipe") else { panic!("no text") };
    for (link, row) in links.iter().zip(&rows) {
        assert_eq!(Recipe::from_fragment(link.as_ref().unwrap()).ok(), row.recipe);
    }
    // Two fields whose pointers end alike have longer names.
    let names = table::axis_names(&["/a/x", "/b/x", "/memory/cost/misses", "/seed", "/c/d/e"]);
    assert_eq!(names, [Some("a_x"), Some("b_x"), Some("cost_misses"), None, Some("e")].map(|x| x.map(str::to_owned)));
}

/// Recipes that differ in whatever they like, and what is none.
#[test]
fn recipes_of_a_list_are_cells() {
    let recipe =
        |seed: u64| json!({"workload": {"synthetic": {}}, "policies": ["lru", "fifo"], "bounds": false, "seed": seed});
    let cells = Cells::of_recipes(vec![recipe(1), json!("no recipe"), recipe(2), recipe(1)]);
    let rows = rows_of(&cells, &groups(&cells, Shard::default(), &BTreeSet::new()));
    let alone = Sweep { recipe: recipe(2), axes: Vec::new() }.cells().unwrap();
    let alone = rows_of(&alone, &groups(&alone, Shard::default(), &BTreeSet::new()));
    let second: Vec<_> = rows.iter().filter(|row| row.cell == 2).map(|row| (row.key, &row.found)).collect();
    assert_eq!(second, alone.iter().map(|row| (row.key, &row.found)).collect::<Vec<_>>());
    // The same recipe again makes no row.
    assert_eq!(rows.len(), 5);
    let columns = table::columns(&cells, &rows).unwrap();
    assert_eq!([&columns[0].name, &columns[1].name], ["key", "policy"]);
    let error = rows.iter().find_map(|row| row.found.as_ref().err()).unwrap().to_string();
    assert!(error.starts_with("recipe is the recipe: invalid type: string"), "{error}");
}

/// Values as people write them become those of a grid, and a fault is the field's.
#[test]
fn axes_are_read_as_people_write_them() {
    let recipe =
        Recipe::from_json("r", br#"{"workload": {"synthetic": {}}, "policies": ["lru"], "bounds": false}"#).unwrap();
    let axes = |rows: &[(Field, &str)]| {
        let rows: Vec<_> = rows.iter().map(|(field, text)| (field.info(), *text)).collect();
        Sweep::varied(&recipe, &rows).map(|sweep| serde_json::to_value(sweep.axes).unwrap())
    };
    let written = axes(&[(Field::Capacity, "32MB, 64 MB"), (Field::Seed, "1 to 5 in 3")]).unwrap();
    let wanted = json!([
        {"/memory/capacity_bytes": [32_000_000, 64_000_000]}, {"/seed": {"from": 1, "to": 5, "points": 3}}
    ]);
    assert_eq!(written, wanted);
    // The default of a field, which a recipe leaves out, beside values that hold commas.
    let written = axes(&[(Field::Admission, "always; second-request")]).unwrap();
    assert_eq!(written.as_array().unwrap()[0]["/memory/admission"][0], json!("always"));
    let sweep =
        Sweep::varied(&recipe, &[(Field::Admission.info(), "always; second-request"), (Field::Seed.info(), "1,2")]);
    let rows = rows(&sweep.unwrap());
    assert_eq!((rows.len(), rows.iter().filter(|row| row.found.is_err()).count()), (4, 0));
    for (field, text, wanted) in [
        (Field::Capacity, "lots", "capacity_bytes is \"lots\""),
        (Field::Seed, "1 to 5 in many", "axis /seed is many: it is no number of values. Write a range"),
        (Field::Steps, "3", "steps"),
    ] {
        let error = axes(&[(field, text)]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let empty = Sweep::varied(&recipe, &[(Field::Seed.info(), " ")]).unwrap().cells().unwrap_err().to_string();
    assert!(empty.contains("the axis is empty"), "{empty}");
}

#[test]
fn a_table_is_written_as_csv() {
    let sweep = random(json!([{"/memory/capacity_bytes": ["64MB", 0]}]));
    let (cells, rows) = (sweep.cells().unwrap(), rows(&sweep));
    let columns = table::columns(&cells, &rows).unwrap();
    let text = String::from_utf8(table::csv(&columns).unwrap()).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(
        reader.headers().unwrap().iter().collect::<Vec<_>>(),
        columns.iter().map(|c| &c.name).collect::<Vec<_>>()
    );
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len(), rows.len());
    for (i, column) in columns.iter().enumerate() {
        let cells: Vec<&str> = records.iter().map(|record| &record[i]).collect();
        assert_eq!(cells, (0..rows.len()).map(|row| column.values.text(row)).collect::<Vec<_>>(), "{}", column.name);
    }
}

/// A model's tiles follow the capacity, and its routing the seed; a file's accesses neither, nor do policies matter.
#[test]
fn traces_are_shared_by_what_makes_them() {
    let of = |workload: &str, seed: u64, capacity: u64| -> Recipe {
        serde_json::from_str(&format!(
            r#"{{"workload": {workload}, "seed": {seed}, "memory": {{"capacity_bytes": {capacity}}}}}"#
        ))
        .unwrap()
    };
    let (model, file) = (r#"{"model": {"model": {"file": "a.onnx"}}}"#, r#"{"file": {"name": "a.csv"}}"#);
    for (one, other, wanted) in [
        (of(model, 1, 1_000_000), of(model, 1, 1_000_000), true),
        (of(model, 1, 1_000_000), of(model, 1, 2_000_000), false),
        (of(model, 1, 1_000_000), of(model, 2, 1_000_000), false),
        (of(file, 1, 1_000_000), of(file, 1, 2_000_000), true),
        (of(file, 1, 1_000_000), of(r#"{"file": {"name": "b.csv"}}"#, 1, 1_000_000), false),
    ] {
        assert_eq!(share_trace(&one, &other).unwrap(), wanted, "{one:?} {other:?}");
    }
}
