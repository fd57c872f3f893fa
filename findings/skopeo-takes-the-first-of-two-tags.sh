#!/bin/sh
# skopeo 1.9.3 (Debian bookworm): in an OCI layout that holds two images of different repositories with one tag, as
# `ctr images export` writes it (the repository is in `io.containerd.image.name`, and `org.opencontainers.image.ref.name` has the
# bare tag), skopeo finds images by the bare tag alone, and takes the first without a word. The second one can't be reached by
# name, and its full name is "no descriptor found".
set -eu
version=1.9.3+ds1-1+b10
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "skopeo=$version"
dpkg -x skopeo_*.deb parts
python3 - <<'END'
import hashlib, json, os

os.makedirs("layout/blobs/sha256")
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"layout/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}

manifests = []
for repository in "first", "second":
    config = blob(json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"repository": repository}},
        "rootfs": {"type": "layers", "diff_ids": []}}).encode())
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}, "layers": []}
    manifests.append({
        "mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode()),
        "annotations": {"io.containerd.image.name": f"registry.example/{repository}:v1", "org.opencontainers.image.ref.name": "v1"}})
with open("layout/index.json", "w") as file:
    json.dump({"schemaVersion": 2, "manifests": manifests}, file)
with open("layout/oci-layout", "w") as file:
    file.write('{"imageLayoutVersion": "1.0.0"}')
END
skopeo() { parts/usr/bin/skopeo --insecure-policy "$@"; }
found=$(skopeo inspect --config oci:layout:v1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["config"]["Labels"]["repository"])')
echo "of first:v1 and second:v1, v1 is: $found"
[ "$found" = first ]
if skopeo inspect --config oci:layout:registry.example/second:v1 >out 2>&1; then
    echo "the full name is found now" >&2
    exit 1
fi
echo "by its full name: $(grep -o 'no descriptor found' out)"
