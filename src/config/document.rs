//! A configuration document as a tree whose values know where they stand, for messages that name path and line.
//!
//! ```
//! # use ci_tunnel::config::{document::Place, load};
//! let document = load::document("projects:\n- id: 7\n", "config.yaml").unwrap();
//! let root = Place::root(&document);
//! let (_, projects) = root.entries().unwrap().remove(0);
//! let (_, id) = projects.items().unwrap()[0].entries().unwrap().remove(0);
//! assert_eq!(id.text().unwrap_err().to_string(), "line 2: projects[0].id: must be a text (put it in quotes), not a number");
//! ```

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1, in characters.
    pub column: usize,
    /// What stands there.
    pub value: Value,
}

/// A value of a document. Numbers are not kept: no document read this way has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: `key:` and no more.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, its value not kept.
    Number,
    /// A text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file; the keys are [`Value::Text`].
    Map(Vec<(Node, Node)>),
}

/// A node together with the way to it from the root: `ci_access.projects[2].id`.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    node: &'a Node,
    line: usize,
    column: usize,
    path: String,
}

/// A value that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {path}: {message}")]
pub struct Invalid {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1, in characters.
    pub column: usize,
    /// What kind of mistake it is.
    pub kind: Kind,
    /// The way from the root of the document.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Kinds of mistakes in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key that means nothing at its place.
    UnknownKey,
    /// A value of another kind than must stand there.
    WrongType,
    /// A value of the right kind that can not be used.
    Value,
}

impl<'a> Place<'a> {
    /// The whole document.
    pub fn root(node: &'a Node) -> Self {
        Self {
            node,
            line: node.line,
            column: node.column,
            path: String::new(),
        }
    }

    /// The line that the value, or its key, begins on.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column that the value, or its key, begins at.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The way from the root of the document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Nothing stands here: `key:` and no more.
    pub fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    /// Entries of the mapping; none when nothing stands here.
    ///
    /// # Errors
    /// Something else stands here.
    pub fn entries(&self) -> Result<Vec<(&'a str, Self)>, Invalid> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::Map(entries) => Ok(entries
                .iter()
                .filter_map(|(key, value)| self.entry(key, value))
                .collect()),
            _ => Err(self.expected("a mapping")),
        }
    }

    fn entry(&self, key: &'a Node, node: &'a Node) -> Option<(&'a str, Self)> {
        let Node {
            line,
            column,
            value: Value::Text(key),
        } = key
        else {
            return None;
        };
        let path = if self.path.is_empty() {
            key.clone()
        } else {
            format!("{}.{key}", self.path)
        };
        Some((
            key,
            Self {
                node,
                line: *line,
                column: *column,
                path,
            },
        ))
    }

    /// Items of the sequence; none when nothing stands here.
    ///
    /// # Errors
    /// Something else stands here.
    pub fn items(&self) -> Result<Vec<Self>, Invalid> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::List(items) => {
                let place = |(index, node): (usize, &'a Node)| {
                    let path = format!("{}[{index}]", self.path);
                    Self {
                        node,
                        line: node.line,
                        column: node.column,
                        path,
                    }
                };
                Ok(items.iter().enumerate().map(place).collect())
            }
            _ => Err(self.expected("a list")),
        }
    }

    /// The text that stands here.
    ///
    /// # Errors
    /// Something else stands here.
    pub fn text(&self) -> Result<&'a str, Invalid> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            Value::Bool(_) | Value::Number => Err(self.expected("a text (put it in quotes)")),
            _ => Err(self.expected("a text")),
        }
    }

    /// The boolean that stands here.
    ///
    /// # Errors
    /// Something else stands here.
    pub fn boolean(&self) -> Result<bool, Invalid> {
        match self.node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A complaint about the value at this place.
    pub fn invalid(&self, message: impl ToString) -> Invalid {
        self.complaint(Kind::Value, message.to_string())
    }

    /// A complaint that this place's key is none of `known`.
    pub fn unknown_key(&self, known: &[&str]) -> Invalid {
        let mut message = format!("unknown key: known here are {}", known.join(", "));
        let key = self.path.rsplit('.').next().unwrap_or(&self.path);
        if let Some(near) = nearest(key, known) {
            message.push_str(&format!("; did you mean {near}?"));
        }
        self.complaint(Kind::UnknownKey, message)
    }

    fn complaint(&self, kind: Kind, message: String) -> Invalid {
        let path = if self.path.is_empty() {
            "the document".to_owned()
        } else {
            self.path.clone()
        };
        Invalid {
            line: self.line,
            column: self.column,
            kind,
            path,
            message,
        }
    }

    fn expected(&self, wanted: &str) -> Invalid {
        let found = match self.node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        self.complaint(Kind::WrongType, format!("must be {wanted}, not {found}"))
    }
}

/// The one of `known` that `word` is probably meant to be.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&str| strsim::osa_distance(&word.to_lowercase(), known);
    let near = known.iter().copied().min_by_key(|known| distance(known))?;
    // A third of the word may be wrong; two words that share less are two words.
    (distance(&near) * 3 <= near.len()).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["refs", "ref_type", "environments", "users"];
        for (word, near) in [
            ("enviroments", Some("environments")),
            ("Environments", Some("environments")),
            ("ref", Some("refs")),
            ("reftype", Some("ref_type")),
            ("user", Some("users")),
            ("branches", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), near, "{word}");
        }
        assert_eq!(nearest("x", &[]), None);
    }
}
