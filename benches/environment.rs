//! Where a run took place: what a reader needs to compare its figures with others.

use serde_json::{Map, Value, json};

/// Of Cargo.lock, which the programs were built with.
const CRATES: [&str; 8] = [
    "aws-lc-rs",
    "h2",
    "hyper",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "rustls",
    "tokio",
];
const SYSCTLS: [&str; 5] = [
    "net/core/rmem_max",
    "net/core/wmem_max",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/tcp_mem",
];

/// Versions, processor, kernel and its settings.
pub fn describe(pinned_to: &[usize]) -> Value {
    let lock = include_str!("../Cargo.lock");
    let crates: Map<_, _> = CRATES
        .into_iter()
        .map(|name| (name.to_owned(), json!(versions(lock, name))))
        .collect();
    let sysctls: Map<_, _> = SYSCTLS
        .into_iter()
        .map(|name| {
            (
                name.replace('/', "."),
                json!(read(&format!("/proc/sys/{name}"))),
            )
        })
        .collect();
    json!({
        "date": jiff::Zoned::now().strftime("%F").to_string(),
        "ci_tunnel": env!("CARGO_PKG_VERSION"),
        "release_build": !cfg!(debug_assertions),
        "crates": crates,
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "pinned_to": pinned_to,
        "kernel": read("/proc/sys/kernel/osrelease"),
        "sysctls": sysctls,
        "load_before": load(),
    })
}

/// How busy the machine is with everything that runs on it.
pub fn load() -> String {
    read("/proc/loadavg")
}

fn versions<'a>(lock: &'a str, name: &str) -> Vec<&'a str> {
    let named = format!("name = \"{name}\"\nversion = \"");
    lock.match_indices(&named)
        .filter_map(|(at, _)| lock[at + named.len()..].split('"').next())
        .collect()
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    model.map_or_else(String::new, |model| {
        model.trim_start_matches([' ', '\t', ':']).to_owned()
    })
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_versions_in_a_lock_file() {
        let lock = "name = \"quinn-proto\"\nversion = \"1.2.3\"\n\nname = \"quinn\"\nversion = \"0.1.2\"\n";
        assert_eq!(super::versions(lock, "quinn"), ["0.1.2"]);
        assert!(super::versions(lock, "qui").is_empty());
    }
}
