//! The end of a server.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get as on_get};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, oneshot},
};

use super::fixture::{get, listen};
use crate::query::server::serve_with_grace;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_request_in_flight_is_answered_after_the_stop() {
    let (listener, address) = listen().await;
    let (asked, answer_now) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (asked.clone(), answer_now.clone());
    let slow = on_get(async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve_with_grace(
        listener,
        Router::new().route("/", slow),
        async { stopped.await.expect("the test stops it") },
        LONG,
    ));
    let request = tokio::spawn(async move { get(&format!("http://{address}/")).await });
    asked.notified().await;
    stop.send(()).expect("it runs");
    tokio::time::timeout(LONG / 2, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("new connections are refused after the stop");
    answer_now.notify_one();
    assert_eq!(request.await.expect("no panic").text(), "done");
    tokio::time::timeout(LONG / 2, server).await.expect("it ends").expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_does_not_hold_up_the_end() {
    let (listener, address) = listen().await;
    let mut slow = TcpStream::connect(address).await.expect("it listens");
    slow.write_all(b"GET / HT").await.expect("it is connected");
    let (stop, stopped) = oneshot::channel::<()>();
    let stop_once_read = async move {
        stopped.await.expect("the test stops it");
    };
    let server = tokio::spawn(serve_with_grace(listener, Router::new(), stop_once_read, Duration::from_millis(50)));
    // A second request that is answered shows that the first connection was taken.
    get(&format!("http://{address}/")).await;
    stop.send(()).expect("it runs");
    tokio::time::timeout(LONG / 2, server).await.expect("it ends").expect("no panic").expect("no error");
    drop(slow);
}
