#!/bin/sh
# docker-registry 2.8.2 (Debian bookworm): a repository's link to a blob is a small file that is written anew, not replaced,
# when the blob is uploaded once more. A manifest that names the blob and arrives at that moment is refused with 400, BLOB_UNKNOWN
# or DIGEST_INVALID, although the blob has been there all the time and stays. So who pushes two images that share a blob, as
# all OCI artifacts share the configuration {}, must send it once, or be ready to send the manifest again.
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
import hashlib, http.client, json, sys, threading, time

def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def upload():
    _, headers, _ = ask("POST", "/v2/a/b/blobs/uploads/", Content_Length="0")
    location = "/" + headers["Location"].split("/", 3)[3]
    status, _, _ = ask("PUT", f"{location}&digest={digest}", blob, Content_Type="application/octet-stream")
    assert status == 201, status

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)

blob = b"{}"
digest = "sha256:" + hashlib.sha256(blob).hexdigest()
upload()
kind = "application/vnd.oci.image.manifest.v1+json"
entry = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": len(blob)}
manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": entry, "layers": [entry]})
assert ask("PUT", "/v2/a/b/manifests/v1", manifest, Content_Type=kind)[0] == 201

done = threading.Event()
def again():
    while not done.is_set():
        upload()
senders = [threading.Thread(target=again) for _ in range(2)]
for sender in senders:
    sender.start()
refused = sent = 0
until = time.time() + 120
while not refused and time.time() < until:
    status, _, body = ask("PUT", "/v2/a/b/manifests/v1", manifest, Content_Type=kind)
    sent += 1
    if status != 201:
        refused += 1
        codes = {error["code"] for error in json.loads(body)["errors"]}
        print(f"manifest {sent} of the same kind while its blob was sent again:", status, *sorted(codes))
        assert status == 400 and codes <= {"BLOB_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"}, body
done.set()
for sender in senders:
    sender.join()
status, _, _ = ask("PUT", "/v2/a/b/manifests/v1", manifest, Content_Type=kind)
print("and when nobody sends it:", status)
assert refused and status == 201
END
