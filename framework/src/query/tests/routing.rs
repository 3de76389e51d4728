//! The routing decision, case by case.

use super::fixture::{TASK_OF_UA, view};
use crate::{
    cluster::{ClusterView, Role, TaskState},
    query::route::{Decision, Facts, Host, route},
};

const B: Host<'static> = Host { instance: "b", url: "http://b" };

/// What `a` decides.
fn decide(local: Option<(Role, TaskState)>, view: &ClusterView, forwarded: bool) -> Decision<'_> {
    route(&Facts { task: TASK_OF_UA, local, view, this_instance: "a", forwarded })
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
