//! A way through a proxy to a host: CONNECT, or SOCKS in its versions.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use base64::Engine as _;
use url::Url;

use super::connect::Place;
use crate::registry::fault::Fault;

/// Longest answer of a proxy to CONNECT, in bytes (8 KiB).
const MAX_CONNECT_ANSWER: usize = 8 * 1024;

/// Has `proxy`, at the other end of `stream`, connect to `place`.
pub(super) fn open(
    stream: &mut (impl Read + Write),
    place: &Place,
    proxy: &Url,
) -> Result<(), Fault> {
    match proxy.scheme() {
        "socks5" | "socks5h" => socks5(stream, place, proxy),
        "socks4" | "socks4a" => socks4(stream, place, proxy),
        _ => connect(stream, place, proxy),
    }
}

fn broken(error: io::Error) -> Fault {
    Fault::Broken(error.to_string())
}

/// User name and password of a proxy's URL, if it has them.
fn login(proxy: &Url) -> Option<(String, String)> {
    let decoded = |text: &str| {
        let joined = format!("x={}", text.replace('+', "%2B"));
        let pair = url::form_urlencoded::parse(joined.as_bytes()).next();
        pair.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let name = Some(proxy.username()).filter(|name| !name.is_empty())?;
    Some((decoded(name), decoded(proxy.password().unwrap_or(""))))
}

/// `place` as `host:port`, an IPv6 address in brackets.
fn target(place: &Place) -> String {
    let is_v6 = place.name.contains(':');
    let host = if is_v6 { format!("[{}]", place.name) } else { place.name.clone() };
    format!("{host}:{}", place.port)
}

fn refused(place: &Place, words: &str) -> Fault {
    Fault::Connect(format!("it does not connect to {}: {words}", target(place)))
}

fn connect(stream: &mut (impl Read + Write), place: &Place, proxy: &Url) -> Result<(), Fault> {
    let target = target(place);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((name, password)) = login(proxy) {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Byte by byte: what follows the head belongs to the handshake.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_CONNECT_ANSWER || stream.read(&mut byte).map_err(broken)? == 0 {
            return Err(Fault::Connect("the proxy gives no answer to CONNECT".to_owned()));
        }
        answer.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&answer);
    if head.split_whitespace().nth(1).unwrap_or_default().starts_with('2') {
        return Ok(());
    }
    let line: String = head.lines().next().unwrap_or_default().chars().take(100).collect();
    Err(refused(place, &line))
}

/// See [RFC 1928](https://www.rfc-editor.org/rfc/rfc1928) and, for logins,
/// [RFC 1929](https://www.rfc-editor.org/rfc/rfc1929).
fn socks5(stream: &mut (impl Read + Write), place: &Place, proxy: &Url) -> Result<(), Fault> {
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    let login = login(proxy);
    let methods: &[u8] = if login.is_some() { &[5, 2, NO_LOGIN, LOGIN] } else { &[5, 1, NO_LOGIN] };
    stream.write_all(methods).map_err(broken)?;
    let [version, method] = taken(stream)?;
    if version != 5 {
        return Err(Fault::Connect("the proxy speaks no SOCKS5".to_owned()));
    }
    match (method, login) {
        (NO_LOGIN, _) => {}
        (LOGIN, Some((name, password))) => {
            let mut request = vec![1];
            for text in [&name, &password] {
                request.extend(short(text)?);
            }
            stream.write_all(&request).map_err(broken)?;
            let [_, status] = taken(stream)?;
            if status != 0 {
                return Err(Fault::Connect("the proxy refuses the login".to_owned()));
            }
        }
        _ => return Err(Fault::Connect("the proxy wants a login".to_owned())),
    }
    let mut request = vec![5, 1, 0];
    match place.name.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(3);
            request.extend(short(&place.name)?);
        }
    }
    request.extend(place.port.to_be_bytes());
    stream.write_all(&request).map_err(broken)?;
    let [_, reply, _, kind] = taken(stream)?;
    if reply != 0 {
        return Err(refused(place, said_by_socks5(reply)));
    }
    // The address that it connects from, which nobody needs.
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => usize::from(taken::<1>(stream)?[0]),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).map_err(broken)
}

fn said_by_socks5(reply: u8) -> &'static str {
    match reply {
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable, or its name unknown",
        5 => "connection refused",
        6 => "no answer in time",
        7 | 8 => "it does not know how",
        _ => "a general failure",
    }
}

