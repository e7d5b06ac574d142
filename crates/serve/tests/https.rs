//! An upstream behind TLS whose certificate an own CA has signed: it is asked where that CA is trusted, and only there.
//! Certificates are made by `openssl`; without it the test is skipped.
#![cfg(feature = "https")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wafersim_serve::api::Endpoint;
use wafersim_serve::upstream::{Secret, Upstream, UpstreamError};

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"over TLS"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#;

/// Makes `ca.pem`, `other.pem` (a CA that has signed nothing), `key.pem` and `cert.pem`, for the name localhost.
fn certificates(folder: &Path) -> bool {
    let ca = |name: &str| {
        format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}-key.pem \
             -out {name}.pem"
        )
    };
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    let commands = [
        ca("ca"),
        ca("other"),
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=upstream -keyout key.pem -out request.pem".into(),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names -out cert.pem".into(),
    ];
    commands.iter().all(|command| {
        let mut openssl = Command::new("openssl");
        openssl.args(command.split_whitespace()).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        openssl.status().is_ok_and(|status| status.success())
    })
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers each connection once; what clients sent goes to `asked`.
async fn answer(listener: TcpListener, acceptor: TlsAcceptor, asked: tokio::sync::mpsc::UnboundedSender<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        // A client that does not trust it goes away in the middle of the handshake.
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while !text.ends_with(b"}") {
            let count = stream.read(&mut buffer).await.unwrap();
            text.extend_from_slice(&buffer[..count]);
        }
        asked.send(String::from_utf8(text).unwrap()).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ANSWER.len());
        stream.write_all(format!("{head}{ANSWER}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

#[test]
fn an_upstream_behind_tls_is_asked_where_its_ca_is_trusted_and_only_there() {
    let folder = tempfile::tempdir().unwrap();
    if !certificates(folder.path()) {
        let required = std::env::var("WAFERSIM_REQUIRE").unwrap_or_default();
        let is_required = required.split([',', ' ']).any(|kind| kind == "openssl" || kind == "all");
        assert!(!is_required, "WAFERSIM_REQUIRE names openssl, which makes no certificates here");
        eprintln!("skipped: openssl makes no certificates here");
        return;
    }
    let pem = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(answer(listener, acceptor(folder.path()), asked));
        let upstream = |host: &str| {
            let key = Secret::bearer("sk-over-tls");
            Upstream::new(&format!("https://{host}:{port}/v1"), key, None, Duration::from_secs(20)).unwrap()
        };
        let ask = async |upstream: Upstream| upstream.ask(Endpoint::Chat, br#"{"messages":[]}"#).await;
        let found = ask(upstream("localhost").trusting(&pem("ca.pem"), "ca.pem").unwrap()).await.unwrap();
        assert_eq!((found.content.as_str(), found.tokens), ("over TLS", Some(2)));
        let sent = was_asked.recv().await.unwrap();
        assert!(sent.starts_with("POST /v1/chat/completions ") && sent.contains("Bearer sk-over-tls"), "{sent}");
        for (who, wrong, says) in [
            ("nobody vouches", upstream("localhost"), "UnknownIssuer"),
            ("another CA", upstream("localhost").trusting(&pem("other.pem"), "other.pem").unwrap(), "UnknownIssuer"),
            ("another name", upstream("127.0.0.1").trusting(&pem("ca.pem"), "ca.pem").unwrap(), "not valid for name"),
        ] {
            match ask(wrong).await {
                Err(UpstreamError::Unreachable(why)) => assert!(why.contains(says), "{who}: {why}"),
                other => panic!("{who}: {other:?}"),
            }
        }
        assert!(was_asked.try_recv().is_err(), "the key went to one that is not trusted");
    });
}

#[test]
fn files_that_vouch_for_nobody_are_refused() {
    let upstream = |url: &str| Upstream::new(url, None, None, Duration::from_secs(1)).unwrap();
    for (url, pem, says) in [
        ("https://x/v1", "", "none.pem: holds no certificate"),
        ("https://x/v1", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "none.pem: is no PEM"),
        ("https://x/v1", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be a root"),
        ("http://x/v1", "", "none.pem: is of no use: 'x' is asked without TLS"),
    ] {
        let error = upstream(url).trusting(pem.as_bytes(), "none.pem").expect_err(pem).to_string();
        assert!(error.contains(says) && error.contains("allowed"), "{error}");
    }
}
