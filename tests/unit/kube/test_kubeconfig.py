"""Several kubeconfig files say what they say to kubectl: it is asked, too."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from forensics_core.errors import ClusterNotConfigured
from forensics_core.kube.credentials import CredentialSource
from forensics_core.kube.kubeconfig import LISTS, files_of, merge

KUBECTL = Path(sys.executable).parent / "kubectl"
A = {
    "current-context": "",
    "clusters": [{"name": "one", "cluster": {"server": "https://a.example"}}],
    "contexts": [{"name": "ctx", "context": {"cluster": "one", "user": "u"}}],
    "users": [{"name": "u", "user": {"tokenFile": "token"}}],
}
B = {
    "current-context": "ctx2",
    "clusters": [
        {"name": "one", "cluster": {"server": "https://b.example", "tls-server-name": "b"}},
        {
            "name": "two",
            "cluster": {"server": "https://two.example", "certificate-authority": "ca"},
        },
    ],
    "contexts": [
        {"name": "ctx", "context": {"cluster": "one", "user": "u", "namespace": "b"}},
        {"name": "ctx2", "context": {"cluster": "two", "user": "u2"}},
    ],
    "users": [
        {"name": "u", "user": {"token": "secret"}},
        {"name": "u2", "user": {"client-certificate": "/abs/crt", "client-key": "../key"}},
    ],
}
C = {
    "current-context": "ctx",
    "users": [
        {
            "name": "u2",
            "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./get"}},
        }
    ],
}
CONTENTS: dict[str, Any] = {"a": A, "b": B, "c": C, "empty": None, "missing": ...}


def write(folder: Path) -> dict[str, str]:
    paths = {}
    for name, content in CONTENTS.items():
        file = folder / name / "config.yaml"
        file.parent.mkdir()
        if content is not ...:
            whole = {"apiVersion": "v1", "kind": "Config", **content} if content else None
            file.write_text(yaml.safe_dump(whole) if whole else "")
        paths[name] = str(file)
    return paths


def as_kubectl_has_it(kubeconfig: str) -> dict[str, Any]:
    said = subprocess.run(
        [KUBECTL, "config", "view", "--raw", "-o", "json"],
        env={
            "KUBECONFIG": kubeconfig,
            "HOME": os.environ.get("HOME", "/nonexistent"),
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(said.stdout)
    return document


def essential(document: dict[str, Any]) -> dict[str, Any]:
    """Return what matters of a kubeconfig, with the names of files only: kubectl keeps them."""
    found: dict[str, Any] = {"current": document.get("current-context") or ""}
    for name, kind in LISTS.items():
        for entry in document.get(name) or []:
            for key, value in (entry.get(kind) or {}).items():
                if key == "exec":
                    value = value["command"].rpartition("/")[2]
                elif isinstance(value, str) and not value.startswith("https"):
                    value = value.rpartition("/")[2]
                found[f"{name} {entry['name']} {key}"] = value
    return found


@pytest.mark.parametrize("names", list(itertools.permutations(CONTENTS, 3)))
def test_files_are_merged_as_kubectl_merges_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    paths = write(tmp_path)
    joined = os.pathsep.join(["", *(paths[name] for name in names), "", paths[names[0]]])
    merged = merge(files_of(joined))
    assert essential(merged) == essential(as_kubectl_has_it(joined))


def test_a_file_that_kubectl_passes_over_names_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    joined = f"~/a/config.yaml:'{paths['a']}':{paths['b']} :{paths['b']}"
    assert essential(merge(files_of(joined))) == essential(as_kubectl_has_it(joined))
    assert merge(files_of(joined))["current-context"] == "ctx2"


def test_a_name_that_comes_twice_is_refused_as_kubectl_refuses_it(tmp_path: Path) -> None:
    twice = [{"name": "one", "cluster": {"server": f"https://{host}"}} for host in "ab"]
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": twice}))
    with pytest.raises(subprocess.CalledProcessError):
        as_kubectl_has_it(str(file))
    with pytest.raises(ClusterNotConfigured, match="clusters has 'one' twice"):
        merge(files_of(str(file)))


def test_paths_are_relative_to_the_file_that_they_stand_in(tmp_path: Path) -> None:
    paths = write(tmp_path)
    merged = merge(files_of(f"{paths['c']}:{paths['a']}:{paths['b']}"))
    users = {entry["name"]: entry["user"] for entry in merged["users"]}
    assert users["u2"]["exec"]["command"] == str(tmp_path / "c/get")
    assert users["u"]["tokenFile"] == str(tmp_path / "a/token")
    (two,) = (entry for entry in merged["clusters"] if entry["name"] == "two")
    assert two["cluster"]["certificate-authority"] == str(tmp_path / "b/ca")


async def test_the_first_file_decides_which_cluster_is_talked_to(tmp_path: Path) -> None:
    paths = write(tmp_path)
    (tmp_path / "a/token").write_text("of-a\n")
    joined = f"{paths['a']}:{paths['c']}:{paths['b']}"
    credentials = await CredentialSource(kubeconfig=joined).load()
    assert credentials.configuration.host == "https://a.example"
    assert credentials.configuration.api_key["BearerToken"] == "Bearer of-a"
    assert credentials.namespace == "default"
    assert tmp_path / "a/token" in credentials.files


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("clusters: {}\nusers: []\n", "is missing, or empty"),
        ("clusters: [{name: x}]\n", "names no current context"),
        ("clusters: nonsense\n", "clusters is not a list"),
        ("clusters: [{name: x}, {name: x}]\n", "clusters has 'x' twice"),
        ("clusters: [nonsense]\n", "an entry of clusters has no name"),
        ("- 1\n", "is not a kubeconfig"),
        ("{", "cannot be read"),
        ("current-context: x\nclusters: [{name: x}]\n", "cannot be used"),
    ],
)
async def test_what_cannot_be_used_is_one_clear_line(
    tmp_path: Path, content: str, why: str
) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(ClusterNotConfigured, match=why) as caught:
        await CredentialSource(kubeconfig=str(tmp_path / "config")).load()
    assert "\n" not in str(caught.value)


def test_where_the_files_are_missing_a_pod_is_itself(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    with pytest.raises(ClusterNotConfigured, match="None of the files that KUBECONFIG names"):
        CredentialSource.find(None, None, environment)
    inside = environment | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert CredentialSource.find(None, None, inside).kubeconfig is None
    del environment["KUBECONFIG"]
    with pytest.raises(ClusterNotConfigured, match="Nothing says which cluster"):
        CredentialSource.find(None, None, environment)
