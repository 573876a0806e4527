//! The house stays tidy: who may import whom, where `unsafe` lives, how long files are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The floors and their rooms. A room imports from its own floor or those below, never in a circle.
const HOUSE: &[(u8, &[&str])] = &[
    (
        0,
        &[
            "call_site",
            "facade",
            "guard",
            "heap",
            "inbox",
            "map",
            "order",
            "roster",
            "slab",
            "word",
        ],
    ),
    (1, &["bell", "clock", "home", "pulse", "ready", "sys", "wakee"]),
    (2, &["queue", "reactor", "task", "timers"]),
    (3, &["nest", "turn"]),
    (4, &["current", "diagnosis", "drive"]),
    (
        5,
        &[
            "builder",
            "event_loop",
            "gather",
            "hyper",
            "io",
            "net",
            "remote",
            "scope",
            "shared",
            "shield",
            "signal",
            "spawn",
            "sync",
            "task_set",
            "time",
            "unblock",
            "wait",
        ],
    ),
];

const LONGEST_ROOM: usize = 600;
const LONGEST_EXAMPLE: usize = 90;

/// In two halves, so that this file does not contain them.
const BANNED: &[&str] = &[
    concat!("#[", "ignore"),
    concat!("todo", "!("),
    concat!("dbg", "!("),
    concat!("thread::", "sleep"),
];

/// How many traps there are: faults that were found in other executors, each with a number.
const TRAPS: usize = 92;

struct File {
    /// Relative to its folder, with slashes.
    path: String,
    text: String,
    /// The text without its comments, line for line.
    code: String,
}

fn files(folder: &str) -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let file = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("source files are UTF-8");
        let code = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        let path = path.strip_prefix(&root).expect("it was found there");
        File { path: path.to_string_lossy().replace('\\', "/"), text, code }
    };
    found.into_iter().map(file).collect()
}

fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// `home` for `home.rs`, `task` for `task/join.rs`.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn floor(room: &str) -> Option<u8> {
    HOUSE.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(floor, _)| *floor)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `text` as a word of its own.
fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word)
    })
}

/// All paths of a use tree: `a::{b, c::d}` is `a b` and `a c d`.
fn use_tree(mut text: &str, path: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let whole = text.len();
    let mut path = path.to_vec();
    loop {
        text = text.trim_start();
        if let Some(list) = text.strip_prefix('{') {
            text = list.trim_start();
            while !text.is_empty() && !text.starts_with('}') {
                text = text[use_tree(text, &path, found)..].trim_start();
                text = text.strip_prefix(',').unwrap_or(text).trim_start();
            }
            return whole - text.len() + 1;
        }
        let end = text.find(|c| !is_word(c) && c != '*').unwrap_or(text.len());
        if end == 0 {
            // Nothing that this reader knows: go on behind it.
            return whole - text.len() + 1;
        }
        path.push(text[..end].to_owned());
        text = &text[end..];
        match text.strip_prefix("::") {
            Some(rest) => text = rest,
            None => break,
        }
    }
    if let Some(alias) = text.trim_start().strip_prefix("as ") {
        text = alias.trim_start_matches(is_word);
    }
    found.push(path);
    whole - text.len()
}

/// What the `pub use` lines of a `mod.rs` or of `lib.rs` call by which name: the path behind it.
fn re_exports(code: &str) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    // Behind `pub` or `pub(crate)`.
    for at in words(code, "use").filter(|at| code[..*at].trim_end().ends_with([')', 'b'])) {
        let mut found = Vec::new();
        use_tree(&code[at + 3..], &[], &mut found);
        for path in found {
            names.insert(path.last().cloned().unwrap_or_default(), path);
        }
    }
    names
}

/// Finds the file behind a path that starts in the folder of `owner`, a `lib.rs` or `mod.rs`,
/// through its re-exports. `None` for what the owner itself defines.
fn resolve<'f>(house: &'f BTreeMap<&str, &File>, owner: &str, path: &[String]) -> Option<&'f str> {
    let folder = owner.trim_end_matches("lib.rs").trim_end_matches("mod.rs");
    let first = path.first()?;
    for child in [format!("{folder}{first}.rs"), format!("{folder}{first}/mod.rs")] {
        if let Some((found, _)) = house.get_key_value(&*child) {
            let deeper = child.ends_with("mod.rs").then(|| resolve(house, found, &path[1..]));
            return Some(deeper.flatten().unwrap_or(found));
        }
    }
    let behind = re_exports(&house.get(owner)?.code).remove(first)?;
    (behind.len() > 1).then(|| resolve(house, owner, &behind)).flatten()
}

