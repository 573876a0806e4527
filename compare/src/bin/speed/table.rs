//! Figures as Markdown.

use crate::{cases::Group, measure::Row};

/// A figure with as many digits as it is worth.
pub(crate) fn figure(n: f64) -> String {
    match n {
        100.0.. => format!("{n:.0}"),
        10.0.. => format!("{n:.0}"),
        1.0.. => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

/// Nanoseconds of the wanted rows: a line each, a column for each subject, the best peer in bold.
pub(crate) fn times(group: &Group, rows: &[Row], wanted: impl Fn(&Row) -> bool) -> String {
    let mut table = String::from("| ns of CPU |");
    for subject in group.subjects {
        table += &format!(" {} |", subject.name);
    }
    table += " boucle to limit | boucle to the best peer |\n|---|";
    table += &"--:|".repeat(group.subjects.len() + 2);
    table += "\n";
    for row in rows.iter().filter(|row| wanted(row)) {
        let best = row.best_peer();
        table += &format!("| {} |", row.series.title(row.size));
        for n in 0..group.subjects.len() {
            table += &match row.median(n).map(figure) {
                None => " - |".to_owned(),
                Some(time) if best == Some(n) => format!(" **{time}** |"),
                Some(time) => format!(" {time} |"),
            };
        }
        for ratio in [row.ratio(1, 0), best.and_then(|best| row.ratio(1, best))] {
            table += &ratio.map_or(" - |".to_owned(), |ratio| format!(" {ratio:.2} |"));
        }
        table += "\n";
    }
    table
}

/// Any figures of a group, by line and subject, as words; and what to compare them by, so that the
/// lowest peer is bold.
pub(crate) fn any<L>(
    group: &Group,
    what: &str,
    lines: &[(String, L)],
    get: impl Fn(&L, usize) -> Option<(Option<u64>, String)>,
) -> String {
    let mut table = format!("| {what} |");
    for subject in group.subjects {
        table += &format!(" {} |", subject.name);
    }
    table += "\n|---|";
    table += &"--:|".repeat(group.subjects.len());
    table += "\n";
    for (title, line) in lines {
        let cells: Vec<_> = (0..group.subjects.len()).map(|n| get(line, n)).collect();
        let lowest = cells.iter().skip(2).flatten().filter_map(|cell| cell.0).min();
        table += &format!("| {title} |");
        for (n, cell) in cells.into_iter().enumerate() {
            table += &match cell {
                None => " - |".to_owned(),
                Some((by @ Some(_), words)) if n >= 2 && by == lowest => format!(" **{words}** |"),
                Some((_, words)) => format!(" {words} |"),
            };
        }
        table += "\n";
    }
    table
}
