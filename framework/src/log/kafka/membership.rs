//! Being a member of a group, with librdkafka's classic protocol and its cooperative-sticky assignor on a topic of one
//! partition: every member hears of every generation, and the owner of the partition, which keeps it while it lives, leads.
//!
//! What must be known of librdkafka here:
//!
//! * A member that is voted out and owns nothing gets no revoke callback. Its member id is cleared, and it gets a new one
//!   when it joins again. So the member id is compared at every turn, before a new generation is adopted.
//! * The new generation is visible some ms before its callback. So the epoch is read inside the callback, before it confirms
//!   the assignment: until then no later generation can begin.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    context::{Context, Trouble},
    deadline::Deadline,
    error::{code_error, explain, is_timeout, is_unknown_topic, is_unreachable, log_error},
    group::KafkaGroup,
    lifeline::Lifeline,
    options::Settings,
    raw, topic,
};
use crate::{
    log::{Epoch, Group, LogError, Membership, MembershipEvent, MembershipOptions},
    time::Clock,
};

/// How often the member id is compared while nothing happens.
const TURN: Duration = Duration::from_millis(100);
/// How often a member that leaves looks whether it has left.
const LEAVE_TURN: Duration = Duration::from_millis(5);
/// How long the answer to that is waited for.
const LEAVE_ANSWER: Duration = Duration::from_secs(1);
/// How often it is told that brokers cannot be reached.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(1);

/// [`Membership`] on Kafka.
#[derive(Debug)]
pub(super) struct KafkaMembership {
    group: Arc<KafkaGroup>,
    settings: Arc<Settings>,
    options: MembershipOptions,
    events: VecDeque<MembershipEvent>,
    /// The epoch that was told last.
    told: Option<Epoch>,
    /// Why the member is about to find itself voted out.
    reason: Option<String>,
    /// From when on trouble is told again.
    next_trouble: Duration,
    /// Whether it ever was a member: then the settings are right, and errors pass.
    was_member: bool,
    left: bool,
    lifeline: Lifeline,
}

/// The context of the member's client.
#[derive(Debug)]
pub(super) struct MembershipContext {
    base: Context,
    coordination_topic: String,
    /// What the callbacks saw; the callbacks run inside `poll`.
    generations: Mutex<Generations>,
}

/// The generations that callbacks told of.
#[derive(Debug, Default)]
struct Generations {
    /// Read before the assignment is confirmed.
    entering: Option<Epoch>,
    /// Entered, with whether this member leads.
    entered: VecDeque<(Epoch, bool)>,
}

// === impl KafkaMembership ===

impl KafkaMembership {
    /// Begins to join.
    pub(super) fn join(settings: Arc<Settings>, options: MembershipOptions) -> Result<Self, LogError> {
        let what = format!("joining group `{}`", options.group_id);
        let failed = |error: KafkaError| log_error(&what, &error, settings.options.request_timeout);
        let context = MembershipContext {
            base: Context::new(&settings),
            coordination_topic: options.coordination_topic.clone(),
            generations: Mutex::default(),
        };
        let consumer: BaseConsumer<MembershipContext> =
            settings.membership(&options).create_with_context(context).map_err(failed)?;
        // A topic that is not there when it is subscribed to is looked for again only much later. If nobody can be asked, it is
        // left to the subscription, which goes on trying.
        let deadline = Deadline::after(settings.clock, settings.options.request_timeout);
        match topic::wait_for(consumer.client(), &options.coordination_topic, deadline, |found| found.is_some()) {
            Ok(None) => return Err(LogError::UnknownTopic { topic: options.coordination_topic }),
            Err(error) if !error.is_retriable() => return Err(error),
            Err(error) => tracing::warn!(group = options.group_id, %error, "joining all the same"),
            Ok(Some(_)) => {}
        }
        consumer.subscribe(&[&options.coordination_topic]).map_err(failed)?;
        let group = Arc::new(KafkaGroup::new(consumer, options.group_id.clone(), Arc::clone(&settings)));
        Ok(Self {
            group,
            settings,
            options,
            events: VecDeque::new(),
            told: None,
            reason: None,
            next_trouble: Duration::ZERO,
            was_member: false,
            left: false,
            lifeline: Lifeline::default(),
        })
    }

    /// Adopts what changed since the last turn.
    fn turn(&mut self) {
        let (now, client) = (self.settings.clock.monotonic(), self.group.consumer.client());
        self.lifeline.look(now, client, &self.settings.options.bootstrap, Duration::ZERO);
        let present = raw::epoch(self.group.consumer.client());
        if self.told.as_ref().is_some_and(|told| told.member_id != present.member_id) {
            self.lose();
        }
        for (epoch, leader) in self.group.consumer.context().take_entered() {
            if self.told.as_ref().is_some_and(|told| told.member_id != epoch.member_id) {
                self.lose();
            }
            self.told = Some(epoch.clone());
            self.group.set_epoch(Some(epoch.clone()));
            self.reason = None;
            self.was_member = true;
            self.events.push_back(MembershipEvent::Joined { epoch, leader });
        }
    }

    fn lose(&mut self) {
        let Some(told) = self.told.take() else { return };
        self.group.set_epoch(None);
        let reason = self.reason.take().unwrap_or_else(|| "the group does not know it any more".into());
        self.events.push_back(MembershipEvent::Lost { reason: format!("member {}: {reason}", told.member_id) });
    }

