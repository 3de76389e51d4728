//! An application from start to stop: the only place where everything is put together.
//!
//! ```text
//! App::start ─▶ HTTP listens (probes answer from the start)
//!            ─▶ control thread: state directory ─▶ topics ─▶ metadata topic ─▶ global tables ─▶ workers ─▶ group
//!                               then: membership, metadata and reports in; assignments, starts and releases out
//! Instance::stop ─▶ tasks are committed and released ─▶ the group is left ─▶ HTTP ends
//! ```

mod application;
mod control;
pub(crate) mod driven;
mod error;
mod internal_topics;
mod leader_calls;
mod metadata_topic;
mod patience;
mod prober;
mod pulse;
mod readiness;
mod serving;
mod start;
mod status;
mod stopping;
mod topics;

use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::{net::TcpListener, sync::oneshot};

use self::{
    application::Application,
    patience::Halt,
    prober::{Hearing, probe},
    pulse::Pulse,
    serving::InstanceServing,
    start::Start,
    status::Status,
    stopping::StopRequest,
};
pub use self::{
    application::PrepareError,
    error::AppError,
    topics::{Mismatch, TopicsError},
};
use crate::{
    config::{Config, Guarantee, MemoryShares},
    log::{
        Log,
        kafka::{KafkaLog, KafkaOptions},
    },
    metrics::Metrics,
    processor::Handlers,
    query::{Prober, QueryOptions, Router, Serving},
    runtime::OsThreads,
    state::TableWatch,
    time::{Clock, SystemClock},
    topology::{Resolved, Topology},
};

/// How long a stop waits for a start to give up, before it leaves it behind.
const START_GIVES_UP: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// An application: a topology and how to run it.
#[derive(Debug)]
pub struct App {
    topology: Topology,
    config: Config,
    log: Option<Arc<dyn Log>>,
    routes: Router,
    query: QueryOptions,
    handlers: Handlers,
    tables_watch: Option<Arc<dyn TableWatch>>,
}

/// A running instance of an application.
#[derive(Debug)]
pub struct Instance {
    url: String,
    instance_id: String,
    status: Arc<Status>,
    /// Ends when the control thread has ended.
    ended: oneshot::Receiver<()>,
    control: Option<JoinHandle<Result<(), AppError>>>,
    http: tokio::task::JoinHandle<()>,
    http_stop: oneshot::Sender<()>,
    /// Asks the other instances whether they are alive.
    probing: Option<tokio::task::AbortHandle>,
}

// === impl App ===

impl App {
    /// An application that runs on Kafka as the configuration says.
    #[must_use]
    pub fn new(topology: Topology, config: Config) -> Self {
        let (routes, query, handlers) = (Router::new(), QueryOptions::default(), Handlers::default());
        Self { topology, config, log: None, routes, query, handlers, tables_watch: None }
    }

    /// Runs on this log instead of the Kafka that the configuration names.
    #[must_use]
    pub fn with_log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// Tells a test of the steps in which restored rows come to disk.
    #[must_use]
    pub fn with_tables_watched(mut self, by: Arc<dyn TableWatch>) -> Self {
        self.tables_watch = Some(by);
        self
    }

    /// Serves the service's own routes beside the framework's.
    #[must_use]
    pub fn with_routes(mut self, routes: Router) -> Self {
        self.routes = routes;
        self
    }

    /// Decides by functions about records that fail. Where there is none for a stage, the configuration decides.
    #[must_use]
    pub fn with_handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Sets the limits of the REST interface.
    #[must_use]
    pub fn with_query_options(mut self, options: QueryOptions) -> Self {
        self.query = options;
        self
    }

    /// Runs until SIGTERM, Ctrl-C or `POST /cluster/drain`, then has the others take over its tasks, and leaves. A second signal ends it at
    /// once.
    ///
    /// # Errors
    /// When the instance cannot start, or cannot go on.
    pub async fn run(self) -> Result<(), AppError> {
        let mut instance = self.start().await?;
        tokio::select! {
            () = stop_signal() => {
                tracing::info!("asked to stop");
                let status = Arc::clone(&instance.status);
                tokio::select! {
                    stopped = instance.stop() => stopped,
                    never = stop_at_once(&status) => match never {},
                }
            }
            error = instance.failed() => match error {
                Some(error) => Err(error),
                None => instance.stop().await,
            },
        }
    }

