#!/bin/sh
# skopeo 1.9.3 (Debian bookworm): of an OCI layout, an image is named by its tag, `oci:DIR:TAG`, which is looked for among the
# entries of index.json that have one of OCI's media types alone. An image whose manifest has docker's type, under that very tag, is not
# found: "no descriptor found for reference". Without a tag, the only entry of the layout is taken whatever its type. So who keeps an
# image's digest when it goes from a registry into a layout makes a layout that skopeo reads by `oci:DIR` only.
set -eu
version=1.9.3+ds1-1+b10
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "skopeo=$version"
dpkg -x skopeo_*.deb parts
PATH=$PWD/parts/usr/bin:$PATH

# One empty layer and the same manifest twice, with OCI's types and with docker's.
python3 - <<'PYTHON'
import gzip, hashlib, io, json, os, tarfile

OCI = {"manifest": "application/vnd.oci.image.manifest.v1+json", "config": "application/vnd.oci.image.config.v1+json",
       "layer": "application/vnd.oci.image.layer.v1.tar+gzip"}
DOCKER = {"manifest": "application/vnd.docker.distribution.manifest.v2+json", "config": "application/vnd.docker.container.image.v1+json",
          "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip"}

packed = io.BytesIO()
tarfile.open(fileobj=packed, mode="w").close()
tar = packed.getvalue()

for name, types in {"oci": OCI, "docker": DOCKER}.items():
    os.makedirs(f"{name}/blobs/sha256")

    def blob(kind, data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{name}/blobs/sha256/{digest}", "wb") as file:
            file.write(data)
        return {"mediaType": types[kind], "digest": f"sha256:{digest}", "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]}}
    manifest = {"schemaVersion": 2, "mediaType": types["manifest"], "config": blob("config", json.dumps(config).encode()),
                "layers": [blob("layer", gzip.compress(tar, mtime=0))]}
    entry = blob("manifest", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    with open(f"{name}/index.json", "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, file)
    with open(f"{name}/oci-layout", "w") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')
PYTHON

skopeo inspect --raw oci:oci:v1 >/dev/null || { echo 'the image of OCI types is not found by its tag' >&2; exit 1; }
if skopeo inspect --raw oci:docker:v1 >/dev/null 2>by-tag; then
    echo 'the image of docker types is found by its tag' >&2
    exit 1
fi
grep -q 'no descriptor found' by-tag || { cat by-tag >&2; exit 1; }
skopeo inspect --raw oci:docker >/dev/null || { echo 'the image of docker types is not found without a tag either' >&2; exit 1; }
echo "skopeo $version: by its tag, a layout's image of OCI types is found, one of docker's types is not; without a tag it is"
