//! Draws from arrays that a pass went through before.

use super::*;

/// What a replay finds in a cache of so many lines, and what is said.
fn both(program: &Program, capacity: u64) -> (Totals, Misses) {
    let plan = CachePlan::new(program, 64).unwrap();
    let mut progress = Unattended;
    let mut meter = Meter::new(&mut progress, "lines", u64::MAX);
    let (wanted, _) = Replay::run(&plan, capacity, &mut meter).unwrap();
    let found = find(program, 64, &[capacity * 64], REPLAY, &mut Unattended).unwrap().remove(0);
    (wanted, found)
}

/// A copy from `x` to `table`, perhaps a pass over another array, and `table` read, perhaps also written, at any place.
fn copied_then_drawn(n: i64, draws: i64, (writes, other): (bool, bool)) -> Program {
    let mut w = Writer::default();
    let [x, table, between] = ["x", "table", "between"].map(|name| w.array(name, Element::F64, &[n]));
    let y = w.array("y", Element::F64, &[draws]);
    let (i, j, k) = (w.variable("i"), w.variable("j"), w.variable("k"));
    let at = std::slice::from_ref::<Expr>;
    let mut nests = vec![repeat(&i, 0, n, vec![work(1, &[(x, at(&i), false), (table, at(&i), true)])])];
    if other {
        nests.push(repeat(&k, 0, n / 4, vec![work(2, &[(between, at(&k), false)])]));
    }
    let mut all = vec![(y, at(&j), false), (table, at(&j), false)];
    all.extend(writes.then_some((table, at(&j), true)));
    let mut drawn = work(3, &all);
    if let Node::Work(work) = &mut drawn {
        work.accesses.iter_mut().filter(|access| access.array == table).for_each(|access| access.index = None);
    }
    nests.push(repeat(&j, 0, draws, vec![drawn]));
    w.does(nests)
}

/// What a pass leaves in a cache is there for some of the draws after it.
#[test]
fn draws_find_what_a_pass_has_left() {
    let n = 1i64 << 17;
    for draws in [n / 2, n, 4 * n] {
        for ways in [(false, false), (true, false), (false, true), (true, true)] {
            let program = copied_then_drawn(n, draws, ways);
            for capacity in [1 << 10, 1 << 12, 1 << 13, 3 << 12, 1 << 14, 3 << 13, 1 << 15] {
                let (wanted, found) = both(&program, capacity);
                let case = format!("{draws} draws, {ways:?}, {capacity} lines: {}", found.method);
                assert!(found.method.starts_with("expected"), "{case}");
                let (all, touched) = (wanted.misses.iter().sum::<u128>() as f64, found.compulsory.value());
                let off = (touched + found.capacity.value()) / all - 1.0;
                assert!(off.abs() < 0.01, "{case}: misses are {off} off");
                let off = found.write_backs.value() / wanted.write_backs as f64 - 1.0;
                assert!(off.abs() < 0.01, "{case}: write-backs are {off} off");
                let [low, high] = found.capacity_range.unwrap();
                let truth = all - touched;
                assert!(low <= truth && truth <= high, "{case}: {truth} is not within {low} to {high}");
            }
        }
    }
}

/// Draws from arrays that were gone through add no lines to those touched.
#[test]
fn draws_after_a_pass_touch_nothing_new() {
    let (n, draws) = (1i64 << 17, 1000);
    let program = copied_then_drawn(n, draws, (true, false));
    let plan = CachePlan::new(&program, 64).unwrap();
    let found = Footprint::of(&plan, &mut Meter::new(&mut Unattended, "lines", 1000)).unwrap();
    let lines = n as u64 / 8;
    assert_eq!((found.lines, found.written, found.at_most), (2 * lines + draws as u64 / 8, lines, false));
    assert_eq!(found.first, [2 * lines, draws as u64 / 8]);
}

