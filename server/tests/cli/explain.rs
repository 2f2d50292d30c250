//! `explain`: 0 for a permit, 1 for a denial, 2 when it can not be told; for a described job, a token, a past request.

mod past;

use serde_json::{Value, json};

use crate::place::{Place, Ran};

const FILE: &str = "\
ci_access:
  projects:
  - id: acme/app
    refs: [main]
    default_namespace: app
    access_as: {ci_job: {}}
";
const PROD: &str = "repository/acme/infra/.gitlab/agents/prod/config.yaml";

async fn place() -> Place {
    let place = Place::new();
    place.ok(&["agent", "create", "acme/infra:prod"]).await;
    place.write(PROD, FILE);
    place
}

async fn explain(place: &Place, arguments: &[&str]) -> Ran {
    place.run(&[&["explain"], arguments].concat()).await
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test]
async fn a_described_job() {
    let place = place().await;
    let asked = [
        "acme/infra:prod",
        "--project=acme/app",
        "--job-id=7",
        "--ref",
    ];
    let allowed = explain(&place, &[&asked[..], &["main"]].concat()).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    let file = place.path(PROD).display().to_string();
    let begin = format!(
        "allowed: acme/app may use acme/infra:prod\n  by: projects[0] (line 3, \"acme/app\")\n  at: {file}:3\n  \
         as: ci_job\n    Impersonate-User: gitlab:ci_job:7\n    Impersonate-Group: gitlab:ci_job\n"
    );
    assert!(allowed.stdout.starts_with(&begin), "{}", allowed.stdout);

    let denied = explain(&place, &[&asked[..], &["topic"]].concat()).await;
    assert_eq!((denied.code, denied.stderr.as_str()), (Some(1), ""));
    let because = "ref \"topic\" matches none of \"main\"";
    assert!(denied.stdout.contains(because), "{}", denied.stdout);

    let little = explain(&place, &["1", "--project=acme/app", "--ref=main"]).await;
    assert_eq!(little.code, Some(1));
    let note = "note: of a described job no more is known than the flags say";
    assert!(little.stdout.contains(note), "{}", little.stdout);

    let other = place.write("other.yaml", "ci_access:\n  frojects: []\n");
    let file = other.to_str().unwrap();
    let arguments = [&["explain"], &asked[..], &["main", "--file", file]].concat();
    let message = place.fails(2, &arguments).await;
    assert!(
        message.contains(file) && message.contains("frojects"),
        "{message}"
    );
}

#[tokio::test]
async fn json_has_it_all() {
    let place = place().await;
    let job = [
        "--project=acme/app",
        "--job-id=7",
        "--ref=main",
        "--format=json",
    ];
    let told = parsed(&explain(&place, &[&["1"], &job[..]].concat()).await);
    assert_eq!(told["allowed"], true, "{told:#}");
    assert_eq!(told["agent"], json!({"id": 1, "name": "acme/infra:prod"}));
    assert_eq!(told["job"]["project"]["path"], "acme/app");
    assert_eq!(
        (
            &told["rule"]["tier"],
            &told["rule"]["line"],
            &told["access_as"]
        ),
        (&json!("projects"), &json!(3), &json!("ci_job"))
    );
    assert_eq!(
        told["headers"][0],
        json!(["Impersonate-User", "gitlab:ci_job:7"])
    );
    assert_eq!(told["identity"]["as"], "gitlab:ci_job:7");
    assert_eq!(told["considered"][0]["outcome"], "decides");
    assert!(
        told["rules"]["file"].as_str().unwrap().ends_with(PROD),
        "{told:#}"
    );
    assert_eq!(told["rules"]["revision"].as_str().unwrap().len(), 12);
}

