//! Agent configuration that loads or is refused, and what the documentation says of it.

use std::path::Path;

use ci_tunnel_server::access::lint::Lint;
use ci_tunnel_server::access::{Rules, explain};
use ci_tunnel_server::cli::explain::render;
use ci_tunnel_server::identity::{Agent, AgentId};

use super::files;

#[test]
fn valid_agent_configuration_loads() {
    let files = files("agent-config/valid");
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        Rules::parse(&text, "config.yaml")
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    assert!(files.len() >= 5);
}

#[test]
fn invalid_agent_configuration_is_refused_with_a_message_that_helps() {
    let files = files("agent-config/invalid");
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let message = std::fs::read_to_string(file.with_extension("message")).unwrap();
        let error = match Rules::parse(&text, "config.yaml") {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => error.to_string(),
        };
        assert!(
            error.contains(message.trim()),
            "{}: {error}",
            file.display()
        );
        assert!(
            error.starts_with("config.yaml: "),
            "{}: {error}",
            file.display()
        );
    }
    assert!(files.len() >= 20);
}

/// The documentation's first example, and what it says `explain` tells of it.
#[test]
fn the_documentation_is_true() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config-yaml.md");
    let text = std::fs::read_to_string(file).unwrap();
    let block = |from: &str| {
        text.split_once(from)
            .unwrap()
            .1
            .split_once("```")
            .unwrap()
            .0
            .to_owned()
    };
    let rules = Rules::parse(&block("```yaml\n"), "config.yaml").unwrap();
    let agent = Agent {
        id: AgentId(1),
        project: "acme/infra".parse().unwrap(),
        name: "prod".parse().unwrap(),
    };
    let job = "{provider: local, project: {path: acme/shop}, environment: {name: staging}}";
    let explanation = explain(&serde_yaml::from_str(job).unwrap(), &agent, &rules);
    let path = "/srv/ci-tunnel/config/acme/infra/.gitlab/agents/prod/config.yaml";
    let told = render(&explanation, Some(path));
    assert_eq!(told, block("--environment staging\n"));
}

#[test]
fn the_documentation_has_every_lint() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config-yaml.md");
    let text = std::fs::read_to_string(file).unwrap();
    let table = text.split_once("### Lints").unwrap().1;
    for lint in Lint::ALL {
        let name = format!("`{}`", lint.name());
        let row = table
            .lines()
            .find(|row| row.starts_with("| ") && row.contains(&name));
        let row = row.unwrap_or_else(|| panic!("{name}"));
        let severity = format!("| {} |", lint.severity().as_str());
        assert!(row.contains(&severity), "{row}");
    }
}
