//! What stores hold, whichever task it belongs to.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use millpond::{
    Serdes, Topology,
    serde::Raw,
    state::{StoreId, StoreKind, StoreSpec, TaskStores},
    testing::TopologyTestDriver,
};

/// Value and timestamp in ms of each key of each store that is on disk.
pub(crate) type Rows = BTreeMap<(Arc<str>, Vec<u8>), (Vec<u8>, i64)>;

/// The rows of a driver.
pub(crate) fn of_driver(driver: &TopologyTestDriver, topology: &Topology) -> anyhow::Result<Rows> {
    let (resolved, serdes) = (topology.resolve(topology.name()), Serdes::new(Raw, Raw));
    let mut rows = Rows::new();
    for spec in resolved.sub_topologies.iter().flat_map(|part| part.stores.iter()).filter(|spec| spec.persistent) {
        for (key, value, timestamp_ms) in driver.rows::<Vec<u8>, Vec<u8>>(&spec.name, &serdes)? {
            rows.insert((Arc::clone(&spec.name), key), (value, timestamp_ms));
        }
    }
    Ok(rows)
}

/// Adds the rows of a task. Tasks share no key of a store.
pub(crate) fn add_task(rows: &mut Rows, stores: &TaskStores) -> anyhow::Result<()> {
    let view = stores.view();
    for (spec, store) in stores.specs().iter().zip((0..).map(StoreId::new)) {
        let StoreSpec { name, kind, persistent: true, .. } = spec else { continue };
        let found = match kind {
            StoreKind::Versioned(_) => view.latest_versions(store)?,
            kind if kind.retention().is_some() => view.scan_times(store, 0..=i64::MAX, usize::MAX)?,
            _ => view.scan(store, .., usize::MAX, usize::MAX)?.rows,
        };
        for row in found {
            let before = rows.insert((Arc::clone(name), row.key.clone()), (row.value, row.timestamp_ms));
            before.is_none().then_some(()).with_context(|| format!("two tasks have {:?} of {name}", row.key))?;
        }
    }
    Ok(())
}
