//! Topics and their settings.

mod block_on;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic as RawNewTopic, ResourceSpecifier, TopicReplication, TopicResult},
    client::Client,
    error::{KafkaResult, RDKafkaErrorCode as Code},
};

use self::block_on::block_on;
use super::{
    context::Context,
    deadline::Deadline,
    error::{code_error, explain, is_unknown_topic, log_error, topic_error},
    lifeline::Lifeline,
    options::Settings,
    raw, topic,
};
use crate::{
    log::{Admin, LogError, NewTopic, TopicInfo, TopicPartition},
    time::Clock,
};

/// How long one look at the connection takes at most while it is being made.
const LOOK: Duration = Duration::from_millis(100);

/// The connection of a [`KafkaLog`](super::KafkaLog) for questions about the cluster.
pub(super) struct Link {
    client: Client<Context>,
    /// For changes and settings. It is kept: a new one takes 100 ms until it has a connection.
    admin: Mutex<Option<AdminClient<Context>>>,
    settings: Arc<Settings>,
    lifeline: Mutex<Lifeline>,
}

/// [`Admin`] on Kafka.
#[derive(Debug)]
pub(super) struct KafkaAdmin {
    link: Arc<Link>,
}

// === impl Link ===

impl Link {
    /// Opens the client.
    pub(super) fn open(settings: Arc<Settings>) -> Result<Self, LogError> {
        let context = Context::new(&settings);
        let client = raw::client(&settings.admin(), context)
            .map_err(|error| log_error("connecting", &error, settings.options.request_timeout))?;
        let link = Self { client, admin: Mutex::default(), settings, lifeline: Mutex::default() };
        // It connects while the other one does.
        let admin = link.new_admin().map_err(|error| log_error("connecting", &error, link.timeout()))?;
        link.put_admin(admin);
        Ok(link)
    }

    /// Waits until a broker answers. Credentials that are refused end the wait.
    pub(super) fn reach(&self, timeout: Duration) -> Result<(), LogError> {
        let deadline = Deadline::after(self.settings.clock, timeout);
        let mut last = None;
        while raw::reach(&self.client, LOOK.min(deadline.remaining())).is_err() {
            last = self.trouble().or(last);
            self.look_after();
            let error = LogError::Timeout { what: "connecting to Kafka".into(), after: timeout };
            let error = explain(error, &self.settings.options.bootstrap, last.clone());
            if deadline.passed() || !error.is_retriable() {
                return Err(error);
            }
        }
        Ok(())
    }

    fn new_admin(&self) -> KafkaResult<AdminClient<Context>> {
        self.settings.admin().create_with_context(Context::new(&self.settings))
    }

    /// The client for changes, if nobody uses it.
    fn take_admin(&self) -> Option<AdminClient<Context>> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps it for the next one.
    fn put_admin(&self, admin: AdminClient<Context>) {
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = Some(admin);
    }

    fn timeout(&self) -> Duration {
        self.settings.options.request_timeout
    }

    fn trouble(&self) -> Option<super::context::Trouble> {
        raw::serve_events(&self.client);
        self.client.context().take_trouble()
    }

    fn look_after(&self) {
        let mut lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
        lifeline.look(self.settings.clock.monotonic(), &self.client, &self.settings.options.bootstrap, Duration::ZERO);
    }

    /// Says why brokers cannot be reached, where that is why.
    fn explain(&self, error: LogError) -> LogError {
        if error.is_retriable() {
            self.look_after();
        }
        explain(error, &self.settings.options.bootstrap, self.trouble())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("bootstrap", &self.settings.options.bootstrap).finish_non_exhaustive()
    }
}

// === impl KafkaAdmin ===

