//! Ways to tamper with files.

use super::Files;

/// What is done to the files, and what is found: file, line, first word.
pub(super) type Case = (&'static str, fn(&mut Files), Found);
pub(super) type Found = &'static [(usize, u64, &'static str)];

pub(super) const CASES: &[Case] = &[
    (
        "a changed value",
        |files| files.0[1][1] = files.0[1][1].replace("\"line\":6", "\"line\":7"),
        &[(1, 2, "changed")],
    ),
    (
        "a changed hash",
        |files| {
            files.0[1][1] = files.0[1][1]
                .replace("\"hash\":\"", "\"hash\":\"0")
                .replacen("0\"}", "\"}", 1)
        },
        &[],
    ),
    (
        "a removed line",
        |files| drop(files.0[1].remove(1)),
        &[(1, 2, "removed")],
    ),
    (
        "removed at a border",
        |files| drop(files.0[0].pop()),
        &[(1, 1, "removed")],
    ),
    (
        "a removed file",
        |files| drop(files.0.remove(1)),
        &[(1, 1, "removed")],
    ),
    (
        "a line twice",
        |files| {
            let line = files.0[1][1].clone();
            files.0[1].insert(1, line);
        },
        &[(1, 3, "inserted or moved")],
    ),
    (
        "an older line again",
        |files| {
            let line = files.0[0][1].clone();
            files.0[2].push(line);
        },
        &[(2, 5, "inserted or moved")],
    ),
    (
        "a swap",
        |files| files.0[1].swap(1, 2),
        &[(1, 2, "removed"), (1, 3, "inserted or moved")],
    ),
    (
        "files out of order",
        |files| files.0.swap(0, 1),
        &[
            (1, 1, "inserted or moved"),
            (1, 2, "inserted or moved"),
            (1, 3, "inserted or moved"),
            (1, 4, "inserted or moved"),
        ],
    ),
    (
        "words of somebody",
        |files| files.0[1].insert(2, "{\"line\":0}\n".to_owned()),
        &[(1, 3, "inserted or changed")],
    ),
    (
        "words at the end",
        |files| files.0[2].push("{\"line\":0}\n".to_owned()),
        &[(2, 5, "inserted or changed")],
    ),
    (
        "a line cut short",
        |files| {
            let line = &mut files.0[2][3];
            line.truncate(40);
        },
        &[(2, 4, "incomplete")],
    ),
];
