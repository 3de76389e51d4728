//! Who is heard: instances ask each other whether they are alive, and say whom they have heard. Pure: the requests are made by
//! [`crate::app`].
//!
//! An instance is suspected when nobody is known to have heard it for the suspicion timeout, when it refuses connections several times in a
//! row, or when another process answers in its place. Two rules keep an instance from suspecting others for what is its own
//! trouble: who stood still itself begins to listen anew, and who hears less than half of the cluster suspects nobody.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{metadata::InstanceId, view::ClusterView};

/// How often an instance is asked.
const INTERVAL: Duration = Duration::from_millis(200);
/// A process that refuses connections so often in a row is gone.
const REFUSALS: u32 = 3;

/// What an instance says when it is asked whether it is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveAnswer {
    /// Who answers.
    pub instance_id: InstanceId,
    /// Which start of it; `None` before it has published its host metadata.
    pub incarnation: Option<u64>,
    /// Whom it has heard itself, and how many ms ago.
    #[serde(default)]
    pub heard: BTreeMap<InstanceId, u64>,
}

/// Why an instance did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFailure {
    /// Nobody listens at its address.
    Refused,
    /// No answer, or not one of this kind.
    Silent,
}

/// Whom this instance hears.
#[derive(Debug)]
pub struct Probes {
    me: InstanceId,
    suspicion_timeout: Duration,
    peers: BTreeMap<InstanceId, Peer>,
    last_turn: Option<Duration>,
}

/// Another live instance.
#[derive(Debug)]
struct Peer {
    url: String,
    member_id: Arc<str>,
    incarnation: u64,
    /// When this instance heard it last.
    heard: Duration,
    /// When anybody is known to have heard it last.
    heard_by_any: Duration,
    /// How often it refused in a row, and since when.
    refused: Option<(u32, Duration)>,
    /// A later process answers at its address.
    replaced: bool,
    under_way: bool,
    next: Duration,
}

// === impl Probes ===

impl Probes {
    /// An instance that has heard nobody yet. With a suspicion timeout of 0 it suspects nobody ever.
    #[must_use]
    pub fn new(me: InstanceId, suspicion_timeout: Duration) -> Self {
        Self { me, suspicion_timeout, peers: BTreeMap::new(), last_turn: None }
    }

    /// Takes over who is there, and says whom to ask now, and where. Call it several times per 200 ms.
    pub fn turn(&mut self, now: Duration, view: &ClusterView) -> Vec<(InstanceId, String)> {
        let others = || view.instances.iter().filter(|(id, instance)| instance.live && **id != self.me);
        self.peers.retain(|id, _| view.instances.get(id).is_some_and(|instance| instance.live));
        let stood_still = self.last_turn.is_some_and(|last| now > last + self.suspicion_timeout / 3);
        self.last_turn = Some(now);
        let mut due = Vec::new();
        for (id, instance) in others() {
            let host = &instance.host;
            let anew = || Peer {
                url: host.url.clone(),
                member_id: host.epoch.member_id.clone(),
                incarnation: host.incarnation,
                heard: now,
                heard_by_any: now,
                refused: None,
                replaced: false,
                under_way: false,
                next: now,
            };
            let peer = self.peers.entry(id.clone()).or_insert_with(anew);
            if peer.member_id != host.epoch.member_id || peer.incarnation != host.incarnation || peer.url != host.url {
                *peer = Peer { under_way: peer.under_way, ..anew() };
            }
            if stood_still {
                (peer.heard, peer.heard_by_any, peer.refused) = (now, now, None);
            }
            if !peer.under_way && now >= peer.next {
                (peer.under_way, peer.next) = (true, now + INTERVAL);
                due.push((id.clone(), peer.url.clone()));
            }
        }
        due
    }

    /// An instance has answered.
    pub fn answered(&mut self, now: Duration, instance_id: &InstanceId, answer: &AliveAnswer) {
        if let Some(peer) = self.peers.get_mut(instance_id) {
            peer.under_way = false;
            match answer.incarnation {
                _ if answer.instance_id != *instance_id => {}
                Some(incarnation) if incarnation > peer.incarnation => peer.replaced = true,
                Some(incarnation) if incarnation == peer.incarnation => peer.hear(now),
                // Not a member yet, or a process that another one has replaced.
                Some(_) | None => {}
            }
        }
        for (heard, ms_ago) in &answer.heard {
            if let Some(peer) = self.peers.get_mut(heard) {
                peer.heard_by_any = peer.heard_by_any.max(now.saturating_sub(Duration::from_millis(*ms_ago)));
            }
        }
    }

