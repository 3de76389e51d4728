//! The routing decision, case by case.

use super::fixture::{TASK_OF_UA, view};
use crate::{
    cluster::{ClusterView, Role, TaskState},
    query::{
        Consistency, ServedAs,
        route::{Decision, Facts, Host, Way, Without, route, ways},
    },
};

const B: Host<'static> = Host { instance: "b", url: "http://b" };

/// What `a` knows.
fn facts(local: Option<(Role, TaskState)>, view: &ClusterView, follows: bool, forwarded: bool) -> Facts<'_> {
    Facts { task: TASK_OF_UA, local, view, this_instance: "a", follows, forwarded }
}

/// What `a` decides.
fn decide(local: Option<(Role, TaskState)>, view: &ClusterView, forwarded: bool) -> Decision<'_> {
    route(&facts(local, view, false, forwarded))
}

#[test]
fn every_case_has_one_answer() {
    use Decision::{Answer, Forward, NoLiveOwner, Refuse, Restoring};
    use TaskState::{Claimed, Failed, Releasing, Running};

    let nobody = ClusterView::empty(&"a".into());
    let a_owns = view("a", &[(TASK_OF_UA, "a", "http://a")]);
    let b_owns = view("a", &[(TASK_OF_UA, "b", "http://b")]);
    let active = |state| Some((Role::Active, state));
    let standby = Some((Role::Standby, Running));
    let cases = [
        // The task here, the view; the decision for a client's lookup, for a forwarded one.
        (active(Running), &nobody, Answer, Answer),
        (active(Running), &b_owns, Answer, Answer),
        (active(Releasing), &b_owns, Answer, Answer),
        (active(TaskState::Restoring), &nobody, Restoring, Restoring),
        (active(Claimed), &a_owns, Restoring, Restoring),
        (active(Claimed), &b_owns, Forward(B), Restoring),
        (active(Failed), &b_owns, Forward(B), Refuse),
        (active(Failed), &nobody, NoLiveOwner, Refuse),
        (standby, &b_owns, Forward(B), Refuse),
        (standby, &nobody, NoLiveOwner, Refuse),
        (None, &a_owns, Restoring, Restoring),
        (None, &b_owns, Forward(B), Refuse),
        (None, &nobody, NoLiveOwner, Refuse),
    ];
    for (local, view, of_client, of_instance) in cases {
        assert_eq!(decide(local, view, false), of_client, "{local:?}, owner {:?}", view.owner(TASK_OF_UA));
        assert_eq!(decide(local, view, true), of_instance, "{local:?}, owner {:?}, forwarded", view.owner(TASK_OF_UA));
    }
}

#[test]
fn an_owner_that_is_gone_is_none() {
    let mut view = view("a", &[(TASK_OF_UA, "b", "http://b")]);
    view.instances.get_mut("b").expect("it is in the view").live = false;
    assert_eq!(decide(None, &view, false), Decision::NoLiveOwner);
}

#[test]
fn copies_answer_where_that_is_allowed_and_they_have_caught_up() {
    let mut b_owns =
        view("a", &[(TASK_OF_UA, "b", "http://b"), (TASK_OF_UA, "c", "http://c"), (TASK_OF_UA, "d", "http://d")]);
    let task = b_owns.tasks.get_mut(&TASK_OF_UA).expect("it is in the view");
    task.holder = Some(("b".into(), TaskState::Running));
    task.followers = [("a", TaskState::Running), ("c", TaskState::Restoring), ("d", TaskState::Running)]
        .map(|(id, state)| (id.into(), state))
        .into();
    let owner = Way::There(B, ServedAs::Active);
    let here = Way::Here(ServedAs::Standby);
    let d = Way::There(Host { instance: "d", url: "http://d" }, ServedAs::Standby);
    let standby = Some((Role::Standby, TaskState::Running));
    let of = |follows, forwarded, consistency| ways(&facts(standby, &b_owns, follows, forwarded), consistency).ways;
    assert_eq!(of(true, false, Consistency::Active), [owner]);
    assert_eq!(of(true, false, Consistency::Any), [owner, here, d]);
    assert_eq!(of(true, false, Consistency::Standby), [here, d, owner]);
    assert_eq!(of(false, false, Consistency::Any), [owner, d], "not known how old it is");
    assert_eq!(of(true, true, Consistency::Any), [here], "forwarded already");
    let refused = ways(&facts(standby, &b_owns, true, true), Consistency::Active);
    assert_eq!((refused.ways.len(), refused.without), (0, Some(Without::Refuse)));
}
