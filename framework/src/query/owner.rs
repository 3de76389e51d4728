//! Asking who has a key: the ways to an answer one after the other, a second one when the first takes long, and again when who
//! owns the key changes meanwhile.

use std::{pin::pin, sync::Arc, time::Duration};

use super::{
    Api, Consistency, QueryError, ServedAs, StoreEntry,
    forward::ForwardError,
    lookup::{Lookup, Outcome, Place, Trace},
    metrics::Route,
    route::{Facts, Host, Way, Ways, Without, ways},
};
use crate::{
    cluster::{Role, TaskState},
    state::TaskId,
};

/// How often to look whether the owner has changed.
const LOOK: Duration = Duration::from_millis(10);
/// When an owner that could not be asked is asked again, though nothing has changed.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A key that belongs to a partition: where one lookup goes.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) store: &'a Arc<StoreEntry>,
    pub(super) key: Vec<u8>,
    pub(super) task: TaskId,
}

/// Why an attempt gave no answer.
#[derive(Debug)]
enum Miss {
    /// Another attempt would end the same.
    Final(QueryError),
    /// Who owns the key is changing, or could not be asked.
    Moved(QueryError),
    /// The owner restores the store.
    Restoring(QueryError),
}

/// What decides where a key is asked for; when it changes, it is worth asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ownership {
    owner: Option<String>,
    here: Option<(Role, TaskState)>,
}

// === impl Api ===

impl Api {
    /// Asks for a key until there is an answer, or no sense in asking any longer.
    pub(super) async fn ask_owner(
        &self,
        at: &Target<'_>,
        lookup: &Lookup,
        trace: &mut Trace,
    ) -> Result<Outcome, QueryError> {
        loop {
            let before = self.ownership(at.task);
            let (error, patience) = match self.ask_once(at, lookup, trace).await {
                Ok(outcome) => return Ok(outcome),
                Err(Miss::Final(error)) => return Err(error),
                Err(Miss::Moved(error)) => (error, self.options.owner_wait),
                Err(Miss::Restoring(error)) => (error, self.options.restoring_wait),
            };
            let left = patience.saturating_sub(lookup.deadline.elapsed()).min(lookup.deadline.remaining());
            if left.is_zero() {
                return Err(error);
            }
            self.changed(at.task, &before, left.min(ASK_AGAIN)).await;
        }
    }

    /// Waits until it changed who owns the task, or the time is over.
    async fn changed(&self, task: TaskId, before: &Ownership, at_most: Duration) {
        let change = async {
            while self.ownership(task) == *before {
                tokio::time::sleep(LOOK).await;
            }
        };
        // What does not change is asked again all the same.
        let _ = tokio::time::timeout(at_most, change).await;
    }

    fn ownership(&self, task: TaskId) -> Ownership {
        let view = self.serving.cluster();
        Ownership {
            owner: view.owner(task).map(|(owner, _)| owner.to_string()),
            here: self.serving.local_task(task).map(|task| (task.role, task.state)),
        }
    }

    async fn ask_once(&self, at: &Target<'_>, lookup: &Lookup, trace: &mut Trace) -> Result<Outcome, Miss> {
        let (view, local) = (self.serving.cluster(), self.serving.local_task(at.task));
        let facts = Facts {
            task: at.task,
            local: local.as_ref().map(|task| (task.role, task.state)),
            view: &view,
            this_instance: self.serving.instance_id(),
            follows: local.as_ref().is_some_and(|task| {
                task.staleness.is_some() && (task.role != Role::Active || task.state == TaskState::Restoring)
            }),
            forwarded: lookup.forwarded,
        };
        let Ways { ways, without } = ways(&facts, lookup.consistency);
        let mut failure = without.map(|without| self.without_owner(at, without));
        let mut left = ways.iter().copied();
        while let Some(way) = left.next() {
            if matches!(way, Way::There(..)) {
                trace.route = Route::Forwarded;
            }
            let asked = pin!(self.go(at, way, lookup));
            let next = left.clone().next().filter(|_| matches!(way, Way::There(..)));
            let result = match next {
                None => asked.await,
                Some(next) => {
                    let mut asked = asked;
                    tokio::select! {
                        result = &mut asked => result,
                        () = tokio::time::sleep(self.options.hedge_after) => {
                            left.next();
                            first_of(asked, pin!(self.go(at, next, lookup))).await
                        }
                    }
                }
            };
            match result {
                Err(miss @ (Miss::Moved(_) | Miss::Restoring(_))) => drop(failure.get_or_insert(miss)),
                result => return result,
            }
        }
        Err(failure.unwrap_or_else(|| self.without_owner(at, Without::NoLiveOwner)))
    }