    /// An instance has not answered.
    pub fn failed(&mut self, now: Duration, instance_id: &InstanceId, failure: ProbeFailure) {
        let Some(peer) = self.peers.get_mut(instance_id) else { return };
        peer.under_way = false;
        peer.refused = match (failure, peer.refused) {
            (ProbeFailure::Silent, _) => None,
            (ProbeFailure::Refused, None) => Some((1, now)),
            (ProbeFailure::Refused, Some((times, since))) => Some((times.saturating_add(1), since)),
        };
    }

    /// An instance has asked this one.
    pub fn asked_by(&mut self, now: Duration, instance_id: &str, incarnation: u64) {
        if let Some(peer) = self.peers.get_mut(instance_id).filter(|peer| peer.incarnation == incarnation) {
            peer.hear(now);
        }
    }

    /// Whom nobody hears, by the membership under which it was heard last.
    #[must_use]
    pub fn suspects(&self, now: Duration) -> BTreeMap<InstanceId, Arc<str>> {
        let (silent, heard): (Vec<_>, Vec<_>) =
            self.peers.iter().partition(|(_, peer)| peer.is_silent(now, self.suspicion_timeout));
        let all = 1 + self.peers.len();
        if self.suspicion_timeout.is_zero() || 2 * (1 + heard.len()) < all {
            return BTreeMap::new();
        }
        silent.into_iter().map(|(id, peer)| (id.clone(), peer.member_id.clone())).collect()
    }

    /// Whom this instance has heard itself, and how many ms ago.
    #[must_use]
    pub fn heard(&self, now: Duration) -> BTreeMap<InstanceId, u64> {
        let ms_ago = |peer: &Peer| u64::try_from(now.saturating_sub(peer.heard).as_millis()).unwrap_or(u64::MAX);
        self.peers.iter().filter(|(_, peer)| !peer.replaced).map(|(id, peer)| (id.clone(), ms_ago(peer))).collect()
    }

    /// For how long this instance may have been evicted without knowing: since it heard more than half of the cluster last, if that
    /// is longer than others wait before they evict it.
    #[must_use]
    pub fn doubt(&self, now: Duration) -> Duration {
        let mut ages: Vec<_> = self.peers.values().map(|peer| now.saturating_sub(peer.heard)).collect();
        ages.sort_unstable();
        let others_needed = (1 + self.peers.len()) / 2;
        let age = others_needed.checked_sub(1).and_then(|last| ages.get(last)).copied().unwrap_or_default();
        if self.suspicion_timeout.is_zero() || age <= self.suspicion_timeout { Duration::ZERO } else { age }
    }
}

// === impl Peer ===

impl Peer {
    fn hear(&mut self, now: Duration) {
        self.heard = now;
        self.heard_by_any = self.heard_by_any.max(now);
        self.refused = None;
    }

    fn is_silent(&self, now: Duration, suspicion_timeout: Duration) -> bool {
        let refuses = self.refused.is_some_and(|(times, since)| times >= REFUSALS && self.heard_by_any <= since);
        self.replaced || refuses || now > self.heard_by_any + suspicion_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{HostMetadata, view::InstanceView},
        log::Epoch,
    };

    const MS: Duration = Duration::from_millis(1);
    const SUSPICION: Duration = Duration::from_millis(1500);

    fn view(others: &[&str]) -> ClusterView {
        let mut view = ClusterView::empty(&"me".into());
        for name in others {
            let host = Arc::new(HostMetadata {
                instance_id: (*name).into(),
                incarnation: 7,
                seq: 1,
                epoch: Epoch { generation: 1, member_id: format!("{name}-1").into() },
                url: format!("http://{name}"),
                zone: None,
                capacity: 1,
                transactional_ids: Vec::new(),
                topology_fingerprint: String::new(),
                tasks: BTreeMap::new(),
                stored: BTreeMap::new(),
                draining: false,
            });
            view.instances.insert((*name).into(), InstanceView { live: true, host });
        }
        view
    }

    fn answer(of: &str, incarnation: u64, heard: &[(&str, u64)]) -> AliveAnswer {
        let heard = heard.iter().map(|(name, ms)| ((*name).into(), *ms)).collect();
        AliveAnswer { instance_id: of.into(), incarnation: Some(incarnation), heard }
    }

