//! How many tasks a runtime has, as a metric: what may leak beside memory and descriptors.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

#[derive(Debug)]
struct Tasks(Handle);

/// Adds `<prefix>_tasks`: those of the runtime that this is called on.
pub fn register(registry: &mut Registry, prefix: &str) {
    let tasks = Box::new(Tasks(Handle::current()));
    registry
        .sub_registry_with_prefix(prefix)
        .register_collector(tasks);
}

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let alive = self.0.metrics().num_alive_tasks();
        let gauge = ConstGauge::new(i64::try_from(alive).unwrap_or(i64::MAX));
        let metric =
            encoder.encode_descriptor("tasks", "Tasks alive", None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[tokio::test]
    async fn counts_the_tasks_of_this_runtime() {
        let mut registry = Registry::default();
        super::register(&mut registry, "here");
        let task = tokio::spawn(std::future::pending::<()>());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("\nhere_tasks 1\n"), "{text}");
        task.abort();
    }
}