    /// Starts an instance. It answers probes at once; it is ready when `/readyz` says so.
    ///
    /// # Errors
    /// When a setting is wrong or the address is taken. What goes wrong later is told by [`Instance::failed`].
    pub async fn start(self) -> Result<Instance, AppError> {
        let Self { topology, config, log, routes, query, handlers, tables_watch } = self;
        check(&config)?;
        let handlers = handlers.configured(&config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Metrics::new()?;
        let application_id = config.application_id.clone().unwrap_or_else(|| topology.name().to_owned());
        check_name("the application id", &application_id)?;
        let resolved = Arc::new(topology.resolve(&application_id).coalesce_all(config.coalesce_updates));
        check_dead_letters(&handlers, &resolved)?;
        let instance_id = config.instance_id.clone();
        let status = Arc::new(Status::new(&instance_id.as_str().into()));
        let suspicion_timeout = config.effective_suspicion_timeout();
        let serving = Arc::new(serving(&config, &resolved, metrics.clone(), &clock, &status));

        let listener =
            TcpListener::bind(config.http).await.map_err(|source| AppError::Listen { address: config.http, source })?;
        let url = config.url();
        let router = crate::query::router(Arc::clone(&serving) as Arc<dyn Serving>, query)
            .map_err(rest_interface)?
            .merge(routes);
        let (http_stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let http = tokio::spawn(async move {
            if let Err(error) = crate::query::serve(listener, router, stopped).await {
                tracing::error!(%error, "the REST interface ended");
            }
        });
        tracing::info!(instance_id, url, application_id, "the REST interface listens");

        let probing = suspicion_timeout.map(|timeout| {
            let (hearing, status) = (Arc::clone(&serving.hearing), Arc::clone(&status));
            let prober = Prober::new(&application_id, timeout).map_err(rest_interface)?;
            Ok::<_, AppError>(tokio::spawn(probe(hearing, status, Arc::new(prober))).abort_handle())
        });
        let probing = probing.transpose()?;

        let (end, ended) = oneshot::channel();
        let running = Arc::clone(&status);
        let control = Builder::new()
            .name("millpond-control".into())
            .spawn(move || {
                let start = || {
                    let log = open(log, &config)?;
                    let application = Arc::new(Application::new(log, clock, resolved, &config, &handlers));
                    let threads = Arc::new(OsThreads);
                    let state = None;
                    let start = Start { application, config, metrics, serving, handlers, tables_watch, state, threads };
                    match start.bring_up() {
                        Ok(control) => control.run(),
                        Err(Halt::Failed(error)) => Err(error),
                        Err(Halt::Stopped) => {
                            tracing::info!("stopped before the start was over");
                            Ok(())
                        }
                    }
                };
                let result = start();
                if let Err(error) = &result {
                    running.ended(&error.to_string());
                }
                let _ = end.send(());
                result
            })
            .map_err(AppError::Thread)?;
        Ok(Instance { url, instance_id, status, ended, control: Some(control), http, http_stop, probing })
    }
}

/// What an instance of this configuration can be asked.
fn serving(
    config: &Config,
    topology: &Resolved,
    metrics: Metrics,
    clock: &Arc<dyn Clock>,
    status: &Arc<Status>,
) -> InstanceServing {
    let (instance_id, suspicion_timeout) = (&config.instance_id, config.effective_suspicion_timeout());
    let silence = suspicion_timeout.unwrap_or(config.session_timeout).min(config.session_timeout);
    let pulse = Pulse::new(Arc::clone(clock), silence, config.unpolled_timeout());
    let hearing = Hearing::new(instance_id.as_str().into(), suspicion_timeout.unwrap_or_default(), Arc::clone(clock));
    InstanceServing::new(topology, instance_id, metrics, Arc::clone(clock), Arc::clone(status), pulse, hearing)
}

fn rest_interface(error: impl std::fmt::Display) -> AppError {
    AppError::Setting { setting: "the REST interface", problem: error.to_string() }
}

fn open(log: Option<Arc<dyn Log>>, config: &Config) -> Result<Arc<dyn Log>, AppError> {
    match log {
        Some(log) => Ok(log),
        None => {
            let shares = start::shares(config);
            let options = KafkaOptions {
                bootstrap: config.bootstrap.clone(),
                client_id: config.instance_id.clone(),
                properties: config.kafka.clone(),
                fetched_bytes: shares.fetched,
                sending_bytes: shares.sending,
                ..KafkaOptions::default()
            };
            Ok(Arc::new(KafkaLog::open(options)?))
        }
    }
}

/// Two answers may be late.
const LEAST_SUSPICION: Duration = Duration::from_millis(600);

fn check(config: &Config) -> Result<(), AppError> {
    let wrong = |setting, problem: &str| Err(AppError::Setting { setting, problem: problem.into() });
    check_name("the instance id", &config.instance_id)?;
    if config.threads == 0 {
        return wrong("the number of threads", "is 0: at least one has to work");
    }
    let least = MemoryShares::least(config.threads);
    if config.memory_bytes < least {
        let problem = format!("is {}: {} threads need {least} at the least", config.memory_bytes, config.threads);
        return wrong("memory_bytes", &problem);
    }
    if config.guarantee == Guarantee::ExactlyOnce && config.transaction_timeout <= config.commit_interval {
        return wrong(
            "transaction_timeout",
            "must be longer than the commit interval, or the broker aborts every transaction",
        );
    }
    if config.session_timeout >= config.max_poll_interval {
        let problem =
            "(MILLPOND_MAX_POLL_INTERVAL_MS) must be longer than the session timeout (MILLPOND_SESSION_TIMEOUT_MS)";
        return wrong("max_poll_interval", problem);
    }
    if config.effective_suspicion_timeout().is_some_and(|timeout| timeout < LEAST_SUSPICION) {
        let problem = format!(
            "(MILLPOND_SUSPICION_TIMEOUT_MS) must be 0, for never, or {} ms at the least: instances ask each other five times a second",
            LEAST_SUSPICION.as_millis()
        );
        return wrong("suspicion_timeout", &problem);
    }
    Ok(())
}

/// Dead letters need a topic, and one that does not bring them back.
fn check_dead_letters(handlers: &Handlers, topology: &Resolved) -> Result<(), AppError> {
    let setting = "dead_letter_topic (MILLPOND_DEAD_LETTER_TOPIC)";
    let wrong = |problem| Err(AppError::Setting { setting, problem });
    match (handlers.dead_letter_topic(), handlers.wants_dead_letters().next()) {
        (None, Some(stage)) => wrong(format!("is not set, but {stage} errors are to become dead letters")),
        (Some(topic), _) if topology.sub_topologies.iter().any(|part| part.sources.contains(topic)) => {
            wrong(format!("`{topic}` is read by the topology itself: a record that fails would come back for ever"))
        }
        _ => Ok(()),
    }
}

/// Ids become parts of topic names, transactional ids and URLs: they have the characters of a topic's name (`Topic.validate` in Kafka).
fn check_name(setting: &'static str, name: &str) -> Result<(), AppError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 100 || !name.chars().all(allowed) {
        let problem = format!("`{name}` has to be 1 to 100 letters, digits, `.`, `_` or `-`");
        return Err(AppError::Setting { setting, problem });
    }
    Ok(())
}

// === impl Instance ===

impl Instance {
    /// Where other instances, and you, reach its REST interface.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Waits until the instance ends by itself; `None` when it was asked to.
    pub async fn failed(&mut self) -> Option<AppError> {
        let _ = (&mut self.ended).await;
        self.join().err()
    }

