//! The stand-in's cluster state: a few kinds of objects in memory, with a history to watch, and the logs of its pods.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Objects by resource, namespace and name.
#[derive(Debug)]
pub(super) struct Store {
    contents: Mutex<Contents>,
    changes: broadcast::Sender<Change>,
    log_lines: broadcast::Sender<LogLine>,
}

#[derive(Debug, Default)]
struct Contents {
    version: u64,
    objects: BTreeMap<(String, String, String), Value>,
    history: VecDeque<Change>,
    logs: BTreeMap<(String, String), VecDeque<String>>,
}

/// What happened to one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) resource: String,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

/// A line that a pod wrote.
#[derive(Debug, Clone)]
pub(super) struct LogLine {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) line: String,
}

impl Store {
    /// Three namespaces, two running pods, a ConfigMap.
    pub(super) fn furnished() -> Self {
        let store = Self {
            contents: Mutex::default(),
            changes: broadcast::Sender::new(1024),
            log_lines: broadcast::Sender::new(1024),
        };
        for name in ["default", "kube-system", "ci-tunnel"] {
            let status = json!({"phase": "Active"});
            store.put(
                "namespaces",
                json!({"kind": "Namespace", "metadata": {"name": name}, "status": status}),
            );
        }
        store.put("pods", pod("default", "web-0"));
        store.put("pods", pod("kube-system", "coredns-0"));
        store.put(
            "configmaps",
            json!({"kind": "ConfigMap", "metadata": {"name": "welcome", "namespace": "default"}, "data": {"from": "the stand-in"}}),
        );
        for line in ["starting", "listening on :8080", "ready"] {
            store.log_line("default", "web-0", line);
            store.log_line("kube-system", "coredns-0", line);
        }
        store
    }

    pub(super) fn put(&self, resource: &str, mut object: Value) -> Value {
        let key = key(resource, &object);
        let mut contents = self.contents.lock().unwrap();
        contents.version += 1;
        let version = contents.version;
        let old = contents.objects.get(&key);
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        let born = old.map(|old| old["metadata"].clone());
        object["apiVersion"] = "v1".into();
        let metadata = &mut object["metadata"];
        let (uid, created) = match born {
            Some(born) => (born["uid"].clone(), born["creationTimestamp"].clone()),
            None => (
                format!("00000000-0000-4000-8000-{version:012}").into(),
                now().into(),
            ),
        };
        metadata["uid"] = uid;
        metadata["creationTimestamp"] = created;
        metadata["resourceVersion"] = version.to_string().into();
        contents.objects.insert(key, object.clone());
        self.publish(
            &mut contents,
            Change {
                version,
                resource: resource.to_owned(),
                kind,
                object: object.clone(),
            },
        );
        object
    }

    pub(super) fn delete(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut contents = self.contents.lock().unwrap();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = contents.objects.remove(&key)?;
        contents.version += 1;
        let version = contents.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let change = Change {
            version,
            resource: resource.to_owned(),
            kind: "DELETED",
            object: object.clone(),
        };
        self.publish(&mut contents, change);
        Some(object)
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.contents.lock().unwrap().objects.get(&key).cloned()
    }

    /// All objects of a resource, in one namespace or in all, and the version of the list.
    pub(super) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Value>) {
        let contents = self.contents.lock().unwrap();
        let of_resource = contents.objects.iter().filter(|((known, place, _), _)| {
            known == resource && namespace.is_none_or(|namespace| namespace == place)
        });
        (
            contents.version,
            of_resource.map(|(_, object)| object.clone()).collect(),
        )
    }

    /// What happened after `version`, and what happens from now on, without a gap.
    pub(super) fn watch(&self, version: u64) -> (Vec<Change>, broadcast::Receiver<Change>) {
        let contents = self.contents.lock().unwrap();
        let missed = contents
            .history
            .iter()
            .filter(|change| change.version > version)
            .cloned()
            .collect();
        (missed, self.changes.subscribe())
    }

    pub(super) fn log_line(&self, namespace: &str, pod: &str, line: &str) {
        let mut contents = self.contents.lock().unwrap();
        let log = contents
            .logs
            .entry((namespace.to_owned(), pod.to_owned()))
            .or_default();
        log.push_back(line.to_owned());
        if log.len() > LOG_LINES {
            log.pop_front();
        }
        let line = LogLine {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            line: line.to_owned(),
        };
        // Nobody may be following.
        let _ = self.log_lines.send(line);
    }

    /// The log of a pod so far, and the lines of all pods from now on, without a gap.
    pub(super) fn log(
        &self,
        namespace: &str,
        pod: &str,
    ) -> (Vec<String>, broadcast::Receiver<LogLine>) {
        let contents = self.contents.lock().unwrap();
        let log = contents.logs.get(&(namespace.to_owned(), pod.to_owned()));
        (
            log.map(|log| log.iter().cloned().collect())
                .unwrap_or_default(),
            self.log_lines.subscribe(),
        )
    }

    fn publish(&self, contents: &mut Contents, change: Change) {
        contents.history.push_back(change.clone());
        if contents.history.len() > HISTORY {
            contents.history.pop_front();
        }
        // Nobody may be watching.
        let _ = self.changes.send(change);
    }
}

fn key(resource: &str, object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        resource.to_owned(),
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    )
}

fn pod(namespace: &str, name: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name.trim_end_matches("-0")}},
        "spec": {"nodeName": "stand-in", "containers": [{"name": "main", "image": "stand-in", "tty": false, "stdin": true}]},
        "status": running(),
    })
}

/// The status of a pod that runs.
pub(super) fn running() -> Value {
    let now = now();
    json!({
        "phase": "Running", "podIP": "127.0.0.1", "startTime": now,
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{
            "name": "main", "image": "stand-in", "imageID": "stand-in", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": now}},
        }],
    })
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

const HISTORY: usize = 1024;
const LOG_LINES: usize = 1024;
