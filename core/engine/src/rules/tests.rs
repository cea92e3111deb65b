use proptest::prelude::*;

use super::*;
use crate::trace::testing::{named, trace, tree};

/// Two layers of weights and one of a KV cache, and a tensor of no layer.
fn model() -> Trace {
    named(&[
        ("layers.0.up", 10, Some(0), crate::trace::Kind::Weights),
        ("layers.1.up", 20, Some(1), crate::trace::Kind::Weights),
        ("layers.0.kv", 30, Some(0), crate::trace::Kind::KvCache),
        ("x", 5, None, crate::trace::Kind::Activations),
    ])
}

fn rules(pinned: &[&str], shares: &[&str]) -> Result<Rules, Error> {
    let pinned: Vec<Selector> = pinned.iter().map(|text| text.parse().unwrap()).collect();
    let shares: Vec<Share> = shares.iter().map(|text| text.parse().unwrap()).collect();
    Rules::new(AdmissionSpec::default(), 1.0).pin(&pinned, &model())?.divide(&shares, &model())
}

#[test]
fn shares_divide_what_is_not_pinned() {
    let rules = rules(&["KV-Cache"], &["*.up/layer=0.5", "weights=0.1", "activations=0.25"]);
    // The second share means nobody who has none yet, and stays empty.
    let rules = rules.unwrap();
    assert_eq!((rules.pinned(), rules.parts()), (&[false, false, true, false][..], &[1, 2, 0, 4][..]));
    assert_eq!(rules.capacities(1030).unwrap(), [150, 250, 250, 100, 250]);
    let error = rules.capacities(30).unwrap_err().to_string();
    assert!(error.contains("what is pinned takes 30 B of a capacity of 30 B"), "{error}");
    assert!(error.contains("choose a capacity of more than 30 bytes"), "{error}");
    assert!(rules.capacities(33).unwrap_err().to_string().contains("less than a byte"));
    assert!(!rules.are_plain());
    assert!(Rules::new(AdmissionSpec::default(), 1.0).are_plain());
}

#[test]
fn what_makes_no_sense_is_refused_with_the_cure() {
    for (pinned, shares, field, text) in [
        (&["kv"][..], &[][..], "pinned", "pinned is kv: the trace has no such tensor. Choose a kind (weights,"),
        (&[], &["layers.9*=0.5"], "shares", "names, which are like layers.0.up"),
        (&[], &["weights=0.6", "x=0.6"], "shares", "they add up to 1.2"),
        (
            &[],
            &["weights=0.5", "x=0.5"],
            "shares",
            "nothing is left for tensors that have no share, such as layers.0.kv",
        ),
    ] {
        let error = rules(pinned, shares).unwrap_err();
        assert_eq!(error.field_name(), Some(field));
        assert!(error.to_string().contains(text), "{error}");
    }
    let prefixes = tree(&[(0, 1), (1, 1)], true, &[crate::trace::NO_PARENT, 0]);
    let pin = Rules::new(AdmissionSpec::default(), 1.0).pin(&["*".parse().unwrap()], &prefixes);
    assert!(pin.unwrap_err().to_string().contains("Leave it out for a trace with shared prefixes"));
    let many = trace(&[1; 2], &[0, 1]);
    let shares: Vec<Share> = (0..1024).map(|_| "*=0.0001".parse().unwrap()).collect();
    let error = Rules::new(AdmissionSpec::default(), 1.0).divide(&shares, &many).unwrap_err().to_string();
    assert!(error.contains("that makes 1025 parts"), "{error}");
}

proptest! {
    #[test]
    fn parts_never_add_up_to_more_than_the_capacity(
        shares in prop::collection::vec(0.001f64..0.3, 1..5),
        capacity in 10_000u64..u64::MAX,
    ) {
        prop_assume!(shares.iter().sum::<f64>() < 1.0);
        let texts: Vec<String> = shares.iter().map(|share| format!("weights/layer={share}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let parts = rules(&[], &texts).unwrap().capacities(capacity).unwrap();
        let sum: u128 = parts.iter().map(|bytes| u128::from(*bytes)).sum();
        prop_assert!(sum <= u128::from(capacity), "{parts:?}");
    }
}
