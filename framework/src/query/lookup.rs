//! A point lookup from key text to answer: parse, route, then read here or ask the owner.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};

use super::{
    Api, Consistency, QueryError, Seen, ServedAs, Spread, StoreEntry,
    answer::{Found, PositionJson},
    deadline::Deadline,
    forward::Relayed,
    headers::RequestId,
    metrics::Route,
    owner::Target,
    read::{Read, ReadError, read},
};
use crate::{
    log::Partitioner,
    state::{StoreKind, TaskId, TaskView},
};

/// What is asked.
#[derive(Debug)]
pub(super) struct Lookup {
    /// The store's name.
    pub(super) store: String,
    /// The key's text.
    pub(super) key: String,
    /// As of which time, in ms since the epoch; of stores that keep versions. Else as it is now.
    pub(super) as_of_ms: Option<i64>,
    /// Which copies of the key may answer.
    pub(super) consistency: Consistency,
    /// Whether another instance forwarded it.
    pub(super) forwarded: bool,
    /// When the answer must be there.
    pub(super) deadline: Deadline,
    /// Names the request.
    pub(super) request_id: RequestId,
}

/// What became known on the way to the answer, for the metrics; it is complete also when the lookup fails.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The store, when there is one of that name.
    pub(super) store: Option<Arc<str>>,
    /// Whether the owner was asked.
    pub(super) route: Route,
}

/// The answer of a lookup that did not fail.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An entry of this instance, as a JSON body.
    Here(Vec<u8>),
    /// What the owner said.
    Relayed(Relayed),
}

/// Where on this instance an entry is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) partition: Option<i32>,
    pub(super) role: ServedAs,
    /// How old it may be.
    pub(super) staleness: Duration,
}

// === impl Api ===

impl Api {
    /// Answers a lookup, here or through the owner.
    pub(super) async fn lookup(&self, lookup: &Lookup, trace: &mut Trace) -> Result<Outcome, QueryError> {
        let catalogue = self.serving.stores().ok_or(QueryError::Starting)?;
        let store =
            catalogue.get(&lookup.store).ok_or_else(|| QueryError::UnknownStore { store: lookup.store.clone() })?;
        trace.store = Some(store.spec.name.clone());
        if lookup.as_of_ms.is_some() && !matches!(store.spec.kind, StoreKind::Versioned(_)) {
            let reason = format!("store `{}` keeps no versions: it cannot be asked `as_of` a time", store.spec.name);
            return Err(QueryError::InvalidRequest { reason });
        }
        let key = self.parse_key(store, &lookup.key)?;
        match store.spread {
            Spread::Global => self.ask_global(store, key, lookup).await,
            Spread::Partitioned { sub_topology, partitions } => {
                let partition = Partitioner::for_key(store.spec.key_format.partition_bytes(&key), partitions);
                let task = TaskId { sub_topology, partition };
                self.ask_owner(&Target { store, key, task }, lookup, trace).await
            }
        }
    }

    fn parse_key(&self, store: &StoreEntry, text: &str) -> Result<Vec<u8>, QueryError> {
        if text.len() > self.options.max_key_bytes {
            return Err(QueryError::KeyTooLong { limit_bytes: self.options.max_key_bytes });
        }
        store
            .spec
            .key_format
            .parse_key(text)
            .map_err(|error| QueryError::InvalidKey { store: store.spec.name.clone(), reason: error.to_string() })
    }

    async fn ask_global(&self, store: &Arc<StoreEntry>, key: Vec<u8>, lookup: &Lookup) -> Result<Outcome, QueryError> {
        let restoring = || QueryError::StoreRestoring {
            store: store.spec.name.clone(),
            partition: None,
            owner: self.serving.instance_id().to_owned(),
        };
        let view = self.serving.globals().ok_or_else(restoring)?;
        let place = Place { partition: None, role: ServedAs::Global, staleness: Duration::ZERO };
        self.answer(view, store, key, place, lookup).await?.ok_or_else(restoring)
    }

    /// Reads an entry of this instance and makes the body of it; `None` when the state was closed meanwhile.
    pub(super) async fn answer(
        &self,
        view: Arc<TaskView>,
        store: &Arc<StoreEntry>,
        key: Vec<u8>,
        Place { partition, role, staleness }: Place,
        lookup: &Lookup,
    ) -> Result<Option<Outcome>, QueryError> {
        let (entry, as_of_ms) = (Arc::clone(store), lookup.as_of_ms);
        let name = || store.spec.name.clone();
        let Read { row, position } = match self
            .reads
            .run(&lookup.deadline, move || read(&view, &entry, &key, as_of_ms))
            .await?
        {
            Ok(read) => read,
            Err(ReadError::Closed) => return Ok(None),
            Err(error) => {
                let cause: &dyn std::error::Error = &error; // with its sources
                tracing::error!(request_id = %lookup.request_id, store = %name(), cause, "a query cannot be answered");
                return Err(match error {
                    ReadError::Undecodable { format, .. } => {
                        QueryError::Undecodable { store: name(), format: format.to_string() }
                    }
                    ReadError::State(_) | ReadError::Closed => QueryError::StoreFailed { store: name() },
                });
            }
        };
        let staleness_ms = u64::try_from(staleness.as_millis()).unwrap_or(u64::MAX);
        // A standby knows where it stands in the changelog, and not how far the owner was in its inputs then.
        let position = (role != ServedAs::Standby).then_some(position);
        let Some(row) = row else {
            let seen = Box::new(Seen { partition, position, role, staleness_ms });
            return Err(QueryError::NotFound { store: name(), key: lookup.key.clone(), seen });
        };
        let found = Found {
            key: &row.key,
            value: &row.value,
            timestamp: row.timestamp_ms,
            partition,
            position: position.as_ref().map(PositionJson),
            role,
            staleness_ms,
            served_by: self.serving.instance_id(),
        };
        let body = serde_json::to_vec(&found).expect("an answer consists of JSON values, strings and numbers");
        Ok(Some(Outcome::Here(body)))
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Here(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Self::Relayed(answer) => answer.into_response(),
        }
    }
}
