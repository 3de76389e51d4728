//! Asking the other instances whether they are alive, and remembering whom this one hears.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{pulse::Pulse, status::Status};
use crate::{
    cluster::{AliveAnswer, InstanceId, ProbeFailure, Probes},
    query::Prober,
    time::Clock,
};

/// How often to look whom to ask.
const TURN: Duration = Duration::from_millis(50);

/// Whom this instance hears; shared by those who ask, those who answer, and the control thread.
#[derive(Debug)]
pub(super) struct Hearing {
    clock: Arc<dyn Clock>,
    probes: Mutex<Probes>,
    me: InstanceId,
    suspicion_timeout: Duration,
}

// === impl Hearing ===

impl Hearing {
    pub(super) fn new(me: InstanceId, suspicion_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        let probes = Mutex::new(Probes::new(me.clone(), suspicion_timeout));
        Self { clock, probes, me, suspicion_timeout }
    }

    /// Whom nobody hears, by membership.
    pub(super) fn suspects(&self) -> std::collections::BTreeMap<InstanceId, Arc<str>> {
        self.probes().suspects(self.clock.monotonic())
    }

    /// See [`Probes::doubt`].
    pub(super) fn doubt(&self) -> Duration {
        self.probes().doubt(self.clock.monotonic())
    }

    /// What this instance says when it is asked, by whom if that is known; `None` while it is not itself.
    pub(super) fn answer(&self, asked_by: Option<(&str, u64)>, status: &Status, pulse: &Pulse) -> Option<AliveAnswer> {
        let now = self.clock.monotonic();
        if !pulse.beats(self.suspicion_timeout) {
            return None;
        }
        let mut probes = self.probes();
        if let Some((instance_id, incarnation)) = asked_by {
            probes.asked_by(now, instance_id, incarnation);
        }
        let incarnation = incarnation(&self.me, status);
        Some(AliveAnswer { instance_id: self.me.clone(), incarnation, heard: probes.heard(now) })
    }

    /// Whom to ask now, and where; several times per 200 ms.
    pub(super) fn whom_to_ask(&self, status: &Status) -> Vec<(InstanceId, String)> {
        let (now, view) = (self.clock.monotonic(), status.cluster());
        self.probes().turn(now, &view)
    }

    /// What came of asking.
    pub(super) fn told(&self, instance_id: &InstanceId, answer: Result<AliveAnswer, ProbeFailure>) {
        let now = self.clock.monotonic();
        match answer {
            Ok(answer) => self.probes().answered(now, instance_id, &answer),
            Err(failure) => self.probes().failed(now, instance_id, failure),
        }
    }

    fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which start of this instance this is, once it is on the metadata topic.
pub(super) fn incarnation(me: &InstanceId, status: &Status) -> Option<u64> {
    status.cluster().instances.get(me).map(|instance| instance.host.incarnation)
}

/// Asks the others for as long as the instance runs: at most one question to each is under way.
pub(super) async fn probe(hearing: Arc<Hearing>, status: Arc<Status>, prober: Arc<Prober>) {
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let due = hearing.whom_to_ask(&status);
        let incarnation = incarnation(&hearing.me, &status);
        for (instance_id, url) in due {
            let (hearing, prober) = (Arc::clone(&hearing), Arc::clone(&prober));
            tokio::spawn(async move {
                hearing.told(&instance_id, prober.ask(&instance_id, &url, (&hearing.me, incarnation)).await);
            });
        }
    }
}
