#!/bin/sh
# docker-registry 2.8.2 (Debian bookworm): HEAD of a blob obeys a Range header, although RFC 9110 §14.2 defines Range for GET
# alone: the answer is 206, and its Content-Length is that of the part. Whoever asks HEAD with the headers of a GET that is to
# follow takes the part's length for the blob's. And where a range can't be satisfied, the 416 of a GET promises the whole
# blob's length as its own and sends a short JSON error instead, so that the answer never ends as announced.
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
    try:
        body = answer.read()
    except http.client.IncompleteRead as cut:
        body = cut.partial
    return answer.status, answer.headers, body

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)

blob = bytes(range(256)) * 4
digest = "sha256:" + hashlib.sha256(blob).hexdigest()
_, headers, _ = ask("POST", "/v2/a/b/blobs/uploads/", Content_Length="0")
location = "/" + headers["Location"].split("/", 3)[3]
status, _, _ = ask("PUT", f"{location}&digest={digest}", blob, Content_Type="application/octet-stream")
assert status == 201, status

status, headers, _ = ask("HEAD", f"/v2/a/b/blobs/{digest}", Range="bytes=0-9")
print("HEAD with a range of 10 bytes:", status, "Content-Length", headers["Content-Length"])
assert (status, headers["Content-Length"]) == (206, "10")

status, headers, body = ask("GET", f"/v2/a/b/blobs/{digest}", Range="bytes=5000-")
print("GET beyond the end:", status, "Content-Length", headers["Content-Length"], "- bytes that came:", len(body))
assert status == 416 and int(headers["Content-Length"]) == len(blob) and len(body) < 100
END
