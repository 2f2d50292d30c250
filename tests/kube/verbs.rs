//! What people type: kubectl's verbs through the tunnel, each judged by what it did in the cluster.

mod apply;
mod objects;
mod rollout;
mod word;

use anyhow::Result;
use ci_tunnel_tests::cluster::Kubectl;
use serde_json::{Value, json};

use crate::ring::Ring;

/// `kubectl` of the job in a namespace of its own, and the administrator's beside the tunnel, to look.
struct Bench {
    job: Kubectl,
    admin: Kubectl,
    namespace: String,
}

impl Bench {
    /// `None`, said aloud, where there can be no cluster.
    async fn new(test: &str) -> Result<Option<Self>> {
        let Some(ring) = Ring::get(test).await else {
            return Ok(None);
        };
        let namespace = ring.cluster.namespace("verbs").await?;
        let (job, admin) = (ring.kubectl()?, ring.cluster.kubectl());
        Ok(Some(Self {
            job,
            admin,
            namespace,
        }))
    }

    /// The words of a command line, in the namespace.
    fn words<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let words = line.split_whitespace();
        words.chain(["-n", &self.namespace]).collect()
    }

    /// What the job's command prints.
    async fn run(&self, line: &str) -> Result<String> {
        self.job.run(self.words(line)).await
    }

    /// The same with a manifest on its standard input.
    async fn feed(&self, line: &str, manifest: &Value) -> Result<String> {
        let mut words = self.words(line);
        words.extend(["-f", "-"]);
        let manifest = manifest.to_string();
        self.job.run_with(words, manifest.as_bytes()).await
    }

    /// What a command says that fails.
    async fn fail(&self, line: &str) -> Result<String> {
        let output = self.job.output(self.words(line)).await?;
        assert!(!output.status.success(), "{line}");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// A command of the administrator's.
    async fn beside(&self, line: &str) -> Result<String> {
        self.admin.run(self.words(line)).await
    }

    /// An object as it is in the cluster, `null` when it is not there.
    async fn object(&self, name: &str) -> Result<Value> {
        let line = format!("get {name} -o json --ignore-not-found --show-managed-fields");
        let text = self.beside(&line).await?;
        Ok(match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text)?,
        })
    }
}

fn config(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}
