#!/bin/sh
# containerd 1.6.20 (Debian bookworm; 1.7 and 2.1 alike): `disabled_plugins = ["cri"]`, the line that docker's package ships and
# many guides tell to look for, is taken in a config.toml without `version`. Beside `version = 2` the daemon does not start, since
# names of plugins are whole there: "io.containerd.grpc.v1.cri". So a line that is moved from one file into another, or that
# stays while `version = 2` is put at the top, ends the daemon; and a tool that reads such files must know both names.
set -eu
version=1.6.20~ds1-1+deb12u3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download "containerd=$version"
dpkg -x containerd_*.deb parts

# `config dump` reads the file as the daemon does when it starts.
dump() { parts/usr/bin/containerd --config "$1" config dump >"$2" 2>&1; }

echo 'disabled_plugins = ["cri"]' >first.toml
printf 'version = 2\ndisabled_plugins = ["cri"]\n' >second.toml
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >whole.toml

dump first.toml first
echo "without a version: $(grep '^disabled_plugins' first)"
if dump second.toml second; then
    echo 'taken beside version = 2'
    exit 1
fi
echo "beside version = 2: $(grep -o 'invalid disabled plugin URI.*' second)"
dump whole.toml whole
echo "by its whole name: $(grep '^disabled_plugins' whole)"