    fn without_owner(&self, at: &Target<'_>, without: Without) -> Miss {
        let (store, partition) = (at.store.spec.name.clone(), at.task.partition);
        match without {
            Without::Restoring => Miss::Restoring(QueryError::StoreRestoring {
                store,
                partition: Some(partition),
                owner: self.serving.instance_id().to_owned(),
            }),
            Without::NoLiveOwner => Miss::Moved(QueryError::NoLiveOwner { store, partition }),
            Without::Refuse => Miss::Final(QueryError::HopLimit { store, partition }),
        }
    }

    /// One way to an answer.
    async fn go(&self, at: &Target<'_>, way: Way<'_>, lookup: &Lookup) -> Result<Outcome, Miss> {
        match way {
            Way::Here(role) => self.ask_here(at, role, lookup).await,
            Way::There(host, ServedAs::Active) if lookup.consistency == Consistency::Active => {
                // Who stands still answers nothing: when it is not the owner any more, nobody waits for it.
                let mut before = self.ownership(at.task);
                before.owner = Some(host.instance.to_owned());
                tokio::select! {
                    answer = self.ask_there(at, host, lookup) => answer,
                    () = self.changed(at.task, &before, lookup.deadline.remaining()) => Err(Miss::Moved(moved(at, host))),
                }
            }
            Way::There(host, _) => self.ask_there(at, host, lookup).await,
        }
    }

    async fn ask_here(&self, at: &Target<'_>, role: ServedAs, lookup: &Lookup) -> Result<Outcome, Miss> {
        let this_instance = || Host { instance: self.serving.instance_id(), url: "" };
        let Some(task) = self.serving.local_task(at.task) else { return Err(Miss::Moved(moved(at, this_instance()))) };
        let place = Place { partition: Some(at.task.partition), role, staleness: task.staleness.unwrap_or_default() };
        let answer = self.answer(task.view, at.store, at.key.clone(), place, lookup).await.map_err(Miss::Final)?;
        answer.ok_or_else(|| Miss::Moved(moved(at, this_instance())))
    }

    async fn ask_there(&self, at: &Target<'_>, host: Host<'_>, lookup: &Lookup) -> Result<Outcome, Miss> {
        let (store, partition) = (|| at.store.spec.name.clone(), at.task.partition);
        let owner = || host.instance.to_owned();
        self.forwarder.ask(host, lookup).await.map(Outcome::Relayed).map_err(|error| match error {
            ForwardError::Final(error) => Miss::Final(error),
            ForwardError::NotOwner => Miss::Moved(moved(at, host)),
            ForwardError::Restoring => Miss::Restoring(QueryError::StoreRestoring {
                store: store(),
                partition: Some(partition),
                owner: owner(),
            }),
            ForwardError::Unreachable(reason) => Miss::Moved(QueryError::OwnerUnreachable {
                store: store(),
                partition,
                owner: owner(),
                url: host.url.to_owned(),
                reason,
            }),
        })
    }
}

/// The answer of whichever has one first.
async fn first_of<A, B>(mut a: A, mut b: B) -> Result<Outcome, Miss>
where
    A: Future<Output = Result<Outcome, Miss>> + Unpin,
    B: Future<Output = Result<Outcome, Miss>> + Unpin,
{
    let is_answer =
        |result: &Result<Outcome, Miss>| matches!(result, Ok(_) | Err(Miss::Final(QueryError::NotFound { .. })));
    tokio::select! {
        result = &mut a => if is_answer(&result) { result } else { b.await },
        result = &mut b => if is_answer(&result) { result } else { a.await },
    }
}

fn moved(at: &Target<'_>, from: Host<'_>) -> QueryError {
    QueryError::OwnerChanging {
        store: at.store.spec.name.clone(),
        partition: at.task.partition,
        owner: from.instance.to_owned(),
    }
}
