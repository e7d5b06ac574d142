//! What is kept is there again, what is torn is cut off, what is something else is refused: in both formats.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use wafersim_store::{Asked, Opening, Program, Store, StoreError, merge, read};

const NAMES: [&str; 2] = ["a.jsonl", "a.sqlite"];

fn asked(rows: usize, question: &str) -> Asked {
    Asked {
        command: "plan".into(),
        program: Program { version: "1".into(), build: "a".into() },
        question: question.into(),
        words: json!({ "users": rows }),
        keys: (0..rows).map(|row| format!("{question}{row}")).collect(),
    }
}

fn in_both(check: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        check(&folder.path().join(name));
    }
}

/// A number that a reader who rounds twice gets wrong.
const EXACT: f64 = 0.300_000_000_000_000_04;

#[test]
fn rows_are_there_again_by_their_places() {
    in_both(|path| {
        let store = Store::open(path, &asked(4, "q"), Opening::New).unwrap();
        store.keep(2, &Some(EXACT)).unwrap();
        store.keep(0, &None::<f64>).unwrap();
        store.close().unwrap();
        let store = Store::open(path, &asked(4, "q"), Opening::Resume).unwrap();
        assert_eq!((store.rows_known(), store.rows_asked(), store.repaired()), (2, 4, None));
        let known = store.known::<Option<f64>>(0..4).unwrap();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [(0, None), (2, Some(EXACT))]);
        assert_eq!(store.known::<Option<f64>>(1..2).unwrap().len(), 0);
        store.keep(1, &Some(1.0)).unwrap();
        store.keep(3, &Some(2.0)).unwrap();
        store.close().unwrap();
        let stored = read(path).unwrap();
        assert_eq!((stored.header.rows, stored.header.question.as_str(), stored.torn), (4, "q", 0));
        let rows: Vec<_> = stored.rows.iter().map(|row| (row.place, row.key.as_str(), row.json.as_str())).collect();
        assert_eq!(rows, [(0, "q0", "null"), (1, "q1", "1.0"), (2, "q2", "0.30000000000000004"), (3, "q3", "2.0")]);
    });
}

#[test]
fn a_finished_store_is_one_plain_file_and_lines_are_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for order in [[0, 1, 2], [2, 0, 1]] {
        for name in NAMES {
            let path = folder.path().join(name);
            let store = Store::open(&path, &asked(3, "q"), Opening::New).unwrap();
            order.iter().for_each(|place| store.keep(*place, &(*place as u64)).unwrap());
            store.close().unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, NAMES);
        bytes.push(fs::read(folder.path().join(NAMES[0])).unwrap());
        NAMES.iter().for_each(|name| fs::remove_file(folder.path().join(name)).unwrap());
    }
    assert_eq!(bytes[0], bytes[1]);
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let [file, link] = ["file.jsonl", "link.jsonl"].map(|name| folder.path().join(name));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink("file.jsonl", &link).unwrap();
    let store = Store::open(&link, &asked(2, "q"), Opening::Resume).unwrap();
    [1, 0].iter().for_each(|place| store.keep(*place, place).unwrap());
    store.close().unwrap();
    assert!(link.is_symlink());
    let places: Vec<u64> = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["place"].as_u64().unwrap())
        .collect();
    assert_eq!(places, [0, 1]);
}

