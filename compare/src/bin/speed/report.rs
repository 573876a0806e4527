//! Everything at once: measures, writes `docs/speed`, and puts the first table into the README.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Result,
    allocations::{self, Allocations},
    cases::{GROUPS, Group},
    machine,
    measure::{self, Effort, Row},
    plots, resident,
    runtimes::RUNTIMES,
    table,
};

const BEGIN: &str = "<!-- speed: written by cargo run --release -p boucle-compare -->";
const END: &str = "<!-- speed: end -->";

/// Where results go.
pub(crate) fn directory() -> PathBuf {
    root().join("docs/speed")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is around this member")
}

pub(crate) fn write() -> Result<()> {
    // First, since it builds; and it fails before much time was spent.
    let allocations = allocations::count()?;
    let resident: Vec<Option<usize>> = RUNTIMES.iter().map(ask_resident).collect();
    let machine = machine::line();
    let measured: Vec<(&'static Group, Vec<Row>)> =
        GROUPS.iter().map(|group| (group, measure::group(group, Effort::Full, |_| true))).collect();
    fs::create_dir_all(directory())?;
    let mut page = format!(
        "# Speed\n\n{machine}. {}.\n\n`cargo run --release -p boucle-compare` writes this page; \
         [compare](../../compare/README.md) says what is measured and how, and [instructions.md]\
         (instructions.md) has the counts of instructions.\n\nThe best peer is bold. A dash: it has \
         nothing of the kind.\n",
        machine::peers()
    );
    for (group, rows) in &measured {
        page += &format!("\n## {}\n\n", group.title);
        page += &table::times(group, rows, |row| row.first);
        page += &format!("\n![{}]({}.svg)\n", group.title, group.name);
        plots::bars(&directory().join(format!("{}.svg", group.name)), group, rows)?;
        page += "\nAllocations, and bytes, per operation:\n\n";
        page += &counted(group, rows, &allocations);
        if rows.iter().any(|row| row.series.grows() && !row.first) {
            page += "\nAs it grows:\n\n";
            page += &table::times(group, rows, |row| row.series.grows());
        }
        if group.series.iter().any(|series| series.grows()) {
            let name = format!("{}-growth.svg", group.name);
            page += &format!("\n![{}, as it grows]({name})\n", group.title);
            plots::growth(&directory().join(name), group, rows)?;
        }
    }
    let memory = memory(&resident);
    page += &format!("\n## Memory\n\n{memory}");
    fs::write(directory().join("results.md"), &page)?;
    let (group, rows) = &measured[0];
    let first = format!("{}\n{memory}\n{machine}.\n", table::times(group, rows, |row| row.first));
    refresh(&root().join("README.md"), &first)?;
    print!("{page}");
    Ok(())
}

fn ask_resident(subject: &crate::runtimes::Subject) -> Option<usize> {
    subject.idle?;
    match resident::of(subject) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            eprintln!("NO RESIDENT MEMORY: {error}");
            None
        }
    }
}

fn memory(resident: &[Option<usize>]) -> String {
    let line = [("an idle task with 64 bytes of future, of 1M".to_owned(), ())];
    table::any(&GROUPS[0], "resident bytes", &line, |(), n| {
        resident[n].map(|bytes| (Some(bytes as u64), bytes.to_string()))
    })
}

fn counted(group: &Group, rows: &[Row], allocations: &Allocations) -> String {
    let key = |row: &Row, n: usize| {
        (row.series.name.to_owned(), row.size, group.subjects[n].name.to_owned())
    };
    let lines: Vec<_> = rows
        .iter()
        .filter(|row| (0..group.subjects.len()).any(|n| allocations.contains_key(&key(row, n))))
        .map(|row| (row.series.title(row.size), row))
        .collect();
    table::any(group, "allocations, bytes", &lines, |row, n| {
        let (count, bytes) = allocations.get(&key(row, n))?;
        Some((None, format!("{count:.2}, {bytes:.0}")))
    })
}

/// Puts `words` between the marks.
fn refresh(path: &Path, words: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| format!("{} has no '{BEGIN}'", path.display()))?;
    Ok(fs::write(path, format!("{before}{BEGIN}\n\n{words}\n{END}{after}"))?)
}
