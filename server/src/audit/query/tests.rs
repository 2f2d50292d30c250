//! Lines as they stand in files, and what is found among them.

use super::*;

const LINE: &str = r#"{"time":"2026-11-23T21:45:37.023641961Z","request_id":"ec499e414579216e","client":"192.0.2.9:57962","user_agent":"kubectl/v1.35.0","agent":{"id":1,"name":"acme/infra:prod"},"job":{"provider":"local","project":{"path":"acme/shop","id":42},"groups":[{"path":"acme"}],"job_id":"4711","ref":"main","ref_protected":true,"user":{"login":"ann"},"expires_at":"2026-11-23T22:45:35Z"},"token":"486974edc1048b827c2f4f2d0a7e3816","method":"GET","path":"/api/v1/namespaces/shop/pods/a/exec","verb":"create","resource":"pods","subresource":"exec","namespace":"shop","rule":"projects[0] (line 3, \"acme/shop\")","kubernetes":{"as":"gitlab:ci_job:4711","groups":["gitlab:ci_job"]},"session":1,"status":403,"bytes_up":0,"bytes_down":52,"duration_ms":25,"end":{"refused":"denied"}}"#;
const CONNECTED: &str = r#"{"time":"2026-11-23T21:45:38Z","event":"agent_connected","agent":{"id":1,"name":"acme/infra:prod"},"session":1,"client":"192.0.2.7:1","version":"0.1.0"}"#;
const LOST: &str = r#"{"time":"2026-11-23T21:45:39Z","event":"lost","count":2,"since":"2026-11-23T21:45:37Z","until":"2026-11-23T21:45:38Z"}"#;

fn found(lines: &str, filter: &Filter) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let mut found = Vec::new();
    each([Source::from(file.path().to_owned())], filter, |raw, _| {
        found.push(String::from_utf8(raw.to_vec()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

#[test]
fn the_line_of_many_requests_is_read_again() {
    let gap = r#""count":2,"since":"2026-11-23T21:45:37Z","until":"2026-11-23T21:45:38Z""#;
    for client in [r#""client":"192.0.2.9","#, ""] {
        let text =
            format!(r#"{{"time":"2026-11-23T21:45:39Z","event":"client_refused",{client}{gap}}}"#);
        let Some(Entry::Event(event)) = parse(text.as_bytes()) else {
            panic!("{text}");
        };
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
    }
}

#[test]
fn a_line_is_found_by_its_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    let other = LINE
        .replace("ec499e414579216e", "1")
        .replace("4711", "ec499e414579216e");
    let text = format!("{other}\n{CONNECTED}\n{LINE}\n{{\"request_id\":\"x\"}}\nec499e414579216e");
    std::fs::write(&file, text).unwrap();
    let files = [file];
    let found = find(&files, "ec499e414579216e").unwrap().unwrap();
    assert_eq!(found.job.unwrap().job_id.as_deref(), Some("4711"));
    assert_eq!(found.kubernetes.unwrap().groups, ["gitlab:ci_job"]);
    assert_eq!(find(&files, "x").unwrap(), None);
}

/// A filter as `name=value`, several with spaces between them.
fn by(text: &str) -> Filter {
    let mut filter = Filter::default();
    for (name, value) in text.split(' ').filter_map(|part| part.split_once('=')) {
        let some = Some(value.to_owned());
        match name {
            "job" => filter.job = some,
            "project" => filter.project = some,
            "agent" => filter.agent = some,
            "user" => filter.user = some,
            "verb" => filter.verb = some,
            "resource" => filter.resource = some,
            "namespace" => filter.namespace = some,
            "status" => filter.status = Some(value.parse().unwrap()),
            "reason" => filter.reason = some,
            "since" => filter.since = Some(value.parse().unwrap()),
            "until" => filter.until = Some(value.parse().unwrap()),
            other => panic!("{other}"),
        }
    }
    filter
}

#[test]
fn each_filter_finds_what_fits_alone() {
    for (fits, not) in [
        ("job=4711", "job=4712"),
        ("project=Acme/Shop", "project=acme"),
        ("agent=acme/infra:prod", "agent=rod"),
        ("agent=prod", "agent=acme/infra"),
        ("agent=1", "agent=11"),
        ("user=ann", "user=an"),
        ("verb=create", "verb=get"),
        ("resource=pods", "resource=pod"),
        ("resource=pods/exec", "resource=pods/log"),
        ("namespace=shop", "namespace="),
        ("status=4xx", "status=404"),
        ("reason=denied", "reason=cut"),
        ("reason=refused", "reason=rules"),
        (
            "since=2026-11-23T21:45:37.023641961Z",
            "since=2026-11-23T21:45:37.1Z",
        ),
        (
            "until=2026-11-23T21:45:37.1Z",
            "until=2026-11-23T21:45:37.023641961Z",
        ),
        ("user=ann verb=create status=403", "user=ann verb=get"),
    ] {
        assert_eq!(found(LINE, &by(fits)), [LINE], "{fits}");
        assert!(found(LINE, &by(not)).is_empty(), "{not}");
    }
}

#[test]
fn events_are_found_by_what_they_have() {
    let all = format!("{LINE}\n{CONNECTED}\n{LOST}\nnonsense\n{{}}\n");
    assert_eq!(found(&all, &Filter::default()), [LINE, CONNECTED, LOST]);
    assert_eq!(found(&all, &by("agent=prod")), [LINE, CONNECTED]);
    assert_eq!(found(&all, &by("user=ann")), [LINE]);
}

#[test]
fn a_status_is_a_code_or_a_class() {
    assert_eq!("403".parse(), Ok(Status::Code(403)));
    assert_eq!("5xx".parse(), Ok(Status::Class(5)));
    for wrong in ["", "xx", "6xx", "0xx", "99", "600", "4x", "denied"] {
        assert!(wrong.parse::<Status>().is_err(), "{wrong}");
    }
}