/// The files that a file imports from, and the lines where it does.
fn imports<'f>(house: &'f BTreeMap<&str, &File>, file: &File) -> Vec<(usize, &'f str)> {
    let owner = match file.path.rsplit_once('/') {
        Some((folder, "mod.rs")) => match folder.rsplit_once('/') {
            Some((outer, _)) => format!("{outer}/mod.rs"),
            None => "lib.rs".to_owned(),
        },
        Some((folder, _)) => format!("{folder}/mod.rs"),
        None => "lib.rs".to_owned(),
    };
    // In an inline module, `super` is the file itself.
    let inline = words(&file.code, "mod").find(|at| {
        let rest = file.code[at + 3..].trim_start();
        rest.trim_start_matches(is_word).trim_start().starts_with('{')
    });
    let mut found = Vec::new();
    let mut add = |prefix: &str, owner: &str| {
        for at in words(&file.code, prefix) {
            let Some(tree) = file.code[at + prefix.len()..].strip_prefix("::") else { continue };
            if prefix == "super" && inline.is_some_and(|inline| at > inline) {
                continue;
            }
            let mut paths = Vec::new();
            use_tree(tree, &[], &mut paths);
            for path in paths {
                let Some((own, _)) = house.get_key_value(owner) else { continue };
                let target = resolve(house, owner, &path).unwrap_or(own);
                found.push((line_of(&file.code, at), target));
            }
        }
    };
    add("crate", "lib.rs");
    add("super", &owner);
    if let Some(folder) = file.path.strip_suffix("mod.rs") {
        // A `mod.rs` may show its children's things, not need them.
        for child in house.keys().filter_map(|path| path.strip_prefix(folder)) {
            let child = child.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            for at in words(&file.code, child) {
                let statement = file.code[..at].rfind([';', '}']).map_or(0, |end| end + 1);
                let shown = file.code[statement..at].trim_start().starts_with("pub");
                if file.code[at + child.len()..].starts_with("::") && !shown {
                    let target = resolve(house, &file.path, &[child.to_owned()]);
                    found.extend(target.map(|target| (line_of(&file.code, at), target)));
                }
            }
        }
    }
    found.retain(|(_, target)| *target != file.path && *target != "lib.rs");
    found
}

/// The files on a circle through `start`, or nothing.
fn circle<'f>(graph: &BTreeMap<&'f str, BTreeSet<&'f str>>, start: &'f str) -> Vec<&'f str> {
    // Breadth first, so that it is the shortest.
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &next in graph.get(at).into_iter().flatten() {
            if next == start {
                let mut path = vec![at];
                while path[path.len() - 1] != start {
                    path.push(came_from[path[path.len() - 1]]);
                }
                path.reverse();
                return path;
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

#[track_caller]
fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "the house is untidy:\n{}", complaints.join("\n"));
}

#[test]
fn imports_run_down_and_never_in_a_circle() {
    let src = files("src");
    let house: BTreeMap<&str, &File> = src.iter().map(|file| (&*file.path, file)).collect();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut lines = BTreeMap::new();
    let mut complaints = Vec::new();
    for file in src.iter().filter(|file| file.path != "lib.rs") {
        let here = room(&file.path);
        let Some(mine) = floor(here) else {
            complaints.push(format!("src/{}:1: no floor has a room '{here}'", file.path));
            continue;
        };
        for (line, target) in imports(&house, file) {
            if floor(room(target)).is_some_and(|theirs| theirs > mine) {
                complaints.push(format!("src/{}:{line}: imports {target} from above", file.path));
            }
            graph.entry(&file.path).or_default().insert(target);
            lines.entry((&*file.path, target)).or_insert(line);
        }
    }
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > src.len(), "{graph:?} is too thin");
    let mut seen = BTreeSet::new();
    for &start in graph.keys() {
        let path = circle(&graph, start);
        if !path.is_empty() && seen.insert(path.iter().copied().collect::<BTreeSet<_>>()) {
            let line = lines[&(path[0], *path.get(1).unwrap_or(&path[0]))];
            complaints.push(format!("src/{start}:{line}: a circle: {}", path.join(" -> ")));
        }
    }
    for room in HOUSE.iter().flat_map(|(_, rooms)| *rooms) {
        if !house.contains_key(&*format!("{room}.rs"))
            && !house.contains_key(&*format!("{room}/mod.rs"))
        {
            complaints.push(format!("tests/it/tidy.rs: the room '{room}' is not in src"));
        }
    }
    report(&complaints);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut complaints = Vec::new();
    for (folder, longest) in [("src", LONGEST_ROOM), ("examples", LONGEST_EXAMPLE)] {
        for File { path, text, .. } in files(folder) {
            let first = if path == "lib.rs" { "#![doc" } else { "//! " };
            if !text.starts_with(first) {
                complaints.push(format!("{folder}/{path}:1: begins without a `{first}` line"));
            }
            let lines = text.lines().count();
            if lines > longest {
                complaints.push(format!("{folder}/{path}:{lines}: longer than {longest} lines"));
            }
        }
    }
    report(&complaints);
}

