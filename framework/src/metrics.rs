//! Every metric of an instance, defined once. The names are a contract with dashboards and alerts.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// The metrics of one instance, in a registry of their own: no globals, so that several instances live in one process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// 1 while the instance is ready.
    pub instance_ready: IntGauge,
    /// Records processed, by task.
    pub task_records: IntCounterVec,
    /// Records left out on purpose, by task and reason.
    pub task_dropped_records: IntCounterVec,
    /// Tasks that were stopped by an error.
    pub task_errors: IntCounterVec,
    /// Records on the log that are not processed yet, by task.
    pub task_input_lag: IntGaugeVec,
    /// Stream time in ms since the epoch, by task.
    pub task_stream_time: IntGaugeVec,
    /// Tasks hosted here, by role and state.
    pub tasks: IntGaugeVec,
    /// Changelog records restored, by task.
    pub restore_records: IntCounterVec,
    /// Changelog records still to restore, by task.
    pub restore_remaining: IntGaugeVec,
    /// Changelog records that standbys and warm-ups applied, by task.
    pub standby_records: IntCounterVec,
    /// Changelog records that a standby or warm-up lacks, by task.
    pub standby_lag: IntGaugeVec,
    /// How long a task that came here took from its start or promotion to its first record, in seconds.
    pub task_pause: Histogram,
    /// Commits by outcome (`ok`, `aborted`, `failed`).
    pub commits: IntCounterVec,
    /// How long a commit takes, in seconds.
    pub commit_duration: Histogram,
    /// Seconds a worker thread was not waiting for records.
    pub worker_busy: prometheus::CounterVec,
    /// Bytes written by a task and not committed yet.
    pub state_uncommitted_bytes: IntGaugeVec,
    /// Memory in use, by part. `MILLPOND_MEMORY_BYTES` bounds `rows` (at hand, uncommitted, or restored and not written yet), `block_cache`,
    /// `write_buffers`, `fetched`, `input_queues` and `outputs`; not `in_memory`, the rows of stores that are not on disk.
    pub memory: IntGaugeVec,
    /// What `MILLPOND_MEMORY_BYTES` says.
    pub memory_limit: IntGauge,
    /// Queries by store, route (`local`, `forwarded`) and HTTP status.
    pub query_requests: IntCounterVec,
    /// How long a query takes, in seconds, by route.
    pub query_duration: HistogramVec,
    /// Generation of the group that this instance is a member of.
    pub cluster_generation: IntGauge,
    /// Live instances as this one sees them.
    pub cluster_members: IntGauge,
    /// 1 while this instance leads.
    pub cluster_leader: IntGauge,
    /// Generations this instance went through.
    pub cluster_rebalances: IntCounter,
    /// Tasks without a live owner, as this instance sees it.
    pub cluster_unassigned_tasks: IntGauge,
    /// Silent instances that this one has put out of the cluster.
    pub cluster_evictions: IntCounter,
    /// How often this instance was put out by others, which did not hear it.
    pub cluster_evicted: IntCounter,
    /// How long the log has been out of reach, in seconds; 0 while it is reachable.
    pub log_unavailable: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// Never with the names below, which are valid and distinct; a test makes sure.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build_info = register(
            &registry,
            IntGaugeVec::new(Opts::new("millpond_build_info", "The version of millpond; always 1"), &["version"])?,
        )?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let r = &registry;
        Ok(Self {
            instance_ready: gauge(r, "millpond_instance_ready", "1 while the instance is ready")?,
            task_records: counters(r, "millpond_task_records_total", "Records processed", &["task"])?,
            task_dropped_records: counters(
                r,
                "millpond_task_dropped_records_total",
                "Records left out on purpose",
                &["task", "reason"],
            )?,
            task_errors: counters(r, "millpond_task_errors_total", "Tasks that were stopped by an error", &["task"])?,
            task_input_lag: gauges(
                r,
                "millpond_task_input_lag_records",
                "Records on the log that are not processed yet",
                &["task"],
            )?,
            task_stream_time: gauges(r, "millpond_task_stream_time_ms", "Stream time, ms since the epoch", &["task"])?,
            tasks: gauges(r, "millpond_tasks", "Tasks hosted here", &["role", "state"])?,
            restore_records: counters(r, "millpond_restore_records_total", "Changelog records restored", &["task"])?,
            restore_remaining: gauges(
                r,
                "millpond_restore_remaining_records",
                "Changelog records still to restore",
                &["task"],
            )?,
            standby_records: counters(
                r,
                "millpond_standby_records_total",
                "Changelog records applied by standbys and warm-ups",
                &["task"],
            )?,
            standby_lag: gauges(
                r,
                "millpond_standby_lag_records",
                "Changelog records that a standby or warm-up lacks",
                &["task"],
            )?,
            task_pause: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "millpond_task_pause_seconds",
                        "How long a task that came here took from its start or promotion until it ran",
                    )
                    .buckets(vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0]),
                )?,
            )?,
            commits: counters(r, "millpond_commits_total", "Commits by outcome: ok, aborted, failed", &["outcome"])?,
            commit_duration: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new("millpond_commit_duration_seconds", "How long a commit takes")
                        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
                )?,
            )?,
            worker_busy: register(
                r,
                prometheus::CounterVec::new(
                    Opts::new("millpond_worker_busy_seconds_total", "Seconds a worker was not waiting for records"),
                    &["worker"],
                )?,
            )?,
            state_uncommitted_bytes: gauges(
                r,
                "millpond_state_uncommitted_bytes",
                "Bytes written by a task and not committed yet",
                &["task"],
            )?,
            memory: gauges(
                r,
                "millpond_memory_bytes",
                "Memory in use, by part; MILLPOND_MEMORY_BYTES bounds all but in_memory",
                &["part"],
            )?,
            memory_limit: gauge(r, "millpond_memory_limit_bytes", "What MILLPOND_MEMORY_BYTES says")?,
            query_requests: counters(
                r,
                "millpond_query_requests_total",
                "Queries by store, route (local, forwarded) and HTTP status",
                &["store", "route", "code"],
            )?,
            query_duration: register(
                r,
                HistogramVec::new(
                    HistogramOpts::new("millpond_query_duration_seconds", "How long a query takes").buckets(vec![
                        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
                    ]),
                    &["route"],
                )?,
            )?,
            cluster_generation: gauge(r, "millpond_cluster_generation", "Generation of the group")?,
            cluster_members: gauge(r, "millpond_cluster_members", "Live instances as this one sees them")?,
            cluster_leader: gauge(r, "millpond_cluster_leader", "1 while this instance leads")?,
            cluster_rebalances: register(
                r,
                IntCounter::new("millpond_cluster_rebalances_total", "Generations this instance went through")?,
            )?,
            cluster_evictions: register(
                r,
                IntCounter::new("millpond_cluster_evictions_total", "Silent instances put out by this one")?,
            )?,
            cluster_evicted: register(
                r,
                IntCounter::new("millpond_cluster_evicted_total", "Times others put this instance out as silent")?,
            )?,
            cluster_unassigned_tasks: gauge(
                r,
                "millpond_cluster_unassigned_tasks",
                "Tasks without a live owner, as this instance sees it",
            )?,
            log_unavailable: register(
                r,
                Gauge::new(
                    "millpond_log_unavailable_seconds",
                    "How long the log has been out of reach; 0 = reachable",
                )?,
            )?,
            registry,
        })
    }

    /// All metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            Ok(()) => String::from_utf8_lossy(&out).into_owned(),
            Err(error) => format!("# cannot encode the metrics: {error}\n"),
        }
    }

    /// The registry, for a service's own metrics.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name, help)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn all_names_are_valid_and_distinct() {
        let metrics = Metrics::new().expect("every metric registers");
        assert!(metrics.render().contains("millpond_build_info{version="));
    }
}
