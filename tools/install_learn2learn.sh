#!/usr/bin/env bash
# Builds learn2learn 0.2.0 and installs it, without its dependencies, into one Python:
#
#     tools/install_learn2learn.sh [PYTHON]     # .venv/bin/python by default
#
# Its source release ships C files made for older Pythons, which do not compile on 3.11 and later (its issue 413), and
# its requirement qpth no longer installs. So the C files are made again from the Cython sources, in a throwaway
# environment; nothing but learn2learn itself (MIT licence) enters the one given. What it needs to be imported is named
# at the end where it is missing; the tests of leads stand in for it.
set -euo pipefail

version=0.2.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${1:-$root/.venv/bin/python}

fail() {
    echo "install_learn2learn: $*" >&2
    exit 1
}

[ $# -le 1 ] || fail "takes one argument, the Python to install into; got $#: $*"
command -v "$python" >/dev/null || fail "there is no Python at $python. Run make install first, or name one."
python=$(command -v "$python")
# Absolute, for the building goes on in another folder; not resolved, for an environment is known by its links.
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")

installed() {
    "$python" - "$version" <<'PY'
import importlib.metadata, importlib.util, pathlib, sys, sysconfig

try:
    there = importlib.metadata.version("learn2learn") == sys.argv[1]
except importlib.metadata.PackageNotFoundError:
    there = False
spec = importlib.util.find_spec("learn2learn") if there else None
data = pathlib.Path(spec.origin).parent / "data" if spec and spec.origin else None
suffix = sysconfig.get_config_var("EXT_SUFFIX")
names = ("meta_dataset", "task_dataset", "transforms")
sys.exit(0 if data and all((data / (name + suffix)).is_file() for name in names) else 1)
PY
}

report() {
    echo "$1"
    local missing
    missing=$("$python" -c 'import importlib.util as u; print(*(n for n in ("gym", "requests", "torchvision", "tqdm") if not u.find_spec(n)))')
    [ -z "$missing" ] || echo "To import it outside the tests of leads, install also: $missing (torchvision as fits your torch)."
}

if installed; then
    report "learn2learn $version is installed in $python."
    exit 0
fi

compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
command -v "${compiler%% *}" >/dev/null ||
    fail "there is no C compiler (${compiler%% *}). Install one, e.g. apt-get install gcc, or set CC."
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -f "$header" ] || fail "there are no headers of this Python ($header). Install them, e.g. apt-get install python3-dev."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/log
step() { # a command whose output is shown only where it fails
    local what=$1
    shift
    "$@" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        fail "$what failed (its last lines are above)."
    }
}
pip=("$work/build/bin/python" -m pip --disable-pip-version-check --retries 1 --timeout 20)

step "making a build environment" "$python" -m venv "$work/build"
step "fetching cython and setuptools (is the package index within reach?)" \
    "${pip[@]}" install 'cython<3' 'setuptools>=70.1,<81'
step "fetching the source of learn2learn $version (is the package index within reach?)" \
    "${pip[@]}" download --no-deps --no-build-isolation --no-binary learn2learn --dest "$work" "learn2learn==$version"
tar -xzf "$work/learn2learn-$version.tar.gz" -C "$work"
cd "$work/learn2learn-$version"
rm -f learn2learn/data/*.c
# Named before bdist_wheel, build_ext makes setup.py read the Cython sources.
step "compiling learn2learn" env CC="$compiler" "$work/build/bin/python" setup.py -q build_ext bdist_wheel
step "installing the wheel" "${pip[@]}" --python "$python" install --no-deps --force-reinstall dist/*.whl
cd "$root"
installed || fail "the wheel was installed, but its compiled modules are not found by $python."
report "learn2learn $version was built and installed into $python."
