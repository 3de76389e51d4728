//! Groups: generations and leaders (rule 11), fencing by epoch (12).

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, ensure};
use millpond::log::{LogError, MembershipEvent};

use super::{
    Bed,
    tools::{DEADLINE, Joining, Patience, SESSION, TURN, ensure_error, member, partition, settle, topic},
};

/// Rule 11: every member learns of the new generation; whoever led goes on to lead; the log lists all members.
pub fn a_new_member_makes_a_generation_and_the_leader_stays(bed: &dyn Bed) -> anyhow::Result<()> {
    let group_id = topic(bed, 1, &[])?;
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    ensure!(first.membership.group().epoch().is_none(), "no member yet");
    let alone = settle(0, &mut [&mut first])?;
    ensure!(first.leads(), "a single member leads");
    let first_id = first.epoch()?.member_id;

    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    let together = settle(alone, &mut [&mut first, &mut second])?;
    let mut third = Joining::new(bed, &group_id, "third", DEADLINE)?;
    settle(together, &mut [&mut first, &mut second, &mut third])?;
    ensure!(first.leads() && !second.leads() && !third.leads(), "the leader stays");
    ensure!(first.epoch()?.member_id == first_id, "who stays keeps its id");
    ensure!(first.lost + second.lost + third.lost == 0, "nobody lost anything");

    let members = first.membership.group().members()?;
    let listed: BTreeSet<_> = members.iter().map(|member| (member.client_id.as_str(), &*member.member_id)).collect();
    let (first_epoch, second_epoch, third_epoch) = (first.epoch()?, second.epoch()?, third.epoch()?);
    let expected = BTreeSet::from([
        ("first", &*first_epoch.member_id),
        ("second", &*second_epoch.member_id),
        ("third", &*third_epoch.member_id),
    ]);
    ensure!(listed == expected, "{listed:?} listed, {expected:?} joined");
    ensure!(first.membership.group().epoch() == Some(first_epoch), "the group shows the epoch that was told");
    Ok(())
}

/// Rule 11: `leave` makes the next generation at once, and others keep their ids and roles.
pub fn a_member_that_leaves_is_gone_at_once(bed: &dyn Bed) -> anyhow::Result<()> {
    let group_id = topic(bed, 1, &[])?;
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    let together = settle(0, &mut [&mut first, &mut second])?;
    let (mut staying, leaving) = if first.leads() { (first, second) } else { (second, first) };
    let id = staying.epoch()?.member_id;

    let patience = Patience::new("leaving");
    leaving.membership.leave()?;
    let left = patience.waited();
    settle(together, &mut [&mut staying])?;
    ensure!(
        patience.waited() < SESSION,
        "leaving took {left:?}, the next generation was there after {:?}",
        patience.waited()
    );
    ensure!(staying.epoch()?.member_id == id && staying.lost == 0, "the other goes on");
    Ok(())
}

/// Rule 11: when the leader leaves, another member of the next generation leads.
pub fn a_leader_that_leaves_is_followed_by_another(bed: &dyn Bed) -> anyhow::Result<()> {
    let group_id = topic(bed, 1, &[])?;
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    let together = settle(0, &mut [&mut first, &mut second])?;
    let (leader, mut heir) = if first.leads() { (first, second) } else { (second, first) };
    leader.membership.leave()?;
    settle(together, &mut [&mut heir])?;
    ensure!(heir.leads());
    Ok(())
}

/// Rule 11: `rejoin` makes another member of this one. It is told that it joined, and not that it lost anything; what it was before is fenced, and
/// the others see a new generation.
pub fn a_member_that_rejoins_comes_back_as_another(bed: &dyn Bed) -> anyhow::Result<()> {
    let (group_id, topic) = (topic(bed, 1, &[])?, topic(bed, 1, &[])?);
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    let mut generation = settle(0, &mut [&mut first, &mut second])?;
    // Once who does not lead, and once who leads.
    for leads in [false, true] {
        let (back, staying) =
            if first.leads() == leads { (&mut first, &mut second) } else { (&mut second, &mut first) };
        let (before, id) = (back.epoch()?, staying.epoch()?.member_id);
        back.membership.rejoin()?;
        ensure!(back.membership.group().epoch().is_none(), "it is no member before it has joined");
        back.told = None;
        let stale = back.membership.group().commit(&before, &[(partition(&topic, 0), 1)]);
        ensure_error!(stale, LogError::Fenced { .. });
        generation = settle(generation, &mut [&mut *back, &mut *staying])?;
        let after = back.epoch()?;
        ensure!(after.member_id != before.member_id, "it has a new id");
        ensure!(staying.epoch()?.member_id == id, "who stays keeps its id");
        ensure!(back.lost + staying.lost == 0, "nobody is told of a loss");
        let stale = back.membership.group().commit(&before, &[(partition(&topic, 0), 1)]);
        ensure_error!(stale, LogError::Fenced { .. });
        back.membership.group().commit(&after, &[(partition(&topic, 0), 2)])?;
    }
    Ok(())
}

