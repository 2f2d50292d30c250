//! Where audit lines go, as the server's file says it: `stdout` or `{file: PATH}`.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// A file that is appended to, and opened again on SIGHUP so that it can be rotated.
    File(PathBuf),
    Stdout,
}

// Derived, YAML would have to write it with a tag: `!file PATH`.
impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutputVisitor)
    }
}

struct OutputVisitor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    file: PathBuf,
}

impl<'de> Visitor<'de> for OutputVisitor {
    type Value = Output;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout or {file: PATH}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Output, E> {
        match text {
            "stdout" => Ok(Output::Stdout),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Output, A::Error> {
        File::deserialize(MapAccessDeserializer::new(map)).map(|File { file }| Output::File(file))
    }
}

#[cfg(test)]
mod tests {
    use ci_tunnel::config::load::from_str;

    use super::*;

    #[test]
    fn is_written_as_people_write_it() {
        let read = |text: &str| from_str::<Output>(text, "server.yaml");
        assert_eq!(read("stdout").unwrap(), Output::Stdout);
        assert_eq!(
            read("{file: /a}").unwrap(),
            Output::File(PathBuf::from("/a"))
        );
        for wrong in ["/a", "{path: /a}", "{file: /a, path: /b}", "{}", "7"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("file"), "{wrong}: {error}");
        }
    }
}
