use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::config::net::TlsFiles;

/// A handshake in memory. The client's complaint, if it fails.
fn handshake(
    server: Arc<ServerConfig>,
    trust: &Trust,
    name: &str,
) -> Result<ClientConnection, String> {
    let config = client_config(trust, &[b"ci-tunnel/1"]).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server
                .process_new_packets()
                .map_err(|error| error.to_string())?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client
                .process_new_packets()
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(client)
}

struct Made {
    dir: tempfile::TempDir,
    identity: ServerIdentity,
}

fn made(names: &[&str]) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let identity = ServerIdentity::made_in(dir.path(), &names).unwrap();
    Made { dir, identity }
}

impl Made {
    fn config(&self) -> Arc<ServerConfig> {
        self.identity.quic_config(&[b"ci-tunnel/1"]).unwrap()
    }
}

#[test]
fn the_post_quantum_hybrid_comes_first() {
    let groups = provider().kx_groups.clone();
    assert_eq!(groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
    let made = made(&[]);
    let client = handshake(made.config(), &Trust::Pin(made.identity.pin()), "localhost").unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(client.alpn_protocol(), Some(&b"ci-tunnel/1"[..]));
}

#[test]
fn a_server_is_known_by_pin_and_by_ca_file_under_each_of_its_names() {
    let made = made(&["tunnel.example.com", "192.0.2.7"]);
    let pin = Trust::Pin(made.identity.pin());
    let file = Trust::CaFile(made.dir.path().join("ca.pem"));
    for trust in [&pin, &file] {
        for name in [
            "tunnel.example.com",
            "localhost",
            "192.0.2.7",
            "127.0.0.1",
            "::1",
        ] {
            handshake(made.config(), trust, name).unwrap();
        }
        let error = handshake(made.config(), trust, "other.example.com").unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
        let https = made
            .identity
            .server_config(&[b"h2", b"ci-tunnel/1"])
            .unwrap();
        handshake(https, trust, "localhost").unwrap();
    }
}

#[test]
fn the_configurations_carry_quic() {
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    let made = made(&[]);
    QuicServerConfig::try_from(made.config()).unwrap();
    let client = client_config(&Trust::Pin(made.identity.pin()), &[]).unwrap();
    QuicClientConfig::try_from(client).unwrap();
}

#[test]
fn another_server_is_refused_in_words() {
    let (ours, theirs) = (made(&[]), made(&[]));
    let error = handshake(
        theirs.config(),
        &Trust::Pin(ours.identity.pin()),
        "localhost",
    )
    .unwrap_err();
    assert!(
        error.contains(&ours.identity.pin().to_string()) && error.contains("another server"),
        "{error}"
    );
    let file = Trust::CaFile(ours.dir.path().join("ca.pem"));
    let error = handshake(theirs.config(), &file, "localhost").unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[test]
fn a_new_certificate_is_presented_without_a_new_configuration() {
    let made = made(&[]);
    let (config, pin) = (made.config(), Trust::Pin(made.identity.pin()));
    let leaf = |client: &ClientConnection| client.peer_certificates().unwrap()[0].clone();
    let before = leaf(&handshake(Arc::clone(&config), &pin, "localhost").unwrap());
    std::fs::remove_file(made.dir.path().join("server.pem")).unwrap();
    assert!(made.identity.reload().unwrap());
    let after = leaf(&handshake(config, &pin, "localhost").unwrap());
    assert_ne!(before, after);
}

#[test]
fn a_given_certificate_is_known_by_its_own_pin_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: dir.path().join("crt"),
        key: dir.path().join("key"),
    };
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    let identity = ServerIdentity::from_files(files.clone()).unwrap();
    let (config, trust) = (
        identity.quic_config(&[b"ci-tunnel/1"]).unwrap(),
        Trust::Pin(identity.pin()),
    );
    handshake(Arc::clone(&config), &trust, "localhost").unwrap();
    let error = handshake(Arc::clone(&config), &trust, "example.com").unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");

    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    assert!(identity.reload().unwrap());
    let error = handshake(config, &trust, "localhost").unwrap_err();
    assert!(error.contains("xpired"), "{error}");
}

