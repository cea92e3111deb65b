//! What a stream holds for each object, and that it holds nothing for an access.

use accel_core::import::oracle_general::{Objects, record};
use accel_core::policy::{Knows, POLICIES};
use accel_core::recipe::{FileSource, Recipe, Workload};
use accel_core::run::stream::{Known, OBJECT_BYTES, RUN_BYTES, Stream};

use crate::lock;

/// Records of `accesses` requests to `objects` objects: each once, then a walk over them.
fn records(accesses: usize, objects: usize) -> Vec<u8> {
    let mut state = 1u64;
    let one = |at: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let skewed = (state >> 33) as usize % (1 + (state >> 20) as usize % objects);
        let id = if at < objects { at } else { skewed } as u64;
        record(0, id, 1 + (id * 31 % 4096) as u32)
    };
    (0..accesses).flat_map(one).collect()
}

/// The most bytes that reading and each policy that decides by the past hold, with the names of the policies.
fn most_bytes(accesses: usize, objects: usize) -> (f64, Vec<(String, f64)>) {
    const PIECE: usize = 24 * 1024;
    let records = records(accesses, objects);
    let profiler = dhat::Profiler::builder().testing().build();
    let mut known = Objects::default();
    records.chunks(PIECE).for_each(|piece| known.learn("t", piece).unwrap());
    let reading = dhat::HeapStats::get().max_bytes as f64;
    drop(profiler);
    let summary = known.summary("t").unwrap();
    let mut all = Vec::new();
    for policy in POLICIES.iter().filter(|policy| policy.knows == Knows::Past) {
        let workload = Workload::File(FileSource::named("t"));
        let recipe = Recipe { workload, policies: vec![policy.kind.into()], bounds: false, ..Recipe::default() };
        let profiler = dhat::Profiler::builder().testing().build();
        let objects = Known { summary, ids: known.ids(), sizes: known.sizes(), largest: None };
        let mut stream = Stream::new(&recipe, &[summary.unique_bytes / 3], objects).unwrap();
        let mut part = stream.split(1).pop().unwrap();
        let mut again = known.again();
        records.chunks(PIECE).for_each(|piece| part.advance(again.accesses("t", piece).unwrap()));
        stream.finish(part.finish()).unwrap();
        all.push((policy.kind.info().name.to_owned(), dhat::HeapStats::get().max_bytes as f64));
        drop(profiler);
    }
    (reading, all)
}

#[test]
fn a_stream_holds_as_much_as_it_says() {
    let _lock = lock();
    let [small, more, longer] = [(120_000, 20_000), (120_000, 110_000), (1_120_000, 20_000)];
    let [small, more, longer] = [small, more, longer].map(|(accesses, objects)| most_bytes(accesses, objects));
    let objects = 90_000.0;
    let reading = (more.0 - small.0) / objects;
    println!("reading: {reading:.1} bytes per object");
    assert!(reading <= OBJECT_BYTES as f64, "{reading}");
    for ((small, more), longer) in small.1.iter().zip(&more.1).zip(&longer.1) {
        let an_object = (more.1 - small.1) / objects;
        let an_access = (longer.1 - small.1) / 1_000_000.0;
        println!("{}: {an_object:.1} bytes per object, {an_access:.2} per access", small.0);
        assert!(an_object <= RUN_BYTES as f64, "{}: {an_object}", small.0);
        // What a policy remembers of who left may grow until it is full.
        assert!(an_access <= 1.0, "{}: {an_access}", small.0);
    }
}
