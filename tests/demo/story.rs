//! What the demo shows, in order.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::{fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result};
use ci_tunnel_tests::tunnel::Tunnel;
use serde_json::json;

use crate::audit;
use crate::place::{Leftovers, Names, Place};
use crate::shell::{Shell, expect, say};

const AGENT: &str = "acme/infra:demo";
const SERVER: &str = "ci-tunnel-server --config server.yaml";

pub(crate) async fn tell(place: &Place) -> Result<()> {
    let mut tunnel = Tunnel::builder().start().await?;
    let told = chapters(place, &mut tunnel).await;
    told.inspect_err(|_| eprintln!("\n{}", tunnel.last_words()))
}

async fn chapters(place: &Place, tunnel: &mut Tunnel) -> Result<()> {
    let folder = tunnel.state_dir();
    let folder = folder
        .parent()
        .context("the state is in the tunnel's folder")?
        .to_owned();
    let mut shell = shell(place, &folder)?;
    let names = place.names();
    write_secret(&folder.join("admin.kubeconfig"), &place.admin_kubeconfig()?)?;
    let _leftovers = Leftovers::of(place, &folder);

    cluster(place, &shell, &names).await?;
    server(tunnel, &shell).await?;
    agent(place, tunnel, &shell, &folder).await?;
    rules(tunnel, &shell, &names).await?;
    job(tunnel, &mut shell, &names).await?;
    requests(place, &shell, &names, &folder).await?;
    watching(&mut shell, &folder).await?;
    inside_a_pod(place, &mut shell).await?;
    refusal(tunnel, &shell, &names).await?;
    shell.heading("10. What the server wrote down, a line of JSON for each request; shortened:");
    audit::show(tunnel).await?;
    shell.heading("11. Who did what, and whether anybody changed what is written there");
    audit::ask(&shell, SERVER).await
}

fn shell(place: &Place, folder: &Path) -> Result<Shell> {
    let program = std::env::current_exe()?;
    let programs = place.programs();
    let ours = program.parent().context("the demo is in a directory")?;
    let path: Vec<&Path> = programs.as_deref().into_iter().chain([ours]).collect();
    let mut shell = Shell::new(folder, &path)?;
    shell.set("KUBECACHEDIR", folder.join("cache"));
    // The tunnel is on this machine, whatever proxy leads out of it.
    let direct =
        std::env::var("NO_PROXY").map_or_else(|_| String::new(), |known| format!("{known},"));
    shell.set("NO_PROXY", format!("{direct}localhost,127.0.0.1"));
    Ok(shell)
}

async fn cluster(place: &Place, shell: &Shell, names: &Names) -> Result<()> {
    let Names {
        namespace,
        project_id,
    } = names;
    shell.heading("1. The cluster's administrator makes room for a project's CI jobs");
    let kubectl = "KUBECONFIG=admin.kubeconfig kubectl";
    if let Place::StandIn { api, .. } = place {
        let namespace = json!({"kind": "Namespace", "metadata": {"name": namespace}});
        api.put_object("namespaces", namespace);
        shell.remark("the stand-in has no RBAC: everybody may do everything there");
        return Ok(());
    }
    let create = format!("{kubectl} create namespace {namespace}");
    shell.run(&create).await?;
    let group = format!("--group=gitlab:project:{project_id}");
    shell
        .run(&format!(
            "{kubectl} create rolebinding ci --namespace={namespace} --clusterrole=edit {group}"
        ))
        .await?;
    shell
        .run(&format!(
            "{kubectl} create clusterrolebinding {namespace}-ci --clusterrole=view {group}"
        ))
        .await?;
    // No pod is admitted before its service account is there.
    let wait = "wait --for=create serviceaccount/default --timeout=30s";
    shell
        .quietly(&format!("{kubectl} {wait} --namespace={namespace}"))
        .await?;
    Ok(())
}

async fn server(tunnel: &Tunnel, shell: &Shell) -> Result<()> {
    shell.heading("2. A server, which CI jobs can reach");
    shell.prompt(&format!("{SERVER} serve &"));
    let line = format!(
        "serving: jobs at {} (TCP), agents at {} (UDP)",
        tunnel.api_addr(),
        tunnel.agents_addr()
    );
    say(&line);
    shell.run("cat server.yaml").await.map(drop)
}

async fn agent(place: &Place, tunnel: &mut Tunnel, shell: &Shell, folder: &Path) -> Result<()> {
    shell.heading("3. An agent beside the cluster: it connects out to the server; nothing connects to the cluster");
    let created = shell.run(&format!("{SERVER} agent create {AGENT}")).await?;
    let word_after = |mark: &str| {
        let (_, rest) = created.split_once(mark)?;
        rest.split_whitespace().next()
    };
    let token = word_after("CI_TUNNEL_TOKEN=").context("`agent create` shows no token")?;
    let pin = word_after("--pin ").context("`agent create` shows no pin")?;
    let kubeconfig = folder.join("agent.kubeconfig");
    write_secret(&kubeconfig, &place.agent_kubeconfig().await?)?;
    shell.prompt("ci-tunnel-agent run --config agent-0.yaml &");
    tunnel.join(AGENT, (token, pin), &kubeconfig, "").await?;
    tunnel.wait_connected(AGENT).await?;
    say("connected");
    Ok(())
}