/// A few draws in a long program, and passes over what they read and wrote.
#[test]
fn passes_go_on_after_a_few_draws() {
    let (n, draws) = (1i64 << 17, 64);
    for writes in [false, true] {
        let mut program = copied_then_drawn(n, draws, (writes, false));
        let symbol = |program: &mut Program| {
            program.symbols.push(SymbolInfo { name: "l".into(), value: None });
            Expr::from(Symbol(program.symbols.len() as u32 - 1))
        };
        let (l, m) = (symbol(&mut program), symbol(&mut program));
        let (table, y) = (1, 3);
        let again = |var: &Expr, end: i64, line: u32, array: usize| {
            repeat(var, 0, end, vec![work(line, &[(array, std::slice::from_ref(var), true)])])
        };
        program.body.extend([again(&l, draws, 4, y), again(&m, n, 5, table)]);
        for capacity in [1 << 8, 1 << 10, 1 << 13, 3 << 13, 1 << 15] {
            let (wanted, found) = both(&program, capacity);
            let case = format!("{capacity} lines, {writes}: {}", found.method);
            assert!(found.method.starts_with("expected"), "{case}");
            let truth = wanted.misses.iter().sum::<u128>() as f64 - found.compulsory.value();
            let [low, high] = found.capacity_range.unwrap();
            assert!(low <= truth && truth <= high, "{case}: {truth} is not within {low} to {high}");
            assert!(high - low < 400.0, "{case}: {low} to {high}");
            let off = found.write_backs.value() - wanted.write_backs as f64;
            assert!(off.abs() <= draws as f64, "{case}: write-backs are {off} off");
        }
    }
}

/// A table of rows of 64 elements, of which data decide on so many, one after the other; perhaps each is added to.
fn rows_drawn(rows: i64, draws: i64, adds: bool) -> Program {
    let mut w = Writer::default();
    let table = w.array("table", Element::F64, &[rows, 64]);
    let out = w.array("out", Element::F64, &[draws, 64]);
    let (i, j) = (w.variable("i"), w.variable("j"));
    let mut all = vec![(out, &[][..], adds), (table, &[][..], false)];
    all.extend(adds.then_some((table, &[][..], true)));
    let mut drawn = work(1, &all);
    if let Node::Work(work) = &mut drawn {
        for access in &mut work.accesses {
            let own = access.array == table;
            access.index = (!own).then(|| vec![i.clone(), j.clone()]);
            access.known = if own { [Vec::new(), vec![j.clone()]] } else { Default::default() };
        }
        work.accesses[0].write = !adds;
    }
    w.does(vec![repeat(&i, 0, draws, vec![repeat(&j, 0, 64, vec![drawn])])])
}

/// The elements of a row lie in a few lines, whoever decides on the row, and what is read is there when it is stored to.
#[test]
fn rows_are_drawn_as_a_whole() {
    let (rows, draws) = (1i64 << 12, 1i64 << 15);
    for adds in [false, true] {
        let program = rows_drawn(rows, draws, adds);
        for capacity in [1 << 8, 1 << 12, 1 << 14, 3 << 13] {
            let (wanted, found) = both(&program, capacity);
            let case = format!("{capacity} lines, {adds}: {}", found.method);
            assert!(found.method.starts_with("expected"), "{case}");
            let all = wanted.misses.iter().sum::<u128>() as f64;
            let off = (found.compulsory.value() + found.capacity.value()) / all - 1.0;
            assert!(off.abs() < 0.01, "{case}: misses are {off} off");
            let off = found.write_backs.value() / wanted.write_backs as f64 - 1.0;
            assert!(off.abs() < 0.01, "{case}: write-backs are {off} off");
            let [low, high] = found.capacity_range.unwrap();
            let truth = all - found.compulsory.value();
            assert!(low <= truth && truth <= high, "{case}: {truth} is not within {low} to {high}");
            // Eight lines for each row, and not a line for each element.
            assert!(all <= (draws * (8 + 8)) as f64, "{case}: {all}");
        }
    }
}

/// Of each row as many elements as it has, anywhere in it.
#[test]
fn places_in_a_row_stay_in_it() {
    let (rows, width) = (1i64 << 9, 1i64 << 9);
    let mut w = Writer::default();
    let table = w.array("table", Element::F64, &[rows, width]);
    let out = w.array("out", Element::F64, &[rows, width]);
    let (i, j) = (w.variable("i"), w.variable("j"));
    let mut drawn = work(1, &[(table, &[], false), (out, &[i.clone(), j.clone()], true)]);
    if let Node::Work(work) = &mut drawn {
        work.accesses[0].index = None;
        work.accesses[0].known = [vec![i.clone()], Vec::new()];
    }
    let program = w.does(vec![repeat(&i, 0, rows, vec![repeat(&j, 0, width, vec![drawn])])]);
    for capacity in [1 << 9, 1 << 12] {
        let (wanted, found) = both(&program, capacity);
        assert!(found.method.starts_with("expected"), "{}", found.method);
        // 64 lines of each row are read by 512 draws, so hardly one is left out, and 64 are written.
        let (all, touched) = (wanted.misses.iter().sum::<u128>() as f64, found.compulsory.value());
        assert!((touched / all - 1.0).abs() < 0.001 && touched <= (rows * 128) as f64, "{touched} {all}");
        assert_eq!(found.capacity.value(), 0.0);
        assert_eq!(found.write_backs.value(), wanted.write_backs as f64);
    }
}
