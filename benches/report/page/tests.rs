use serde_json::json;

use super::super::{Figure, Lost, Run};
use super::{BEGIN, END, Page};

fn run() -> Run {
    let figure = |target: &str, value: f64| Figure {
        workload: "bulk".to_owned(),
        case: "down_x1".to_owned(),
        target: target.to_owned(),
        measure: "speed".to_owned(),
        unit: "MB/s".to_owned(),
        rounds: vec![value],
    };
    Run {
        time: 0,
        command: "quick".to_owned(),
        environment: json!({"cores": 2, "sysctls": {"net.core.rmem_max": "1"}}),
        peers: Vec::new(),
        figures: vec![figure("tunnel", 400.0), figure("rathole", 600.0)],
        lost: vec![Lost {
            workload: "bulk".to_owned(),
            case: "up_x1".to_owned(),
            target: "rathole".to_owned(),
            why: "a <reason>".to_owned(),
        }],
    }
}

#[test]
fn writes_between_the_marks_of_a_document_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let document = directory.path().join("benchmarks.md");
    std::fs::write(
        &document,
        format!("before\n{BEGIN}\nearlier\n{END}\nafter\n"),
    )
    .unwrap();
    let page = Page::new(run()).unwrap();
    page.write_into(&document).unwrap();
    let first = std::fs::read_to_string(&document).unwrap();
    page.write_into(&document).unwrap();
    assert_eq!(first, std::fs::read_to_string(&document).unwrap());
    assert!(
        first.starts_with("before\n") && first.ends_with("after\n") && !first.contains("earlier")
    );
    assert!(first.contains("* Bulk: MB/s: rathole (down_x1)"), "{first}");
    assert!(first.contains("(benchmarks/bulk-speed.svg)"), "{first}");
    assert!(directory.path().join("benchmarks/bulk-speed.svg").exists());
}

#[test]
fn a_document_without_marks_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let document = directory.path().join("other.md");
    std::fs::write(&document, "text").unwrap();
    let error = Page::new(run()).unwrap().write_into(&document).unwrap_err();
    assert!(error.to_string().contains("has no lines"), "{error}");
    assert_eq!(std::fs::read_to_string(&document).unwrap(), "text");
}

#[test]
fn the_html_page_holds_its_pictures_and_escapes_what_programs_wrote() {
    let html = Page::new(run()).unwrap().html();
    assert!(
        html.contains("<svg") && html.contains("<b>600</b>"),
        "{html}"
    );
    assert!(
        html.contains("a &lt;reason&gt;") && !html.contains("src="),
        "{html}"
    );
}

#[test]
fn a_run_is_read_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.json");
    run().write(&file).unwrap();
    let read = Run::read(&file).unwrap();
    assert_eq!(
        serde_json::to_value(read).unwrap(),
        serde_json::to_value(run()).unwrap()
    );
}
