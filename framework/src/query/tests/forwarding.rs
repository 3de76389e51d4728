//! Lookups that another instance answers, over real ports.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Uri},
    response::Response,
};
use serde_json::json;
use tokio::sync::Notify;

use super::fixture::{Answer, Fake, PARTITIONS, Row, TASK_OF_UA, ask, get, impatient, start, stores};
use crate::{cluster::TaskState, query::QueryOptions, state::TaskId};

const PATH: &str = "/stores/delays/keys/UA";

/// Requests that a stub was asked.
type Seen = Arc<Mutex<Vec<(Uri, HeaderMap)>>>;

/// Something at an address that answers as `answer` says.
async fn stub(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (String, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let handler = move |request: Request<Body>| {
        log.lock().expect("no test panics with the lock").push((request.uri().clone(), request.headers().clone()));
        let response = answer();
        async move { response }
    };
    (start(Router::new().fallback(handler)).await, seen)
}

/// `a`, for which `b` at `url` owns the task of `UA`.
fn a_sees_b_at(url: &str) -> Arc<Fake> {
    let a = Fake::new("a");
    a.sees(&[(TASK_OF_UA, "b", url)]);
    a
}

/// A response as instance `b` sends it.
fn from_b(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(HeaderName::from_static("millpond-instance"), HeaderValue::from_static("flights/b"));
    response
}

fn metric(answer: &Answer, line: &str) -> bool {
    answer.text().lines().any(|l| l == line)
}

#[tokio::test]
async fn any_instance_answers_any_key() {
    let rows: &[Row<'_>] = &[
        (0, b"UA", "1"),
        (0, b"", "2"),
        (0, b"..", "3"),
        (0, "a/b ü+%&".as_bytes(), "4"),
        (3, b"UA", "5"),
        (3, b"UA", "6"),
    ];
    let (a, b) = (Fake::new("a"), Fake::new("b"));
    b.has_everywhere(rows);
    let b_url = b.start(impatient()).await;
    let owners: Vec<_> = (0..PARTITIONS).map(|partition| (TaskId::new(0, partition), "b", b_url.as_str())).collect();
    a.sees(&owners);
    let a_url = a.start(impatient()).await;

    for (path, value) in [
        ("/stores/delays/keys/UA", 1),
        ("/stores/delays/keys/", 2),
        ("/stores/delays/keys?key=..", 3),
        ("/stores/delays/keys/a%2Fb%20%C3%BC+%25&", 4),
        ("/stores/versions/keys/UA?as_of=1004", 5),
    ] {
        let (here, there) = (get(&format!("{b_url}{path}")).await, get(&format!("{a_url}{path}")).await);
        assert_eq!(there.json()["value"], value, "{path}: {}", there.text());
        assert_eq!(there.json()["served_by"], "b");
        assert_eq!((here.status, here.text()), (there.status, there.text()), "{path}");
        assert_eq!(there.header("millpond-instance"), Some("flights/a"));
    }
    let absent = get(&format!("{a_url}/stores/delays/keys/ZZ")).await;
    assert_eq!((absent.problem().as_str(), absent.json()["served_by"].as_str()), ("NotFound", Some("b")));
    let metrics = get(&format!("{a_url}/metrics")).await;
    assert!(metric(&metrics, r#"millpond_query_requests_total{code="200",route="forwarded",store="delays"} 4"#));
    assert!(metric(&metrics, r#"millpond_query_requests_total{code="404",route="forwarded",store="delays"} 1"#));
}

#[tokio::test]
async fn a_forward_says_that_it_is_one_and_what_time_is_left() {
    let (url, seen) = stub(|| from_b("{}")).await;
    let a = a_sees_b_at(&url);
    let request = Request::get(PATH).header("x-request-id", "r1").header("millpond-deadline-ms", "900");
    let answer = a.ask(request.body(Body::empty()).expect("a legal request")).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "{}"));

    let seen = seen.lock().expect("no test panics with the lock");
    let [(uri, headers)] = seen.as_slice() else { panic!("asked {} times", seen.len()) };
    assert_eq!(uri, "/stores/delays/keys?key=UA");
    let header = |name: &str| headers[name].to_str().expect("headers are ASCII");
    assert_eq!((header("millpond-hop"), header("x-request-id")), ("1", "r1"));
    let left: u64 = header("millpond-deadline-ms").parse().expect("a number");
    assert!(left <= 900, "{left} ms left of 900");
}

#[tokio::test]
async fn two_instances_that_point_at_each_other_make_no_loop() {
    let (a, b) = (Fake::new("a"), Fake::new("b"));
    let (a_url, b_url) = (a.start(impatient()).await, b.start(impatient()).await);
    a.sees(&[(TASK_OF_UA, "b", &b_url)]);
    b.sees(&[(TASK_OF_UA, "a", &a_url)]);
    let answer = get(&format!("{a_url}{PATH}")).await;
    assert_eq!(answer.problem(), "OwnerChanging");
    assert_eq!(answer.json()["owner"], "b");
    assert!(metric(
        &get(&format!("{b_url}/metrics")).await,
        r#"millpond_query_requests_total{code="421",route="local",store="delays"} 1"#
    ));
}

#[tokio::test]
async fn a_newer_view_is_followed_for_a_while() {
    let (b, c) = (Fake::new("b"), Fake::new("c"));
    c.has(TASK_OF_UA, TaskState::Running, stores(&[(0, b"UA", "1")]));
    let (b_url, c_url) = (b.start(impatient()).await, c.start(impatient()).await);
    let stands_still = start(Router::new().fallback(async || std::future::pending::<()>().await)).await;
    for old_owner in [b_url.as_str(), "http://127.0.0.1:1", &stands_still] {
        let a = a_sees_b_at(old_owner);
        let a_url = a.start(QueryOptions::default()).await;
        let asked = tokio::spawn(async move { get(&format!("{a_url}{PATH}")).await });
        tokio::task::yield_now().await;
        a.sees(&[(TASK_OF_UA, "c", &c_url)]);
        let answer = asked.await.expect("it does not panic");
        assert_eq!(answer.json()["served_by"], "c", "{old_owner}: {}", answer.text());
    }

    // Not for ever, and not where nobody has it any more.
    let hurried = QueryOptions { owner_wait: Duration::from_millis(20), ..QueryOptions::default() };
    for (owners, code) in [(&[(TASK_OF_UA, "b", b_url.as_str())][..], "OwnerChanging"), (&[], "NoLiveOwner")] {
        let a = Fake::new("a");
        a.sees(owners);
        assert_eq!(get(&format!("{}{PATH}", a.start(hurried.clone()).await)).await.problem(), code);
    }
}

#[tokio::test]
async fn a_standby_answers_for_a_silent_owner_and_says_how_old_it_is() {
    let c = Fake::new("c");
    c.follows(TASK_OF_UA, Duration::from_millis(70), stores(&[(0, b"UA", "1")]));
    let c_url = c.start(impatient()).await;
    let stands_still = start(Router::new().fallback(async || std::future::pending::<()>().await)).await;
    for old_owner in [stands_still.as_str(), "http://127.0.0.1:1"] {
        let a = a_sees_b_at(old_owner);
        a.sees_follower(TASK_OF_UA, ("c", &c_url));
        for consistency in ["any", "standby"] {
            let answer = a.get(&format!("{PATH}?consistency={consistency}")).await.json();
            assert_eq!(
                (&answer["served_by"], &answer["role"], &answer["staleness_ms"]),
                (&json!("c"), &json!("standby"), &json!(70))
            );
            assert_eq!((&answer["value"], &answer["position"]), (&json!(1), &json!(null)));
        }
    }
    let answer = c.get(&format!("{PATH}?consistency=any")).await.json();
    assert_eq!((&answer["served_by"], &answer["role"]), (&json!("c"), &json!("standby")), "its own copy");
    assert_eq!(c.get(PATH).await.problem(), "NoLiveOwner", "it is not the owner");
    assert_eq!(c.get(&format!("{PATH}?consistency=strong")).await.problem(), "InvalidRequest");
}

#[tokio::test]
async fn an_owner_that_restores_says_so_through_others() {
    let b = Fake::new("b");
    b.has(TASK_OF_UA, TaskState::Restoring, stores(&[]));
    let a = a_sees_b_at(&b.start(impatient()).await);
    let answer = a.get(PATH).await;
    assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("StoreRestoring", Some("1")));
    assert_eq!(answer.json()["owner"], "b");
}

#[tokio::test]
async fn an_owner_that_cannot_be_reached_is_named() {
    for url in ["http://127.0.0.1:1", "http://127.0.0.1:notaport", "unix:/x"] {
        let answer = a_sees_b_at(url).get(PATH).await;
        assert_eq!(answer.problem(), "OwnerUnreachable", "{url}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("`b`") && detail.contains(url), "{detail}");
    }
}

#[tokio::test]
async fn a_stranger_at_the_owners_address_is_not_believed() {
    let (url, _) = stub(|| Response::new(r#"{"key":"UA","value":"wrong"}"#.into())).await;
    let answer = a_sees_b_at(&url).get(PATH).await;
    assert_eq!(answer.problem(), "OwnerUnreachable");
    assert!(answer.text().contains("another server answers at this address"), "{}", answer.text());
}

#[tokio::test]
async fn a_silent_owner_costs_no_more_than_the_deadline() {
    let silent = Router::new().fallback(async || std::future::pending::<()>().await);
    let a = a_sees_b_at(&start(silent).await);
    let request = Request::get(PATH).header("millpond-deadline-ms", "50").body(Body::empty()).expect("a legal request");
    let answer = tokio::time::timeout(Duration::from_secs(4), a.ask(request)).await.expect("long before the default");
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("DeadlineExceeded", 504));
    assert!(answer.text().contains("50 ms") && answer.text().contains("instance `b`"), "{}", answer.text());
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_passed_on() {
    let (url, _) = stub(|| from_b(vec![b'x'; 101])).await;
    for (max_answer_bytes, status) in [(101, 200), (100, 502)] {
        let options = QueryOptions { max_answer_bytes, ..impatient() };
        let request = Request::get(PATH).body(Body::empty()).expect("a legal request");
        assert_eq!(ask(a_sees_b_at(&url).router(options), request).await.status, status);
    }
}

#[tokio::test]
async fn a_full_instance_refuses_clients_and_still_answers_instances() {
    // The one place for clients is taken by a request that waits for `b`.
    let (asked, answer_now) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (asked.clone(), answer_now.clone());
    let slow_b = Router::new().fallback(async move || {
        tell.notify_one();
        wait.notified().await;
        from_b("{}")
    });
    let a = a_sees_b_at(&start(slow_b).await);
    let url = a.start(QueryOptions { max_in_flight: 1, ..impatient() }).await;
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { get(&format!("{url}{PATH}")).await }
    });
    asked.notified().await;

    let refused = get(&format!("{url}{PATH}")).await;
    assert_eq!((refused.problem().as_str(), refused.header("retry-after")), ("Overloaded", Some("1")));
    let forwarded = reqwest::Client::new().get(format!("{url}{PATH}")).header("millpond-hop", "1").send().await;
    assert_eq!(forwarded.expect("the instance answers").status(), 421);
    assert_eq!(get(&format!("{url}/livez")).await.status, 200);

    answer_now.notify_one();
    assert_eq!(waiting.await.expect("no panic").status, 200);
    answer_now.notify_one();
    assert_eq!(get(&format!("{url}{PATH}")).await.status, 200);
}