#[test]
fn nothing_is_left_undone_or_slept_away() {
    let mut complaints = Vec::new();
    for folder in ["src", "tests"] {
        for File { path, text, .. } in files(folder) {
            for (n, line) in text.lines().enumerate() {
                for needle in BANNED.iter().filter(|needle| line.contains(**needle)) {
                    complaints.push(format!("{folder}/{path}:{}: `{needle}`", n + 1));
                }
            }
        }
    }
    report(&complaints);
}

/// The trap that the test on this line springs, `7` for `fn t07_...`.
fn trap(line: &str) -> Option<usize> {
    let (before, name) = line.split_once("fn t")?;
    let (number, _) = name.split_once('_')?;
    // In a doctest, the line may be hidden.
    let is_name = before.trim_matches(['/', '#', ' ']).is_empty() && number.len() == 2;
    number.parse().ok().filter(|_| is_name)
}

/// Whether the function on this line is run: as a test that is never ignored, or by what it must
/// not do, in a doctest.
fn is_sprung(lines: &[&str], at: usize) -> bool {
    if lines[at].trim_start().starts_with("///") {
        let fence = lines[..at].iter().rev().find(|line| line.contains("```"));
        return fence.is_some_and(|fence| fence.contains("```compile_fail"));
    }
    let is_above = |line: &&&str| !line.trim().is_empty() && !line.trim_end().ends_with(['}', ';']);
    let above: Vec<&str> =
        lines[..at].iter().rev().take_while(is_above).map(|line| line.trim()).collect();
    above.contains(&"#[test]") && !above.iter().any(|line| line.contains("ignore"))
}

#[test]
fn every_trap_has_a_test() {
    let mut complaints = Vec::new();
    let mut sprung = BTreeSet::new();
    for folder in ["src", "tests"] {
        for File { path, text, .. } in files(folder) {
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let Some(number) = trap(line) else { continue };
                let here = format!("{folder}/{path}:{}", at + 1);
                if !(1..=TRAPS).contains(&number) {
                    complaints.push(format!("{here}: there is no trap {number}"));
                } else if is_sprung(&lines, at) {
                    sprung.insert(number);
                } else {
                    complaints.push(format!("{here}: the test of trap {number} is not run"));
                }
            }
        }
    }
    let excused = include_str!("traps.txt").lines().filter(|line| !line.starts_with('#'));
    for (number, reason) in excused.filter_map(|line| line.split_once(' ')) {
        assert!(!reason.trim().is_empty(), "trap {number} is excused for no reason");
        if !sprung.insert(number.parse().expect("a line begins with a number")) {
            complaints.push(format!("tests/it/traps.txt: trap {number} has a test, or two lines"));
        }
    }
    for number in (1..=TRAPS).filter(|number| !sprung.contains(number)) {
        complaints.push(format!("trap {number} has no test `t{number:02}_...`, nor a reason"));
    }
    report(&complaints);
}

#[test]
fn unsafe_code_is_announced_on_the_door_and_explained_on_the_spot() {
    let src = files("src");
    let lib = src.iter().find(|file| file.path == "lib.rs").expect("there is a lib.rs");
    let allow = "#[allow(unsafe_code)]";
    let lines: Vec<&str> = lib.code.lines().map(str::trim).collect();
    let announced: BTreeSet<&str> = lines
        .windows(2)
        .filter(|pair| pair[0] == allow)
        .filter_map(|pair| pair[1].trim_end_matches(';').split("mod ").nth(1))
        .collect();
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for file in src.iter().filter(|file| file.path != "lib.rs") {
        let lines: Vec<&str> = file.text.lines().collect();
        for at in words(&file.code, "unsafe") {
            let line = line_of(&file.code, at);
            let here = format!("src/{}:{line}", file.path);
            if used.insert(room(&file.path)) && !announced.contains(room(&file.path)) {
                complaints.push(format!("{here}: `unsafe` behind a door without `{allow}`"));
            }
            let block = file.code[at + "unsafe".len()..].trim_start().starts_with('{');
            if block && !lines[line.saturating_sub(7)..line].iter().any(|l| l.contains("SAFETY:")) {
                complaints.push(format!("{here}: an unsafe block without `SAFETY:`"));
            }
        }
        for (at, _) in file.code.match_indices("allow(unsafe_code)") {
            let line = line_of(&file.code, at);
            complaints.push(format!("src/{}:{line}: only doors allow unsafe code", file.path));
        }
    }
    for room in announced.difference(&used) {
        complaints.push(format!("src/lib.rs: the door of '{room}' allows unsafe code for nothing"));
    }
    report(&complaints);
}

