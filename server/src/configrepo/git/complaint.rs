//! What git and ssh complain of, for a person: our hint, and their own last words.

/// Words of git and ssh, and what a person can do. The first that fits is meant.
const HINTS: &[(&str, &str)] = &[
    (
        "Host key verification failed",
        "the remote's host key is not the one in known_hosts_file",
    ),
    (
        "could not read Username",
        "the remote asks for a username and password, or refuses those given",
    ),
    (
        "could not read Password",
        "the remote asks for a username and password, or refuses those given",
    ),
    (
        "Authentication failed",
        "the remote refuses username and password",
    ),
    (
        "Permission denied (",
        "the remote refuses the key of ssh_key_file",
    ),
    (
        "UNPROTECTED PRIVATE KEY",
        "ssh_key_file can be read by others: `chmod 600`",
    ),
    (
        "unable to update url base from redirection",
        "the remote redirects elsewhere: write the url that it leads to",
    ),
    (
        "returned error: 30",
        "the remote redirects elsewhere: write the url that it leads to",
    ),
    (
        "couldn't find remote ref",
        "the repository has no such branch, or no commit on its default branch",
    ),
    (
        "not found",
        "no such repository, or it is hidden from these credentials",
    ),
    (
        "certificate",
        "the remote's certificate is not trusted: ca_file",
    ),
];

/// What a person needs of git's complaint: our hint, and its own last words.
pub(super) fn explain(complaint: &[u8], status: &str) -> String {
    let text = String::from_utf8_lossy(complaint);
    let printable = |line: &str| {
        line.chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect::<String>()
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let fatal = lines
        .clone()
        .find(|line| line.starts_with("fatal: ") && !line.contains("Could not read from remote"));
    let words = fatal
        .or_else(|| lines.clone().find(|line| line.starts_with("error: ")))
        .or_else(|| lines.clone().next());
    let words = words.map_or_else(|| status.to_owned(), printable);
    match HINTS.iter().find(|(pattern, _)| text.contains(pattern)) {
        Some((_, hint)) => format!("{hint} ({words})"),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_short_and_say_what_to_do() {
        let refused = b"Cloning...\nfatal: Authentication failed for 'https://h/x.git/'\n";
        assert_eq!(
            explain(refused, ""),
            "the remote refuses username and password (fatal: Authentication failed for 'https://h/x.git/')"
        );
        let key = b"No ED25519 host key is known for h\r\nHost key verification failed.\r\nfatal: Could not read from remote repository.\n";
        assert!(
            explain(key, "").starts_with(
                "the remote's host key is not the one in known_hosts_file (No ED25519"
            )
        );
        assert_eq!(explain(b"", "signal: 9"), "signal: 9");
        let evil = format!("fatal: \u{1b}[31m{}", "x".repeat(1000));
        let said = explain(evil.as_bytes(), "");
        assert!(said.len() == 300 && !said.contains('\u{1b}'), "{said}");
    }
}
