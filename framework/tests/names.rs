//! A name says where something stands: it does not change when something else is added to a topology, wherever in the program.

use std::collections::BTreeSet;

use millpond::{Serdes, Topology, dsl::Stream};
use proptest::{collection::vec, prelude::*, sample::Index};

/// One line of a program. It adds a stream, which later lines may use.
#[derive(Debug, Clone)]
struct Line {
    /// Which of the streams so far it uses.
    on: Index,
    operator: Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Filter,
    MapValues,
    Peek,
    SelectKey,
    Count,
    Aggregate,
}

use Operator::{Aggregate, Count, Filter, MapValues, Peek, SelectKey};

/// A program whose operators know the numbers of the streams they use: `None` is the source.
#[derive(Debug, Clone)]
struct Placed {
    on: Option<usize>,
    operator: Operator,
    /// Whether it is one of those whose names are looked at.
    own: bool,
}

type Values = Serdes<String, Option<i64>>;

fn apply<'t>(stream: &Stream<'t, String, Option<i64>>, operator: Operator) -> Stream<'t, String, Option<i64>> {
    match operator {
        Filter => stream.filter(|_, _| true),
        MapValues => stream.map_values(|_, value| *value),
        Peek => stream.peek(|_, _| ()),
        SelectKey => stream.select_key(|key, _| key.clone()),
        Count => stream.group_by_key().count().to_stream(),
        Aggregate => stream.group_by_key().aggregate(|| 0, |_, _, sum: i64| sum).to_stream(),
    }
}

/// The names of all nodes, topics and stores.
fn names(program: &[Placed], other_source: Option<Operator>) -> BTreeSet<String> {
    let topology = Topology::builder("names");
    if let Some(operator) = other_source {
        apply(&topology.stream("other", Values::default()), operator).to("other-out");
    }
    let source = topology.stream("in", Values::default());
    let mut streams = Vec::new();
    for line in program {
        let stream = apply(line.on.map_or(&source, |on| &streams[on]), line.operator);
        streams.push(stream);
    }
    let description = topology.build().expect("a correct topology").describe();
    let nodes = description.sub_topologies.into_iter().flat_map(|part| part.nodes);
    nodes.flat_map(|node| node.stores.into_iter().chain([node.name])).map(|name| name.to_string()).collect()
}

fn placed(lines: &[Line]) -> Vec<Placed> {
    let on = |index: usize, line: &Line| line.on.index(index + 1).checked_sub(1);
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| Placed { on: on(index, line), operator: line.operator, own: true })
        .collect()
}

/// The program with one more line at `at`, if that is unrelated: no later line of the program does the same with the same stream, which
/// would then be the second one of its kind.
fn insert(program: &[Placed], at: usize, line: &Line) -> Option<Vec<Placed>> {
    let on = line.on.index(at + 1).checked_sub(1);
    let related = program[at..].iter().any(|later| later.on == on && later.operator == line.operator);
    if related {
        return None;
    }
    let shift = |later: &Placed| Placed { on: later.on.map(|on| if on >= at { on + 1 } else { on }), ..later.clone() };
    let mut more = program[..at].to_vec();
    more.push(Placed { on, operator: line.operator, own: false });
    more.extend(program[at..].iter().map(shift));
    Some(more)
}

fn line() -> impl Strategy<Value = Line> {
    let operators = prop::sample::select(vec![Filter, MapValues, Peek, SelectKey, Count, Aggregate]);
    (any::<Index>(), operators).prop_map(|(on, operator)| Line { on, operator })
}

proptest! {
    #[test]
    fn names_stay_when_operators_are_added_elsewhere(
        lines in vec(line(), 1..8),
        added in vec((any::<Index>(), line()), 0..8),
        other_source in prop::option::of(prop::sample::select(vec![Filter, SelectKey, Count])),
    ) {
        let program = placed(&lines);
        let before = names(&program, None);
        let mut more = program;
        for (at, line) in &added {
            let at = at.index(more.len() + 1);
            more = insert(&more, at, line).unwrap_or(more);
        }
        prop_assume!(more.iter().any(|line| !line.own) || other_source.is_some());
        let after = names(&more, other_source);
        prop_assert!(before.is_subset(&after), "gone: {:?}", before.difference(&after).collect::<Vec<_>>());
        prop_assert!(before.len() < after.len());
    }
}
