use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn leaf(identity: &ServerIdentity) -> CertificateDer<'static> {
    identity.current.0.read().unwrap().key.cert[0].clone()
}

fn write_pair(dir: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.join("tls.crt"),
        key: dir.join("tls.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[test]
fn what_was_made_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = ServerIdentity::made_in(dir.path(), &["tunnel.example.com".to_owned()]).unwrap();
    let again = ServerIdentity::made_in(dir.path(), &["tunnel.example.com".to_owned()]).unwrap();
    assert_eq!((first.pin(), leaf(&first)), (again.pin(), leaf(&again)));
    assert_eq!(first.ca_pem(), again.ca_pem());
    for (file, mode) in [
        ("ca-key.pem", 0o600),
        ("server.pem", 0o600),
        ("ca.pem", 0o644),
    ] {
        let found = std::fs::metadata(dir.path().join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(found, mode, "{file}");
    }
}

#[test]
fn other_names_get_another_certificate_by_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let first = ServerIdentity::made_in(dir.path(), &[]).unwrap();
    let names = [
        "tunnel.example.com".to_owned(),
        "*.Example.com".to_owned(),
        "2001:DB8::1".to_owned(),
    ];
    let second = ServerIdentity::made_in(dir.path(), &names).unwrap();
    assert_eq!(first.pin(), second.pin());
    assert_ne!(leaf(&first), leaf(&second));
    let third = ServerIdentity::made_in(dir.path(), &names).unwrap();
    assert_eq!(leaf(&second), leaf(&third));
    let error = ServerIdentity::made_in(dir.path(), &["not a name".to_owned()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a name"), "{error}");
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let identity = ServerIdentity::made_in(dir.path(), &[]).unwrap();
    let (pin, before) = (identity.pin(), leaf(&identity));
    assert!(!identity.reload_at(SystemTime::now() + 59 * DAY).unwrap());
    assert!(identity.reload_at(SystemTime::now() + 61 * DAY).unwrap());
    assert_ne!(leaf(&identity), before);
    assert_eq!(identity.pin(), pin);
    assert!(identity.expires() > SystemTime::now() + 150 * DAY);
}

#[test]
fn an_old_authority_is_issued_again_for_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let identity = ServerIdentity::made_in(dir.path(), &[]).unwrap();
    let later = Authority::open(dir.path(), &[], SystemTime::now() + 7 * 365 * DAY).unwrap();
    assert_eq!(later.pin(), identity.pin());
    assert_ne!(later.pem(), identity.ca_pem().unwrap());
}

#[test]
fn a_lost_ca_certificate_is_issued_again_and_pins_stay_good() {
    let dir = tempfile::tempdir().unwrap();
    let pin = ServerIdentity::made_in(dir.path(), &[]).unwrap().pin();
    std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
    assert_eq!(ServerIdentity::made_in(dir.path(), &[]).unwrap().pin(), pin);
    std::fs::remove_file(dir.path().join("ca-key.pem")).unwrap();
    let error = ServerIdentity::made_in(dir.path(), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("ca-key.pem"), "{error}");
}

#[test]
fn a_broken_server_certificate_is_made_again_but_a_foreign_ca_is_an_error() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pin = ServerIdentity::made_in(dir.path(), &[]).unwrap().pin();
    std::fs::write(dir.path().join("server.pem"), "garbage").unwrap();
    assert_eq!(ServerIdentity::made_in(dir.path(), &[]).unwrap().pin(), pin);
    ServerIdentity::made_in(other.path(), &[]).unwrap();
    std::fs::copy(other.path().join("ca.pem"), dir.path().join("ca.pem")).unwrap();
    let error = ServerIdentity::made_in(dir.path(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ca.pem") && error.contains("ca-key.pem"),
        "{error}"
    );
}

#[test]
fn given_files_are_read_again_and_a_bad_one_keeps_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let files = write_pair(dir.path());
    let identity = ServerIdentity::from_files(files.clone()).unwrap();
    let first = leaf(&identity);
    assert_eq!(identity.pin(), Pin::of(&first).unwrap());
    assert_eq!(identity.ca_pem(), None);
    assert!(!identity.reload().unwrap());

    std::fs::write(&files.certificate, "garbage").unwrap();
    let error = identity.reload().unwrap_err().to_string();
    assert!(
        error.contains("tls.crt") && error.contains("no certificate"),
        "{error}"
    );
    assert!(
        !identity.reload().unwrap(),
        "the same bad file is reported once"
    );
    assert_eq!(leaf(&identity), first);

    write_pair(dir.path());
    assert!(identity.reload().unwrap());
    assert_ne!(leaf(&identity), first);
    assert_eq!(identity.pin(), Pin::of(&leaf(&identity)).unwrap());
}

#[test]
fn files_that_do_not_fit_are_named() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (files, foreign) = (write_pair(dir.path()), write_pair(other.path()));
    let error = |files: TlsFiles| ServerIdentity::from_files(files).unwrap_err().to_string();
    let certificate = files.certificate;
    let mixed = error(TlsFiles {
        certificate: certificate.clone(),
        key: foreign.key,
    });
    assert!(
        mixed.contains("tls.crt") && mixed.contains("tls.key"),
        "{mixed}"
    );
    let keyless = error(TlsFiles {
        certificate: certificate.clone(),
        key: certificate.clone(),
    });
    assert!(keyless.contains("no private key"), "{keyless}");
    let missing = error(TlsFiles {
        certificate,
        key: PathBuf::from("/nonexistent/key"),
    });
    assert!(missing.contains("/nonexistent/key"), "{missing}");
}
