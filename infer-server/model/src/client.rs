//! HTTP clients: of the hub, and of engines behind other servers.

use rustls::crypto::{CryptoProvider, ring};

/// Makes ring the TLS of every client in this process. It is the only one in the workspace, and reqwest does not know
/// that: it panics where a client is built before this was called.
pub fn choose_tls() {
    if CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, with the same provider.
        let _ = ring::default_provider().install_default();
    }
}

/// What every client is built from.
pub fn builder() -> reqwest::ClientBuilder {
    choose_tls();
    reqwest::Client::builder().user_agent(concat!("infer-server/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_client_speaks_https() {
        // The TLS is there: what fails is the handshake with a server that does not speak it.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let hello = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut start = [0; 3];
            while stream.peek(&mut start).await.unwrap() < 3 {}
            start
        });
        assert!(super::builder().build().unwrap().get(url).send().await.is_err());
        // RFC 8446, 5.1: a handshake record of version 3.1.
        assert_eq!(hello.await.unwrap(), [22, 3, 1]);
    }
}
