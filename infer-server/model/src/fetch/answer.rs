//! Which answers are the hub's, and what they say.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use rustls::CertificateError;

use super::error::{FetchError, chain, intercepted, refused, shown};
use super::tries::Failure;

/// Who gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The hub itself.
    Hub,
    /// The place where the file lies, whose signed addresses expire.
    Place,
}

/// Sorts answers into those that are what was asked for, those that another try may mend, and those that it cannot.
/// `is_page` says whether the file is one itself.
pub(super) fn check(url: &Url, response: &Response, from: Who, is_page: bool) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() {
        return check_kind(url, response, is_page);
    }
    let said = header(response, "x-error-message").map(|m| format!(": {m}")).unwrap_or_default();
    let problem = format!("the answer is {status}{said}");
    let hub = from == Who::Hub;
    let cure = match (status, header(response, "x-error-code").unwrap_or_default()) {
        (_, "GatedRepo") => "Accept the model's conditions on its page, and set HF_TOKEN to a token of that account",
        (_, "EntryNotFound") => "Check --file: the repository has no such file at that --revision",
        (_, "RevisionNotFound") => "Check --revision",
        (_, "RepoNotFound") => "Check --repo, or set HF_TOKEN if it is private",
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) if hub => {
            "Set HF_TOKEN to a token that may read the repository, and check --repo"
        }
        (StatusCode::NOT_FOUND, _) if hub => "Check --repo, --revision and --file",
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, _) => {
            "Name the proxy with user and password, as in HTTPS_PROXY=http://user:password@host:port"
        }
        // RFC 6585, 6: only a network's gate says so.
        (StatusCode::NETWORK_AUTHENTICATION_REQUIRED, _) => return Err(intercepted(url, problem).into()),
        (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS, _) => {
            return Err(Failure::Passing { problem, wait: retry_after(response) });
        }
        (StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED, _) => "Check --endpoint and the proxy",
        _ if status.is_server_error() => return Err(Failure::Passing { problem, wait: retry_after(response) }),
        _ if !hub => {
            let cure =
                "The hub says that the file lies there. Run the same command again later, or name another --endpoint";
            return Err(Failure::Address(refused(url, problem, cure)));
        }
        _ => "Check --repo, --revision, --file and --endpoint",
    };
    Err(refused(url, problem, cure).into())
}

/// Whether a success can be the file: no page, and its very bytes.
fn check_kind(url: &Url, response: &Response, is_page: bool) -> Result<(), Failure> {
    let kind = header(response, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    if !is_page && (kind.starts_with("text/html") || kind.starts_with("application/xhtml")) {
        return Err(intercepted(url, format!("a page came in the place of the file ({kind})")).into());
    }
    match header(response, CONTENT_ENCODING.as_str()) {
        None | Some("identity") => Ok(()),
        Some(encoding) => {
            let problem = format!("the answer is packed ({encoding}), though its bytes as they are were asked for");
            Err(refused(url, problem, "Check the proxy and --endpoint").into())
        }
    }
}

/// Whether the file's first bytes are those of a page that does not say that it is one.
pub(super) fn check_start(url: &Url, start: &[u8], is_page: bool) -> Result<(), Failure> {
    let start = start.trim_ascii_start().to_ascii_lowercase();
    if !is_page && (start.starts_with(b"<!doctype html") || start.starts_with(b"<html")) {
        return Err(intercepted(url, "a page came in the place of the file").into());
    }
    Ok(())
}

/// Whether the file at the hub's address for it is a page itself.
pub(super) fn is_page(url: &Url) -> bool {
    let path = url.path().to_ascii_lowercase();
    path.ends_with(".html") || path.ends_with(".htm")
}

/// What it means that no answer came: most faults of a network pass, those of TLS do not.
pub(super) fn no_answer(url: &Url, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let problem = chain(&error);
    match of_tls(&error) {
        Some(tls) => by_tls(url, tls, problem),
        None if error.is_builder() => {
            refused(url, problem, "Check --endpoint: it leads to where no file can be").into()
        }
        None => Failure::passing(problem),
    }
}

fn by_tls(url: &Url, error: &rustls::Error, problem: String) -> Failure {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match error {
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => refused(url, problem, "Set this machine's clock; if it is right, the server's certificate is out of date")
            .into(),
        // A certificate of another name or issuer, or no TLS at all.
        rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidMessage(_) => intercepted(url, problem).into(),
        rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) | rustls::Error::PeerMisbehaved(_) => {
            refused(url, problem, "Check --endpoint and the proxy: no TLS is agreed with what answers there").into()
        }
        _ => Failure::passing(problem),
    }
}

/// The fault of TLS behind an error. An `io::Error` keeps what it wraps from the chain of causes.
fn of_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let cause = wrapped.map(|inner| inner as &'e (dyn Error + 'static)).or_else(|| error.source());
    error.downcast_ref().or_else(|| of_tls(cause?))
}

/// Where a redirect leads, with the reason why it is not followed where it is not.
pub(super) fn location(response: &Response) -> Result<Url, FetchError> {
    let at = response.url();
    let to = header(response, LOCATION.as_str()).and_then(|to| at.join(to).ok());
    let Some(to) = to else {
        return Err(refused(at, "a redirect that names no address", "Check --endpoint and the proxy"));
    };
    if at.scheme() == "https" && to.scheme() != "https" {
        return Err(intercepted(at, format!("it leads from https to {}", shown(&to))));
    }
    Ok(to)
}

pub(super) fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn retry_after(response: &Response) -> Option<Duration> {
    Some(Duration::from_secs(header(response, RETRY_AFTER.as_str())?.trim().parse().ok()?))
}

/// The first byte and the size of the whole, of `Content-Range: bytes first-last/all`.
pub(super) fn content_range(response: &Response) -> Option<(u64, u64)> {
    let range = header(response, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    let (range, all) = range.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{AlertDescription, InvalidMessage};

    use super::*;

    #[test]
    fn faults_of_tls_are_told_and_not_tried_again() {
        let url: Url = "https://hub/file?signature=secret".parse().unwrap();
        let name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("hub").unwrap(),
            presented: vec!["login.hotel".into()],
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(1));
        let early = CertificateError::NotValidYetContext { time, not_before: time };
        for (error, wanted) in [
            (rustls::Error::InvalidCertificate(name), "login page"),
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), "SSL_CERT_FILE"),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "login page"),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), "clock"),
            (rustls::Error::InvalidCertificate(early), "clock"),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), "--endpoint"),
        ] {
            // As a connection gives it.
            let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            let tls = of_tls(&error).expect("it is found behind other errors");
            let Failure::Final(error) = by_tls(&url, tls, tls.to_string()) else { panic!("{tls} is tried again") };
            let message = error.to_string();
            assert!(message.contains(wanted) && message.contains(&tls.to_string()), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let other = rustls::Error::General("cut".into());
        assert!(matches!(by_tls(&url, &other, String::new()), Failure::Passing { .. }));
        assert!(of_tls(&io::Error::other("cut")).is_none());
    }
}
