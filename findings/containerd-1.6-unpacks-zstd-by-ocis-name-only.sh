#!/bin/sh
# containerd 1.6.20 (Debian bookworm): one layer, packed by zstd, is unpacked where the manifest calls it by OCI's media type,
# and refused where it has docker's (`application/vnd.docker.image.rootfs.diff.tar.zstd`, which BuildKit writes for an image of
# docker's types): "no processor for media-type". Nothing but the type differs, and a gzip layer is taken by either name.
set -eu
version=1.6.20~ds1-1+deb12u3
[ "$(id -u)" -eq 0 ] || { echo "run as root: the daemon wants it" >&2; exit 2; }
folder=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
daemon=

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "containerd=$version" zstd
for package in *.deb; do dpkg -x "$package" parts; done
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

echo hi >hello
tar --format=ustar --owner=0 --group=0 -cf layer.tar hello
parts/usr/bin/zstd -q layer.tar -o layer.zst
gzip -nk layer.tar
python3 - <<'END'
import hashlib, io, json, tarfile

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
MANIFEST = {"oci": OCI + "manifest.v1+json", "docker": DOCKER + "distribution.manifest.v2+json"}
CONFIG = {"oci": OCI + "config.v1+json", "docker": DOCKER + "container.image.v1+json"}
LAYER = {
    ("oci", "zstd"): OCI + "layer.v1.tar+zstd", ("oci", "gzip"): OCI + "layer.v1.tar+gzip",
    ("docker", "zstd"): DOCKER + "image.rootfs.diff.tar.zstd", ("docker", "gzip"): DOCKER + "image.rootfs.diff.tar.gzip",
}
diff = "sha256:" + hashlib.sha256(open("layer.tar", "rb").read()).hexdigest()
for (family, packing), layer_type in LAYER.items():
    files = {}
    def blob(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
    packed = open("layer.zst" if packing == "zstd" else "layer.tar.gz", "rb").read()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}}
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST[family],
        "config": blob(CONFIG[family], json.dumps(config).encode()), "layers": [blob(layer_type, packed)],
    }
    entry = blob(MANIFEST[family], json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": f"example.test/{family}:{packing}"}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(f"{family}-{packing}.tar", "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
END

seen=
for image in oci-gzip oci-zstd docker-gzip docker-zstd; do
    if said=$(ctr -n "$image" images import --snapshotter native "$image.tar" 2>&1); then outcome=unpacked; else outcome=refused; fi
    echo "$image: $outcome$(echo "$said" | grep -om1 'no processor for media-type' | head -n 1 | sed 's/^/, /')"
    seen="$seen $outcome"
done
[ "$seen" = " unpacked unpacked unpacked refused" ]
