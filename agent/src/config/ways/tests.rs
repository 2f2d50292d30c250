//! What the file, the flag and the variables say of transport and proxy.

use super::*;

fn none(_: &str) -> Option<String> {
    None
}

#[test]
fn the_flag_wins_over_the_file() {
    let mut file = File {
        transport: Choice::Http2,
        ..File::default()
    };
    let flags = |transport: &str| Flags {
        transport: Some(transport.to_owned()),
        ..Flags::default()
    };
    overlay(&mut file, &Flags::default(), &none).unwrap();
    assert_eq!(file.transport, Choice::Http2);
    for (text, choice) in [("quic", Choice::Quic), ("auto", Choice::Auto)] {
        overlay(&mut file, &flags(text), &none).unwrap();
        assert_eq!(file.transport, choice);
    }
    let error = overlay(&mut file, &flags("tcp"), &none).unwrap_err();
    assert!(error.to_string().contains("auto, quic, http2"), "{error}");
}

#[test]
fn a_proxy_is_taken_from_the_variable_and_never_shown() {
    let mut file = File::default();
    let variable = |name: &str| (name == PROXY_VARIABLE).then(|| "http://u:s3cret@p".to_owned());
    overlay(&mut file, &Flags::default(), &variable).unwrap();
    let ways = check(&file, &variable).unwrap();
    assert!(!format!("{file:?} {ways:?}").contains("s3cret"));
    file.server_proxy = Some(Secret::new("off").unwrap());
    check(&file, &none).unwrap();
    file.server_proxy = Some(Secret::new("ftp://u:s3cret@p").unwrap());
    let error = check(&file, &none).unwrap_err().to_string();
    assert!(
        error.starts_with("server_proxy") && !error.contains("s3cret"),
        "{error}"
    );
}