    /// Has the others take over the tasks, leaves the group, ends the REST interface.
    ///
    /// # Errors
    /// When the instance had failed, or its state could not be closed.
    pub async fn stop(mut self) -> Result<(), AppError> {
        self.status.request(StopRequest::Drain);
        if self.control.is_some() && !self.start_gives_up().await {
            tracing::warn!("a step of the start still waits for the log; leaving without it");
            self.control = None;
        }
        if self.control.is_some() {
            let _ = (&mut self.ended).await;
        }
        let result = self.join();
        if let Some(probing) = &self.probing {
            probing.abort();
        }
        let _ = self.http_stop.send(());
        if self.http.await.is_err() {
            return Err(AppError::Panicked("the REST interface"));
        }
        result
    }

    /// Whether the start is over, be it that it gave up; one whose call waits for the log may take long.
    async fn start_gives_up(&self) -> bool {
        let is_over = async || {
            while self.status.is_starting() && !self.control.as_ref().is_none_or(JoinHandle::is_finished) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(START_GIVES_UP, is_over()).await.is_ok()
    }

    fn join(&mut self) -> Result<(), AppError> {
        match self.control.take() {
            Some(control) => control.join().unwrap_or(Err(AppError::Panicked("the control thread"))),
            None => Ok(()),
        }
    }
}

/// Asks for a stop at once when there is another signal.
async fn stop_at_once(status: &Status) -> std::convert::Infallible {
    stop_signal().await;
    tracing::warn!("asked again: stopping at once");
    status.request(StopRequest::AtOnce);
    std::future::pending().await
}

async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be heard; Ctrl-C can");
            let _ = interrupt.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn an_id_that_is_no_name_is_refused_by_name() {
        assert!(check_name("the instance id", "flights-0.a_B").is_ok());
        for wrong in ["", "a b", "a/b", "ü"] {
            let error = check_name("the instance id", wrong).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("the instance id `{wrong}`")), "{error}");
        }
    }
}