/// For each file with `unsafe` in it, how often: the rows of a table in docs/RELIABILITY.md.
fn unsafe_rows(src: &[File]) -> Vec<String> {
    let mut sums = [0; 3];
    let row = |name: &str, counts: [usize; 3]| {
        let [blocks, functions, impls] = counts;
        format!("| {name} | {blocks} | {functions} | {impls} |")
    };
    let mut rows = Vec::new();
    for file in src {
        let mut counts = [0; 3];
        for at in words(&file.code, "unsafe") {
            let rest = file.code[at + "unsafe".len()..].trim_start();
            let kind = if rest.starts_with('{') {
                0
            } else if rest.starts_with("fn ") || rest.starts_with("trait ") {
                1
            } else if rest.starts_with("impl") {
                2
            } else {
                // A type such as `unsafe fn()` promises nothing by itself.
                continue;
            };
            counts[kind] += 1;
            sums[kind] += 1;
        }
        if counts != [0; 3] {
            rows.push(row(&format!("`{}`", file.path), counts));
        }
    }
    rows.push(row("all", sums));
    rows
}

#[test]
fn the_published_count_of_unsafe_code_is_right() {
    let text = include_str!("../../docs/RELIABILITY.md");
    let header = "| file | blocks | functions and traits | implementations |";
    let table = text.lines().skip_while(|line| *line != header).skip(2);
    let published: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    let counted = unsafe_rows(&files("src"));
    assert!(published == counted, "docs/RELIABILITY.md should say:\n{}", counted.join("\n"));
}

#[test]
fn the_readers_of_source_can_read() {
    let mut found = Vec::new();
    use_tree("a::{B as x, c::{D, e::*}, self}; f", &[], &mut found);
    let found: Vec<String> = found.iter().map(|path| path.join(" ")).collect();
    assert_eq!(found, ["a B", "a c D", "a c e *", "a self"]);
    assert_eq!(without_comment("see(\"https://x\"); // here"), "see(\"https://x\"); ");
    assert_eq!(words("unsafe unsafe_code un unsafe", "unsafe").collect::<Vec<_>>(), [0, 22]);
    let graph = BTreeMap::from([
        ("a", BTreeSet::from(["b", "d"])),
        ("b", BTreeSet::from(["c"])),
        ("c", BTreeSet::from(["a"])),
    ]);
    assert_eq!(circle(&graph, "a"), ["a", "b", "c"]);
    assert_eq!(circle(&graph, "d"), [""; 0]);
    let numbers =
        ["fn t07_x() {", "    /// # fn t78_x() {", "async fn t07_x()", "fn t7_x()", "fn to"];
    assert_eq!(numbers.map(trap), [Some(7), Some(78), None, None, None]);
    let run = ["}", "#[test]", "#[cfg(unix)]", "fn t01_x() {"];
    let not_run = ["#[test]", "fn other() {}", "", "fn t01_x() {"];
    let ignored = ["#[test]", "#[cfg_attr(unix, ignore)]", "#[should_panic]", "fn t01_x() {"];
    let compiles = ["/// ```compile_fail", "/// ```", "/// ```", "/// # fn t01_x() {"];
    let fails = ["/// ```", "/// ```", "/// ```compile_fail", "/// # fn t01_x() {"];
    let all = [run, not_run, ignored, compiles, fails];
    assert_eq!(all.map(|lines| is_sprung(&lines, 3)), [true, false, false, false, true]);
    let code = "unsafe fn f(g: unsafe fn()) { unsafe { g() } } unsafe impl T for X {} unsafe_code";
    let file = File { path: "a.rs".into(), text: String::new(), code: code.into() };
    assert_eq!(unsafe_rows(&[file]), ["| `a.rs` | 1 | 1 | 1 |", "| all | 1 | 1 | 1 |"]);
}
