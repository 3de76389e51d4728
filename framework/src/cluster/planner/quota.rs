//! How many tasks of each sub-topology each member gets.
//!
//! The exact share of member *m* in sub-topology *s* is `tasks(s) * weight(m) / sum of weights`. Shares are rounded up or down so
//! that the tasks of each sub-topology are all given out, and each member's total is its exact share of all tasks, rounded up
//! or down too. Such a rounding always exists (the exact shares are a fractional flow, and capacities are
//! integers). Of all of them, the one with the most tasks at home, and of those the one with the most tasks that are followed
//! where they go, is a flow of minimal cost:
//!
//! ```text
//!  source ──left over──► sub-topology ──0 or 1; cheaper where one more is at home──► member ──down..up──► sink
//! ```

use std::collections::VecDeque;

/// The tasks of one sub-topology.
#[derive(Debug)]
pub(super) struct Demand {
    /// How many there are.
    pub(super) tasks: u64,
    /// How many of them are at home on each member.
    pub(super) at_home: Vec<u64>,
    /// How many more each member follows already.
    pub(super) following: Vec<u64>,
}

struct Network {
    /// Edge `2i` and its reverse `2i + 1`.
    edges: Vec<Edge>,
    from: Vec<Vec<usize>>,
}

struct Edge {
    to: usize,
    capacity: u64,
    cost: i64,
}

/// For each demand, how many tasks each member gets. Without members, nobody gets any.
pub(super) fn quotas(weights: &[u64], demands: &[Demand]) -> Vec<Vec<u64>> {
    let weight: u64 = weights.iter().sum();
    if weight == 0 {
        return demands.iter().map(|_| Vec::new()).collect();
    }
    // Rounded down, and whether it was rounded at all.
    let share = |tasks: u64, member: usize| {
        let exact = tasks * weights[member];
        (exact / weight, !exact.is_multiple_of(weight))
    };
    let all_tasks: u64 = demands.iter().map(|demand| demand.tasks).sum();

    let (source, sink) = (0, 1);
    let sub_topology = |index: usize| 2 + index;
    let member = |index: usize| 2 + demands.len() + index;
    let mut network = Network::new(2 + demands.len() + weights.len());
    // One task at home is worth more than all that are followed, and reaching the lower bound of a member more than all at home.
    let at_home_first = 1 + (demands.len() * weights.len()) as i64;
    let lower_bound_first = -at_home_first * at_home_first;

    let mut quotas: Vec<Vec<u64>> = Vec::with_capacity(demands.len());
    let mut extras = Vec::new();
    for (s, demand) in demands.iter().enumerate() {
        let down: Vec<u64> = (0..weights.len()).map(|m| share(demand.tasks, m).0).collect();
        network.connect(source, sub_topology(s), demand.tasks - down.iter().sum::<u64>(), 0);
        for m in (0..weights.len()).filter(|m| share(demand.tasks, *m).1) {
            let one_more_at_home = i64::from(demand.at_home[m] > down[m]);
            let one_more_followed = i64::from(demand.at_home[m] + demand.following[m] > down[m]);
            let cost = -(at_home_first * one_more_at_home + one_more_followed);
            extras.push((s, m, network.connect(sub_topology(s), member(m), 1, cost)));
        }
        quotas.push(down);
    }
    for m in 0..weights.len() {
        let (down, rounded) = share(all_tasks, m);
        let given: u64 = quotas.iter().map(|quota| quota[m]).sum();
        network.connect(member(m), sink, down - given, lower_bound_first);
        network.connect(member(m), sink, u64::from(rounded), 0);
    }

    network.fill(source, sink);
    for (s, m, edge) in extras {
        quotas[s][m] += u64::from(network.edges[edge].capacity == 0);
    }
    quotas
}

// === impl Network ===

impl Network {
    fn new(nodes: usize) -> Self {
        Self { edges: Vec::new(), from: vec![Vec::new(); nodes] }
    }

    fn connect(&mut self, from: usize, to: usize, capacity: u64, cost: i64) -> usize {
        let edge = self.edges.len();
        self.edges.push(Edge { to, capacity, cost });
        self.edges.push(Edge { to: from, capacity: 0, cost: -cost });
        self.from[from].push(edge);
        self.from[to].push(edge + 1);
        edge
    }

    /// Sends as much as possible, as cheaply as possible: along one cheapest path after the other. Every path carries at
    /// least one unit, so it ends.
    fn fill(&mut self, source: usize, sink: usize) {
        while let Some(path) = self.cheapest_path(source, sink) {
            let units = path.iter().map(|edge| self.edges[*edge].capacity).min().unwrap_or(0);
            for edge in path {
                self.edges[edge].capacity -= units;
                self.edges[edge ^ 1].capacity += units;
            }
        }
    }

    /// Bellman-Ford with a queue: costs may be negative, but no cycle of what is left over ever is.
    fn cheapest_path(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut reached: Vec<Option<(i64, usize)>> = vec![None; self.from.len()];
        let mut queued = vec![false; self.from.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            queued[node] = false;
            let cost_here = reached[node].map_or(0, |(cost, _)| cost);
            for &edge in &self.from[node] {
                let Edge { to, capacity, cost } = self.edges[edge];
                let cost = cost_here + cost;
                if capacity == 0 || to == source || reached[to].is_some_and(|(known, _)| known <= cost) {
                    continue;
                }
                reached[to] = Some((cost, edge));
                if !queued[to] {
                    queued[to] = true;
                    queue.push_back(to);
                }
            }
        }
        let mut path = Vec::new();
        let mut node = sink;
        while node != source {
            let (_, edge) = reached[node]?;
            path.push(edge);
            node = self.edges[edge ^ 1].to;
        }
        Some(path)
    }
}
