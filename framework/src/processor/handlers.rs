//! Errors as data: who decides about a record that failed, and what is decided.

use std::{fmt, sync::Arc};

use super::{Context, OnError, ProcessError, Stage, with_causes};
use crate::{
    config::Config,
    log::{Headers, LogError, RecordRef},
    state::TaskId,
};

/// A record that failed: what a handler decides by.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// At which stage.
    pub stage: Stage,
    /// Why.
    pub error: &'a ProcessError,
    /// The task.
    pub task: TaskId,
    /// The topic of the record.
    pub topic: &'a Arc<str>,
    /// The record as it was read from the topic; its partition is that of the task.
    pub record: RecordRef<'a>,
}

/// Decides about a record that failed.
pub type Handler = Arc<dyn Fn(&Failure<'_>) -> OnError + Send + Sync>;

/// Who decides about records that fail, and where dead letters go.
///
/// A function decides where there is one for the stage, else the configuration does. Functions are called on the thread of the task;
/// one that is called for a record may be called for it again after a failure.
///
/// ```
/// use millpond::{config::OnError, processor::Handlers};
///
/// let handlers = Handlers::default()
///     .on_processing_error(|failure| match failure.record.value {
///         Some(value) if value.len() > 1_000_000 => OnError::Continue,
///         _ => OnError::DeadLetter,
///     })
///     .dead_letters_to("flights-dead");
/// # let _ = handlers;
/// ```
#[derive(Clone, Default)]
pub struct Handlers {
    deserialization: Decider,
    processing: Decider,
    production: Decider,
    dead_letter_topic: Option<Arc<str>>,
}

/// Who decides at one stage.
#[derive(Clone, Default)]
struct Decider {
    function: Option<Handler>,
    policy: OnError,
}

/// What was decided about a record that failed, and is not [`OnError::Fail`].
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    stage: Stage,
    kind: Kind,
}

/// What is known of a record before it is processed.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// What was decided about it.
    Judged(Box<Verdict>),
    /// What came of it was refused when it was delivered; nobody has decided yet.
    Refused(LogError),
}

