//! A `Serving` whose facts a test sets, on the memory backend.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
    response::Response,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::{
    cluster::{
        AliveAnswer, AssignmentOrder, ClusterView, HostMetadata, InstanceView, Reason, Role, TaskReport, TaskState,
        TaskView as TaskOf,
    },
    log::{Epoch, TopicPartition},
    metrics::Metrics,
    query::{
        Catalogue, Health, LocalTask, QueryOptions, RestoreStatus, Serving, Spread, StoreEntry, TopologyDescription,
        router, serve,
    },
    serde::Format,
    state::{CommitPoint, Retention, StateSettings, StoreId, StoreKind, StoreSpec, TaskId, TaskStores, TaskView},
};

pub(super) const APPLICATION: &str = "flights";
pub(super) const PARTITIONS: i32 = 3;
/// The task of the key `UA`: murmur2 of it, modulo 3.
pub(super) const TASK_OF_UA: TaskId = TaskId { sub_topology: 0, partition: 1 };

/// An instance as a test wants it to be.
#[derive(Debug)]
pub(super) struct Fake {
    instance: String,
    metrics: Metrics,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) stores: Option<Arc<Catalogue>>,
    /// The views that are handed out, one after the other; the last one stays.
    pub(super) views: VecDeque<Arc<ClusterView>>,
    pub(super) tasks: BTreeMap<TaskId, LocalTask>,
    pub(super) globals: Option<Arc<TaskView>>,
    pub(super) restores: Vec<RestoreStatus>,
    pub(super) health: Health,
    pub(super) drained: bool,
    /// A view is closed with its stores.
    kept: Vec<TaskStores>,
}

/// Which store, key, value.
pub(super) type Row<'a> = (usize, &'a [u8], &'a str);

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Waits for no owner.
pub(super) fn impatient() -> QueryOptions {
    QueryOptions { owner_wait: Duration::ZERO, restoring_wait: Duration::ZERO, ..QueryOptions::default() }
}

// === impl Fake ===

impl Fake {
    /// An instance with the stores of `catalogue` and nothing else.
    pub(super) fn new(instance: &str) -> Arc<Self> {
        let facts = Facts {
            stores: Some(Arc::new(catalogue())),
            views: VecDeque::from([Arc::new(ClusterView::empty(&instance.into()))]),
            tasks: BTreeMap::new(),
            globals: None,
            restores: Vec::new(),
            drained: false,
            health: Health { live: Ok(()), ready: Ok(()) },
            kept: Vec::new(),
        };
        let metrics = Metrics::new().expect("the names are valid and distinct");
        Arc::new(Self { instance: instance.to_owned(), metrics, facts: Mutex::new(facts) })
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("no test panics with the lock")
    }

    /// Sees these owners from now on.
    pub(super) fn sees(&self, owners: &[(TaskId, &str, &str)]) {
        self.facts().views = VecDeque::from([Arc::new(view(&self.instance, owners))]);
    }

    /// Has this task as the active one from now on.
    pub(super) fn has(&self, task: TaskId, state: TaskState, stores: TaskStores) {
        let mut facts = self.facts();
        let staleness = Some(Duration::ZERO);
        facts.tasks.insert(task, LocalTask { view: stores.view(), role: Role::Active, state, staleness, lag: None });
        facts.kept.push(stores);
    }

    /// Follows this task from now on; its rows are as old as this.
    pub(super) fn follows(&self, task: TaskId, staleness: Duration, stores: TaskStores) {
        let mut facts = self.facts();
        let (view, role, state) = (stores.view(), Role::Standby, TaskState::Running);
        facts.tasks.insert(task, LocalTask { view, role, state, staleness: Some(staleness), lag: Some(0) });
        facts.kept.push(stores);
    }

    /// Sees that an instance follows a task, too.
    pub(super) fn sees_follower(&self, task: TaskId, follower: (&str, &str)) {
        let mut views = std::mem::take(&mut self.facts().views);
        for seen in &mut views {
            let (id, url) = follower;
            let mut with = ClusterView::clone(seen);
            with.instances.extend(view(&self.instance, &[(task, id, url)]).instances.clone());
            with.tasks.entry(task).or_default().followers.push((id.into(), TaskState::Running));
            *seen = Arc::new(with);
        }
        self.facts().views = views;
    }

