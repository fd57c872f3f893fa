#!/bin/sh
# docker-registry 2.8.2 (Debian bookworm): a PATCH of an upload whose Content-Range does not begin where the upload ends is
# neither refused nor placed: its bytes are appended, and the answer is 202. The distribution specification wants 416. Besides,
# the `Range` of an upload is `0-0` both for nothing and for one byte, so a client that resumes can't tell these two apart.
#
# What follows for a client: after a break it asks for the offset, and where the answer is `0-0` it begins again.
set -eu
version=2.8.2+ds1-1
folder=$(mktemp -d)
trap 'kill "$registry" 2>/dev/null || true; rm -rf "$folder"' EXIT
registry=

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "docker-registry=$version"
dpkg -x docker-registry_*.deb parts
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >config.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: $folder/storage}}
http: {addr: "127.0.0.1:$port"}
log: {level: error}
END
parts/usr/bin/docker-registry serve config.yml >log 2>&1 &
registry=$!

python3 - "$port" <<'END'
import hashlib, http.client, sys, time

def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers

def target(headers):
    return headers["Location"].split("/", 3)[3].join(["/", ""])

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)

def begin():
    status, headers = ask("POST", "/v2/a/b/blobs/uploads/", Content_Length="0")
    assert status == 202, status
    return headers

empty = begin()
status, one = ask("PATCH", target(empty), b"A", Content_Type="application/octet-stream", Content_Range="0-0")
assert status == 202, status
print("Range after nothing:", empty["Range"], "- after one byte:", one["Range"])
assert empty["Range"] == one["Range"] == "0-0"

status, chunk = ask("PATCH", target(one), b"BCDE", Content_Type="application/octet-stream", Content_Range="100-103")
print("a chunk for byte 100 of an upload that has one byte:", status, "Range", chunk["Range"])
assert (status, chunk["Range"]) == (202, "0-4")

whole = b"ABCDE"
digest = "sha256:" + hashlib.sha256(whole).hexdigest()
separator = "&" if "?" in target(chunk) else "?"
status, _ = ask("PUT", f"{target(chunk)}{separator}digest={digest}", b"")
print("the upload is the two pieces in a row:", status)
assert status == 201, status
END
