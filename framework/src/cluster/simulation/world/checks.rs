//! What must hold.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use crate::{
    cluster::{InstanceId, PlanTask, Role, TaskState},
    log::Epoch,
    state::TaskId,
};

// === impl World: checks ===

impl World {
    pub(super) fn check(&self) {
        let mut runners = BTreeMap::new();
        for p in self.alive().into_iter().filter(|p| self.can_commit(*p)) {
            for task in self.active_runs(p) {
                let other = runners.insert(task, p);
                assert!(other.is_none(), "seed {}: {task} runs at {p} and {other:?}", self.seed);
            }
        }
    }

    /// A member whose producers are not fenced, and which has read what was on the topic when they were initialised.
    fn can_commit(&self, p: usize) -> bool {
        self.is_member(p) && self.sessions_are_valid(p) && self.is_past_barrier(p)
    }

    fn active_runs(&self, p: usize) -> impl Iterator<Item = TaskId> + '_ {
        self.processes[p].runs.iter().filter(|(_, run)| run.role == Role::Active).map(|(task, _)| *task)
    }

    /// Nobody else may have left anything of the task that can still be committed.
    pub(super) fn check_start(&self, p: usize, task: TaskId, epoch: &Epoch) {
        assert_eq!(self.processes[p].epoch.as_ref(), Some(epoch), "seed {}: {task} starts unconfirmed", self.seed);
        for (q, other) in self.processes.iter().enumerate().filter(|(q, _)| *q != p) {
            let Some(run) = other.runs.get(&task).filter(|run| run.role == Role::Active && run.inside) else {
                continue;
            };
            let valid = other.sessions.iter().any(|(id, session)| self.producers[id] == *session);
            // Who has not read yet what was there when its producers were initialised commits nothing, and will find its eviction.
            let open = valid && (self.is_past_barrier(q) || !self.is_evicted(q));
            assert!(!open, "seed {}: {task} starts at {p} while {q} has it, {run:?}", self.seed);
        }
    }

    pub(super) fn check_release(&self, p: usize, task: TaskId) {
        let process = &self.processes[p];
        let assigned = process.assignment.as_ref().and_then(|a| a.tasks.get(&task)?.role_of(&process.name));
        let role = process.runs.get(&task).map(|run| run.role);
        let stays =
            assigned.is_some() && role.is_some_and(|role| (role == Role::Active) == (assigned == Some(Role::Active)));
        assert!(process.stopping || !stays, "seed {}: {task} is released by {p}, where it belongs", self.seed);
    }

    pub(in crate::cluster::simulation) fn check_calm(&mut self) {
        let seed = self.seed;
        let assignment = self.processes[self.alive()[0]].assignment.clone().expect("an assignment");
        let alive: BTreeSet<InstanceId> = self.alive().into_iter().map(|p| self.processes[p].name.clone()).collect();
        assert_eq!(assignment.members.keys().cloned().collect::<BTreeSet<_>>(), alive, "seed {seed}");
        let mut load = BTreeMap::<_, usize>::new();
        for PlanTask { task, .. } in &self.tasks {
            let runners: Vec<_> =
                self.alive().into_iter().filter(|p| self.active_runs(*p).any(|t| t == *task)).collect();
            let [p] = runners[..] else { panic!("seed {seed}: {task} runs at {runners:?}") };
            let process = &self.processes[p];
            assert_eq!(process.runs[task].state, TaskState::Running, "seed {seed}: {task}");
            assert_eq!(assignment.tasks[task].active.as_ref(), Some(&process.name), "seed {seed}: {task}");
            assert_eq!(process.epoch.as_ref().map(|epoch| epoch.generation), Some(self.generation), "seed {seed}");
            assert!(self.sessions_are_valid(p), "seed {seed}: {p} is fenced");
            *load.entry(p).or_default() += 1;
        }
        for PlanTask { task, stateful } in &self.tasks {
            let wanted = if *stateful { self.standbys().min(alive.len() - 1) } else { 0 };
            let placement = &assignment.tasks[task];
            assert_eq!((placement.standbys.len(), placement.warm_ups.len()), (wanted, 0), "seed {seed}: {placement:?}");
            for p in self.alive() {
                let process = &self.processes[p];
                let follows = process.runs.get(task).filter(|run| run.role != Role::Active);
                let expected =
                    placement.standbys.contains(&process.name).then_some((Role::Standby, TaskState::Running));
                assert_eq!(follows.map(|run| (run.role, run.state)), expected, "seed {seed}: {task} at {p}");
            }
        }
        let (least, most) = (self.tasks.len() / alive.len(), self.tasks.len().div_ceil(alive.len()));
        for p in self.alive() {
            assert!((least..=most).contains(load.get(&p).unwrap_or(&0)), "seed {seed}: load {load:?}");
            let view = self.processes[p].coordinator.view();
            assert_eq!((view.live_members(), view.unassigned_tasks()), (alive.len(), 0), "seed {seed}");
        }
        let (assignments, length) = (self.assignments, self.log.len());
        for _ in 0..60 {
            self.settle();
            self.tick();
        }
        assert_eq!((self.assignments, self.log.len()), (assignments, length), "seed {seed}: still publishing");
    }
}
