#!/usr/bin/env bash
# Make FOLDER/root, an Arm64 Debian with Python, numpy, ONNX Runtime and ExecuTorch, and
# FOLDER/qemu-aarch64-static, which runs its programs here. Nothing is installed on this machine;
# 70 MB are downloaded, once. Needs a Debian machine whose apt lists are filled, and pip.
set -euo pipefail
folder=$(realpath -m "${1:?the folder to make}")
pip=${2:?a Python that has pip}
here=$(dirname "$(realpath "$0")")
root=$folder/root
python=3.13                                   # of trixie
executorch="executorch-numpy-runtime==1.4.0"  # without torch; it embeds ExecuTorch 1.3.1

stamp=$(cat "$0" "$here/../../constraints.txt" | sha256sum)
[ "$(cat "$folder/ready" 2> /dev/null)" = "$stamp" ] && exit 0
rm -rf "$folder"
mkdir -p "$folder"/apt/{lists,cache}/partial "$folder/wheels" "$root/opt/site" "$root/proc"

# An apt of its own, with the archive that this machine's apt has.
archive=$(apt-get indextargets --format "\$(ORIGIN) \$(REPO_URI)" |
  awk '$1 == "Debian" { print $2; exit }')
if [ -z "$archive" ]; then
  echo "no Debian archive in apt's lists: run apt-get update, on a Debian machine" >&2
  exit 2
fi
host=$(dpkg --print-architecture)
cat > "$folder/apt/apt.conf" << END
APT::Architecture "arm64";
APT::Architectures { "arm64"; "$host"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt/cache";
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
END
signed="signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
cat > "$folder/apt/sources.list" << END
deb [arch=arm64 $signed] $archive trixie main
deb [arch=$host $signed] $archive bookworm main
END
: > "$folder/apt/status"
export APT_CONFIG=$folder/apt/apt.conf
apt-get -qq update
apt-get -qq install --download-only --yes python3:arm64 libstdc++6:arm64 libgomp1:arm64
(cd "$folder/apt" && apt-get -qq download "qemu-user-static:$host/bookworm")

dpkg-deb --fsys-tarfile "$folder"/apt/qemu-user-static_*.deb |
  tar -xO ./usr/bin/qemu-aarch64-static > "$folder/qemu-aarch64-static"
chmod +x "$folder/qemu-aarch64-static"
for name in bin sbin lib; do
  mkdir -p "$root/usr/$name"
  ln -s "usr/$name" "$root/$name"
done
for package in "$folder"/apt/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$root"
done

# The wheels that run here, for that processor.
platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64)
"$pip" -m pip download --quiet --no-deps --only-binary=:all: "${platforms[@]}" \
  --python-version "$python" --constraint "$here/../../constraints.txt" \
  --dest "$folder/wheels" numpy onnxruntime "$executorch"
for wheel in "$folder"/wheels/*.whl; do
  "$pip" -m zipfile -e "$wheel" "$root/opt/site"
done

# Without it onnxruntime ends in a crash when it is imported.
cat > "$root/proc/cpuinfo" << END
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1
END
rm -rf "$folder/apt" "$folder/wheels"
echo "$stamp" > "$folder/ready"
