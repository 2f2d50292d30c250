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

#[test]
fn each_filter_finds_what_fits_alone() {
    let some = |text: &str| Some(text.to_owned());
    let time = |text: &str| Some(text.parse().unwrap());
    let none = Filter::default;
    let cases: [(Filter, Filter); 14] = [
        (
            Filter {
                job: some("4711"),
                ..none()
            },
            Filter {
                job: some("4712"),
                ..none()
            },
        ),
        (
            Filter {
                project: some("Acme/Shop"),
                ..none()
            },
            Filter {
                project: some("acme"),
                ..none()
            },
        ),
        (
            Filter {
                agent: some("acme/infra:prod"),
                ..none()
            },
            Filter {
                agent: some("rod"),
                ..none()
            },
        ),
        (
            Filter {
                agent: some("prod"),
                ..none()
            },
            Filter {
                agent: some("acme/infra"),
                ..none()
            },
        ),
        (
            Filter {
                agent: some("1"),
                ..none()
            },
            Filter {
                agent: some("11"),
                ..none()
            },
        ),
        (
            Filter {
                user: some("ann"),
                ..none()
            },
            Filter {
                user: some("an"),
                ..none()
            },
        ),
        (
            Filter {
                verb: some("create"),
                ..none()
            },
            Filter {
                verb: some("get"),
                ..none()
            },
        ),
        (
            Filter {
                resource: some("pods"),
                ..none()
            },
            Filter {
                resource: some("pod"),
                ..none()
            },
        ),
        (
            Filter {
                resource: some("pods/exec"),
                ..none()
            },
            Filter {
                resource: some("pods/log"),
                ..none()
            },
        ),
        (
            Filter {
                namespace: some("shop"),
                ..none()
            },
            Filter {
                namespace: some(""),
                ..none()
            },
        ),
        (
            Filter {
                status: Some(Status::Class(4)),
                ..none()
            },
            Filter {
                status: Some(Status::Code(404)),
                ..none()
            },
        ),
        (
            Filter {
                reason: some("denied"),
                ..none()
            },
            Filter {
                reason: some("cut"),
                ..none()
            },
        ),
        (
            Filter {
                reason: some("refused"),
                ..none()
            },
            Filter {
                reason: some("rules"),
                ..none()
            },
        ),
        (
            Filter {
                since: time("2026-11-23T21:45:37.023641961Z"),
                until: time("2026-11-23T21:45:37.1Z"),
                ..none()
            },
            Filter {
                since: time("2026-11-23T21:45:37.1Z"),
                ..none()
            },
        ),
    ];
    for (fits, not) in cases {
        assert_eq!(found(LINE, &fits), [LINE], "{fits:?}");
        assert!(found(LINE, &not).is_empty(), "{not:?}");
    }
    let until = Filter {
        until: time("2026-11-23T21:45:37.023641961Z"),
        ..none()
    };
    assert!(found(LINE, &until).is_empty());
}

#[test]
fn events_are_found_by_what_they_have() {
    let all = format!("{LINE}\n{CONNECTED}\n{LOST}\nnonsense\n{{}}\n");
    assert_eq!(found(&all, &Filter::default()), [LINE, CONNECTED, LOST]);
    let agent = Filter {
        agent: Some("prod".to_owned()),
        ..Filter::default()
    };
    assert_eq!(found(&all, &agent), [LINE, CONNECTED]);
    let user = Filter {
        user: Some("ann".to_owned()),
        ..Filter::default()
    };
    assert_eq!(found(&all, &user), [LINE]);
}

#[test]
fn a_status_is_a_code_or_a_class() {
    assert_eq!("403".parse(), Ok(Status::Code(403)));
    assert_eq!("5xx".parse(), Ok(Status::Class(5)));
    for wrong in ["", "xx", "6xx", "0xx", "99", "600", "4x", "denied"] {
        assert!(wrong.parse::<Status>().is_err(), "{wrong}");
    }
}
