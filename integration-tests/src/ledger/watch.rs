//! Reads the books all the time, so that it is known when something came.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use millpond::log::LogError;

use super::books::Books;

/// How long one look waits for something to come; nobody else gets at the books meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// Between two looks, for others to get at the books.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread that reads the books.
#[derive(Debug)]
pub struct Watch {
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

// === impl Watch ===

impl Watch {
    /// Begins to read.
    #[must_use]
    pub fn start(books: Books) -> Self {
        let (books, stop) = (Arc::new(Mutex::new(books)), Arc::new(AtomicBool::new(false)));
        let (read, stopped) = (Arc::clone(&books), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match lock(&read).read_some(LOOK) {
                    Err(error) if error.downcast_ref().is_some_and(LogError::is_retriable) => {}
                    read => drop(read?),
                }
                thread::sleep(PAUSE);
            }
            Ok(())
        });
        Self { books, stop, thread }
    }

    /// Looks into the books. It may take some ms until it is its turn.
    pub fn look<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&lock(&self.books))
    }

    /// Stops reading.
    ///
    /// # Errors
    /// When something could not be read.
    pub fn stop(self) -> anyhow::Result<Books> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the reader of the books panicked")?.context("reading the books")?;
        let books = Arc::into_inner(self.books).context("the thread is gone")?;
        Ok(books.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
