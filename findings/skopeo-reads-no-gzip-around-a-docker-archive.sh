#!/bin/sh
# skopeo 1.9.3 (Debian bookworm; podman 4.3.1 has the same library): a docker archive that is packed by gzip, `docker save IMAGE |
# gzip`, can't be read: "loading tar component manifest.json: unexpected EOF" for a small one, "archive/tar: invalid tar header"
# for a larger one, though docker-archive is documented to take packed files, and takes the same archive packed by bzip2. As
# OCI archive, the same gzip is read.
set -eu
version=1.9.3+ds1-1+b10
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "skopeo=$version"
dpkg -x skopeo_*.deb parts
python3 - <<'END'
import bz2, gzip, hashlib, io, json, tarfile

def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))

layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as files:
    add(files, "hello", b"hello")
diff_id = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
manifest = [{"Config": "config.json", "RepoTags": ["registry.example/hello:v1"], "Layers": ["layer.tar"]}]
image = io.BytesIO()
with tarfile.open(fileobj=image, mode="w", format=tarfile.USTAR_FORMAT) as archive:
    add(archive, "manifest.json", json.dumps(manifest).encode())
    add(archive, "config.json", json.dumps(config).encode())
    add(archive, "layer.tar", layer.getvalue())
for name, pack in ("plain", bytes), ("bzip2", bz2.compress), ("gzip", gzip.compress):
    with open(name, "wb") as file:
        file.write(pack(image.getvalue()))
END
skopeo() { parts/usr/bin/skopeo --insecure-policy "$@"; }
for packing in plain bzip2; do
    skopeo list-tags docker-archive:$packing >out 2>&1
    echo "$packing: $(grep -o 'registry.example/hello:v1' out)"
done
if skopeo list-tags docker-archive:gzip >out 2>&1; then
    echo "gzip is read now" >&2
    exit 1
fi
echo "gzip: $(grep -o 'loading tar component[^"]*' out)"
