//! How the stores of a task are opened and begin to be brought up to date, whoever does it: a worker or the follower.

use std::sync::Arc;

use super::{
    Shared,
    restore::{Begun, ChangelogIds, Restore},
};
use crate::{
    log::LogError,
    processor::ProcessError,
    state::{Owner, StateError, TaskId, TaskStores},
};

/// Opens the stores of a task.
pub(crate) fn open_stores(shared: &Shared, id: TaskId) -> Result<TaskStores, ProcessError> {
    let specs = Arc::clone(&shared.sub_topology(id).stores);
    Ok(TaskStores::open(&shared.state, id, specs)?)
}

/// Begins with the stores as they are; those that cannot be brought up to date are given up and begun anew.
pub(crate) fn begin(
    shared: &Shared,
    id: TaskId,
    mut stores: TaskStores,
    mut begin: impl FnMut(&mut TaskStores) -> Result<Begun, ProcessError>,
) -> Result<(TaskStores, Restore), ProcessError> {
    let (reason, is_last_copy) = match begin(&mut stores)? {
        Begun::Restore(restore) => return Ok((stores, restore)),
        Begun::Rebuild { reason, is_last_copy } => (reason, is_last_copy),
    };
    shared.hosted.remove(id);
    drop(stores);
    match &shared.state.dir {
        Some(dir) if is_last_copy => {
            let aside = dir.set_aside(Owner::Task(id))?;
            tracing::error!(
                task = %id, reason, aside = %aside.display(),
                "a changelog lacks what is stored: moved aside, and rebuilt from the changelogs as they are"
            );
        }
        dir => {
            tracing::warn!(task = %id, reason, "the stored state is given up, and rebuilt from the changelogs");
            dir.as_ref().map_or(Ok(()), |dir| dir.remove(id))?;
        }
    }
    let mut stores = open_stores(shared, id)?;
    match begin(&mut stores)? {
        Begun::Restore(restore) => Ok((stores, restore)),
        Begun::Rebuild { reason, .. } => {
            let what = format!("restoring task {id} from the beginning");
            Err(ProcessError::Log(LogError::Refused { what, reason }))
        }
    }
}

/// Which topics all changelogs of the topology are now.
pub(crate) fn changelog_ids(shared: &Shared) -> Result<Arc<ChangelogIds>, LogError> {
    let stores = shared.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
    let names: Vec<&str> = stores.filter_map(|store| store.changelog.as_deref()).collect();
    let found = shared.log.admin()?.topics(&names)?;
    Ok(Arc::new(found.into_iter().filter_map(|topic| Some((topic.name.into(), topic.id?))).collect()))
}

/// Moves the damaged state of a task aside, which is closed.
pub(crate) fn set_aside(shared: &Shared, id: TaskId, error: &StateError) -> Result<(), StateError> {
    let Some(dir) = &shared.state.dir else { return Ok(()) };
    let aside = dir.set_aside(Owner::Task(id))?;
    tracing::error!(task = %id, %error, aside = %aside.display(), "the state is damaged: moved aside, to be rebuilt");
    Ok(())
}

/// Whether the stored state of a task is damaged, and not that of the global tables.
pub(crate) fn is_damage_of(id: TaskId, error: &StateError) -> bool {
    error.is_damage() && error.owner() == Some(Owner::Task(id))
}