async fn rules(tunnel: &Tunnel, shell: &Shell, names: &Names) -> Result<()> {
    shell.heading("4. A file in the agent's project says whose jobs may use it, and as whom");
    let rules = format!(
        "ci_access:\n  projects:\n    - id: acme/shop\n      default_namespace: {}\n      refs: [main]\n      \
         access_as: {{ci_job: {{}}}}\n",
        names.namespace
    );
    tunnel.write_config(AGENT, &rules)?;
    tunnel
        .wait_status("the file to be in force", |status| {
            status["agents"][0]["configuration"]["revision"].is_string()
        })
        .await?;
    shell
        .run("cat repositories/acme/infra/.gitlab/agents/demo/config.yaml")
        .await
        .map(drop)
}

async fn job(tunnel: &Tunnel, shell: &mut Shell, names: &Names) -> Result<()> {
    shell.heading(
        "5. A job of acme/shop on branch main: it proves who it is, and gets a KUBECONFIG",
    );
    let project = format!("--project acme/shop --project-id {}", names.project_id);
    let issue = format!("{SERVER} job-token issue {project} --job-id 4711 --ref main --user ada");
    shell.run(&format!("{issue} > job.token")).await?;
    let fetch = curl(tunnel, "-sSf", "job.token");
    shell.run(&format!("{fetch} > kubeconfig")).await?;
    shell.export("KUBECONFIG", "kubeconfig");
    let contexts = shell.run("kubectl config get-contexts").await?;
    expect(&contexts, &[AGENT, "agent:1", &names.namespace])?;
    shell
        .run(&format!("kubectl config use-context {AGENT}"))
        .await
        .map(drop)
}

async fn requests(place: &Place, shell: &Shell, names: &Names, folder: &Path) -> Result<()> {
    shell.heading("6. kubectl, through the tunnel, as this very job");
    let whoami = shell.run("kubectl auth whoami").await?;
    let group = format!("gitlab:project:{}", names.project_id);
    expect(&whoami, &["gitlab:ci_job:4711", &group, "[main]"])?;
    fs::write(folder.join("hello.yaml"), pod("hello"))?;
    shell.run("cat hello.yaml").await?;
    let applied = shell.run("kubectl apply -f hello.yaml").await?;
    expect(&applied, &["pod/hello created"])?;
    let wait = "kubectl wait --for=condition=Ready pod/hello --timeout=120s";
    shell.run(wait).await?;
    let pods = shell.run("kubectl get pods -A").await?;
    expect(&pods, &[&names.namespace, "hello", "Running"])?;
    if matches!(place, Place::Real { .. }) {
        let denied = shell.refused("kubectl get nodes").await?;
        expect(
            &denied,
            &["\"gitlab:ci_job:4711\" cannot list resource \"nodes\""],
        )?;
    }
    Ok(())
}

async fn watching(shell: &mut Shell, folder: &Path) -> Result<()> {
    shell.heading("7. A watch, which sees at once what happens");
    fs::write(folder.join("world.yaml"), pod("world"))?;
    let mut watch = shell.start("kubectl get pods --watch")?;
    watch.show_until(&["hello", "Running"]).await?;
    shell.run("kubectl apply -f world.yaml").await?;
    shell.remark("the watch:");
    watch.show_until(&["world", "Running"]).await
}

async fn inside_a_pod(place: &Place, shell: &mut Shell) -> Result<()> {
    shell.heading("8. Logs as they are written, and a command inside the pod");
    place.log("hello", "a line of before")?;
    let mut logs = shell.start("kubectl logs --follow hello")?;
    logs.show_until(&[]).await?;
    for number in 1..=2 {
        let known = logs.lines();
        place.log(
            "hello",
            &format!("line {number}, written while kubectl follows"),
        )?;
        logs.show_more(&known).await?;
    }
    let echoed = shell
        .run("echo 'there and back over one stream' | kubectl exec -i hello -- cat")
        .await?;
    expect(&echoed, &["there and back over one stream"])?;
    shell
        .refused("kubectl exec hello -- sh -c 'exit 3'")
        .await
        .map(drop)
}

async fn refusal(tunnel: &Tunnel, shell: &Shell, names: &Names) -> Result<()> {
    shell.heading("9. A job of the same project, but on another branch: refused, and told why");
    let project = format!("--project acme/shop --project-id {}", names.project_id);
    let job = format!("{project} --job-id 4712 --ref experiment --user eve");
    shell
        .run(&format!("{SERVER} job-token issue {job} > other.token"))
        .await?;
    let fetch = curl(
        tunnel,
        "-sS -w '\\nHTTP status %{http_code}\\n'",
        "other.token",
    );
    let answer = shell.run(&fetch).await?;
    expect(&answer, &["HTTP status 403", "acme/shop"])?;
    let token = "\"ci:1:$(cat other.token)\"";
    let denied = shell
        .refused(&format!("kubectl --token {token} get pods"))
        .await?;
    expect(&denied, &["Forbidden"])?;
    let explained = shell
        .refused(&format!("{SERVER} explain {AGENT} {job}"))
        .await?;
    expect(&explained, &["refs"])
}

/// Asks for the KUBECONFIG of the job whose token is in a file.
fn curl(tunnel: &Tunnel, flags: &str, token: &str) -> String {
    let port = tunnel.api_addr().port();
    format!(
        "curl {flags} --cacert state/ca.pem -H \"Authorization: Bearer $(cat {token})\" https://localhost:{port}/kubeconfig"
    )
}

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n    - name: main\n      \
         image: busybox\n      command: [sh, -c, 'while date; do sleep 1; done']\n"
    )
}

fn write_secret(file: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}
