//! Serving a router on a port.

use std::{io, time::Duration};

use axum::{Router, serve::ListenerExt};
use tokio::{net::TcpListener, sync::oneshot};

/// How long requests in flight may go on after the stop: as long as their usual deadline, and a little. A client that sends its
/// request byte by byte must not hold up the end of an instance.
const GRACE: Duration = Duration::from_secs(6);

/// Serves `router` on `listener` until `stop` is done, then lets the requests in flight end, for 6 s at most.
///
/// It takes a bound listener, so that a port that is in use is an error of the start and a port of 0 can be asked for.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with_grace(listener, router, stop, GRACE).await
}

pub(super) async fn serve_with_grace(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    // Answers are small and written at once: waiting to fill a packet only delays them.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let (tell, told) = oneshot::channel();
    let stop = async {
        stop.await;
        let _ = tell.send(()); // nobody waits when serving has ended already
    };
    let grace_is_over = async {
        match told.await {
            Ok(()) => tokio::time::sleep(grace).await,
            Err(_) => std::future::pending().await, // serving has ended by itself
        }
    };
    tokio::select! {
        ended = axum::serve(listener, router).with_graceful_shutdown(stop) => ended,
        () = grace_is_over => {
            tracing::warn!("requests in flight did not end in time and are dropped");
            Ok(())
        }
    }
}
