//! Asks a hub what a file is, and downloads it from where it lies.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};

use super::answer::{Who, check, check_start, content_range, header, is_page, location, no_answer};
use super::error::{FetchError, chain, intercepted, refused, shown};
use super::name::{Args, sha256_hex};
use super::part::{Bar, Part};
use super::tries::{Failure, Tries};
use crate::client;

/// How many redirects are followed: as many as browsers do.
const REDIRECTS: usize = 20;
/// A connection that is not there after this long is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the hub says of a file.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it lies for now.
    url: Url,
    /// What it is; equal for equal content.
    pub(super) etag: String,
    pub(super) bytes: Option<u64>,
    /// Whether `url` is on the hub itself, whose `ETag` is then that of the bytes.
    direct: bool,
    /// Whether the file is a page itself.
    is_page: bool,
}

impl Source {
    /// Large files have their SHA-256 for an `ETag`, small ones that of git.
    pub(super) fn sha256(&self) -> Option<String> {
        sha256_hex(self.etag.trim_start_matches("W/").trim_matches('"')).ok()
    }
}

/// A client of one hub.
pub(super) struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<String>,
}

impl Hub {
    pub(super) fn new(args: &Args) -> Result<Self, FetchError> {
        let client = client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(Duration::from_secs(args.stall_timeout.max(1)))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| refused(&args.endpoint, chain(&error), "Check the proxy and certificate settings"))?;
        let token = std::env::var("HF_TOKEN").ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        Ok(Self { client, endpoint: args.endpoint.clone(), token })
    }

    /// Asks what `url` is and where it lies.
    pub(super) async fn ask(&self, url: &Url) -> Result<Source, Failure> {
        let mut at = url.clone();
        let mut etag = None;
        let mut bytes = None;
        for _ in 0..REDIRECTS {
            let response = self.send(Method::HEAD, &at, HeaderMap::new()).await?;
            let text = |name: &str| header(&response, name).map(str::to_owned);
            etag = etag.or_else(|| text("x-linked-etag"));
            bytes = bytes.or_else(|| text("x-linked-size")?.parse().ok());
            if response.status().is_redirection() {
                let to = location(&response)?;
                // Within the hub a repository has a new name; elsewhere lies the file.
                if to.origin() == self.endpoint.origin() && etag.is_none() {
                    at = to;
                    continue;
                }
                let unknown = || intercepted(url, format!("it leads to {}, and not a word on the file", shown(&to)));
                let etag = etag.or_else(|| text(ETAG.as_str())).ok_or_else(unknown)?;
                return Ok(Source { direct: false, url: to, etag, bytes, is_page: is_page(url) });
            }
            check(url, &response, Who::Hub, is_page(url))?;
            let direct = etag.is_none();
            let etag = etag.or_else(|| text(ETAG.as_str())).ok_or_else(|| no_etag(url))?;
            bytes = bytes.or_else(|| text("content-length")?.parse().ok());
            return Ok(Source { direct, url: at, etag, bytes, is_page: is_page(url) });
        }
        Err(in_a_circle(url).into())
    }

    /// Brings what is missing of `part`.
    pub(super) async fn download(&self, source: &Source, part: &mut Part, bar: &mut Bar) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        if part.bytes > 0 {
            let range = format!("bytes={}-", part.bytes);
            headers.insert(RANGE, range.parse().map_err(|_| Failure::passing("no such range"))?);
            // Elsewhere than on the hub the tag is another; there the hub's answer and the SHA-256 decide.
            if let Some(tag) = source.etag.parse().ok().filter(|_| source.direct && !source.etag.starts_with("W/")) {
                headers.insert(IF_RANGE, tag);
            }
        }
        let mut response = self.follow(source, &headers).await?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE if part.bytes > 0 => {
                part.restart(bar)?;
                return Err(Failure::passing("what had come is no part of the file"));
            }
            // What has come is thrown away for nothing but the file.
            _ => self.check_bytes(&response, source)?,
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (start, all) = content_range(&response).ok_or_else(|| Failure::passing("a part of nothing"))?;
                if start != part.bytes || source.bytes.is_some_and(|bytes| bytes != all) {
                    part.restart(bar)?;
                    return Err(Failure::passing(format!("the part from byte {start} of {all} was not asked for")));
                }
            }
            StatusCode::OK => {
                if let (Some(is), Some(all)) = (response.content_length(), source.bytes)
                    && is != all
                {
                    return Err(Failure::passing(format!("an answer of {is} bytes, and the file has {all}")));
                }
            }
            status => return Err(Failure::passing(format!("an answer {status} to a download"))),
        }
        let mut first = response.status() == StatusCode::OK;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if first {
                        // The whole may come though a part was asked for: the server has no ranges, or the file is another.
                        check_start(response.url(), &chunk, source.is_page)?;
                        part.restart(bar)?;
                        first = false;
                    }
                    if !part.takes(chunk.len()) {
                        let most = part.most;
                        part.restart(bar)?;
                        return Err(Failure::passing(format!("more than {most} bytes came, which is all")));
                    }
                    part.write(&chunk)?;
                    bar.set(part.bytes);
                }
                Ok(None) => break,
                Err(error) => return Err(Failure::passing(chain(&error.without_url()))),
            }
        }
        match source.bytes {
            Some(all) if part.bytes < all => {
                Err(Failure::passing(format!("the connection closed at byte {} of {all}", part.bytes)))
            }
            _ => Ok(()),
        }
    }

    /// The first bytes of a file, `most` or fewer where it is shorter.
    pub(super) async fn beginning(&self, url: &Url, source: &Source, most: u64) -> Result<Vec<u8>, FetchError> {
        let mut tries = Tries::default();
        loop {
            match self.start_of(source, most).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => tries.again(url, failure).await?,
            }
        }
    }

    async fn start_of(&self, source: &Source, most: u64) -> Result<Vec<u8>, Failure> {
        let mut headers = HeaderMap::new();
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        headers.insert(RANGE, range.parse().map_err(|_| Failure::passing("no such range"))?);
        let mut response = self.follow(source, &headers).await?;
        self.check_bytes(&response, source)?;
        if !matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::OK) {
            return Err(Failure::passing(format!("an answer {} to a download", response.status())));
        }
        if response.status() == StatusCode::PARTIAL_CONTENT
            && let Some((start, _)) = content_range(&response).filter(|(start, _)| *start != 0)
        {
            return Err(Failure::passing(format!("the part from byte {start} was not asked for")));
        }
        let mut bytes = Vec::new();
        // A server without ranges sends the whole: no more is taken than is needed.
        while let Some(chunk) = response.chunk().await.map_err(|e| Failure::passing(chain(&e.without_url())))? {
            if bytes.is_empty() {
                check_start(response.url(), &chunk, source.is_page)?;
            }
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 >= most {
                bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                return Ok(bytes);
            }
        }
        match source.bytes {
            Some(all) if (bytes.len() as u64) < all.min(most) => {
                Err(Failure::passing(format!("the connection closed at byte {} of {}", bytes.len(), all.min(most))))
            }
            _ => Ok(bytes),
        }
    }

    /// Whether an answer to a download can hold bytes of the file.
    fn check_bytes(&self, response: &Response, source: &Source) -> Result<(), Failure> {
        let from = if response.url().origin() == self.endpoint.origin() { Who::Hub } else { Who::Place };
        check(response.url(), response, from, source.is_page)
    }

    /// Asks for a file where it lies.
    async fn follow(&self, source: &Source, headers: &HeaderMap) -> Result<Response, Failure> {
        let mut at = source.url.clone();
        for _ in 0..REDIRECTS {
            let response = self.send(Method::GET, &at, headers.clone()).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            at = location(&response)?;
        }
        Err(in_a_circle(&source.url).into())
    }

    async fn send(&self, method: Method, url: &Url, headers: HeaderMap) -> Result<Response, Failure> {
        // Compressed bytes could not be counted or continued.
        let mut request =
            self.client.request(method, url.clone()).headers(headers).header("accept-encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.send().await.map_err(|error| no_answer(url, error))
    }
}

fn no_etag(url: &Url) -> FetchError {
    let cure = "Check --endpoint: a Hugging Face hub, or a mirror of one, does";
    refused(url, "the answer does not say what the file is (no ETag)", cure)
}

fn in_a_circle(url: &Url) -> FetchError {
    intercepted(url, format!("more than {REDIRECTS} redirects"))
}