/// SOCKS4 takes addresses of IPv4 alone, which are looked up here; SOCKS4a takes names.
fn socks4(stream: &mut (impl Read + Write), place: &Place, proxy: &Url) -> Result<(), Fault> {
    /// Stands for the name that follows.
    const BY_NAME: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 1);
    let by_name = proxy.scheme() == "socks4a" && place.name.parse::<IpAddr>().is_err();
    let address = if by_name { BY_NAME } else { first_of_ipv4(place)? };
    let mut request = vec![4, 1];
    request.extend(place.port.to_be_bytes());
    request.extend(address.octets());
    request.extend(login(proxy).map(|(name, _)| name).unwrap_or_default().bytes());
    request.push(0);
    if by_name {
        request.extend(place.name.bytes());
        request.push(0);
    }
    stream.write_all(&request).map_err(broken)?;
    let [_, reply, ..] = taken::<8>(stream)?;
    match reply {
        0x5a => Ok(()),
        _ => Err(refused(place, "it was refused, or failed")),
    }
}

fn first_of_ipv4(place: &Place) -> Result<Ipv4Addr, Fault> {
    let not_found = |error: io::Error| super::connect::not_found(&error);
    let found = (place.name.as_str(), place.port).to_socket_addrs().map_err(not_found)?;
    let of_ipv4 = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let none = || Fault::Connect(format!("{} has no address of IPv4, as SOCKS4 wants", place.name));
    found.into_iter().find_map(of_ipv4).ok_or_else(none)
}

/// The next `N` bytes.
fn taken<const N: usize>(stream: &mut impl Read) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

/// A text with its length before it, in a byte.
fn short(text: &str) -> Result<Vec<u8>, Fault> {
    let too_long = |_| Fault::Connect("a name or login is too long for SOCKS5".to_owned());
    let length = u8::try_from(text.len()).map_err(too_long)?;
    Ok(std::iter::once(length).chain(text.bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that says this, whatever it is asked.
    struct Scripted {
        answers: io::Cursor<Vec<u8>>,
        asked: Vec<u8>,
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a proxy at `url` is asked that gives `answers`, and what comes of it.
    fn opened(url: &str, host: &str, answers: &[u8]) -> (Vec<u8>, Result<(), String>) {
        let mut proxy = Scripted { answers: io::Cursor::new(answers.to_vec()), asked: Vec::new() };
        let place = Place { name: host.to_owned(), port: 0x1bb };
        let outcome = open(&mut proxy, &place, &url.parse().unwrap());
        (proxy.asked, outcome.map_err(|fault| fault.to_string()))
    }

    #[test]
    fn each_kind_of_proxy_is_asked_in_its_words() {
        const OF_SOCKS5: &[u8] = b"\x05\0\x05\0\0\x01\0\0\0\0\0\0";
        for (url, host, answers, expected) in [
            ("socks5h://p", "h", OF_SOCKS5, &b"\x05\x01\0\x05\x01\0\x03\x01h\x01\xbb"[..]),
            ("socks5h://p", "9.8.7.6", OF_SOCKS5, b"\x05\x01\0\x05\x01\0\x01\x09\x08\x07\x06\x01\xbb"),
            (
                "socks5h://u:p%40@p",
                "h",
                b"\x05\x02\x01\0\x05\0\0\x03\x02ab\0\0",
                b"\x05\x02\0\x02\x01\x01u\x02p@\x05\x01\0\x03\x01h\x01\xbb",
            ),
            ("socks4a://u@p", "h", b"\0\x5a\0\0\0\0\0\0", b"\x04\x01\x01\xbb\0\0\0\x01u\0h\0"),
            ("socks4://p", "9.8.7.6", b"\0\x5a\0\0\0\0\0\0", b"\x04\x01\x01\xbb\x09\x08\x07\x06\0"),
            (
                "https://u:p%40@p",
                "::1",
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic dTpwQA==\r\n\r\n",
            ),
        ] {
            let (asked, outcome) = opened(url, host, answers);
            assert_eq!((asked.as_slice(), outcome), (expected, Ok(())), "{url} {host}");
        }
    }

    #[test]
    fn what_a_proxy_refuses_is_told_in_words() {
        for (url, answers, words) in [
            ("socks5h://p", &b"\x05\xff"[..], "wants a login"),
            ("socks5h://u:p@p", b"\x05\x02\x01\x01", "refuses the login"),
            ("socks5h://p", b"\x05\0\x05\x02\0\x01", "not allowed by its rules"),
            ("socks5h://p", b"HT", "speaks no SOCKS5"),
            ("socks5h://p", b"\x05", "connection broke"),
            ("socks4a://p", b"\0\x5b\0\0\0\0\0\0", "it was refused"),
            ("http://p", b"HTTP/1.1 403 Filtered\r\n\r\n", "403 Filtered"),
            ("http://p", b"HTTP/1.1 ", "no answer to CONNECT"),
        ] {
            let (_, outcome) = opened(url, "h.example", answers);
            let said = outcome.unwrap_err();
            assert!(said.contains(words), "{url}: {said}");
        }
    }
}
