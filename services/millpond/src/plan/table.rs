//! A report for people.

use millpond::cluster::InstanceId;

use super::report::{Count, PlaceReport, Presence, Report, TaskReport};

/// The instances with their load, a summary, and the tasks with the reasons; of them only those that move, if so asked.
pub(super) fn render(report: &Report, moves_only: bool) -> String {
    let mut rows = vec![["INSTANCE", "ZONE", "CAPACITY", "ACTIVES", "STANDBYS"].map(str::to_owned).to_vec()];
    rows.extend(report.instances.iter().map(|instance| {
        let name = match instance.presence {
            Presence::Stays => instance.instance.to_string(),
            Presence::Comes => format!("{} (comes)", instance.instance),
            Presence::Goes => format!("{} (goes)", instance.instance),
        };
        let zone = instance.zone.clone().unwrap_or_else(|| "-".to_owned());
        vec![name, zone, instance.capacity.to_string(), count(instance.actives), count(instance.standbys)]
    }));
    let mut text = columns(&rows).join("\n");
    text += &format!("\n\n{}\n", summary(report));

    let tasks: Vec<&TaskReport> = report.tasks.iter().filter(|task| !moves_only || task.moves()).collect();
    if tasks.is_empty() {
        return text;
    }
    let mut rows = vec![["TASK", "ACTIVE", "STANDBYS", "WARM-UPS", "IN THE END"].map(str::to_owned).to_vec()];
    rows.extend(tasks.iter().map(|task| row(task)));
    let mut lines = columns(&rows).into_iter();
    text += &format!("\n{}\n", lines.next().unwrap_or_default());
    for (line, task) in lines.zip(tasks) {
        text += &format!("{line}\n      {}\n", task.why);
        for follower in &task.followers {
            text += &format!("      {} {}\n", follower.instance, follower.why);
        }
    }
    text
}

fn summary(report: &Report) -> String {
    let tasks = report.tasks.len();
    let Report { actives_moved, standbys_moved, plans, .. } = report;
    match plans {
        0 => format!("{tasks} tasks; nothing moves."),
        1 => format!("{tasks} tasks; moves: {actives_moved} of actives, {standbys_moved} of standbys, at once."),
        _ => format!(
            "{tasks} tasks; moves: {actives_moved} of actives, {standbys_moved} of standbys, by {plans} plans: each follows when \
             everyone has caught up. Below is the next one."
        ),
    }
}

fn row(task: &TaskReport) -> Vec<String> {
    let was = task.before.as_ref().and_then(|before| before.active.as_ref());
    let active = match (&task.next.active, was) {
        (Some(active), Some(was)) if active != was => format!("{active} (was {was})"),
        (Some(active), _) => active.to_string(),
        (None, _) => "nobody".to_owned(),
    };
    let end = if task.end == task.next { String::new() } else { place(&task.end) };
    vec![task.task.to_string(), active, names(&task.next.standbys), names(&task.next.warm_ups), end]
}

fn place(place: &PlaceReport) -> String {
    let active = place.active.as_deref().unwrap_or("nobody");
    if place.standbys.is_empty() { active.to_owned() } else { format!("{active}; {}", names(&place.standbys)) }
}

fn names(instances: &[InstanceId]) -> String {
    instances.join(", ")
}

/// Where it is, and where it goes.
fn count(Count { before, end, .. }: Count) -> String {
    if before == end { end.to_string() } else { format!("{before} -> {end}") }
}

/// Rows as lines, with columns as wide as their widest cell.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
