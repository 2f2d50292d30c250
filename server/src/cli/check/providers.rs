//! Whether the CI systems can be reached whose word is taken, and agree about themselves and the time.

use std::io::{self, Write};

use super::Report;
use crate::authn::job_token;
use crate::authn::oidc::{self, Inspection};
use crate::config::Config;

pub(super) async fn all<W: Write>(config: &Config, report: &mut Report<'_, W>) -> io::Result<()> {
    for provider in config.authn.providers.iter() {
        let what = format!("provider {}", provider.name);
        let nothing = provider.oidc.is_none() && provider.job_tokens.is_none();
        match oidc::inspect(provider).await {
            None if nothing => report.warn(
                &what,
                "it has neither `oidc` nor `job_tokens`: no job of it is known",
            )?,
            None => {}
            Some(Err(error)) => report.failed(&what, &error)?,
            Some(Ok(found)) => {
                let Inspection { issuer, keys, .. } = &found;
                report.ok(&what, format!("ID tokens of {issuer}, {keys} keys"))?;
                clock(&what, &found, report)?;
            }
        }
        match job_token::inspect(provider).await {
            None => {}
            Some(Err(error)) => report.failed(&what, &error)?,
            Some(Ok(url)) => report.ok(&what, format!("job tokens, by {url}"))?,
        }
    }
    Ok(())
}

fn clock<W: Write>(what: &str, found: &Inspection, report: &mut Report<'_, W>) -> io::Result<()> {
    let Some(ahead) = found.clock_ahead else {
        return report.warn(
            what,
            "it does not tell the time: nothing to compare this clock with",
        );
    };
    let direction = if ahead < 0 { "behind" } else { "ahead" };
    let (seconds, skew) = (ahead.unsigned_abs(), found.clock_skew);
    let detail = format!("its clock is {seconds}s {direction}, oidc.clock_skew is {skew}s");
    // A second is lost to rounding and to the way.
    if seconds > skew + 1 {
        report.warn(
            what,
            format!("{detail}: set the clocks, or its tokens are refused"),
        )
    } else {
        report.ok(what, detail)
    }
}
