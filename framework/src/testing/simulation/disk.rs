//! The disk of an instance: slow at times, flushed now and then, and nothing comes to it after a crash.

use std::{io, sync::Arc, sync::atomic::Ordering, time::Duration};

use super::{here, life::Life};
use crate::state::{DiskWatch, Owner};

/// How the disk does in one life.
#[derive(Debug)]
pub(super) struct LifeDisk(pub(super) Arc<Life>);

/// Of a hundred commits, so many fill a write buffer.
const FLUSHED_PERCENT: usize = 12;

// === impl LifeDisk ===

impl LifeDisk {
    fn write(&self) -> io::Result<()> {
        let life = &self.0;
        if std::thread::panicking() {
            return Err(io::Error::other("the instance is dead"));
        }
        let scheduler = here::current();
        here::breathe(life, &scheduler);
        if life.slow_disk.is_after(scheduler.now()) {
            let most = life.slow_disk_ms.load(Ordering::Relaxed).max(1);
            let time = scheduler.chance(|rng| rng.between(1, most));
            here::sleep(life, Duration::from_millis(time));
        }
        Ok(())
    }
}

impl DiskWatch for LifeDisk {
    fn committed(&self, _: Owner) -> io::Result<bool> {
        self.write()?;
        Ok(here::current().chance(|rng| rng.below(100) < FLUSHED_PERCENT))
    }

    fn flush(&self, owner: Owner) -> io::Result<()> {
        self.write()?;
        tracing::trace!(%owner, "flushed");
        Ok(())
    }
}
