//! Asking the other instances whether they are alive, and remembering whom this one hears.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{pulse::Pulse, status::Status};
use crate::{
    cluster::{AliveAnswer, InstanceId, Probes},
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

    fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which start of this instance this is, once it is on the metadata topic.
fn incarnation(me: &InstanceId, status: &Status) -> Option<u64> {
    status.cluster().instances.get(me).map(|instance| instance.host.incarnation)
}

/// Asks the others for as long as the instance runs: at most one question to each is under way.
pub(super) async fn probe(hearing: Arc<Hearing>, status: Arc<Status>, prober: Arc<Prober>) {
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let (now, view) = (hearing.clock.monotonic(), status.cluster());
        let due = hearing.probes().turn(now, &view);
        let incarnation = incarnation(&hearing.me, &status);
        for (instance_id, url) in due {
            let (hearing, prober) = (Arc::clone(&hearing), Arc::clone(&prober));
            tokio::spawn(async move {
                let answer = prober.ask(&instance_id, &url, (&hearing.me, incarnation)).await;
                let now = hearing.clock.monotonic();
                match answer {
                    Ok(answer) => hearing.probes().answered(now, &instance_id, &answer),
                    Err(failure) => hearing.probes().failed(now, &instance_id, failure),
                }
            });
        }
    }
}