/// Rule 11: a member whose value is dropped without leaving is gone after its session timeout at the latest.
pub fn a_dropped_member_is_gone_after_its_session(bed: &dyn Bed) -> anyhow::Result<()> {
    let group_id = topic(bed, 1, &[])?;
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    let together = settle(0, &mut [&mut first, &mut second])?;
    drop(first);
    bed.pass(SESSION);
    settle(together, &mut [&mut second])?;
    ensure!(second.leads() && second.lost == 0);
    Ok(())
}

/// Rule 12: whoever does not poll is voted out; it cannot commit, is told `Lost` first, and comes back with another id.
pub fn a_member_that_does_not_poll_is_voted_out(bed: &dyn Bed) -> anyhow::Result<()> {
    let (group_id, topic) = (topic(bed, 1, &[])?, topic(bed, 1, &[])?);
    let mut stuck = Joining::new(bed, &group_id, "stuck", SESSION)?;
    let mut other = Joining::new(bed, &group_id, "other", DEADLINE)?;
    let together = settle(0, &mut [&mut stuck, &mut other])?;
    let stale = stuck.epoch()?;

    let patience = Patience::new("the generation without the stuck member");
    while other.epoch()?.generation == together {
        patience.check()?;
        other.poll(TURN)?;
        bed.pass(Duration::from_millis(500));
    }
    ensure!(other.leads(), "whoever is left leads");
    let group = stuck.membership.group();
    ensure_error!(group.commit(&stale, &[(partition(&topic, 0), 5)]), LogError::Fenced { .. });

    let mut told = Vec::new();
    let patience = Patience::new("Lost and Joined");
    while told.len() < 2 {
        patience.check()?;
        told.extend(stuck.poll(TURN)?.filter(|event| !matches!(event, MembershipEvent::Unavailable { .. })));
        other.poll(TURN)?;
    }
    let [MembershipEvent::Lost { .. }, MembershipEvent::Joined { epoch, .. }] = &told[..] else {
        anyhow::bail!("Lost and Joined expected, not {told:?}");
    };
    ensure!(epoch.member_id != stale.member_id, "it has a new id");
    ensure!(epoch.generation > together, "and is in a new generation");
    settle(together + 1, &mut [&mut stuck, &mut other])?;
    ensure!(other.lost == 0, "the other lost nothing");
    ensure!(group.committed(&[partition(&topic, 0)], DEADLINE)? == [None], "the stale commit had no effect");
    Ok(())
}

/// Positions by partition, `None` where nothing was committed; they outlive their members.
pub fn committed_positions_are_read_back(bed: &dyn Bed) -> anyhow::Result<()> {
    let (group_id, topic) = (topic(bed, 1, &[])?, topic(bed, 3, &[])?);
    let partitions: Vec<_> = (0..3).map(|index| partition(&topic, index)).collect();
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    settle(0, &mut [&mut first])?;
    let group = first.membership.group();
    group.commit(&first.epoch()?, &[(partitions[0].clone(), 3), (partitions[2].clone(), 0)])?;
    group.commit(&first.epoch()?, &[(partitions[0].clone(), 2)])?;
    let committed = group.committed(&partitions, DEADLINE)?;
    ensure!(committed == [Some(2), None, Some(0)], "{committed:?}");
    first.membership.leave()?;

    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    settle(0, &mut [&mut second])?;
    let committed = second.membership.group().committed(&partitions, DEADLINE)?;
    ensure!(committed == [Some(2), None, Some(0)], "{committed:?} for the next member");
    let others = member(bed)?.membership.group().committed(&partitions, DEADLINE)?;
    ensure!(others == [None, None, None], "{others:?} for another group");
    Ok(())
}

/// Rule 12: an epoch of the past cannot commit, be it of this member; nor is there metadata of it.
pub fn a_commit_with_a_stale_epoch_is_fenced(bed: &dyn Bed) -> anyhow::Result<()> {
    let (group_id, topic) = (topic(bed, 1, &[])?, topic(bed, 1, &[])?);
    let input = partition(&topic, 0);
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let alone = settle(0, &mut [&mut first])?;
    let stale = first.epoch()?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    settle(alone, &mut [&mut first, &mut second])?;

    let group = first.membership.group();
    ensure_error!(group.commit(&stale, &[(input.clone(), 5)]), LogError::Fenced { .. });
    ensure_error!(group.metadata(&stale), LogError::Fenced { .. });
    ensure_error!(group.commit(&second.epoch()?, &[(input.clone(), 5)]), LogError::Fenced { .. });
    let current = group.epoch().context("a member")?;
    group.commit(&current, &[(input.clone(), 6)])?;
    ensure!(group.committed(&[input], DEADLINE)? == [Some(6)]);
    Ok(())
}
