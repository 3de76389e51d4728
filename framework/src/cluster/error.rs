//! What an instance cannot live with.

use super::metadata::InstanceId;

/// An error that stops this instance; the message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Members run different topologies.
    #[error(
        "instance `{instance_id}` runs topology {fingerprint}, but the cluster led by `{leader}` runs \
         {cluster_fingerprint}: stop every instance of the old topology before starting the new one, or give the new one \
         another application id"
    )]
    TopologyMismatch {
        /// This instance.
        instance_id: InstanceId,
        /// What it runs.
        fingerprint: String,
        /// Who leads the cluster.
        leader: InstanceId,
        /// What the cluster runs.
        cluster_fingerprint: String,
    },
    /// A later process has the same instance id.
    #[error(
        "another process was started as instance `{instance_id}` (incarnation {by}; this one is {incarnation}): give every \
         process its own instance id"
    )]
    Superseded {
        /// The id that both have.
        instance_id: InstanceId,
        /// This process.
        incarnation: u64,
        /// The other one.
        by: u64,
    },
}
