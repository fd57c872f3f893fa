#!/bin/sh
# containerd 1.6.20 (Debian bookworm): `ctr images import` of a valid OCI archive whose index names its image by no annotation
# ends with exit 0, prints nothing, and leaves no image: the content was read, and garbage collection takes it again. The image
# specification makes the name optional. `--digests` is what makes a name of its own for it.
set -eu
version=1.6.20~ds1-1+deb12u3
[ "$(id -u)" -eq 0 ] || { echo "run as root: the daemon wants it" >&2; exit 2; }
folder=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
daemon=

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "containerd=$version"
dpkg -x containerd_*.deb parts
cat >config.toml <<END
version = 2
root = "$folder/root"
state = "$folder/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$folder/containerd.sock"
[ttrpc]
  address = "$folder/containerd.sock.ttrpc"
END
PATH=$folder/parts/usr/bin:$PATH parts/usr/bin/containerd --config config.toml >log 2>&1 &
daemon=$!
ctr() { "$folder/parts/usr/bin/ctr" --address "$folder/containerd.sock" "$@"; }
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat log >&2; exit 2; }
    sleep 0.1
done

python3 - <<'END'
import gzip, hashlib, io, json, tarfile

files = {}
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    files[f"blobs/sha256/{digest}"] = data
    return {"digest": f"sha256:{digest}", "size": len(data)}

layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    entry = tarfile.TarInfo("hello")
    entry.size = 3
    tar.addfile(entry, io.BytesIO(b"hi\n"))
diff = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
config = blob(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode())
manifest = {
    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(gzip.compress(layer.getvalue(), mtime=0))}],
}
entry = {"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode())}
files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
with tarfile.open("image.tar", "w") as tar:
    for name, data in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
END

said=$(ctr images import --no-unpack image.tar 2>&1)
echo "import: exit $?, said: '$said', images: $(ctr images ls -q | wc -l)"
[ -z "$said" ] && [ "$(ctr images ls -q | wc -l)" -eq 0 ]
ctr images import --no-unpack --digests image.tar >/dev/null
echo "import --digests: $(ctr images ls -q | sed 's/[0-9a-f]\{64\}/…/; s/-[0-9-]*@/-DATE@/')"
[ "$(ctr images ls -q | wc -l)" -eq 1 ]