impl KafkaAdmin {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link }
    }

    /// Runs a request of the admin client to its end. All of them may be made twice: when there is no answer in half the time, a new
    /// client asks again, since the old one may be stuck with a connection on which nothing comes.
    fn request<T, F>(
        &mut self,
        what: &str,
        request: impl Fn(&AdminClient<Context>, &AdminOptions) -> F,
    ) -> Result<T, LogError>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        match self.request_once(what, &request) {
            Err(error) if error.is_retriable() => self.request_once(what, &request),
            result => result,
        }
    }

    fn request_once<T, F>(
        &mut self,
        what: &str,
        request: &impl Fn(&AdminClient<Context>, &AdminOptions) -> F,
    ) -> Result<T, LogError>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        let timeout = self.link.timeout() / 2;
        let bootstrap = &self.link.settings.options.bootstrap;
        let client = match self.link.take_admin() {
            Some(client) => client,
            None => self.link.new_admin().map_err(|error| log_error(what, &error, timeout))?,
        };
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let result = block_on(request(&client, &options));
        // Nobody else polls this client: what it has to tell would pile up.
        raw::serve_events(client.inner());
        let trouble = client.inner().context().take_trouble();
        if result.is_ok() {
            self.link.put_admin(client);
        }
        result.map_err(|error| explain(log_error(what, &error, self.link.timeout()), bootstrap, trouble))
    }

    /// Waits until topics that were created can be used, or those that were deleted are gone.
    fn wait_for<'t>(&self, topics: impl Iterator<Item = &'t str>, created: bool) -> Result<(), LogError> {
        let deadline = Deadline::after(self.link.settings.clock, self.link.timeout());
        let done = |found: Option<topic::Found>| if created { found.is_some_and(|it| it.led) } else { found.is_none() };
        for topic in topics {
            let found = topic::wait_for(&self.link.client, topic, deadline, done);
            if !done(found.map_err(|error| self.link.explain(error))?) {
                let what = format!("waiting for {} of topic `{topic}`", if created { "creation" } else { "deletion" });
                return Err(self.link.explain(LogError::Timeout { what, after: deadline.timeout() }));
            }
        }
        Ok(())
    }

    /// The results of a request about several topics: the first that failed and is not `fine`.
    fn each(&self, what: &str, results: Vec<TopicResult>, fine: impl Fn(Code) -> bool) -> Result<(), LogError> {
        let failed = results.into_iter().filter_map(Result::err).find(|(_, code)| !fine(*code));
        failed.map_or(Ok(()), |(topic, code)| Err(code_error(&format!("{what} `{topic}`"), code, self.link.timeout())))
    }
}

impl Admin for KafkaAdmin {
    fn topics(&mut self, names: &[&str]) -> Result<Vec<TopicInfo>, LogError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let timeout = self.link.timeout();
        let found = raw::describe_topics(&self.link.client, names, timeout);
        raw::serve_events(&self.link.client);
        let found = found.map_err(|code| self.link.explain(code_error("looking up topics", code, timeout)))?;
        let mut topics = Vec::with_capacity(found.len());
        for (name, found) in found {
            match found {
                Ok(raw::Described { partitions, id }) => topics.push(TopicInfo { name, partitions, id }),
                Err(code) if is_unknown_topic(code) => {}
                Err(code) => {
                    let error = topic_error(&format!("looking up topic `{name}`"), &name, code, timeout);
                    return Err(self.link.explain(error));
                }
            }
        }
        Ok(topics)
    }

    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<(), LogError> {
        if topics.is_empty() {
            return Ok(());
        }
        let raw: Vec<_> = topics.iter().map(raw_topic).collect();
        let results = self.request("creating topics", |client, options| client.create_topics(&raw, options))?;
        self.each("creating topic", results, |code| code == Code::TopicAlreadyExists)?;
        self.wait_for(topics.iter().map(|topic| topic.name.as_str()), true)
    }

    fn delete_topics(&mut self, names: &[&str]) -> Result<(), LogError> {
        if names.is_empty() {
            return Ok(());
        }
        let results = self.request("deleting topics", |client, options| client.delete_topics(names, options))?;
        self.each("deleting topic", results, is_unknown_topic)?;
        self.wait_for(names.iter().copied(), false)
    }

    fn topic_config(&mut self, topic: &str) -> Result<BTreeMap<String, String>, LogError> {
        let what = format!("asking for the settings of topic `{topic}`");
        let specifier = [ResourceSpecifier::Topic(topic)];
        let results = self.request(&what, |client, options| client.describe_configs(&specifier, options))?;
        let entries = match results.into_iter().next() {
            Some(Ok(resource)) => resource.entries,
            Some(Err(code)) => return Err(topic_error(&what, topic, code, self.link.timeout())),
            None => Vec::new(),
        };
        // Every topic has settings: this is how brokers say that there is no such topic.
        if entries.is_empty() {
            return Err(LogError::UnknownTopic { topic: topic.into() });
        }
        // A value that is not told is a secret.
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    fn delete_records(&mut self, before: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        if before.is_empty() {
            return Ok(());
        }
        let what = "deleting records";
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (partition, offset) in before {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element
                .set_offset(Offset::Offset(*offset))
                .map_err(|error| log_error(what, &error, self.link.timeout()))?;
        }
        let results = self.request(what, |client, options| client.delete_records(&list, options))?;
        for element in results.elements() {
            if let Err(error) = element.error() {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                let what = format!("{what} of {}-{}", element.topic(), element.partition());
                return Err(topic_error(&what, element.topic(), code, self.link.timeout()));
            }
        }
        Ok(())
    }
}

/// A topic as the admin client takes it; -1 asks for the broker's default.
fn raw_topic(topic: &NewTopic) -> RawNewTopic<'_> {
    let replication = TopicReplication::Fixed(topic.replication_factor.unwrap_or(-1));
    let raw = RawNewTopic::new(&topic.name, topic.partitions, replication);
    topic.config.iter().fold(raw, |raw, (name, value)| raw.set(name, value))
}
