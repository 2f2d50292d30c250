//! `access_as`: the identity that an entry gives.

use ci_tunnel::config::document::{Invalid, Place};
use ci_tunnel::protocol::identity::{MAX_VALUE, MAX_VALUES};

use crate::access::impersonate::{Source, Templates};
use crate::access::template::Template;

pub(in crate::access) fn access_as(place: &Place<'_>) -> Result<Source, Invalid> {
    const KNOWN: &[&str] = &["agent", "ci_job", "ci_user", "impersonate"];
    let entries = place.entries()?;
    let Some((key, value)) = entries.first() else {
        return Ok(Source::Agent);
    };
    if let Some((_, unknown)) = entries.iter().find(|(key, _)| !KNOWN.contains(key)) {
        return Err(unknown.unknown_key(KNOWN));
    }
    if entries.len() > 1 {
        return Err(place.invalid(format_args!(
            "must have exactly one of {}",
            KNOWN.join(", ")
        )));
    }
    if *key == "impersonate" {
        return Ok(Source::Impersonate(Box::new(templates(value)?)));
    }
    if let Some((_, unknown)) = value.entries()?.first() {
        return Err(unknown.invalid(format_args!("unknown key: {key} takes none, write {{}}")));
    }
    Ok(match *key {
        "ci_job" => Source::CiJob,
        "ci_user" => Source::CiUser,
        _ => Source::Agent,
    })
}

fn templates(place: &Place<'_>) -> Result<Templates, Invalid> {
    let (mut username, mut uid, mut groups, mut extra) = (None, None, Vec::new(), Vec::new());
    for (key, value) in place.entries()? {
        match key {
            "username" => username = Some(template(&value)?),
            "uid" if value.is_null() => {}
            "uid" => uid = Some(template(&value)?),
            "groups" => {
                groups = value
                    .items()?
                    .iter()
                    .map(template)
                    .collect::<Result<_, _>>()?
            }
            "extra" => extra = extras(&value)?,
            _ => return Err(value.unknown_key(&["username", "uid", "groups", "extra"])),
        }
    }
    if groups.len().max(extra.len()) > MAX_VALUES {
        return Err(place.invalid(format_args!(
            "has more than {MAX_VALUES} groups or extra values"
        )));
    }
    // Kubernetes ignores the other fields without a user name.
    let username =
        username.ok_or_else(|| place.invalid("has no username, which Kubernetes asks for"))?;
    Ok(Templates {
        username,
        uid,
        groups,
        extra,
    })
}

fn template(place: &Place<'_>) -> Result<Template, Invalid> {
    let text = place.text()?;
    if text.len() > MAX_VALUE {
        return Err(place.invalid(format_args!("is longer than {MAX_VALUE} bytes")));
    }
    Template::parse(text).map_err(|error| place.invalid(error))
}

fn extras(place: &Place<'_>) -> Result<Vec<(String, Template)>, Invalid> {
    let mut extras = Vec::new();
    for item in place.items()? {
        let (mut name, mut values) = (None, Vec::new());
        for (key, value) in item.entries()? {
            match key {
                "key" => name = Some(extra_key(&value)?),
                "val" => {
                    values = value
                        .items()?
                        .iter()
                        .map(template)
                        .collect::<Result<_, _>>()?
                }
                _ => return Err(value.unknown_key(&["key", "val"])),
            }
        }
        let name = name.ok_or_else(|| item.invalid("has no key"))?;
        if values.is_empty() {
            return Err(item.invalid("has no val: a list of one text or more"));
        }
        extras.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Ok(extras)
}

/// The API server reads keys from header names, so their case is lost on the way: it is lost here already.
fn extra_key(place: &Place<'_>) -> Result<String, Invalid> {
    let text = place.text()?;
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            place.invalid("is not a key: printable ASCII characters without spaces, 256 at most")
        );
    }
    Ok(text.to_ascii_lowercase())
}
