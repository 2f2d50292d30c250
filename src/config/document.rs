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

/// A value and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The line, counted from 1.
    pub line: usize,
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
    path: String,
}

/// A value that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {path}: {message}")]
pub struct Invalid {
    /// The line, counted from 1.
    pub line: usize,
    /// The way from the root of the document.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl<'a> Place<'a> {
    /// The whole document.
    pub fn root(node: &'a Node) -> Self {
        Self {
            node,
            line: node.line,
            path: String::new(),
        }
    }

    /// The line that the value, or its key, begins on.
    pub fn line(&self) -> usize {
        self.line
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

    /// A complaint about this place.
    pub fn invalid(&self, message: impl ToString) -> Invalid {
        let path = if self.path.is_empty() {
            "the document".to_owned()
        } else {
            self.path.clone()
        };
        Invalid {
            line: self.line,
            path,
            message: message.to_string(),
        }
    }

    /// A complaint that this place's key is none of `known`.
    pub fn unknown_key(&self, known: &[&str]) -> Invalid {
        self.invalid(format_args!(
            "unknown key: known here are {}",
            known.join(", ")
        ))
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
        self.invalid(format_args!("must be {wanted}, not {found}"))
    }
}