#[tokio::test]
async fn without_an_agent_all_are_told() {
    let place = place().await;
    place.ok(&["agent", "create", "acme/infra:dev"]).await;
    let all = explain(&place, &["--project=acme/app", "--ref=main", "--job-id=7"]).await;
    assert_eq!(all.code, Some(0));
    assert_eq!(
        all.stdout,
        "allowed  acme/infra:prod: by projects[0] (line 3, \"acme/app\"), as ci_job\n\
         denied   acme/infra:dev: no rule of the agent's configuration names the project acme/app, a group of it, or \
         all projects\n"
    );
    let none = explain(&place, &["--project=other/app", "--format=json"]).await;
    assert_eq!(none.code, Some(1));
    assert_eq!(parsed(&none)["agents"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_is_explained_by_what_it_proves() {
    let place = place().await;
    let issue = [
        "job-token",
        "issue",
        "--project=acme/app",
        "--ref=main",
        "--job-id=7",
    ];
    place.write("token", &place.ok(&issue).await);
    let asked = ["acme/infra:prod", "--token-file=token"];
    let told = explain(&place, &asked).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let job = "\n  job: acme/app of local, job 7, ref main\n\nallowed: acme/app may use acme/infra:prod\n";
    assert!(
        told.stdout.starts_with("credential ") && told.stdout.contains(job),
        "{}",
        told.stdout
    );

    let id = parsed(&explain(&place, &[&asked[..], &["--format=json"]].concat()).await);
    let id = id["credential"]["id"].as_str().unwrap();
    place.ok(&["job-token", "revoke", id]).await;
    let told = explain(&place, &asked).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    let refused = "refused: the credential has been revoked, whatever the rules say\n";
    assert!(told.stdout.contains(refused), "{}", told.stdout);

    place.write("rubbish", "rubbish");
    let rubbish = ["explain", "acme/infra:prod", "--token-file=rubbish"];
    let message = place.fails(2, &rubbish).await;
    assert_eq!(message, "no method of this server knows such a credential");
}

#[tokio::test]
async fn a_session_credential_is_for_its_agent_alone() {
    let place = place().await;
    place.ok(&["agent", "create", "acme/app:own"]).await;
    let issue = [
        "job-token",
        "issue",
        "--project=acme/app",
        "--ref=main",
        "--job-id=7",
    ];
    place.write("token", &place.ok(&issue).await);
    let kubeconfig = place
        .ok(&["kubeconfig", "--token-file=token", "--json"])
        .await;
    let kubeconfig: Value = serde_json::from_str(&kubeconfig).unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
    place.write("session", token.strip_prefix("ci:1:").unwrap());
    let own = explain(&place, &["1", "--token-file=session"]).await;
    assert_eq!(own.code, Some(0), "{own:?}");
    let other = explain(&place, &["2", "--token-file=session"]).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    let refused = "refused: the credential is for agent 1 alone, whatever the rules say\n";
    assert!(other.stdout.contains(refused), "{}", other.stdout);
}

#[tokio::test]
async fn questions_that_can_not_be_answered() {
    let place = place().await;
    for (arguments, says) in [
        (
            &["1"][..],
            "which job? Describe it (--project and more), prove it (--token-file)",
        ),
        (
            &["acme/infra:prd", "--project=a/b"],
            "no agent acme/infra:prd: is it acme/infra:prod?",
        ),
        (
            &["acme/infr:prod", "--project=a/b"],
            "no agent acme/infr:prod: is it acme/infra:prod?",
        ),
        (
            &["x/y:z", "--project=a/b"],
            "no agent x/y:z: see `agent list`",
        ),
        (
            &["1", "--project=a/b", "--provider=gitlab"],
            "--provider: \"gitlab\" is none of the server's providers: local",
        ),
        (&["1", "--request=00"], "there is no audit file"),
        (
            &["1", "--ref=main"],
            "the following required arguments were not provided:",
        ),
        (
            &["1", "--project=a/b", "--request=00"],
            "the argument '--project <PATH>' cannot be used with",
        ),
    ] {
        let message = place.fails(2, &[&["explain"], arguments].concat()).await;
        assert!(message.contains(says), "{arguments:?}: {message}");
    }
    place.write("server.yaml", "no: such key\n");
    place.fails(2, &["explain", "1", "--project=a/b"]).await;
}

#[tokio::test]
async fn a_file_to_try_is_read_as_the_server_would() {
    let place = Place::new();
    place.write("others/empty", "");
    place.write(PROD, FILE);
    let provider = |name: &str| {
        json!({"name": name, "type": "gitlab", "url": format!("https://{name}.example.com"),
            "identity_prefix": name, "oidc": {"audiences": ["x"]}})
    };
    let authn = json!({"providers": [provider("one"), provider("two")]});
    let others = place.path("others").display().to_string();
    let config = place
        .config(&format!(
            "authn: {authn}
"
        ))
        .replace(
            "config_repositories: [{",
            &format!(
                "config_repositories: [{{provider: two, directory: {others}}}, {{provider: one, "
            ),
        );
    place.write("server.yaml", &config);
    place.ok(&["agent", "create", "acme/infra:prod"]).await;
    let job = ["acme/infra:prod", "--project=acme/app", "--provider=one"];
    let job = [&job[..], &["--ref=main", "--job-id=7", "--file=tried.yaml"]].concat();
    place.write("tried.yaml", FILE);
    let allowed = explain(&place, &job).await;
    assert_eq!(allowed.code, Some(0), "{allowed:?}");
    let unknown = FILE.replace(
        "refs:",
        "provider: three
    refs:",
    );
    place.write("tried.yaml", &unknown);
    let message = place.fails(2, &[&["explain"], &job[..]].concat()).await;
    assert!(message.contains("\"three\" is not configured"), "{message}");
}