    /// Sees what the plan says of a task: `c` is its standby, and it was moved to level the load. Its owner has this much of its state.
    pub(super) fn sees_placed(&self, task: TaskId, offset: i64) {
        for seen in &mut self.facts().views {
            let mut with = ClusterView::clone(seen);
            (with.num_standby_replicas, with.max_warmup_replicas) = (1, 2);
            with.tasks.entry(task).and_modify(|seen| {
                (seen.assigned_standbys, seen.kept_for) = (vec!["c".into()], vec!["d".into()]);
                seen.reason = Reason::Balance;
            });
            for instance in with.instances.values_mut() {
                let report = Arc::make_mut(&mut instance.host).tasks.get_mut(&task).expect("a task of its owner");
                report.offsets = [(TopicPartition::new("changelog", 1), offset)].into_iter().collect();
            }
            *seen = Arc::new(with);
        }
    }

    /// Has these rows in every task.
    pub(super) fn has_everywhere(&self, rows: &[Row<'_>]) {
        for partition in 0..PARTITIONS {
            self.has(TaskId::new(0, partition), TaskState::Running, stores(rows));
        }
    }

    /// Has these rows in its global table.
    pub(super) fn has_globally(&self, rows: &[Row<'_>]) {
        let stores = stores(rows);
        let mut facts = self.facts();
        facts.globals = Some(stores.view());
        facts.kept.push(stores);
    }

    /// Closes everything it has, as when its tasks move away.
    pub(super) fn closes_its_stores(&self) {
        for stores in self.facts().kept.drain(..) {
            stores.close().expect("memory closes");
        }
    }

    pub(super) fn router(self: &Arc<Self>, options: QueryOptions) -> Router {
        router(self.clone(), options).expect("a client without TLS needs nothing")
    }

    /// Asks in process.
    pub(super) async fn get(self: &Arc<Self>, path: &str) -> Answer {
        self.ask(Request::get(path).header("x-request-id", "test").body(Body::empty()).expect("a legal request")).await
    }

    /// As [`Fake::get`], for any request.
    pub(super) async fn ask(self: &Arc<Self>, request: Request<Body>) -> Answer {
        ask(self.router(impatient()), request).await
    }

    /// Serves on a real port, and says where.
    pub(super) async fn start(self: &Arc<Self>, options: QueryOptions) -> String {
        start(self.router(options)).await
    }
}

impl Serving for Fake {
    fn application_id(&self) -> &str {
        APPLICATION
    }

    fn instance_id(&self) -> &str {
        &self.instance
    }

    fn stores(&self) -> Option<Arc<Catalogue>> {
        self.facts().stores.clone()
    }

    fn cluster(&self) -> Arc<ClusterView> {
        let views = &mut self.facts().views;
        if views.len() > 1 { views.pop_front().expect("there are two at least") } else { Arc::clone(&views[0]) }
    }

    fn local_task(&self, task: TaskId) -> Option<LocalTask> {
        self.facts().tasks.get(&task).cloned()
    }

    fn globals(&self) -> Option<Arc<TaskView>> {
        self.facts().globals.clone()
    }

    fn topology(&self) -> Arc<TopologyDescription> {
        Arc::new(TopologyDescription {
            json: json!({ "name": "flight-delays" }),
            text: "Topology: flight-delays\n".into(),
        })
    }

    fn health(&self) -> Health {
        self.facts().health.clone()
    }

    fn alive(&self, _asked_by: Option<(&str, u64)>) -> Option<AliveAnswer> {
        let heard = BTreeMap::from([("b".into(), 120)]);
        Some(AliveAnswer { instance_id: self.instance.as_str().into(), incarnation: Some(7), heard })
    }

    fn drain(&self) {
        self.facts().drained = true;
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn restores(&self) -> Vec<RestoreStatus> {
        self.facts().restores.clone()
    }

    fn scrape(&self) -> String {
        self.metrics.render()
    }
}

// === impl Answer ===

impl Answer {
    pub(super) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("the body is in memory").to_vec();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers are ASCII"))
    }

    /// The code of a problem, after checking that it is one in every respect.
    pub(super) fn problem(&self) -> String {
        let body = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{body}");
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(self.header("retry-after").is_some(), self.status == StatusCode::SERVICE_UNAVAILABLE, "{body}");
        body["code"].as_str().expect("a problem has a code").to_owned()
    }
}

pub(super) async fn ask(router: Router, request: Request<Body>) -> Answer {
    Answer::read(router.oneshot(request).await.expect("a router never fails")).await
}

/// A listener on a free port.
pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = TcpListener::bind(any_port).await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

pub(super) async fn start(router: Router) -> String {
    let (listener, address) = listen().await;
    tokio::spawn(serve(listener, router, std::future::pending()));
    format!("http://{address}")
}

/// Asks an instance over the network.
pub(super) async fn get(url: &str) -> Answer {
    let response = reqwest::get(url).await.expect("the instance answers");
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: response.bytes().await.expect("the body is whole").to_vec() }
}

fn catalogue() -> Catalogue {
    let partitioned = Spread::Partitioned { sub_topology: 0, partitions: PARTITIONS };
    let store = |index, name: &str, key_format, value_format, spread, queryable| StoreEntry {
        spec: StoreSpec {
            name: name.into(),
            kind: kind_of(name),
            changelog: None,
            key_format,
            value_format,
            queryable,
            persistent: false,
        },
        id: StoreId::new(index),
        spread,
    };
    Catalogue::from_iter([
        store(0, "delays", Format::String, Format::Json, partitioned, true),
        store(1, "by-number", Format::I64, Format::Json, partitioned, true),
        store(2, "private", Format::String, Format::Json, partitioned, false),
        store(3, VERSIONS, Format::String, Format::Json, partitioned, true),
        store(0, "airlines", Format::String, Format::Json, Spread::Global, true),
    ])
}

/// The store that keeps versions.
const VERSIONS: &str = "versions";

fn kind_of(store: &str) -> StoreKind {
    if store == VERSIONS { StoreKind::Versioned(Retention::new(60_000)) } else { StoreKind::TimestampedKeyValue }
}

/// The stores of a task with these rows committed, all of time 1000; versions 1 ms after the other.
pub(super) fn stores(rows: &[Row<'_>]) -> TaskStores {
    let specs: Vec<StoreSpec> = ["delays", "by-number", "private", VERSIONS]
        .map(|name| catalogue_spec(name, if name == "by-number" { Format::I64 } else { Format::String }))
        .into();
    let mut stores = TaskStores::open(&StateSettings::default(), TASK_OF_UA, specs.into()).expect("memory is there");
    for (at_ms, (store, key, value)) in (1000..).zip(rows) {
        let (store, value) = (StoreId::new(*store), Some(value.as_bytes()));
        if store == StoreId::new(3) {
            let _ = stores.write_version(store, key, value, at_ms).expect("memory does not fail");
        } else {
            stores.write(store, key, value, 1000);
        }
    }
    let positions = [("flights", 0, 7), ("flights", 1, 12), ("planes", 1, 3)]
        .map(|(topic, partition, next_offset)| (TopicPartition::new(topic, partition), next_offset));
    let Ok(()) = stores.freeze(|_| Ok::<_, std::convert::Infallible>(()));
    stores
        .commit(&CommitPoint { positions: positions.into(), ..CommitPoint::default() })
        .expect("memory does not fail");
    stores
}

fn catalogue_spec(name: &str, key_format: Format) -> StoreSpec {
    StoreSpec {
        name: name.into(),
        kind: kind_of(name),
        changelog: None,
        key_format,
        value_format: Format::Json,
        queryable: true,
        persistent: false,
    }
}

/// The cluster as `me` sees it when each of these owners runs its task.
pub(super) fn view(me: &str, owners: &[(TaskId, &str, &str)]) -> ClusterView {
    let mut view = ClusterView::empty(&me.into());
    view.epoch = Some(Epoch { generation: 4, member_id: format!("{me}-1").into() });
    view.order = Some(AssignmentOrder { term: 0, generation: 4, version: 2 });
    view.leader = Some("b".into());
    let mut hosts: BTreeMap<&str, HostMetadata> = BTreeMap::new();
    for (task, owner, url) in owners {
        let report =
            TaskReport { role: Role::Active, state: TaskState::Running, reason: None, offsets: Default::default() };
        hosts.entry(owner).or_insert_with(|| host(owner, url)).tasks.insert(*task, report);
        let holder = Some(((*owner).into(), TaskState::Running));
        view.tasks.insert(*task, TaskOf { assigned: Some((*owner).into()), holder, ..TaskOf::default() });
    }
    view.instances = hosts
        .into_iter()
        .map(|(instance, host)| (instance.into(), InstanceView { live: true, host: Arc::new(host) }))
        .collect();
    view
}

fn host(instance: &str, url: &str) -> HostMetadata {
    HostMetadata {
        instance_id: instance.into(),
        incarnation: 1,
        seq: 1,
        epoch: Epoch { generation: 4, member_id: format!("{instance}-1").into() },
        url: url.to_owned(),
        zone: None,
        capacity: 1,
        transactional_ids: Vec::new(),
        topology_fingerprint: "x".into(),
        tasks: BTreeMap::new(),
        stored: BTreeMap::new(),
        draining: false,
    }
}