    /// Sorts out what `poll` returned in place of a message.
    fn note(&mut self, error: &KafkaError) -> Result<(), LogError> {
        let trouble = self.group.consumer.context().base.take_trouble();
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let reason = trouble.as_ref().map_or_else(|| code.to_string(), |trouble| trouble.reason.clone());
        match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(LogError::Fatal { reason }),
            _ if code == Code::PollExceeded => self.reason = Some(reason),
            // It was there: a broker that has just started does not know its topics yet.
            _ if is_unreachable(code) || is_timeout(code) || is_unknown_topic(code) => self.tell_trouble(reason),
            _ if !self.was_member => {
                let error = code_error(&format!("joining group `{}`", self.options.group_id), code, Duration::ZERO);
                return Err(explain(error, self.group.consumer.context().base.bootstrap(), trouble));
            }
            // Of its own accord librdkafka joins again; the member id tells whether anything was lost.
            _ => tracing::debug!(group = self.options.group_id, %code, reason, "a member's error"),
        }
        Ok(())
    }

    /// Says that brokers cannot be reached, not too often.
    fn tell_trouble(&mut self, reason: String) {
        let now = self.settings.clock.monotonic();
        if now >= self.next_trouble {
            self.next_trouble = now + TROUBLE_INTERVAL;
            self.events.push_back(MembershipEvent::Unavailable { reason });
        }
    }

    /// Leaves the group and waits until the coordinator knows.
    ///
    /// By `unsubscribe`, and not by closing the client: a client that is closed while it owns nothing sends no `LeaveGroup`
    /// (librdkafka 2.12, `rd_kafka_cgrp_revoke_all_rejoin`), and the others would wait for its session to end.
    fn quit(&mut self) -> Result<(), LogError> {
        if mem::replace(&mut self.left, true) { Ok(()) } else { self.leave_group() }
    }

    fn leave_group(&mut self) -> Result<(), LogError> {
        self.group.set_epoch(None);
        let consumer = &self.group.consumer;
        let deadline = Deadline::after(self.settings.clock, self.settings.options.request_timeout);
        consumer.unsubscribe();
        // The owner of the partition gives it up in a callback before. The id is cleared when the request is sent.
        while !raw::epoch(consumer.client()).member_id.is_empty() {
            if deadline.passed() {
                let what = format!("leaving group `{}`", self.options.group_id);
                let error = LogError::Timeout { what, after: deadline.timeout() };
                return Err(explain(error, consumer.context().base.bootstrap(), consumer.context().take_trouble()));
            }
            consumer.poll(LEAVE_TURN);
        }
        // The coordinator answers in order: when it answers this, it knows that the member has left. If it does not answer at
        // all, the session's end tells it.
        let mut question = TopicPartitionList::with_capacity(1);
        question.add_partition(&self.options.coordination_topic, 0);
        if let Err(error) = consumer.committed_offsets(question, LEAVE_ANSWER.min(deadline.remaining())) {
            tracing::debug!(group = self.options.group_id, %error, "left without an answer");
        }
        Ok(())
    }
}

impl Membership for KafkaMembership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MembershipEvent>, LogError> {
        let deadline = Deadline::after(self.settings.clock, timeout);
        loop {
            let idle = self.events.is_empty();
            let wait = if idle { TURN.min(deadline.remaining_whole_ms()) } else { Duration::ZERO };
            if let Some(Err(error)) = self.group.consumer.poll(wait) {
                self.note(&error)?;
            }
            self.group.positions.serve();
            self.turn();
            if !self.events.is_empty() || deadline.passed() {
                return Ok(self.events.pop_front());
            }
        }
    }

    fn group(&self) -> Arc<dyn Group> {
        Arc::<KafkaGroup>::clone(&self.group)
    }

    fn rejoin(&mut self) -> Result<(), LogError> {
        self.told = None;
        self.events.clear();
        let left = self.leave_group();
        // What the callbacks told of the membership that is over.
        self.group.consumer.context().take_entered();
        let what = format!("joining group `{}` again", self.options.group_id);
        let subscribed = self.group.consumer.subscribe(&[&self.options.coordination_topic]);
        subscribed.map_err(|error| log_error(&what, &error, self.settings.options.request_timeout))?;
        left
    }

    fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        self.quit()
    }
}

impl Drop for KafkaMembership {
    /// Others may hold the group; without this the client would stay a member in the background.
    fn drop(&mut self) {
        if let Err(error) = self.quit() {
            tracing::warn!(group = self.options.group_id, %error, "the member did not leave its group");
        }
    }
}

// === impl MembershipContext ===

impl MembershipContext {
    /// The trouble since the last call.
    pub(super) fn take_trouble(&self) -> Option<Trouble> {
        self.base.take_trouble()
    }

    fn take_entered(&self) -> VecDeque<(Epoch, bool)> {
        mem::take(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner).entered)
    }
}

impl ClientContext for MembershipContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.base.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.base.error(error, reason);
    }
}

impl ConsumerContext for MembershipContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            let epoch = raw::epoch(consumer.client());
            self.generations.lock().unwrap_or_else(PoisonError::into_inner).entering = Some(epoch);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(added) = rebalance else { return };
        // The topic is never read: it is there to be owned.
        if let Err(error) = consumer.pause(added) {
            tracing::debug!(%error, "the coordination topic is read though nothing is in it");
        }
        // The callback tells what is new; what was owned before is still owned.
        let leader =
            consumer.assignment().is_ok_and(|owned| owned.find_partition(&self.coordination_topic, 0).is_some());
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = generations.entering.take() {
            generations.entered.push_back((epoch, leader));
        }
    }
}