    /// Asks for so long; only these answer, and whoever is not `b` or `c` is silent.
    fn run(probes: &mut Probes, view: &ClusterView, ms: std::ops::Range<u32>, answers: &[(&str, &[(&str, u64)])]) {
        for now in ms.step_by(50).map(|ms| MS * ms) {
            for (asked, _) in probes.turn(now, view) {
                match answers.iter().find(|(name, _)| **name == *asked) {
                    Some((name, heard)) => probes.answered(now, &asked, &answer(name, 7, heard)),
                    None => probes.failed(now, &asked, ProbeFailure::Silent),
                }
            }
        }
    }

    fn suspects(probes: &Probes, ms: u32) -> Vec<String> {
        probes.suspects(MS * ms).values().map(ToString::to_string).collect()
    }

    #[test]
    fn who_is_silent_is_suspected_unless_somebody_hears_it() {
        let (mut probes, view) = (Probes::new("me".into(), SUSPICION), view(&["b", "c"]));
        run(&mut probes, &view, 0..1500, &[("b", &[])]);
        assert!(suspects(&probes, 1500).is_empty());
        run(&mut probes, &view, 1500..2000, &[("b", &[])]);
        assert_eq!(suspects(&probes, 2000), ["c-1"]);
        run(&mut probes, &view, 2000..4000, &[("b", &[("c", 100)])]);
        assert!(suspects(&probes, 4000).is_empty(), "b hears it");
        probes.asked_by(MS * 8000, "c", 6);
        assert_eq!(probes.heard(MS * 8000)[&InstanceId::from("c")], 8000, "that is another process");
        probes.asked_by(MS * 8000, "c", 7);
        assert_eq!(probes.heard(MS * 8000)[&InstanceId::from("c")], 0);
    }

    #[test]
    fn who_hears_less_than_half_suspects_nobody_and_doubts_itself() {
        let (mut probes, three) = (Probes::new("me".into(), SUSPICION), view(&["b", "c"]));
        run(&mut probes, &three, 0..5000, &[]);
        assert!(suspects(&probes, 5000).is_empty());
        assert_eq!(probes.doubt(MS * 5000), MS * 5000);
        run(&mut probes, &three, 5000..6000, &[("b", &[])]);
        assert_eq!((suspects(&probes, 6000).len(), probes.doubt(MS * 6000)), (1, Duration::ZERO));

        let (mut probes, two) = (Probes::new("me".into(), SUSPICION), view(&["b"]));
        run(&mut probes, &two, 0..2000, &[]);
        assert_eq!(suspects(&probes, 2000), ["b-1"], "half is enough");
        assert_eq!(probes.doubt(MS * 2000), MS * 2000);
    }

    #[test]
    fn a_process_that_is_gone_shows_at_once() {
        let (mut probes, view) = (Probes::new("me".into(), SUSPICION), view(&["b"]));
        for now in [0, 200, 400] {
            assert!(suspects(&probes, now).is_empty());
            assert_eq!(probes.turn(MS * now, &view).len(), 1);
            probes.failed(MS * now, &"b".into(), ProbeFailure::Refused);
        }
        assert_eq!(suspects(&probes, 400), ["b-1"]);
        probes.turn(MS * 600, &view);
        probes.answered(MS * 600, &"b".into(), &answer("b", 7, &[]));
        assert!(suspects(&probes, 600).is_empty());
        probes.turn(MS * 800, &view);
        probes.answered(MS * 800, &"b".into(), &answer("b", 8, &[]));
        assert_eq!(suspects(&probes, 800), ["b-1"], "another process answers");
    }

    #[test]
    fn who_stood_still_listens_anew_and_an_answer_is_waited_for() {
        let (mut probes, view) = (Probes::new("me".into(), SUSPICION), view(&["b"]));
        assert_eq!(probes.turn(Duration::ZERO, &view).len(), 1);
        assert!(probes.turn(MS * 300, &view).is_empty(), "one question at a time");
        probes.turn(MS * 9000, &view);
        assert!(suspects(&probes, 9000).is_empty());
        let mut never = Probes::new("me".into(), Duration::ZERO);
        never.turn(Duration::ZERO, &view);
        assert!(suspects(&never, 99_000).is_empty());
    }
}