#[test]
fn another_question_program_or_process_is_refused_and_nothing_is_lost() {
    in_both(|path| {
        let open = |asked: &Asked, opening| Store::open(path, asked, opening).map(drop);
        let store = Store::open(path, &asked(2, "q"), Opening::New).unwrap();
        store.keep(0, &7u64).unwrap();
        let is_in_use = |error: StoreError| matches!(error, StoreError::InUse { .. });
        assert!(open(&asked(2, "q"), Opening::Resume).is_err_and(is_in_use), "{path:?}");
        store.close().unwrap();
        assert!(matches!(open(&asked(2, "q"), Opening::New), Err(StoreError::Exists { .. })));
        let error = open(&asked(3, "r"), Opening::Resume).unwrap_err();
        assert!(error.to_string().contains("users is 2 there, 3 here"), "{error}");
        let mut newer = asked(2, "q");
        newer.program.version = "2".into();
        let error = open(&newer, Opening::Resume).unwrap_err();
        assert!(error.to_string().contains("wafersim 1, build a, and this is 2, build a"), "{error}");
        let store = Store::open(path, &asked(2, "q"), Opening::Resume).unwrap();
        assert_eq!(store.known::<u64>(0..2).unwrap()[&0], 7);
        let error = store.known::<String>(0..2).unwrap_err().to_string();
        assert!(error.contains("row 0: invalid type"), "{error}");
    });
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let many = "{\"schema_version\":1,\"command\":\"plan\",\"program\":{\"version\":\"1\",\"build\":\"a\"},\
                \"question\":\"q\",\"rows\":18446744073709551615,\"asked\":null}\n";
    in_both(|path| {
        for text in ["hello", "hello\n", "{}\n", "{\"schema_version\":2}\n", many] {
            fs::write(path, text).unwrap();
            let error = Store::open(path, &asked(2, "q"), Opening::Resume).unwrap_err();
            assert!(matches!(error, StoreError::NoStore { .. }), "{text}: {error:?}");
            assert!(read(path).is_err());
            assert_eq!(fs::read_to_string(path).unwrap(), text);
        }
        fs::remove_file(path).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.sqlite");
    let database = rusqlite::Connection::open(&other).unwrap();
    database.execute_batch("CREATE TABLE mine (row TEXT)").unwrap();
    drop(database);
    let before = fs::read(&other).unwrap();
    let error = Store::open(&other, &asked(2, "q"), Opening::Resume).unwrap_err();
    assert!(error.to_string().contains("another database"), "{error}");
    assert_eq!(fs::read(&other).unwrap(), before);
    for name in ["a.csv", "a", ".jsonl", "a.JSONL"] {
        let error = Store::open(&folder.path().join(name), &asked(2, "q"), Opening::New).unwrap_err();
        assert!(error.to_string().contains(".jsonl or .sqlite"), "{name}: {error}");
    }
}

#[test]
fn a_row_that_would_not_come_back_is_refused() {
    in_both(|path| {
        let store = Store::open(path, &asked(2, "q"), Opening::New).unwrap();
        for row in [Some(f64::NAN), Some(f64::INFINITY)] {
            assert!(matches!(store.keep(0, &row), Err(StoreError::Row { .. })));
        }
        assert!(matches!(store.keep(2, &1u64), Err(StoreError::Row { .. })), "there is no such place");
        store.close().unwrap();
        assert_eq!(read(path).unwrap().rows, []);
    });
}

fn three_lines(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("a.jsonl");
    let store = Store::open(&path, &asked(3, "q"), Opening::New).unwrap();
    (0..2).for_each(|place| store.keep(place, &format!("word {place}")).unwrap());
    store.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Cut anywhere, a file of lines is a store of its whole lines.
#[test]
fn lines_cut_anywhere_are_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = three_lines(folder.path());
    for length in 0..=bytes.len() {
        let cut = &bytes[..length];
        fs::write(&path, cut).unwrap();
        let ends: Vec<usize> = (0..length).filter(|index| cut[*index] == b'\n').map(|index| index + 1).collect();
        let store = Store::open(&path, &asked(3, "q"), Opening::Resume).unwrap();
        assert_eq!(store.rows_known(), ends.len().saturating_sub(1), "{length}");
        let is_torn = length > 0 && ends.last() != Some(&length);
        assert_eq!(store.repaired().is_some(), is_torn, "{length}");
        drop(store);
        let whole = *ends.last().unwrap_or(&0);
        let header = 1 + bytes.iter().position(|byte| *byte == b'\n').unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes[..whole.max(header)], "{length}");
    }
}

#[test]
fn damage_elsewhere_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = three_lines(folder.path());
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (name, wrong, parts) in [
        ("no row", vec![lines[0], "zzz", lines[2]], vec!["line 2", "expected value"]),
        ("twice", vec![lines[0], lines[1], lines[1]], vec!["row 0", "is there twice"]),
        ("a key", vec![lines[0], &lines[1].replace("q0", "q7")], vec!["row 0", "its key is 'q7'"]),
        ("a place", vec![lines[0], &lines[1].replace("\"place\":0", "\"place\":9")], vec!["row 9", "3 rows"]),
    ] {
        let wrong = wrong.join("\n") + "\n";
        fs::write(&path, &wrong).unwrap();
        let error = Store::open(&path, &asked(3, "q"), Opening::Resume).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong, "{name}");
    }
}

#[test]
fn stores_of_one_question_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str, question: &str, rows: &[(usize, u64)]| {
        let store = Store::open(&at(name), &asked(4, question), Opening::New).unwrap();
        rows.iter().for_each(|(place, row)| store.keep(*place, row).unwrap());
        store.close().unwrap();
    };
    make("a.jsonl", "q", &[(3, 30), (0, 0)]);
    make("b.sqlite", "q", &[(1, 10), (0, 0)]);
    make("c.jsonl", "q", &[(1, 11)]);
    make("d.jsonl", "r", &[(2, 20)]);
    let (a, b, c, d) = (at("a.jsonl"), at("b.sqlite"), at("c.jsonl"), at("d.jsonl"));
    let merged = merge(&[&a, &b], &at("m.jsonl")).unwrap();
    assert_eq!(merged.rows.iter().map(|row| row.place).collect::<Vec<_>>(), [0, 1, 3]);
    let store = Store::open(&at("m.jsonl"), &asked(4, "q"), Opening::Resume).unwrap();
    assert_eq!(store.known::<u64>(0..4).unwrap().into_iter().collect::<Vec<_>>(), [(0, 0), (1, 10), (3, 30)]);
    assert!(matches!(merge(&[&a, &b], &at("m.jsonl")), Err(StoreError::Exists { .. })));
    assert!(matches!(merge(&[&a, &d], &at("n.jsonl")), Err(StoreError::OtherQuestion { .. })));
    let error = merge(&[&b, &c], &at("n.jsonl")).unwrap_err().to_string();
    assert!(error.contains("c.jsonl: row 1: is another in a store before it"), "{error}");
    assert!(!at("n.jsonl").exists());
}
