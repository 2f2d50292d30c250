//! What git is told by its environment: nothing of this machine's settings, and credentials where no argument shows them.

use std::ffi::OsString;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ci_tunnel::config::value::SecretError;

use super::remote::{Access, Remote};

/// Variables of this process that git may see: where programs are, and how to reach the world.
const INHERITED: &[&str] = &["PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Looked at when the file names no proxy.
const PROXIES: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

const SETTINGS: &[(&str, &str)] = &[
    ("advice.detachedHead", "false"),
    ("core.askPass", ""),
    // Above it content is not held in memory: packs hide how large what they hold is.
    ("core.bigFileThreshold", "256k"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    // What is fetched is small and replaced; see `clone`.
    ("fetch.unpackLimit", "1"),
    ("gc.auto", "0"),
    ("http.followRedirects", "false"),
    ("init.templateDir", ""),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("submodule.recurse", "false"),
];
/// What is not there is fetched when it is asked for.
const FILTERED: &[(&str, &str)] = &[
    ("remote.origin.partialclonefilter", "blob:none"),
    ("remote.origin.promisor", "true"),
];

/// The whole environment for the repository at `url`; `filtered` if only what is needed is fetched of it.
pub(super) fn of(
    remote: &Remote,
    url: &str,
    home: &Path,
    filtered: bool,
) -> Result<Vec<(OsString, OsString)>, SecretError> {
    let filter = if filtered { FILTERED } else { &[] };
    let mut settings: Vec<(String, OsString)> = SETTINGS
        .iter()
        .chain(filter)
        .map(|(key, value)| ((*key).to_owned(), OsString::from(value)))
        .collect();
    settings.push(("remote.origin.url".to_owned(), url.into()));
    let mut environment = base(home);
    match &remote.access {
        Access::Https {
            credentials,
            ca_file,
            proxy,
        } => {
            environment.push(("GIT_ALLOW_PROTOCOL".into(), "https".into()));
            if let Some(file) = ca_file {
                settings.push(("http.sslCAInfo".to_owned(), file.into()));
            }
            match proxy {
                Some(proxy) => settings.push(("http.proxy".to_owned(), proxy.into())),
                None => environment.extend(inherited(PROXIES)),
            }
            if let Some((user, password)) = credentials {
                let password = password.read()?;
                let header = STANDARD.encode(format!("{user}:{}", password.expose()));
                // For this origin alone, wherever git may be sent.
                let key = format!(
                    "http.{}.extraHeader",
                    remote.url.origin().unwrap_or_default()
                );
                settings.push((key, format!("Authorization: Basic {header}").into()));
            }
        }
        Access::Ssh { key, known_hosts } => {
            environment.push(("GIT_ALLOW_PROTOCOL".into(), "ssh".into()));
            environment.push(("GIT_SSH_VARIANT".into(), "ssh".into()));
            environment.push(("GIT_SSH_COMMAND".into(), ssh(key, known_hosts).into()));
        }
    }
    environment.push(("GIT_CONFIG_COUNT".into(), settings.len().to_string().into()));
    for (at, (key, value)) in settings.into_iter().enumerate() {
        environment.push((format!("GIT_CONFIG_KEY_{at}").into(), key.into()));
        environment.push((format!("GIT_CONFIG_VALUE_{at}").into(), value));
    }
    Ok(environment)
}

fn base(home: &Path) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_LITERAL_PATHSPECS", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ];
    let fixed = fixed.map(|(name, value)| (name.into(), value.into()));
    let home = [("HOME".into(), home.into())];
    inherited(INHERITED).chain(home).chain(fixed).collect()
}

fn inherited(names: &'static [&'static str]) -> impl Iterator<Item = (OsString, OsString)> {
    let value = |name: &&str| Some((OsString::from(*name), std::env::var_os(name)?));
    names.iter().filter_map(value)
}

const SSH_OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ConnectTimeout=10",
    "ControlMaster=no",
    "ControlPath=none",
    "ForwardAgent=no",
    "GlobalKnownHostsFile=/dev/null",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "LogLevel=ERROR",
    "PermitLocalCommand=no",
    "PreferredAuthentications=publickey",
    "ServerAliveCountMax=3",
    "ServerAliveInterval=5",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
];

/// git hands this to a shell.
fn ssh(key: &Path, known_hosts: &Path) -> String {
    let mut command = "ssh -F /dev/null -T -x".to_owned();
    for option in SSH_OPTIONS {
        command.push_str(" -o ");
        command.push_str(option);
    }
    for (name, path) in [("IdentityFile", key), ("UserKnownHostsFile", known_hosts)] {
        // In ssh's own configuration quotes keep a path together, and % begins a token.
        let option = format!(
            "{name}=\"{}\"",
            path.display().to_string().replace('%', "%%")
        );
        command.push_str(" -o ");
        command.push_str(&quoted(&option));
    }
    command
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell_and_ssh() {
        let command = ssh(Path::new("/a b/it's 100%"), Path::new("/k"));
        assert!(
            command.ends_with(
                r#"-o 'IdentityFile="/a b/it'\''s 100%%"' -o 'UserKnownHostsFile="/k"'"#
            ),
            "{command}"
        );
    }

    #[test]
    fn a_token_stands_in_the_header_of_its_origin_alone() {
        let yaml = "{url: 'https://h:8443/{project}.git', username: bot, password: s3cret}";
        let remote: Remote = ci_tunnel::config::load::from_str(yaml, "f.yaml").unwrap();
        let environment = of(
            &remote,
            "https://h:8443/a.git",
            Path::new("/nonexistent"),
            true,
        )
        .unwrap();
        let value = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let at = (0..).find(|at| {
            value(&format!("GIT_CONFIG_KEY_{at}")).unwrap() == "http.https://h:8443/.extraHeader"
        });
        let header = value(&format!("GIT_CONFIG_VALUE_{}", at.unwrap())).unwrap();
        assert_eq!(header, "Authorization: Basic Ym90OnMzY3JldA==");
        assert_eq!(value("GIT_ALLOW_PROTOCOL").unwrap(), "https");
        assert!(!format!("{remote:?}").contains("s3cret"));
    }
}
