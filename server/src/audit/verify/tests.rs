//! Every way to tamper with files is found, and named for what it is.

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::chain::{Chain, Hash};
use super::*;

mod cases;

/// Files of a chain, as lines.
#[derive(Clone)]
struct Files(Vec<Vec<String>>);

impl Files {
    /// Three files of four lines each; `{"line":1}` to `{"line":12}`.
    fn new() -> Self {
        Self::made_with(|_| Mac::Sha256)
    }

    fn made_with(mac: impl Fn(u64) -> Mac) -> Self {
        let mut head = Head::NONE;
        let lines = (1..=12).map(|number| {
            let mut chain = Chain::new(mac(number), head);
            let line = sealed(&mut chain, &format!("{{\"line\":{number}}}"));
            head = chain.head();
            line
        });
        let lines: Vec<_> = lines.collect();
        Self(lines.chunks(4).map(<[String]>::to_vec).collect())
    }

    fn check(&self, expected: &Expected) -> Report {
        let directory = tempfile::tempdir().unwrap();
        check(&directory, &self.texts(), expected)
    }

    fn texts(&self) -> Vec<Vec<u8>> {
        let text = |lines: &Vec<String>| lines.concat().into_bytes();
        self.0.iter().map(text).collect()
    }

    /// What is wrong, as file, line and the first word.
    fn wrong(&self) -> Vec<(usize, u64, String)> {
        let report = self.check(&Expected::default());
        let short = |finding: &Finding<Wrong>| {
            let (file, line) = finding.place.clone().unwrap();
            let file = file.file_name().unwrap().to_str().unwrap().to_owned();
            let (word, _) = finding
                .what
                .to_string()
                .split_once(':')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .unwrap();
            (file.parse().unwrap(), line, word)
        };
        report.wrong.iter().map(short).collect()
    }
}