#[derive(Debug, Clone)]
enum Kind {
    LeaveOut,
    SkipNode,
    /// To this topic, with these headers behind the record's own.
    DeadLetter(Arc<str>, Vec<(&'static str, String)>),
}

// === impl Handlers ===

impl Handlers {
    /// Decides by a function about records that cannot be read.
    #[must_use]
    pub fn on_deserialization_error(
        mut self,
        handler: impl Fn(&Failure<'_>) -> OnError + Send + Sync + 'static,
    ) -> Self {
        self.deserialization.function = Some(Arc::new(handler));
        self
    }

    /// Decides by a function about records that nodes cannot process.
    #[must_use]
    pub fn on_processing_error(mut self, handler: impl Fn(&Failure<'_>) -> OnError + Send + Sync + 'static) -> Self {
        self.processing.function = Some(Arc::new(handler));
        self
    }

    /// Decides by a function about records whose results cannot be written.
    #[must_use]
    pub fn on_production_error(mut self, handler: impl Fn(&Failure<'_>) -> OnError + Send + Sync + 'static) -> Self {
        self.production.function = Some(Arc::new(handler));
        self
    }

    /// Names the dead-letter topic, instead of [`Config::dead_letter_topic`].
    #[must_use]
    pub fn dead_letters_to(mut self, topic: &str) -> Self {
        self.dead_letter_topic = Some(topic.into());
        self
    }

    /// With what the configuration says where there is no function.
    #[must_use]
    pub fn configured(mut self, config: &Config) -> Self {
        self.deserialization.policy = config.deserialization_errors;
        self.processing.policy = config.processing_errors;
        self.production.policy = config.production_errors;
        self.dead_letter_topic = self.dead_letter_topic.or_else(|| config.dead_letter_topic.as_deref().map(Arc::from));
        self
    }

    /// Where dead letters go.
    #[must_use]
    pub fn dead_letter_topic(&self) -> Option<&Arc<str>> {
        self.dead_letter_topic.as_ref()
    }

    /// The stages whose configuration asks for dead letters.
    pub(crate) fn wants_dead_letters(&self) -> impl Iterator<Item = Stage> {
        let stages = [Stage::Deserialization, Stage::Processing, Stage::Production];
        stages.into_iter().filter(|stage| self.decider(*stage).always(OnError::DeadLetter))
    }

    /// Whether failing nodes are always skipped at this stage, so that no record need be judged.
    pub(crate) fn skips_nodes(&self, stage: Stage) -> bool {
        self.decider(stage).always(OnError::SkipNode)
    }

    /// Whether every failure at this stage stops the task.
    pub(crate) fn always_fails(&self, stage: Stage) -> bool {
        self.decider(stage).always(OnError::Fail)
    }

    /// Decides about a record; `own` is what its source says.
    ///
    /// # Errors
    ///
    /// The error itself, when the task is to stop for it.
    #[cold]
    pub(crate) fn judge(
        &self,
        error: ProcessError,
        task: TaskId,
        topic: &Arc<str>,
        record: RecordRef<'_>,
        own: Option<OnError>,
    ) -> Result<Verdict, ProcessError> {
        let Some(stage) = error.stage() else { return Err(error) };
        let failure = Failure { stage, error: &error, task, topic, record };
        let answer = own.unwrap_or_else(|| self.decider(stage).decide(&failure));
        let kind = match (answer, &self.dead_letter_topic) {
            (OnError::Fail, _) => return Err(error),
            (OnError::SkipNode, _) if stage != Stage::Deserialization => Kind::SkipNode,
            (OnError::Continue | OnError::SkipNode, _) => Kind::LeaveOut,
            (OnError::DeadLetter, Some(topic)) => Kind::DeadLetter(Arc::clone(topic), failure.headers()),
            (OnError::DeadLetter, None) => {
                let (topic, partition, offset) = (Arc::clone(topic), task.partition, record.offset);
                return Err(ProcessError::NoDeadLetterTopic { topic, partition, offset, source: Box::new(error) });
            }
        };
        let (partition, offset, error) = (task.partition, record.offset, with_causes(&error));
        tracing::warn!(%task, %topic, partition, offset, %stage, error, %answer, "a record failed; the task goes on");
        Ok(Verdict { stage, kind })
    }

    fn decider(&self, stage: Stage) -> &Decider {
        match stage {
            Stage::Deserialization => &self.deserialization,
            Stage::Processing => &self.processing,
            Stage::Production => &self.production,
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("deserialization", &self.deserialization)
            .field("processing", &self.processing)
            .field("production", &self.production)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .finish()
    }
}

// === impl Decider ===

impl Decider {
    /// Whether this is the answer without a look at the record.
    fn always(&self, answer: OnError) -> bool {
        self.function.is_none() && self.policy == answer
    }

    fn decide(&self, failure: &Failure<'_>) -> OnError {
        self.function.as_ref().map_or(self.policy, |function| function(failure))
    }
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            Some(_) => f.write_str("function"),
            None => self.policy.fmt(f),
        }
    }
}

// === impl Failure ===

impl Failure<'_> {
    /// What a dead letter says beside the record: the names of KIP-1034 where it has one.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let cause = std::error::Error::source(self.error);
        let mut headers = vec![
            ("__streams.errors.exception", self.error.class().to_owned()),
            ("__streams.errors.message", cause.map_or_else(|| self.error.to_string(), with_causes)),
            ("__streams.errors.stacktrace", with_causes(self.error)),
            ("__streams.errors.topic", self.topic.to_string()),
            ("__streams.errors.partition", self.task.partition.to_string()),
            ("__streams.errors.offset", self.record.offset.to_string()),
            ("__millpond.errors.timestamp", self.record.timestamp_ms.to_string()),
            ("__millpond.errors.stage", self.stage.to_string()),
            ("__millpond.errors.task", self.task.to_string()),
        ];
        headers.extend(self.error.node().map(|node| ("__millpond.errors.node", node.to_string())));
        headers
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether the record is processed after all, without the nodes that fail.
    pub(crate) fn skips_nodes(&self) -> bool {
        matches!(self.kind, Kind::SkipNode)
    }

    /// Leaves the record out: counts it, and writes the dead letter if that was decided.
    ///
    /// # Errors
    ///
    /// When the dead letter cannot be written.
    pub(crate) fn carry_out(&self, ctx: &mut Context, record: RecordRef<'_>) -> Result<(), ProcessError> {
        ctx.drop_record(self.stage.into());
        let Kind::DeadLetter(topic, said) = &self.kind else { return Ok(()) };
        let said = said.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
        let headers = Headers::new(record.headers.iter().chain(said));
        // A log takes no time before 1970; the header has the record's own.
        let timestamp_ms = if record.timestamp_ms < 0 { ctx.wall_clock_ms() } else { record.timestamp_ms };
        ctx.send(topic, record.key, record.key, record.value, timestamp_ms, &headers)
    }
}