/// A server that presents `chain` with `key`.
fn presenting(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols(&[b"ci-tunnel/1"]);
    Arc::new(config)
}

#[test]
fn a_pinned_certificate_that_signed_nothing_proves_nothing() {
    let made = made(&[]);
    let ca_pem = made.identity.ca_pem().unwrap();
    let ca = pem::certificates(std::path::Path::new("ca.pem"), ca_pem.as_bytes())
        .unwrap()
        .remove(0);
    let trust = Trust::Pin(made.identity.pin());

    // A thief's own certificate, with the true authority's certificate sent along.
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let error = handshake(
        presenting(vec![own.cert.der().clone(), ca.clone()], &own.signing_key),
        &trust,
        "localhost",
    );
    assert!(error.unwrap_err().contains("UnknownIssuer"));

    // The same, with an authority that has the true one's name but not its key.
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_ca_cert_der(&ca, key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&leaf_key, &issuer)
        .unwrap();
    let error = handshake(
        presenting(vec![leaf.der().clone(), ca], &leaf_key),
        &trust,
        "localhost",
    )
    .unwrap_err();
    assert!(error.contains("BadSignature"), "{error}");
}

#[test]
fn a_stolen_certificate_is_of_no_use_without_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let thief = KeyPair::generate().unwrap();
    let pin = Pin::of(own.cert.der()).unwrap();
    // rustls will not present a mismatched pair through its builder, so go through a resolver.
    let key = provider()
        .key_provider
        .load_private_key(PrivateKeyDer::try_from(thief.serialize_der()).unwrap())
        .unwrap();
    let stolen = rustls::sign::CertifiedKey::new(vec![own.cert.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    config.alpn_protocols = protocols(&[b"ci-tunnel/1"]);
    let error = handshake(Arc::new(config), &Trust::Pin(pin), "localhost").unwrap_err();
    assert!(error.contains("BadSignature"), "{error}");
    drop(dir);
}

#[test]
fn an_intermediate_authority_can_be_pinned() {
    let root_key = KeyPair::generate().unwrap();
    let mut root_params = CertificateParams::default();
    root_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = root_params.self_signed(&root_key).unwrap();
    let mut middle_params = CertificateParams::default();
    middle_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    middle_params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "middle");
    let middle_key = KeyPair::generate().unwrap();
    let middle = middle_params
        .signed_by(&middle_key, &Issuer::new(root_params, root_key))
        .unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&leaf_key, &Issuer::new(middle_params, middle_key))
        .unwrap();
    let server = presenting(
        vec![leaf.der().clone(), middle.der().clone(), root.der().clone()],
        &leaf_key,
    );
    for pinned in [middle.der(), root.der()] {
        handshake(
            Arc::clone(&server),
            &Trust::Pin(Pin::of(pinned).unwrap()),
            "localhost",
        )
        .unwrap();
    }
}

#[test]
fn pins_are_read_and_printed() {
    let text = format!("sha256:{}", "0a".repeat(32));
    assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
    assert_eq!(
        text.to_uppercase()
            .replace("SHA", "sha")
            .parse::<Pin>()
            .unwrap()
            .to_string(),
        text
    );
    for bad in [
        "",
        "0a",
        "sha256:",
        "sha256:zz",
        &text[..70],
        &format!("{text}0"),
        &text.replace("0a", "+a"),
    ] {
        let error = bad.parse::<Pin>().unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal"), "{error}");
    }
}

#[test]
fn missing_authorities_are_named() {
    let error = |file: &str| {
        client_config(&Trust::CaFile(file.into()), &[])
            .unwrap_err()
            .to_string()
    };
    assert!(error("/nonexistent/ca.pem").contains("/nonexistent/ca.pem"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    assert!(error(file.to_str().unwrap()).contains("holds no certificate"));
}