fn sealed(chain: &mut Chain, line: &str) -> String {
    let mut out = Vec::new();
    chain.seal(line.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

fn check(directory: &TempDir, texts: &[Vec<u8>], expected: &Expected) -> Report {
    let write = |(index, text): (usize, &Vec<u8>)| {
        let path = directory.path().join(index.to_string());
        std::fs::write(&path, text).unwrap();
        Source::from(path)
    };
    let sources = texts.iter().enumerate().map(write).collect();
    verify(sources, expected).unwrap()
}

fn key(text: &str) -> Mac {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Mac::new(Some(file.path())).unwrap()
}

#[test]
fn a_chain_over_files_is_good() {
    let report = Files::new().check(&Expected::default());
    assert_eq!((report.files, report.lines, report.first), (3, 12, Some(1)));
    assert_eq!(report.last.unwrap().seq, 12);
    assert_eq!((report.wrong, report.notes), (vec![], vec![]));
    let mut later = Files::new();
    later.0.remove(0);
    let report = later.check(&Expected::default());
    assert_eq!(report.wrong, []);
    assert_eq!(report.notes[0].what, Noted::Begins { seq: 5 });
}

#[test]
fn tampering_is_named_for_what_it_is() {
    for (name, change, wanted) in cases::CASES {
        let mut files = Files::new();
        change(&mut files);
        let wrong = files.wrong();
        if wanted.is_empty() {
            assert!(!wrong.is_empty(), "{name}");
            continue;
        }
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(file, line, word)| (*file, *line, (*word).to_owned()))
            .collect();
        assert_eq!(wrong, wanted, "{name}");
    }
}

#[test]
fn a_line_made_anew_does_not_fit_the_next() {
    let mut files = Files::new();
    let before = Sealed::parse(files.0[0][0].trim_end().as_bytes())
        .unwrap()
        .head();
    files.0[0][1] = sealed(&mut Chain::new(Mac::Sha256, before), r#"{"line":"forged"}"#);
    assert_eq!(files.wrong(), [(0, 3, "replaced".to_owned())]);
}

#[test]
fn a_missing_end_is_found_by_whoever_knows_it() {
    let whole = Files::new();
    let last = whole.check(&Expected::default()).last;
    let expected = Expected {
        line: last,
        ..Expected::default()
    };
    assert_eq!(whole.check(&expected).wrong, []);
    let mut short = Files::new();
    short.0[2].pop();
    assert!(short.check(&Expected::default()).wrong.is_empty());
    let wrong = short.check(&expected).wrong;
    assert!(
        matches!(
            wrong[..],
            [Finding {
                what: Wrong::Truncated { .. },
                ..
            }]
        ),
        "{wrong:?}"
    );
    let hash = Hash::parse(&[b'a'; 64]).unwrap();
    let expected = Expected {
        line: Some(Head { seq: 3, hash }),
        ..Expected::default()
    };
    let wrong = whole.check(&expected).wrong;
    assert!(
        matches!(
            wrong[..],
            [Finding {
                what: Wrong::Other { .. },
                ..
            }]
        ),
        "{wrong:?}"
    );
    assert!(matches!(
        Files(vec![]).check(&Expected::default()).wrong[..],
        [Finding {
            what: Wrong::Empty,
            ..
        }]
    ));
}

#[test]
fn a_key_is_asked_for_from_its_first_line_on() {
    let mac = key("0123456789abcdef");
    let expected = |keys: &[&Mac]| Expected {
        keys: keys.iter().map(|key| (*key).clone()).collect(),
        line: None,
    };
    let turned_on = Files::made_with(|line| if line < 6 { Mac::Sha256 } else { mac.clone() });
    assert_eq!(turned_on.check(&expected(&[&mac])).wrong, []);
    let other = key("fedcba9876543210");
    for (files, keys) in [
        (&turned_on, vec![]),
        (&turned_on, vec![&other]),
        (&Files::new(), vec![&mac]),
        (
            &Files::made_with(|line| if line == 6 { Mac::Sha256 } else { mac.clone() }),
            vec![&mac],
        ),
    ] {
        assert!(!files.check(&expected(&keys)).wrong.is_empty(), "{keys:?}");
    }
    let changed = Files::made_with(|line| if line < 6 { mac.clone() } else { other.clone() });
    assert_eq!(changed.check(&expected(&[&mac, &other])).wrong, []);
}

#[test]
fn what_a_crash_leaves_is_explained_by_the_next_start() {
    let mut chain = Chain::new(Mac::Sha256, Head::NONE);
    let first = sealed(&mut chain, r#"{"line":1}"#);
    let torn = &sealed(&mut Chain::new(Mac::Sha256, chain.head()), r#"{"line":2}"#)[..50];
    let hash = Mac::Sha256.hash(torn.as_bytes());
    let says =
        format!(r#"{{"time":"2026-11-23T12:00:00Z","event":"torn","bytes":50,"sha256":"{hash}"}}"#);
    let mark = sealed(&mut chain, &says);
    let good = Files(vec![vec![first.clone(), format!("{torn}\n"), mark.clone()]]);
    let report = good.check(&Expected::default());
    assert_eq!(report.wrong, []);
    assert_eq!(report.notes[0].what, Noted::Torn { bytes: 50 });
    for wrong in [
        vec![first.clone(), format!("{torn}x\n"), mark.clone()],
        vec![first.clone(), mark.clone()],
        vec![first, "x\n".to_owned(), format!("{torn}\n"), mark],
    ] {
        let wrong = Files(vec![wrong]).check(&Expected::default()).wrong;
        assert!(!wrong.is_empty());
    }
    // The file was moved away in the middle of a line, which begins the next file.
    let mut files = Files::new();
    let begin = files.0[1][0][..70].to_owned();
    files.0[0].push(begin);
    let report = files.check(&Expected::default());
    assert_eq!((report.wrong.len(), report.notes.len()), (0, 1));
}

#[test]
fn lines_of_a_server_without_a_chain_may_stand_before_it() {
    let mut files = Files::new();
    files.0[0].insert(0, "{\"old\":1}\n".to_owned());
    files.0[0].insert(0, "{\"old\":1}\n".to_owned());
    let report = files.check(&Expected::default());
    assert_eq!(report.wrong, []);
    assert_eq!(report.notes[0].what, Noted::Before { lines: 2 });
    // But not before a chain that has begun elsewhere.
    files.0[0].remove(2);
    assert_eq!(files.wrong().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_of_any_byte_is_found(keyed: bool, file in 0..3_usize, place: prop::sample::Index, flip in 1..=255_u8) {
        let (files, expected) = if keyed {
            let mac = key("0123456789abcdef");
            (Files::made_with(|_| mac.clone()), Expected { keys: vec![mac], line: None })
        } else {
            (Files::new(), Expected::default())
        };
        let mut texts = files.texts();
        let place = place.index(texts[file].len());
        texts[file][place] ^= flip;
        let report = check(&tempfile::tempdir().unwrap(), &texts, &expected);
        prop_assert!(!report.wrong.is_empty(), "file {file}, byte {place}, flipped by {flip}");
    }
}
