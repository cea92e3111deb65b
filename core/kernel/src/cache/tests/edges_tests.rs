//! Subscripts that stay at a bound instead of leaving it.

use super::*;

/// How windows lie along an axis: extent, kernel, stride, padding, dilation.
type Axis = (i64, i64, i64, i64, i64);

/// Windows of images at their edges, as `groups` of `planes`, each result written once.
fn pooled((groups, planes): (i64, i64), axes: [Axis; 2], down: bool) -> Program {
    let mut w = Writer::default();
    let [over_rows, over_columns] = axes;
    let results = axes.map(|(extent, kernel, stride, padding, dilation)| {
        ((extent + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1).max(1)
    });
    let image = w.array("image", Element::F32, &[groups, planes, over_rows.0, over_columns.0]);
    let result = w.array("result", Element::F32, &[groups, planes, results[0], results[1]]);
    let [b, c, i, j, k, l] = ["b", "c", "i", "j", "k", "l"].map(|name| w.variable(name));
    let subscript = |var: &Expr, within: &Expr, (extent, _, stride, padding, dilation): Axis| {
        let place = var.clone().times(stride).plus(within.clone().times(dilation)).minus(padding);
        place.max(0).min(extent - 1)
    };
    let index = [b.clone(), c.clone(), subscript(&i, &k, over_rows), subscript(&j, &l, over_columns)];
    let read = work(1, &[(image, &index, false)]);
    let write = work(2, &[(result, &[b.clone(), c.clone(), i.clone(), j.clone()], true)]);
    let window = repeat(&k, 0, over_rows.1, vec![repeat(&l, 0, over_columns.1, vec![read])]);
    let row = repeat(&j, 0, results[1], vec![window, write]);
    let rows =
        if down { stepped(&i, (results[0] - 1, -1, -1), vec![row]) } else { repeat(&i, 0, results[0], vec![row]) };
    w.does(vec![repeat(&b, 0, groups, vec![repeat(&c, 0, planes, vec![rows])])])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_at_edges_equal_a_plain_cache(
        groups in (1i64..4, 1i64..4),
        rows in (1i64..12, 1i64..5, 1i64..4, 0i64..4, 1i64..3),
        columns in (1i64..20, 1i64..5, 1i64..4, 0i64..4, 1i64..3),
        down in any::<bool>(),
        capacity in 1usize..80,
        line in prop_oneof![Just(8u64), Just(16), Just(24), Just(64)],
    ) {
        check(&pooled(groups, [rows, columns], down), line, capacity, REPLAY);
    }
}

/// However long it is, and whatever the cache holds: rows, planes or groups of planes.
#[test]
fn edges_take_no_time() {
    let axis = (112, 3, 2, 1, 1);
    let program = pooled((32, 64), [axis, axis], false);
    let lines = 32 * 64 * (112 * 112 + 56 * 56) / 16;
    for bytes in [32 << 10, 256 << 10, 4 << 20, 16 << 20] {
        let ways = Ways { footprint_work: 10_000, replay_work: PASSES_WORK, ..REPLAY };
        let found = find(&program, 64, &[bytes], ways, &mut Unattended).unwrap().remove(0);
        assert_eq!(found.method, "exact: passes over arrays, in closed form");
        assert_eq!((found.compulsory, found.capacity), (Count::Whole(lines), Count::Whole(0)));
        assert_eq!(found.write_backs, Count::Whole(32 * 64 * 56 * 56 / 16));
    }
}
