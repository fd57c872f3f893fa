#!/bin/sh
# docker-registry 2.8.2 (Debian bookworm), blobs in its filesystem: for a range of one byte it reads 4 MiB of the blob's file, into
# a buffer that is made for that request. A client that fetches a blob in ranges of 1 MiB makes the registry read four times what it
# sends, one that takes 64 KiB at a time (to read an image's index of files, for one) 64 times.
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

python3 - "$port" "$registry" <<'END'
import hashlib, http.client, sys, time

MIB = 1 << 20
port, registry = int(sys.argv[1]), sys.argv[2]

def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def bytes_read():
    """What the registry has asked the system to read so far, in bytes."""
    with open(f"/proc/{registry}/io") as account:
        return int(account.readline().split()[1])

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)

blob = bytes(range(256)) * (64 * MIB // 256)
digest = "sha256:" + hashlib.sha256(blob).hexdigest()
_, headers, _ = ask("POST", "/v2/a/b/blobs/uploads/", headers={"Content-Length": "0"})
location = "/" + headers["Location"].split("/", 3)[3]
status, _, _ = ask("PUT", f"{location}&digest={digest}", blob, {"Content-Type": "application/octet-stream"})
assert status == 201, status
path = f"/v2/a/b/blobs/{digest}"

before = bytes_read()
status, _, body = ask("GET", path, headers={"Range": "bytes=5-5"})
read = bytes_read() - before
print(f"a range of 1 byte: {status}, sent {len(body)}, read {read}")
assert (status, len(body)) == (206, 1) and 4 * MIB <= read < 4 * MIB + MIB // 4

# In MiB per range, and what is read for each byte that is sent, to the nearest tenth.
for length, expected in [(64, 1), (8, 1), (1, 4), (1 / 16, 64)]:
    length, sent, before = int(length * MIB), 0, bytes_read()
    for start in range(0, len(blob), length):
        # In part of the shortest ranges all is seen.
        if sent >= 8 * MIB and length < MIB:
            break
        status, _, body = ask("GET", path, headers={"Range": f"bytes={start}-{start + length - 1}"})
        assert (status, len(body)) == (206, length)
        sent += len(body)
    times = (bytes_read() - before) / sent
    print(f"ranges of {length >> 10} KiB: read {times:.1f} times what was sent")
    assert abs(times - expected) < 0.15 * expected, times
END
